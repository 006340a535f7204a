//! Witnesses: what follows from stored events is brought up to date before anybody learns of them.

use crate::fanout::Published;
use crate::seq::Seq;

/// What one commit did.
#[derive(Debug)]
pub struct Witnessed<'a> {
    /// The events that were stored, in the order of the log, and the ephemeral ones among them.
    pub published: &'a [Published],
    /// The stored events that ceased to be: replaced, deleted, vanished or expired. Of commits of
    /// other processes, which are witnessed too, only what they stored is known.
    pub buried: &'a [Seq],
}

/// Sees every commit after it returned, and before the event goes to the ring and its author gets
/// an answer. Called by the writer thread, so it must neither wait nor take long.
pub trait Witness: Send {
    /// Takes note of a commit.
    fn witness(&mut self, commit: &Witnessed<'_>);
}
