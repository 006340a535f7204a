//! The caretaker: backups, checks and compactions of the store, by the clock or when they are asked
//! for, on a thread of their own, while everybody else goes on.
//!
//! What it does may take long and can be cut off anywhere: a backup that is not complete leaves the
//! one before. So nobody waits for it when the relay stops. What is written is written by the
//! writer, in steps between two batches; the caretaker rests as long as each of them took.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::core::Relay;
use super::wishes::{Care, STOPPED};
use crate::ingest::WriterHandle;
use crate::mailbox::{Received, Receiver};
use crate::store::{self, CheckReport, MendReport, Stage, StoreError, Tend, Watch};

/// What is done by the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// Where backups go, and how long after one the next begins.
    pub backup: Option<(PathBuf, Duration)>,
    /// How long after one check of the whole store the next begins; the first waits as long.
    pub check: Option<Duration>,
    /// Whether such a check also mends what it finds.
    pub check_mends: bool,
    /// How long after one compaction the next begins; the first waits as long.
    pub compact: Option<Duration>,
    /// Of how many hundredths of the store's files, taken up by events that are gone, is told.
    pub compact_hint_percent: u64,
}

/// The caretaker's thread.
pub(super) struct Caretaker {
    relay: Arc<Relay>,
    writer: WriterHandle,
    /// When each was last begun; of backups, if this process has.
    backed_up_at: Option<u64>,
    checked_at: u64,
    compacted_at: u64,
    hinted_at: u64,
}

impl Caretaker {
    /// Returns a caretaker that has done nothing yet.
    pub(super) fn new(relay: Arc<Relay>, writer: WriterHandle) -> Caretaker {
        let now = relay.clock.now_secs();
        let (checked_at, compacted_at) = (now, now);
        Caretaker { relay, writer, backed_up_at: None, checked_at, compacted_at, hinted_at: 0 }
    }

