//! NIP-01, subscriptions: one EOSE, then what is live, until CLOSE.

use serde_json::json;

use crate::harness::client::Received;
use crate::harness::{Event, Relay, key};

const AT: u64 = 1_700_000_000;

#[test]
fn every_request_gets_exactly_one_eose_even_without_matches() {
    // D01; NIP-01.59
    let relay = Relay::start();
    let mut client = relay.connect();
    let rows = [
        vec![json!({"kinds": [1]})],
        vec![json!({})],
        vec![json!({"ids": ["0".repeat(64)]})],
        vec![json!({"kinds": [1]}), json!({"kinds": [2]}), json!({"#t": ["x"]})],
        vec![json!({"since": 5, "until": 4})],
        vec![json!({"kinds": []})],
    ];
    for filters in rows {
        assert_eq!(client.stored("none", &filters), [], "{filters:?}");
        assert_eq!(client.fence(), Vec::<serde_json::Value>::new(), "one EOSE for {filters:?}");
    }
}

#[test]
fn a_request_with_an_open_id_replaces_the_old_one() {
    // D21; NIP-01.62
    let relay = Relay::start();
    let mut client = relay.connect();
    let note = |kind: u16, content: &str| key(1).event(kind, content, &[], AT);
    client.publish_all([&note(1, "old"), &note(2, "old")]);
    assert_eq!(client.stored("same", &[json!({"kinds": [1]})]).len(), 1);
    assert_eq!(client.stored("same", &[json!({"kinds": [2]})]), [note(2, "old")]);
    client.publish_all([&note(1, "live"), &note(2, "live")]);
    assert_eq!(client.live("same"), note(2, "live"));
    client.assert_quiet();
    // A refused replacement is told; what it leaves open is the relay's choice, but no both.
    client.request("same", &[json!({"kinds": ["x"]})]);
    assert!(client.closed("same").starts_with("invalid: "));
    client.publish_all([&note(2, "later")]);
    let left = client.fence();
    assert!(left.len() <= 1, "{left:?}");
}

#[test]
fn many_replacements_in_a_row_each_get_their_eose() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<Event> = (0..50).map(|n| key(1).event(1, "", &[], AT + n)).collect();
    client.publish_all(&events);
    for _ in 0..30 {
        client.request("again", &[json!({"kinds": [1]})]);
    }
    client.request("last", &[json!({"limit": 0})]);
    client.until_eose("last");
    // A replaced request may end early, so at least the last one is complete.
    let mut ends = 0;
    let mut since_end = Vec::new();
    let mut last = Vec::new();
    for message in client.fence() {
        if message[0] == "EOSE" {
            ends += 1;
            last = std::mem::take(&mut since_end);
        } else {
            since_end.push(message[2]["id"].clone());
        }
    }
    assert!((1..=30).contains(&ends), "{ends} EOSE for 30 requests");
    assert!(since_end.is_empty(), "no stored events after the last EOSE");
    let tail = &last[last.len() - 50..];
    let expected: Vec<_> = events.iter().rev().map(|event| json!(event.id)).collect();
    assert_eq!(tail, expected, "the last request is answered in full");
}

#[test]
fn after_close_nothing_more_comes_and_others_are_unaffected() {
    // D22; NIP-01.63, NIP-01.64
    let relay = Relay::start();
    let mut client = relay.connect();
    client.stored("a", &[json!({"kinds": [1]})]);
    client.stored("b", &[json!({"kinds": [1]})]);
    client.close("a");
    client.close("a");
    client.close("never opened");
    let event = key(1).note("after", AT);
    client.publish_all([&event]);
    assert_eq!(client.live("b"), event);
    client.assert_quiet();
    assert_eq!(client.stored("a", &[json!({"kinds": [1]})]), [event], "the id is free again");
}

#[test]
fn a_request_may_be_closed_before_it_is_answered() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<Event> = (0..300).map(|n| key(1).event(1, "", &[], AT + n)).collect();
    client.publish_all(&events);
    for _ in 0..20 {
        client.request("early", &[json!({"kinds": [1]})]);
        client.close("early");
    }
    client.fence();
    client.publish_all([&key(1).note("after", AT)]);
    client.assert_quiet();
}

