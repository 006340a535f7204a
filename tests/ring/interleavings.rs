//! The ring in every interleaving of a producer and its consumers, as far as a few batches go.
//!
//! A thread is interrupted at most three times, which few faults need; without a bound two
//! consumers would take hours. What has to hold: a consumer sees batches in order and whole, what
//! it misses it is told of, it is never sent back, and when the producer rests it arrives at the
//! last batch.

use std::sync::Arc;

use loom::thread;
use ring_model::{Consumer, Next, Published, RingLimits, ring};

#[test]
fn a_consumer_that_is_lapped_misses_only_what_it_is_told_of() {
    check(RingLimits { batches: 2, bytes: 1 << 20 }, 4, &[4]);
}

#[test]
fn two_consumers_do_not_disturb_each_other() {
    check(RingLimits { batches: 2, bytes: 1 << 20 }, 3, &[2, 1]);
}

#[test]
fn batches_that_go_for_lack_of_bytes_are_missed_in_order_too() {
    // Room for one batch and a half.
    let bytes = 3 * batch_bytes() / 2;
    check(RingLimits { batches: 4, bytes }, 3, &[3]);
}

/// Publishes `batches`, while each consumer looks so many times.
fn check(limits: RingLimits, batches: u64, looks: &[usize]) {
    let looks = looks.to_vec();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(INTERRUPTIONS_MAX);
    model.check(move || {
        let (mut producer, ring) = ring(limits, Vec::new());
        let consumers: Vec<_> = looks
            .iter()
            .map(|looks| {
                let (mut walk, looks) = (Walk::new(ring.consumer()), *looks);
                thread::spawn(move || {
                    for _ in 0..looks {
                        walk.step();
                    }
                    walk
                })
            })
            .collect();
        for seq in 0..batches {
            producer.publish(batch(seq));
        }
        for consumer in consumers {
            let mut walk = consumer.join().expect("a consumer does not panic");
            while walk.step() {}
            assert_eq!(walk.expected, batches, "nothing is left");
            assert_eq!(walk.taken + walk.missed, batches, "nothing is lost in silence");
            assert!(walk.taken > 0, "the newest batch is always kept");
        }
    });
}

/// A consumer, and what it has seen.
struct Walk {
    consumer: Consumer,
    /// The seq of the next batch; it is the batch's position, too.
    expected: u64,
    taken: u64,
    missed: u64,
}

impl Walk {
    fn new(consumer: Consumer) -> Walk {
        Walk { consumer, expected: 0, taken: 0, missed: 0 }
    }

    /// Looks once; returns whether there was anything.
    fn step(&mut self) -> bool {
        match self.consumer.next() {
            Next::Empty => return false,
            Next::Batch(batch) => {
                assert_eq!(batch[0].seq, self.expected, "batches come in order");
                self.expected += 1;
                self.taken += 1;
            }
            Next::Lapped => {
                let position = self.consumer.position();
                assert!(position > self.expected, "a lapped consumer goes forward");
                self.missed += position - self.expected;
                self.expected = position;
            }
        }
        true
    }
}

fn batch(seq: u64) -> Arc<[Published]> {
    Arc::new([Published { seq }])
}

fn batch_bytes() -> usize {
    // As the ring counts: the event's own bytes are its to tell, and it tells of none.
    size_of::<Published>()
}

const INTERRUPTIONS_MAX: usize = 3;
