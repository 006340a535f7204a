//! Backups: a copy of the log up to one commit, taken while others go on writing, and what the tables
//! know beside it. The indexes are not copied: they follow from the log.
//!
//! A log only grows until it is compacted. So the next backup into the same folder copies what was
//! added since. Its manifest is written last and in one step: a backup that is cut off leaves the one
//! before.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::check::check;
use super::env::{FORMAT, Store, StoreOptions, damaged};
use super::error::StoreError;
use super::facts::FactChange;
use super::frame::{Tail, WORD_BYTES, Whole};
use super::frames::Frames;
use super::lock::{LOCK_FILE, lock_alone};
use super::log::{FILE_MODE, FIRST_FRAME, Generation};
use super::record;
use super::replay::{Replay, hand_over, remove_others, swap_in};
use super::snapshot::Snapshot;
use crate::hex;
use crate::nostr::Verifier;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// The format version of the log.
    format: u32,
    /// The newest position in commit order.
    last_seq: u64,
    /// How long the log is, in bytes.
    bytes: u64,
    /// When the backup was taken, in seconds since 1970.
    taken_at: u64,
    generation: u32,
    /// The checksum of the last frame, in hexadecimal.
    checksum: String,
    /// The key of the tag hashes, in hexadecimal.
    salt: String,
    /// Names of facts and what they hold, in hexadecimal.
    facts: Vec<(String, String)>,
}

/// What one backup did.
#[derive(Debug, Clone, Serialize)]
pub struct BackupReport {
    /// Living events.
    pub events: u64,
    /// The newest position in commit order.
    pub last_seq: u64,
    /// How large the backup is, in bytes.
    pub bytes: u64,
    /// How much of that was copied this time.
    pub copied_bytes: u64,
}

/// What is in a backup, all of which was read and found whole.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// Records, each of which is that of an event with the right id.
    pub records: u64,
    /// Living events.
    pub events: u64,
    /// How large the backup is, in bytes.
    pub bytes: u64,
    /// When it was taken, in seconds since 1970.
    pub taken_at: u64,
}

