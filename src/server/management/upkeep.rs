//! Methods about upkeep: the configuration in force, other relays, what does not stay for good,
//! and backups.

use serde_json::{Value, json};

use super::call::{Caller, Refusal, Said};
use super::office::Office;
use super::params::Params;
use crate::server::wishes::Care;
use crate::store;

pub(super) fn config(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    Ok(Value::clone(&office.relay.in_force.load().management.shown))
}

pub(super) fn peers(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    noted_peers(office).map(Value::from)
}

/// Returns how it stands with each peer, as whoever deals with peers notes it in the store.
pub(super) fn noted_peers(office: &Office) -> Result<Vec<Value>, Refusal> {
    let rows = office.relay.store.snapshot()?.facts(PEERS)?;
    let mut peers: Vec<Value> =
        rows.iter().filter_map(|(_, text)| serde_json::from_slice(text).ok()).collect();
    peers.sort_by_cached_key(|peer| peer["name"].as_str().map(str::to_owned));
    Ok(peers)
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

pub(super) fn backups(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    let settings = office.relay.in_force.load();
    let (care, wishes) = (&office.relay.caretaking, &office.relay.wishes);
    let Some((folder, period)) = &settings.maintenance.backup else {
        return Ok(json!({ "folder": null }));
    };
    // One of an earlier run says when it was taken, but not how large it is.
    let last = match care.backup_at.value() {
        0 => store::backed_up_at(folder).map(|at| json!({ "at": at, "bytes": null })),
        at => Some(json!({ "at": at, "bytes": care.backup_bytes.value() })),
    };
    Ok(json!({
        "folder": folder.display().to_string(),
        "period_secs": period.as_secs(),
        "is_on": wishes.is_backup_on(),
        "last": last,
        "failed_total": care.backups_failed_total.total(),
    }))
}

pub(super) fn back_up(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    if office.relay.in_force.load().maintenance.backup.is_none() {
        let text = "there is no maintenance.backup_folder in the configuration";
        return Err(Refusal::Failed(text.to_owned()));
    }
    office.relay.wishes.want_backup();
    Ok(Value::Bool(true))
}

pub(super) fn upkeep(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    Ok(office.relay.wishes.shown())
}

pub(super) fn compact(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    Ok(json!({ "run": office.relay.wishes.want(Care::Compact) }))
}

pub(super) fn repair(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    Ok(json!({ "run": office.relay.wishes.want(Care::Repair) }))
}

pub(super) fn stop(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    office.relay.wishes.stop();
    Ok(Value::Bool(true))
}

/// Names of facts that tell of peers begin so.
const PEERS: &str = "peer/";
