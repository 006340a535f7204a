//! Blocks of sorted entries: an LMDB value holds up to one overflow page of them.
//!
//! A block's key is a lower bound of its entries and greater than all entries of the block before
//! it; the first block's key is below everything, so that no insertion moves a key. A batch is
//! merged block by block: read, merge, write, split when over a page. Two codings are compared:
//! whole entries, and the bytes that all entries of a block begin with stored once.

use std::cmp::Ordering;
use std::ops::Bound;

use heed::types::Bytes;
use heed::{Database, PutFlags, RoTxn, RwTxn};

use super::entries::{ENTRY_BYTES, Entry, Shape};
use super::indexes::{Answer, Layout, end_of};

/// Packed blocks, with the room in which they are merged.
pub(crate) struct Blocks {
    database: Database<'static, Bytes, Bytes>,
    coding: Coding,
    /// Whole entries without gaps, as are those in `merged`.
    old: Vec<u8>,
    merged: Vec<u8>,
    block: Vec<u8>,
}

/// A copy of a block's key.
struct Separator {
    bytes: [u8; ENTRY_BYTES],
    length: usize,
}

impl Separator {
    fn new(key: &[u8]) -> Self {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..key.len()].copy_from_slice(key);
        Self { bytes, length: key.len() }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Blocks {
    /// Wraps a database.
    pub(crate) fn new(
        database: Database<'static, Bytes, Bytes>,
        shape: &'static Shape,
        sharing: Sharing,
    ) -> Self {
        let coding = Coding { width: shape.entry_bytes, sharing };
        Self { database, coding, old: Vec::new(), merged: Vec::new(), block: Vec::new() }
    }

    /// Copies the block that an entry belongs into; returns its key and the next block's.
    fn locate(
        &mut self,
        tx: &RwTxn<'_>,
        entry: &[u8],
    ) -> heed::Result<(Separator, Option<Separator>)> {
        self.old.clear();
        let Some((key, block)) = self.database.get_lower_than_or_equal_to(tx, entry)? else {
            return Ok((Separator::new(FIRST), None));
        };
        self.coding.view(block).unpack(&mut self.old);
        let next = self.database.get_greater_than(tx, key)?;
        Ok((Separator::new(key), next.map(|(key, _)| Separator::new(key))))
    }

    /// Merges `self.old` with sorted entries into `self.merged`; tells whether all of them come
    /// after the old ones.
    fn merge(&mut self, added: &[Entry]) -> bool {
        let size = self.coding.width;
        self.merged.clear();
        let mut old = self.old.chunks_exact(size).peekable();
        for entry in added {
            let entry = &entry[..size];
            while let Some(earlier) = old.next_if(|earlier| *earlier < entry) {
                self.merged.extend_from_slice(earlier);
            }
            self.merged.extend_from_slice(entry);
        }
        for rest in old {
            self.merged.extend_from_slice(rest);
        }
        let last = self.old.rchunks_exact(size).next();
        last.is_none_or(|last| *last < added[0][..size])
    }

    /// Writes `self.merged` as one block or several: full ones at the end of the index, where
    /// nothing will come between, else ones of equal size.
    fn write(&mut self, tx: &mut RwTxn<'_>, key: &Separator, fill: bool) -> heed::Result<()> {
        let size = self.coding.width;
        let mut rest = &self.merged[..];
        let mut key = key.as_slice();
        while !rest.is_empty() {
            let fits = self.coding.longest_run(rest);
            let entries = rest.len() / size;
            let count = if fill { fits } else { entries.div_ceil(entries.div_ceil(fits)) };
            let (run, after) = rest.split_at(count * size);
            self.coding.pack(run, &mut self.block);
            self.database.put(tx, key, &self.block)?;
            rest = after;
            key = &rest[..size.min(rest.len())];
        }
        Ok(())
    }
}

impl Layout for Blocks {
    fn insert(&mut self, tx: &mut RwTxn<'_>, sorted: &[Entry]) -> heed::Result<()> {
        let size = self.coding.width;
        let mut rest = sorted;
        while let Some(first) = rest.first() {
            let (key, next) = self.locate(tx, &first[..size])?;
            let count = next.as_ref().map_or(rest.len(), |next| {
                rest.partition_point(|entry| &entry[..size] < next.as_slice())
            });
            let (here, later) = rest.split_at(count);
            let appended = self.merge(here);
            self.write(tx, &key, appended && next.is_none())?;
            rest = later;
        }
        Ok(())
    }

    fn load(&mut self, tx: &mut RwTxn<'_>, sorted: &[Entry]) -> heed::Result<()> {
        let size = self.coding.width;
        self.merged.clear();
        sorted.iter().for_each(|entry| self.merged.extend_from_slice(&entry[..size]));
        let mut rest = &self.merged[..];
        let mut key = FIRST;
        while !rest.is_empty() {
            let (run, after) = rest.split_at(self.coding.longest_run(rest) * size);
            self.coding.pack(run, &mut self.block);
            self.database.put_with_flags(tx, PutFlags::APPEND, key, &self.block)?;
            rest = after;
            key = &rest[..size.min(rest.len())];
        }
        Ok(())
    }

