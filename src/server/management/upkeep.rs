//! Methods about upkeep: the configuration in force, and what does not stay for good.

use serde_json::{Value, json};

use super::call::{Caller, Refusal, Said};
use super::office::Office;
use super::params::Params;

pub(super) fn config(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    Ok(Value::clone(&office.relay.in_force.load().management.shown))
}

pub(super) fn retention(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    let settings = office.relay.in_force.load();
    let sweeps = &office.relay.sweeps;
    Ok(json!({
        "rules": settings.management.rules,
        "period_secs": settings.retention.period.as_secs(),
        "is_sweeping": sweeps.is_on(),
        "last": sweeps.last().map(|(at, removed)| json!({ "at": at, "removed": removed })),
    }))
}

pub(super) fn sweep(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    if office.relay.in_force.load().retention.rules.is_empty() {
        let text = "there are no rules of retention; see store.retention in the configuration";
        return Err(Refusal::Failed(text.to_owned()));
    }
    office.relay.sweeps.want();
    Ok(Value::Bool(true))
}
