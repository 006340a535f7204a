//! The entries that events have in the six indexes, as plain bytes.
//!
//! An entry is the full sort key, followed by what it carries for filters; how much of it becomes
//! LMDB's key is the layout's choice. Everything is big-endian, so byte order is the order.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use chappe::nostr::{EventRef, Value};

/// The longest entry; shorter ones are padded with zeros.
pub(crate) const ENTRY_BYTES: usize = 20;

/// One entry of an index.
pub(crate) type Entry = [u8; ENTRY_BYTES];

/// One index: its shape and its entries in the order of their events.
pub(crate) struct Index {
    pub(crate) shape: &'static Shape,
    entries: Vec<Entry>,
    /// For each event the end of its entries.
    ends: Vec<u32>,
}

/// How the bytes of an index's entries are used.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// How long an entry is.
    pub(crate) entry_bytes: usize,
    /// How much of it orders: LMDB's key where every entry has its own.
    pub(crate) key_bytes: usize,
    /// How much of it is LMDB's key where entries of a prefix are its duplicates.
    pub(crate) duplicate_key_bytes: usize,
    /// How long the prefix of a typical question is.
    pub(crate) question_bytes: usize,
}

/// The indexes of STORE.md in its order.
pub(crate) const SHAPES: [Shape; 6] = [
    shape("by_id", [13, 13, 8, 8]),
    shape("by_author_kind", [20, 20, 10, 10]),
    shape("by_kind", [16, 12, 2, 2]),
    shape("by_tag", [20, 20, 10, 10]),
    shape("by_time", [16, 10, 3, 3]),
    shape("by_expiry", [10, 10, 3, 3]),
];

const fn shape(name: &'static str, [entry, key, duplicate_key, question]: [usize; 4]) -> Shape {
    Shape {
        name,
        entry_bytes: entry,
        key_bytes: key,
        duplicate_key_bytes: duplicate_key,
        question_bytes: question,
    }
}

/// All indexes of a number of events.
pub(crate) struct Indexes {
    pub(crate) indexes: Vec<Index>,
    seq: u64,
}

impl Indexes {
    /// Starts without events.
    pub(crate) fn new() -> Self {
        let empty = |shape| Index { shape, entries: Vec::new(), ends: Vec::new() };
        Self { indexes: SHAPES.iter().map(empty).collect(), seq: 0 }
    }

    /// Adds the entries of the next event.
    pub(crate) fn add(&mut self, event: &EventRef<'_>) {
        self.seq += 1;
        let [by_id, by_author_kind, by_kind, by_tag, by_time, by_expiry] = &mut self.indexes[..]
        else {
            unreachable!("there are six shapes");
        };
        let seq = &self.seq.to_be_bytes()[3..];
        let created_at = &event.created_at.to_be_bytes()[3..];
        let kind = &event.kind.0.to_be_bytes()[..];
        let author = &event.pubkey.0;
        by_id.push(&[&event.id.0[..8], seq]);
        by_author_kind.push(&[&author[..8], kind, created_at, seq]);
        by_kind.push(&[kind, created_at, seq, &author[..4]]);
        by_time.push(&[created_at, seq, kind, &author[..4]]);
        let hashes: BTreeSet<u64> =
            event.indexed_values().map(|(letter, value)| hash_tag(letter, value)).collect();
        for hash in hashes {
            by_tag.push(&[&hash.to_be_bytes()[..], kind, created_at, seq]);
        }
        if let Some(expiration) = event.expiration() {
            by_expiry.push(&[&expiration.to_be_bytes()[3..], seq]);
        }
        for index in &mut self.indexes {
            index.ends.push(index.entries.len() as u32);
        }
    }

    /// How many events there are.
    pub(crate) fn events(&self) -> usize {
        self.seq as usize
    }
}

impl Index {
    fn push(&mut self, parts: &[&[u8]]) {
        let mut entry = [0; ENTRY_BYTES];
        let mut at = 0;
        for part in parts {
            entry[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        debug_assert_eq!(at, self.shape.entry_bytes, "an entry fills its shape");
        self.entries.push(entry);
    }

    /// How many events there are.
    pub(crate) fn events(&self) -> usize {
        self.ends.len()
    }

    /// The entries of a range of events, in the order of their events.
    pub(crate) fn of(&self, events: Range<usize>) -> &[Entry] {
        let start = events.start.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
        let end = events.end.checked_sub(1).map_or(0, |last| self.ends[last]) as usize;
        &self.entries[start..end]
    }
}

fn hash_tag(letter: u8, value: Value<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    letter.hash(&mut hasher);
    match value {
        Value::Hex(bytes) => bytes.hash(&mut hasher),
        Value::Text(text) => text.hash(&mut hasher),
    }
    hasher.finish()
}
