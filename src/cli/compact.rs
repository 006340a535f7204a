//! `relay compact`: rebuilds the store with full pages and swaps it in.

use clap::Args;

use super::arguments::Common;
use super::exit::Failure;
use super::open::{options, require_existing};
use super::output::{Progress, grouped, print, print_json, size};
use crate::store;

/// Rebuild the store in new, smaller files
///
/// Writes the events that are still there into new files with full pages, checks them, and puts
/// them in the place of the old ones in one step: a crash leaves either the old store or the new
/// one. Needs the store alone, so stop the relay first, and free disk space for the new files.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print the sizes as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Example:
  relay compact --data /var/lib/relay";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let settings = &config.settings;
    require_existing(settings)?;
    let progress = Progress::rows();
    let mut show = |done, total| progress.set_of(done, total);
    let report = store::compact(&settings.store.path, &options(settings)?, &mut show)?;
    progress.clear();
    if arguments.json {
        return print_json(&report);
    }
    print(&format!(
        "{} events, {} before, {} after\n",
        grouped(report.events),
        size(report.before_bytes),
        size(report.after_bytes)
    ))
}
