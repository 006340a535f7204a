//! The protocol's nouns: ids, kinds, tags, events, filters and messages, as types that prove their
//! shape.
//!
//! Everything here is pure: bytes in, values or errors out. No I/O, no thread, no clock, no store.
//! No input bytes can panic (I9). Text inside events is kept in its *canonical escaped form*
//! everywhere, which is what NIP-01 hashes, so that rendering and hashing copy and never escape.

pub mod base64;
pub mod bech32;
pub mod id;
pub mod json;
pub mod kind;
pub mod tag;

pub mod event;
pub mod verify;

pub mod delegation;

pub mod filter;
pub mod info;
pub mod message;
pub mod reject;
pub mod url;

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod model;

pub use event::{Event, EventError, EventRef};
pub use filter::{Filter, FilterError, TagCondition, TagMode, TagValue};
pub use id::{EventId, PublicKey, Signature};
pub use info::InformationDocument;
pub use kind::{Kind, KindClass};
pub use message::{ClientMessage, MessageError, RelayMessage, SubscriptionId};
pub use reject::{Prefix, Reject};
pub use tag::{Tag, Tags, Value};
pub use url::RelayUrl;
pub use verify::{Invalid, Keypair, Signed, Verified, Verifier, sha256};
