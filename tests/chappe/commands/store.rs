//! `relay info`, `scan`, `delete`, `compact` and `check`.

use std::time::Instant;

use serde_json::{Value, json};

use super::{folder, notes, path, store_with};
use crate::harness::{Client, Event, PATIENCE, Relay, command, key, now};

const AT: u64 = 1_700_000_000;

#[test]
fn info_tells_what_is_in_the_store() {
    let mut events = notes(40);
    events.extend((2..=6).map(|n| key(n).event(0, "", &[], AT - 50)));
    let store = store_with(&events);
    let text = command(&["info", "--data", path(&store)]).code(0);
    for part in ["45", "6", path(&store), env!("CARGO_PKG_VERSION")] {
        assert!(text.text().contains(part), "{part} is in {}", text.describe());
    }
    let run = command(&["info", "--json", "--data", path(&store)]).code(0);
    let info = run.json();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["events"], 45);
    assert_eq!(info["authors"], 6);
    assert_eq!(info["oldest"], AT - 50);
    assert_eq!(info["newest"], AT + 39);
    let kinds = info["kinds"].to_string();
    assert!(kinds.contains("40") && kinds.contains('5'), "events by kind: {kinds}");
    let tables = info["tables"].as_array().expect("sizes by table");
    assert!(tables.len() > 3, "{tables:?}");
    for name in ["file_bytes", "free_bytes"] {
        assert!(info[name].is_u64(), "{name} in {info}");
    }
}

#[test]
fn scan_prints_what_a_request_returns() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<Event> = (0..60)
        .map(|n| {
            key(1 + n % 3).event(1 + (n % 2) as u16, "", &[&["t", "x"]], AT + u64::from(n) / 4)
        })
        .collect();
    client.publish_all(&events);
    let author = key(1).public().to_owned();
    let rows = [
        vec![json!({})],
        vec![json!({"limit": 7})],
        vec![json!({"authors": [author], "kinds": [1]})],
        vec![json!({"#t": ["x"], "until": AT + 5})],
        vec![json!({"kinds": [2], "limit": 3}), json!({"authors": [author], "limit": 4})],
        vec![json!({"kinds": [9]})],
        vec![json!({"kinds": []})],
    ];
    for filters in rows {
        let texts: Vec<String> = filters.iter().map(Value::to_string).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let scanned = relay.command(&[&["scan"], &texts[..]].concat()).code(0).events();
        assert_eq!(scanned, client.stored("scan", &filters), "{filters:?}");
        let all: Vec<Value> = filters.iter().map(without_limit).collect();
        let all = client.stored("all", &all).len();
        let count = relay.command(&[&["scan", "--count"], &texts[..]].concat()).code(0);
        assert_eq!(count.text(), format!("{all}\n"), "{filters:?}");
    }
    for filter in ["{", "[]", "{\"ids\":[\"abc\"]}", "{\"foo\":[1]}"] {
        relay.command(&["scan", filter]).code(2);
    }
}

#[test]
fn scan_explains_its_plan() {
    let mut events = notes(50);
    events.extend((0..5).map(|n| key(2).event(1, "", &[&["t", "x"]], AT + n)));
    let store = store_with(&events);
    let author = key(2).public().to_owned();
    let filter = json!({"authors": [author], "kinds": [1], "#t": ["x"]}).to_string();
    let run = command(&["scan", "--plan", &filter, "--data", path(&store)]).code(0);
    let text = run.text().to_lowercase();
    for part in ["author", "tag"] {
        assert!(text.contains(part), "{part} is in {}", run.describe());
    }
    assert!(text.contains(|c: char| c.is_ascii_digit()), "with figures: {}", run.describe());
    command(&["scan", "--plan", "{}", "--data", path(&store)]).code(0);
}

#[test]
fn delete_says_asks_and_deletes() {
    let mut events = notes(10);
    let recent = key(2).event(7, "recent", &[], now() - 3600);
    events.push(recent.clone());
    let store = store_with(&events);
    let data = path(&store);
    let left = || command(&["export", "--data", data]).code(0).events();
    let run = |arguments: &[&str]| command(&[&["delete", "--data", data], arguments].concat());

    let dry = run(&["--filter", "{\"kinds\":[1]}", "--dry-run"]).code(0);
    dry.says("10");
    assert_eq!(left().len(), 11, "a dry run deletes nothing");
    run(&["--filter", "{\"kinds\":[1]}"]).code(2).says("--yes");
    assert_eq!(left().len(), 11, "without an answer nothing is deleted");
    run(&[]).code(2);
    run(&["--yes"]).code(2);
    run(&["--older-than", "soon", "--yes"]).code(2);
    run(&["--filter", "{", "--yes"]).code(2);
    assert_eq!(left().len(), 11);

    let filter = json!({"ids": [events[0].id, events[1].id]}).to_string();
    run(&["--filter", &filter, "--yes"]).code(0).says("2");
    assert_eq!(left().len(), 9);
    run(&["--older-than", "1d", "--yes"]).code(0).says("8");
    assert_eq!(left(), [recent], "only the recent event is left");
    run(&["--older-than", "1d", "--yes"]).code(0).says("0");
    command(&["check", "--data", data]).code(0);
    // It is no deletion request: the events may come again.
    let text = super::lines(&events);
    let again =
        crate::harness::command_with_input(&["import", "-", "--data", data], text.as_bytes());
    assert_eq!(again.code(0).count("stored"), 10);
}

