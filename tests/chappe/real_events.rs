//! Genuine events of many clients and years, where the file is at hand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::process::text;
use crate::harness::{Event, Relay, command, command_with_input};

const FILE: &str = "../shared/data/real-events.jsonl.zst";

/// The file's path, or `None` with a printed line where a clone does not have it.
fn real_events() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {FILE} is not there");
    None
}

#[test]
fn every_genuine_event_is_imported_exported_and_served() {
    let Some(file) = real_events() else { return };
    let store = std::sync::Arc::new(folder());
    let data = text(store.path()).to_owned();
    let run = command(&["import", text(&file), "--data", &data]).code(0);
    println!("{}", run.describe());
    assert_eq!(run.count("invalid"), 0, "all of them are genuine: {}", run.describe());
    let stored = run.count("stored");
    assert!(stored > 5000, "{}", run.describe());

    let exported = command(&["export", "--data", &data]).code(0);
    let events = exported.events();
    let known: BTreeSet<String> = original(&file).iter().map(Event::line).collect();
    let unknown = events.iter().find(|event| !known.contains(&event.line()));
    assert_eq!(unknown, None, "every exported event is one of the file, unchanged");
    command(&["check", "--data", &data]).code(0);

    let again = folder();
    let target = again.path().join("export.jsonl.zst");
    command(&["export", "-o", text(&target), "--data", &data]).code(0);
    let copy = folder();
    let run = command(&["import", text(&target), "--data", text(copy.path())]).code(0);
    assert_eq!(run.count("invalid"), 0, "{}", run.describe());
    let second = command(&["export", "--data", text(copy.path())]).code(0);
    assert!(second.stdout == exported.stdout, "the same set, byte by byte");

    let mut newest = events;
    newest.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
    let relay = Relay::start_on(store, &[]);
    let mut client = relay.connect();
    let served = client.stored("newest", &[json!({"limit": 500})]);
    assert_eq!(served.len(), 500);
    assert!(served == newest[..500], "the newest 500 in order");
    assert_eq!(client.stored("newest", &[json!({})]), served, "500 is the default");
}

#[test]
fn the_order_of_an_import_does_not_matter() {
    let Some(file) = real_events() else { return };
    let mut events = original(&file);
    let first = folder();
    let data = text(first.path());
    command(&["import", text(&file), "--data", data]).code(0);
    let forward = stored(data);
    events.reverse();
    let lines: String = events.iter().map(|event| event.line() + "\n").collect();
    let second = folder();
    let data = text(second.path());
    command_with_input(&["import", "-", "--data", data], lines.as_bytes()).code(0);
    let backward = stored(data);
    assert!(backward.is_superset(&forward), "nothing is missing with the newest first");
    // A version that was replaced before its successor was deleted is the one difference that
    // the order may make: a store that never had both cannot know.
    for (kind, id) in backward.difference(&forward) {
        assert!(matches!(kind, 0 | 3 | 10_000..20_000 | 30_000..40_000), "kind {kind}: {id}");
    }
}

fn stored(data: &str) -> BTreeSet<(u16, String)> {
    let events = command(&["export", "--data", data]).code(0).events();
    events.into_iter().map(|event| (event.kind, event.id)).collect()
}

fn original(file: &Path) -> Vec<Event> {
    let packed = std::fs::File::open(file).expect("the file is readable");
    let text = zstd::decode_all(packed).expect("the file is zstd");
    let text = String::from_utf8(text).expect("the file is UTF-8");
    let parse = |line: &str| Event::from_json(&serde_json::from_str(line).expect("a line is JSON"));
    text.lines().map(parse).collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}
