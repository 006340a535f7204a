//! Sums of ids by time, of the events that are not merged yet (NIP-77).
//!
//! What `cells` keep for merged events is kept here for the log behind the merge mark, and for
//! the dead: sorted runs, each mark with the sum of all ids up to it. So the sum of any stretch of
//! time is a subtraction, and adding events costs what it costs the overlay's other runs.
//!
//! Only events that everybody may read at any time are summed up; the others are *set aside*, and
//! whoever reconciles finds them in the indexes ([`is_set_aside`]).

use std::sync::Arc;

use crate::nostr::{EventRef, Kind};
use crate::reconcile::{Item, Sum};
use crate::seq::Seq;

/// Kinds that are set aside: what relays are asked to show to some only. Private messages (NIP-04,
/// NIP-59), drafts (NIP-37), invite codes (NIP-29). Part of the disk format.
pub const KINDS_SET_ASIDE: [u16; 6] = [4, 1059, 1234, 9009, 10_013, 31_234];

/// Returns whether an event is in no sum: because its kind is set aside, or because it expires.
pub(super) fn is_set_aside(event: &EventRef<'_>) -> bool {
    is_set_aside_kind(event.kind) || event.expiration().is_some()
}

/// Returns whether all events of a kind are in no sum.
pub(super) fn is_set_aside_kind(kind: Kind) -> bool {
    KINDS_SET_ASIDE.contains(&kind.0)
}

/// An event in a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) time: u64,
    pub(super) seq: Seq,
    /// The sum of the ids up to and with this one; before it is part of a run, its own id.
    pub(super) sum: Sum,
}

impl Mark {
    pub(super) fn new(event: &EventRef<'_>, seq: Seq) -> Mark {
        Mark { time: event.created_at, seq, sum: Sum::of(&event.id.0) }
    }

    /// Returns the mark of an event, unless it is set aside.
    pub(super) fn of(event: &EventRef<'_>, seq: Seq) -> Option<Mark> {
        (!is_set_aside(event)).then(|| Mark::new(event, seq))
    }

    fn place(&self) -> (u64, Seq) {
        (self.time, self.seq)
    }
}

/// Marks in order of time, in runs, each less than half as long as the one before.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs {
    runs: Vec<Arc<[Mark]>>,
}

impl Runs {
    /// Adds marks, and empties the list.
    pub(super) fn add(&mut self, marks: &mut Vec<Mark>) {
        if marks.is_empty() {
            return;
        }
        sum_up(marks);
        match self.runs.pop_if(|before| before.len() < 2 * marks.len()) {
            None => self.runs.push(Arc::from(marks.as_slice())),
            Some(before) => {
                let mut join = joined(&before, marks);
                while let Some(before) = self.runs.pop_if(|before| before.len() < 2 * join.len()) {
                    join = joined(&before, &join);
                }
                self.runs.push(Arc::from(join));
            }
        }
        marks.clear();
    }

    /// Returns what lies in a stretch of time, run by run.
    pub(super) fn within(&self, span: Span) -> impl Iterator<Item = Stretch<'_>> {
        self.runs.iter().map(move |run| Stretch::of(run).within(span)).filter(|it| !it.is_empty())
    }
}

/// Brings marks into order and makes each one's sum that of all up to it.
fn sum_up(marks: &mut [Mark]) {
    marks.sort_unstable_by_key(Mark::place);
    let mut sum = Sum::ZERO;
    for mark in marks {
        sum += mark.sum;
        mark.sum = sum;
    }
}

fn joined(a: &[Mark], b: &[Mark]) -> Vec<Mark> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a, b);
    let (mut a_sum, mut b_sum) = (Sum::ZERO, Sum::ZERO);
    while let (Some(a_first), Some(b_first)) = (a.first(), b.first()) {
        let mut mark = if a_first.place() < b_first.place() {
            a = &a[1..];
            a_sum = a_first.sum;
            *a_first
        } else {
            b = &b[1..];
            b_sum = b_first.sum;
            *b_first
        };
        mark.sum = a_sum + b_sum;
        out.push(mark);
    }
    out.extend(a.iter().map(|mark| Mark { sum: mark.sum + b_sum, ..*mark }));
    out.extend(b.iter().map(|mark| Mark { sum: mark.sum + a_sum, ..*mark }));
    out
}

/// A stretch of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// A part of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch<'r> {
    /// The sum of what lies before it.
    before: Sum,
    marks: &'r [Mark],
}

impl<'r> Stretch<'r> {
    fn of(run: &'r [Mark]) -> Stretch<'r> {
        Stretch { before: Sum::ZERO, marks: run }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Returns the part in a stretch of time.
    pub(super) fn within(&self, span: Span) -> Stretch<'r> {
        let end = self.marks.partition_point(|mark| mark.time <= span.last);
        let begin = self.marks[..end].partition_point(|mark| mark.time < span.first);
        let before = begin.checked_sub(1).map_or(self.before, |at| self.marks[at].sum);
        Stretch { before, marks: &self.marks[begin..end] }
    }

    /// Returns the sum of its ids.
    pub(super) fn sum(&self) -> Sum {
        self.marks.last().map_or(Sum::ZERO, |mark| mark.sum - self.before)
    }

    /// Returns its events.
    pub(super) fn items(&self) -> impl Iterator<Item = (Seq, Item)> + use<'r> {
        let mut before = self.before;
        self.marks.iter().map(move |mark| {
            let id = (mark.sum - before).bytes();
            before = mark.sum;
            (mark.seq, Item { timestamp: mark.time, id })
        })
    }
}

/// Events that somebody may read although they are set aside: they count for one who reconciles.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    marks: Vec<Mark>,
}

impl Extra {
    /// Returns these items, which must be different ones.
    pub(crate) fn new(items: &[Item]) -> Extra {
        let mark =
            |item: &Item| Mark { time: item.timestamp, seq: Seq::ZERO, sum: Sum::of(&item.id) };
        let mut marks: Vec<Mark> = items.iter().map(mark).collect();
        sum_up(&mut marks);
        Extra { marks }
    }

    /// Returns how many they are.
    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }

    pub(super) fn all(&self) -> Stretch<'_> {
        Stretch::of(&self.marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stretch_of_time_has_the_sum_and_the_items_that_were_added() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut runs = Runs::default();
        let mut all: Vec<(Seq, Item)> = Vec::new();
        for _ in 0..200 {
            let mut batch = Vec::new();
            for _ in 0..random.usize(0..5) {
                let mut id = [0; 32];
                random.fill(&mut id);
                let (time, seq) = (random.u64(..50), Seq(all.len() as u64 + 1));
                batch.push(Mark { time, seq, sum: Sum::of(&id) });
                all.push((seq, Item { timestamp: time, id }));
            }
            runs.add(&mut batch);
            assert!(batch.is_empty());
        }
        assert!(runs.runs.len() < 10, "runs are joined");
        for first in 0..52 {
            for last in first..52 {
                let span = Span { first, last };
                let mut expected: Vec<(Seq, Item)> = all.clone();
                expected.retain(|(_, it)| (first..=last).contains(&it.timestamp));
                let mut found: Vec<(Seq, Item)> =
                    runs.within(span).flat_map(|stretch| stretch.items()).collect();
                found.sort_unstable();
                assert_eq!(found, expected);
                let sum = runs.within(span).fold(Sum::ZERO, |sum, it| sum + it.sum());
                let add = |sum, (_, it): &(Seq, Item)| sum + Sum::of(&it.id);
                assert_eq!(sum, expected.iter().fold(Sum::ZERO, add));
            }
        }
    }
}
