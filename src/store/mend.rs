//! Mending: what `check` finds wrong with indexes, counts and fingerprints, put right while others
//! read and write.
//!
//! A snapshot says what is wrong, and the writer mends it in small batches between commits. It
//! looks at each finding again in its own transaction: what is no longer so is left alone. Records are
//! what everything follows from, so those that are damaged or lost cannot be mended here: `repair`
//! reads the log for them.

use std::collections::HashSet;

use serde::Serialize;

use super::block::Block;
use super::cells::{self, Row};
use super::change::Change;
use super::check::{
    CheckReport, Count, Fault, ROWS_PER_TICK, Rows, check_watched, fault_of, implies, survey,
};
use super::env::{META_BYTES, META_MERGED, META_TOTALS, Store, read_seq, totals_bytes};
use super::error::StoreError;
use super::frame::{HEADER_BYTES, WORD_BYTES};
use super::key::{Entry, Index};
use super::log::FIRST_FRAME;
use super::merge::Weave;
use super::reclaim::{Stage, Tend, Watch, ask};
use super::record;
use super::snapshot::Snapshot;
use super::sums::is_set_aside;
use super::write::Writer;
use crate::nostr::Verifier;
use crate::reconcile::Sum;
use crate::seq::Seq;

/// What was put right, and what could not be.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MendReport {
    /// Records read.
    pub records: u64,
    /// Index entries read.
    pub entries: u64,
    /// Rows of the indexes that were taken out, because they had not their form.
    pub rows_removed: u64,
    /// Index entries that were missing and were put in.
    pub entries_added: u64,
    /// Index entries of no event that were taken out.
    pub entries_removed: u64,
    /// Counts of events and bytes that were set right.
    pub counts_corrected: u64,
    /// Rows of fingerprints that were written anew.
    pub fingerprints_rewritten: u64,
    /// How many things are wrong that cannot be mended while others use the store.
    pub faults_left: u64,
    /// The first of them, in words.
    pub examples: Vec<String>,
}

impl MendReport {
    /// Returns whether nothing is wrong any more.
    pub fn is_whole(&self) -> bool {
        self.faults_left == 0
    }

    /// Returns whether anything was wrong that was put right.
    pub fn has_mended(&self) -> bool {
        self.rows_removed
            + self.entries_added
            + self.entries_removed
            + self.counts_corrected
            + self.fingerprints_rewritten
            > 0
    }
}

/// Checks the store and mends what is wrong with it, as far as that is possible beside others.
///
/// # Errors
///
/// [`StoreError::Stopped`] if `watch` has stopped it: what was mended until then is. Otherwise if
/// the store cannot be read or written at all.
pub fn mend(
    store: &Store,
    tend: &mut Tend<'_>,
    watch: &mut Watch<'_>,
) -> Result<MendReport, StoreError> {
    let mended = mend_all(store, tend, watch);
    ask(tend, |writer| writer.hold_merges(false))?;
    mended
}

fn mend_all(
    store: &Store,
    tend: &mut Tend<'_>,
    watch: &mut Watch<'_>,
) -> Result<MendReport, StoreError> {
    let mut report = MendReport::default();
    // A merge would stumble over these, so none begins before they are gone.
    mend_rows(store, tend, watch, &mut report)?;
    let unreadable = cells::unreadable(store, store.snapshot()?.txn())?;
    let has_unreadable = !unreadable.is_empty();
    for batch in unreadable.chunks(CELLS_BATCH) {
        let batch = batch.to_vec();
        report.fingerprints_rewritten += ask(tend, |writer| {
            writer.hold_merges(true);
            writer.remove_cells(batch)
        })??;
    }
    if has_unreadable || report.rows_removed > 0 {
        ask(tend, |writer| writer.hold_merges(false))?;
    }
    let found = mend_entries(store, tend, watch, &mut report)?;
    // While entries were missing a merge may have summed up what it found.
    let has_changed = report.rows_removed + report.entries_added > 0 || has_unreadable;
    let may_have_sums = has_changed && !found.has_damage;
    if found.has_sums || may_have_sums {
        mend_sums(store, tend, watch, &mut report)?;
        ask(tend, |writer| writer.hold_merges(false))?;
    }
    if !report.has_mended() {
        report.faults_left = found.left.faults + found.lost.faults;
        report.examples = found.left.examples;
        report.examples.extend(found.lost.examples);
        return Ok(report);
    }
    let rest = check_watched(store, &mut |done, of| watch(Stage::at("checking again", done, of)))?;
    (report.faults_left, report.examples) = (rest.faults, rest.examples);
    // Whoever reads on a report wants to know why, too.
    report.examples.extend(found.lost.examples);
    Ok(report)
}

