//! The writer: one batch of verified events in, one LMDB transaction, one outcome each.
//!
//! A batch appends its records to the log and marks what it replaces or deletes as dead; the
//! index entries go to the overlay. So a commit writes about as many pages as its records fill,
//! whatever they are tagged with. `merge` pays the rest later, in sorted order.

use std::sync::Arc;

use heed::{PutFlags, RwTxn};

use super::env::Store;
use super::error::StoreError;
use super::fresh::{Recent, concern_blocks};
use super::key::Range;
use super::merge::Merge;
use super::overlay::{Collected, Layers};
use super::record::Encoder;
use super::rules::{Decision, Outcome, decide, is_expired};
use super::sums::Mark;
use crate::nostr::{EventRef, Kind, KindClass, Verified};
use crate::seq::Seq;

/// Writes to a store. Several may exist, also in other processes; each commit is alone.
pub struct Writer {
    store: Store,
    encoder: Encoder,
    /// Entries of a batch's events that are not in the overlay yet, so lookups do not find them.
    collected: Collected,
    recent: Recent,
    merge: Option<Merge>,
    merge_entries: u64,
}

/// What one commit did.
#[derive(Debug)]
pub struct Committed {
    /// What became of each event of the batch, in its order.
    pub outcomes: Vec<Outcome>,
    /// The newest seq before this batch; other processes may have committed up to here.
    pub before: Seq,
}

impl Writer {
    /// Returns a writer of the store.
    pub fn new(store: Store) -> Writer {
        Writer {
            store,
            encoder: Encoder::default(),
            collected: Collected::default(),
            recent: Recent::default(),
            merge: None,
            merge_entries: MERGE_ENTRIES,
        }
    }

    /// Returns a writer for loads of many events: it merges seldom and uses more memory.
    pub fn for_load(store: Store) -> Writer {
        Writer { merge_entries: MERGE_ENTRIES_OF_LOAD, ..Writer::new(store) }
    }

    /// Stores a batch; when it returns, the batch is as durable as the store promises (I3).
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] if there is no room: nothing of the batch is stored, later batches may
    /// be. Any other error poisons the store: this process writes nothing more to it.
    pub fn commit(&mut self, batch: &[Verified], now: u64) -> Result<Committed, StoreError> {
        let store = self.store.clone();
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut before = Seq::ZERO;
        let bytes: usize = batch.iter().map(|event| event.event().memory_bytes()).sum();
        let pages = (bytes / store.page_bytes()) as u64 * 5 / 4;
        let transacted = transact(&store, pages, |txn, layers| {
            before = layers.last;
            self.collected = Collected::default();
            self.recent.follow(&store, txn, layers)?;
            let concerned = concern_blocks(&store, txn, layers, batch)?;
            for (verified, is_concerned) in batch.iter().zip(concerned) {
                let event = verified.event().view();
                outcomes.push(self.apply(txn, layers, &event, is_concerned, now)?);
            }
            layers.young.add(&mut self.collected);
            Ok(())
        });
        match transacted {
            Ok(Some(transaction)) => self.recent.committed(transaction),
            Ok(None) => {}
            Err(error) => {
                self.recent.forget();
                return Err(error);
            }
        }
        Ok(Committed { outcomes, before })
    }

    /// Decides about one event and carries the decision out.
    fn apply(
        &mut self,
        txn: &mut RwTxn<'_>,
        layers: &mut Layers,
        event: &EventRef<'_>,
        is_concerned: bool,
        now: u64,
    ) -> Result<Outcome, StoreError> {
        let store = &self.store;
        let is_recent = self.recent.may_concern(store, event);
        let is_plain = !matches!(event.kind, Kind::DELETION | Kind::VANISH)
            && event.kind.class() != KindClass::Ephemeral;
        let mut dead = Vec::new();
        if is_recent || is_concerned || !is_plain {
            // A close look, with everything of this batch in sight.
            layers.young.add(&mut self.collected);
            match decide(&store.view(txn, layers), event, now)? {
                Decision::Refuse(outcome) => return Ok(outcome),
                Decision::Store { bury } => dead = bury,
            }
        } else if is_expired(event, now) {
            return Ok(Outcome::Expired);
        }
        let seq = layers.last.next();
        let record = self.encoder.encode(event);
        let events = store.tables().events;
        events
            .put_with_flags(txn, PutFlags::APPEND, &seq.0, record)
            .map_err(StoreError::of_write)?;
        layers.last = seq;
        layers.changes += 1;
        self.collected.add(store.salt(), event, seq);
        self.recent.remember(seq);
        layers.count_in(event.kind.0);
        for seq in dead {
            bury(store, txn, layers, seq)?;
        }
        Ok(Outcome::Stored(seq))
    }

    /// Marks events dead that are living; returns how many were.
    ///
    /// # Errors
    ///
    /// As [`Writer::commit`].
    pub fn bury(&mut self, seqs: &[Seq]) -> Result<u64, StoreError> {
        let store = self.store.clone();
        let mut buried = 0;
        let transaction = transact(&store, 0, |txn, layers| {
            self.recent.follow(&store, txn, layers)?;
            for seq in seqs {
                buried += u64::from(bury(&store, txn, layers, *seq)?);
            }
            Ok(())
        })?;
        if let Some(transaction) = transaction {
            self.recent.committed(transaction);
        }
        Ok(buried)
    }

    /// Buries up to `most` events whose expiration has passed (NIP-40); returns how many.
    ///
    /// Deletion requests stay, hidden: what they deleted must not come back.
    ///
    /// # Errors
    ///
    /// As [`Writer::commit`].
    pub fn expire(&mut self, now: u64, most: usize) -> Result<u64, StoreError> {
        let mut seqs = Vec::new();
        {
            let snapshot = self.store.snapshot()?;
            let view = snapshot.view();
            let mut scan = view.scan(Range::expiry(0, now))?;
            while let Some(found) = scan.next()? {
                let is_request =
                    |event: EventRef<'_>| matches!(event.kind, Kind::DELETION | Kind::VANISH);
                if !view.by_seq(found.seq())?.is_none_or(is_request) {
                    seqs.push(found.seq());
                }
                if seqs.len() == most {
                    break;
                }
            }
        }
        if seqs.is_empty() { Ok(0) } else { self.bury(&seqs) }
    }

    /// Returns whether a merge is under way: it does not remove what dies from here on.
    pub fn is_merging(&self) -> bool {
        self.merge.is_some()
    }

    /// Does one bounded step of moving entries from memory into the index blocks, if it is time.
    ///
    /// With `eager` it is time whenever there is anything to move. Returns whether more is to do.
    ///
    /// # Errors
    ///
    /// As [`Writer::commit`].
    pub fn maintain(&mut self, eager: bool) -> Result<bool, StoreError> {
        if self.merge.is_none() {
            self.merge = Merge::start(&self.store, if eager { 1 } else { self.merge_entries })?;
            if self.merge.is_some() {
                self.recent.freeze();
            }
        }
        let Some(merge) = &mut self.merge else { return Ok(false) };
        let store = self.store.clone();
        let mut is_done = false;
        let transaction = transact(&store, PAGES_PER_MERGE_STEP, |txn, layers| {
            self.recent.follow(&store, txn, layers)?;
            is_done = merge.step(&store, txn, layers)?;
            Ok(())
        })?;
        if let Some(transaction) = transaction {
            self.recent.committed(transaction);
        }
        if is_done {
            self.merge = None;
            self.recent.thaw();
        }
        Ok(!is_done)
    }
}

