//! The reconciliations a client has open (NIP-77): their names, their number, who waits for whom.
//!
//! A reconciliation is a dialogue: the client asks, the relay answers, then the client asks again.
//! The sets that are compared are not here; the core keeps them by the numbers given here. Names
//! are of a space of their own, beside those of subscriptions.

use std::sync::Arc;

use super::conversation::Action;
use super::visible::Reader;
use crate::hex;
use crate::nostr::message::{self, SubscriptionId};
use crate::nostr::{Filter, Kind, Prefix, Reject, TagCondition, TagMode, TagValue};
use crate::store::KINDS_SET_ASIDE;

/// What reconciliations are held to.
#[derive(Clone, Copy, Debug)]
pub struct NegentropyLimits {
    /// How many may be open at once on one connection; none if they are not offered.
    pub open_max: usize,
    /// How many seconds may pass between an answer and the next message.
    pub idle_secs_max: u64,
}

/// What a message about a reconciliation asks of the core.
#[derive(Debug)]
pub enum Reconcile {
    /// Begin, and answer the first message.
    Open {
        /// Its number.
        number: u32,
        /// The one whose place it takes, and which is over.
        replaced: Option<u32>,
        /// What is compared.
        filter: Filter,
        /// The first message.
        message: Vec<u8>,
    },
    /// Answer the next message.
    Answer {
        /// Which one.
        number: u32,
        /// The message.
        message: Vec<u8>,
    },
    /// Forget a reconciliation that is over.
    Close {
        /// Which one.
        number: u32,
    },
}

/// The reconciliations of one session.
#[derive(Debug, Default)]
pub struct Reconciliations {
    open: Vec<Open>,
    opened: u32,
    /// Answers under way of reconciliations that are over.
    orphans: usize,
    /// Why the last message was refused, until that was counted.
    refused: Option<Prefix>,
}

#[derive(Debug)]
struct Open {
    number: u32,
    id: SubscriptionId,
    turn: Turn,
}

/// Who is to say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Relay,
    /// The client, since this second.
    Client(u64),
}

impl Reconciliations {
    /// Takes NEG-OPEN, unless it is `refused` for its filter.
    pub(super) fn open(
        &mut self,
        id: SubscriptionId,
        filter: Filter,
        hexadecimal: &str,
        refused: Option<Reject>,
        limits: &NegentropyLimits,
        answer: &mut Vec<u8>,
    ) -> Action {
        let replaced = self.end(&id);
        let (count, max) = (self.open.len() + self.orphans, limits.open_max);
        let refused = refused.or_else(|| {
            if max == 0 {
                return Some(Reject::new(Prefix::Blocked, "negentropy is disabled here"));
            }
            let is_full = count >= max || self.opened == u32::MAX;
            let text = || format!("no more than {max} reconciliations at once");
            is_full.then(|| Reject::new(Prefix::RateLimited, text()))
        });
        let decoded = refused.map_or_else(|| decode(hexadecimal), Err);
        match decoded {
            Ok(message) => {
                let number = self.opened;
                self.opened += 1;
                self.open.push(Open { number, id, turn: Turn::Relay });
                Action::Reconcile(Reconcile::Open { number, replaced, filter, message })
            }
            Err(reject) => {
                message::write_neg_err(answer, &id, &reject);
                self.refused = Some(reject.prefix);
                closed(replaced)
            }
        }
    }

    /// Takes NEG-MSG.
    pub(super) fn message(
        &mut self,
        id: &SubscriptionId,
        hexadecimal: &str,
        answer: &mut Vec<u8>,
    ) -> Action {
        let Some(open) = self.open.iter_mut().find(|it| it.id == *id) else {
            let reject = Reject::new(Prefix::Closed, "unknown subscription handle");
            message::write_neg_err(answer, id, &reject);
            self.refused = Some(reject.prefix);
            return Action::Done;
        };
        let decoded = match open.turn {
            Turn::Relay => Err(Reject::invalid("the last message is not answered yet")),
            Turn::Client(_) => decode(hexadecimal),
        };
        match decoded {
            Ok(message) => {
                open.turn = Turn::Relay;
                Action::Reconcile(Reconcile::Answer { number: open.number, message })
            }
            Err(reject) => {
                message::write_neg_err(answer, id, &reject);
                self.refused = Some(reject.prefix);
                closed(self.end(id))
            }
        }
    }

    /// Takes NEG-CLOSE, or anything else that ends the reconciliation of this name.
    pub(super) fn close(&mut self, id: &SubscriptionId) -> Action {
        closed(self.end(id))
    }

    /// Returns how the reason begins for which the last message was refused, if it was; once.
    #[inline]
    pub(super) fn take_refused(&mut self) -> Option<Prefix> {
        self.refused.take()
    }

    /// Returns whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Returns whether a reconciliation is still open.
    pub fn is_open(&self, number: u32) -> bool {
        self.open.iter().any(|it| it.number == number)
    }

