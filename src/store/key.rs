//! The entries of the indexes, byte by byte (schema/FORMAT.md, "Index entries").
//!
//! An entry is a short fixed-width byte string: a prefix that says what is looked for, then the
//! event's *moment* and `seq`, then a little payload that filters ask for most. Everything is
//! big-endian, so memcmp is the order and a range of entries is a query. Prefixes are shortened
//! ids and keyed hashes; they may collide, so a hit is always checked against its record.
//!
//! A moment is `created_at` and the first bits of the id, turned round: so the highest entries of
//! a second are those with the lowest ids, which is the order of results. However many events a
//! second has, a query that wants a few reads few of their records.
//!
//! Pure: bytes in, bytes out. Blocks and tables are in `block` and `env`.

use siphasher::sip::SipHasher13;

use crate::nostr::{EventId, EventRef, KindClass, PublicKey, Value, delegation};
use crate::seq::Seq;

/// Bytes of the widest entry; narrower ones are zero-padded when they travel as [`Entry`].
pub(super) const ENTRY_BYTES_MAX: usize = 20;

/// One entry, zero-padded to the widest width. Byte order is index order.
///
/// Kept as big-endian numbers: merges and searches do little else than compare entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Entry {
    head: u64,
    middle: u64,
    tail: u32,
}

impl Entry {
    /// The lowest of all entries.
    pub(super) const MIN: Entry = Entry { head: 0, middle: 0, tail: 0 };
    /// An entry above all others.
    pub(super) const MAX: Entry = Entry { head: u64::MAX, middle: u64::MAX, tail: u32::MAX };

    /// Returns the entry of exactly these bytes.
    #[inline]
    pub(super) fn new(bytes: &[u8; ENTRY_BYTES_MAX]) -> Entry {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *bytes;
        Entry {
            head: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            middle: u64::from_be_bytes([i, j, k, l, m, n, o, p]),
            tail: u32::from_be_bytes([q, r, s, t]),
        }
    }

    /// Returns the entry of these bytes and zeros after them; what is too long is cut off.
    #[inline]
    pub(super) fn padded(bytes: &[u8]) -> Entry {
        let mut whole = [0; ENTRY_BYTES_MAX];
        let width = bytes.len().min(ENTRY_BYTES_MAX);
        whole[..width].copy_from_slice(&bytes[..width]);
        Entry::new(&whole)
    }

    /// Returns the first `width` bytes of the entry, and zeros after them.
    #[inline]
    pub(super) fn cut(self, width: usize) -> Entry {
        let bits = |from: usize| 8 * width.saturating_sub(from) as u32;
        let high = |bits: u32| !u64::MAX.checked_shr(bits).unwrap_or(0);
        Entry {
            head: self.head & high(bits(0)),
            middle: self.middle & high(bits(8)),
            tail: self.tail & (high(bits(16)) >> 32) as u32,
        }
    }

    /// Returns the entry whose first `shared` bytes, fewer than there are, are those of this one,
    /// which has no others, and then come those of `rest`; what is too long is cut off.
    #[inline]
    pub(super) fn followed_by(self, rest: Entry, shared: usize) -> Entry {
        let bits = 8 * shared as u32;
        let high = u128::from(rest.head) << 64 | u128::from(rest.middle);
        let moved = high.checked_shr(bits).unwrap_or(0);
        let tail = match bits.checked_sub(32) {
            None => (high << 32 | u128::from(rest.tail)) >> bits,
            Some(bits) => high >> bits,
        };
        Entry {
            head: self.head | (moved >> 64) as u64,
            middle: self.middle | moved as u64,
            tail: self.tail | tail as u32,
        }
    }

    /// Returns the bytes of the entry with its padding.
    pub(super) fn bytes(&self) -> [u8; ENTRY_BYTES_MAX] {
        let mut bytes = [0; ENTRY_BYTES_MAX];
        bytes[..8].copy_from_slice(&self.head.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.middle.to_be_bytes());
        bytes[16..].copy_from_slice(&self.tail.to_be_bytes());
        bytes
    }
}

