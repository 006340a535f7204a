//! Messages between a client and this relay: NIP-01, NIP-42, NIP-45, NIP-77.
//!
//! `relay` is the other way round: where this relay is the client of another. `read` turns one text
//! frame into a [`ClientMessage`] or into what to answer instead, `write`
//! renders the relay's own messages. Frames and connections are not known here.

mod read;
mod relay;
mod salvage;
mod subscription;
mod write;

use super::event::Event;
use super::filter::Filter;
use super::reject::Reject;

pub use relay::{
    RelayMessage, write_close, write_event, write_neg_close, write_neg_open, write_proof,
    write_req, write_req_of_ids,
};
pub use subscription::SubscriptionId;
pub use write::{
    Count, EoseHint, write_auth, write_closed, write_count, write_eose, write_event_prefix,
    write_neg_err, write_neg_err_max, write_neg_msg, write_notice, write_ok, write_refusal,
};

/// What a client wants; text that is only looked at once is borrowed from the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// Publish an event.
    Event(Event),
    /// Find stored events and keep delivering those that come.
    Req {
        /// How the client names it, in place of any open one of this name.
        subscription: SubscriptionId,
        /// At least one; an event has to match any of them.
        filters: Vec<Filter>,
    },
    /// End a subscription.
    Close {
        /// Which one.
        subscription: SubscriptionId,
    },
    /// Prove to be somebody (NIP-42).
    Auth(Event),
    /// Count stored events (NIP-45).
    Count {
        /// How the client names it; these names are not those of subscriptions.
        query: SubscriptionId,
        /// At least one; an event has to match any of them.
        filters: Vec<Filter>,
    },
    /// Begin to reconcile (NIP-77).
    NegOpen {
        /// How the client names it; these names are not those of subscriptions.
        subscription: SubscriptionId,
        /// Which events are compared.
        filter: Filter,
        /// The first binary message, supposed to be hexadecimal of either case.
        message: &'a str,
    },
    /// Continue to reconcile.
    NegMsg {
        /// Which reconciliation.
        subscription: SubscriptionId,
        /// The next binary message, supposed to be hexadecimal of either case.
        message: &'a str,
    },
    /// End a reconciliation.
    NegClose {
        /// Which one.
        subscription: SubscriptionId,
    },
}

/// A frame that is no legal message, as the answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// It names nothing that could be answered.
    Notice(String),
    /// An event was given.
    Ok {
        /// Its id as the client spelled it, legal or not; `?` if it has none.
        id: String,
        /// What is wrong with it.
        reject: Reject,
    },
    /// A subscription or count was asked for.
    Closed {
        /// Its name as the client spelled it, legal or not.
        subscription: String,
        /// What is wrong with it.
        reject: Reject,
    },
    /// A reconciliation was meant.
    NegErr {
        /// Its name as the client spelled it, legal or not.
        subscription: String,
        /// What is wrong with it.
        reject: Reject,
    },
}

impl<'a> ClientMessage<'a> {
    /// Parses the text of one frame.
    pub fn parse(frame: &'a str) -> Result<ClientMessage<'a>, MessageError> {
        read::parse(frame)
    }
}

impl MessageError {
    /// Appends the answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            MessageError::Notice(text) => write::write_notice(out, text),
            MessageError::Ok { id, reject } => write::write_refusal_of_text(out, id, reject),
            MessageError::Closed { subscription, reject } => {
                write::write_end_of_text(out, "CLOSED", subscription, reject);
            }
            MessageError::NegErr { subscription, reject } => {
                write::write_end_of_text(out, "NEG-ERR", subscription, reject);
            }
        }
    }
}
