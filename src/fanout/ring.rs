//! The ring: one producer (the writer) hands committed batches to every core, without a lock.
//!
//! A batch is stored once, in the slot of its position; every consumer walks the positions with a
//! counter of its own. The producer never waits: what a slow consumer has not read when its slot is
//! taken again, or when the kept bytes exceed their bound, is lost to that consumer, who is told
//! ([`Next::Lapped`]) and re-reads the store's log by seq. So a slow core delays nobody and loses
//! nothing that was stored.
//!
//! Per batch: one allocation for the slot, one pointer swap, one release store, and one call of each
//! waker. Per consumer: one acquire load when there is nothing, one guarded pointer load otherwise.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::published::Published;

/// Wakes one consumer; it must be cheap, never block and may be called more often than needed.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// The bounds of a ring.
#[derive(Clone, Copy, Debug)]
pub struct RingLimits {
    /// How many batches are kept; at least 2.
    pub batches: usize,
    /// How many bytes of events and JSON the kept batches may hold. The newest batch is kept
    /// whatever its size.
    pub bytes: usize,
}

/// Creates a ring whose producer wakes its consumers by `wakers`.
pub fn ring(limits: RingLimits, wakers: Vec<Waker>) -> (Producer, Ring) {
    assert!(limits.batches >= 2, "a ring of one slot laps every consumer");
    let slots = (0..limits.batches).map(|_| ArcSwapOption::empty()).collect();
    let shared = Arc::new(Shared { slots, head: AtomicU64::new(0), tail: AtomicU64::new(0) });
    let producer = Producer {
        shared: Arc::clone(&shared),
        wakers,
        is_untold: false,
        bytes_max: limits.bytes,
        bytes: 0,
        sizes: VecDeque::with_capacity(limits.batches),
    };
    (producer, Ring { shared })
}

/// The only writing end of a ring.
pub struct Producer {
    shared: Arc<Shared>,
    wakers: Vec<Waker>,
    /// Something was published since the consumers were last woken.
    is_untold: bool,
    bytes_max: usize,
    bytes: usize,
    /// The bytes of each kept batch, oldest first.
    sizes: VecDeque<usize>,
}

impl Producer {
    /// Makes a batch visible to every consumer; [`Producer::wake`] has them look.
    pub fn publish(&mut self, batch: Arc<[Published]>) {
        if batch.is_empty() {
            return;
        }
        let size = batch_bytes(&batch);
        self.make_room(size);
        let position = self.shared.head.load(Ordering::Relaxed);
        self.shared.slot(position).store(Some(Arc::new(Slot { position, batch })));
        self.sizes.push_back(size);
        self.bytes += size;
        // Release: a consumer that sees this head sees the slot stored above.
        self.shared.head.store(position + 1, Ordering::Release);
        self.is_untold = true;
    }

    /// Wakes every consumer if there is anything new. Whoever has something else for their threads
    /// puts that there first, so that they wake once for both.
    pub fn wake(&mut self) {
        if self.is_untold {
            self.is_untold = false;
            self.wakers.iter().for_each(|waker| waker());
        }
    }

    /// Drops the oldest batches until one of `size` bytes may be added.
    fn make_room(&mut self, size: usize) {
        while self.sizes.len() == self.shared.slots.len()
            || (self.bytes + size > self.bytes_max && !self.sizes.is_empty())
        {
            let tail = self.shared.tail.load(Ordering::Relaxed);
            // The tail moves first: who finds the slot empty then learns where to go on.
            self.shared.tail.store(tail + 1, Ordering::Release);
            self.shared.slot(tail).store(None);
            self.bytes -= self.sizes.pop_front().unwrap_or(0);
        }
    }
}

/// The reading side of a ring, from which consumers are made.
#[derive(Clone)]
pub struct Ring {
    shared: Arc<Shared>,
}

impl Ring {
    /// Returns a consumer that starts behind everything published so far.
    pub fn consumer(&self) -> Consumer {
        Consumer {
            next: self.shared.head.load(Ordering::Acquire),
            shared: Arc::clone(&self.shared),
        }
    }
}

/// What a consumer finds at its position.
#[derive(Debug)]
pub enum Next {
    /// The next batch, in commit order.
    Batch(Arc<[Published]>),
    /// Nothing was published since.
    Empty,
    /// The batch is gone; the consumer goes on at the oldest one kept, and what was stored in
    /// between has to be read from the store.
    Lapped,
}

/// One consumer's place in the ring.
pub struct Consumer {
    shared: Arc<Shared>,
    next: u64,
}

impl Consumer {
    /// Takes the next batch, if there is one.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not say that it lapped")]
    pub fn next(&mut self) -> Next {
        if self.next == self.shared.head.load(Ordering::Acquire) {
            return Next::Empty;
        }
        let slot = self.shared.slot(self.next).load();
        match slot.as_ref() {
            Some(slot) if slot.position == self.next => {
                self.next += 1;
                Next::Batch(Arc::clone(&slot.batch))
            }
            _ => {
                let tail = self.shared.tail.load(Ordering::Acquire);
                assert!(tail > self.next, "a kept position has its batch");
                self.next = tail;
                Next::Lapped
            }
        }
    }

    /// Returns the position of the batch after the one that was taken last.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Returns the position of the batch that will be published next.
    pub fn head(&self) -> u64 {
        self.shared.head.load(Ordering::Acquire)
    }

    /// Forgets everything published so far.
    pub fn skip_to_head(&mut self) {
        self.next = self.shared.head.load(Ordering::Acquire);
    }
}

struct Slot {
    position: u64,
    batch: Arc<[Published]>,
}

