//! Events, filters and messages as the protocol has them, with values from a small world, so that
//! they meet: filters find events, messages name what is open.

use chappe::nostr::{Event, Keypair, Kind};
use fastrand::Rng;

use super::mutate::NUMBERS;
use super::tree::Tree;
use crate::dataset::{chance, choose};

/// The events of the tests' fixtures, made by another implementation.
pub(super) fn fixtures() -> Vec<String> {
    let lines = include_str!("../../../tests/chappe/fixtures/events.jsonl").lines();
    let event_of = |line: &'static str| {
        let start = line.find("\"event\":").map(|at| at + "\"event\":".len())?;
        line.get(start..line.len() - 1).map(str::to_owned)
    };
    lines.filter_map(event_of).collect()
}

/// Returns the key pair of a small number.
pub(super) fn keypair(number: u8) -> Keypair {
    let mut secret = [0; 32];
    secret[31] = number.max(1);
    Keypair::from_secret(secret).expect("small numbers are secret keys")
}

/// One of a few hexadecimal names: keys and ids that occur elsewhere too.
pub(super) fn name(rng: &mut Rng) -> String {
    match rng.u8(..20) {
        0 => text(rng),
        1 => KEYS[rng.usize(..KEYS.len())].to_uppercase(),
        2 => KEYS[rng.usize(..KEYS.len())][1..].to_owned(),
        3 => (0..64).map(|_| *choose(rng, &HEX)).collect(),
        _ => word(rng, &KEYS).to_owned(),
    }
}

/// Some text, often one that occurs elsewhere too.
pub(super) fn text(rng: &mut Rng) -> String {
    match rng.u8(..8) {
        0 => String::new(),
        1 => word(rng, &KEYS).to_owned(),
        2..5 => word(rng, &["a", "b", "t", "-", "d", "nostr"]).to_owned(),
        5 => word(rng, &PIECES).repeat(rng.usize(1..70)),
        _ => (0..rng.usize(..12)).map(|_| word(rng, &PIECES)).collect(),
    }
}

/// One of some words.
pub(super) fn word<'a>(rng: &mut Rng, words: &[&'a str]) -> &'a str {
    words[rng.usize(..words.len())]
}

/// A second: one of a few, or at a bound.
fn second(rng: &mut Rng) -> Tree {
    match rng.u8(..10) {
        0 => number(rng),
        _ => Tree::Number((NOW - 2 + rng.u64(..5)).to_string()),
    }
}

fn number(rng: &mut Rng) -> Tree {
    Tree::Number(word(rng, &NUMBERS).to_owned())
}

fn kind(rng: &mut Rng) -> Tree {
    match rng.u8(..12) {
        0 => number(rng),
        _ => Tree::Number(choose(rng, &KINDS).to_string()),
    }
}

/// Any value at all, of small depth.
pub(super) fn anything(rng: &mut Rng, depth: u8) -> Tree {
    match rng.u8(..if depth == 0 { 5 } else { 8 }) {
        0 => Tree::Null,
        1 => Tree::Truth(rng.bool()),
        2 => number(rng),
        3 | 4 => Tree::Text(text(rng)),
        5 | 6 => Tree::List((0..rng.usize(..4)).map(|_| anything(rng, depth - 1)).collect()),
        _ => {
            let member = |rng: &mut Rng| (text(rng), anything(rng, depth - 1));
            Tree::Object((0..rng.usize(..4)).map(|_| member(rng)).collect())
        }
    }
}

fn tags(rng: &mut Rng) -> Tree {
    let tag = |rng: &mut Rng| {
        let first =
            word(rng, &["t", "e", "p", "d", "a", "-", "expiration", "nonce", "T", "\u{e9}"]);
        let mut tag = vec![Tree::Text(first.to_owned())];
        for _ in 0..rng.usize(..4) {
            let is_name = matches!(first, "e" | "p") && chance(rng, 900);
            tag.push(Tree::Text(if is_name { name(rng) } else { text(rng) }));
        }
        Tree::List(tag)
    };
    let count = *choose(rng, &[0, 0, 1, 2, 3, 8]);
    Tree::List((0..count).map(|_| tag(rng)).collect())
}

