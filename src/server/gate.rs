//! The gate: where events of peers enter. They are judged here, where the settings in force and what
//! stands are known, go the way of all events from there (a plugin, the writer), and what becomes of
//! them is told to whoever brought them.
//!
//! The writer and the plugin stage know the gate by a core number of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::core::Relay;
use super::plugin::{self, Question, QuestionSender};
use crate::fanout::Waker;
use crate::ingest::{
    Admitted, Answers, Entrance, Entry, EntryTerms, Reply, ReplyTo, Submission, Turned,
    WriterHandle,
};
use crate::metrics::exposition::{Exposition, Tells};
use crate::nostr::{EventId, Prefix, Reject};
use crate::policy::{Party, PluginSource};
use crate::session::{self, ForeignRules};
use crate::store::FactChange;

/// The inner side: what the other threads of the server know.
#[derive(Default)]
pub(super) struct Gate {
    answers: OnceLock<Arc<dyn Answers>>,
    waker: OnceLock<Waker>,
    tells: OnceLock<Arc<dyn Tells>>,
    /// Judged events that the writer had no room for. There are never more than were let in.
    returned: Mutex<VecDeque<Submission>>,
}

impl Gate {
    /// Takes what became of events.
    pub(super) fn answer(&self, replies: Vec<Reply>) {
        if let Some(answers) = self.answers.get() {
            answers.take(replies);
        }
    }

    /// Takes an event that a plugin has refused.
    pub(super) fn refuse(&self, to: ReplyTo, id: EventId, refusal: Option<Reject>) {
        let silent = || Reject::new(Prefix::Blocked, "dropped by the plugin");
        let outcome = Err(refusal.unwrap_or_else(silent));
        self.answer(vec![Reply { to, id, outcome }]);
    }

    /// Takes back an event that the writer had no room for.
    pub(super) fn give_back(&self, submission: Submission) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).push_back(submission);
    }

    /// Tells what those tell of themselves who bring events.
    pub(super) fn tell(&self, page: &mut Exposition) {
        if let Some(tells) = self.tells.get() {
            tells.tell(page);
        }
    }

    /// Wakes whoever passes stored events on; called for each batch.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker();
        }
    }
}

/// The outer side: what those know who bring events.
pub(super) struct Doorway {
    pub(super) relay: Arc<Relay>,
    pub(super) writer: WriterHandle,
    pub(super) questions: QuestionSender,
    pub(super) gate: Arc<Gate>,
}

impl Doorway {
    fn judge(&self, entry: &Entry) -> Result<(), Reject> {
        let settings = self.relay.in_force.load();
        let limits = match entry.terms {
            EntryTerms::AsClients => Some(&settings.session.event),
            EntryTerms::Plain => None,
        };
        let names = &settings.session.names;
        let standing = self.relay.standings.current();
        let rules = ForeignRules { limits, names, standing: &standing };
        session::check_foreign(&entry.event.event().view(), &rules, self.relay.clock.now_secs())
    }

    /// Sends an event to the plugin, if one is to be asked, or else to the writer.
    fn send(&self, submission: Submission, entry: (EntryTerms, &Arc<str>)) -> Option<Submission> {
        let (terms, peer) = entry;
        let is_asked = terms == EntryTerms::AsClients
            && self.relay.in_force.load().plugin.is_some()
            && plugin::is_judged(submission.event.event().kind);
        if !is_asked {
            return self.writer.submit(submission).err().map(|full| full.0);
        }
        let question = Question {
            submission,
            party: Party::Connection(GATE, 0),
            source: PluginSource::Peer(Arc::clone(peer)),
            authed: None,
            received_at: self.relay.clock.now_secs(),
        };
        plugin::hand_in(&self.questions, question).err().map(|back| back.submission)
    }
}

impl Entrance for Doorway {
    fn enter(&self, entry: Entry) -> Result<(), Turned> {
        self.judge(&entry).map_err(Turned::Refused)?;
        let Entry { event, terms, peer, ticket } = entry;
        let event = Admitted::new(event).map_err(Turned::Refused)?;
        let submission = Submission { event, reply: ReplyTo { core: GATE, connection: ticket } };
        match self.send(submission, (terms, &peer)) {
            None => Ok(()),
            Some(back) => {
                let event = back.event.into_verified();
                Err(Turned::Full(Box::new(Entry { event, terms, peer, ticket })))
            }
        }
    }

    fn version(&self) -> u64 {
        self.relay.in_force.changes() + self.relay.standings.current().version()
    }

    fn retry(&self) {
        let mut returned = self.gate.returned.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(submission) = returned.pop_front() {
            if let Err(full) = self.writer.submit(submission) {
                return returned.push_front(full.0);
            }
        }
    }

    fn keep(&self, rows: Vec<FactChange>) -> bool {
        self.writer.change_facts(rows).is_ok()
    }

    fn watch(&self, waker: Waker) {
        let _ = self.gate.waker.set(waker);
    }

    fn show(&self, tells: Arc<dyn Tells>) {
        let _ = self.gate.tells.set(tells);
    }

    fn tell(&self, answers: Arc<dyn Answers>) {
        let _ = self.gate.answers.set(answers);
    }
}

/// The core number by which the writer and the plugin stage know the gate.
pub(super) const GATE: u32 = u32::MAX - 1;
