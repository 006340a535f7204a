//! The writer thread: the only one of the process that writes to the store (I1), and the ring's
//! producer.
//!
//! What queued while the last batch was being committed is the next batch. After the commit
//! returned, and never before (I3), the batch is shown to the witness, if there is one, goes to the
//! ring in commit order, and then the replies go to the cores; so whoever reads its OK and asks
//! finds the event, and everything that follows from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::groups::GroupKeeping;
use super::handle::{Burial, Message, Replies, Reply, ReplyTo, Submission, WriterHandle};
use super::witness::{Witness, Witnessed};
use crate::clock::Clock;
use crate::fanout::{Producer, Published};
use crate::mailbox::{LoneReceiver, Received, lone_mailbox};
use crate::metrics::{CLASSES, VERDICTS, WriterMetrics};
use crate::nostr::{EventId, Kind, KindClass, Prefix, Reject, Verified};
use crate::seq::Seq;
use crate::store::{Committed, Guard, Outcome, Store, StoreError, Writer};
use crate::sys;

/// The running writer thread.
#[derive(Debug)]
pub struct WriterThread {
    /// Sends to it.
    pub handle: WriterHandle,
    thread: JoinHandle<()>,
}

impl WriterThread {
    /// Stops the writer after what is queued; returns when it has ended.
    pub fn join(self) {
        self.handle.stop();
        if self.thread.join().is_err() {
            tracing::error!("the writer thread panicked");
        }
    }
}

/// Submissions that may wait for the writer.
const MAILBOX_MAX: usize = 32_768;
/// Events of one batch.
const BATCH_MAX: usize = 8_192;
/// Bytes of events of one batch; bounds the pages that one transaction touches.
const BATCH_BYTES_MAX: usize = 32 << 20;
/// Without work for so long, the writer tidies up.
const IDLE: Duration = Duration::from_millis(500);
/// How long a busy relay may put off erasing what vanished.
const ERASE_SECS_MAX: u64 = 60;
/// Expired events buried at once.
const EXPIRE_MAX: usize = 1_000;

/// Starts the writer thread of a store; `witness` is who sees each commit first, if anybody does,
/// and `groups` who judges what is for groups, if there are any.
///
/// # Errors
///
/// If the system gives no thread.
pub fn spawn(
    store: Store,
    ring: Producer,
    replies: Box<dyn Replies>,
    witness: Option<Box<dyn Witness>>,
    groups: Option<GroupKeeping>,
    clock: Clock,
) -> std::io::Result<WriterThread> {
    let (mailbox, inbox) = lone_mailbox(MAILBOX_MAX);
    // What requests to vanish buried may not have been erased when the process ended.
    let has_requests = store.snapshot().is_ok_and(|snapshot| snapshot.total(Kind::VANISH.0) > 0);
    let metrics = Arc::<WriterMetrics>::default();
    let last = store.last_seq();
    let published = Arc::new(AtomicU64::new(last.0));
    let mut state = State {
        metrics: Arc::clone(&metrics),
        published: last,
        told: Arc::clone(&published),
        writer: Writer::new(store.clone()),
        store,
        ring,
        replies,
        witness,
        groups,
        clock,
        expired_at: 0,
        erase_at: has_requests.then_some(0),
    };
    // What the relay has to say about groups is there before anybody can ask.
    state.speak_of_groups();
    let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
        // All wait for it, and mostly it has little to do.
        sys::begin_soon();
        state.run(&inbox);
    })?;
    Ok(WriterThread { handle: WriterHandle { mailbox, published, metrics }, thread })
}

struct State {
    metrics: Arc<WriterMetrics>,
    store: Store,
    writer: Writer,
    ring: Producer,
    replies: Box<dyn Replies>,
    witness: Option<Box<dyn Witness>>,
    groups: Option<GroupKeeping>,
    clock: Clock,
    /// The newest event that was given to the ring.
    published: Seq,
    /// The same, for others.
    told: Arc<AtomicU64>,
    /// When expired events were last looked for.
    expired_at: u64,
    /// When what vanished is erased at the latest, if anything has vanished.
    erase_at: Option<u64>,
}

