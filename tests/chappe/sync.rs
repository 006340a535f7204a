//! `relay sync`: two stores agree afterwards, whatever they had and whatever happens on the way.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::event::{hex, unhex};
use crate::harness::process::{relay_command, start, text};
use crate::harness::proxy::{Proxy, Trouble};
use crate::harness::script::scripted;
use crate::harness::{Event, Finished, Relay, command, command_with_input, key, now, pick, seeded};

const AT: u64 = 1_700_000_000;

fn empty_store() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir().expect("a temporary directory can be made"))
}

fn lines(events: &[&Event]) -> Vec<u8> {
    events.iter().flat_map(|event| format!("{}\n", event.line()).into_bytes()).collect()
}

/// Makes a store of these events.
fn store_of(events: &[&Event]) -> Arc<TempDir> {
    let store = empty_store();
    command_with_input(&["import", "-", "--data", text(store.path())], &lines(events)).code(0);
    store
}

/// What a store holds, line by line.
fn export(store: &TempDir) -> BTreeSet<String> {
    let finished = command(&["export", "--data", text(store.path())]).code(0);
    finished.text().lines().map(str::to_owned).collect()
}

fn url(relay: &Relay) -> String {
    format!("ws://{}", relay.address())
}

fn sync(store: &TempDir, url: &str, more: &[&str]) -> Finished {
    command(&[&["sync", url, "--data", text(store.path()), "--json"], more].concat())
}

fn count(finished: &Finished, part: &str, name: &str) -> u64 {
    let json = finished.json();
    json[part][name].as_u64().unwrap_or_else(|| panic!("no {part}.{name} in {json}"))
}

/// Events of all classes, with ties in time, by a few authors.
fn random_events(random: &mut fastrand::Rng, count: usize) -> Vec<Event> {
    let seconds = 1 + random.u64(..=2 * count as u64);
    (0..count)
        .map(|n| {
            let author = key(random.u32(1..6));
            let at = AT + random.u64(..seconds);
            let identifier = random.u32(..20).to_string();
            match random.u32(..10) {
                0 => author.event(0, &format!("profile {n}"), &[], at),
                1 => author.event(30_023, &format!("article {n}"), &[&["d", &identifier]], at),
                2 => author.event(7, "+", &[&["e", &"ab".repeat(32)]], at),
                _ => author.note(&format!("note {n} {}", "x".repeat(random.usize(..300))), at),
            }
        })
        .collect()
}

#[test]
fn two_stores_agree_afterwards_whatever_they_had() {
    let mut random = seeded("sync");
    for round in 0..8 {
        let size = *pick(&mut random, &[0, 1, 40, 400]);
        let shared = random_events(&mut random, size);
        let mut some = |share: usize| random_events(&mut random, [0, 1, 30, 300][share % 4]);
        let (ours, theirs) = (some(round), some(round / 2));
        let mine = store_of(&shared.iter().chain(&ours).collect::<Vec<_>>());
        let other = store_of(&shared.iter().chain(&theirs).collect::<Vec<_>>());
        // Without NIP-77 the same comes out by pages, also small ones.
        let settings: &[&str] = match round % 4 {
            0 | 2 => &[],
            1 => &["limits.max_reconciliations=0"],
            _ => {
                &["limits.max_reconciliations=0", "limits.max_limit=70", "limits.default_limit=70"]
            }
        };
        let relay = Relay::start_on(Arc::clone(&other), settings);
        let said = sync(&mine, &url(&relay), &["--dir", "both"]).code(0).json();
        assert_eq!(said["in_sync"], true, "{said}");
        assert_eq!(said["received"]["invalid"], 0, "{said}");
        assert!(export(&mine) == export(&other), "round {round}: the stores differ; {said}");
        let again = sync(&mine, &url(&relay), &["--dir", "both", "--dry-run"]).code(0).json();
        assert_eq!((&again["needed"], &again["had"]), (&json!(0), &json!(0)), "{round}: {again}");
    }
}

