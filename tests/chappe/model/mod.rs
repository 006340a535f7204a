//! The relay against a model so dumb that it is obviously right.
//!
//! [`rules`] is a `Vec` and the sentences of the NIPs, over JSON values and linear searches; it
//! is never optimised. [`random`] makes events and filters in a universe so small that ties,
//! replacements, deletions and overlaps happen all the time. [`sockets`] runs both through a real
//! relay, [`library`] through the store and the queries alone, faster and with time as an argument.

mod library;
mod random;
mod rules;
mod sockets;
