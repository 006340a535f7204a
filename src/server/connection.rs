//! One connection of a core: who it is, what it has open, and how its messages become work.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use super::core::Core;
use super::lane::Lane;
use super::negentropy::Reconciling;
use super::query::Queries;
use super::turn::{MESSAGE_BYTES_PER_STEP, MESSAGE_STEPS, Turn};
use crate::address::client_number;
use crate::net::{CloseCode, Conversation, Ending, Flow, Outbound};
use crate::nostr::Event;
use crate::nostr::message;
use crate::policy::{Allowance, Party};
use crate::session::{Action, Challenge, Rules, Session};

/// Names one connection of one core, past its end: answers may come late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionKey {
    /// The place in the core's list; used again after the connection is gone.
    pub(super) slot: u32,
    /// Tells apart those who had the place one after the other.
    pub(super) serial: u32,
}

impl ConnectionKey {
    /// Returns the key as the number that travels with a submission.
    pub(super) fn to_number(self) -> u64 {
        u64::from(self.serial) << 32 | u64::from(self.slot)
    }

    /// Returns the key that a number stands for.
    pub(super) fn from_number(number: u64) -> ConnectionKey {
        let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
        ConnectionKey {
            slot: u32::from_be_bytes([e, f, g, h]),
            serial: u32::from_be_bytes([a, b, c, d]),
        }
    }
}

/// What a core keeps of one connection.
pub(super) struct Connection {
    pub(super) key: ConnectionKey,
    pub(super) client: IpAddr,
    /// With whom it takes turns.
    pub(super) party: Party,
    /// What was done for it and is not noted yet, in steps, and whose turn it is.
    pub(super) spent: Cell<u64>,
    pub(super) turn: Cell<Turn>,
    /// Why it is not read, each a bit.
    holds: Cell<u8>,
    pub(super) outbound: Outbound,
    pub(super) session: RefCell<Session>,
    pub(super) queries: RefCell<Queries>,
    /// Events that plugins are asked about and whose fate is not known.
    pub(super) unjudged: Cell<u32>,
    /// The reconciliations whose clients are to speak.
    pub(super) reconciling: RefCell<Vec<Reconciling>>,
    /// What keeps its events in order while some are under way.
    pub(super) lane: RefCell<Option<Arc<Lane>>>,
}

/// Why a connection is not read for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// It has sent more than it may.
    Rest = 1,
    /// The writer, or the plugin stage, has no room for its events.
    Room = 2,
    /// The pool has so much to do for it.
    Pool = 4,
    /// Plugins have so many of its events to judge.
    Judges = 8,
    /// It is the turn of others.
    Turn = 16,
}

impl Connection {
    /// Does not read on for this reason until it is released from it.
    pub(super) fn hold(&self, why: Hold) -> Flow {
        self.holds.set(self.holds.get() | why as u8);
        self.outbound.pause_reading();
        Flow::Pause
    }

    /// Returns whether it is not read for this reason.
    pub(super) fn has_hold(&self, why: Hold) -> bool {
        self.holds.get() & why as u8 != 0
    }

    /// Reads on, if nothing else is against it.
    pub(super) fn release(&self, why: Hold) {
        if self.has_hold(why) {
            self.holds.set(self.holds.get() & !(why as u8));
            if self.holds.get() == 0 {
                self.outbound.resume_reading();
            }
        }
    }
}

/// The connections of one core.
#[derive(Default)]
pub(super) struct Connections {
    slots: Slab<Rc<Connection>>,
    opened: u32,
}

impl Connections {
    fn add(
        &mut self,
        core: u32,
        client: IpAddr,
        outbound: Outbound,
        session: Session,
    ) -> Rc<Connection> {
        self.opened = self.opened.wrapping_add(1);
        let vacant = self.slots.vacant_entry();
        let slot = u32::try_from(vacant.key()).expect("sockets are fewer than 2^32");
        let key = ConnectionKey { slot, serial: self.opened };
        let party = match session.allowance().is_measured() {
            true => Party::Address(client_number(client)),
            false => Party::Connection(core, key.to_number()),
        };
        let connection = Rc::new(Connection {
            key,
            client,
            party,
            spent: Cell::new(0),
            turn: Cell::default(),
            holds: Cell::new(0),
            outbound,
            session: RefCell::new(session),
            queries: RefCell::default(),
            unjudged: Cell::new(0),
            reconciling: RefCell::default(),
            lane: RefCell::default(),
        });
        vacant.insert(Rc::clone(&connection));
        connection
    }

    fn remove(&mut self, key: ConnectionKey) {
        self.slots.remove(key.slot as usize);
        if self.slots.is_empty() {
            self.slots = Slab::new();
        }
    }

    /// Returns the connection of this key, unless it is over.
    pub(super) fn of(&self, key: ConnectionKey) -> Option<&Rc<Connection>> {
        self.in_slot(key.slot).filter(|connection| connection.key == key)
    }

    /// Returns all of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rc<Connection>> {
        self.slots.iter().map(|(_, connection)| connection)
    }

    /// Returns the connection that has this place.
    pub(super) fn in_slot(&self, slot: u32) -> Option<&Rc<Connection>> {
        self.slots.get(slot as usize)
    }
}

/// The core's side of the conversation with one client.
pub(super) struct Talk {
    core: Rc<Core>,
    connection: Rc<Connection>,
    /// The events of the read that is being handed over.
    burst: Vec<Event>,
}