#[test]
fn events_go_the_way_they_are_asked_to_and_only_those_that_are_asked_for() {
    let notes: Vec<Event> = (0..60).map(|n| key(1).note(&format!("note {n}"), AT + n)).collect();
    let likes: Vec<Event> =
        (0..60).map(|n| key(2).event(7, "+", &[&["x", &n.to_string()]], AT + n)).collect();
    let all: Vec<&Event> = notes.iter().chain(&likes).collect();
    for settings in [&[][..], &["limits.max_reconciliations=0"]] {
        let other = store_of(&all);
        let relay = Relay::start_on(Arc::clone(&other), settings);
        let own = key(3).note("own", AT);
        let mine = store_of(&[&own]);
        let said = sync(&mine, &url(&relay), &["--dry-run"]).code(0).json();
        assert_eq!((&said["needed"], &said["received"]["stored"]), (&json!(120), &json!(0)));
        assert_eq!(export(&mine).len(), 1, "nothing is transferred by a dry run");
        let filter = ["--filter", "{\"kinds\":[7]}"];
        let range = ["--range", "1700000010..1700000019"];
        let done = sync(&mine, &url(&relay), &[filter, range].concat()).code(0);
        assert_eq!(count(&done, "received", "stored"), 10);
        let done = sync(&mine, &url(&relay), &range).code(0);
        assert_eq!(count(&done, "received", "stored"), 10);
        assert_eq!(export(&mine).len(), 21);
        assert_eq!(export(&other).len(), 120, "nothing goes up unless it is asked to");
        let done = sync(&mine, &url(&relay), &["--dir", "up"]).code(0);
        assert_eq!(count(&done, "sent", "accepted"), 1);
        assert_eq!(export(&other).len(), 121);
        assert_eq!(export(&mine).len(), 21, "nothing comes down that way");
    }
}

#[test]
fn three_relays_agree_over_the_one_in_the_middle() {
    let mut random = seeded("three");
    let stores = [(); 3].map(|()| {
        let events = random_events(&mut random, 150);
        store_of(&events.iter().collect::<Vec<_>>())
    });
    let [a, b, c] = stores.each_ref().map(|store| Relay::start_on(Arc::clone(store), &[]));
    // Both ends are served meanwhile.
    for (store, relay) in [(&stores[0], &b), (&stores[2], &b), (&stores[0], &b)] {
        sync(store, &url(relay), &["--dir", "both"]).code(0);
    }
    let [a_has, b_has, c_has] = stores.each_ref().map(|store| export(store));
    assert!(a_has == b_has && b_has == c_has, "the stores differ");
    for mut relay in [a, b, c] {
        relay.assert_serving();
    }
}

#[test]
fn a_relay_sends_to_its_subscribers_what_a_sync_has_stored_beside_it() {
    let other = Relay::start();
    let relay = Relay::start();
    let mut subscriber = relay.connect();
    subscriber.stored("live", &[json!({"kinds": [1]})]);
    let note = key(1).note("from afar", now());
    other.connect().publish(&note).is_true("", &note);
    relay.command(&["sync", &url(&other)]).code(0).says("in sync");
    assert_eq!(subscriber.live("live").id, note.id);
}

#[test]
fn private_messages_stay_at_home_unless_they_are_meant_to_go() {
    let letter = key(1).event(4, "secret", &[&["p", key(2).public()]], AT);
    let wrap = key(7).event(1059, "sealed", &[&["p", key(2).public()]], AT);
    let note = key(1).note("open", AT);
    let mine = store_of(&[&letter, &wrap, &note]);
    let other = empty_store();
    let relay = Relay::start_on(Arc::clone(&other), &[]);
    let done = sync(&mine, &url(&relay), &["--dir", "both"]).code(0);
    assert_eq!(count(&done, "sent", "accepted"), 1);
    let done = sync(&mine, &url(&relay), &["--dir", "both", "--private"]).code(0);
    assert_eq!(count(&done, "sent", "accepted"), 2);
    assert!(export(&mine) == export(&other));
}

