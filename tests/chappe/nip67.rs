//! NIP-67, what EOSE says about what was not sent: `finish` only when it is certain.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Relay, http, key, now, wait_until};

/// Asks; returns how many events came, and the hint.
#[track_caller]
fn ask(client: &mut Client, filters: &[Value]) -> (usize, Option<String>) {
    client.request("hint", filters);
    let mut count = 0;
    loop {
        let ended = client.wait_for_json("EVENT or EOSE", |message| {
            if message[1] != "hint" {
                return None;
            }
            match message[0].as_str() {
                Some("EVENT") => Some(None),
                Some("EOSE") => Some(Some(message.clone())),
                _ => panic!("{message}"),
            }
        });
        let Some(end) = ended else {
            count += 1;
            continue;
        };
        client.close("hint");
        let Some(hints) = end.get(2) else { return (count, None) };
        let hints: Vec<String> = serde_json::from_value(hints.clone()).expect("a list of words");
        assert_eq!(hints.len(), 1, "never finish and more: {end}");
        assert!(["finish", "more"].contains(&hints[0].as_str()), "{end}");
        return (count, hints.into_iter().next());
    }
}

#[track_caller]
fn check(client: &mut Client, filters: &[Value], count: usize, hint: &str) {
    let expected = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
    assert_eq!(ask(client, filters), (count, expected), "{filters:?}");
}

/// Notes of K1, one a second, the newest first.
fn notes(count: u64, at: u64) -> Vec<Event> {
    (0..count).map(|n| key(1).note(&format!("{n}"), at - n)).collect()
}

#[test]
fn everything_sent_is_finish() {
    // N01; NIP-67.1
    let relay = Relay::start();
    let mut client = relay.connect();
    check(&mut client, &[json!({})], 0, "finish");
    let notes = notes(6, now());
    client.publish_all(&notes);
    for filter in [
        json!({}),
        json!({"kinds": [1]}),
        json!({"authors": [key(1).public()], "limit": 10}),
        json!({"ids": [notes[0].id]}),
        json!({"kinds": [1], "until": notes[3].created_at}),
    ] {
        let (count, hint) = ask(&mut client, std::slice::from_ref(&filter));
        assert!(count > 0, "{filter}");
        assert_eq!(hint.as_deref(), Some("finish"), "{filter}");
    }
    check(&mut client, &[json!({"kinds": [2]})], 0, "finish");
    check(&mut client, &[json!({"kinds": []})], 0, "finish");
}

#[test]
fn a_limit_that_cuts_is_more_and_one_that_does_not_is_finish() {
    // N02, N03; NIP-67.2, NIP-67.3
    let relay = Relay::start();
    let mut client = relay.connect();
    let at = now();
    client.publish_all(&notes(6, at));
    for filter in [json!({"kinds": [1]}), json!({"authors": [key(1).public()]}), json!({})] {
        let with = |limit: u64| {
            let mut filter = filter.clone();
            filter["limit"] = json!(limit);
            [filter]
        };
        check(&mut client, &with(5), 5, "more");
        check(&mut client, &with(1), 1, "more");
        check(&mut client, &with(6), 6, "finish");
        check(&mut client, &with(7), 6, "finish");
    }
}

#[test]
fn the_relay_s_own_caps_are_told_the_same_way() {
    // N04, N05; NIP-67.2
    let relay = Relay::start_with(&["limits.max_limit=4", "limits.default_limit=3"]);
    let mut client = relay.connect();
    let at = now();
    client.publish_all(&notes(3, at));
    check(&mut client, &[json!({})], 3, "finish");
    client.publish_all(&notes(5, at - 3));
    check(&mut client, &[json!({})], 3, "more");
    check(&mut client, &[json!({"limit": 1000})], 4, "more");
    // The cap lands within one second.
    let same: Vec<Event> = (0..6).map(|n| key(2).note(&format!("same {n}"), at)).collect();
    client.publish_all(&same);
    check(&mut client, &[json!({"authors": [key(2).public()], "limit": 1000})], 4, "more");
    check(&mut client, &[json!({"authors": [key(2).public()]})], 3, "more");
}

#[test]
fn finish_must_be_true_for_every_filter() {
    // N06; NIP-67.2
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all(&notes(6, now()));
    client.publish_all([&key(2).note("another", now())]);
    let one = |limit: u64| json!({"authors": [key(1).public()], "limit": limit});
    let two = || json!({"authors": [key(2).public()]});
    check(&mut client, &[one(5), two()], 6, "more");
    check(&mut client, &[two(), one(5)], 6, "more");
    check(&mut client, &[one(6), two()], 7, "finish");
    // What one filter leaves out another has sent: nothing can be said for certain.
    let (count, hint) = ask(&mut client, &[one(5), json!({"kinds": [1]})]);
    assert_eq!((count, hint.as_deref() == Some("more")), (7, false));
}

#[test]
fn without_a_look_at_what_is_stored_nothing_is_said() {
    // N07; NIP-67.5
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all(&notes(2, now()));
    check(&mut client, &[json!({"kinds": [1], "limit": 0})], 0, "");
    check(&mut client, &[json!({"kinds": [1]}), json!({"limit": 0})], 2, "");
}

#[test]
fn what_is_withheld_for_lack_of_authentication_leaves_no_hint() {
    // N08; NIP-67.6
    let relay = Relay::start();
    let mut client = relay.connect();
    let wraps: Vec<Event> = (0..3)
        .map(|n| key(77).event(1059, &format!("{n}"), &[&["p", key(2).public()]], now()))
        .collect();
    client.publish_all(&wraps);
    client.publish_all(&notes(2, now() - 10));
    check(&mut client, &[json!({})], 2, "");
    check(&mut client, &[json!({"ids": [wraps[0].id]})], 0, "");
    check(&mut client, &[json!({"kinds": [1, 1059]})], 2, "");
    check(&mut client, &[json!({"kinds": [1]})], 2, "finish");
    check(&mut client, &[json!({"authors": [key(1).public()]})], 2, "finish");
    client.authenticate(&key(3));
    check(&mut client, &[json!({})], 2, "");
    client.authenticate(&key(2));
    check(&mut client, &[json!({})], 5, "finish");
}

#[test]
fn what_is_deleted_or_expired_beyond_the_cut_does_not_count() {
    // N09; NIP-67.2, NIP-40.6
    let relay = Relay::start();
    let mut client = relay.connect();
    let at = now();
    let notes = notes(4, at);
    let end = at + 2;
    let expiring = key(1).event(1, "", &[&["expiration", &end.to_string()]], at - 10);
    client.publish_all(notes.iter().chain([&expiring]));
    client.publish_all([&key(1).event(5, "", &[&["e", &notes[3].id]], at)]);
    wait_until(end);
    check(&mut client, &[json!({"kinds": [1], "limit": 3})], 3, "finish");
}

#[test]
fn the_document_lists_it() {
    // N10; NIP-67.7
    let relay = Relay::start();
    let accept = ("Accept", "application/nostr+json");
    let document = http(relay.address(), "GET", "/", &[accept]).json();
    assert!(document["supported_nips"].as_array().is_some_and(|it| it.contains(&json!(67))));
}
