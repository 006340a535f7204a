//! Who belongs to the relay (NIP-43): rebuilt from events that the relay itself has signed.
//!
//! A list (kind 13534) says who belongs; additions (kind 8000) and removals (kind 8001) say what
//! changed since. Lists are large and follow the changes, so one that is about as old as a change
//! may have been made by somebody who did not know of it yet, such as another process of this
//! relay: changes of the last minute before a list hold beside it.
//!
//! A change names its member with `p`. What NIP-43 leaves open is said by two more tags, both
//! optional: `role`, one for each role that the member has from then on, and `invite`, the public
//! part of the invitation that was used up.
//!
//! Who asks to vanish (NIP-62) belongs to the relay no more; of that it says nothing but another
//! list.

use std::sync::Arc;

use imbl::OrdMap;

use super::invite::InviteId;
use crate::nostr::{EventRef, Kind, Prefix, PublicKey, Reject};

/// Whether something is for everybody or for members alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circle {
    /// For everybody.
    Everyone,
    /// For members.
    Members,
}

/// The ids of the roles that a member has, in the order of the list.
pub type Roles = Arc<[Box<str>]>;

/// What membership is good for.
#[derive(Clone, Debug)]
pub struct MembershipRules {
    /// The key that the relay signs with: whatever it says about members is true.
    pub own_key: PublicKey,
    /// A member in any case.
    pub operator: Option<PublicKey>,
    /// What may change while the relay serves.
    pub terms: MembershipTerms,
}

/// What members may that others may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipTerms {
    /// Whose events are taken.
    pub writes: Circle,
    /// Who may ask for events.
    pub reads: Circle,
    /// Who gets an invitation by asking for one.
    pub invites: Invites,
    /// Kinds that are taken from everybody, sorted.
    pub open_kinds: Box<[u16]>,
}

/// Who makes invitations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invites {
    /// The relay, for every member that asks for one.
    OnRequest,
    /// The operator alone.
    ByOperator,
}

/// Who belongs to the relay at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Membership {
    rules: Arc<MembershipRules>,
    members: OrdMap<PublicKey, Roles>,
    /// How often each invitation was used.
    used: OrdMap<InviteId, u32>,
    /// The time of the newest list.
    listed_at: u64,
    /// Whether that list says who belongs to the relay.
    is_listed: bool,
    /// The time of the newest list or change.
    changed_at: u64,
    /// The changes that a list may not know of yet.
    recent: Vec<Change>,
}

/// What one event says about one key.
#[derive(Clone, Debug)]
struct Change {
    at: u64,
    key: PublicKey,
    /// Its roles from then on, `Some(None)` if nothing is said of them; nothing if it is removed.
    added: Option<Option<Roles>>,
}

impl Membership {
    /// Returns a relay without members.
    pub fn new(mut rules: MembershipRules) -> Membership {
        rules.terms.open_kinds.sort_unstable();
        Membership {
            rules: Arc::new(rules),
            members: OrdMap::new(),
            used: OrdMap::new(),
            listed_at: 0,
            is_listed: false,
            changed_at: 0,
            recent: Vec::new(),
        }
    }

    /// Returns what membership is good for.
    pub fn rules(&self) -> &MembershipRules {
        &self.rules
    }

    /// Goes by other terms from here on.
    pub fn agree(&mut self, terms: &MembershipTerms) {
        let mut rules =
            MembershipRules { terms: terms.clone(), ..MembershipRules::clone(&self.rules) };
        rules.terms.open_kinds.sort_unstable();
        self.rules = Arc::new(rules);
    }

