//! What all tests stand on: real relay processes, clients with patience, events signed here.
//!
//! Nothing sleeps to wait for something. A client waits for a message up to [`PATIENCE`] and
//! then fails with what it did receive; silence is proven by a fence (see [`client`]). Only expiry
//! is waited for, because nothing but time brings it.

use std::time::Duration;

pub(crate) mod client;
pub(crate) mod event;
pub(crate) mod front;
pub(crate) mod management;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod relay;
pub(crate) mod script;
pub(crate) mod seed;
pub(crate) mod tls;

pub(crate) use client::{Client, Verdict};
pub(crate) use event::{Event, Key, fixture, key, now, wait_until};
pub(crate) use management::{Call, base64, call};
pub(crate) use process::{Finished, command, command_with_input};
pub(crate) use raw::{RawSocket, Response, http};
pub(crate) use relay::Relay;
pub(crate) use seed::{pick, seeded};

/// How long a message may take before its absence is a failure.
///
/// Generous, because debug builds of many relays share the cores of a small machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
