//! The order of one connection's events: they reach the writer as they were sent, though several
//! workers verify them at once.
//!
//! A burst goes to the pool in numbered chunks. Whoever has verified a chunk before its turn leaves
//! it here; whoever has the one whose turn it is hands it on, and all that was left behind it. So
//! nobody waits, and a lock is taken once for each chunk. What finds no room goes back to the core,
//! and everything behind it too, until the core has got rid of it.
//!
//! A connection has a lane only from a burst, or a full mailbox, until everything is handed on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ingest::Admitted;

/// The order of one connection's events.
#[derive(Debug, Default)]
pub(super) struct Lane {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Chunks that were numbered.
    begun: u64,
    /// The chunk whose turn it is.
    next: u64,
    /// Chunks that were verified before their turn.
    early: BTreeMap<u64, Vec<Admitted>>,
    /// Events that went back to the core, which still has them.
    returned: usize,
}

/// The lane at the turn of a chunk: what is handed on meanwhile stands in the right order.
pub(super) struct Turn<'l> {
    state: MutexGuard<'l, State>,
    events: Option<Vec<Admitted>>,
}

impl Lane {
    /// Returns the number of a chunk, which must be released, whatever becomes of its events.
    pub(super) fn begin_chunk(&self) -> u64 {
        let mut state = self.state();
        state.begun += 1;
        state.begun - 1
    }

    /// Returns whether everything was handed on.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state();
        state.begun == state.next && state.returned == 0
    }

    /// Returns whether so much is under way that its sender is not read.
    pub(super) fn is_crowded(&self) -> bool {
        let state = self.state();
        state.begun - state.next > CHUNKS_MAX
    }

    /// Notes that the core has an event for which there was no room.
    pub(super) fn note_returned(&self) {
        self.state().returned += 1;
    }

    /// Notes that the core has handed on an event for which there was no room before.
    pub(super) fn note_left(&self) {
        let mut state = self.state();
        state.returned = state.returned.saturating_sub(1);
    }

    /// Leaves the events of a chunk here; returns the turn to hand them on, if it has come.
    pub(super) fn release(&self, chunk: u64, events: Vec<Admitted>) -> Option<Turn<'_>> {
        let mut state = self.state();
        if chunk != state.next {
            state.early.insert(chunk, events);
            return None;
        }
        Some(Turn { state, events: Some(events) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Returns the events of the next chunk that is to be handed on.
    pub(super) fn next_chunk(&mut self) -> Option<Vec<Admitted>> {
        let events = self.events.take()?;
        self.state.next += 1;
        let next = self.state.next;
        self.events = self.state.early.remove(&next);
        Some(events)
    }

    /// Returns whether the core has events that come first.
    pub(super) fn is_behind(&self) -> bool {
        self.state.returned > 0
    }

    /// Notes that an event goes back to the core.
    pub(super) fn note_returned(&mut self) {
        self.state.returned += 1;
    }
}

/// How many chunks of a connection may be under way before it is not read.
const CHUNKS_MAX: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{Keypair, Kind, Verifier};

    fn admitted(number: u64) -> Admitted {
        let event =
            Keypair::from_secret([7; 32]).expect("a key").sign_event(number, Kind(1), &[], "");
        Admitted::new(Verifier::with_keys(1).verify(event).expect("valid")).expect("admitted")
    }

    #[test]
    fn chunks_are_handed_on_in_the_order_of_their_numbers_whoever_is_first() {
        let mut random = fastrand::Rng::with_seed(9);
        let events: Vec<u64> = (0..12).collect();
        for _ in 0..200 {
            let lane = Lane::default();
            let mut chunks: Vec<u64> = (0..12).map(|_| lane.begin_chunk()).collect();
            random.shuffle(&mut chunks);
            let mut handed = Vec::new();
            for chunk in chunks {
                assert!(!lane.is_empty());
                let Some(mut turn) = lane.release(chunk, vec![admitted(chunk)]) else { continue };
                while let Some(events) = turn.next_chunk() {
                    handed.extend(events.iter().map(|it| it.event().created_at));
                }
            }
            assert_eq!(handed, events);
            assert!(lane.is_empty());
        }
    }

    #[test]
    fn what_went_back_comes_first() {
        let lane = Lane::default();
        let [first, second] = [lane.begin_chunk(), lane.begin_chunk()];
        let mut turn = lane.release(first, vec![admitted(1)]).expect("it is the first");
        assert!(!turn.is_behind());
        turn.note_returned();
        assert!(turn.next_chunk().is_some() && turn.next_chunk().is_none());
        drop(turn);
        let mut turn = lane.release(second, Vec::new()).expect("it is the next");
        assert!(turn.is_behind());
        assert!(turn.next_chunk().is_some() && turn.next_chunk().is_none());
        drop(turn);
        assert!(!lane.is_empty());
        lane.note_left();
        assert!(lane.is_empty());
    }

    #[test]
    fn a_lane_is_crowded_while_too_much_is_under_way() {
        let lane = Lane::default();
        let chunks: Vec<u64> = (0..=CHUNKS_MAX).map(|_| lane.begin_chunk()).collect();
        assert!(lane.is_crowded());
        lane.release(chunks[0], Vec::new()).expect("its turn").next_chunk();
        assert!(!lane.is_crowded());
    }
}
