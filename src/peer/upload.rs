//! Events to the peer: as many under way as it answers, each with its outcome.
//!
//! What comes from the own log has a place there, and is not forgotten before the peer has decided
//! about it: the first of those places is up to where everything was given.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::allowance::Allowance;
use super::outbox::{Outbox, Refusal, refusal_of};
use super::terms::{Action, Fault};
use crate::nostr::EventId;
use crate::seq::Seq;

/// What is to be sent and what was not answered yet.
#[derive(Debug, Default)]
pub(super) struct Upload {
    waiting: VecDeque<EventId>,
    /// Events that are being read from the store.
    loading: HashSet<EventId>,
    /// Events that were sent.
    open: HashSet<EventId>,
    /// Where in the own log those are that came from there.
    places: HashMap<EventId, Seq>,
    /// When an answer came last.
    heard: u64,
    /// Whether an answer has come on this connection.
    is_answering: bool,
    /// Events that the peer refuses, so that no later connection offers them again.
    refused: HashSet<EventId>,
    /// Answers in a row that asked for a proof of identity.
    demands: u32,
}

impl Upload {
    /// Has these events sent, unless the peer has refused them before, or they are to be sent
    /// anyway.
    pub(super) fn offer(&mut self, ids: impl IntoIterator<Item = EventId>) {
        let (refused, places) = (&self.refused, &self.places);
        let is_new = |id: &EventId| !refused.contains(id) && !places.contains_key(id);
        self.waiting.extend(ids.into_iter().filter(is_new));
    }

    /// Has these events of the own log sent, unless the peer has refused them before.
    pub(super) fn follow(&mut self, items: impl IntoIterator<Item = (Seq, EventId)>) {
        for (seq, id) in items {
            if !self.refused.contains(&id) && self.places.insert(id, seq).is_none() {
                self.waiting.push_back(id);
            }
        }
    }

    /// Returns the first place in the own log of which the peer has not decided, if there is one.
    pub(super) fn first_open(&self) -> Option<Seq> {
        self.places.values().min().copied()
    }

    /// Returns how many events are to be sent or not answered.
    pub(super) fn backlog(&self) -> usize {
        self.waiting.len() + self.loading.len() + self.open.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.backlog() == 0
    }

    /// Has events read as far as the peer takes more.
    pub(super) fn fill(&mut self, allowance: &Allowance, outbox: &mut Outbox) {
        let room = allowance.window().saturating_sub(self.loading.len() + self.open.len());
        // A few at a time would be a look into the store for each.
        let is_worth = room >= (allowance.window() / 4).min(LOAD_MAX) || room >= self.waiting.len();
        if outbox.is_held() || room == 0 || self.waiting.is_empty() || !is_worth {
            return;
        }
        let count = room.min(LOAD_MAX).min(self.waiting.len());
        let ids: Vec<EventId> = self.waiting.drain(..count).collect();
        self.loading.extend(&ids);
        outbox.actions.push_back(Action::Load(ids));
    }

    /// Sends an event that was read, as the message that it is; nothing if it is stored no more.
    pub(super) fn loaded(
        &mut self,
        id: EventId,
        text: Option<Vec<u8>>,
        allowance: &Allowance,
        outbox: &mut Outbox,
    ) {
        self.loading.remove(&id);
        let Some(text) = text else {
            self.places.remove(&id);
            return;
        };
        if !allowance.takes(text.len()) {
            outbox.counts.add_refused("too long for the peer");
            self.places.remove(&id);
            return;
        }
        if self.open.is_empty() {
            self.heard = outbox.now.millis;
        }
        outbox.counts.sent += 1;
        self.open.insert(id);
        outbox.actions.push_back(Action::Send(text));
    }

