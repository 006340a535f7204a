//! The proof that the relay works, in reading order.

mod harness;
