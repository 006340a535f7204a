//! Repairing: the indexes built anew from the records, and of a damaged log what is whole.
//!
//! As for a compaction, the new files are built beside the old ones and swapped in with one rename.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::check::check;
use super::env::{Store, StoreOptions, Told, damaged, read_tables};
use super::error::StoreError;
use super::facts::FactChange;
use super::frame::Tail;
use super::frames::Frames;
use super::lock::lock_alone;
use super::log::Generation;
use super::replay::{Replay, swap_in};

/// What a repair did.
#[derive(Debug, Clone, Serialize)]
pub struct RepairReport {
    /// Living events, all of which are in the new store.
    pub events: u64,
    /// Records that are not those of an event any more, and were left out.
    pub records_left_out: u64,
    /// Bytes of the log that could not be read, or were part of no frame.
    pub bytes_left_out: u64,
    /// Whether the tables could be read: without them what administrators decided is lost, and all
    /// that stands behind damage of the log.
    pub had_tables: bool,
}

/// Rebuilds the store in `path` from its log.
///
/// `progress` is called now and then with the bytes done and the bytes there are.
///
/// # Errors
///
/// [`StoreError::Busy`] if another process uses the store; [`StoreError::Damaged`] if there is no
/// log. The old store is untouched unless the swap itself succeeded.
pub fn repair(
    path: &Path,
    options: &StoreOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<RepairReport, StoreError> {
    let lock = lock_alone(path)?;
    let workshop = path.join(WORKSHOP);
    let _ = fs::remove_dir_all(&workshop);
    let told = read_tables(path, options)
        .inspect_err(|error| tracing::warn!(%error, "the tables cannot be read"));
    let had_tables = told.is_ok();
    let Told { salt, generation, tail, facts } = match told {
        Ok(told) => told,
        Err(_) => Told {
            salt: options.salt,
            generation: latest_log(path)?,
            tail: Tail::default(),
            facts: Vec::new(),
        },
    };
    let next = Generation(generation.0.wrapping_add(1));
    let new = Store::create(&workshop, &StoreOptions { salt, ..options.clone() }, next)?;
    let mut frames = Frames::open(&generation.log(path))?;
    let mut replay = Replay::into(&new);
    let (mut buffer, mut words_left_out) = (Vec::new(), 0);
    loop {
        let at = frames.tail().at;
        progress(at * 8, frames.words() * 8);
        if frames.skip_gap()?.is_some() {
            continue;
        }
        if let Some(whole) = frames.next(&mut buffer)? {
            replay.note(&whole, frames.tail().at - whole.words());
            continue;
        }
        // Behind the merge mark the log ends with the first frame that is not whole.
        let Some(part) = frames.salvage(tail.at, &mut buffer)? else { break };
        replay.note(&part, frames.tail().at - part.words());
        words_left_out += frames.tail().at - at - part.words();
    }
    words_left_out += tail.at.saturating_sub(frames.tail().at);
    replay.take_from(&frames)?;
    let records_left_out = replay.left_out;
    let put = |(name, value)| FactChange::put(name, value);
    let events = replay.finish(&facts.into_iter().map(put).collect::<Vec<_>>())?;
    let report = check(&new, &mut |_, _| {})?;
    if let Some(example) = report.examples.first() {
        return Err(damaged(&format!("the repaired store ({example})")));
    }
    drop(new);
    swap_in(&workshop, path, next)?;
    drop(lock);
    Ok(RepairReport { events, records_left_out, bytes_left_out: words_left_out * 8, had_tables })
}

/// Returns the log that was written to last.
fn latest_log(path: &Path) -> Result<Generation, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let mut latest = None;
    for entry in fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        if let Some(generation) = Generation::of(&entry.path()) {
            let modified = entry.metadata().and_then(|it| it.modified()).map_err(io)?;
            latest = latest.max(Some((modified, generation.0)));
        }
    }
    latest.map(|(_, number)| Generation(number)).ok_or_else(|| damaged("the log"))
}

const WORKSHOP: &str = "repair.tmp";
