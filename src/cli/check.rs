//! `relay check`: whether records and index entries agree.

use clap::Args;

use super::arguments::Common;
use super::exit::Failure;
use super::open::open_existing;
use super::output::{Progress, grouped, print, print_json};
use crate::store;

/// Check the store for damage
///
/// Reads every record and every index entry and holds them against each other, in both
/// directions. Changes nothing. Ends with exit code 3 if anything is wrong.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Example:
  relay check --data /var/lib/relay && echo whole";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let store = open_existing(&config.settings)?;
    let progress = Progress::rows();
    let report = store::check(&store, &mut |done, total| progress.set_of(done, total))?;
    progress.clear();
    if arguments.json {
        print_json(&report)?;
    } else {
        let mut text = format!(
            "{} records and {} index entries read, {} faults\n",
            grouped(report.records),
            grouped(report.entries),
            grouped(report.faults)
        );
        for example in &report.examples {
            text.push_str(&format!("  {example}\n"));
        }
        print(&text)?;
    }
    if report.is_whole() {
        return Ok(());
    }
    let error = format!("the store in {} is damaged", config.settings.store.path.display());
    Err(Failure::refused(error).hint("export what is whole into a new store with `relay export`"))
}
