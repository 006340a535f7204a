//! Groups below groups, and the end of groups.

use serde_json::json;

use super::{Town, act, event_for, state_of, tags};
use crate::harness::client::{Client, Verdict};
use crate::harness::{Event, key};

#[track_caller]
fn edit(client: &mut Client, group: &str, tags: &[&[&str]]) -> Verdict {
    client.publish(&event_for(group, &key(1), 9_002, tags))
}

/// Groups `a`, `b`, `c` of key 1 and `foreign` of key 2.
fn town() -> (Town, Client) {
    let town = Town::start();
    let mut client = town.relay.connect();
    for (number, group) in [(1, "a"), (1, "b"), (1, "c"), (2, "foreign")] {
        client.publish(&event_for(group, &key(number), 9_007, &[])).is_true("", group);
    }
    (town, client)
}

#[track_caller]
fn about(client: &mut Client, group: &str) -> Event {
    state_of(client, group, 39_000).expect("the relay says it")
}

#[test]
fn relays_must_reject_parents_that_are_missing_foreign_or_make_a_cycle() {
    let (_town, mut client) = town();
    edit(&mut client, "b", &[&["parent", "nowhere"]]).is_false("invalid", "missing");
    edit(&mut client, "b", &[&["parent", "b"]]).is_false("invalid", "itself");
    edit(&mut client, "b", &[&["parent", "foreign"]]).is_false("restricted", "no admin there");
    edit(&mut client, "b", &[&["parent", "a"], &["parent", "c"]]).is_false("invalid", "two");
    edit(&mut client, "b", &[&["parent", "a"]]).is_true("", "below a");
    edit(&mut client, "c", &[&["parent", "b"]]).is_true("", "below b");
    let tags: [&[&str]; 2] = [&["parent", "c"], &["child", "b"]];
    edit(&mut client, "a", &tags).is_false("invalid", "a cycle");
}

#[test]
fn both_parents_follow_when_a_group_moves() {
    let (_town, mut client) = town();
    edit(&mut client, "b", &[&["parent", "a"]]).is_true("", "below a");
    assert_eq!(tags(&about(&mut client, "b")), [["parent", "a"]]);
    assert_eq!(tags(&about(&mut client, "a")), [["child", "b"]]);
    edit(&mut client, "b", &[&["parent", "c"]]).is_true("", "below c");
    assert!(tags(&about(&mut client, "a")).is_empty());
    assert_eq!(tags(&about(&mut client, "c")), [["child", "b"]]);
    edit(&mut client, "b", &[&["name", "free"]]).is_true("", "a root");
    assert_eq!(tags(&about(&mut client, "b")), [["name", "free"]]);
    assert!(tags(&about(&mut client, "c")).is_empty());
}

#[test]
fn edits_that_do_not_include_all_the_children_must_be_rejected() {
    let (_town, mut client) = town();
    edit(&mut client, "b", &[&["parent", "a"]]).is_true("", "below a");
    edit(&mut client, "c", &[&["parent", "a"]]).is_true("", "below a");
    edit(&mut client, "a", &[&["child", "b"]]).is_false("invalid", "one is left out");
    edit(&mut client, "a", &[]).is_false("invalid", "all are left out");
    edit(&mut client, "a", &[&["child", "c"], &["child", "b"]]).is_true("", "another order");
    assert_eq!(tags(&about(&mut client, "a")), [["child", "c"], ["child", "b"]]);
}

#[test]
fn nothing_is_inherited_across_the_parent_child_link() {
    let (_town, mut client) = town();
    edit(&mut client, "b", &[&["parent", "a"], &["restricted"]]).is_true("", "below a");
    client.publish(&event_for("a", &key(3), 9_021, &[])).is_true("", "joins a");
    client.publish(&event_for("b", &key(3), 9, &[])).is_false("restricted", "not of b");
}

#[test]
fn when_a_parent_is_deleted_its_children_become_roots_and_it_is_gone() {
    let (mut town, mut client) = town();
    edit(&mut client, "b", &[&["parent", "a"]]).is_true("", "below a");
    edit(&mut client, "a", &[&["child", "b"], &["private"]]).is_true("", "private");
    let secret = event_for("a", &key(1), 9, &[]);
    client.publish_all([&secret]);
    client.publish(&event_for("a", &key(1), 9_008, &[])).is_true("", "the end");
    for round in ["before", "after"] {
        assert!(tags(&about(&mut client, "b")).is_empty(), "{round}");
        assert!(client.ids(&[json!({"#d": ["a"]})]).is_empty(), "{round}");
        assert!(client.ids(&[json!({"ids": [secret.id]})]).is_empty(), "{round}");
        client.publish(&event_for("a", &key(1), 9, &[])).is_false("blocked", round);
        client.publish(&event_for("a", &key(2), 9_007, &[])).is_false("blocked", round);
        town.relay.kill();
        town.relay.restart();
        client = town.relay.connect();
    }
}

#[test]
fn a_group_of_which_nothing_is_said_is_rebuilt_from_its_record() {
    let (mut town, mut client) = Town::with_group(&[&["name", "Pizza"]]);
    act(&mut client, &key(2), 9_021, &[]).is_true("", "joins");
    town.relay.kill();
    let filter = r#"{"kinds":[39000,39001,39002,39003]}"#;
    town.relay.command(&["delete", "--filter", filter, "--yes"]).code(0);
    town.relay.restart();
    let mut client = town.relay.connect();
    assert_eq!(tags(&about(&mut client, "g")), [["name", "Pizza"]]);
    super::assert_members(&mut client, &[1, 2]);
}

#[test]
fn a_group_moves_here_from_another_relay() {
    let former = key(78);
    let operators = format!("groups.operators={}", former.public());
    let town = Town::start_with(&["groups.mode=mixed", &operators]);
    let mut client = town.relay.connect();
    let at = 1_700_000_000;
    let record = [
        key(1).event(9_007, "", &[&["h", "g"]], at),
        key(1).event(9_002, "", &[&["h", "g"], &["name", "Pizza"], &["restricted"]], at + 1),
        key(2).event(9_021, "", &[&["h", "g"]], at + 2),
        former.event(9_000, "", &[&["h", "g"], &["p", key(2).public()]], at + 2),
        key(3).event(9_000, "", &[&["h", "g"], &["p", key(3).public(), "admin"]], at + 3),
        former.event(39_000, "", &[&["d", "g"], &["name", "Old"]], at + 3),
    ];
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let lines: String = record.iter().map(|event| event.line() + "\n").collect();
    std::fs::write(file.path(), lines).expect("a file can be written");
    client.stored("about", &[json!({"kinds": [39_000], "#d": ["g"], "limit": 0})]);
    let path = file.path().display().to_string();
    town.relay.command(&["import", &path]).code(0);
    // First comes what the former relay has said.
    let mut found = client.live("about");
    if found.pubkey == former.public() {
        found = client.live("about");
    }
    assert_eq!(tags(&found), [vec!["name", "Pizza"], vec!["restricted"]]);
    super::assert_members(&mut client, &[1, 2]);
    act(&mut client, &key(3), 9, &[]).is_false("restricted", "nobody let them in");
}
