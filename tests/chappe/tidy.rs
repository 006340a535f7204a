//! The rules of the house that no compiler holds: who may import whom, and the doors.

use std::fs;

/// Rooms by floor, from the ground up: a room imports only from floors below its own.
const FLOORS: &str = "limits address clock deflate hex seq mailbox metrics sys|nostr reconcile|\
    store policy fanout|query ingest|session net|server peer|config cli";
/// What the floors would forbid: `cli` fills the settings tree, `seq` is written in hex.
const ALSO: [&str; 2] = ["cli config", "seq hex"];
/// What the floors would allow: policy decides on given facts, transport knows no Nostr.
const NEVER: [(&str, &str); 3] = [
    ("policy", "clock"),
    ("net", "nostr reconcile store policy fanout query ingest"),
    ("session", "mailbox sys"),
];
/// Dependencies, and the rooms that may name them.
const DOORS: &str = "aho_corasick: policy; arc_swap: store fanout server policy; clap: cli; clap_complete: cli;
    crossbeam_channel: mailbox;
    faster_hex: hex; flatbuffers: store; flate2: deflate cli; heed: store; http_body_util: net; hyper: net;
    hyper_util: net; imbl: store policy; indicatif: cli; libc: sys; memmap2: store; mimalloc: main; negentropy: reconcile;
    rusqlite: cli; rustls: net; rustls_native_certs: net; sd_notify: sys; secp256k1: nostr; socket2: net;
    tokio: net server peer cli; tokio_rustls: net; toml: config; tungstenite: net; xxhash_rust: store; zstd: cli";

fn has(list: &str, word: &str) -> bool {
    list.split(' ').any(|known| known == word)
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.split('|').position(|rooms| has(rooms, room))
}

fn may_import(room: &str, other: &str) -> bool {
    let is_never = NEVER.iter().any(|(from, to)| *from == room && has(to, other));
    let is_below = floor(other) < floor(room) || floor(room).is_none();
    room == other || ALSO.contains(&&*format!("{room} {other}")) || (is_below && !is_never)
}

/// What follows a word in the code of a line, where the word stands by itself.
fn after<'a>(code: &'a str, word: &str) -> Vec<&'a str> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | ':');
    let found = code.match_indices(word).filter(|(at, _)| !code[..*at].ends_with(is_name));
    found.map(|(at, _)| &code[at + word.len()..]).collect()
}

#[test]
fn imports_only_go_down_and_dependencies_stay_behind_their_doors() {
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        let room = path["src/".len()..].split(['/', '.']).next().unwrap_or_default();
        assert!(floor(room).is_some() || has("lib main", room), "{path} is on no floor");
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            for rest in after(code, "crate::") {
                let other = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                if floor(other).is_some() && !may_import(room, other) {
                    faults.push(format!("{path}:{number}: {room} imports {other}"));
                }
            }
            for (name, rooms) in DOORS.split(';').filter_map(|door| door.trim().split_once(": ")) {
                if !after(code, &format!("{name}::")).is_empty() && !has(rooms, room) {
                    faults.push(format!("{path}:{number}: {room} is no door to {name}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_are_short_ascii_introduced_and_finished() {
    let mut faults = Vec::new();
    for (path, text) in ["src", "tests", "benches", "tools/src"].into_iter().flat_map(sources) {
        let own = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if own.lines().count() > 600 && !path.ends_with("tests.rs") {
            faults.push(format!("{path}: {} lines, at most 600", own.lines().count()));
        }
        if !text.starts_with("//!") {
            faults.push(format!("{path}:1: does not say with //! what lives here"));
        }
        let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("db", "g!(")];
        let is_fault = |line: &str| !line.is_ascii() || unfinished.iter().any(|w| line.contains(w));
        for (number, _) in (1..).zip(text.lines()).filter(|(_, line)| is_fault(line)) {
            faults.push(format!("{path}:{number}: not ASCII, or not finished"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Every Rust file below a folder that people wrote, and its text; tests run in the project's root.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("folders are readable").path().display().to_string();
        found.extend(sources(&path));
        if path.ends_with(".rs") && !path.ends_with("generated.rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            found.push((path, text));
        }
    }
    found
}
