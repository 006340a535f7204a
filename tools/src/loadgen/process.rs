//! What a process has used, as the kernel tells: time on a processor, memory, bytes to disk.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::Failure;

/// A process that is watched; without one nothing is known.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pid: u32,
}

/// What it has used up to a moment.
#[derive(Clone, Default)]
pub(crate) struct Usage {
    /// Nanoseconds of each living thread.
    threads: HashMap<u32, u64>,
    /// Clock ticks of the whole process, ended threads included.
    ticks: u64,
    /// Bytes it has caused to be written to disk.
    written_bytes: u64,
    /// Memory of its own, without mapped files.
    pub(crate) memory_bytes: u64,
}

/// What it has used between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// Time on processors, the kernel's work for it included.
    pub(crate) cpu: Duration,
    /// Bytes to disk.
    pub(crate) written_bytes: u64,
}

impl Process {
    /// Watches a process.
    pub(crate) fn watch(pid: u32) -> Result<Self, Failure> {
        let process = Self { pid };
        process.usage().map_err(|error| format!("watch process {pid}: {error}"))?;
        Ok(process)
    }

    /// What the process has used so far.
    pub(crate) fn usage(self) -> Result<Usage, Failure> {
        let status = self.read("status")?;
        Ok(Usage {
            threads: self.threads()?,
            ticks: self.ticks(OWN_TICKS)?,
            // Not every process may be asked for this.
            written_bytes: self.read("io").map_or(0, |text| field(&text, "write_bytes:")),
            memory_bytes: 1024 * field(&status, "RssAnon:"),
        })
    }

    /// What its children have used that have ended, in steps of a hundredth of a second.
    pub(crate) fn children_usage(self) -> Result<Usage, Failure> {
        Ok(Usage {
            ticks: self.ticks(CHILDREN_TICKS)?,
            // The kernel adds what a child has written when it ends.
            written_bytes: self.read("io").map_or(0, |text| field(&text, "write_bytes:")),
            ..Usage::default()
        })
    }

    /// Waits until the process has finished what it does by itself, but not longer than `most`.
    pub(crate) fn settle(self, most: Duration) -> Result<(), Failure> {
        let start = Instant::now();
        let mut before = self.usage()?;
        loop {
            std::thread::sleep(SETTLED_FOR);
            let after = self.usage()?;
            if after.since(&before).cpu < SETTLED_CPU || start.elapsed() > most {
                return Ok(());
            }
            before = after;
        }
    }

    fn read(self, name: &str) -> Result<String, Failure> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{name}", self.pid))?)
    }

    fn threads(self) -> Result<HashMap<u32, u64>, Failure> {
        let mut threads = HashMap::new();
        for entry in std::fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let entry = entry?;
            let number = entry.file_name().to_string_lossy().parse();
            // A thread may end between the two looks.
            let text = std::fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
            let time = text.split_whitespace().next().map(str::parse);
            if let (Ok(number), Some(Ok(time))) = (number, time) {
                threads.insert(number, time);
            }
        }
        Ok(threads)
    }

    fn ticks(self, place: usize) -> Result<u64, Failure> {
        let text = self.read("stat")?;
        // The name in parentheses may hold anything, so fields count from its end.
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
        Ok(fields.skip(place).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
    }
}

impl Usage {
    /// What was used since an earlier moment.
    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        let is_complete = earlier.threads.keys().all(|thread| self.threads.contains_key(thread));
        let cpu = if is_complete && !self.threads.is_empty() {
            let sum = |usage: &Self| usage.threads.values().sum::<u64>();
            Duration::from_nanos(sum(self).saturating_sub(sum(earlier)))
        } else {
            Duration::from_millis(TICK_MS * self.ticks.saturating_sub(earlier.ticks))
        };
        let written_bytes = self.written_bytes.saturating_sub(earlier.written_bytes);
        Spent { cpu, written_bytes }
    }
}

/// The number behind a field's name.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Behind the name, where `stat` has the ticks of the process, and of its children.
const OWN_TICKS: usize = 11;
const CHILDREN_TICKS: usize = 13;
/// Linux counts a hundred ticks a second for those who ask this way.
const TICK_MS: u64 = 10;
const SETTLED_FOR: Duration = Duration::from_millis(1_000);
const SETTLED_CPU: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let process = Process::watch(std::process::id()).expect("this process is there");
        let before = process.usage().expect("it can be looked at");
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(60) {
            std::hint::black_box(start);
        }
        let after = process.usage().expect("it can be looked at");
        assert!(after.since(&before).cpu >= Duration::from_millis(5));
        assert!(after.memory_bytes > 0);
        assert!(Process::watch(u32::MAX).is_err());
    }
}
