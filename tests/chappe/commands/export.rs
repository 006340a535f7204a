//! `relay export`, and the way back.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::json;

use super::{file, folder, path, store_with};
use crate::harness::process::relay_command;
use crate::harness::{Event, Relay, command, fixture, key};

const AT: u64 = 1_700_000_000;

/// Events of many shapes.
fn mixed() -> Vec<Event> {
    let names = ["S1", "S2", "S3", "S4", "S4v", "S5", "S6", "S7", "S8", "S9", "S10", "RL", "FOL2"];
    let mut events: Vec<Event> = names.into_iter().map(fixture).collect();
    for n in 0..120 {
        let author = key(1 + (n % 4) as u32);
        let kind = [1, 1, 7, 30_023][n as usize % 4];
        let text = n.to_string();
        let tags: &[&[&str]] = &[&["t", "x"], &["d", &text], &["e", &fixture("S1").id]];
        events.push(author.event(kind, &text, tags, AT + 1 + n / 3));
    }
    events
}

#[test]
fn an_export_is_in_order_and_an_import_of_it_gives_the_same_store() {
    let events = mixed();
    let store = store_with(&events);
    let run = command(&["export", "--data", path(&store)]).code(0);
    let exported = run.events();
    assert_eq!(exported.len(), events.len());
    for event in exported.iter().filter(|event| event.id != fixture("S4v").id) {
        event.assert_genuine();
    }
    let times: Vec<u64> = exported.iter().map(|event| event.created_at).collect();
    assert!(times.is_sorted(), "oldest first");
    let reverse = command(&["export", "--reverse", "--data", path(&store)]).code(0).events();
    let turned: Vec<Event> = exported.iter().rev().cloned().collect();
    assert_eq!(reverse, turned, "newest first, exactly the other way round");

    let files = folder();
    for name in ["out.jsonl", "out.jsonl.zst", "out.jsonl.gz"] {
        let target = file(&files, name);
        let written = command(&["export", "-o", &target, "--data", path(&store)]).code(0);
        assert_eq!(written.text(), "", "data goes to the file");
        let again = folder();
        let import = command(&["import", &target, "--data", path(&again)]).code(0);
        assert_eq!(import.count("stored"), events.len() as u64, "{}", import.describe());
        assert_eq!(import.count("invalid"), 0);
        let second = command(&["export", "--data", path(&again)]).code(0);
        assert_eq!(second.stdout, run.stdout, "{name}: the same bytes");
    }
    let plain = fs::read(file(&files, "out.jsonl")).expect("the file is there");
    assert_eq!(plain, run.stdout);
    let packed = fs::read(file(&files, "out.jsonl.zst")).expect("the file is there");
    assert!(packed.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "zstd");
    let packed = fs::read(file(&files, "out.jsonl.gz")).expect("the file is there");
    assert!(packed.starts_with(&[0x1f, 0x8b]), "gzip");
}

#[test]
fn a_filter_and_times_choose_what_is_exported() {
    let events = mixed();
    let store = store_with(&events);
    let author = key(2).public().to_owned();
    let by_author = json!({"authors": [author]}).to_string();
    let since = (AT + 5).to_string();
    let until = (AT + 9).to_string();
    type Keep<'a> = &'a dyn Fn(&Event) -> bool;
    let rows: [(&[&str], Keep<'_>); 6] = [
        (&["--filter", &by_author], &|event| event.pubkey == author),
        (&["--filter", "{\"kinds\":[7]}"], &|event| event.kind == 7),
        (&["--filter", "{\"#t\":[\"x\"]}"], &|event| event.first("t") == Some("x")),
        (&["--since", &since], &|event| event.created_at >= AT + 5),
        (&["--since", &since, "--until", &until], &|event| {
            (AT + 5..=AT + 9).contains(&event.created_at)
        }),
        (&["--filter", "{\"kinds\":[9]}"], &|_| false),
    ];
    for (arguments, keep) in rows {
        let all = [&["export", "--data", path(&store)], arguments].concat();
        let mut found: Vec<String> =
            command(&all).code(0).events().into_iter().map(|event| event.id).collect();
        let mut expected: Vec<String> =
            events.iter().filter(|event| keep(event)).map(|event| event.id.clone()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{arguments:?}");
    }
    for filter in ["{", "{\"kinds\":[\"x\"]}", "{\"foo\":1}", "[]"] {
        let run = command(&["export", "--filter", filter, "--data", path(&store)]);
        assert_eq!(run.text(), "");
        run.refused();
    }
}

#[test]
fn an_export_of_many_events_is_complete_and_in_order() {
    // More than one window, slice or buffer.
    let content = "z".repeat(3000);
    let events: Vec<Event> =
        (0..1500).map(|n| key(1).note(&format!("{n} {content}"), AT + n * n % 977)).collect();
    let store = store_with(&events);
    let mut expected = events;
    expected.sort_by(|a, b| a.created_at.cmp(&b.created_at).then(b.id.cmp(&a.id)));
    let found = command(&["export", "--data", path(&store)]).code(0).events();
    assert!(found == expected, "all events, oldest first");
    expected.reverse();
    let found = command(&["export", "--reverse", "--data", path(&store)]).code(0).events();
    assert!(found == expected, "all events, newest first, ties by lowest id");
}

#[test]
fn a_reader_that_leaves_early_ends_the_export_quietly() {
    // relay export | head -1
    let content = "z".repeat(2000);
    let events: Vec<Event> =
        (0..600).map(|n| key(1).note(&format!("{n} {content}"), AT + n)).collect();
    let store = store_with(&events);
    let filter = "{\"limit\":600}";
    for arguments in [&["export"] as &[&str], &["export", "--reverse"], &["scan", filter]] {
        let all = [arguments, &["--data", path(&store)]].concat();
        let mut child = relay_command(&all)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the relay binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut first = String::new();
        stdout.read_line(&mut first).expect("a line comes");
        assert!(first.starts_with('{') && first.ends_with("}\n"), "{first:?}");
        drop(stdout);
        let mut said = String::new();
        let mut stderr = child.stderr.take().expect("stderr is piped");
        stderr.read_to_string(&mut said).expect("stderr ends");
        let status = child.wait().expect("our own child can be waited for");
        assert_eq!(status.code(), Some(0), "{arguments:?}: {said}");
        assert_eq!(said, "", "{arguments:?} ends quietly");
    }
}

#[test]
fn an_export_while_the_relay_serves_is_one_moment_of_the_store() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<Event> = (0..50).map(|n| key(1).note(&format!("{n}"), AT + n)).collect();
    client.publish_all(&events);
    assert_eq!(relay.command(&["export"]).code(0).events(), events);
    let more = key(2).note("more", AT + 100);
    client.publish_all([&more]);
    assert_eq!(relay.command(&["export"]).code(0).events().last(), Some(&more));
}

#[test]
fn a_target_that_cannot_be_written_is_told_and_nothing_half_is_left() {
    let store = store_with(&mixed());
    let files = folder();
    let target = file(&files, "missing/out.jsonl");
    command(&["export", "-o", &target, "--data", path(&store)]).refused().says("missing");
    assert_eq!(fs::read_dir(files.path()).expect("the folder is there").count(), 0);
}
