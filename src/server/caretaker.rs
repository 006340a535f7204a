//! The caretaker: backups and checks of the store by the clock, on a thread of their own, while
//! everybody else goes on.
//!
//! What it does may take long and can be cut off anywhere: a backup that is not complete leaves the
//! one before. So nobody waits for it when the relay stops.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::core::Relay;
use crate::mailbox::{Received, Receiver};
use crate::store::{self, CheckReport, StoreError};

/// What is done by the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// Where backups go, and how long after one the next begins.
    pub backup: Option<(PathBuf, Duration)>,
    /// How long after one check of the whole store the next begins; the first waits as long.
    pub check: Option<Duration>,
    /// Of how many hundredths of the store's files, taken up by events that are gone, is told.
    pub compact_hint_percent: u64,
}

/// What administrators want to be done before it is due.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    is_backup_wanted: AtomicBool,
    is_backup_on: AtomicBool,
}

impl Wishes {
    /// Has a backup made soon.
    pub(super) fn want_backup(&self) {
        self.is_backup_wanted.store(true, Ordering::Relaxed);
    }

    /// Returns whether one is being made, or about to be.
    pub(super) fn is_backup_on(&self) -> bool {
        self.is_backup_wanted.load(Ordering::Relaxed) || self.is_backup_on.load(Ordering::Relaxed)
    }
}

/// The caretaker's thread.
pub(super) struct Caretaker {
    relay: Arc<Relay>,
    /// When each was last begun; of backups, if this process has.
    backed_up_at: Option<u64>,
    checked_at: u64,
    hinted_at: u64,
}

impl Caretaker {
    /// Returns a caretaker that has done nothing yet.
    pub(super) fn new(relay: Arc<Relay>) -> Caretaker {
        let now = relay.clock.now_secs();
        Caretaker { relay, backed_up_at: None, checked_at: now, hinted_at: 0 }
    }

    /// Does what is due until told to stop.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        while stop.recv_timeout(LOOK_PERIOD) == Received::Nothing {
            let settings = self.relay.in_force.load().maintenance.clone();
            let now = self.relay.clock.now_secs();
            if let Some((folder, period)) = settings.backup {
                self.back_up(&folder, period, now);
            }
            if settings.check.is_some_and(|period| is_due(self.checked_at, period, now)) {
                self.checked_at = now;
                self.check();
            }
            self.hint(settings.compact_hint_percent, now);
        }
    }

    fn back_up(&mut self, folder: &Path, period: Duration, now: u64) {
        // A relay that was restarted goes by what lies there.
        let last = self.backed_up_at.or_else(|| store::backed_up_at(folder));
        let Wishes { is_backup_wanted, is_backup_on } = &self.relay.wishes;
        let is_due = last.is_none_or(|at| is_due(at, period, now));
        if !is_due && !is_backup_wanted.load(Ordering::Relaxed) {
            return;
        }
        is_backup_on.store(true, Ordering::Relaxed);
        // Who wants one from here on wants what is stored from here on.
        is_backup_wanted.store(false, Ordering::Relaxed);
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
        is_backup_on.store(false, Ordering::Relaxed);
    }

    fn check(&self) {
        match store::check(&self.relay.store, &mut |_, _| {}) {
            Ok(report) => self.tell(&report),
            Err(error) => self.fail(&error),
        }
    }

    fn tell(&self, report: &CheckReport) {
        self.relay.caretaking.check_at.set(self.relay.clock.now_secs());
        self.relay.caretaking.check_faults.set(report.faults);
        let (records, faults) = (report.records, report.faults);
        if report.is_whole() {
            tracing::info!(records, "the store was checked and is whole");
        } else {
            tracing::error!(
                records,
                faults,
                "the store is damaged: stop the relay and run `relay check --repair`"
            );
        }
    }

    fn fail(&self, error: &StoreError) {
        self.relay.caretaking.checks_failed_total.add(1);
        tracing::error!("the store was not checked: failed to {error}");
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
                "much of the store is taken up by events that are gone: stop the relay and run \
                 `relay compact` when it suits you"
            );
        }
    }
}

fn is_due(last: u64, period: Duration, now: u64) -> bool {
    now.saturating_sub(last) >= period.as_secs()
}

/// How often it looks whether anything is due.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
const HINT_PERIOD: Duration = Duration::from_secs(86_400);
/// Less than this is not worth a restart.
const HINT_BYTES_MIN: u64 = 64 << 20;