/// Copies a store into a folder, or what was added to it since the last time.
///
/// `progress` is called now and then with the bytes done and the bytes there are.
///
/// # Errors
///
/// If the store cannot be read or the folder cannot be written, holds something else, or another
/// backup into it is under way.
pub fn backup(
    store: &Store,
    folder: &Path,
    now: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackupReport, StoreError> {
    fs::create_dir_all(folder).map_err(|source| io(folder, source))?;
    let before = Manifest::read(folder)?;
    if before.is_none() && holds(folder, |path| !is_left_behind(path) && !is_log(path))? {
        return Err(StoreError::Occupied { path: folder.to_owned() });
    }
    let is_other = |it: &Manifest| it.salt != digits(&store.salt().0);
    if before.as_ref().is_some_and(is_other) {
        return Err(faulty(folder, "it is of another store".to_owned()));
    }
    let _lock = lock_alone(folder)?;
    let (manifest, tail, events) = {
        let snapshot = store.snapshot()?;
        let events = snapshot.totals().map(|(_, count)| count).sum();
        (Manifest::of(store, &snapshot, now)?, snapshot.layers().tail, events)
    };
    let generation = store.generation();
    let mut source = Frames::open(&generation.log(store.path()))?;
    let begin = source.tail();
    let path = generation.log(folder);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(|source| io(&path, source))?;
    hand_over(&folder.join(LOCK_FILE), folder);
    hand_over(&path, folder);
    match before.filter(|it| it.generation == manifest.generation) {
        None => write_head(store, &path, &file, begin)?,
        Some(before) => {
            let base = before.base(&manifest, &file);
            match base {
                Some(base) if source.has(base, tail)? => source.go_to(base),
                Some(base) => {
                    // What the last backup ended with may have been swept since.
                    source.go_to(begin);
                    let Some(gap) = source.gap_around(base)? else {
                        return Err(faulty(folder, "it is not of this store".to_owned()));
                    };
                    file.write_all_at(&gap.bytes(), base.at * WORD_BYTES as u64)
                        .map_err(|error| io(&path, error))?;
                    source.go_to(Tail { at: base.at + gap.words, chain: gap.chain });
                }
                _ => return Err(faulty(folder, "it is not of this store".to_owned())),
            }
        }
    }
    let copied_bytes = copy(&mut source, tail, (&file, &path), progress)?;
    file.set_len(manifest.bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| io(&path, error))?;
    manifest.write(folder)?;
    remove_others(folder, generation)?;
    let Manifest { last_seq, bytes, .. } = manifest;
    Ok(BackupReport { events, last_seq, bytes, copied_bytes })
}

/// Returns when the backup in a folder was taken, in seconds since 1970, if there is a whole one.
pub fn backed_up_at(folder: &Path) -> Option<u64> {
    Manifest::read(folder).ok().flatten().map(|manifest| manifest.taken_at)
}

/// Reads a whole backup: that every frame and every id is as it should be.
///
/// # Errors
///
/// [`StoreError::Backup`] if anything is not.
pub fn verify(
    folder: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, StoreError> {
    let manifest = Manifest::need(folder)?;
    let mut verifier = Verifier::new();
    let (mut living, mut dead) = (HashSet::new(), HashSet::new());
    let mut records = 0;
    each_frame(folder, &manifest, |at, whole| {
        for (_, seq, bytes) in whole.records() {
            let event = record::decode(bytes, seq)?;
            if verifier.check_id(&event).is_err() {
                return Err(faulty(folder, format!("event {}: its id is not its hash", seq.0)));
            }
            records += 1;
            living.insert(seq);
        }
        dead.extend(whole.buried());
        progress(at * WORD_BYTES as u64, manifest.bytes);
        Ok(())
    })?;
    let Manifest { bytes, taken_at, .. } = manifest;
    let events = living.difference(&dead).count() as u64;
    Ok(VerifyReport { records, events, bytes, taken_at })
}

/// Makes the store of a backup anew in an empty folder.
///
/// # Errors
///
/// [`StoreError::Occupied`] if there is a store already, [`StoreError::Backup`] if the backup is
/// damaged; otherwise as writing a store.
pub fn restore(
    folder: &Path,
    path: &Path,
    options: &StoreOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport, StoreError> {
    let manifest = Manifest::need(folder)?;
    fs::create_dir_all(path).map_err(|source| io(path, source))?;
    if holds(path, |path| !is_left_behind(path))? {
        return Err(StoreError::Occupied { path: path.to_owned() });
    }
    let lock = lock_alone(path)?;
    let workshop = path.join(WORKSHOP);
    let _ = fs::remove_dir_all(&workshop);
    let salt = manifest.salt().ok_or_else(|| faulty(folder, "its salt is none".to_owned()))?;
    let facts = manifest.facts().ok_or_else(|| faulty(folder, "a fact is none".to_owned()))?;
    let options = StoreOptions { salt, ..options.clone() };
    let generation = Generation(manifest.generation.wrapping_add(1));
    let new = Store::create(&workshop, &options, generation)?;
    let mut replay = Replay::into(&new);
    let frames = each_frame(folder, &manifest, |at, whole| {
        replay.note(whole, at);
        progress(at * WORD_BYTES as u64, manifest.bytes);
        Ok(())
    })?;
    replay.take_from(&frames)?;
    let left_out = replay.left_out;
    let events = replay.finish(&facts)?;
    if left_out > 0 {
        let text = format!("{left_out} of its records are not those of their events");
        return Err(faulty(folder, text));
    }
    let report = check(&new, &mut |_, _| {})?;
    if let Some(example) = report.examples.first() {
        return Err(damaged(&format!("the restored store ({example})")));
    }
    drop(new);
    swap_in(&workshop, path, generation)?;
    drop(lock);
    let Manifest { bytes, taken_at, .. } = manifest;
    Ok(VerifyReport { records: report.records, events, bytes, taken_at })
}

impl Manifest {
    fn of(store: &Store, snapshot: &Snapshot<'_>, now: u64) -> Result<Manifest, StoreError> {
        let facts = snapshot.all_facts()?;
        let tail = snapshot.layers().tail;
        Ok(Manifest {
            format: FORMAT,
            last_seq: snapshot.seq().0,
            bytes: tail.at * WORD_BYTES as u64,
            taken_at: now,
            generation: store.generation().0,
            checksum: format!("{:016x}", tail.chain),
            salt: digits(&store.salt().0),
            facts: facts.iter().map(|(name, value)| (name.clone(), digits(value))).collect(),
        })
    }

    /// Returns what a folder says of its backup, if it says anything.
    fn read(folder: &Path) -> Result<Option<Manifest>, StoreError> {
        let path = folder.join(MANIFEST);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(&path, error)),
        };
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| faulty(folder, format!("{MANIFEST}: {error}")))?;
        if manifest.format != FORMAT {
            return Err(StoreError::Format {
                path: folder.to_owned(),
                expected: FORMAT,
                found: manifest.format,
            });
        }
        Ok(Some(manifest))
    }

    fn need(folder: &Path) -> Result<Manifest, StoreError> {
        let none = || faulty(folder, format!("there is no {MANIFEST}"));
        Manifest::read(folder)?.ok_or_else(none)
    }

    fn write(&self, folder: &Path) -> Result<(), StoreError> {
        let (path, draft) = (folder.join(MANIFEST), folder.join(DRAFT));
        let mut text =
            serde_json::to_vec_pretty(self).expect("a manifest is only text and numbers");
        text.push(b'\n');
        let mut options = File::options();
        options.create(true).write(true).truncate(true).mode(FILE_MODE);
        options
            .open(&draft)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .map(|()| hand_over(&draft, folder))
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|error| io(&path, error))
    }

    fn tail(&self) -> Option<Tail> {
        let chain = u64::from_str_radix(&self.checksum, 16).ok()?;
        Some(Tail { at: self.bytes / WORD_BYTES as u64, chain })
    }

    /// Returns where a later backup of the same log goes on, if the file is as long as this says.
    fn base(&self, later: &Manifest, file: &File) -> Option<Tail> {
        let is_there = file.metadata().is_ok_and(|it| it.len() >= self.bytes);
        self.tail().filter(|_| is_there && self.bytes <= later.bytes)
    }

    fn salt(&self) -> Option<[u8; 16]> {
        hex::decode_any_case(self.salt.as_bytes())?.try_into().ok()
    }

    fn facts(&self) -> Option<Vec<FactChange>> {
        let fact = |(name, value): &(String, String)| {
            Some(FactChange::put(name.clone(), hex::decode_any_case(value.as_bytes())?))
        };
        self.facts.iter().map(fact).collect()
    }
}

