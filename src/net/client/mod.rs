//! The other end of a websocket: connections that this relay opens to others.
//!
//! ```text
//!  Address -> network -> route -> dial (happy eyeballs, or SOCKS5) -> TLS -> upgrade -> Client
//! ```
//!
//! A host's name says which network it belongs to, and a [`Route`] how that network is reached.
//! Everything has a deadline; what waits to be sent is bounded, and so is a message that comes.
//!
//! Reading order: [`Address`], [`Routes`], `dial`, `socks`, `tls`, `http`, [`Client`].

mod address;
mod connection;
mod dial;
mod error;
mod http;
mod socks;
mod tls;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use self::address::{Address, Network};
pub use self::connection::{Client, ClientEnding, Reading};
pub use self::dial::{Route, Routes};
pub use self::error::ConnectError;
pub use self::http::{connect, fetch};
pub use self::tls::Roots;

use super::extension::Encoding;

/// Bounds and ways of the connections that are opened.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The longest message taken from the other side.
    pub message_bytes_max: usize,
    /// The most bytes that wait to be sent; more end the connection.
    pub outbound_bytes_max: usize,
    /// How the networks are reached.
    pub routes: Arc<Routes>,
    /// Whose certificates are trusted.
    pub roots: Roots,
    /// A peer that was silent this long is pinged; after three it is given up.
    pub ping_period: Duration,
    /// Whether compression is offered.
    pub encoding: Encoding,
}
