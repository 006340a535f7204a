//! The way of verified events into a relay that serves, for who is no client of it: its peers.
//!
//! Who serves implements [`Entrance`], who brings events implements [`Answers`]; they know nothing
//! else of each other.

use std::sync::Arc;

use super::handle::Reply;
use crate::fanout::Waker;
use crate::metrics::exposition::Tells;
use crate::nostr::{Reject, Verified};
use crate::store::FactChange;

/// By what terms an event enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryTerms {
    /// As if one of the relay's clients had published it: every rule for writing holds.
    AsClients,
    /// It was taken elsewhere by rules that are good enough.
    Plain,
}

/// A verified event of a peer, on its way in.
#[derive(Debug)]
pub struct Entry {
    /// The event.
    pub event: Verified,
    /// What it is held to.
    pub terms: EntryTerms,
    /// The address of the peer, as plugins are told.
    pub peer: Arc<str>,
    /// What tells it from others in [`Answers::take`]: the number of the connection there.
    pub ticket: u64,
}

/// Why an event did not enter.
#[derive(Debug)]
pub enum Turned {
    /// It never will.
    Refused(Reject),
    /// There is no room for it at the moment.
    Full(Box<Entry>),
}

/// Where events enter a relay that serves.
pub trait Entrance: Send + Sync {
    /// Judges an event and sends it on its way. What becomes of it is told to [`Answers`] later,
    /// once for each event that is let in.
    ///
    /// # Errors
    ///
    /// If it is not let in.
    fn enter(&self, entry: Entry) -> Result<(), Turned>;

    /// Returns a number that is another one once events may be let in that were refused.
    fn version(&self) -> u64;

    /// Sends on what was let in and found no room further on; to be called now and then.
    fn retry(&self);

    /// Changes facts of the store, in one transaction; returns whether that was done.
    fn keep(&self, rows: Vec<FactChange>) -> bool;

    /// Has this called whenever events were stored; the first one counts.
    fn watch(&self, waker: Waker);

    /// Has this told beside all else that the relay tells of itself; the first one counts.
    fn show(&self, tells: Arc<dyn Tells>);

    /// Says who is told what became of events; the first one counts.
    fn tell(&self, answers: Arc<dyn Answers>);
}

/// Who is told what became of events.
pub trait Answers: Send + Sync {
    /// Takes outcomes; it must be cheap and never block.
    fn take(&self, replies: Vec<Reply>);
}
