//! Erasing: what nobody may read any more is overwritten, and parts of the log go back to the disk.
//!
//! Records never change under a reader. So what a merge has taken out of everything waits here until
//! every snapshot of this process that is older is gone, and until no other process has the store open.
//! Then the bytes are overwritten with zeros and the event's place is forgotten; the parts of the
//! log that were cleared by `sweep` become gaps and holes in the file. Nothing behind the merge mark is touched.

use std::collections::VecDeque;
use std::sync::Weak;

use super::change::Change;
use super::env::{Store, read_tail, seq_of};
use super::error::StoreError;
use super::frame::Gap;
use super::sweep::forget_segments;
use crate::seq::Seq;

/// What is to be erased, in the order in which it ceased to be read.
#[derive(Debug, Default)]
pub(super) struct Erasing {
    has_begun: bool,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// Whoever may still read it holds this.
    era: Weak<()>,
    gone: Vec<Seq>,
    cleared: Vec<Cleared>,
}

/// Whose end is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    Nothing,
    /// That of older snapshots of this process.
    Readers,
    /// That of other processes that have the store open.
    Processes,
}

/// Frames of the log that are not needed any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cleared {
    /// Where they begin, in words of the log.
    pub(super) at: u64,
    /// What takes their place.
    pub(super) gap: Gap,
    /// How many words of the dead they have in the segment in which they end.
    pub(super) dead_at_end: u64,
}

impl Erasing {
    /// Adds what earlier openings of the store did not come to.
    pub(super) fn begin(&mut self, store: &Store) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        let txn = store.env().read_txn()?;
        let rows = store.tables().dead.iter(&txn)?;
        let gone = rows.map(|row| seq_of(row?.0)).collect::<Result<Vec<Seq>, StoreError>>()?;
        self.push_gone(Weak::new(), gone);
        Ok(())
    }

    /// Adds events that were taken out of everything in the era before this one.
    pub(super) fn push_gone(&mut self, era: Weak<()>, gone: Vec<Seq>) {
        if !gone.is_empty() {
            self.waiting.push_back(Waiting { era, gone, cleared: Vec::new() });
        }
    }

    /// Adds segments that were cleared in the era before this one, and what is gone of them.
    pub(super) fn push_cleared(&mut self, era: Weak<()>, gone: Vec<Seq>, cleared: Vec<Cleared>) {
        self.waiting.push_back(Waiting { era, gone, cleared });
    }

    /// Returns whether segments wait to be given back.
    pub(super) fn has_cleared(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.cleared.is_empty())
    }

    /// Returns what it takes for the next thing to be erased, beside a step.
    pub(super) fn awaits(&self, store: &Store) -> Awaits {
        match self.waiting.front() {
            Some(first) if first.era.strong_count() > 0 => Awaits::Readers,
            Some(_) if store.alone().is_none() => Awaits::Processes,
            _ => Awaits::Nothing,
        }
    }

    /// Returns whether there is something to erase that nobody reads.
    pub(super) fn is_due(&self) -> bool {
        self.waiting.front().is_some_and(|first| first.era.strong_count() == 0)
    }

    /// Erases some of it, if this process is alone; returns whether anything was erased.
    pub(super) fn step(&mut self, change: &mut Change<'_>) -> Result<bool, StoreError> {
        let Some(first) = self.waiting.front_mut() else { return Ok(false) };
        let store = change.store;
        let Some(_alone) = store.alone() else { return Ok(false) };
        // Frames behind the mark are needed as they are, to open the store.
        let mark = read_tail(store.tables(), &change.txn)?.at;
        let is_behind = |seq: &Seq| store.log().places().of(*seq).is_some_and(|at| at >= mark);
        let most = first.gone.len().saturating_sub(GONE_PER_STEP);
        let (later, gone): (Vec<Seq>, Vec<Seq>) =
            first.gone.split_off(most).into_iter().partition(is_behind);
        let most_cleared = if most == 0 { CLEARED_PER_STEP } else { 0 };
        let most_cleared = most_cleared.min(first.cleared.len());
        let cleared: Vec<Cleared> = first.cleared.drain(..most_cleared).collect();
        let is_over = most == 0 && first.cleared.is_empty();
        store.log().erase(&gone)?;
        for seq in &gone {
            change.layers.gone.remove(&seq.0);
        }
        store.log().clear(cleared.iter().map(|cleared| (cleared.at, cleared.gap)))?;
        // Without its row an event is living if it has a place.
        store.log().places().sync()?;
        let tables = store.tables();
        let txn = change.tables();
        for seq in &gone {
            tables.dead.delete(txn, &seq.0.to_be_bytes()).map_err(StoreError::of_write)?;
        }
        for cleared in &cleared {
            forget_segments(store, txn, cleared)?;
        }
        if is_over {
            self.waiting.pop_front();
        }
        self.push_gone(Weak::new(), later);
        Ok(!(gone.is_empty() && cleared.is_empty()))
    }
}

/// Events erased in one step; each is a few calls to the system.
const GONE_PER_STEP: usize = if cfg!(test) { 5 } else { 1_024 };
/// Parts of the log given back in one step, of a megabyte or more each.
const CLEARED_PER_STEP: usize = 2;
