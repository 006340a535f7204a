//! The young end of the indexes, in memory: the entries of every event that is in the log but
//! not yet merged into the blocks.
//!
//! A commit only appends records to the log; what the indexes need to know of them is
//! kept here as sorted runs. A batch adds one run per index, and runs of like size are merged, so
//! there are never more than a few, and adding an entry costs some nanoseconds a doubling. Runs
//! never change: a snapshot is a reference count, and no reader ever waits for the writer.
//! The overlay is a function of the log: after a crash it is built again from the records behind
//! the merge mark. `merge` moves it into the blocks.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::frame::Tail;
use super::key::{Entry, Index, Salt, entries_of};
use super::prepared::Draft;
use super::sums::{KINDS_SET_ASIDE, Mark, Runs};
use crate::nostr::EventRef;
use crate::seq::Seq;

/// A sorted run of entries without repetition. A vector can become one without being copied.
pub(super) type Run = Arc<Vec<Entry>>;

/// Entries of all indexes for a stretch of the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    /// For each index its runs, each less than half as long as the one before.
    runs: [Vec<Run>; Index::ALL.len()],
    /// Sums of the events, and of those that died meanwhile, whether of this stretch or older.
    added: Runs,
    removed: Runs,
    events: u64,
    entries: u64,
}

impl Overlay {
    /// Adds the entries that were collected, and empties the collection.
    pub(super) fn add(&mut self, batch: &mut Collected) {
        self.events += std::mem::take(&mut batch.events);
        batch.sort();
        self.added.add(&mut batch.marks);
        for (runs, entries) in self.runs.iter_mut().zip(&mut batch.entries) {
            if entries.is_empty() {
                continue;
            }
            entries.dedup();
            self.entries += entries.len() as u64;
            push_run(runs, entries);
        }
    }

    /// Joins the runs of each index into one.
    pub(super) fn collapse(&mut self) {
        for runs in self.runs.iter_mut().filter(|runs| runs.len() > 1) {
            // The short ones are at the end.
            let Some(mut join) = runs.pop().map(|last| last.to_vec()) else { continue };
            while let Some(before) = runs.pop() {
                join = joined(&before, &join);
            }
            runs.push(Arc::new(join));
        }
    }

    /// Returns the runs of one index, longest first.
    pub(super) fn runs(&self, index: Index) -> &[Run] {
        &self.runs[index as usize]
    }

    /// Takes events that have died out of the sums.
    pub(super) fn remove(&mut self, marks: &mut Vec<Mark>) {
        self.removed.add(marks);
    }

    /// Returns the sums of the events.
    pub(super) fn added(&self) -> &Runs {
        &self.added
    }

    /// Returns the sums of events that died since the stretch began.
    pub(super) fn removed(&self) -> &Runs {
        &self.removed
    }

    /// Returns how many entries there are.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns how many events were added.
    pub(super) fn events(&self) -> u64 {
        self.events
    }
}

/// Adds sorted entries as a run, and empties them; joins it with those before it that are not twice
/// as long.
fn push_run(runs: &mut Vec<Run>, entries: &mut Vec<Entry>) {
    match runs.pop_if(|before| before.len() < 2 * entries.len()) {
        // Those of a load are the run: to copy them would take as much again, of memory that the
        // system has to clear first. What is reserved in their place costs nothing until it is used.
        None if entries.len() >= ENTRIES_MOVED => {
            let room = Vec::with_capacity(entries.capacity());
            runs.push(Arc::new(std::mem::replace(entries, room)));
        }
        None => runs.push(Arc::new(entries.clone())),
        Some(before) => {
            let mut join = joined(&before, entries);
            while let Some(before) = runs.pop_if(|before| before.len() < 2 * join.len()) {
                join = joined(&before, &join);
            }
            runs.push(Arc::new(join));
        }
    }
    entries.clear();
}

fn joined(a: &[Entry], b: &[Entry]) -> Vec<Entry> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a, b);
    // Batches arrive about in the order of time: often one run simply follows the other.
    if let (Some(first), Some(last)) = (b.first(), a.last())
        && last < first
    {
        out.extend_from_slice(a);
        out.extend_from_slice(b);
        return out;
    }
    while let (Some((a_first, a_rest)), Some((b_first, b_rest))) =
        (a.split_first(), b.split_first())
    {
        if a_first < b_first {
            out.push(*a_first);
            a = a_rest;
        } else {
            out.push(*b_first);
            b = b_rest;
        }
    }
    out.extend_from_slice(a);
    out.extend_from_slice(b);
    out
}

/// Entries that are on their way into an overlay.
#[derive(Debug, Default)]
pub(super) struct Collected {
    entries: [Vec<Entry>; Index::ALL.len()],
    marks: Vec<Mark>,
    events: u64,
}

impl Collected {
    /// Collects the entries of one event.
    pub(super) fn add(&mut self, salt: &Salt, event: &EventRef<'_>, seq: Seq) {
        self.events += 1;
        let mut is_set_aside = KINDS_SET_ASIDE.contains(&event.kind.0);
        entries_of(salt, event, seq, &mut |index, entry| {
            self.entries[index as usize].push(entry);
            is_set_aside |= index == Index::ByExpiry;
        });
        if !is_set_aside {
            self.marks.push(Mark::new(event, seq));
        }
    }

    /// Collects the entries of a prepared event.
    pub(super) fn add_draft(&mut self, draft: &Draft<'_>, seq: Seq) {
        self.events += 1;
        draft.entries(seq, &mut |index, entry| self.entries[index as usize].push(entry));
        self.marks.extend(draft.mark(seq));
    }

