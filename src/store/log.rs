//! The log: a file to which each commit adds one frame, and in which all records are read in place.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::env::damaged;
use super::error::StoreError;
use super::frame::{
    Frame, Gap, HEADER_BYTES, Prefix, Tail, WORD_BYTES, Whole, erased, frame_bytes,
};
use super::mapped::Mapped;
use super::places::Places;
use crate::seq::Seq;
use crate::sys;

/// The log and the places of its records.
#[derive(Debug)]
pub(super) struct Log {
    file: Mapped,
    places: Places,
}

/// How much address space the files may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) log: u64,
    pub(super) places: u64,
}

/// Which files of the folder are the log: compaction makes others before it removes these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u32);

impl Generation {
    /// Returns where the log lies.
    pub(super) fn log(self, folder: &Path) -> PathBuf {
        folder.join(format!("events.{}.log", self.0))
    }

    /// Returns which log a file is, or the places of which.
    pub(super) fn of(file: &Path) -> Option<Generation> {
        let name = file.file_name()?.to_str()?.strip_prefix("events.")?;
        let number = name.strip_suffix(".log").or_else(|| name.strip_suffix(".places"))?;
        number.parse().ok().map(Generation)
    }

    /// Returns where the places lie.
    pub(super) fn places(self, folder: &Path) -> PathBuf {
        folder.join(format!("events.{}.places", self.0))
    }
}

/// What the file begins with.
pub(super) const MAGIC: [u8; 8] = *b"chappe\0\x03";
/// As LMDB makes its files: for nobody else to read.
pub(super) const FILE_MODE: u32 = 0o600;
/// Words before the first frame: the magic, and the number that the first frame is chained to.
pub(super) const FIRST_FRAME: u64 = 2;

impl Log {
    /// Makes an empty log on the disk; returns its tail. Another empty log there is overwritten.
    ///
    /// # Errors
    ///
    /// If the files cannot be made, or there is a log with records, whose tables are missing.
    pub(super) fn create(
        folder: &Path,
        generation: Generation,
        chain: u64,
    ) -> Result<Tail, StoreError> {
        let make = |path: PathBuf, bytes: &[u8]| {
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(FILE_MODE);
            options
                .open(&path)
                .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
                .map_err(|source| StoreError::Io { path, source })
        };
        let io = |source| StoreError::Io { path: folder.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let bytes = entry.metadata().map_err(io)?.len();
            if Generation::of(&entry.path()).is_some() && bytes > FIRST_FRAME * WORD_BYTES as u64 {
                return Err(damaged("the tables that belong to the log"));
            }
        }
        make(generation.log(folder), [MAGIC, chain.to_le_bytes()].as_flattened())?;
        make(generation.places(folder), &[0; WORD_BYTES])?;
        Ok(Tail { at: FIRST_FRAME, chain })
    }

    /// Opens a log.
    ///
    /// # Errors
    ///
    /// If the files are missing or are something else.
    pub(super) fn open(
        folder: &Path,
        generation: Generation,
        room: Room,
    ) -> Result<Log, StoreError> {
        let file = Mapped::open(&generation.log(folder), room.log)?;
        let places = Places::open(&generation.places(folder), room.places)?;
        if file.word(0) != Some(u64::from_le_bytes(MAGIC)) {
            return Err(damaged("the log"));
        }
        Ok(Log { file, places })
    }

    /// Returns where the records lie.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Returns how much address space the maps take.
    pub(super) fn room(&self) -> u64 {
        self.file.room() + self.places.room()
    }

    /// Returns the file of the log.
    pub(super) fn file(&self) -> &Mapped {
        &self.file
    }

    /// Returns the bytes of a record, with up to seven zeros behind it, if there is one.
    ///
    /// # Errors
    ///
    /// If there is something else at its place.
    #[inline]
    pub(super) fn record(&self, seq: Seq) -> Result<Option<&[u8]>, StoreError> {
        let Some(place) = self.places.of(seq) else { return Ok(None) };
        match self.record_at(place, seq) {
            Some(record) => Ok(Some(record)),
            None => Err(damaged(&format!("the record of event {}", seq.0))),
        }
    }

    /// Returns the bytes of a record that begins at a word, if it is this one's.
    #[inline]
    pub(super) fn record_at(&self, place: u64, seq: Seq) -> Option<&[u8]> {
        let at = place.checked_mul(WORD_BYTES as u64)?;
        let prefix = Prefix::read(self.file.word(at)?.to_le_bytes());
        let len = (prefix.words.checked_sub(1)? * WORD_BYTES) as u64;
        if prefix.seq != seq { None } else { self.file.bytes(at + WORD_BYTES as u64, len) }
    }

    /// Has a record fetched into the processor's cache that is about to be read.
    #[inline]
    pub(super) fn expect(&self, seq: Seq) {
        self.fetch(seq, LINES_AHEAD);
    }

    /// Does the same for the fixed part of a record.
    #[inline]
    pub(super) fn expect_head(&self, seq: Seq) {
        self.fetch(seq, HEAD_LINES);
    }

    #[inline]
    fn fetch(&self, seq: Seq, lines: usize) {
        let Some(place) = self.places.of(seq) else { return };
        let address = self.file.address(place.wrapping_mul(WORD_BYTES as u64));
        for line in 0..lines {
            sys::prefetch(address.wrapping_add(line * LINE_BYTES));
        }
    }

    /// Returns whether something seems to follow the tail.
    #[inline]
    pub(super) fn goes_on(&self, tail: Tail) -> bool {
        self.file.word(tail.at * WORD_BYTES as u64).is_some_and(|prefix| prefix != 0)
    }

