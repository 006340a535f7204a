//! Following the log: how a store comes to know what is behind the merge mark, when it is opened and
//! when other processes have committed.

use std::sync::Arc;

use heed::RoTxn;

use super::env::{
    META_BYTES, META_MERGED, Store, damaged, read_count, read_seq, read_tail, read_totals, seq_of,
};
use super::error::StoreError;
use super::frame::Tail;
use super::overlay::{Collected, Layers};
use super::record;
use super::sums::Mark;
use crate::seq::Seq;

impl Store {
    /// Reads everything behind the merge mark after the store was opened, and mends the places, which
    /// nobody waits for when they are written.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        let _writing = self.writing();
        let layers = {
            // Nobody else writes meanwhile.
            let txn = self.env().write_txn()?;
            let layers = self.layers_at_mark(&txn, txn.id() - 1)?;
            self.mend_places(layers.tail)?;
            layers
        };
        // That takes longer, and nobody has to wait for it.
        self.apply_log(layers)
    }

    /// Enters into the places what stands behind a tail.
    fn mend_places(&self, mut tail: Tail) -> Result<(), StoreError> {
        let mut places = Vec::new();
        let mut buffer = Vec::new();
        while let Some(frame) = self.log().frame(tail, &mut buffer)? {
            places.extend(frame.records().map(|(at, seq, _)| (seq, tail.at + at)));
            tail = frame.tail(tail);
        }
        // An event that was moved is named twice; the later place is the right one.
        places.sort_by_key(|(seq, _)| *seq);
        for (rank, (seq, place)) in places.iter().enumerate() {
            let is_latest = places.get(rank + 1).is_none_or(|(next, _)| next != seq);
            if is_latest && self.log().places().of(*seq) != Some(*place) {
                self.log().places().note(std::iter::once((*seq, *place)))?;
            }
        }
        Ok(())
    }

    /// Brings the layers up to what `txn` sees, which is the state after transaction `id`, and to the
    /// end of the log.
    ///
    /// The caller holds [`Store::writing`].
    pub(super) fn catch_up(&self, txn: &RoTxn<'_>, id: usize) -> Result<(), StoreError> {
        let old = self.layers();
        if old.transaction != id {
            if old.merged != read_seq(self.tables(), txn, META_MERGED)? {
                return self.rebuild(txn, id);
            }
            let layers = Layers { transaction: id, ..Layers::clone(&old) };
            return self.apply_log(layers);
        }
        if self.log().goes_on(old.tail) {
            return self.apply_log(Layers::clone(&old));
        }
        Ok(())
    }

    /// Builds the layers anew from what `txn` sees, which is the state after transaction `id`: of a
    /// write transaction, the one before it, because it may yet be aborted.
    ///
    /// The caller holds [`Store::writing`].
    pub(super) fn rebuild(&self, txn: &RoTxn<'_>, id: usize) -> Result<(), StoreError> {
        self.apply_log(self.layers_at_mark(txn, id)?)
    }

    /// Returns the layers of the blocks alone.
    fn layers_at_mark(&self, txn: &RoTxn<'_>, id: usize) -> Result<Layers, StoreError> {
        let tables = self.tables();
        let merged = read_seq(tables, txn, META_MERGED)?;
        if merged > Seq::ZERO && !self.log().places().reach(merged) {
            return Err(damaged("the merge mark"));
        }
        let mut layers = Layers {
            totals: read_totals(tables, txn)?,
            record_bytes: read_count(tables, txn, META_BYTES)?,
            merged,
            last: merged,
            tail: read_tail(tables, txn)?,
            transaction: id,
            era: Arc::clone(&self.layers().era),
            ..Layers::default()
        };
        for row in tables.dead.iter(txn)? {
            layers.gone.insert(seq_of(row?.0)?.0);
        }
        Ok(layers)
    }

    /// Adds what is behind the layers' tail to them and publishes them.
    fn apply_log(&self, mut layers: Layers) -> Result<(), StoreError> {
        let mut collected = Collected::default();
        let mut buffer = Vec::new();
        while let Some(frame) = self.log().frame(layers.tail, &mut buffer)? {
            for (_, seq, bytes) in frame.records() {
                if seq <= layers.last {
                    // It was moved.
                    continue;
                }
                let event = record::decode(bytes, seq)?;
                collected.add(self.salt(), &event, seq);
                layers.count_in(event.kind.0, 1, record::stored_bytes(bytes));
                layers.last = seq;
            }
            for seq in frame.buried() {
                if layers.is_dead(seq) {
                    continue;
                }
                if let Some(bytes) = self.log().record(seq)? {
                    let event = record::decode(bytes, seq)?;
                    let mark = Mark::of(&event, seq);
                    layers.bury(seq, event.kind.0, mark, record::stored_bytes(bytes));
                }
            }
            layers.last = layers.last.max(frame.last());
            layers.tail = frame.tail(layers.tail);
        }
        layers.young.add(&mut collected);
        self.publish(layers);
        Ok(())
    }
}
