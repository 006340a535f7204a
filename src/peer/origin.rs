//! Where events came from: for each peer that is to be remembered, which events it gave first, and
//! when. It is kept in rows of the store, some thousand events a row, two or three bytes an event.

use super::terms::Provenance;
use crate::hex::Hex;
use crate::nostr::verify;
use crate::seq::Seq;
use crate::store::{FactChange, Store, StoreError};

/// An event that came from a peer before it came from anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its place in the log.
    pub seq: Seq,
    /// When it came, in seconds since 1970, within a few seconds.
    pub first_seen: u64,
}

/// Events that came and are not in the store's rows yet.
#[derive(Debug, Default)]
pub(super) struct Came(Vec<Seq>);

impl Came {
    /// Returns a place for events of a peer, if they are to be remembered.
    pub(super) fn of(provenance: Provenance) -> Option<Came> {
        (provenance == Provenance::Remembered).then(Came::default)
    }

    /// Notes that an event was stored.
    pub(super) fn note(&mut self, seq: Seq) {
        self.0.push(seq);
    }

    /// Takes what was noted, as rows.
    pub(super) fn take(&mut self, url: &str, now: u64) -> Vec<FactChange> {
        let mut seqs = std::mem::take(&mut self.0);
        seqs.sort_unstable();
        let prefix = prefix_of(url);
        let row = |seqs: &[Seq]| {
            let name = format!("{prefix}{now:010x}{:010x}", seqs[0].0);
            let mut value = Vec::with_capacity(seqs.len() * 2);
            let mut before = 0;
            for seq in seqs {
                push_number(seq.0 - before, &mut value);
                before = seq.0;
            }
            FactChange::put(name, value)
        };
        seqs.chunks(SEQS_PER_ROW).map(row).collect()
    }
}

/// Returns what came first from the peer at an address, in the order in which it came.
///
/// # Errors
///
/// If the store cannot be read.
pub fn came_from(store: &Store, url: &str) -> Result<Vec<Origin>, StoreError> {
    let prefix = prefix_of(url);
    let mut origins = Vec::new();
    for (name, value) in store.snapshot()?.facts(&prefix)? {
        let digits = name.get(prefix.len()..prefix.len() + 10).unwrap_or_default();
        let first_seen = u64::from_str_radix(digits, 16).unwrap_or(0);
        read_row(&value, |seq| origins.push(Origin { seq, first_seen }));
    }
    Ok(origins)
}

/// Tells which events came first from the peer at an address, or from any peer without one, in no
/// order.
///
/// # Errors
///
/// If the store cannot be read.
pub fn each_from(
    store: &Store,
    url: Option<&str>,
    sink: &mut dyn FnMut(Seq),
) -> Result<(), StoreError> {
    let prefix = url.map_or_else(|| ALL.to_owned(), prefix_of);
    for (_, value) in store.snapshot()?.facts(&prefix)? {
        read_row(&value, &mut *sink);
    }
    Ok(())
}

fn read_row(mut row: &[u8], mut sink: impl FnMut(Seq)) {
    let mut seq = 0_u64;
    while let Some(step) = take_number(&mut row) {
        seq = seq.saturating_add(step).min(Seq::MAX.0);
        sink(Seq(seq));
    }
}

fn prefix_of(url: &str) -> String {
    format!("{ALL}{}/", Hex(&verify::digest(url.as_bytes())[..8]))
}

/// Writes a number in groups of seven bits, the lowest first (LEB128).
fn push_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// With what the names of all rows begin.
const ALL: &str = "origin/";
const SEQS_PER_ROW: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, StoreOptions, Writer};

    #[test]
    fn what_came_from_whom_is_read_as_it_was_noted() {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let options =
            StoreOptions { map_bytes: Some(64 << 20), durability: Durability::Lazy, salt: [7; 16] };
        let store = Store::open(folder.path(), &options).expect("it can be made");
        let mut writer = Writer::new(store.clone());
        let mut came = Came::of(Provenance::Remembered).expect("it is to be remembered");
        assert!(Came::of(Provenance::Forgotten).is_none());
        assert_eq!(came.take("ws://a", 5), []);
        let mut random = fastrand::Rng::with_seed(1);
        let mut expected = Vec::new();
        for (now, count) in [(100, 1), (101, 70_000), (200, 3)] {
            let mut seqs: Vec<u64> = (0..count).map(|_| random.u64(1..=Seq::MAX.0)).collect();
            seqs.iter().for_each(|seq| came.note(Seq(*seq)));
            seqs.sort_unstable();
            expected.extend(seqs.into_iter().map(|seq| Origin { seq: Seq(seq), first_seen: now }));
            writer.change_facts(&came.take("ws://a", now)).expect("room");
        }
        came.note(Seq(9));
        writer.change_facts(&came.take("ws://b", 300)).expect("room");
        assert!(came_from(&store, "ws://a").expect("it is readable") == expected);
        let other = came_from(&store, "ws://b").expect("it is readable");
        assert_eq!(other, [Origin { seq: Seq(9), first_seen: 300 }]);
        assert_eq!(came_from(&store, "ws://c").expect("it is readable"), []);
        let count = |url| {
            let mut count = 0;
            each_from(&store, url, &mut |_| count += 1).expect("it is readable");
            count
        };
        assert_eq!([Some("ws://b"), Some("ws://c"), None].map(count), [1, 0, 70_005]);
    }

    #[test]
    fn numbers_are_read_as_they_were_written_and_garbage_ends() {
        for number in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            push_number(number, &mut bytes);
            assert_eq!(take_number(&mut &bytes[..]), Some(number));
            assert_eq!(take_number(&mut &bytes[..bytes.len() - 1]), None, "{number}");
        }
        assert_eq!(take_number(&mut &[0xff; 30][..]), None);
    }
}
