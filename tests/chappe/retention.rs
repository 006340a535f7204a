//! Retention: what the rules remove, and that nothing else is harmed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::harness::{Client, Event, PATIENCE, Relay, key, now, seeded};

/// Waits until exactly these events are there.
fn wait_for(client: &mut Client, expected: &BTreeSet<String>) {
    let patience = Instant::now() + PATIENCE;
    loop {
        let found: BTreeSet<String> = client.ids(&[json!({"limit": 5_000})]).into_iter().collect();
        if found == *expected {
            return;
        }
        let is_harm = !expected.is_subset(&found);
        assert!(!is_harm, "{:?} stay", expected.difference(&found).collect::<Vec<_>>());
        let left: Vec<_> = found.difference(expected).collect();
        assert!(Instant::now() < patience, "{left:?} go");
    }
}

fn start(rules: &str) -> Relay {
    let rules = format!("store.retention={rules}");
    Relay::start_with(&["store.retention_period_secs=1", &rules])
}

/// What rules such as those of the test below leave, told as simply as can be.
fn remaining(events: &[Event], now: u64, age: u64, per_author: usize) -> BTreeSet<String> {
    let mut newest: Vec<&Event> = events.iter().collect();
    newest.sort_by_key(|it| (std::cmp::Reverse(it.created_at), it.id.clone()));
    let mut kept = BTreeSet::new();
    for event in &newest {
        let exempt = event.pubkey == key(3).public();
        let is_old = event.kind == 7 && !exempt && event.created_at < now - age;
        let mates = newest.iter().filter(|it| it.kind == 1 && it.pubkey == event.pubkey);
        let place = mates.take_while(|it| it.id != event.id).count();
        let is_surplus = event.kind == 1 && place >= per_author;
        if !is_old && !is_surplus {
            kept.insert(event.id.clone());
        }
    }
    kept
}

#[test]
fn rules_remove_what_is_too_old_or_too_much_and_nothing_else() {
    let mut random = seeded("retention");
    let exempt = key(3);
    let rules =
        format!("kinds=7 except_authors={} age=1000s,kinds=1 per_author=5", exempt.public());
    let relay = start(&rules);
    let mut client = relay.connect();
    let at = now();
    let events: Vec<Event> = (0..120)
        .map(|number: u64| {
            let kind = [1, 1, 7, 5, 1_000][random.usize(..5)];
            // Far from the limit, so that the test may take a while.
            let age = [0, 100, 200, 90_000][random.usize(..4)] + number % 7;
            let tags: &[&[&str]] = if kind == 5 { &[&["k", "1"]] } else { &[] };
            key(random.u32(1..5)).event(kind, &number.to_string(), tags, at - age)
        })
        .collect();
    for event in &events {
        client.send(&json!(["EVENT", event.json()]));
    }
    for event in &events {
        client.verdict(&event.id).is_true("", "an event");
    }
    wait_for(&mut client, &remaining(&events, at, 1_000, 5));
    drop(client);
    let mut relay = relay;
    relay.stop(15);
    relay.command(&["check"]).code(0);
}

#[test]
fn a_store_that_is_too_large_loses_its_oldest_events() {
    let relay = start("except_kinds=1000 size=1M");
    let mut client = relay.connect();
    let text = "x".repeat(10_000);
    let at = now();
    let kept = key(1).event(1_000, "old and exempt", &[], at - 90_000);
    client.publish(&kept).is_true("", "an event");
    let events: Vec<Event> = (0..300)
        .map(|number: u64| key(1).event(1, &format!("{text}{number}"), &[], at - 5_000 + number))
        .collect();
    for event in &events {
        client.send(&json!(["EVENT", event.json()]));
    }
    for event in &events {
        client.verdict(&event.id).is_true("", "an event");
    }
    let patience = Instant::now() + PATIENCE;
    let count = loop {
        let count = client.count(&[json!({"kinds": [1]})]);
        if count <= 110 {
            break count;
        }
        assert!(Instant::now() < patience, "{count} are left");
    };
    let left = client.ids(&[json!({"kinds": [1], "limit": 300})]);
    assert!(count >= 40, "no more go than have to: {count}");
    let newest: Vec<String> =
        events.iter().rev().take(left.len()).map(|it| it.id.clone()).collect();
    assert_eq!(left, newest, "the newest stay");
    assert_eq!(client.count(&[json!({"kinds": [1_000]})]), 1);
    relay.await_said(" age=0 per_author=0 size=");
}

#[test]
fn rules_of_the_file_are_parts_of_their_own_and_mistakes_have_lines() {
    use crate::harness::command;
    let folder = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
    let path = folder.path().join("relay.toml");
    let place = path.display().to_string();
    let write = |text: &str| std::fs::write(&path, text).expect("files can be written");
    write(
        "[[retention]]\nkinds = [7, \"1000-1999\"]\nage = \"30d\"\n\n[[retention]]\nper_author = 10\n",
    );
    let shown = command(&["config", "show", "--config", &place]).code(0);
    let expected = r#"retention = ["age=30d kinds=7|1000-1999", "per_author=10"]"#;
    assert!(shown.text().contains(expected), "{}", shown.text());
    for (text, line) in [
        ("[[retention]]\nage = \"30d\"\n\n[[retention]]\nkinds = [7]\n", ":4"),
        ("[[retention]]\nage = \"30 years\"\n", ":1"),
        ("retention = [1]\n", ":1"),
    ] {
        write(text);
        command(&["config", "check", "--config", &place]).code(2).says(line).says("retention");
    }
}
