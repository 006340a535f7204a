//! The commands as a person and a script meet them: stdout, stderr, exit code, and what is in the
//! store afterwards; most of them while a relay serves the same store.

mod admin;
mod config;
mod export;
mod import;
mod key;
mod maintenance;
mod migration;
mod store;

use tempfile::TempDir;

use crate::harness::process::text;
use crate::harness::{Event, command_with_input, key};

/// A folder for a store, or for files.
fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// The path of a file in a folder.
fn file(folder: &TempDir, name: &str) -> String {
    text(&folder.path().join(name)).to_owned()
}

/// A path as text.
fn path(folder: &TempDir) -> &str {
    text(folder.path())
}

/// Some notes by K1, one a second.
fn notes(count: u64) -> Vec<Event> {
    (0..count).map(|n| key(1).note(&format!("note {n}"), 1_700_000_000 + n)).collect()
}

/// Events as JSON lines.
fn lines(events: &[Event]) -> String {
    events.iter().map(|event| event.line() + "\n").collect()
}

/// A store with these events.
fn store_with(events: &[Event]) -> TempDir {
    let store = folder();
    command_with_input(&["import", "-", "--data", path(&store)], lines(events).as_bytes()).code(0);
    store
}