#[test]
fn a_relay_that_wants_to_know_who_asks_is_told() {
    let events: Vec<Event> = (0..300).map(|n| key(1).note(&format!("note {n}"), AT + n)).collect();
    for settings in
        [&["auth.required=true"][..], &["auth.required=true", "limits.max_reconciliations=0"]]
    {
        let other = store_of(&events.iter().collect::<Vec<_>>());
        let relay = Relay::start_on(Arc::clone(&other), settings);
        let mine = store_of(&[&key(3).note("own", AT)]);
        sync(&mine, &url(&relay), &[]).code(1).says("NIP-42").says("--key");
        let file = mine.path().join("key");
        std::fs::write(&file, format!("{:064x}\n", 5)).expect("a file can be written");
        let own = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, own).expect("it is our own");
        let done = sync(&mine, &url(&relay), &["--dir", "both", "--key", text(&file)]).code(0);
        assert_eq!(count(&done, "received", "stored"), 300);
        assert!(export(&mine) == export(&other));
        std::fs::write(&file, "nonsense").expect("a file can be written");
        sync(&mine, &url(&relay), &["--key", text(&file)]).refused().says("64");
    }
}

#[test]
fn what_the_other_relay_refuses_is_counted_and_the_rest_arrives() {
    let (plain, refused) = (key(1).note("plain", AT), key(1).event(9_999, "", &[], AT));
    let guarded = key(1).event(1, "mine", &[&["-"]], AT);
    let mine = store_of(&[&plain, &refused, &guarded]);
    let relay = Relay::start_with(&["policy.refused_kinds=9999"]);
    let done = sync(&mine, &url(&relay), &["--dir", "up"]).code(3);
    assert_eq!(count(&done, "sent", "accepted"), 1);
    let said = done.json();
    assert_eq!(said["sent"]["refused"].as_object().map(|it| it.len()), Some(2), "{said}");
}

#[test]
fn requests_to_vanish_from_another_relay_are_not_taken_over() {
    let relay = Relay::start_with(&["relay.url=wss://other.example"]);
    let vanish = key(1).event(62, "", &[&["relay", "wss://other.example"]], now());
    relay.connect().publish(&vanish).is_true("", &vanish);
    let note = key(1).note("stays", AT);
    let mine = store_of(&[&note]);
    sync(&mine, &url(&relay), &[]).code(3);
    assert_eq!(export(&mine).len(), 1);
}

#[test]
fn a_long_line_is_no_reason_to_be_slow_or_wrong() {
    let mut random = seeded("delay");
    let events = random_events(&mut random, 1_500);
    let other = store_of(&events.iter().collect::<Vec<_>>());
    let ours = random_events(&mut random, 500);
    for settings in [&[][..], &["limits.max_reconciliations=0"]] {
        let mine = store_of(&ours.iter().collect::<Vec<_>>());
        let relay = Relay::start_on(Arc::clone(&other), settings);
        let delay = Duration::from_millis(25);
        let proxy = Proxy::start(relay.address(), vec![Trouble { delay, ..Trouble::default() }]);
        sync(&mine, &proxy.url(), &["--dir", "both"]).code(0);
        assert!(export(&mine) == export(&other));
    }
}

#[test]
fn a_connection_that_breaks_is_made_anew_and_nothing_is_lost() {
    let mut random = seeded("cut");
    let events = random_events(&mut random, 600);
    for settings in [
        &[][..],
        &["limits.max_reconciliations=0", "limits.max_limit=100", "limits.default_limit=100"],
    ] {
        let other = store_of(&events.iter().collect::<Vec<_>>());
        let ours = random_events(&mut random, 200);
        let mine = store_of(&ours.iter().collect::<Vec<_>>());
        let relay = Relay::start_on(Arc::clone(&other), settings);
        let mut cut =
            || Trouble { cut_after: Some(random.usize(200..200_000)), ..Trouble::default() };
        let troubles = vec![cut(), cut(), cut(), cut(), Trouble::default()];
        let proxy = Proxy::start(relay.address(), troubles);
        sync(&mine, &proxy.url(), &["--dir", "both"]).code(0);
        assert!(proxy.connections() > 1, "nothing was cut");
        assert!(export(&mine) == export(&other));
    }
}

