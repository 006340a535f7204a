//! Packed blocks: what the value of an index table's row is (schema/FORMAT.md, "Blocks").
//!
//! A block is a sorted run of fixed-width entries, as large as one page. The bytes that all its
//! entries start with are stored once:
//!
//! ```text
//! shared: u8 | shared bytes | n * (width - shared) bytes
//! ```
//!
//! It is read in place from the map: finding an entry is a binary search, the next one is an
//! addition. Pure: bytes in, bytes out.

use std::cmp::Ordering;
use std::ops::Range;

use super::key::Entry;
use crate::seq::Seq;
use crate::sys;

/// A block in the map, with the width of its entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'t> {
    shared: &'t [u8],
    rest: &'t [u8],
    rest_width: usize,
    /// An entry without its rest.
    stem: Entry,
}

impl<'t> Block<'t> {
    /// Returns the block in `bytes`, or nothing if these bytes are not a block of this width.
    pub(super) fn new(bytes: &'t [u8], width: usize) -> Option<Block<'t>> {
        let (&shared, after) = bytes.split_first()?;
        let shared = usize::from(shared);
        if shared >= width || after.len() < shared {
            return None;
        }
        let (shared, rest) = after.split_at(shared);
        let rest_width = width - shared.len();
        let stem = Entry::padded(shared);
        (rest.len() % rest_width == 0).then_some(Block { shared, rest, rest_width, stem })
    }

    /// Returns how many entries the block holds.
    pub(super) fn len(&self) -> usize {
        self.rest.len() / self.rest_width
    }

    /// Returns the entry at `position`, zero-padded.
    ///
    /// # Panics
    ///
    /// If `position` is not below [`Block::len`].
    #[inline]
    pub(super) fn entry(&self, position: usize) -> Entry {
        let at = position * self.rest_width;
        // What is behind the entry is read along and cut off: so the processor moves numbers, and
        // nothing waits for bytes that were just written.
        let rest = match self.rest.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(rest) => Entry::new(rest).cut(self.rest_width),
            None => Entry::padded(&self.rest[at..at + self.rest_width]),
        };
        self.stem.followed_by(rest, self.shared.len())
    }

    /// Returns how many entries right below `position` have last bytes that are refused, `max` at
    /// most.
    pub(super) fn count_refused<const N: usize>(
        &self,
        position: usize,
        max: usize,
        refuses: impl Fn([u8; N]) -> bool,
    ) -> usize {
        if self.rest_width < N {
            return 0;
        }
        let below = &self.rest[..position * self.rest_width];
        let entries = below.rchunks_exact(self.rest_width).take(max);
        let last = |entry: &[u8]| entry.last_chunk().copied();
        entries.take_while(|entry| last(entry).is_some_and(&refuses)).count()
    }

    /// Returns how many of the entries at these places have a seq that is counted; `seq_at` is where
    /// in an entry it stands.
    pub(super) fn count_seqs(
        &self,
        places: Range<usize>,
        seq_at: usize,
        is_counted: impl Fn(Seq) -> bool,
    ) -> usize {
        let seq = |bytes: &[u8]| bytes.first_chunk().map_or(Seq::ZERO, |five| Seq::from_be5(*five));
        let Some(at) = seq_at.checked_sub(self.shared.len()) else {
            // Nearly all that the entries say they say together.
            let entries = places.map(|place| self.entry(place).bytes());
            return entries.filter(|entry| is_counted(seq(&entry[seq_at..]))).count();
        };
        let entries = &self.rest[places.start * self.rest_width..places.end * self.rest_width];
        let entries = entries.chunks_exact(self.rest_width);
        entries.filter(|entry| is_counted(seq(&entry[at..]))).count()
    }

    /// Returns how many entries are not above `bound`.
    pub(super) fn count_up_to(&self, bound: &Entry) -> usize {
        self.count(bound, Ordering::is_le)
    }

    /// Returns how many entries are below `bound`.
    pub(super) fn count_below(&self, bound: &Entry) -> usize {
        self.count(bound, Ordering::is_lt)
    }

