//! Counters of one core: plain numbers that their thread adds to and anybody may read.
//!
//! One writer each, so adding is a load and a store, not a locked instruction. What goes up and down
//! is two counters, not a gauge. Hot paths add per batch.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows; only one thread may add to it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the number; only from the thread that owns the counter.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one core counts. Its own cache lines: no other core writes here.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CoreMetrics {
    /// Connections that became websockets.
    pub connections_opened_total: Counter,
    /// Websockets that ended.
    pub connections_closed_total: Counter,
    /// Messages received from clients.
    pub messages_total: Counter,
    /// Events received by EVENT whose shape was right.
    pub events_total: Counter,
    /// Events answered as duplicates without verification.
    pub events_duplicate_total: Counter,
    /// Subscriptions opened by REQ.
    pub subscriptions_opened_total: Counter,
    /// Subscriptions that ended.
    pub subscriptions_closed_total: Counter,
    /// Query slices run on the core itself.
    pub slices_inline_total: Counter,
    /// Query slices handed to the work pool.
    pub slices_handed_total: Counter,
    /// Stored events sent.
    pub events_sent_stored_total: Counter,
    /// Live events sent.
    pub events_sent_live_total: Counter,
    /// Times the ring lapped this core.
    pub lapped_total: Counter,
    /// Connections given up because their clients did not read.
    pub slow_readers_total: Counter,
    /// Times a socket was paused because verification or the writer was full.
    pub paused_total: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_the_sum_of_what_was_added() {
        let metrics = CoreMetrics::default();
        metrics.events_total.add(2);
        metrics.events_total.add(40);
        assert_eq!(metrics.events_total.total(), 42);
        assert_eq!(metrics.lapped_total.total(), 0);
    }
}
