//! Chappe: a Nostr relay on its own memory-mapped event store.
//!
//! Modules in reading order; imports only go down. The ground knows nothing of Nostr, `nostr` holds
//! the protocol's nouns without I/O, threads or clock.

pub mod clock;
pub mod deflate;
pub mod hex;
pub mod limits;
pub mod mailbox;
pub mod metrics;
pub mod seq;
pub mod sys;

pub mod nostr;
pub mod reconcile;

pub mod fanout;
pub mod store;

pub mod ingest;
pub mod query;

pub mod net;
pub mod session;

pub mod server;

pub mod config;

pub mod cli;
