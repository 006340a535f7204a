//! `relay backup`, `restore`, `compact`, `check --repair` and `upgrade`.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;

use super::{folder, notes, path, store_with};
use crate::harness::process::start;
use crate::harness::{Event, PATIENCE, Relay, command, key};

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
    let beside = folder();
    relay.command(&["restore", path(&copy)]).code(1).says("expected an empty");
    command(&["restore", path(&copy), "--data", path(&beside)]).code(0);
    assert_eq!(exported(path(&beside)), exported(relay.data()));
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
    relay.command(&["check", "--repair"]).code(0).says("0 faults left");
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
    let how = format!("relay upgrade --data {}", path(&store));
    refused.says("expected store format 3, found 2").says(&how);
    command(&["serve", "--listen", "127.0.0.1:0", "--data", path(&store)]).code(1).says(&how);
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

/// Publishes notes one by one while something else is done.
fn while_publishing(relay: &Relay, work: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = relay.connect();
            let events = (0..).map(|n: u64| key(7).event(1, &n.to_string(), &[], AT + n));
            for event in events.take_while(|_| !is_over.load(Ordering::Relaxed)) {
                client.publish(&event).is_true("", "nobody is kept waiting for long");
            }
        });
        work();
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Returns whether a text stands anywhere in the files of a store.
fn holds(store: &str, text: &str) -> bool {
    let files = fs::read_dir(store).expect("the store is a folder");
    let mut files = files.map(|file| file.expect("a file").path()).filter(|it| it.is_file());
    files.any(|file| {
        let bytes = fs::read(file).expect("it is readable");
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[test]
fn a_serving_relay_compacts_its_store_while_clients_publish() {
    let mut relay = Relay::start();
    let mut client = relay.connect();
    let secret = "what nobody is to read again";
    let target = key(2).note(secret, AT);
    client.publish_all(&notes(50));
    client.publish_all([&target, &key(2).event(5, "", &[&["e", &target.id]], AT + 1)]);
    let profiles = (0..60).map(|n| key(3).event(0, &"p".repeat(60_000), &[], AT + n));
    client.publish_all(&profiles.collect::<Vec<Event>>());
    assert!(holds(relay.data(), secret), "nothing has erased it yet");
    while_publishing(&relay, || {
        let report = relay.command(&["compact", "--json"]).code(0).json();
        assert_eq!(report["while_serving"], true, "{report}");
        let bytes = |name: &str| report[name].as_u64().expect("a size");
        assert!(bytes("after_bytes") + 1_000_000 < bytes("before_bytes"), "{report}");
    });
    assert!(!holds(relay.data(), secret), "what was deleted is gone from the files");
    relay.command(&["compact"]).code(0).says("stop the relay and run `relay compact --data");
    relay.command(&["check"]).code(0);
    assert_eq!(client.ids(&[json!({"authors": [key(1).public()]})]).len(), 50);
    let all = exported(relay.data());
    relay.stop(libc::SIGTERM);
    command(&["compact", "--data", relay.data()]).code(0);
    assert_eq!(exported(relay.data()), all);
}

#[test]
fn a_compaction_that_has_to_wait_for_another_command_can_be_stopped() {
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all([&key(3).event(0, "{}", &[], AT), &key(3).event(0, "[]", &[], AT + 1)]);
    let lock = Path::new(relay.data()).join("reading.lock");
    let other = fs::File::open(lock).expect("who has the store open locks it");
    other.lock_shared().expect("the relay shares it");
    let compaction = start(&["compact", "--data", relay.data()]);
    let patience = Instant::now() + PATIENCE;
    let on = || relay.command(&["admin", "call", "chappe.upkeep"]).code(0).json()["on"].clone();
    while on()["stage"] != "waiting for other commands on this store" {
        assert!(Instant::now() < patience, "{}", on());
    }
    compaction.signal(libc::SIGINT);
    compaction.wait().code(130).says("stopped");
    assert_eq!(on(), json!(null));
    drop(other);
    relay.command(&["compact"]).code(0);
}

#[test]
fn a_serving_relay_mends_its_indexes_while_clients_publish() {
    let mut relay = Relay::start();
    let events = notes(300);
    relay.connect().publish_all(&events);
    // What waits in memory goes into the indexes.
    relay.command(&["compact"]).code(0);
    relay.stop(libc::SIGTERM);
    let tables = Path::new(relay.data()).join("data.mdb");
    let mut bytes = fs::read(&tables).expect("the store has tables");
    let id: Vec<u8> = (0..8)
        .map(|at| u8::from_str_radix(&events[123].id[2 * at..2 * at + 2], 16).expect("it is hex"))
        .collect();
    let places: Vec<usize> =
        (0..bytes.len() - 8).filter(|at| bytes[*at..].starts_with(&id)).collect();
    assert!(!places.is_empty(), "the index of ids names it");
    places.into_iter().for_each(|at| bytes[at + 7] ^= 1);
    fs::write(&tables, bytes).expect("it can be written");
    relay.restart();
    let wanted = [json!({"ids": [events[123].id]})];
    assert_eq!(relay.connect().ids(&wanted).len(), 0, "it is not found any more");
    relay.command(&["check"]).code(3).says("not in by_id").says("relay check --repair");
    while_publishing(&relay, || {
        let report = relay.command(&["check", "--repair", "--json"]).code(0).json();
        let counts = ["entries_added", "entries_removed", "faults_left"].map(|it| &report[it]);
        assert_eq!(counts, [&json!(1), &json!(1), &json!(0)], "{report}");
    });
    assert_eq!(relay.connect().ids(&wanted).len(), 1);
    relay.command(&["check"]).code(0);
}

#[test]
fn damage_of_records_is_told_of_with_what_to_do_when_the_relay_is_stopped() {
    let mut relay = Relay::start();
    relay.connect().publish_all(&notes(30));
    relay.command(&["compact"]).code(0);
    relay.stop(libc::SIGTERM);
    let log = Path::new(relay.data()).join("events.1.log");
    let mut bytes = fs::read(&log).expect("the store has a log");
    let at = bytes.windows(7).position(|part| part == b"note 17").expect("it is in the log");
    bytes[at] ^= 1;
    fs::write(&log, bytes).expect("it can be written");
    relay.restart();
    let run = relay.command(&["check", "--repair"]).code(3);
    run.says("its id is not its hash").says("stop the relay and run `relay check --repair --data");
    relay.stop(libc::SIGTERM);
    let report = command(&["check", "--repair", "--json", "--data", relay.data()]).code(0).json();
    assert_eq!((&report["events"], &report["records_left_out"]), (&json!(29), &json!(1)));
}

#[test]
fn compactions_and_repairs_are_made_by_the_clock() {
    let settings = [
        "maintenance.compact_period_secs=1",
        "maintenance.check_period_secs=1",
        "maintenance.check_repairs=true",
        "metrics.listen=127.0.0.1:0",
    ];
    let relay = Relay::start_with(&settings);
    relay.connect().publish_all(&notes(25));
    relay.await_said("the store was checked and is whole");
    relay.await_said("the store was compacted");
    let page = crate::observe::page_of(&relay);
    assert!(!page.contains("\nchappe_compact_timestamp_seconds 0\n"), "{page}");
}