impl State {
    fn run(mut self, inbox: &LoneReceiver<Message>) {
        let mut is_busy = false;
        loop {
            let wait = if is_busy { Duration::ZERO } else { IDLE };
            let (mut batch, mut others) = (Vec::new(), Vec::new());
            let mut is_last = false;
            match inbox.recv_timeout(wait) {
                Received::Message(first) => {
                    is_last = fill(first, inbox, &mut batch, &mut others);
                    if !batch.is_empty() {
                        self.write(batch);
                    }
                    others.into_iter().for_each(|other| self.attend(other));
                    is_busy = self.tidy(false);
                }
                Received::Nothing => is_busy = self.tidy(!is_busy),
                Received::Closed => is_last = true,
            }
            if is_last {
                return;
            }
        }
    }

    /// Commits, publishes and answers one batch.
    fn write(&mut self, batch: Vec<Submission>) {
        let now = self.clock.now_secs();
        let mut waiting = Vec::with_capacity(batch.len());
        let mut events: Vec<Verified> = Vec::with_capacity(batch.len());
        for submission in batch {
            waiting.push((submission.reply, submission.event.event().id));
            events.push(submission.event.into_verified());
        }
        let began = Instant::now();
        let committed = self.commit(&events, now);
        self.metrics.commit_micros.add(micros_since(began));
        self.metrics.batch_events.add(events.len() as u64);
        let outcomes = match committed {
            Ok(mut committed) => {
                self.count(&events, &committed.outcomes);
                self.publish_foreign(committed.before);
                let refused = std::mem::take(&mut committed.refused);
                let outcomes = std::mem::take(&mut committed.outcomes);
                self.publish(events, &outcomes, committed);
                Ok((outcomes, refused.into_iter()))
            }
            Err(error) => {
                self.metrics.batches_failed_total.add(1);
                tracing::error!(%error, "a batch was not stored");
                Err(reject_of(&error))
            }
        };
        self.answer(waiting, outcomes);
        self.tell();
    }

    /// Has everybody look at the ring.
    fn tell(&mut self) {
        self.told.store(self.published.0, Ordering::Release);
        self.ring.wake();
    }

    /// Commits a batch, under the eyes of who keeps the groups if there are any.
    fn commit(&mut self, events: &[Verified], now: u64) -> Result<Committed, StoreError> {
        let Some(groups) = &mut self.groups else { return self.writer.commit(events, now) };
        groups.begin(now);
        let committed = self.writer.commit_guarded(events, now, Some(groups as &mut dyn Guard));
        match &committed {
            Ok(_) => groups.settle(),
            Err(_) => groups.give_up(),
        }
        committed
    }

    /// Answers those who wait for a batch.
    fn answer(
        &self,
        waiting: Vec<(ReplyTo, EventId)>,
        mut outcomes: Result<(Vec<Outcome>, std::vec::IntoIter<Reject>), Reject>,
    ) {
        let mut outcome_at = |place: usize| match &mut outcomes {
            Ok((outcomes, refused)) => match outcomes[place] {
                Outcome::Refused => refused.next().map_or(Ok(Outcome::Refused), Err),
                outcome => Ok(outcome),
            },
            Err(reject) => Err(reject.clone()),
        };
        let mut replies = Vec::with_capacity(waiting.len());
        for (place, (to, id)) in waiting.into_iter().enumerate() {
            replies.push(Reply { to, id, outcome: outcome_at(place) });
        }
        self.reply(replies);
    }

    /// Does what is no batch.
    fn attend(&mut self, message: Message) {
        match message {
            Message::Bury(burial) => self.bury(&burial),
            Message::Tend(chore) => chore(&mut self.writer),
            Message::Facts(changes, done) => {
                let changed = self.writer.change_facts(&changes);
                let changed = changed.map_err(|error| {
                    tracing::error!(%error, "facts were not stored");
                    reject_of(&error)
                });
                // Who has asked may be gone.
                let _ = done.try_send(changed);
            }
            Message::Submit(_) | Message::Foreign | Message::Beat(..) | Message::Stop => {}
        }
    }

