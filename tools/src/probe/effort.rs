//! What a piece of work costs this process: time on a processor and bytes handed to the kernel.
//!
//! Processor time, because probes run next to other work; a probe must stay on one thread.

use std::time::Instant;

use crate::Failure;

/// A point from which effort is counted.
pub(crate) struct Effort {
    start: Instant,
    processor_ns: Option<u64>,
    written_bytes: u64,
}

/// The effort since a point.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Time on a processor (or by the clock, where the kernel does not tell).
    pub(crate) ns: u64,
    /// Bytes given to write calls: for LMDB, its dirty pages.
    pub(crate) written_bytes: u64,
}

impl Effort {
    /// Begins to count.
    pub(crate) fn start() -> Result<Self, Failure> {
        let written_bytes = written_bytes()?;
        Ok(Self { start: Instant::now(), processor_ns: processor_ns(), written_bytes })
    }

    /// The effort so far.
    pub(crate) fn spent(&self) -> Result<Spent, Failure> {
        let ns = match (processor_ns(), self.processor_ns) {
            (Some(end), Some(start)) => end - start,
            _ => self.start.elapsed().as_nanos() as u64,
        };
        Ok(Spent { ns, written_bytes: written_bytes()? - self.written_bytes })
    }
}

/// This thread's time on a processor.
fn processor_ns() -> Option<u64> {
    // The kernel adds up a running thread's time when it schedules, so ask it to.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn written_bytes() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.ok_or("/proc/self/io has no wchar line")?.trim().parse()?)
}