    /// Returns whether a key belongs to the relay; its own and its operator's do.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.is_added(key) || *key == self.rules.own_key || self.rules.operator == Some(*key)
    }

    /// Returns whether the relay has said of a key that it belongs to it.
    pub fn is_added(&self, key: &PublicKey) -> bool {
        self.members.contains_key(key)
    }

    /// Returns all members with their roles, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&PublicKey, &Roles)> {
        self.members.iter()
    }

    /// Returns how many members there are.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Returns whether a list is stored and says who belongs to the relay.
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Returns the time of the newest list or change; 0 if there was none.
    pub fn changed_at(&self) -> u64 {
        self.changed_at
    }

    /// Returns how often an invitation was used.
    pub fn uses(&self, invite: &InviteId) -> u32 {
        self.used.get(invite).copied().unwrap_or(0)
    }

    /// Judges an event for [`Standing`](super::Standing).
    pub(super) fn judge(&self, event: &EventRef<'_>, sender: &[PublicKey]) -> Result<(), Reject> {
        let is_own = *event.pubkey == self.rules.own_key;
        if OWN_KINDS.contains(&event.kind) && !is_own {
            return Err(Reject::new(Prefix::Restricted, "only the relay itself signs this kind"));
        }
        if self.rules.terms.writes == Circle::Everyone || is_own || self.has(event.pubkey) {
            return Ok(());
        }
        let is_open = matches!(event.kind, Kind::JOIN_REQUEST | Kind::LEAVE_REQUEST)
            || self.rules.terms.open_kinds.binary_search(&event.kind.0).is_ok()
            || self.concerns_member(event, sender);
        if is_open {
            return Ok(());
        }
        Err(Reject::new(Prefix::Restricted, "this relay takes events of its members alone"))
    }

    /// Returns whether a gift wrap is from or for a member: its author is nobody (NIP-59).
    fn concerns_member(&self, event: &EventRef<'_>, sender: &[PublicKey]) -> bool {
        let recipients = || event.values_of(b'p').filter_map(|value| value.as_hex());
        matches!(event.kind, Kind::GIFT_WRAP | Kind::EPHEMERAL_GIFT_WRAP)
            && (sender.iter().any(|key| self.has(key))
                || recipients().any(|key| self.has(PublicKey::from_bytes(key))))
    }

    /// Decides for [`Standing`](super::Standing) whether somebody may ask for events.
    pub(super) fn check_reader(&self, reader: &[PublicKey]) -> Result<(), Reject> {
        if self.rules.terms.reads == Circle::Everyone || reader.iter().any(|key| self.has(key)) {
            return Ok(());
        }
        let text = "this relay shows its events to its members alone";
        let is_stranger = reader.is_empty();
        let prefix = if is_stranger { Prefix::AuthRequired } else { Prefix::Restricted };
        Err(Reject::new(prefix, text))
    }

    /// Decides whether somebody who has proven to be all of `keys` gets an invitation.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_inviter(&self, keys: &[PublicKey]) -> Result<(), Reject> {
        if self.rules.terms.invites == Invites::ByOperator {
            let text = "invitations to this relay come from its operator";
            return Err(Reject::new(Prefix::Restricted, text));
        }
        if keys.iter().any(|key| self.has(key)) {
            return Ok(());
        }
        let prefix = if keys.is_empty() { Prefix::AuthRequired } else { Prefix::Restricted };
        Err(Reject::new(prefix, "invitations are for members of this relay"))
    }

    /// Returns whether events are for members alone.
    pub(super) fn withholds(&self) -> bool {
        self.rules.terms.reads == Circle::Members
    }

    /// Returns whether an event says anything about members.
    pub(super) fn follows_from(&self, event: &EventRef<'_>) -> bool {
        match event.kind {
            Kind::MEMBER_LIST | Kind::MEMBER_ADDED | Kind::MEMBER_REMOVED => {
                *event.pubkey == self.rules.own_key
            }
            Kind::VANISH => self.may_vanish(event.pubkey),
            _ => false,
        }
    }

    /// Returns whether somebody is a member who need not be one.
    fn may_vanish(&self, key: &PublicKey) -> bool {
        self.is_added(key) && self.rules.operator != Some(*key)
    }

    /// Takes up an event; in commit order, or a list and then the changes by their time.
    pub fn note(&mut self, event: &EventRef<'_>) {
        if !self.follows_from(event) {
            return;
        }
        if event.kind == Kind::VANISH {
            // However old the request is: it comes after all that was said until this moment.
            return self.forget(event.pubkey, event.created_at.max(self.changed_at));
        }
        self.changed_at = self.changed_at.max(event.created_at);
        if event.kind == Kind::MEMBER_LIST {
            return self.note_list(event);
        }
        if event.kind == Kind::MEMBER_ADDED
            && let Some(invite) = invite_of(event)
        {
            *self.used.entry(invite).or_insert(0) += 1;
        }
        let at = event.created_at;
        if at.saturating_add(OVERLAP_SECS) < self.listed_at {
            return;
        }
        self.recent.retain(|change| change.at.saturating_add(OVERLAP_SECS) >= at);
        for change in changes_of(event) {
            self.follow(change);
        }
    }

    /// Takes somebody out who has asked to vanish, as a change of the second `at`. What the relay
    /// says next is not dated by that: others choose it.
    pub fn forget(&mut self, key: &PublicKey, at: u64) {
        if self.may_vanish(key) && at.saturating_add(OVERLAP_SECS) >= self.listed_at {
            self.follow(Change { at, key: *key, added: None });
        }
    }

    fn follow(&mut self, change: Change) {
        // By time, and in the order of arrival within a second.
        let place = self.recent.partition_point(|it| it.at <= change.at);
        let is_outdated = self.recent[place..].iter().any(|it| it.key == change.key);
        if !is_outdated {
            self.apply(&change);
        }
        self.recent.insert(place, change);
    }

    fn note_list(&mut self, event: &EventRef<'_>) {
        if event.created_at < self.listed_at {
            return;
        }
        self.listed_at = event.created_at;
        let is_member = |name: &str| name == "member";
        let listed = event.tags().filter(|tag| is_member(&tag.name().to_text()));
        let member = |tag: crate::nostr::Tag<'_>| {
            let key = PublicKey(*tag.value()?.as_hex()?);
            let roles = tag.elements().skip(2).map(|role| Box::<str>::from(&*role.to_text()));
            Some((key, roles.collect::<Roles>()))
        };
        self.members = listed.filter_map(member).collect();
        self.is_listed = true;
        let since = event.created_at.saturating_sub(OVERLAP_SECS);
        self.recent.retain(|change| change.at >= since);
        for change in std::mem::take(&mut self.recent) {
            // Of the roles of whom it names, the list knows more.
            let is_covered = change.at <= self.listed_at && change.added.is_some();
            if !(is_covered && self.members.contains_key(&change.key)) {
                self.apply(&change);
            }
            self.recent.push(change);
        }
    }

    fn apply(&mut self, change: &Change) {
        let before = self.members.get(&change.key);
        let is_changed = match &change.added {
            Some(Some(roles)) if before != Some(roles) => {
                self.members.insert(change.key, Arc::clone(roles));
                true
            }
            Some(None) if before.is_none() => {
                self.members.insert(change.key, Roles::default());
                true
            }
            None => self.members.remove(&change.key).is_some(),
            _ => false,
        };
        self.is_listed &= !is_changed;
    }
}