    fn count(&self, bound: &Entry, is_counted: impl Fn(Ordering) -> bool) -> usize {
        let bound = bound.bytes();
        let (shared, rest) = bound.split_at(self.shared.len());
        match self.shared.cmp(shared) {
            Ordering::Less => return self.len(),
            Ordering::Greater => return 0,
            Ordering::Equal => {}
        }
        let bound = &rest[..self.rest_width];
        let bound_head = head_of(bound);
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            let entry = &self.rest[middle * self.rest_width..][..self.rest_width];
            // Mostly the first bytes decide, and comparing them takes no call.
            let order = head_of(entry).cmp(&bound_head).then_with(|| entry.cmp(bound));
            if is_counted(order) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Appends all entries to `out`.
    pub(super) fn unpack(&self, out: &mut Vec<Entry>) {
        out.extend((0..self.len()).map(|position| self.entry(position)));
    }
}

/// Returns the first bytes of what is compared with others of its length, as a number in the same
/// order; zero if they are few.
#[inline]
fn head_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
}

/// Has those parts of a block fetched that a search in it looks at first.
pub(super) fn expect(bytes: &[u8]) {
    let start = bytes.as_ptr().addr();
    for eighth in 0..8 {
        sys::prefetch(start + bytes.len() / 8 * eighth);
    }
}

/// Returns how many entries of `width` fit into a block of `bytes` whatever they share.
pub(super) fn capacity(entries: &[Entry], width: usize, bytes: usize) -> usize {
    match (entries.first(), entries.last()) {
        (Some(first), Some(last)) => {
            let shared = shared_bytes(first, last, width);
            (bytes - 1 - shared) / (width - shared)
        }
        _ => 0,
    }
}

/// Writes a block of these sorted entries over `out`.
pub(super) fn pack(entries: &[Entry], width: usize, out: &mut Vec<u8>) {
    out.clear();
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
    let shared = shared_bytes(first, last, width);
    out.push(u8::try_from(shared).expect("an entry is narrower than 256 bytes"));
    out.extend_from_slice(&first.bytes()[..shared]);
    for entry in entries {
        out.extend_from_slice(&entry.bytes()[shared..width]);
    }
}

/// Cuts sorted entries into runs that each pack into `bytes`; calls `emit` with each run.
///
/// With `full`, every run but the last is as long as fits (bulk load, the end of a table);
/// without it the runs are about equal, so that later merges find room.
pub(super) fn cut(
    entries: &[Entry],
    width: usize,
    bytes: usize,
    full: bool,
    mut emit: impl FnMut(&[Entry]),
) {
    let mut rest = entries;
    while !rest.is_empty() {
        let fits = longest_run(rest, width, bytes);
        let take = if fits == rest.len() || full {
            fits
        } else {
            // Equal parts of what remains, each surely short enough.
            let parts = rest.len().div_ceil(fits);
            rest.len().div_ceil(parts)
        };
        let (run, after) = rest.split_at(take);
        emit(run);
        rest = after;
    }
}

