//! Counting: how many events match, without reading what need not be read.

use std::collections::HashSet;

use super::find::find_all;
use super::plan::{Plan, candidates};
use crate::nostr::{EventRef, Filter};
use crate::store::{Range, Snapshot, StoreError};

/// Returns how many distinct visible events match any of the filters; limits are ignored.
///
/// # Errors
///
/// If the store cannot be read.
pub fn count(
    snapshot: &Snapshot<'_>,
    filters: &[Filter],
    now: u64,
    is_visible: &dyn Fn(&EventRef<'_>) -> bool,
) -> Result<u64, StoreError> {
    if let [filter] = filters {
        return count_one(snapshot, filter, now, is_visible);
    }
    let mut seqs = HashSet::new();
    for filter in filters {
        let all = Filter { limit: None, ..filter.clone() };
        seqs.extend(find_all(snapshot, &all, is_visible)?);
    }
    Ok(seqs.len() as u64)
}

fn count_one(
    snapshot: &Snapshot<'_>,
    filter: &Filter,
    now: u64,
    is_visible: &dyn Fn(&EventRef<'_>) -> bool,
) -> Result<u64, StoreError> {
    if filter.matches_nothing() {
        return Ok(0);
    }
    let all = Filter { limit: None, ..filter.clone() };
    let plan = candidates(&all).into_iter().find(|plan| plan.is_proof(&all));
    // Entries do not tell what has expired since the last sweep.
    let is_swept = snapshot.view().scan(Range::expiry(0, now))?.next()?.is_none();
    match plan {
        Some(plan) if is_swept => count_entries(snapshot, &all, &plan),
        _ => Ok(find_all(snapshot, &all, is_visible)?.len() as u64),
    }
}

fn count_entries(snapshot: &Snapshot<'_>, filter: &Filter, plan: &Plan) -> Result<u64, StoreError> {
    if filter.since.is_none() && filter.until.is_none() {
        match (plan, &filter.kinds) {
            (Plan::Time, _) => return Ok(snapshot.totals().map(|(_, count)| count).sum()),
            (Plan::Kinds, Some(kinds)) => {
                return Ok(kinds.iter().map(|kind| snapshot.total(*kind)).sum());
            }
            _ => {}
        }
    }
    let view = snapshot.view();
    let since = filter.since.unwrap_or(0);
    let until = filter.until.unwrap_or(u64::MAX);
    let mut count = 0;
    for range in plan.ranges(&view, filter, since, until)? {
        let mut scan = view.scan(range)?;
        while scan.next()?.is_some() {
            count += 1;
        }
    }
    Ok(count)
}
