//! `relay backup`, `restore`, `check --repair` and `upgrade`.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{folder, notes, path, store_with};
use crate::harness::{Event, Relay, command, key};

const AT: u64 = 1_700_000_000;

/// The events of a store, in the order of their ids.
fn exported(store: &str) -> Vec<Event> {
    let mut events = command(&["export", "--data", store]).code(0).events();
    events.sort_by(|a, b| a.id.cmp(&b.id));
    events
}

#[test]
fn backups_are_taken_while_clients_publish_and_each_adds_to_the_one_before() {
    let (copy, target) = (folder(), folder());
    let mut relay = Relay::start();
    let is_over = AtomicBool::new(false);
    let mut copied = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = relay.connect();
            let events =
                (0..).map(|n| key(1 + n % 3).event(1, &n.to_string(), &[], AT + u64::from(n)));
            for event in events.take_while(|_| !is_over.load(Ordering::Relaxed)) {
                client.publish(&event).is_true("", "no backup keeps anybody waiting for long");
            }
        });
        for _ in 0..4 {
            let run = relay.command(&["backup", path(&copy), "--json"]).code(0);
            copied.push(run.json());
            let verified = command(&["backup", "--verify", path(&copy), "--json"]).code(0).json();
            assert_eq!(verified["bytes"], run.json()["bytes"]);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let mut bytes_before = 16;
    for run in &copied {
        let bytes = run["bytes"].as_u64().expect("a size");
        assert_eq!(run["copied_bytes"], bytes - bytes_before, "{copied:?}");
        bytes_before = bytes;
    }
    let text = relay.command(&["backup", path(&copy)]).code(0);
    assert!(text.text().contains("were copied"), "{}", text.describe());
    relay.kill();
    let run = command(&["restore", path(&copy), "--data", path(&target)]).code(0);
    run.says("the files belong to");
    assert_eq!(exported(path(&target)), exported(relay.data()));
    command(&["check", "--data", path(&target)]).code(0);
    command(&["restore", path(&copy), "--data", path(&target)]).code(1).says("expected an empty");
}

#[test]
fn what_is_no_backup_or_a_damaged_one_is_refused() {
    let (store, copy) = (store_with(&notes(20)), folder());
    command(&["backup", "--verify", path(&copy)]).code(3).says("there is no backup.json");
    command(&["backup", path(&copy), "--data", path(&store)]).code(0);
    let log = copy.path().join("events.1.log");
    let mut bytes = fs::read(&log).expect("the backup has a log");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).expect("it can be written");
    command(&["backup", "--verify", path(&copy)]).code(3).says("damaged at byte");
    let target = folder();
    command(&["restore", path(&copy), "--data", path(&target)]).code(1).says("damaged at byte");
    command(&["backup", path(&store), "--data", path(&store)]).code(1).says("empty folder");
}

#[test]
fn a_store_that_is_damaged_is_repaired_when_nobody_uses_it() {
    let mut relay = Relay::start();
    let events = notes(30);
    relay.connect().publish_all(&events);
    relay.command(&["check", "--repair"]).code(1).says("stop the relay");
    relay.kill();
    let store = relay.data().to_owned();
    let before = exported(&store);
    let run = command(&["check", "--repair", "--json", "--data", &store]).code(0).json();
    assert_eq!((&run["events"], &run["had_tables"]), (&json!(30), &json!(true)));
    fs::remove_file(Path::new(&store).join("data.mdb")).expect("it is there");
    command(&["info", "--data", &store]).code(1).says("relay check --repair");
    command(&["check", "--repair", "--data", &store]).code(0).says("administrators");
    assert_eq!(exported(&store), before);
    relay.restart();
    assert_eq!(relay.connect().ids(&[json!({"kinds": [1]})]).len(), 30);
}

#[test]
fn a_store_of_an_older_format_is_told_of_and_upgraded() {
    // Made by the version before the log: events of every class, and one that was deleted.
    let store = folder();
    let packed = fs::read("tests/chappe/fixtures/store-2.mdb.zst").expect("the repository has it");
    let bytes = zstd::decode_all(&packed[..]).expect("it is whole");
    fs::write(store.path().join("data.mdb"), bytes).expect("it can be written");
    let refused = command(&["info", "--data", path(&store)]).code(1);
    refused.says("expected store format 3, found 2").says("relay upgrade");
    let run = command(&["upgrade", "--json", "--data", path(&store)]).code(0).json();
    assert_eq!(run, json!({"from": 2, "to": 3, "events": 17}));
    command(&["check", "--data", path(&store)]).code(0);
    assert_eq!(exported(path(&store)).len(), 17);
    let again = command(&["upgrade", "--data", path(&store)]).code(0);
    assert_eq!(again.text(), "the store has format 3 already\n");
}

#[test]
fn backups_and_checks_are_made_by_the_clock() {
    let copy = folder();
    let into = format!("maintenance.backup_folder={}", path(&copy));
    let settings = [&*into, "maintenance.backup_period_secs=1", "maintenance.check_period_secs=1"];
    let relay = Relay::start_with(&[&settings[..], &["metrics.listen=127.0.0.1:0"]].concat());
    relay.connect().publish_all(&notes(25));
    relay.await_said("the store was checked and is whole");
    relay.await_said("the store was backed up");
    let patience = std::time::Instant::now() + crate::harness::PATIENCE;
    let events = || command(&["backup", "--verify", path(&copy), "--json"]).code(0).json();
    while events()["events"] != 25 {
        assert!(std::time::Instant::now() < patience, "a later backup has what came since");
    }
    let page = crate::observe::page_of(&relay);
    assert!(page.contains("\nchappe_check_faults 0\n"), "{page}");
    assert!(!page.contains("\nchappe_backup_timestamp_seconds 0\n"), "{page}");
}

#[test]
fn a_backup_that_cannot_be_made_is_told_of() {
    let other = folder();
    fs::write(other.path().join("letter.txt"), "dear").expect("it can be written");
    let relay = Relay::start_with(&[&format!("maintenance.backup_folder={}", path(&other))]);
    relay.await_said("the store was not backed up");
    relay.connect().publish(&notes(1)[0]).is_true("", "the relay serves all the same");
}
