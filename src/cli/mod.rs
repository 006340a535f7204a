//! The commands of `relay`: the only code that sees the terminal, the environment and the flags.
//!
//! One file a command. Each reads the settings, calls one room of the house, and prints: data on
//! standard output, talk on standard error, the outcome in the exit code ([`exit`]).

pub mod arguments;
pub mod exit;

mod interrupt;
mod log;
mod matching;
mod names;
mod network;
mod open;
mod output;
mod peering;
mod peers;
mod period;
mod quotas;
mod range;
mod reload;
mod rules;
mod secret;
mod watchdog;

mod admin;
mod backup;
mod certificate;
mod check;
mod compact;
mod completions;
mod config;
mod delete;
mod dump;
mod export;
mod groups;
mod import;
mod info;
mod invite;
mod key;
mod member;
mod restore;
mod scan;
mod serve;
mod stream;
mod sync;
mod upgrade;
mod upkeep;

pub use arguments::{command, run};
pub use serve::options as server_settings;
