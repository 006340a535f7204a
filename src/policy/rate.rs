//! Rates and what measures them: a token bucket in one atomic number.
//!
//! A [`Meter`] holds the time at which everything taken from it will have come back. Taking moves
//! that time on; it may not be further ahead than the burst lasts. So one number says how full the
//! bucket is under whatever rate it is read with: changed settings apply at once, and threads that
//! share a meter need no lock.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of something there may be in a time, and how much of it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u64,
    period: Period,
    burst: u64,
}

/// The time that a rate is told for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

/// A text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a rate such as 600/min, 20/s burst 100 or 5M/s")]
pub struct RateError;

/// So many seconds have to pass first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub u64);

impl Rate {
    /// Returns how long it takes for this amount to come back.
    fn nanos_of(&self, amount: u64) -> u64 {
        let nanos = u128::from(amount) * u128::from(self.period.nanos()) / u128::from(self.count);
        u64::try_from(nanos).unwrap_or(u64::MAX).min(NANOS_MAX)
    }

    /// Returns how far ahead a meter may be.
    fn window(&self) -> u64 {
        self.nanos_of(self.burst)
    }
}

impl Period {
    const ALL: [Period; 4] = [Period::Second, Period::Minute, Period::Hour, Period::Day];

    fn word(self) -> &'static str {
        match self {
            Period::Second => "s",
            Period::Minute => "min",
            Period::Hour => "h",
            Period::Day => "day",
        }
    }

    fn nanos(self) -> u64 {
        let secs = match self {
            Period::Second => 1,
            Period::Minute => 60,
            Period::Hour => 3_600,
            Period::Day => 86_400,
        };
        secs * NANOS_PER_SEC
    }
}

/// `COUNT/PERIOD`, or `COUNT/PERIOD burst COUNT`. Without a burst as much may come at once as the
/// rate allows in its period.
impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        let mut words = text.split_whitespace();
        let (count, period) = words.next().and_then(|it| it.split_once('/')).ok_or(RateError)?;
        let count = parse_count(count)?;
        let period = Period::ALL.into_iter().find(|it| it.word() == period).ok_or(RateError)?;
        let burst = match (words.next(), words.next(), words.next()) {
            (None, None, None) => count,
            (Some("burst"), Some(burst), None) => parse_count(burst)?,
            _ => return Err(RateError),
        };
        Ok(Rate { count, period, burst })
    }
}

/// Reads a number from one upwards, in units, thousands (k), millions (M) or milliards (G).
fn parse_count(text: &str) -> Result<u64, RateError> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        Some(b'G') => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    if digits.is_empty()
        || digits.len() > DIGITS_MAX
        || !digits.bytes().all(|it| it.is_ascii_digit())
    {
        return Err(RateError);
    }
    let count = digits.parse::<u64>().map_err(|_| RateError)? * unit;
    if count == 0 { Err(RateError) } else { Ok(count) }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Count(self.count), self.period.word())?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", Count(self.burst)) }
    }
}

struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, letter) in [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")] {
            if self.0.is_multiple_of(unit) {
                return write!(f, "{}{letter}", self.0 / unit);
            }
        }
        self.0.fmt(f)
    }
}

/// What was taken under some rate: when all of it will have come back, in nanoseconds since 1970.
#[derive(Debug, Default)]
pub struct Meter(AtomicU64);

impl Meter {
    /// Takes an amount at the second `now`, if the rate allows it. A meter that is taken from is never
    /// charged: what it is ahead by more than the burst was taken under another rate, or before the
    /// clock was set back, and is forgotten, so that a changed rate holds at once.
    ///
    /// # Errors
    ///
    /// How long to wait otherwise; nothing is taken then.
    pub fn take(&self, rate: &Rate, amount: u64, now: u64) -> Result<(), Wait> {
        let now = nanos_since_1970(now);
        let (window, cost) = (rate.window(), rate.nanos_of(amount));
        let held = |back: u64| if back > now + window { now } else { back.max(now) };
        let is_allowed = |back| held(back) + cost <= now + window;
        let moved = |back| held(back) + if is_allowed(back) { cost } else { 0 };
        let before = self.0.update(Ordering::Relaxed, Ordering::Relaxed, moved);
        if is_allowed(before) { Ok(()) } else { Err(wait(held(before) + cost, now + window)) }
    }