    /// Removes events that somebody else has chosen.
    fn bury(&mut self, burial: &Burial) {
        let buried = self.writer.bury(&burial.seqs).unwrap_or_else(|error| {
            tracing::error!(%error, "events could not be removed");
            0
        });
        if buried > 0 {
            self.witness(&[], &burial.seqs);
        }
        // Who has asked may be gone.
        let _ = burial.done.try_send(buried);
    }

    /// Counts what became of the events of a batch.
    fn count(&self, events: &[Verified], outcomes: &[Outcome]) {
        let mut counts = [[0; VERDICTS.len()]; CLASSES.len()];
        for (event, outcome) in events.iter().zip(outcomes) {
            counts[class_place(event.event().kind)][verdict_place(outcome)] += 1;
        }
        for (row, counts) in self.metrics.events_total.iter().zip(counts) {
            for (counter, count) in row.iter().zip(counts).filter(|(_, count)| *count > 0) {
                counter.add(count);
            }
        }
    }

    /// Gives the stored and ephemeral events of a batch to the witness and the ring, in order.
    fn publish(&mut self, events: Vec<Verified>, outcomes: &[Outcome], committed: Committed) {
        let mut published = Vec::new();
        for (event, outcome) in events.into_iter().zip(outcomes) {
            let seq = match outcome {
                Outcome::Stored(seq) => *seq,
                Outcome::Ephemeral => Seq::ZERO,
                _ => continue,
            };
            self.published = self.published.max(seq);
            if event.event().kind == Kind::VANISH {
                self.erase_at = Some(self.clock.now_secs() + ERASE_SECS_MAX);
            }
            published.push(Published::new(seq, event.into_event()));
        }
        if let Some((last, _)) = committed.added.last() {
            self.published = self.published.max(*last);
            let added = committed.added.into_iter();
            published.extend(added.map(|(seq, event)| Published::new(seq, event.into_event())));
            // What was added follows its cause; what is not stored has no place in the order.
            published.sort_by_key(|it| it.seq);
        }
        self.witness(&published, &committed.buried);
        if !published.is_empty() {
            self.ring.publish(Arc::from(published));
        }
    }

    fn witness(&mut self, published: &[Published], buried: &[Seq]) {
        if let Some(witness) = &mut self.witness
            && !(published.is_empty() && buried.is_empty())
        {
            witness.witness(&Witnessed { published, buried });
        }
    }

    /// Gives events that other processes committed, up to `until`, to the ring.
    fn publish_foreign(&mut self, until: Seq) {
        while self.published < until {
            match self.read_foreign(until) {
                Ok(published) => {
                    let last = published.last().map_or(until, |event| event.seq);
                    self.published = if published.len() < FOREIGN_MAX { until } else { last };
                    self.witness(&published, &[]);
                    self.recall_groups(&published);
                    if !published.is_empty() {
                        self.ring.publish(Arc::from(published));
                    }
                    self.tell();
                }
                Err(error) => {
                    tracing::error!(%error, "events of another process were not delivered");
                    return;
                }
            }
        }
    }

    /// Stores what the relay has to say about groups though nobody has asked for it.
    fn speak_of_groups(&mut self) {
        if self.groups.as_ref().is_some_and(GroupKeeping::is_due) {
            self.write(Vec::new());
        }
    }

    /// Reads the groups again if another process may have changed them.
    fn recall_groups(&mut self, published: &[Published]) {
        let Some(groups) = &mut self.groups else { return };
        if published.iter().any(|it| GroupKeeping::follows_from(&it.event.view()))
            && let Err(error) = groups.recall(&self.store)
        {
            tracing::error!(%error, "the groups could not be read again");
        }
    }

    fn read_foreign(&self, until: Seq) -> Result<Vec<Published>, StoreError> {
        let snapshot = self.store.snapshot()?;
        let mut published = Vec::new();
        for item in snapshot.log(self.published)? {
            let (seq, event) = item?;
            if seq > until || published.len() == FOREIGN_MAX {
                break;
            }
            published.push(Published::new(seq, event.to_owned()));
        }
        Ok(published)
    }