    /// Takes the outcome of an event; returns what a refusal asks for.
    pub(super) fn answered(
        &mut self,
        id: EventId,
        is_accepted: bool,
        text: &str,
        allowance: &mut Allowance,
        outbox: &mut Outbox,
    ) -> Option<Refusal> {
        if !self.open.remove(&id) {
            return None;
        }
        self.heard = outbox.now.millis;
        self.is_answering = true;
        if is_accepted {
            self.places.remove(&id);
            match text.starts_with("duplicate:") {
                true => outbox.counts.duplicate += 1,
                false => outbox.counts.accepted += 1,
            }
            allowance.taken();
            outbox.is_well();
            return None;
        }
        let refusal = refusal_of(text);
        match refusal {
            Refusal::TooOften => {
                allowance.sent_too_fast();
                outbox.hold_back();
                outbox.counts.sent = outbox.counts.sent.saturating_sub(1);
                self.waiting.push_back(id);
            }
            Refusal::Identity => {
                self.demands += 1;
                outbox.counts.sent = outbox.counts.sent.saturating_sub(1);
                self.waiting.push_back(id);
            }
            Refusal::Final if text.starts_with("duplicate:") => {
                self.places.remove(&id);
                outbox.counts.duplicate += 1;
            }
            Refusal::Final => self.refuse(id, text, outbox),
        }
        Some(refusal)
    }

    /// Gives up an event whose author would have to send it: it is the last of those waiting.
    pub(super) fn give_up(&mut self, id: EventId, text: &str, outbox: &mut Outbox) {
        if let Some(at) = self.waiting.iter().rposition(|it| *it == id) {
            self.waiting.remove(at);
            outbox.counts.sent += 1;
            self.refuse(id, text, outbox);
        }
    }

    pub(super) fn tick(&mut self, outbox: &mut Outbox) {
        if self.deadline(outbox.patience).is_none_or(|at| at > outbox.now.millis) {
            return;
        }
        if !self.is_answering {
            return outbox.fail(Fault::Silent("events that it was sent"));
        }
        // It answers others: these it passes over.
        let ids: Vec<EventId> = self.open.drain().collect();
        ids.into_iter().for_each(|id| self.refuse(id, "without an answer", outbox));
    }

    /// Returns when the peer has been silent for too long.
    pub(super) fn deadline(&self, patience: u64) -> Option<u64> {
        (!self.open.is_empty()).then_some(self.heard + SILENCE_MAX * patience)
    }

    /// Notes that the connection is gone. What was not answered waits again: first what comes from
    /// the own log, in its order.
    pub(super) fn lost(&mut self, outbox: &mut Outbox) {
        outbox.counts.sent = outbox.counts.sent.saturating_sub(self.open.len() as u64);
        let all = self.open.drain().chain(self.loading.drain()).chain(self.waiting.drain(..));
        let (followed, found): (Vec<EventId>, Vec<EventId>) =
            all.partition(|id| self.places.contains_key(id));
        let followed: BTreeMap<Seq, EventId> =
            followed.into_iter().map(|id| (self.places[&id], id)).collect();
        self.waiting.extend(followed.into_values().chain(found));
        self.is_answering = false;
    }

    /// Forgets what is to be sent because it was found to be missing: that is found out anew.
    /// Returns how many events that were.
    pub(super) fn forget_found(&mut self) -> usize {
        let count = self.waiting.len();
        let places = &self.places;
        self.waiting.retain(|id| places.contains_key(id));
        count - self.waiting.len()
    }

    fn refuse(&mut self, id: EventId, text: &str, outbox: &mut Outbox) {
        self.places.remove(&id);
        let reason = text.split_once(':').map_or(text, |(prefix, _)| prefix);
        outbox.counts.add_refused(reason.get(..REASON_BYTES_MAX).unwrap_or(reason));
        if self.refused.len() < REFUSED_MAX {
            self.refused.insert(id);
        }
    }
}

/// Events read at a time.
const LOAD_MAX: usize = 256;
const SILENCE_MAX: u64 = 30_000;
const REFUSED_MAX: usize = 200_000;
const REASON_BYTES_MAX: usize = 60;
