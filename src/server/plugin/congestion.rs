//! How long events wait until a process has room for them, and when the operator is to hear of it.

use std::time::{Duration, Instant};

/// What was asked in this period, and how long it had waited.
#[derive(Debug)]
pub(super) struct Congestion {
    begun: Instant,
    asked: u32,
    waited: Duration,
    /// Not before then it is told again.
    told_until: Option<Instant>,
}

/// How a period was in which events waited long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Congested {
    /// How many were handed to processes in a second, rounded up.
    pub(super) events_per_sec: u64,
    /// How long they had waited, on average.
    pub(super) wait: Duration,
}

impl Congestion {
    /// Begins with a period without events.
    pub(super) fn new(now: Instant) -> Congestion {
        Congestion { begun: now, asked: 0, waited: Duration::ZERO, told_until: None }
    }

    /// Notes how long an event has waited that a process is handed `now`; returns how the period
    /// was if it ends with this event and the operator is to hear of it.
    pub(super) fn note(&mut self, waited: Duration, now: Instant) -> Option<Congested> {
        self.asked = self.asked.saturating_add(1);
        self.waited = self.waited.saturating_add(waited);
        let passed = now.duration_since(self.begun);
        if passed < PERIOD {
            return None;
        }
        let wait = self.waited / self.asked;
        let events_per_sec = f64::from(self.asked) / passed.as_secs_f64();
        (self.begun, self.asked, self.waited) = (now, 0, Duration::ZERO);
        if wait < WAIT_TOLD || self.told_until.is_some_and(|until| now < until) {
            return None;
        }
        self.told_until = Some(now + SILENCE);
        Some(Congested { events_per_sec: events_per_sec.ceil() as u64, wait })
    }
}

impl Congested {
    /// Tells the operator; so many still wait for so many processes.
    pub(super) fn tell(self, waiting: usize, processes: usize) {
        tracing::warn!(
            events_per_sec = self.events_per_sec,
            wait_micros = micros(self.wait),
            waiting,
            processes,
            "events wait for the plugin, which is slower than they come: raise plugin.processes, or \
             have it answer several at a time"
        );
    }
}

/// Returns a time in microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Waits are averaged over so long.
const PERIOD: Duration = Duration::from_secs(10);
/// From this average on it is told: clients wait for their OK, and some give up after seconds.
const WAIT_TOLD: Duration = Duration::from_secs(1);
/// How long nothing more is said of it.
const SILENCE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_waits_are_told_once_in_a_while_and_short_ones_never() {
        let start = Instant::now();
        let at = |secs: u64| start + Duration::from_secs(secs);
        let (long, short) = (Duration::from_secs(3), Duration::from_millis(100));
        let mut congestion = Congestion::new(start);
        for secs in 1..10 {
            assert_eq!(congestion.note(short, at(secs)), None);
        }
        assert_eq!(congestion.note(long, at(10)), None, "the average counts");
        for secs in 11..20 {
            assert_eq!(congestion.note(long, at(secs)), None, "not before the period is over");
        }
        let told = Congested { events_per_sec: 1, wait: long };
        assert_eq!(congestion.note(long, at(20)), Some(told));
        let later: Vec<u64> =
            (21..700).filter(|secs| congestion.note(long, at(*secs)).is_some()).collect();
        assert_eq!(later, [320, 620]);
    }
}