#[test]
fn bits_that_turn_over_on_the_way_never_reach_the_store() {
    let mut random = seeded("garble");
    let events = random_events(&mut random, 300);
    let other = store_of(&events.iter().collect::<Vec<_>>());
    let relay = Relay::start_on(Arc::clone(&other), &[]);
    let genuine = export(&other);
    for _ in 0..12 {
        let mine = empty_store();
        let garble_at = Some(random.usize(150..150_000));
        let trouble = Trouble { garble_at, ..Trouble::default() };
        let proxy = Proxy::start(relay.address(), vec![trouble, Trouble::default()]);
        // Whatever it says, it ends.
        let done = sync(&mine, &proxy.url(), &[]);
        assert!(matches!(done.status.code(), Some(0 | 1 | 3)), "{garble_at:?} {}", done.describe());
        let stored = export(&mine);
        assert!(stored.is_subset(&genuine), "{garble_at:?}: what nobody signed is stored");
        sync(&mine, &url(&relay), &[]).code(0);
        assert!(export(&mine) == genuine, "{garble_at:?}");
    }
}

#[test]
fn whoever_is_killed_another_run_completes_it() {
    let mut random = seeded("killed");
    let events = random_events(&mut random, 2_000);
    let other = store_of(&events.iter().collect::<Vec<_>>());
    let ours = random_events(&mut random, 1_000);
    let mine = store_of(&ours.iter().collect::<Vec<_>>());
    let mut relay = Relay::start_on(Arc::clone(&other), &[]);
    for round in 0..6 {
        let delay = Duration::from_millis(3);
        let proxy = Proxy::start(relay.address(), vec![Trouble { delay, ..Trouble::default() }]);
        let enough = random.usize(1_000..500_000);
        if round % 2 == 0 {
            let arguments = ["sync", &proxy.url(), "--data", text(mine.path()), "--dir", "both"];
            let mut child = relay_command(&arguments)
                .stderr(std::process::Stdio::null())
                .spawn()
                .expect("the relay binary starts");
            while proxy.bytes() < enough && child.try_wait().expect("our child").is_none() {
                std::thread::yield_now();
            }
            let _ = child.kill();
            child.wait().expect("a killed command ends");
        } else {
            let running =
                start(&["sync", &proxy.url(), "--data", text(mine.path()), "--dir", "both"]);
            let whole = Duration::from_secs(20);
            let begun = std::time::Instant::now();
            while proxy.bytes() < enough && begun.elapsed() < whole && proxy.connections() < 2 {
                std::thread::yield_now();
            }
            relay.kill();
            running.signal(libc::SIGINT);
            let done = running.wait();
            assert!(matches!(done.status.code(), Some(0 | 1 | 130)), "{}", done.describe());
            relay.restart();
        }
        command(&["check", "--data", text(mine.path())]).code(0);
        relay.command(&["check"]).code(0);
    }
    sync(&mine, &url(&relay), &["--dir", "both"]).code(0);
    assert!(export(&mine) == export(&other));
}

#[test]
fn equal_stores_say_so_in_a_few_bytes() {
    let mut random = seeded("equal");
    let events = random_events(&mut random, 3_000);
    let all: Vec<&Event> = events.iter().collect();
    let (mine, other) = (store_of(&all), store_of(&all));
    let relay = Relay::start_on(other, &[]);
    let proxy = Proxy::start(relay.address(), vec![Trouble::default()]);
    let said = sync(&mine, &proxy.url(), &["--dir", "both"]).code(0).json();
    assert_eq!((&said["method"], &said["connections"]), (&json!("negentropy"), &json!(1)));
    assert_eq!(proxy.connections(), 1, "nothing else is asked");
    // With the upgrade and the challenge of NIP-42.
    assert!(proxy.bytes() < 1_024, "{} bytes", proxy.bytes());
}

#[test]
fn mistakes_are_told_before_anything_is_done() {
    let store = empty_store();
    for (arguments, part) in [
        (&["https://relay.example.org"][..], "wss://"),
        (&["relay.example.org"], "wss://"),
        (&["ws://127.0.0.1:1", "--range", "yesterday"], "--range"),
        (&["ws://127.0.0.1:1", "--filter", "{\"limit\":5}"], "limit"),
        (&["ws://127.0.0.1:1", "--dir", "sideways"], "sideways"),
        (&["ws://127.0.0.1:1", "--key", "/nowhere/at/all"], "/nowhere/at/all"),
        (&["ws://abc.onion"], "network.tor_proxy"),
    ] {
        let all = [&["sync", "--data", text(store.path())], arguments].concat();
        command(&all).refused().says(part);
    }
}

