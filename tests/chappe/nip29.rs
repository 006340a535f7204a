//! NIP-29, groups of a relay: who is in them, what is said about them, who writes and who reads.
//!
//! Whatever follows from an event is stored and passed on before its OK: nothing here waits for it.

mod privacy;
mod subgroups;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::client::{Client, Verdict};
use crate::harness::{Event, Key, Relay, http, key, now};

/// A relay with a key of its own and groups; its process, and where the key lies.
struct Town {
    relay: Relay,
    _folder: TempDir,
}

impl Town {
    fn start() -> Town {
        Town::start_with(&["groups.mode=mixed"])
    }

    fn start_with(settings: &[&str]) -> Town {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let path = folder.path().join("secret.key");
        std::fs::write(&path, format!("{:064x}\n", 77)).expect("a file can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .expect("it is our own file");
        let file = format!("relay.secret_key_file={}", path.display());
        let all = [&[file.as_str()], settings].concat();
        let store = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
        Town { relay: Relay::start_on(store, &all), _folder: folder }
    }

    /// Starts a relay on which key 1 has made the group `g`, and a client of it.
    fn with_group(about: &[&[&str]]) -> (Town, Client) {
        let town = Town::start();
        let mut client = town.relay.connect();
        act(&mut client, &key(1), 9_007, &[]).is_true("", "a group");
        if !about.is_empty() {
            act(&mut client, &key(1), 9_002, about).is_true("", "what it is about");
        }
        (town, client)
    }

    /// A client that has proven to be the owner of a key.
    fn client(&self, number: u32) -> Client {
        let mut client = self.relay.connect();
        client.authenticate(&key(number));
        client
    }
}

/// The relay's own key.
fn own() -> Key {
    key(77)
}

/// An event for a group, unlike any other.
fn event_for(group: &str, author: &Key, kind: u16, tags: &[&[&str]]) -> Event {
    let nonce = fastrand::u64(..).to_string();
    let (own, nonce) = (["h", group], ["x", nonce.as_str()]);
    let mut all: Vec<&[&str]> = vec![&own, &nonce];
    all.extend(tags);
    author.event(kind, "", &all, now())
}

/// Publishes an event for the group `g`.
#[track_caller]
fn act(client: &mut Client, author: &Key, kind: u16, tags: &[&[&str]]) -> Verdict {
    client.publish(&event_for("g", author, kind, tags))
}

/// What the relay says of a group in an event of this kind; there is at most one.
#[track_caller]
fn state_of(client: &mut Client, group: &str, kind: u16) -> Option<Event> {
    let mut found = client.stored("state", &[json!({"kinds": [kind], "#d": [group]})]);
    client.close("state");
    assert!(found.len() <= 1, "one event of kind {kind}: {found:?}");
    let event = found.pop()?;
    event.assert_genuine();
    assert_eq!(event.pubkey, own().public());
    Some(event)
}

#[track_caller]
fn state(client: &mut Client, kind: u16) -> Event {
    state_of(client, "g", kind).expect("the relay says it")
}

/// The tags of an event but the first, which is its identifier.
fn tags(event: &Event) -> Vec<Vec<&str>> {
    let tags = event.tags.iter().skip(1);
    tags.map(|tag| tag.iter().map(String::as_str).collect()).collect()
}

/// The members that kind 39002 lists, in order.
#[track_caller]
fn members(client: &mut Client) -> Vec<String> {
    let list = state(client, 39_002);
    list.tags.iter().filter(|tag| tag[0] == "p").map(|tag| tag[1].clone()).collect()
}

#[track_caller]
fn assert_members(client: &mut Client, numbers: &[u32]) {
    let mut expected: Vec<String> =
        numbers.iter().map(|number| key(*number).public().to_owned()).collect();
    expected.sort_unstable();
    assert_eq!(members(client), expected);
}

#[test]
fn nip_11_says_29_and_subgroups_only_where_there_are_groups() {
    let document = |relay: &Relay| {
        let accept = [("Accept", "application/nostr+json")];
        http(relay.address(), "GET", "/", &accept).json()
    };
    let with = document(&Town::start().relay);
    assert!(with["supported_nips"].as_array().expect("a list").contains(&json!(29)));
    assert_eq!(with["nip29"], json!({"subgroups": true}));
    assert_eq!(with["self"], own().public());
    let without = document(&Relay::start());
    assert!(!without["supported_nips"].as_array().expect("a list").contains(&json!(29)));
    assert!(without["nip29"].is_null());
}

#[test]
fn without_groups_their_kinds_are_as_any_others() {
    let relay = Relay::start();
    let mut client = relay.connect();
    for kind in [9, 9_000, 9_007, 9_021, 39_000] {
        act(&mut client, &key(1), kind, &[&["d", "g"]]).is_true("", kind);
    }
    assert_eq!(client.ids(&[json!({"#h": ["g"]})]).len(), 5);
}

#[test]
fn the_relay_creates_the_group_and_its_creator_becomes_admin() {
    let (_town, mut client) = Town::with_group(&[]);
    assert_eq!(tags(&state(&mut client, 39_000)), Vec::<Vec<&str>>::new());
    let admins = state(&mut client, 39_001);
    assert_eq!(tags(&admins), [["p", key(1).public(), "admin"]]);
    assert_members(&mut client, &[1]);
    let roles = state(&mut client, 39_003);
    assert!(tags(&roles).iter().all(|tag| tag[0] == "role" && tag.len() == 3), "{roles:?}");
    let record = client.stored("record", &[json!({"kinds": [9_000], "#h": ["g"]})]);
    assert_eq!(record.len(), 1, "an explicit record of the creator: {record:?}");
    assert_eq!(record[0].pubkey, own().public());
    act(&mut client, &key(2), 9_007, &[]).is_false("duplicate", "the same again");
}

#[test]
fn state_events_must_be_created_by_the_relay_only() {
    let (_town, mut client) = Town::with_group(&[]);
    for kind in 39_000..=39_005 {
        for group in ["g", "elsewhere"] {
            let forged = key(1).event(kind, "", &[&["d", group]], now());
            client.publish(&forged).is_false("restricted", kind);
        }
    }
}

#[test]
fn restricted_indicates_that_only_members_can_write() {
    let (_town, mut client) = Town::with_group(&[]);
    act(&mut client, &key(2), 9, &[]).is_true("", "anyone writes without the tag");
    act(&mut client, &key(1), 9_002, &[&["restricted"]]).is_true("", "the tag");
    act(&mut client, &key(2), 9, &[]).is_false("restricted", "no member");
    act(&mut client, &key(1), 9, &[]).is_true("", "a member");
    act(&mut client, &own(), 9, &[]).is_true("", "the relay itself");
}

#[test]
fn a_join_request_is_answered_by_a_put_user_of_the_relay_and_a_new_list() {
    let (town, mut client) = Town::with_group(&[]);
    let mut watcher = town.relay.connect();
    watcher.stored("live", &[json!({"kinds": [9_000, 39_002], "limit": 0})]);
    act(&mut client, &key(2), 9_021, &[]).is_true("", "an open group");
    let record = watcher.live("live");
    assert_eq!((record.kind, record.pubkey.as_str()), (9_000, own().public()));
    assert_eq!(record.first("p"), Some(key(2).public()));
    let list = watcher.live("live");
    assert_eq!((list.kind, list.tags.len()), (39_002, 3));
    assert_members(&mut client, &[1, 2]);
    act(&mut client, &key(2), 9_021, &[]).is_false("duplicate", "a member already");
    let again = event_for("g", &key(3), 9_021, &[]);
    client.publish(&again).is_true("", "another");
    client.publish(&again).is_false("duplicate", "even the same event");
}

#[test]
fn leaving_is_answered_by_a_remove_user_of_the_relay() {
    let (_town, mut client) = Town::with_group(&[]);
    act(&mut client, &key(2), 9_021, &[]).is_true("", "joins");
    act(&mut client, &key(2), 9_022, &[]).is_true("", "leaves");
    let record = client.stored("record", &[json!({"kinds": [9_001], "#h": ["g"]})]);
    assert_eq!(record.len(), 1);
    assert_eq!(record[0].pubkey, own().public());
    assert_eq!(record[0].first("p"), Some(key(2).public()));
    assert_members(&mut client, &[1]);
    act(&mut client, &key(2), 9_022, &[]).is_false("duplicate", "again");
    act(&mut client, &key(2), 9_021, &[]).is_true("", "who left may come back");
}

#[test]
fn closed_groups_honor_join_requests_only_with_an_invite_code() {
    let (_town, mut client) = Town::with_group(&[&["closed"]]);
    act(&mut client, &key(2), 9_021, &[]).is_false("restricted", "no code");
    act(&mut client, &key(2), 9_021, &[&["code", "x"]]).is_false("restricted", "no such code");
    act(&mut client, &key(2), 9_009, &[&["code", "x"]]).is_false("restricted", "no admin");
    act(&mut client, &key(1), 9_009, &[&["code", "x"]]).is_true("", "an invite");
    act(&mut client, &key(2), 9_021, &[&["code", "x"]]).is_true("", "the code");
    assert_members(&mut client, &[1, 2]);
}

#[test]
fn moderation_events_are_taken_from_authorized_admins_only() {
    let (_town, mut client) = Town::with_group(&[]);
    let three = ["p", key(3).public()].map(str::to_owned);
    let three: Vec<&str> = three.iter().map(String::as_str).collect();
    for kind in [9_000, 9_001, 9_002, 9_008, 9_010] {
        act(&mut client, &key(2), kind, &[&three]).is_false("restricted", kind);
    }
    act(&mut client, &key(2), 9_021, &[]).is_true("", "joins");
    act(&mut client, &key(2), 9_002, &[&["name", "mine"]]).is_false("restricted", "a member");
    act(&mut client, &key(1), 9_000, &[&["p", key(2).public(), "moderator"]]).is_true("", "a role");
    act(&mut client, &key(2), 9_000, &[&three]).is_true("", "a moderator admits");
    act(&mut client, &key(2), 9_001, &[&["p", key(1).public()]]).is_false("restricted", "an admin");
    act(&mut client, &key(1), 9_000, &[&["p", key(2).public(), "gardener"]])
        .is_true("", "replaces");
    act(&mut client, &key(2), 9_001, &[&three]).is_false("restricted", "a role without power");
    let admins = state(&mut client, 39_001);
    let found = tags(&admins);
    assert!(found.contains(&vec!["p", key(2).public(), "gardener"]), "{found:?}");
    act(&mut client, &key(1), 9_001, &[&["p", key(1).public()]])
        .is_false("restricted", "the last admin");
    let late = key(1).event(9_002, "", &[&["h", "g"], &["name", "late"]], now() - 120);
    client.publish(&late).is_false("invalid", "older than a minute");
}

#[test]
fn edit_metadata_replaces_all_fields_of_the_metadata() {
    let (_town, mut client) = Town::with_group(&[&["name", "Pizza"], &["about", "for lovers"]]);
    let about = state(&mut client, 39_000);
    assert_eq!(tags(&about), [["name", "Pizza"], ["about", "for lovers"]]);
    act(&mut client, &key(1), 9_002, &[&["name", "Pasta"], &["closed"]]).is_true("", "an edit");
    let found = state(&mut client, 39_000);
    assert_eq!(tags(&found), [vec!["name", "Pasta"], vec!["closed"]]);
    assert!(found.created_at > about.created_at, "every version is later than the one before");
}

#[test]
fn supported_kinds_lists_the_kinds_that_the_group_takes() {
    let (_town, mut client) = Town::with_group(&[&["supported_kinds", "9"]]);
    act(&mut client, &key(1), 9, &[]).is_true("", "kind 9");
    act(&mut client, &key(1), 1, &[]).is_false("invalid", "kind 1");
    act(&mut client, &key(1), 9_002, &[&["supported_kinds"]]).is_true("", "no items");
    act(&mut client, &key(1), 9, &[]).is_false("invalid", "no kinds");
    act(&mut client, &key(2), 9_021, &[]).is_true("", "joining is no content");
}

#[test]
fn deleted_events_are_gone_and_do_not_come_back() {
    let (mut town, mut client) = Town::with_group(&[]);
    let event = event_for("g", &key(2), 9, &[]);
    let foreign = event_for("other", &key(2), 9, &[]);
    client.publish_all([&event, &foreign]);
    act(&mut client, &key(1), 9_005, &[&["e", &foreign.id]]).is_false("invalid", "another group's");
    act(&mut client, &key(2), 9_005, &[&["e", &event.id]]).is_false("restricted", "no admin");
    act(&mut client, &key(1), 9_005, &[&["e", &event.id]]).is_true("", "an admin");
    assert!(client.ids(&[json!({"ids": [event.id]})]).is_empty());
    client.publish(&event).is_false("blocked", "it was deleted");
    town.relay.kill();
    town.relay.restart();
    let mut client = town.relay.connect();
    assert!(client.ids(&[json!({"ids": [event.id]})]).is_empty());
    client.publish(&event).is_false("blocked", "for good");
    assert_eq!(client.ids(&[json!({"ids": [foreign.id]})]).len(), 1);
}

#[test]
fn references_to_events_not_found_in_the_group_are_rejected() {
    let (_town, mut client) = Town::with_group(&[]);
    let event = event_for("g", &key(2), 9, &[]);
    let foreign = event_for("other", &key(2), 9, &[]);
    client.publish_all([&event, &foreign]);
    let (here, there) = (&event.id[..8], &foreign.id[..8]);
    act(&mut client, &key(1), 9, &[&["previous", here]]).is_true("", "an event of the group");
    act(&mut client, &key(1), 9, &[&["previous", here, there]]).is_false("invalid", "another's");
    act(&mut client, &key(1), 9, &[&["previous", "00"]]).is_false("invalid", "too short");
}

#[test]
fn late_publication_is_prevented() {
    let (_town, mut client) = Town::with_group(&[]);
    let late = key(1).event(9, "", &[&["h", "g"]], now() - 86_400);
    client.publish(&late).is_false("invalid", "a day late");
    let elsewhere = key(1).event(9, "", &[&["h", "elsewhere"]], now() - 86_400);
    client.publish(&elsewhere).is_true("", "no group of this relay");
}

#[test]
fn pins_are_mirrored_in_their_order() {
    let (_town, mut client) = Town::with_group(&[]);
    let event = event_for("g", &key(1), 9, &[]);
    client.publish_all([&event]);
    let address = format!("30023:{}:x", key(1).public());
    let pins: [&[&str]; 3] = [&["e", &event.id], &["a", &address], &["e", &own_id()]];
    act(&mut client, &key(1), 9_010, &pins).is_true("", "pins");
    let found = state(&mut client, 39_005);
    assert_eq!(tags(&found), pins);
    act(&mut client, &key(1), 9_010, &[]).is_true("", "no pins");
    assert!(tags(&state(&mut client, 39_005)).is_empty());
}

fn own_id() -> String {
    "ab".repeat(32)
}

#[test]
fn unmanaged_groups_are_nobodys_and_are_not_taken_over() {
    let (_town, mut client) = Town::with_group(&[]);
    let wild = event_for(&"cd".repeat(32), &key(2), 445, &[]);
    client.publish(&wild).is_true("", "an h tag that means something else");
    client.publish(&key(2).note("no group at all", now())).is_true("", "a mixed relay");
    for kind in [9_000, 9_005, 9_021, 9_022] {
        let event =
            event_for("elsewhere", &key(2), kind, &[&["p", key(3).public()], &["e", &own_id()]]);
        client.publish(&event).is_false("invalid", kind);
        let event = key(2).event(kind, "", &[&["p", key(3).public()]], now());
        client.publish(&event).is_false("invalid", kind);
    }
    let takeover = event_for(&"cd".repeat(32), &key(3), 9_007, &[]);
    client.publish(&takeover).is_false("restricted", "others have written there");
    client.publish(&event_for(&"cd".repeat(32), &key(2), 9_007, &[])).is_true("", "their own");
}

#[test]
fn exclusive_relays_take_only_what_belongs_to_a_group() {
    let town = Town::start_with(&["groups.mode=exclusive", "groups.groupless_kinds=0,20999"]);
    let mut client = town.relay.connect();
    let verdict = client.publish(&key(1).note("no group", now()));
    verdict.is_false("invalid", "no group");
    assert!(verdict.text.contains("missing group (`h`) tag"), "{verdict:?}");
    act(&mut client, &key(1), 9, &[]).is_false("invalid", "an unknown group");
    act(&mut client, &key(1), 9_007, &[]).is_true("", "a group");
    act(&mut client, &key(1), 9, &[]).is_true("", "a known group");
    client.publish(&key(1).event(0, "{}", &[], now())).is_true("", "a profile");
    client.publish(&key(1).event(5, "", &[&["e", &own_id()]], now())).is_true("", "a deletion");
}

#[test]
fn state_is_rebuilt_after_a_crash_and_codes_and_removals_still_hold() {
    let (mut town, mut client) = Town::with_group(&[&["name", "Pizza"], &["closed"]]);
    act(&mut client, &key(1), 9_009, &[&["code", "x"]]).is_true("", "an invite");
    act(&mut client, &key(2), 9_021, &[&["code", "x"]]).is_true("", "joins");
    act(&mut client, &key(3), 9_021, &[&["code", "x"]]).is_true("", "joins");
    act(&mut client, &key(1), 9_001, &[&["p", key(3).public()]]).is_true("", "is removed");
    act(&mut client, &key(1), 9_010, &[&["e", &own_id()]]).is_true("", "a pin");
    let before = [39_000, 39_001, 39_002, 39_003, 39_005].map(|kind| state(&mut client, kind));
    town.relay.kill();
    town.relay.restart();
    let mut client = town.relay.connect();
    let after = [39_000, 39_001, 39_002, 39_003, 39_005].map(|kind| state(&mut client, kind));
    assert_eq!(after.map(|event| event.id), before.map(|event| event.id));
    act(&mut client, &key(3), 9_021, &[&["code", "x"]]).is_false("blocked", "was removed");
    act(&mut client, &key(3), 9, &[]).is_false("blocked", "was removed");
    act(&mut client, &key(4), 9_021, &[&["code", "x"]]).is_true("", "the code still admits");
    assert_members(&mut client, &[1, 2, 4]);
}

#[test]
fn two_changes_in_one_second_have_rising_times_and_the_newest_is_kept() {
    let (_town, mut client) = Town::with_group(&[]);
    let mut last = state(&mut client, 39_002).created_at;
    for number in 2..8 {
        act(&mut client, &key(number), 9_021, &[]).is_true("", "joins");
        let list = state(&mut client, 39_002);
        assert_eq!(list.tags.len() as u32, number + 1);
        assert!(list.created_at > last);
        last = list.created_at;
    }
}

#[test]
fn requests_of_one_burst_are_judged_one_after_the_other() {
    let town = Town::start();
    let mut client = town.relay.connect();
    let events = [
        event_for("g", &key(1), 9_007, &[]),
        event_for("g", &key(1), 9_002, &[&["restricted"]]),
        event_for("g", &key(2), 9_021, &[]),
        event_for("g", &key(2), 9, &[]),
        event_for("g", &key(1), 9_001, &[&["p", key(2).public()]]),
    ];
    client.publish_all(&events);
    act(&mut client, &key(2), 9, &[]).is_false("blocked", "was removed");
}

#[test]
fn who_vanishes_is_in_no_group() {
    let (mut town, mut client) = Town::with_group(&[]);
    act(&mut client, &key(2), 9_021, &[]).is_true("", "joins");
    let request = key(2).event(62, "", &[&["relay", "ALL_RELAYS"]], now());
    client.publish(&request).is_true("", "vanishes");
    assert_members(&mut client, &[1]);
    town.relay.kill();
    town.relay.restart();
    assert_members(&mut town.relay.connect(), &[1]);
}

#[test]
fn operators_alone_make_groups_where_the_settings_say_so() {
    let operator = format!("groups.operators={}", key(5).public());
    let town = Town::start_with(&["groups.mode=mixed", "groups.creation=operators", &operator]);
    let mut client = town.relay.connect();
    act(&mut client, &key(1), 9_007, &[]).is_false("restricted", "no operator");
    act(&mut client, &key(5), 9_007, &[]).is_true("", "an operator");
}

#[test]
fn a_crash_leaves_no_request_without_what_came_of_it() {
    let (mut town, mut client) = Town::with_group(&[]);
    for round in 0..4 {
        let people: Vec<u32> = (10..30).collect();
        let events: Vec<Event> = people
            .iter()
            .flat_map(|number| [9_021, 9_022, 9_021].map(|kind| (*number, kind)))
            .map(|(number, kind)| event_for("g", &key(number), kind, &[]))
            .collect();
        for event in &events {
            client.send(&json!(["EVENT", event.json()]));
        }
        client.verdict(&events[fastrand::usize(..events.len())].id);
        town.relay.kill();
        town.relay.restart();
        client = town.relay.connect();
        let filter = json!({"kinds": [9_000, 9_001], "#h": ["g"], "authors": [own().public()]});
        let mut record = client.stored("record", &[filter]);
        client.close("record");
        record.sort_by_key(|event| event.created_at);
        let mut expected: std::collections::BTreeSet<String> = [key(1).public().to_owned()].into();
        for event in &record {
            let who = event.first("p").expect("somebody is named").to_owned();
            if event.kind == 9_000 {
                expected.insert(who)
            } else {
                expected.remove(&who)
            };
        }
        let found: std::collections::BTreeSet<String> = members(&mut client).into_iter().collect();
        assert_eq!(found, expected, "round {round}");
        for number in people {
            let is_in = found.contains(key(number).public());
            let verdict = act(&mut client, &key(number), 9_022, &[]);
            assert_eq!(verdict.accepted, is_in, "the members are those of the list");
        }
    }
}

#[test]
fn retention_keeps_the_record_and_what_the_relay_says() {
    let rule = "store.retention=age=1s,per_author=1";
    let settings = ["groups.mode=mixed", rule, "store.retention_period_secs=1"];
    let town = Town::start_with(&settings);
    let mut client = town.relay.connect();
    act(&mut client, &key(1), 9_007, &[]).is_true("", "a group");
    act(&mut client, &key(1), 9_002, &[&["name", "Pizza"]]).is_true("", "what it is about");
    act(&mut client, &key(2), 9_021, &[]).is_true("", "joins");
    let said = [json!({"kinds": [9_000, 9_002, 9_007, 9_021, 39_000, 39_001, 39_002, 39_003]})];
    let before = client.ids(&said);
    let notes: Vec<Event> =
        (0..4).map(|number| key(1).note(&format!("{number}"), now() + number)).collect();
    client.publish_all(&notes);
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while !client.ids(&[json!({"kinds": [1]})]).is_empty() {
        assert!(std::time::Instant::now() < deadline, "notes go in the end");
    }
    assert_eq!(client.ids(&said), before);
}

#[test]
fn rooms_for_voice_are_not_offered_where_there_are_none() {
    // R32; NIP-29.32
    let town = Town::start();
    for path in ["/.well-known/nip29/livekit", "/.well-known/nip29/livekit/g"] {
        assert_eq!(http(town.relay.address(), "GET", path, &[]).status, 404, "{path}");
    }
}
