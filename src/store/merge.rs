//! Merging: moving entries from memory into the index blocks, in sorted order and small steps.
//!
//! A merge freezes the young overlay and walks its entries index by index, block by block: read
//! the block, weave the new entries in, leave the dead ones out, cut, write. Each step is a
//! transaction of bounded size, so that commits go on in between. Steps are idempotent (an entry
//! names its event, so adding or removing it twice is the same as once), so after a crash the
//! merge simply starts over: the merge mark moves only when all entries are in place. What was
//! taken out is left to `erase`.

use std::sync::{Arc, Weak};

use heed::{PutFlags, RoTxn, RwTxn};

use super::block::{Block, cut, pack};
use super::cells::Update;
use super::change::Change;
use super::env::{
    META_BYTES, META_MERGED, META_TAIL, META_TOTALS, Store, Table, damaged, read_tail, tail_bytes,
    totals_bytes,
};
use super::error::StoreError;
use super::frame::Tail;
use super::key::{Entry, Index, entries_of};
use super::overlay::{Layers, Overlay};
use super::sweep::{note_dead, note_frames};
use crate::seq::Seq;

/// A merge under way.
#[derive(Debug)]
pub(super) struct Merge {
    frozen: Arc<Overlay>,
    /// The events that are taken out.
    dead: Vec<u64>,
    /// Their entries by index, sorted.
    removals: [Vec<Entry>; Index::ALL.len()],
    totals: Vec<u8>,
    record_bytes: u64,
    last: Seq,
    tail: Tail,
    /// Where the next step starts.
    index: usize,
    from: Entry,
}

impl Merge {
    /// Freezes the overlay if it has at least `entries_min` entries; returns the merge that is then
    /// to be done. A minimum of 1 also asks for the removal of dead events, and for the mark to follow
    /// what was moved.
    pub(super) fn start(store: &Store, entries_min: u64) -> Result<Option<Merge>, StoreError> {
        let _writing = store.writing();
        let txn = store.env().read_txn()?;
        if store.layers().frozen.is_some() {
            // It belongs to a writer that was dropped midway.
            store.rebuild(&txn, txn.id())?;
        }
        let current = store.layers();
        let has_dead = !current.dead.is_empty() && entries_min == 1;
        // Opening the store reads everything behind the mark, what was moved there, too.
        let has_moved =
            entries_min == 1 && current.tail.at > read_tail(store.tables(), &txn)?.at + WORDS_MOVED;
        if current.young.entries() < entries_min && !has_dead && !has_moved {
            return Ok(None);
        }
        if entries_min > 1 && current.young.entries() < enough(store, &txn)? {
            return Ok(None);
        }
        let mut layers = Layers::clone(&current);
        let mut removals: [Vec<Entry>; Index::ALL.len()] = Default::default();
        let view = store.view(&txn, &current);
        for seq in current.dead.iter().map(|seq| Seq(*seq)) {
            if let Some(event) = view.record(seq)? {
                entries_of(store.salt(), &event, seq, &mut |index, entry| {
                    removals[index as usize].push(entry);
                });
            }
        }
        for entries in &mut removals {
            entries.sort_unstable();
            entries.dedup();
        }
        let merge = Merge {
            frozen: freeze(&mut layers),
            dead: current.dead.iter().copied().collect(),
            removals,
            totals: totals_bytes(&current.totals),
            record_bytes: current.record_bytes,
            last: current.last,
            tail: current.tail,
            index: 0,
            from: Entry::MIN,
        };
        drop(txn);
        store.publish(layers);
        Ok(Some(merge))
    }

    /// Begins again with the first index: what is in place already stays.
    pub(super) fn begin_again(&mut self) {
        (self.index, self.from) = (0, Entry::MIN);
    }

    /// Does the next step.
    pub(super) fn step(&mut self, change: &mut Change<'_>) -> Result<Step, StoreError> {
        let is_ours =
            change.layers.frozen.as_ref().is_some_and(|now| Arc::ptr_eq(now, &self.frozen));
        if !is_ours {
            // Another process has merged meanwhile, and the layers were built anew.
            return Ok(Step::Overtaken);
        }
        let store = change.store;
        let mut blocks_left = BLOCKS_PER_STEP;
        while self.index < Index::ALL.len() {
            let index = Index::ALL[self.index];
            let table = store.tables().indexes[self.index];
            let mut weave = Weave { table, width: index.width(), bytes: store.block_bytes() };
            let window = self.window(index);
            let woven =
                weave.run(change.tables(), window.adds, window.removals, &mut blocks_left)?;
            match woven.or(window.end) {
                Some(from) => self.from = from,
                None => {
                    self.index += 1;
                    self.from = Entry::MIN;
                }
            }
            if blocks_left == 0 {
                return Ok(Step::More);
            }
        }
        self.move_mark(change)?;
        let gone = std::mem::take(&mut self.dead).into_iter().map(Seq).collect();
        Ok(Step::Done { merged: self.last, era: change.end_era(), gone })
    }

