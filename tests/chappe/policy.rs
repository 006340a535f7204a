//! What is taken from whom, where the operator says so.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Key, PATIENCE, Relay, command, http, key, now};

fn listed(name: &str, keys: &[Key]) -> String {
    let keys: Vec<&str> = keys.iter().map(Key::public).collect();
    format!("policy.{name}={}", keys.join(","))
}

fn restricted_writes(relay: &Relay) -> Value {
    let accept = ("Accept", "application/nostr+json");
    http(relay.address(), "GET", "/", &[accept]).json()["limitation"]["restricted_writes"].clone()
}

#[test]
fn with_a_list_of_authors_nobody_else_publishes() {
    // H12, S05
    let relay = Relay::start_with(&[&listed("allowed_authors", &[key(1)])]);
    assert_eq!(restricted_writes(&relay), true);
    let mut client = relay.connect();
    client.publish(&key(1).event(1, "", &[], now())).is_true("", "who is listed");
    client.publish(&key(2).event(1, "", &[], now())).is_false("restricted", "who is not");
    client.authenticate(&key(2));
    client.publish(&key(2).event(1, "b", &[], now())).is_false("restricted", "known, not listed");
    for kind in [0, 10_002, 10_050] {
        client.publish(&key(2).event(kind, "{}", &[], now())).is_true("", "where to find one");
    }
    let wrap = |to: &Key| key(77).event(1_059, "", &[&["p", to.public()]], now());
    client.publish(&wrap(&key(1))).is_true("", "a wrap to who is listed");
    client.publish(&wrap(&key(3))).is_false("restricted", "a wrap to a stranger");
    client.authenticate(&key(1));
    client.publish(&wrap(&key(4))).is_true("", "a wrap sent by who is listed");
    let vanish = key(9).event(62, "", &[&["relay", "ALL_RELAYS"]], now());
    client.publish(&vanish).is_true("", "a request to vanish");
    assert_eq!(restricted_writes(&Relay::start()), false);
}

#[test]
fn lists_may_be_files_whose_mistakes_are_told_by_line() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let path = folder.path().join("keys.txt");
    let text = format!("# friends\n{}  # the first\n\n{}\n", key(1).public(), key(2).public());
    fs::write(&path, text).expect("files can be written");
    let setting = format!("policy.refused_authors_file={}", path.display());
    let relay = Relay::start_with(&[&setting, &listed("refused_authors", &[key(3)])]);
    let mut client = relay.connect();
    for (number, expected) in [(1, false), (2, false), (3, false), (4, true)] {
        let verdict = client.publish(&key(number).event(1, "", &[], now()));
        assert_eq!(verdict.accepted, expected, "{number}: {verdict:?}");
    }
    fs::write(&path, "# friends\n\nnonsense\n").expect("files can be written");
    let data = folder.path().join("data").display().to_string();
    let start = |setting: &str| {
        command(&["serve", "--listen", "127.0.0.1:0", "--data", &data, "--set", setting])
    };
    start(&setting).code(2).says("keys.txt:3");
    start("policy.refused_words_file=/no/such/file").code(2).says("/no/such/file");
}

#[test]
fn kinds_tags_and_words_are_refused() {
    let relay = Relay::start_with(&[
        "policy.allowed_kinds=0-9",
        "policy.refused_tags=t=spam,ad",
        "policy.refused_words=casino,\"quoted\"",
    ]);
    let mut client = relay.connect();
    let rows: [(u16, &str, &[&[&str]], bool); 9] = [
        (1, "fine", &[], true),
        (10, "fine", &[], false),
        (9, "fine", &[&["t", "news"]], true),
        (1, "fine", &[&["t", "news"], &["t", "spam"]], false),
        (1, "fine", &[&["ad", "x"]], false),
        (1, "the Casino is open", &[], false),
        (1, "line\nCASINO\nline", &[], false),
        (1, "occasinos", &[], true),
        (1, "a \"quoted\" word", &[], false),
    ];
    for (kind, content, tags, expected) in rows {
        let verdict = client.publish(&key(1).event(kind, content, tags, now()));
        assert_eq!(verdict.accepted, expected, "{kind} {content} {tags:?}: {verdict:?}");
        assert!(expected || verdict.has_prefix("blocked"), "{verdict:?}");
    }
}