/// Highest `created_at` that keeps its own place in the order; later ones share the last place.
pub(super) const TIME_MAX: u64 = (1 << 36) - 1;
/// Bits of the id in a moment.
const ID_BITS: u32 = 4;
const MOMENT_MAX: u64 = (1 << 40) - 1;

const _: () = assert!(TIME_MAX << ID_BITS | ((1 << ID_BITS) - 1) == MOMENT_MAX);

/// The indexes of the store, in the order of their tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Index {
    /// `id[0..8] seq`: events by id, duplicates.
    ById,
    /// `pubkey[0..8] kind created_at seq`: authors, authors and kinds, replaceable lookups.
    ByAuthorKind,
    /// `kind created_at seq pubkey[0..4]`: kinds, and home feeds that filter on the payload.
    ByKind,
    /// `hash(letter, value) kind created_at seq`: tags, tags and kinds, deletions, addresses.
    ByTag,
    /// `created_at seq kind pubkey[0..4]`: everything else.
    ByTime,
    /// `expiration seq`: NIP-40.
    ByExpiry,
}

impl Index {
    /// Every index, in table order.
    pub const ALL: [Index; 6] = [
        Index::ById,
        Index::ByAuthorKind,
        Index::ByKind,
        Index::ByTag,
        Index::ByTime,
        Index::ByExpiry,
    ];

    /// Returns the name of the index's table.
    pub const fn name(self) -> &'static str {
        match self {
            Index::ById => "by_id",
            Index::ByAuthorKind => "by_author_kind",
            Index::ByKind => "by_kind",
            Index::ByTag => "by_tag",
            Index::ByTime => "by_time",
            Index::ByExpiry => "by_expiry",
        }
    }

    /// Returns the bytes of one entry.
    pub(super) const fn width(self) -> usize {
        match self {
            Index::ById => 13,
            Index::ByAuthorKind | Index::ByTag => 20,
            Index::ByKind | Index::ByTime => 16,
            Index::ByExpiry => 10,
        }
    }

    /// Returns where the `seq` of an entry starts.
    pub(super) const fn seq_at(self) -> usize {
        match self {
            Index::ById => 8,
            Index::ByAuthorKind | Index::ByTag => 15,
            Index::ByKind => 7,
            Index::ByTime | Index::ByExpiry => 5,
        }
    }

    /// Returns the seq of an entry.
    #[inline]
    pub(super) fn seq(self, entry: &Entry) -> Seq {
        let Entry { head, middle, tail } = *entry;
        Seq(match self {
            Index::ById => middle >> 24,
            Index::ByAuthorKind | Index::ByTag => (middle & 0xff) << 32 | u64::from(tail),
            Index::ByKind => (head & 0xff) << 32 | middle >> 32,
            Index::ByTime | Index::ByExpiry => (head & 0xff_ffff) << 16 | middle >> 48,
        })
    }

    /// Returns an entry that was made with [`Seq::ZERO`] under its seq.
    #[inline]
    pub(super) fn with_seq(self, entry: &Entry, seq: Seq) -> Entry {
        let Entry { head, middle, tail } = *entry;
        let seq = seq.0;
        match self {
            Index::ById => Entry { head, middle: middle | seq << 24, tail },
            Index::ByAuthorKind | Index::ByTag => {
                Entry { head, middle: middle | seq >> 32, tail: tail | seq as u32 }
            }
            Index::ByKind => Entry { head: head | seq >> 32, middle: middle | seq << 32, tail },
            Index::ByTime | Index::ByExpiry => {
                Entry { head: head | seq >> 16, middle: middle | seq << 48, tail }
            }
        }
    }

    /// Returns the time of an entry: `created_at`, the expiration in `by_expiry`, 0 in `by_id`.
    #[inline]
    pub(super) fn time(self, entry: &Entry) -> u64 {
        self.moment(entry) >> ID_BITS
    }

    /// Returns the moment of an entry: it is in the order of results, but for events whose
    /// moments are equal.
    #[inline]
    pub(super) fn moment(self, entry: &Entry) -> u64 {
        match self {
            Index::ById => 0,
            Index::ByAuthorKind | Index::ByTag => (entry.middle >> 8) & MOMENT_MAX,
            Index::ByKind => (entry.head >> 8) & MOMENT_MAX,
            Index::ByTime | Index::ByExpiry => entry.head >> 24,
        }
    }

    /// Returns the kind that an entry names, where it does.
    pub(super) fn kind(self, entry: &Entry) -> Option<u16> {
        let [.., a, b] = match self {
            Index::ByAuthorKind | Index::ByTag => (entry.middle >> 48).to_be_bytes(),
            Index::ByKind => (entry.head >> 48).to_be_bytes(),
            Index::ByTime => (entry.middle >> 32).to_be_bytes(),
            Index::ById | Index::ByExpiry => return None,
        };
        Some(u16::from_be_bytes([a, b]))
    }

    /// Returns the first four bytes of the author, where the entry carries them as payload.
    pub(super) fn author4(self, entry: &Entry) -> Option<[u8; 4]> {
        match self {
            Index::ByKind | Index::ByTime => {
                let [.., a, b, c, d] = entry.middle.to_be_bytes();
                Some([a, b, c, d])
            }
            _ => None,
        }
    }
}

