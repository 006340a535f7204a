//! Methods that decide: bans, allowances, kinds, addresses, and what the relay calls itself.

use serde_json::Value;

use super::call::{Caller, Refusal, Said, Who};
use super::office::Office;
use super::params::Params;
use crate::policy::Subject;
use crate::server::members::Change;

/// What a method answers that has done something (NIP-86).
const DONE: Said = Ok(Value::Bool(true));

pub(super) fn ban_key(office: &mut Office, params: &Params<'_>, caller: &Caller) -> Said {
    let (key, reason) = (params.key(0)?, params.reason(1)?);
    if let Who::Admin(own, _) = &caller.who
        && *own == key
    {
        return Err(Refusal::Failed("that is your own key".to_owned()));
    }
    let allowed = (Subject::AllowedKey(key), None);
    office.decide(vec![(Subject::BannedKey(key), Some(reason)), allowed])?;
    // A member could still read.
    if office.is_member(&key) {
        office.change(vec![Change::Remove(key)])?;
    }
    DONE
}

pub(super) fn unban_key(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let key = params.key(0)?;
    params.reason(1)?;
    office.decide(vec![(Subject::BannedKey(key), None)])?;
    DONE
}

pub(super) fn allow_key(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let (key, reason) = (params.key(0)?, params.reason(1)?);
    let banned = (Subject::BannedKey(key), None);
    office.decide(vec![(Subject::AllowedKey(key), Some(reason)), banned])?;
    // Where there are members, being one is what lets in.
    if office.require_members().is_ok() && !office.is_member(&key) {
        office.change(vec![Change::Add(key, None)])?;
    }
    DONE
}

pub(super) fn unallow_key(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let key = params.key(0)?;
    params.reason(1)?;
    office.decide(vec![(Subject::AllowedKey(key), None)])?;
    if office.is_member(&key) {
        office.change(vec![Change::Remove(key)])?;
    }
    DONE
}

pub(super) fn allow_event(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let (id, reason) = (params.id(0)?, params.reason(1)?);
    let banned = (Subject::BannedEvent(id), None);
    office.decide(vec![(Subject::AllowedEvent(id), Some(reason)), banned])?;
    DONE
}

pub(super) fn unallow_event(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let id = params.id(0)?;
    params.reason(1)?;
    office.decide(vec![(Subject::AllowedEvent(id), None)])?;
    DONE
}

pub(super) fn unban_event(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let id = params.id(0)?;
    params.reason(1)?;
    office.decide(vec![(Subject::BannedEvent(id), None)])?;
    DONE
}

pub(super) fn ban_event(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let (id, reason) = (params.id(0)?, params.reason(1)?);
    let allowed = (Subject::AllowedEvent(id), None);
    office.decide(vec![(Subject::BannedEvent(id), Some(reason)), allowed])?;
    // Whoever sends it from here on is refused; what is there goes.
    let found = office.relay.store.snapshot()?.by_id(&id)?.map(|(seq, _)| seq);
    if let Some(seq) = found {
        office.writer.bury(vec![seq]).ok_or(Refusal::Busy)?;
    }
    DONE
}

pub(super) fn change_name(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let name = params.text(0, NAME_CHARACTERS_MAX)?;
    change_text(office, Subject::Name, name)
}

pub(super) fn change_description(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let text = params.text(0, DESCRIPTION_CHARACTERS_MAX)?;
    change_text(office, Subject::Description, text)
}

pub(super) fn change_icon(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let icon = params.text(0, ICON_CHARACTERS_MAX)?;
    let is_address = icon.starts_with("https://") || icon.starts_with("http://");
    if !icon.is_empty() && !is_address {
        return Err(params.wrong(0, "an address that starts with https:// or http://"));
    }
    change_text(office, Subject::Icon, icon)
}

/// An empty text gives the word back to the configuration.
fn change_text(office: &mut Office, subject: Subject, text: &str) -> Said {
    office.decide(vec![(subject, Some(text).filter(|text| !text.is_empty()))])?;
    DONE
}

pub(super) fn allow_kind(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let kind = params.kind(0)?;
    let settings = office.relay.in_force.load();
    if settings.session.event.refused_kinds.contains(&kind.0) {
        let text = format!(
            "kind {kind} is one of policy.refused_kinds in the configuration; take it out there"
        );
        return Err(Refusal::Failed(text));
    }
    let refused = (Subject::RefusedKind(kind), None);
    office.decide(vec![(Subject::AllowedKind(kind), Some("")), refused])?;
    DONE
}

pub(super) fn disallow_kind(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let kind = params.kind(0)?;
    let allowed = (Subject::AllowedKind(kind), None);
    office.decide(vec![(Subject::RefusedKind(kind), Some("")), allowed])?;
    DONE
}

pub(super) fn block_address(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let (subject, reason) = (address(params)?, params.reason(1)?);
    office.decide(vec![(subject, Some(reason))])?;
    DONE
}

pub(super) fn unblock_address(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let subject = address(params)?;
    office.decide(vec![(subject, None)])?;
    // Nor is it to be shut out any more for what it did by itself.
    if let Some(Ok(address)) = params.text(0, ADDRESS_CHARACTERS_MAX).ok().map(str::parse) {
        office.relay.crowd.pardon(address, office.relay.clock.now_secs());
    }
    DONE
}

fn address(params: &Params<'_>) -> Result<Subject, Refusal> {
    let expected = "an address such as 192.0.2.7 or 2001:db8::1, or a range such as 192.0.2.0/24";
    let text = params.text(0, ADDRESS_CHARACTERS_MAX).map_err(|_| params.wrong(0, expected))?;
    Subject::address(text).ok_or_else(|| params.wrong(0, expected))
}

/// As the settings table bounds them.
const NAME_CHARACTERS_MAX: usize = 200;
const DESCRIPTION_CHARACTERS_MAX: usize = 5_000;
const ICON_CHARACTERS_MAX: usize = 2_000;
const ADDRESS_CHARACTERS_MAX: usize = 100;