    /// Notes that the work on an answer has come to an end at the second `now`. Returns what the
    /// client calls the reconciliation, unless it is over.
    pub fn answered(&mut self, number: u32, now: u64) -> Option<SubscriptionId> {
        let Some(open) = self.open.iter_mut().find(|it| it.number == number) else {
            self.orphans = self.orphans.saturating_sub(1);
            return None;
        };
        open.turn = Turn::Client(now);
        Some(open.id.clone())
    }

    /// Ends a reconciliation that was answered by an error.
    pub fn fail(&mut self, number: u32) {
        self.open.retain(|it| it.number != number);
    }

    /// Ends a reconciliation whose client has been silent for too long, if there is one; returns
    /// its number and what the client calls it.
    pub fn end_idle(
        &mut self,
        limits: &NegentropyLimits,
        now: u64,
    ) -> Option<(u32, SubscriptionId)> {
        let is_idle = |it: &Open| match it.turn {
            Turn::Relay => false,
            Turn::Client(since) => now.saturating_sub(since) > limits.idle_secs_max,
        };
        let at = self.open.iter().position(is_idle)?;
        let open = self.open.remove(at);
        Some((open.number, open.id))
    }

    fn end(&mut self, id: &SubscriptionId) -> Option<u32> {
        let at = self.open.iter().position(|it| it.id == *id)?;
        let open = self.open.remove(at);
        self.orphans += usize::from(open.turn == Turn::Relay);
        Some(open.number)
    }
}

fn closed(number: Option<u32>) -> Action {
    number.map_or(Action::Done, |number| Action::Reconcile(Reconcile::Close { number }))
}

fn decode(hexadecimal: &str) -> Result<Vec<u8>, Reject> {
    hex::decode_any_case(hexadecimal.as_bytes())
        .ok_or_else(|| Reject::invalid("message is not hexadecimal text"))
}

