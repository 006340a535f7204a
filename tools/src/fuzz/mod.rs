//! Random and damaged inputs for everything that reads bytes from outside, held against oracles.
//!
//! ```text
//!  random -> grammar, mutate -> input -> target: ours | something dumb or somebody else's -> same?
//!                                  ^                                                          |
//!  replay, minimise, save  <-------+---------------------------- a panic is a failure --------+
//! ```
//!
//! Every case follows from the seed, the target's name and the case's number, so that a run can be
//! repeated and any case by itself. "No panic" is the least: a target compares what the relay's
//! code understood with a plain reading of the same bytes ([`reading`]), with another
//! implementation, or with what the protocol promises.
//!
//! Reading order: [`command`], [`engine`], `grammar` and `mutate` make inputs, `tree` and `reading`
//! are the dumb reader, `targets` has one file a target.

mod command;

mod engine;
mod failure;

mod grammar;
mod mutate;

mod reading;
mod tree;

mod targets;

pub(crate) use command::{Arguments, run};