#[test]
fn subscription_ids_belong_to_their_connection() {
    // D24; NIP-01.4
    let relay = Relay::start();
    let [mut one, mut two] = [relay.connect(), relay.connect()];
    one.stored("same", &[json!({"kinds": [1]})]);
    two.stored("same", &[json!({"kinds": [2]})]);
    let [first, second] = [1, 2].map(|kind| key(1).event(kind, "", &[], AT));
    one.publish_all([&first, &second]);
    assert_eq!(one.live("same"), first);
    assert_eq!(two.live("same"), second);
    one.close("same");
    let third = key(2).event(2, "", &[], AT);
    one.publish_all([&third]);
    assert_eq!(two.live("same"), third);
    one.assert_quiet();
    two.assert_quiet();
}

#[test]
fn a_client_gets_its_own_events_and_each_once_for_each_subscription() {
    // D25, NIP-01.61
    let relay = Relay::start();
    let mut client = relay.connect();
    let filters =
        [json!({"kinds": [1]}), json!({"#t": ["x"]}), json!({"authors": [key(1).public()]})];
    client.stored("three", &filters);
    client.stored("one", &[json!({"#t": ["x", "y", "z"]})]);
    let event = key(1).event(1, "", &[&["t", "x"], &["t", "y"], &["t", "x"]], AT);
    client.publish_all([&event]);
    assert_eq!(client.live("three"), event);
    assert_eq!(client.live("one"), event);
    client.assert_quiet();
}

#[test]
fn live_events_do_not_count_towards_the_limit() {
    // D26
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all([&key(1).note("a", AT), &key(1).note("b", AT + 1)]);
    assert_eq!(client.stored("one", &[json!({"kinds": [1], "limit": 1})]).len(), 1);
    let events: Vec<Event> = (0..20).map(|n| key(1).note(&format!("{n}"), AT - n)).collect();
    for event in &events {
        client.publish_all([event]);
        assert_eq!(client.live("one"), *event, "in the order of their arrival");
    }
    client.assert_quiet();
}

#[test]
fn live_events_obey_every_condition() {
    // NIP-01.61
    let relay = Relay::start();
    let mut client = relay.connect();
    let event = key(1).event(1, "x", &[&["t", "x"], &["e", &"1".repeat(64)]], AT);
    let author = key(1).public().to_owned();
    let rows = [
        (json!({}), true),
        (json!({"since": AT}), true),
        (json!({"since": AT + 1}), false),
        (json!({"until": AT}), true),
        (json!({"until": AT - 1}), false),
        (json!({"kinds": [1]}), true),
        (json!({"kinds": [0, 2]}), false),
        (json!({"kinds": [65_537]}), false),
        (json!({"authors": [author]}), true),
        (json!({"authors": [key(2).public()]}), false),
        (json!({"ids": [event.id]}), true),
        (json!({"ids": ["1".repeat(64)]}), false),
        (json!({"#t": ["y", "x"]}), true),
        (json!({"#t": ["y"]}), false),
        (json!({"#e": ["1".repeat(64)]}), true),
        (json!({"#e": [event.id]}), false),
        (json!({"#t": ["x"], "#e": ["1".repeat(64)]}), true),
        (json!({"#t": ["x"], "#e": ["2".repeat(64)]}), false),
        (json!({"#t": ["x"], "kinds": [2]}), false),
        (json!({"authors": [author], "kinds": [1], "since": AT + 1}), false),
        (json!({"ids": [event.id], "authors": [key(2).public()]}), false),
    ];
    for (number, (filter, _)) in rows.iter().enumerate() {
        let mut filter = filter.clone();
        filter["limit"] = json!(0);
        client.stored(&number.to_string(), &[filter]);
    }
    client.publish_all([&event]);
    let mut got: Vec<String> = client
        .fence()
        .iter()
        .map(|message| message[1].as_str().unwrap_or_default().to_owned())
        .collect();
    got.sort();
    let mut expected: Vec<String> = rows
        .iter()
        .enumerate()
        .filter(|(_, (_, matches))| *matches)
        .map(|(number, _)| number.to_string())
        .collect();
    expected.sort();
    assert_eq!(got, expected);
}

