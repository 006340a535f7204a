//! Policy: who may do what, and how much of it. Decisions only, about facts that are given: nothing
//! here reads the store, a file or the clock.
//!
//! What was decided about authors, readers and events is a [`Standing`], the whole of it at one
//! moment; it judges events for `session::admission` and says to `session::visible` what is withheld
//! from whom. Each concern is a part of its own, absent where it is off, and plugs in at these two
//! places.

pub mod groups;

mod kinds;
mod named;
mod trust;
mod words;

mod retention;
mod rules;

mod rate;

mod plugin;

mod quota;

mod allowance;
mod crowd;

mod invite;

mod members;

mod admins;
mod authorization;
mod moderation;

mod standing;

mod standings;

mod line;
mod turns;

pub use self::admins::{Admin, AdminError, Admins, Permissions, Right};
pub use self::allowance::{Allowance, Misconduct, too_much};
pub use self::authorization::{
    HttpRequest, Replays, Unauthorized, check_authorization, read_authorization,
};
pub use self::crowd::{Crowd, Tally, Turned, Visit, Visitor};
pub use self::invite::{InviteId, InviteKey, InviteTerms};
pub use self::kinds::{ByKind, KindRange, KindsError, amount, parse_by_kind, period, plain};
pub use self::line::{Contention, Line};
pub use self::members::{Circle, Invites, Membership, MembershipRules, MembershipTerms, Roles};
pub use self::moderation::{Moderation, Subject, SubjectError};
pub use self::named::{NameClaim, NameRules, Named};
pub use self::plugin::{AnswerError, PluginAnswer, PluginRequest, PluginSource, PluginVerdict};
pub use self::quota::{Activity, BanRules, Meters, Quotas, Rates, Scope};
pub use self::rate::{Meter, Rate, RateError, Wait};
pub use self::retention::{ANY_PEER, Resident, RetentionRule, RuleError, SizeLimit, Survey};
pub use self::rules::WriteRules;
pub use self::standing::Standing;
pub use self::standings::{Follower, Standings};
pub use self::trust::{TrustRules, Web};
pub use self::turns::{Party, Turns};
pub use self::words::Words;
