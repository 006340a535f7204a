//! The writer: one batch of verified events in, one frame of the log, one outcome each.
//!
//! A frame has the records of a batch and the seqs of what it replaces or deletes; the index
//! entries go to the overlay. So a commit writes about as many pages as its records fill, whatever
//! they are tagged with. `merge` pays the rest later, in sorted order. A load keeps the
//! entries of many batches unsorted until then.

use std::collections::HashMap;

use super::change::{Change, Finish, flush, transact};
use super::env::Store;
use super::erase::{Awaits, Erasing};
use super::error::StoreError;
use super::fresh::{Known, Recent, concern_blocks};
use super::guard::{Guard, Pass, Sequel};
use super::key::Range;
use super::merge::{Merge, Step};
use super::overlay::{Collected, Layers};
use super::prepared::{Draft, Prepared, Preparer};
use super::record;
use super::rules::{Decision, Outcome, decide};
use super::sweep::{Share, Sweep};
use crate::nostr::{EventRef, Kind, KindClass, Reject, Verified};
use crate::seq::Seq;

/// Writes to a store. Several may exist, also in other processes; each commit is alone.
pub struct Writer {
    store: Store,
    preparer: Preparer,
    /// A batch that is prepared here; kept for its memory.
    prepared: Prepared,
    /// Entries of events that are not in the overlay yet: of the batch, in a load of all batches
    /// since the last merge.
    collected: Collected,
    /// The merge mark when the first of them was collected.
    collected_at: Seq,
    recent: Recent,
    /// What the batch under way has buried.
    buried: Vec<Seq>,
    merge: Option<Merge>,
    erasing: Erasing,
    sweep: Option<Sweep>,
    /// Whether something died since the last sweep was thought of.
    is_sweep_due: bool,
    /// What is worth sweeping.
    share: Share,
    /// Whether no merge is to begin, unless memory gets too full.
    is_held: bool,
    pace: Pace,
    /// Whether something was committed that the disk may not have yet.
    is_unsynced: bool,
}

/// When a writer merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// What is committed can be found at once.
    Live,
    /// Snapshots of this process may show only after the next merge what is committed.
    Load,
}

/// What one commit did.
#[derive(Debug, Default)]
pub struct Committed {
    /// What became of each event of the batch, in its order.
    pub outcomes: Vec<Outcome>,
    /// Why events were refused, in the order of the batch.
    pub refused: Vec<Reject>,
    /// The stored events that the batch replaced or deleted.
    pub buried: Vec<Seq>,
    /// What a guard has added.
    pub added: Vec<(Seq, Verified)>,
    /// The newest seq before this batch; other processes may have committed up to here.
    pub before: Seq,
}

impl Writer {
    /// Returns a writer of the store.
    pub fn new(store: Store) -> Writer {
        Writer {
            preparer: Preparer::new(&store),
            store,
            prepared: Prepared::default(),
            collected: Collected::default(),
            collected_at: Seq::ZERO,
            recent: Recent::default(),
            buried: Vec::new(),
            merge: None,
            erasing: Erasing::default(),
            sweep: None,
            is_sweep_due: true,
            share: Share::Half,
            is_held: false,
            pace: Pace::Live,
            is_unsynced: false,
        }
    }

    /// Returns a writer for loads of many events: it merges seldom and uses more memory.
    ///
    /// Other processes find its events as soon as those of any other. But only after
    /// [`Writer::maintain`] has nothing more to do with `eager` they are surely on the disk, and found
    /// by snapshots of this process.
    pub fn for_load(store: Store) -> Writer {
        let mut writer = Writer { pace: Pace::Load, ..Writer::new(store) };
        writer.collected.reserve(ENTRIES_RESERVED);
        writer
    }

