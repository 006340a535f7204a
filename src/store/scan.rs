//! Scans: one range of one index, highest entry first.
//!
//! A scan joins the blocks in the map with the overlays in memory. An entry may stand in both
//! while a merge is under way; entries name their seq, so equal bytes are the same fact and are
//! given once. Entries of dead events and of events newer than the view are left out.

use heed::types::Bytes;
use heed::{DefaultComparator, RoRevRange};
use std::ops::Bound;

use super::block::{self, Block};
use super::env::damaged;
use super::error::StoreError;
use super::key::{Entry, Index, Range};
use super::snapshot::View;
use crate::seq::Seq;

/// An entry that a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    index: Index,
    entry: Entry,
}

impl Found {
    pub(super) fn new(index: Index, entry: Entry) -> Found {
        Found { index, entry }
    }

    /// Returns the event's seq.
    pub(crate) fn seq(&self) -> Seq {
        self.index.seq(&self.entry)
    }

    /// Returns the entry's time: `created_at`, or the expiration in `by_expiry`.
    pub(crate) fn time(&self) -> u64 {
        self.index.time(&self.entry)
    }

    /// Returns the entry's moment: that of an event that comes earlier in results is higher, or
    /// equal.
    pub(crate) fn moment(&self) -> u64 {
        self.index.moment(&self.entry)
    }

    /// Returns the event's kind if the entry names it.
    pub(crate) fn kind(&self) -> Option<u16> {
        self.index.kind(&self.entry)
    }

    /// Returns the first eight bytes of an entry: those of the author in `by_author_kind`.
    pub(super) fn author8(&self) -> [u8; 8] {
        *self.entry.bytes().first_chunk().expect("an entry has twenty bytes")
    }

    /// Returns the first bytes of the event's author if the entry carries them.
    pub(crate) fn author4(&self) -> Option<[u8; 4]> {
        self.index.author4(&self.entry)
    }
}

/// A range being read.
pub(crate) struct Scan<'t> {
    view: View<'t>,
    index: Index,
    blocks: Blocks<'t>,
    /// What is left of the overlays' runs, each ending with its next entry; none is empty.
    runs: Vec<&'t [Entry]>,
}

/// A range whose highest block is known and on its way into the processor's cache.
///
/// Whoever reads many ranges opens some before the first is read: so the memory in which they
/// begin is waited for once.
pub(crate) struct Opened<'t> {
    pub(super) view: View<'t>,
    pub(super) range: Range,
    pub(super) first: Option<Row<'t>>,
}

/// A row of an index table.
pub(super) type Row<'t> = (&'t [u8], &'t [u8]);

impl<'t> Opened<'t> {
    pub(super) fn new(view: View<'t>, range: Range) -> Result<Opened<'t>, StoreError> {
        let width = range.index.width();
        let table = view.store.tables().indexes[range.index as usize];
        let mut first = None;
        if range.low <= range.high {
            first = table.get_lower_than_or_equal_to(view.txn, &range.high.bytes()[..width])?;
            first.inspect(|(_, bytes)| block::expect(bytes));
        }
        Ok(Opened { view, range, first })
    }

    /// Starts reading.
    pub(crate) fn scan(self) -> Result<Scan<'t>, StoreError> {
        let Opened { view, range, first } = self;
        let mut runs = Vec::new();
        if range.low <= range.high {
            for overlay in view.layers.overlays() {
                for run in overlay.runs(range.index) {
                    let run = between(run, &range);
                    if !run.is_empty() {
                        runs.push(run);
                    }
                }
            }
        }
        let blocks = Blocks::new(view, range, first)?;
        Ok(Scan { view, index: range.index, blocks, runs })
    }

    /// Starts reading the blocks alone.
    pub(super) fn scan_blocks(self) -> Result<Scan<'t>, StoreError> {
        let Opened { view, range, first } = self;
        let blocks = Blocks::new(view, range, first)?;
        Ok(Scan { view, index: range.index, blocks, runs: Vec::new() })
    }
}

impl<'t> Scan<'t> {
    /// Returns the next lower entry of a living event.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, StoreError> {
        while let Some(entry) = self.next_entry()? {
            let seq = self.index.seq(&entry);
            if seq <= self.view.layers.last && !self.view.layers.is_dead(seq) {
                return Ok(Some(Found { index: self.index, entry }));
            }
        }
        Ok(None)
    }

    /// Steps over the next entries, as long as they tell of authors that are refused by the first
    /// bytes of their keys, `max` of them at most; returns how many.
    ///
    /// Only for indexes whose entries tell of authors.
    pub(crate) fn skip_authors(
        &mut self,
        max: usize,
        refuses: impl Fn([u8; 4]) -> bool,
    ) -> Result<usize, StoreError> {
        // What stands in memory is given one by one.
        let floor = self.runs.iter().filter_map(|run| run.last()).max().copied();
        let is_refused = |entry: &Entry| {
            floor.is_none_or(|floor| *entry > floor)
                && self.index.author4(entry).is_some_and(&refuses)
        };
        let mut skipped = 0;
        while skipped < max && self.blocks.peek().as_ref().is_some_and(is_refused) {
            skipped += 1;
            if floor.is_none() {
                skipped += self.blocks.skip(max - skipped, &refuses);
            }
            self.blocks.step()?;
        }
        Ok(skipped)
    }

    /// Returns how many entries of living events are left.
    pub(crate) fn count(mut self) -> Result<u64, StoreError> {
        let mut count = 0;
        // What stands in memory may stand in a block, too.
        while !self.runs.is_empty() && self.next()?.is_some() {
            count += 1;
        }
        let layers = self.view.layers;
        let is_living = |seq: Seq| seq <= layers.last && !layers.is_dead(seq);
        Ok(count + self.blocks.count(self.index, is_living)?)
    }

    /// Returns the highest entry of all sources and steps over it in each.
    fn next_entry(&mut self) -> Result<Option<Entry>, StoreError> {
        let in_blocks = self.blocks.peek();
        if self.runs.is_empty() {
            if in_blocks.is_some() {
                self.blocks.step()?;
            }
            return Ok(in_blocks);
        }
        let in_runs = self.runs.iter().filter_map(|run| run.last()).max().copied();
        let Some(highest) = in_blocks.max(in_runs) else { return Ok(None) };
        if in_blocks == Some(highest) {
            self.blocks.step()?;
        }
        let mut has_emptied = false;
        for run in &mut self.runs {
            if run.last() == Some(&highest) {
                *run = &run[..run.len() - 1];
                has_emptied |= run.is_empty();
            }
        }
        if has_emptied {
            self.runs.retain(|run| !run.is_empty());
        }
        Ok(Some(highest))
    }
}