const _: () = assert!(Index::ByAuthorKind.width() == ENTRY_BYTES_MAX);
const _: () = assert!(Index::ByTag.width() == ENTRY_BYTES_MAX);

/// The key of a store's tag hashes; chosen at random when the store is created, so that nobody
/// outside can make tag values collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

impl Salt {
    /// Returns the hash of a tag's letter and value.
    pub(crate) fn tag(&self, letter: u8, value: Value<'_>) -> [u8; 8] {
        let mut text = [0_u8; 34];
        match value {
            Value::Hex(bytes) => {
                text[0] = letter;
                text[1] = 1;
                text[2..].copy_from_slice(bytes);
                self.hash(&text)
            }
            Value::Text(bytes) if bytes.len() <= 32 => {
                text[0] = letter;
                text[2..2 + bytes.len()].copy_from_slice(bytes);
                self.hash(&text[..2 + bytes.len()])
            }
            Value::Text(bytes) => self.hash(&[&[letter, 0], bytes].concat()),
        }
    }

    /// Returns the hash of an addressable event's address; no letter is 0, so it meets no tag's.
    pub(crate) fn address(&self, kind: u16, author: &PublicKey, identifier: Value<'_>) -> [u8; 8] {
        let mut text = Vec::with_capacity(68);
        text.push(0);
        text.extend_from_slice(&kind.to_be_bytes());
        text.extend_from_slice(&author.0);
        match identifier {
            Value::Hex(bytes) => {
                text.push(1);
                text.extend_from_slice(bytes);
            }
            Value::Text(bytes) => {
                text.push(0);
                text.extend_from_slice(bytes);
            }
        }
        self.hash(&text)
    }

    /// Returns the hash of a key in whose name events were made (NIP-26).
    pub(crate) fn delegator(&self, key: &PublicKey) -> [u8; 8] {
        self.tag(DELEGATOR, Value::Hex(&key.0))
    }

    fn hash(&self, bytes: &[u8]) -> [u8; 8] {
        SipHasher13::new_with_key(&self.0).hash(bytes).to_be_bytes()
    }
}

/// Under this in the place of a letter `by_tag` finds events by whom they were delegated from
/// (NIP-26).
const DELEGATOR: u8 = 1;

