//! Where events are kept, and how long.

use std::path::PathBuf;

use super::super::forms::RETENTION;
use super::super::key::{Key, Range, Reload, Section, section};
use super::super::value::Value;
use crate::store::Durability;

section! {
    /// Where events are kept.
    [store] StoreSettings {
        /// Directory of the store, created on first use. A relative path starts at the working
        /// directory of the process. The flag --data sets this key.
        #[key(unit = "", range = Range::Characters(1, 4_096), reload = No)]
        path: PathBuf = PathBuf::from("./data");

        /// Size of the memory map, which is the most that the store can ever hold. It takes
        /// address space, not memory or disk. Absent: chosen by the free space of the disk.
        #[key(unit = "bytes", range = Range::Integers(1 << 20, 1 << 46), reload = No,
            example = "1099511627776")]
        map_bytes: Option<u64> = None;

        /// When an event counts as stored. "sync": every batch is on the disk before its events
        /// are acknowledged. "lazy": the system writes a little later; a power failure can lose
        /// the last seconds, a crash of the relay alone loses nothing.
        #[key(unit = "", range = Range::OneOf(&["sync", "lazy"]), reload = No)]
        durability: Durability = Durability::Sync;

        /// What does not stay for good, as rules: the `[[retention]]` parts of the file say the same.
        /// A rule is about the events of its kinds, without those of except_kinds and
        /// except_authors. Of them go: those that are older than age (in s, min, h or d), those of
        /// an author beyond the newest per_author, and the oldest while the store is larger than
        /// size (in k, M or G bytes, or % of the disk). Requests to delete and to vanish stay.
        #[key(unit = "", range = RETENTION, reload = Yes,
            example = "[\"kinds=7 age=30d\", \"except_kinds=0|3|10000-19999 size=80%\"]")]
        retention: Vec<String> = Vec::new();

        /// How long after one look at all events, by the rules of retention, the next one begins.
        #[key(unit = "seconds", range = Range::Integers(1, 31_536_000), reload = Yes)]
        retention_period_secs: u64 = 600;
    }
}