    /// Stores a batch; when it returns, the batch is as durable as the store promises (I3).
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] if there is no room: nothing of the batch is stored, later batches may
    /// be. Any other error poisons the store: this process writes nothing more to it.
    pub fn commit(&mut self, batch: &[Verified], now: u64) -> Result<Committed, StoreError> {
        self.commit_guarded(batch, now, None)
    }

    /// Does the same under the eyes of a guard.
    pub(crate) fn commit_guarded(
        &mut self,
        batch: &[Verified],
        now: u64,
        guard: Option<&mut dyn Guard>,
    ) -> Result<Committed, StoreError> {
        let mut prepared = std::mem::take(&mut self.prepared);
        for event in batch {
            self.preparer.add(&mut prepared, event);
        }
        let committed = self.append(std::slice::from_ref(&prepared), now, guard);
        prepared.clear(PREPARED_KEPT_BYTES);
        self.prepared = prepared;
        committed
    }

    /// Stores a batch that was prepared for this store, like [`Writer::commit`].
    ///
    /// # Errors
    ///
    /// As [`Writer::commit`].
    pub fn commit_prepared(
        &mut self,
        batch: &[Prepared],
        now: u64,
    ) -> Result<Committed, StoreError> {
        self.append(batch, now, None)
    }

    fn append(
        &mut self,
        batch: &[Prepared],
        now: u64,
        mut guard: Option<&mut dyn Guard>,
    ) -> Result<Committed, StoreError> {
        let store = self.store.clone();
        let count = batch.iter().map(Prepared::len).sum();
        let mut committed =
            Committed { outcomes: Vec::with_capacity(count), ..Committed::default() };
        self.buried.clear();
        let transacted = transact(&store, self.finish(), |change| {
            committed.before = change.layers.last;
            change.reserve(batch.iter().map(Prepared::record_bytes).sum());
            self.begin(&change.layers);
            self.recent.follow(&change.view())?;
            let concerned = concern_blocks(&change.view(), batch)?;
            let mut counts = Counts::default();
            let drafts = batch.iter().flat_map(Prepared::drafts);
            for (draft, is_concerned) in drafts.zip(concerned) {
                let facts = Facts { is_concerned, now };
                let outcome = match &mut guard {
                    None => self.apply(change, &mut counts, &draft, facts)?,
                    Some(guard) => {
                        let target = (&mut *change, &mut counts);
                        self.apply_guarded(target, &draft, facts, *guard, &mut committed)?
                    }
                };
                committed.outcomes.push(outcome);
            }
            if let Some(guard) = guard {
                change.layers.young.add(&mut self.collected);
                let sequel = guard.finish(&change.view())?;
                self.add((change, &mut counts), sequel, now, &mut committed)?;
            }
            counts.add_to(&mut change.layers);
            if self.pace == Pace::Live {
                change.layers.young.add(&mut self.collected);
            }
            Ok(())
        });
        match transacted {
            Ok(Some(tail)) => {
                self.is_unsynced |= self.finish() == Finish::Handed;
                self.recent.committed(tail);
            }
            Ok(None) => {}
            Err(error) => {
                self.recent.forget();
                self.give_up_collected();
                return Err(error);
            }
        }
        committed.buried = std::mem::take(&mut self.buried);
        Ok(committed)
    }

    fn finish(&self) -> Finish {
        match self.pace {
            Pace::Live => Finish::Promised,
            Pace::Load => Finish::Handed,
        }
    }

    /// Makes sure that what is collected belongs to the layers.
    fn begin(&mut self, layers: &Layers) {
        if self.pace == Pace::Live || self.collected_at != layers.merged {
            // Another process has merged: the layers were built anew, from everything.
            self.collected.clear();
            self.collected_at = layers.merged;
        }
    }

    /// Forgets what was collected after a failure; what was committed of it goes to the overlay.
    fn give_up_collected(&mut self) {
        self.collected.clear();
        if self.pace == Pace::Load {
            let _writing = self.store.writing();
            if let Ok(txn) = self.store.env().read_txn() {
                // If the log cannot be read either, the store is poisoned already.
                let _ = self.store.rebuild(&txn, txn.id());
            }
        }
    }

    /// Does that with one event that a guard may have a say about.
    fn apply_guarded(
        &mut self,
        (change, counts): (&mut Change<'_>, &mut Counts),
        draft: &Draft<'_>,
        facts: Facts,
        guard: &mut dyn Guard,
        committed: &mut Committed,
    ) -> Result<Outcome, StoreError> {
        let event = draft.event()?;
        if !guard.concerns(&event) {
            return self.apply(change, counts, draft, facts);
        }
        change.layers.young.add(&mut self.collected);
        let pass = guard.check(&change.view(), &event)?;
        let outcome = match &pass {
            Pass::Refused(reject) => {
                committed.refused.push(reject.clone());
                return Ok(Outcome::Refused);
            }
            Pass::Unkept => Outcome::Unkept,
            Pass::Plainly | Pass::Noted => self.apply(change, counts, draft, facts)?,
        };
        let is_taken = matches!(outcome, Outcome::Stored(_) | Outcome::Unkept);
        if is_taken && !matches!(pass, Pass::Plainly) {
            change.layers.young.add(&mut self.collected);
            let sequel = guard.note(&change.view(), &event)?;
            self.add((change, counts), sequel, facts.now, committed)?;
        }
        Ok(outcome)
    }

    /// Does what a guard has asked for.
    fn add(
        &mut self,
        (change, counts): (&mut Change<'_>, &mut Counts),
        sequel: Sequel,
        now: u64,
        committed: &mut Committed,
    ) -> Result<(), StoreError> {
        counts.add_to(&mut change.layers);
        for seq in sequel.buried {
            if change.bury(seq)? {
                self.buried.push(seq);
            }
        }
        // Nobody has looked for what these replace.
        let facts = Facts { is_concerned: true, now };
        for event in sequel.events {
            let mut prepared = Prepared::default();
            self.preparer.add(&mut prepared, &event);
            for draft in prepared.drafts() {
                let outcome = self.apply(change, counts, &draft, facts)?;
                if let Outcome::Stored(seq) = outcome {
                    committed.added.push((seq, event.clone()));
                }
            }
        }
        Ok(())
    }

    /// Decides about one event and carries the decision out.
    fn apply(
        &mut self,
        change: &mut Change<'_>,
        counts: &mut Counts,
        draft: &Draft<'_>,
        facts: Facts,
    ) -> Result<Outcome, StoreError> {
        let is_request = matches!(draft.kind, Kind::DELETION | Kind::VANISH);
        let is_plain = !is_request && draft.kind.class() != KindClass::Ephemeral;
        let mut dead = Vec::new();
        if facts.is_concerned || !is_plain || self.recent.may_concern(draft)? {
            if draft.kind == Kind::VANISH {
                // It looks for all events of its author, not by name.
                change.layers.young.add(&mut self.collected);
            }
            let view = change.view();
            let has_blocks = facts.is_concerned || is_request;
            let delegation = self.store.delegation();
            let known = Known { view, recent: &self.recent, has_blocks, delegation };
            match decide(&known, &draft.event()?, facts.now)? {
                Decision::Refuse(outcome) => return Ok(outcome),
                Decision::Store { bury } => dead = bury,
            }
        } else if draft.expiration.is_some_and(|expiration| expiration <= facts.now) {
            return Ok(Outcome::Expired);
        }
        let seq = change.append(draft.record);
        self.collected.add_draft(draft, seq);
        self.recent.remember(draft.names, seq, &change.layers);
        counts.add(draft);
        if draft.kind == Kind::VANISH {
            self.recent.remember_request(draft.event()?.pubkey, seq);
            // The rules ask whether there is any.
            counts.add_to(&mut change.layers);
        }
        if !dead.is_empty() {
            counts.add_to(&mut change.layers);
        }
        for seq in dead {
            if change.bury(seq)? {
                self.buried.push(seq);
            }
        }
        Ok(Outcome::Stored(seq))
    }

    /// Marks events dead that are living; returns how many were.
    ///
    /// # Errors
    ///
    /// As [`Writer::commit`].
    pub fn bury(&mut self, seqs: &[Seq]) -> Result<u64, StoreError> {
        let mut buried = 0;
        self.transact(|change| {
            for seq in seqs {
                buried += u64::from(change.bury(*seq)?);
            }
            Ok(())
        })?;
        Ok(buried)
    }

    /// Returns the store that is written to.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a change that adds no events.
    pub(super) fn transact(
        &mut self,
        work: impl FnOnce(&mut Change<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let store = self.store.clone();
        let transacted = transact(&store, Finish::Promised, |change| {
            self.recent.follow(&change.view())?;
            work(change)
        })?;
        if let Some(tail) = transacted {
            self.recent.committed(tail);
        }
        Ok(())
    }

    /// Buries up to `most` events whose expiration has passed (NIP-40); returns them.
    ///
    /// Deletion requests stay, hidden: what they deleted must not come back.
    ///
    /// # Errors
    ///
    /// As [`Writer::commit`].
    pub fn expire(&mut self, now: u64, most: usize) -> Result<Vec<Seq>, StoreError> {
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
        if !seqs.is_empty() {
            self.bury(&seqs)?;
        }
        Ok(seqs)
    }

    /// Returns whether a merge is under way, which does not remove what dies from here on, or has to
    /// wait.
    pub fn is_merging(&self) -> bool {
        self.merge.is_some() || self.is_held
    }

    /// Adds what was collected to the overlay.
    fn show_collected(&mut self) {
        let _writing = self.store.writing();
        let mut layers = Layers::clone(&self.store.layers());
        if self.collected_at == layers.merged {
            layers.young.add(&mut self.collected);
            self.store.publish(layers);
        }
        self.collected.clear();
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
            let entries_min = match (eager, self.pace) {
                (true, _) => 1,
                (false, Pace::Live) => MERGE_ENTRIES,
                (false, Pace::Load) => MERGE_ENTRIES_OF_LOAD,
            };
            if self.collected.len() >= entries_min {
                self.show_collected();
            }
            let entries_min = if self.is_held { ENTRIES_HELD } else { entries_min };
            self.merge = Merge::start(&self.store, entries_min)?;
            if self.merge.is_some() {
                self.recent.freeze();
            }
        }
        let Some(mut merge) = self.merge.take() else { return self.clean(eager) };
        let mut step = Step::More;
        let result = self.transact(|change| {
            step = merge.step(change)?;
            Ok(())
        });
        if let Err(error) = result {
            self.merge = Some(merge);
            return Err(error);
        }
        match step {
            Step::More => self.merge = Some(merge),
            Step::Overtaken => {}
            Step::Done { merged, era, gone } => {
                self.recent.thaw(merged);
                self.is_sweep_due |= !gone.is_empty();
                self.erasing.push_gone(era, gone);
            }
        }
        Ok(true)
    }

    /// Sweeps from here on what is worth it by this share.
    pub(super) fn sweep_by(&mut self, share: Share) {
        self.share = share;
        self.is_sweep_due = true;
    }

    /// Begins no merge from here on, or does again; returns whether one is under way.
    pub(super) fn hold_merges(&mut self, is_held: bool) -> bool {
        self.is_held = is_held;
        self.merge.is_some()
    }

    /// Has a merge under way begin again: what it put into the blocks may be gone.
    pub(super) fn begin_merge_again(&mut self) {
        if let Some(merge) = &mut self.merge {
            merge.begin_again();
        }
    }

    /// Returns whose end is awaited where [`Writer::maintain`] has nothing to do.
    pub(super) fn awaits(&self) -> Awaits {
        self.erasing.awaits(&self.store)
    }

    /// Does one bounded step of what follows merges: erases, sweeps, waits for the disk.
    fn clean(&mut self, eager: bool) -> Result<bool, StoreError> {
        let store = self.store.clone();
        self.erasing.begin(&store)?;
        if self.erasing.is_due() {
            let mut erasing = std::mem::take(&mut self.erasing);
            let mut has_erased = false;
            let result = self.transact(|change| {
                has_erased = erasing.step(change)?;
                Ok(())
            });
            self.erasing = erasing;
            result?;
            if has_erased {
                return Ok(true);
            }
        }
        if self.sweep.is_none() && self.is_sweep_due && !self.erasing.has_cleared() {
            self.sweep = Sweep::start(&store, self.share)?;
            // After one there may be more.
            self.is_sweep_due = self.sweep.is_some();
        }
        if let Some(mut sweep) = self.sweep.take() {
            let mut erasing = std::mem::take(&mut self.erasing);
            let mut is_over = false;
            let result = self.transact(|change| {
                is_over = sweep.step(&store, &mut erasing, change)?;
                Ok(())
            });
            self.erasing = erasing;
            result?;
            if !is_over {
                self.sweep = Some(sweep);
            }
            return Ok(true);
        }
        if eager && self.is_unsynced {
            flush(&self.store)?;
            self.is_unsynced = false;
        }
        Ok(false)
    }
}

/// What else a decision depends on.
#[derive(Debug, Clone, Copy)]
struct Facts {
    /// Whether it may depend on what is in the blocks.
    is_concerned: bool,
    now: u64,
}

/// New events by kind and the bytes they take, until they are added to the totals all at once.
#[derive(Debug, Default)]
struct Counts(HashMap<u16, (u64, u64), foldhash::fast::RandomState>);

impl Counts {
    fn add(&mut self, draft: &Draft<'_>) {
        let (count, bytes) = self.0.entry(draft.kind.0).or_insert((0, 0));
        *count += 1;
        *bytes += record::stored_bytes(draft.record);
    }

    fn add_to(&mut self, layers: &mut Layers) {
        for (kind, (count, bytes)) in self.0.drain() {
            layers.count_in(kind, count, bytes);
        }
    }
}

/// Memory that a writer keeps for preparing batches.
const PREPARED_KEPT_BYTES: usize = 1 << 20;

/// Fewer entries in memory are never merged into the blocks; a large store waits for more.
const MERGE_ENTRIES: u64 = 500_000;
/// With so many of them a merge begins though it was to wait.
const ENTRIES_HELD: u64 = 4 * MERGE_ENTRIES;
/// The same for loads: some hundreds of megabytes.
const MERGE_ENTRIES_OF_LOAD: u64 = 3_000_000;

/// Room that a load has for entries from the beginning.
const ENTRIES_RESERVED: usize = if cfg!(test) { 1_000 } else { 3_000_000 };
