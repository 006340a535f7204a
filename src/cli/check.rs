//! `relay check`: whether records and index entries agree.

use clap::Args;

use super::arguments::Common;
use super::exit::Failure;
use super::open::{open_existing, options, require_existing};
use super::output::{Progress, grouped, print, print_json, say, size};
use crate::config::Settings;
use crate::store;

/// Check the store for damage
///
/// Reads every record and every index entry and holds them against each other, in both
/// directions. Changes nothing without --repair, and works while the relay serves. Ends with exit
/// code 3 if anything is wrong.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Build the store anew from its records, leaving out what is damaged; stop the relay first
    #[arg(long)]
    repair: bool,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay check --data /var/lib/relay && echo whole
  relay check --repair --data /var/lib/relay";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    if arguments.repair {
        return repair(&config.settings, arguments);
    }
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
    Err(Failure::refused(error)
        .hint("stop the relay and run `relay check --repair`, or restore a backup"))
}

fn repair(settings: &Settings, arguments: &Arguments) -> Result<(), Failure> {
    require_existing(settings)?;
    let progress = Progress::of_bytes(0);
    let mut show = |done, total| progress.set_of(done, total);
    let report = store::repair(&settings.store.path, &options(settings)?, &mut show)?;
    progress.clear();
    if arguments.json {
        return print_json(&report);
    }
    print(&format!(
        "{} events in a store built anew; left out: {} damaged records, {} of the log\n",
        grouped(report.events),
        grouped(report.records_left_out),
        size(report.bytes_left_out)
    ))?;
    if !report.had_tables {
        say("the tables could not be read: what administrators had decided is lost");
    }
    Ok(())
}
