//! The paths of live delivery: matching subscriptions, and the ring between threads.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use chappe::fanout::{self, Next, Published, RingLimits, SubKey, SubscriptionIndex};
use chappe::nostr::Filter;
use chappe::seq::Seq;

use super::events::Events;
use super::limits::Limits;
use super::timing::{Figure, Report};

/// Measures them.
pub(crate) fn measure(report: &mut Report, limits: &Limits, events: &Events) {
    matching(report, events);
    let bytes = events.bytes();
    let mut place = 0;
    let mut number = 0;
    report.path("render for the ring", Some(bytes), limits.memcpy(bytes), || {
        place += 1;
        black_box(Published::new(Seq(1), events.event(place).clone()));
        1
    });
    let (mut producer, ring) = fanout::ring(RING, Vec::new());
    let mut consumer = ring.consumer();
    let batch: Arc<[Published]> = Arc::new([Published::new(Seq(1), events.event(1).clone())]);
    report.path("ring, publish and take", None, None, || {
        number += 1;
        producer.publish(Arc::clone(&batch));
        usize::from(matches!(consumer.next(), Next::Batch(_)))
    });
    if report.wants("ring hop to another thread") {
        let hop = hop(&batch);
        report.add("ring hop to another thread", None, None, hop);
    }
}

/// What 10,000 clients subscribe to.
pub(crate) fn subscriptions(events: &Events) -> SubscriptionIndex {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut index = SubscriptionIndex::new(1);
    for connection in 0..10_000 {
        let mut author = || {
            let author = events.authors[rng.usize(0..events.authors.len())];
            format!("\"{author}\"")
        };
        let text = match connection % 5 {
            0 => format!(r##"{{"#p":[{}],"kinds":[1,6,7]}}"##, author()),
            1 => format!(r##"{{"#t":["hashtag{connection}"]}}"##),
            2 => format!(r#"{{"ids":["{}"]}}"#, events.event(connection).id),
            _ => {
                let few: Vec<String> = (0..20).map(|_| author()).collect();
                format!(r#"{{"authors":[{}],"kinds":[1,6]}}"#, few.join(","))
            }
        };
        let filter = Filter::parse(text.as_bytes()).expect("the filter is in order");
        let key = SubKey { connection: connection as u32, subscription: 0 };
        index.insert(key, Arc::new([filter]));
    }
    index
}

/// Matches events against what 10,000 clients subscribe to.
fn matching(report: &mut Report, events: &Events) {
    let mut index = subscriptions(events);
    let mut found = Vec::new();
    let mut place = 0;
    report.path("match against 10,000 subscriptions", None, None, || {
        place += 1;
        found.clear();
        index.matches(&events.event(place).view(), &mut found);
        black_box(&found);
        1
    });
}

/// The time from publishing to another thread's having the batch, both awake.
fn hop(batch: &Arc<[Published]>) -> Figure {
    let (mut producer, ring) = fanout::ring(RING, Vec::new());
    let mut consumer = ring.consumer();
    let taken = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&taken);
    let other = std::thread::spawn(move || {
        let mut count = 0;
        while count < HOPS {
            match consumer.next() {
                Next::Batch(_) => {
                    count += 1;
                    seen.store(count, Ordering::Release);
                }
                Next::Empty | Next::Lapped => std::hint::spin_loop(),
            }
        }
    });
    let mut rounds = Vec::new();
    for hop in 1..=HOPS {
        let start = Instant::now();
        producer.publish(Arc::clone(batch));
        while taken.load(Ordering::Acquire) < hop {
            std::hint::spin_loop();
        }
        rounds.push(start.elapsed().as_nanos() as f64);
    }
    other.join().expect("the consumer does not panic");
    Figure::of(rounds)
}

const RING: RingLimits = RingLimits { batches: 1024, bytes: 32 << 20 };
const HOPS: u64 = 2_000;
