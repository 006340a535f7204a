//! Lines that programs write, cut and counted, so that none of them fills the memory or the log.

use std::time::{Duration, Instant};

/// Cuts bytes into lines; of a line that is too long only the beginning is kept.
#[derive(Debug)]
pub(super) struct Lines {
    line: Vec<u8>,
    bytes_max: usize,
}

impl Lines {
    /// Returns a cutter whose lines have at most so many bytes.
    pub(super) fn new(bytes_max: usize) -> Lines {
        Lines { line: Vec::new(), bytes_max }
    }

    /// Takes bytes as they come; gives each line that they end, without its end.
    pub(super) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.keep(&rest[..end]);
            each(&String::from_utf8_lossy(&self.line));
            self.line.clear();
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.bytes_max - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// How many lines a program may have logged.
#[derive(Debug, Default)]
pub(super) struct Patience {
    since: Option<Instant>,
    taken: u32,
    left_out: u64,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// Log it, after saying that so many were left out.
    Log(u64),
    /// Leave it out.
    LeaveOut,
}

impl Patience {
    /// Takes one line that comes `now`.
    pub(super) fn take(&mut self, now: Instant) -> Hearing {
        let is_over = self.since.is_none_or(|since| now.duration_since(since) >= PERIOD);
        if is_over {
            (self.since, self.taken) = (Some(now), 0);
        }
        if self.taken == LINES_PER_PERIOD {
            self.left_out += 1;
            return Hearing::LeaveOut;
        }
        self.taken += 1;
        Hearing::Log(std::mem::take(&mut self.left_out))
    }
}

const PERIOD: Duration = Duration::from_secs(10);
const LINES_PER_PERIOD: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_bytes_are() {
        let text = b"one\n\ntwo which is long\nthr";
        for size in 1..=text.len() {
            let mut lines = Lines::new(5);
            let mut found = Vec::new();
            for bytes in text.chunks(size) {
                lines.feed(bytes, |line| found.push(line.to_owned()));
            }
            assert_eq!(found, ["one", "", "two w"], "{size} bytes at once");
        }
    }

    #[test]
    fn who_talks_too_much_is_logged_again_later() {
        let mut patience = Patience::default();
        let start = Instant::now();
        for _ in 0..LINES_PER_PERIOD {
            assert_eq!(patience.take(start), Hearing::Log(0));
        }
        for _ in 0..3 {
            assert_eq!(patience.take(start), Hearing::LeaveOut);
        }
        assert_eq!(patience.take(start + PERIOD), Hearing::Log(3));
        assert_eq!(patience.take(start + PERIOD), Hearing::Log(0));
    }
}
