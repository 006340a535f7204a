//! Blocks of sorted entries: an LMDB value holds up to one overflow page of them.
//!
//! A block's key is a lower bound of its entries and greater than all entries of the block before
//! it; the first block's key is below everything, so that no insertion moves a key. A batch is
//! merged block by block: read, merge, write, split when over a page.

use std::ops::Bound;

use heed::types::Bytes;
use heed::{Database, PutFlags, RoTxn, RwTxn};

use super::entries::{ENTRY_BYTES, Entry, Shape};
use super::indexes::{Answer, Layout, end_of};

/// Packed blocks, with the room in which they are merged.
pub(crate) struct Blocks {
    database: Database<'static, Bytes, Bytes>,
    shape: &'static Shape,
    old: Vec<u8>,
    merged: Vec<u8>,
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
    pub(crate) fn new(database: Database<'static, Bytes, Bytes>, shape: &'static Shape) -> Self {
        Self { database, shape, old: Vec::new(), merged: Vec::new() }
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
        self.old.extend_from_slice(block);
        let next = self.database.get_greater_than(tx, key)?;
        Ok((Separator::new(key), next.map(|(key, _)| Separator::new(key))))
    }

    /// Merges `self.old` with sorted entries into `self.merged`; tells whether all of them come
    /// after the old ones.
    fn merge(&mut self, added: &[Entry]) -> bool {
        let size = self.shape.entry_bytes;
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
    fn write(&self, tx: &mut RwTxn<'_>, key: &Separator, fill: bool) -> heed::Result<()> {
        let size = self.shape.entry_bytes;
        let capacity = BLOCK_BYTES / size;
        let entries = self.merged.len() / size;
        let blocks = entries.div_ceil(capacity);
        let each = if fill { capacity } else { entries.div_ceil(blocks) };
        for (number, block) in self.merged.chunks(each * size).enumerate() {
            let key = if number == 0 { key.as_slice() } else { &block[..size] };
            self.database.put(tx, key, block)?;
        }
        Ok(())
    }
}

impl Layout for Blocks {
    fn insert(&mut self, tx: &mut RwTxn<'_>, sorted: &[Entry]) -> heed::Result<()> {
        let size = self.shape.entry_bytes;
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
        let size = self.shape.entry_bytes;
        for (number, entries) in sorted.chunks(BLOCK_BYTES / size).enumerate() {
            self.merged.clear();
            entries.iter().for_each(|entry| self.merged.extend_from_slice(&entry[..size]));
            let key = if number == 0 { FIRST } else { &entries[0][..size] };
            self.database.put_with_flags(tx, PutFlags::APPEND, key, &self.merged)?;
        }
        Ok(())
    }

    fn newest(&self, tx: &RoTxn<'_>, prefix: &[u8], limit: usize) -> heed::Result<Answer> {
        let size = self.shape.entry_bytes;
        let end = end_of(prefix);
        let range = (Bound::Unbounded, Bound::Excluded(&end[..]));
        let mut answer = Answer::default();
        for item in self.database.rev_range(tx, &range)? {
            let (_, block) = item?;
            let (mut low, mut high) = (0, block.len() / size);
            while low < high {
                let middle = low.midpoint(high);
                if block[middle * size..][..size] < end[..] {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            for entry in block[..low * size].rchunks_exact(size) {
                if !entry.starts_with(prefix) || answer.entries == limit as u64 {
                    return Ok(answer);
                }
                answer.add(entry[size - 1]);
            }
        }
        Ok(answer)
    }

    fn walk(&self, tx: &RoTxn<'_>) -> heed::Result<Answer> {
        let size = self.shape.entry_bytes;
        let mut answer = Answer::default();
        for item in self.database.rev_iter(tx)? {
            for entry in item?.1.rchunks_exact(size) {
                answer.add(entry[size - 1]);
            }
        }
        Ok(answer)
    }
}

/// What one page holds after its header: such a block takes exactly one overflow page.
const BLOCK_BYTES: usize = 4_096 - 16;
/// The first block's key, below every entry.
const FIRST: &[u8] = &[0];