/// Writes what stands before the first frame.
fn write_head(store: &Store, path: &Path, file: &File, begin: Tail) -> Result<(), StoreError> {
    let mut head = [0; FIRST_FRAME as usize * WORD_BYTES];
    assert_eq!(begin.at, FIRST_FRAME, "a log begins with its first frame");
    store.log().file().copy(0, &mut head)?;
    // Of a log that lay here under the same name nothing may be taken for part of this one.
    file.set_len(0).and_then(|()| file.write_all_at(&head, 0)).map_err(|error| io(path, error))
}

/// Copies the frames up to a tail; returns how many bytes they are.
fn copy(
    source: &mut Frames,
    tail: Tail,
    (file, path): (&File, &Path),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, StoreError> {
    let begin = source.tail().at;
    let mut buffer = Vec::new();
    let mut pending: Vec<u8> = Vec::new();
    let mut written = begin * WORD_BYTES as u64;
    let write = |file: &File, bytes: &[u8], at: u64| {
        file.write_all_at(bytes, at).map_err(|error| io(path, error))
    };
    loop {
        let before = source.tail().at * WORD_BYTES as u64;
        if let Some(gap) = source.skip_gap()? {
            // A hole in the copy, too.
            write(file, &pending, written)?;
            write(file, &gap.bytes(), before)?;
            written = source.tail().at * WORD_BYTES as u64;
            pending.clear();
            continue;
        }
        let at = source.tail();
        let is_end = at.at >= tail.at;
        if pending.len() >= WRITE_BYTES || is_end {
            write(file, &pending, written)?;
            written += pending.len() as u64;
            pending.clear();
            progress(written, tail.at * WORD_BYTES as u64);
        }
        if is_end {
            // It is the commit that the manifest tells of, chained to all before it.
            return if at == tail { Ok((tail.at - begin) * 8) } else { Err(damaged("the log")) };
        }
        let Some(whole) = source.next(&mut buffer)? else { return Err(damaged("the log")) };
        pending.extend_from_slice(whole.bytes());
    }
}

/// Reads all frames of a backup; the work is told at which word each begins. Returns the log.
fn each_frame(
    folder: &Path,
    manifest: &Manifest,
    mut work: impl FnMut(u64, &Whole<'_>) -> Result<(), StoreError>,
) -> Result<Frames, StoreError> {
    let end = manifest.tail().ok_or_else(|| faulty(folder, "its checksum is none".to_owned()))?;
    let mut frames = Frames::open(&Generation(manifest.generation).log(folder))?;
    let mut buffer = Vec::new();
    loop {
        while frames.skip_gap()?.is_some() {}
        if frames.tail().at >= end.at {
            break;
        }
        let done = frames.tail().at * WORD_BYTES as u64;
        let Some(whole) = frames.next(&mut buffer)? else {
            return Err(faulty(folder, format!("its log is damaged at byte {done}")));
        };
        work(frames.tail().at - whole.words(), &whole)?;
    }
    if frames.tail() != end {
        return Err(faulty(folder, "its log is not the one that was copied".to_owned()));
    }
    Ok(frames)
}

/// Returns whether a folder has any such entry.
fn holds(folder: &Path, is_meant: impl Fn(&Path) -> bool) -> Result<bool, StoreError> {
    for entry in fs::read_dir(folder).map_err(|source| io(folder, source))? {
        if is_meant(&entry.map_err(|source| io(folder, source))?.path()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether an attempt that was cut off leaves this behind, or every file system has it.
fn is_left_behind(path: &Path) -> bool {
    const NAMES: [&str; 4] = [LOCK_FILE, WORKSHOP, DRAFT, "lost+found"];
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| NAMES.contains(&name))
}

fn is_log(path: &Path) -> bool {
    Generation::of(path).is_some()
}

fn digits(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    hex::encode_into(bytes, &mut out);
    String::from_utf8(out).expect("digits are ASCII")
}

fn io(path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source }
}

fn faulty(folder: &Path, fault: String) -> StoreError {
    StoreError::Backup { path: folder.to_owned(), fault }
}

const MANIFEST: &str = "backup.json";
const DRAFT: &str = "backup.json.tmp";
const WORKSHOP: &str = "restore.tmp";
/// Bytes that are written at once.
const WRITE_BYTES: usize = 4 << 20;