/// Returns the part of a sorted run that lies in a range.
pub(super) fn between<'e>(run: &'e [Entry], range: &Range) -> &'e [Entry] {
    // Most ranges are narrow: from the upper edge, the lower one is found in a few doublings.
    let high = run.partition_point(|entry| *entry <= range.high);
    let run = &run[..high];
    let mut reach = 1;
    while reach < run.len() && run[run.len() - reach] >= range.low {
        reach *= 2;
    }
    let far = run.len() - reach.min(run.len());
    let low = far + run[far..].partition_point(|entry| *entry < range.low);
    &run[low..]
}

/// The part of a scan that reads the blocks.
struct Blocks<'t> {
    low: Entry,
    width: usize,
    block: Option<Block<'t>>,
    /// Entries of `block` that are still to be read.
    left: usize,
    next: Option<Entry>,
    earlier: Earlier<'t>,
}

/// The rows below those that a scan has read. Most scans end in their first block, so that a cursor
/// is only kept for the others.
enum Earlier<'t> {
    /// Those below this key.
    Below(View<'t>, Index, &'t [u8]),
    Rows(Box<RoRevRange<'t, Bytes, Bytes, DefaultComparator>>),
    None,
}

impl<'t> Blocks<'t> {
    fn new(view: View<'t>, range: Range, first: Option<Row<'t>>) -> Result<Blocks<'t>, StoreError> {
        let width = range.index.width();
        let earlier = Earlier::None;
        let mut blocks =
            Blocks { low: range.low, width, block: None, left: 0, next: None, earlier };
        if let Some((key, bytes)) = first {
            blocks.earlier = Earlier::Below(view, range.index, key);
            blocks.begin(bytes)?;
            blocks.left = blocks.block.map_or(0, |block| block.count_up_to(&range.high));
            blocks.step()?;
        }
        Ok(blocks)
    }

    fn peek(&self) -> Option<Entry> {
        self.next
    }

    fn step(&mut self) -> Result<(), StoreError> {
        self.next = None;
        while let Some(block) = self.block {
            if let Some(position) = self.left.checked_sub(1) {
                self.left = position;
                let entry = block.entry(position);
                if entry >= self.low {
                    self.next = Some(entry);
                } else {
                    self.block = None;
                }
                return Ok(());
            }
            self.load()?;
        }
        Ok(())
    }

    /// Steps over entries behind the next one, within its block, while their last bytes are refused;
    /// returns how many.
    fn skip(&mut self, max: usize, refuses: impl Fn([u8; 4]) -> bool) -> usize {
        let Some(block) = self.block else { return 0 };
        let skipped = block.count_refused(self.left, max, refuses);
        self.left -= skipped;
        skipped
    }

    /// Returns how many entries with such seqs are left; they are stepped over.
    fn count(&mut self, index: Index, is_counted: impl Fn(Seq) -> bool) -> Result<u64, StoreError> {
        let next = self.next.take().is_some_and(|next| is_counted(index.seq(&next)));
        let mut count = u64::from(next);
        while let Some(block) = self.block {
            let from = block.count_below(&self.low).min(self.left);
            count += block.count_seqs(from..self.left, index.seq_at(), &is_counted) as u64;
            if from > 0 {
                self.block = None;
            } else {
                self.load()?;
            }
        }
        Ok(count)
    }

    /// Goes to the next lower block.
    fn load(&mut self) -> Result<(), StoreError> {
        if let Earlier::Below(view, index, key) = self.earlier {
            let table = view.store.tables().indexes[index as usize];
            let below = (Bound::Unbounded, Bound::Excluded(key));
            self.earlier = Earlier::Rows(Box::new(table.rev_range(view.txn, &below)?));
        }
        let row = match &mut self.earlier {
            Earlier::Rows(rows) => rows.next().transpose()?,
            Earlier::Below(..) | Earlier::None => None,
        };
        match row {
            Some((_, bytes)) => self.begin(bytes),
            None => {
                self.block = None;
                Ok(())
            }
        }
    }

    fn begin(&mut self, bytes: &'t [u8]) -> Result<(), StoreError> {
        let block = Block::new(bytes, self.width).ok_or_else(|| damaged("an index block"))?;
        self.left = block.len();
        self.block = Some(block);
        Ok(())
    }
}
