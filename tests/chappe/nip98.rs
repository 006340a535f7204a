//! NIP-98, authorization over HTTP: who signs, for what, when, and once.

use serde_json::json;

use crate::harness::management::post;
use crate::harness::{Call, Relay, base64, call, http, key, now};

const METHOD: &str = "supportedmethods";

fn relay() -> Relay {
    let admins = format!("management.admins={}", key(1).public());
    Relay::start_with(&["relay.url=wss://relay.example.org", &admins])
}

/// Sends a call that is right but for what `spoil` does; returns the status.
#[track_caller]
fn status(relay: &Relay, spoil: impl FnOnce(&mut Call<'_>)) -> u16 {
    let key = key(1);
    let mut call = Call::new(relay.address(), &key, METHOD, &json!([]));
    call.url = "https://relay.example.org/".to_owned();
    spoil(&mut call);
    let response = call.send();
    if response.status != 200 {
        assert!(response.json()["error"].is_string(), "it is said why");
        assert_eq!(response.header("connection"), Some("close"));
    }
    response.status
}

#[test]
fn an_authorization_must_be_for_this_url_method_body_and_time() {
    // NIP-98.1, NIP-98.2, NIP-98.3, NIP-98.5, NIP-86.4
    let relay = relay();
    assert_eq!(status(&relay, |_| {}), 200);
    for url in
        ["wss://relay.example.org", "HTTPS://Relay.Example.org:443", "https://relay.example.org"]
    {
        assert_eq!(status(&relay, |call| call.url = url.to_owned()), 200, "{url}");
    }
    // Whoever sends a request chooses its Host header: only the configuration says who we are.
    let own = format!("http://{}/", relay.address());
    for url in [&own, "https://evil.example/", "https://relay.example.org/admin", "", "x"] {
        assert_eq!(status(&relay, |call| call.url = url.to_owned()), 401, "{url}");
    }
    let query = "https://relay.example.org/?x=y";
    assert_eq!(status(&relay, |call| call.url = query.to_owned()), 401, "another query");
    assert_eq!(status(&relay, |call| call.method = "GET"), 401);
    assert_eq!(status(&relay, |call| call.kind = 22_242), 401);
    assert_eq!(status(&relay, |call| call.at = now() - 70), 401);
    assert_eq!(status(&relay, |call| call.at = now() + 70), 401, "nor from the future");
    assert_eq!(status(&relay, |call| call.at = now() - 40), 200);
    let other = json!({ "method": "listbannedpubkeys", "params": [] }).to_string();
    assert_eq!(status(&relay, |call| call.payload_of = Some(other)), 401);
}

#[test]
fn an_authorization_that_has_changed_something_is_not_good_again_after_a_restart_or_a_crash() {
    let mut relay = relay();
    let key = key(1);
    for (number, is_crash) in [false, true].into_iter().enumerate() {
        let name = json!([format!("name {number}")]);
        let mut call = Call::new(relay.address(), &key, "changerelayname", &name);
        call.url = "https://relay.example.org/".to_owned();
        let header = format!("Nostr {}", base64(call.authorization().line().as_bytes()));
        assert_eq!(call.send_with(&header).status, 200);
        match is_crash {
            true => relay.kill(),
            false => assert!(relay.stop(libc::SIGTERM).success()),
        }
        relay.restart();
        let mut call = Call::new(relay.address(), &key, "changerelayname", &name);
        call.url = "https://relay.example.org/".to_owned();
        let response = call.send_with(&header);
        assert_eq!(response.status, 401);
        assert!(response.json()["error"].to_string().contains("used before"));
    }
}

#[test]
fn an_authorization_is_good_once_on_whichever_connection() {
    // NIP-86.9
    let relay = relay();
    let key = key(1);
    let mut call = Call::new(relay.address(), &key, METHOD, &json!([]));
    call.url = "https://relay.example.org/".to_owned();
    let header = format!("Nostr {}", base64(call.authorization().line().as_bytes()));
    assert_eq!(call.send_with(&header).status, 200);
    // The relay has two cores, and each connection goes to any of them.
    for _ in 0..8 {
        let response = call.send_with(&header);
        assert_eq!(response.status, 401);
        let error = response.json()["error"].to_string();
        assert!(error.contains("used before"), "{error}");
    }
}

#[test]
fn what_is_no_authorization_is_refused() {
    // NIP-86.3, NIP-98.4
    let relay = relay();
    let key = key(1);
    let mut call = Call::new(relay.address(), &key, METHOD, &json!([]));
    call.url = "https://relay.example.org/".to_owned();
    let right = call.authorization();
    let mut forged = right.clone();
    forged.sig = "0".repeat(128);
    let mut other_id = right.clone();
    other_id.id = "0".repeat(64);
    let text = |line: String| format!("Nostr {}", base64(line.as_bytes()));
    let rows = [
        String::new(),
        "Nostr".to_owned(),
        "Nostr !!!!".to_owned(),
        "Nostr e30=".to_owned(),
        format!("Bearer {}", base64(right.line().as_bytes())),
        text(forged.line()),
        text(other_id.line()),
        text("[]".to_owned()),
        format!("Nostr {}", "A".repeat(12_000)),
    ];
    for header in rows {
        assert_eq!(call.send_with(&header).status, 401, "{header:.60}");
    }
    assert_eq!(post(relay.address(), &call.body, &[]).status, 401);
    // Unpadded, as the NIP's own example is.
    let unpadded = text(right.line()).trim_end_matches('=').to_owned();
    assert_eq!(call.send_with(&unpadded).status, 200);
    let get = http(
        relay.address(),
        "GET",
        "/",
        &[("Content-Type", "application/nostr+json+rpc"), ("Authorization", "Nostr e30=")],
    );
    assert_eq!(get.status, 405);
}

#[test]
fn whoever_is_no_administrator_is_told_so_and_does_nothing() {
    let mut relay = relay();
    let (stranger, victim) = (key(2), key(3));
    let mut call = Call::new(relay.address(), &stranger, "banpubkey", &json!([victim.public()]));
    call.url = "https://relay.example.org/".to_owned();
    let response = call.send();
    assert_eq!(response.status, 403);
    assert!(response.json()["error"].as_str().is_some_and(|it| it.contains("administrator")));
    relay.connect().publish(&victim.note("still welcome", now())).is_true("", "it did nothing");
    relay.assert_serving();
}

#[test]
fn bodies_that_are_too_long_or_never_come_are_refused() {
    let mut relay = relay();
    let body = "x".repeat(70_000);
    assert_eq!(post(relay.address(), &body, &[("Authorization", "Nostr e30=")]).status, 413);
    relay.assert_serving();
}

#[test]
fn without_administrators_there_is_no_management() {
    let relay = Relay::start();
    assert_eq!(post(relay.address(), "{}", &[("Authorization", "Nostr e30=")]).status, 403);
    let key = key(1);
    let refused = call(relay.address(), &key, METHOD, json!([]));
    assert!(refused.is_err_and(|error| error.contains("no administrators")));
}
