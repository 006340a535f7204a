//! When the next message is due, and how long its answer took.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Failure;

/// Says when messages are due.
pub(crate) struct Pace {
    start: Instant,
    /// Between two messages; without it a message is due whenever there is room for it.
    interval: Option<Duration>,
    sent: u32,
}

impl Pace {
    /// Starts to count; `rate` is in messages per second.
    pub(crate) fn start(rate: Option<f64>) -> Self {
        let interval = rate.map(|rate| Duration::from_secs_f64(1.0 / rate.max(1e-3)));
        Self { start: Instant::now(), interval, sent: 0 }
    }

    /// Returns when the next message was due, if it is.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        match self.interval {
            None => Some(now),
            Some(interval) => Some(self.start + interval * self.sent).filter(|due| *due <= now),
        }
    }

    /// Goes on to the next message.
    pub(crate) fn advance(&mut self) {
        self.sent += 1;
    }

    /// How long to wait for answers before looking again.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let most = Duration::from_millis(100);
        let Some(interval) = self.interval else { return most };
        (self.start + interval * self.sent).saturating_duration_since(now).min(most)
    }
}

/// How long answers took.
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    /// Whether they count from when they were due, not from when there was room to send.
    is_open: bool,
}

/// A few of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantiles {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) most: Duration,
}

impl Latencies {
    /// None yet; `rate` is what [`Pace::start`] was given.
    pub(crate) fn new(rate: Option<f64>) -> Result<Self, Failure> {
        let histogram = Histogram::new_with_bounds(1_000, 600_000_000_000, 3)?;
        Ok(Self { histogram, is_open: rate.is_some() })
    }

    /// Adds one.
    pub(crate) fn add(&mut self, latency: Duration) {
        self.histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Sums up.
    ///
    /// Who waits for one answer before the next message sends less while the relay stalls; the
    /// missing messages are made up for with the average interval.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        if self.histogram.is_empty() {
            return None;
        }
        let corrected = if self.is_open {
            self.histogram.clone()
        } else {
            self.histogram.clone_correct(self.histogram.mean() as u64)
        };
        let at = |quantile| Duration::from_nanos(corrected.value_at_quantile(quantile));
        Some(Quantiles { p50: at(0.5), p99: at(0.99), most: at(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_rate_messages_are_due_one_by_one_and_never_forgotten() {
        let mut pace = Pace::start(Some(10.0));
        let late = pace.start + Duration::from_millis(250);
        let mut due = Vec::new();
        while let Some(moment) = pace.due(late) {
            due.push((moment - pace.start).as_millis());
            pace.advance();
        }
        assert_eq!(due, [0, 100, 200]);
        assert_eq!(pace.wait(late).as_millis(), 50);
    }

    #[test]
    fn a_stall_counts_for_all_who_would_have_waited() {
        let add = |latencies: &mut Latencies| {
            for _ in 0..99 {
                latencies.add(Duration::from_millis(1));
            }
            latencies.add(Duration::from_secs(1));
        };
        let mut closed = Latencies::new(None).expect("the bounds are in order");
        add(&mut closed);
        let mut open = Latencies::new(Some(1.0)).expect("the bounds are in order");
        add(&mut open);
        let at_half = |it: &Latencies| it.quantiles().expect("there are some").p50;
        assert!(at_half(&open) < Duration::from_millis(2));
        assert_eq!(open.count(), 100);
        let most = |it: &Latencies| it.quantiles().expect("there are some").p99;
        assert!(most(&closed) > most(&open));
    }
}
