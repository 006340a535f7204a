//! Scans: one range of one index, highest entry first.
//!
//! A scan joins the blocks in the map with the overlays in memory. An entry may stand in both
//! while a merge is under way; entries name their seq, so equal bytes are the same fact and are
//! given once. Entries of dead events and of events newer than the view are left out.

use heed::types::Bytes;
use heed::{DefaultComparator, RoRevRange};
use imbl::ordset::RangedIter;
use imbl::shared_ptr::DefaultSharedPtr;
use std::ops::Bound;

use super::block::Block;
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
    /// Returns the event's seq.
    pub(crate) fn seq(&self) -> Seq {
        self.index.seq(&self.entry)
    }

    /// Returns the entry's time: `created_at`, or the expiration in `by_expiry`.
    pub(crate) fn time(&self) -> u64 {
        self.index.time(&self.entry)
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
    range: Range,
    blocks: Blocks<'t>,
    overlays: [Option<Young<'t>>; 2],
}

/// The part of a scan that reads one overlay.
struct Young<'t> {
    rest: RangedIter<'t, Entry, DefaultSharedPtr>,
    next: Entry,
}

impl<'t> Scan<'t> {
    pub(super) fn new(view: View<'t>, range: Range) -> Result<Scan<'t>, StoreError> {
        let mut overlays = [None, None];
        if range.low <= range.high {
            for (slot, overlay) in overlays.iter_mut().zip(view.layers.overlays()) {
                let set = overlay.set(range.index);
                if !set.is_empty() {
                    let mut rest = set.range(range.low..=range.high);
                    *slot = rest.next_back().map(|next| Young { next: *next, rest });
                }
            }
        }
        let blocks = Blocks::new(&view, range)?;
        Ok(Scan { view, range, blocks, overlays })
    }

    /// Returns the next lower entry of a living event.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, StoreError> {
        while let Some(entry) = self.next_entry()? {
            let seq = self.range.index.seq(&entry);
            if seq <= self.view.layers.last && !self.view.layers.is_dead(seq) {
                return Ok(Some(Found { index: self.range.index, entry }));
            }
        }
        Ok(None)
    }

    /// Returns the highest entry of all sources and steps over it in each.
    fn next_entry(&mut self) -> Result<Option<Entry>, StoreError> {
        let mut highest = self.blocks.peek();
        for young in self.overlays.iter().flatten() {
            highest = highest.max(Some(young.next));
        }
        let Some(highest) = highest else { return Ok(None) };
        if self.blocks.peek() == Some(highest) {
            self.blocks.step()?;
        }
        for slot in &mut self.overlays {
            if let Some(young) = slot
                && young.next == highest
            {
                match young.rest.next_back() {
                    Some(next) => young.next = *next,
                    None => *slot = None,
                }
            }
        }
        Ok(Some(highest))
    }
}

/// The part of a scan that reads the blocks.
struct Blocks<'t> {
    low: Entry,
    width: usize,
    earlier: RoRevRange<'t, Bytes, Bytes, DefaultComparator>,
    block: Option<Block<'t>>,
    /// Entries of `block` that are still to be read.
    left: usize,
    next: Option<Entry>,
}

impl<'t> Blocks<'t> {
    fn new(view: &View<'t>, range: Range) -> Result<Blocks<'t>, StoreError> {
        let width = range.index.width();
        let table = view.store.tables().indexes[range.index as usize];
        let earlier = table.rev_range(view.txn, &up_to(&range.high.bytes()[..width]))?;
        let mut blocks =
            Blocks { low: range.low, width, earlier, block: None, left: 0, next: None };
        if range.low <= range.high {
            blocks.load()?;
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

    /// Goes to the next lower block.
    fn load(&mut self) -> Result<(), StoreError> {
        self.block = match self.earlier.next().transpose()? {
            Some((_, bytes)) => {
                let block =
                    Block::new(bytes, self.width).ok_or_else(|| damaged("an index block"))?;
                self.left = block.len();
                Some(block)
            }
            None => None,
        };
        Ok(())
    }
}

/// Returns the bounds of all keys not above `key`.
fn up_to(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}