/// An event that nobody signed, mostly well formed; its members in any order.
pub(super) fn event(rng: &mut Rng) -> Tree {
    let sig = format!("{}{}", word(rng, &KEYS), word(rng, &KEYS));
    let mut members = vec![
        ("id".to_owned(), Tree::Text(name(rng))),
        ("pubkey".to_owned(), Tree::Text(name(rng))),
        ("created_at".to_owned(), second(rng)),
        ("kind".to_owned(), kind(rng)),
        ("tags".to_owned(), tags(rng)),
        ("content".to_owned(), Tree::Text(text(rng))),
        ("sig".to_owned(), Tree::Text(sig)),
    ];
    disturb(&mut members, rng);
    rng.shuffle(&mut members);
    Tree::Object(members)
}

/// A filter, mostly well formed.
pub(super) fn filter(rng: &mut Rng) -> Tree {
    let mut members = Vec::new();
    let mut list = |key: &str, item: fn(&mut Rng) -> Tree, rng: &mut Rng| {
        if rng.u8(..5) == 0 {
            let items = (0..rng.usize(..5)).map(|_| item(rng)).collect();
            members.push((key.to_owned(), Tree::List(items)));
        }
    };
    list("ids", |rng| Tree::Text(name(rng)), rng);
    list("authors", |rng| Tree::Text(name(rng)), rng);
    list("kinds", kind, rng);
    for key in ["#e", "#p", "&e", "&p"] {
        list(key, |rng| Tree::Text(name(rng)), rng);
    }
    for key in ["#t", "#d", "#a", "&t", "&d", "#T"] {
        list(key, |rng| Tree::Text(text(rng)), rng);
    }
    for key in ["since", "until", "limit"] {
        if rng.u8(..6) == 0 {
            members.push((key.to_owned(), second(rng)));
        }
    }
    if rng.u8(..20) == 0 {
        members.push(("search".to_owned(), Tree::Text(text(rng))));
    }
    disturb(&mut members, rng);
    rng.shuffle(&mut members);
    Tree::Object(members)
}

/// Now and then leaves a member out, doubles one, adds one, or changes a value.
fn disturb(members: &mut Vec<(String, Tree)>, rng: &mut Rng) {
    let place = rng.usize(..members.len().max(1));
    match rng.u8(..24) {
        0 if !members.is_empty() => drop(members.remove(place)),
        1 if !members.is_empty() => members.push(members[place].clone()),
        2 | 3 => members.push((text(rng), anything(rng, 3))),
        4 if !members.is_empty() => members[place].1 = anything(rng, 2),
        5 => members.push(("#x".to_owned(), anything(rng, 2))),
        _ => {}
    }
}

/// A message of a client, mostly well formed; `known` are signed events.
pub(super) fn message(known: &[Tree], rng: &mut Rng) -> Tree {
    let verb = word(rng, &VERBS);
    let mut items = vec![Tree::Text(verb.to_owned())];
    match verb {
        "EVENT" | "AUTH" => {
            let is_known = !known.is_empty() && chance(rng, 600);
            items.push(if is_known { choose(rng, known).clone() } else { event(rng) });
        }
        "REQ" | "COUNT" => {
            items.push(Tree::Text(handle(rng)));
            let count = *choose(rng, &[0, 1, 1, 1, 1, 2, 3]);
            items.extend((0..count).map(|_| filter(rng)));
        }
        "NEG-OPEN" => {
            items.extend([Tree::Text(handle(rng)), filter(rng), Tree::Text(hexadecimal(rng))]);
        }
        "NEG-MSG" => items.extend([Tree::Text(handle(rng)), Tree::Text(hexadecimal(rng))]),
        _ => items.push(Tree::Text(handle(rng))),
    }
    match rng.u8(..30) {
        0 => items.push(anything(rng, 3)),
        1 => drop(items.pop()),
        2 => {
            let place = rng.usize(..items.len());
            items[place] = anything(rng, 3);
        }
        _ => {}
    }
    Tree::List(items)
}

