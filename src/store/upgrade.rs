//! Upgrading: a store of an older format, read as it was written, and built anew in this one.
//!
//! Formats 1 and 2 had the records in a table of LMDB, `events`, by seq, and marked what died in
//! `dead`. Everything else follows from the records.

use std::fs;
use std::path::Path;

use heed::byteorder::NativeEndian;
use heed::types::{Bytes, Str, U64};
use heed::{CommitOrAbort, Database, Env, IntegerComparator, WithoutTls};

use super::check::check;
use super::env::{FORMAT, META_FORMAT, META_SALT, Store, StoreOptions, damaged, open_to_read};
use super::error::StoreError;
use super::facts::FactChange;
use super::lock::lock_alone;
use super::log::Generation;
use super::replay::{Replay, swap_in};
use crate::seq::Seq;

/// What became of a store that was to be upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgraded {
    /// It had this format already.
    Already,
    /// It was built anew.
    From {
        /// The format that it had.
        format: u32,
        /// Living events, all of which are in the new files.
        events: u64,
    },
}

impl Upgraded {
    /// Returns the format that the store had.
    pub fn from(self) -> u32 {
        match self {
            Upgraded::Already => FORMAT,
            Upgraded::From { format, .. } => format,
        }
    }
}

/// Brings the store in `path` to this format.
///
/// `progress` is called now and then with the records done and the records there are.
///
/// # Errors
///
/// [`StoreError::Busy`] if another process uses the store, [`StoreError::Format`] if the format is a
/// newer one. The old store is untouched unless the swap itself succeeded.
pub fn upgrade(
    path: &Path,
    options: &StoreOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Upgraded, StoreError> {
    let lock = lock_alone(path)?;
    let env = open_to_read(path, options)?;
    let old = Old::open(&env, path)?;
    let txn = env.read_txn()?;
    let format = old.meta.get(&txn, META_FORMAT)?.and_then(|it| it.try_into().ok());
    let format = format.map(u32::from_be_bytes).ok_or_else(|| damaged("the format"))?;
    let events = match (format, old.events) {
        (FORMAT, _) => return Ok(Upgraded::Already),
        (1 | 2, Some(events)) => events,
        _ => {
            let (path, expected) = (path.to_owned(), FORMAT);
            return Err(StoreError::Format { path, expected, found: format });
        }
    };
    let salt = old.meta.get(&txn, META_SALT)?.unwrap_or_default();
    let salt = salt.try_into().map_err(|_| damaged("the salt"))?;
    let mut facts = Vec::new();
    if let Some(table) = old.facts {
        for row in table.iter(&txn)? {
            let (name, value) = row?;
            facts.push(FactChange::put(name, value));
        }
    }
    let workshop = path.join(WORKSHOP);
    let _ = fs::remove_dir_all(&workshop);
    let new = Store::create(&workshop, &StoreOptions { salt, ..options.clone() }, Generation(1))?;
    let mut replay = Replay::into(&new);
    let rows = events.len(&txn)?;
    for (done, row) in (0..).zip(events.iter(&txn)?) {
        let (seq, record) = row?;
        if old.dead.get(&txn, &seq.to_be_bytes())?.is_none() {
            replay.add_record(Seq(seq), record)?;
        }
        if done % 1024 == 0 {
            progress(done, rows);
        }
    }
    let left_out = replay.left_out;
    let events = replay.finish(&facts)?;
    let report = check(&new, &mut |_, _| {})?;
    if let Some(example) = report.examples.first() {
        return Err(damaged(&format!("the upgraded store ({example})")));
    }
    if left_out > 0 {
        return Err(damaged(&format!("{left_out} records of the store")));
    }
    drop(new);
    drop(txn);
    drop(env);
    swap_in(&workshop, path, Generation(1))?;
    drop(lock);
    Ok(Upgraded::From { format, events })
}

/// The tables of a store of any format, as far as they are needed.
struct Old {
    meta: Database<'static, Str, Bytes>,
    dead: Database<'static, Bytes, Bytes>,
    events: Option<Database<'static, U64<NativeEndian>, Bytes, IntegerComparator>>,
    facts: Option<Database<'static, Str, Bytes>>,
}

impl Old {
    fn open(env: &Env<WithoutTls>, path: &Path) -> Result<Old, StoreError> {
        let opened = env.open_databases_and_commit(env.read_txn()?, |open, txn| {
            let opened = (
                open.open_database::<Str, Bytes>(txn, Some("meta"))?,
                open.open_database::<Bytes, Bytes>(txn, Some("dead"))?,
                open.database_options()
                    .types::<U64<NativeEndian>, Bytes>()
                    .key_comparator::<IntegerComparator>()
                    .name("events")
                    .open(txn)?,
                open.open_database::<Str, Bytes>(txn, Some("facts"))?,
            );
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(opened))
        })?;
        let (meta, dead, events, facts) = opened.unwrap_commit();
        match (meta, dead) {
            (Some(meta), Some(dead)) => Ok(Old { meta, dead, events, facts }),
            _ => Err(StoreError::Foreign { path: path.to_owned() }),
        }
    }
}

const WORKSHOP: &str = "upgrade.tmp";