/// Takes out rows that are no blocks, or stand where they do not belong: from here on their entries are
/// missing, which is mended next.
fn mend_rows(
    store: &Store,
    tend: &mut Tend<'_>,
    watch: &mut Watch<'_>,
    report: &mut MendReport,
) -> Result<(), StoreError> {
    let mut faults = Vec::new();
    {
        let snapshot = store.snapshot()?;
        let mut sink = |fault| {
            faults.push(fault);
            if faults.len() < ROWS_MAX { Ok(()) } else { Err(too_much()) }
        };
        for (place, index) in (0..).zip(Index::ALL) {
            watch(Stage::at("reading the indexes", place, Index::ALL.len() as u64))?;
            let mut rows = Rows::of(index);
            for row in store.tables().indexes[index as usize].iter(snapshot.txn())? {
                let (key, bytes) = row?;
                let _ = rows.next(key, bytes, &mut sink)?;
            }
        }
    }
    for batch in faults.chunks(BATCH) {
        let batch = batch.to_vec();
        report.rows_removed += ask(tend, move |writer| {
            writer.hold_merges(true);
            writer.mend(batch)
        })??
        .removed;
    }
    Ok(())
}

/// What entries and records were found to be.
#[derive(Default)]
struct Found {
    /// What cannot be mended here.
    left: CheckReport,
    /// Of that, the records that have lost their places: only the log knows of them.
    lost: CheckReport,
    /// Whether records are damaged or lost.
    has_damage: bool,
    /// Whether counts or fingerprints are wrong, and can be mended.
    has_sums: bool,
}

/// Puts in what is missing, and takes out what has no record.
fn mend_entries(
    store: &Store,
    tend: &mut Tend<'_>,
    watch: &mut Watch<'_>,
    report: &mut MendReport,
) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let (mut missing, mut strays) = (Vec::new(), Vec::new());
    let mut added = 0;
    let snapshot = store.snapshot()?;
    let mut sink = |fault| {
        match fault {
            Fault::Missing { .. } => missing.push(fault),
            Fault::Stray { index, entry } if strays.len() < STRAYS_MAX => {
                strays.push((index, entry));
            }
            Fault::Stray { .. } => return Err(too_much()),
            Fault::Counts(_) | Fault::Fingerprints(_) => found.has_sums = true,
            // Rows are new ones here, and wait for the next time.
            Fault::Record(..) | Fault::Row { .. } | Fault::Place(_) => {
                found.has_damage = true;
                found.left.note(&fault);
            }
        }
        if missing.len() == BATCH {
            let batch = std::mem::take(&mut missing);
            added += ask(tend, move |writer| writer.mend(batch))??.added;
        }
        Ok(())
    };
    let mut progress = |done, of| watch(Stage::at("comparing with the records", done, of));
    (report.records, report.entries) = survey(&snapshot, &mut sink, &mut progress)?;
    if !missing.is_empty() {
        added += ask(tend, move |writer| writer.mend(missing))??.added;
    }
    report.entries_added += added;
    // What has no place may have lost it.
    let lost = in_log_alone(&snapshot, &strays)?;
    drop(snapshot);
    found.has_damage |= !lost.is_empty();
    for seq in &lost {
        found.lost.note(&Fault::Place(*seq));
    }
    strays.retain(|(index, entry)| !lost.contains(&index.seq(entry)));
    for batch in strays.chunks(BATCH) {
        let stray = |(index, entry): &(Index, Entry)| Fault::Stray { index: *index, entry: *entry };
        let batch: Vec<Fault> = batch.iter().map(stray).collect();
        report.entries_removed += ask(tend, move |writer| writer.mend(batch))??.removed;
    }
    if found.has_sums && found.has_damage {
        // They may be right, and the records wrong.
        found.has_sums = false;
        found.left.note(&Fault::Counts("those of a store with damaged records"));
    }
    Ok(found)
}

