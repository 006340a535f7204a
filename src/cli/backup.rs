//! `relay backup`: copies the store, or what was added to it, into a folder.

use std::path::PathBuf;

use clap::Args;

use super::arguments::Common;
use super::exit::Failure;
use super::open::{now, open_existing};
use super::output::{Progress, grouped, print, print_json, size, utc};
use crate::store;

/// Copy the store into a folder, also while the relay serves
///
/// The first time everything is copied, then only what came since; after `relay compact` with the
/// relay stopped everything again. The copy is what was stored at one moment, and nobody waits for it. The
/// folder holds the events and no indexes: `relay restore` makes a store of it. Backups of several
/// stores need a folder each. Can be scheduled instead: backup.folder and backup.every.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Folder of the backup, created if there is none
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Copy nothing; read the whole backup and check every event of it
    #[arg(long)]
    verify: bool,

    /// Print the sizes as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay backup /mnt/backup/relay --data /var/lib/relay
  relay backup --verify /mnt/backup/relay && echo whole
  relay restore /mnt/backup/relay --data /var/lib/relay";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.verify {
        return verify(arguments);
    }
    let config = common.load(Vec::new())?;
    let store = open_existing(&config.settings)?;
    let progress = Progress::of_bytes(0);
    let mut show = |done, total| progress.set_of(done, total);
    let report = store::backup(&store, &arguments.folder, now(), &mut show)?;
    progress.clear();
    if arguments.json {
        return print_json(&report);
    }
    print(&format!(
        "{} events, {}, of which {} were copied\n",
        grouped(report.events),
        size(report.bytes),
        size(report.copied_bytes)
    ))
}

fn verify(arguments: &Arguments) -> Result<(), Failure> {
    let progress = Progress::of_bytes(0);
    let mut show = |done, total| progress.set_of(done, total);
    let verified = store::verify(&arguments.folder, &mut show);
    progress.clear();
    let report = verified.map_err(|error| {
        Failure::refused(format!("failed to {error}"))
            .hint("back up into another folder, and do not rely on this one")
    })?;
    if arguments.json {
        return print_json(&report);
    }
    print(&format!(
        "whole: {} events, {}, taken {}\n",
        grouped(report.events),
        size(report.bytes),
        utc(report.taken_at)
    ))
}
