//! Turns on a core: who has had more done here than others is not read until they had their turn.
//!
//! All of one address count as one, those of an address that is not measured each connection by
//! itself. What a client has done for it is counted in steps of about 10 nanoseconds. After a turn's
//! worth ahead of the others its connection stands in line; as long as nobody else wants anything
//! its next turn comes at once. So one who asks for little waits for one turn of others, however
//! many they are and whatever they ask for.
//!
//! A core goes round: what its sockets have brought, then the one who is next in line. What is worked
//! out in a round is bounded, so that a round is short however many come at the same moment. Once it is
//! full, nobody is read but who has taken less than the others of late (`policy::Line`); who has brought
//! something stands in line, and it stays in the socket.

use std::rc::Rc;

use super::connection::{Connection, Hold};
use super::core::{Core, More};
use super::guard;
use crate::net::Flow;
use crate::policy::Contention;

/// Whose turn it is, as far as one connection is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    /// Whoever comes.
    #[default]
    Open,
    /// That of others: it stands in line, or will when what it has sent is looked at.
    OfOthers,
    /// Its own, until something was done for it.
    Own,
}

impl Core {
    /// Notes that a connection has begun.
    pub(super) fn begin_turns(&self, connection: &Connection) {
        self.line.borrow_mut().begin(connection.party);
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
        self.fill_round(spent);
        let mut line = self.line.borrow_mut();
        let is_contended = line.count() > 0 || self.round_spent.get() > ROUND_STEPS;
        let contention = if is_contended { Contention::Some } else { Contention::None };
        line.charge(connection.party, spent, contention);
        if line.is_ahead(connection.party) {
            connection.turn.set(Turn::OfOthers);
        } else if connection.turn.get() == Turn::Own {
            connection.turn.set(Turn::Open);
        }
    }

    /// Notes that so many bytes were written to the socket of a connection. What they cost it was noted
    /// before.
    #[inline]
    pub(super) fn note_written(&self, connection: &Connection, bytes: usize) {
        if connection.turn.get() == Turn::Own {
            connection.turn.set(Turn::Open);
        }
        self.fill_round(WRITE_STEPS + bytes as u64 / WRITTEN_BYTES_PER_STEP);
    }

    fn fill_round(&self, spent: u64) {
        let before = self.round_spent.get();
        self.round_spent.set(before + spent);
        if before <= ROUND_STEPS && before + spent > ROUND_STEPS {
            // The next round begins with who attends to the bell.
            self.inbox.ring();
        }
    }

    /// Returns whether so much was done since the last turn was given that a connection has to wait
    /// whose turn it is not.
    #[inline]
    pub(super) fn is_round_over_for(&self, connection: &Connection) -> bool {
        let spent = self.round_spent.get();
        spent > ROUND_STEPS
            && connection.turn.get() != Turn::Own
            && (spent > ROUND_STEPS_OF_MODEST || !self.line.borrow().is_modest(connection.party))
    }

    /// Returns whether a connection has to wait for its turn with what costs more than to look at it.
    #[inline]
    pub(super) fn must_wait(&self, connection: &Connection) -> bool {
        if connection.turn.get() == Turn::Open {
            // Another connection of its party may have brought that ahead.
            let is_ahead = self.line.borrow().is_ahead(connection.party);
            if is_ahead || self.is_round_over_for(connection) {
                connection.turn.set(Turn::OfOthers);
            }
        }
        connection.turn.get() == Turn::OfOthers
    }

    /// Decides whether to go on with a connection, or whether its turn is over.
    #[inline]
    pub(super) fn turn_after(&self, connection: &Connection, flow: Flow) -> Flow {
        match flow {
            Flow::Continue | Flow::Pause if connection.turn.get() == Turn::OfOthers => {
                self.line_up(connection)
            }
            _ => flow,
        }
    }

    /// Has a connection wait for its turn.
    pub(super) fn line_up(&self, connection: &Connection) -> Flow {
        if !connection.has_hold(Hold::Turn) {
            self.line.borrow_mut().push(connection.party, connection.key);
            // Who gives turns may be asleep.
            self.inbox.ring();
        }
        connection.hold(Hold::Turn)
    }

    /// Begins another round, in which nothing was done yet.
    pub(super) fn begin_round(&self) {
        self.round_spent.set(0);
    }

    /// Begins another round with the turn of who is next in line; returns whether there may be
    /// others.
    pub(super) fn give_turn(&self) -> More {
        self.begin_round();
        let now = self.relay.clock.now_secs();
        if self.turns_forgotten.get() + REMEMBERED_SECS <= now {
            self.turns_forgotten.set(now);
            self.line.borrow_mut().forget();
        }
        let next = self.line.borrow_mut().pop();
        let Some(key) = next else { return More::No };
        let connection = self.connections.borrow().of(key).cloned();
        if let Some(connection) = connection {
            self.begin_turn(&connection);
        }
        More::Yes
    }

    fn begin_turn(&self, connection: &Rc<Connection>) {
        connection.turn.set(Turn::Own);
        let ban_left =
            connection.session.borrow().allowance().ban_left(self.relay.clock.now_secs());
        match ban_left {
            Some(secs) => guard::expel(connection, secs),
            None => {
                connection.release(Hold::Turn);
                // It may be against something else that it is read.
                connection.outbound.resume_writing();
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
/// What it costs to write to a socket once, beside the bytes.
const WRITE_STEPS: u64 = 500;
/// Bytes written to a socket that cost a step.
const WRITTEN_BYTES_PER_STEP: u64 = 32;
/// What is worked out at once in one round of a core, some tenths of a millisecond.
const ROUND_STEPS: u64 = 30_000;
/// The same for those who have taken less than others, about a millisecond.
const ROUND_STEPS_OF_MODEST: u64 = 100_000;
/// What a connection has taken is noted in pieces of this size: looking its party up for each
/// message would cost as much as all else about turns.
const NOTED_STEPS: u64 = 2_500;
/// For how long it is remembered at least who has taken what.
const REMEMBERED_SECS: u64 = 2;