#[test]
fn a_relay_about_something_takes_what_has_its_tags_and_words() {
    let relay = Relay::start_with(&[
        "policy.allowed_tags=t=chess,t=go",
        "policy.allowed_words=opening,endgame",
        "policy.open_kinds=0,10002",
    ]);
    let mut client = relay.connect();
    let rows: [(u16, &str, &[&[&str]], bool); 6] = [
        (1, "an Opening", &[&["t", "chess"]], true),
        (1, "the endgame", &[&["t", "news"], &["t", "go"]], true),
        (1, "an opening", &[&["t", "news"]], false),
        (1, "weather", &[&["t", "chess"]], false),
        (0, "{}", &[], true),
        (5, "", &[&["k", "1"]], true),
    ];
    for (kind, content, tags, expected) in rows {
        let verdict = client.publish(&key(1).event(kind, content, tags, now()));
        assert_eq!(verdict.accepted, expected, "{kind} {content} {tags:?}: {verdict:?}");
        assert!(expected || verdict.has_prefix("blocked"), "{verdict:?}");
    }
}

#[test]
fn size_age_and_work_are_asked_by_kind() {
    let relay = Relay::start_with(&[
        "policy.max_bytes_by_kind=1=1k",
        "policy.max_age_by_kind=7=1h",
        "policy.min_pow_by_kind=8=200,30000-39999=0",
        "policy.min_pow_difficulty=0",
    ]);
    let mut client = relay.connect();
    let long = "x".repeat(2_000);
    client.publish(&key(1).event(1, &long, &[], now())).is_false("invalid", "too long");
    client.publish(&key(1).event(2, &long, &[], now())).is_true("", "another kind");
    client.publish(&key(1).event(7, "", &[], now() - 7_200)).is_false("invalid", "too old");
    client.publish(&key(1).event(1, "", &[], now() - 7_200)).is_true("", "another kind");
    client.publish(&key(1).event(8, "", &[], now())).is_false("pow", "no work");
}

#[test]
fn whom_trusted_people_follow_may_publish_and_follow_lists_count_when_they_come() {
    let follows = |who: &Key, whom: &Key, at: u64| who.event(3, "", &[&["p", whom.public()]], at);
    let settings = [&*listed("trust_roots", &[key(1)]), "policy.trust_depth=2"];
    let mut relay = Relay::start_with(&settings);
    let mut client = relay.connect();
    client.publish(&key(2).event(1, "", &[], now())).is_false("restricted", "nobody follows");
    client.publish(&follows(&key(1), &key(2), now() - 9)).is_true("", "the root's own list");
    let mut until_taken = |who: &Key| {
        let patience = Instant::now() + PATIENCE;
        loop {
            let content = fastrand::u64(..).to_string();
            let verdict = client.publish(&who.event(1, &content, &[], now()));
            if verdict.accepted {
                return;
            }
            assert!(verdict.has_prefix("restricted") && Instant::now() < patience, "{verdict:?}");
        }
    };
    until_taken(&key(2));
    let list = follows(&key(2), &key(3), now() - 8);
    relay.connect().publish(&list).is_true("", "the list of one who is followed");
    until_taken(&key(3));
    relay.connect().publish(&follows(&key(3), &key(4), now())).is_true("", "two steps away");
    // What is known is known from the first moment on.
    relay.kill();
    relay.restart();
    relay.await_said("woven keys=3");
    let mut client = relay.connect();
    client.publish(&key(3).event(1, "again", &[], now())).is_true("", "two steps away");
    client.publish(&key(4).event(1, "", &[], now())).is_false("restricted", "three steps away");
    assert!(!client.ids(&[json!({"kinds": [1]})]).is_empty());
}