    /// Sorts replies by core and hands them over.
    fn reply(&self, mut replies: Vec<Reply>) {
        replies.sort_by_key(|reply| reply.to.core);
        while let Some(core) = replies.first().map(|reply| reply.to.core) {
            let others = replies.partition_point(|reply| reply.to.core == core);
            let rest = replies.split_off(others);
            self.replies.deliver(core, replies);
            replies = rest;
        }
    }

    /// Does one step of what can wait: foreign events, expiry, merging. Returns whether more is
    /// to do.
    fn tidy(&mut self, is_idle: bool) -> bool {
        let began = Instant::now();
        let done = self.store.refresh().and_then(|last| {
            self.publish_foreign(last);
            self.speak_of_groups();
            let now = self.clock.now_secs();
            if now > self.expired_at {
                self.expired_at = now;
                let expired = self.writer.expire(now, EXPIRE_MAX)?;
                self.witness(&[], &expired);
            }
            if let Some(groups) = &mut self.groups {
                let ended = groups.ended(&self.store)?;
                if !ended.is_empty() {
                    self.writer.bury(&ended)?;
                }
            }
            let is_erasing = self.is_erasing(is_idle, now);
            self.writer.maintain(is_erasing || is_idle && self.is_worth_merging()?)
        });
        self.metrics.tidy_micros_total.add(micros_since(began));
        done.unwrap_or_else(|error| {
            if !matches!(error, StoreError::Poisoned) {
                tracing::error!(%error, "the store could not be tidied");
            }
            false
        })
    }

    /// What vanished is erased by the next merge, which is not put off for long (NIP-62).
    fn is_erasing(&mut self, is_idle: bool, now: u64) -> bool {
        // A merge under way has begun before.
        let is_due = self.erase_at.is_some_and(|at| is_idle || at <= now);
        if !is_due || self.writer.is_merging() {
            return false;
        }
        self.erase_at = None;
        true
    }

    /// A quiet store is merged when opening it again would otherwise take a while.
    fn is_worth_merging(&self) -> Result<bool, StoreError> {
        const EVENTS_MIN: u64 = 20_000;
        Ok(self.store.snapshot()?.unmerged() >= EVENTS_MIN)
    }
}

/// Foreign events given to the ring at once.
const FOREIGN_MAX: usize = 1_000;

/// Collects a batch; returns whether it is the last one.
fn fill(
    first: Message,
    inbox: &LoneReceiver<Message>,
    batch: &mut Vec<Submission>,
    others: &mut Vec<Message>,
) -> bool {
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Submit(submission) => {
                bytes += submission.event.event().memory_bytes();
                batch.push(submission);
            }
            other @ (Message::Bury(_) | Message::Facts(..) | Message::Tend(_)) => {
                others.push(other);
            }
            Message::Foreign => {}
            // Who asked may have stopped waiting.
            Message::Beat(asker, number) => drop(asker.try_send(number)),
            Message::Stop => return true,
        }
        if batch.len() >= BATCH_MAX || bytes >= BATCH_BYTES_MAX {
            break;
        }
        next = match inbox.try_recv() {
            Received::Message(message) => Some(message),
            Received::Nothing | Received::Closed => None,
        };
    }
    false
}

fn micros_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Returns the place of a kind's class in [`CLASSES`].
fn class_place(kind: Kind) -> usize {
    match kind.class() {
        KindClass::Regular => 0,
        KindClass::Replaceable => 1,
        KindClass::Ephemeral => 2,
        KindClass::Addressable => 3,
    }
}

/// Returns the place of an outcome in [`VERDICTS`].
fn verdict_place(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Stored(_) => 0,
        Outcome::Duplicate => 1,
        Outcome::Superseded => 2,
        Outcome::Deleted => 3,
        Outcome::Vanished => 4,
        Outcome::Expired => 5,
        Outcome::Ephemeral => 6,
        Outcome::Unkept => 7,
        Outcome::Refused => 8,
    }
}

fn reject_of(error: &StoreError) -> Reject {
    let text = match error {
        StoreError::Full(what) => format!("not stored, {what} of the relay is full"),
        _ => "not stored, the relay cannot write to its store".to_owned(),
    };
    Reject::new(Prefix::Error, text)
}
