//! `relay import` of what other relays give: their dumps, in the form in which each writes them, and
//! the database of nostr-rs-relay.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::{file, folder, path};
use crate::harness::event::unhex;
use crate::harness::{Event, command, command_with_input, key};

const AT: u64 = 1_700_000_000;

fn events() -> Vec<Event> {
    let note = |n: u64| key(1).note(&format!("line\n\"{n}\" \u{1f600} \\ /"), AT + n);
    let mut events: Vec<Event> = (0..1_200).map(note).collect();
    events.push(key(2).event(30_023, "text", &[&["d", "a b"], &["t", "x"], &["e"]], AT));
    events.push(key(2).event(0, "{\"name\":\"x\"}", &[], AT));
    events
}

fn ids(events: &[Event]) -> BTreeSet<String> {
    events.iter().map(|event| event.id.clone()).collect()
}

fn stored(data: &str) -> BTreeSet<String> {
    ids(&command(&["export", "--data", data]).code(0).events())
}

/// The members of an event in this order, as one line.
fn in_order(event: &Event, order: &[&str]) -> String {
    let json = event.json();
    let members = order.iter().map(|name| format!("\"{name}\":{}", json[*name]));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

#[test]
fn dumps_are_read_as_each_relay_writes_them() {
    let events = events();
    let sorted = ["content", "created_at", "id", "kind", "pubkey", "sig", "tags"];
    let strfry = |event: &Event| in_order(event, &sorted);
    let fried = |event: &Event| {
        let line = strfry(event);
        format!("{},\"fried\":\"{}\"}}", &line[..line.len() - 1], "00ff10".repeat(50))
    };
    let chorus = |event: &Event| {
        let order = ["id", "pubkey", "kind", "created_at", "tags", "content", "sig"];
        // It escapes no slash, and writes letters beyond ASCII as they are.
        in_order(event, &order)
    };
    let nostream = |event: &Event| {
        in_order(event, &["id", "pubkey", "created_at", "kind", "tags", "content", "sig"])
    };
    // As psql prints json_build_object.
    let postgres = |event: &Event| {
        let json = event.json();
        let names = ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"];
        let members = names.map(|name| format!("\"{name}\" : {}", json[name]));
        format!("{{{}}}", members.join(", "))
    };
    type Form<'f> = &'f dyn Fn(&Event) -> String;
    let forms: [Form<'_>; 5] = [&strfry, &fried, &chorus, &nostream, &postgres];
    for (number, form) in forms.iter().enumerate() {
        let text: String = events.iter().map(|event| form(event) + "\n").collect();
        let store = folder();
        let run = command_with_input(&["import", "-", "--data", path(&store)], text.as_bytes());
        assert_eq!(run.code(0).count("invalid"), 0);
        assert!(stored(path(&store)) == ids(&events), "form {number}");
    }
}

/// Makes a database as nostr-rs-relay 0.9 makes it (schema version 18).
fn database(place: &str, events: &[Event], hidden: &[Event]) -> Connection {
    let connection = Connection::open(place).expect("a database can be made");
    connection
        .execute_batch(
            "PRAGMA encoding = 'UTF-8'; PRAGMA journal_mode = WAL; PRAGMA auto_vacuum = FULL;
             PRAGMA application_id = 1654008667; PRAGMA user_version = 18;
             CREATE TABLE event (id INTEGER PRIMARY KEY, event_hash BLOB NOT NULL,
                 first_seen INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER,
                 author BLOB NOT NULL, delegated_by BLOB, kind INTEGER NOT NULL, hidden INTEGER,
                 content TEXT NOT NULL);
             CREATE UNIQUE INDEX event_hash_index ON event(event_hash);
             CREATE TABLE tag (id INTEGER PRIMARY KEY, event_id INTEGER NOT NULL, name TEXT,
                 value TEXT, value_hex BLOB, created_at INTEGER NOT NULL, kind INTEGER NOT NULL,
                 FOREIGN KEY(event_id) REFERENCES event(id) ON DELETE CASCADE);",
        )
        .expect("the schema is valid");
    for (event, is_hidden) in
        events.iter().map(|event| (event, false)).chain(hidden.iter().map(|event| (event, true)))
    {
        let kind = event.json()["kind"].as_u64().expect("a kind") as i64;
        let (at, text) = (event.created_at as i64, event.line());
        connection
            .execute(
                "INSERT INTO event (event_hash, first_seen, created_at, author, kind, hidden, \
                 content) VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6)",
                params![unhex(&event.id), at, unhex(&event.pubkey), kind, is_hidden, text],
            )
            .expect("a row");
    }
    connection
}

#[test]
fn the_database_of_nostr_rs_relay_is_read_also_while_that_runs() {
    let (events, deleted) = (events(), [key(3).note("deleted", AT)]);
    let files = folder();
    let place = file(&files, "nostr.db");
    let running = database(&place, &events, &deleted);
    let log = fs::metadata(format!("{place}-wal")).expect("it has a log").len();
    assert!(log > 0, "not all is in the file itself");
    let store = folder();
    let said = command(&["import", &place, "--json", "--data", path(&store)]).code(0).json();
    assert_eq!((&said["stored"], &said["invalid"]), (&json!(events.len()), &json!(0)), "{said}");
    assert!(stored(path(&store)) == ids(&events), "what was deleted is not taken");
    // It goes on undisturbed, and what it stored since comes with the next run.
    let more = key(4).note("more", AT);
    let row = params![unhex(&more.id), unhex(&more.pubkey), more.line()];
    running
        .execute(
            "INSERT INTO event (event_hash, first_seen, created_at, author, kind, hidden, content) \
             VALUES (?1, 1, 1, ?2, 1, FALSE, ?3)",
            row,
        )
        .expect("it can be written to");
    command(&["import", &place, "--data", path(&store)]).code(0);
    assert!(stored(path(&store)).contains(&more.id));
    running.close().expect("it closes");
    // A copy that nobody may write to, in a folder that nobody may write to.
    let read_only = |path: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(path, mode).expect("it is our own");
    };
    read_only(&place, 0o400);
    read_only(path(&files), 0o500);
    let store = folder();
    let run = command(&["import", &place, "--data", path(&store)]);
    read_only(path(&files), 0o700);
    run.code(0);
    assert_eq!(stored(path(&store)).len(), events.len() + 1);
}

#[test]
fn what_is_another_database_is_refused_with_what_was_expected() {
    let files = folder();
    let place = file(&files, "other.db");
    let other = Connection::open(&place).expect("a database can be made");
    other.execute_batch("CREATE TABLE event (id INTEGER); VACUUM").expect("a table");
    drop(other);
    let store = folder();
    let run = command(&["import", &place, "--data", path(&store)]).refused();
    run.says("nostr-rs-relay").says("content");
    let bytes = fs::read(&place).expect("it is a file");
    let run = command_with_input(&["import", "-", "--data", path(&store)], &bytes);
    run.refused().says("name its file");
    // A damaged one is told of, too.
    let place = file(&files, "damaged.db");
    let good = file(&files, "good.db");
    drop(database(&good, &events(), &[]));
    let mut bytes = fs::read(&good).expect("it is a file");
    let end = bytes.len();
    bytes[end / 3..end / 2].fill(0xaa);
    fs::write(&place, bytes).expect("files can be written");
    let run = command(&["import", &place, "--json", "--data", path(&store)]);
    assert!(matches!(run.status.code(), Some(0 | 1)), "{}", run.describe());
    let said: Value = run.json();
    assert!(said["stored"].as_u64() < Some(1_202), "{said}");
    command(&["check", "--data", path(&store)]).code(0);
}