    fn newest(&self, tx: &RoTxn<'_>, prefix: &[u8], limit: usize) -> heed::Result<Answer> {
        let end = end_of(prefix);
        let range = (Bound::Unbounded, Bound::Excluded(&end[..]));
        let mut answer = Answer::default();
        for item in self.database.rev_range(tx, &range)? {
            let view = self.coding.view(item?.1);
            for place in (0..view.count_below(&end)).rev() {
                let entry = view.entry(place);
                if !entry.starts_with(prefix) || answer.entries == limit as u64 {
                    return Ok(answer);
                }
                answer.add(entry[self.coding.width - 1]);
            }
        }
        Ok(answer)
    }

    fn walk(&self, tx: &RoTxn<'_>) -> heed::Result<Answer> {
        let mut answer = Answer::default();
        for item in self.database.rev_iter(tx)? {
            let view = self.coding.view(item?.1);
            for rest in view.rests.rchunks_exact(view.rest_width) {
                answer.add(rest[view.rest_width - 1]);
            }
        }
        Ok(answer)
    }
}

/// Whether a block stores what all its entries begin with only once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// A block is its entries.
    Nothing,
    /// A block is a byte that counts the shared bytes, these, and the rest of each entry.
    Prefix,
}

/// How entries become a block.
#[derive(Clone, Copy)]
struct Coding {
    width: usize,
    sharing: Sharing,
}

impl Coding {
    /// How many bytes the first and the last of sorted entries share, and so all.
    fn shared(self, first: &[u8], last: &[u8]) -> usize {
        if self.sharing == Sharing::Nothing {
            return 0;
        }
        let same = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        // Something must remain of an entry that is alone.
        same.min(self.width - 1)
    }

    /// How many of these entries fit into one block: the more, the less they share.
    fn longest_run(self, entries: &[u8]) -> usize {
        let header = usize::from(self.sharing == Sharing::Prefix);
        let first = &entries[..self.width];
        let (mut low, mut high) = (1, (entries.len() / self.width).min(BLOCK_BYTES));
        while low < high {
            let middle = (low + high).div_ceil(2);
            let last = &entries[(middle - 1) * self.width..][..self.width];
            let shared = self.shared(first, last);
            if header + shared + middle * (self.width - shared) <= BLOCK_BYTES {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        low
    }

    /// Writes a block of whole entries over `block`.
    fn pack(self, entries: &[u8], block: &mut Vec<u8>) {
        block.clear();
        if self.sharing == Sharing::Nothing {
            block.extend_from_slice(entries);
            return;
        }
        let last = &entries[entries.len() - self.width..];
        let shared = self.shared(&entries[..self.width], last);
        block.push(shared as u8);
        block.extend_from_slice(&entries[..shared]);
        for entry in entries.chunks_exact(self.width) {
            block.extend_from_slice(&entry[shared..]);
        }
    }

    /// Reads a block in place.
    fn view(self, block: &[u8]) -> View<'_> {
        let (shared, rests) = match self.sharing {
            Sharing::Nothing => (&block[..0], block),
            Sharing::Prefix => block[1..].split_at(usize::from(block[0])),
        };
        View { shared, rests, rest_width: self.width - shared.len() }
    }
}

/// A block in the map.
struct View<'t> {
    shared: &'t [u8],
    rests: &'t [u8],
    rest_width: usize,
}

impl View<'_> {
    /// The entry at a place, padded with zeros.
    fn entry(&self, place: usize) -> Entry {
        let mut entry = [0; ENTRY_BYTES];
        let (head, tail) = entry.split_at_mut(self.shared.len());
        head.copy_from_slice(self.shared);
        tail[..self.rest_width]
            .copy_from_slice(&self.rests[place * self.rest_width..][..self.rest_width]);
        entry
    }

    /// How many entries are below a bound that no entry equals.
    fn count_below(&self, bound: &[u8]) -> usize {
        let (bound_head, bound_tail) = bound.split_at(self.shared.len());
        let entries = self.rests.len() / self.rest_width;
        match self.shared.cmp(bound_head) {
            Ordering::Less => return entries,
            Ordering::Greater => return 0,
            Ordering::Equal => {}
        }
        let (mut low, mut high) = (0, entries);
        while low < high {
            let middle = low.midpoint(high);
            if self.rests[middle * self.rest_width..][..self.rest_width] < *bound_tail {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Appends all entries.
    fn unpack(&self, out: &mut Vec<u8>) {
        for rest in self.rests.chunks_exact(self.rest_width) {
            out.extend_from_slice(self.shared);
            out.extend_from_slice(rest);
        }
    }
}

/// What one page holds after its header: such a block takes exactly one overflow page.
const BLOCK_BYTES: usize = 4_096 - 16;
/// The first block's key, below every entry.
const FIRST: &[u8] = &[0];
