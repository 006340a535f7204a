//! NIP-70, protected events: taken from their author alone, and not inside of others.

use serde_json::json;

use crate::harness::{Relay, fixture, key, now};

#[test]
fn a_protected_event_is_taken_from_its_authenticated_author_alone() {
    // I01, I02, I03; NIP-70.1, NIP-70.2
    let relay = Relay::start();
    let mut client = relay.connect();
    let event = fixture("PR");
    client.publish(&event).is_false("auth-required", "I01");
    client.authenticate(&key(2));
    client.publish(&event).is_false("restricted", "authenticated as somebody else");
    client.authenticate(&key(1));
    client.publish(&event).is_true("", "its author");
}

#[test]
fn any_tag_named_by_a_hyphen_protects() {
    // NIP-70.3
    let relay = Relay::start();
    let mut client = relay.connect();
    for tags in [&[&["-"] as &[&str]] as &[&[&str]], &[&["-", "x"]], &[&["t", "a"], &["-"]]] {
        client.publish(&key(1).event(1, "", tags, now())).is_false("auth-required", tags);
        client.publish(&key(1).event(20_001, "", tags, now())).is_false("auth-required", tags);
    }
    for tags in [&[&["-x"] as &[&str]], &[&["t", "-"]], &[&["--"]]] {
        client.publish(&key(1).event(1, "", tags, now())).is_true("", tags);
    }
}

#[test]
fn a_repost_that_embeds_a_protected_event_is_refused() {
    // I04; NIP-70.4
    let relay = Relay::start();
    let mut client = relay.connect();
    client.authenticate(&key(2));
    let event = fixture("PR");
    let compact = event.line();
    let spaced = serde_json::to_string_pretty(&event.json()).expect("events are JSON");
    let spelled = compact.replace(r#"[["-"]]"#, r#"[ [ "\u002d" ] ]"#);
    assert_ne!(spelled, compact);
    for content in [&compact, &spaced, &spelled] {
        for kind in [6, 16] {
            let repost = key(2).event(kind, content, &[&["e", &event.id]], now());
            let verdict = client.publish(&repost);
            assert!(!verdict.accepted, "kind {kind} with {content}");
            assert!(verdict.has_prefix("blocked"), "{verdict:?}");
        }
        // In other kinds it is just text.
        client.publish(&key(2).event(1, content, &[], now())).is_true("", "a note");
    }
}

#[test]
fn other_reposts_are_taken() {
    // I05
    let relay = Relay::start();
    let mut client = relay.connect();
    let note = fixture("S1");
    for content in ["", "[\"-\"]", "look: [[\"-\"]]", "{\"tags\": 1}", "{not json", &note.line()] {
        for kind in [6, 16] {
            let repost = key(2).event(kind, content, &[&["e", &note.id]], now());
            client.publish(&repost).is_true("", content);
        }
    }
}

#[test]
fn protection_comes_before_the_answer_that_an_event_is_known() {
    // I06; NIP-70.6
    let relay = Relay::start();
    let mut author = relay.connect();
    author.authenticate(&key(1));
    author.publish_all([&fixture("PR")]);
    author.publish(&fixture("PR")).is_true("duplicate", "the author");
    let mut stranger = relay.connect();
    stranger.publish(&fixture("PR")).is_false("auth-required", "I06");
    stranger.authenticate(&key(2));
    stranger.publish(&fixture("PR")).is_false("restricted", "I06");
}

#[test]
fn a_protected_event_is_read_by_anyone() {
    // I07; NIP-70.5
    let relay = Relay::start();
    let [mut author, mut reader] = [relay.connect(), relay.connect()];
    reader.stored("live", &[json!({"kinds": [1]})]);
    author.authenticate(&key(1));
    author.publish_all([&fixture("PR")]);
    assert_eq!(reader.live("live"), fixture("PR"));
    assert_eq!(reader.ids(&[json!({})]), [fixture("PR").id]);
}
