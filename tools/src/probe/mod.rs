//! Probes: designs measured against each other on the data that decides between them.
//!
//! What they print is cited in `schema/FORMAT.md`; they build the losers too, so nothing here is
//! used by the relay.

mod effort;
mod layouts;

use crate::Failure;

/// The probes.
#[derive(clap::Subcommand)]
pub(crate) enum Probe {
    /// Compare encodings of records and layouts of indexes in LMDB
    Layouts(layouts::Arguments),
}

/// Runs a probe.
pub(crate) fn run(probe: &Probe) -> Result<(), Failure> {
    match probe {
        Probe::Layouts(arguments) => layouts::run(arguments),
    }
}
