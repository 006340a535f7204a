//! Events of peers on their way into the store: verified on all cores, written in batches.
//!
//! What is on its way is bounded by its bytes; who has more waits. Several peers share one intake.
//! It writes beside a relay that serves the same store, as an import does: each commit is alone,
//! and the relay finds what was committed.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::ingest::Admitted;
use crate::mailbox::{Received, Receiver, Sender, mailbox};
use crate::nostr::{Event, Verified, Verifier};
use crate::seq::Seq;
use crate::store::{Outcome, Prepared, Preparer, Store, StoreError, Writer};
use crate::sys;

/// Says why a verified event is not to be stored, if so.
pub type Judge = Arc<dyn Fn(&Event) -> Result<(), String> + Send + Sync>;

/// Where events of peers go; cheap to clone.
#[derive(Clone)]
pub struct Intake {
    shared: Arc<Shared>,
    work: Sender<Batch>,
}

/// What became of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeCounts {
    /// Stored.
    pub stored: u64,
    /// There before.
    pub duplicate: u64,
    /// Of which a later version is there.
    pub replaced: u64,
    /// Deleted or vanished by their author.
    pub deleted: u64,
    /// Expired or ephemeral.
    pub passing: u64,
    /// With a wrong id or signature, or not to be stored.
    pub invalid: u64,
}

struct Shared {
    /// Bytes of events on their way.
    bytes: AtomicUsize,
    changed: Notify,
    counts: [AtomicU64; 6],
    has_failed: AtomicBool,
    failure: Mutex<Option<StoreError>>,
}

/// The threads of an intake; to be waited for once no [`Intake`] is left.
pub struct IntakeThreads(Vec<JoinHandle<()>>);

/// Events on their way, and how many bytes came with them.
struct Batch {
    events: Vec<Event>,
    bytes: usize,
}

struct Checked {
    events: Prepared,
    bytes: usize,
}

impl Intake {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// If the system gives none.
    pub fn start(store: &Store, judge: Judge, clock: Clock) -> io::Result<(Intake, IntakeThreads)> {
        let shared = Arc::new(Shared {
            bytes: AtomicUsize::new(0),
            changed: Notify::new(),
            counts: Default::default(),
            has_failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        });
        let (work, inbox) = mailbox(BATCHES_MAX);
        let (checked, outbox) = mailbox(BATCHES_MAX);
        let mut threads = Vec::new();
        for number in 0..sys::core_count() {
            let checker = Checker {
                // Then there is nothing to look up; what comes twice is noticed by the writer.
                is_first: store.last_seq() == Seq::ZERO,
                store: store.clone(),
                preparer: Preparer::new(store),
                shared: Arc::clone(&shared),
                judge: Arc::clone(&judge),
                verifier: Verifier::with_keys(KEYS_MAX),
            };
            let (inbox, checked) = (inbox.clone(), checked.clone());
            let name = format!("check-{number}");
            let run = move || checker.run(&inbox, &checked);
            threads.push(thread::Builder::new().name(name).spawn(run)?);
        }
        let committer = Committer {
            store: store.clone(),
            // One for loads would not show what is stored to who compares in this process.
            writer: Writer::new(store.clone()),
            shared: Arc::clone(&shared),
            clock,
            batch: Vec::new(),
            events: 0,
            bytes: 0,
        };
        let run = move || committer.run(&outbox);
        threads.push(thread::Builder::new().name("committer".to_owned()).spawn(run)?);
        Ok((Intake { shared, work }, IntakeThreads(threads)))
    }

    /// Takes events; the caller waits for [`Intake::room`] first.
    pub fn put(&self, events: Vec<Event>) {
        let bytes = events.iter().map(Event::memory_bytes).sum();
        self.shared.bytes.fetch_add(bytes, Ordering::AcqRel);
        if self.work.send(Batch { events, bytes }).is_err() {
            self.shared.done(bytes);
        }
    }

    /// Returns whether more events may be put in.
    pub fn has_room(&self) -> bool {
        self.shared.bytes.load(Ordering::Acquire) < BYTES_MAX
    }

    /// Waits until more events may be put in.
    pub async fn room(&self) {
        self.shared.until(|bytes| bytes < BYTES_MAX).await;
    }

    /// Waits until all events that were put in are stored or dropped.
    pub async fn idle(&self) {
        self.shared.until(|bytes| bytes == 0).await;
    }

    /// Returns whether the store cannot be written to.
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed.load(Ordering::Acquire)
    }

    /// Takes the reason of a failure.
    pub fn take_failure(&self) -> Option<StoreError> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns what became of the events so far.
    pub fn counts(&self) -> IntakeCounts {
        let count = |what: What| self.shared.counts[what as usize].load(Ordering::Relaxed);
        IntakeCounts {
            stored: count(What::Stored),
            duplicate: count(What::Duplicate),
            replaced: count(What::Replaced),
            deleted: count(What::Deleted),
            passing: count(What::Passing),
            invalid: count(What::Invalid),
        }
    }
}

impl IntakeThreads {
    /// Waits for the threads, which end when every [`Intake`] is dropped and all is stored.
    pub fn join(self) {
        for thread in self.0 {
            if thread.join().is_err() {
                tracing::error!("a thread that stores events of peers panicked");
            }
        }
    }
}

/// What became of an event; the place of its counter.
#[derive(Clone, Copy)]
enum What {
    Stored,
    Duplicate,
    Replaced,
    Deleted,
    Passing,
    Invalid,
}

