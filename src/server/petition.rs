//! What a core hands to the herald, and how its answers reach the client.

use std::rc::Rc;

use super::connection::{Connection, ConnectionKey};
use super::core::Core;
use super::herald::Task;
use crate::ingest::ReplyTo;
use crate::nostr::{Event, Prefix, Reject, message};

impl Core {
    /// Verifies a request to join or to leave (NIP-43), and has it decided.
    pub(super) fn petition(&self, connection: &Connection, event: Event) {
        let id = event.id;
        let handed = match self.verifier.borrow_mut().verify(event) {
            Ok(verified) => {
                let to = connection.key.to_number();
                let from = ReplyTo { core: self.number, connection: to };
                self.ask_herald(Task::Petition { event: verified.into_event(), from })
            }
            Err((_, invalid)) => Err(Reject::invalid(invalid.to_string())),
        };
        if let Err(reject) = handed {
            let outbound = &connection.outbound;
            outbound.push_text_with(|out| message::write_refusal(out, &id, &reject));
        }
    }

    /// Has an invitation made for a subscription that asks for one (NIP-43).
    pub(super) fn invite(&self, connection: &Rc<Connection>, subscription: u32) {
        self.metrics.subscriptions_opened_total.add(1);
        let (core, key) = (self.number, connection.key);
        let task = Task::Invitation { core, connection: key, subscription };
        if let Err(reject) = self.ask_herald(task) {
            self.fail_subscription(connection, subscription, &reject);
        }
    }

    /// Sends what the herald has decided about an event.
    pub(super) fn take_answer(&self, connection: ConnectionKey, answer: &[u8]) {
        if let Some(connection) = self.connections.borrow().of(connection) {
            connection.outbound.push_text(answer);
        }
    }

    /// Sends an invitation; nothing else is stored or will come that matches such a subscription.
    pub(super) fn take_invitation(
        &self,
        connection: ConnectionKey,
        subscription: u32,
        event: &Event,
    ) {
        let connections = self.connections.borrow();
        let Some(connection) = connections.of(connection) else { return };
        let session = connection.session.borrow();
        let Some(open) = session.subscription(subscription) else { return };
        connection.outbound.push_text_with(|out| {
            message::write_event_prefix(out, &open.id);
            event.view().write_json(out);
            out.push(b']');
        });
        connection.outbound.push_text_with(|out| message::write_eose(out, &open.id, None));
    }

    fn ask_herald(&self, task: Task) -> Result<(), Reject> {
        match &self.herald {
            Some(herald) => herald.ask(task),
            None => Err(Reject::new(Prefix::Error, "this relay has no key to sign with")),
        }
    }
}