    /// Reads the frame behind a tail, if there is a whole one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn frame<'b>(
        &self,
        tail: Tail,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<Whole<'b>>, StoreError> {
        if !self.goes_on(tail) {
            return Ok(None);
        }
        let at = tail.at * WORD_BYTES as u64;
        let mut header = [0; HEADER_BYTES];
        if self.file.copy(at, &mut header)? < HEADER_BYTES {
            return Ok(None);
        }
        let Some(len) = frame_bytes(&header) else { return Ok(None) };
        if self.file.word(at + (len - WORD_BYTES) as u64).is_none() {
            // It says to be longer than the file is.
            return Ok(None);
        }
        buffer.clear();
        buffer.resize(len, 0);
        if self.file.copy(at, buffer)? < len {
            return Ok(None);
        }
        Ok(Whole::new(buffer, tail.chain))
    }

    /// Puts a frame behind the tail; returns the tail behind it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] if there is no room: then the log is as before.
    pub(super) fn append(
        &self,
        frame: &mut Frame,
        tail: Tail,
        opening: u32,
        last: Seq,
    ) -> Result<Tail, StoreError> {
        let is_moved = frame.is_moved();
        if !is_moved {
            // The places first: nobody asks for them before the frame is there, and then they are.
            self.places.note(frame.places(tail))?;
        }
        let (bytes, next) = frame.seal(tail, opening, last);
        self.file.write(tail.at * WORD_BYTES as u64, bytes)?;
        if is_moved {
            // Until the disk has them the records are where they were.
            self.sync()?;
            self.places.note(frame.places(tail))?;
        }
        Ok(next)
    }

    /// Returns what begins at a word where a frame or a gap begins: its length in words, the checksum
    /// that what follows is chained to, and whether it is a frame.
    pub(super) fn head(&self, at: u64) -> Option<(u64, u64, bool)> {
        let mut header = [[0; WORD_BYTES]; HEADER_BYTES / WORD_BYTES];
        for (word, at) in header.iter_mut().zip(at..) {
            *word = self.file.word(at * WORD_BYTES as u64)?.to_le_bytes();
        }
        let header = header.as_flattened().first_chunk()?;
        if let Some(gap) = Gap::read(header) {
            return Some((gap.words, gap.chain, false));
        }
        let words = (frame_bytes(header)? / WORD_BYTES) as u64;
        let chain = self.file.word((at + 1) * WORD_BYTES as u64)?;
        Some((words, chain, true))
    }

    /// Returns the item at a word: whose it is, and its length in words.
    pub(super) fn prefix(&self, at: u64) -> Option<Prefix> {
        self.file.word(at * WORD_BYTES as u64).map(|word| Prefix::read(word.to_le_bytes()))
    }

    /// Returns the seq at a word, where one stands.
    pub(super) fn seq_at(&self, at: u64) -> Option<Seq> {
        self.file.word(at * WORD_BYTES as u64).map(Seq).filter(|seq| *seq <= Seq::MAX)
    }

    /// Overwrites records and forgets their places.
    ///
    /// The caller holds LMDB's write lock.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    pub(super) fn erase(&self, seqs: &[Seq]) -> Result<(), StoreError> {
        for seq in seqs {
            if let Some(place) = self.places.of(*seq)
                && let Some(record) = self.record_at(place, *seq)
            {
                self.file.write((place + 1) * WORD_BYTES as u64, &erased(record))?;
            }
        }
        self.places.clear_all(seqs)
    }

    /// Puts gaps where frames were, from these words on, and gives their parts of the file back to
    /// the disk.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(super) fn clear(
        &self,
        gaps: impl ExactSizeIterator<Item = (u64, Gap)> + Clone,
    ) -> Result<(), StoreError> {
        if gaps.len() == 0 {
            return Ok(());
        }
        for (at, gap) in gaps.clone() {
            self.file.write(at * WORD_BYTES as u64, &gap.bytes())?;
        }
        // The gaps first: without them nothing behind could be read from the log alone.
        self.sync()?;
        gaps.into_iter().try_for_each(|(at, gap)| self.punch(at, gap))
    }

    fn punch(&self, at: u64, gap: Gap) -> Result<(), StoreError> {
        let begin = at * WORD_BYTES as u64;
        let (mut from, to) = (begin + HEADER_BYTES as u64, (at + gap.words) * WORD_BYTES as u64);
        if sys::punch_hole(self.file.file(), from, to - from).is_ok() {
            return Ok(());
        }
        // The file system knows no holes; what was there is erased at least.
        let zeros = vec![0; 64 << 10];
        while from < to {
            let count = (to - from).min(zeros.len() as u64);
            self.file.write(from, &zeros[..count as usize])?;
            from += count;
        }
        Ok(())
    }
}

impl Log {
    /// Has the disk hold everything that was appended.
    ///
    /// # Errors
    ///
    /// As [`Mapped::sync`].
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync()
    }

    /// Has the disk hold the log and the places.
    ///
    /// # Errors
    ///
    /// As [`Mapped::sync`].
    pub(super) fn sync_all(&self) -> Result<(), StoreError> {
        self.file.sync()?;
        self.places.sync()
    }

    /// Has the system begin to write what lies between two tails, so that a sync waits less.
    pub(super) fn start_writing(&self, from: Tail, to: Tail) {
        let bytes = |tail: Tail| tail.at * WORD_BYTES as u64;
        sys::start_writing(self.file.file(), bytes(from), bytes(to) - bytes(from));
    }
}

const LINE_BYTES: usize = 64;
/// Of the record itself: its fixed part and some text; the rest the processor fetches by itself.
const LINES_AHEAD: usize = 5;
/// Of the fixed part alone, wherever in its first line the record begins.
const HEAD_LINES: usize = 4;
