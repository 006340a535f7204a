//! The state machine of one conversation: the subscriptions a client has open, and what each
//! message does to them.
//!
//! Every message gets its answer: at most one is written here at once; the rest of the answers
//! belong to the [`Action`] that is returned. Client bytes were parsed by `nostr::message`; nothing
//! here can fail.

use std::sync::Arc;

use super::admission::{self, EventLimits};
use super::visible::Reader;
use crate::nostr::message::{self, ClientMessage, MessageError, SubscriptionId};
use crate::nostr::{Event, Filter, Prefix, Reject};
use crate::seq::Seq;

/// The settings a session is held to.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// How many subscriptions may be open at once.
    pub subscriptions_max: usize,
    /// How many filters one REQ or COUNT may have.
    pub filters_max: usize,
    /// What an event may be.
    pub event: EventLimits,
}

/// What a message asks of the core.
#[derive(Debug)]
pub enum Action {
    /// Nothing: the answer, if one is due, has been written.
    Done,
    /// Have this event stored and passed on, and answer with
    /// [`write_outcome`](super::write_outcome).
    Publish(Event),
    /// Send what is stored, EOSE, and what is published from then on.
    Open {
        /// The number of the subscription; its horizon is to be set.
        subscription: u32,
        /// The subscription whose place it takes, and which is over.
        replaced: Option<u32>,
        /// What it asks for.
        filters: Arc<[Filter]>,
    },
    /// Stop this subscription, which is over.
    Close {
        /// The number it had.
        subscription: u32,
    },
    /// Count what is stored, and answer with COUNT.
    Count {
        /// What the client calls its question.
        query: SubscriptionId,
        /// What is counted.
        filters: Arc<[Filter]>,
    },
}

/// One open subscription.
#[derive(Debug)]
pub struct Subscription {
    /// Unlike its id, never used again on this connection.
    pub number: u32,
    /// What the client calls it.
    pub id: SubscriptionId,
    /// Up to here the stored phase answers, beyond it live delivery does: so an event is sent
    /// once, whichever sees it first (I7).
    pub horizon: Seq,
    /// Batches of the ring before this position were published before the subscription was opened;
    /// it says of ephemeral events, which have no seq, what `horizon` says of stored ones.
    pub ring_position: u64,
}

/// One client's conversation.
#[derive(Debug, Default)]
pub struct Session {
    /// Ascending by number.
    subscriptions: Vec<Subscription>,
    opened: u32,
    reader: Reader,
}

impl Session {
    /// Begins a conversation.
    pub fn new() -> Session {
        Session::default()
    }

