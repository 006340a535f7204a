//! What can go wrong with a store that is the operator's or the machine's doing.

use std::path::PathBuf;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// LMDB refused.
    #[error("use the store: {0}")]
    Lmdb(#[from] heed::Error),
    /// A file or folder of the store could not be used.
    #[error("use {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store was written in another format.
    #[error("open {path}: expected store format {expected}, found {found}")]
    Format {
        /// The store's folder.
        path: PathBuf,
        /// The format that this program writes.
        expected: u32,
        /// The format of the store.
        found: u32,
    },
    /// The folder holds an LMDB file that is not a store of ours.
    #[error("open {path}: expected a Chappe store, found another LMDB file")]
    Foreign {
        /// The store's folder.
        path: PathBuf,
    },
    /// A record or block does not have its form.
    #[error("read {what}: the stored bytes do not have the expected form")]
    Damaged {
        /// What was read.
        what: String,
    },
    /// The map or the disk is full.
    #[error("write to the store: {0} is full")]
    Full(&'static str),
    /// A commit failed before, so nothing more is written until the store is opened again.
    #[error("write to the store: an earlier commit failed, so writing has stopped")]
    Poisoned,
    /// The folder is to be filled but is not empty.
    #[error("fill {path}: expected an empty folder, found a store or other files")]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds no backup that can be used.
    #[error("read the backup in {path}: {fault}")]
    Backup {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// It was asked to end before it was done.
    #[error("finish: it was stopped")]
    Stopped,
    /// Another process uses the store and the operation needs it alone.
    #[error("lock {path}: another process is using the store")]
    Busy {
        /// The store's folder.
        path: PathBuf,
    },
}

impl StoreError {
    /// Returns what the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            StoreError::Format { expected, found, .. } if found > expected => {
                Some("the store was written by a newer relay; use that version".to_owned())
            }
            StoreError::Format { path, .. } => {
                Some(format!("copy the folder, then run `relay upgrade --data {}`", path.display()))
            }
            StoreError::Foreign { .. } => Some("choose an empty folder with --data".to_owned()),
            StoreError::Damaged { .. } => Some(
                "stop the relay and run `relay check --repair`, or restore a backup".to_owned(),
            ),
            StoreError::Full("the map") => {
                Some("raise store.map_bytes, or delete events and compact".to_owned())
            }
            StoreError::Full(_) => Some("free disk space, then go on".to_owned()),
            StoreError::Poisoned => {
                Some("look at the first error in the log, then restart".to_owned())
            }
            StoreError::Busy { .. } => Some(
                "stop the relay and other commands that use this folder, then run it again"
                    .to_owned(),
            ),
            StoreError::Lmdb(heed::Error::Io(error))
                if error.kind() == std::io::ErrorKind::OutOfMemory =>
            {
                Some("lower store.map_bytes, or raise the limit of address space".to_owned())
            }
            StoreError::Occupied { .. } => {
                Some("move what is there out of the way, or choose another folder".to_owned())
            }
            StoreError::Backup { .. } => Some(
                "name a folder that `relay backup` has written, or back up into an empty one"
                    .to_owned(),
            ),
            StoreError::Lmdb(_) | StoreError::Io { .. } | StoreError::Stopped => None,
        }
    }

    /// Returns the error of a failed write, with a full map or disk named as such.
    pub(super) fn of_write(error: heed::Error) -> StoreError {
        const ENOSPC: i32 = 28;
        match &error {
            heed::Error::Mdb(heed::MdbError::MapFull) => StoreError::Full("the map"),
            heed::Error::Io(io) if io.raw_os_error() == Some(ENOSPC) => {
                StoreError::Full("the disk")
            }
            _ => StoreError::Lmdb(error),
        }
    }
}
