//! The seam between stored and live events: each matching event exactly once (I7).

use std::collections::HashMap;
use std::sync::Barrier;

use serde_json::json;

use crate::harness::{Client, Event, Relay, key, seeded};

const AT: u64 = 1_700_000_000;
const EVENTS: u64 = 400;
const AUTHORS: u32 = 2;
const READERS: usize = 6;

#[test]
fn an_event_published_while_a_request_runs_comes_exactly_once() {
    let mut random = seeded("seam");
    let relay = Relay::start();
    let start = Barrier::new(AUTHORS as usize + READERS);
    let seeds: Vec<u64> = (0..READERS).map(|_| random.u64(..)).collect();
    std::thread::scope(|scope| {
        let authors: Vec<_> = (1..=AUTHORS)
            .map(|number| {
                let client = relay.connect();
                let start = &start;
                scope.spawn(move || publish(client, number, start))
            })
            .collect();
        let readers: Vec<_> = seeds
            .into_iter()
            .map(|seed| {
                let client = relay.connect();
                let start = &start;
                scope.spawn(move || read(client, fastrand::Rng::with_seed(seed), start))
            })
            .collect();
        let published: Vec<Event> =
            authors.into_iter().flat_map(|author| author.join().expect("publishing")).collect();
        // Everything was acknowledged, so what is published now is the last that readers see.
        let last = key(9).note("last", AT);
        relay.connect().publish_all([&last]);
        let mut expected: Vec<&str> = published.iter().map(|event| event.id.as_str()).collect();
        expected.push(&last.id);
        expected.sort_unstable();
        for reader in readers {
            for (subscription, counts) in reader.join().expect("reading") {
                let mut seen: Vec<&str> = counts.keys().map(String::as_str).collect();
                seen.sort_unstable();
                assert_eq!(seen, expected, "{subscription} has every event");
                let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
                assert!(doubled.is_empty(), "{subscription} has each once: {doubled:?}");
            }
        }
    });
}

/// Publishes in bursts, without waiting in between; returns what was acknowledged.
fn publish(mut client: Client, number: u32, start: &Barrier) -> Vec<Event> {
    let events: Vec<Event> = (0..EVENTS)
        .map(|n| key(number).event(1, &n.to_string(), &[&["t", "x"]], AT + n % 50))
        .collect();
    start.wait();
    for burst in events.chunks(7) {
        for event in burst {
            client.send(&json!(["EVENT", event.json()]));
        }
        for event in burst {
            client.verdict(&event.id).is_true("", event);
        }
    }
    events
}

/// Opens subscriptions at random moments; counts each event for each until the last has come.
fn read(
    mut client: Client,
    mut random: fastrand::Rng,
    start: &Barrier,
) -> Vec<(String, HashMap<String, u32>)> {
    start.wait();
    let mut seen: Vec<(String, HashMap<String, u32>)> = Vec::new();
    for number in 0..12 {
        let name = format!("reader-{number}");
        let filters = match number % 4 {
            0 => vec![json!({"limit": 5000})],
            1 => vec![json!({"kinds": [1], "limit": 5000})],
            2 => vec![
                json!({"authors": [key(1).public(), key(9).public()], "limit": 5000}),
                json!({"authors": [key(2).public()], "limit": 5000}),
            ],
            _ => vec![
                json!({"#t": ["x"], "limit": 5000}),
                json!({"authors": [key(9).public()], "limit": 5000}),
            ],
        };
        client.request(&name, &filters);
        seen.push((name, HashMap::new()));
        // Live events of older subscriptions give the next request its random moment.
        for _ in 0..random.u32(..40) {
            take_event(&mut client, &mut seen);
        }
    }
    while seen.iter().any(|(_, counts)| !has_last(counts)) {
        take_event(&mut client, &mut seen);
    }
    for message in client.fence() {
        assert_eq!(message[0], "EOSE", "nothing comes after the last event: {message}");
    }
    seen
}

fn has_last(counts: &HashMap<String, u32>) -> bool {
    counts.contains_key(&key(9).note("last", AT).id)
}

fn take_event(client: &mut Client, seen: &mut [(String, HashMap<String, u32>)]) {
    let (name, id) = client.wait_for_json("an event", |message| {
        let id = message[2]["id"].as_str()?;
        (message[0] == "EVENT").then(|| (message[1].clone(), id.to_owned()))
    });
    let counts = seen.iter_mut().find(|(known, _)| name == known.as_str());
    *counts.expect("a subscription that is open").1.entry(id).or_default() += 1;
}

#[test]
fn what_a_command_commits_meets_the_same_seam() {
    // Events of another process join the same order: each exactly once, stored or live.
    let relay = Relay::start();
    let mut reader = relay.connect();
    let before = key(1).note("before", AT);
    reader.publish_all([&before]);
    assert_eq!(reader.stored("live", &[json!({"kinds": [1]})]), [before]);
    let imported: Vec<Event> = (0..200).map(|n| key(2).note(&format!("{n}"), AT + n)).collect();
    let lines: String = imported.iter().map(|event| event.line() + "\n").collect();
    let arguments = ["import", "-", "--data", relay.data()];
    crate::harness::command_with_input(&arguments, lines.as_bytes()).code(0);
    let mut seen: Vec<String> = imported.iter().map(|_| reader.live("live").id).collect();
    seen.sort();
    let mut expected: Vec<String> = imported.iter().map(|event| event.id.clone()).collect();
    expected.sort();
    assert_eq!(seen, expected, "each imported event exactly once");
    reader.assert_quiet();
    assert_eq!(reader.ids(&[json!({"authors": [key(2).public()]})]).len(), 200);
    reader.publish(&imported[0]).is_true("duplicate", "an imported event");
}
