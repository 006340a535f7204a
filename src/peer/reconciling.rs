//! Finding out what differs by reconciliation (NIP-77), one stretch of time after the other.
//!
//! It begins with all the time there is. A peer that finds that too much is asked about halves of
//! it. A message of the peer is held as long as there is much to transfer, so that what is known to
//! differ stays bounded.

use std::collections::VecDeque;

use super::outbox::{Name, Outbox, Purpose, Refusal, refusal_of};
use super::terms::{Action, Fault};
use crate::hex;
use crate::nostr::{Filter, message};

/// The course of the reconciliations of one connection.
#[derive(Debug, Default)]
pub(super) struct Reconciling {
    left: VecDeque<Window>,
    current: Option<Window>,
    name: Option<Name>,
    turn: Turn,
    rounds: u64,
    listed: u64,
    retries: u32,
    /// Whether the peer has shown that it knows how.
    is_known: bool,
}

/// A stretch of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) since: u64,
    pub(super) until: u64,
}

#[derive(Debug, Default)]
enum Turn {
    /// Nothing is under way.
    #[default]
    Nobody,
    /// The own store's.
    Store,
    /// The peer's, since that time.
    Peer(u64),
    /// The peer's message waits until less is to be transferred.
    Held(Vec<u8>),
}

/// What comes of something that the peer said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It goes on.
    On,
    /// The peer does not know how, or no more, for this reason.
    Unable(String),
}

impl Window {
    pub(super) fn of(filter: &Filter) -> Window {
        Window { since: filter.since.unwrap_or(0), until: filter.until.unwrap_or(u64::MAX) }
    }

    /// Returns the filter within this time.
    pub(super) fn within(self, filter: &Filter) -> Filter {
        Filter {
            since: (self.since > 0).then_some(self.since),
            until: (self.until < u64::MAX).then_some(self.until),
            ..filter.clone()
        }
    }

    /// Returns both halves, the later one first: of what has no end, events are where people were.
    fn halves(self, now: u64) -> Option<[Window; 2]> {
        let begin = if self.since < FIRST_EVENT { FIRST_EVENT } else { self.since };
        let end = self.until.min(now);
        let middle = if begin < end { begin + (end - begin) / 2 } else { return None };
        let later = Window { since: middle + 1, until: self.until };
        Some([later, Window { since: self.since, until: middle }])
    }
}

impl Reconciling {
    /// Begins with all that a filter asks for.
    pub(super) fn begin(&mut self, filter: &Filter) {
        let is_known = self.is_known;
        *self =
            Reconciling { left: [Window::of(filter)].into(), is_known, ..Reconciling::default() };
    }

    /// Ends it; what is left is returned.
    pub(super) fn give_up(&mut self, outbox: &mut Outbox) -> VecDeque<Window> {
        self.close(outbox);
        self.turn = Turn::Nobody;
        let mut left = std::mem::take(&mut self.left);
        left.extend(self.current.take());
        left
    }

    pub(super) fn is_done(&self) -> bool {
        self.left.is_empty() && self.current.is_none()
    }

    pub(super) fn is(&self, number: u32) -> bool {
        self.name.as_ref().is_some_and(|name| name.number == number)
    }

    /// Goes on with what can be gone on with; `backlog` events are to be transferred.
    pub(super) fn fill(&mut self, filter: &Filter, backlog: usize, outbox: &mut Outbox) {
        if outbox.is_held() || backlog > BACKLOG_MAX {
            return;
        }
        match std::mem::take(&mut self.turn) {
            Turn::Held(answer) => {
                let Some(window) = self.current else { return };
                self.ask_store(window, filter, Some(answer), outbox);
            }
            Turn::Nobody => {
                if self.current.is_none() {
                    self.current = self.left.pop_front();
                }
                if let Some(window) = self.current {
                    (self.rounds, self.listed) = (0, 0);
                    self.ask_store(window, filter, None, outbox);
                }
            }
            turn @ (Turn::Store | Turn::Peer(_)) => self.turn = turn,
        }
    }

    fn ask_store(
        &mut self,
        window: Window,
        filter: &Filter,
        answer: Option<Vec<u8>>,
        outbox: &mut Outbox,
    ) {
        let filter = Box::new(window.within(filter));
        outbox.actions.push_back(Action::Reconcile { filter, answer });
        self.turn = Turn::Store;
    }

    /// Takes what the own store says: the next message, nothing if all is known.
    pub(super) fn say(
        &mut self,
        next: Option<Vec<u8>>,
        listed: u64,
        filter: &Filter,
        outbox: &mut Outbox,
    ) {
        let (Turn::Store, Some(window)) = (&self.turn, self.current) else { return };
        self.listed += listed;
        let Some(text) = next else {
            self.close(outbox);
            (self.current, self.turn, self.retries) = (None, Turn::Nobody, 0);
            return;
        };
        match &self.name {
            Some(name) => outbox.send(|out| message::write_neg_msg(out, &name.text, &text)),
            None => {
                let name = outbox.name(Purpose::Reconcile);
                let filter = window.within(filter);
                outbox.send(|out| message::write_neg_open(out, &name.text, &filter, &text));
                self.name = Some(name);
            }
        }
        self.turn = Turn::Peer(outbox.now.millis);
    }

