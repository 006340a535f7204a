//! Building a store from a log: the records and what died, in order, into an empty store whose
//! indexes follow from them.
//!
//! The new log gets frames of its own. They are read like those that another process has written,
//! and merged whenever enough entries have come together, so memory is bounded however long the log
//! is.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use super::env::{DATA_FILE, LOCK_FILE, Store};
use super::error::StoreError;
use super::facts::FactChange;
use super::frame::{Frame, Whole};
use super::log::Generation;
use super::record;
use super::write::Writer;
use crate::nostr::Verifier;
use crate::seq::Seq;

/// An empty store that is filled from a log.
pub(super) struct Replay {
    store: Store,
    writer: Writer,
    verifier: Verifier,
    frame: Frame,
    /// The newest seq so far.
    last: Seq,
    /// Records that are not those of an event, and were left out.
    pub(super) left_out: u64,
}

impl Replay {
    /// Begins with an empty store.
    pub(super) fn into(store: &Store) -> Replay {
        let mut frame = Frame::default();
        frame.begin(Seq::ZERO);
        Replay {
            store: store.clone(),
            writer: Writer::new(store.clone()),
            verifier: Verifier::new(),
            frame,
            last: Seq::ZERO,
            left_out: 0,
        }
    }

    /// Adds what a frame says.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub(super) fn add(&mut self, whole: &Whole<'_>) -> Result<(), StoreError> {
        for (_, seq, bytes) in whole.records() {
            self.take(seq, bytes);
        }
        for seq in whole.buried().filter(|seq| *seq <= self.last) {
            self.frame.bury(seq);
        }
        self.last = self.last.max(whole.last());
        if self.frame.size() >= FRAME_BYTES { self.put() } else { Ok(()) }
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub(super) fn add_record(&mut self, seq: Seq, bytes: &[u8]) -> Result<(), StoreError> {
        self.take(seq, bytes);
        if self.frame.size() >= FRAME_BYTES { self.put() } else { Ok(()) }
    }

    fn take(&mut self, seq: Seq, bytes: &[u8]) {
        let is_event =
            record::decode(bytes, seq).is_ok_and(|event| self.verifier.check_id(&event).is_ok());
        if is_event && seq <= Seq::MAX {
            self.frame.append(seq, bytes);
            self.last = self.last.max(seq);
        } else {
            self.left_out += 1;
        }
    }

    /// Puts what was added into the log, and what waits in memory into the indexes if it is much.
    fn put(&mut self) -> Result<(), StoreError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let (store, tail) = (&self.store, self.store.layers().tail);
        store.log().append(&mut self.frame, tail, store.opening(), self.last)?;
        self.frame.begin(Seq::ZERO);
        store.refresh()?;
        if store.layers().young.entries() >= ENTRIES_MAX {
            while self.writer.maintain(true)? {}
        }
        Ok(())
    }

    /// Ends with a store that is on the disk; returns how many events live in it.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub(super) fn finish(mut self, facts: &[FactChange]) -> Result<u64, StoreError> {
        self.put()?;
        while self.writer.maintain(true)? {}
        if !facts.is_empty() {
            self.writer.change_facts(facts)?;
        }
        let store = &self.store;
        store.log().places().lengthen(self.last)?;
        store.log().sync_all()?;
        store.env().force_sync()?;
        Ok(store.snapshot()?.totals().map(|(_, count)| count).sum())
    }
}

/// Puts a store that was built in a workshop into the folder, whose lock the caller holds alone. Its
/// tables come last: they name the log, so a crash leaves the store that was there or the new one.
pub(super) fn swap_in(
    workshop: &Path,
    path: &Path,
    generation: Generation,
) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    for file in [generation.log(workshop), generation.places(workshop), workshop.join(DATA_FILE)] {
        hand_over(&file, path);
    }
    let sync = || File::open(path).and_then(|folder| folder.sync_all()).map_err(io);
    fs::rename(generation.log(workshop), generation.log(path)).map_err(io)?;
    fs::rename(generation.places(workshop), generation.places(path)).map_err(io)?;
    sync()?;
    fs::rename(workshop.join(DATA_FILE), path.join(DATA_FILE)).map_err(io)?;
    sync()?;
    remove_others(path, generation)?;
    fs::remove_dir_all(workshop).map_err(io)
}

/// Gives a file to whom the folder belongs: an operator who works as root is not who serves.
fn hand_over(file: &Path, folder: &Path) {
    if let Ok(folder) = folder.metadata() {
        // Whoever may not do that has made files of their own.
        let _ = chown(file, Some(folder.uid()), Some(folder.gid()));
    }
}

/// Removes logs that are not the store's: those before the last compaction, or of one cut off.
pub(super) fn remove_others(path: &Path, generation: Generation) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let ours = [generation.log(path), generation.places(path)];
    for entry in fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        if Generation::of(&file).is_some() && !ours.contains(&file) {
            fs::remove_file(&file).map_err(io)?;
        }
    }
    Ok(())
}

/// Takes the lock of the folder alone.
pub(super) fn lock_alone(path: &Path) -> Result<File, StoreError> {
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

/// Records that are put into the log at once.
const FRAME_BYTES: usize = if cfg!(test) { 4 << 10 } else { 4 << 20 };
/// Entries that wait in memory: about a hundred megabytes.
const ENTRIES_MAX: u64 = if cfg!(test) { 500 } else { 3_000_000 };
