//! TLS as a server: what the relay proves its name with, and the encrypted stream of a client.
//!
//! [`Certificate`] is made from PEM and knows when it ends (`validity`); [`meet`] leads a socket
//! through the handshake to an [`Encrypted`] stream.

mod certificate;
mod encrypted;
mod validity;

#[cfg(test)]
mod tests;

pub use certificate::{Certificate, CertificateError, CertificatePart};
pub(super) use encrypted::{Encrypted, Scratch, Unmet, meet};