#[test]
fn a_relay_that_is_not_there_is_given_up_with_what_is_wrong() {
    let store = empty_store();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}", free.local_addr().expect("bound"));
    drop(free);
    let done = sync(&store, &url, &[]).code(1);
    done.says("trying again").says("connect to");
}

#[test]
fn the_report_for_machines_has_its_words() {
    let relay = Relay::start();
    let said = sync(&empty_store(), &url(&relay), &[]).code(0).json();
    for (part, names) in [
        ("received", &["events", "stored", "duplicate", "invalid", "missing"][..]),
        ("sent", &["events", "accepted", "duplicate", "refused"]),
    ] {
        for name in names {
            assert!(said[part].get(name).is_some(), "{part}.{name} in {said}");
        }
    }
    assert!(said["seconds"].is_f64() && said["notes"] == Value::Array(Vec::new()), "{said}");
}

/// A relay whose reconciliations are those of the reference implementation.
fn relay_of_another_make(events: Vec<Event>, frame: u64) -> String {
    let taken = Mutex::new(events);
    let open: Mutex<Vec<(Value, Negentropy<'static, NegentropyStorageVector>)>> = Mutex::default();
    scripted(move |talk, message| {
        let mut events = taken.lock().expect("no script panics");
        let mut open = open.lock().expect("no script panics");
        match message[0].as_str() {
            Some("NEG-OPEN") => {
                let mut storage = NegentropyStorageVector::new();
                for event in events.iter() {
                    let id = unhex(&event.id).try_into().expect("32 bytes");
                    let id = Id::from_byte_array(id);
                    storage.insert(event.created_at, id).expect("the storage is open");
                }
                storage.seal().expect("the storage was open");
                let side = Negentropy::owned(storage, frame).expect("the frame is large enough");
                open.push((message[1].clone(), side));
                let (_, side) = open.last_mut().expect("just pushed");
                let query = unhex(message[3].as_str().expect("a message"));
                let answer = side.reconcile(&query).expect("a message of the protocol");
                talk.say(&json!(["NEG-MSG", message[1], hex(&answer)]));
            }
            Some("NEG-MSG") => {
                let side = open.iter_mut().find(|(name, _)| *name == message[1]);
                let (_, side) = side.expect("an open reconciliation");
                let query = unhex(message[2].as_str().expect("a message"));
                let answer = side.reconcile(&query).expect("a message of the protocol");
                talk.say(&json!(["NEG-MSG", message[1], hex(&answer)]));
            }
            Some("REQ") => {
                let ids = message[2]["ids"].as_array().expect("a request by ids");
                for event in events.iter().filter(|event| ids.contains(&json!(event.id))) {
                    talk.say(&json!(["EVENT", message[1], event.json()]));
                }
                talk.say(&json!(["EOSE", message[1]]));
            }
            Some("EVENT") => {
                let event = Event::from_json(&message[1]);
                talk.say(&json!(["OK", event.id, true, ""]));
                events.push(event);
            }
            _ => {}
        }
    })
}

#[test]
fn a_relay_of_another_make_is_understood() {
    let mut random = seeded("other make");
    let notes = |from: u64, to: u64| -> Vec<Event> {
        (from..to).map(|n| key(1).note(&format!("note {n}"), AT + n / 3)).collect()
    };
    for frame in [0, 4096] {
        let (shared, ours, theirs) = (notes(0, 700), notes(700, 900), notes(900, 1_200));
        let mine = store_of(&shared.iter().chain(&ours).collect::<Vec<_>>());
        let mut others: Vec<Event> = shared.iter().chain(&theirs).cloned().collect();
        random.shuffle(&mut others);
        let url = relay_of_another_make(others, frame);
        let done = sync(&mine, &url, &["--dir", "both"]).code(0);
        assert_eq!(count(&done, "received", "stored"), 300);
        assert_eq!(count(&done, "sent", "accepted"), 200);
        assert_eq!(done.json()["method"], "negentropy");
        let again = sync(&mine, &url, &["--dir", "both"]).code(0).json();
        assert_eq!((&again["needed"], &again["had"]), (&json!(0), &json!(0)), "{again}");
    }
}
