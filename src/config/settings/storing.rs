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

        /// Size of the memory maps, which is the most that the store can ever hold. It takes
        /// address space, not memory or disk. Absent: a terabyte, or half of what there is.
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
        /// except_authors; with from only about what came first from the peers that it names, or
        /// "peers" for all of which that is remembered (provenance). Of them go: those that are older than age (in s, min, h or d), those of
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

section! {
    /// What is done with the store by the clock while the relay serves; nobody waits for it.
    [maintenance] MaintenanceSettings {
        /// Folder for backups, as `relay backup` makes them. Absent: none are made.
        #[key(unit = "", range = Range::Characters(1, 4_096), reload = Yes,
            example = "\"/mnt/backup/relay\"")]
        backup_folder: Option<PathBuf> = None;

        /// How long after one backup the next begins; it copies only what came since.
        #[key(unit = "seconds", range = Range::Integers(1, 31_536_000), reload = Yes)]
        backup_period_secs: u64 = 3_600;

        /// How long after one check of the whole store, as `relay check` makes it, the next begins.
        /// A check reads everything and keeps a CPU core busy. 0: none are made.
        #[key(unit = "seconds", range = Range::Integers(0, 31_536_000), reload = Yes)]
        check_period_secs: u64 = 0;

        /// Whether such a check also mends the indexes, as `relay check --repair` does.
        #[key(unit = "", range = Range::Truth, reload = Yes)]
        check_repairs: bool = false;

        /// How long after one compaction, as `relay compact` makes it while the relay serves, the
        /// next begins. What is mostly dead is given back without it. 0: none are made.
        #[key(unit = "seconds", range = Range::Integers(0, 31_536_000), reload = Yes)]
        compact_period_secs: u64 = 0;

        /// The log tells once a day if so much of the store belongs to events that are gone, which
        /// `relay compact` gives back to the disk. 0: never.
        #[key(unit = "percent", range = Range::Integers(0, 100), reload = Yes)]
        compact_hint_percent: u64 = 50;
    }
}
