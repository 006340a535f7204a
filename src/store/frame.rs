//! Frames: what one commit adds to the log, byte by byte (schema/FORMAT.md, "The log").
//!
//! A frame is records, then the seqs of the events that the commit buried, under a checksum that is
//! chained to the frame before. So whoever reads the log knows where it ends: at the first frame
//! that is not whole, or that followed another one once.
//!
//! What is known of a record to its frame's checksum is a digest. A record that is erased leaves its
//! digest, and many frames that are not needed any more leave one *gap*, which has the checksum that
//! the next frame is chained to; so all that is left can be read and trusted from the beginning.
//!
//! Pure: bytes in, bytes out. The file is in `log`.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::seq::Seq;

/// Bytes of a word; everything in the log begins at one.
pub(super) const WORD_BYTES: usize = 8;
/// Words of a frame's header.
const HEADER_WORDS: usize = 5;
/// Bytes of a frame's header.
pub(super) const HEADER_BYTES: usize = HEADER_WORDS * WORD_BYTES;
/// Bits of a prefix that tell the words of an item.
const LENGTH_BITS: u32 = 24;
/// The longest record, in bytes.
pub(super) const RECORD_BYTES_MAX: usize = ((1 << LENGTH_BITS) - 2) * WORD_BYTES;

/// The word that every item of the log begins with: whose record it is, and its length in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    /// [`Seq::ZERO`] for what is no record.
    pub(super) seq: Seq,
    /// With the prefix itself; zero where there is nothing.
    pub(super) words: usize,
}

impl Prefix {
    pub(super) fn read(word: [u8; WORD_BYTES]) -> Prefix {
        let word = u64::from_le_bytes(word);
        // 24 bits fit.
        Prefix { seq: Seq(word >> LENGTH_BITS), words: (word & ((1 << LENGTH_BITS) - 1)) as usize }
    }

    pub(super) fn bytes(self) -> [u8; WORD_BYTES] {
        (self.seq.0 << LENGTH_BITS | self.words as u64).to_le_bytes()
    }
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tail {
    /// In words from the beginning of the file.
    pub(super) at: u64,
    /// The checksum of the last frame, which the next one is chained to.
    pub(super) chain: u64,
}

/// A frame that is being made.
#[derive(Debug, Default)]
pub(super) struct Frame {
    bytes: Vec<u8>,
    /// The seq of the first record; the others follow it.
    first: Seq,
    /// Whose records they are, and where each one's item begins, in words of the frame.
    items: Vec<(Seq, u32)>,
    buried: Vec<Seq>,
}

impl Frame {
    /// Begins a frame whose first record has the seq after `last`; keeps the memory.
    pub(super) fn begin(&mut self, last: Seq) {
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
        self.first = last.next();
        self.items.clear();
        self.buried.clear();
    }

    /// Makes room for so many bytes.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Gives most of its memory back, if it has much.
    pub(super) fn shrink(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
    }

    /// Returns whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.buried.is_empty()
    }

    /// Returns whether its records are of older events, which are moved.
    pub(super) fn is_moved(&self) -> bool {
        self.items.first().is_some_and(|(seq, _)| *seq < self.first)
    }

