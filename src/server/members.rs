//! What the herald does about members (NIP-43): who joins and leaves, the list, invitations.
//!
//! Decisions are made on a copy of what stands and are events before they are anything else; when
//! they are stored, what stands follows from them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::settings::MembershipSettings;
use crate::nostr::{Event, Keypair, Kind, Prefix, PublicKey, Reject};
use crate::policy::{InviteId, InviteKey, InviteTerms, Membership};

/// Who is let in, and by what.
pub(super) struct Reception {
    settings: MembershipSettings,
    invite_key: InviteKey,
    random: fn() -> [u8; 16],
    /// A list is not made before: the longer the last one was, the later.
    list_not_before: Option<Instant>,
    /// Whether the list that is stored is not true any more.
    is_list_owed: bool,
}

/// Decisions that are made together, all dated by the same second.
pub(super) struct Round {
    /// Who belongs to the relay once all is stored.
    members: Membership,
    keys: Arc<Keypair>,
    turn: u64,
    now: u64,
    events: Vec<Event>,
    /// Whom these events are about.
    touched: BTreeSet<PublicKey>,
}

/// What becomes of a petition.
pub(super) enum Decision {
    /// It is answered at once.
    Answer(Result<&'static str, Reject>),
    /// It is answered by this once the round is stored.
    Publish(&'static str),
    /// It can only be decided once the round is stored.
    Wait,
}

impl Round {
    /// Begins without decisions; what is decided is dated by `turn`.
    pub(super) fn new(members: Membership, keys: Arc<Keypair>, turn: u64, now: u64) -> Round {
        Round { members, keys, turn, now, events: Vec::new(), touched: BTreeSet::new() }
    }

    fn change(&mut self, kind: Kind, key: &PublicKey, invite: Option<InviteId>) {
        let mut tags = vec![protected(), vec!["p".to_owned(), key.to_string()]];
        tags.extend(invite.map(|id| vec!["invite".to_owned(), id.to_string()]));
        let event = self.keys.sign_event(self.turn, kind, &tags, "");
        self.members.note(&event.view());
        self.touched.insert(*key);
        self.events.push(event);
    }

    fn list(&mut self) -> usize {
        let member = |(key, roles): (&PublicKey, &crate::policy::Roles)| {
            let mut tag = vec!["member".to_owned(), key.to_string()];
            tag.extend(roles.iter().map(|role| role.to_string()));
            tag
        };
        let tags: Vec<Vec<String>> =
            std::iter::once(protected()).chain(self.members.iter().map(member)).collect();
        let event = self.keys.sign_event(self.turn, Kind::MEMBER_LIST, &tags, "");
        let bytes = event.memory_bytes();
        self.members.note(&event.view());
        self.events.push(event);
        bytes
    }
}

impl Reception {
    /// Returns the reception of a relay that signs with these keys.
    pub(super) fn new(
        settings: MembershipSettings,
        keys: &Keypair,
        random: fn() -> [u8; 16],
    ) -> Reception {
        let invite_key = InviteKey::of(keys);
        Reception { settings, invite_key, random, list_not_before: None, is_list_owed: false }
    }

    /// Returns how long the list that was put off has to wait, if one was.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let at = self.list_not_before.filter(|_| self.is_list_owed)?;
        Some(at.saturating_duration_since(now))
    }

    /// Decides what follows from the settings alone.
    pub(super) fn catch_up(&self, round: &mut Round) {
        if let Some(operator) = round.members.rules().operator
            && !round.members.is_added(&operator)
        {
            round.change(Kind::MEMBER_ADDED, &operator, None);
        }
    }

    /// Decides on a verified request to join or to leave.
    pub(super) fn decide(&self, round: &mut Round, event: &Event) -> Decision {
        let key = &event.pubkey;
        if round.touched.contains(key) {
            return Decision::Wait;
        }
        let is_member = round.members.has(key);
        if event.kind == Kind::LEAVE_REQUEST && round.members.rules().operator == Some(*key) {
            let text = "the operator is a member as long as relay.pubkey says so";
            return Decision::Answer(Err(Reject::new(Prefix::Restricted, text)));
        }
        match (event.kind, is_member) {
            (Kind::JOIN_REQUEST, true) => {
                Decision::Answer(Ok("duplicate: you are already a member of this relay"))
            }
            (Kind::JOIN_REQUEST, false) => match self.check_claim(round, event) {
                Ok(invite) => {
                    round.change(Kind::MEMBER_ADDED, key, invite);
                    Decision::Publish("info: welcome, you are a member of this relay now")
                }
                Err(text) => Decision::Answer(Err(Reject::new(Prefix::Restricted, text))),
            },
            (_, true) => {
                round.change(Kind::MEMBER_REMOVED, key, None);
                Decision::Publish("info: you are no longer a member of this relay")
            }
            (_, false) => Decision::Answer(Ok("duplicate: you are no member of this relay")),
        }
    }

    /// Returns an invitation for one more member, signed by the relay.
    pub(super) fn invite(&self, round: &Round) -> Event {
        let expires = round.now.saturating_add(self.settings.invite_secs);
        let terms = InviteTerms { expires: u32::try_from(expires).ok(), uses: Some(1) };
        let code = self.invite_key.mint(terms, (self.random)());
        let tags = [protected(), vec!["claim".to_owned(), code]];
        round.keys.sign_event(round.now, Kind::INVITE, &tags, "")
    }

    /// Returns the events of a round, with a list if it is due.
    pub(super) fn finish(&mut self, mut round: Round, now: Instant) -> Vec<Event> {
        self.is_list_owed = !round.members.is_listed();
        if self.is_list_owed && self.list_not_before.is_none_or(|at| at <= now) {
            let bytes = round.list();
            let secs = bytes / LIST_BYTES_PER_SEC;
            self.list_not_before = Some(now + Duration::from_secs(secs as u64));
            self.is_list_owed = false;
        }
        round.events
    }

    /// Returns the invitation that a request to join claims; nothing if its code is one of the
    /// settings.
    fn check_claim(&self, round: &Round, event: &Event) -> Result<Option<InviteId>, &'static str> {
        let view = event.view();
        let claim = view.tags().find(|tag| tag.is_named("claim")).and_then(|tag| tag.value());
        let claim = claim.map(|value| value.to_text()).unwrap_or_default();
        if !claim.is_empty() && self.settings.codes.iter().any(|code| *code == claim) {
            return Ok(None);
        }
        let Some((id, terms)) = self.invite_key.read(&claim) else {
            return Err("that is no invite code of this relay");
        };
        if terms.expires.is_some_and(|expires| u64::from(expires) <= round.now) {
            return Err("that invite code has expired");
        }
        if terms.uses.is_some_and(|uses| round.members.uses(&id) >= u32::from(uses)) {
            return Err("that invite code is used up");
        }
        Ok(Some(id))
    }
}

fn protected() -> Vec<String> {
    vec!["-".to_owned()]
}

/// How much of the store lists may take: a list of a thousand members is made each second at most,
/// and one of a hundred thousand each two minutes. What changed in between is said by itself.
const LIST_BYTES_PER_SEC: usize = 64 << 10;