    /// Takes an amount whatever the rate allows; what is taken too much is a debt.
    ///
    /// # Errors
    ///
    /// How long it takes until there is no debt.
    pub fn charge(&self, rate: &Rate, amount: u64, now: u64) -> Result<(), Wait> {
        let now = nanos_since_1970(now);
        let (window, cost) = (rate.window(), rate.nanos_of(amount));
        let moved = |back| latest(now, window).min(start(back, now, window) + cost);
        let before = self.0.update(Ordering::Relaxed, Ordering::Relaxed, moved);
        let back = moved(before);
        if back <= now + window { Ok(()) } else { Err(wait(back, now + window)) }
    }

    /// Tells whether there is no debt.
    ///
    /// # Errors
    ///
    /// How long it takes until there is none.
    pub fn check(&self, rate: &Rate, now: u64) -> Result<(), Wait> {
        let now = nanos_since_1970(now);
        let window = rate.window();
        let mut back = self.0.load(Ordering::Relaxed);
        if back > latest(now, window) {
            // Taken under another rate; forgotten for good, or waiting would never come to an end.
            back = latest(now, window);
            self.0.fetch_min(back, Ordering::Relaxed);
        }
        if back <= now + window { Ok(()) } else { Err(wait(back, now + window)) }
    }

    /// Gives everything back.
    pub fn refill(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Tells whether everything has come back.
    pub fn is_full(&self, now: u64) -> bool {
        self.0.load(Ordering::Relaxed) <= nanos_since_1970(now)
    }
}

/// Where taking begins: nothing comes back before it was taken, and no debt is for ever, even if
/// the clock was set back or the rate was another one.
fn start(back: u64, now: u64, window: u64) -> u64 {
    back.clamp(now, latest(now, window))
}

fn latest(now: u64, window: u64) -> u64 {
    now + window + window.max(DEBT_NANOS_MAX)
}

fn wait(back: u64, allowed: u64) -> Wait {
    Wait((back - allowed).div_ceil(NANOS_PER_SEC))
}

fn nanos_since_1970(secs: u64) -> u64 {
    secs.saturating_mul(NANOS_PER_SEC).min(TIME_NANOS_MAX)
}

const NANOS_PER_SEC: u64 = 1_000_000_000;
/// Ten thousand milliards are enough of anything.
const DIGITS_MAX: usize = 9;
/// No amount takes longer than two years to come back.
const NANOS_MAX: u64 = 1 << 56;
/// A debt counts up to a minute, or up to a second burst.
const DEBT_NANOS_MAX: u64 = 60 * NANOS_PER_SEC;
/// The end of time, in 2262; leaves room for every sum.
const TIME_NANOS_MAX: u64 = 1 << 63;

const _: () = assert!(TIME_NANOS_MAX.checked_add(NANOS_MAX * 4).is_some(), "no sum overflows");

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn rate(text: &str) -> Rate {
        text.parse().expect("a rate")
    }