    /// Returns what is next to be added to and removed from an index. What died since the merge
    /// began is added too, and removed by the next one.
    fn window(&self, index: Index) -> Window<'_> {
        let adds: &[Entry] = self.frozen.runs(index).first().map_or(&[], |run| run);
        let adds = &adds[adds.partition_point(|entry| *entry < self.from)..];
        let (adds, later) = adds.split_at(adds.len().min(ADDS_PER_WINDOW));
        let removals = &self.removals[index as usize];
        let removals = &removals[removals.partition_point(|entry| *entry < self.from)..];
        let end = later.first().copied();
        let (removals, _) = split(removals, end.as_ref(), usize::MAX);
        Window { adds, removals, end }
    }

    /// Moves the merge mark and brings totals and fingerprints up to it.
    fn move_mark(&self, change: &mut Change<'_>) -> Result<(), StoreError> {
        let store = change.store;
        let tables = store.tables();
        let base =
            Layers { dead: change.layers.dead.clone(), last: self.last, ..Layers::default() };
        // The part of this merge that reads the layers comes first.
        let young = std::mem::take(&mut change.layers.young);
        let frozen = &*self.frozen;
        let update = Update { store, frozen, base: &base, died_since: young.removed() };
        let txn = change.tables();
        update.run(txn)?;
        store.log().sync_all()?;
        for seq in &self.dead {
            // From here on they are in no entry, total or sum; only their records are left.
            tables.dead.put(txn, &seq.to_be_bytes(), &[]).map_err(StoreError::of_write)?;
        }
        note_dead(store, txn, self.dead.iter().copied().map(Seq))?;
        let before = read_tail(tables, txn)?;
        note_frames(store, txn, before.at..self.tail.at)?;
        for (name, value) in [
            (META_MERGED, self.last.0.to_be_bytes().as_slice()),
            (META_TAIL, &tail_bytes(self.tail)),
            (META_TOTALS, &self.totals),
            (META_BYTES, &self.record_bytes.to_be_bytes()),
        ] {
            tables.meta.put(txn, name, value).map_err(StoreError::of_write)?;
        }
        change.layers.young = young;
        change.layers.frozen = None;
        change.layers.merged = self.last;
        for seq in &self.dead {
            change.layers.dead.remove(seq);
            change.layers.gone.insert(*seq);
        }
        Ok(())
    }
}

/// What a step of a merge did.
#[derive(Debug)]
pub(super) enum Step {
    /// There is more to do.
    More,
    /// The merge mark has moved.
    Done {
        /// To here.
        merged: Seq,
        /// Who holds this may still read what was taken out.
        era: Weak<()>,
        /// What was taken out.
        gone: Vec<Seq>,
    },
    /// There is nothing more to do: another process has done it.
    Overtaken,
}

/// Freezes the young overlay; readers go on with both.
fn freeze(layers: &mut Layers) -> Arc<Overlay> {
    let mut young = std::mem::take(&mut layers.young);
    young.collapse();
    let frozen = Arc::new(young);
    layers.frozen = Some(Arc::clone(&frozen));
    frozen
}

/// Returns how many entries make a merge worth its while: in a large store fewer would find nearly
/// every one a block of its own, and each block is written whole.
fn enough(store: &Store, txn: &RoTxn<'_>) -> Result<u64, StoreError> {
    let mut blocks = 0;
    for table in &store.tables().indexes {
        blocks += table.len(txn)?;
    }
    Ok((blocks * ENTRIES_PER_BLOCK).min(ENTRIES_ENOUGH))
}

/// Entries woven into a block at once, on average, that are worth writing it.
const ENTRIES_PER_BLOCK: u64 = 20;
/// This many entries are always enough: about a hundred megabytes.
const ENTRIES_ENOUGH: u64 = 3_000_000;

/// As much behind the merge mark is worth moving it: 16 megabytes.
const WORDS_MOVED: u64 = if cfg!(test) { 1 << 10 } else { 2 << 20 };

/// The part of an index's entries that is woven in next.
struct Window<'m> {
    adds: &'m [Entry],
    removals: &'m [Entry],
    /// Where the next window starts.
    end: Option<Entry>,
}

/// Blocks that one step may touch: about a megabyte, some milliseconds.
///
/// It also bounds what a step frees. LMDB keeps freed pages in one row per transaction, and a
/// commit that takes a page from such a row writes what is left of it: with long rows even the
/// smallest commit would write hundreds of kilobytes.
const BLOCKS_PER_STEP: usize = if cfg!(test) { 3 } else { 256 };
/// Entries looked at at once; more than most steps need.
const ADDS_PER_WINDOW: usize = 32_768;

/// Weaves sorted entries into the blocks of one table.
pub(super) struct Weave {
    pub(super) table: Table,
    pub(super) width: usize,
    pub(super) bytes: usize,
}

