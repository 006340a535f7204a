//! The herald: the thread that speaks for the relay. It signs the relay's own events and has them
//! stored like any others.
//!
//! It keeps no state: what it says follows from what stands ([`Standings`]), which follows from the
//! events in the store. So a task that finds its queue full is refused, or is only a hint
//! ([`HeraldHandle::call`]); and whatever a crash left undone is seen and done at the next start.
//!
//! Its events are given to the writer, and it waits for their outcome before it answers who asked:
//! one batch of tasks is one commit, however many there are. It is the only thread that waits so,
//! and nobody ever waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::connection::ConnectionKey;
use super::core::{Inboxes, Message};
use super::members::{Change, Decision, Reception, Round};
use crate::clock::Clock;
use crate::ingest::{Admitted, Reply, ReplyTo, Submission, WriterHandle};
use crate::mailbox::{self, Received, Receiver, Sender};
use crate::nostr::{Event, EventId, Keypair, Prefix, Reject, Verifier, message};
use crate::policy::Standings;
use crate::store::Outcome;

/// Something that only the relay itself can answer.
pub(super) enum Task {
    /// A verified request to join or to leave (NIP-43).
    Petition { event: Event, from: ReplyTo },
    /// A subscription that asks for an invitation (NIP-43).
    Invitation { core: u32, connection: ConnectionKey, subscription: u32 },
    /// A change that an administrator wants (NIP-86), who is told when it is stored.
    Change { change: Change, answer: Sender<Result<(), Reject>> },
    /// Something changed, from which the relay may have to say something.
    Look,
}

/// The way to the herald; it never makes anybody wait.
#[derive(Clone)]
pub(super) struct HeraldHandle {
    tasks: Sender<Task>,
    signals: Arc<Signals>,
}

#[derive(Default)]
struct Signals {
    is_called: AtomicBool,
    is_stopping: AtomicBool,
}

impl HeraldHandle {
    /// Gives the herald a task.
    ///
    /// # Errors
    ///
    /// If too many others wait for it.
    pub(super) fn ask(&self, task: Task) -> Result<(), Reject> {
        self.tasks.try_send(task).map_err(|_| {
            let text = "too many requests of this kind at once, try again later";
            Reject::new(Prefix::RateLimited, text)
        })
    }

    /// Has the herald look at what stands. Never lost: if its queue is full it is awake, and looks
    /// before it sleeps.
    pub(super) fn call(&self) {
        self.signals.is_called.store(true, Ordering::Release);
        let _ = self.tasks.try_send(Task::Look);
    }

    /// Has the herald end.
    pub(super) fn stop(&self) {
        self.signals.is_stopping.store(true, Ordering::Release);
        let _ = self.tasks.try_send(Task::Look);
    }
}

/// What the herald is made of.
pub(super) struct Herald {
    pub(super) clock: Clock,
    pub(super) keys: Arc<Keypair>,
    pub(super) standings: Standings,
    pub(super) writer: WriterHandle,
    pub(super) inboxes: Inboxes,
    pub(super) reception: Reception,
    pub(super) desk: Desk,
    pub(super) verifier: Verifier,
    /// The second by which it has dated what it said last.
    pub(super) said_at: u64,
}

/// What reaches the herald.
pub(super) struct Desk {
    tasks: Receiver<Task>,
    replies: Receiver<Vec<Reply>>,
    signals: Arc<Signals>,
}

/// Returns the way to a herald, the way of the writer's replies to it, and where both end.
pub(super) fn desk() -> (HeraldHandle, Sender<Vec<Reply>>, Desk) {
    let (asks, tasks) = mailbox::mailbox(TASKS_MAX);
    // There are never more replies under way than events of one batch.
    let (answers, replies) = mailbox::mailbox(BATCH_EVENTS_MAX);
    let signals = Arc::<Signals>::default();
    let handle = HeraldHandle { tasks: asks, signals: Arc::clone(&signals) };
    (handle, answers, Desk { tasks, replies, signals })
}

/// What is said to whoever asked, once what they asked for is stored.
struct Answer {
    to: ReplyTo,
    id: EventId,
    text: &'static str,
}

