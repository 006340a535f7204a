//! NIP-11, the information document: who gets it, and that every line of it is true.

use serde_json::{Value, json};

use crate::harness::client::Received;
use crate::harness::{Event, RawSocket, Relay, Response, http, key, now};

const ACCEPT: (&str, &str) = ("Accept", "application/nostr+json");

fn document(relay: &Relay) -> Value {
    let response = http(relay.address(), "GET", "/", &[ACCEPT]);
    assert_eq!(response.status, 200);
    response.json()
}

#[track_caller]
fn assert_cors(response: &Response) {
    let origin = response.header("access-control-allow-origin");
    assert_eq!(origin, Some("*"), "{:?}", response.headers);
    for name in ["access-control-allow-headers", "access-control-allow-methods"] {
        assert!(response.header(name).is_some(), "{name} in {:?}", response.headers);
    }
}

#[test]
fn the_document_is_served_on_the_websocket_address() {
    // G01, G02; NIP-11.1, NIP-11.2
    let relay = Relay::start_with(&[
        "relay.name=A test",
        "relay.description=Says \"nothing\" \u{e9}",
        "relay.contact=mailto:test@example.com",
        &format!("relay.pubkey={}", key(1).public()),
    ]);
    let accepts = [
        "application/nostr+json",
        "application/nostr+json, */*",
        "text/html;q=0.5, application/nostr+json;q=0.9",
        "Application/Nostr+JSON",
    ];
    for accept in accepts {
        let response = http(relay.address(), "GET", "/", &[("accept", accept)]);
        assert_eq!(response.status, 200, "G01 {accept}");
        let kind = response.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/nostr+json"), "{accept}: {kind}");
        let vary = response.header("vary").unwrap_or_default().to_lowercase();
        assert!(vary.contains("accept"), "G01 Vary: {vary:?}");
        assert_cors(&response);
        let document = response.json();
        assert_eq!(document["name"], "A test");
        assert_eq!(document["description"], "Says \"nothing\" \u{e9}");
        assert_eq!(document["contact"], "mailto:test@example.com");
        assert_eq!(document["pubkey"], key(1).public());
    }
    let query = http(relay.address(), "GET", "/?x=y", &[ACCEPT]);
    assert_eq!(query.json()["name"], "A test");
}

