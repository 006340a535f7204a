//! Transport: sockets, HTTP and websockets, as far as bytes and text messages. Knows nothing of Nostr.
//!
//! A core calls [`serve`] with a listener of its own. Plain HTTP requests are answered by a [`Site`];
//! an upgrade at `/` becomes a connection: a [`Conversation`] that is told what the client says, and
//! an [`Outbound`] by which everything on that core answers. All of it lives on one thread and shares
//! by `Rc`; nothing here locks.
//!
//! [`connect`] is the other way round: a websocket to another server, as a [`Client`].
//!
//! Reading order: [`listen`] and [`serve`] accept, `proxy` finds out who the client is, `tls` encrypts
//! if the listener asks for it (`stream` is either), `http` upgrades, `extension` agrees on compression, `websocket` is the life of a connection, `frame` its
//! grammar, `outbound` its way back, `client` what this side opens, `plain` HTTP without all this.

mod backlog;
mod client;
mod extension;
mod frame;
mod http;
mod listener;
mod outbound;
mod plain;
mod proxy;
mod stream;
mod tls;
mod websocket;

#[cfg(test)]
mod testing;

pub use backlog::Backlog;
pub use client::{
    Address, Client, ClientEnding, ClientOptions, ConnectError, Network, Reading, Roots, Route,
    Routes, connect, fetch,
};
pub use extension::{Encoding, accept};
pub use frame::{Decoder, Fault, Item, Sender, Sink, Then};
pub use frame::{write_deflated_frame, write_text_frame, write_text_frame_header};
pub use http::{LaterResponse, RequestHead, Response, Site};
pub use hyper::body::Bytes;
pub use listener::{
    ConnectionInfo, ListenError, Listening, NetOptions, Places, Wire, listen, serve, share,
};
pub use outbound::{Outbound, OutboundLimits};
pub use plain::serve_plain;
pub use proxy::{Gate, Pass, Refusal, Trust, forwarded, read_header as read_proxy_header};
pub use tls::{Certificate, CertificateError, CertificatePart};
pub use tungstenite::protocol::frame::coding::CloseCode;
pub use websocket::{Conversation, Ending, Flow};
