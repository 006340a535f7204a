//! The model against the store and its queries alone: many more events, and time as an argument.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use chappe::nostr::{self, EventRef, Filter, Verified, Verifier};
use chappe::query::{Budget, Cursor, QueryLimits, Step, count};
use chappe::seq::Seq;
use chappe::store::{Durability, Outcome, Store, StoreOptions, Writer, check};
use serde_json::{Value, json};

use super::random::{AT, Universe};
use super::rules::{Fate, Model};
use crate::harness::{Event, seeded};

const ROUNDS: usize = 3;
const BATCHES: usize = 60;
const DEFAULT_LIMIT: u64 = 30;

#[test]
fn whatever_is_stored_and_asked_the_store_does_as_the_model() {
    let mut random = seeded("model over the library");
    for _ in 0..ROUNDS {
        run(&mut random);
    }
}

fn run(random: &mut fastrand::Rng) {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let mut bench = Bench::open(folder.path());
    // Seconds at which events expire lie on the way of this run's clock.
    let start = AT + 1000;
    let mut now = start;
    let mut universe = Universe::new(&[start - 1, start + 5, start + 20, start + 40]);
    for _ in 0..BATCHES {
        let events: Vec<Event> = (0..random.usize(1..15)).map(|_| universe.event(random)).collect();
        bench.commit(&events, now);
        match random.u8(..12) {
            0..=2 => now += 1,
            3 => bench.expire(now),
            4..=6 => bench.maintain(random.bool()),
            7 => bench = bench.reopen(folder.path()),
            _ => {}
        }
        for _ in 0..4 {
            let filters = universe.filters(random);
            bench.ask(&filters, now, random.u64(1..400));
        }
    }
    bench.ask(&[json!({"limit": 100_000})], now, 1_000_000);
    bench.check();
}

#[test]
fn a_larger_store_that_was_merged_in_many_steps_does_as_the_model() {
    // Large enough for indexes of many blocks, which are cut and packed again.
    let mut random = seeded("larger model over the library");
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let mut bench = Bench::open(folder.path());
    let mut universe = Universe::new(&[]);
    for batch in 0..20 {
        let events: Vec<Event> = (0..150).map(|_| universe.event(&mut random)).collect();
        bench.commit(&events, AT + 1000);
        match batch % 4 {
            0 => bench.maintain(true),
            1 => bench.maintain(false),
            _ => {}
        }
        let filters = universe.filters(&mut random);
        bench.ask(&filters, AT + 1000, random.u64(1..5000));
    }
    bench.check();
    bench.maintain(true);
    bench.check();
    bench.ask(&[json!({"limit": 100_000})], AT + 1000, 1_000_000);
    for _ in 0..10 {
        let filters = universe.filters(&mut random);
        bench.ask(&filters, AT + 1000, random.u64(1..5000));
    }
}

/// A store and the model of what is in it.
struct Bench {
    store: Store,
    writer: Writer,
    verifier: Verifier,
    model: Model,
}

impl Bench {
    fn open(folder: &Path) -> Bench {
        let store = open(folder);
        let writer = Writer::new(store.clone());
        Bench { store, writer, verifier: Verifier::new(), model: Model::default() }
    }

    fn reopen(self, folder: &Path) -> Bench {
        let Bench { store, writer, verifier, model } = self;
        drop(writer);
        drop(store);
        let store = open(folder);
        Bench { writer: Writer::new(store.clone()), store, verifier, model }
    }

    fn commit(&mut self, events: &[Event], now: u64) {
        let batch: Vec<Verified> = events.iter().map(|event| self.verified(event)).collect();
        let committed = self.writer.commit(&batch, now).expect("a batch is committed");
        assert_eq!(committed.outcomes.len(), events.len(), "one outcome each");
        let mut last = committed.before;
        for (event, outcome) in events.iter().zip(committed.outcomes) {
            let fate = self.model.publish(event, now);
            let is_right = match outcome {
                Outcome::Stored(seq) => {
                    assert!(seq > last, "seqs rise");
                    last = seq;
                    fate == Fate::Stored
                }
                Outcome::Duplicate => fate == Fate::Duplicate,
                Outcome::Superseded => fate == Fate::Superseded,
                Outcome::Deleted => fate == Fate::Deleted,
                Outcome::Vanished => fate == Fate::Vanished,
                Outcome::Expired => fate == Fate::Expired,
                Outcome::Ephemeral => fate == Fate::Ephemeral,
                // Nobody guards this store.
                Outcome::Unkept | Outcome::Refused => false,
            };
            assert!(is_right, "{outcome:?}, where the model says {fate:?}, for {event:?}");
        }
        assert_eq!(self.store.last_seq(), last);
    }

