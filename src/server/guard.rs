//! What clients are held to, on their core: who is let in, what they are charged, and what follows
//! from misconduct. The decisions themselves are `policy`'s.

use std::net::IpAddr;
use std::rc::Rc;

use super::connection::{Connection, ConnectionKey, Hold};
use super::core::{Core, Relay};
use super::settings::Naming;
use super::work::Metered;
use crate::metrics::{REASONS, place_of};
use crate::net::{CloseCode, Flow, Gate, Pass, Refusal, Trust};
use crate::nostr::{Kind, Prefix, Reject, Verified, message};
use crate::policy::{
    Activity, Allowance, Crowd, Misconduct, Quotas, Rate, Scope, Turned, too_much,
};
use crate::query::Cursor;
use crate::store::Outcome;

/// The gate of one core.
pub(super) struct Door(Rc<Core>);

impl Door {
    pub(super) fn of(core: &Rc<Core>) -> Door {
        Door(Rc::clone(core))
    }
}

impl Gate for Door {
    fn trust(&self, peer: IpAddr) -> Trust {
        let settings = self.0.settings.borrow();
        let proxies = &settings.proxies;
        match proxies.naming {
            _ if !proxies.trusted.has(peer) => Trust::Client,
            Naming::Header => Trust::Forwarding,
            Naming::Protocol => Trust::Prefixing,
        }
    }

    fn enter(&self, client: IpAddr) -> Result<Pass, Refusal> {
        let relay = &self.0.relay;
        // Before all exemptions: somebody has said so of this very address.
        if self.0.is_blocked(client) {
            relay.crowd.tally().shut_out_one();
            tracing::debug!(client = %self.0.name_of(client), "a blocked client was turned away");
            return Err(refusal(Turned::Denied));
        }
        let settings = self.0.settings.borrow();
        let quotas = &settings.session.quotas;
        if quotas.exempt.has(client) {
            return Ok(Box::new(Allowance::unlimited()));
        }
        match relay.crowd.enter(client, quotas, relay.clock.now_secs()) {
            Ok(visit) => Ok(Box::new(Allowance::of(&relay.crowd, visit))),
            Err(turned) => {
                let client = self.0.name_of(client);
                if let Turned::Caught(secs) = turned {
                    tracing::warn!(%client, secs, "an address was banned: it connects too often");
                } else {
                    tracing::debug!(%client, ?turned, "a connection was turned away");
                }
                Err(refusal(turned))
            }
        }
    }
}

fn refusal(turned: Turned) -> Refusal {
    let (status, line, wait_secs) = match turned {
        Turned::Denied => (403, "this address is not served", None),
        Turned::Banned(secs) | Turned::Caught(secs) => {
            (403, "this address is banned for a while", Some(secs))
        }
        Turned::Full(_) => (429, "too many connections from this address", None),
        Turned::TooFast(wait) => (429, "connections come too fast", Some(wait.0)),
    };
    Refusal { status, line, wait_secs }
}

/// Returns what the gate gave to a connection.
pub(super) fn allowance_of(pass: Pass) -> Allowance {
    *pass.downcast().expect("the gate gives nothing else")
}

/// The connections that are not read for a while, because more came than may.
#[derive(Debug, Default)]
pub(super) struct Resting {
    until: Vec<(u64, ConnectionKey)>,
    /// The second in which it was last looked who has rested.
    looked: u64,
}

impl Resting {
    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }
}

impl Core {
    fn is_blocked(&self, client: IpAddr) -> bool {
        let mut standing = self.standing.borrow_mut();
        standing.current().moderation.as_ref().is_some_and(|it| it.blocks(client))
    }

    /// Closes the connections of addresses that are blocked.
    pub(super) fn expel_blocked(&self) {
        for connection in self.connections.borrow().iter() {
            if self.is_blocked(connection.client) {
                connection.outbound.close(CloseCode::Policy, "this address is not served");
            }
        }
    }

    /// Charges a connection for what it has sent; returns for how many seconds it has to rest.
    #[inline]
    pub(super) fn charge_bytes(&self, connection: &Connection, bytes: usize, now: u64) -> u64 {
        let session = connection.session.borrow();
        let settings = self.settings.borrow();
        let quotas = &settings.session.quotas;
        session.allowance().charge(Activity::Bytes, bytes as u64, quotas, now)
    }

    /// Charges a connection for what its questions have cost.
    #[inline]
    pub(super) fn charge_work(&self, connection: &Connection, work: u64) {
        let session = connection.session.borrow();
        if session.allowance().is_measured() {
            let settings = self.settings.borrow();
            let (quotas, now) = (&settings.session.quotas, self.relay.clock.now_secs());
            session.allowance().charge(Activity::Work, work, quotas, now);
        }
    }

    /// Tells whether a query may go on.
    pub(super) fn check_query(
        &self,
        connection: &Connection,
        cursor: &Cursor,
    ) -> Result<(), Reject> {
        let settings = self.settings.borrow();
        let quotas = &settings.session.quotas;
        connection.session.borrow().allowance().check_query(cursor.spent(), quotas)
    }

