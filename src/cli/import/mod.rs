//! `relay import`: events from JSON lines, and from what else other relays give, into the store.
//!
//! ```text
//!  source    -> lines          -> check         -> pipeline            -> summary
//!  (unpack)     (one thread,      (all cores,      (one thread, in the
//!                chunks)           verify)          order of the lines,
//!                                                   commits batches)
//! ```
//!
//! Chunks travel in a fixed number of buffers, so that a file of any size takes the same memory.

#[cfg(feature = "sqlite")]
mod database;
mod lines;
mod source;
mod summary;

mod check;
mod command;
mod pipeline;

pub(super) use command::{Arguments, run};
