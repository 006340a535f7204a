//! What of private and hidden groups reaches whom, by every way out.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Town, act, event_for, own, state_of};
use crate::harness::client::Client;
use crate::harness::{Event, Relay, key};

/// The ids that a reconciliation of a filter gives out.
#[track_caller]
fn reconciled(client: &mut Client, filter: &Value) -> BTreeSet<String> {
    client.send(&json!(["NEG-OPEN", "ids", filter, "6100000200"]));
    let answer = client.wait_for_json("an answer", |message| {
        assert!(message[0] != "NEG-ERR", "{filter} was refused: {message}");
        let is_answer = message[0] == "NEG-MSG" && message[1] == "ids";
        is_answer.then(|| message[2].as_str().expect("a text is third").to_owned())
    });
    client.send(&json!(["NEG-CLOSE", "ids"]));
    let Some(list) = answer.strip_prefix("61000002") else { return BTreeSet::new() };
    let start = list.len() % 64;
    list.as_bytes()[start..].chunks(64).map(|id| String::from_utf8_lossy(id).into()).collect()
}

/// Filters that find the event by everything but its group.
fn filters(event: &Event) -> Vec<Value> {
    vec![
        json!({"ids": [event.id]}),
        json!({"authors": [event.pubkey]}),
        json!({"kinds": [event.kind]}),
        json!({"kinds": [event.kind], "authors": [event.pubkey]}),
        json!({"#t": ["secret"]}),
        json!({}),
        json!({"since": event.created_at - 5, "until": event.created_at + 5}),
    ]
}

fn has(ids: impl IntoIterator<Item = String>, event: &Event) -> bool {
    ids.into_iter().any(|id| id == event.id)
}

/// Whether the event is found by every way out, or by none.
#[track_caller]
fn assert_seen(client: &mut Client, event: &Event, expected: bool) {
    for filter in filters(event) {
        assert_eq!(has(client.ids(std::slice::from_ref(&filter)), event), expected, "REQ {filter}");
        let ids = reconciled(client, &filter);
        assert_eq!(has(ids, event), expected, "NEG-OPEN {filter}");
    }
    for filter in &filters(event)[..5] {
        let alone = json!({"ids": [event.id]});
        assert_eq!(client.count(&[alone]), u64::from(expected), "COUNT of the id");
        let counted = client.count(std::slice::from_ref(filter));
        assert_eq!(counted, client.ids(std::slice::from_ref(filter)).len() as u64, "{filter}");
    }
}

#[test]
fn private_indicates_that_only_members_can_read_group_messages() {
    let (town, mut client) = Town::with_group(&[&["private"]]);
    let event = event_for("g", &key(1), 9, &[&["t", "secret"]]);
    client.publish_all([&event]);
    let by_group = json!({"#h": ["g"]});
    let mut stranger = town.relay.connect();
    stranger.refused(std::slice::from_ref(&by_group), "auth-required");
    assert_seen(&mut stranger, &event, false);
    let mut other = town.client(2);
    other.refused(std::slice::from_ref(&by_group), "restricted");
    other.count_refused(std::slice::from_ref(&by_group), "restricted");
    assert_seen(&mut other, &event, false);
    let mut member = town.client(1);
    assert_seen(&mut member, &event, true);
    assert!(has(member.ids(&[by_group]), &event));
    assert!(state_of(&mut stranger, "g", 39_000).is_some(), "what it is about is public");
    for kind in [39_001, 39_002] {
        assert!(state_of(&mut stranger, "g", kind).is_none(), "who is in it is not: {kind}");
        assert!(state_of(&mut member, "g", kind).is_some());
    }
}

