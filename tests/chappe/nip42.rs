//! NIP-42, authentication: the challenge, what a proof must be, and what it is good for.

use serde_json::json;

use crate::harness::client::Received;
use crate::harness::{Event, Relay, key, now};

/// The address that the relays of these tests are known by.
const URL: &str = "wss://relay.example.org";

fn known() -> Relay {
    Relay::start_with(&[&format!("relay.url={URL},ws://hidden.onion")])
}

/// A proof of K1 with these tags.
fn proof(tags: &[&[&str]], at: u64) -> Event {
    key(1).event(22_242, "", tags, at)
}

#[test]
fn every_connection_begins_with_a_challenge_of_its_own() {
    // H01; NIP-42.5, NIP-42.8. That it comes first is what the harness waits for.
    let relay = Relay::start();
    let mut all: Vec<String> = Vec::new();
    for _ in 0..20 {
        let client = relay.connect();
        assert!(client.challenge().len() >= 32, "a challenge is long: {}", client.challenge());
        all.push(client.challenge().to_owned());
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 20, "no two are the same");
}

#[test]
fn a_proof_is_answered_with_ok_under_its_own_id() {
    // H02; NIP-42.2, NIP-42.14
    let relay = Relay::start();
    let mut client = relay.connect();
    let proof = client.proof(&key(1));
    for _ in 0..2 {
        let verdict = client.present(&proof);
        assert!(verdict.accepted && verdict.text.is_empty(), "{verdict:?}");
    }
    client.assert_quiet();
}

#[test]
fn every_part_of_a_proof_must_be_right() {
    // H03, H04, H05, H06, H08, H10; NIP-42.6, NIP-42.12
    let relay = known();
    let mut client = relay.connect();
    let challenge = client.challenge().to_owned();
    let relay_tag: &[&str] = &["relay", URL];
    let answer: &[&str] = &["challenge", &challenge];
    let wrong: &[&str] = &["challenge", "0123456789abcdef0123456789abcdef"];
    let evil: &[&str] = &["relay", "wss://evil.example"];
    let rows = [
        ("H03", key(1).event(1, "", &[relay_tag, answer], now())),
        ("H04", proof(&[relay_tag, wrong], now())),
        ("H04 and the right one", proof(&[relay_tag, wrong, answer], now())),
        ("H05", proof(&[evil, answer], now())),
        ("H05 and the right one", proof(&[evil, relay_tag, answer], now())),
        (
            "a name that ends in ours",
            proof(&[&["relay", "wss://x.relay.example.org"], answer], now()),
        ),
        ("H06", proof(&[relay_tag, answer], now() - 1_800)),
        ("H06", proof(&[relay_tag, answer], now() + 1_800)),
        ("H08", proof(&[relay_tag, relay_tag], now())),
        ("no relay", proof(&[answer], now())),
        ("two challenges", proof(&[answer, answer], now())),
    ];
    for (name, proof) in rows {
        client.present(&proof).is_false("invalid", name);
    }
    let mut forged = proof(&[relay_tag, answer], now());
    forged.sig = forged.sig.replace(['0', '1', '2'], "3");
    client.present(&forged).is_false("invalid", "H10");
    let mut renamed = proof(&[relay_tag, answer], now());
    renamed.pubkey = key(2).public().to_owned();
    client.present(&renamed).is_false("invalid", "somebody else's name");
    client.refused(&[json!({"kinds": [1059]})], "auth-required");
    client.present(&proof(&[relay_tag, answer], now() - 500)).is_true("", "a slow clock");
}

#[test]
fn spellings_of_the_relay_s_address_do_not_matter() {
    // H09; NIP-42.7
    let relay = known();
    for spelling in [
        "wss://relay.example.org",
        "wss://relay.example.org/",
        "wss://RELAY.Example.ORG",
        "ws://relay.example.org",
        "wss://relay.example.org:443",
        "ws://hidden.onion/",
    ] {
        let mut client = relay.connect();
        let challenge = client.challenge().to_owned();
        let proof = proof(&[&["challenge", &challenge], &["relay", spelling]], now());
        client.present(&proof).is_true("", spelling);
    }
}

