//! Crashes: kill -9 in the middle of publishing, and everything acknowledged is still there.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::json;
use tungstenite::Message;

use crate::harness::process::{start, text};
use crate::harness::{
    Client, Event, PATIENCE, Relay, command, command_with_input, fixture, key, seeded,
};

const AT: u64 = 1_700_000_000;
const ROUNDS: u64 = 4;
const CONNECTIONS: u32 = 4;

/// What one connection was told before the relay died.
#[derive(Default)]
struct Told {
    /// Acknowledged events that nothing else may have removed.
    kept: Vec<Event>,
    /// Events whose deletion was acknowledged.
    deleted: Vec<Event>,
}

#[test]
fn after_kill_9_every_acknowledged_event_is_there() {
    let mut random = seeded("crash");
    let mut relay = Relay::start();
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let enough = random.usize(20..400);
        println!("round {round}: killed after {enough} acknowledgements");
        all.extend(publish_until_killed(&mut relay, round, enough));
        relay.command(&["check"]).code(0);
        relay.restart();
        let mut client = relay.connect();
        for told in &all {
            assert_all_there(&mut client, &told.kept);
            for event in &told.deleted {
                assert_eq!(client.ids(&[json!({"ids": [event.id]})]).len(), 0, "{event:?}");
                client.publish(event).is_false("blocked", event);
            }
        }
        // What the relay has is whole: ids and signatures prove it, and indexes agree.
        let sample = client.stored("sample", &[json!({"limit": 50})]);
        sample.iter().for_each(Event::assert_genuine);
    }
    let exported = relay.command(&["export"]).code(0).events();
    let by_time: Vec<_> = exported.iter().map(|event| event.created_at).collect();
    let unique: HashSet<_> = exported.iter().map(|event| &event.id).collect();
    assert_eq!(unique.len(), by_time.len(), "no event is there twice");
}

/// Publishes on several connections at once; kills the relay after some acknowledgements.
fn publish_until_killed(relay: &mut Relay, round: u64, enough: usize) -> Vec<Told> {
    let acknowledged = AtomicUsize::new(0);
    let (reached, wait) = channel();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=CONNECTIONS)
            .map(|number| {
                let (acknowledged, reached) = (&acknowledged, reached.clone());
                let address = relay.address().to_owned();
                scope.spawn(move || {
                    publish(&address, number, round, || {
                        if acknowledged.fetch_add(1, Ordering::Relaxed) == enough {
                            // The receiver waits for exactly this.
                            let _ = reached.send(());
                        }
                    })
                })
            })
            .collect();
        wait.recv_timeout(PATIENCE).expect("enough events are acknowledged");
        relay.kill();
        threads.into_iter().map(|thread| thread.join().expect("publishing")).collect()
    })
}

/// Publishes notes, versions and deletions until the connection breaks.
fn publish(address: &str, number: u32, round: u64, mut acknowledged: impl FnMut()) -> Told {
    let mut told = Told::default();
    let mut socket = connect(address);
    let author = key(number);
    for step in 0.. {
        let name = format!("{round}-{step}");
        let at = AT + round * 10_000 + step;
        let note = author.event(1, &name, &[&["t", "x"], &["e", &fixture("S1").id]], at);
        let doomed = author.event(1, &format!("{name} doomed"), &[], at);
        let article = author.event(30_023, &name, &[&["d", &name]], at);
        let request = author.event(5, "", &[&["e", &doomed.id]], at);
        let burst = [note, doomed, article, request];
        let sent = burst.iter().all(|event| {
            socket.send(Message::text(json!(["EVENT", event.json()]).to_string())).is_ok()
        });
        let mut answered = HashSet::new();
        while answered.len() < burst.len() {
            let Ok(Message::Text(text)) = socket.read() else { break };
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(value[0], "OK", "{value}");
            let is_doomed = value[1] == burst[1].id.as_str();
            assert!(value[2] == true || is_doomed, "{value}");
            answered.insert(value[1].as_str().expect("an id").to_owned());
            acknowledged();
        }
        let [note, doomed, article, request] = burst;
        let is_answered = |event: &Event| answered.contains(&event.id);
        let is_deleted = is_answered(&request);
        told.kept.extend([note, article, request].into_iter().filter(|e| is_answered(e)));
        if is_deleted {
            told.deleted.push(doomed);
        }
        if !sent || answered.len() < 4 {
            return told;
        }
    }
    told
}

