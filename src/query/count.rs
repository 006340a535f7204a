//! Counting: how many events match, without reading what need not be read.
//!
//! Where index entries prove the match they are counted as they are, kind by kind for kinds of which
//! everything is visible; only kinds of which a reader may see some events have each event looked
//! at.

use std::cell::Cell;
use std::collections::HashSet;

use super::find::{find_all, find_some};
use super::hll::Registers;
use super::plan::{Plan, candidates};
use crate::nostr::{EventRef, Filter};
use crate::seq::Seq;
use crate::store::{Range, Snapshot, StoreError};

/// For whom is counted, and how far.
#[derive(Clone, Copy)]
pub struct CountRules<'a> {
    /// The time that decides about expiry.
    pub now: u64,
    /// Whether an event counts.
    pub is_visible: &'a dyn Fn(&EventRef<'_>) -> bool,
    /// Kinds of which no event counts.
    pub hidden_kinds: &'a [u16],
    /// Kinds of which some events may not count.
    pub partly_visible_kinds: &'a [u16],
    /// Whether some events of any kind may not count, so that each has to be looked at.
    pub is_any_partly_visible: bool,
    /// Where counting one by one ends.
    pub count_max: u64,
    /// Where the steps are added up that counting takes.
    pub spent: &'a Cell<u64>,
}

/// The answer to a COUNT.
#[derive(Debug, Clone)]
pub struct Counted {
    /// How many events there are.
    pub count: u64,
    /// Whether counting ended early, so that there may be more.
    pub is_capped: bool,
    /// The registers, if the question defines them.
    pub registers: Option<Registers>,
}

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
    let rules = CountRules {
        now,
        is_visible,
        hidden_kinds: &[],
        partly_visible_kinds: &[],
        is_any_partly_visible: false,
        count_max: u64::MAX,
        spent: &Cell::new(0),
    };
    Ok(count_plainly(snapshot, filters, &rules)?.count)
}

/// Answers a COUNT of a client.
///
/// # Errors
///
/// If the store cannot be read.
pub fn answer_count(
    snapshot: &Snapshot<'_>,
    filters: &[Filter],
    rules: &CountRules<'_>,
) -> Result<Counted, StoreError> {
    let Some(mut registers) = Registers::for_question(filters) else {
        return count_plainly(snapshot, filters, rules);
    };
    let seqs = seqs_of(snapshot, &filters[0], rules)?;
    for seq in &seqs {
        if let Some(event) = snapshot.by_seq(*seq)? {
            registers.add(event.pubkey);
        }
    }
    Ok(Counted { registers: Some(registers), ..capped(seqs.len() as u64, rules) })
}

fn count_plainly(
    snapshot: &Snapshot<'_>,
    filters: &[Filter],
    rules: &CountRules<'_>,
) -> Result<Counted, StoreError> {
    if let [filter] = filters {
        return count_one(snapshot, filter, rules);
    }
    let mut seqs = HashSet::new();
    let mut is_capped = false;
    for filter in filters {
        let found = seqs_of(snapshot, filter, rules)?;
        is_capped |= capped(found.len() as u64, rules).is_capped;
        seqs.extend(found);
    }
    let found = capped(seqs.len() as u64, rules);
    Ok(Counted { is_capped: is_capped || found.is_capped, ..found })
}

fn count_one(
    snapshot: &Snapshot<'_>,
    filter: &Filter,
    rules: &CountRules<'_>,
) -> Result<Counted, StoreError> {
    if filter.matches_nothing() {
        return Ok(capped(0, rules));
    }
    let all = Filter { limit: None, ..filter.clone() };
    let plan =
        candidates(&all, |kind| snapshot.total(kind)).into_iter().find(|plan| plan.is_proof(&all));
    // Entries do not tell what has expired since the last sweep.
    let is_swept = snapshot.view().scan(Range::expiry(0, rules.now))?.next()?.is_none();
    let Some(plan) = plan.filter(|_| is_swept && !rules.is_any_partly_visible) else {
        return Ok(capped(seqs_of(snapshot, filter, rules)?.len() as u64, rules));
    };
    let by_entries = count_entries(snapshot, &all, &plan, rules)?;
    let is_asked = |kind: &u16| all.kinds.as_ref().is_none_or(|kinds| kinds.contains(kind));
    let kinds: Box<[u16]> = rules.partly_visible_kinds.iter().copied().filter(is_asked).collect();
    let looked_at = Filter { kinds: Some(kinds), ..all };
    let found = capped(seqs_of(snapshot, &looked_at, rules)?.len() as u64, rules);
    Ok(Counted { count: by_entries + found.count, ..found })
}

/// Counts entries of kinds of which every event is visible.
fn count_entries(
    snapshot: &Snapshot<'_>,
    filter: &Filter,
    plan: &Plan,
    rules: &CountRules<'_>,
) -> Result<u64, StoreError> {
    let is_left_out = |kind: u16| {
        rules.hidden_kinds.contains(&kind) || rules.partly_visible_kinds.contains(&kind)
    };
    if filter.since.is_none() && filter.until.is_none() {
        // In a damaged store the sum may be any.
        match (plan, &filter.kinds) {
            (Plan::Time, _) => {
                let totals = snapshot.totals().filter(|(kind, _)| !is_left_out(*kind));
                return Ok(totals.fold(0, |sum, (_, count)| sum.saturating_add(count)));
            }
            (Plan::Kinds, Some(kinds)) => {
                let kinds = kinds.iter().filter(|kind| !is_left_out(**kind));
                let totals = kinds.map(|kind| snapshot.total(*kind));
                return Ok(totals.fold(0, u64::saturating_add));
            }
            _ => {}
        }
    }
    let view = snapshot.view();
    let since = filter.since.unwrap_or(0);
    let until = filter.until.unwrap_or(u64::MAX);
    let (mut count, mut looked_at) = (0, 0);
    for range in plan.ranges(&view, filter, since, until)? {
        let kind = range.kind_alone();
        if kind.is_some_and(is_left_out) {
            continue;
        }
        let mut scan = view.scan(range)?;
        if kind.is_some() {
            let counted = scan.count()?;
            looked_at += counted / COUNTED_PER_STEP;
            count += counted;
            continue;
        }
        while let Some(found) = scan.next()? {
            looked_at += 1;
            count += u64::from(!found.kind().is_some_and(is_left_out));
        }
    }
    rules.spent.set(rules.spent.get().saturating_add(looked_at));
    Ok(count)
}

/// Entries that are counted within their blocks, of which so many cost as much as one that is looked
/// at.
const COUNTED_PER_STEP: u64 = 4;

/// Finds what matches and is visible, up to where counting ends.
fn seqs_of(
    snapshot: &Snapshot<'_>,
    filter: &Filter,
    rules: &CountRules<'_>,
) -> Result<Vec<Seq>, StoreError> {
    if rules.count_max == u64::MAX {
        let all = Filter { limit: None, ..filter.clone() };
        return find_all(snapshot, &all, rules.is_visible);
    }
    // One more than counts tells whether there is more.
    let limited = Filter { limit: Some(rules.count_max + 1), ..filter.clone() };
    let mut spent = rules.spent.get();
    let found = find_some(snapshot, &limited, rules.is_visible, rules.hidden_kinds, &mut spent);
    rules.spent.set(spent);
    found
}

fn capped(found: u64, rules: &CountRules<'_>) -> Counted {
    let count = found.min(rules.count_max);
    Counted { count, is_capped: found > count, registers: None }
}