    /// Takes one message at the second `now`. Appends the message that answers it at once, if one
    /// does, to `answer`.
    pub fn message(
        &mut self,
        text: &str,
        limits: &SessionLimits,
        now: u64,
        answer: &mut Vec<u8>,
    ) -> Action {
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Event(event)) => publish(event, limits, now, answer),
            Ok(ClientMessage::Req { subscription, filters }) => {
                self.open(subscription, filters, limits, answer)
            }
            Ok(ClientMessage::Close { subscription }) => self.close(&subscription),
            Ok(ClientMessage::Count { query, filters }) => {
                self.count(query, filters, limits, answer)
            }
            Ok(ClientMessage::Auth(event)) => {
                let reject = unsupported("this relay does not authenticate");
                message::write_refusal(answer, &event.id, &reject);
                Action::Done
            }
            Ok(
                ClientMessage::NegOpen { subscription, .. }
                | ClientMessage::NegMsg { subscription, .. },
            ) => {
                let reject = unsupported("this relay does not reconcile");
                message::write_neg_err(answer, &subscription, &reject);
                Action::Done
            }
            Ok(ClientMessage::NegClose { .. }) => Action::Done,
            Err(error) => {
                error.write(answer);
                match error {
                    MessageError::Closed { subscription, .. } => self.end_named(&subscription),
                    _ => Action::Done,
                }
            }
        }
    }

    /// Returns who reads, for [`visible`](super::visible).
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Returns an open subscription.
    pub fn subscription(&self, number: u32) -> Option<&Subscription> {
        let at = self.subscriptions.binary_search_by_key(&number, |it| it.number).ok()?;
        self.subscriptions.get(at)
    }

    /// Sets up to where the stored phase of a subscription answers.
    pub fn set_horizon(&mut self, number: u32, horizon: Seq) {
        if let Ok(at) = self.subscriptions.binary_search_by_key(&number, |it| it.number) {
            self.subscriptions[at].horizon = horizon;
        }
    }

    /// Sets from which position of the ring on ephemeral events are for a subscription.
    pub fn set_ring_position(&mut self, number: u32, position: u64) {
        if let Ok(at) = self.subscriptions.binary_search_by_key(&number, |it| it.number) {
            self.subscriptions[at].ring_position = position;
        }
    }

    /// Ends a subscription from this side; returns what the client calls it.
    pub fn end_subscription(&mut self, number: u32) -> Option<SubscriptionId> {
        let at = self.subscriptions.binary_search_by_key(&number, |it| it.number).ok()?;
        Some(self.subscriptions.remove(at).id)
    }

    /// Returns the open subscriptions.
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    fn open(
        &mut self,
        id: SubscriptionId,
        filters: Vec<Filter>,
        limits: &SessionLimits,
        answer: &mut Vec<u8>,
    ) -> Action {
        let at = self.position(&id);
        let refused = check_filters(&filters, limits).or_else(|| {
            let is_full = at.is_none() && self.subscriptions.len() >= limits.subscriptions_max;
            (is_full || self.opened == u32::MAX).then(|| {
                let max = limits.subscriptions_max;
                Reject::new(Prefix::RateLimited, format!("no more than {max} subscriptions"))
            })
        });
        if let Some(reject) = refused {
            return self.refuse(&id, &reject, answer);
        }
        let replaced = at.map(|at| self.subscriptions.remove(at).number);
        let number = self.opened;
        self.opened += 1;
        self.subscriptions.push(Subscription { number, id, horizon: Seq::ZERO, ring_position: 0 });
        Action::Open { subscription: number, replaced, filters: filters.into() }
    }

    fn count(
        &mut self,
        query: SubscriptionId,
        filters: Vec<Filter>,
        limits: &SessionLimits,
        answer: &mut Vec<u8>,
    ) -> Action {
        match check_filters(&filters, limits) {
            Some(reject) => self.refuse(&query, &reject, answer),
            None => Action::Count { query, filters: filters.into() },
        }
    }

    /// Answers CLOSED, which the client takes for the end of whatever it calls so.
    fn refuse(&mut self, id: &SubscriptionId, reject: &Reject, answer: &mut Vec<u8>) -> Action {
        message::write_closed(answer, id, reject);
        self.close(id)
    }

    /// Does the same for an id that may be none.
    fn end_named(&mut self, id: &str) -> Action {
        SubscriptionId::new(id).map_or(Action::Done, |id| self.close(&id))
    }

    fn close(&mut self, id: &SubscriptionId) -> Action {
        match self.position(id) {
            Some(at) => Action::Close { subscription: self.subscriptions.remove(at).number },
            None => Action::Done,
        }
    }

    fn position(&self, id: &SubscriptionId) -> Option<usize> {
        self.subscriptions.iter().position(|it| it.id == *id)
    }
}

fn publish(event: Event, limits: &SessionLimits, now: u64, answer: &mut Vec<u8>) -> Action {
    match admission::check(&event.view(), &limits.event, now) {
        Ok(()) => Action::Publish(event),
        Err(reject) => {
            message::write_refusal(answer, &event.id, &reject);
            Action::Done
        }
    }
}

/// Returns why these filters are refused, if they are.
fn check_filters(filters: &[Filter], limits: &SessionLimits) -> Option<Reject> {
    if filters.len() > limits.filters_max {
        let (count, max) = (filters.len(), limits.filters_max);
        return Some(Reject::invalid(format!("{count} filters, this relay takes {max} at once")));
    }
    let has_search = filters.iter().any(|filter| filter.search.is_some());
    has_search.then(|| unsupported("this relay does not search"))
}