#[test]
fn a_preflight_is_answered() {
    // G03
    let relay = Relay::start();
    let headers = [
        ("Origin", "https://example.com"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let response = http(relay.address(), "OPTIONS", "/", &headers);
    assert!((200..300).contains(&response.status), "{response:?}");
    assert_cors(&response);
    let allowed = response.header("access-control-allow-headers").unwrap_or_default();
    let allows = allowed == "*" || allowed.to_lowercase().contains("authorization");
    assert!(allows, "authorization is allowed by {allowed:?}");
}

#[test]
fn a_browser_gets_a_page_and_other_paths_are_not_found() {
    // G04; NIP-11.9
    let relay = Relay::start();
    for accept in ["text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "*/*"] {
        let response = http(relay.address(), "GET", "/", &[("Accept", accept)]);
        assert_eq!(response.status, 200, "G04 {accept}");
        let kind = response.header("content-type").unwrap_or_default();
        assert!(!kind.contains("json"), "G04 {accept} gets {kind}");
        assert!(!response.body.is_empty(), "there is something to read");
    }
    assert_eq!(http(relay.address(), "GET", "/nowhere", &[ACCEPT]).status, 404);
    let post = http(relay.address(), "POST", "/", &[("Content-Length", "0")]).status;
    assert!((400..500).contains(&post), "POST is answered with {post}");
}

#[test]
fn only_what_is_true_is_in_the_document() {
    // G05; NIP-11.3, NIP-11.4
    let relay = Relay::start();
    let document = document(&relay);
    let nips = document["supported_nips"].as_array().expect("a list of NIPs");
    let nips: Vec<u64> = nips.iter().map(|nip| nip.as_u64().expect("integers")).collect();
    for nip in [1, 2, 4, 9, 11, 13, 17, 40, 42, 45, 59, 62, 65, 67, 70, 77] {
        assert!(nips.contains(&nip), "NIP-{nip} is in {nips:?}");
    }
    let mut sorted = nips.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(nips, sorted, "in order, each once");
    if let Some(software) = document["software"].as_str() {
        let is_url = software.starts_with("https://") || software.starts_with("git+https://");
        assert!(is_url, "{software} is a URL");
    }
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    for (name, value) in document.as_object().expect("an object") {
        let empty = value.is_null() || *value == json!("") || *value == json!([]);
        assert!(!empty, "{name} is left out when there is nothing to say");
    }
    for name in ["pubkey", "self"] {
        let Some(value) = document[name].as_str() else { continue };
        assert!(value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    }
}

#[test]
fn the_document_follows_the_settings() {
    // NIP-11.5, NIP-11.6
    let relay = Relay::start_with(&[
        "auth.required=true",
        "auth.restricted_kinds=31234",
        "policy.min_pow_difficulty=8",
    ]);
    let strict = document(&relay);
    assert_eq!(strict["limitation"]["auth_required"], true);
    assert_eq!(strict["limitation"]["min_pow_difficulty"], 8);
    for nip in [4, 17, 59] {
        let nips = strict["supported_nips"].as_array().expect("a list of NIPs");
        assert!(!nips.contains(&json!(nip)), "NIP-{nip} is not kept with these settings");
    }
    let open = document(&Relay::start());
    assert_eq!(open["limitation"]["auth_required"], false);
    assert!(open["limitation"]["min_pow_difficulty"].is_null());
    assert!(open["limitation"]["created_at_lower_limit"].is_null());
}

#[test]
fn each_advertised_limit_is_the_enforced_one() {
    // G06: the numbers come from the document, never from this file.
    let mut relay = Relay::start_with(&[
        "limits.max_message_bytes=20000",
        "limits.max_subscriptions=4",
        "limits.max_limit=20",
        "limits.default_limit=7",
        "limits.max_event_tags=12",
        "limits.max_content_length=50",
        "limits.created_at_past_secs=100000",
        "limits.created_at_future_secs=300",
    ]);
    let document = document(&relay);
    let limit = |name: &str| {
        let value = document["limitation"][name].as_u64();
        value.unwrap_or_else(|| panic!("{name} is advertised in {document}"))
    };
    let size = |name: &str| usize::try_from(limit(name)).expect("a small number");
    let mut client = relay.connect();

    let characters = size("max_content_length");
    let recent = now() - 1000;
    client.publish(&key(1).note(&"x".repeat(characters), recent)).is_true("", "content");
    client
        .publish(&key(1).note(&"x".repeat(characters + 1), recent))
        .is_false("invalid", "content");

    let tagged = |count: usize| {
        let tag = vec!["t".to_owned(), "x".to_owned()];
        key(1).event_owned(1, "tags", vec![tag; count], recent)
    };
    client.publish(&tagged(size("max_event_tags"))).is_true("", "tags");
    client.publish(&tagged(size("max_event_tags") + 1)).is_false("invalid", "tags");

    let oldest = now() - limit("created_at_lower_limit");
    client.publish(&key(1).note("old", oldest + 60)).is_true("", "created_at");
    client.publish(&key(1).note("too old", oldest - 1)).is_false("invalid", "created_at");
    let newest = now() + limit("created_at_upper_limit");
    client.publish(&key(1).note("early", newest - 60)).is_true("", "created_at");
    client.publish(&key(1).note("too early", newest + 60)).is_false("invalid", "created_at");

    let max_limit = size("max_limit");
    let many = u64::try_from(max_limit + 5).expect("a small number");
    let events: Vec<Event> = (0..many).map(|n| key(2).note(&format!("{n}"), recent + n)).collect();
    client.publish_all(&events);
    let filter = json!({"authors": [key(2).public()]});
    assert_eq!(client.ids(&[filter]).len(), size("default_limit"));
    let filter = json!({"authors": [key(2).public()], "limit": max_limit + 3});
    assert_eq!(client.ids(&[filter]).len(), max_limit);

    let long = "s".repeat(size("max_subid_length"));
    client.stored(&long, &[json!({"limit": 0})]);
    client.close(&long);
    let longer = format!("{long}s");
    client.request(&longer, &[json!({"limit": 0})]);
    assert!(client.closed(&longer).starts_with("invalid: "));

    for number in 0..limit("max_subscriptions") {
        client.stored(&format!("{number}"), &[json!({"limit": 0})]);
    }
    client.request("more", &[json!({"limit": 0})]);
    assert!(client.closed("more").starts_with("rate-limited: "));

    let mut client = relay.connect();
    let sized = |bytes: usize| {
        let text = "[\"REQ\",\"sized\",{\"limit\":0}]";
        text.replace("]", &format!("{}]", " ".repeat(bytes - text.len())))
    };
    client.send_text(sized(size("max_message_length")));
    client.until_eose("sized");
    client.send_text(sized(size("max_message_length") + 1));
    let refused = client.wait_for("a NOTICE or the end", |received| match received {
        Received::Json(_, value) => Some(value[0] == "NOTICE"),
        Received::End(code) => Some(*code == Some(1009)),
        Received::Pong(_) => None,
    });
    assert!(refused, "neither a NOTICE nor close 1009");
    relay.assert_serving();
}

#[test]
fn http_that_is_none_is_refused_without_harm() {
    let mut relay = Relay::start();
    let rows: [&[u8]; 6] = [
        b"\r\n\r\n\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    ];
    for row in rows {
        let mut socket = RawSocket::open(relay.address());
        socket.send(row);
        socket.finish_sending();
        // Whatever the words, the connection ends.
        socket.read_to_end();
    }
    let mut socket = RawSocket::open(relay.address());
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(300_000));
    socket.send(long.as_bytes());
    socket.finish_sending();
    socket.read_to_end();
    relay.assert_serving();
}
