//! Snapshots: what one reader sees of the store.
//!
//! A snapshot is the layers of one moment and an LMDB read transaction begun right after; it
//! shows the events up to the layers' newest seq. It must be short: it keeps LMDB from reusing
//! pages (I6). Records are read in the log, where they never change; one whose event has died
//! meanwhile may be missing.

use std::sync::Arc;

use heed::{RoTxn, WithoutTls};

use super::env::{META_MERGED, Store, read_seq};
use super::error::StoreError;
use super::frame::Frame;
use super::key::{Range, Salt};
use super::overlay::Layers;
use super::point::Located;
use super::record;
use super::scan::{Found, Opened, Scan};
use crate::nostr::{EventId, EventRef};
use crate::seq::Seq;

/// A consistent view of the store at one moment.
pub struct Snapshot<'s> {
    store: &'s Store,
    layers: Arc<Layers>,
    txn: RoTxn<'s, WithoutTls>,
}

impl<'s> Snapshot<'s> {
    pub(super) fn new(
        store: &'s Store,
        layers: Arc<Layers>,
        txn: RoTxn<'s, WithoutTls>,
    ) -> Snapshot<'s> {
        Snapshot { store, layers, txn }
    }

    /// Returns the newest event that the snapshot shows.
    pub fn seq(&self) -> Seq {
        self.layers.last
    }

    /// Returns the living event at `seq`.
    ///
    /// # Errors
    ///
    /// If the record is damaged.
    pub fn by_seq(&self, seq: Seq) -> Result<Option<EventRef<'_>>, StoreError> {
        self.view().by_seq(seq)
    }

    /// Returns the living event with this id.
    ///
    /// # Errors
    ///
    /// If a record or block is damaged.
    pub fn by_id(&self, id: &EventId) -> Result<Option<(Seq, EventRef<'_>)>, StoreError> {
        self.view().by_id(id)
    }

    /// Returns the living events after `after` in commit order.
    ///
    /// # Errors
    ///
    /// Each item if its record is damaged.
    pub fn log(
        &self,
        after: Seq,
    ) -> Result<impl Iterator<Item = Result<(Seq, EventRef<'_>), StoreError>>, StoreError> {
        let view = self.view();
        let log = (after.0 + 1..=self.layers.last.0).map(Seq);
        Ok(log.filter_map(move |seq| {
            let event = view.by_seq(seq).transpose()?;
            Some(event.map(|event| (seq, event)))
        }))
    }

    /// Returns how many living events there are of each kind.
    pub fn totals(&self) -> impl Iterator<Item = (u16, u64)> {
        self.layers.totals.iter().map(|(kind, count)| (*kind, *count))
    }

    /// Returns how many living events there are of one kind.
    pub(crate) fn total(&self, kind: u16) -> u64 {
        self.view().total(kind)
    }

    /// Returns how many events wait in memory to be merged into the index blocks.
    pub fn unmerged(&self) -> u64 {
        self.layers.overlays().map(super::overlay::Overlay::events).sum()
    }

    /// Returns whether no merge has ended between taking the layers and the transaction.
    pub(super) fn is_at_merge_mark(&self) -> Result<bool, StoreError> {
        Ok(read_seq(self.store.tables(), &self.txn, META_MERGED)? == self.layers.merged)
    }

    pub(super) fn store(&self) -> &Store {
        self.store
    }

    pub(super) fn layers(&self) -> &Layers {
        &self.layers
    }

    pub(super) fn txn(&self) -> &RoTxn<'_> {
        &self.txn
    }

    /// Returns the view that the query engine scans.
    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.store, &self.txn, &self.layers)
    }
}

/// What a scan needs: a transaction and layers that belong together. Cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct View<'t> {
    pub(super) store: &'t Store,
    pub(super) txn: &'t RoTxn<'t>,
    pub(super) layers: &'t Layers,
    /// What the commit under way has added, for the one who makes it.
    frame: Option<&'t Frame>,
}

