//! The model against a whole relay: publishing and asking on several connections, live too.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::random::Universe;
use super::rules::{Fate, Model, matches_any};
use crate::harness::{Client, Event, Relay, Verdict, command_with_input, now, pick, seeded};

const ROUNDS: usize = 4;
const STEPS: usize = 220;
const DEFAULT_LIMIT: u64 = 40;

/// One client and what it has asked for and not closed.
struct Listener {
    client: Client,
    open: HashMap<String, Vec<Value>>,
}

#[test]
fn whatever_is_published_and_asked_a_relay_does_as_the_model() {
    let mut random = seeded("model over sockets");
    for _ in 0..ROUNDS {
        run(&mut random);
    }
}

fn run(random: &mut fastrand::Rng) {
    let limit = format!("limits.default_limit={DEFAULT_LIMIT}");
    // The model knows no identities.
    let relay = Relay::start_with(&[&limit, "auth.restricted_kinds="]);
    let mut listeners: Vec<Listener> =
        (0..3).map(|_| Listener { client: relay.connect(), open: HashMap::new() }).collect();
    let mut author = relay.connect();
    author.stored("everything", &[json!({"limit": 0})]);
    // Expired long ago or in the far future: this test does not depend on the clock.
    let mut universe = Universe::new(&[1_000_000, now() + 1_000_000, u64::MAX]);
    let mut model = Model::default();
    for _ in 0..STEPS {
        let at = random.usize(..listeners.len());
        match random.u8(..100) {
            0..2 => {
                let events = lasting_events(&mut universe, &model, random);
                for event in import(&relay, &mut model, &events) {
                    // Once it came here, it is there for everybody.
                    assert_eq!(author.live("everything"), event, "imported");
                    check_delivery(&mut listeners, &event);
                }
            }
            2..60 => {
                let event = universe.event(random);
                let fate = model.publish(&event, now());
                check_verdict(&author.publish(&event), fate, &event);
                if matches!(fate, Fate::Stored | Fate::Ephemeral) {
                    assert_eq!(author.live("everything"), event, "published");
                    check_delivery(&mut listeners, &event);
                }
            }
            60..90 => {
                let filters = universe.filters(random);
                let name = *pick(random, &["one", "two", "three"]);
                let stored = listeners[at].client.stored(name, &filters);
                let stored: Vec<&Event> = stored.iter().collect();
                let expected = model.query(&filters, DEFAULT_LIMIT, now());
                assert_eq!(stored, expected, "stored events of {filters:#?}");
                listeners[at].open.insert(name.to_owned(), filters);
            }
            _ => {
                let name = *pick(random, &["one", "two", "three"]);
                listeners[at].client.close(name);
                listeners[at].open.remove(name);
                // Another answer on the same connection proves that CLOSE was read.
                listeners[at].client.stored("after close", &[json!({"kinds": []})]);
            }
        }
    }
    for listener in &mut listeners {
        listener.client.assert_quiet();
    }
    let whole = [json!({"limit": 5000})];
    let before = author.stored("whole", &whole);
    assert_eq!(before.iter().collect::<Vec<_>>(), model.query(&whole, 0, now()));
    drop(author);
    drop(listeners);
    check_restart(relay, &before);
}

/// Events of which none comes twice, and none replaces or deletes another: what another process
/// commits and undoes at once, nobody has to be told.
fn lasting_events(
    universe: &mut Universe,
    model: &Model,
    random: &mut fastrand::Rng,
) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut trial = model.clone();
    while events.len() < 12 {
        let event = universe.event(random);
        let mut next = trial.clone();
        next.publish(&event, now());
        let is_lost = |known: &Event| trial.events.contains(known) && !next.events.contains(known);
        if !events.contains(&event) && !events.iter().any(is_lost) {
            trial = next;
            events.push(event);
        }
    }
    events
}

/// Another process commits events to the relay's store; returns those that it should store.
fn import(relay: &Relay, model: &mut Model, events: &[Event]) -> Vec<Event> {
    let lines: String = events.iter().map(|event| event.line() + "\n").collect();
    let fates: Vec<Fate> = events.iter().map(|event| model.publish(event, now())).collect();
    let run = command_with_input(&["import", "-", "--data", relay.data()], lines.as_bytes());
    let run = run.code(0);
    let count = |fate: Fate| fates.iter().filter(|known| **known == fate).count() as u64;
    let counted = |words: &[&str]| words.iter().map(|word| run.count(word)).sum::<u64>();
    assert_eq!(counted(&["stored"]), count(Fate::Stored), "{}", run.describe());
    assert_eq!(counted(&["ephemeral"]), count(Fate::Ephemeral), "{}", run.describe());
    // An event may be found in the store and be deleted by a line before it: both words are true.
    let refused = counted(&["duplicate", "replaced", "deleted", "vanished", "expired"]);
    let expected = events.len() as u64 - count(Fate::Stored) - count(Fate::Ephemeral);
    assert_eq!(refused, expected, "{}", run.describe());
    let stored = fates.iter().zip(events).filter(|(fate, _)| **fate == Fate::Stored);
    stored.map(|(_, event)| event.clone()).collect()
}

/// The whole store is the same after the process was killed and started again.
fn check_restart(mut relay: Relay, before: &[Event]) {
    relay.kill();
    relay.command(&["check"]).code(0);
    relay.restart();
    let after = relay.connect().stored("whole", &[json!({"limit": 5000})]);
    assert_eq!(after, before, "the store after a restart");
}

fn check_verdict(verdict: &Verdict, fate: Fate, event: &Event) {
    match fate {
        Fate::Stored | Fate::Ephemeral => verdict.is_true("", event),
        Fate::Duplicate => verdict.is_true("duplicate", event),
        Fate::Superseded => verdict.is_false("duplicate", event),
        Fate::Deleted | Fate::Vanished => verdict.is_false("blocked", event),
        Fate::Expired => verdict.is_false("invalid", event),
    }
}

/// Every open subscription that matches gets the event, and only those.
fn check_delivery(listeners: &mut [Listener], event: &Event) {
    for listener in listeners {
        let mut expected: Vec<&String> = listener
            .open
            .iter()
            .filter(|(_, filters)| matches_any(filters, event))
            .map(|(name, _)| name)
            .collect();
        expected.sort();
        for name in expected {
            assert_eq!(listener.client.live(name), *event, "live for {name}");
        }
    }
}