fn unsupported(text: &'static str) -> Reject {
    Reject::new(Prefix::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{Keypair, Kind};

    const NOW: u64 = 1_700_000_000;

    const LIMITS: SessionLimits = SessionLimits {
        subscriptions_max: 3,
        filters_max: 2,
        event: EventLimits {
            tags_max: 2,
            content_characters_max: 5,
            past_secs_max: Some(1_000),
            future_secs_max: Some(900),
        },
    };

    #[test]
    fn nip_01_7_junk_gets_a_notice_and_the_conversation_goes_on() {
        let mut talk = Talk::new();
        for junk in ["hello", "", "{}", "[]", "[1]", "[\"NOPE\"]", "null", "[[[[", "\n"] {
            let (action, answer) = talk.say(junk);
            assert!(matches!(action, Action::Done), "{junk}");
            assert!(answer.starts_with("[\"NOTICE\","), "{junk} -> {answer}");
        }
        assert!(matches!(talk.say(r#"["REQ","a",{}]"#).0, Action::Open { .. }));
    }

    #[test]
    fn nip_01_11_an_event_of_the_right_shape_is_to_be_published() {
        let (action, answer) = Talk::new().say(&event_message(NOW, 1, &[], "hi"));
        assert!(matches!(action, Action::Publish(event) if event.kind == Kind(1)));
        assert_eq!(answer, "");
    }

    #[test]
    fn nip_01_20_a_malformed_event_is_refused_under_the_id_it_gives() {
        let (action, answer) = Talk::new().say(r#"["EVENT",{"id":"abc","kind":1}]"#);
        assert!(matches!(action, Action::Done));
        assert!(answer.starts_with(r#"["OK","abc",false,"invalid: "#), "{answer}");
    }

    #[test]
    fn events_beyond_the_limits_are_invalid() {
        let tag = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
        let three_tags = [tag("t", "a"), tag("t", "b"), tag("t", "c")];
        let passed = [tag("expiration", "1700000000")];
        let lasting = [tag("expiration", "1700000001")];
        let unclear = [tag("expiration", "soon")];
        type Row<'a> = (u64, u16, &'a [Vec<String>], &'a str, Option<&'a str>);
        let rows: &[Row<'_>] = &[
            (NOW, 22_242, &[], "", Some("kind 22242")),
            (NOW, 22_243, &[], "", None),
            (NOW, 1, &three_tags, "", Some("3 tags")),
            (NOW, 1, &three_tags[..2], "", None),
            (NOW, 1, &[], "123456", Some("6 characters")),
            (NOW, 1, &[], "12345", None),
            (NOW, 1, &[], "\u{65e5}\u{672c}\u{1f600}\n\u{1}", None),
            (NOW, 1, &[], "\u{65e5}\u{672c}\u{1f600}\n\u{1}\"", Some("6 characters")),
            (NOW + 900, 1, &[], "", None),
            (NOW + 901, 1, &[], "", Some("901 seconds ahead")),
            (NOW - 1_000, 1, &[], "", None),
            (NOW - 1_001, 1, &[], "", Some("1001 seconds ago")),
            (NOW, 1, &passed, "", Some("expired")),
            (NOW, 1, &lasting, "", None),
            (NOW, 1, &unclear, "", None),
            (NOW, 20_001, &passed, "", None),
        ];
        for (created_at, kind, tags, content, refused) in rows {
            let message = event_message(*created_at, *kind, tags, content);
            let (action, answer) = Talk::new().say(&message);
            match refused {
                None => assert!(matches!(action, Action::Publish(_)), "{message} -> {answer}"),
                Some(text) => {
                    assert!(matches!(action, Action::Done), "{message}");
                    assert!(answer.contains(r#",false,"invalid: "#), "{message} -> {answer}");
                    assert!(answer.contains(text), "{message} -> {answer}");
                }
            }
        }
    }

    #[test]
    fn without_a_window_any_time_is_taken() {
        let mut limits = LIMITS;
        limits.event.past_secs_max = None;
        limits.event.future_secs_max = None;
        for created_at in [0, NOW, u64::from(u32::MAX)] {
            let mut talk = Talk { limits, ..Talk::new() };
            let (action, _) = talk.say(&event_message(created_at, 1, &[], ""));
            assert!(matches!(action, Action::Publish(_)), "{created_at}");
        }
    }

    #[test]
    fn nip_01_62_the_same_id_replaces_a_subscription_without_a_word() {
        let mut talk = Talk::new();
        let first = talk.open(r#"["REQ","a",{"kinds":[1]}]"#);
        let (action, answer) = talk.say(r#"["REQ","a",{"kinds":[2]}]"#);
        let Action::Open { subscription, replaced, .. } = action else { panic!("not opened") };
        assert_eq!(answer, "");
        assert_eq!(replaced, Some(first));
        assert_ne!(subscription, first);
        assert!(talk.session.subscription(first).is_none());
        assert_eq!(talk.session.subscriptions().len(), 1);
    }

    #[test]
    fn nip_01_66_too_many_subscriptions_are_closed_but_a_known_id_may_be_replaced() {
        let mut talk = Talk::new();
        for id in ["a", "b", "c"] {
            talk.open(&format!(r#"["REQ","{id}",{{}}]"#));
        }
        let (action, answer) = talk.say(r#"["REQ","d",{}]"#);
        assert!(matches!(action, Action::Done));
        assert!(answer.starts_with(r#"["CLOSED","d","rate-limited: "#), "{answer}");
        talk.open(r#"["REQ","b",{}]"#);
        assert!(matches!(talk.say(r#"["CLOSE","a"]"#).0, Action::Close { subscription: 0 }));
        talk.open(r#"["REQ","d",{}]"#);
    }

    #[test]
    fn nip_01_45_a_refused_req_is_closed_with_a_reason() {
        let rows = [
            (r#"["REQ","a"]"#, r#"["CLOSED","a","invalid: "#),
            (r#"["REQ","a",1]"#, r#"["CLOSED","a","invalid: "#),
            (r#"["REQ","a",{"ids":["bde202ea"]}]"#, r#"["CLOSED","a","invalid: "#),
            (r#"["REQ","a",{"foo":1}]"#, r#"["CLOSED","a","unsupported: "#),
            (r#"["REQ","a",{"search":"x"}]"#, r#"["CLOSED","a","unsupported: "#),
            (r#"["REQ","a",{},{},{}]"#, r#"["CLOSED","a","invalid: "#),
            (r#"["COUNT","a",{},{},{}]"#, r#"["CLOSED","a","invalid: "#),
            (r#"["COUNT","a",{"search":"x"}]"#, r#"["CLOSED","a","unsupported: "#),
        ];
        for (message, expected) in rows {
            let (action, answer) = Talk::new().say(message);
            assert!(matches!(action, Action::Done), "{message}");
            assert!(answer.starts_with(expected), "{message} -> {answer}");
        }
    }

    #[test]
    fn a_refused_req_ends_the_subscription_whose_id_it_has() {
        let mut talk = Talk::new();
        for refused in [r#"["REQ","a",{},{},{}]"#, r#"["REQ","a",{"foo":1}]"#] {
            let open = talk.open(r#"["REQ","a",{}]"#);
            let (action, answer) = talk.say(refused);
            assert!(matches!(action, Action::Close { subscription } if subscription == open));
            assert!(answer.starts_with(r#"["CLOSED","a","#), "{answer}");
            assert!(talk.session.subscriptions().is_empty());
        }
    }

    #[test]
    fn nip_01_64_closing_what_is_not_open_does_nothing() {
        let mut talk = Talk::new();
        let open = talk.open(r#"["REQ","a",{}]"#);
        let (action, answer) = talk.say(r#"["CLOSE","b"]"#);
        assert!(matches!(action, Action::Done));
        assert_eq!(answer, "");
        let (action, answer) = talk.say(r#"["CLOSE","a","extra"]"#);
        assert!(matches!(action, Action::Close { subscription } if subscription == open));
        assert_eq!(answer, "");
    }

    #[test]
    fn nip_45_5_a_count_leaves_a_subscription_of_its_id_alone() {
        let mut talk = Talk::new();
        talk.open(r#"["REQ","a",{}]"#);
        let (action, answer) = talk.say(r#"["COUNT","a",{"kinds":[1]}]"#);
        assert!(matches!(action, Action::Count { filters, .. } if filters.len() == 1));
        assert_eq!(answer, "");
        assert_eq!(talk.session.subscriptions().len(), 1);
    }

    #[test]
    fn what_is_not_spoken_yet_is_refused_in_its_own_form() {
        let mut talk = Talk::new();
        let (_, answer) = talk.say(r#"["NEG-OPEN","n",{},"6100"]"#);
        assert!(answer.starts_with(r#"["NEG-ERR","n","unsupported: "#), "{answer}");
        let (_, answer) = talk.say(r#"["NEG-CLOSE","n"]"#);
        assert_eq!(answer, "");
        let auth = event_message(NOW, 22_242, &[], "").replacen("EVENT", "AUTH", 1);
        let (action, answer) = talk.say(&auth);
        assert!(matches!(action, Action::Done));
        assert!(answer.contains(r#",false,"unsupported: "#), "{answer}");
    }

    #[test]
    fn numbers_and_horizons_belong_to_one_subscription() {
        let mut talk = Talk::new();
        let first = talk.open(r#"["REQ","a",{}]"#);
        let second = talk.open(r#"["REQ","b",{}]"#);
        talk.session.set_horizon(second, Seq(7));
        assert_eq!(talk.session.subscription(first).map(|it| it.horizon), Some(Seq::ZERO));
        assert_eq!(talk.session.subscription(second).map(|it| it.horizon), Some(Seq(7)));
        assert!(talk.session.end_subscription(first).is_some());
        assert!(talk.session.end_subscription(first).is_none());
        assert!(talk.open(r#"["REQ","a",{}]"#) > second);
    }

    #[test]
    fn any_bytes_of_a_message_may_be_cut_or_changed() {
        let messages = [
            event_message(NOW, 1, &[vec!["t".to_owned(), "x".to_owned()]], "hi"),
            r##"["REQ","a",{"kinds":[1],"#t":["x"],"since":1},{"limit":2}]"##.to_owned(),
            r#"["COUNT","a",{}]"#.to_owned(),
            r#"["NEG-OPEN","n",{},"6100"]"#.to_owned(),
        ];
        let mut talk = Talk::new();
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = messages[random.usize(..messages.len())].clone().into_bytes();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..bytes.len());
                match random.u32(..3) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes[at] = random.u8(0x20..0x7f),
                    _ => bytes.insert(at, random.u8(0x20..0x7f)),
                }
            }
            // Whatever it is, it has one answer or one action (or ends something silently).
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let (action, answer) = talk.say(&text);
            let is_silent = answer.is_empty() && matches!(action, Action::Done);
            assert!(!is_silent || text.contains("CLOSE"), "seed {seed}: {text}");
        }
    }

    struct Talk {
        session: Session,
        limits: SessionLimits,
    }

    impl Talk {
        fn new() -> Talk {
            Talk { session: Session::new(), limits: LIMITS }
        }

        fn say(&mut self, text: &str) -> (Action, String) {
            let mut answer = Vec::new();
            let action = self.session.message(text, &self.limits, NOW, &mut answer);
            (action, String::from_utf8(answer).expect("answers are text"))
        }

        fn open(&mut self, text: &str) -> u32 {
            match self.say(text) {
                (Action::Open { subscription, .. }, _) => subscription,
                (_, answer) => panic!("{text} -> {answer}"),
            }
        }
    }

    fn event_message(created_at: u64, kind: u16, tags: &[Vec<String>], content: &str) -> String {
        let keys = Keypair::from_secret([1; 32]).expect("the secret is in range");
        let mut message = b"[\"EVENT\",".to_vec();
        keys.sign_event(created_at, Kind(kind), tags, content).view().write_json(&mut message);
        message.push(b']');
        String::from_utf8(message).expect("events are text")
    }
}