    fn verified(&mut self, event: &Event) -> Verified {
        let parsed = nostr::Event::parse(event.line().as_bytes()).expect("the event is valid");
        self.verifier.verify(parsed).unwrap_or_else(|_| panic!("{event:?} is genuine"))
    }

    fn expire(&mut self, now: u64) {
        while !self.writer.expire(now, 7).expect("expired events are buried").is_empty() {}
        self.model.sweep(now);
    }

    fn maintain(&mut self, to_the_end: bool) {
        while self.writer.maintain(true).expect("entries are merged") && to_the_end {}
    }

    /// Compares the answer to a REQ and its count with the model's.
    fn ask(&self, filters: &[Value], now: u64, steps: u64) {
        let parsed: Vec<Filter> = filters
            .iter()
            .map(|filter| {
                let parsed = Filter::parse(filter.to_string().as_bytes());
                parsed.unwrap_or_else(|_| panic!("{filter} is a filter"))
            })
            .collect();
        let visible = |event: &EventRef<'_>| event.expiration().is_none_or(|at| at > now);
        let limits = QueryLimits { default_limit: DEFAULT_LIMIT, max_limit: u64::MAX };
        let mut found = Vec::new();
        let mut cursor = Cursor::new(Arc::from(parsed.clone()), limits, Seq::MAX);
        let mut slices = 0;
        loop {
            // Each slice has a snapshot of its own, as in the relay.
            let snapshot = self.store.snapshot().expect("a snapshot is taken");
            let mut sink = |event: &EventRef<'_>| {
                let mut json = Vec::new();
                event.write_json(&mut json);
                let value: Value = serde_json::from_slice(&json).expect("events are JSON");
                found.push(Event::from_json(&value));
                // Now and then the sink is full.
                if found.len() % 3 == 0 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let step = cursor.step(&snapshot, Budget { steps }, &visible, &mut sink);
            if step.expect("a slice runs") == Step::Done {
                break;
            }
            slices += 1;
            assert!(slices < 1_000_000, "the query ends: {filters:?}");
        }
        let expected = self.model.query(filters, DEFAULT_LIMIT, now);
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "answer to {filters:#?} at {now}");

        let unlimited: Vec<Value> = filters.iter().map(without_limit).collect();
        let all = self.model.query(&unlimited, u64::MAX, now);
        let snapshot = self.store.snapshot().expect("a snapshot is taken");
        let counted = count(&snapshot, &parsed, now, &visible).expect("events are counted");
        assert_eq!(counted, all.len() as u64, "count of {filters:#?} at {now}");
    }

    fn check(&self) {
        let report = check(&self.store, &mut |_, _| {}).expect("the store is readable");
        assert!(report.is_whole(), "{report:?}");
        let snapshot = self.store.snapshot().expect("a snapshot is taken");
        let log = snapshot.log(Seq::ZERO).expect("the log is readable");
        let mut ids: Vec<String> =
            log.map(|item| item.expect("a record is readable").1.id.to_string()).collect();
        let mut expected: Vec<String> =
            self.model.events.iter().map(|event| event.id.clone()).collect();
        ids.sort();
        expected.sort();
        assert_eq!(ids, expected, "the log has the living events");
        let totals: u64 = snapshot.totals().map(|(_, count)| count).sum();
        assert_eq!(totals, expected.len() as u64, "the totals by kind");
    }
}

fn without_limit(filter: &Value) -> Value {
    let mut filter = filter.clone();
    filter.as_object_mut().expect("a filter is an object").remove("limit");
    filter
}

fn open(folder: &Path) -> Store {
    let options =
        StoreOptions { map_bytes: Some(1 << 28), durability: Durability::Lazy, salt: [7; 16] };
    Store::open(folder, &options).expect("the store opens")
}
