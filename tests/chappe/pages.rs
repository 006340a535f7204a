//! Pages for people, as HTTP has them: what is sent, to whom, and what a browser is held to. What
//! people see is in `tests/pages`.

use std::io::Read;

use serde_json::json;

use crate::harness::{Relay, Response, call, http, key};

fn get(relay: &Relay, path: &str, headers: &[(&str, &str)]) -> Response {
    http(relay.address(), "GET", path, headers)
}

#[track_caller]
fn assert_held(response: &Response) {
    let policy = response.header("content-security-policy").unwrap_or_default();
    for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{rule} in {policy:?}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
}

#[test]
fn every_file_of_the_front_page_is_there_and_held_to_the_same() {
    let relay = Relay::start();
    let page = get(&relay, "/", &[("Accept", "text/html")]);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_held(&page);
    let text = String::from_utf8(page.body.clone()).expect("pages are UTF-8");
    let files: Vec<&str> = text.split('"').filter(|part| part.starts_with("/pages/")).collect();
    assert!(files.len() >= 4, "{files:?}");
    for path in files {
        let file = get(&relay, path, &[]);
        assert_eq!(file.status, 200, "{path}");
        assert_held(&file);
    }
    assert_eq!(get(&relay, "/pages/other.js", &[]).status, 404);
    assert_eq!(http(relay.address(), "POST", "/pages/base.css", &[]).status, 405);
}

#[test]
fn what_a_browser_has_is_not_sent_again_and_the_rest_is_compressed() {
    let relay = Relay::start();
    for path in ["/", "/pages/base.css"] {
        let plain = get(&relay, path, &[]);
        assert_eq!(plain.header("content-encoding"), None);
        let tag = plain.header("etag").expect("contents have a name").to_owned();
        let packed = get(&relay, path, &[("Accept-Encoding", "br;q=1.0, gzip;q=0.8")]);
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert!(packed.header("vary").unwrap_or_default().contains("Accept-Encoding"));
        let mut unpacked = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&packed.body[..]);
        decoder.read_to_end(&mut unpacked).expect("it is gzip");
        assert!(unpacked == plain.body, "{path} is the same either way");
        assert_eq!(packed.header("etag"), Some(&*tag));
        let refused = get(&relay, path, &[("Accept-Encoding", "gzip;q=0")]);
        assert_eq!(refused.header("content-encoding"), None);
        let list = format!("\"other\", {tag}");
        let known = get(&relay, path, &[("If-None-Match", &list)]);
        assert_eq!((known.status, known.body.len()), (304, 0), "{path}");
        assert_eq!(get(&relay, path, &[("If-None-Match", "\"other\"")]).status, 200);
    }
}

#[test]
fn names_from_elsewhere_are_text_on_the_page() {
    let relay = Relay::start_with(&[
        "relay.name=</title><script>x</script>",
        "relay.description=\"' onload='x' <img src=x>",
        "relay.contact=https://a.example/\" onclick=\"x",
        "relay.icon=https://tracker.example/i.png",
        "relay.url=wss://relay.example/\"><i>",
    ]);
    let text = String::from_utf8(get(&relay, "/", &[]).body).expect("pages are UTF-8");
    for part in ["<script>x", "<img src=x", "' onload", "\" onclick", "\"><i>", "tracker"] {
        assert!(!text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("&lt;script&gt;x&lt;/script&gt;"), "{text}");
}

#[test]
fn numbers_are_totals_and_those_of_a_closed_relay_tell_less() {
    let open = Relay::start();
    open.connect().publish_all(&[key(1).note("one", 1), key(2).note("two", 2)]);
    let numbers = get(&open, "/pages/counters.json", &[]);
    assert_eq!(numbers.header("content-type"), Some("application/json"));
    let mut names: Vec<String> =
        numbers.json().as_object().expect("an object").keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["connections", "events", "received", "sent", "subscriptions", "up_secs"]);
    assert_eq!(numbers.json()["received"], 2);
    let closed = Relay::start_with(&["auth.required=true"]);
    assert!(get(&closed, "/pages/counters.json", &[]).json()["events"].is_null());
    let silent = Relay::start_with(&["pages.counters=false"]);
    assert_eq!(get(&silent, "/pages/counters.json", &[]).status, 404);
    let text = String::from_utf8(get(&silent, "/", &[]).body).expect("pages are UTF-8");
    assert!(!text.contains("data-count"), "{text}");
}

#[test]
fn the_page_of_administrators_is_there_unless_it_is_switched_off() {
    let text = |relay: &Relay, path: &str| {
        String::from_utf8(get(relay, path, &[]).body).expect("pages are UTF-8")
    };
    let admins = format!("management.admins={}", key(1).public());
    let relay = Relay::start_with(&[&admins]);
    let page = get(&relay, "/admin", &[]);
    assert_eq!(page.status, 200);
    assert_held(&page);
    assert!(text(&relay, "/").contains("href=\"/admin\""));
    // Every module that another one imports is there.
    let mut waiting = vec!["/pages/admin.js".to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = waiting.pop() {
        let file = get(&relay, &path, &[]);
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.header("content-type"), Some("text/javascript; charset=utf-8"));
        let script = text(&relay, &path);
        let imported = script.lines().filter(|line| line.starts_with("import "));
        let names = imported.filter_map(|line| line.split("from \"./").nth(1)?.split('"').next());
        seen.push(path.clone());
        waiting.extend(names.map(|name| format!("/pages/{name}")).filter(|it| !seen.contains(it)));
    }
    assert!(seen.len() >= 6, "{seen:?}");
    let nobody = Relay::start();
    assert!(!text(&nobody, "/").contains("href=\"/admin\""), "nobody could log in");
    let off = Relay::start_with(&[&admins, "pages.admin=false"]);
    assert_eq!(get(&off, "/admin", &[]).status, 404);
    assert!(!text(&off, "/").contains("href=\"/admin\""));
}

#[test]
fn a_relay_without_a_page_still_says_what_it_is() {
    let relay = Relay::start_with(&["pages.front=false"]);
    let page = get(&relay, "/", &[("Accept", "text/html")]);
    assert_eq!(page.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(String::from_utf8_lossy(&page.body).contains("Nostr relay"));
    let document = get(&relay, "/", &[("Accept", "application/nostr+json")]);
    assert!(document.json()["supported_nips"].is_array());
    relay.connect();
}

#[test]
fn the_page_says_who_may_publish_and_what_administrators_decided() {
    let text =
        |relay: &Relay| String::from_utf8(get(relay, "/", &[]).body).expect("pages are UTF-8");
    let relay = Relay::start_with(&[&format!("management.admins={}", key(1).public())]);
    assert!(text(&relay).contains("Anyone may publish here."));
    assert!(text(&relay).contains("Events from an address</th><td>3k/min<"), "{}", text(&relay));
    assert!(text(&relay).contains("Not taken are events of kind 13, 14, 15 or 444."));
    call(relay.address(), &key(1), "disallowkind", json!([7])).expect("kinds can be refused");
    assert!(text(&relay).contains("Not taken are events of kind 7, 13, 14, 15 or 444."));
    let closed = Relay::start_with(&[
        &format!("policy.allowed_authors={}", key(2).public()),
        &format!("policy.trust_roots={}", key(3).public()),
        "auth.required=true",
    ]);
    let expected = "Only authors on the operator&#39;s list, and authors in the operator&#39;s web \
                    of trust publish here, after proving who they are (NIP-42).";
    assert!(text(&closed).contains(expected), "{}", text(&closed));
}