#[test]
fn what_a_command_deletes_is_gone_from_the_serving_relay() {
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all(&notes(20));
    relay.command(&["delete", "--filter", "{\"kinds\":[1]}", "--yes"]).code(0);
    wait_for_count(&mut client, 0);
    client.publish_all(&notes(3));
    wait_for_count(&mut client, 3);
    relay.command(&["check"]).code(0);
}

#[test]
fn compact_makes_the_file_smaller_and_loses_nothing() {
    let content = "c".repeat(2000);
    let events: Vec<Event> = (0..800)
        .map(|n| key(1 + n % 5).note(&format!("{n} {content}"), AT + u64::from(n)))
        .collect();
    let store = store_with(&events);
    let data = path(&store);
    let filter = json!({"authors": [key(1).public(), key(2).public()]}).to_string();
    command(&["delete", "--filter", &filter, "--yes", "--data", data]).code(0);
    let before = command(&["export", "--data", data]).code(0);
    let size = || {
        let info = command(&["info", "--json", "--data", data]).code(0).json();
        info["file_bytes"].as_u64().expect("the size of the file")
    };
    let large = size();
    let run = command(&["compact", "--data", data]).code(0);
    assert!(run.text().contains(|c: char| c.is_ascii_digit()), "sizes: {}", run.describe());
    assert!(size() < large, "{} bytes after, {large} before", size());
    assert_eq!(command(&["export", "--data", data]).code(0).stdout, before.stdout);
    command(&["check", "--data", data]).code(0);
    // Again, and of an empty store: nothing to do is no error.
    command(&["compact", "--data", data]).code(0);
    let empty = store_with(&[]);
    command(&["compact", "--data", path(&empty)]).code(0);
    command(&["check", "--data", path(&empty)]).code(0);
}

#[test]
fn compact_while_the_relay_serves_works_or_says_what_to_do() {
    let mut relay = Relay::start();
    let mut client = relay.connect();
    let events = notes(100);
    client.publish_all(&events);
    client.stored("live", &[json!({"limit": 0})]);
    let run = relay.command(&["compact"]);
    if run.status.code() == Some(0) {
        // It worked: then everything goes on.
        wait_for_count(&mut client, 100);
    } else {
        let run = run.refused();
        let said = run.stderr.to_lowercase();
        assert!(said.contains("stop"), "it says what to do: {}", run.describe());
    }
    let more = key(2).note("after", AT);
    client.publish_all([&more]);
    assert_eq!(client.live("live"), more);
    wait_for_count(&mut client, 101);
    assert_eq!(relay.stop(libc::SIGTERM).code(), Some(0));
    relay.command(&["compact"]).code(0);
    relay.command(&["check"]).code(0);
    relay.restart();
    wait_for_count(&mut relay.connect(), 101);
}

#[test]
fn check_finds_a_whole_store_whole_while_it_is_written() {
    let relay = Relay::start();
    std::thread::scope(|scope| {
        let mut client = relay.connect();
        scope.spawn(move || {
            for part in notes(300).chunks(20) {
                client.publish_all(part);
            }
        });
        for _ in 0..3 {
            relay.command(&["check"]).code(0);
            relay.command(&["info"]).code(0);
        }
    });
    let run = relay.command(&["check"]).code(0);
    assert!(run.text().contains("300"), "{}", run.describe());
}

#[test]
fn commands_need_a_store_and_make_none_by_mistake() {
    let nothing = folder();
    let missing = super::file(&nothing, "missing");
    let rows: [&[&str]; 6] = [
        &["info"],
        &["export"],
        &["check"],
        &["compact"],
        &["scan", "{}"],
        &["delete", "--filter", "{}", "--yes"],
    ];
    for arguments in rows {
        let run = command(&[arguments, &["--data", &missing]].concat()).refused();
        assert_eq!(run.text(), "", "no data: {}", run.describe());
        assert!(run.stderr.contains(&missing), "it names the place: {}", run.describe());
        assert!(!std::path::Path::new(&missing).exists(), "{arguments:?} makes no store");
    }
}

#[test]
fn a_folder_that_holds_something_else_is_refused() {
    let other = folder();
    std::fs::write(other.path().join("data.mdb"), b"this is not a store").expect("written");
    for arguments in [&["info"] as &[&str], &["check"], &["export"]] {
        command(&[arguments, &["--data", path(&other)]].concat()).refused();
    }
    let kept = std::fs::read(other.path().join("data.mdb")).expect("read");
    assert_eq!(kept, b"this is not a store", "and left as it is");
}

/// Asks until the relay has this many events: what another process did comes within a moment.
fn wait_for_count(client: &mut Client, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = client.ids(&[json!({"kinds": [1]})]).len();
        if found == count {
            return;
        }
        assert!(Instant::now() < deadline, "{found} events, expected {count}");
    }
}

fn without_limit(filter: &Value) -> Value {
    let mut filter = filter.clone();
    filter.as_object_mut().expect("a filter is an object").remove("limit");
    filter
}
