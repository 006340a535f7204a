//! JSON values as somebody else's parser reads them, with repeated members kept.

use std::fmt;

use fastrand::Rng;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::dataset::choose;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    Null,
    Truth(bool),
    /// The literal, as it is written. One that was parsed is exact only if it is an integer of 64
    /// bits without a sign.
    Number(String),
    Text(String),
    List(Vec<Tree>),
    /// In order, repetitions included.
    Object(Vec<(String, Tree)>),
}

/// Why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTree {
    /// The text is not JSON.
    Wrong,
    /// It may be, but goes beyond what this reader takes: a number beyond floats, deep nesting.
    Beyond,
}

impl Tree {
    /// Reads a whole text.
    pub(super) fn parse(text: &[u8]) -> Result<Tree, NoTree> {
        if depth(text) > DEPTH_MAX {
            return Err(NoTree::Beyond);
        }
        serde_json::from_slice(text).map_err(|error| {
            let is_beyond = error.to_string().starts_with("number out of range");
            if is_beyond { NoTree::Beyond } else { NoTree::Wrong }
        })
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Tree]> {
        match self {
            Tree::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn object(&self) -> Option<&[(String, Tree)]> {
        match self {
            Tree::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The number, if it is an integer of 64 bits without a sign.
    pub(super) fn integer(&self) -> Option<u64> {
        match self {
            Tree::Number(literal) => literal.parse().ok(),
            _ => None,
        }
    }

    /// Spells the value as one of the many texts that mean it.
    pub(super) fn spell(&self, rng: &mut Rng, out: &mut String) {
        out.push_str(space(rng));
        match self {
            Tree::Null => out.push_str("null"),
            Tree::Truth(value) => out.push_str(if *value { "true" } else { "false" }),
            Tree::Number(literal) => out.push_str(literal),
            Tree::Text(text) => spell_text(text, rng, out),
            Tree::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.spell(rng, out);
                }
                out.push(']');
            }
            Tree::Object(members) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(space(rng));
                    spell_text(name, rng, out);
                    out.push_str(space(rng));
                    out.push(':');
                    value.spell(rng, out);
                }
                out.push_str(space(rng));
                out.push('}');
            }
        }
        out.push_str(space(rng));
    }
}

/// Spells a text as one of the many strings that mean it; mostly as it is usual.
fn spell_text(text: &str, rng: &mut Rng, out: &mut String) {
    let strangeness = choose(rng, &[0, 0, 0, 1, 5]);
    out.push('"');
    for character in text.chars() {
        if rng.u8(..10) < *strangeness {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let digits = format!("{unit:04x}");
                out.push_str("\\u");
                out.push_str(&if rng.bool() { digits.to_uppercase() } else { digits });
            }
        } else if character == '/' && *strangeness > 0 {
            out.push_str("\\/");
        } else {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                control if control < ' ' => {
                    out.push_str(&format!("\\u{:04x}", u32::from(control)));
                }
                other => out.push(other),
            }
        }
    }
    out.push('"');
}

fn space(rng: &mut Rng) -> &'static str {
    match rng.u8(..40) {
        0 => " ",
        1 => "\n",
        2 => "\t\r ",
        _ => "",
    }
}

/// How deeply brackets are nested, strings aside; no less than that in a text that is not JSON.
pub(super) fn depth(text: &[u8]) -> usize {
    let (mut now, mut most, mut is_text) = (0_usize, 0, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_text = !is_text,
            b'\\' if is_text => drop(bytes.next()),
            b'[' | b'{' if !is_text => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' if !is_text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Below what either reader takes.
const DEPTH_MAX: usize = 60;

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Truth(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Number("0.5".to_owned()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Tree::Object(object))
    }
}