impl Talk {
    /// Begins the conversation of a connection that was accepted.
    pub(super) fn begin(
        core: &Rc<Core>,
        client: IpAddr,
        allowance: Allowance,
        outbound: Outbound,
    ) -> Talk {
        core.metrics.connections_opened_total.add(1);
        tracing::debug!(client = %core.name_of(client), "a client has connected");
        let challenge = Challenge::new((core.relay.random)());
        let mut greeting = Vec::with_capacity(GREETING_BYTES);
        let session = {
            let settings = core.settings.borrow();
            Session::begin(challenge, &settings.session, allowance, &mut greeting)
        };
        outbound.push_text(&greeting);
        let connection = core.connections.borrow_mut().add(core.number, client, outbound, session);
        core.begin_turns(&connection);
        Talk { core: Rc::clone(core), connection, burst: Vec::new() }
    }

    /// Returns the connection.
    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    fn publish_burst(&mut self) -> Flow {
        if self.burst.is_empty() {
            return Flow::Continue;
        }
        let events = std::mem::take(&mut self.burst);
        let flow = self.core.publish(&self.connection, events);
        self.core.turn_after(&self.connection, flow)
    }
}

impl Conversation for Talk {
    fn must_wait(&self) -> bool {
        self.core.is_round_over_for(&self.connection)
    }

    fn left_waiting(&mut self) {
        self.core.line_up(&self.connection);
    }

    fn written(&mut self, bytes: usize) {
        self.core.note_written(&self.connection, bytes);
    }

    fn text(&mut self, message: &str) -> Flow {
        let (core, connection) = (&self.core, &self.connection);
        core.metrics.messages_total.add(1);
        let now = core.relay.clock.now_secs();
        let rest_secs = core.charge_bytes(connection, message.len(), now);
        core.spend(connection, MESSAGE_STEPS + message.len() as u64 / MESSAGE_BYTES_PER_STEP);
        let mut answer = core.answer.borrow_mut();
        answer.clear();
        let (action, refused) = {
            let settings = core.settings.borrow();
            let mut standing = core.standing.borrow_mut();
            let rules = Rules { limits: &settings.session, standing: standing.current() };
            let mut session = connection.session.borrow_mut();
            (session.message(message, rules, now, &mut answer), session.take_refused())
        };
        if !answer.is_empty() {
            connection.outbound.push_text(&answer);
        }
        drop(answer);
        if let Some(prefix) = refused {
            core.note_question_refused(prefix);
        }
        match action {
            Action::Done => {}
            Action::Refused(prefix) => core.note_refusal(prefix),
            Action::Publish(event) => {
                self.burst.push(event);
                if self.burst.len() >= BURST_EVENTS_MAX {
                    return self.publish_burst();
                }
            }
            Action::Authenticate(event) => core.authenticate(connection, event),
            Action::Petition(event) => core.petition(connection, event),
            Action::Invite { subscription, replaced } => {
                if let Some(replaced) = replaced {
                    core.close_subscription(connection, replaced);
                }
                core.invite(connection, subscription);
            }
            Action::Open { subscription, replaced, filters } => {
                if let Some(replaced) = replaced {
                    core.close_subscription(connection, replaced);
                }
                core.open_subscription(connection, subscription, filters, now);
            }
            Action::Close { subscription } => core.close_subscription(connection, subscription),
            Action::Count { query, filters } => core.count(connection, query, filters),
            Action::Reconcile(asked) => core.reconcile(connection, asked),
        }
        let flow = core.flow_after(connection, rest_secs, now);
        // A burst of events is not torn apart: it ends soon, and the turn with it.
        if self.burst.is_empty() { core.turn_after(connection, flow) } else { flow }
    }

    fn binary(&mut self) -> Flow {
        let text = "invalid: binary messages are not spoken here";
        self.connection.outbound.push_text_with(|out| message::write_notice(out, text));
        Flow::Close(CloseCode::Unsupported)
    }

    fn too_long(&mut self) {
        let max = self.core.settings.borrow().message_bytes_max;
        let text = format!("invalid: message is longer than {max} bytes");
        self.connection.outbound.push_text_with(|out| message::write_notice(out, &text));
    }

    fn burst_end(&mut self) -> Flow {
        self.publish_burst()
    }

    fn drained(&mut self) {
        self.core.resume_queries(&self.connection);
    }

    fn closed(&mut self, ending: Ending) {
        let open: Vec<u32> = {
            let session = self.connection.session.borrow();
            session.subscriptions().iter().map(|subscription| subscription.number).collect()
        };
        for subscription in open {
            self.core.close_subscription(&self.connection, subscription);
        }
        tracing::debug!(
            client = %self.core.name_of(self.connection.client),
            ?ending,
            "a client has gone"
        );
        self.core.connections.borrow_mut().remove(self.connection.key);
        self.core.metrics.connections_closed_total.add(1);
        self.core.metrics.slow_readers_total.add(u64::from(ending == Ending::SlowReader));
    }
}

/// A burst is split above this, so that the first answers do not wait for the last event.
const BURST_EVENTS_MAX: usize = 256;
/// `["AUTH","..."]` with 32 digits, and a little more.
const GREETING_BYTES: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_key_survives_its_number() {
        for (slot, serial) in [(0, 0), (1, 2), (u32::MAX, 3), (4, u32::MAX)] {
            let key = ConnectionKey { slot, serial };
            assert_eq!(ConnectionKey::from_number(key.to_number()), key);
        }
    }
}
