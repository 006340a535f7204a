//! Reclaiming: a compaction beside everything else, in the small steps of a writer.
//!
//! A merge takes out what has died, the records of that are erased, and what lives in megabytes of
//! the log that are not wholly living moves to its end, so that these go back to the disk. What
//! this cannot give back are the pages of the tables: they are filled again, but only `compact` makes
//! their file shorter.

use serde::Serialize;

use super::env::Store;
use super::erase::Awaits;
use super::error::StoreError;
use super::info::{StoreSize, size};
use super::sweep::{Share, dead_bytes_of};
use super::write::Writer;

/// Work for the one who writes to a store that is in use: a step of bounded size.
pub type Chore = Box<dyn FnOnce(&mut Writer) + Send>;

/// Has the writer do chores, between batches; an error says that there is no writer any more.
pub type Tend<'t> = dyn FnMut(Chore) -> Result<(), StoreError> + 't;

/// How far something is that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// What is being done, in a few words.
    pub name: &'static str,
    /// How much of it is done, and of how much: both zero where nobody knows.
    pub done: (u64, u64),
    /// Whether it stands still until somebody else is done.
    pub is_waiting: bool,
}

impl Stage {
    pub(super) fn at(name: &'static str, done: u64, of: u64) -> Stage {
        Stage { name, done: (done.min(of), of), is_waiting: false }
    }
}

/// Is told how far it is; may stop it with [`StoreError::Stopped`].
pub type Watch<'w> = dyn FnMut(Stage) -> Result<(), StoreError> + 'w;

/// What was given back while everybody went on.
#[derive(Debug, Clone, Serialize)]
pub struct ReclaimReport {
    /// Living events.
    pub events: u64,
    /// What the files took on the disk before, in bytes.
    pub before_bytes: u64,
    /// What they take after it.
    pub after_bytes: u64,
    /// Bytes of the log that were those of dead events and are scattered among the living: zeros.
    pub dead_bytes: u64,
    /// Bytes of free pages of the tables, and of room made ahead.
    pub free_bytes: u64,
}

/// Gives back to the disk what can be had while others read and write.
///
/// What died before it began is gone from the log when it ends.
///
/// # Errors
///
/// [`StoreError::Stopped`] if `watch` has stopped it: what was given back until then is. Otherwise
/// as writing.
pub fn reclaim(
    store: &Store,
    tend: &mut Tend<'_>,
    watch: &mut Watch<'_>,
) -> Result<ReclaimReport, StoreError> {
    let before = size(store)?;
    let reclaimed = go_on(store, tend, watch);
    // Whoever merges and sweeps later does it by the rules of every day.
    ask(tend, |writer| writer.sweep_by(Share::Half))?;
    reclaimed?;
    let StoreSize { events, file_bytes, dead_bytes, free_bytes, .. } = size(store)?;
    let before_bytes = before.file_bytes;
    Ok(ReclaimReport { events, before_bytes, after_bytes: file_bytes, dead_bytes, free_bytes })
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A merge that has begun before knows nothing of what died since.
    Settle,
    Merge,
    Clean,
    /// What was moved is read again when the store is opened, until a merge has passed it.
    Pass,
    End,
}

fn go_on(store: &Store, tend: &mut Tend<'_>, watch: &mut Watch<'_>) -> Result<(), StoreError> {
    let mut phase = Phase::Settle;
    let mut most = 0;
    loop {
        let (next, awaits) = ask(tend, move |writer| writer.reclaim(phase))??;
        phase = next;
        match awaits {
            None if phase == Phase::Clean => {
                let left = dead_bytes_of(store, store.snapshot()?.txn(), Share::Any)?;
                most = most.max(left);
                watch(Stage::at("sweeping", most - left, most))?;
            }
            None => watch(Stage::at("merging", 0, 0))?,
            Some(Awaits::Nothing) => {
                if phase == Phase::End {
                    return Ok(());
                }
                phase = Phase::Pass;
            }
            Some(Awaits::Readers) => wait("waiting for readers", watch)?,
            Some(Awaits::Processes) => wait("waiting for other commands on this store", watch)?,
        }
    }
}

fn wait(name: &'static str, watch: &mut Watch<'_>) -> Result<(), StoreError> {
    watch(Stage { name, done: (0, 0), is_waiting: true })
}

impl Writer {
    /// Does one bounded step; returns what is next, and whose end is awaited if there was nothing to do.
    fn reclaim(&mut self, phase: Phase) -> Result<(Phase, Option<Awaits>), StoreError> {
        match phase {
            Phase::Settle if self.is_merging() => {
                let _ = self.maintain(false)?;
                Ok((Phase::Settle, None))
            }
            Phase::Settle => Ok((Phase::Merge, None)),
            Phase::Merge => {
                self.sweep_by(Share::Any);
                let _ = self.maintain(true)?;
                Ok((Phase::Clean, None))
            }
            Phase::Clean if self.maintain(false)? => Ok((Phase::Clean, None)),
            Phase::Clean => Ok((Phase::Clean, Some(self.awaits()))),
            Phase::Pass => {
                self.sweep_by(Share::Half);
                let _ = self.maintain(true)?;
                Ok((Phase::End, None))
            }
            Phase::End if self.is_merging() => {
                let _ = self.maintain(false)?;
                Ok((Phase::End, None))
            }
            Phase::End => Ok((Phase::End, Some(Awaits::Nothing))),
        }
    }
}

/// Has a writer do something, and returns what came of it.
pub(super) fn ask<R: Send + 'static>(
    tend: &mut Tend<'_>,
    work: impl FnOnce(&mut Writer) -> R + Send + 'static,
) -> Result<R, StoreError> {
    let (sender, answer) = std::sync::mpsc::sync_channel(1);
    tend(Box::new(move |writer| {
        // Who has asked waits below.
        let _ = sender.send(work(writer));
    }))?;
    answer.recv().map_err(|_| StoreError::Stopped)
}