/// Calls `add` with every index entry of an event; an entry may be named twice.
pub(super) fn entries_of(
    salt: &Salt,
    event: &EventRef<'_>,
    seq: Seq,
    add: &mut impl FnMut(Index, Entry),
) {
    let kind = event.kind.0;
    let moment = moment5(event.created_at, event.id);
    let seq5 = seq.to_be5();
    let author = &event.pubkey.0;
    add(Index::ById, join(&[&event.id.0[..8], &seq5]));
    add(Index::ByAuthorKind, join(&[&author[..8], &kind.to_be_bytes(), &moment, &seq5]));
    add(Index::ByKind, join(&[&kind.to_be_bytes(), &moment, &seq5, &author[..4]]));
    add(Index::ByTime, join(&[&moment, &seq5, &kind.to_be_bytes(), &author[..4]]));
    let is_addressable = event.kind.class() == KindClass::Addressable;
    if let Some(delegator) = delegation::delegator_of(event) {
        let hash = salt.delegator(delegator);
        add(Index::ByTag, join(&[&hash, &kind.to_be_bytes(), &moment, &seq5]));
    }
    // An addressable event without an identifier is also given as one with an empty `d` (NIP-01).
    for (letter, value) in event.indexed_values() {
        let hash = salt.tag(letter, value);
        add(Index::ByTag, join(&[&hash, &kind.to_be_bytes(), &moment, &seq5]));
        if is_addressable && letter == b'd' {
            // Only the first `d` is the identifier, but `#d` finds the event by any of them.
            let address = salt.address(kind, event.pubkey, value);
            add(Index::ByTag, join(&[&address, &kind.to_be_bytes(), &moment, &seq5]));
        }
    }
    if let Some(expiration) = event.expiration() {
        add(Index::ByExpiry, join(&[&moment5(expiration, event.id), &seq5]));
    }
}

/// One range of one index: all entries with a prefix, between two times, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The index that is read.
    pub(crate) index: Index,
    /// The lowest entry of the range.
    pub(super) low: Entry,
    /// The highest entry of the range.
    pub(super) high: Entry,
}

impl Range {
    /// Returns the kind of all entries of the range, if there is but one.
    pub(crate) fn kind_alone(&self) -> Option<u16> {
        let is_told = match self.index {
            Index::ByAuthorKind | Index::ByTag => self.low.head == self.high.head,
            Index::ByKind => true,
            Index::ById | Index::ByTime | Index::ByExpiry => false,
        };
        let kind = self.index.kind(&self.low).filter(|_| is_told);
        kind.filter(|kind| self.index.kind(&self.high) == Some(*kind))
    }

    /// Returns the range of entries that start with `prefix`, for `since <= time <= until`.
    ///
    /// The prefix must end where the index's time starts.
    fn timed(index: Index, prefix: &[u8], since: u64, until: u64) -> Range {
        assert_eq!(prefix.len() + 5, index.seq_at(), "the prefix ends where the time starts");
        Range {
            index,
            low: join(&[prefix, &first5(since)]),
            high: join(&[prefix, &last5(until), &[0xff; 15][..15 - prefix.len()]]),
        }
    }

    /// Events whose id starts like this one.
    pub(crate) fn id(id: &EventId) -> Range {
        Range {
            index: Index::ById,
            low: join(&[&id.0[..8]]),
            high: join(&[&id.0[..8], &[0xff; 12]]),
        }
    }

    /// Events whose id starts with these bytes, as far as ids are indexed.
    pub(crate) fn id_prefix(prefix: &[u8]) -> Range {
        let prefix = &prefix[..prefix.len().min(8)];
        Range {
            index: Index::ById,
            low: join(&[prefix]),
            high: join(&[prefix, &[0xff; 20][..20 - prefix.len()]]),
        }
    }

    /// Events of one author and kind.
    pub(crate) fn author_kind(author: &PublicKey, kind: u16, since: u64, until: u64) -> Range {
        let prefix: [u8; 10] = array(&[&author.0[..8], &kind.to_be_bytes()]);
        Range::timed(Index::ByAuthorKind, &prefix, since, until)
    }

    /// Events of one author up to `kind`, in the order kind, time: to find the author's kinds.
    pub(crate) fn author_to_kind(author: &PublicKey, kind: u16) -> Range {
        Range {
            index: Index::ByAuthorKind,
            low: join(&[&author.0[..8]]),
            high: join(&[&author.0[..8], &kind.to_be_bytes(), &[0xff; 10]]),
        }
    }

    /// Every entry of `by_author_kind`.
    pub(super) fn all_authors() -> Range {
        Range { index: Index::ByAuthorKind, low: Entry::MIN, high: Entry::MAX }
    }

