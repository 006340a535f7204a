//! The journal: every act of an administrator, kept in the store and bounded.
//!
//! Entries are facts, named by ascending numbers. An entry is written in the transaction of what it
//! is about, and the oldest go in the same one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::JOURNAL;
use super::call::Caller;
use crate::store::{FactChange, Store, StoreError};

/// One act of an administrator, or an attempt at one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// In seconds of Unix time.
    pub(super) at: u64,
    /// A public key, or a user of this machine.
    pub(super) by: String,
    /// An address, or `local`.
    pub(super) from: String,
    pub(super) method: String,
    pub(super) params: Vec<Value>,
    /// Why it came to nothing, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The id of what has proven who it was, over HTTP: it is not to be used again, not even after
    /// a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) authorization: Option<String>,
}

impl Entry {
    /// Returns the entry about a call.
    pub(super) fn of(caller: &Caller, method: &str, params: &[Value], at: u64) -> Entry {
        let size: usize = params.iter().map(|it| it.to_string().len()).sum();
        let params = if size <= PARAMS_BYTES_MAX {
            params.to_vec()
        } else {
            vec![Value::from(format!("{size} bytes"))]
        };
        let method = method.chars().take(METHOD_CHARACTERS_MAX).collect();
        let (by, from) = (caller.name(), caller.from.clone());
        let authorization = caller.authorization.map(|id| id.to_string());
        Entry { at, by, from, method, params, error: None, authorization }
    }
}

/// The numbers of the entries there are: from the first up to, but not including, the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Journal {
    first: u64,
    next: u64,
}

impl Journal {
    /// Finds out which entries there are.
    pub(super) fn open(store: &Store) -> Result<Journal, StoreError> {
        let rows = store.snapshot()?.facts(JOURNAL)?;
        let number = |row: &(String, Vec<u8>)| u64::from_str_radix(&row.0[JOURNAL.len()..], 16);
        let first = rows.first().and_then(|row| number(row).ok());
        let last = rows.last().and_then(|row| number(row).ok());
        Ok(Journal { first: first.unwrap_or(0), next: last.map_or(0, |last| last + 1) })
    }

    /// Returns the changes that add an entry, and remove the oldest beyond `most`.
    pub(super) fn add(&mut self, entry: &Entry, most: u64) -> Vec<FactChange> {
        let value = serde_json::to_vec(entry).expect("texts and numbers are always JSON");
        let mut changes = vec![FactChange::put(name_of(self.next), value)];
        self.next += 1;
        for _ in 0..REMOVED_AT_ONCE_MAX {
            if self.next - self.first <= most {
                break;
            }
            changes.push(FactChange::remove(name_of(self.first)));
            self.first += 1;
        }
        changes
    }
}

/// Returns up to `most` entries before the one of this number, the newest first, with their
/// numbers.
pub(super) fn read(
    store: &Store,
    before: u64,
    most: usize,
) -> Result<Vec<(u64, Entry)>, StoreError> {
    let rows = store.snapshot()?.facts(JOURNAL)?;
    let entry = |(name, value): &(String, Vec<u8>)| {
        let number = u64::from_str_radix(&name[JOURNAL.len()..], 16).ok()?;
        Some((number, serde_json::from_slice(value).ok()?))
    };
    let is_before = |(number, _): &(u64, Entry)| *number < before;
    Ok(rows.iter().rev().filter_map(entry).filter(is_before).take(most).collect())
}

fn name_of(number: u64) -> String {
    format!("{JOURNAL}{number:016x}")
}

/// Bytes of parameters that are kept.
const PARAMS_BYTES_MAX: usize = 4_096;
/// Characters of the name of a method that are kept, whatever it is that was called.
const METHOD_CHARACTERS_MAX: usize = 100;
/// Entries that one transaction removes, when the settings have become stricter.
const REMOVED_AT_ONCE_MAX: usize = 1_000;
