//! Compaction: the store rebuilt with full pages in new files, checked, swapped in.
//!
//! It needs the store alone (its users keep the old files mapped), which the lock of the folder
//! proves. The new files are built beside the old ones; the swap is one rename, that of the tables,
//! which say what log they belong to. So a crash leaves either the old store or the new one.

use std::fs;
use std::path::Path;

use heed::PutFlags;
use serde::Serialize;

use super::block::{Block, cut, pack};
use super::check::check;
use super::env::{
    META_GENERATION, META_MERGED, META_TAIL, Store, StoreOptions, damaged, tail_bytes,
};
use super::error::StoreError;
use super::frame::{Frame, Tail};
use super::info::size;
use super::key::{Entry, Index};
use super::lock::lock_alone;
use super::log::{FIRST_FRAME, Generation};
use super::replay::{remove_others, swap_in};
use super::sweep::note_frames;
use super::write::Writer;
use crate::seq::Seq;

/// What a compaction did.
#[derive(Debug, Clone, Serialize)]
pub struct CompactReport {
    /// Living events, all of which are in the new files.
    pub events: u64,
    /// Size of the files before, in bytes.
    pub before_bytes: u64,
    /// Size of the files after, in bytes.
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
    let generation = old.generation();
    remove_others(path, generation)?;
    let before_bytes = size(&old)?.file_bytes;
    let mut writer = Writer::new(old.clone());
    while writer.maintain(true)? {}
    drop(writer);
    let next = Generation(generation.0.wrapping_add(1));
    let options = StoreOptions { salt: old.salt().0, ..options.clone() };
    let new = Store::create(&workshop, &options, next)?;
    copy(&old, &new, progress)?;
    new.recover()?;
    let report = check(&new, &mut |_, _| {})?;
    if let Some(example) = report.examples.first() {
        return Err(damaged(&format!("the compacted store ({example})")));
    }
    let events = new.snapshot()?.totals().map(|(_, count)| count).sum();
    new.log().sync_all()?;
    new.env().force_sync()?;
    let after_bytes = size(&new)?.file_bytes;
    drop((old, new));
    swap_in(&workshop, path, next)?;
    drop(lock);
    Ok(CompactReport { events, before_bytes, after_bytes })
}

/// Copies all that is living, in order, so that every page is filled.
fn copy(old: &Store, new: &Store, progress: &mut dyn FnMut(u64, u64)) -> Result<(), StoreError> {
    let from = old.tables();
    let to = new.tables();
    let reading = old.env().read_txn()?;
    let last = old.last_seq();
    let mut rows = last.0;
    for table in &from.indexes {
        rows += table.len(&reading)?;
    }
    let tail = copy_log(old, new, &mut |done| progress(done, rows))?;
    let mut txn = new.env().write_txn()?;
    for row in from.meta.iter(&reading)? {
        let (key, value) = row?;
        if key != META_GENERATION {
            to.meta.put(&mut txn, key, value).map_err(StoreError::of_write)?;
        }
    }
    to.meta.put(&mut txn, META_MERGED, &last.0.to_be_bytes()).map_err(StoreError::of_write)?;
    to.meta.put(&mut txn, META_TAIL, &tail_bytes(tail)).map_err(StoreError::of_write)?;
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
    note_frames(new, &mut txn, FIRST_FRAME..tail.at)?;
    txn.commit().map_err(StoreError::of_write)?;
    let mut done = last.0;
    for index in Index::ALL {
        done = copy_index(old, new, index, done, &mut |done| progress(done, rows))?;
    }
    Ok(())
}

/// Copies the living records; returns where the new log ends.
fn copy_log(old: &Store, new: &Store, progress: &mut dyn FnMut(u64)) -> Result<Tail, StoreError> {
    let snapshot = old.snapshot()?;
    let view = snapshot.view();
    let last = snapshot.seq();
    let mut tail = new.layers().tail;
    let mut frame = Frame::default();
    frame.begin(Seq::ZERO);
    for seq in (1..=last.0).map(Seq) {
        if !view.layers.is_dead(seq)
            && let Some(record) = view.bytes(seq)?
        {
            frame.append(seq, record);
        }
        if frame.size() >= FRAME_BYTES || seq == last && !frame.is_empty() {
            tail = new.log().append(&mut frame, tail, new.opening(), last)?;
            frame.begin(Seq::ZERO);
            progress(seq.0);
        }
    }
    new.log().places().lengthen(last)?;
    Ok(tail)
}

const FRAME_BYTES: usize = 4 << 20;
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