/// What clients call things: few names, so that they meet again.
fn handle(rng: &mut Rng) -> String {
    match rng.u8(..12) {
        0 => text(rng),
        1 => "\u{e9}".repeat(rng.usize(63..66)),
        _ => word(rng, &["a", "b", "c", "d", "e\n\"", "\u{1f600}"]).to_owned(),
    }
}

/// A message of a reconciliation, more or less.
fn hexadecimal(rng: &mut Rng) -> String {
    match rng.u8(..6) {
        0 => text(rng),
        1 => {
            let digits = (0..rng.usize(..90)).map(|_| *choose(rng, &HEX));
            "61".chars().chain(digits).collect()
        }
        _ => {
            let whole = format!("61000001{}", "00".repeat(16));
            word(rng, &["61", "6100000200", "6100", "60", "62aa", "6F", &whole]).to_owned()
        }
    }
}

/// Signed events of few authors, kinds and times; some are proofs for a challenge.
pub(super) fn signed(count: usize, challenge: &str, rng: &mut Rng) -> Vec<Event> {
    (0..count).map(|_| sign(challenge, rng)).collect()
}

fn sign(challenge: &str, rng: &mut Rng) -> Event {
    let author = keypair(rng.u8(1..6));
    let tag = |items: [&str; 2]| items.map(str::to_owned).to_vec();
    let mut kind = *choose(rng, &KINDS);
    let mut tags = Vec::new();
    for _ in 0..rng.usize(..3) {
        tags.push(match rng.u8(..8) {
            0 => vec!["-".to_owned()],
            1 => tag(["expiration", word(rng, &["1699999999", "1700000000", "1800000000"])]),
            2 => tag(["e", word(rng, &KEYS)]),
            3 | 4 => tag(["p", word(rng, &KEYS)]),
            5 => tag(["d", word(rng, &["", "a"])]),
            6 => tag(["relay", word(rng, &[OWN, "ALL_RELAYS", "wss://other.example"])]),
            _ => tag(["t", word(rng, &["a", "b"])]),
        });
    }
    if rng.u8(..6) == 0 {
        kind = 22_242;
        let relay = word(rng, &[OWN, OWN, OWN, "wss://other.example"]);
        tags = vec![tag(["relay", relay]), tag(["challenge", challenge])];
    }
    let created_at = NOW - 2 + rng.u64(..5);
    author.sign_event(created_at, Kind(kind), &tags, &text(rng))
}

/// The event as a value that can be spelled in other ways.
pub(super) fn tree_of(event: &Event) -> Tree {
    let mut json = Vec::new();
    event.view().write_json(&mut json);
    Tree::parse(&json).expect("events are rendered as JSON")
}

/// The second that everything happens around.
pub(super) const NOW: u64 = 1_700_000_000;
/// The address of the relay of the sessions.
pub(super) const OWN: &str = "wss://relay.example.org";

const VERBS: [&str; 14] = [
    "EVENT",
    "EVENT",
    "EVENT",
    "REQ",
    "REQ",
    "REQ",
    "CLOSE",
    "COUNT",
    "AUTH",
    "NEG-OPEN",
    "NEG-MSG",
    "NEG-CLOSE",
    "NOPE",
    "event",
];
const KINDS: [u16; 14] =
    [0, 1, 3, 4, 5, 6, 62, 1_059, 10_000, 20_001, 21_059, 30_000, 30_023, 22_242];
const HEX: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
/// The authors of the signed events, an id, and a key that is no point of the curve.
const KEYS: [&str; 5] = [
    "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5",
    "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
    "bde202ea7642ff9910600c7edc948a1f4220f0cbf5e4fb2b7efafa681bbb5285",
    "0000000000000000000000000000000000000000000000000000000000000005",
];
const PIECES: [&str; 16] = [
    "a",
    "hello ",
    "\"",
    "\\",
    "\n",
    "\t",
    "\0",
    "\u{1f}",
    "/",
    "\u{7f}",
    "\u{e9}",
    "\u{1f600}",
    "\u{2028}",
    "\u{feff}",
    "\\u0041",
    "\u{8}",
];