#[test]
fn without_a_configured_address_only_this_machine_is_meant() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let challenge = client.challenge().to_owned();
    let port = relay.address().rsplit_once(':').expect("an address has a port").1;
    let with = |url: &str| proof(&[&["challenge", &challenge], &["relay", url]], now());
    for url in ["wss://relay.example.org", "ws://10.0.0.1", "127.0.0.1", ""] {
        client.present(&with(url)).is_false("invalid", url);
    }
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"] {
        let url = format!("ws://{host}:{port}");
        client.present(&with(&url)).is_true("", &url);
    }
}

#[test]
fn several_keys_of_one_connection_are_all_authenticated() {
    // H07; NIP-42.3, NIP-42.13
    let relay = Relay::start();
    let mut client = relay.connect();
    let wraps = [2, 3].map(|number| {
        let recipient = key(number).public().to_owned();
        key(70 + number).event(1059, "", &[&["p", &recipient]], now())
    });
    client.publish_all(&wraps);
    for number in 1..=20 {
        client.authenticate(&key(number));
    }
    for number in [1, 2, 20] {
        let protected = key(number).event(1, "mine", &[&["-"]], now());
        client.publish(&protected).is_true("", number);
    }
    let found = client.ids(&[json!({"kinds": [1059]})]);
    assert_eq!(found.len(), 2, "the wraps of K2 and of K3");
    let foreign = key(21).event(1, "not mine", &[&["-"]], now());
    client.publish(&foreign).is_false("restricted", "K21");
}

#[test]
fn a_proof_is_good_for_one_connection_alone() {
    // H13
    let relay = Relay::start();
    let mut first = relay.connect();
    let proof = first.proof(&key(1));
    first.present(&proof).is_true("", "where it belongs");
    let mut second = relay.connect();
    second.present(&proof).is_false("invalid", "H13");
    second.refused(&[json!({"kinds": [4]})], "auth-required");
}

#[test]
fn a_proof_is_never_stored_or_shown() {
    // H14, B37; NIP-42.4
    let relay = Relay::start();
    let [mut client, mut listener] = [relay.connect(), relay.connect()];
    listener.stored("all", &[json!({}), json!({"kinds": [22_242]})]);
    client.authenticate(&key(1));
    let proof = client.proof(&key(2));
    client.publish(&proof).is_false("invalid", "B37");
    listener.assert_quiet();
    assert!(client.ids(&[json!({"kinds": [22_242]})]).is_empty());
    assert_eq!(client.counted(&[json!({})]), json!({"count": 0}));
}

#[test]
fn a_relay_that_requires_authentication_does_nothing_before_it() {
    // H11; NIP-42.9, NIP-42.10, NIP-42.11
    let relay = Relay::start_with(&["auth.required=true"]);
    let mut client = relay.connect();
    let note = key(1).note("hello", now());
    client.publish(&note).is_false("auth-required", "EVENT");
    client.refused(&[json!({})], "auth-required");
    client.count_refused(&[json!({})], "auth-required");
    client.send(&json!(["NEG-OPEN", "n", {}, "6100000200"]));
    let reason = client.wait_for_json("NEG-ERR", |message| {
        (message[0] == "NEG-ERR").then(|| message[2].as_str().unwrap_or_default().to_owned())
    });
    assert!(reason.starts_with("auth-required: "), "{reason}");
    // Requests to vanish are obeyed whoever brings them.
    let vanish = key(9).event(62, "", &[&["relay", "ALL_RELAYS"]], now());
    client.publish(&vanish).is_true("", "a request to vanish");
    // What follows the proof at once is already answered for who has given it.
    let proof = client.proof(&key(7));
    client.send(&json!(["AUTH", proof.json()]));
    client.send(&json!(["EVENT", note.json()]));
    client.send(&json!(["REQ", "later", {"kinds": [1]}]));
    client.verdict(&proof.id).is_true("", "the proof");
    client.verdict(&note.id).is_true("", "EVENT of another author");
    client.until_eose("later");
    assert_eq!(client.counted(&[json!({"kinds": [1]})])["count"], 1);
}

#[test]
fn junk_for_a_proof_leaves_the_connection_usable() {
    let relay = Relay::start();
    let mut client = relay.connect();
    for junk in [json!(["AUTH"]), json!(["AUTH", "x"]), json!(["AUTH", {}]), json!(["AUTH", null])]
    {
        client.send(&junk);
        client.wait_for("an answer", |received| {
            let Received::Json(_, message) = received else { return None };
            (message[0] == "OK" || message[0] == "NOTICE").then_some(())
        });
    }
    client.authenticate(&key(1));
}