#[test]
fn counts_of_distinct_authors_leave_private_events_out() {
    let (town, mut client) = Town::with_group(&[&["private"]]);
    let target = "ef".repeat(32);
    client.publish_all([&event_for("g", &key(1), 7, &[&["e", &target]])]);
    let filter = json!({"kinds": [7], "#e": [target]});
    let zeros = "0".repeat(512);
    let found = town.relay.connect().counted(std::slice::from_ref(&filter));
    assert_eq!((&found["count"], &found["hll"]), (&json!(0), &json!(zeros)));
    let found = town.client(1).counted(&[filter]);
    assert_eq!(found["count"], 1);
    assert_ne!(found["hll"], json!(zeros));
}

#[test]
fn who_is_removed_stops_to_receive_at_once() {
    let (town, mut client) = Town::with_group(&[&["private"]]);
    act(&mut client, &key(2), 9_021, &[]).is_true("", "joins");
    let mut member = town.client(2);
    let mut stranger = town.relay.connect();
    member.stored("all", &[json!({"kinds": [9], "limit": 0})]);
    stranger.stored("all", &[json!({"kinds": [9], "limit": 0})]);
    let first = event_for("g", &key(1), 9, &[]);
    client.publish_all([&first]);
    assert_eq!(member.live("all").id, first.id);
    act(&mut client, &key(1), 9_001, &[&["p", key(2).public()]]).is_true("", "is removed");
    client.publish_all([&event_for("g", &key(1), 9, &[])]);
    act(&mut client, &key(2), 9, &[]).is_false("blocked", "does not write either");
    let public = event_for("elsewhere", &key(1), 9, &[]);
    client.publish_all([&public]);
    assert_eq!(member.live("all").id, public.id, "nothing before it");
    assert_eq!(stranger.live("all").id, public.id);
    assert_seen(&mut member, &first, false);
}

#[test]
fn who_is_removed_is_told_that_what_names_the_group_is_over() {
    let (town, mut client) = Town::with_group(&[&["private"]]);
    act(&mut client, &key(2), 9_021, &[]).is_true("", "joins");
    let mut member = town.client(2);
    member.stored("group", &[json!({"#h": ["g"]})]);
    member.stored("other", &[json!({"#h": ["g", "elsewhere"]})]);
    act(&mut client, &key(1), 9_001, &[&["p", key(2).public()]]).is_true("", "is removed");
    assert!(member.closed("group").starts_with("restricted: "));
    let public = event_for("elsewhere", &key(1), 9, &[]);
    client.publish_all([&event_for("g", &key(1), 9, &[]), &public]);
    assert_eq!(member.live("other").id, public.id, "what names others goes on");
    // A group that becomes private ends what strangers follow by its name.
    let mut stranger = town.relay.connect();
    client.publish(&event_for("open", &key(1), 9_007, &[])).is_true("", "another group");
    stranger.stored("open", &[json!({"#h": ["open"]})]);
    client.publish(&event_for("open", &key(1), 9_002, &[&["private"]])).is_true("", "private");
    assert!(stranger.closed("open").starts_with("auth-required: "));
}

#[test]
fn who_joins_receives_from_then_on_and_what_was_before() {
    let (town, mut client) = Town::with_group(&[&["private"]]);
    let before = event_for("g", &key(1), 9, &[]);
    client.publish_all([&before]);
    let mut reader = town.client(2);
    reader.stored("all", &[json!({"kinds": [9]})]);
    act(&mut client, &key(2), 9_021, &[]).is_true("", "joins");
    let after = event_for("g", &key(1), 9, &[]);
    client.publish_all([&after]);
    assert_eq!(reader.live("all").id, after.id);
    assert!(has(reader.ids(&[json!({"#h": ["g"]})]), &before));
}

