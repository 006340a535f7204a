//! The rules of the house that no compiler holds: who may import whom, and the doors.

use std::fs;
use std::path::{Path, PathBuf};

/// Floors from the ground up: a room imports only from floors below its own.
const FLOORS: [&[&str]; 7] = [
    &["limits", "clock", "hex", "seq", "mailbox", "metrics", "sys"],
    &["nostr", "reconcile"],
    &["store", "policy", "fanout"],
    &["query", "ingest"],
    &["session", "net"],
    &["server", "peer"],
    &["config", "cli"],
];
/// Imports that the floors would forbid.
const ALSO: [(&str, &str); 2] = [("seq", "hex"), ("cli", "config")];
/// Imports that the floors would allow: policy decides on given facts, transport knows no Nostr.
const NEVER: [(&str, &[&str]); 3] = [
    ("policy", &["clock"]),
    ("net", &["nostr", "reconcile", "store", "policy", "fanout", "query", "ingest"]),
    ("session", &["net", "mailbox", "sys"]),
];
/// The rooms that may name a dependency.
const DOORS: [(&str, &[&str]); 20] = [
    ("arc_swap", &["store", "fanout"]),
    ("clap", &["cli"]),
    ("crossbeam_channel", &["mailbox", "ingest"]),
    ("faster_hex", &["hex"]),
    ("flatbuffers", &["store"]),
    ("flate2", &["cli"]),
    ("heed", &["store"]),
    ("http_body_util", &["net"]),
    ("hyper", &["net"]),
    ("hyper_util", &["net"]),
    ("imbl", &["store"]),
    ("indicatif", &["cli"]),
    ("libc", &["sys"]),
    ("mimalloc", &["main"]),
    ("secp256k1", &["nostr"]),
    ("socket2", &["net"]),
    ("tokio", &["net", "server"]),
    ("toml", &["config"]),
    ("tungstenite", &["net"]),
    ("zstd", &["cli"]),
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn may_import(room: &str, other: &str) -> bool {
    let is_never = NEVER.iter().any(|(from, to)| *from == room && to.contains(&other));
    let is_below = floor(other) < floor(room) || matches!(room, "lib" | "main");
    room == other || ALSO.contains(&(room, other)) || (is_below && !is_never)
}

#[test]
fn imports_only_go_down_and_dependencies_stay_behind_their_doors() {
    let mut faults = Vec::new();
    for (path, text) in sources(&["src"]).into_iter().filter(|(path, _)| !is_generated(path)) {
        let room = path.strip_prefix("src/").and_then(|rest| rest.split(['/', '.']).next());
        let room = room.expect("a file below src");
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            for found in code.split("crate::").skip(1).filter(|_| !code.contains("$crate")) {
                let other: String = found.chars().take_while(|c| c.is_alphanumeric()).collect();
                if floor(&other).is_some() && !may_import(room, &other) {
                    faults.push(format!("{path}:{number}: {room} imports {other}"));
                }
            }
            for (name, rooms) in DOORS {
                let names = |prefix: &str| code.contains(&format!("{prefix}{name}::"));
                let is_named = names(" ") || names("(") || names("<") || names("&");
                if (is_named || code.starts_with(&format!("{name}::"))) && !rooms.contains(&room) {
                    faults.push(format!("{path}:{number}: {room} is no door to {name}"));
                }
            }
        }
        assert!(floor(room).is_some() || matches!(room, "lib" | "main"), "{path} has no floor");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_are_short_ascii_introduced_and_finished() {
    let mut faults = Vec::new();
    for (path, text) in sources(&["src", "tests", "benches", "tools/src"]) {
        let own = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = own.lines().count();
        if lines > 600 && !path.ends_with("tests.rs") && !is_generated(&path) {
            faults.push(format!("{path}: {lines} lines, at most 600"));
        }
        if !text.starts_with("//!") && !is_generated(&path) {
            faults.push(format!("{path}:1: does not say with //! what lives here"));
        }
        for (number, line) in (1..).zip(text.lines()) {
            let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("db", "g!(")];
            if !line.is_ascii() || unfinished.iter().any(|word| line.contains(word)) {
                faults.push(format!("{path}:{number}: not ASCII, or not finished"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn is_generated(path: &str) -> bool {
    path.ends_with("generated.rs")
}

/// Every Rust file below these folders: its path from the project's root, and its text.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("folders are readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the root").display().to_string();
                found.push((name, fs::read_to_string(&path).expect("sources are UTF-8")));
            }
        }
    }
    found.sort();
    found
}
