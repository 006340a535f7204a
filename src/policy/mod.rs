//! Policy: who may do what, and how much of it. Decisions only, about facts that are given: nothing
//! here reads the store, a file or the clock.

mod rate;

mod quota;

mod allowance;
mod crowd;

pub use self::allowance::{Allowance, Misconduct, too_much};
pub use self::crowd::{Crowd, Tally, Turned, Visit, Visitor};
pub use self::quota::{Activity, BanRules, Meters, Quotas, Rates, Scope};
pub use self::rate::{Meter, Rate, RateError, Wait};