#[test]
fn hidden_indicates_that_metadata_is_hidden_from_non_members() {
    let (town, _client) = Town::with_group(&[&["hidden"]]);
    let mut other = town.client(2);
    let mut member = town.client(1);
    for kind in [39_000, 39_001, 39_002, 39_003] {
        let event = state_of(&mut member, "g", kind).expect("members see it");
        assert!(state_of(&mut other, "g", kind).is_none(), "kind {kind}");
        for filter in [json!({"kinds": [kind]}), json!({"ids": [event.id]}), json!({})] {
            assert!(!has(other.ids(std::slice::from_ref(&filter)), &event), "{filter}");
            assert!(!has(reconciled(&mut other, &filter), &event), "{filter}");
            assert!(has(reconciled(&mut member, &filter), &event), "{filter}");
        }
        assert_eq!(other.count(&[json!({"kinds": [kind]})]), 0);
    }
    assert!(other.ids(&[json!({"authors": [own().public()], "kinds": [39_000]})]).is_empty());
}

#[test]
fn codes_are_shown_to_nobody_but_who_made_them() {
    let (town, mut client) = Town::with_group(&[&["closed"]]);
    let invite = event_for("g", &key(1), 9_009, &[&["code", "x"]]);
    let mut other = town.client(2);
    other.stored("live", &[json!({"#h": ["g"], "limit": 0})]);
    client.publish_all([&invite]);
    let request = event_for("g", &key(2), 9_021, &[&["code", "x"]]);
    client.publish(&request).is_true("", "joins");
    assert_eq!(other.live("live").kind, 9_000, "neither the invite nor the request");
    other.assert_quiet();
    for event in [&invite, &request] {
        assert!(!has(other.ids(&[json!({"ids": [event.id]})]), event));
        assert!(!has(reconciled(&mut other, &json!({})), event));
    }
    assert!(has(town.client(1).ids(&[json!({"kinds": [9_009]})]), &invite));
}

#[test]
fn a_session_that_compares_everything_ends_when_something_becomes_private() {
    let (town, mut client) = Town::with_group(&[]);
    let event = event_for("g", &key(1), 9, &[]);
    client.publish_all([&event]);
    let mut other = town.client(2);
    other.send(&json!(["NEG-OPEN", "all", {}, "6100000200"]));
    other.wait_for_json("an answer", |it| (it[0] == "NEG-MSG").then_some(()));
    act(&mut client, &key(1), 9_002, &[&["private"]]).is_true("", "private from here on");
    other.send(&json!(["NEG-MSG", "all", "6100000200"]));
    let reason = other.wait_for_json("the end", |it| {
        assert!(it[0] != "NEG-MSG", "it goes on: {it}");
        (it[0] == "NEG-ERR").then(|| it[2].as_str().expect("a reason").to_owned())
    });
    assert!(reason.starts_with("closed: "), "{reason}");
}

#[test]
fn what_is_for_members_alone_is_not_given_to_other_relays() {
    let (town, mut client) = Town::with_group(&[&["private"], &["hidden"]]);
    client.publish(&event_for("open", &key(1), 9_007, &[])).is_true("", "another group");
    let secret = event_for("g", &key(1), 9, &[]);
    let public = event_for("open", &key(1), 9, &[]);
    client.publish_all([&secret, &public]);
    client.publish(&event_for("open", &key(1), 9_009, &[&["code", "x"]])).is_true("", "an invite");
    let elsewhere = Relay::start();
    let url = format!("ws://{}", elsewhere.address());
    let file = format!("relay.secret_key_file={}/secret.key", town._folder.path().display());
    let sync = |more: &[&str]| {
        let settings = ["--set", "groups.mode=mixed", "--set", &file];
        let arguments = [&["sync", &url, "--dir", "up"], more, &settings].concat();
        town.relay.command(&arguments).code(0);
    };
    sync(&[]);
    let mut other = elsewhere.connect();
    assert!(has(other.ids(&[json!({"#h": ["open"]})]), &public));
    assert!(other.ids(&[json!({"#h": ["g"]})]).is_empty());
    assert!(other.ids(&[json!({"#d": ["g"]})]).is_empty());
    assert!(other.ids(&[json!({"kinds": [9_009]})]).is_empty());
    sync(&["--private"]);
    assert!(has(other.ids(&[json!({"#h": ["g"]})]), &secret));
}