    /// Returns about how many bytes it will have.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.buried.len() * WORD_BYTES
    }

    /// Adds the record of a seq: in a commit the next one, in a log that is written anew any.
    pub(super) fn append(&mut self, seq: Seq, record: &[u8]) {
        assert!(record.len() <= RECORD_BYTES_MAX, "no event is that long");
        let words = 1 + record.len().div_ceil(WORD_BYTES);
        let at = u32::try_from(self.words()).expect("a frame is shorter than 32 GB");
        self.items.push((seq, at));
        self.bytes.reserve(words * WORD_BYTES);
        self.bytes.extend_from_slice(&Prefix { seq, words }.bytes());
        self.bytes.extend_from_slice(record);
        self.bytes.resize(self.bytes.len().next_multiple_of(WORD_BYTES), 0);
    }

    /// Adds an event that is dead from now on.
    pub(super) fn bury(&mut self, seq: Seq) {
        self.buried.push(seq);
    }

    /// Returns the record of a seq that is in the frame.
    pub(super) fn record(&self, seq: Seq) -> Option<&[u8]> {
        let place = usize::try_from(seq.0.checked_sub(self.first.0)?).ok()?;
        let (_, at) = self.items.get(place)?;
        let item = self.bytes.get(*at as usize * WORD_BYTES..)?;
        let prefix = Prefix::read(*item.first_chunk()?);
        item.get(WORD_BYTES..prefix.words * WORD_BYTES)
    }

    /// Returns where the records will lie in the log, in words, if the frame is put at a tail.
    pub(super) fn places(&self, tail: Tail) -> impl Iterator<Item = (Seq, u64)> {
        self.items.iter().map(move |(seq, at)| (*seq, tail.at + u64::from(*at)))
    }

    /// Completes the frame for its place behind `tail`; returns its bytes and the tail behind it.
    ///
    /// `opening` tells apart those who write, and `last` is the newest seq after it.
    pub(super) fn seal(&mut self, tail: Tail, opening: u32, last: Seq) -> (&[u8], Tail) {
        if !self.buried.is_empty() {
            let words = 1 + self.buried.len();
            self.bytes.extend_from_slice(&Prefix { seq: Seq::ZERO, words }.bytes());
            for seq in &self.buried {
                self.bytes.extend_from_slice(&seq.0.to_le_bytes());
            }
        }
        let words = self.words();
        let count = |count: usize| u32::try_from(count).expect("a frame is shorter than 32 GB");
        let mut header = [[0; WORD_BYTES]; HEADER_WORDS];
        header[0] = Prefix { seq: Seq::ZERO, words: HEADER_WORDS }.bytes();
        header[2] = pair(count(words), count(self.buried.len()));
        header[3] = pair(opening, count(self.items.len()));
        header[4] = last.0.to_le_bytes();
        self.bytes[..HEADER_BYTES].copy_from_slice(header.as_flattened());
        let chain = checksum(self.bytes.as_chunks().0, tail.chain);
        self.bytes[WORD_BYTES..2 * WORD_BYTES].copy_from_slice(&chain.to_le_bytes());
        (&self.bytes, Tail { at: tail.at + words as u64, chain })
    }

    fn words(&self) -> usize {
        self.bytes.len() / WORD_BYTES
    }
}

/// Memory that is kept from frame to frame while commits are few.
const BYTES_KEPT: usize = 1 << 20;

fn pair(a: u32, b: u32) -> [u8; WORD_BYTES] {
    (u64::from(b) << 32 | u64::from(a)).to_le_bytes()
}

/// The checksum of a frame, its own place in the header left out.
fn checksum(frame: &[[u8; WORD_BYTES]], chain: u64) -> u64 {
    let mut hash = Xxh3::with_seed(chain);
    hash.update(frame[2..HEADER_WORDS].as_flattened());
    let mut rest = &frame[HEADER_WORDS..];
    while let Some(first) = rest.first() {
        let prefix = Prefix::read(*first);
        if prefix.seq == Seq::ZERO || prefix.words == 0 || prefix.words > rest.len() {
            break;
        }
        let (item, later) = rest.split_at(prefix.words);
        hash.update(first);
        hash.update(&digest(&item[1..]).to_le_bytes());
        rest = later;
    }
    hash.update(rest.as_flattened());
    hash.digest()
}

/// What an erased record begins with; the first word of any other is an offset.
const ERASED: [u8; WORD_BYTES] = [0xff; WORD_BYTES];

/// Returns the digest of a record, which it keeps when it is erased.
fn digest(record: &[[u8; WORD_BYTES]]) -> u64 {
    match record {
        [ERASED, digest, rest @ ..] if rest.iter().all(|word| *word == [0; WORD_BYTES]) => {
            u64::from_le_bytes(*digest)
        }
        _ => xxh3_64(record.as_flattened()),
    }
}

/// Returns what is left of a record when it is erased.
pub(super) fn erased(record: &[u8]) -> Vec<u8> {
    let (words, _) = record.as_chunks::<WORD_BYTES>();
    let mut left = vec![[0; WORD_BYTES]; words.len()];
    if let [first, second, ..] = left.as_mut_slice() {
        *first = ERASED;
        *second = digest(words).to_le_bytes();
    }
    left.into_flattened()
}

/// A stretch of the log that is not needed any more, where frames were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) words: u64,
    /// The checksum that the frame behind it is chained to.
    pub(super) chain: u64,
}

/// What a gap has in the place of its writer and its records.
const GAP: [u8; WORD_BYTES] = [0xff; WORD_BYTES];

impl Gap {
    /// Returns what stands at its beginning; the rest of it is nothing.
    pub(super) fn bytes(self) -> [u8; HEADER_BYTES] {
        let mut header = [[0; WORD_BYTES]; HEADER_WORDS];
        header[0] = Prefix { seq: Seq::ZERO, words: HEADER_WORDS }.bytes();
        header[1] = self.chain.to_le_bytes();
        header[2] = self.words.to_le_bytes();
        header[3] = GAP;
        header[4] = xxh3_64(header[..4].as_flattened()).to_le_bytes();
        *header.as_flattened().first_chunk().expect("a header has its bytes")
    }