/// Returns the length of the longest prefix of `entries` that packs into `bytes`.
fn longest_run(entries: &[Entry], width: usize, bytes: usize) -> usize {
    if capacity(entries, width, bytes) >= entries.len() {
        return entries.len();
    }
    // Sharing shrinks as a run grows, so "fits" is monotone: binary search for its edge.
    let (mut low, mut high) = (1, entries.len());
    while low < high {
        let middle = (low + high).div_ceil(2);
        if capacity(&entries[..middle], width, bytes) >= middle {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

fn shared_bytes(first: &Entry, last: &Entry, width: usize) -> usize {
    // At least one byte stays, so that a block of one entry has a length.
    first.bytes().iter().zip(&last.bytes()).take(width - 1).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::super::key::ENTRY_BYTES_MAX;
    use super::*;

    fn entries(count: usize, step: u64) -> Vec<Entry> {
        (0..count as u64)
            .map(|number| {
                let mut bytes = [0; ENTRY_BYTES_MAX];
                bytes[4..12].copy_from_slice(&(number * step).to_be_bytes());
                Entry::new(&bytes)
            })
            .collect()
    }

    #[test]
    fn a_packed_run_gives_back_its_entries() {
        for width in [13, 16, 20] {
            for count in [1, 2, 3, 100] {
                let run = entries(count, 7);
                let mut bytes = Vec::new();
                pack(&run, width, &mut bytes);
                let block = Block::new(&bytes, width).unwrap();
                let mut back = Vec::new();
                block.unpack(&mut back);
                assert_eq!(back, run, "width {width}, count {count}");
            }
        }
    }

    #[test]
    fn count_up_to_agrees_with_a_linear_walk() {
        let run = entries(100, 3);
        let mut bytes = Vec::new();
        pack(&run, 16, &mut bytes);
        let block = Block::new(&bytes, 16).unwrap();
        for bound in entries(310, 1) {
            let expected = run.iter().filter(|entry| **entry <= bound).count();
            assert_eq!(block.count_up_to(&bound), expected);
            let below = run.iter().filter(|entry| **entry < bound).count();
            assert_eq!(block.count_below(&bound), below);
        }
        assert_eq!(block.count_up_to(&Entry::MAX), 100);
    }

    #[test]
    fn refused_entries_are_counted_as_a_walk_would() {
        for width in [13, 16, 20] {
            for count in [1, 2, 3, 100] {
                let run = entries(count, 1 << 30 | 5);
                let mut bytes = Vec::new();
                pack(&run, width, &mut bytes);
                let block = Block::new(&bytes, width).unwrap();
                let last = |entry: &Entry| entry.bytes()[width - 1];
                for modulus in [1, 2, 7, 255] {
                    let refuses = |[byte]: [u8; 1]| byte % modulus != 0;
                    for (position, max) in (0..=count).zip([0, 1, 5, 50, 1000].iter().cycle()) {
                        let walk = run[..position].iter().rev().take(*max);
                        let expected = walk.take_while(|entry| refuses([last(entry)])).count();
                        assert_eq!(block.count_refused(position, *max, refuses), expected);
                    }
                }
                assert_eq!(block.count_refused(1, 1, |_: [u8; ENTRY_BYTES_MAX + 1]| true), 0);
            }
        }
    }

    #[test]
    fn seqs_are_counted_as_a_walk_would() {
        for (width, seq_at) in [(13, 8), (16, 7), (20, 15)] {
            for step in [1, 1 << 20] {
                let run = entries(60, step);
                let mut bytes = Vec::new();
                pack(&run, width, &mut bytes);
                let block = Block::new(&bytes, width).unwrap();
                let is_counted = |seq: Seq| seq.0.is_multiple_of(3);
                let seq = |entry: &&Entry| {
                    let bytes = entry.bytes();
                    is_counted(Seq::from_be5(*bytes[seq_at..].first_chunk().unwrap()))
                };
                for (from, to) in [(0, 60), (0, 0), (7, 8), (13, 59)] {
                    let expected = run[from..to].iter().filter(seq).count();
                    assert_eq!(block.count_seqs(from..to, seq_at, is_counted), expected);
                }
            }
            let mut bytes = Vec::new();
            pack(&entries(1, 7), width, &mut bytes);
            let block = Block::new(&bytes, width).unwrap();
            assert_eq!(block.count_seqs(0..1, seq_at, |seq| seq == Seq::ZERO), 1);
        }
    }

    #[test]
    fn every_cut_fits_and_nothing_is_lost() {
        for full in [true, false] {
            for count in [1, 10, 255, 1000, 5000] {
                let run = entries(count, 1 << 20);
                let mut back = Vec::new();
                let mut bytes = Vec::new();
                cut(&run, 20, 4080, full, |part| {
                    pack(part, 20, &mut bytes);
                    assert!(bytes.len() <= 4080);
                    back.extend_from_slice(part);
                });
                assert_eq!(back, run);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_block_are_refused() {
        for bytes in [&[][..], &[16, 0], &[3, 1, 2], &[0, 1, 2, 3]] {
            assert!(Block::new(bytes, 16).is_none(), "{bytes:?}");
        }
    }
}
