//! NIP-46 and NIP-47: requests to remote signers and wallets, which are ephemeral, come from keys
//! that nobody has heard of, and are waited for.

use serde_json::json;

use crate::harness::{Relay, key, now};

#[test]
fn a_request_of_a_key_nobody_knows_reaches_the_signer_and_the_answer_comes_back() {
    // NIP-46.1; subscriptions as signers and clients open them
    let relay = Relay::start();
    let [mut signer, mut client] = [relay.connect(), relay.connect()];
    let (ours, theirs) = (key(50), key(51));
    signer.stored("in", &[json!({"kinds": [24_133], "#p": [ours.public()], "limit": 0})]);
    let since = json!({"kinds": [24_133], "#p": [theirs.public()], "since": now() - 10});
    client.stored("out", &[since]);
    for number in 0..20 {
        let text = format!("request {number}");
        let request = theirs.event(24_133, &text, &[&["p", ours.public()]], now());
        client.publish(&request).is_true("", "a request");
        assert_eq!(signer.live("in"), request);
        let answer = ours.event(24_133, &text, &[&["p", theirs.public()]], now());
        signer.publish(&answer).is_true("", "an answer");
        assert_eq!(client.live("out"), answer);
    }
}

#[test]
fn requests_are_taken_whoever_listens_and_never_kept() {
    // NIP-46.2, NIP-47.1, NIP-47.3, NIP-01.43
    let relay = Relay::start();
    let mut client = relay.connect();
    let (wallet, past) = (key(5), (now() - 5).to_string());
    for kind in [24_133, 23_194, 23_195, 23_196, 23_197] {
        let tags: [&[&str]; 2] = [&["p", wallet.public()], &["expiration", &past]];
        let request = key(60).event(kind, "sealed", &tags, now());
        client.publish(&request).is_true("", kind);
        assert!(client.ids(&[json!({"kinds": [kind]})]).is_empty());
        assert_eq!(client.count(&[json!({"kinds": [kind]})]), 0);
    }
}

#[test]
fn what_a_wallet_says_of_itself_is_kept_and_replaced() {
    // NIP-47.1
    let relay = Relay::start();
    let mut client = relay.connect();
    let [old, new] = [1, 2].map(|at| key(5).event(13_194, "pay_invoice", &[], at));
    client.publish_all([&old, &new]);
    assert_eq!(client.ids(&[json!({"kinds": [13_194]})]), [new.id.as_str()]);
}

#[test]
fn payloads_of_64_kilobytes_pass() {
    // NIP-47.2
    let relay = Relay::start();
    let [mut wallet, mut client] = [relay.connect(), relay.connect()];
    wallet.stored("in", &[json!({"kinds": [23_194], "#p": [key(5).public()], "limit": 0})]);
    let request = key(60).event(23_194, &"x".repeat(65_536), &[&["p", key(5).public()]], now());
    client.publish(&request).is_true("", "64 KiB");
    assert_eq!(wallet.live("in"), request);
}
