//! Tests of groups as a state machine: sentences of NIP-29, and random histories against a model
//! that knows nothing of how it is done.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::nostr::{Event, EventId, EventRef, Filter, Keypair, Kind, PublicKey, Reject};

const NOW: u64 = 1_700_000_000;
const RELAY: u8 = 100;
const OPERATOR: u8 = 90;

fn keys(number: u8) -> Keypair {
    Keypair::from_secret([number; 32]).expect("the secret is in range")
}

fn key(number: u8) -> PublicKey {
    keys(number).public_key()
}

fn rules() -> Rules {
    Rules {
        own_key: key(RELAY),
        scope: Scope::Mixed,
        creation: Creation::Anyone,
        operators: [key(OPERATOR)].into(),
        groupless_kinds: [0, 10_009].into(),
        groups_max: 5,
        members_max: 4,
        invites_max: 3,
        pins_max: 2,
        event_past_secs_max: Some(3_600),
        managing_past_secs_max: Some(60),
        references_min: 0,
    }
}

/// A relay as far as groups are concerned: their state and what was stored.
struct World {
    groups: Groups,
    log: Vec<Event>,
    changes: Changes,
    now: u64,
}

impl Facts for World {
    fn is_in_use(&self, group: &GroupId, author: &PublicKey) -> bool {
        self.of(group).any(|event| event.pubkey != author)
    }

    fn is_taken_out(&self, group: &GroupId, event: &EventId) -> bool {
        let names = |it: &EventRef<'_>| it.values_of(b'e').any(|id| id.as_hex() == Some(&event.0));
        self.of(group).any(|it| it.kind.0 == DELETE_EVENT && names(&it))
    }

    fn has_event(&self, group: &GroupId, prefix: &[u8]) -> bool {
        self.of(group).any(|event| event.id.0.starts_with(prefix))
    }

    fn has_events(&self, group: &GroupId, author: &PublicKey, count: usize) -> bool {
        self.of(group).filter(|event| event.pubkey != author).count() >= count
    }

    fn is_member_of_relay(&self, who: &PublicKey) -> bool {
        *who == key(1)
    }

    fn author_of(&self, group: &GroupId, event: &EventId) -> Option<(PublicKey, Kind)> {
        self.of(group).find(|it| it.id == event).map(|it| (*it.pubkey, it.kind))
    }
}

impl World {
    fn new(rules: Rules) -> World {
        let (groups, changes) = (Groups::new(rules), Changes::default());
        World { groups, log: Vec::new(), changes, now: NOW }
    }

    fn of<'a>(&'a self, group: &GroupId) -> impl Iterator<Item = EventRef<'a>> {
        let value = group.value();
        let events = self.log.iter().map(Event::view);
        events.filter(move |it| it.values_of(b'h').any(|found| found == value.as_value()))
    }

    fn event(&self, author: u8, kind: u16, tags: &[&[&str]]) -> Event {
        let tags: Vec<Vec<String>> =
            tags.iter().map(|tag| tag.iter().map(|it| (*it).to_owned()).collect()).collect();
        keys(author).sign_event(self.now, Kind(kind), &tags, "")
    }

    fn take(&mut self, event: &Event) -> Result<Taking, Reject> {
        let taking = self.groups.judge(&event.view(), self.now, self)?;
        if let Taking::Acting(id, action) | Taking::Secretly(id, action) = taking.clone() {
            self.groups.apply(&id, action, &event.view(), &mut self.changes);
        }
        if !matches!(taking, Taking::Secretly(..)) {
            self.log.push(event.clone());
        }
        for draft in self.changes.drafts.drain(..) {
            let signed = keys(RELAY).sign_event(self.now, draft.kind, &draft.tags, draft.content);
            self.log.push(signed);
        }
        Ok(taking)
    }

    fn send(&mut self, author: u8, kind: u16, tags: &[&[&str]]) -> Result<Taking, Reject> {
        self.take(&self.event(author, kind, tags))
    }

    /// Sends to group `g`; returns the word that begins the refusal, or nothing.
    fn word(&mut self, author: u8, kind: u16, tags: &[&[&str]]) -> &'static str {
        let mut all: Vec<&[&str]> = vec![&["h", "g"]];
        all.extend(tags);
        self.send(author, kind, &all).err().map_or("", |reject| reject.prefix.word())
    }

    fn group(&self, name: &str) -> &Group {
        self.groups.get(&id(name)).expect("the group is there")
    }
}

