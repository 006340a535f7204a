//! What a failing case leaves: why it failed, the smallest input that still does, a file.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::targets::Target;

/// Why and where a case panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// File and line: two failures at one place count as the same.
    pub(super) place: String,
    /// What was said there.
    pub(super) text: String,
}

thread_local! {
    static LAST: RefCell<Option<Fault>> = const { RefCell::new(None) };
    static IS_FUZZING: Cell<bool> = const { Cell::new(false) };
}

/// A panic of a thread that is none of ours: of a server under test.
static FOREIGN: Mutex<Option<Fault>> = Mutex::new(None);

/// Has panics kept instead of printed.
pub(super) fn catch_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        let text = info.payload_as_str().unwrap_or("a panic without words").to_owned();
        let fault = Fault { place, text };
        if IS_FUZZING.get() {
            LAST.set(Some(fault));
        } else if let Ok(mut foreign) = FOREIGN.lock() {
            foreign.get_or_insert(fault);
        }
    }));
}

/// Returns why an input fails, if it does.
pub(super) fn fault_of(target: &mut dyn Target, input: &[u8]) -> Option<Fault> {
    caught(|| target.check(input)).err()
}

/// Runs something and returns its panic, or one of a server's thread meanwhile, as a fault.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Fault> {
    IS_FUZZING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(run));
    IS_FUZZING.set(false);
    if let Some(fault) = FOREIGN.lock().ok().and_then(|mut foreign| foreign.take()) {
        return Err(fault);
    }
    outcome.map_err(|_| {
        let unknown = || Fault { place: String::new(), text: String::new() };
        LAST.take().unwrap_or_else(unknown)
    })
}

/// Returns the shortest input found in a few seconds that fails at the same place.
pub(super) fn minimise(target: &mut dyn Target, input: &[u8], fault: &Fault) -> Vec<u8> {
    let deadline = Instant::now() + MINIMISING;
    let mut best = input.to_vec();
    let mut piece = best.len().div_ceil(2).max(1);
    while Instant::now() < deadline {
        let before = best.len();
        let mut at = 0;
        while at < best.len() && Instant::now() < deadline {
            let end = (at + piece).min(best.len());
            let shorter = [&best[..at], &best[end..]].concat();
            match fault_of(target, &shorter) {
                Some(other) if other.place == fault.place => best = shorter,
                _ => at = end,
            }
        }
        if piece == 1 && best.len() == before {
            break;
        }
        piece = (piece / 2).max(1);
    }
    best
}

/// Writes an input to a file and returns its path.
pub(super) fn save(folder: &Path, name: &str, input: &[u8]) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(name);
    std::fs::write(&path, input)?;
    Ok(path)
}

const MINIMISING: Duration = Duration::from_secs(5);
