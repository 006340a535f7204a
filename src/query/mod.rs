//! Queries: from filters to events, newest first, ties by lowest id (I5).
//!
//! ```text
//!  filters -> plan   which indexes could answer a filter
//!          -> race   the candidates advance in turns of growing budget; the first to finish wins
//!          -> walk   one candidate: scans merged by time, hits checked against their records
//!          -> cursor several filters merged and de-duplicated; paused and resumed between slices
//! ```
//!
//! No statistics are kept and none are needed: the worst case of the race is a small multiple of
//! the best plan, whatever the data. Between slices nothing of the store is held (I6).

mod plan;

mod walk;

mod race;

mod cursor;

mod find;
mod hll;

mod count;
mod explain;

mod reconcile;

mod stretch;

#[cfg(test)]
mod tests;

pub use self::count::{CountRules, Counted, answer_count, count};
pub use self::cursor::{Budget, Cursor, Hint, PlanName, QueryLimits, Step};
pub use self::explain::{PlanReport, PlanRow, explain};
pub use self::find::find_all;
pub use self::hll::Registers;
pub use self::reconcile::{Progress, ReconcileLimits, Reconciliation};
pub use self::stretch::{Place, Stretch, cut, place_of, visit};
