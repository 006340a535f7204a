//! One LMDB key for each prefix; the rest of an entry is one of its sorted duplicates.

use std::ops::Bound;

use heed::types::Bytes;
use heed::{Database, PutFlags, RoTxn, RwTxn};

use super::entries::{Entry, Shape};
use super::indexes::{Answer, Layout, end_of};

/// `DUPSORT | DUPFIXED`.
pub(crate) struct Duplicates {
    pub(crate) database: Database<'static, Bytes, Bytes>,
    pub(crate) shape: &'static Shape,
}

impl Duplicates {
    fn split<'e>(&self, entry: &'e Entry) -> (&'e [u8], &'e [u8]) {
        entry[..self.shape.entry_bytes].split_at(self.shape.duplicate_key_bytes)
    }
}

impl Layout for Duplicates {
    fn insert(&mut self, tx: &mut RwTxn<'_>, sorted: &[Entry]) -> heed::Result<()> {
        for entry in sorted {
            let (key, value) = self.split(entry);
            self.database.put(tx, key, value)?;
        }
        Ok(())
    }

    fn load(&mut self, tx: &mut RwTxn<'_>, sorted: &[Entry]) -> heed::Result<()> {
        let mut previous: &[u8] = &[];
        for entry in sorted {
            let (key, value) = self.split(entry);
            let flags = if key == previous { PutFlags::APPEND_DUP } else { PutFlags::APPEND };
            self.database.put_with_flags(tx, flags, key, value)?;
            previous = key;
        }
        Ok(())
    }

    fn newest(&self, tx: &RoTxn<'_>, prefix: &[u8], limit: usize) -> heed::Result<Answer> {
        let end = end_of(prefix);
        let range = (Bound::Included(prefix), Bound::Excluded(&end[..]));
        let mut answer = Answer::default();
        for item in self.database.rev_range(tx, &range)?.take(limit) {
            answer.add(last_byte(item?.1));
        }
        Ok(answer)
    }

    fn walk(&self, tx: &RoTxn<'_>) -> heed::Result<Answer> {
        let mut answer = Answer::default();
        for item in self.database.rev_iter(tx)? {
            answer.add(last_byte(item?.1));
        }
        Ok(answer)
    }
}

fn last_byte(value: &[u8]) -> u8 {
    value.last().copied().unwrap_or(0)
}