fn id(name: &str) -> GroupId {
    GroupId::of(crate::nostr::Value::Text(name.as_bytes()))
}

fn created() -> World {
    let mut world = World::new(rules());
    assert_eq!(world.word(1, 9_007, &[]), "");
    world
}

fn named(number: u8) -> String {
    key(number).to_string()
}

#[test]
fn nip_29_9_only_roles_that_permit_it_moderate() {
    let mut world = created();
    let (two, three) = (named(2), named(3));
    assert_eq!(world.word(2, 9_000, &[&["p", &three]]), "restricted");
    assert_eq!(world.word(1, 9_000, &[&["p", &two, "moderator"]]), "");
    assert_eq!(world.word(2, 9_000, &[&["p", &three]]), "");
    assert_eq!(world.word(2, 9_000, &[&["p", &three, "moderator"]]), "restricted");
    assert_eq!(world.word(2, 9_001, &[&["p", &named(1)]]), "restricted");
    assert_eq!(world.word(2, 9_002, &[&["name", "mine"]]), "restricted");
    assert_eq!(world.word(2, 9_008, &[]), "restricted");
    assert_eq!(world.word(3, 9_009, &[&["code", "x"]]), "restricted");
    assert_eq!(world.word(1, 9_000, &[&["p", &two, "king of nothing"]]), "");
    assert_eq!(world.word(2, 9_009, &[&["code", "x"]]), "restricted");
    assert_eq!(world.word(2, 9_001, &[&["p", &three]]), "restricted");
    assert_eq!(world.word(OPERATOR, 9_002, &[&["name", "ours"]]), "");
    assert_eq!(world.word(RELAY, 9_002, &[&["name", "mine"]]), "");
}

#[test]
fn a_group_keeps_an_admin_unless_they_leave() {
    let mut world = created();
    assert_eq!(world.word(1, 9_001, &[&["p", &named(1)]]), "restricted");
    assert_eq!(world.word(1, 9_000, &[&["p", &named(1)]]), "restricted");
    assert_eq!(world.word(1, 9_000, &[&["p", &named(2), "admin"]]), "");
    assert_eq!(world.word(2, 9_001, &[&["p", &named(1)]]), "");
    assert_eq!(world.word(2, 9_022, &[]), "");
    assert_eq!(world.group("g").members.len(), 0);
}

#[test]
fn nip_29_13_to_18_people_join_and_leave() {
    let mut world = created();
    assert_eq!(world.word(2, 9_021, &[]), "");
    assert_eq!(world.word(2, 9_021, &[]), "duplicate");
    assert_eq!(world.word(2, 9_022, &[]), "");
    assert_eq!(world.word(2, 9_022, &[]), "duplicate");
    assert_eq!(world.word(2, 9_021, &[]), "", "who left by themselves may come back");
    assert_eq!(world.word(1, 9_001, &[&["p", &named(2)]]), "");
    assert_eq!(world.word(2, 9_021, &[]), "blocked");
    assert_eq!(world.word(2, 9, &[]), "blocked", "who was removed does not write");
    assert_eq!(world.word(1, 9_002, &[&["closed"]]), "");
    assert_eq!(world.word(3, 9_021, &[]), "restricted");
    assert_eq!(world.word(1, 9_009, &[&["code", "sesame"]]), "");
    assert_eq!(world.word(3, 9_021, &[&["code", "open"]]), "restricted");
    let joined = world.send(3, 9_021, &[&["h", "g"], &["code", "sesame"]]);
    assert!(matches!(joined, Ok(Taking::Secretly(..))), "codes are not kept: {joined:?}");
    assert_eq!(world.word(2, 9_021, &[&["code", "sesame"]]), "blocked");
    assert_eq!(world.word(1, 9_000, &[&["p", &named(2)]]), "");
    assert!(world.group("g").has(&key(2)) && world.group("g").has(&key(3)));
    assert_eq!(world.word(4, 9_021, &[&["code", "sesame"]]), "");
    assert_eq!(world.word(5, 9_021, &[&["code", "sesame"]]), "rate-limited", "it is full");
}

