//! The writer: one batch of verified events in, one LMDB transaction, one outcome each.
//!
//! A batch appends its records to the log and marks what it replaces or deletes as dead; the
//! index entries go to the overlay. So a commit writes about as many pages as its records fill,
//! whatever they are tagged with. `merge` pays the rest later, in sorted order.

use std::collections::HashSet;
use std::sync::Arc;

use heed::{PutFlags, RwTxn};

use super::env::Store;
use super::error::StoreError;
use super::key::Range;
use super::merge::Merge;
use super::overlay::{Collected, Layers};
use super::record::Encoder;
use super::rules::{Decision, Outcome, decide};
use crate::nostr::{EventRef, Kind, Value, Verified};
use crate::seq::Seq;

/// Writes to a store. Several may exist, also in other processes; each commit is alone.
pub struct Writer {
    store: Store,
    encoder: Encoder,
    pending: Pending,
    merge: Option<Merge>,
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
        Writer { store, encoder: Encoder::default(), pending: Pending::default(), merge: None }
    }

    /// Stores a batch; when it returns, the batch is as durable as the store promises (I3).
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] if there is no room: nothing of the batch is stored, later batches may
    /// be. Any other error poisons the store: this process writes nothing more to it.
    pub fn commit(&mut self, batch: &[Verified], now: u64) -> Result<Committed, StoreError> {
        let store = self.store.clone();
        let encoder = &mut self.encoder;
        let pending = &mut self.pending;
        pending.clear();
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut before = Seq::ZERO;
        transact(&store, |txn, layers| {
            outcomes.clear();
            before = layers.last;
            for verified in batch {
                let event = verified.event().view();
                if pending.may_concern(&store, &event) {
                    pending.settle(layers);
                }
                outcomes.push(apply(&store, encoder, txn, layers, pending, &event, now)?);
            }
            pending.settle(layers);
            Ok(())
        })?;
        Ok(Committed { outcomes, before })
    }

    /// Marks events dead that are living; returns how many were.
    ///
    /// # Errors
    ///
    /// As [`Writer::commit`].
    pub fn bury(&mut self, seqs: &[Seq]) -> Result<u64, StoreError> {
        let store = self.store.clone();
        let mut buried = 0;
        transact(&store, |txn, layers| {
            buried = 0;
            for seq in seqs {
                let kind = store.view(txn, layers).by_seq(*seq)?.map(|event| event.kind.0);
                if let Some(kind) = kind {
                    buried += u64::from(bury(&store, txn, layers, *seq, kind)?);
                }
            }
            Ok(())
        })?;
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

    /// Does one bounded step of moving entries from memory into the index blocks, if it is time.
    ///
    /// With `eager` it is time whenever there is anything to move. Returns whether more is to do.
    ///
    /// # Errors
    ///
    /// As [`Writer::commit`].
    pub fn maintain(&mut self, eager: bool) -> Result<bool, StoreError> {
        if self.merge.is_none() {
            self.merge = Merge::start(&self.store, if eager { 1 } else { MERGE_ENTRIES })?;
        }
        let Some(merge) = &mut self.merge else { return Ok(false) };
        let store = self.store.clone();
        let mut is_done = false;
        transact(&store, |txn, layers| {
            is_done = merge.step(&store, txn, layers)?;
            Ok(())
        })?;
        if is_done {
            self.merge = None;
        }
        Ok(!is_done)
    }
}

/// Entries in memory from which on they are merged into the blocks: some tens of megabytes.
const MERGE_ENTRIES: u64 = 500_000;

