//! What the herald does about members (NIP-43): who joins and leaves, the list, invitations.
//!
//! Decisions are made on a copy of what stands and are events before they are anything else; when
//! they are stored, what stands follows from them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Relay;
use crate::nostr::{Event, Keypair, Kind, Prefix, PublicKey, Reject};
use crate::policy::{InviteId, InviteKey, InviteTerms, Membership};

/// Who is let in, and by what.
pub(super) struct Reception {
    relay: Arc<Relay>,
    invite_key: InviteKey,
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

/// What administrators change about members and roles (NIP-86).
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Somebody becomes a member, or has exactly these roles from then on.
    Add(PublicKey, Option<Vec<String>>),
    /// Somebody is no member any more.
    Remove(PublicKey),
    /// A role is made, or described anew.
    Role(Role),
    /// There is no such role any more.
    DeleteRole(String),
}

/// A role, as the relay describes one (NIP-43).
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) description: String,
    /// A hue, from 0 to 360.
    pub(super) color: Option<u64>,
    /// Where it stands in lists.
    pub(super) order: Option<u64>,
}

impl Round {
    /// Begins without decisions; what is decided is dated by `turn`.
    pub(super) fn new(members: Membership, keys: Arc<Keypair>, turn: u64, now: u64) -> Round {
        Round { members, keys, turn, now, events: Vec::new(), touched: BTreeSet::new() }
    }

    fn change(&mut self, kind: Kind, key: &PublicKey, invite: Option<InviteId>) {
        let invite = invite.map(|id| vec!["invite".to_owned(), id.to_string()]);
        self.change_with(kind, key, invite);
    }

    fn change_with(
        &mut self,
        kind: Kind,
        key: &PublicKey,
        more: impl IntoIterator<Item = Vec<String>>,
    ) {
        let mut tags = vec![protected(), vec!["p".to_owned(), key.to_string()]];
        tags.extend(more);
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
    pub(super) fn new(relay: &Arc<Relay>, keys: &Keypair) -> Reception {
        Reception {
            relay: Arc::clone(relay),
            invite_key: InviteKey::of(keys),
            list_not_before: None,
            is_list_owed: false,
        }
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

    /// Decides on a change of an administrator; nothing if it has to wait for the next round.
    pub(super) fn change(&self, round: &mut Round, change: &Change) -> Option<Result<(), Reject>> {
        let refuse = |text| Some(Err(Reject::new(Prefix::Restricted, text)));
        match change {
            Change::Add(key, _) | Change::Remove(key) if round.touched.contains(key) => None,
            Change::Add(key, roles) => {
                let none = || vec![vec!["role".to_owned(), String::new()]];
                let tags = roles.as_ref().map(|roles| match roles.is_empty() {
                    true => none(),
                    false => roles.iter().map(|id| vec!["role".to_owned(), id.clone()]).collect(),
                });
                round.change_with(Kind::MEMBER_ADDED, key, tags.unwrap_or_default());
                Some(Ok(()))
            }
            Change::Remove(key) if round.members.rules().operator == Some(*key) => {
                refuse("the operator is a member as long as relay.pubkey says so")
            }
            Change::Remove(key) => {
                round.change(Kind::MEMBER_REMOVED, key, None);
                Some(Ok(()))
            }
            Change::Role(role) => {
                round.events.push(role.event(&round.keys, round.turn));
                Some(Ok(()))
            }
            Change::DeleteRole(id) => {
                let (kind, own_key) = (Kind::ROLE, round.keys.public_key());
                let address = format!("{kind}:{own_key}:{id}");
                let tags = [vec!["a".to_owned(), address], vec!["k".to_owned(), kind.to_string()]];
                round.events.push(round.keys.sign_event(round.turn, Kind::DELETION, &tags, ""));
                Some(Ok(()))
            }
        }
    }

    /// Returns an invitation for one more member, signed by the relay.
    pub(super) fn invite(&self, round: &Round) -> Event {
        let expires = round.now.saturating_add(self.relay.in_force.load().membership.invite_secs);
        let terms = InviteTerms { expires: u32::try_from(expires).ok(), uses: Some(1) };
        let code = self.invite_key.mint(terms, (self.relay.random)());
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
        if !claim.is_empty()
            && self.relay.in_force.load().membership.codes.iter().any(|code| *code == claim)
        {
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

impl Role {
    fn event(&self, keys: &Keypair, at: u64) -> Event {
        let tag = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
        let mut tags = vec![protected(), tag("d", &self.id)];
        for (name, text) in [("label", &self.label), ("description", &self.description)] {
            tags.extend((!text.is_empty()).then(|| tag(name, text)));
        }
        for (name, number) in [("color", self.color), ("order", self.order)] {
            tags.extend(number.map(|number| tag(name, &number.to_string())));
        }
        keys.sign_event(at, Kind::ROLE, &tags, "")
    }
}

fn protected() -> Vec<String> {
    vec!["-".to_owned()]
}

/// How much of the store lists may take: a list of a thousand members is made each second at most,
/// and one of a hundred thousand each two minutes. What changed in between is said by itself.
const LIST_BYTES_PER_SEC: usize = 64 << 10;
