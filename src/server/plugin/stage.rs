//! The stage's thread: which process is asked what, and what happens when none answers.
//!
//! A process is sent many requests without waiting for answers, which may come in any order. The
//! time-out is how long its oldest unanswered request has been the oldest: a slow process that works
//! through a pile keeps going, one that hangs or drops a request does not.
//!
//! Questions wait in one line for each party, and the parties take turns; a process gets as many
//! ahead as it works on at once. Where there are many processes a few of them have nothing to do but
//! for parties of which no other has anything in hand. So whoever sends many events delays its own.
//!
//! A process that ends or hangs is started again: the first time at once, then later each time. Its
//! oldest request is taken for the culprit; the others are asked again. Until a process that was
//! started after a hang, or more than once, has answered something, it gets one request at a time,
//! and if no other process is better nobody waits for it: the events go by [`OnFailure`].

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::congestion::{Congestion, micros};
use super::process::{Heard, Name, Process};
use super::question::{Judged, Question};
use super::window::Window;
use crate::ingest::WriterHandle;
use crate::metrics::PluginMetrics;
use crate::nostr::{Prefix, Reject};
use crate::policy::{Party, PluginAnswer, PluginRequest, PluginVerdict, Turns};
use crate::server::core::{Inboxes, Message, Relay};
use crate::server::gate::GATE;
use crate::server::publish::Returned;
use crate::server::work::Parcel;

/// Which program judges events, and how it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSettings {
    /// A command for the shell. Without a space in it, it is the path of a program that is started
    /// again when its file changes.
    pub command: String,
    /// How many of it run.
    pub processes: usize,
    /// How many requests a process may have unanswered.
    pub pending_max: usize,
    /// How long the oldest of them may be the oldest.
    pub timeout: Duration,
    /// What becomes of events that nobody judges.
    pub on_failure: OnFailure,
}

/// What becomes of an event when no process answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is taken.
    Accept,
    /// It is refused, and may be sent again later.
    Reject,
}

/// What the stage's thread is started with.
pub(in crate::server) struct StageParts {
    pub(in crate::server) relay: Arc<Relay>,
    pub(in crate::server) writer: WriterHandle,
    pub(in crate::server) inboxes: Inboxes,
    pub(in crate::server) questions: mpsc::Receiver<Question>,
    pub(in crate::server) metrics: Arc<PluginMetrics>,
    pub(in crate::server) stop: watch::Receiver<bool>,
}

/// The stage, seen from its own thread.
pub(in crate::server) struct Stage {
    parts: StageParts,
    /// What is in force; nothing, if nothing is judged.
    settings: Option<Arc<PluginSettings>>,
    /// What the program's file was like when the processes were started.
    stamp: Option<Stamp>,
    slots: Vec<Slot>,
    serial: u64,
    /// What no process has room for.
    waiting: Turns<Asked>,
    /// How much of each party the processes have in hand.
    in_hand: HashMap<Party, usize>,
    congestion: Congestion,
    /// What the cores are to be told, by core.
    judged: Vec<Vec<Judged>>,
    hear: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    endings: JoinSet<()>,
}

/// A place for one process.
enum Slot {
    /// It is started when its time has come.
    Down { until: Instant, failures: u32, rank: Rank },
    /// It runs.
    Up(Box<Running>),
}

struct Running {
    process: Process,
    rank: Rank,
    /// How often in a row processes of this place have ended or hung.
    failures: u32,
    started: Instant,
    /// The oldest first.
    asked: VecDeque<Asked>,
    window: Window,
    /// Since when the first of them is the first.
    first_since: Instant,
}

/// How much a process is trusted to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// Nothing speaks against it.
    Sound,
    /// Those before it have failed, and it has not answered yet.
    OnProbation,
}

/// A question on its way.
struct Asked {
    question: Question,
    at: Instant,
    /// How often the process that had it first of all has ended.
    culprit: u32,
    /// How many its process had to answer then, with this one.
    pending: usize,
}

/// Why a process is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    End,
    Hang,
}

/// What tells that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
}