/// Fewer entries in memory are never merged into the blocks; a large store waits for more.
const MERGE_ENTRIES: u64 = 500_000;
/// The same for loads: some hundreds of megabytes.
const MERGE_ENTRIES_OF_LOAD: u64 = 3_000_000;

/// Pages that a step of a merge may add to the file, about.
const PAGES_PER_MERGE_STEP: u64 = 300;

/// Runs `work` in a write transaction on layers that are up to date; commits and publishes.
///
/// `pages` is about what it may add to the file. Returns the transaction, or nothing if nothing was
/// changed.
fn transact(
    store: &Store,
    pages: u64,
    work: impl FnOnce(&mut RwTxn<'_>, &mut Layers) -> Result<(), StoreError>,
) -> Result<Option<usize>, StoreError> {
    let mut writing = store.writing();
    if writing.is_poisoned {
        return Err(StoreError::Poisoned);
    }
    let mut txn = store.env().write_txn()?;
    let transaction = txn.id();
    store.extend(&mut writing, pages)?;
    store.catch_up(&txn, transaction - 1)?;
    let before = store.layers();
    let mut layers = Layers::clone(&before);
    let worked = work(&mut txn, &mut layers);
    let result = match worked {
        Ok(()) if layers.changes == before.changes => {
            txn.abort();
            return Ok(None);
        }
        Ok(()) => txn.commit().map_err(StoreError::of_write),
        Err(error) => {
            txn.abort();
            Err(error)
        }
    };
    match result {
        Ok(()) => {
            layers.transaction = transaction;
            store.publish(layers);
            Ok(Some(transaction))
        }
        Err(error) => {
            // A full map or disk is noticed before the meta page is touched; anything else may
            // have left the file and our memory of it apart (I9).
            writing.is_poisoned = !matches!(error, StoreError::Full(_));
            Err(error)
        }
    }
}

/// Marks one event dead; returns whether it was living.
fn bury(
    store: &Store,
    txn: &mut RwTxn<'_>,
    layers: &mut Layers,
    seq: Seq,
) -> Result<bool, StoreError> {
    let Some(event) = store.view(txn, layers).by_seq(seq)? else { return Ok(false) };
    let (kind, mark) = (event.kind.0, Mark::of(&event, seq));
    layers.bury(seq, kind, mark);
    layers.changes += 1;
    store.tables().dead.put(txn, &seq.0.to_be_bytes(), &[]).map_err(StoreError::of_write)?;
    Ok(true)
}

/// Freezes the young overlay; readers go on with both.
pub(super) fn freeze(layers: &mut Layers) -> Arc<super::overlay::Overlay> {
    let mut young = std::mem::take(&mut layers.young);
    young.collapse();
    let frozen = Arc::new(young);
    layers.frozen = Some(Arc::clone(&frozen));
    frozen
}
