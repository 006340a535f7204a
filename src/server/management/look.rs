//! Methods that look: what was decided, who asks, and what the journal tells.

use serde_json::{Value, json};

use super::assign;
use super::call::{Caller, Said, Who};
use super::journal;
use super::method::METHODS;
use super::office::Office;
use super::params::Params;
use crate::nostr::PublicKey;
use crate::policy::{Permissions, Right, Subject};

pub(super) fn supported_methods(_: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    // The NIP wants the names of all others.
    let names = METHODS.iter().map(|method| method.name).filter(|it| *it != "supportedmethods");
    Ok(names.collect())
}

pub(super) fn banned_keys(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    list(office, "pubkey", |subject| match subject {
        Subject::BannedKey(key) => Some(key.to_string()),
        _ => None,
    })
}

pub(super) fn allowed_keys(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    let mut listed = list(office, "pubkey", |subject| match subject {
        Subject::AllowedKey(key) => Some(key.to_string()),
        _ => None,
    })?;
    // Members are allowed by being members.
    if let (Ok(members), Some(rows)) = (office.require_members(), listed.as_array_mut()) {
        let moderation = office.moderation();
        let others = members.iter().filter(|(key, _)| !moderation.allows_key(key));
        rows.extend(
            others.map(|(key, _)| json!({ "pubkey": key.to_string(), "reason": "member" })),
        );
    }
    Ok(listed)
}

pub(super) fn banned_events(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    list(office, "id", |subject| match subject {
        Subject::BannedEvent(id) => Some(id.to_string()),
        _ => None,
    })
}

pub(super) fn allowed_events(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    list(office, "id", |subject| match subject {
        Subject::AllowedEvent(id) => Some(id.to_string()),
        _ => None,
    })
}

pub(super) fn blocked_addresses(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    list(office, "ip", |subject| match subject {
        Subject::BlockedAddress(text) => Some(text.to_string()),
        _ => None,
    })
}

/// Lists subjects with their reasons, as NIP-86 has such lists.
fn list(office: &Office, name: &str, item: impl Fn(&Subject) -> Option<String>) -> Said {
    let moderation = office.moderation();
    let row = |(subject, note): (&Subject, &str)| {
        let item = item(subject)?;
        Some(match note {
            "" => json!({ name: item }),
            reason => json!({ name: item, "reason": reason }),
        })
    };
    Ok(moderation.iter().filter_map(row).collect())
}

pub(super) fn allowed_kinds(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    let moderation = office.moderation();
    let settings = office.relay.in_force.load();
    let event = &settings.session.event;
    let by_settings = event.rules.as_ref().and_then(|rules| rules.allowed_kinds.clone());
    let kinds = (0..=u16::MAX).map(crate::nostr::Kind).filter(|kind| {
        let is_listed =
            by_settings.as_ref().is_some_and(|ranges| ranges.iter().any(|it| it.has(*kind)));
        let is_refused = event.refused_kinds.contains(&kind.0)
            || moderation.note(&Subject::RefusedKind(*kind)).is_some();
        (is_listed || moderation.allows_kind(*kind)) && !is_refused
    });
    Ok(kinds.map(|kind| Value::from(kind.0)).collect())
}

pub(super) fn disallowed_kinds(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    let moderation = office.moderation();
    let settings = office.relay.in_force.load();
    let decided = moderation.iter().filter_map(|(subject, _)| match subject {
        Subject::RefusedKind(kind) => Some(kind.0),
        _ => None,
    });
    let mut kinds: Vec<u16> =
        decided.chain(settings.session.event.refused_kinds.iter().copied()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds.into_iter().map(Value::from).collect())
}

pub(super) fn who_am_i(_: &mut Office, _: &Params<'_>, caller: &Caller) -> Said {
    let may = METHODS.iter().filter(|method| caller.may(method.name, method.right));
    let methods: Vec<&str> = may.map(|method| method.name).collect();
    let (pubkey, rights): (Option<String>, Vec<String>) = match &caller.who {
        Who::Admin(key, permissions) => {
            (Some(key.to_string()), permissions.words().map(str::to_owned).collect())
        }
        Who::Local(_) => (None, Right::ALL.iter().map(|it| it.word().to_owned()).collect()),
    };
    Ok(json!({ "pubkey": pubkey, "rights": rights, "methods": methods }))
}

pub(super) fn admins(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    let all = assign::everybody(office);
    let row = |(key, permissions): (&PublicKey, &Permissions)| json!({ "pubkey": key.to_string(), "rights": permissions.words().collect::<Vec<_>>() });
    Ok(all.iter().map(row).collect())
}

pub(super) fn log(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let most = params.number(0)?.unwrap_or(LOG_ENTRIES_DEFAULT).min(LOG_ENTRIES_MAX);
    let before = params.number(1)?.unwrap_or(u64::MAX);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let entries = journal::read(&office.relay.store, before, most)?;
    let shown = entries.into_iter().map(|(number, entry)| {
        let mut shown = serde_json::to_value(entry).unwrap_or_default();
        shown["number"] = Value::from(number);
        shown
    });
    Ok(shown.collect())
}

const LOG_ENTRIES_DEFAULT: u64 = 100;
const LOG_ENTRIES_MAX: u64 = 10_000;
