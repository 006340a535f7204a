//! The only place that asks the operating system for the time; everybody else is told.

use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time in whole seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    System,
    Stopped(u64),
}

impl Clock {
    /// Returns the machine's clock.
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// Returns a clock that stands still, for simulations.
    pub fn stopped_at(secs: u64) -> Clock {
        Clock(Source::Stopped(secs))
    }

    /// Returns the seconds since 1970; zero if the machine believes to live before that.
    pub fn now_secs(&self) -> u64 {
        match self.0 {
            Source::System => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
            }
            Source::Stopped(secs) => secs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_is_past_2020_and_a_stopped_one_stands() {
        assert!(Clock::system().now_secs() > 1_577_836_800);
        assert_eq!(Clock::stopped_at(7).now_secs(), 7);
    }
}