impl Stage {
    /// Runs until told to stop.
    ///
    /// # Errors
    ///
    /// If the system gives no runtime.
    pub(in crate::server) fn run(parts: StageParts) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, Stage::new(parts).serve());
        Ok(())
    }

    fn new(parts: StageParts) -> Stage {
        let (hear, heard) = mpsc::channel(HEARD_MAX);
        Stage {
            judged: parts.inboxes.0.iter().map(|_| Vec::new()).collect(),
            parts,
            settings: None,
            stamp: None,
            slots: Vec::new(),
            serial: 0,
            waiting: Turns::default(),
            in_hand: HashMap::new(),
            congestion: Congestion::new(Instant::now()),
            hear,
            heard,
            endings: JoinSet::new(),
        }
    }

    async fn serve(mut self) {
        let mut arrived = Vec::new();
        let mut stop = self.parts.stop.clone();
        loop {
            self.attend(Instant::now());
            let pause = self.pause(Instant::now());
            let is_open = self.waiting.count() < WAITING_MAX;
            tokio::select! {
                biased;
                _ = stop.wait_for(|is_stopping| *is_stopping) => break,
                Some(heard) = self.heard.recv() => self.hear(heard),
                count = self.parts.questions.recv_many(&mut arrived, TAKEN_MAX), if is_open => {
                    if count == 0 {
                        break;
                    }
                    let at = Instant::now();
                    for question in arrived.drain(..) {
                        let party = question.party;
                        self.waiting.push(party, 1, Asked { question, at, culprit: 0, pending: 0 });
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
            while self.endings.try_join_next().is_some() {}
        }
        // Whose events were not judged got no OK.
        self.retire();
        while self.endings.join_next().await.is_some() {}
    }

    /// Does all that can be done without waiting.
    fn attend(&mut self, now: Instant) {
        self.follow_settings(now);
        self.follow_file(now);
        for place in 0..self.slots.len() {
            self.look_after(place, now);
        }
        self.dispatch(now);
        for (core, judged) in self.judged.iter_mut().enumerate() {
            if !judged.is_empty() {
                let core = u32::try_from(core).expect("cores are fewer than 2^32");
                self.parts.inboxes.put(core, Message::Judged(std::mem::take(judged)));
            }
        }
    }

    /// Returns how long nothing happens by itself.
    fn pause(&self, now: Instant) -> Duration {
        let Some(settings) = &self.settings else { return LOOK_PERIOD };
        let next = self.slots.iter().filter_map(|slot| match slot {
            Slot::Down { until, .. } => Some(*until),
            Slot::Up(it) if it.asked.is_empty() => None,
            Slot::Up(it) => Some(it.first_since + settings.timeout),
        });
        let wait = |at: Instant| at.saturating_duration_since(now);
        next.map(wait).min().map_or(LOOK_PERIOD, |wait| wait.min(LOOK_PERIOD))
    }

    fn follow_settings(&mut self, now: Instant) {
        let plugin = self.parts.relay.in_force.load().plugin.clone();
        if plugin == self.settings {
            return;
        }
        self.retire();
        self.settings = plugin;
        self.open(now);
    }

    /// Starts everything again if the program's file is another one; one that is gone changes
    /// nothing, because it will be back.
    fn follow_file(&mut self, now: Instant) {
        let Some(settings) = &self.settings else { return };
        let stamp = stamp_of(&settings.command);
        if stamp.is_some() && stamp != self.stamp {
            tracing::info!("the plugin has changed and is started again");
            self.retire();
            self.open(now);
        }
    }

    /// Makes places for as many processes as there are to be.
    fn open(&mut self, now: Instant) {
        let count = self.settings.as_ref().map_or(0, |it| it.processes);
        self.stamp = self.settings.as_ref().and_then(|it| stamp_of(&it.command));
        let vacant = || Slot::Down { until: now, failures: 0, rank: Rank::Sound };
        self.slots = (0..count).map(|_| vacant()).collect();
    }

    /// Ends all processes; what they have not answered waits for others.
    fn retire(&mut self) {
        let mut unanswered = Vec::new();
        for slot in self.slots.drain(..) {
            if let Slot::Up(running) = slot {
                let running = *running;
                unanswered.extend(running.asked);
                self.endings.spawn_local(running.process.end());
            }
        }
        unanswered.sort_by_key(|asked| asked.at);
        self.put_back(unanswered);
    }

    fn put_back(&mut self, asked: impl IntoIterator<Item = Asked, IntoIter: DoubleEndedIterator>) {
        for asked in asked.into_iter().rev() {
            self.let_go(asked.question.party);
            self.waiting.put_back(asked.question.party, asked);
        }
    }

    /// Starts the process of a place when it is time, and gives up one that hangs.
    fn look_after(&mut self, place: usize, now: Instant) {
        let Some(settings) = self.settings.clone() else { return };
        match &self.slots[place] {
            Slot::Down { until, failures, rank } if *until <= now => {
                let (failures, rank) = (*failures, *rank);
                self.serial += 1;
                let name = Name { slot: place, serial: self.serial };
                let metrics = Arc::clone(&self.parts.metrics);
                let started = Process::start(&settings.command, name, self.hear.clone(), metrics);
                self.parts.metrics.starts_total.add(1);
                self.slots[place] = match started {
                    Ok(process) => Slot::Up(Box::new(Running {
                        process,
                        rank,
                        failures,
                        started: now,
                        asked: VecDeque::new(),
                        window: Window::new(now),
                        first_since: now,
                    })),
                    Err(error) => {
                        tracing::error!(%error, "the plugin cannot be started");
                        vacant_after(Loss::End, failures + 1, now)
                    }
                };
            }
            Slot::Up(it) if !it.asked.is_empty() && now >= it.first_since + settings.timeout => {
                self.lose(place, Loss::Hang, now);
            }
            _ => {}
        }
    }

    /// Gives up the process of a place.
    fn lose(&mut self, place: usize, loss: Loss, now: Instant) {
        let vacant = Slot::Down { until: now, failures: 0, rank: Rank::Sound };
        let Slot::Up(it) = std::mem::replace(&mut self.slots[place], vacant) else { return };
        let mut it = *it;
        self.slots[place] = vacant_after(loss, it.failures + 1, now);
        let unanswered = it.asked.len();
        match loss {
            Loss::End => {
                self.parts.metrics.ends_total.add(1);
                tracing::warn!(process = place, unanswered, "a plugin process ended by itself");
            }
            Loss::Hang => {
                self.parts.metrics.timeouts_total.add(1);
                tracing::warn!(process = place, unanswered, "a plugin process does not answer");
            }
        }
        self.endings.spawn_local(it.process.end());
        if let Some(mut first) = it.asked.pop_front() {
            first.culprit += 1;
            if loss == Loss::Hang || first.culprit == CULPRIT_MAX {
                self.let_go(first.question.party);
                self.give_up(first.question);
            } else {
                it.asked.push_front(first);
            }
        }
        self.put_back(it.asked);
    }

    /// Sends out what waits, as far as there is room.
    fn dispatch(&mut self, now: Instant) {
        let Some(settings) = self.settings.clone() else {
            while let Some((_, asked)) = self.waiting.pop() {
                self.pass_on(asked.question);
            }
            return;
        };
        while let Some((party, mut asked, choice)) = self.next(settings.pending_max, now) {
            let Some(running) = choose(&mut self.slots, choice, settings.pending_max, now) else {
                if self.slots.iter().any(Slot::is_sound) {
                    return self.waiting.put_back(party, asked);
                }
                self.give_up(asked.question);
                continue;
            };
            *self.in_hand.entry(party).or_default() += 1;
            let question = &asked.question;
            running.process.ask(&PluginRequest {
                event: question.submission.event.event().view(),
                received_at: question.received_at,
                source: &question.source,
                authed: question.authed.as_ref(),
            });
            if running.asked.is_empty() {
                running.first_since = now;
            }
            if asked.pending == 0 {
                let waited = now.duration_since(asked.at);
                self.parts.metrics.wait_micros.add(micros(waited));
                if let Some(congested) = self.congestion.note(waited, now) {
                    congested.tell(self.waiting.count(), settings.processes);
                }
            }
            asked.at = now;
            asked.pending = running.asked.len() + 1;
            running.asked.push_back(asked);
            self.parts.metrics.requests_total.add(1);
        }
    }

    /// Takes the question that is next, with who may be asked. A few processes without anything to
    /// do are for parties of which no other has anything in hand: those who ask much leave them free.
    fn next(&mut self, pending_max: usize, now: Instant) -> Option<(Party, Asked, Choice)> {
        let is_idle = |slot: &&Slot| match slot {
            Slot::Up(it) => it.asked.is_empty() && it.has_room(pending_max, now),
            Slot::Down { .. } => false,
        };
        let idle = self.slots.iter().filter(is_idle).count();
        let free = match self.slots.len() {
            ..SLOTS_WITH_FREE_MIN => 0,
            count => (count / SLOTS_PER_FREE).max(1),
        };
        if idle == 0 || idle > free {
            return self.waiting.pop().map(|(party, asked)| (party, asked, Choice::Any));
        }
        let in_hand = &self.in_hand;
        let first = self.waiting.pop_of(|party| !in_hand.contains_key(&party));
        let first = first.map(|(party, asked)| (party, asked, Choice::Any));
        first.or_else(|| self.waiting.pop().map(|(party, asked)| (party, asked, Choice::Busy)))
    }

    /// Notes that no process has a question of this party any more that one had.
    fn let_go(&mut self, party: Party) {
        if let Entry::Occupied(mut count) = self.in_hand.entry(party) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        let (Heard::Answers(name, _) | Heard::End(name)) = &heard;
        let place = name.slot;
        match self.slots.get(place) {
            Some(Slot::Up(it)) if it.process.name() == *name => {}
            // What was ended has still been heard.
            _ => return,
        }
        let now = Instant::now();
        match heard {
            Heard::Answers(_, answers) => {
                for answer in answers {
                    self.take_answer(place, answer, now);
                }
            }
            Heard::End(_) => self.lose(place, Loss::End, now),
        }
    }

    fn take_answer(&mut self, place: usize, answer: PluginAnswer, now: Instant) {
        let Some(Slot::Up(it)) = self.slots.get_mut(place) else { return };
        let is_about = |asked: &Asked| asked.question.submission.event.event().id == answer.id;
        let Some(found) = it.asked.iter().position(is_about) else {
            self.parts.metrics.lines_unread_total.add(1);
            return tracing::debug!(process = place, "the plugin answers what nobody has asked");
        };
        let Some(asked) = it.asked.remove(found) else { return };
        if found == 0 {
            it.first_since = now;
        }
        it.rank = Rank::Sound;
        it.window.note(asked.at, now, asked.pending);
        if now.duration_since(it.started) >= HEALTHY {
            it.failures = 0;
        }
        self.let_go(asked.question.party);
        let metrics = &self.parts.metrics;
        metrics.answer_micros.add(micros(now.duration_since(asked.at)));
        match answer.verdict {
            PluginVerdict::Accept => {
                metrics.accepted_total.add(1);
                self.pass_on(asked.question);
            }
            PluginVerdict::Reject(reject) => {
                metrics.rejected_total.add(1);
                self.refuse(&asked.question, Some(reject));
            }
            PluginVerdict::ShadowReject => {
                metrics.shadow_rejected_total.add(1);
                self.refuse(&asked.question, None);
            }
            PluginVerdict::Unknown => {
                metrics.lines_unread_total.add(1);
                tracing::debug!(process = place, "the plugin answers with an unknown action");
                self.give_up(asked.question);
            }
        }
    }

    fn pass_on(&self, question: Question) {
        if let Err(full) = self.parts.writer.submit(question.submission) {
            let core = full.0.reply.core;
            if core == GATE {
                return self.parts.relay.gate.give_back(full.0);
            }
            let parcels = vec![Parcel::Submission(full.0)];
            self.parts.inboxes.put(core, Message::Returned(Returned { parcels, lane: None }));
        }
    }

    fn refuse(&mut self, question: &Question, refusal: Option<Reject>) {
        let to = question.submission.reply;
        let id = question.submission.event.event().id;
        if to.core == GATE {
            return self.parts.relay.gate.refuse(to, id, refusal);
        }
        self.judged[to.core as usize].push(Judged { to, id, refusal });
    }

    /// Decides about an event that nobody judges.
    fn give_up(&mut self, question: Question) {
        self.parts.metrics.unanswered_total.add(1);
        match self.settings.as_ref().map(|it| it.on_failure) {
            None | Some(OnFailure::Accept) => self.pass_on(question),
            Some(OnFailure::Reject) => {
                let text = "the policy of this relay does not answer, try again later";
                self.refuse(&question, Some(Reject::new(Prefix::Error, text)));
            }
        }
    }
}

impl Slot {
    fn is_sound(&self) -> bool {
        match self {
            Slot::Up(running) => running.rank == Rank::Sound,
            Slot::Down { rank, .. } => *rank == Rank::Sound,
        }
    }
}

impl Running {
    fn has_room(&self, pending_max: usize, now: Instant) -> bool {
        // It may wait for more before it answers any.
        let is_silent = now.duration_since(self.first_since) >= SILENCE;
        let size = self.window.size().max(if is_silent { SILENT_SIZE } else { 0 });
        let max = match self.rank {
            Rank::Sound => pending_max.min(size),
            Rank::OnProbation => 1,
        };
        self.asked.len() < max && self.process.has_room()
    }
}

/// Which process may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Any,
    /// One that has something to do already.
    Busy,
}

/// Returns the process with the least to do, if one has room.
fn choose(
    slots: &mut [Slot],
    choice: Choice,
    pending_max: usize,
    now: Instant,
) -> Option<&mut Running> {
    let running = slots.iter_mut().filter_map(|slot| match slot {
        Slot::Up(it) if it.has_room(pending_max, now) => Some(&mut **it),
        _ => None,
    });
    let running = running.filter(|it| choice == Choice::Any || !it.asked.is_empty());
    running.min_by_key(|it| it.asked.len())
}

/// Returns a place whose process has failed so many times in a row.
fn vacant_after(loss: Loss, failures: u32, now: Instant) -> Slot {
    let delay = match failures {
        ..2 => Duration::ZERO,
        _ => RESTART_DELAY.saturating_mul(1 << (failures - 2).min(16)).min(RESTART_DELAY_MAX),
    };
    let is_first = loss == Loss::End && failures < 2;
    let rank = if is_first { Rank::Sound } else { Rank::OnProbation };
    Slot::Down { until: now + delay, failures, rank }
}

/// Returns what the program's file is like, if the command is the path of one.
fn stamp_of(command: &str) -> Option<Stamp> {
    if command.contains(char::is_whitespace) {
        return None;
    }
    let about = std::fs::metadata(command).ok()?;
    Some(Stamp { inode: about.ino(), modified: (about.mtime(), about.mtime_nsec()) })
}

/// After how long without an answer to its oldest question a process gets more, and how many.
const SILENCE: Duration = Duration::from_millis(400);
const SILENT_SIZE: usize = 16;
/// Of so many processes one is left free for who asks little; of fewer, but so many, one too.
const SLOTS_PER_FREE: usize = 8;
const SLOTS_WITH_FREE_MIN: usize = 4;
/// Questions that wait in turns; beyond them the order is that of their arrival.
const WAITING_MAX: usize = 16_384;
/// Questions taken at once.
const TAKEN_MAX: usize = 256;
/// What processes have said and the stage has not heard; they wait if it is more.
const HEARD_MAX: usize = 64;
/// How often settings are looked at without an occasion.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// How long a process has to have run, and still answer, to be as good as any.
const HEALTHY: Duration = Duration::from_secs(10);
/// How many ends of processes an event may have caused.
const CULPRIT_MAX: u32 = 2;
/// How long after its second failure in a row a process is started again; twice as long each time.
const RESTART_DELAY: Duration = Duration::from_millis(250);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(60);
