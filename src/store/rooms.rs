//! How much address space the store's maps take.

use super::env::StoreOptions;
use super::log::Room;
use crate::sys;

/// How the address space is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rooms {
    pub(super) tables: u64,
    pub(super) log: Room,
}

impl Rooms {
    pub(super) fn of(options: &StoreOptions) -> Rooms {
        Rooms::of_bytes(options.map_bytes.unwrap_or_else(map_bytes_possible))
    }

    /// A record takes some three times as much as its entries, or more, and its place at most a
    /// twentieth.
    pub(super) fn of_bytes(bytes: u64) -> Rooms {
        let part = bytes.max(MAP_BYTES_MIN) / 16;
        Rooms { tables: part * 5, log: Room { log: part * 10, places: part } }
    }
}

/// Returns how much address space the map may take: where there is little, half of it is left to
/// everything else.
fn map_bytes_possible() -> u64 {
    let mut bytes = MAP_BYTES_MAX;
    if sys::has_address_space(bytes) {
        return bytes;
    }
    while bytes > MAP_BYTES_MIN && !sys::has_address_space(bytes) {
        bytes /= 2;
    }
    let bytes = (bytes / 2).max(MAP_BYTES_MIN);
    tracing::warn!(
        map_bytes = bytes,
        "address space is limited, so the store can hold no more than that; raise the limit \
         (ulimit -v), or set store.map_bytes"
    );
    bytes
}

/// Address space asked for first; nothing of it is used before there is data.
const MAP_BYTES_MAX: u64 = 1 << 40;
const MAP_BYTES_MIN: u64 = 64 << 20;