/// Returns what finds the events that the store's sums set aside and this reader may see, apart
/// from expiring ones; nothing if the sums hold events that the reader may not see.
pub fn set_aside(reader: &Reader, filter: &Filter) -> Option<Arc<[Filter]>> {
    if reader.is_partial() {
        return None;
    }
    let partly = reader.partly_visible();
    let hidden = reader.hidden().map_or(&[][..], |kinds| kinds);
    let mut restricted = partly.iter().chain(hidden);
    let is_never_summed = |kind: &u16| KINDS_SET_ASIDE.contains(kind) || Kind(*kind).is_ephemeral();
    if !restricted.all(is_never_summed) {
        return None;
    }
    let (since, until) = (filter.since, filter.until);
    let of = |chosen: &dyn Fn(&u16) -> bool| {
        let kinds: Box<[u16]> = KINDS_SET_ASIDE.into_iter().filter(chosen).collect();
        (!kinds.is_empty()).then(|| Filter {
            kinds: Some(kinds),
            since,
            until,
            ..Filter::default()
        })
    };
    let mut filters = Vec::new();
    filters.extend(of(&|kind| !partly.contains(kind) && !hidden.contains(kind)));
    if let Some(own) = of(&|kind| partly.contains(kind)) {
        // Of these only what the reader has written or is addressed by.
        let keys = reader.keys();
        let values = keys.iter().map(|key| TagValue::Hex(key.0)).collect();
        let tags = [TagCondition { letter: b'p', mode: TagMode::Any, values }].into();
        filters.push(Filter { authors: Some(keys.into()), ..own.clone() });
        filters.push(Filter { tags, ..own });
    }
    Some(filters.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::PublicKey;
    use crate::session::RestrictedKinds;

    const LIMITS: NegentropyLimits = NegentropyLimits { open_max: 2, idle_secs_max: 10 };

    fn name(text: &str) -> SubscriptionId {
        SubscriptionId::new(text).expect("it is legal")
    }

    #[derive(Default)]
    struct Talk {
        sessions: Reconciliations,
    }

    impl Talk {
        fn open(&mut self, id: &str, message: &str) -> (Action, String) {
            let mut out = Vec::new();
            let filter = Filter::default();
            let action = self.sessions.open(name(id), filter, message, None, &LIMITS, &mut out);
            (action, String::from_utf8(out).expect("answers are text"))
        }

        fn say(&mut self, id: &str, message: &str) -> (Action, String) {
            let mut out = Vec::new();
            let action = self.sessions.message(&name(id), message, &mut out);
            (action, String::from_utf8(out).expect("answers are text"))
        }

        /// Opens one and has it answered.
        fn opened(&mut self, id: &str) -> u32 {
            let (action, _) = self.open(id, "6100");
            let Action::Reconcile(Reconcile::Open { number, .. }) = action else {
                panic!("{id}: {action:?}")
            };
            assert!(self.sessions.answered(number, 0).is_some());
            number
        }
    }

    #[test]
    fn nip_59_1_only_what_a_reader_may_see_is_looked_up_beside_the_sums() {
        let kinds = |filters: &[Filter]| -> Vec<Vec<u16>> {
            filters.iter().map(|it| it.kinds.clone().unwrap_or_default().to_vec()).collect()
        };
        let asked = Filter { since: Some(5), ..Filter::default() };
        let open = vec![1234, 9009, 10_013, 31_234];
        let usual = RestrictedKinds::new([4, 1059, 21_059]);
        let mut reader = Reader::stranger(usual);
        let found = set_aside(&reader, &asked).expect("the sums are of use");
        assert_eq!(kinds(&found), std::slice::from_ref(&open));
        assert_eq!(found[0].since, Some(5));
        reader.add(PublicKey([7; 32]));
        let found = set_aside(&reader, &asked).expect("the sums are of use");
        assert_eq!(kinds(&found), [open, vec![4, 1059], vec![4, 1059]]);
        assert_eq!(found[1].authors.as_deref(), Some(&[PublicKey([7; 32])][..]));
        assert_eq!(found[2].tags[0].values[..], [TagValue::Hex([7; 32])]);
        let nobody = Reader::stranger(RestrictedKinds::default());
        let found = set_aside(&nobody, &asked).expect("the sums are of use");
        assert_eq!(kinds(&found), [KINDS_SET_ASIDE]);
        let other = Reader::stranger(RestrictedKinds::new([1, 4]));
        assert_eq!(set_aside(&other, &asked), None, "the sums have kind 1");
    }

    #[test]
    fn nip_77_1_the_same_name_again_ends_the_former() {
        let mut talk = Talk::default();
        let first = talk.opened("a");
        let (action, _) = talk.open("a", "61");
        let Action::Reconcile(Reconcile::Open { number, replaced, .. }) = action else {
            panic!("{action:?}")
        };
        assert_eq!(replaced, Some(first));
        assert!(talk.sessions.is_open(number) && !talk.sessions.is_open(first));
    }

    #[test]
    fn nip_77_9_reconciliations_are_counted_with_those_still_at_work() {
        let mut talk = Talk::default();
        talk.opened("a");
        // Opened and replaced before it was answered: its work goes on.
        assert!(matches!(talk.open("b", "61").0, Action::Reconcile(_)));
        assert!(matches!(talk.sessions.close(&name("b")), Action::Reconcile(_)));
        let (_, answer) = talk.open("c", "61");
        assert!(answer.starts_with(r#"["NEG-ERR","c","rate-limited: "#), "{answer}");
        assert_eq!(talk.sessions.answered(1, 5), None);
        talk.opened("c");
        assert!(talk.open("d", "61").1.contains("rate-limited: "));
        talk.opened("a");
        let none = NegentropyLimits { open_max: 0, ..LIMITS };
        let mut out = Vec::new();
        let mut sessions = Reconciliations::default();
        sessions.open(name("a"), Filter::default(), "61", None, &none, &mut out);
        assert!(out.starts_with(br#"["NEG-ERR","a","blocked: "#));
    }

    #[test]
    fn nip_77_3_a_failed_one_is_over_and_its_name_unknown() {
        let mut talk = Talk::default();
        for wrong in ["6", "zz", "6100 "] {
            talk.opened("a");
            let (action, answer) = talk.say("a", wrong);
            assert!(matches!(action, Action::Reconcile(Reconcile::Close { .. })));
            assert!(answer.starts_with(r#"["NEG-ERR","a","invalid: "#), "{answer}");
            let (action, answer) = talk.say("a", "61");
            assert!(matches!(action, Action::Done));
            assert!(answer.starts_with(r#"["NEG-ERR","a","closed: "#), "{answer}");
            assert!(talk.open("a", wrong).1.starts_with(r#"["NEG-ERR","a","invalid: "#));
        }
        let number = talk.opened("a");
        assert!(matches!(talk.say("a", "6Af0").0, Action::Reconcile(Reconcile::Answer { .. })));
        let (_, answer) = talk.say("a", "61");
        assert!(answer.contains("invalid: the last message is not answered"), "{answer}");
        assert_eq!(talk.sessions.answered(number, 1), None);
        assert_eq!(talk.sessions.orphans, 0);
    }

    #[test]
    fn nip_77_9_a_silent_client_loses_its_reconciliation() {
        let mut talk = Talk::default();
        let number = talk.opened("a");
        assert!(talk.sessions.end_idle(&LIMITS, 10).is_none());
        assert_eq!(talk.sessions.end_idle(&LIMITS, 11), Some((number, name("a"))));
        assert!(talk.sessions.end_idle(&LIMITS, 11).is_none());
        let number = talk.opened("b");
        let _ = talk.say("b", "61");
        assert!(talk.sessions.end_idle(&LIMITS, 1000).is_none(), "it is the relay's turn");
        assert!(talk.sessions.answered(number, 1000).is_some());
        assert!(talk.sessions.end_idle(&LIMITS, 1010).is_none());
        assert!(talk.sessions.end_idle(&LIMITS, 1011).is_some());
    }
}
