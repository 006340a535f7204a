//! This relay as a client of others: bringing two stores into agreement, and keeping them there.
//!
//! ```text
//!              +--------------------- Engine (pure) ---------------------+
//!  peer <----> | reconciling, or pages  ->  download, upload     live    | <----> own store
//!              +---------------------------------------------------------+
//! ```
//!
//! The [`Engine`] is told what the peer says, what was found in the own store and what time it is,
//! and answers with an [`Action`] at a time: it has no socket, thread, store or clock. [`run`] is
//! the loop around it that has: a websocket, the [`Library`] that reads the store, and the
//! [`Intake`] that verifies events on all cores and stores them in batches.
//!
//! What differs is found by reconciliation (NIP-77) where the peer knows it, else by going through
//! what the peer shows, page by page. Either way many requests are under way at once, in sizes that
//! the peer's information document, its answers and its refusals teach ([`Allowance`]).
//!
//! A connection that breaks loses nothing: what was stored is stored, and the next one finds out
//! what is still missing.
//!
//! Reading order: `terms`, `outbox`, `allowance`, `identity`, `reconciling`, `download`, `upload`, `pages`,
//! `live`, `engine`; then `library`, `intake`, `drive`; `status`, `origin` and
//! `roster` for the peers of a relay that serves.

mod terms;

mod allowance;
mod outbox;

mod download;
mod identity;
mod live;
mod pages;
mod reconciling;
mod upload;

mod engine;

mod drive;
mod intake;
mod library;

mod origin;
mod roster;
mod status;

#[cfg(test)]
mod tests;

pub use self::allowance::Allowance;
pub use self::drive::{Ended, PeerOptions, Watcher, run};
pub use self::engine::{Engine, EngineOptions};
pub use self::intake::{Intake, IntakeCounts, IntakeThreads, Judge};
pub use self::library::{Library, Onlooker, Tail};
pub use self::origin::{Origin, came_from, each_from};
pub use self::roster::{Plan, Roster};
pub use self::status::{PeerNote, PeerStatus, Scope};
pub use self::terms::{
    Action, Agreement, Asked, Counts, Direction, Fault, Moment, Provenance, Span, Stage, Transfer,
};
