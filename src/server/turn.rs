//! Turns on a core: who has had more done here than others is not read until they had their turn.
//!
//! All of one address count as one, those of an address that is not measured each connection by
//! itself. What a client has done for it is counted in steps of about 10 nanoseconds. After a turn's
//! worth ahead of the others its connection stands in line; as long as nobody else wants anything
//! its next turn comes at once. So one who asks for little waits for one turn of others, however
//! many they are and whatever they ask for.
//!
//! A core goes round: what its sockets have brought, then the one who is next in line. What is worked
//! out at once in a round is bounded, so that a round is short however many come at the same moment;
//! who is ahead waits for another one.

use std::rc::Rc;

use super::connection::{Connection, Hold};
use super::core::{Core, More};
use super::guard;
use crate::net::Flow;

impl Core {
    /// Notes that a connection has begun.
    pub(super) fn begin_turns(&self, connection: &Connection) {
        self.turns.borrow_mut().charge(connection.party, BEGINNING_STEPS);
    }

    /// Notes what was done here for a connection, in steps.
    #[inline]
    pub(super) fn spend(&self, connection: &Connection, steps: u64) {
        let spent = connection.spent.get() + steps;
        connection.spent.set(spent);
        if spent >= NOTED_STEPS {
            self.note_spent(connection);
        }
    }

    fn note_spent(&self, connection: &Connection) {
        let spent = connection.spent.replace(0);
        if self.turns.borrow_mut().charge(connection.party, spent) > TURN_STEPS {
            connection.is_ahead.set(true);
        }
        let was_over = self.is_round_over();
        self.round_spent.set(self.round_spent.get() + spent);
        if self.is_round_over() && !was_over {
            // The next round begins with who attends to the bell.
            self.inbox.ring();
        }
    }

    /// Returns whether so much was done since the last turn was given that more has to wait.
    fn is_round_over(&self) -> bool {
        self.round_spent.get() > ROUND_STEPS
    }

    /// Returns whether a connection has to wait for its turn with what costs more than to look at it.
    #[inline]
    pub(super) fn must_wait(&self, connection: &Connection) -> bool {
        if !connection.is_ahead.get() {
            let turns = self.turns.borrow();
            // Another connection of its party may have brought that ahead.
            let is_crowded = turns.count() > 0 || self.is_round_over();
            let is_ahead = is_crowded && turns.ahead(connection.party) > TURN_STEPS;
            connection.is_ahead.set(is_ahead);
        }
        connection.is_ahead.get()
    }

    /// Decides whether to go on with a connection, or whether its turn is over.
    #[inline]
    pub(super) fn turn_after(&self, connection: &Connection, flow: Flow) -> Flow {
        match flow {
            Flow::Continue | Flow::Pause if connection.is_ahead.get() => self.line_up(connection),
            _ => flow,
        }
    }

    /// Has a connection wait for its turn.
    pub(super) fn line_up(&self, connection: &Connection) -> Flow {
        if !connection.has_hold(Hold::Turn) {
            self.turns.borrow_mut().push(connection.party, 0, connection.key);
            // Who gives turns may be asleep.
            self.inbox.ring();
        }
        connection.hold(Hold::Turn)
    }

    /// Begins another round with the turn of who is next in line; returns whether there may be
    /// others.
    pub(super) fn give_turn(&self) -> More {
        self.round_spent.set(0);
        let next = {
            let mut turns = self.turns.borrow_mut();
            let next = turns.pop();
            let now = self.relay.clock.now_secs();
            if next.is_none() && self.turns_forgotten.get() + REMEMBERED_SECS <= now {
                self.turns_forgotten.set(now);
                turns.forget();
            }
            next
        };
        let Some((_, key)) = next else { return More::No };
        let connection = self.connections.borrow().of(key).cloned();
        if let Some(connection) = connection {
            self.begin_turn(&connection);
        }
        More::Yes
    }

    fn begin_turn(&self, connection: &Rc<Connection>) {
        connection.is_ahead.set(false);
        let ban_left =
            connection.session.borrow().allowance().ban_left(self.relay.clock.now_secs());
        match ban_left {
            Some(secs) => guard::expel(connection, secs),
            None => {
                connection.release(Hold::Turn);
                self.start_waiting(connection);
            }
        }
    }
}

/// What a message costs before anything is done about it: reading, decoding, parsing.
pub(super) const MESSAGE_STEPS: u64 = 200;
/// Bytes of a message that cost a step.
pub(super) const MESSAGE_BYTES_PER_STEP: u64 = 16;
/// What it costs to find out whether an event is stored.
pub(super) const LOOKUP_STEPS: u64 = 200;
/// What it costs to verify an event.
pub(super) const VERIFY_STEPS: u64 = 3_000;
/// What it costs to render an event and to write it, beside its bytes.
pub(super) const SENT_STEPS: u64 = 100;
/// What a connection takes in one turn: about as long as everybody else may wait for it.
const TURN_STEPS: u64 = 40_000;
/// What is worked out at once in one round of a core, about a millisecond. Those who are ahead wait
/// for the next one.
const ROUND_STEPS: u64 = 100_000;
/// What a connection has taken is noted in pieces of this size: looking its party up for each
/// message would cost as much as all else about turns.
const NOTED_STEPS: u64 = 10_000;
/// How much a connection begins with that it has taken. It is more than a turn: where somebody
/// waits, those who have just come wait too.
const BEGINNING_STEPS: u64 = 2 * TURN_STEPS;
/// For how long it is remembered what was taken while nobody has waited.
const REMEMBERED_SECS: u64 = 2;