    /// Takes a message of the peer.
    pub(super) fn answered(&mut self, text: &[u8], outbox: &mut Outbox) -> Course {
        let Turn::Peer(_) = self.turn else { return Course::On };
        let Some(answer) = hex::decode_any_case(text) else {
            return Course::Unable("its message is not hexadecimal".to_owned());
        };
        self.is_known = true;
        self.rounds += 1;
        outbox.counts.rounds += 1;
        // What is listed is transferred or found missing, so only that may go on for long.
        if self.rounds > ROUNDS_MAX + self.listed / LISTED_MIN {
            outbox.fail(Fault::Endless(self.rounds));
        }
        self.turn = Turn::Held(answer);
        outbox.is_well();
        Course::On
    }

    /// Takes a refusal; the peer has forgotten the reconciliation.
    pub(super) fn refused(&mut self, reason: &str, outbox: &mut Outbox) -> (Course, Refusal) {
        let refusal = refusal_of(reason);
        self.name = None;
        self.turn = Turn::Nobody;
        match refusal {
            Refusal::Identity => {}
            Refusal::TooOften => {
                self.retries += 1;
                if self.retries > RETRIES_MAX {
                    return (Course::Unable(reason.to_owned()), refusal);
                }
                outbox.hold_back();
            }
            Refusal::Final => return (self.narrow(reason, outbox), refusal),
        }
        (Course::On, refusal)
    }

    /// Goes on with half the time, or once more after the peer forgot.
    fn narrow(&mut self, reason: &str, outbox: &mut Outbox) -> Course {
        let lower = reason.to_ascii_lowercase();
        if lower.starts_with("closed") && self.is_known && self.retries < RETRIES_MAX {
            self.retries += 1;
            return Course::On;
        }
        let is_too_much = ["too many", "too big", "too large", "more than", "blocked"]
            .iter()
            .any(|words| lower.contains(words));
        let is_disabled = lower.contains("disabled");
        let halves = self.current.and_then(|window| window.halves(outbox.now.secs));
        match halves {
            Some([later, earlier])
                if is_too_much && !is_disabled && self.left.len() < WINDOWS_MAX =>
            {
                self.left.push_front(earlier);
                self.left.push_front(later);
                self.current = None;
                Course::On
            }
            _ => Course::Unable(reason.to_owned()),
        }
    }

    /// Takes a notice: a peer that does not know how often says it so.
    pub(super) fn noticed(&mut self, text: &str) -> Course {
        let lower = text.to_ascii_lowercase();
        let is_waiting = matches!(self.turn, Turn::Peer(_)) && !self.is_known;
        let is_about = ["neg", "unknown", "unsupported", "unrecognized", "invalid", "bad", "parse"]
            .iter()
            .any(|word| lower.contains(word));
        if is_waiting && is_about { Course::Unable(text.to_owned()) } else { Course::On }
    }

    /// Notes what the peer says of itself: whether it knows reconciliation.
    pub(super) fn informed(&mut self, knows: bool) -> Course {
        let is_waiting = matches!(self.turn, Turn::Peer(_)) && !self.is_known;
        if is_waiting && !knows {
            return Course::Unable("it does not say that it knows NIP-77".to_owned());
        }
        Course::On
    }

    pub(super) fn tick(&mut self, outbox: &mut Outbox) -> Course {
        if self.deadline(outbox.patience).is_none_or(|at| at > outbox.now.millis) {
            return Course::On;
        }
        if self.is_known {
            outbox.fail(Fault::Silent("a reconciliation"));
            return Course::On;
        }
        Course::Unable("it does not answer NEG-OPEN".to_owned())
    }

    pub(super) fn deadline(&self, patience: u64) -> Option<u64> {
        let Turn::Peer(since) = self.turn else { return None };
        Some(since + patience * if self.is_known { SILENCE_MAX } else { FIRST_SILENCE_MAX })
    }

    /// Returns since when the first answer is awaited.
    pub(super) fn is_untried(&self) -> bool {
        !self.is_known
    }

    fn close(&mut self, outbox: &mut Outbox) {
        if let Some(name) = self.name.take() {
            outbox.send(|out| message::write_neg_close(out, &name.text));
        }
    }
}

/// Events to be transferred beyond which the peer is asked for no more differences.
const BACKLOG_MAX: usize = 100_000;
/// Rounds in which nothing is listed.
const ROUNDS_MAX: u64 = 100;
/// Ids that make another round worth while.
const LISTED_MIN: u64 = 16;
const RETRIES_MAX: u32 = 5;
const WINDOWS_MAX: usize = 64;
const SILENCE_MAX: u64 = 60_000;
/// Those who do not know reconciliation may say nothing at all.
const FIRST_SILENCE_MAX: u64 = 10_000;
/// Before November 2020 there was no Nostr: a time before that is a mistake or a joke.
const FIRST_EVENT: u64 = 1_604_188_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_cover_the_whole_and_end_at_single_seconds() {
        let now = 1_800_000_000;
        let mut windows = vec![Window { since: 0, until: u64::MAX }];
        for _ in 0..40 {
            let mut next = Vec::new();
            for window in windows {
                match window.halves(now) {
                    Some([later, earlier]) => {
                        assert_eq!(later.until, window.until);
                        assert_eq!(earlier.since, window.since);
                        assert_eq!(earlier.until + 1, later.since);
                        // The one with the most events, and the outermost.
                        next.push(earlier);
                        if next.len() < 4 {
                            next.push(later);
                        }
                    }
                    None => next.push(window),
                }
            }
            windows = next;
        }
        assert!(windows.iter().all(|window| window.halves(now).is_none()));
    }
}
