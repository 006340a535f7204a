//! What threads count: plain numbers that their thread adds to and anybody may read.
//!
//! One writer each, so adding is a load and a store, not a locked instruction. What goes up and down
//! is two counters, not a gauge. Hot paths add per batch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub mod exposition;

/// A number that only grows; only one thread may add to it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the number; only from the thread that owns the counter.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is what it was set to last; only one thread may set it.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// Sets the number; only from the thread that owns it.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often values of each magnitude came: bucket `n` counts those up to `2^n`, the last all that
/// are larger. Only one thread may add to it.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum: Counter,
}

impl Histogram {
    /// Adds a value.
    #[inline]
    pub fn add(&self, value: u64) {
        let place = u64::BITS - value.saturating_sub(1).leading_zeros();
        self.buckets[(place as usize).min(BUCKETS - 1)].add(1);
        self.sum.add(value);
    }

    /// Returns the sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.total()
    }

    /// Returns how many values were at most `2^n`, for each `n` but the last, and how many there
    /// were in all.
    pub fn cumulative(&self) -> [u64; BUCKETS] {
        let mut count = 0;
        std::array::from_fn(|place| {
            count += self.buckets[place].total();
            count
        })
    }
}

/// Of a histogram; in microseconds, the last but one ends at 34 seconds.
pub const BUCKETS: usize = 27;

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
    /// Events that were refused, by place in [`REASONS`].
    pub events_refused_total: [Counter; REASONS.len()],
    /// Questions (REQ, COUNT, reconciliations) that were refused, by place in [`REASONS`].
    pub questions_refused_total: [Counter; REASONS.len()],
    /// Subscriptions opened by REQ.
    pub subscriptions_opened_total: Counter,
    /// Subscriptions that ended.
    pub subscriptions_closed_total: Counter,
    /// Questions answered by COUNT.
    pub counts_total: Counter,
    /// Messages of reconciliations (NIP-77) that asked for work.
    pub reconciliation_messages_total: Counter,
    /// Query slices run on the core itself.
    pub slices_inline_total: Counter,
    /// Query slices handed to the work pool.
    pub slices_handed_total: Counter,
    /// Queries that were answered to their end, by place in [`PLANS`].
    pub queries: [QueryMetrics; PLANS.len()],
    /// Stored events sent.
    pub events_sent_stored_total: Counter,
    /// Live events sent.
    pub events_sent_live_total: Counter,
    /// Batches of the ring that this core is through with.
    pub ring_position: Level,
    /// Times the ring lapped this core.
    pub lapped_total: Counter,
    /// Connections given up because their clients did not read.
    pub slow_readers_total: Counter,
    /// Times a socket was paused because verification or the writer was full.
    pub paused_total: Counter,
    /// What went over the wire.
    pub traffic: Arc<Traffic>,
}

/// Bytes of sockets after the upgrade: frames, before TLS; and handshakes of TLS.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Read.
    pub received_bytes_total: Counter,
    /// Written.
    pub sent_bytes_total: Counter,
    /// Handshakes of TLS that came to their end.
    pub handshakes_total: Counter,
    /// Those that did not, by place in [`HANDSHAKE_FAILURES`].
    pub handshakes_failed_total: [Counter; HANDSHAKE_FAILURES.len()],
}

/// Why a handshake of TLS did not come to its end: it took too long; what came was no TLS; both
/// sides did not come to terms; the client went.
pub const HANDSHAKE_FAILURES: [&str; 4] = ["timeout", "plain", "refused", "gone"];

/// What queries of one plan cost.
#[derive(Debug, Default)]
pub struct QueryMetrics {
    /// Microseconds of work, without waiting.
    pub work_micros: Histogram,
    /// Steps: about as many as index entries were read.
    pub steps_total: Counter,
    /// Events that were given out.
    pub rows_total: Counter,
}

/// What the writer counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WriterMetrics {
    /// Events by class (place in [`CLASSES`]) and what became of them (place in [`VERDICTS`]).
    pub events_total: [[Counter; VERDICTS.len()]; CLASSES.len()],
    /// Events of each batch.
    pub batch_events: Histogram,
    /// Microseconds that each commit took.
    pub commit_micros: Histogram,
    /// Microseconds spent on merging, expiry and erasing.
    pub tidy_micros_total: Counter,
    /// Batches that were not stored; after the first nothing is (I9).
    pub batches_failed_total: Counter,
}

/// Prefixes of refusals (NIP-01).
pub const REASONS: [&str; 8] =
    ["invalid", "pow", "blocked", "rate-limited", "restricted", "auth-required", "error", "other"];
/// Classes of kinds (NIP-01).
pub const CLASSES: [&str; 4] = ["regular", "replaceable", "ephemeral", "addressable"];
/// What becomes of an event that was admitted.
pub const VERDICTS: [&str; 9] = [
    "stored",
    "duplicate",
    "superseded",
    "deleted",
    "vanished",
    "expired",
    "ephemeral",
    "unkept",
    "refused",
];
/// How queries are answered.
pub const PLANS: [&str; 8] =
    ["none", "ids", "authors", "addresses", "tag", "kinds", "time", "several"];

/// Returns the place of a word in one of the lists; the last place if it is in none.
pub fn place_of(list: &[&str], word: &str) -> usize {
    list.iter().position(|it| *it == word).unwrap_or(list.len() - 1)
}

/// What the plugin stage counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PluginMetrics {
    /// Events that a plugin was asked about, each time.
    pub requests_total: Counter,
    /// Microseconds that each event has waited until a process had room for it.
    pub wait_micros: Histogram,
    /// Microseconds from each request to its answer.
    pub answer_micros: Histogram,
    /// Events accepted.
    pub accepted_total: Counter,
    /// Events refused.
    pub rejected_total: Counter,
    /// Events dropped in silence.
    pub shadow_rejected_total: Counter,
    /// Events that nobody judged.
    pub unanswered_total: Counter,
    /// Lines that are no answer to anything.
    pub lines_unread_total: Counter,
    /// Processes started.
    pub starts_total: Counter,
    /// Processes that ended by themselves.
    pub ends_total: Counter,
    /// Processes given up because they did not answer.
    pub timeouts_total: Counter,
}

/// What the caretaker of the store counts.
#[derive(Debug, Default)]
pub struct CaretakerMetrics {
    /// When the last backup was taken, in seconds since 1970; zero if none was.
    pub backup_at: Level,
    /// How large it is, in bytes.
    pub backup_bytes: Level,
    /// Backups that were not taken.
    pub backups_failed_total: Counter,
    /// When the store was last checked, in seconds since 1970; zero if it was not.
    pub check_at: Level,
    /// What was wrong with it then.
    pub check_faults: Level,
    /// Checks that could not be made.
    pub checks_failed_total: Counter,
    /// When room was last given back to the disk, in seconds since 1970; zero if it was not.
    pub compact_at: Level,
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

    #[test]
    fn a_value_is_counted_in_the_bucket_that_ends_at_the_next_power_of_two() {
        for (value, place) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1 << 25, 25)] {
            let histogram = Histogram::default();
            histogram.add(value);
            let counts = histogram.cumulative();
            let first = counts.iter().position(|count| *count == 1);
            assert_eq!((first, histogram.sum()), (Some(place), value), "{value}");
        }
        let histogram = Histogram::default();
        histogram.add(u64::MAX);
        histogram.add((1 << 25) + 1);
        assert_eq!(histogram.cumulative()[BUCKETS - 2..], [0, 2]);
    }
}
