//! Policy: who may do what, and how much of it. Decisions only, about facts that are given: nothing
//! here reads the store, a file or the clock.

mod kinds;
mod trust;
mod words;

mod retention;
mod rules;

mod rate;

mod quota;

mod allowance;
mod crowd;

pub use self::allowance::{Allowance, Misconduct, too_much};
pub use self::crowd::{Crowd, Tally, Turned, Visit, Visitor};
pub use self::kinds::{ByKind, KindRange, KindsError, amount, parse_by_kind, period, plain};
pub use self::quota::{Activity, BanRules, Meters, Quotas, Rates, Scope};
pub use self::rate::{Meter, Rate, RateError, Wait};
pub use self::retention::{Resident, RetentionRule, RuleError, SizeLimit, Survey};
pub use self::rules::WriteRules;
pub use self::trust::{TrustRules, Web};
pub use self::words::Words;
