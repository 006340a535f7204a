//! Events by their ids: many requests under way, so that the round trip does not matter.
//!
//! What a request did not bring is asked for once more in a smaller one, because relays cut answers
//! short without saying so; only then is it missing. An event counts only for the request that asked
//! for it, so a peer cannot make this grow.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::allowance::Allowance;
use super::outbox::{Name, Outbox, Purpose, Refusal, refusal_of};
use super::terms::Fault;
use crate::nostr::message::{self, EoseHint};
use crate::nostr::{Event, EventId};

/// What is wanted and what is under way.
#[derive(Debug, Default)]
pub(super) struct Download {
    wanted: VecDeque<Wanted>,
    requests: BTreeMap<u32, Request>,
    /// Requests in a row that were not answered.
    silences: u32,
    /// Requests in a row that were refused for good.
    refusals: u32,
    unasked: u32,
    /// Ids in a row that were listed and not given.
    phantoms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    id: EventId,
    /// How often it was asked for.
    asked: u8,
}

#[derive(Debug)]
struct Request {
    name: Name,
    /// What has not come yet.
    open: HashSet<EventId>,
    count: usize,
    /// How often its ids were asked for before.
    asked: u8,
    /// When something came last.
    heard: u64,
}

impl Download {
    /// Wants these events.
    pub(super) fn want(&mut self, ids: impl IntoIterator<Item = EventId>) {
        self.wanted.extend(ids.into_iter().map(|id| Wanted { id, asked: 0 }));
    }

    /// Returns how many events are wanted and have not come.
    pub(super) fn backlog(&self) -> usize {
        self.wanted.len() + self.requests.values().map(|it| it.open.len()).sum::<usize>()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.requests.is_empty()
    }

    /// Sends as many requests as may be under way.
    pub(super) fn fill(&mut self, allowance: &Allowance, outbox: &mut Outbox) {
        while self.requests.len() < allowance.requests() && !outbox.is_held() {
            let Some(first) = self.wanted.front() else { return };
            let asked = first.asked;
            let most = allowance.ids();
            let most = if asked > 0 { (most / 2).clamp(1, AGAIN_IDS_MAX) } else { most };
            let same = self.wanted.iter().take(most).take_while(|it| it.asked == asked).count();
            let ids: Vec<EventId> = self.wanted.drain(..same).map(|it| it.id).collect();
            let name = outbox.name(Purpose::Download);
            outbox.send(|out| message::write_req_of_ids(out, &name.text, &ids));
            let number = name.number;
            let open: HashSet<EventId> = ids.into_iter().collect();
            let (count, heard) = (open.len(), outbox.now.millis);
            self.requests.insert(number, Request { name, open, count, asked, heard });
        }
    }

    /// Takes an event of a request; returns whether it was asked for.
    pub(super) fn event(&mut self, number: u32, event: &Event, outbox: &mut Outbox) -> bool {
        let Some(request) = self.requests.get_mut(&number) else {
            // Of a request that was given up; it may come to its end for some time.
            self.note_unasked(outbox);
            return false;
        };
        if !request.open.remove(&event.id) {
            self.note_unasked(outbox);
            return false;
        }
        request.heard = outbox.now.millis;
        (self.silences, self.refusals, self.phantoms) = (0, 0, 0);
        outbox.is_well();
        true
    }

    /// Notes that something came that nobody asked for.
    pub(super) fn note_unasked(&mut self, outbox: &mut Outbox) {
        self.unasked += 1;
        if self.unasked > UNASKED_MAX {
            outbox.fail(Fault::Unasked);
        }
    }

    /// Closes a request that is answered.
    pub(super) fn close(&self, number: u32, outbox: &mut Outbox) {
        if let Some(request) = self.requests.get(&number) {
            outbox.send(|out| message::write_close(out, &request.name.text));
        }
    }

