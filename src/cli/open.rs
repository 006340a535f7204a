//! Opens the store that the settings name.

use std::fs::File;
use std::io::Read;

use super::exit::Failure;
use super::serve::delegation;
use crate::clock::Clock;
use crate::config::Settings;
use crate::store::{Store, StoreError, StoreOptions};

/// Opens the store, creating it if there is none.
pub(super) fn open_or_create(settings: &Settings) -> Result<Store, Failure> {
    let store = Store::open(&settings.store.path, &options(settings)?)?;
    Ok(store.treating(delegation(settings)))
}

/// Opens a store that must exist: reading from a mistyped path must not create one there.
pub(super) fn open_existing(settings: &Settings) -> Result<Store, Failure> {
    require_existing(settings)?;
    open_or_create(settings)
}

/// Fails if the settings name no store.
pub(super) fn require_existing(settings: &Settings) -> Result<(), Failure> {
    let path = &settings.store.path;
    let is_empty = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(Failure::failed(format!("failed to read {}: {error}", path.display())));
        }
    };
    if is_empty {
        let error = format!("failed to open {}: there is no store", path.display());
        return Err(Failure::failed(error)
            .hint("name its folder with --data DIR; `relay serve` and `relay import` create one"));
    }
    Ok(())
}

/// Returns how the settings want the store to be opened.
pub(super) fn options(settings: &Settings) -> Result<StoreOptions, Failure> {
    Ok(StoreOptions {
        map_bytes: settings.store.map_bytes,
        durability: settings.store.durability,
        salt: random_salt()?,
    })
}

/// Returns the seconds since 1970, the `now` of a command.
pub(super) fn now() -> u64 {
    Clock::system().now_secs()
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Self::failed(format!("failed to {error}"));
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn random_salt() -> Result<[u8; 16], Failure> {
    let mut salt = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut salt))
        .map_err(|error| Failure::failed(format!("failed to read /dev/urandom: {error}")))?;
    Ok(salt)
}
