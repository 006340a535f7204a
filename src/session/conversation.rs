//! The state machine of one conversation: the subscriptions a client has open, and what each
//! message does to them.
//!
//! Every message gets its answer: at most one is written here at once; the rest of the answers
//! belong to the [`Action`] that is returned. Client bytes were parsed by `nostr::message`; nothing
//! here can fail.

use std::sync::Arc;

use super::admission::{self, EventLimits, Parties};
use super::identity::{Challenge, OwnNames, check_proof};
use super::negentropy::{NegentropyLimits, Reconcile, Reconciliations};
use super::visible::{Reader, RestrictedKinds};
use crate::limits;
use crate::nostr::delegation::Treatment;
use crate::nostr::message::{self, ClientMessage, MessageError, SubscriptionId};
use crate::nostr::{Event, Filter, Kind, Prefix, Reject, Verified};
use crate::policy::{Activity, Allowance, Misconduct, Quotas, Standing};
use crate::seq::Seq;

/// The settings a session is held to.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// How many subscriptions may be open at once.
    pub subscriptions_max: usize,
    /// How many filters one REQ or COUNT may have.
    pub filters_max: usize,
    /// What an event may be.
    pub event: EventLimits,
    /// What reconciliations are held to.
    pub negentropy: NegentropyLimits,
    /// Whether clients must say who they are before anything else.
    pub authentication: Authentication,
    /// What only those involved may read.
    pub restricted: RestrictedKinds,
    /// Whether authors are also found in what others have made in their names.
    pub delegation: Treatment,
    /// The addresses of this relay.
    pub names: OwnNames,
    /// How much of what is allowed to whom.
    pub quotas: Quotas,
}

/// Whether clients must say who they are (NIP-42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Only where it matters.
    Optional,
    /// Before anything but a request to vanish.
    Required,
}

impl Authentication {
    /// Returns why nothing is done for this reader, if so.
    pub(super) fn check(self, reader: &Reader) -> Result<(), Reject> {
        match self {
            Authentication::Required if !reader.is_authenticated() => {
                Err(Reject::new(Prefix::AuthRequired, "this relay serves only whom it knows"))
            }
            _ => Ok(()),
        }
    }
}

/// What a message is held to.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// What the settings say.
    pub limits: &'a SessionLimits,
    /// What was decided since.
    pub standing: &'a Arc<Standing>,
}

/// What a message asks of the core.
#[derive(Debug)]
pub enum Action {
    /// Nothing: the answer, if one is due, has been written.
    Done,
    /// Nothing: an event was refused for a reason that begins so, and that was answered.
    Refused(Prefix),
    /// Have this event stored and passed on, and answer with
    /// [`write_outcome`](super::write_outcome).
    Publish(Event),
    /// Check the signature of this proof of identity; call [`Session::authenticate`] if it is
    /// right, and refuse the event if not.
    Authenticate(Event),
    /// Check the signature of this request to join or to leave (NIP-43), have it decided, and answer
    /// with OK.
    Petition(Event),
    /// Make an invitation (NIP-43), send it, and EOSE.
    Invite {
        /// The number of the subscription.
        subscription: u32,
        /// The subscription whose place it takes, and which is over.
        replaced: Option<u32>,
    },
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
    /// Go on with a reconciliation.
    Reconcile(Reconcile),
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
#[derive(Debug)]
pub struct Session {
    /// Ascending by number.
    subscriptions: Vec<Subscription>,
    opened: u32,
    challenge: Challenge,
    reconciliations: Reconciliations,
    reader: Reader,
    allowance: Allowance,
    /// Why the question of the last message was refused, until that was counted.
    refused: Option<Prefix>,
}

impl Session {
    /// Begins a conversation: appends the challenge that is sent before anything else, so that a
    /// client that meets `auth-required` can answer at once (NIP-42.8).
    pub fn begin(
        challenge: Challenge,
        limits: &SessionLimits,
        allowance: Allowance,
        greeting: &mut Vec<u8>,
    ) -> Session {
        message::write_auth(greeting, &challenge.to_string());
        let reader = Reader::stranger(limits.restricted.clone());
        let reconciliations = Reconciliations::default();
        Session {
            subscriptions: Vec::new(),
            opened: 0,
            challenge,
            reconciliations,
            reader,
            allowance,
            refused: None,
        }
    }

