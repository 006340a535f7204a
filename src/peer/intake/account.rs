//! What the threads of an intake share: how much is on its way, whether it has failed, and for each
//! peer what became of its events.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::super::origin::Came;
use super::super::terms::Provenance;
use super::refused::{Refused, Why};
use crate::clock::Clock;
use crate::ingest::{Answers, EntryTerms, Reply};
use crate::nostr::{EventId, Prefix, Reject};
use crate::store::{FactChange, Outcome, StoreError};

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
    /// Refused by the rules of the relay that serves.
    pub refused: u64,
}

/// What became of an event; the place of its counter.
#[derive(Clone, Copy)]
pub(super) enum What {
    Stored,
    Duplicate,
    Replaced,
    Deleted,
    Passing,
    Invalid,
    Refused,
}

/// The account of a peer.
pub(super) struct Account {
    /// Its place among all.
    number: u64,
    name: Box<str>,
    /// The address of the peer.
    pub(super) url: Arc<str>,
    /// What its events are held to.
    pub(super) terms: EntryTerms,
    /// Bytes of its events on their way.
    bytes: AtomicUsize,
    counts: [AtomicU64; 7],
    /// Which of its events were stored, if that is to be remembered.
    came: Option<Mutex<Came>>,
    /// Which of its events are not taken here.
    refused: Mutex<Refused>,
}

/// By what an event is judged.
#[derive(Clone, Copy)]
pub(super) struct Judged {
    /// The version of the rules.
    pub(super) version: u64,
    /// The second.
    pub(super) now: u64,
}

impl Account {
    pub(super) fn is_idle(&self) -> bool {
        self.bytes.load(Ordering::Acquire) == 0
    }

    pub(super) fn add(&self, what: What, count: u64) {
        self.counts[what as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn note(&self, id: &EventId, outcome: &Outcome, judged: Judged) {
        if let (Some(came), Outcome::Stored(seq)) = (&self.came, outcome) {
            lock(came).note(*seq);
        }
        let why = match outcome {
            Outcome::Stored(_) | Outcome::Duplicate => None,
            Outcome::Refused => Some(Why::Rules(judged.version)),
            _ => Some(Why::Store),
        };
        if let Some(why) = why {
            lock(&self.refused).note(id, why, judged.now);
        }
        self.add(
            match outcome {
                Outcome::Stored(_) => What::Stored,
                Outcome::Duplicate => What::Duplicate,
                Outcome::Superseded => What::Replaced,
                Outcome::Deleted | Outcome::Vanished => What::Deleted,
                Outcome::Expired | Outcome::Ephemeral | Outcome::Unkept => What::Passing,
                Outcome::Refused => What::Refused,
            },
            1,
        );
    }

    /// Notes that the rules refuse an event.
    pub(super) fn refuse(&self, id: &EventId, reject: &Reject, judged: Judged) {
        self.add(What::Refused, 1);
        let is_passing =
            matches!(reject.prefix, Prefix::RateLimited | Prefix::AuthRequired | Prefix::Error);
        if !is_passing {
            lock(&self.refused).note(id, Why::Rules(judged.version), judged.now);
        }
    }

    /// Keeps those of a peer's ids that are to be asked for.
    pub(super) fn keep_acceptable(&self, ids: &mut Vec<[u8; 32]>, judged: Judged) {
        lock(&self.refused).keep_others(ids, judged.version, judged.now);
    }

    pub(super) fn counts(&self) -> IntakeCounts {
        let count = |what: What| self.counts[what as usize].load(Ordering::Relaxed);
        IntakeCounts {
            stored: count(What::Stored),
            duplicate: count(What::Duplicate),
            replaced: count(What::Replaced),
            deleted: count(What::Deleted),
            passing: count(What::Passing),
            invalid: count(What::Invalid),
            refused: count(What::Refused),
        }
    }

    pub(super) fn take_origins(&self, now: u64) -> Vec<FactChange> {
        self.came.as_ref().map_or_else(Vec::new, |came| lock(came).take(&self.url, now))
    }

    /// Returns what tells in [`Answers::take`] whose event it was, and of how many bytes.
    pub(super) fn ticket(&self, bytes: usize) -> u64 {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).min(TICKET_BYTES_MAX);
        self.number << TICKET_BITS | bytes
    }
}

pub(super) struct Shared {
    clock: Clock,
    /// Tells the version of the rules.
    version: Version,
    /// Bytes of events on their way.
    bytes: AtomicUsize,
    /// Events of a relay that serves, on their way behind the entrance.
    entered: AtomicUsize,
    changed: Notify,
    has_failed: AtomicBool,
    failure: Mutex<Option<StoreError>>,
    accounts: Mutex<Vec<Arc<Account>>>,
    rows: Mutex<Vec<FactChange>>,
}

/// Tells a number that is another one once events may be taken that were refused.
pub(super) type Version = Box<dyn Fn() -> u64 + Send + Sync>;

impl Shared {
    pub(super) fn new(clock: Clock, version: Version) -> Shared {
        Shared {
            clock,
            version,
            bytes: AtomicUsize::new(0),
            entered: AtomicUsize::new(0),
            changed: Notify::new(),
            has_failed: AtomicBool::new(false),
            failure: Mutex::default(),
            accounts: Mutex::default(),
            rows: Mutex::default(),
        }
    }

