//! Compaction: the store rebuilt with full pages in a new file, checked, swapped in.
//!
//! It needs the store alone (LMDB users keep the old file mapped), which the lock of the folder
//! proves. The new file is built beside the old one; the swap is one rename, so a crash leaves
//! either the old store or the new one.

use std::fs::{self, File};
use std::path::Path;

use heed::PutFlags;
use serde::Serialize;

use super::block::{Block, cut, pack};
use super::check::check;
use super::env::{DATA_FILE, LOCK_FILE, Store, StoreOptions, damaged};
use super::error::StoreError;
use super::key::{Entry, Index};
use super::write::Writer;

/// What a compaction did.
#[derive(Debug, Clone, Serialize)]
pub struct CompactReport {
    /// Living events, all of which are in the new file.
    pub events: u64,
    /// Size of the data file before, in bytes.
    pub before_bytes: u64,
    /// Size of the data file after, in bytes.
    pub after_bytes: u64,
}

/// Rebuilds the store in `path`.
///
/// `progress` is called now and then with the rows done and the rows there are.
///
/// # Errors
///
/// [`StoreError::Busy`] if another process uses the store; otherwise as opening and writing. The
/// old store is untouched unless the swap itself succeeded.
pub fn compact(
    path: &Path,
    options: &StoreOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CompactReport, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let lock = lock_alone(path)?;
    let workshop = path.join("compact.tmp");
    let _ = fs::remove_dir_all(&workshop);
    let old = Store::open_locked(path, options, lock.try_clone().map_err(io)?)?;
    let before_bytes = old.env().real_disk_size()?;
    let mut writer = Writer::new(old.clone());
    while writer.maintain(true)? {}
    drop(writer);
    let new = Store::open(&workshop, &StoreOptions { salt: old.salt().0, ..options.clone() })?;
    copy(&old, &new, progress)?;
    new.refresh()?;
    let report = check(&new, &mut |_, _| {})?;
    if let Some(example) = report.examples.first() {
        return Err(damaged(&format!("the compacted store ({example})")));
    }
    let events = new.snapshot()?.totals().map(|(_, count)| count).sum();
    new.env().force_sync()?;
    let after_bytes = new.env().real_disk_size()?;
    drop((old, new));
    fs::rename(workshop.join(DATA_FILE), path.join(DATA_FILE)).map_err(io)?;
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io)?;
    fs::remove_dir_all(&workshop).map_err(io)?;
    drop(lock);
    Ok(CompactReport { events, before_bytes, after_bytes })
}

fn lock_alone(path: &Path) -> Result<File, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path.join(LOCK_FILE))
        .map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Busy { path: path.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Copies all rows in key order, so that every page is filled.
fn copy(old: &Store, new: &Store, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
    let from = old.tables();
    let to = new.tables();
    let reading = old.env().read_txn()?;
    let mut rows = from.events.len(&reading)?;
    for table in &from.indexes {
        rows += table.len(&reading)?;
    }
    let mut done = 0;
    let mut txn = new.env().write_txn()?;
    for row in from.meta.iter(&reading)? {
        let (key, value) = row?;
        to.meta.put(&mut txn, key, value).map_err(StoreError::of_write)?;
    }
    for row in from.fingerprints.iter(&reading)? {
        let (key, value) = row?;
        to.fingerprints
            .put_with_flags(&mut txn, PutFlags::APPEND, key, value)
            .map_err(StoreError::of_write)?;
    }
    for row in from.facts.iter(&reading)? {
        let (name, value) = row?;
        to.facts.put(&mut txn, name, value).map_err(StoreError::of_write)?;
    }
    let mut pending = 0;
    for row in from.events.iter(&reading)? {
        let (key, value) = row?;
        to.events
            .put_with_flags(&mut txn, PutFlags::APPEND, &key, value)
            .map_err(StoreError::of_write)?;
        pending += value.len();
        done += 1;
        if pending > BYTES_PER_TRANSACTION {
            txn.commit().map_err(StoreError::of_write)?;
            txn = new.env().write_txn()?;
            pending = 0;
            progress(done, rows);
        }
    }
    txn.commit().map_err(StoreError::of_write)?;
    for index in Index::ALL {
        done = copy_index(old, new, index, done, &mut |done| progress(done, rows))?;
    }
    Ok(())
}

const BYTES_PER_TRANSACTION: usize = 64 << 20;
const ENTRIES_PER_TRANSACTION: usize = 2_000_000;

fn copy_index(
    old: &Store,
    new: &Store,
    index: Index,
    mut done: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, StoreError> {
    let width = index.width();
    let reading = old.env().read_txn()?;
    let mut entries: Vec<Entry> = Vec::new();
    let table = old.tables().indexes[index as usize];
    for row in table.iter(&reading)? {
        let (_, bytes) = row?;
        Block::new(bytes, width).ok_or_else(|| damaged("an index block"))?.unpack(&mut entries);
        done += 1;
        if entries.len() >= ENTRIES_PER_TRANSACTION {
            let rest = append(new, index, &entries, false)?;
            entries.drain(..entries.len() - rest);
            progress(done);
        }
    }
    append(new, index, &entries, true)?;
    progress(done);
    Ok(done)
}

/// Appends full blocks; returns how many entries at the end are left for the next call.
fn append(
    new: &Store,
    index: Index,
    entries: &[Entry],
    is_last: bool,
) -> Result<usize, StoreError> {
    let table = new.tables().indexes[index as usize];
    let mut txn = new.env().write_txn()?;
    let mut block = Vec::new();
    let mut rest = entries.len();
    let mut result = Ok(());
    cut(entries, index.width(), new.block_bytes(), true, |run| {
        if result.is_ok() && (is_last || rest > run.len()) {
            pack(run, index.width(), &mut block);
            let first = run[0].bytes();
            let key = &first[..index.width()];
            result = table
                .put_with_flags(&mut txn, PutFlags::APPEND, key, &block)
                .map_err(StoreError::of_write);
            rest -= run.len();
        }
    });
    result?;
    txn.commit().map_err(StoreError::of_write)?;
    Ok(rest)
}