    /// Decides how to go on with a connection after one of its messages.
    #[inline]
    pub(super) fn flow_after(&self, connection: &Connection, rest_secs: u64, now: u64) -> Flow {
        let ban_left = connection.session.borrow().allowance().ban_left(now);
        match ban_left {
            Some(secs) => {
                let client = self.name_of(connection.client);
                tracing::warn!(%client, secs, "a client was disconnected: its address is banned");
                shut_out(connection, secs)
            }
            None if rest_secs > 0 => self.rest(connection, now.saturating_add(rest_secs)),
            None => Flow::Continue,
        }
    }

    #[cold]
    fn rest(&self, connection: &Connection, until: u64) -> Flow {
        self.resting.borrow_mut().until.push((until, connection.key));
        self.metrics.paused_total.add(1);
        // Who wakes it may be asleep.
        self.inbox.ring();
        connection.hold(Hold::Rest)
    }

    /// Reads on from the connections that have rested.
    pub(super) fn wake_rested(&self, now: u64) {
        let mut resting = self.resting.borrow_mut();
        if resting.is_empty() || resting.looked == now {
            return;
        }
        resting.looked = now;
        let connections = self.connections.borrow();
        resting.until.retain(|(until, key)| {
            let Some(connection) = connections.of(*key).filter(|_| *until <= now) else {
                return *until > now;
            };
            connection.release(Hold::Rest);
            false
        });
    }

    /// Holds against a client what became of its event.
    #[inline]
    pub(super) fn note_outcome(&self, connection: &Connection, outcome: &Result<Outcome, Reject>) {
        if let Err(reject) = outcome {
            self.note_refusal(reject.prefix);
            if reject.prefix == Prefix::Invalid {
                self.note_forgery(connection);
            }
        }
    }

    /// Ends a connection whose address was banned after its message was answered for.
    pub(super) fn expel_banned(&self, connection: &Connection) {
        let now = self.relay.clock.now_secs();
        let ban_left = connection.session.borrow().allowance().ban_left(now);
        if let Some(secs) = ban_left {
            expel(connection, secs);
        }
    }

    /// Counts an event that was refused.
    #[cold]
    pub(super) fn note_refusal(&self, prefix: Prefix) {
        self.metrics.events_refused_total[place_of(&REASONS, prefix.word())].add(1);
    }

    /// Counts a REQ, a COUNT or a reconciliation that was refused.
    #[cold]
    pub(super) fn note_question_refused(&self, prefix: Prefix) {
        self.metrics.questions_refused_total[place_of(&REASONS, prefix.word())].add(1);
    }

    /// Holds a wrong id or signature against a client.
    pub(super) fn note_forgery(&self, connection: &Connection) {
        let settings = self.settings.borrow();
        let (quotas, now) = (&settings.session.quotas, self.relay.clock.now_secs());
        connection.session.borrow().allowance().misbehave(Misconduct::Forgery, quotas, now);
    }
}

#[cold]
fn shut_out(connection: &Connection, secs: u64) -> Flow {
    say_banned(connection, secs);
    Flow::Leave(CloseCode::Policy)
}

/// Ends the connection of an address that is banned.
#[cold]
pub(super) fn expel(connection: &Connection, secs: u64) {
    say_banned(connection, secs);
    connection.outbound.close(CloseCode::Policy, "this address is banned for a while");
}

fn say_banned(connection: &Connection, secs: u64) {
    let text = format!("rate-limited: too much of what is refused; come back in {secs} seconds");
    connection.outbound.push_text_with(|out| message::write_notice(out, &text));
}

impl Connection {
    /// Tells whether quotas hold for this client.
    pub(super) fn metered(&self) -> Metered {
        match self.session.borrow().allowance().is_measured() {
            true => Metered::Yes,
            false => Metered::No,
        }
    }
}

/// How many events authors may send, whoever sends them: known when their signature is right.
pub(super) struct AuthorQuota<'a> {
    crowd: &'a Crowd,
    quotas: &'a Quotas,
    now: u64,
}

impl<'a> AuthorQuota<'a> {
    /// Returns the quota, if there is one and it holds for whoever sends.
    pub(super) fn of(
        relay: &'a Relay,
        quotas: &'a Quotas,
        metered: Metered,
    ) -> Option<AuthorQuota<'a>> {
        let _rate: &Rate = quotas.of(Scope::Key).of(Activity::Event)?;
        (metered == Metered::Yes).then(|| AuthorQuota {
            crowd: &relay.crowd,
            quotas,
            now: relay.clock.now_secs(),
        })
    }

    /// Takes one event of its author.
    ///
    /// # Errors
    ///
    /// The refusal, if there were too many.
    pub(super) fn take(&self, event: Verified) -> Result<Verified, Reject> {
        if event.event().kind == Kind::VANISH {
            return Ok(event);
        }
        let (rates, activity) = (self.quotas.of(Scope::Key), Activity::Event);
        let meters = self.crowd.key(&event.event().pubkey, self.now);
        match meters.take(rates, activity, 1, self.now) {
            Ok(()) => Ok(event),
            Err(wait) => {
                self.crowd.tally().refuse(activity);
                Err(too_much(activity, Scope::Key, wait))
            }
        }
    }
}