/// Returns those events of entries without a record whose record is in the log all the same.
fn in_log_alone(
    snapshot: &Snapshot<'_>,
    strays: &[(Index, Entry)],
) -> Result<HashSet<Seq>, StoreError> {
    let log = snapshot.store().log();
    let seqs = strays.iter().map(|(index, entry)| index.seq(entry));
    let is_unplaced = |seq: &Seq| *seq <= snapshot.seq() && log.places().of(*seq).is_none();
    let unplaced: HashSet<Seq> = seqs.filter(is_unplaced).collect();
    let mut found = HashSet::new();
    let mut verifier = Verifier::new();
    let (mut at, end) = (FIRST_FRAME, snapshot.layers().tail.at);
    while at < end && !unplaced.is_empty() {
        let Some((words, _, is_frame)) = log.head(at) else { return Err(unreadable()) };
        let mut item = at + (HEADER_BYTES / WORD_BYTES) as u64;
        at += words;
        while is_frame && item < at {
            let Some(prefix) = log.prefix(item).filter(|it| it.seq != Seq::ZERO && it.words > 0)
            else {
                break;
            };
            if unplaced.contains(&prefix.seq)
                && let Some(bytes) = log.record_at(item, prefix.seq)
                && let Ok(event) = record::decode(bytes, prefix.seq)
                && verifier.check_id(&event).is_ok()
            {
                found.insert(prefix.seq);
            }
            item += prefix.words as u64;
        }
    }
    Ok(found)
}

/// Sets counts and fingerprints right: the merge mark stands still meanwhile.
fn mend_sums(
    store: &Store,
    tend: &mut Tend<'_>,
    watch: &mut Watch<'_>,
    report: &mut MendReport,
) -> Result<(), StoreError> {
    for _ in 0..ATTEMPTS {
        while ask(tend, |writer| writer.hold_merges(true))? {
            watch(Stage::at("merging", 0, 0))?;
        }
        let snapshot = store.snapshot()?;
        if !snapshot.is_at_merge_mark()? {
            continue;
        }
        let sums = Sums::of(&snapshot, watch)?;
        let rows = cells::unlike(store, snapshot.txn(), sums.items)?;
        let merged = snapshot.layers().merged;
        drop(snapshot);
        let Sums { living, counted, merged_count, .. } = sums;
        let mut corrected = u64::from(living != counted);
        ask(tend, move |writer| writer.correct_living(&living, &counted))??;
        let mut is_overtaken = false;
        match ask(tend, move |writer| writer.correct_merged(merged, &merged_count))?? {
            Some(is_new) => corrected += u64::from(is_new),
            None => is_overtaken = true,
        }
        report.counts_corrected += corrected;
        for batch in rows.chunks(CELLS_BATCH) {
            let (batch, count) = (batch.to_vec(), batch.len() as u64);
            if is_overtaken || !ask(tend, move |writer| writer.put_cells(merged, &batch))?? {
                is_overtaken = true;
                break;
            }
            report.fingerprints_rewritten += count;
            watch(Stage::at("writing fingerprints", report.fingerprints_rewritten, 0))?;
        }
        if !is_overtaken {
            return Ok(());
        }
    }
    Ok(())
}

/// What the records of a snapshot add up to.
struct Sums {
    /// What lives, and what memory says.
    living: Count,
    counted: Count,
    /// What lived at the merge mark.
    merged_count: Count,
    /// Times and ids of what fingerprints are of, in order of time.
    items: Vec<(u64, Sum)>,
}

impl Sums {
    fn of(snapshot: &Snapshot<'_>, watch: &mut Watch<'_>) -> Result<Sums, StoreError> {
        let (layers, view) = (snapshot.layers(), snapshot.view());
        let counted = Count { kinds: layers.totals.clone(), bytes: layers.record_bytes };
        let (living, merged_count, items) = (Count::default(), Count::default(), Vec::new());
        let mut sums = Sums { living, counted, merged_count, items };
        for seq in (1..=layers.last.0).map(Seq) {
            if seq.0.is_multiple_of(ROWS_PER_TICK) {
                watch(Stage::at("counting", seq.0, layers.last.0))?;
            }
            let Some(bytes) = view.bytes(seq)? else { continue };
            let event = record::decode(bytes, seq)?;
            if !layers.is_dead(seq) {
                sums.living.add(&event, bytes);
            }
            let dead = snapshot.store().tables().dead;
            let is_counted = dead.get(snapshot.txn(), &seq.0.to_be_bytes())?.is_none();
            if seq <= layers.merged && is_counted {
                sums.merged_count.add(&event, bytes);
                if !is_set_aside(&event) {
                    sums.items.push((event.created_at, Sum::of(&event.id.0)));
                }
            }
        }
        sums.items.sort_unstable_by_key(|(time, _)| *time);
        Ok(sums)
    }
}

