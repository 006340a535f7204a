//! What administrators want to be done with the store before it is due, how far that is, and what
//! came of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::store::Stage;

/// What takes long and can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Room goes back to the disk.
    Compact,
    /// Indexes, counts and fingerprints are made to fit the records.
    Repair,
}

impl Care {
    pub(super) const ALL: [Care; 2] = [Care::Compact, Care::Repair];

    /// Returns what calls and answers name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Care::Compact => "compact",
            Care::Repair => "repair",
        }
    }
}

/// What is wanted of the caretaker.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    is_backup_wanted: AtomicBool,
    is_backup_on: AtomicBool,
    /// Whether what is under way is to end.
    is_stopping: AtomicBool,
    cares: Mutex<Cares>,
}

#[derive(Debug, Default)]
struct Cares {
    on: Option<(Care, Stage)>,
    /// By care.
    runs: [Runs; Care::ALL.len()],
}

/// The runs of one care.
#[derive(Debug, Default)]
struct Runs {
    is_wanted: bool,
    /// How many have begun.
    begun: u64,
    /// What came of the last that ended.
    last: Option<Value>,
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

    /// Returns whether one is wanted.
    pub(super) fn is_backup_wanted(&self) -> bool {
        self.is_backup_wanted.load(Ordering::Relaxed)
    }

    /// Notes that one begins: who wants one from here on wants what is stored from here on.
    pub(super) fn begin_backup(&self) {
        self.is_backup_on.store(true, Ordering::Relaxed);
        self.is_backup_wanted.store(false, Ordering::Relaxed);
    }

    /// Notes that it is over.
    pub(super) fn end_backup(&self) {
        self.is_backup_on.store(false, Ordering::Relaxed);
    }

    /// Has something done soon; returns the number of the run that does it.
    pub(super) fn want(&self, care: Care) -> u64 {
        let mut cares = self.cares();
        let runs = &mut cares.runs[care as usize];
        runs.is_wanted = true;
        runs.begun + 1
    }

    /// Returns whether something is wanted.
    pub(super) fn is_wanted(&self, care: Care) -> bool {
        self.cares().runs[care as usize].is_wanted
    }

    /// Ends what is under way, and forgets what is wanted.
    pub(super) fn stop(&self) {
        let mut cares = self.cares();
        for (care, runs) in Care::ALL.into_iter().zip(&mut cares.runs) {
            if std::mem::take(&mut runs.is_wanted) {
                runs.begun += 1;
                runs.last =
                    Some(json!({ "run": runs.begun, "error": STOPPED, "care": care.name() }));
            }
        }
        self.is_stopping.store(cares.on.is_some(), Ordering::Relaxed);
    }

    /// Returns whether what is under way is to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Notes that something begins.
    pub(super) fn begin(&self, care: Care) {
        let mut cares = self.cares();
        let stage = Stage { name: "beginning", done: (0, 0), is_waiting: false };
        cares.on = Some((care, stage));
        let runs = &mut cares.runs[care as usize];
        runs.is_wanted = false;
        runs.begun += 1;
        self.is_stopping.store(false, Ordering::Relaxed);
    }

    /// Notes how far it is.
    pub(super) fn note(&self, now: Stage) {
        if let Some((_, stage)) = &mut self.cares().on {
            *stage = now;
        }
    }

    /// Notes what came of it: a report, or what is said instead of one.
    pub(super) fn end(&self, care: Care, at: u64, came: Result<Value, String>) {
        let mut cares = self.cares();
        cares.on = None;
        let runs = &mut cares.runs[care as usize];
        let (name, text) = match came {
            Ok(report) => ("report", report),
            Err(error) => ("error", error.into()),
        };
        let mut last = json!({ "run": runs.begun, "at": at });
        last[name] = text;
        runs.last = Some(last);
    }

    /// Returns all of this for those who ask.
    pub(super) fn shown(&self) -> Value {
        let cares = self.cares();
        let on = cares.on.map(|(care, stage)| {
            let (done, of) = stage.done;
            json!({
                "care": care.name(),
                "run": cares.runs[care as usize].begun,
                "stage": stage.name,
                "done": done,
                "of": of,
            })
        });
        let mut shown = json!({ "on": on });
        for (care, runs) in Care::ALL.into_iter().zip(&cares.runs) {
            shown[care.name()] = runs.last.clone().unwrap_or_default();
        }
        shown
    }

    fn cares(&self) -> MutexGuard<'_, Cares> {
        // Nothing under the lock can leave it half done.
        self.cares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of a run that was ended.
pub(super) const STOPPED: &str = "stopped";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_while_a_run_is_on_waits_for_the_next_one() {
        let wishes = Wishes::default();
        assert_eq!(wishes.want(Care::Compact), 1);
        assert_eq!(wishes.want(Care::Compact), 1, "it has not begun");
        wishes.begin(Care::Compact);
        assert!(!wishes.is_wanted(Care::Compact));
        assert_eq!(wishes.want(Care::Compact), 2);
        wishes.end(Care::Compact, 7, Ok(json!({ "events": 3 })));
        assert_eq!(
            wishes.shown()["compact"],
            json!({ "run": 1, "at": 7, "report": { "events": 3 } })
        );
        assert!(wishes.is_wanted(Care::Compact));
    }

    #[test]
    fn stopping_ends_what_is_on_and_answers_those_who_wait() {
        let wishes = Wishes::default();
        let run = wishes.want(Care::Repair);
        wishes.stop();
        assert!(!wishes.is_stopping(), "nothing is on");
        assert_eq!(wishes.shown()["repair"]["run"], run);
        assert_eq!(wishes.shown()["repair"]["error"], STOPPED);
        assert_eq!(wishes.want(Care::Repair), run + 1);
        wishes.begin(Care::Repair);
        wishes.stop();
        assert!(wishes.is_stopping());
        wishes.end(Care::Repair, 9, Err(STOPPED.to_owned()));
        wishes.begin(Care::Compact);
        assert!(!wishes.is_stopping());
    }
}
