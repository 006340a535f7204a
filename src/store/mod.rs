//! The event store: a log of records, indexes of packed blocks, and the young end in memory.
//!
//! ```text
//!            commit                    merge (sorted, in steps)
//!  batch ------------> log, a file ----------------------------> index blocks, in LMDB
//!           |                                                       ^
//!           +--------> overlay (memory) ----------------------------+
//!
//!  snapshot = LMDB read transaction + overlay; a scan joins both, newest first
//!  an entry names a seq -> places tell where in the log -> the record, read where it lies
//! ```
//!
//! The only door to LMDB (`heed`) and to `flatbuffers`. It knows nothing of sockets, sessions or
//! policy. The layout byte by byte, the commit and what each kind of crash can and cannot do:
//! `schema/FORMAT.md`.
//!
//! Reading order: `key`, `block`, `sums`, `overlay`; the files: `frame`, `mapped`, `places`, `log`,
//! `extend`, `lock`, `rooms`, `env`, `recover`; reading: `record`, `snapshot`, `scan`, `cells`, `time_tree`; writing:
//! `rules`, `vanish`, `fresh`, `prepared`, `guard`, `change`, `write`, `facts`, `merge`, `erase`,
//! `sweep`, `reclaim`; the whole: `check`, `mend`, `compact`, `info`; from the log alone: `frames`, `replay`, `repair`,
//! `backup`, `upgrade`.

mod key;

mod block;
mod overlay;
mod sums;

mod env;
mod error;
mod extend;
mod frame;
mod lock;
mod log;
mod mapped;
mod places;
mod record;

mod point;
mod scan;
mod snapshot;

mod cells;
mod time_tree;

mod change;
mod erase;
mod facts;
mod fresh;
mod guard;
mod merge;
mod prepared;
mod recover;
mod rooms;
mod rules;
mod sweep;
mod vanish;
mod write;

mod backup;
mod check;
mod compact;
mod frames;
mod info;
mod mend;
mod reclaim;
mod repair;
mod replay;
mod upgrade;

#[cfg(test)]
mod tests;

pub use self::backup::{BackupReport, VerifyReport, backed_up_at, backup, restore, verify};
pub use self::check::{CheckReport, check};
pub use self::compact::{CompactReport, compact};
pub use self::env::{Durability, FORMAT, Store, StoreOptions};
pub use self::error::StoreError;
pub use self::facts::FactChange;
pub(crate) use self::guard::{Guard, Pass, Sequel};
pub use self::info::{Living, StoreInfo, StoreSize, TableInfo, info, living, size};
pub(crate) use self::key::Range;
pub use self::key::{Index, Salt};
pub use self::mend::{MendReport, mend};
pub(crate) use self::point::Located;
pub use self::prepared::{Prepared, Preparer};
pub use self::reclaim::{Chore, ReclaimReport, Stage, Tend, Watch, reclaim};
pub use self::repair::{RepairReport, repair};
pub use self::rules::Outcome;
pub(crate) use self::scan::{Found, Scan};
pub use self::snapshot::Snapshot;
pub(crate) use self::snapshot::View;
pub(crate) use self::sums::Extra;
pub use self::sums::KINDS_SET_ASIDE;
pub(crate) use self::time_tree::{TimeTree, TreeError};
pub use self::upgrade::{Upgraded, upgrade};
pub use self::write::{Committed, Writer};
