//! Session: one client's conversation, without I/O, threads or a clock.
//!
//! A message's text goes in; an answer that needs nothing else comes out at once, everything else
//! as an [`Action`] for the core to carry out. What the client has open is kept here; what leaves
//! passes [`visible`].

mod admission;
mod answer;
mod conversation;
mod visible;

pub use admission::EventLimits;
pub use answer::write_outcome;
pub use conversation::{Action, Session, SessionLimits, Subscription};
pub use visible::{Reader, is_shown, visible};
