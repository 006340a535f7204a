//! How many questions a process is given ahead: as many as it works on at once, and few more. What is
//! given ahead cannot be overtaken, so with a slow process everybody would wait for the longest line.
//!
//! A process that answers many questions at once takes no longer for each, however many it has; one
//! that answers one after the other does. So of some answers in a row the fastest is looked at: the
//! window grows while that is about as fast as the process has ever been, and shrinks when even that
//! took longer. One slow answer among others says nothing: the machine may be busy.

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
    round: Round,
    /// Rounds in a row that were too slow.
    slow_rounds: u32,
}

/// Some answers in a row to questions that were asked with the same window.
#[derive(Debug)]
struct Round {
    begun: Instant,
    answers: usize,
    fastest: Duration,
}

impl Round {
    fn begin(now: Instant) -> Round {
        Round { begun: now, answers: 0, fastest: Duration::MAX }
    }
}

impl Window {
    /// Returns the window of a process that was started `now`.
    pub(super) fn new(now: Instant) -> Window {
        Window {
            size: SIZE_FIRST,
            ceiling: None,
            fastest: [None; 2],
            period_end: now + PERIOD,
            round: Round::begin(now),
            slow_rounds: 0,
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
        self.fastest[0] = Some(self.fastest[0].map_or(took, |it| it.min(took)));
        // What was asked before says nothing about this window, nor does what left it half empty.
        if asked < self.round.begun || pending < self.size {
            return;
        }
        self.round.answers += 1;
        self.round.fastest = self.round.fastest.min(took);
        if self.round.answers >= self.size.clamp(ANSWERS_MIN, ANSWERS_MAX) {
            self.judge(now);
        }
    }

    /// Draws the conclusion of a round.
    fn judge(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Round::begin(now));
        let fastest = self.fastest.iter().flatten().min().copied().unwrap_or(round.fastest);
        if round.fastest > (fastest + fastest / 2).max(DELAY_TOLERATED) {
            self.slow_rounds += 1;
            if self.slow_rounds >= SLOW_ROUNDS_MAX {
                self.slow_rounds = 0;
                self.ceiling = Some((self.size, now + PROBE_PERIOD));
                self.size = (self.size / 2).max(1);
            }
            return;
        }
        self.slow_rounds = 0;
        let size = (self.size + (self.size / 2).max(1)).min(SIZE_MAX);
        self.size = match self.ceiling {
            Some((ceiling, until)) if now < until => size.min((ceiling - 1).max(1)),
            _ => size,
        };
    }
}

/// What a new process is tried with: it grows within a few answers.
const SIZE_FIRST: usize = 2;
/// As many as the settings allow.
const SIZE_MAX: usize = 100_000;
/// Answers of a round: enough for one of them to be as fast as it can be, and soon over.
const ANSWERS_MIN: usize = 4;
const ANSWERS_MAX: usize = 64;
/// So many rounds in a row have to be slow: the machine may have been busy for one of them.
const SLOW_ROUNDS_MAX: u32 = 2;
/// Below this nobody minds a line.
const DELAY_TOLERATED: Duration = Duration::from_millis(10);
/// How long the fastest answer counts, once or twice.
const PERIOD: Duration = Duration::from_secs(10);
/// After how long a size that was too large is tried again.
const PROBE_PERIOD: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the window after some seconds of a process that works on so many questions at once,
    /// each for so long and now and then much longer, and always has as many as it may.
    fn after(at_once: usize, each: Duration, secs: u64) -> usize {
        let start = Instant::now();
        let mut random = fastrand::Rng::with_seed(7);
        let (mut now, mut window) = (start, Window::new(start));
        let mut free = vec![start; at_once];
        // Of each question the end of its work, when it was asked, and how many there were.
        let mut asked: Vec<(Instant, Instant, usize)> = Vec::new();
        while now < start + Duration::from_secs(secs) {
            while asked.len() < window.size().min(1_000) {
                let place = (0..at_once).min_by_key(|it| free[*it]).expect("there is one");
                let delay = if random.u8(..4) == 0 { each * 2 } else { Duration::ZERO };
                free[place] = free[place].max(now) + each + delay;
                asked.push((free[place], now, asked.len() + 1));
            }
            let first = (0..asked.len()).min_by_key(|it| asked[*it].0).expect("it was just asked");
            let (end, at, pending) = asked.swap_remove(first);
            now = now.max(end);
            window.note(at, now, pending);
        }
        window.size()
    }

    #[test]
    fn who_answers_one_after_the_other_gets_few_and_who_works_on_many_gets_many() {
        let millis = Duration::from_millis;
        assert!(after(1, millis(50), 30) <= 2);
        let many = after(100, millis(50), 30);
        assert!(many >= 60, "{many}");
        let fast = after(1, Duration::from_micros(30), 2);
        assert!((50..=1_000).contains(&fast), "{fast}");
    }
}
