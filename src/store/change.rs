//! A change under way: what a commit or a step of a merge does, until it is on the disk or given up.
//!
//! LMDB's write lock orders those who write, in all processes. A commit adds one frame to the log
//! and gives its LMDB transaction up unused; a merge commits that and adds no frame.

use std::sync::{Arc, Weak};

use heed::RwTxn;

use super::env::{Durability, Store, Writing};
use super::error::StoreError;
use super::frame::{Frame, Tail};
use super::overlay::Layers;
use super::record;
use super::snapshot::View;
use super::sums::Mark;
use crate::seq::Seq;

/// What is being changed, by the only one who may (I1).
pub(super) struct Change<'s> {
    pub(super) store: &'s Store,
    /// A write transaction on the tables.
    pub(super) txn: RwTxn<'s>,
    /// The layers as they will be.
    pub(super) layers: Layers,
    frame: Frame,
    has_tables: bool,
    has_layers: bool,
}

/// When a change is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// When it is as durable as the store promises.
    Promised,
    /// When the system has it: a later [`flush`] makes it durable.
    Handed,
}

/// Runs `work` on layers that are up to date; then puts what it did on the disk and publishes it.
///
/// Returns where the log ends then, or nothing if nothing was changed.
///
/// # Errors
///
/// [`StoreError::Full`] if there is no room: nothing was changed. Any other error poisons the store.
pub(super) fn transact(
    store: &Store,
    finish: Finish,
    work: impl FnOnce(&mut Change<'_>) -> Result<(), StoreError>,
) -> Result<Option<Tail>, StoreError> {
    let mut writing = store.writing();
    if writing.is_poisoned {
        return Err(StoreError::Poisoned);
    }
    let txn = store.env().write_txn()?;
    store.catch_up(&txn, txn.id() - 1)?;
    let layers = Layers::clone(&store.layers());
    let mut frame = std::mem::take(&mut writing.frame);
    frame.begin(layers.last);
    let mut change = Change { store, txn, layers, frame, has_tables: false, has_layers: false };
    let worked = work(&mut change);
    let result = worked.and_then(|()| change.finish(&mut writing, finish));
    if let Err(error) = &result {
        // A full map or disk is noticed before anything counts as written; anything else may have
        // left the files and our memory of them apart (I9).
        writing.is_poisoned = !matches!(error, StoreError::Full(_));
    }
    result
}

/// Puts on the disk what was only handed to the system.
pub(super) fn flush(store: &Store) -> Result<(), StoreError> {
    let mut writing = store.writing();
    let result = store.log().sync();
    writing.is_poisoned |= result.is_err();
    result
}

impl<'s> Change<'s> {
    /// Returns what is to be seen, with all changes.
    pub(super) fn view(&self) -> View<'_> {
        self.store.view(&self.txn, &self.layers).with(&self.frame)
    }

    /// Makes room for records of so many bytes.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.frame.reserve(bytes);
    }

    /// Adds a record to the log; returns its seq.
    pub(super) fn append(&mut self, record: &[u8]) -> Seq {
        let seq = self.layers.last.next();
        self.frame.append(seq, record);
        self.layers.last = seq;
        seq
    }

    /// Marks one event dead; returns whether it was living.
    pub(super) fn bury(&mut self, seq: Seq) -> Result<bool, StoreError> {
        let view = self.view();
        if self.layers.is_dead(seq) {
            return Ok(false);
        }
        let Some(bytes) = view.bytes(seq)? else { return Ok(false) };
        let event = record::decode(bytes, seq)?;
        let (kind, mark) = (event.kind.0, Mark::of(&event, seq));
        let bytes = record::stored_bytes(bytes);
        self.layers.bury(seq, kind, mark, bytes);
        self.frame.bury(seq);
        Ok(true)
    }

    /// Returns the transaction for writing to the tables.
    pub(super) fn tables(&mut self) -> &mut RwTxn<'s> {
        self.has_tables = true;
        &mut self.txn
    }

    /// Adds a record of an event that lies elsewhere in the log.
    pub(super) fn move_record(&mut self, seq: Seq, record: &[u8]) {
        self.frame.append(seq, record);
    }

    /// Says once more that an event is dead, where the frame that said so is to go.
    pub(super) fn bury_again(&mut self, seq: Seq) {
        self.frame.bury(seq);
    }

    /// Has the layers published, though nothing was written.
    pub(super) fn keep_layers(&mut self) {
        self.has_layers = true;
    }

    /// Begins a new era; returns what those hold who may still read what the old one showed.
    pub(super) fn end_era(&mut self) -> Weak<()> {
        self.has_layers = true;
        let old = std::mem::take(&mut self.layers.era);
        Arc::downgrade(&old)
    }

    fn finish(mut self, writing: &mut Writing, finish: Finish) -> Result<Option<Tail>, StoreError> {
        let store = self.store;
        let has_frame = !self.frame.is_empty();
        if has_frame {
            self.write_frame(writing, finish)?;
        }
        if self.has_tables {
            self.layers.transaction = self.txn.id();
            self.txn.commit().map_err(StoreError::of_write)?;
        } else {
            self.txn.abort();
        }
        if finish == Finish::Promised {
            self.frame.shrink();
        }
        writing.frame = self.frame;
        if !(has_frame || self.has_tables || self.has_layers) {
            return Ok(None);
        }
        let tail = self.layers.tail;
        store.publish(self.layers);
        Ok(Some(tail))
    }

    fn write_frame(&mut self, writing: &mut Writing, finish: Finish) -> Result<(), StoreError> {
        let (store, before) = (self.store, self.layers.tail);
        if self.frame.size() < BYTES_EXTENDED {
            store.extend_log(writing, before)?;
        }
        let log = store.log();
        let last = self.layers.last;
        self.layers.tail = log.append(&mut self.frame, before, store.opening(), last)?;
        match finish {
            Finish::Promised if store.durability() == Durability::Sync => log.sync(),
            Finish::Promised => Ok(()),
            Finish::Handed => {
                log.start_writing(before, self.layers.tail);
                Ok(())
            }
        }
    }
}

/// Frames below this size are written into a part of the file that was made ahead.
const BYTES_EXTENDED: usize = 256 << 10;
