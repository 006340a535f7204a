//! Realistic events, made from a seed: for imports, load, benches and probes.
//!
//! A dataset imitates a public relay: Zipf authors and hashtags, its mix of kinds, threads that
//! refer to earlier events, several scripts, long lists. The same options yield the same bytes,
//! whatever the number of threads: each event has its own random numbers, and it refers only to
//! events of earlier rounds. [`Generator`] is what other tools use; `tools dataset` writes lines.

mod command;
mod draft;
mod generator;
mod lists;
mod notes;
mod random;
mod seal;
mod text;
mod world;
mod zaps;

pub(crate) use command::{Arguments, run};
pub(crate) use generator::{Generator, Options, Signatures};
pub(crate) use random::{chance, choose, derive_seed};
