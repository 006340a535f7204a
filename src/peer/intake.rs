//! Events of peers on their way into the store: verified on several cores, then stored.
//!
//! ```text
//!  peers -> checkers: known already? really signed? -> committer: batches into the store (a command)
//!                                                   -> usher: one by one into the relay that serves
//! ```
//!
//! What is on its way is bounded by its bytes; who has more waits. Several peers share one intake,
//! each with an account of its own. A command writes beside a relay that serves the same store, as
//! an import does: each commit is alone, and the relay finds what was committed. Inside of a relay
//! that serves its own writer stores what comes, so that every rule and every subscriber is met.

mod account;
mod checker;
mod committer;
mod refused;
mod usher;

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::{io, thread};

pub use self::account::IntakeCounts;
use self::account::{Account, Shared};
use self::checker::{Checker, Form};
use self::committer::Committer;
use self::usher::Usher;
use super::terms::Provenance;
use crate::clock::Clock;
use crate::ingest::{Entrance, EntryTerms};
use crate::mailbox::{Receiver, Sender, mailbox};
use crate::nostr::{Event, EventId, Verified, Verifier};
use crate::seq::Seq;
use crate::store::{FactChange, Prepared, Preparer, Store, StoreError};
use crate::sys;

/// Says why a verified event is not to be stored, if so.
pub type Judge = Arc<dyn Fn(&Event) -> Result<(), String> + Send + Sync>;

/// Where events of peers go; cheap to clone.
#[derive(Clone)]
pub struct Intake {
    shared: Arc<Shared>,
    work: Sender<Batch>,
    account: Arc<Account>,
}

/// The threads of an intake; to be waited for once no [`Intake`] is left.
pub struct IntakeThreads(Vec<JoinHandle<()>>);

/// Events on their way, and how many bytes came with them.
struct Batch {
    events: Vec<Event>,
    bytes: usize,
    account: Arc<Account>,
}

/// Events that were found to be new and right.
struct Checked {
    events: Ready,
    bytes: usize,
    account: Arc<Account>,
}

/// Events in the form in which they go on.
enum Ready {
    /// With their ids.
    Prepared(Prepared, Vec<EventId>),
    Verified(Vec<Verified>),
}

impl Intake {
    /// Starts the threads of an intake that stores by itself.
    ///
    /// # Errors
    ///
    /// If the system gives none.
    pub fn start(store: &Store, judge: Judge, clock: Clock) -> io::Result<(Intake, IntakeThreads)> {
        let shared = Arc::new(Shared::new(clock, Box::new(|| 0)));
        let checked = mailbox(BATCHES_MAX);
        let preparer = |store: &Store| Form::Prepared(Preparer::new(store));
        let checkers = start_checkers(store, (&shared, &checked.0), sys::core_count(), |store| {
            (preparer(store), Some(Arc::clone(&judge)))
        })?;
        let committer = Committer::new(store.clone(), Arc::clone(&shared));
        finish(shared, checkers, "committer", move || committer.run(&checked.1))
    }

    /// Starts the threads of an intake whose events enter a relay that serves.
    ///
    /// # Errors
    ///
    /// If the system gives none.
    pub fn start_for(
        store: &Store,
        entrance: Arc<dyn Entrance>,
        clock: Clock,
    ) -> io::Result<(Intake, IntakeThreads)> {
        // The entrance is to know who is told of answers, and must not be kept by it.
        let judging = Arc::downgrade(&entrance);
        let version = move || judging.upgrade().map_or(0, |entrance| entrance.version());
        let shared = Arc::new(Shared::new(clock, Box::new(version)));
        entrance.tell(Arc::clone(&shared) as Arc<dyn crate::ingest::Answers>);
        let checked = mailbox(BATCHES_MAX);
        // Clients are served meanwhile.
        let count = sys::core_count().div_ceil(2);
        let checkers =
            start_checkers(store, (&shared, &checked.0), count, |_| (Form::Verified, None))?;
        let usher = Usher { entrance, shared: Arc::clone(&shared) };
        finish(shared, checkers, "usher", move || usher.run(&checked.1))
    }