    #[test]
    fn a_rate_reads_what_it_writes() {
        let rows = [
            ("600/min", "600/min"),
            ("1000/s", "1k/s"),
            ("5M/s", "5M/s"),
            ("20/s burst 100", "20/s burst 100"),
            ("20/h  burst 20", "20/h"),
            ("3G/day", "3G/day"),
        ];
        for (text, written) in rows {
            assert_eq!(rate(text).to_string(), written);
            assert_eq!(rate(written), rate(text));
        }
        for text in [
            "",
            "5",
            "5/",
            "/s",
            "0/s",
            "5/week",
            "-1/s",
            "5/s burst",
            "5/s burst 0",
            "5/s 6",
            "5/s burst 6 7",
            "1.5/s",
            "k/s",
            "1234567890/s",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }

    #[test]
    fn a_burst_is_taken_at_once_and_comes_back_with_time() {
        let (rate, meter) = (rate("60/min burst 3"), Meter::default());
        for _ in 0..3 {
            assert_eq!(meter.take(&rate, 1, NOW), Ok(()));
        }
        assert!(!meter.is_full(NOW));
        assert_eq!(meter.take(&rate, 1, NOW), Err(Wait(1)));
        assert_eq!(meter.take(&rate, 3, NOW), Err(Wait(3)));
        assert_eq!(meter.take(&rate, 1, NOW + 1), Ok(()));
        assert_eq!(meter.take(&rate, 1, NOW + 1), Err(Wait(1)));
        assert!(meter.is_full(NOW + 4));
    }

    #[test]
    fn a_debt_is_paid_before_anything_else_is_taken_but_is_bounded() {
        let (rate, meter) = (rate("10/s"), Meter::default());
        assert_eq!(meter.charge(&rate, 10, NOW), Ok(()));
        assert_eq!(meter.charge(&rate, 25, NOW), Err(Wait(3)));
        assert_eq!(meter.check(&rate, NOW), Err(Wait(3)));
        assert_eq!(meter.check(&rate, NOW + 2), Err(Wait(1)));
        assert_eq!(meter.check(&rate, NOW + 3), Ok(()));
        assert_eq!(meter.charge(&rate, u64::MAX, NOW), Err(Wait(60)));
    }

    #[test]
    fn what_was_taken_under_a_stricter_rate_is_not_held_against_anybody() {
        let meter = Meter::default();
        assert_eq!(meter.take(&rate("1/day"), 1, NOW), Ok(()));
        assert_eq!(meter.take(&rate("1/day"), 1, NOW), Err(Wait(86_400)));
        assert_eq!(meter.take(&rate("2/min"), 1, NOW), Ok(()));
        assert_eq!(meter.take(&rate("2/min"), 1, NOW), Ok(()));
        assert_eq!(meter.take(&rate("2/min"), 1, NOW), Err(Wait(30)));
        // A debt is not forgotten, but does not outlast what may be one.
        let meter = Meter::default();
        assert!(meter.charge(&rate("1/day"), 1_000, NOW).is_err());
        assert_eq!(meter.check(&rate("3k/min"), NOW), Err(Wait(60)));
        assert_eq!(meter.check(&rate("3k/min"), NOW + 60), Ok(()));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_lock_anybody_out() {
        let (rate, meter) = (rate("10/s"), Meter::default());
        assert_eq!(meter.take(&rate, 10, NOW), Ok(()));
        assert_eq!(meter.take(&rate, 10, NOW - 1_000_000), Ok(()));
        assert_eq!(meter.take(&rate, 10, NOW - 1_000_000), Err(Wait(1)));
        assert_eq!(meter.take(&rate, 10, 0), Ok(()));
        assert_eq!(meter.take(&rate, 1, u64::MAX), Ok(()));
    }

    /// A bucket with tokens, as it is usually written.
    struct Bucket {
        tokens: f64,
        at: u64,
    }

    impl Bucket {
        fn take(&mut self, per_sec: f64, burst: f64, amount: f64, now: u64) -> bool {
            self.tokens = burst.min(self.tokens + per_sec * (now - self.at) as f64);
            self.at = now;
            let is_there = self.tokens + 1e-6 >= amount;
            self.tokens -= if is_there { amount } else { 0.0 };
            is_there
        }
    }

    #[test]
    fn a_meter_is_a_bucket_of_tokens() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (count, burst) = (random.u64(1..500), random.u64(1..2_000));
            let (period, secs) = *random.choice(&[("s", 1.0), ("min", 60.0)]).expect("one of two");
            let rate = rate(&format!("{count}/{period} burst {burst}"));
            let mut bucket = Bucket { tokens: burst as f64, at: NOW };
            let (meter, mut now) = (Meter::default(), NOW);
            for step in 0..300 {
                now += if random.u32(..4) == 0 { random.u64(..10) } else { 0 };
                let amount = random.u64(1..=(burst / 2).max(1));
                let expected = bucket.take(count as f64 / secs, burst as f64, amount as f64, now);
                let found = meter.take(&rate, amount, now).is_ok();
                assert_eq!(found, expected, "seed {seed} step {step}: {rate} {amount}");
            }
        }
    }
}