/// Runs `work` in a write transaction on layers that are up to date; commits and publishes.
fn transact(
    store: &Store,
    work: impl FnOnce(&mut RwTxn<'_>, &mut Layers) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut is_poisoned = store.writing();
    if *is_poisoned {
        return Err(StoreError::Poisoned);
    }
    let mut txn = store.env().write_txn()?;
    let transaction = txn.id();
    store.catch_up(&txn, transaction - 1)?;
    let before = store.layers();
    let mut layers = Layers::clone(&before);
    let worked = work(&mut txn, &mut layers);
    let result = match worked {
        Ok(()) if layers.changes == before.changes => {
            txn.abort();
            return Ok(());
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
            Ok(())
        }
        Err(error) => {
            // A full map or disk is noticed before the meta page is touched; anything else may
            // have left the file and our memory of it apart (I9).
            *is_poisoned = !matches!(error, StoreError::Full(_));
            Err(error)
        }
    }
}

/// Decides about one event and carries the decision out.
fn apply(
    store: &Store,
    encoder: &mut Encoder,
    txn: &mut RwTxn<'_>,
    layers: &mut Layers,
    pending: &mut Pending,
    event: &EventRef<'_>,
    now: u64,
) -> Result<Outcome, StoreError> {
    let dead = match decide(&store.view(txn, layers), event, now)? {
        Decision::Refuse(outcome) => return Ok(outcome),
        Decision::Store { bury } => bury,
    };
    let seq = layers.last.next();
    let record = encoder.encode(event);
    store
        .tables()
        .events
        .put_with_flags(txn, PutFlags::APPEND, &seq.0.to_be_bytes(), record)
        .map_err(StoreError::of_write)?;
    layers.last = seq;
    layers.changes += 1;
    pending.add(store, event, seq);
    layers.count_in(event.kind.0);
    for (seq, kind) in dead {
        bury(store, txn, layers, seq, kind)?;
    }
    Ok(Outcome::Stored(seq))
}

/// Events of a batch whose entries are not in the overlay yet, so lookups do not find them.
///
/// It remembers what they are about; an event that may be about the same makes them settle first.
#[derive(Default)]
struct Pending {
    entries: Collected,
    /// First bytes of ids, and hashes of addresses, that the pending events are or ask to delete.
    subjects: HashSet<[u8; 8], foldhash::fast::RandomState>,
    of_event: Vec<[u8; 8]>,
}

impl Pending {
    fn clear(&mut self) {
        *self = Pending::default();
    }

    /// Returns whether what becomes of `event` may depend on the pending events.
    fn may_concern(&mut self, store: &Store, event: &EventRef<'_>) -> bool {
        self.of_event.clear();
        subjects(store, event, &mut self.of_event);
        !self.subjects.is_empty() && self.of_event.iter().any(|key| self.subjects.contains(key))
    }

    /// Adds the event that [`Pending::may_concern`] was asked about.
    fn add(&mut self, store: &Store, event: &EventRef<'_>, seq: Seq) {
        self.entries.add(store.salt(), event, seq);
        self.subjects.extend(self.of_event.drain(..));
    }

    /// Moves the entries into the overlay.
    fn settle(&mut self, layers: &mut Layers) {
        if self.entries.events() > 0 {
            layers.young.add(&mut self.entries);
            self.subjects.clear();
        }
    }
}

/// Names what an event is, and what it asks to delete.
fn subjects(store: &Store, event: &EventRef<'_>, out: &mut Vec<[u8; 8]>) {
    out.push(*event.id.0.first_chunk().expect("an id has 32 bytes"));
    if event.has_address() {
        let mut address = Vec::new();
        event.write_address(&mut address);
        out.push(store.salt().tag(b'a', Value::Text(&address)));
    }
    if event.kind == Kind::DELETION {
        for tag in event.tags() {
            match (tag.letter(), tag.value()) {
                (Some(b'e'), Some(Value::Hex(id))) => {
                    out.push(*id.first_chunk().expect("an id has 32 bytes"));
                }
                (Some(b'a'), Some(address)) => out.push(store.salt().tag(b'a', address)),
                _ => {}
            }
        }
    }
}

/// Marks one event dead; returns whether it was living.
fn bury(
    store: &Store,
    txn: &mut RwTxn<'_>,
    layers: &mut Layers,
    seq: Seq,
    kind: u16,
) -> Result<bool, StoreError> {
    if !layers.bury(seq, kind) {
        return Ok(false);
    }
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