    /// Returns the same intake with an account of its own, for the peer of this name and address.
    #[must_use]
    pub fn for_peer(
        &self,
        name: &str,
        url: &str,
        terms: EntryTerms,
        provenance: Provenance,
    ) -> Intake {
        let account = self.shared.open_account(name, url, terms, provenance);
        Intake { account, ..self.clone() }
    }

    /// Takes events; the caller waits for [`Intake::room`] first.
    pub fn put(&self, events: Vec<Event>) {
        let bytes = events.iter().map(Event::memory_bytes).sum();
        let account = Arc::clone(&self.account);
        self.shared.begin(bytes, &account);
        if self.work.send(Batch { events, bytes, account }).is_err() {
            self.shared.done(bytes, &self.account);
        }
    }

    /// Keeps those ids of the peer that are to be asked for: not of what was not taken lately and
    /// would not be taken at this moment.
    pub fn keep_acceptable(&self, ids: &mut Vec<[u8; 32]>) {
        self.account.keep_acceptable(ids, self.shared.judged());
    }

    /// Has facts changed in the store, with one of the next batches: only by an intake that stores by
    /// itself.
    pub fn keep(&self, rows: Vec<FactChange>) {
        if rows.is_empty() {
            return;
        }
        self.shared.keep(rows);
        self.put(Vec::new());
    }

    /// Takes what is to be written so that it is remembered which events of this account came first
    /// from its peer; nothing if that is to be forgotten.
    pub fn take_origins(&self, now: u64) -> Vec<FactChange> {
        self.account.take_origins(now)
    }

    /// Returns whether more events may be put in.
    pub fn has_room(&self) -> bool {
        self.shared.bytes() < BYTES_MAX
    }

    /// Waits until more events may be put in.
    pub async fn room(&self) {
        self.shared.until(|| self.has_room()).await;
    }

    /// Returns whether all events of this account are stored or dropped.
    pub fn is_idle(&self) -> bool {
        self.account.is_idle()
    }

    /// Waits until all events of this account are stored or dropped.
    pub async fn idle(&self) {
        self.shared.until(|| self.account.is_idle()).await;
    }

    /// Returns whether the store cannot be written to.
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed()
    }

    /// Takes the reason of a failure.
    pub fn take_failure(&self) -> Option<StoreError> {
        self.shared.take_failure()
    }

    /// Returns what became of the events of this account so far.
    pub fn counts(&self) -> IntakeCounts {
        self.account.counts()
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

type Started = (Sender<Batch>, Vec<JoinHandle<()>>);

fn start_checkers(
    store: &Store,
    (shared, checked): (&Arc<Shared>, &Sender<Checked>),
    count: usize,
    form: impl Fn(&Store) -> (Form, Option<Judge>),
) -> io::Result<Started> {
    let (work, inbox): (Sender<Batch>, Receiver<Batch>) = mailbox(BATCHES_MAX);
    let mut threads = Vec::new();
    for number in 0..count {
        let (form, judge) = form(store);
        let checker = Checker {
            // Then there is nothing to look up; what comes twice is noticed by the writer.
            is_first: store.last_seq() == Seq::ZERO,
            store: store.clone(),
            form,
            shared: Arc::clone(shared),
            judge,
            verifier: Verifier::with_keys(KEYS_MAX),
        };
        let (inbox, checked) = (inbox.clone(), checked.clone());
        let run = move || checker.run(&inbox, &checked);
        threads.push(Builder::new().name(format!("check-{number}")).spawn(run)?);
    }
    Ok((work, threads))
}

fn finish(
    shared: Arc<Shared>,
    (work, mut threads): Started,
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<(Intake, IntakeThreads)> {
    threads.push(thread::Builder::new().name(name.to_owned()).spawn(run)?);
    let account = shared.open_account("", "", EntryTerms::Plain, Provenance::Forgotten);
    Ok((Intake { shared, work, account }, IntakeThreads(threads)))
}

/// Authors that each thread remembers.
const KEYS_MAX: usize = 1 << 14;
/// Bytes of events on their way.
const BYTES_MAX: usize = 64 << 20;
/// Batches on their way; each has one event at least.
const BATCHES_MAX: usize = 1_024;
