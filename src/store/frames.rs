//! Reading a log from a file alone, frame by frame from its beginning: what backups, restoring and
//! repairing go by, which cannot rely on tables and places.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::env::damaged;
use super::error::StoreError;
use super::frame::{Gap, HEADER_BYTES, Prefix, Tail, WORD_BYTES, Whole, frame_bytes};
use super::log::{FIRST_FRAME, MAGIC};
use crate::seq::Seq;

/// The frames of a file.
#[derive(Debug)]
pub(super) struct Frames {
    file: File,
    path: PathBuf,
    /// Where the next frame begins.
    tail: Tail,
    words: u64,
}

impl Frames {
    /// Opens a log at its first frame.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is no log.
    pub(super) fn open(path: &Path) -> Result<Frames, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let words = file.metadata().map_err(io)?.len() / WORD_BYTES as u64;
        let mut frames =
            Frames { file, path: path.to_owned(), tail: Tail { at: FIRST_FRAME, chain: 0 }, words };
        let mut head = [[0; WORD_BYTES]; 2];
        if frames.read(0, head.as_flattened_mut())? < 2 * WORD_BYTES || head[0] != MAGIC {
            return Err(damaged("the log"));
        }
        frames.tail.chain = u64::from_le_bytes(head[1]);
        Ok(frames)
    }

    /// Returns where the next frame begins.
    pub(super) fn tail(&self) -> Tail {
        self.tail
    }

    /// Goes on behind another tail.
    pub(super) fn go_to(&mut self, tail: Tail) {
        self.tail = tail;
    }

    /// Returns whether both are ends of frames of this log, the first no later than the second.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn has(&mut self, first: Tail, second: Tail) -> Result<bool, StoreError> {
        self.go_to(first);
        while self.skip_gap()?.is_some() {}
        let follows = self.tail.at < second.at && self.next(&mut Vec::new())?.is_some();
        Ok(self.tail == second || follows)
    }

    /// Returns how long the file is, in words.
    pub(super) fn words(&self) -> u64 {
        self.words
    }

    /// Reads the next frame, if there is a whole one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn next<'b>(
        &mut self,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<Whole<'b>>, StoreError> {
        if !self.fetch(self.tail.at, buffer)? {
            return Ok(None);
        }
        let Some(whole) = Whole::new(buffer, self.tail.chain) else { return Ok(None) };
        self.tail = whole.tail(self.tail);
        Ok(Some(whole))
    }

    /// Steps over a gap, if there is one; returns it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn skip_gap(&mut self) -> Result<Option<Gap>, StoreError> {
        let gap = self.gap(self.tail.at)?;
        if let Some(gap) = gap {
            self.tail = Tail { at: self.tail.at + gap.words, chain: gap.chain };
        }
        Ok(gap)
    }

    /// Returns the gap at a place, if there is one.
    fn gap(&self, at: u64) -> Result<Option<Gap>, StoreError> {
        let mut header = [0; HEADER_BYTES];
        let is_there = self.read(at * WORD_BYTES as u64, &mut header)? == HEADER_BYTES;
        Ok(if is_there { Gap::read(&header) } else { None })
    }

    /// Returns the rest of the gap that a tail lies in: what begins there was swept since.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn gap_around(&mut self, tail: Tail) -> Result<Option<Gap>, StoreError> {
        let mut buffer = Vec::new();
        while self.tail.at <= tail.at {
            if let Some(gap) = self.gap(self.tail.at)? {
                let end = self.tail.at + gap.words;
                if self.tail.at < tail.at && tail.at + HEADER_BYTES as u64 / 8 <= end {
                    return Ok(Some(Gap { words: end - tail.at, ..gap }));
                }
                self.tail = Tail { at: end, chain: gap.chain };
            } else if self.next(&mut buffer)?.is_none() {
                break;
            }
        }
        Ok(None)
    }

    /// Returns the record that begins at a place, if it is still there.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn record<'b>(
        &self,
        seq: Seq,
        place: u64,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<&'b [u8]>, StoreError> {
        let at = place * WORD_BYTES as u64;
        let mut word = [0; WORD_BYTES];
        self.read(at, &mut word)?;
        let prefix = Prefix::read(word);
        buffer.clear();
        buffer.resize(prefix.words.saturating_sub(1) * WORD_BYTES, 0);
        let len = self.read(at + WORD_BYTES as u64, buffer)?;
        Ok((prefix.seq == seq && len == buffer.len()).then_some(buffer.as_slice()))
    }

    /// Looks for the next frame behind damage: one that is not whole, or does not follow the one
    /// before, and that a whole one follows. Gives it as it is. What begins at `end` or behind it is
    /// not looked for: where the log ends, frames that a crash has left behind are no part of it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn salvage<'b>(
        &mut self,
        end: u64,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<Whole<'b>>, StoreError> {
        let mut next = Vec::new();
        for at in self.tail.at..end.min(self.words) {
            if !self.fetch(at, buffer)? {
                continue;
            }
            let behind = at + (buffer.len() / WORD_BYTES) as u64;
            let chain = Whole::as_it_says(buffer).tail(Tail { at, chain: 0 }).chain;
            let is_followed = behind == end
                || self.gap(behind)?.is_some()
                || self.fetch(behind, &mut next)? && Whole::new(&next, chain).is_some();
            if is_followed {
                self.tail = Tail { at: behind, chain };
                return Ok(Some(Whole::as_it_says(buffer)));
            }
        }
        Ok(None)
    }

    /// Reads what says to be a frame; returns whether there is one.
    fn fetch(&self, at: u64, buffer: &mut Vec<u8>) -> Result<bool, StoreError> {
        let place = at * WORD_BYTES as u64;
        let mut header = [0; HEADER_BYTES];
        if self.read(place, &mut header)? < HEADER_BYTES {
            return Ok(false);
        }
        let Some(len) = frame_bytes(&header) else { return Ok(false) };
        if at + (len / WORD_BYTES) as u64 > self.words {
            return Ok(false);
        }
        buffer.clear();
        buffer.resize(len, 0);
        Ok(self.read(place, buffer)? == len)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(StoreError::Io { path: self.path.clone(), source }),
            }
        }
        Ok(done)
    }
}
