//! The locks of the folder: who has the store open, and who has it alone.

use std::fs::{self, File};
use std::path::Path;

use super::error::StoreError;

/// Opens and locks `store.lock` in the folder, shared with other users of the store.
pub(super) fn lock_folder(path: &Path) -> Result<File, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(io)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .open(path.join(LOCK_FILE))
        .map_err(io)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Busy { path: path.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Takes the lock of the folder alone.
pub(super) fn lock_alone(path: &Path) -> Result<File, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let lock = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path.join(LOCK_FILE))
        .map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Busy { path: path.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Opens and locks `reading.lock` in the folder, shared with others who read.
pub(super) fn lock_reading(path: &Path) -> Result<File, StoreError> {
    let path = path.join("reading.lock");
    let io = |source| StoreError::Io { path: path.clone(), source };
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).read(true).open(&path);
    let file = file.map_err(io)?;
    file.lock_shared().map_err(io)?;
    Ok(file)
}

/// The file whose lock says who uses the store.
pub(super) const LOCK_FILE: &str = "store.lock";

/// Nobody else has the store open.
pub(super) struct Alone<'s>(&'s File);

impl<'s> Alone<'s> {
    /// Makes a shared lock one that nobody else shares, if nobody does at this moment.
    pub(super) fn try_be(reading: &'s File) -> Option<Alone<'s>> {
        if reading.try_lock().is_ok() {
            return Some(Alone(reading));
        }
        // What fails to become exclusive may be no lock at all.
        let _ = reading.lock_shared();
        None
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // Whoever opens the store waits for this.
        let _ = self.0.lock_shared();
    }
}