#[test]
fn codes_end_with_their_expiration_their_deletion_and_the_power_of_who_made_them() {
    let mut world = created();
    assert_eq!(world.word(1, 9_002, &[&["closed"]]), "");
    assert_eq!(world.word(1, 9_000, &[&["p", &named(2), "moderator"]]), "");
    let until = (NOW + 10).to_string();
    assert_eq!(world.word(2, 9_009, &[&["code", "short"], &["expiration", &until]]), "");
    assert_eq!(world.word(2, 9_009, &[&["code", "long"]]), "");
    world.now += 10;
    assert_eq!(world.word(3, 9_021, &[&["code", "short"]]), "restricted");
    assert_eq!(world.word(1, 9_000, &[&["p", &named(2)]]), "");
    assert_eq!(world.word(3, 9_021, &[&["code", "long"]]), "restricted");
    assert_eq!(world.word(1, 9_000, &[&["p", &named(2), "admin"]]), "");
    let event = world.group("g").invites[1].event;
    world.groups.revoke(&key(1), |it| *it == event);
    assert_eq!(world.group("g").invites.len(), 2, "it is not theirs");
    world.groups.revoke(&key(2), |it| *it == event);
    assert_eq!(world.word(3, 9_021, &[&["code", "long"]]), "restricted");
}

#[test]
fn nip_29_5_to_8_what_a_group_takes() {
    let mut world = created();
    assert_eq!(world.word(2, 9, &[]), "", "anyone writes to a group that is not restricted");
    assert_eq!(world.word(1, 9_002, &[&["restricted"], &["supported_kinds", "9"]]), "");
    assert_eq!(world.word(2, 9, &[]), "restricted");
    assert_eq!(world.word(1, 9, &[]), "");
    assert_eq!(world.word(1, 1, &[]), "invalid");
    assert_eq!(world.word(1, 9_002, &[&["supported_kinds"]]), "");
    assert_eq!(world.word(1, 9, &[]), "invalid");
    assert_eq!(world.word(2, 9_021, &[]), "");
    assert_eq!(world.word(1, 9_002, &[&["supported_kinds", "x"]]), "invalid");
    assert_eq!(world.word(1, 9_002, &[]), "");
    let old = keys(1).sign_event(NOW - 3_601, Kind(9), &[vec!["h".into(), "g".into()]], "");
    assert_eq!(world.take(&old).map_err(|it| it.prefix.word()), Err("invalid"));
    let seen = world.event(2, 9, &[&["h", "g"], &["t", "seen"]]);
    assert!(world.take(&seen).is_ok());
    let text = seen.id.to_string();
    for (reference, expected) in
        [(&text[..8], ""), (&text[..], ""), (&text[..9], ""), (&text[..7], "invalid")]
    {
        assert_eq!(world.word(1, 9, &[&["previous", reference]]), expected, "{reference}");
    }
    for wrong in ["00000000", "zzzzzzzz", ""] {
        assert_eq!(world.word(1, 9, &[&["previous", &text[..8], wrong]]), "invalid", "{wrong}");
    }
    assert_eq!(world.word(1, 9_002, &[&["previous", "00000000"]]), "invalid");
}

#[test]
fn references_are_asked_for_where_there_is_something_to_refer_to() {
    let mut world = World::new(Rules { references_min: 3, ..rules() });
    assert_eq!(world.word(1, 9_007, &[]), "");
    // Others have written but one event: the relay, who made the author an admin.
    let event = world.event(1, 9, &[&["h", "g"]]);
    assert!(world.take(&event).is_ok());
    assert_eq!(world.word(2, 9, &[]), "invalid");
    let text = &event.id.to_string()[..8];
    assert_eq!(world.word(2, 9, &[&["previous", text, text]]), "invalid");
    assert_eq!(world.word(2, 9, &[&["previous", text, text, text]]), "");
}