    /// Makes room for about so many entries: what grows is copied again and again, into memory that
    /// the system has to clear first. What is not used costs nothing.
    pub(super) fn reserve(&mut self, entries: usize) {
        for (index, of_index) in Index::ALL.iter().zip(&mut self.entries) {
            of_index.reserve(match index {
                Index::ByTag => entries * 5 / 8,
                Index::ByExpiry => 0,
                _ => entries / 7,
            });
        }
        self.marks.reserve(entries / 7);
    }

    /// Returns how many entries there are, repeated ones included.
    pub(super) fn len(&self) -> u64 {
        self.entries.iter().map(|entries| entries.len() as u64).sum()
    }

    /// Forgets everything; keeps the memory.
    pub(super) fn clear(&mut self) {
        self.entries.iter_mut().for_each(Vec::clear);
        self.marks.clear();
        self.events = 0;
    }

    /// Sorts the entries, those of a load by two threads: half of all entries are those of tags.
    fn sort(&mut self) {
        let is_large = self.len() >= ENTRIES_SORTED_ALONE;
        let mut indexes = self.entries.iter_mut();
        let (tags, others): (Vec<_>, Vec<_>) =
            Index::ALL.iter().zip(&mut indexes).partition(|(index, _)| **index == Index::ByTag);
        let sort = |indexes: Vec<(&Index, &mut Vec<Entry>)>| {
            indexes.into_iter().for_each(|(_, entries)| entries.sort_unstable());
        };
        if is_large {
            std::thread::scope(|scope| {
                scope.spawn(|| sort(tags));
                sort(others);
            });
        } else {
            sort(tags);
            sort(others);
        }
    }
}

/// Fewer entries are copied into their run: their memory is soon used again.
const ENTRIES_MOVED: usize = if cfg!(test) { 20 } else { 1 << 16 };

/// Fewer entries are sorted by one thread.
const ENTRIES_SORTED_ALONE: u64 = if cfg!(test) { 20 } else { 500_000 };

/// What a reader needs beside an LMDB transaction; replaced whole after each commit.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    /// Events behind the frozen overlay, up to `last`.
    pub(super) young: Overlay,
    /// Events that are being merged; their entries may stand in the blocks already.
    pub(super) frozen: Option<Arc<Overlay>>,
    /// Events that were replaced, deleted or expired but are still in the log and the indexes.
    pub(super) dead: OrdSet<u64>,
    /// Events that a merge has taken out of the indexes but that still have a place.
    pub(super) gone: OrdSet<u64>,
    /// Held by everybody who may read what was to be read in this time.
    pub(super) era: Arc<()>,
    /// Living events by kind.
    pub(super) totals: OrdMap<u16, u64>,
    /// Events up to here are in the blocks.
    pub(super) merged: Seq,
    /// The newest event.
    pub(super) last: Seq,
    /// Where the log ends.
    pub(super) tail: Tail,
    /// What the living events take in the log and its table of places, in bytes.
    pub(super) record_bytes: u64,
    /// The LMDB transaction that these layers belong to.
    pub(super) transaction: usize,
}

impl Layers {
    /// Returns whether the event at `seq` is no longer to be seen.
    pub(super) fn is_dead(&self, seq: Seq) -> bool {
        !self.dead.is_empty() && self.dead.contains(&seq.0)
            || !self.gone.is_empty() && self.gone.contains(&seq.0)
    }

    /// Returns the overlays from young to old.
    pub(super) fn overlays(&self) -> impl Iterator<Item = &Overlay> {
        std::iter::once(&self.young).chain(self.frozen.as_deref())
    }

    /// Counts living events that are new, and what they take.
    pub(super) fn count_in(&mut self, kind: u16, count: u64, bytes: u64) {
        *self.totals.entry(kind).or_insert(0) += count;
        self.record_bytes += bytes;
    }

    /// Returns what belongs to the blocks alone, up to the merge mark.
    pub(super) fn base(&self) -> Layers {
        let (dead, gone) = (self.dead.clone(), self.gone.clone());
        Layers { dead, gone, merged: self.merged, last: self.merged, ..Layers::default() }
    }

    /// Marks a living event dead and takes it and its bytes out of the totals and sums.
    pub(super) fn bury(&mut self, seq: Seq, kind: u16, mark: Option<Mark>, bytes: u64) {
        self.dead.insert(seq.0);
        self.record_bytes = self.record_bytes.saturating_sub(bytes);
        self.young.remove(&mut Vec::from_iter(mark));
        let left = self.totals.get(&kind).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            self.totals.remove(&kind);
        } else {
            self.totals.insert(kind, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stay_few_and_hold_everything_once() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut runs = Vec::new();
        let mut all = Vec::new();
        for number in 0..2_000_u32 {
            let entry = Entry::padded(&random.u64(..).to_be_bytes());
            all.push(entry);
            push_run(&mut runs, &mut vec![entry]);
            assert!(runs.len() <= 2 + number.checked_ilog2().unwrap_or(0) as usize);
            for pair in runs.windows(2) {
                assert!(pair[0].len() >= 2 * pair[1].len());
            }
        }
        let mut overlay = Overlay::default();
        overlay.runs[0] = runs;
        overlay.collapse();
        all.sort_unstable();
        assert_eq!(overlay.runs(Index::ById).len(), 1);
        assert_eq!(&overlay.runs(Index::ById)[0][..], &all);
    }
}
