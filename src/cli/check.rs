//! `relay check`: whether records and index entries agree.

use clap::Args;

use serde_json::Value;

use super::admin::Talk;
use super::arguments::Common;
use super::exit::Failure;
use super::open::{open_existing, options, require_existing};
use super::output::{Progress, grouped, print, print_json, say, size};
use super::upkeep::have_done;
use crate::config::Settings;
use crate::store;

/// Check the store for damage
///
/// Reads every record and every index entry and holds them against each other, in both
/// directions, and counts and fingerprints against the records. Changes nothing without --repair,
/// and works while the relay serves. Ends with exit code 3 if anything is wrong.
///
/// With --repair, a relay that serves the store mends indexes, counts and fingerprints itself, in
/// small steps that keep nobody waiting. Records that are damaged or cannot be found it only tells of:
/// for these the store has to be built anew from its log, which this command does when no relay
/// serves it. Ctrl-C stops the relay's mending; what was mended until then is.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Mend what is wrong; if no relay serves the store, build it anew from its records, leaving out
    /// what is damaged
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
    Err(Failure::refused(error).hint("run `relay check --repair`, or restore a backup"))
}

fn repair(settings: &Settings, arguments: &Arguments) -> Result<(), Failure> {
    require_existing(settings)?;
    if let Some(mut talk) = Talk::begin_if_served(&settings.store.path)? {
        let report = have_done(&mut talk, "repair")?;
        return tell_mended(settings, &report, arguments);
    }
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

/// Tells what the relay has mended, and what it could not.
fn tell_mended(settings: &Settings, report: &Value, arguments: &Arguments) -> Result<(), Failure> {
    let number = |name: &str| report[name].as_u64().unwrap_or(0);
    let left = number("faults_left");
    if arguments.json {
        print_json(report)?;
    } else {
        let count = |name: &str| grouped(number(name));
        let mut text = format!(
            "{} records and {} index entries read\n\
             mended: {} entries added, {} removed, {} rows of indexes, {} counts, {} fingerprints\n\
             {} faults left\n",
            count("records"),
            count("entries"),
            count("entries_added"),
            count("entries_removed"),
            count("rows_removed"),
            count("counts_corrected"),
            count("fingerprints_rewritten"),
            grouped(left)
        );
        for example in report["examples"].as_array().into_iter().flatten() {
            text.push_str(&format!("  {}\n", example.as_str().unwrap_or_default()));
        }
        print(&text)?;
    }
    if left == 0 {
        return Ok(());
    }
    let path = settings.store.path.display();
    let error = format!("the store in {path} has damage that no serving relay can mend");
    Err(Failure::refused(error).hint(format!(
        "stop the relay and run `relay check --repair --data {path}`, or restore a backup"
    )))
}
