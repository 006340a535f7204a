//! Everything of a stretch of time, oldest first: for exports of whole stores.
//!
//! What is not sought by anything but its time needs no plan: the index of times is read once to
//! cut the stretch into parts of about equal size, and then each part is read by itself, by
//! whichever thread has time for it, and every record once.

use std::cmp::Reverse;
use std::ops::ControlFlow;

use crate::nostr::{EventId, EventRef};
use crate::seq::Seq;
use crate::store::{Range, Snapshot, Store, StoreError, View};

/// A stretch of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its first second.
    pub since: u64,
    /// Its last second.
    pub until: u64,
}

/// A place in the order of [`visit`]: time, then highest id first.
pub type Place = (u64, Reverse<EventId>);

/// Cuts a stretch of time into such with about `count` events, oldest first. The events of one
/// second stay together, however many they are.
///
/// # Errors
///
/// If the store cannot be read.
pub fn cut(store: &Store, whole: Stretch, count: usize) -> Result<Vec<Stretch>, StoreError> {
    let mut parts = Vec::new();
    let mut until = whole.until;
    loop {
        let snapshot = store.snapshot()?;
        match cut_some(&snapshot.view(), Stretch { until, ..whole }, count, &mut parts)? {
            Some(rest) => until = rest,
            None => break,
        }
    }
    parts.reverse();
    Ok(parts)
}

/// Cuts from the end until it has looked at enough; returns the end of what is left.
fn cut_some(
    view: &View<'_>,
    whole: Stretch,
    count: usize,
    parts: &mut Vec<Stretch>,
) -> Result<Option<u64>, StoreError> {
    let Stretch { since, mut until } = whole;
    let (mut held, mut looked) = (0, 0);
    let mut oldest = until;
    let mut scan = view.scan(Range::time(since, until))?;
    while let Some(found) = scan.next()? {
        if held >= count && found.time() < oldest {
            parts.push(Stretch { since: oldest, until });
            until = oldest - 1;
            looked += held;
            held = 0;
            if looked >= ENTRIES_AT_ONCE {
                return Ok(Some(until));
            }
        }
        oldest = found.time();
        held += 1;
    }
    if since <= until {
        parts.push(Stretch { since, until });
    }
    Ok(None)
}

/// Calls `sink` with the events of a stretch up to `seq_max`, oldest first and of one second the
/// highest id first, until it breaks; begins behind `after`. Returns whether it came to the end.
///
/// It holds a few bytes for each event of the stretch, and the snapshot.
///
/// # Errors
///
/// If the store cannot be read.
pub fn visit(
    snapshot: &Snapshot<'_>,
    stretch: Stretch,
    seq_max: Seq,
    after: Option<Place>,
    sink: &mut dyn FnMut(&EventRef<'_>) -> ControlFlow<()>,
) -> Result<bool, StoreError> {
    let view = snapshot.view();
    let mut found = Vec::new();
    let mut scan = view.scan(Range::time(stretch.since, stretch.until))?;
    while let Some(entry) = scan.next()? {
        if entry.seq() <= seq_max {
            found.push((entry.time(), entry.seq()));
        }
    }
    let is_wanted = |event: &EventRef<'_>| {
        let is_inside = stretch.since <= event.created_at && event.created_at <= stretch.until;
        is_inside && after.is_none_or(|after| place_of(event) > after)
    };
    let mut second = Vec::new();
    for same in found.chunk_by(|one, other| one.0 == other.0).rev() {
        second.clear();
        for (_, seq) in same {
            second.extend(view.by_seq(*seq)?.filter(is_wanted));
        }
        if second.len() > 1 {
            second.sort_unstable_by_key(place_of);
        }
        for event in &second {
            if sink(event).is_break() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Returns where an event stands in the order.
pub fn place_of(event: &EventRef<'_>) -> Place {
    (event.created_at, Reverse(*event.id))
}

/// Entries of the index read with one snapshot, about.
const ENTRIES_AT_ONCE: usize = if cfg!(test) { 50 } else { 2_000_000 };
