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
