//! The young end of the indexes, in memory: the entries of every event that is in the log but
//! not yet merged into the blocks.
//!
//! A commit only appends records to the log (`events`); what the indexes need to know of them is
//! kept here in persistent ordered sets, so that a snapshot is a handful of reference counts and
//! no reader ever waits for the writer. The overlay is a function of the log: after a crash it is
//! built again from the records behind the merge mark. `merge` moves it into the blocks.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::key::{Entry, Index, Salt, entries_of};
use crate::nostr::EventRef;
use crate::seq::Seq;

/// Entries of all indexes for a run of the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    sets: [OrdSet<Entry>; Index::ALL.len()],
    events: u64,
    entries: u64,
}

impl Overlay {
    /// Adds the entries of one event.
    pub(super) fn add(&mut self, salt: &Salt, event: &EventRef<'_>, seq: Seq) {
        self.events += 1;
        entries_of(salt, event, seq, &mut |index, entry| {
            self.sets[index as usize].insert(entry);
            self.entries += 1;
        });
    }

    /// Returns about how many entries there are; an event may have named one twice.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns the sorted entries of one index.
    pub(super) fn set(&self, index: Index) -> &OrdSet<Entry> {
        &self.sets[index as usize]
    }

    /// Returns how many events were added.
    pub(super) fn events(&self) -> u64 {
        self.events
    }
}

/// What a reader needs beside an LMDB transaction; replaced whole after each commit.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    /// Events behind the frozen overlay, up to `last`.
    pub(super) young: Overlay,
    /// Events that are being merged; their entries may stand in the blocks already.
    pub(super) frozen: Option<Arc<Overlay>>,
    /// Events that were replaced, deleted or expired but are still in the log and the indexes.
    pub(super) dead: OrdSet<u64>,
    /// Living events by kind.
    pub(super) totals: OrdMap<u16, u64>,
    /// Events up to here are in the blocks.
    pub(super) merged: Seq,
    /// The newest event.
    pub(super) last: Seq,
    /// Grows with every change, so that a commit without any can be dropped.
    pub(super) changes: u64,
    /// The LMDB transaction that these layers belong to.
    pub(super) transaction: usize,
}

impl Layers {
    /// Returns whether the event at `seq` is no longer to be seen.
    pub(super) fn is_dead(&self, seq: Seq) -> bool {
        !self.dead.is_empty() && self.dead.contains(&seq.0)
    }

    /// Returns the overlays from young to old.
    pub(super) fn overlays(&self) -> impl Iterator<Item = &Overlay> {
        std::iter::once(&self.young).chain(self.frozen.as_deref())
    }

    /// Counts one living event more.
    pub(super) fn count_in(&mut self, kind: u16) {
        *self.totals.entry(kind).or_insert(0) += 1;
    }

    /// Marks an event dead; returns false if it was already.
    pub(super) fn bury(&mut self, seq: Seq, kind: u16) -> bool {
        if self.dead.insert(seq.0).is_some() {
            return false;
        }
        let left = self.totals.get(&kind).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            self.totals.remove(&kind);
        } else {
            self.totals.insert(kind, left);
        }
        true
    }
}