    /// Takes the end of an answer.
    pub(super) fn ended(
        &mut self,
        number: u32,
        hint: Option<EoseHint>,
        allowance: &mut Allowance,
        outbox: &mut Outbox,
    ) {
        let Some(request) = self.requests.remove(&number) else { return };
        self.silences = 0;
        let given = request.count - request.open.len();
        if request.open.is_empty() {
            allowance.answered(request.count);
            return;
        }
        let is_known_cut = hint == Some(EoseHint::More);
        if is_known_cut {
            allowance.cut_off(given);
        }
        let is_over = hint == Some(EoseHint::Finish) || (request.asked > 0 && given == 0);
        if is_over && !is_known_cut {
            return self.miss(request.open.len() as u64, outbox);
        }
        if request.asked > 0 && given > 0 {
            // What was missing the first time is there: answers are cut off.
            allowance.cut_off(given.max(AGAIN_IDS_MAX));
        }
        self.ask_again(request.open, request.asked.saturating_add(1));
    }

    /// Returns whether a request has brought anything, or one before it for the same events.
    pub(super) fn has_begun(&self, number: u32) -> bool {
        self.requests.get(&number).is_some_and(|it| it.asked > 0 || it.open.len() < it.count)
    }

    /// Takes the refusal of a request.
    pub(super) fn closed(
        &mut self,
        number: u32,
        reason: &str,
        allowance: &mut Allowance,
        outbox: &mut Outbox,
    ) -> Refusal {
        let refusal = refusal_of(reason);
        let Some(request) = self.requests.remove(&number) else { return refusal };
        match refusal {
            Refusal::Identity => {}
            Refusal::TooOften => {
                allowance.asked_too_often();
                outbox.hold_back();
            }
            Refusal::Final => {
                self.refusals += 1;
                allowance.refused(request.count);
                if self.refusals > REFUSALS_MAX {
                    outbox.fail(Fault::Refused(reason.to_owned()));
                }
            }
        }
        self.ask_again(request.open, request.asked);
        refusal
    }

    /// Gives up requests that were not answered for too long.
    pub(super) fn tick(&mut self, allowance: &mut Allowance, outbox: &mut Outbox) {
        let silence_max = SILENCE_MAX * outbox.patience;
        let is_late = |request: &Request| outbox.now.millis >= request.heard + silence_max;
        let late: Vec<u32> =
            self.requests.iter().filter(|(_, it)| is_late(it)).map(|(number, _)| *number).collect();
        for number in late {
            let Some(request) = self.requests.remove(&number) else { continue };
            outbox.send(|out| message::write_close(out, &request.name.text));
            allowance.refused(request.count);
            self.silences += 1;
            self.ask_again(request.open, request.asked);
        }
        if self.silences > SILENCES_MAX {
            outbox.fail(Fault::Silent("requests for events"));
        }
    }

    /// Returns when the next request has gone unanswered for too long.
    pub(super) fn deadline(&self, patience: u64) -> Option<u64> {
        self.requests.values().map(|it| it.heard + SILENCE_MAX * patience).min()
    }

    /// Notes that the connection is gone; what is wanted may be wanted no more by the next one.
    pub(super) fn forget(&mut self) {
        *self = Download::default();
    }

    fn ask_again(&mut self, ids: HashSet<EventId>, asked: u8) {
        self.wanted.extend(ids.into_iter().map(|id| Wanted { id, asked }));
    }

    fn miss(&mut self, count: u64, outbox: &mut Outbox) {
        outbox.counts.missing += count;
        self.phantoms += count;
        if self.phantoms > PHANTOMS_MAX {
            outbox.fail(Fault::Phantoms);
        }
    }
}

/// Ids of a request for what was not given the first time.
const AGAIN_IDS_MAX: usize = 50;
/// How long a request may bring nothing.
const SILENCE_MAX: u64 = 20_000;
const SILENCES_MAX: u32 = 5;
const REFUSALS_MAX: u32 = 20;
/// Events that nobody asked for: some answer twice, or late.
const UNASKED_MAX: u32 = 10_000;
/// Ids in a row that are listed and not given: deleted ones, or such as are not for us.
const PHANTOMS_MAX: u64 = 100_000;
