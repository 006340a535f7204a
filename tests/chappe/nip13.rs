//! NIP-13, proof of work: how much an event needs, and what it has committed to.

use serde_json::Value;

use crate::harness::{Event, Relay, fixture, http, key, now};

fn advertised(relay: &Relay) -> Value {
    let accept = ("Accept", "application/nostr+json");
    http(relay.address(), "GET", "/", &[accept]).json()["limitation"]["min_pow_difficulty"].clone()
}

/// A note with at least so many leading zero bits and less than twice the work, aimed at `target`.
fn worked(bits: u32, target: Option<u32>) -> Event {
    let at = now();
    for nonce in 0_u64.. {
        let (nonce, target) = (nonce.to_string(), target.map(|bits| bits.to_string()));
        let mut tag = vec!["nonce", &nonce];
        tag.extend(target.as_deref());
        let event = key(1).event(1, "work", &[&tag], at);
        let head = u64::from_str_radix(&event.id[..16], 16).expect("ids are hex");
        if head.leading_zeros() == bits {
            return event;
        }
    }
    unreachable!("every difficulty is reached in the end")
}

#[test]
fn an_event_needs_the_difficulty_that_is_advertised() {
    // S01; NIP-13.1, NIP-13.2
    let relay = Relay::start_with(&["policy.min_pow_difficulty=16"]);
    assert_eq!(advertised(&relay), 16);
    let mut client = relay.connect();
    client.publish(&fixture("S1")).is_false("pow", "S01");
    client.publish(&fixture("PW")).is_true("", "S01");
    let relay = Relay::start_with(&["policy.min_pow_difficulty=17"]);
    relay.connect().publish(&fixture("PW")).is_false("pow", "S01");
    let relay = Relay::start();
    assert_eq!(advertised(&relay), Value::Null);
    relay.connect().publish(&fixture("S1")).is_true("", "without a minimum");
}

#[test]
fn luck_beyond_the_committed_target_does_not_count() {
    // NIP-13.3
    let relay = Relay::start_with(&["policy.min_pow_difficulty=5"]);
    let mut client = relay.connect();
    client.publish(&worked(6, Some(4))).is_false("pow", "aimed at 4, reached 6");
    client.publish(&worked(4, Some(6))).is_false("pow", "aimed at 6, reached 4");
    client.publish(&worked(5, Some(5))).is_true("", "aimed at 5, reached 5");
    client.publish(&worked(5, None)).is_true("", "without a target");
    let relay =
        Relay::start_with(&["policy.min_pow_difficulty=5", "policy.require_pow_commitment=true"]);
    let mut client = relay.connect();
    client.publish(&worked(5, None)).is_false("pow", "without a target");
    client.publish(&worked(5, Some(5))).is_true("", "with a target");
}

#[test]
fn wraps_need_work_and_proofs_and_requests_to_vanish_do_not() {
    // NIP-13.4, NIP-62.5
    let relay = Relay::start_with(&["policy.min_pow_difficulty=40"]);
    let mut client = relay.connect();
    let wrap = key(77).event(1059, "", &[&["p", key(2).public()]], now());
    client.publish(&wrap).is_false("pow", "a gift wrap");
    client.authenticate(&key(1));
    let vanish = key(9).event(62, "", &[&["relay", "ALL_RELAYS"]], now());
    client.publish(&vanish).is_true("", "a request to vanish");
}