impl Herald {
    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        self.look();
        while !self.is_stopping() {
            // Something that was put off is looked at again.
            let wait = self.reception.pause(Instant::now()).unwrap_or(WAIT_MAX);
            match self.desk.tasks.recv_timeout(wait) {
                Received::Message(task) => self.attend(task),
                Received::Nothing => {}
                Received::Closed => return,
            }
            let is_called = self.desk.signals.is_called.swap(false, Ordering::AcqRel);
            if is_called || self.reception.pause(Instant::now()).is_some_and(|it| it.is_zero()) {
                self.look();
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.desk.signals.is_stopping.load(Ordering::Acquire)
    }

    /// Says what follows from what stands and has not been said.
    fn look(&mut self) {
        let Some(mut round) = self.begin() else { return };
        self.reception.catch_up(&mut round);
        let events = self.reception.finish(round, Instant::now());
        if let Err(reject) = self.publish(events) {
            tracing::warn!(%reject, "events of the relay itself were not stored");
        }
    }

    /// Attends to a task, and to those behind it as far as they can be decided together.
    fn attend(&mut self, first: Task) {
        let mut next = Some(first);
        while let Some(task) = next.take() {
            next = self.attend_to_some(task);
        }
    }

    /// Decides tasks and publishes what follows; returns one that has to wait for that.
    fn attend_to_some(&mut self, first: Task) -> Option<Task> {
        let mut round = self.begin()?;
        let (mut answers, mut told) = (Vec::new(), Vec::new());
        let mut task = Some(first);
        for _ in 0..BATCH_TASKS_MAX {
            match task.take() {
                None => break,
                Some(Task::Look) => {}
                Some(Task::Petition { event, from }) => {
                    match self.reception.decide(&mut round, &event) {
                        Decision::Wait => {
                            task = Some(Task::Petition { event, from });
                            break;
                        }
                        Decision::Answer(answer) => self.answer(from, &event.id, &answer),
                        Decision::Publish(text) => {
                            answers.push(Answer { to: from, id: event.id, text });
                        }
                    }
                }
                Some(Task::Change { change, answer }) => {
                    match self.reception.change(&mut round, &change) {
                        None => {
                            task = Some(Task::Change { change, answer });
                            break;
                        }
                        Some(Ok(())) => told.push(answer),
                        // Who asked may have stopped waiting.
                        Some(Err(reject)) => drop(answer.try_send(Err(reject))),
                    }
                }
                Some(Task::Invitation { core, connection, subscription }) => {
                    let event = Box::new(self.reception.invite(&round));
                    let message = Message::Invitation { connection, subscription, event };
                    self.inboxes.put(core, message);
                }
            }
            task = match self.desk.tasks.try_recv() {
                Received::Message(task) => Some(task),
                Received::Nothing | Received::Closed => None,
            };
        }
        let events = self.reception.finish(round, Instant::now());
        let published = self.publish(events);
        for answer in told {
            let _ = answer.try_send(published.clone());
        }
        for answer in answers {
            let said = published.clone().map(|()| answer.text);
            self.answer(answer.to, &answer.id, &said);
        }
        task
    }

    /// Begins to decide on what stands; nothing if nothing is to be decided.
    fn begin(&mut self) -> Option<Round> {
        let members = self.standings.current().members.clone()?;
        self.wait_for_clock();
        let now = self.clock.now_secs();
        // Of two changes the later one holds, so each batch has a second of its own.
        let turn = now.max(self.said_at + 1).max(members.changed_at() + 1);
        self.said_at = turn;
        Some(Round::new(members, Arc::clone(&self.keys), turn, now))
    }

    /// Many batches in a second are dated ahead of time; before that becomes noticeable, the
    /// herald lets the tasks queue up for a larger batch.
    fn wait_for_clock(&self) {
        let ahead = || self.said_at.saturating_sub(self.clock.now_secs());
        // Something that was dated far ahead by mistake is nothing to wait for.
        while (AHEAD_SECS_MIN..AHEAD_SECS_MAX).contains(&ahead()) && !self.is_stopping() {
            std::thread::sleep(WRITER_PAUSE);
        }
    }

    /// Has the writer store events; returns when all of them are.
    fn publish(&mut self, events: Vec<Event>) -> Result<(), Reject> {
        let mut missing = 0;
        for event in events {
            let event = self
                .verifier
                .verify(event)
                .map_err(|(_, invalid)| Reject::invalid(invalid.to_string()))
                .and_then(Admitted::new)?;
            let reply = ReplyTo { core: HERALD, connection: 0 };
            self.submit(Submission { event, reply })?;
            missing += 1;
        }
        let mut result = Ok(());
        while missing > 0 {
            match self.desk.replies.recv_timeout(WAIT_MAX) {
                Received::Message(replies) => {
                    missing -= replies.len().min(missing);
                    for reply in replies {
                        result = result.and(check(reply));
                    }
                }
                Received::Nothing if !self.is_stopping() => {}
                Received::Nothing | Received::Closed => return Err(stopping()),
            }
        }
        result
    }

    fn submit(&self, mut submission: Submission) -> Result<(), Reject> {
        while let Err(full) = self.writer.submit(submission) {
            if self.is_stopping() {
                return Err(stopping());
            }
            submission = full.0;
            std::thread::sleep(WRITER_PAUSE);
        }
        Ok(())
    }

    fn answer(&self, to: ReplyTo, id: &EventId, said: &Result<&'static str, Reject>) {
        let mut answer = Vec::new();
        match said {
            Ok(text) => message::write_ok(&mut answer, id, true, text),
            Err(reject) => message::write_refusal(&mut answer, id, reject),
        }
        let connection = ConnectionKey::from_number(to.connection);
        self.inboxes.put(to.core, Message::Answer { connection, answer });
    }
}

fn check(reply: Reply) -> Result<(), Reject> {
    match reply.outcome? {
        Outcome::Stored(_) | Outcome::Ephemeral | Outcome::Duplicate => Ok(()),
        outcome => {
            let text = format!("an event of the relay itself was not stored ({outcome:?})");
            Err(Reject::new(Prefix::Error, text))
        }
    }
}

fn stopping() -> Reject {
    Reject::new(Prefix::Error, "the relay is stopping, try again later")
}

/// The core number by which the writer knows the herald.
pub(super) const HERALD: u32 = u32::MAX;
/// Tasks that may wait for the herald; more are refused.
const TASKS_MAX: usize = 1_024;
/// Tasks that are decided together.
const BATCH_TASKS_MAX: usize = 256;
/// Events that the herald has under way: one for each task, and what it finds to say itself.
const BATCH_EVENTS_MAX: usize = BATCH_TASKS_MAX + 64;
/// How long the herald sleeps if nobody wakes it.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a full writer is left alone.
const WRITER_PAUSE: Duration = Duration::from_millis(5);
/// From so many seconds ahead of time on the herald waits for the clock, unless they are more than
/// it can ever have come to by itself.
const AHEAD_SECS_MIN: u64 = 3;
const AHEAD_SECS_MAX: u64 = 60;