#[test]
fn too_many_subscriptions_are_closed_and_told() {
    // D29; NIP-01.66
    let relay = Relay::start_with(&["limits.max_subscriptions=3", "limits.max_filters=2"]);
    let mut client = relay.connect();
    for id in ["a", "b", "c"] {
        client.stored(id, &[json!({"kinds": [1]})]);
    }
    client.request("d", &[json!({"kinds": [1]})]);
    let reason = client.closed("d");
    assert!(reason.starts_with("rate-limited: "), "D29 {reason:?}");
    client.stored("c", &[json!({"kinds": [2]})]);
    let event = key(1).note("", AT);
    client.publish_all([&event]);
    assert_eq!(client.live("a"), event);
    assert_eq!(client.live("b"), event);
    client.close("a");
    assert_eq!(client.stored("d", &[json!({"kinds": [1]})]).len(), 1, "room after CLOSE");
    client.close("c");
    client.assert_quiet();
    let three = [json!({"kinds": [1]}), json!({"kinds": [2]}), json!({"kinds": [3]})];
    client.request("d", &three);
    let reason = client.closed("d");
    assert!(reason.contains(": "), "too many filters: {reason:?}");
}

#[test]
fn connections_that_end_leave_nothing_behind() {
    // D38: as far as a client can see: other clients work, memory does not grow with each.
    let mut relay = Relay::start();
    let open_and_leave = |relay: &Relay, number: u32| {
        let mut client = relay.connect();
        for subscription in 0..50 {
            let author = |n: u32| format!("{number:032x}{subscription:016x}{n:016x}");
            let authors: Vec<String> = (0..300).map(author).collect();
            let filter = json!({"authors": authors, "kinds": [1], "limit": 0});
            client.request(&subscription.to_string(), &[filter]);
        }
        client.fence();
    };
    for number in 0..5 {
        open_and_leave(&relay, number);
    }
    let before = relay.resident_bytes();
    for number in 5..45 {
        open_and_leave(&relay, number);
    }
    let grown = relay.resident_bytes().saturating_sub(before);
    println!("grown by {grown} bytes");
    assert!(grown < 16 << 20, "40 connections that ended left {grown} bytes");
    relay.assert_serving();
}

#[test]
fn a_reader_that_does_not_read_is_dropped_and_others_are_served() {
    // D39; X6.7
    let mut relay = Relay::start_with(&["limits.outbound_bytes_max=4194304"]);
    let mut slow = relay.connect();
    slow.request("slow", &[json!({"kinds": [20_001]})]);
    slow.until_eose("slow");
    let [mut author, mut reader] = [relay.connect(), relay.connect()];
    reader.stored("quick", &[json!({"kinds": [20_001]})]);
    let content = "x".repeat(400_000);
    let before = relay.resident_bytes();
    for number in 0..400 {
        let event = key(1).event(20_001, &content, &[], AT + number);
        author.publish(&event).is_true("", "a large event");
        assert_eq!(reader.live("quick").id, event.id, "others are served meanwhile");
    }
    let grown = relay.resident_bytes().saturating_sub(before);
    assert!(grown < 96 << 20, "a slow reader cost {grown} bytes");
    // What was already in the socket's buffers may still come, then the connection ends.
    let mut received = 0;
    let ended = slow.wait_for("the end of the slow reader", |message| match message {
        Received::End(code) => Some(*code),
        Received::Json(..) => {
            received += 1;
            None
        }
        Received::Pong(_) => None,
    });
    assert!(received < 400, "it was dropped, not served ({ended:?})");
    relay.assert_serving();
}

#[test]
fn a_stored_phase_waits_for_its_reader_without_harm() {
    // Backpressure: 60 MB of stored events, asked for at once by a client that reads later.
    let mut relay = Relay::start();
    let mut author = relay.connect();
    let content = "y".repeat(200_000);
    let events: Vec<Event> = (0..100).map(|n| key(1).note(&content, AT + n)).collect();
    author.publish_all(&events);
    let mut reader = relay.connect();
    for subscription in ["a", "b", "c"] {
        reader.request(subscription, &[json!({"kinds": [1]})]);
    }
    let event = key(2).note("meanwhile", AT + 1000);
    author.publish(&event).is_true("", "the writer is not held up");
    let expected: Vec<&str> = events.iter().rev().map(|event| event.id.as_str()).collect();
    for subscription in ["a", "b", "c"] {
        let stored = reader.until_eose(subscription);
        let ids: Vec<&str> =
            stored.iter().map(|e| e.id.as_str()).filter(|id| *id != event.id).collect();
        assert_eq!(ids, expected, "{subscription} gets everything, in order");
        if stored.len() == events.len() {
            assert_eq!(reader.live(subscription), event, "{subscription} gets the late event");
        }
    }
    reader.assert_quiet();
    relay.assert_serving();
}
