//! Where records lay when they were last read, so that the processor can fetch them ahead.
//!
//! To find a record means to go down a tree, and at the bottom nearly every step waits for memory.
//! Who knows which records it will read soon tells so, first with [`Nearby::approach`] and nearer to
//! the time with [`Nearby::expect`], and when it reads them they are at hand.
//!
//! It is a guess and nothing else: addresses are never read through, only prefetched, so one that is
//! out of date costs a little time. So it follows no commit, and a table of fixed size does: events
//! share places, the one that was read last has it.
//!
//! Sketch: a lookup of a record that is in no cache waits four or five times for 100 ns. Eight
//! records ahead, these overlap.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::seq::Seq;
use crate::sys;

/// Places of records.
#[derive(Debug)]
pub(super) struct Nearby {
    /// For each seq, by its last bits: the cache line of its record, relative to `base`.
    lines: Box<[AtomicU32]>,
    /// The line of the first record that was noted.
    base: AtomicUsize,
}

impl Nearby {
    pub(super) fn new() -> Nearby {
        let lines = std::iter::repeat_with(AtomicU32::default).take(PLACES).collect();
        Nearby { lines, base: AtomicUsize::new(0) }
    }

    /// Notes where a record was found.
    #[inline]
    pub(super) fn note(&self, seq: Seq, record: &[u8]) {
        // LMDB keeps the key right before the value.
        let line = record.as_ptr().addr().wrapping_sub(KEY_BYTES) / LINE_BYTES;
        let mut base = self.base.load(Ordering::Relaxed);
        if base == 0 {
            base = line;
            self.base.store(base, Ordering::Relaxed);
        }
        let place = line.wrapping_sub(base).wrapping_add(MIDDLE) as u32;
        let slot = &self.lines[seq.0 as usize % PLACES];
        // Not written when it is known: other cores have the line too.
        if slot.load(Ordering::Relaxed) != place {
            slot.store(place, Ordering::Relaxed);
        }
    }

    /// Has fetched what is known of a record that will be expected.
    #[inline]
    pub(super) fn approach(&self, seq: Seq) {
        sys::prefetch(std::ptr::from_ref(&self.lines[seq.0 as usize % PLACES]).addr());
    }

    /// Has a record fetched that is about to be read.
    #[inline]
    pub(super) fn expect(&self, seq: Seq) {
        let Some(line) = self.line(seq.0) else { return };
        let page = line & !(LINES_PER_PAGE - 1);
        sys::prefetch(page * LINE_BYTES);
        for ahead in 0..LINES_AHEAD {
            sys::prefetch((line + ahead) * LINE_BYTES);
        }
        // The search within the page also looks at the keys of the neighbours.
        for neighbour in [seq.0.wrapping_sub(2), seq.0.wrapping_sub(1), seq.0.wrapping_add(1)] {
            if let Some(line) = self.line(neighbour)
                && line & !(LINES_PER_PAGE - 1) == page
            {
                sys::prefetch(line * LINE_BYTES);
            }
        }
    }

    fn line(&self, seq: u64) -> Option<usize> {
        let place = self.lines[seq as usize % PLACES].load(Ordering::Relaxed);
        if place == 0 {
            return None;
        }
        let base = self.base.load(Ordering::Relaxed);
        Some(base.wrapping_add(place as usize).wrapping_sub(MIDDLE))
    }
}

/// Two megabytes of memory.
const PLACES: usize = 1 << 19;
/// Lines before `base` have places too; together that is 256 GB of the map.
const MIDDLE: usize = 1 << 31;
const LINE_BYTES: usize = 64;
const LINES_PER_PAGE: usize = 4096 / LINE_BYTES;
/// Of the record itself: its fixed part and some text; the rest the processor fetches by itself.
const LINES_AHEAD: usize = 5;
/// LMDB's node header and the seq.
const KEY_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_record_is_known_after_it_was_noted() {
        let nearby = Nearby::new();
        let memory = vec![0_u8; 1 << 16];
        let line_of = |at: usize| (memory[at..].as_ptr().addr() - KEY_BYTES) / LINE_BYTES;
        assert_eq!(nearby.line(7), None);
        for (seq, at) in [(7, 30_000), (8, 100), (7 + PLACES as u64, 60_000), (9, 64)] {
            nearby.note(Seq(seq), &memory[at..]);
            assert_eq!(nearby.line(seq), Some(line_of(at)));
        }
        assert_eq!(nearby.line(7), Some(line_of(60_000)));
        for seq in [0, 7, 8, 10, u64::MAX] {
            nearby.expect(Seq(seq));
        }
    }
}