impl Weave {
    /// Weaves until done or until no block is left; then returns where to go on.
    pub(super) fn run(
        &mut self,
        txn: &mut RwTxn<'_>,
        mut adds: &[Entry],
        mut removals: &[Entry],
        blocks_left: &mut usize,
    ) -> Result<Option<Entry>, StoreError> {
        let mut old = Vec::new();
        let mut woven = Vec::new();
        while let Some(first) = lowest(adds, removals) {
            if *blocks_left == 0 {
                return Ok(Some(first));
            }
            let key = self.block_of(txn, &first, &mut old)?;
            let end = self.key_after(txn, key.as_ref().unwrap_or(&first))?;
            // Into an empty table everything goes at once, in runs of bounded size.
            let most = if end.is_none() { *blocks_left * 200 } else { usize::MAX };
            let (now, later) = split(adds, end.as_ref(), most);
            let (gone, kept) = match (end, later.first()) {
                (None, Some(next)) => split(removals, Some(next), usize::MAX),
                _ => split(removals, end.as_ref(), usize::MAX),
            };
            (adds, removals) = (later, kept);
            woven.clear();
            weave(&old, now, gone, &mut woven);
            if woven != old {
                let written = self.replace(txn, key.as_ref(), &woven, end.is_none())?;
                *blocks_left = blocks_left.saturating_sub(written.max(1));
            }
        }
        Ok(None)
    }

    /// Finds the block that an entry belongs to; unpacks it and returns its key.
    fn block_of(
        &self,
        txn: &RwTxn<'_>,
        entry: &Entry,
        old: &mut Vec<Entry>,
    ) -> Result<Option<Entry>, StoreError> {
        old.clear();
        let bytes = entry.bytes();
        let key = &bytes[..self.width];
        let row = match self.table.get_lower_than_or_equal_to(txn, key)? {
            Some(row) => Some(row),
            None => self.table.first(txn)?,
        };
        let Some((key, bytes)) = row else { return Ok(None) };
        let block = Block::new(bytes, self.width).ok_or_else(|| damaged("an index block"))?;
        block.unpack(old);
        Ok(Some(Entry::padded(key)))
    }

    fn key_after(&self, txn: &RwTxn<'_>, key: &Entry) -> Result<Option<Entry>, StoreError> {
        let row = self.table.get_greater_than(txn, &key.bytes()[..self.width])?;
        Ok(row.map(|(key, _)| Entry::padded(key)))
    }

    /// Writes the entries in place of the block at `key`; returns the number of blocks written.
    fn replace(
        &self,
        txn: &mut RwTxn<'_>,
        key: Option<&Entry>,
        entries: &[Entry],
        is_last: bool,
    ) -> Result<usize, StoreError> {
        if let Some(key) = key
            && entries.first() != Some(key)
        {
            self.table.delete(txn, &key.bytes()[..self.width]).map_err(StoreError::of_write)?;
        }
        let mut written = 0;
        let mut block = Vec::with_capacity(self.bytes);
        let mut result = Ok(());
        cut(entries, self.width, self.bytes, is_last, |run| {
            pack(run, self.width, &mut block);
            let is_new = written > 0 || key != entries.first();
            let flags = if is_last && is_new { PutFlags::APPEND } else { PutFlags::empty() };
            let put = self.table.put_with_flags(txn, flags, &run[0].bytes()[..self.width], &block);
            written += 1;
            if result.is_ok() {
                result = put.map_err(StoreError::of_write);
            }
        });
        result.map(|()| written)
    }
}

fn lowest(adds: &[Entry], removals: &[Entry]) -> Option<Entry> {
    match (adds.first(), removals.first()) {
        (Some(add), Some(removal)) => Some(*add.min(removal)),
        (add, removal) => add.or(removal).copied(),
    }
}

/// Splits off the entries below `end`, at most `most` of them.
fn split<'e>(entries: &'e [Entry], end: Option<&Entry>, most: usize) -> (&'e [Entry], &'e [Entry]) {
    let count = end.map_or(entries.len(), |end| entries.partition_point(|entry| entry < end));
    entries.split_at(count.min(most))
}

/// Appends the union of `old` and `adds` without `removals`; all are sorted.
fn weave(old: &[Entry], adds: &[Entry], removals: &[Entry], out: &mut Vec<Entry>) {
    let (mut old, mut adds, mut removals) = (old, adds, removals);
    while let Some(next) = lowest(old, adds) {
        old = &old[usize::from(old.first() == Some(&next))..];
        adds = &adds[usize::from(adds.first() == Some(&next))..];
        while removals.first().is_some_and(|removal| *removal < next) {
            removals = &removals[1..];
        }
        if removals.first() != Some(&next) {
            out.push(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8) -> Entry {
        Entry::padded(&[number])
    }

    #[test]
    fn weaving_adds_and_removes_once_and_again_without_effect() {
        let entries = |numbers: &[u8]| numbers.iter().map(|n| entry(*n)).collect::<Vec<_>>();
        let mut once = Vec::new();
        weave(&entries(&[1, 3, 5]), &entries(&[2, 3, 9]), &entries(&[0, 5, 7]), &mut once);
        assert_eq!(once, entries(&[1, 2, 3, 9]));
        let mut again = Vec::new();
        weave(&once, &entries(&[2, 3, 9]), &entries(&[0, 5, 7]), &mut again);
        assert_eq!(again, once);
    }
}