impl<'t> View<'t> {
    pub(super) fn new(store: &'t Store, txn: &'t RoTxn<'t>, layers: &'t Layers) -> View<'t> {
        View { store, txn, layers, frame: None }
    }

    /// Returns the view with what a commit under way has added.
    pub(super) fn with(self, frame: &'t Frame) -> View<'t> {
        View { frame: Some(frame), ..self }
    }

    /// Returns how many living events there are of one kind.
    pub(crate) fn total(&self, kind: u16) -> u64 {
        self.layers.totals.get(&kind).copied().unwrap_or(0)
    }

    /// Returns the key of the store's tag hashes.
    pub(crate) fn salt(&self) -> &'t Salt {
        self.store.salt()
    }

    /// Returns the living event at `seq`.
    pub(crate) fn by_seq(&self, seq: Seq) -> Result<Option<EventRef<'t>>, StoreError> {
        if self.layers.is_dead(seq) {
            return Ok(None);
        }
        self.record(seq)
    }

    /// Returns the event at `seq`, dead or alive.
    #[inline]
    pub(crate) fn record(&self, seq: Seq) -> Result<Option<EventRef<'t>>, StoreError> {
        match self.bytes(seq)? {
            Some(bytes) => record::decode(bytes, seq).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the record of the event at `seq`, dead or alive.
    #[inline]
    pub(super) fn bytes(&self, seq: Seq) -> Result<Option<&'t [u8]>, StoreError> {
        if let Some(frame) = self.frame
            && let Some(bytes) = frame.record(seq)
        {
            return Ok(Some(bytes));
        }
        self.store.log().record(seq)
    }

    /// Says that the event at `seq` will be expected.
    #[inline]
    pub(crate) fn approach(&self, seq: Seq) {
        self.store.log().places().approach(seq);
    }

    /// Says that the event at `seq` will be read soon.
    #[inline]
    pub(crate) fn expect(&self, seq: Seq) {
        self.store.log().expect(seq);
    }

    /// Does the same for one of which only the fixed part will be read.
    #[inline]
    pub(super) fn expect_head(&self, seq: Seq) {
        self.store.log().expect_head(seq);
    }

    /// Returns the living event with this id.
    pub(crate) fn by_id(&self, id: &EventId) -> Result<Option<(Seq, EventRef<'t>)>, StoreError> {
        let located = self.open(Range::id(id))?.locate()?;
        self.by_id_at(id, &located)
    }

    /// Does the same for what was located in its [`Range::id`].
    pub(crate) fn by_id_at(
        &self,
        id: &EventId,
        located: &Located,
    ) -> Result<Option<(Seq, EventRef<'t>)>, StoreError> {
        let read = |found: Found| {
            let seq = found.seq();
            let event = self.record(seq)?.filter(|event| event.id == id);
            Ok(event.map(|event| (seq, event)))
        };
        match located {
            Located::Nothing => Ok(None),
            Located::One(found) => read(*found),
            Located::Several => {
                let mut scan = self.scan(Range::id(id))?;
                while let Some(found) = scan.next()? {
                    if let Some(event) = read(found)? {
                        return Ok(Some(event));
                    }
                }
                Ok(None)
            }
        }
    }

    /// Starts reading a range, highest entry first.
    pub(crate) fn scan(&self, range: Range) -> Result<Scan<'t>, StoreError> {
        self.open(range)?.scan()
    }

    /// Finds where a range begins, without reading there yet.
    pub(crate) fn open(&self, range: Range) -> Result<Opened<'t>, StoreError> {
        Opened::new(*self, range)
    }

    /// Starts reading a range of the blocks alone.
    pub(super) fn scan_blocks(&self, range: Range) -> Result<Scan<'t>, StoreError> {
        Opened::new(*self, range)?.scan_blocks()
    }
}