    /// Events of one kind.
    pub(crate) fn kind(kind: u16, since: u64, until: u64) -> Range {
        Range::timed(Index::ByKind, &kind.to_be_bytes(), since, until)
    }

    /// Events of one kind that carry one tag value.
    pub(crate) fn tag_kind(hash: [u8; 8], kind: u16, since: u64, until: u64) -> Range {
        let prefix: [u8; 10] = array(&[&hash, &kind.to_be_bytes()]);
        Range::timed(Index::ByTag, &prefix, since, until)
    }

    /// Events that carry one tag value, up to `kind`, in the order kind, time.
    pub(crate) fn tag_to_kind(hash: [u8; 8], kind: u16) -> Range {
        Range {
            index: Index::ByTag,
            low: join(&[&hash]),
            high: join(&[&hash, &kind.to_be_bytes(), &[0xff; 10]]),
        }
    }

    /// Events by time alone.
    pub(crate) fn time(since: u64, until: u64) -> Range {
        Range::timed(Index::ByTime, &[], since, until)
    }

    /// Events that expire between two times, both included.
    pub(crate) fn expiry(from: u64, to: u64) -> Range {
        Range::timed(Index::ByExpiry, &[], from, to)
    }
}

/// Returns the big-endian five bytes of a moment. Times too late to have a place have the last one,
/// where only their records tell what comes first.
fn moment5(time: u64, id: &EventId) -> [u8; 5] {
    if time >= TIME_MAX {
        return bytes5(MOMENT_MAX);
    }
    let id_bits = u64::from(id.0[0] >> (u8::BITS - ID_BITS));
    bytes5((time << ID_BITS) | (((1 << ID_BITS) - 1) - id_bits))
}

/// Returns the first moment of a time.
fn first5(time: u64) -> [u8; 5] {
    if time >= TIME_MAX { bytes5(MOMENT_MAX) } else { bytes5(time << ID_BITS) }
}

/// Returns the last moment of a time.
fn last5(time: u64) -> [u8; 5] {
    bytes5((time.min(TIME_MAX) << ID_BITS) | ((1 << ID_BITS) - 1))
}

fn bytes5(moment: u64) -> [u8; 5] {
    let [_, _, _, bytes @ ..] = moment.to_be_bytes();
    bytes
}

/// Joins parts into a zero-padded entry.
fn join(parts: &[&[u8]]) -> Entry {
    Entry::new(&array(parts))
}