    /// Does what is due or wanted until told to stop.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        while stop.recv_timeout(LOOK_PERIOD) == Received::Nothing {
            let settings = self.relay.in_force.load().maintenance.clone();
            let now = self.relay.clock.now_secs();
            if let Some((folder, period)) = settings.backup {
                self.back_up(&folder, period, now);
            }
            let is_check_due = settings.check.is_some_and(|it| is_due(self.checked_at, it, now));
            if is_check_due {
                self.checked_at = now;
            }
            if self.relay.wishes.is_wanted(Care::Repair) || is_check_due && settings.check_mends {
                self.repair(stop);
            } else if is_check_due {
                self.check();
            }
            let is_compaction_due =
                settings.compact.is_some_and(|it| is_due(self.compacted_at, it, now));
            if self.relay.wishes.is_wanted(Care::Compact) || is_compaction_due {
                self.compacted_at = now;
                self.compact(stop);
            }
            self.hint(settings.compact_hint_percent, now);
        }
    }

    fn back_up(&mut self, folder: &Path, period: Duration, now: u64) {
        // A relay that was restarted goes by what lies there.
        let last = self.backed_up_at.or_else(|| store::backed_up_at(folder));
        let wishes = &self.relay.wishes;
        let is_due = last.is_none_or(|at| is_due(at, period, now));
        if !is_due && !wishes.is_backup_wanted() {
            return;
        }
        wishes.begin_backup();
        self.backed_up_at = Some(now);
        match store::backup(&self.relay.store, folder, now, &mut |_, _| {}) {
            Ok(report) => {
                self.relay.caretaking.backup_at.set(now);
                self.relay.caretaking.backup_bytes.set(report.bytes);
                let (bytes, copied) = (report.bytes, report.copied_bytes);
                tracing::info!(bytes, copied, "the store was backed up");
            }
            Err(error) => {
                self.relay.caretaking.backups_failed_total.add(1);
                let hint = error.hint();
                tracing::error!(hint, "the store was not backed up: failed to {error}");
            }
        }
        wishes.end_backup();
    }

    fn check(&self) {
        match store::check(&self.relay.store, &mut |_, _| {}) {
            Ok(report) => self.tell(&report),
            Err(error) => self.fail(&error),
        }
    }

    fn tell(&self, report: &CheckReport) {
        let (records, faults) = (report.records, report.faults);
        self.note_check(faults);
        if report.is_whole() {
            tracing::info!(records, "the store was checked and is whole");
        } else {
            tracing::error!(records, faults, "the store is damaged: run `relay check --repair`");
        }
    }

    fn note_check(&self, faults: u64) {
        self.relay.caretaking.check_at.set(self.relay.clock.now_secs());
        self.relay.caretaking.check_faults.set(faults);
    }

    fn fail(&self, error: &StoreError) {
        self.relay.caretaking.checks_failed_total.add(1);
        tracing::error!("the store was not checked: failed to {error}");
    }

    fn repair(&self, stop: &Receiver<()>) {
        let mended = self.take_care(Care::Repair, stop, |tend, watch| {
            store::mend(&self.relay.store, tend, watch)
        });
        match mended {
            Ok(report) => self.tell_mended(&report),
            Err(StoreError::Stopped) => tracing::info!("the check of the store was stopped"),
            Err(error) => self.fail(&error),
        }
    }

    fn tell_mended(&self, report: &MendReport) {
        self.note_check(report.faults_left);
        let MendReport { records, rows_removed, entries_added, entries_removed, .. } = report;
        let (counts, fingerprints) = (report.counts_corrected, report.fingerprints_rewritten);
        if report.has_mended() {
            tracing::warn!(
                records,
                rows_removed,
                entries_added,
                entries_removed,
                counts,
                fingerprints,
                "the store was damaged and was mended"
            );
        }
        let faults = report.faults_left;
        if report.is_whole() {
            tracing::info!(records, "the store was checked and is whole");
        } else {
            tracing::error!(
                faults,
                "the store is damaged beyond what can be mended while it serves: stop the relay \
                 and run `relay check --repair`"
            );
        }
    }

    fn compact(&self, stop: &Receiver<()>) {
        let reclaimed = self.take_care(Care::Compact, stop, |tend, watch| {
            store::reclaim(&self.relay.store, tend, watch)
        });
        match reclaimed {
            Ok(report) => {
                self.relay.caretaking.compact_at.set(self.relay.clock.now_secs());
                let (before_bytes, after_bytes) = (report.before_bytes, report.after_bytes);
                tracing::info!(before_bytes, after_bytes, "the store was compacted");
            }
            Err(StoreError::Stopped) => tracing::info!("the compaction was stopped"),
            Err(error) => tracing::error!("the store was not compacted: failed to {error}"),
        }
    }

    /// Does something that takes long, until it is done, wanted no more, or the relay stops.
    fn take_care<R: Serialize>(
        &self,
        care: Care,
        stop: &Receiver<()>,
        work: impl FnOnce(&mut Tend<'_>, &mut Watch<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let wishes = &self.relay.wishes;
        wishes.begin(care);
        let (mut begun, mut waited) = (Instant::now(), Duration::ZERO);
        let has_written = Cell::new(false);
        let mut watch = |stage: Stage| {
            wishes.note(stage);
            let rest = match (stage.is_waiting, has_written.take()) {
                (true, _) => LOOK_PERIOD,
                (false, true) => begun.elapsed().min(REST_MAX),
                (false, false) => Duration::ZERO,
            };
            waited = if stage.is_waiting { waited + rest } else { Duration::ZERO };
            let is_over = stop.recv_timeout(rest) != Received::Nothing;
            begun = Instant::now();
            if is_over || wishes.is_stopping() || waited > WAIT_MAX {
                return Err(StoreError::Stopped);
            }
            Ok(())
        };
        let mut tend = |chore| {
            has_written.set(true);
            if self.writer.tend(chore) { Ok(()) } else { Err(StoreError::Stopped) }
        };
        let done = work(&mut tend, &mut watch);
        let came = match &done {
            Ok(report) => serde_json::to_value(report).map_err(|error| error.to_string()),
            Err(StoreError::Stopped) if waited > WAIT_MAX => Err(WAITED.to_owned()),
            Err(StoreError::Stopped) => Err(STOPPED.to_owned()),
            Err(error) => Err(match error.hint() {
                Some(hint) => format!("failed to {error}: {hint}"),
                None => format!("failed to {error}"),
            }),
        };
        wishes.end(care, self.relay.clock.now_secs(), came);
        done
    }

    /// Tells once a day if much of the files is taken up by what is gone.
    fn hint(&mut self, percent: u64, now: u64) {
        if percent == 0 || !is_due(self.hinted_at, HINT_PERIOD, now) {
            return;
        }
        self.hinted_at = now;
        let Ok(size) = store::size(&self.relay.store) else { return };
        if size.dead_bytes >= HINT_BYTES_MIN
            && size.dead_bytes / 100 >= size.used_bytes / 10_000 * percent
        {
            tracing::warn!(
                dead_bytes = size.dead_bytes,
                used_bytes = size.used_bytes,
                "much of the store is taken up by events that are gone: run `relay compact`, or set \
                 maintenance.compact_period_secs"
            );
        }
    }
}

fn is_due(last: u64, period: Duration, now: u64) -> bool {
    now.saturating_sub(last) >= period.as_secs()
}

/// How often it looks whether anything is due or wanted.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// The longest rest after a step.
const REST_MAX: Duration = Duration::from_millis(100);
/// How long it waits for commands that have the store open, which keep room from being given back.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// What is said then.
const WAITED: &str =
    "another command has had the store open for ten minutes; run this again after it";
const HINT_PERIOD: Duration = Duration::from_secs(86_400);
/// Less than this is not worth a word.
const HINT_BYTES_MIN: u64 = 64 << 20;
