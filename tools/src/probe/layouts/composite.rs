//! One LMDB key for each entry; what does not order is its value.

use std::ops::Bound;

use heed::types::Bytes;
use heed::{Database, PutFlags, RoTxn, RwTxn};

use super::entries::{Entry, Shape};
use super::indexes::{Answer, Layout, end_of};

/// Composite keys.
pub(crate) struct Composite {
    pub(crate) database: Database<'static, Bytes, Bytes>,
    pub(crate) shape: &'static Shape,
}

impl Composite {
    fn put(&self, tx: &mut RwTxn<'_>, sorted: &[Entry], flags: PutFlags) -> heed::Result<()> {
        for entry in sorted {
            let (key, value) = entry[..self.shape.entry_bytes].split_at(self.shape.key_bytes);
            self.database.put_with_flags(tx, flags, key, value)?;
        }
        Ok(())
    }
}

impl Layout for Composite {
    fn insert(&mut self, tx: &mut RwTxn<'_>, sorted: &[Entry]) -> heed::Result<()> {
        self.put(tx, sorted, PutFlags::empty())
    }

    fn load(&mut self, tx: &mut RwTxn<'_>, sorted: &[Entry]) -> heed::Result<()> {
        self.put(tx, sorted, PutFlags::APPEND)
    }

    fn newest(&self, tx: &RoTxn<'_>, prefix: &[u8], limit: usize) -> heed::Result<Answer> {
        let end = end_of(prefix);
        let range = (Bound::Included(prefix), Bound::Excluded(&end[..]));
        let mut answer = Answer::default();
        for item in self.database.rev_range(tx, &range)?.take(limit) {
            answer.add(last_byte(item?));
        }
        Ok(answer)
    }

    fn walk(&self, tx: &RoTxn<'_>) -> heed::Result<Answer> {
        let mut answer = Answer::default();
        for item in self.database.rev_iter(tx)? {
            answer.add(last_byte(item?));
        }
        Ok(answer)
    }
}

fn last_byte((key, value): (&[u8], &[u8])) -> u8 {
    value.last().or(key.last()).copied().unwrap_or(0)
}
