//! NIP-45, COUNT: one number for what a REQ would find, and registers that add up across relays.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Relay, fixture, key, now, wait_until};

fn count(client: &mut Client, filter: Value) -> u64 {
    client.counted(&[filter.clone()])["count"].as_u64().unwrap_or_else(|| panic!("{filter}"))
}

/// The registers that are not zero.
fn registers(answer: &Value) -> Vec<(usize, u8)> {
    let text = answer["hll"].as_str().unwrap_or_else(|| panic!("registers in {answer}"));
    assert_eq!(text.len(), 512, "256 registers of two digits");
    assert!(text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{text}");
    let value = |at: usize| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).expect("hex");
    (0..256).map(|at| (at, value(at))).filter(|(_, value)| *value > 0).collect()
}

fn followers() -> [Event; 4] {
    ["FOL2", "FOL3", "FOL4", "FOL5"].map(fixture)
}

fn of_one() -> Value {
    json!({"kinds": [3], "#p": [key(1).public()]})
}

#[test]
fn several_filters_give_one_number_and_each_event_counts_once() {
    // K01; NIP-45.1, NIP-45.4
    let relay = Relay::start();
    let mut client = relay.connect();
    assert_eq!(client.counted(&[json!({})]), json!({"count": 0}));
    let notes: Vec<Event> = (0..10).map(|n| key(1 + n % 2).note(&format!("{n}"), now())).collect();
    client.publish_all(&notes);
    assert_eq!(client.counted(&[json!({"kinds": [1]})]), json!({"count": 10}));
    let both = [json!({"authors": [key(1).public()]}), json!({"kinds": [1]})];
    assert_eq!(client.counted(&both), json!({"count": 10}));
    let apart = [json!({"authors": [key(1).public()]}), json!({"authors": [key(2).public()]})];
    assert_eq!(client.counted(&apart), json!({"count": 10}));
    // A limit is no part of what is counted.
    assert_eq!(count(&mut client, json!({"kinds": [1], "limit": 3})), 10);
    assert_eq!(count(&mut client, json!({"ids": [notes[0].id, "00".repeat(32)]})), 1);
    assert_eq!(count(&mut client, json!({"kinds": []})), 0);
}

#[test]
fn only_what_a_req_would_find_counts() {
    // K02; NIP-45.4, NIP-40.6
    let relay = Relay::start();
    let mut client = relay.connect();
    let at = now();
    client.publish_all([&key(1).event(0, "old", &[], at - 5), &key(1).event(0, "new", &[], at)]);
    assert_eq!(count(&mut client, json!({"kinds": [0]})), 1, "replaced");
    let note = key(1).event(1, "gone", &[&["t", "x"]], at);
    client.publish_all([&note, &key(1).event(5, "", &[&["e", &note.id]], at)]);
    assert_eq!(count(&mut client, json!({"kinds": [1]})), 0, "deleted");
    client.publish_all([&key(1).event(20_001, "", &[], at)]);
    assert_eq!(count(&mut client, json!({"kinds": [20_001]})), 0, "ephemeral");
    let end = now() + 2;
    let expiring = key(1).event(1, "", &[&["t", "x"], &["expiration", &end.to_string()]], at);
    client.publish_all([&expiring]);
    wait_until(end);
    let filters = [
        json!({"kinds": [1]}),
        json!({"#t": ["x"]}),
        json!({"authors": [key(1).public()], "kinds": [1]}),
    ];
    for filter in filters {
        assert_eq!(count(&mut client, filter.clone()), 0, "expired: {filter}");
    }
}

#[test]
fn a_count_is_no_subscription() {
    // K03; NIP-45.5
    let relay = Relay::start();
    let mut client = relay.connect();
    client.stored("count", &[json!({"kinds": [1]})]);
    assert_eq!(count(&mut client, json!({})), 0);
    client.assert_quiet();
    let note = key(1).note("live", now());
    client.publish_all([&note]);
    assert_eq!(client.live("count"), note);
}

#[test]
fn a_refused_count_is_closed_with_a_reason() {
    // K04, K05; NIP-45.3
    let relay = Relay::start();
    let mut client = relay.connect();
    client.count_refused(&[json!({"ids": ["abc"]})], "invalid");
    client.count_refused(&[json!({"foo": 1})], "unsupported");
    client.count_refused(&[json!({"search": "x"})], "unsupported");
    client.count_refused(&[], "invalid");
    client.count_refused(&[json!({"kinds": [4], "#p": [key(2).public()]})], "auth-required");
}

#[test]
fn followers_give_the_registers_that_other_relays_give() {
    // K06; NIP-45.6 to NIP-45.9
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all(&followers());
    let answer = client.counted(&[of_one()]);
    assert_eq!(answer["count"], 4);
    assert_eq!(registers(&answer), [(48, 2), (73, 3), (85, 1), (88, 4)]);
    assert_eq!(registers(&client.counted(&[json!({"#p": [key(1).public()]})])).len(), 4);
    let nobody = client.counted(&[json!({"kinds": [3], "#p": [key(6).public()]})]);
    assert_eq!((nobody["count"].as_u64(), registers(&nobody).len()), (Some(0), 0));
}

#[test]
fn registers_are_only_for_questions_that_define_them() {
    // K09; NIP-45.10
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all(&followers());
    let with = |name: &str, value: Value| {
        let mut filter = of_one();
        filter[name] = value;
        filter
    };
    for filter in [
        json!({"kinds": [3]}),
        with("#p", json!([key(1).public(), key(2).public()])),
        with("#t", json!(["x"])),
        with("since", json!(1)),
        with("until", json!(now())),
        with("limit", json!(10)),
        with("authors", json!([key(2).public()])),
    ] {
        let answer = client.counted(std::slice::from_ref(&filter));
        assert!(answer["hll"].is_null(), "{filter}: {answer}");
    }
    assert!(client.counted(&[of_one(), of_one()])["hll"].is_null(), "two filters");
}

#[test]
fn what_is_deleted_leaves_count_and_registers() {
    // K10; NIP-45.12
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all(&followers());
    let deleted = fixture("FOL5");
    client.publish_all([&key(5).event(5, "", &[&["e", &deleted.id]], now())]);
    let answer = client.counted(&[of_one()]);
    assert_eq!(answer["count"], 3);
    assert_eq!(registers(&answer).len(), 3);
}

#[test]
fn a_count_that_ends_early_says_so() {
    // K11; NIP-45.2
    let relay = Relay::start_with(&["limits.max_count=5"]);
    let mut client = relay.connect();
    let notes: Vec<Event> =
        (0..8).map(|n| key(1).event(1, "", &[&["t", "a"], &["t", "b"]], now() - n)).collect();
    client.publish_all(&notes[..5]);
    let filters = [
        json!({"#t": ["a", "b"]}),
        json!({"#t": ["a"]}),
        json!({"authors": [key(1).public()], "#t": ["a"]}),
    ];
    for filter in &filters {
        let answer = client.counted(std::slice::from_ref(filter));
        assert_eq!(answer["count"], 5, "{filter}");
        assert!(answer["approximate"].is_null(), "exactly as many: {answer}");
    }
    client.publish_all(&notes[5..]);
    for filter in &filters {
        let answer = client.counted(std::slice::from_ref(filter));
        assert_eq!(
            (&answer["count"], &answer["approximate"]),
            (&json!(5), &json!(true)),
            "{filter}"
        );
    }
    // What the indexes know is exact.
    assert_eq!(client.counted(&[json!({"kinds": [1]})]), json!({"count": 8}));
}