#[test]
fn nip_29_4_mixed_relays_leave_foreign_groups_alone_and_exclusive_ones_do_not() {
    let mut world = created();
    let none: &[&[&str]] = &[];
    let rows: [(u16, &[&[&str]], &str, &str); 9] = [
        (1, none, "", "invalid"),
        (445, &[&["h", "elsewhere"]], "", "invalid"),
        (9, &[&["h", "g"]], "", ""),
        (0, none, "", ""),
        (10_009, none, "", ""),
        (5, none, "", ""),
        (9_000, &[&["h", "elsewhere"]], "invalid", "invalid"),
        (9_021, none, "invalid", "invalid"),
        (39_000, &[&["d", "elsewhere"]], "restricted", "restricted"),
    ];
    let exclusive = Rules { scope: Scope::Exclusive, ..rules() };
    let mut other = World::new(exclusive);
    assert_eq!(other.word(1, 9_007, &[]), "");
    for (kind, tags, mixed, exclusive) in rows {
        for (world, expected) in [(&mut world, mixed), (&mut other, exclusive)] {
            let found = world.send(2, kind, tags);
            let word = found.err().map_or("", |reject| reject.prefix.word());
            assert_eq!(word, expected, "kind {kind} {tags:?}");
        }
    }
}

#[test]
fn groups_are_not_made_over_what_others_have_written() {
    let mut world = World::new(rules());
    assert_eq!(world.word(2, 9, &[]), "");
    assert_eq!(world.word(1, 9_007, &[]), "restricted");
    assert_eq!(world.word(OPERATOR, 9_007, &[]), "");
    assert_eq!(world.word(1, 9_007, &[]), "duplicate");
    let mut world = World::new(Rules { creation: Creation::Members, ..rules() });
    assert_eq!(world.word(2, 9_007, &[]), "restricted");
    assert_eq!(world.word(1, 9_007, &[]), "");
    let mut world = World::new(Rules { creation: Creation::Operators, ..rules() });
    assert_eq!(world.word(1, 9_007, &[]), "restricted");
    assert_eq!(world.word(OPERATOR, 9_007, &[]), "");
    for number in 1..5 {
        assert!(world.send(OPERATOR, 9_007, &[&["h", &format!("more {number}")]]).is_ok());
    }
    let found = world.send(OPERATOR, 9_007, &[&["h", "one too many"]]);
    assert_eq!(found.map_err(|it| it.prefix.word()), Err("rate-limited"));
}

#[test]
fn nip_29_10_and_11_events_are_taken_out_for_good() {
    let mut world = created();
    let event = world.event(2, 9, &[&["h", "g"]]);
    let other = world.event(2, 9, &[&["h", "h"]]);
    assert!(world.take(&event).is_ok() && world.take(&other).is_ok());
    let (here, there) = (event.id.to_string(), other.id.to_string());
    assert_eq!(world.word(2, 9_005, &[&["e", &here]]), "restricted");
    assert_eq!(world.word(1, 9_005, &[&["e", &there]]), "invalid", "it is in another group");
    assert_eq!(world.word(1, 9_005, &[&["e", "x"]]), "invalid");
    assert_eq!(world.word(1, 9_005, &[&["e", &here]]), "");
    assert_eq!(world.changes.taken_out, [(id("g"), event.id)]);
    assert_eq!(world.take(&event).map_err(|it| it.prefix.word()), Err("blocked"));
}

