//! The JSON scanner and the canonical form of text, against `serde_json`.

use chappe::nostr::Tags;
use chappe::nostr::json::{self, Scanner};
use fastrand::Rng;

use super::{Target, damaged};
use crate::fuzz::grammar;
use crate::fuzz::tree::{NoTree, Tree};

pub(super) struct Json;

impl Target for Json {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut text = String::new();
        let tree = match rng.u8(..3) {
            0 => Tree::Text(grammar::text(rng)),
            1 => grammar::filter(rng),
            _ => grammar::anything(rng, 5),
        };
        tree.spell(rng, &mut text);
        damaged(text, b"{\"a\":[1,\"\\u00e9\",null]}", rng)
    }

    fn check(&mut self, input: &[u8]) {
        check_any_bytes(input);
        let Ok(text) = std::str::from_utf8(input) else { return };
        check_plain_text(text);
        let mut scanner = Scanner::new(text);
        let ours = scanner.skip_value().and_then(|()| scanner.finish());
        let theirs = Tree::parse(input);
        match (&ours, &theirs) {
            (_, Err(NoTree::Beyond)) => {}
            (ours, theirs) => assert_eq!(ours.is_ok(), theirs.is_ok(), "{ours:?}\n{theirs:?}"),
        }
        if let Err(error) = ours {
            assert!(error.at <= text.len(), "an error within the text");
        }
        if let Ok(tree) = theirs {
            walk(&mut Scanner::new(text), &tree);
        }
    }
}

/// Whatever bytes a damaged record holds, they yield some text.
fn check_any_bytes(bytes: &[u8]) {
    let text = json::unescape(bytes);
    assert!(text.len() <= 3 * bytes.len(), "text is not invented");
    let _ = json::character_count(bytes);
    json::unescape_controls_into(bytes, &mut Vec::new());
    let _ = Tags::is_well_formed(bytes);
    let elements: usize = Tags::new(bytes).map(|tag| tag.elements().count()).sum();
    assert!(elements <= bytes.len(), "every element takes a byte");
}

fn check_plain_text(text: &str) {
    let mut canonical = Vec::new();
    json::escape_into(text, &mut canonical);
    let theirs = serde_json::to_string(text).expect("text has a JSON form");
    assert_eq!(canonical, &theirs.as_bytes()[1..theirs.len() - 1]);
    assert_eq!(json::unescape(&canonical), text);
    assert_eq!(json::character_count(&canonical), text.chars().count());
    let mut literal = Vec::new();
    let has_escapes = json::unescape_controls_into(&canonical, &mut literal);
    let is_long = |c: char| c < ' ' && !matches!(c, '\u{8}' | '\t' | '\n' | '\u{c}' | '\r');
    assert_eq!(has_escapes, text.contains(is_long));
}

/// Reads the same value item by item.
fn walk(scanner: &mut Scanner<'_>, tree: &Tree) {
    match tree {
        Tree::Text(expected) => {
            assert_text(scanner, expected);
        }
        Tree::Number(literal) => {
            let integer = tree.integer();
            assert_eq!(scanner.clone().integer(), integer, "{literal}");
            scanner.skip_value().expect("a number");
        }
        Tree::Null | Tree::Truth(_) => {
            assert_eq!(scanner.integer(), None);
            assert_eq!(scanner.hex_32(), None);
            scanner.skip_value().expect("a word");
        }
        Tree::List(items) => {
            let mut has_item = scanner.open(b'[', b']').expect("a list");
            for item in items {
                assert!(has_item);
                walk(scanner, item);
                has_item = scanner.another(b']').expect("the list goes on or ends");
            }
            assert!(!has_item);
        }
        Tree::Object(members) => {
            let mut has_member = scanner.open(b'{', b'}').expect("an object");
            for (name, value) in members {
                assert!(has_member);
                assert_eq!(scanner.key().expect("a name").to_text(), *name);
                walk(scanner, value);
                has_member = scanner.another(b'}').expect("the object goes on or ends");
            }
            assert!(!has_member);
        }
    }
}

fn assert_text(scanner: &mut Scanner<'_>, expected: &str) {
    let is_hex = |len| {
        expected.len() == len
            && expected.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    assert_eq!(scanner.clone().hex_32().is_some(), is_hex(64));
    assert_eq!(scanner.clone().hex_64().is_some(), is_hex(128));
    let raw = scanner.text().expect("a text");
    assert_eq!(raw.to_text(), expected);
    let mut canonical = Vec::new();
    json::escape_into(expected, &mut canonical);
    assert_eq!(*raw.canonical(), *canonical, "the canonical form is unique");
    assert!(canonical.len() <= raw.source_len(), "the canonical form is the shortest");
    assert!(raw.as_canonical().is_none_or(|bytes| bytes == canonical));
}
