//! The places for processes: what each has in hand, whether it is given more, and when it is started
//! again. How many questions a process gets ahead is `load`'s.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::load::{Finding, Load, Mark};
use super::pace::Weight;
use super::process::Process;
use super::question::Question;
use crate::nostr::EventId;
use crate::policy::PluginRequest;

/// A place for one process.
pub(super) enum Slot {
    /// It is started when its time has come.
    Down { until: Instant, failures: u32, rank: Rank },
    /// It runs.
    Up(Box<Running>),
}

/// A process that runs, and what it was asked.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) rank: Rank,
    /// How often in a row processes of this place have ended or hung.
    pub(super) failures: u32,
    pub(super) started: Instant,
    /// The oldest first.
    pub(super) asked: VecDeque<Asked>,
    /// Since when the first of them is the first.
    pub(super) first_since: Instant,
    pub(super) load: Load,
}

/// How much a process is trusted to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// Nothing speaks against it.
    Sound,
    /// Those before it have failed, and it has not answered yet.
    OnProbation,
}

/// A question on its way.
pub(super) struct Asked {
    pub(super) question: Question,
    /// When it came.
    pub(super) at: Instant,
    /// How often the process that had it first of all has ended.
    pub(super) culprit: u32,
    /// When it was asked last, if it was.
    pub(super) mark: Option<Mark>,
}

/// A question that was answered.
pub(super) struct Answered {
    pub(super) question: Question,
    pub(super) mark: Mark,
    pub(super) finding: Finding,
}

/// Why a process is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    End,
    Hang,
}

/// Which process may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Any,
    /// One that has something to do already.
    Busy,
}

/// What may be asked of a process at this moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) choice: Choice,
    pub(super) weight: Weight,
    /// How much it may have in hand by the settings.
    pub(super) pending_max: usize,
    pub(super) now: Instant,
}

impl Asked {
    /// Returns a question that has come at a moment and was not asked yet.
    pub(super) fn new(question: Question, at: Instant) -> Asked {
        Asked { question, at, culprit: 0, mark: None }
    }
}

impl Slot {
    /// Returns whether nothing speaks against what runs here, or will.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Slot::Up(running) => running.rank == Rank::Sound,
            Slot::Down { rank, .. } => *rank == Rank::Sound,
        }
    }

    /// Returns whether there is a process with nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Slot::Up(it) if it.asked.is_empty() && it.process.has_room())
    }

    /// Returns whether a process here may be asked.
    pub(super) fn has_room(&self, room: Room) -> bool {
        matches!(self, Slot::Up(it) if it.has_room(room))
    }
}

impl Running {
    /// Returns a process that was started `now`.
    pub(super) fn new(process: Process, rank: Rank, failures: u32, now: Instant) -> Running {
        Running {
            process,
            rank,
            failures,
            started: now,
            asked: VecDeque::new(),
            first_since: now,
            load: Load::new(now),
        }
    }

    /// Asks it, without waiting.
    pub(super) fn ask(&mut self, mut asked: Asked, weight: Weight, now: Instant) {
        let question = &asked.question;
        self.process.ask(&PluginRequest {
            event: question.submission.event.event().view(),
            received_at: question.received_at,
            source: &question.source,
            authed: question.authed.as_ref(),
        });
        if self.asked.is_empty() {
            self.first_since = now;
        }
        asked.mark = Some(self.load.ask(weight, now));
        self.asked.push_back(asked);
    }

    /// Takes out what it answers.
    pub(super) fn take(&mut self, id: EventId, now: Instant) -> Option<Answered> {
        let is_about = |asked: &Asked| asked.question.submission.event.event().id == id;
        let found = self.asked.iter().position(is_about)?;
        let asked = self.asked.remove(found)?;
        if found == 0 {
            self.first_since = now;
        }
        self.rank = Rank::Sound;
        if now.duration_since(self.started) >= HEALTHY {
            self.failures = 0;
        }
        let mark = asked.mark?;
        Some(Answered { question: asked.question, mark, finding: self.load.answer(mark, now) })
    }

    fn has_room(&self, room: Room) -> bool {
        // It may wait for more before it answers any.
        let is_silent = room.now.duration_since(self.first_since) >= SILENCE;
        let least = if is_silent { SILENT_SIZE } else { 0 };
        let most = match self.rank {
            Rank::Sound => room.pending_max,
            Rank::OnProbation => 1,
        };
        let is_meant = room.choice == Choice::Any || !self.asked.is_empty();
        is_meant && self.load.has_room(room.weight, least, most) && self.process.has_room()
    }
}

/// Returns the process with the least to do, if one has room.
pub(super) fn choose(slots: &mut [Slot], room: Room) -> Option<&mut Running> {
    let running = slots.iter_mut().filter_map(|slot| match slot {
        Slot::Up(it) if it.has_room(room) => Some(&mut **it),
        _ => None,
    });
    running.min_by_key(|it| it.load.rank())
}

/// Returns a place whose process has failed so many times in a row.
pub(super) fn vacant_after(loss: Loss, failures: u32, now: Instant) -> Slot {
    let delay = match failures {
        ..2 => Duration::ZERO,
        _ => RESTART_DELAY.saturating_mul(1 << (failures - 2).min(16)).min(RESTART_DELAY_MAX),
    };
    let is_first = loss == Loss::End && failures < 2;
    let rank = if is_first { Rank::Sound } else { Rank::OnProbation };
    Slot::Down { until: now + delay, failures, rank }
}

/// After how long without an answer to its oldest question a process gets more, and how many.
const SILENCE: Duration = Duration::from_millis(400);
const SILENT_SIZE: usize = 16;
/// How long a process has to have run, and still answer, to be as good as any.
const HEALTHY: Duration = Duration::from_secs(10);
/// How long after its second failure in a row a process is started again; twice as long each time.
const RESTART_DELAY: Duration = Duration::from_millis(250);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(60);
