//! Methods that say who may call which methods, beside the configuration (NIP-86).
//!
//! Nobody gives or takes what it may not do itself. What was given counts like what the settings
//! say, and ends where these name no administrators at all.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::call::{Caller, Said};
use super::method::{self, METHODS};
use super::office::Office;
use super::params::Params;
use crate::nostr::PublicKey;
use crate::policy::{Permissions, Right, Subject};

pub(super) fn assign_method(office: &mut Office, params: &Params<'_>, caller: &Caller) -> Said {
    let (key, name) = (params.key(0)?, params.text(1, NAME_CHARACTERS_MAX)?);
    if let Err(why) = check(name, caller) {
        return failed(office, &why);
    }
    office.decide(vec![(Subject::AssignedMethod(key, name.into()), Some(""))])?;
    Ok(json!([true, format!("this key may call {name}")]))
}

pub(super) fn unassign_method(office: &mut Office, params: &Params<'_>, caller: &Caller) -> Said {
    let (key, name) = (params.key(0)?, params.text(1, NAME_CHARACTERS_MAX)?);
    if let Err(why) = check(name, caller) {
        return failed(office, &why);
    }
    let settings = office.relay.in_force.load();
    let configured = settings.management.admins.of(&key);
    let remains = method::find(name)
        .is_some_and(|method| configured.is_some_and(|by| by.allow(name, method.right)));
    let text = if remains {
        format!("management.admins of the configuration lets this key call {name}")
    } else {
        format!("this key may not call {name}")
    };
    if remains {
        office.note_error(&text);
    }
    office.decide(vec![(Subject::AssignedMethod(key, name.into()), None)])?;
    Ok(json!([!remains, text]))
}

/// Tells whether there is such a method, and whether who calls may call it.
fn check(name: &str, caller: &Caller) -> Result<(), String> {
    match method::find(name) {
        None => Err(method::unknown(name)),
        Some(method) if caller.may(name, method.right) => Ok(()),
        Some(_) => Err(format!("this key may not call {name} itself")),
    }
}

/// Says that nothing was done, in the words that the NIP has for these methods.
fn failed(office: &mut Office, why: &str) -> Said {
    office.note_error(why);
    Ok(json!([false, why]))
}

pub(super) fn list_assignees(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    let row = |(key, permissions): (&PublicKey, &Permissions)| {
        let given = METHODS.iter().filter(|it| it.right != Right::Any);
        let may = given.filter(|it| permissions.allow(it.name, it.right));
        let names: Vec<&str> = may.map(|it| it.name).collect();
        json!({ "pubkey": key.to_string(), "methods": names })
    };
    Ok(everybody(office).iter().map(row).collect::<Value>())
}

/// Returns everybody who may call methods, with what the settings and decisions permit together.
pub(super) fn everybody(office: &Office) -> BTreeMap<PublicKey, Permissions> {
    let settings = office.relay.in_force.load();
    let admins = settings.management.admins.iter();
    let mut all: BTreeMap<PublicKey, Permissions> =
        admins.map(|(key, permissions)| (*key, permissions.clone())).collect();
    let moderation = office.moderation();
    for key in moderation.assignees() {
        all.entry(*key).or_default().add_methods(moderation.methods_of(key));
    }
    all.retain(|_, permissions| !permissions.is_empty());
    all
}

/// As long as any name of a method is.
const NAME_CHARACTERS_MAX: usize = 100;