/// What became of a batch of faults.
#[derive(Debug, Default)]
struct Mended {
    /// Entries that were put in.
    added: u64,
    /// Rows or entries that were taken out.
    removed: u64,
}

impl Writer {
    /// Mends faults of the indexes, those of them that there still are.
    fn mend(&mut self, faults: Vec<Fault>) -> Result<Mended, StoreError> {
        let mut mended = Mended::default();
        let has_rows = faults.iter().any(|fault| matches!(fault, Fault::Row { .. }));
        self.transact(|change| {
            let (mut adds, mut removals) = (EACH_NONE, EACH_NONE);
            let mut verifier = Verifier::new();
            for fault in faults {
                match fault {
                    Fault::Row { index, key, .. } => {
                        mended.removed += u64::from(remove_row(change, index, &key)?);
                    }
                    Fault::Missing { index, entry } if is_missing(change, index, &entry)? => {
                        adds[index as usize].push(entry);
                    }
                    Fault::Stray { index, entry }
                        if is_stray(change, index, &entry, &mut verifier)? =>
                    {
                        removals[index as usize].push(entry);
                    }
                    _ => {}
                }
            }
            for index in Index::ALL {
                let (adds, removals) = (&mut adds[index as usize], &mut removals[index as usize]);
                adds.sort_unstable();
                removals.sort_unstable();
                mended.added += adds.len() as u64;
                mended.removed += removals.len() as u64;
                let table = change.store.tables().indexes[index as usize];
                let bytes = change.store.block_bytes();
                let mut weave = Weave { table, width: index.width(), bytes };
                if !(adds.is_empty() && removals.is_empty()) {
                    let _ = weave.run(change.tables(), adds, removals, &mut (2 * BATCH))?;
                }
            }
            Ok(())
        })?;
        if has_rows && mended.removed > 0 {
            // It may have woven in already what the rows had of its entries.
            self.begin_merge_again();
        }
        Ok(mended)
    }

    /// Changes what memory says of the living by what it was wrong.
    fn correct_living(&mut self, living: &Count, counted: &Count) -> Result<(), StoreError> {
        self.transact(|change| {
            let layers = &mut change.layers;
            let kinds = living.kinds.keys().chain(counted.kinds.keys());
            for kind in kinds.copied().collect::<HashSet<u16>>() {
                let of = |count: &Count| count.kinds.get(&kind).copied().unwrap_or(0);
                let total = layers.totals.get(&kind).copied().unwrap_or(0);
                match total.saturating_add(of(living)).saturating_sub(of(counted)) {
                    0 => drop(layers.totals.remove(&kind)),
                    total => drop(layers.totals.insert(kind, total)),
                }
            }
            let bytes = layers.record_bytes.saturating_add(living.bytes);
            layers.record_bytes = bytes.saturating_sub(counted.bytes);
            change.keep_layers();
            Ok(())
        })
    }

    /// Sets the counts of the tables, if the merge mark still stands where it did; returns whether
    /// they were others.
    fn correct_merged(&mut self, merged: Seq, count: &Count) -> Result<Option<bool>, StoreError> {
        let mut is_new = None;
        self.transact(|change| {
            let tables = change.store.tables();
            if read_seq(tables, &change.txn, META_MERGED)? != merged {
                return Ok(());
            }
            let rows = [
                (META_TOTALS, totals_bytes(&count.kinds)),
                (META_BYTES, count.bytes.to_be_bytes().to_vec()),
            ];
            for (name, value) in rows {
                let is_same = tables.meta.get(&change.txn, name)?.unwrap_or_default() == value;
                is_new = Some(is_new.unwrap_or(false) || !is_same);
                if !is_same {
                    tables.meta.put(change.tables(), name, &value).map_err(StoreError::of_write)?;
                }
            }
            Ok(())
        })?;
        Ok(is_new)
    }

    /// Takes rows of fingerprints out that are none.
    fn remove_cells(&mut self, keys: Vec<Vec<u8>>) -> Result<u64, StoreError> {
        let mut removed = 0;
        self.transact(|change| {
            removed = cells::remove_unreadable(change.store, change.tables(), &keys)?;
            Ok(())
        })?;
        Ok(removed)
    }

