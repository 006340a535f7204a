//! The running relay: threads, who starts and stops them, and what passes between them.
//!
//! ```text
//!            core-0 .. core-N             work-0 .. work-N
//!  sockets <-> session, index  -- jobs -->  verify, query slices
//!              ^  ^      |  <- inbox --        |
//!              |  |      +---- submissions ----+--> writer --> store
//!              |  +--------------- inbox: replies ----+
//!              +------------------- ring: batches ----+     keeper: other processes' commits
//! ```
//!
//! A client's message is taken in `connection`, the way of an EVENT is `publish` and `lane`, that of a REQ
//! is `query` and `render`, what follows live is `live`, that of NEG-OPEN `negentropy`; `work` is
//! the pool, `core` a core's thread, `guard` what clients are held to, `gate` where events of
//! peers enter, `plugin` the programs that judge events, `report` what the operator is told,
//! `warden` the long chores, `registrar` who asks domains for names, `caretaker` backups and
//! checks, `run` the order of
//! starting and stopping, `start` how each thread is put together, `signals` what the main thread
//! waits for, `in_force` the settings that may change meanwhile, `routes` plain HTTP,
//! `pages` what people with a browser find there.
//!
//! What administrators ask for is done in `management` (NIP-86).
//!
//! What the relay itself has to say is up to the `herald`, which signs it (`members`: NIP-43). What
//! stands is read back at the start by `recall` and kept in line with every commit by the `scribe`.

mod settings;

mod in_force;
mod pages;
mod routes;
mod run;
mod signals;
mod start;
mod threads;

mod connection;
mod core;
mod lane;
mod live;
mod negentropy;
mod petition;
mod publish;
mod query;
mod reach;
mod render;
mod turn;

mod gate;
mod guard;

mod herald;
mod members;
mod recall;
mod scribe;

mod caretaker;
mod keeper;
mod management;
mod plugin;
mod pool;
mod pulse;
mod registrar;
mod report;
mod trust;
mod warden;
mod wishes;
mod work;

#[cfg(test)]
mod tests;

pub use caretaker::Maintenance;
pub use management::socket_path;
pub use plugin::{OnFailure, PluginSettings};
pub use pulse::Pulse;
pub use recall::read_members;
pub use registrar::NameSettings;
pub use run::Server;
pub use settings::{
    About, Addresses, Compression, LiveSettings, ManagementSettings, MembershipSettings, Naming,
    PageSettings, Proxies, ServerError, ServerSettings,
};
pub use signals::{Occasion, Steward};
pub use warden::{CameFrom, Retention};