    /// Takes one message at the second `now`. Appends the message that answers it at once, if one
    /// does, to `answer`.
    pub fn message(
        &mut self,
        text: &str,
        Rules { limits, standing }: Rules<'_>,
        now: u64,
        answer: &mut Vec<u8>,
    ) -> Action {
        self.reader.follow(standing);
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Event(event)) => {
                self.publish(event, Rules { limits, standing }, now, answer)
            }
            Ok(ClientMessage::Req { subscription, mut filters }) => {
                extend(&mut filters, limits);
                self.open(subscription, filters, Rules { limits, standing }, now, answer)
            }
            Ok(ClientMessage::Close { subscription }) => self.close(&subscription),
            Ok(ClientMessage::Count { query, mut filters }) => {
                extend(&mut filters, limits);
                self.count(query, filters, Rules { limits, standing }, now, answer)
            }
            Ok(ClientMessage::Auth(event)) => self.take_proof(event, limits, now, answer),
            Ok(ClientMessage::NegOpen { subscription, mut filter, message }) => {
                extend(std::slice::from_mut(&mut filter), limits);
                let rules = Rules { limits, standing };
                let refused = self.take(Activity::Reconcile, limits, now).err();
                let refused =
                    refused.or_else(|| self.check_filters(std::slice::from_ref(&filter), rules));
                let limits = &limits.negentropy;
                self.reconciliations.open(subscription, filter, message, refused, limits, answer)
            }
            Ok(ClientMessage::NegMsg { subscription, message }) => {
                if let Err(reject) = self.take(Activity::Reconcile, limits, now) {
                    message::write_neg_err(answer, &subscription, &reject);
                    self.refused = Some(reject.prefix);
                    return self.reconciliations.close(&subscription);
                }
                self.reconciliations.message(&subscription, message, answer)
            }
            Ok(ClientMessage::NegClose { subscription }) => {
                self.reconciliations.close(&subscription)
            }
            Err(error) => {
                error.write(answer);
                if matches!(error, MessageError::Notice(_) | MessageError::Ok { .. }) {
                    self.allowance.misbehave(Misconduct::Junk, &limits.quotas, now);
                }
                match error {
                    MessageError::Closed { subscription, reject } => {
                        self.refused = Some(reject.prefix);
                        self.end_named(&subscription)
                    }
                    MessageError::NegErr { subscription, reject } => {
                        self.refused = Some(reject.prefix);
                        let id = SubscriptionId::new(&subscription);
                        id.map_or(Action::Done, |id| self.reconciliations.close(&id))
                    }
                    MessageError::Ok { .. } => Action::Refused(Prefix::Invalid),
                    _ => Action::Done,
                }
            }
        }
    }

    /// Takes a proof of identity that was really signed: from here on the client is also its
    /// author. Appends the answer.
    pub fn authenticate(&mut self, proof: &Verified, now: u64, answer: &mut Vec<u8>) {
        let event = proof.event();
        let count = self.reader.keys().len();
        if count >= limits::SESSION_KEYS_MAX && !self.reader.is(&event.pubkey) {
            let text = format!("a connection has no more than {count} identities");
            let reject = Reject::new(Prefix::RateLimited, text);
            return message::write_refusal(answer, &event.id, &reject);
        }
        self.reader.add(event.pubkey);
        self.allowance.add_key(&event.pubkey, now);
        message::write_ok(answer, &event.id, true, "");
    }

    /// Returns how the reason begins for which the last message was refused, if it was a question
    /// (REQ, COUNT, reconciliation) and was; once.
    #[inline]
    pub fn take_refused(&mut self) -> Option<Prefix> {
        self.refused.take().or_else(|| self.reconciliations.take_refused())
    }

    /// Changes what only those involved may read.
    pub fn restrict(&mut self, kinds: &RestrictedKinds) {
        self.reader.restrict(kinds.clone());
    }

    /// Returns who reads, for [`visible`](super::visible), by what stood at the last message.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Returns who reads by what stands at this moment.
    pub fn reader_now(&mut self, standing: &Arc<Standing>) -> &Reader {
        self.reader.follow(standing);
        &self.reader
    }

    /// Returns what the client may still do.
    pub fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// Returns the reconciliations.
    pub fn reconciliations(&mut self) -> &mut Reconciliations {
        &mut self.reconciliations
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

    /// Returns why a subscription that was opened with these filters is to end, if what stands is
    /// such that its reader would not be served any more.
    pub fn loss(&mut self, filters: &[Filter], standing: &Arc<Standing>) -> Option<Reject> {
        self.reader.follow(standing);
        let refused = standing.check_reader(self.reader.keys()).err();
        refused.or_else(|| self.reader.refusal(filters))
    }

    /// Returns the open subscriptions.
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    fn open(
        &mut self,
        id: SubscriptionId,
        filters: Vec<Filter>,
        rules: Rules<'_>,
        now: u64,
        answer: &mut Vec<u8>,
    ) -> Action {
        if let Err(reject) = self.take(Activity::Request, rules.limits, now) {
            return self.refuse(&id, &reject, answer);
        }
        let at = self.position(&id);
        let is_for_invite = rules.standing.members.is_some() && ask_for_invite(&filters);
        let refused = self.check_filters(&filters, rules).or_else(|| {
            let members = rules.standing.members.as_ref().filter(|_| is_for_invite)?;
            members.check_inviter(self.reader.keys()).err()
        });
        let refused = refused.or_else(|| {
            let max = rules.limits.subscriptions_max;
            let is_full = at.is_none() && self.subscriptions.len() >= max;
            (is_full || self.opened == u32::MAX).then(|| {
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
        if is_for_invite {
            return Action::Invite { subscription: number, replaced };
        }
        Action::Open { subscription: number, replaced, filters: filters.into() }
    }

    fn count(
        &mut self,
        query: SubscriptionId,
        filters: Vec<Filter>,
        rules: Rules<'_>,
        now: u64,
        answer: &mut Vec<u8>,
    ) -> Action {
        if let Err(reject) = self.take(Activity::Count, rules.limits, now) {
            return self.refuse(&query, &reject, answer);
        }
        match self.check_filters(&filters, rules) {
            Some(reject) => self.refuse(&query, &reject, answer),
            None => Action::Count { query, filters: filters.into() },
        }
    }

    fn publish(
        &self,
        event: Event,
        Rules { limits, standing }: Rules<'_>,
        now: u64,
        answer: &mut Vec<u8>,
    ) -> Action {
        let parties = Parties {
            reader: &self.reader,
            authentication: limits.authentication,
            names: &limits.names,
            standing,
        };
        // Requests to vanish are obeyed however many there are (NIP-62.5).
        let allowed = match event.kind {
            Kind::VANISH => Ok(()),
            _ => self.take(Activity::Event, limits, now),
        };
        let checked =
            allowed.and_then(|()| admission::check(&event.view(), &limits.event, &parties, now));
        match checked {
            Ok(()) if standing.members.is_some() && admission::is_petition(event.kind) => {
                Action::Petition(event)
            }
            Ok(()) => Action::Publish(event),
            Err(reject) => {
                message::write_refusal(answer, &event.id, &reject);
                Action::Refused(reject.prefix)
            }
        }
    }

    fn take_proof(
        &self,
        event: Event,
        limits: &SessionLimits,
        now: u64,
        answer: &mut Vec<u8>,
    ) -> Action {
        let checked = self
            .take(Activity::Event, limits, now)
            .and_then(|()| check_proof(&event.view(), &self.challenge, &limits.names, now));
        match checked {
            Ok(()) => Action::Authenticate(event),
            Err(reject) => {
                message::write_refusal(answer, &event.id, &reject);
                Action::Done
            }
        }
    }

    #[inline]
    fn take(&self, activity: Activity, limits: &SessionLimits, now: u64) -> Result<(), Reject> {
        self.allowance.take(activity, &limits.quotas, now)
    }

    /// Returns why these filters are refused, if they are.
    fn check_filters(&self, filters: &[Filter], rules: Rules<'_>) -> Option<Reject> {
        let Rules { limits, standing } = rules;
        let permitted = limits.authentication.check(&self.reader);
        if let Err(reject) = permitted.and_then(|()| standing.check_reader(self.reader.keys())) {
            return Some(reject);
        }
        if filters.len() > limits.filters_max {
            let (count, max) = (filters.len(), limits.filters_max);
            let text = format!("{count} filters, this relay takes {max} at once");
            return Some(Reject::invalid(text));
        }
        let has_search = filters.iter().any(|filter| filter.search.is_some());
        let unsearched = || has_search.then(|| unsupported("this relay does not search"));
        unsearched().or_else(|| self.reader.refusal(filters))
    }

    /// Answers CLOSED, which the client takes for the end of whatever it calls so.
    fn refuse(&mut self, id: &SubscriptionId, reject: &Reject, answer: &mut Vec<u8>) -> Action {
        message::write_closed(answer, id, reject);
        self.refused = Some(reject.prefix);
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

/// Puts into filters what they are to find beyond what they say (NIP-26).
#[inline]
fn extend(filters: &mut [Filter], limits: &SessionLimits) {
    if limits.delegation == Treatment::Honoured {
        for filter in filters {
            filter.by_delegation = filter.authors.is_some();
        }
    }
}

/// Returns whether filters ask for an invitation (NIP-43) and nothing else.
fn ask_for_invite(filters: &[Filter]) -> bool {
    filters.iter().all(|filter| filter.kinds.as_deref() == Some(&[Kind::INVITE.0]))
}

fn unsupported(text: &'static str) -> Reject {
    Reject::new(Prefix::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{Keypair, RelayUrl, Verifier};
    use crate::session::admission::{Commitment, WorkLimits};

    const NOW: u64 = 1_700_000_000;

    fn limits() -> SessionLimits {
        SessionLimits {
            subscriptions_max: 3,
            filters_max: 2,
            negentropy: NegentropyLimits { open_max: 2, idle_secs_max: 10 },
            event: EventLimits {
                tags_max: 2,
                content_characters_max: 5,
                past_secs_max: Some(1_000),
                future_secs_max: Some(900),
                work: WorkLimits { bits_min: 0, commitment: Commitment::Optional },
                refused_kinds: [14].into(),
                rules: None,
            },
            authentication: Authentication::Optional,
            restricted: RestrictedKinds::new([4, 1059, 21_059]),
            delegation: Treatment::Ignored,
            names: OwnNames::Public(RelayUrl::parse(OWN).into_iter().collect()),
            quotas: Quotas::default(),
        }
    }

    const OWN: &str = "wss://relay.example.org";

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
        assert!(matches!(action, Action::Refused(Prefix::Invalid)));
        assert!(answer.starts_with(r#"["OK","abc",false,"invalid: "#), "{answer}");
    }

    #[test]
    fn events_beyond_the_limits_are_invalid() {
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
                    let is_refused = matches!(action, Action::Refused(Prefix::Invalid));
                    assert!(is_refused, "{message} -> {action:?}");
                    assert!(answer.contains(r#",false,"invalid: "#), "{message} -> {answer}");
                    assert!(answer.contains(text), "{message} -> {answer}");
                }
            }
        }
    }

    #[test]
    fn without_a_window_any_time_is_taken() {
        let mut limits = limits();
        limits.event.past_secs_max = None;
        limits.event.future_secs_max = None;
        for created_at in [0, NOW, u64::from(u32::MAX)] {
            let mut talk = Talk { limits: limits.clone(), ..Talk::new() };
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
    fn nip_42_3_several_keys_are_all_authenticated_and_may_do_what_each_may() {
        let mut talk = Talk::new();
        let wraps = r#"["REQ","w",{"kinds":[1059]}]"#;
        let (_, answer) = talk.say(wraps);
        assert!(answer.starts_with(r#"["CLOSED","w","auth-required: "#), "{answer}");
        for number in 1..=2 {
            let protected = protected_message(number);
            let (_, answer) = talk.say(&protected);
            let word = ["auth-required: ", "restricted: "][usize::from(number) - 1];
            assert!(answer.contains(&format!(r#",false,"{word}"#)), "{answer}");
            let answer = talk.authenticate(number);
            assert!(answer.contains(r#",true,"""#), "{answer}");
            assert!(matches!(talk.say(&protected).0, Action::Publish(_)));
        }
        assert!(matches!(talk.say(&protected_message(1)).0, Action::Publish(_)));
        talk.open(wraps);
        // Again is no harm.
        assert!(talk.authenticate(1).contains(r#",true,"""#));
        assert_eq!(talk.session.reader().keys().len(), 2);
    }

    #[test]
    fn nip_42_13_the_number_of_keys_is_bounded_generously() {
        let mut talk = Talk::new();
        for number in 1..=64 {
            assert!(talk.authenticate(number).contains(",true,"), "{number}");
        }
        assert!(talk.authenticate(65).contains(r#",false,"rate-limited: "#));
        assert!(talk.authenticate(64).contains(",true,"));
    }

    #[test]
    fn nip_42_4_only_a_proof_is_a_proof() {
        let mut talk = Talk::new();
        let note = event_message(NOW, 1, &[], "").replacen("EVENT", "AUTH", 1);
        let (action, answer) = talk.say(&note);
        assert!(matches!(action, Action::Done));
        assert!(answer.contains(r#",false,"invalid: "#), "{answer}");
    }

    #[test]
    fn nip_42_11_where_authentication_is_required_nothing_else_works_before_it() {
        let mut limits = limits();
        limits.authentication = Authentication::Required;
        let mut talk = Talk { limits, ..Talk::new() };
        let note = event_message(NOW, 1, &[], "");
        let rows = [
            (r#"["REQ","a",{}]"#, r#"["CLOSED","a","auth-required: "#),
            (r#"["COUNT","a",{}]"#, r#"["CLOSED","a","auth-required: "#),
            (r#"["NEG-OPEN","a",{},"6100"]"#, r#"["NEG-ERR","a","auth-required: "#),
        ];
        for (message, expected) in rows {
            let (action, answer) = talk.say(message);
            assert!(matches!(action, Action::Done), "{message}");
            assert!(answer.contains(expected), "{message} -> {answer}");
        }
        let (action, answer) = talk.say(&note);
        assert!(matches!(action, Action::Refused(Prefix::AuthRequired)), "{action:?}");
        assert!(answer.contains(r#",false,"auth-required: "#), "{answer}");
        let vanish = event_message(NOW, 62, &[tag("relay", OWN)], "");
        assert!(matches!(talk.say(&vanish).0, Action::Publish(_)));
        talk.authenticate(9);
        assert!(matches!(talk.say(&note).0, Action::Publish(_)));
        talk.open(r#"["REQ","a",{}]"#);
    }

    #[test]
    fn nip_62_1_and_5_a_request_to_vanish_is_taken_if_it_names_this_relay() {
        let mut limits = limits();
        limits.event.refused_kinds = [62].into();
        limits.event.work.bits_min = 20;
        let mut talk = Talk { limits, ..Talk::new() };
        let relay = |url: &str| vec![tag("relay", url)];
        let rows = [
            (NOW, relay(OWN), None),
            (NOW, relay("WS://Relay.Example.org:443/"), None),
            (NOW, relay("ALL_RELAYS"), None),
            (NOW, [relay("wss://other.example"), relay(OWN)].concat(), None),
            (NOW, [relay(OWN), vec![tag("-", "")]].concat(), None),
            (0, relay(OWN), None),
            (NOW + 901, relay(OWN), Some("seconds ahead")),
            (NOW, relay("all_relays"), Some("not addressed")),
            (NOW, relay("wss://other.example"), Some("not addressed")),
            (NOW, vec![], Some("not addressed")),
            (NOW, [relay(OWN), relay("a"), relay("b")].concat(), Some("3 tags")),
        ];
        for (created_at, tags, refused) in rows {
            let (action, answer) = talk.say(&event_message(created_at, 62, &tags, ""));
            match refused {
                None => assert!(matches!(action, Action::Publish(_)), "{tags:?} -> {answer}"),
                Some(text) => {
                    assert!(answer.contains(r#",false,"invalid: "#), "{tags:?} -> {answer}");
                    assert!(answer.contains(text), "{tags:?} -> {answer}");
                }
            }
        }
    }

    #[test]
    fn nip_13_2_and_3_difficulty_is_what_was_aimed_at_and_reached() {
        // The id of the fixture PW has 16 leading zero bits, and names 16 as its target.
        let worked = format!("[\"EVENT\",{}]", crate::nostr::fixtures::PW);
        let plain = event_message(NOW, 1, &[], "");
        let lucky = worked.replace(r#""16""#, r#""4""#);
        let open = worked.replace(r#","16""#, "");
        use Commitment::{Optional, Required};
        let rows = [
            (16, Optional, &worked, None),
            (17, Optional, &worked, Some("difficulty 16 is less than 17")),
            (5, Optional, &lucky, Some("difficulty 4 is less than 5")),
            (4, Optional, &lucky, None),
            (16, Optional, &open, None),
            (16, Required, &worked, None),
            (1, Required, &open, Some("target")),
            (12, Optional, &plain, Some("is less than 12")),
            (0, Required, &plain, None),
        ];
        for (bits_min, commitment, message, refused) in rows {
            let mut limits = limits();
            limits.event = EventLimits {
                past_secs_max: None,
                tags_max: 10,
                work: WorkLimits { bits_min, commitment },
                ..limits.event
            };
            let (action, answer) = Talk { limits, ..Talk::new() }.say(message);
            match refused {
                None => assert!(matches!(action, Action::Publish(_)), "{message} -> {answer}"),
                Some(text) => {
                    assert!(answer.contains(r#",false,"pow: "#), "{message} -> {answer}");
                    assert!(answer.contains(text), "{message} -> {answer}");
                }
            }
        }
    }

    #[test]
    fn kinds_that_are_not_meant_to_be_published_are_blocked() {
        let (_, answer) = Talk::new().say(&event_message(NOW, 14, &[], ""));
        assert!(answer.contains(r#",false,"blocked: "#), "{answer}");
        let repost = event_message(NOW, 6, &[], r#"{"tags":[["-"]]}"#);
        let mut limits = limits();
        limits.event.content_characters_max = 100;
        let (_, answer) = Talk { limits, ..Talk::new() }.say(&repost);
        assert!(answer.contains(r#",false,"blocked: "#), "{answer}");
    }

    #[test]
    fn nip_59_6_a_gift_wrap_may_be_dated_days_back() {
        let mut talk = Talk::new();
        let three_days = 3 * 24 * 3600;
        for (age, is_taken) in [(47 * 3600, true), (three_days, true), (three_days + 1, false)] {
            let (action, answer) = talk.say(&event_message(NOW - age, 1059, &[], ""));
            assert_eq!(matches!(action, Action::Publish(_)), is_taken, "{age} -> {answer}");
        }
    }

    #[test]
    fn nip_77_reconciliations_have_names_of_their_own_and_end_when_a_message_is_wrong() {
        let mut talk = Talk::new();
        talk.open(r#"["REQ","n",{}]"#);
        let (action, _) = talk.say(r#"["NEG-OPEN","n",{},"6100"]"#);
        let Action::Reconcile(Reconcile::Open { number, .. }) = action else {
            panic!("{action:?}")
        };
        assert!(talk.session.reconciliations().answered(number, NOW).is_some());
        assert!(matches!(talk.say(r#"["NEG-MSG","x","61"]"#).0, Action::Done));
        let (action, answer) = talk.say(r#"["NEG-MSG","n",5]"#);
        assert!(matches!(action, Action::Reconcile(Reconcile::Close { .. })));
        assert!(answer.starts_with(r#"["NEG-ERR","n","invalid: "#), "{answer}");
        let (action, answer) = talk.say(r#"["NEG-CLOSE","n"]"#);
        assert!(matches!(action, Action::Done) && answer.is_empty(), "it was closed");
        let (_, answer) = talk.say(r#"["NEG-OPEN","n",{"search":"x"},"61"]"#);
        assert!(answer.starts_with(r#"["NEG-ERR","n","unsupported: "#), "{answer}");
        assert_eq!(talk.session.subscriptions().len(), 1);
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
            event_message(NOW, 22_242, &[tag("challenge", "07")], "").replacen("EVENT", "AUTH", 1),
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
        standing: Arc<Standing>,
    }

    impl Talk {
        fn new() -> Talk {
            let (limits, mut greeting) = (limits(), Vec::new());
            let session = Session::begin(
                Challenge::new([7; 16]),
                &limits,
                Allowance::unlimited(),
                &mut greeting,
            );
            let expected = format!(r#"["AUTH","{}"]"#, "07".repeat(16));
            assert_eq!(String::from_utf8(greeting).expect("it is text"), expected);
            Talk { session, limits, standing: Arc::default() }
        }

        fn say(&mut self, text: &str) -> (Action, String) {
            let mut answer = Vec::new();
            let rules = Rules { limits: &self.limits, standing: &self.standing };
            let action = self.session.message(text, rules, NOW, &mut answer);
            (action, String::from_utf8(answer).expect("answers are text"))
        }

        /// Answers the challenge as the owner of this secret.
        fn authenticate(&mut self, number: u8) -> String {
            let keys = Keypair::from_secret([number; 32]).expect("the secret is in range");
            let tags = [tag("relay", OWN), tag("challenge", &"07".repeat(16))];
            let proof = keys.sign_event(NOW, Kind::AUTHENTICATION, &tags, "");
            let mut message = b"[\"AUTH\",".to_vec();
            proof.view().write_json(&mut message);
            message.push(b']');
            let (action, _) = self.say(std::str::from_utf8(&message).expect("events are text"));
            let Action::Authenticate(event) = action else { panic!("it is a proof") };
            let proof = Verifier::new().verify(event).expect("it is signed");
            let mut answer = Vec::new();
            self.session.authenticate(&proof, NOW, &mut answer);
            String::from_utf8(answer).expect("answers are text")
        }

        fn open(&mut self, text: &str) -> u32 {
            match self.say(text) {
                (Action::Open { subscription, .. }, _) => subscription,
                (_, answer) => panic!("{text} -> {answer}"),
            }
        }
    }

    fn tag(name: &str, value: &str) -> Vec<String> {
        vec![name.to_owned(), value.to_owned()]
    }

    fn protected_message(number: u8) -> String {
        let keys = Keypair::from_secret([number; 32]).expect("the secret is in range");
        let event = keys.sign_event(NOW, Kind(1), &[vec!["-".to_owned()]], "");
        let mut message = b"[\"EVENT\",".to_vec();
        event.view().write_json(&mut message);
        message.push(b']');
        String::from_utf8(message).expect("events are text")
    }

    fn event_message(created_at: u64, kind: u16, tags: &[Vec<String>], content: &str) -> String {
        let keys = Keypair::from_secret([1; 32]).expect("the secret is in range");
        let mut message = b"[\"EVENT\",".to_vec();
        keys.sign_event(created_at, Kind(kind), tags, content).view().write_json(&mut message);
        message.push(b']');
        String::from_utf8(message).expect("events are text")
    }
}
