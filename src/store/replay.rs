//! Building a store from a log: what lives, in the order of commits, into an empty store whose indexes
//! follow from it.
//!
//! A log is read twice: first for where the records lie and what died, as records move and die behind
//! the place where they were; then for the records. The new log gets frames of its own. They are read like those that another process has written,
//! and merged whenever enough entries have come together, so memory is bounded however long the log
//! is.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use super::env::{DATA_FILE, Store};
use super::error::StoreError;
use super::facts::FactChange;
use super::frame::{Frame, Whole};
use super::frames::Frames;
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
    /// The newest seq that was added.
    last: Seq,
    /// The newest seq that was ever given.
    newest: Seq,
    /// Where records lie; of one that was moved the later place is the right one.
    places: Vec<(Seq, u64)>,
    buried: HashSet<Seq>,
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
            newest: Seq::ZERO,
            places: Vec::new(),
            buried: HashSet::new(),
            left_out: 0,
        }
    }

    /// Notes what a frame says that begins at a word of the log.
    pub(super) fn note(&mut self, whole: &Whole<'_>, at: u64) {
        for (place, seq, bytes) in whole.records() {
            if self.is_event(seq, bytes) {
                self.places.push((seq, at + place));
            } else {
                self.left_out += 1;
            }
        }
        self.buried.extend(whole.buried());
        self.newest = self.newest.max(whole.last());
    }

    /// Adds the records of all frames that were noted and that live.
    ///
    /// # Errors
    ///
    /// If the log cannot be read or the store cannot be written.
    pub(super) fn take_from(&mut self, frames: &Frames) -> Result<(), StoreError> {
        let mut places = std::mem::take(&mut self.places);
        places.sort_by_key(|(seq, _)| *seq);
        let mut buffer = Vec::new();
        for (rank, (seq, place)) in places.iter().enumerate() {
            let is_latest = places.get(rank + 1).is_none_or(|(next, _)| next != seq);
            if is_latest
                && !self.buried.contains(seq)
                && let Some(bytes) = frames.record(*seq, *place, &mut buffer)?
            {
                self.add_record(*seq, bytes)?;
            }
        }
        Ok(())
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    pub(super) fn add_record(&mut self, seq: Seq, bytes: &[u8]) -> Result<(), StoreError> {
        if self.is_event(seq, bytes) {
            self.frame.append(seq, bytes);
            self.last = self.last.max(seq);
        } else {
            self.left_out += 1;
        }
        if self.frame.size() >= FRAME_BYTES { self.put(self.last) } else { Ok(()) }
    }

    fn is_event(&mut self, seq: Seq, bytes: &[u8]) -> bool {
        seq <= Seq::MAX
            && record::decode(bytes, seq).is_ok_and(|event| self.verifier.check_id(&event).is_ok())
    }

    /// Puts what was added into the log, and what waits in memory into the indexes if it is much.
    fn put(&mut self, last: Seq) -> Result<(), StoreError> {
        let (store, tail) = (&self.store, self.store.layers().tail);
        store.log().append(&mut self.frame, tail, store.opening(), last)?;
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
        let newest = self.newest.max(self.last);
        self.put(newest)?;
        while self.writer.maintain(true)? {}
        if !facts.is_empty() {
            self.writer.change_facts(facts)?;
        }
        let store = &self.store;
        store.log().places().lengthen(newest)?;
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
pub(super) fn hand_over(file: &Path, folder: &Path) {
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

/// Records that are put into the log at once.
const FRAME_BYTES: usize = if cfg!(test) { 4 << 10 } else { 4 << 20 };
/// Entries that wait in memory: about a hundred megabytes.
const ENTRIES_MAX: u64 = if cfg!(test) { 500 } else { 3_000_000 };
