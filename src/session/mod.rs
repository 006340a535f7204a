//! Session: one client's conversation, without I/O, threads or a clock.
//!
//! A message's text goes in; an answer that needs nothing else comes out at once, everything else
//! as an [`Action`] for the core to carry out. What the client has open is kept here; what leaves
//! passes [`visible`].

mod identity;
mod visible;

mod repost;

mod admission;
mod answer;
mod conversation;
mod negentropy;

pub use self::negentropy::{NegentropyLimits, Reconcile, Reconciliations, set_aside};
pub use admission::{
    Commitment, EventLimits, ForeignRules, WorkLimits, check_foreign, is_addressed,
};
pub use answer::write_outcome;
pub use conversation::{Action, Authentication, Rules, Session, SessionLimits, Subscription};
pub use identity::{Challenge, OwnNames};
pub use visible::{Reader, RestrictedKinds, Sight, is_shown, sight, visible};