    /// Returns the gap with this header, if it is that of one.
    pub(super) fn read(header: &[u8; HEADER_BYTES]) -> Option<Gap> {
        let (words, _) = header.as_chunks::<WORD_BYTES>();
        let number = |place: usize| u64::from_le_bytes(words[place]);
        let gap = Gap { words: number(2), chain: number(1) };
        let is_gap = gap.words >= HEADER_WORDS as u64 && gap.bytes() == *header;
        is_gap.then_some(gap)
    }
}

/// Returns how many bytes a frame with this header has, if it is that of a frame.
pub(super) fn frame_bytes(header: &[u8; HEADER_BYTES]) -> Option<usize> {
    let (words, _) = header.as_chunks::<WORD_BYTES>();
    let prefix = Prefix::read(words[0]);
    let [a, b, c, d, ..] = words[2];
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    let is_header = prefix == Prefix { seq: Seq::ZERO, words: HEADER_WORDS } && words[3] != GAP;
    (is_header && len >= HEADER_WORDS).then_some(len * WORD_BYTES)
}

/// A frame that was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'f> {
    words: &'f [[u8; WORD_BYTES]],
    checksum: u64,
}

impl<'f> Whole<'f> {
    /// Returns the frame of these bytes, if it is one and follows one with the checksum `chain`.
    pub(super) fn new(bytes: &'f [u8], chain: u64) -> Option<Whole<'f>> {
        if frame_bytes(bytes.first_chunk()?)? != bytes.len() {
            return None;
        }
        let (words, _) = bytes.as_chunks::<WORD_BYTES>();
        let checksum = u64::from_le_bytes(words[1]);
        (checksum == self::checksum(words, chain)).then_some(Whole { words, checksum })
    }

    /// Returns what says to be a frame, whether its checksum fits or not.
    ///
    /// # Panics
    ///
    /// If it does not even say so.
    pub(super) fn as_it_says(bytes: &'f [u8]) -> Whole<'f> {
        let len = bytes.first_chunk().and_then(frame_bytes);
        assert_eq!(len, Some(bytes.len()), "who calls has read the header");
        let (words, _) = bytes.as_chunks::<WORD_BYTES>();
        Whole { words, checksum: u64::from_le_bytes(words[1]) }
    }

    /// Returns its length in words.
    pub(super) fn words(&self) -> u64 {
        self.words.len() as u64
    }

    /// Returns the bytes.
    pub(super) fn bytes(&self) -> &'f [u8] {
        self.words.as_flattened()
    }

    /// Returns the tail behind the frame, if it begins at `tail`.
    pub(super) fn tail(&self, tail: Tail) -> Tail {
        Tail { at: tail.at + self.words.len() as u64, chain: self.checksum }
    }

    /// Returns the newest seq after the frame.
    pub(super) fn last(&self) -> Seq {
        Seq(u64::from_le_bytes(self.words[4])).min(Seq::MAX)
    }

    /// Returns the records that were not erased: where each begins, in words of the frame, its seq
    /// and its bytes.
    pub(super) fn records(&self) -> impl Iterator<Item = (u64, Seq, &'f [u8])> {
        let words = self.words;
        let mut at = HEADER_WORDS;
        let items = std::iter::from_fn(move || {
            let begin = at;
            let prefix = Prefix::read(*words.get(at)?);
            let item = words.get(at..at + prefix.words)?;
            if prefix.seq == Seq::ZERO {
                return None;
            }
            at += prefix.words;
            Some((begin as u64, prefix.seq, item.get(1..)?))
        });
        let is_there =
            |(_, _, record): &(u64, Seq, &'f [[u8; WORD_BYTES]])| !record.starts_with(&[ERASED]);
        items.filter(is_there).map(|(begin, seq, record)| (begin, seq, record.as_flattened()))
    }

    /// Returns the events that died.
    pub(super) fn buried(&self) -> impl Iterator<Item = Seq> {
        let [.., a, b, c, d] = self.words[2];
        let count = u32::from_le_bytes([a, b, c, d]) as usize;
        let list = self.words.len().saturating_sub(count).max(HEADER_WORDS);
        self.words[list..].iter().map(|word| Seq(u64::from_le_bytes(*word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(records: &[&[u8]], buried: &[u64], tail: Tail) -> (Vec<u8>, Tail) {
        let mut frame = Frame::default();
        frame.begin(Seq(6));
        for (seq, record) in (7..).map(Seq).zip(records) {
            frame.append(seq, record);
        }
        for seq in buried {
            frame.bury(Seq(*seq));
        }
        let (bytes, tail) = frame.seal(tail, 5, Seq(6 + records.len() as u64));
        (bytes.to_vec(), tail)
    }

    #[test]
    fn what_was_put_into_a_frame_is_read_from_it() {
        let tail = Tail { at: 8, chain: 77 };
        for (records, buried) in [
            (&[&b"one"[..], b"", b"eight by"][..], &[3, 7][..]),
            (&[], &[1 << 39]),
            (&[b"alone"], &[]),
        ] {
            let (bytes, next) = frame(records, buried, tail);
            let whole = Whole::new(&bytes, tail.chain).expect("it was just made");
            assert_eq!(whole.tail(tail), next);
            assert_eq!(next.at, 8 + bytes.len() as u64 / 8);
            assert_eq!(whole.last(), Seq(6 + records.len() as u64));
            assert_eq!(whole.buried().map(|seq| seq.0).collect::<Vec<_>>(), buried);
            let read: Vec<_> = whole.records().collect();
            assert_eq!(read.len(), records.len());
            for (place, ((at, seq, bytes_read), record)) in
                read.into_iter().zip(records).enumerate()
            {
                assert_eq!(seq, Seq(7 + place as u64));
                assert!(bytes_read.starts_with(record) && bytes_read.len() < record.len() + 8);
                let prefix = bytes[at as usize * 8..].first_chunk().expect("a word");
                assert_eq!(Prefix::read(*prefix).seq, seq);
            }
        }
    }

    #[test]
    fn records_are_found_in_a_frame_that_is_being_made() {
        let mut frame = Frame::default();
        frame.begin(Seq(41));
        assert!(frame.is_empty());
        frame.append(Seq(42), b"the first");
        frame.append(Seq(43), b"second");
        assert_eq!(frame.record(Seq(42)).map(|bytes| &bytes[..9]), Some(&b"the first"[..]));
        assert_eq!(frame.record(Seq(43)), Some(&b"second\0\0"[..]));
        assert_eq!(frame.record(Seq(41)), None);
        assert_eq!(frame.record(Seq(44)), None);
        let places: Vec<_> = frame.places(Tail { at: 100, chain: 0 }).collect();
        assert_eq!(places, [(Seq(42), 105), (Seq(43), 108)]);
    }

    #[test]
    fn a_frame_whose_records_are_erased_is_whole_and_has_the_others() {
        let tail = Tail { at: 8, chain: 77 };
        let records: [&[u8]; 3] = [b"one that is longer", b"two that is longer", b"three, longer"];
        let (mut bytes, next) = frame(&records, &[3], tail);
        let places: Vec<(u64, Seq)> = Whole::new(&bytes, 77)
            .expect("it was just made")
            .records()
            .map(|(at, seq, _)| (at, seq))
            .collect();
        for (count, (at, _)) in places.iter().enumerate() {
            let begin = *at as usize * WORD_BYTES;
            let words = Prefix::read(*bytes[begin..].first_chunk().expect("a word")).words;
            let record = begin + WORD_BYTES..begin + words * WORD_BYTES;
            let left = erased(&bytes[record.clone()]);
            assert_eq!(erased(&left), left, "what is erased stays as it is");
            bytes[record].copy_from_slice(&left);
            let whole = Whole::new(&bytes, 77).expect("its checksum fits");
            assert_eq!(whole.tail(tail), next);
            let rest: Vec<(u64, Seq)> = whole.records().map(|(at, seq, _)| (at, seq)).collect();
            assert_eq!(rest, places[count + 1..]);
            assert_eq!(whole.buried().collect::<Vec<_>>(), [Seq(3)]);
        }
        assert!(!bytes.windows(6).any(|bytes| bytes == b"longer"));
    }

    #[test]
    fn a_gap_is_no_frame_and_any_damage_of_it_is_noticed() {
        let gap = Gap { words: 1 << 40, chain: 5 };
        let header = gap.bytes();
        assert_eq!(Gap::read(&header), Some(gap));
        assert_eq!(frame_bytes(&header), None);
        for bit in 0..header.len() * 8 {
            let mut damaged = header;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Gap::read(&damaged), None, "bit {bit}");
        }
        let (bytes, _) = frame(&[b"record"], &[], Tail { at: 8, chain: 77 });
        assert_eq!(Gap::read(bytes.first_chunk().expect("a header")), None);
    }

    #[test]
    fn a_frame_with_any_bit_changed_or_behind_another_one_is_none() {
        let tail = Tail { at: 8, chain: 77 };
        let (bytes, _) = frame(&[b"some record", b"another"], &[2], tail);
        assert!(Whole::new(&bytes, 78).is_none());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Whole::new(&damaged, 77).is_none(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Whole::new(&bytes[..len], 77).is_none());
        }
    }
}