struct Shared {
    slots: Box<[ArcSwapOption<Slot>]>,
    /// The position of the next batch: every position below it has been published.
    head: AtomicU64,
    /// The oldest position that is kept.
    tail: AtomicU64,
}

impl Shared {
    fn slot(&self, position: u64) -> &ArcSwapOption<Slot> {
        // The remainder is below the number of slots, which is a usize.
        &self.slots[(position % self.slots.len() as u64) as usize]
    }
}

fn batch_bytes(batch: &[Published]) -> usize {
    batch.iter().map(Published::memory_bytes).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::nostr::Event;
    use crate::seq::Seq;

    const ROOMY: usize = 1 << 30;

    #[test]
    fn a_consumer_gets_every_batch_in_order() {
        let (mut producer, ring) = ring(RingLimits { batches: 4, bytes: ROOMY }, Vec::new());
        let mut consumer = ring.consumer();
        for first in 0..100 {
            producer.publish(batch(first..first + 1, 10));
            assert_eq!(take(&mut consumer), Some(vec![first]));
            assert_eq!(take(&mut consumer), None);
        }
    }

    #[test]
    fn a_consumer_starts_behind_what_was_published_before() {
        let (mut producer, ring) = ring(RingLimits { batches: 4, bytes: ROOMY }, Vec::new());
        producer.publish(batch(1..2, 10));
        let mut consumer = ring.consumer();
        producer.publish(batch(2..3, 10));
        assert_eq!(take(&mut consumer), Some(vec![2]));
    }

    #[test]
    fn a_lapped_consumer_is_told_and_goes_on_at_the_oldest_kept_batch() {
        let (mut producer, ring) = ring(RingLimits { batches: 4, bytes: ROOMY }, Vec::new());
        let mut consumer = ring.consumer();
        for first in 0..4 {
            producer.publish(batch(first..first + 1, 10));
        }
        // As many as there are slots: nothing is lost yet.
        assert_eq!(take(&mut consumer), Some(vec![0]));
        for first in 4..9 {
            producer.publish(batch(first..first + 1, 10));
        }
        assert!(matches!(consumer.next(), Next::Lapped));
        assert_eq!(take(&mut consumer), Some(vec![5]));
        assert_eq!(take(&mut consumer), Some(vec![6]));
        consumer.skip_to_head();
        assert_eq!(take(&mut consumer), None);
    }

    #[test]
    fn the_kept_bytes_are_bounded_but_the_newest_batch_always_stays() {
        let (mut producer, ring) = ring(RingLimits { batches: 8, bytes: 3_000 }, Vec::new());
        let mut consumer = ring.consumer();
        for first in 0..3 {
            producer.publish(batch(first..first + 1, 1_000));
        }
        assert!(matches!(consumer.next(), Next::Lapped));
        producer.publish(batch(3..4, 100_000));
        assert!(matches!(consumer.next(), Next::Lapped));
        assert_eq!(take(&mut consumer), Some(vec![3]));
        assert_eq!(producer.sizes.len(), 1);
    }

    #[test]
    fn consumers_are_woken_once_for_all_that_is_new() {
        let woken = Arc::new(AtomicUsize::new(0));
        let waker: Waker = {
            let woken = Arc::clone(&woken);
            Arc::new(move || {
                woken.fetch_add(1, Ordering::Relaxed);
            })
        };
        let (mut producer, ring) =
            ring(RingLimits { batches: 2, bytes: ROOMY }, vec![Arc::clone(&waker), waker]);
        let mut consumer = ring.consumer();
        // An empty batch takes no slot.
        producer.publish(Arc::from(Vec::new()));
        producer.wake();
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        assert_eq!(take(&mut consumer), None);
        producer.publish(batch(1..2, 1));
        producer.publish(batch(2..3, 1));
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        producer.wake();
        producer.wake();
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn consumers_on_other_threads_lose_nothing_but_what_they_are_told_of() {
        const BATCHES: u64 = 20_000;
        let (mut producer, ring) = ring(RingLimits { batches: 16, bytes: ROOMY }, Vec::new());
        let consumers: Vec<_> = (0..2).map(|_| ring.consumer()).collect();
        std::thread::scope(|scope| {
            for mut consumer in consumers {
                scope.spawn(move || {
                    let mut expected = 0;
                    while expected < BATCHES {
                        match consumer.next() {
                            Next::Batch(batch) => {
                                assert_eq!(batch[0].seq.0, expected);
                                expected += 1;
                            }
                            Next::Empty => std::thread::yield_now(),
                            Next::Lapped => {
                                assert!(consumer.next > expected, "lapped forward");
                                expected = consumer.next;
                            }
                        }
                    }
                });
            }
            for first in 0..BATCHES {
                producer.publish(batch(first..first + 1, 1));
                if first % 64 == 0 {
                    std::thread::yield_now();
                }
            }
        });
    }

    fn take(consumer: &mut Consumer) -> Option<Vec<u64>> {
        match consumer.next() {
            Next::Batch(batch) => Some(batch.iter().map(|it| it.seq.0).collect()),
            Next::Empty => None,
            Next::Lapped => panic!("the consumer was lapped"),
        }
    }

    fn batch(seqs: std::ops::Range<u64>, json_bytes: usize) -> Arc<[Published]> {
        let published = |seq| {
            let mut published = Published::new(Seq(seq), event());
            published.json = vec![b' '; json_bytes];
            published
        };
        seqs.map(published).collect()
    }

    fn event() -> Event {
        let zeros = "0".repeat(64);
        let json = format!(
            r#"{{"id":"{zeros}","pubkey":"{zeros}","created_at":1,"kind":1,"tags":[],"content":"","sig":"{zeros}{zeros}"}}"#
        );
        Event::parse(json.as_bytes()).expect("the test's event is valid")
    }
}
