//! A file that only grows, written by calls and read through a map of all it may ever grow to.
//!
//! A read beyond the end of the file would end the process, so everything is held against the
//! length first. The system keeps map and file the same thing.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::error::StoreError;

/// A file and its map.
#[derive(Debug)]
pub(super) struct Mapped {
    file: File,
    map: MmapRaw,
    /// The length of the file when it was last looked at; it never shrinks while it is open.
    len: AtomicU64,
    path: PathBuf,
}

impl Mapped {
    /// Opens a file that exists, to grow to at most `room` bytes.
    ///
    /// # Errors
    ///
    /// If it cannot be opened or mapped.
    pub(super) fn open(path: &Path, room: u64) -> Result<Mapped, StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let file = File::options().read(true).write(true).open(path).map_err(io)?;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let map = MmapOptions::new().len(room).map_raw_read_only(&file).map_err(io)?;
        // Records are rarely read next to each other.
        map.advise(Advice::Random).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        Ok(Mapped { file, map, len: AtomicU64::new(len), path: path.to_owned() })
    }

    /// Returns how long the file can get.
    pub(super) fn room(&self) -> u64 {
        self.map.len() as u64
    }

    /// Returns the file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Returns how long the file is at least.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Returns how much the file takes on the disk.
    pub(super) fn disk_bytes(&self) -> Result<u64, StoreError> {
        let io = |source| StoreError::Io { path: self.path.clone(), source };
        let metadata = self.file.metadata().map_err(io)?;
        Ok((metadata.blocks() * 512).min(metadata.len()))
    }

    /// Returns whether the file reaches up to `end`, also if another process has lengthened it.
    #[inline]
    fn reaches(&self, end: u64) -> bool {
        end <= self.len() || self.reaches_now(end)
    }

    /// Looks at how long the file is.
    pub(super) fn notice_length(&self) {
        self.reaches_now(u64::MAX);
    }

    #[cold]
    fn reaches_now(&self, end: u64) -> bool {
        let Ok(metadata) = self.file.metadata() else { return false };
        self.len.fetch_max(metadata.len().min(self.room()), Ordering::Relaxed);
        end <= self.len()
    }

    /// Returns the address of a byte, which may lie beyond the end of the file.
    #[inline]
    pub(super) fn address(&self, at: u64) -> usize {
        self.map.as_ptr().addr().wrapping_add(at as usize)
    }

    /// Returns the word at a place that is a multiple of eight; others may be writing it.
    #[inline]
    pub(super) fn word(&self, at: u64) -> Option<u64> {
        if !at.is_multiple_of(8) || !self.reaches(at.checked_add(8)?) {
            return None;
        }
        let place = self.map.as_ptr().wrapping_add(at as usize).cast::<u64>();
        // SAFETY: the word lies in the map and in the file, and it is aligned as the map is. It is
        // read as it stands in memory at this moment, as somebody may be writing it.
        Some(u64::from_le(unsafe { place.read_volatile() }))
    }

    /// Returns bytes that nobody writes any more.
    #[inline]
    pub(super) fn bytes(&self, at: u64, len: u64) -> Option<&[u8]> {
        if !self.reaches(at.checked_add(len)?) {
            return None;
        }
        let start = self.map.as_ptr().wrapping_add(at as usize);
        // SAFETY: the bytes lie in the map and in the file, and the caller asks for what stands in
        // whole frames, which are written once.
        Some(unsafe { std::slice::from_raw_parts(start, len as usize) })
    }

    /// Reads bytes that somebody else may be writing; returns how many there are.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn copy(&self, at: u64, into: &mut [u8]) -> Result<usize, StoreError> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StoreError::Io { path: self.path.clone(), source }),
            }
        }
        Ok(done)
    }

    /// Writes bytes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] if the map or the disk has no room for them.
    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let end = at + bytes.len() as u64;
        if end > self.room() {
            return Err(StoreError::Full("the map"));
        }
        self.file
            .write_all_at(bytes, at)
            .map_err(|error| StoreError::of_write(heed::Error::Io(error)))?;
        self.len.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }

    /// Has the disk hold everything that was written.
    ///
    /// # Errors
    ///
    /// If the disk fails: nobody knows then what it holds.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let io = |source| StoreError::Io { path: self.path.clone(), source };
        self.file.sync_data().map_err(io)
    }
}
