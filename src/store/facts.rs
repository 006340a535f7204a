//! The table of facts: few named rows that are no events, such as what administrators decided.
//!
//! What a row means is up to whoever writes it. The rows are read whole when the relay starts and
//! are kept in memory from then on, so nothing here is fast or has to be.

use super::error::StoreError;
use super::snapshot::Snapshot;
use super::write::Writer;

/// One change of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactChange {
    /// The name of the row, of at most 400 bytes.
    pub name: String,
    /// What it is to hold; nothing to remove it.
    pub value: Option<Vec<u8>>,
}

impl FactChange {
    /// Returns a change after which the row holds this.
    pub fn put(name: impl Into<String>, value: impl Into<Vec<u8>>) -> FactChange {
        FactChange { name: name.into(), value: Some(value.into()) }
    }

    /// Returns a change after which there is no such row.
    pub fn remove(name: impl Into<String>) -> FactChange {
        FactChange { name: name.into(), value: None }
    }
}

impl Writer {
    /// Makes changes in one transaction: after a crash all of them are there or none.
    ///
    /// # Errors
    ///
    /// As [`Writer::commit`].
    ///
    /// # Panics
    ///
    /// If a name is empty or too long.
    pub fn change_facts(&mut self, changes: &[FactChange]) -> Result<(), StoreError> {
        for FactChange { name, .. } in changes {
            // LMDB takes keys of up to 511 bytes, and a failure in a transaction is final (I9).
            assert!((1..=NAME_BYTES_MAX).contains(&name.len()), "a fact has a name that fits");
        }
        let facts = self.store().tables().facts;
        self.transact(|change| {
            let txn = change.tables();
            for FactChange { name, value } in changes {
                match value {
                    Some(value) => facts.put(txn, name, value).map_err(StoreError::of_write)?,
                    None => {
                        facts.delete(txn, name).map_err(StoreError::of_write)?;
                    }
                }
            }
            Ok(())
        })
    }
}

impl Snapshot<'_> {
    /// Returns the rows whose names begin with `prefix`, which is not empty, in their order.
    ///
    /// # Errors
    ///
    /// If LMDB fails.
    pub fn facts(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let rows = self.store().tables().facts.prefix_iter(self.txn(), prefix)?;
        rows.map(|row| {
            row.map(|(name, value)| (name.to_owned(), value.to_vec())).map_err(Into::into)
        })
        .collect()
    }
}

impl Snapshot<'_> {
    /// Returns all rows, in their order.
    ///
    /// # Errors
    ///
    /// If LMDB fails.
    pub(super) fn all_facts(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let rows = self.store().tables().facts.iter(self.txn())?;
        rows.map(|row| {
            row.map(|(name, value)| (name.to_owned(), value.to_vec())).map_err(Into::into)
        })
        .collect()
    }
}

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Store, StoreOptions};

    #[test]
    fn facts_are_changed_together_and_are_there_after_reopening() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let options =
            StoreOptions { map_bytes: Some(64 << 20), durability: Durability::Lazy, salt: [9; 16] };
        let store = Store::open(folder.path(), &options).expect("it can be made");
        let mut writer = Writer::new(store.clone());
        let put = |name: &str, value: &str| FactChange::put(name, value);
        writer.change_facts(&[put("a/1", "x"), put("b/1", "y"), put("a/2", "")]).expect("room");
        writer.change_facts(&[put("a/1", "z"), FactChange::remove("a/2")]).expect("room");
        writer.change_facts(&[FactChange::remove("a/7")]).expect("what is not there is no error");
        let row = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let read = |store: &Store, prefix: &str| {
            store.snapshot().and_then(|snapshot| snapshot.facts(prefix)).expect("it is readable")
        };
        assert_eq!(read(&store, "a/"), [row("a/1", "z")]);
        assert_eq!(read(&store, "b/"), [row("b/1", "y")]);
        drop((writer, store));
        let store = Store::open(folder.path(), &options).expect("it is there");
        assert_eq!(
            [read(&store, "a/"), read(&store, "b/")].concat(),
            [row("a/1", "z"), row("b/1", "y")]
        );
    }
}
