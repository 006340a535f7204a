//! How many questions a process is given ahead: as many as it works on at once, and few more. What is
//! given ahead cannot be overtaken, so with a slow process everybody would wait for the longest line.
//!
//! A process that answers many questions at once takes no longer for each, however many it has; one
//! that answers one after the other takes longer. So the window grows while answers come as fast as
//! the fastest, and shrinks when they take longer.

use std::time::{Duration, Instant};

/// How many questions a process may have.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    /// Sizes from this one on were too large, until it is tried again.
    ceiling: Option<(usize, Instant)>,
    /// The fastest answer of this period, and of the one before.
    fastest: [Option<Duration>; 2],
    period_end: Instant,
    /// Questions asked before this were asked with a larger window.
    shrunk: Instant,
}

impl Window {
    /// Returns the window of a process that was started `now`.
    pub(super) fn new(now: Instant) -> Window {
        Window {
            size: SIZE_FIRST,
            ceiling: None,
            fastest: [None; 2],
            period_end: now + PERIOD,
            shrunk: now,
        }
    }

    /// Returns how many questions it may have at a time.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Takes note of an answer to a question of the moment `asked`; `pending` were unanswered then.
    pub(super) fn note(&mut self, asked: Instant, now: Instant, pending: usize) {
        if now >= self.period_end {
            self.fastest = [None, self.fastest[0]];
            self.period_end = now + PERIOD;
        }
        let took = now.duration_since(asked);
        let fastest = self.fastest.iter().flatten().min().map_or(took, |it| (*it).min(took));
        self.fastest[0] = Some(self.fastest[0].map_or(took, |it| it.min(took)));
        if took <= (fastest + fastest / 2).max(DELAY_TOLERATED) {
            self.grow(now, pending);
        } else if asked >= self.shrunk && self.size > 1 {
            self.ceiling = Some((self.size, now + PROBE_PERIOD));
            self.size = (self.size * 3 / 4).max(1);
            self.shrunk = now;
        }
    }

    fn grow(&mut self, now: Instant, pending: usize) {
        // Whoever has not used it up shows nothing.
        if pending < self.size {
            return;
        }
        match self.ceiling {
            Some((ceiling, until)) if self.size + 1 >= ceiling && now < until => {}
            _ => self.size += 1,
        }
    }
}

/// What a new process is tried with.
const SIZE_FIRST: usize = 8;
/// Below this nobody minds a line.
const DELAY_TOLERATED: Duration = Duration::from_millis(10);
/// How long the fastest answer counts, once or twice.
const PERIOD: Duration = Duration::from_secs(10);
/// After how long a size that was too large is tried again.
const PROBE_PERIOD: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the window after some seconds of a process that works on so many questions at once,
    /// each for so long, and always has as many as it may.
    fn after(at_once: usize, each: Duration, secs: u64) -> usize {
        let start = Instant::now();
        let (mut now, mut window) = (start, Window::new(start));
        // Moments of asking and of the end of the work, in order.
        let mut asked: std::collections::VecDeque<(Instant, Instant, usize)> = Default::default();
        let mut free = vec![start; at_once];
        while now < start + Duration::from_secs(secs) {
            while asked.len() < window.size().min(1_000) {
                let place = (0..at_once).min_by_key(|it| free[*it]).expect("there is one");
                free[place] = free[place].max(now) + each;
                asked.push_back((now, free[place], asked.len() + 1));
            }
            let (at, end, pending) = asked.pop_front().expect("it was just asked");
            now = now.max(end);
            window.note(at, now, pending);
        }
        window.size()
    }

    #[test]
    fn who_answers_one_after_the_other_gets_few_and_who_works_on_many_gets_many() {
        let millis = Duration::from_millis;
        assert_eq!(after(1, millis(50), 20), 1);
        assert!(after(100, millis(50), 20) >= 90);
        let fast = after(1, Duration::from_micros(30), 2);
        assert!((100..=500).contains(&fast), "{fast}");
    }
}
