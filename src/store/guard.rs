//! A guard: who decides about events of a batch where they are stored, one after the other, and
//! what else belongs into the same transaction.
//!
//! What follows from an event is stored with it or not at all, and the next event of the batch is
//! judged by what the one before has brought about. Without a guard a commit pays for a branch.

use super::error::StoreError;
use super::snapshot::View;
use crate::nostr::{EventRef, Reject, Verified};
use crate::seq::Seq;

/// Looks at the events of a batch in the order in which they are stored.
///
/// What it learns holds only if the commit returns; until then it is a guess.
pub(crate) trait Guard {
    /// Tells whether there is anything to decide about an event.
    fn concerns(&self, event: &EventRef<'_>) -> bool;

    /// Decides about an event, with everything before it in sight.
    fn check(&mut self, view: &View<'_>, event: &EventRef<'_>) -> Result<Pass, StoreError>;

    /// Takes up an event that passed as [`Pass::Noted`] and was stored, or as [`Pass::Unkept`].
    fn note(&mut self, view: &View<'_>, event: &EventRef<'_>) -> Result<Sequel, StoreError>;

    /// Says what else is to be done at the end of the batch.
    fn finish(&mut self, view: &View<'_>) -> Result<Sequel, StoreError>;
}

/// How an event passes a guard.
#[derive(Debug)]
pub(crate) enum Pass {
    /// As if there were no guard.
    Plainly,
    /// It is stored, and the guard wants to know.
    Noted,
    /// It has its effect, but is neither stored nor passed on.
    Unkept,
    /// It does not.
    Refused(Reject),
}

/// What else is done in a transaction.
#[derive(Debug, Default)]
pub(crate) struct Sequel {
    /// Events to be buried, before the others are stored.
    pub(crate) buried: Vec<Seq>,
    /// Events to be stored, in order.
    pub(crate) events: Vec<Verified>,
}