fn changes_of(event: &EventRef<'_>) -> Vec<Change> {
    let roles: Vec<Box<str>> = event
        .tags()
        .filter(|tag| tag.is_named("role"))
        .filter_map(|tag| Some(tag.value()?.to_text().into_owned().into()))
        .collect();
    // A role without a name takes all others away.
    let named = || roles.iter().filter(|role| !role.is_empty()).cloned().collect::<Roles>();
    let added = (event.kind == Kind::MEMBER_ADDED).then(|| (!roles.is_empty()).then(named));
    let keys = event.values_of(b'p').filter_map(|value| value.as_hex());
    let change = |key: &[u8; 32]| Change {
        at: event.created_at,
        key: PublicKey(*key),
        added: added.clone(),
    };
    keys.map(change).collect()
}

fn invite_of(event: &EventRef<'_>) -> Option<InviteId> {
    let tag = event.tags().find(|tag| tag.is_named("invite"))?;
    InviteId::parse(&tag.value()?.to_text())
}

/// What only the relay itself says (NIP-43): roles, the list, changes, invitations.
const OWN_KINDS: [Kind; 5] =
    [Kind::ROLE, Kind::MEMBER_LIST, Kind::MEMBER_ADDED, Kind::MEMBER_REMOVED, Kind::INVITE];