impl Shared {
    fn add(&self, what: What, count: u64) {
        self.counts[what as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Notes that events of so many bytes are on their way no more.
    fn done(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    fn fail(&self, error: StoreError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
        drop(failure);
        self.changed.notify_waiters();
    }

    async fn until(&self, is_enough: impl Fn(usize) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // What changes from here on is not missed.
            changed.as_mut().enable();
            let is_over = self.has_failed.load(Ordering::Acquire);
            if is_over || is_enough(self.bytes.load(Ordering::Acquire)) {
                return;
            }
            changed.await;
        }
    }
}

struct Checker {
    store: Store,
    /// Whether the store had nothing at the beginning.
    is_first: bool,
    shared: Arc<Shared>,
    judge: Judge,
    verifier: Verifier,
    preparer: Preparer,
}

impl Checker {
    fn run(mut self, inbox: &Receiver<Batch>, checked: &Sender<Checked>) {
        while let Some(batch) = inbox.recv() {
            let bytes = batch.bytes;
            let events = match self.check(batch.events) {
                Ok(events) => events,
                Err(error) => {
                    self.shared.fail(error);
                    Prepared::default()
                }
            };
            if checked.send(Checked { events, bytes }).is_err() {
                return;
            }
        }
    }

    fn check(&mut self, mut events: Vec<Event>) -> Result<Prepared, StoreError> {
        let count = events.len();
        if !self.is_first {
            events = self.unknown(events)?;
        }
        self.shared.add(What::Duplicate, (count - events.len()) as u64);
        let count = events.len();
        let mut prepared = Prepared::default();
        prepared.reserve(events.iter().map(Event::memory_bytes).sum(), count);
        for event in events {
            if let Some(verified) = self.verified(event) {
                self.preparer.add(&mut prepared, &verified);
            }
        }
        self.shared.add(What::Invalid, (count - prepared.len()) as u64);
        Ok(prepared)
    }

    /// Drops what is stored, so that it is not verified once more.
    fn unknown(&self, events: Vec<Event>) -> Result<Vec<Event>, StoreError> {
        let snapshot = self.store.snapshot()?;
        let mut unknown = Vec::with_capacity(events.len());
        for event in events {
            if snapshot.by_id(&event.id)?.is_none() {
                unknown.push(event);
            }
        }
        Ok(unknown)
    }

    fn verified(&mut self, event: Event) -> Option<Verified> {
        let verified = self.verifier.verify(event).ok()?;
        (self.judge)(verified.event()).ok()?;
        Some(Admitted::new(verified).ok()?.into_verified())
    }
}

struct Committer {
    store: Store,
    writer: Writer,
    shared: Arc<Shared>,
    clock: Clock,
    batch: Vec<Prepared>,
    /// Events of the batch.
    events: usize,
    /// Bytes that came with them.
    bytes: usize,
}

impl Committer {
    fn run(mut self, outbox: &Receiver<Checked>) {
        let mut since = Instant::now();
        loop {
            let wait = if self.bytes == 0 { IDLE_WAIT } else { BATCH_WAIT };
            match outbox.recv_timeout(wait) {
                Received::Message(checked) => {
                    if self.bytes == 0 {
                        since = Instant::now();
                    }
                    self.events += checked.events.len();
                    self.bytes += checked.bytes;
                    self.batch.push(checked.events);
                    let is_full = self.events >= BATCH_EVENTS_MAX || self.bytes >= BATCH_BYTES_MAX;
                    if is_full || since.elapsed() >= BATCH_AGE_MAX {
                        self.commit();
                    }
                }
                Received::Nothing => self.commit(),
                Received::Closed => break,
            }
        }
        self.commit();
        self.tidy();
    }

    fn commit(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if std::mem::take(&mut self.events) > 0
            && let Err(error) = self.write()
        {
            self.shared.fail(error);
        }
        self.batch.clear();
        if bytes > 0 {
            self.shared.done(bytes);
        }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let committed = self.writer.commit_prepared(&self.batch, self.clock.now_secs())?;
        for outcome in committed.outcomes {
            let what = match outcome {
                Outcome::Stored(_) => What::Stored,
                Outcome::Duplicate => What::Duplicate,
                Outcome::Superseded => What::Replaced,
                Outcome::Deleted | Outcome::Vanished => What::Deleted,
                // Nobody guards what comes from peers.
                Outcome::Expired | Outcome::Ephemeral | Outcome::Unkept | Outcome::Refused => {
                    What::Passing
                }
            };
            self.shared.add(what, 1);
        }
        while self.writer.maintain(false)? {}
        Ok(())
    }

    /// Leaves little for the next who opens the store.
    fn tidy(&mut self) {
        let is_worth = self.store.snapshot().is_ok_and(|it| it.unmerged() >= UNMERGED_MAX);
        let is_failed = self.shared.has_failed.load(Ordering::Acquire);
        let mut is_unfinished = is_worth && !is_failed;
        while is_unfinished {
            is_unfinished = self.writer.maintain(true).unwrap_or_else(|error| {
                self.shared.fail(error);
                false
            });
        }
    }
}

/// Authors that each thread remembers.
const KEYS_MAX: usize = 1 << 14;
/// Bytes of events on their way.
const BYTES_MAX: usize = 64 << 20;
/// Batches on their way; each has one event at least.
const BATCHES_MAX: usize = 1_024;
/// Events of one commit: enough to make a sync cheap, little enough to lose at a crash.
const BATCH_EVENTS_MAX: usize = 32_768;
const BATCH_BYTES_MAX: usize = 32 << 20;
/// Peers that say nothing for so long are not waited for to fill a batch.
const BATCH_WAIT: Duration = Duration::from_millis(20);
const BATCH_AGE_MAX: Duration = Duration::from_secs(1);
const IDLE_WAIT: Duration = Duration::from_secs(3_600);
/// Events that may stay unmerged.
const UNMERGED_MAX: u64 = 20_000;
