//! `relay restore`: makes a store of a backup.

use std::path::PathBuf;

use clap::Args;

use super::arguments::Common;
use super::exit::Failure;
use super::open::options;
use super::output::{Progress, grouped, print, print_json, say, size, utc};
use crate::store;

/// Make a store from a backup
///
/// Checks every event of the backup and builds the indexes. The folder of the store (--data) has to
/// be empty: what is there is never overwritten. A restore that was cut off is run again.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Folder that `relay backup` has written
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Print what was restored as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Example:
  relay restore /mnt/backup/relay --data /var/lib/relay";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let path = &config.settings.store.path;
    let progress = Progress::of_bytes(0);
    let mut show = |done, total| progress.set_of(done, total);
    let report = store::restore(&arguments.folder, path, &options(&config.settings)?, &mut show)?;
    progress.clear();
    if arguments.json {
        return print_json(&report);
    }
    print(&format!(
        "{} events restored, of a backup taken {} ({})\n",
        grouped(report.events),
        utc(report.taken_at),
        size(report.bytes)
    ))?;
    say("the files belong to who ran this; under systemd the relay takes them over when it starts");
    Ok(())
}