#[test]
fn nip_29_20_and_21_private_and_hidden_groups_are_for_members() {
    let mut world = created();
    let message = world.event(1, 9, &[&["h", "g"]]);
    let state = |kind| keys(RELAY).sign_event(NOW, Kind(kind), &[vec!["d".into(), "g".into()]], "");
    let [about, people, roles] = [39_000, 39_002, 39_003].map(state);
    let rows: [(&[&str], [bool; 4]); 4] = [
        (&[], [true, true, true, true]),
        (&["private"], [false, true, false, true]),
        (&["hidden"], [true, false, false, false]),
        (&["private", "hidden"], [false, false, false, false]),
    ];
    for (flags, expected) in rows {
        let tags: Vec<&[&str]> = flags.iter().map(std::slice::from_ref).collect();
        assert_eq!(world.word(1, 9_002, &tags), "");
        let sees = |keys: &[PublicKey]| {
            [&message, &about, &people, &roles]
                .map(|event| world.groups.may_read(&event.view(), keys))
        };
        assert_eq!(sees(&[key(2)]), expected, "{flags:?}");
        assert_eq!(sees(&[]), expected, "{flags:?}");
        assert_eq!(sees(&[key(2), key(1)]), [true; 4], "{flags:?}");
        assert_eq!(world.groups.keeps_from(&[key(2)]), !flags.is_empty());
        assert!(!world.groups.keeps_from(&[key(1)]));
    }
    let filter = |text: &str| Filter::parse(text.as_bytes()).expect("it is a filter");
    let reach = |text: &str, who: u8| world.groups.is_out_of_reach(&filter(text), &[key(who)]);
    assert!(reach(r##"{"#h":["g"]}"##, 2) && !reach(r##"{"#h":["g"]}"##, 1));
    assert!(!reach(r##"{"#h":["g","h"]}"##, 2) && !reach("{}", 2));
    assert_eq!(world.word(1, 9_008, &[]), "");
    assert!(!world.groups.may_read(&message.view(), &[key(1)]), "it is over");
    assert!(!world.groups.may_read(&about.view(), &[key(1)]), "it is over");
    let end = world.event(1, 9_008, &[&["h", "g"]]);
    assert!(world.groups.may_read(&end.view(), &[key(1)]));
    assert!(!world.groups.may_read(&end.view(), &[key(2)]));
    assert_eq!(world.word(1, 9, &[]), "blocked");
    assert_eq!(world.word(1, 9_007, &[]), "blocked");
}

#[test]
fn nip_29_25_to_31_groups_below_groups() {
    let mut world = World::new(rules());
    for (author, name) in [(1, "a"), (1, "b"), (1, "c"), (2, "foreign")] {
        assert!(world.send(author, 9_007, &[&["h", name]]).is_ok());
    }
    let mut edit = |group: &str, tags: &[&[&str]]| {
        let mut all: Vec<&[&str]> = vec![];
        let own = ["h", group];
        all.push(&own);
        all.extend(tags);
        world.send(1, 9_002, &all).err().map_or("", |it| it.prefix.word())
    };
    assert_eq!(edit("b", &[&["parent", "nowhere"]]), "invalid");
    assert_eq!(edit("b", &[&["parent", "b"]]), "invalid");
    assert_eq!(edit("b", &[&["parent", "foreign"]]), "restricted");
    assert_eq!(edit("b", &[&["parent", "a"], &["parent", "c"]]), "invalid");
    assert_eq!(edit("b", &[&["parent", "a"]]), "");
    assert_eq!(edit("c", &[&["parent", "b"]]), "");
    assert_eq!(edit("a", &[&["parent", "c"], &["child", "b"]]), "invalid", "a circle");
    assert_eq!(edit("c", &[&["parent", "a"]]), "");
    assert_eq!(edit("a", &[&["child", "b"]]), "invalid", "a child is left out");
    assert_eq!(edit("a", &[&["child", "b"], &["child", "b"]]), "invalid");
    assert_eq!(edit("a", &[&["child", "b"], &["child", "c"], &["child", "x"]]), "invalid");
    assert_eq!(edit("a", &[&["child", "c"], &["child", "b"]]), "");
    assert_eq!(world.group("a").children, [id("c"), id("b")]);
    assert_eq!(world.group("c").parent, Some(id("a")));
    assert!(!world.group("b").has(&key(3)), "members are not inherited");
    assert!(world.send(1, 9_008, &[&["h", "a"]]).is_ok());
    assert_eq!(world.group("b").parent, None);
    assert!(world.changes.parts.contains_key(&id("c")));
    assert!(!world.changes.parts.contains_key(&id("a")));
}

#[test]
fn tags_that_are_missing_or_malformed_are_refused() {
    let mut world = created();
    let rows: [(u16, &[&[&str]]); 12] = [
        (9_000, &[]),
        (9_000, &[&["p"]]),
        (9_000, &[&["p", "abc"]]),
        (9_001, &[]),
        (9_005, &[]),
        (9_009, &[]),
        (9_009, &[&["code", ""]]),
        (9_010, &[&["e", "x"]]),
        (9_010, &[&["a"]]),
        (9_003, &[]),
        (9_020, &[]),
        (9_021, &[&["h", "two"]]),
    ];
    for (kind, tags) in rows {
        assert_eq!(world.word(1, kind, tags), "invalid", "{kind} {tags:?}");
    }
    let long = "x".repeat(257);
    assert!(world.send(1, 9_007, &[&["h", &long]]).is_err());
    assert!(world.send(1, 9_007, &[&["h", ""]]).is_err());
    assert_eq!(world.word(1, 9_010, &[&["a", "1"], &["a", "2"], &["a", "3"]]), "rate-limited");
    world.now += 61;
    let late = keys(1).sign_event(NOW, Kind(9_010), &[vec!["h".into(), "g".into()]], "");
    assert_eq!(world.take(&late).map_err(|it| it.prefix.word()), Err("invalid"));
}

/// A group as anybody would write it down.
#[derive(Clone, Default, Debug)]
struct Plain {
    roles: BTreeMap<u8, BTreeSet<&'static str>>,
    removed: BTreeSet<u8>,
    flags: BTreeSet<&'static str>,
    is_over: bool,
}

impl Plain {
    fn is_admin(&self, who: u8) -> bool {
        self.roles.get(&who).is_some_and(|roles| roles.contains("admin"))
    }

    fn may_moderate(&self, who: u8) -> bool {
        self.is_admin(who) || self.roles.get(&who).is_some_and(|it| it.contains("moderator"))
    }

    fn has_role(&self, who: u8) -> bool {
        self.roles.get(&who).is_some_and(|roles| !roles.is_empty())
    }

    fn keeps_admin(&self, after: &Plain) -> bool {
        let count = |plain: &Plain| plain.roles.keys().filter(|who| plain.is_admin(**who)).count();
        count(self) == 0 || count(after) > 0
    }
}

/// Says what becomes of the plain group, or nothing if the event is refused.
fn plainly(
    before: Option<&Plain>,
    author: u8,
    kind: u16,
    target: u8,
    word: &'static str,
) -> Option<Plain> {
    if kind == 9_007 {
        let roles = BTreeMap::from([(author, BTreeSet::from(["admin"]))]);
        return before.is_none().then(|| Plain { roles, ..Plain::default() });
    }
    let before = before.filter(|group| !group.is_over);
    if kind == 9 {
        let group = before?;
        let is_kept_out = group.flags.contains("restricted") && !group.roles.contains_key(&author);
        return (!group.removed.contains(&author) && !is_kept_out).then(|| group.clone());
    }
    let before = before?;
    let mut after = before.clone();
    let (is_admin, may_moderate) = (before.is_admin(author), before.may_moderate(author));
    let is_allowed = match kind {
        9_000 => {
            let roles = if word.is_empty() { BTreeSet::new() } else { BTreeSet::from([word]) };
            after.roles.insert(target, roles);
            after.removed.remove(&target);
            let is_small = word.is_empty() && !before.has_role(target);
            (is_admin || may_moderate && is_small) && after.roles.len() <= 4.max(before.roles.len())
        }
        9_001 => {
            after.roles.remove(&target);
            after.removed.insert(target);
            is_admin || may_moderate && !before.has_role(target)
        }
        9_002 => {
            after.flags = if word.is_empty() { BTreeSet::new() } else { BTreeSet::from([word]) };
            is_admin
        }
        9_008 => {
            after.is_over = true;
            is_admin
        }
        9_021 => {
            after.roles.insert(author, BTreeSet::new());
            let is_new = !before.roles.contains_key(&author) && !before.removed.contains(&author);
            return (is_new && !before.flags.contains("closed") && before.roles.len() < 4)
                .then_some(after);
        }
        _ => {
            return after.roles.remove(&author).map(|_| after);
        }
    };
    (is_allowed && before.keeps_admin(&after)).then_some(after)
}

#[test]
fn random_histories_come_out_as_the_plain_model_and_as_their_record_and_state_say() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let message = |name: &str| keys(1).sign_event(1, Kind(9), &[vec!["h".into(), name.into()]], "");
    let messages = BTreeMap::from(["a", "b"].map(|name| (name, message(name))));
    for _ in 0..10 {
        let mut world = World::new(Rules { event_past_secs_max: None, ..rules() });
        let mut model: BTreeMap<&str, Plain> = BTreeMap::new();
        for _ in 0..120 {
            // Each event is another one, whatever it says.
            world.now += 1;
            let name = random.choice(["a", "b"]).expect("there are two");
            let kinds =
                [9_000, 9_000, 9_001, 9_001, 9_002, 9_007, 9_007, 9_021, 9_021, 9_022, 9, 9_008];
            let kind = if random.u8(..20) == 0 { 9_008 } else { kinds[random.usize(..11)] };
            let (author, target) = (random.u8(1..7), random.u8(1..7));
            let words = match kind {
                9_000 => ["", "", "moderator", "admin", "guest"],
                _ => ["", "private", "hidden", "closed", "restricted"],
            };
            let word = random.choice(words).expect("there are some");
            let target_name = named(target);
            let mut tags: Vec<&[&str]> = vec![];
            let (own, person, flag) = (["h", name], ["p", &target_name, word], [word]);
            tags.push(&own);
            match kind {
                9_000 | 9_001 => tags.push(&person[..if kind == 9_000 { 3 } else { 2 }]),
                9_002 if !word.is_empty() => tags.push(&flag),
                _ => {}
            }
            let is_unmanaged_chat = kind == 9 && !model.contains_key(name);
            if is_unmanaged_chat {
                continue;
            }
            let expected = plainly(model.get(name), author, kind, target, word);
            let found = world.send(author, kind, &tags);
            assert_eq!(found.is_ok(), expected.is_some(), "{author} {kind} {tags:?}: {found:?}");
            model.extend(expected.map(|plain| (name, plain)));
            check(&world, &model, &messages);
        }
        check_rebuilt(&world);
    }
}

fn check(world: &World, model: &BTreeMap<&str, Plain>, messages: &BTreeMap<&str, Event>) {
    for (name, plain) in model {
        let group = world.group(name);
        assert_eq!(group.is_over, plain.is_over);
        if plain.is_over {
            continue;
        }
        let found: BTreeMap<PublicKey, BTreeSet<String>> =
            group.members.iter().map(|(key, it)| (*key, it.iter().cloned().collect())).collect();
        let own = |set: &BTreeSet<&str>| set.iter().map(|it| (*it).to_owned()).collect();
        let expected: BTreeMap<PublicKey, BTreeSet<String>> =
            plain.roles.iter().map(|(who, roles)| (key(*who), own(roles))).collect();
        assert_eq!(found, expected);
        for who in 1..7 {
            let sees = !plain.flags.contains("private") || plain.roles.contains_key(&who);
            assert_eq!(world.groups.may_read(&messages[name].view(), &[key(who)]), sees);
        }
    }
}

/// The same groups come out of the relay's own events, and out of the record.
fn check_rebuilt(world: &World) {
    let mut recalled = Groups::new(world.groups.rules().clone());
    for (id, group) in world.groups.iter().filter(|(_, group)| !group.is_over) {
        let mut again = Group::default();
        for draft in group.drafts(id, Parts::ALL.and(Parts::PINS)) {
            let event = keys(RELAY).sign_event(1, draft.kind, &draft.tags, draft.content);
            again.recall(&event.view());
        }
        recalled.put(id, again);
    }
    let mut replayed = Groups::new(world.groups.rules().clone());
    for event in world.log.iter().filter(|event| MANAGING_KINDS.contains(&event.kind.0)) {
        let (id, action) = Action::read(&event.view()).expect("it was taken");
        recalled.recollect(&id, &action, &event.view());
        replayed.replay(&id, action, &event.view());
    }
    for (id, group) in world.groups.iter() {
        let expected = Group { stamp: 0, ..Group::clone(group) };
        let found = replayed.get(id).map(|found| Group { stamp: 0, ..Group::clone(found) });
        if group.is_over {
            assert!(found.is_some_and(|found| found.is_over), "{id:?}");
            continue;
        }
        assert_eq!(found.as_ref(), Some(&expected), "the record of {id:?}");
        let found = recalled.get(id).map(|found| Group { stamp: 0, ..Group::clone(found) });
        // Removals by those who have no power any more are not known again.
        let removed = found
            .iter()
            .map(|found| found.removed.clone())
            .fold(expected.removed.clone(), |all, these| all.intersection(these));
        let expected = Group { removed, ..expected };
        assert_eq!(found.as_ref(), Some(&expected), "the state of {id:?}");
    }
}