    /// Returns by what events are judged at this moment.
    pub(super) fn judged(&self) -> Judged {
        Judged { version: (self.version)(), now: self.clock.now_secs() }
    }

    /// Opens an account, or goes on with the one that is the same.
    pub(super) fn open_account(
        &self,
        name: &str,
        url: &str,
        terms: EntryTerms,
        provenance: Provenance,
    ) -> Arc<Account> {
        let mut accounts = lock(&self.accounts);
        let came = Came::of(provenance);
        let is_same = |it: &&Arc<Account>| {
            let is_peer = *it.name == *name && *it.url == *url;
            is_peer && it.terms == terms && it.came.is_some() == came.is_some()
        };
        if let Some(account) = accounts.iter().find(is_same) {
            return Arc::clone(account);
        }
        let account = Arc::new(Account {
            number: accounts.len() as u64,
            name: name.into(),
            url: url.into(),
            terms,
            bytes: AtomicUsize::new(0),
            counts: Default::default(),
            came: came.map(Mutex::new),
            refused: Mutex::default(),
        });
        accounts.push(Arc::clone(&account));
        account
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Notes that events of so many bytes are on their way.
    pub(super) fn begin(&self, bytes: usize, account: &Account) {
        account.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Notes that events of so many bytes are on their way no more.
    pub(super) fn done(&self, bytes: usize, account: &Account) {
        account.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// Notes that an event goes through the entrance.
    pub(super) fn enter(&self) {
        self.entered.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that events are behind the entrance no more.
    pub(super) fn leave(&self, count: usize) {
        self.entered.fetch_sub(count, Ordering::AcqRel);
    }

    /// Returns how many events are behind the entrance.
    pub(super) fn entered(&self) -> usize {
        self.entered.load(Ordering::Acquire)
    }

    pub(super) fn keep(&self, rows: Vec<FactChange>) {
        lock(&self.rows).extend(rows);
    }

    pub(super) fn take_rows(&self) -> Vec<FactChange> {
        std::mem::take(&mut lock(&self.rows))
    }

    pub(super) fn fail(&self, error: StoreError) {
        lock(&self.failure).get_or_insert(error);
        self.has_failed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    pub(super) fn take_failure(&self) -> Option<StoreError> {
        lock(&self.failure).take()
    }

    /// Waits until so little is on its way that it is enough, or nothing goes any more.
    pub(super) async fn until(&self, is_enough: impl Fn() -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // What changes from here on is not missed.
            changed.as_mut().enable();
            if self.has_failed() || is_enough() {
                return;
            }
            changed.await;
        }
    }
}

impl Answers for Shared {
    fn take(&self, replies: Vec<Reply>) {
        let judged = self.judged();
        let accounts = lock(&self.accounts);
        for reply in &replies {
            let number = usize::try_from(reply.to.connection >> TICKET_BITS).unwrap_or(usize::MAX);
            let bytes = usize::try_from(reply.to.connection & TICKET_BYTES_MAX).unwrap_or(0);
            let Some(account) = accounts.get(number) else { continue };
            match &reply.outcome {
                Ok(outcome) => account.note(&reply.id, outcome, judged),
                Err(reject) => account.refuse(&reply.id, reject, judged),
            }
            self.done(bytes, account);
        }
        drop(accounts);
        self.leave(replies.len());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const TICKET_BITS: u32 = 40;
const TICKET_BYTES_MAX: u64 = (1 << TICKET_BITS) - 1;