/// A list may miss changes that are so much older: whoever made it had read them shortly before.
const OVERLAP_SECS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{Event, Keypair};

    #[test]
    fn the_list_holds_and_then_what_changed_since() {
        let mut members = everyone();
        assert_eq!((shown(&members), members.is_listed()), (vec![], false));
        members.note(&list(1_000, &[(1, &[]), (2, &["king", "fool"])]).view());
        assert_eq!(shown(&members), [(1, vec![]), (2, roles(&["king", "fool"]))]);
        assert!(members.is_listed());
        members.note(&change(8_000, 2_000, 3, &[]).view());
        members.note(&change(8_001, 2_001, 1, &[]).view());
        assert_eq!(shown(&members), [(2, roles(&["king", "fool"])), (3, vec![])]);
        assert!(!members.is_listed());
        assert_eq!(members.changed_at(), 2_001);
        members.note(&list(2_001, &[(2, &[]), (3, &[])]).view());
        assert_eq!((shown(&members), members.is_listed()), (vec![(2, vec![]), (3, vec![])], true));
    }

    #[test]
    fn a_list_that_missed_a_change_shortly_before_does_not_undo_it() {
        let mut members = everyone();
        members.note(&list(1_000, &[(1, &[])]).view());
        members.note(&change(8_000, 1_990, 2, &[]).view());
        members.note(&change(8_001, 1_991, 1, &[]).view());
        members.note(&list(2_000, &[(1, &[]), (3, &["king"])]).view());
        assert_eq!(shown(&members), [(2, vec![]), (3, roles(&["king"]))]);
        assert!(!members.is_listed(), "so another list is due");
        // Of what is older, the list knew.
        members.note(&list(3_000, &[(1, &[])]).view());
        assert_eq!((shown(&members), members.is_listed()), (vec![(1, vec![])], true));
        members.note(&change(8_001, 2_900, 1, &[]).view());
        assert_eq!(shown(&members), [(1, vec![])], "it is older than the list");
    }

    #[test]
    fn of_two_changes_the_later_one_holds_whichever_comes_first() {
        let (add, remove) = (change(8_000, 11, 1, &[]), change(8_001, 10, 1, &[]));
        for order in [[&add, &remove], [&remove, &add]] {
            let mut members = everyone();
            order.iter().for_each(|event| members.note(&event.view()));
            assert_eq!(shown(&members), [(1, vec![])]);
        }
    }

    #[test]
    fn reading_back_gives_what_following_gave() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut followed = everyone();
            let (mut newest_list, mut changes, mut at) = (None, Vec::new(), 1_000);
            for _ in 0..random.usize(1..60) {
                at += random.u64(1..40);
                let key = random.u8(1..6);
                if random.u8(..5) == 0 {
                    let listed: Vec<(u8, &[&str])> =
                        shown(&followed).iter().map(|(key, _)| (*key, &[][..])).collect();
                    newest_list = Some(list(at, &listed));
                    followed.note(&newest_list.as_ref().expect("it was just made").view());
                } else {
                    let kind = if random.bool() { 8_000 } else { 8_001 };
                    changes.push(change(kind, at, key, &[]));
                    followed.note(&changes[changes.len() - 1].view());
                }
            }
            let mut read = everyone();
            newest_list.iter().chain(&changes).for_each(|event| read.note(&event.view()));
            assert_eq!(shown(&read), shown(&followed), "seed {seed}");
        }
    }

    #[test]
    fn who_asks_to_vanish_is_no_member_any_more() {
        let mut members = everyone();
        members.note(&list(1_000, &[(1, &[]), (2, &["king"]), (OPERATOR, &[])]).view());
        let vanish = |key: u8, at: u64| keys(key).sign_event(at, Kind::VANISH, &[], "");
        // That it was asked for long ago does not matter: it was not known.
        for (key, at) in [(2, 10), (3, 2_000), (OPERATOR, 2_000)] {
            let event = vanish(key, at);
            assert_eq!(members.follows_from(&event.view()), key == 2, "{key}");
            members.note(&event.view());
        }
        assert_eq!(shown(&members), [(1, vec![]), (OPERATOR, vec![])]);
        assert_eq!((members.is_listed(), members.changed_at()), (false, 1_000));
        members.note(&list(1_030, &[(1, &[]), (2, &[])]).view());
        assert_eq!(shown(&members), [(1, vec![])], "whoever made that list did not know");
        members.note(&change(8_000, 1_040, 2, &[]).view());
        assert_eq!(shown(&members), [(1, vec![]), (2, vec![])], "back again");
    }

    #[test]
    fn roles_change_only_when_they_are_named() {
        let mut members = everyone();
        members.note(&change(8_000, 1, 1, &[&["role", "king"], &["role", "fool"]]).view());
        assert_eq!(shown(&members), [(1, roles(&["king", "fool"]))]);
        members.note(&change(8_000, 2, 1, &[]).view());
        assert_eq!(shown(&members), [(1, roles(&["king", "fool"]))]);
        members.note(&change(8_000, 3, 1, &[&["role", ""]]).view());
        assert_eq!(shown(&members), [(1, vec![])]);
    }

    #[test]
    fn uses_of_an_invitation_are_counted_however_old_they_are() {
        let key = super::super::invite::InviteKey::of(&keys(OWN));
        let terms = super::super::invite::InviteTerms { expires: None, uses: Some(2) };
        let code = key.mint(terms, [5; 16]);
        let (id, _) = key.read(&code).expect("it is our own");
        let name = id.to_string();
        let mut members = everyone();
        members.note(&list(1_000_000, &[]).view());
        for at in [10, 2_000_000] {
            members.note(&change(8_000, at, 1, &[&["invite", &name]]).view());
        }
        assert_eq!(members.uses(&id), 2);
    }

    #[test]
    fn only_what_the_relay_itself_has_signed_counts() {
        let mut members = everyone();
        let forged = keys(1).sign_event(5, Kind::MEMBER_ADDED, &[p(1)], "");
        assert!(!members.follows_from(&forged.view()));
        members.note(&forged.view());
        assert_eq!(members.count(), 0);
        assert!(members.has(&keys(OWN).public_key()) && !members.has(&keys(1).public_key()));
    }

    #[test]
    fn who_may_write() {
        let mut members = with(Circle::Members, Circle::Everyone);
        members.note(&change(8_000, 1, 1, &[]).view());
        // Author, kind, whom it is for, who sends it.
        let rows = [
            (1, 1, None, None, true),
            (2, 1, None, None, false),
            (2, 1, None, Some(1), false),
            (2, 7, None, None, true),
            (OWN, 13_534, None, None, true),
            (1, 13_534, None, Some(1), false),
            (2, 28_934, None, None, true),
            (2, 28_936, None, None, true),
            (2, 1059, Some(1), None, true),
            (2, 1059, Some(3), None, false),
            (2, 1059, Some(3), Some(1), true),
        ];
        for (author, kind, recipient, sender, expected) in rows {
            let tags: Vec<Vec<String>> = recipient.into_iter().map(p).collect();
            let event = keys(author).sign_event(1, Kind(kind), &tags, "");
            let sender: Vec<PublicKey> = sender.iter().map(|it| keys(*it).public_key()).collect();
            let found = members.judge(&event.view(), &sender).map_err(|it| it.prefix);
            let expected = if expected { Ok(()) } else { Err(Prefix::Restricted) };
            assert_eq!(found, expected, "{author} {kind} {tags:?}");
        }
        let stranger = keys(2).sign_event(1, Kind(1), &[], "");
        assert_eq!(everyone().judge(&stranger.view(), &[]), Ok(()));
    }

    #[test]
    fn who_may_read_and_invite() {
        let mut members = with(Circle::Everyone, Circle::Members);
        members.note(&change(8_000, 1, 1, &[]).view());
        for (reader, expected) in [
            (&[][..], Err(Prefix::AuthRequired)),
            (&[2], Err(Prefix::Restricted)),
            (&[1], Ok(())),
            (&[2, 1], Ok(())),
            (&[OPERATOR], Ok(())),
            (&[OWN], Ok(())),
        ] {
            let reader: Vec<PublicKey> = reader.iter().map(|it| keys(*it).public_key()).collect();
            assert_eq!(members.check_reader(&reader).map_err(|it| it.prefix), expected);
            assert_eq!(members.check_inviter(&reader).map_err(|it| it.prefix), expected);
            assert_eq!(everyone().check_reader(&reader), Ok(()));
        }
    }

    const OWN: u8 = 99;
    const OPERATOR: u8 = 98;

    fn everyone() -> Membership {
        with(Circle::Everyone, Circle::Everyone)
    }

    fn with(writes: Circle, reads: Circle) -> Membership {
        Membership::new(MembershipRules {
            own_key: keys(OWN).public_key(),
            operator: Some(keys(OPERATOR).public_key()),
            terms: MembershipTerms {
                writes,
                reads,
                invites: Invites::OnRequest,
                open_kinds: [9, 7].into(),
            },
        })
    }

    fn shown(members: &Membership) -> Vec<(u8, Vec<Box<str>>)> {
        let number = |key: &PublicKey| (1..99).find(|it| keys(*it).public_key() == *key);
        let mut all: Vec<_> = members
            .iter()
            .map(|(key, roles)| (number(key).expect("it is one of these"), roles.to_vec()))
            .collect();
        all.sort();
        all
    }

    fn roles(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    fn list(at: u64, members: &[(u8, &[&str])]) -> Event {
        let tag = |(key, roles): &(u8, &[&str])| {
            let mut tag = vec!["member".to_owned(), keys(*key).public_key().to_string()];
            tag.extend(roles.iter().map(|role| (*role).to_owned()));
            tag
        };
        let tags: Vec<Vec<String>> = members.iter().map(tag).collect();
        keys(OWN).sign_event(at, Kind::MEMBER_LIST, &tags, "")
    }

    fn change(kind: u16, at: u64, key: u8, more: &[&[&str]]) -> Event {
        let more = more.iter().map(|tag| tag.iter().map(|it| (*it).to_owned()).collect());
        let tags: Vec<Vec<String>> = std::iter::once(p(key)).chain(more).collect();
        keys(OWN).sign_event(at, Kind(kind), &tags, "")
    }

    fn p(key: u8) -> Vec<String> {
        vec!["p".to_owned(), keys(key).public_key().to_string()]
    }

    fn keys(number: u8) -> Keypair {
        Keypair::from_secret([number; 32]).expect("the secret is in range")
    }
}
