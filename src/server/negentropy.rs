//! The reconciliations of a core (NIP-77): what the sessions have open, and the work on answers.
//!
//! Each is one object that lies with its connection while the client is to speak, and travels to
//! the work pool with the message that is to be answered; it comes back with the answer, or with
//! the slice it has done. Nothing of the store is held in between (I6), and what all of them keep
//! in memory together is bounded (I8).

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::connection::{Connection, ConnectionKey};
use super::core::{Core, Message, Relay};
use super::render;
use super::work::{Job, Worker};
use crate::limits;
use crate::nostr::message;
use crate::nostr::{EventRef, Filter, Prefix, Reject};
use crate::query::{Budget, Progress, Reconciliation};
use crate::session::{self, Reader, Reconcile};

/// How many events all reconciliations of the server keep in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<AtomicU64>);

impl Kept {
    /// Returns how many they are.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The share of one.
#[derive(Debug)]
struct Share {
    all: Kept,
    own: u64,
}

impl Share {
    /// Makes the share this large; returns whether all shares together are not too large.
    fn resize(&mut self, own: u64) -> bool {
        let before = self.all.0.fetch_add(own, Ordering::Relaxed);
        self.all.0.fetch_sub(self.own, Ordering::Relaxed);
        self.own = own;
        before <= limits::RECONCILED_ITEMS_MAX
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// The connections of a core that have reconciliations open.
#[derive(Debug, Default)]
pub(super) struct Reconcilers {
    connections: HashSet<u64>,
    /// The second in which the silent ones were looked for.
    looked: u64,
}

impl Reconcilers {
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}

/// One reconciliation with what belongs to it.
pub(super) struct Reconciling {
    number: u32,
    reader: Reader,
    set: Reconciliation,
    share: Share,
}

/// A message to be answered.
pub(super) struct ReconcileJob {
    core: u32,
    connection: ConnectionKey,
    reconciling: Reconciling,
    message: Vec<u8>,
}

/// A message that was answered, or is about to be.
pub(super) struct Reconciled {
    connection: ConnectionKey,
    reconciling: Reconciling,
    message: Vec<u8>,
    end: StepEnd,
    /// What the step cost.
    work: u64,
}

/// How a step ended.
enum StepEnd {
    More,
    /// The next message to the client.
    Answer(Vec<u8>),
    Refused(Reject),
    /// There are more than so many events.
    TooMany(u64),
}

impl Reconciling {
    /// Does a step; returns how it ended and what it cost, about.
    fn step(&mut self, relay: &Relay, message: &[u8], budget: Budget) -> (StepEnd, u64) {
        let end = self.try_step(relay, message, budget);
        let bytes = match &end {
            StepEnd::More => return (end, budget.steps),
            StepEnd::Answer(answer) => message.len() + answer.len(),
            StepEnd::Refused(_) | StepEnd::TooMany(_) => message.len(),
        };
        (end, bytes as u64 * STEPS_PER_BYTE)
    }

    fn try_step(&mut self, relay: &Relay, message: &[u8], budget: Budget) -> StepEnd {
        let now = relay.clock.now_secs();
        let was_partial = self.reader.is_partial();
        self.reader.follow(&relay.standings.current());
        if self.reader.is_partial() && !was_partial {
            // The sums have what is withheld from here on.
            let text = "what may be read has changed, begin again";
            return StepEnd::Refused(Reject::new(Prefix::Closed, text));
        }
        let (reader, set) = (&self.reader, &mut self.set);
        let is_visible = |event: &EventRef<'_>| session::visible(event, reader, now);
        let stepped = relay
            .store
            .snapshot()
            .and_then(|snapshot| set.step(&snapshot, message, budget, now, &is_visible));
        if !self.share.resize(self.set.kept() as u64) {
            return StepEnd::Refused(Reject::new(
                Prefix::RateLimited,
                "too many large reconciliations at once, try again later",
            ));
        }
        match stepped {
            Ok(Progress::More) => StepEnd::More,
            Ok(Progress::Moved) => match relay.store.refresh() {
                Ok(_) => StepEnd::More,
                Err(error) => StepEnd::Refused(render::refusal(&error)),
            },
            Ok(Progress::Answer(answer)) => StepEnd::Answer(answer),
            Ok(Progress::Malformed(malformed)) => {
                StepEnd::Refused(Reject::invalid(malformed.to_string()))
            }
            Ok(Progress::TooMany) => StepEnd::TooMany(relay.in_force.load().reconcile.items_max),
            Err(error) => StepEnd::Refused(render::refusal(&error)),
        }
    }
}

impl Core {
    /// Does what a message about a reconciliation asks for.
    pub(super) fn reconcile(&self, connection: &Rc<Connection>, asked: Reconcile) {
        self.metrics.reconciliation_messages_total.add(1);
        match asked {
            Reconcile::Open { number, replaced, filter, message } => {
                if let Some(replaced) = replaced {
                    connection.forget_reconciling(replaced);
                }
                let reconciling = self.open_reconciliation(connection, number, filter);
                self.follow_reconciliations(connection.key);
                self.first_step(connection, reconciling, message, self.relay.slice_inline.budget);
            }
            Reconcile::Answer { number, message } => {
                let found = connection.take_reconciling(number);
                let Some(reconciling) = found else { return };
                let is_quick = reconciling.set.is_quick() && message.len() <= INLINE_BYTES_MAX;
                let none = Budget { steps: 0 };
                let budget = if is_quick { self.relay.slice_inline.budget } else { none };
                self.first_step(connection, reconciling, message, budget);
            }
            Reconcile::Close { number } => connection.forget_reconciling(number),
        }
    }

    /// Takes a reconciliation back from the pool.
    pub(super) fn take_reconciled(&self, reconciled: Reconciled) {
        let Some(connection) = self.connections.borrow().of(reconciled.connection).cloned() else {
            return;
        };
        self.go_on_reconciling(&connection, reconciled);
    }

    /// Ends the reconciliations whose clients have been silent for too long.
    pub(super) fn end_idle_reconciliations(&self, now: u64) {
        let mut reconcilers = self.reconcilers.borrow_mut();
        if reconcilers.is_empty() || reconcilers.looked == now {
            return;
        }
        reconcilers.looked = now;
        let connections = self.connections.borrow();
        let settings = self.settings.borrow();
        let limits = &settings.session.negentropy;
        reconcilers.connections.retain(|key| {
            let key = ConnectionKey::from_number(*key);
            let Some(connection) = connections.of(key) else { return false };
            let mut session = connection.session.borrow_mut();
            let reconciliations = session.reconciliations();
            while let Some((number, id)) = reconciliations.end_idle(limits, now) {
                connection.forget_reconciling(number);
                let secs = limits.idle_secs_max;
                let reject = Reject::new(Prefix::Closed, format!("silent for {secs} seconds"));
                connection.outbound.push_text_with(|out| message::write_neg_err(out, &id, &reject));
            }
            !reconciliations.is_empty()
        });
    }

    fn open_reconciliation(
        &self,
        connection: &Connection,
        number: u32,
        filter: Filter,
    ) -> Reconciling {
        let reader = self.reader_of(connection);
        let aside = session::set_aside(&reader, &filter);
        let last = self.relay.store.last_seq();
        let set = Reconciliation::new(filter, aside, self.settings.borrow().reconcile, last);
        let share = Share { all: self.relay.kept.clone(), own: 0 };
        Reconciling { number, reader, set, share }
    }

    fn follow_reconciliations(&self, key: ConnectionKey) {
        if self.reconcilers.borrow_mut().connections.insert(key.to_number()) {
            // Who looks for the silent ones may be asleep.
            self.inbox.ring();
        }
    }

    /// Does the first step here if it is short, else has it done in the pool.
    fn first_step(
        &self,
        connection: &Rc<Connection>,
        mut reconciling: Reconciling,
        message: Vec<u8>,
        budget: Budget,
    ) {
        let (end, work) = match budget.steps {
            0 => (StepEnd::More, 0),
            _ if self.must_wait(connection) => (StepEnd::More, 0),
            _ => reconciling.step(&self.relay, &message, budget),
        };
        self.spend(connection, work);
        let connection_key = connection.key;
        let reconciled = Reconciled { connection: connection_key, reconciling, message, end, work };
        self.go_on_reconciling(connection, reconciled);
    }

    fn go_on_reconciling(&self, connection: &Rc<Connection>, reconciled: Reconciled) {
        let Reconciled { reconciling, message, end, work, .. } = reconciled;
        let number = reconciling.number;
        self.charge_work(connection, work);
        let mut session = connection.session.borrow_mut();
        let reconciliations = session.reconciliations();
        if matches!(end, StepEnd::More) && reconciliations.is_open(number) {
            let (party, connection) = (connection.party, connection.key);
            let job = ReconcileJob { core: self.number, connection, reconciling, message };
            self.work.send(party, Job::Reconcile(job));
            return;
        }
        let now = self.relay.clock.now_secs();
        let Some(id) = reconciliations.answered(number, now) else { return };
        let outbound = &connection.outbound;
        match end {
            StepEnd::More => {}
            StepEnd::Answer(answer) => {
                outbound.push_text_with(|out| message::write_neg_msg(out, &id, &answer));
                connection.keep_reconciling(reconciling);
            }
            StepEnd::Refused(reject) => {
                reconciliations.fail(number);
                outbound.push_text_with(|out| message::write_neg_err(out, &id, &reject));
                self.note_question_refused(reject.prefix);
            }
            StepEnd::TooMany(max) => {
                reconciliations.fail(number);
                let reject = Reject::new(Prefix::Blocked, format!("more than {max} events match"));
                outbound.push_text_with(|out| message::write_neg_err_max(out, &id, &reject, max));
                self.note_question_refused(reject.prefix);
            }
        }
    }
}

impl Connection {
    fn take_reconciling(&self, number: u32) -> Option<Reconciling> {
        let mut all = self.reconciling.borrow_mut();
        let at = all.iter().position(|it| it.number == number)?;
        Some(all.swap_remove(at))
    }

    fn keep_reconciling(&self, reconciling: Reconciling) {
        self.reconciling.borrow_mut().push(reconciling);
    }

    fn forget_reconciling(&self, number: u32) {
        self.reconciling.borrow_mut().retain(|it| it.number != number);
    }
}

impl Worker {
    /// Does one step of answering a message.
    pub(super) fn reconcile(&self, job: ReconcileJob) {
        let ReconcileJob { core, connection, mut reconciling, message } = job;
        let budget = self.relay.slice_pooled.budget;
        let (end, work) = reconciling.step(&self.relay, &message, budget);
        let reconciled = Reconciled { connection, reconciling, message, end, work };
        self.inboxes.put(core, Message::Reconciled(Box::new(reconciled)));
    }
}

/// What a byte of a message costs, about: a fingerprint of 18 bytes takes half a microsecond.
const STEPS_PER_BYTE: u64 = 3;
/// How often silent clients are looked for while there are reconciliations.
pub(super) const IDLE_PERIOD: Duration = Duration::from_secs(1);
/// Messages up to this size are answered on the core if all events are known.
const INLINE_BYTES_MAX: usize = 4096;