fn array<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let mut at = 0;
    for part in parts {
        out[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_gives_back_its_time_seq_kind_and_author() {
        let author = PublicKey([7; 32]);
        let range = Range::author_kind(&author, 30023, 5, 9);
        assert_eq!(Index::ByAuthorKind.time(&range.low), 5);
        assert_eq!(Index::ByAuthorKind.time(&range.high), 9);
        assert_eq!(Index::ByAuthorKind.kind(&range.low), Some(30023));
        let moment = moment5(77, &EventId([0x5f; 32]));
        let entry = join(&[&[0, 1], &moment, &Seq(99).to_be5(), &[1, 2, 3, 4]]);
        assert_eq!(Index::ByKind.seq(&entry), Seq(99));
        assert_eq!(Index::ByKind.time(&entry), 77);
        assert_eq!(Index::ByKind.author4(&entry), Some([1, 2, 3, 4]));
    }

    #[test]
    fn an_entry_is_followed_by_bytes_as_if_they_were_copied_behind_it() {
        let any: [u8; ENTRY_BYTES_MAX] = std::array::from_fn(|at| (at as u8 + 1) * 11);
        for shared in 0..ENTRY_BYTES_MAX {
            for width in 0..=ENTRY_BYTES_MAX - shared {
                let (stem, rest) = (Entry::padded(&any[..shared]), Entry::padded(&any[..width]));
                let copied = [&any[..shared], &any[..width]].concat();
                let entry = stem.followed_by(rest, shared);
                assert_eq!(entry, Entry::padded(&copied), "{shared}, {width}");
            }
        }
    }

    #[test]
    fn a_seq_that_is_put_in_later_makes_the_same_entries() {
        let keypair = crate::nostr::Keypair::from_secret([7; 32]).expect("a secret key");
        let tag = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
        let tags = [tag("d", "x"), tag("t", "y"), tag("expiration", "99")];
        let event = keypair.sign_event(5, crate::nostr::Kind(30_023), &tags, "");
        for seq in [1, 0x12_3456_789a, (1 << 40) - 1].map(Seq) {
            let mut made = Vec::new();
            entries_of(&Salt([1; 16]), &event.view(), seq, &mut |index, entry| {
                made.push((index, entry));
            });
            let mut put = Vec::new();
            entries_of(&Salt([1; 16]), &event.view(), Seq::ZERO, &mut |index, entry| {
                put.push((index, index.with_seq(&entry, seq)));
            });
            assert_eq!(made, put);
            assert_eq!(put.len(), 8);
            assert!(put.iter().all(|(index, entry)| index.seq(entry) == seq));
        }
    }

    #[test]
    fn an_event_in_another_name_is_also_entered_under_that_key() {
        let [delegator, author] = [[3; 32], [7; 32]].map(crate::nostr::Keypair::from_secret);
        let (delegator, author) = (delegator.expect("a key"), author.expect("a key"));
        let (key, salt) = (delegator.public_key(), Salt([1; 16]));
        let text = format!("nostr:delegation:{}:kind=1", author.public_key());
        let digest = crate::nostr::verify::digest(text.as_bytes());
        let mut token = Vec::new();
        crate::hex::encode_into(&delegator.sign_id(&EventId(digest)).0, &mut token);
        let token = String::from_utf8(token).expect("digits");
        let tag = vec!["delegation".to_owned(), key.to_string(), "kind=1".to_owned(), token];
        for (kind, count) in [(1, 5), (7, 4)] {
            let event =
                author.sign_event(5, crate::nostr::Kind(kind), std::slice::from_ref(&tag), "");
            let mut made = Vec::new();
            entries_of(&salt, &event.view(), Seq(9), &mut |index, entry| {
                made.push((index, entry));
            });
            assert_eq!(made.len(), count);
            let range = Range::tag_kind(salt.delegator(&key), kind, 0, u64::MAX);
            let is_in = |entry: &Entry| (range.low..=range.high).contains(entry);
            let found = made.iter().any(|(index, entry)| *index == Index::ByTag && is_in(entry));
            assert_eq!(found, kind == 1);
        }
    }

    #[test]
    fn times_beyond_the_last_place_share_it() {
        for id in [EventId([0; 32]), EventId([0xff; 32])] {
            assert_eq!(moment5(u64::MAX, &id), moment5(TIME_MAX, &id));
            assert!(moment5(TIME_MAX - 1, &id) < moment5(TIME_MAX, &id));
            assert_eq!(moment5(TIME_MAX, &id), first5(u64::MAX));
            assert_eq!(moment5(TIME_MAX, &id), last5(TIME_MAX + 1));
        }
    }

    #[test]
    fn moments_are_in_the_order_of_results() {
        let id = |first: u8| EventId([first; 32]);
        for time in [0, 1, 1_700_000_000, TIME_MAX - 1] {
            assert!(first5(time) == moment5(time, &id(0xff)));
            assert!(last5(time) == moment5(time, &id(0)));
            assert!(moment5(time, &id(0x10)) < moment5(time, &id(0x0f)));
            assert!(moment5(time, &id(0)) < moment5(time + 1, &id(0xff)));
        }
    }

    #[test]
    fn a_hex_value_and_its_text_form_never_share_a_hash_by_accident() {
        let salt = Salt([3; 16]);
        assert_ne!(salt.tag(b'e', Value::Hex(&[0; 32])), salt.tag(b'e', Value::Text(&[0; 32])));
        assert_ne!(salt.tag(b'e', Value::Text(b"x")), salt.tag(b'E', Value::Text(b"x")));
        let long = [b'y'; 40];
        assert_ne!(salt.tag(b'e', Value::Text(&long)), salt.tag(b'e', Value::Text(&long[..39])));
    }
}
