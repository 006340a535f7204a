//! Messages of protocol V1, byte by byte: numbers, bounds, ranges.
//!
//! What is read comes from anybody: nothing is allocated for what a message only claims to have.

use super::items::{Item, Items};

/// The first byte of a message of this version.
pub(super) const VERSION: u8 = 0x61;
/// The first bytes that messages of other versions would have.
pub(super) const VERSIONS: std::ops::RangeInclusive<u8> = 0x60..=0x6f;
/// The timestamp behind all items.
pub(super) const INFINITY: u64 = u64::MAX;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends within a range.
    #[error("message ends early")]
    Truncated,
    /// A number does not fit 64 bits.
    #[error("number in message is too large")]
    Number,
    /// It does not begin like any version of the protocol.
    #[error("message is not of the negentropy protocol")]
    Version,
    /// A range is neither skipped nor a fingerprint nor a list.
    #[error("range is of an unknown mode")]
    Mode,
    /// A bound has more bytes than an id.
    #[error("bound is longer than an id")]
    Bound,
    /// A range ends before it begins.
    #[error("ranges are out of order")]
    Order,
}

/// The upper end of a range: everything below it belongs to the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// The lowest item that is not in the range.
    pub(super) item: Item,
    /// How many bytes of its id are written; the others are zero.
    pub(super) id_bytes: usize,
}

impl Bound {
    /// The bound behind all items.
    pub(super) const INFINITE: Bound =
        Bound { item: Item { timestamp: INFINITY, id: [0; 32] }, id_bytes: 0 };

    /// Returns the bound that is exactly this item.
    pub(super) fn whole(item: Item) -> Bound {
        Bound { item, id_bytes: item.id.len() }
    }

    /// Returns the shortest bound that separates two neighbours.
    pub(super) fn between(previous: &Item, next: &Item) -> Bound {
        if previous.timestamp != next.timestamp {
            return Bound { item: Item::at(next.timestamp), id_bytes: 0 };
        }
        let shared = previous.id.iter().zip(&next.id).take_while(|(a, b)| a == b).count();
        let id_bytes = (shared + 1).min(next.id.len());
        let mut item = Item::at(next.timestamp);
        item.id[..id_bytes].copy_from_slice(&next.id[..id_bytes]);
        Bound { item, id_bytes }
    }
}

/// What is said about a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Skip,
    Fingerprint,
    IdList,
}

impl Mode {
    fn number(self) -> u64 {
        match self {
            Mode::Skip => 0,
            Mode::Fingerprint => 1,
            Mode::IdList => 2,
        }
    }
}

/// Reads the ranges of a message.
pub(super) struct Reader<'m> {
    rest: &'m [u8],
    /// Timestamps are told as differences.
    timestamp: u64,
}