fn connect(address: &str) -> tungstenite::WebSocket<std::net::TcpStream> {
    let stream = std::net::TcpStream::connect(address).expect("the relay accepts connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("time-outs are supported");
    let (mut socket, _) =
        tungstenite::client(format!("ws://{address}/"), stream).expect("the upgrade succeeds");
    let first = socket.read().expect("a challenge comes first");
    assert!(first.into_text().is_ok_and(|text| text.starts_with("[\"AUTH\"")));
    socket
}

fn assert_all_there(client: &mut Client, events: &[Event]) {
    for part in events.chunks(200) {
        let mut expected: Vec<&str> = part.iter().map(|event| event.id.as_str()).collect();
        expected.sort_unstable();
        let mut found = client.ids(&[json!({"ids": expected, "limit": 5000})]);
        found.sort_unstable();
        assert_eq!(found, expected, "acknowledged, so there");
    }
}

#[test]
fn an_import_that_is_killed_leaves_a_store_that_works() {
    // It may die while it holds the right to write: the relay and the next import get it.
    let mut relay = Relay::start();
    let mut client = relay.connect();
    let all: Vec<Event> =
        (0..1200).map(|n| key(1 + n % 5).note(&format!("{n}"), AT + u64::from(n))).collect();
    let lines: String = all.iter().map(|event| event.line() + "\n").collect();
    for round in 0..5 {
        let author = key(1 + round);
        client.stored("live", &[json!({"authors": [author.public()], "limit": 0})]);
        let mut import = start(&["import", "-", "--data", relay.data()]);
        let own = lines.lines().filter(|line| line.contains(author.public()));
        own.for_each(|line| import.feed_part(format!("{line}\n").as_bytes()));
        client.live("live");
        import.signal(libc::SIGKILL);
        import.wait();
        let note = key(9).note(&round.to_string(), AT + u64::from(round));
        client.publish(&note).is_true("", "the relay still writes");
        relay.command(&["check"]).code(0);
    }
    let run =
        command_with_input(&["import", "-", "--data", relay.data()], lines.as_bytes()).code(0);
    assert_eq!(run.count("stored") + run.count("duplicate"), 1200, "{}", run.describe());
    relay.command(&["check"]).code(0);
    assert_all_there(&mut relay.connect(), &all);
    relay.assert_serving();
}

#[test]
fn a_compaction_that_is_killed_leaves_the_old_store_or_the_new_one() {
    let mut random = seeded("killed compaction");
    let store = tempfile::tempdir().expect("a temporary directory can be made");
    let data = text(store.path());
    let lines: String =
        (0..1500).map(|n| key(1).note(&format!("{n}"), AT + n).line() + "\n").collect();
    command_with_input(&["import", "-", "--data", data], lines.as_bytes()).code(0);
    let whole = command(&["export", "--data", data]).code(0).stdout;
    for round in 0..10 {
        let compaction = start(&["compact", "--data", data]);
        // The moment of the crash is meant to be any; nothing waits for this pause.
        std::thread::sleep(Duration::from_micros(random.u64(..60_000 + 20_000 * round)));
        compaction.signal(libc::SIGKILL);
        compaction.wait();
        command(&["check", "--data", data]).code(0);
        assert!(command(&["export", "--data", data]).code(0).stdout == whole, "round {round}");
    }
    command(&["compact", "--data", data]).code(0);
    assert!(command(&["export", "--data", data]).code(0).stdout == whole, "compacted at last");
    let left = std::fs::read_dir(store.path()).expect("the folder is readable");
    let names: Vec<_> = left.map(|entry| entry.expect("readable").file_name()).collect();
    assert!(names.len() <= 6, "nothing is left lying about: {names:?}");
}

#[test]
fn an_event_acknowledged_just_before_kill_9_is_there() {
    // S09
    let mut relay = Relay::start();
    for number in 0..5 {
        let event = key(1).note(&format!("{number}"), AT + number);
        relay.connect().publish_all([&event]);
        relay.kill();
        relay.restart();
        assert_eq!(relay.connect().stored("there", &[json!({"limit": 1})]), [event]);
    }
    assert_eq!(relay.connect().ids(&[json!({})]).len(), 5);
}

#[test]
fn a_relay_that_is_asked_to_stop_ends_in_order() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut relay = Relay::start();
        let mut client = relay.connect();
        client.stored("open", &[json!({"kinds": [1]})]);
        let events: Vec<Event> = (0..50).map(|n| key(1).note(&format!("{n}"), AT + n)).collect();
        client.publish_all(&events);
        let status = relay.stop(signal);
        assert_eq!(status.code(), Some(0), "signal {signal}: {status}; {}", relay.said());
        let code = client.end();
        assert!(matches!(code, Some(1000 | 1001 | 1012)), "clients are told: {code:?}");
        relay.command(&["check"]).code(0);
        relay.restart();
        assert_eq!(relay.connect().ids(&[json!({})]).len(), 50);
    }
}