    /// Writes rows of fingerprints, if the merge mark still stands where it did.
    fn put_cells(&mut self, merged: Seq, rows: &[Row]) -> Result<bool, StoreError> {
        let mut is_put = false;
        self.transact(|change| {
            let tables = change.store.tables();
            if read_seq(tables, &change.txn, META_MERGED)? != merged {
                return Ok(());
            }
            is_put = true;
            let (table, txn) = (tables.fingerprints, change.tables());
            for (key, value) in rows {
                match value {
                    Some(value) => table.put(txn, key, value).map_err(StoreError::of_write)?,
                    None => drop(table.delete(txn, key).map_err(StoreError::of_write)?),
                }
            }
            Ok(())
        })?;
        Ok(is_put)
    }
}

/// Takes a row out if it still has not its form, or not its place.
fn remove_row(change: &mut Change<'_>, index: Index, key: &[u8]) -> Result<bool, StoreError> {
    let table = change.store.tables().indexes[index as usize];
    let Some(bytes) = table.get(&change.txn, key)? else { return Ok(false) };
    let mut entries = Vec::new();
    let mut is_wrong = fault_of(index, key, bytes, &mut entries).is_some();
    if let Some((next, _)) = table.get_greater_than(&change.txn, key)? {
        is_wrong |= entries.last().is_some_and(|last| *last >= Entry::padded(next));
    }
    if let Some((_, bytes)) = table.get_lower_than(&change.txn, key)?
        && let Some(block) = Block::new(bytes, index.width())
        && let Some(last) = block.len().checked_sub(1)
    {
        is_wrong |= entries.first().is_some_and(|first| block.entry(last) >= *first);
    }
    if is_wrong {
        table.delete(change.tables(), key).map_err(StoreError::of_write)?;
    }
    Ok(is_wrong)
}

/// Returns whether an entry ought to stand in the blocks, does not, and can be put in.
fn is_missing(change: &Change<'_>, index: Index, entry: &Entry) -> Result<bool, StoreError> {
    let seq = index.seq(entry);
    if seq > change.layers.merged || change.layers.is_dead(seq) {
        return Ok(false);
    }
    let Ok(Some(event)) = change.view().record(seq) else { return Ok(false) };
    let is_there = stands(change, index, entry)?;
    Ok(is_there == Some(false) && implies(change.store, &event, seq, (index, *entry)))
}

/// Returns whether an entry stands in the blocks and is that of no event.
fn is_stray(
    change: &Change<'_>,
    index: Index,
    entry: &Entry,
    verifier: &mut Verifier,
) -> Result<bool, StoreError> {
    let seq = index.seq(entry);
    let is_implied = match change.view().record(seq) {
        Ok(None) => false,
        // What a damaged record implies is nothing to go by.
        Err(_) => true,
        Ok(Some(event)) => {
            let is_event = verifier.check_id(&event).is_ok();
            !is_event || implies(change.store, &event, seq, (index, *entry))
        }
    };
    Ok(!is_implied && stands(change, index, entry)? == Some(true))
}

/// Returns whether an entry stands in the blocks; nothing if the block in question is none.
fn stands(change: &Change<'_>, index: Index, entry: &Entry) -> Result<Option<bool>, StoreError> {
    let table = change.store.tables().indexes[index as usize];
    let width = index.width();
    let row = table.get_lower_than_or_equal_to(&change.txn, &entry.bytes()[..width])?;
    let is_below = row.is_some();
    let row = if is_below { row } else { table.first(&change.txn)? };
    let Some((_, bytes)) = row else { return Ok(Some(false)) };
    let Some(block) = Block::new(bytes, width) else { return Ok(None) };
    let count = block.count_up_to(entry);
    Ok(Some(is_below && count > 0 && block.entry(count - 1) == *entry))
}

fn too_much() -> StoreError {
    super::env::damaged(
        "the indexes (too much of them is wrong to be mended while the relay serves)",
    )
}

fn unreadable() -> StoreError {
    super::env::damaged("the log (one of its frames)")
}

/// Nothing of any index.
const EACH_NONE: [Vec<Entry>; Index::ALL.len()] = [const { Vec::new() }; Index::ALL.len()];
/// Faults mended in one transaction; each may be in a block of its own.
const BATCH: usize = if cfg!(test) { 5 } else { 128 };
/// Rows of fingerprints written in one transaction, of half a kilobyte each.
const CELLS_BATCH: usize = if cfg!(test) { 5 } else { 128 };
/// What is kept in memory of one mending.
const ROWS_MAX: usize = 100_000;
const STRAYS_MAX: usize = 1_000_000;
/// So often another process may merge while sums are set right.
const ATTEMPTS: usize = 3;
