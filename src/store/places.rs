//! Where the record of each event lies: a table of words by seq, in a file beside the log.
//!
//! It is a function of the log, which says of each record whose it is. So it is written before the
//! frame that it tells of and not waited for: after a crash the frames behind the merge mark are
//! read again, and what is older was on the disk before the mark moved.

use std::path::Path;

use super::error::StoreError;
use super::frame::WORD_BYTES;
use super::mapped::Mapped;
use crate::seq::Seq;
use crate::sys;

/// The table: the word at a seq is where its record begins, in words of the log, or zero.
#[derive(Debug)]
pub(super) struct Places {
    file: Mapped,
}

impl Places {
    /// Opens the table, to grow to at most `room` bytes.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub(super) fn open(path: &Path, room: u64) -> Result<Places, StoreError> {
        Ok(Places { file: Mapped::open(path, room)? })
    }

    /// Returns where a record begins, if there is one.
    #[inline]
    pub(super) fn of(&self, seq: Seq) -> Option<u64> {
        self.file.word(seq.0 * WORD_BYTES as u64).filter(|place| *place != 0)
    }

    /// Has the place of a record fetched, for who will ask for it.
    #[inline]
    pub(super) fn approach(&self, seq: Seq) {
        sys::prefetch(self.file.address(seq.0.wrapping_mul(WORD_BYTES as u64)));
    }

    /// Returns whether the table goes up to a seq.
    pub(super) fn reach(&self, seq: Seq) -> bool {
        self.file.word(seq.0 * WORD_BYTES as u64).is_some()
    }

    /// Notes where records lie; those with seqs one after the other in one call to the system.
    ///
    /// # Errors
    ///
    /// As [`Mapped::write`].
    pub(super) fn note(&self, places: impl Iterator<Item = (Seq, u64)>) -> Result<(), StoreError> {
        let mut first = Seq::ZERO;
        let mut words: Vec<[u8; WORD_BYTES]> = Vec::with_capacity(places.size_hint().0);
        for (seq, place) in places {
            if seq.0 != first.0 + words.len() as u64 {
                self.write(first, &words)?;
                words.clear();
            }
            if words.is_empty() {
                first = seq;
            }
            words.push(place.to_le_bytes());
        }
        self.write(first, &words)
    }

    fn write(&self, first: Seq, words: &[[u8; WORD_BYTES]]) -> Result<(), StoreError> {
        if words.is_empty() {
            return Ok(());
        }
        self.file.write(first.0 * WORD_BYTES as u64, words.as_flattened())
    }

    /// Forgets a record.
    ///
    /// # Errors
    ///
    /// As [`Mapped::write`].
    pub(super) fn clear(&self, seq: Seq) -> Result<(), StoreError> {
        self.write(seq, &[[0; WORD_BYTES]])
    }

    /// Forgets records; those near each other in one call to the system, which writes what lies
    /// between once more.
    ///
    /// The caller holds LMDB's write lock: nobody else notes or forgets a place.
    ///
    /// # Errors
    ///
    /// As [`Mapped::write`].
    pub(super) fn clear_all(&self, seqs: &[Seq]) -> Result<(), StoreError> {
        let mut first = Seq::ZERO;
        let mut words: Vec<[u8; WORD_BYTES]> = Vec::new();
        for seq in seqs {
            let next = first.0 + words.len() as u64;
            if words.is_empty() || !(next..=next + WORDS_BETWEEN).contains(&seq.0) {
                self.write(first, &words)?;
                words.clear();
                first = *seq;
            } else {
                let between = (next..seq.0).map(|seq| self.of(Seq(seq)).unwrap_or(0));
                words.extend(between.map(u64::to_le_bytes));
            }
            words.push([0; WORD_BYTES]);
        }
        self.write(first, &words)
    }

    /// Makes the table reach up to a seq.
    ///
    /// # Errors
    ///
    /// As [`Mapped::write`].
    pub(super) fn lengthen(&self, last: Seq) -> Result<(), StoreError> {
        if self.reach(last) { Ok(()) } else { self.clear(last) }
    }

    /// Returns how long the file can get, in bytes.
    pub(super) fn room(&self) -> u64 {
        self.file.room()
    }

    /// Returns how long the file is at least, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.file.len()
    }

    /// Has the disk hold the table.
    ///
    /// # Errors
    ///
    /// As [`Mapped::sync`].
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync()
    }
}

/// Places between two that are forgotten which are rather written once more than left out: a page.
const WORDS_BETWEEN: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_forgotten_at_once_all_else_keeps_its_place() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("places");
        std::fs::write(&path, [0; WORD_BYTES]).expect("a file");
        let places = Places::open(&path, 1 << 20).expect("a table");
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model: Vec<u64> = (0..9_000).collect();
        places.note((1..9_000).map(|seq| (Seq(seq), seq))).expect("there is room");
        for _ in 0..200 {
            let base = random.u64(1..9_000);
            let spread = [2, 100, 5_000][random.usize(..3)];
            let mut seqs: Vec<u64> =
                (0..random.usize(..20)).map(|_| base + random.u64(..spread)).collect();
            seqs.retain(|seq| *seq < 9_000);
            if random.bool() {
                seqs.sort_unstable();
            }
            seqs.iter().for_each(|seq| model[*seq as usize] = 0);
            let seqs: Vec<Seq> = seqs.into_iter().map(Seq).collect();
            places.clear_all(&seqs).expect("there is room");
            let found: Vec<u64> = (0..9_000).map(|seq| places.of(Seq(seq)).unwrap_or(0)).collect();
            assert_eq!(found, model, "seed {seed}, {seqs:?}");
        }
    }
}