impl<'m> Reader<'m> {
    /// Reads what follows the version.
    pub(super) fn new(rest: &'m [u8]) -> Reader<'m> {
        Reader { rest, timestamp: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn bound(&mut self) -> Result<Bound, Malformed> {
        let difference = match self.varint()? {
            0 => INFINITY,
            encoded => encoded - 1,
        };
        self.timestamp = self.timestamp.saturating_add(difference);
        let id_bytes = usize::try_from(self.varint()?).map_err(|_| Malformed::Bound)?;
        let mut item = Item::at(self.timestamp);
        let id = item.id.get_mut(..id_bytes).ok_or(Malformed::Bound)?;
        id.copy_from_slice(self.bytes(id_bytes)?);
        Ok(Bound { item, id_bytes })
    }

    pub(super) fn mode(&mut self) -> Result<Mode, Malformed> {
        match self.varint()? {
            0 => Ok(Mode::Skip),
            1 => Ok(Mode::Fingerprint),
            2 => Ok(Mode::IdList),
            _ => Err(Malformed::Mode),
        }
    }

    /// Reads a list of ids, whatever they are.
    pub(super) fn ids(&mut self) -> Result<&'m [[u8; 32]], Malformed> {
        let bytes = usize::try_from(self.varint()?).ok().and_then(|count| count.checked_mul(32));
        let (ids, _) = self.bytes(bytes.ok_or(Malformed::Truncated)?)?.as_chunks();
        Ok(ids)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'m [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number: u64 = 0;
        for place in 0..VARINT_BYTES_MAX {
            let byte = *self.rest.get(place).ok_or(Malformed::Truncated)?;
            if number > u64::MAX >> 7 {
                return Err(Malformed::Number);
            }
            number = number << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[place + 1..];
                return Ok(number);
            }
        }
        Err(Malformed::Number)
    }
}

/// Ten groups of seven bits hold any number.
const VARINT_BYTES_MAX: usize = 10;

/// Writes the ranges of a message.
pub(super) struct Writer {
    out: Vec<u8>,
    timestamp: u64,
}

/// A place in a message to go back to.
pub(super) struct Mark {
    bytes: usize,
    timestamp: u64,
}

impl Writer {
    /// Begins a message.
    pub(super) fn new() -> Writer {
        Writer { out: vec![VERSION], timestamp: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Returns whether anything was said.
    pub(super) fn has_ranges(&self) -> bool {
        self.out.len() > 1
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { bytes: self.out.len(), timestamp: self.timestamp }
    }

    /// Takes back what was written since the mark was made.
    pub(super) fn go_back(&mut self, mark: &Mark) {
        self.out.truncate(mark.bytes);
        self.timestamp = mark.timestamp;
    }

    pub(super) fn skip(&mut self, bound: &Bound) {
        self.head(bound, Mode::Skip);
    }

    pub(super) fn fingerprint(&mut self, bound: &Bound, fingerprint: &[u8]) {
        self.head(bound, Mode::Fingerprint);
        self.out.extend_from_slice(fingerprint);
    }

    /// Writes the list of the items from `lower` up to, but without, `upper`.
    pub(super) fn id_list<I: Items>(
        &mut self,
        bound: &Bound,
        items: &mut I,
        (lower, upper): (usize, usize),
    ) -> Result<(), I::Error> {
        self.head(bound, Mode::IdList);
        let count = upper - lower;
        write_varint(count as u64, &mut self.out);
        self.out.reserve(count * size_of::<[u8; 32]>());
        items.visit(lower, upper, &mut |items| {
            items.iter().for_each(|item| self.out.extend_from_slice(&item.id));
        })
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn head(&mut self, bound: &Bound, mode: Mode) {
        let timestamp = bound.item.timestamp;
        let encoded = match timestamp {
            INFINITY => 0,
            _ => timestamp.saturating_sub(self.timestamp).saturating_add(1),
        };
        self.timestamp = timestamp;
        write_varint(encoded, &mut self.out);
        write_varint(bound.id_bytes as u64, &mut self.out);
        self.out.extend_from_slice(&bound.item.id[..bound.id_bytes]);
        write_varint(mode.number(), &mut self.out);
    }
}

/// Appends a number in groups of seven bits, the most significant first.
pub(super) fn write_varint(number: u64, out: &mut Vec<u8>) {
    let bits = u64::BITS - number.leading_zeros();
    for group in (1..bits.div_ceil(7)).rev() {
        out.push((number >> (7 * group)) as u8 | 0x80);
    }
    out.push(number as u8 & 0x7f);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::Hex;

    #[test]
    fn nip_77_21_numbers_have_their_most_significant_group_first() {
        let rows = [
            (0, "00"),
            (127, "7f"),
            (128, "8100"),
            (255, "817f"),
            (300, "822c"),
            (16384, "818000"),
            (1_700_000_000, "86aacfe200"),
            (u64::MAX, "81ffffffffffffffff7f"),
        ];
        for (number, expected) in rows {
            let mut bytes = Vec::new();
            write_varint(number, &mut bytes);
            assert_eq!(Hex(&bytes).to_string(), expected);
            assert_eq!(Reader::new(&bytes).varint(), Ok(number));
            let padded = [&[0x80], bytes.as_slice()].concat();
            let expected = if padded.len() > 10 { Err(Malformed::Number) } else { Ok(number) };
            assert_eq!(Reader::new(&padded).varint(), expected);
            for cut in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..cut]).varint(), Err(Malformed::Truncated));
            }
        }
        for bytes in [[0xff; 11], [0x82; 11]] {
            assert_eq!(Reader::new(&bytes).varint(), Err(Malformed::Number));
        }
        assert_eq!(
            Reader::new(&[0x83, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]).varint(),
            Err(Malformed::Number)
        );
    }

    #[test]
    fn nip_77_26_the_shortest_bound_separates_neighbours() {
        let item = |timestamp, id| Item { timestamp, id };
        let (low, mut high) = ([7; 32], [7; 32]);
        let rows = [(0, 1), (5, 6), (31, 32)];
        assert_eq!(Bound::between(&item(1, high), &item(2, low)).id_bytes, 0);
        for (place, expected) in rows {
            high = low;
            high[place] = 8;
            let bound = Bound::between(&item(1, low), &item(1, high));
            assert_eq!(bound.id_bytes, expected);
            assert!(item(1, low) < bound.item);
            assert!(item(1, high) >= bound.item);
        }
    }

    #[test]
    fn nip_77_25_timestamps_are_differences_that_never_overflow() {
        let mut writer = Writer::new();
        for timestamp in [5, 5, 900, INFINITY - 1, INFINITY] {
            writer.skip(&Bound { item: Item::at(timestamp), id_bytes: 0 });
        }
        let message = writer.finish();
        let mut reader = Reader::new(&message[1..]);
        for timestamp in [5, 5, 900, INFINITY - 1, INFINITY] {
            assert_eq!(reader.bound().map(|bound| bound.item.timestamp), Ok(timestamp));
            assert_eq!(reader.mode(), Ok(Mode::Skip));
        }
        assert!(reader.is_at_end());
        let mut reader =
            Reader::new(&[9, 0, 0x81, 255, 255, 255, 255, 255, 255, 255, 255, 0x7f, 0]);
        assert_eq!(reader.bound().map(|bound| bound.item.timestamp), Ok(8));
        assert_eq!(reader.bound().map(|bound| bound.item.timestamp), Ok(INFINITY));
    }
}
