//! `relay import`.

use std::fs;
use std::io::Write;

use serde_json::json;

use super::{file, folder, lines, notes, path, store_with};
use crate::harness::process::start;
use crate::harness::{Event, Finished, Relay, command, command_with_input, fixture, key, now};

#[track_caller]
fn assert_stored(data: &str, events: &[Event]) {
    let mut found: Vec<String> = exported(data).iter().map(Event::line).collect();
    let mut expected: Vec<String> = events.iter().map(Event::line).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "the store has exactly these events");
}

fn exported(data: &str) -> Vec<Event> {
    command(&["export", "--data", data]).code(0).events()
}

#[track_caller]
fn assert_counts(run: &Finished, rows: &[(&str, u64)]) {
    for (word, count) in rows {
        assert_eq!(run.count(word), *count, "{word} in {}", run.describe());
    }
}

#[test]
fn plain_gzip_and_zstd_files_and_standard_input_are_read() {
    let events = notes(30);
    let text = lines(&events);
    let files = folder();
    let plain = file(&files, "events.jsonl");
    fs::write(&plain, &text).expect("files can be written");
    let zstd = file(&files, "events.jsonl.zst");
    let packed = zstd::encode_all(text.as_bytes(), 3).expect("zstd packs");
    fs::write(&zstd, &packed).expect("files can be written");
    let gzip = file(&files, "events.jsonl.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("gzip packs");
    fs::write(&gzip, encoder.finish().expect("gzip packs")).expect("files can be written");
    for source in [plain, zstd, gzip] {
        let store = folder();
        let run = command(&["import", &source, "--data", path(&store)]).code(0);
        assert_counts(&run, &[("stored", 30), ("duplicate", 0), ("invalid", 0)]);
        assert_eq!(run.text(), "", "an import has no data for stdout");
        assert_stored(path(&store), &events);
    }
    let store = folder();
    let run = command_with_input(&["import", "--data", path(&store)], text.as_bytes());
    let run = match run.status.code() {
        Some(0) => run,
        // A source may be required; `-` is standard input in any case.
        _ => command_with_input(&["import", "-", "--data", path(&store)], text.as_bytes()).code(0),
    };
    assert_counts(&run, &[("stored", 30)]);
    assert_stored(path(&store), &events);
}

#[test]
fn several_files_are_one_import() {
    let events = notes(20);
    let files = folder();
    let [one, two] = ["1.jsonl", "2.jsonl"].map(|name| file(&files, name));
    fs::write(&one, lines(&events[..12])).expect("files can be written");
    fs::write(&two, lines(&events[8..])).expect("files can be written");
    let store = folder();
    let run = command(&["import", &one, &two, "--data", path(&store)]).code(0);
    assert_counts(&run, &[("stored", 20), ("duplicate", 4)]);
    assert_stored(path(&store), &events);
}

#[test]
fn line_ends_do_not_matter() {
    // No final newline, CRLF, blank lines, surrounding white space.
    let events = notes(4);
    let [a, b, c, d] = [0, 1, 2, 3].map(|n: usize| events[n].line());
    let text = format!("{a}\r\n\n  {b}  \r\n\t\n\n{c}\n{d}");
    let store = folder();
    let run = command_with_input(&["import", "-", "--data", path(&store)], text.as_bytes()).code(0);
    assert_counts(&run, &[("stored", 4), ("invalid", 0)]);
    assert_stored(path(&store), &events);
}

#[test]
fn lines_of_strfrys_fried_export_are_read() {
    let events = notes(3);
    let fried: String = events
        .iter()
        .map(|event| {
            let line = event.line();
            format!("{},\"fried\":\"{}\"}}\n", &line[..line.len() - 1], "00ff".repeat(40))
        })
        .collect();
    let store = folder();
    let run = command_with_input(&["import", "-", "--data", path(&store)], fried.as_bytes());
    assert_counts(&run.code(0), &[("stored", 3), ("invalid", 0)]);
    assert_stored(path(&store), &events);
}

#[test]
fn broken_lines_are_counted_named_and_kept_aside() {
    let events = notes(6);
    let good: Vec<String> = events.iter().map(Event::line).collect();
    let wrong_id = good[5].replace("note 5", "note X");
    let mut wrong_signature = fixture("S1").json();
    wrong_signature["sig"] = json!(fixture("S2").sig);
    let wrong_signature = wrong_signature.to_string();
    let huge = format!("{{\"content\":\"{}\"}}", "x".repeat(200 << 20 >> 4));
    let broken = ["not json", &wrong_id, "{}", "[]", &good[0][..100], &wrong_signature, "\u{0}"];
    let mut text = Vec::new();
    for (line, good) in broken.iter().zip(good.iter().chain(std::iter::repeat(&good[0]))) {
        text.extend_from_slice(format!("{good}\n{line}\n").as_bytes());
    }
    text.extend_from_slice(b"\xff\xfe\n");
    text.extend_from_slice(huge.as_bytes());
    text.extend_from_slice(b"\n");
    let files = folder();
    let reject = file(&files, "rejected.jsonl");
    let store = folder();
    let arguments = ["import", "-", "--reject", &reject, "--data", path(&store)];
    let run = command_with_input(&arguments, &text);
    let code = run.status.code();
    assert!(matches!(code, Some(0 | 3)), "broken lines never stop the run: {}", run.describe());
    assert_counts(&run, &[("stored", 6), ("duplicate", 1), ("invalid", 9)]);
    assert_stored(path(&store), &events);
    for line in [2, 4, 6, 8, 10] {
        let named = run.stderr.split(|c: char| !c.is_ascii_digit()).any(|n| n == line.to_string());
        assert!(named, "line {line} is named in {}", run.describe());
    }
    let kept = fs::read(&reject).expect("the rejected lines are kept");
    let kept = String::from_utf8_lossy(&kept);
    for line in &broken[..6] {
        assert!(kept.lines().any(|known| known == *line), "{line} is kept");
    }
    assert!(!kept.contains(&good[1]), "only broken lines are kept");
}

#[test]
fn without_verification_signatures_are_trusted_and_ids_are_not() {
    let mut forged = fixture("S1").json();
    forged["sig"] = json!(fixture("S2").sig);
    let mut changed = fixture("S2").json();
    changed["content"] = json!("changed");
    let text = format!("{forged}\n{changed}\n");
    let store = folder();
    let arguments = ["import", "-", "--no-verify", "--data", path(&store)];
    let run = command_with_input(&arguments, text.as_bytes());
    assert_counts(&run, &[("stored", 1), ("invalid", 1)]);
    run.says("signature");
    assert_stored(path(&store), &[Event::from_json(&forged)]);
}

#[test]
fn what_is_not_stored_is_counted_by_its_reason() {
    let at = 1_700_000_000;
    let kept = key(1).event(0, "new", &[], at + 5);
    let older = key(1).event(0, "old", &[], at);
    let gone = key(1).note("deleted", at);
    let request = key(1).event(5, "", &[&["e", &gone.id]], at + 1);
    let over = key(1).event(1, "", &[&["expiration", &(now() - 100).to_string()]], at);
    let ephemeral = key(1).event(20_001, "", &[], at);
    let auth = key(1).event(22_242, "", &[], at);
    let events = [&kept, &older, &request, &gone, &over, &ephemeral, &kept].map(Event::clone);
    let store = folder();
    let text = lines(&events) + &auth.line();
    let run = command_with_input(&["import", "-", "--data", path(&store)], text.as_bytes());
    let code = run.status.code();
    assert!(matches!(code, Some(0 | 3)), "{}", run.describe());
    assert_counts(&run, &[("stored", 2), ("duplicate", 1), ("replaced", 1), ("deleted", 1)]);
    assert_stored(path(&store), &[kept, request]);
}

#[test]
fn importing_again_changes_nothing() {
    let events = notes(25);
    let store = store_with(&events);
    let before = exported(path(&store));
    for _ in 0..2 {
        let arguments = ["import", "-", "--data", path(&store)];
        let run = command_with_input(&arguments, lines(&events).as_bytes()).code(0);
        assert_counts(&run, &[("stored", 0), ("duplicate", 25)]);
    }
    assert_eq!(exported(path(&store)), before);
}

#[test]
fn an_interrupted_import_keeps_what_it_counted_and_can_go_on() {
    // A live subscriber tells when the import is on its way, so nobody has to wait a while.
    let relay = Relay::start();
    let mut client = relay.connect();
    client.stored("live", &[json!({"kinds": [1]})]);
    let events = notes(60);
    let mut run = start(&["import", "-", "--data", relay.data()]);
    run.feed_part(lines(&events[..40]).as_bytes());
    client.live("live");
    run.signal(libc::SIGINT);
    let run = run.wait().code(130);
    let stored = run.count("stored");
    assert!((1..=40).contains(&stored), "{}", run.describe());
    let found = exported(relay.data()).len() as u64;
    assert_eq!(found, stored, "what was counted is what is there");
    let text = lines(&events);
    let run = command_with_input(&["import", "-", "--data", relay.data()], text.as_bytes()).code(0);
    assert_counts(&run, &[("stored", 60 - stored), ("duplicate", stored)]);
    assert_stored(relay.data(), &events);
    relay.command(&["check"]).code(0);
}

#[test]
fn a_relay_and_two_imports_share_a_store() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let all: Vec<Event> = (1..=3)
        .flat_map(|author| {
            (0..80).map(move |n| key(author).note(&format!("{n}"), 1_700_000_000 + n))
        })
        .collect();
    std::thread::scope(|scope| {
        for part in [&all[..80], &all[80..160]] {
            let data = relay.data();
            scope.spawn(move || {
                let text = lines(part);
                command_with_input(&["import", "-", "--data", data], text.as_bytes()).code(0);
            });
        }
        client.publish_all(&all[160..]);
    });
    assert_stored(relay.data(), &all);
    relay.command(&["check"]).code(0);
}

#[test]
fn a_source_that_cannot_be_read_is_told() {
    let store = folder();
    let files = folder();
    let missing = file(&files, "missing.jsonl");
    command(&["import", &missing, "--data", path(&store)]).refused().says("missing.jsonl");
    command(&["import", path(&files), "--data", path(&store)]).refused();
    // A packed file that ends too early gives what it has, and says so.
    let events = notes(400);
    let packed = zstd::encode_all(lines(&events).as_bytes(), 1).expect("zstd packs");
    let cut = file(&files, "cut.jsonl.zst");
    fs::write(&cut, &packed[..packed.len() / 2]).expect("files can be written");
    command(&["import", &cut, "--data", path(&store)]).refused().says("cut.jsonl.zst");
}
