//! What this process takes of the machine, as the system tells it (`/proc`, Linux).

use std::fs;

/// A look at this process.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ProcessUse {
    /// Memory in RAM, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Open files, sockets among them.
    pub open_files: u64,
    /// Second of 1970 in which it was started.
    pub started_secs: u64,
    /// Threads by name: what they used of a processor, in hundredths of a second, ascending by
    /// name; those of one name together.
    pub threads: Vec<(String, u64)>,
}

/// Looks at this process; what the system does not tell is 0.
pub fn process_use() -> ProcessUse {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/self/statm");
    let pages = |place| number(memory.split(' ').nth(place));
    let ticks = number(fields(&read("/proc/self/stat")).nth(STARTED));
    ProcessUse {
        resident_bytes: pages(1) * page_bytes(),
        virtual_bytes: pages(0) * page_bytes(),
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
        started_secs: booted_secs(&read("/proc/stat")) + ticks / TICKS_PER_SEC,
        threads: threads(),
    }
}

fn threads() -> Vec<(String, u64)> {
    let mut found: Vec<(String, u64)> = Vec::new();
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Ok(line) = fs::read_to_string(thread.path().join("stat")) else { continue };
        let name = line.split(['(', ')']).nth(1).unwrap_or_default().to_owned();
        let mut used = fields(&line).skip(USER_TICKS);
        let ticks = number(used.next()) + number(used.next());
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += ticks,
            None => found.push((name, ticks)),
        }
    }
    found.sort();
    found
}

/// Returns what follows the name, which may itself have spaces.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit(") ").next().unwrap_or_default().split(' ')
}

fn booted_secs(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    number(line)
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn page_bytes() -> u64 {
    // SAFETY: the call has no arguments but a number and touches no memory of ours.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// The unit of `/proc` for processor time, the same on all of Linux's machines.
pub const TICKS_PER_SEC: u64 = 100;
/// Places in `/proc/self/stat` behind the name.
const USER_TICKS: usize = 11;
const STARTED: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_this_process_takes() {
        let found = process_use();
        assert!(found.resident_bytes > 100_000, "{found:?}");
        assert!(found.virtual_bytes >= found.resident_bytes, "{found:?}");
        assert!(found.open_files >= 3, "{found:?}");
        assert!(found.started_secs > 1_600_000_000, "{found:?}");
        assert!(!found.threads.is_empty(), "{found:?}");
    }

    #[test]
    fn a_name_with_brackets_and_spaces_is_skipped() {
        let fields: Vec<&str> = fields("12 (a (b) c) S 1 2").collect();
        assert_eq!(fields, ["S", "1", "2"]);
    }
}
