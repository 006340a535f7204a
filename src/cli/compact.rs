//! `relay compact`: gives room back to the disk: by the relay that serves the store, or, where none
//! does, by rebuilding the store with full pages and swapping it in.

use clap::Args;

use serde_json::{Value, json};

use super::admin::Talk;
use super::arguments::Common;
use super::exit::Failure;
use super::open::{options, require_existing};
use super::output::{Progress, grouped, print, print_json, say, size};
use super::upkeep::have_done;
use crate::config::Settings;
use crate::store;

/// Give the room of what was deleted back to the disk
///
/// While a relay serves the store, that relay does it, in small steps that keep nobody waiting:
/// what has died until then is gone from the log when the command ends, and where a twentieth of a
/// megabyte was dead the rest of it moves together. The indexes keep their size; later events fill
/// what is free in them. Ctrl-C stops it, and what was given back until then is.
///
/// While no relay does, the whole store is written anew into new files with full pages, which are
/// checked and put in the place of the old ones in one step: a crash leaves either the old store or
/// the new one. That gives back everything, and needs free disk space for the new files.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print the sizes as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay compact --data /var/lib/relay
  systemctl stop relay; relay compact --data /var/lib/relay; systemctl start relay";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let settings = &config.settings;
    require_existing(settings)?;
    if let Some(mut talk) = Talk::begin_if_served(&settings.store.path)? {
        let report = have_done(&mut talk, "compact")?;
        return tell(settings, report, arguments);
    }
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

/// Tells what the relay gave back, and what only the store at rest can.
fn tell(settings: &Settings, report: Value, arguments: &Arguments) -> Result<(), Failure> {
    if arguments.json {
        let mut report = report;
        report["while_serving"] = json!(true);
        return print_json(&report);
    }
    let number = |name: &str| report[name].as_u64().unwrap_or(0);
    print(&format!(
        "{} events, {} before, {} after\n",
        grouped(number("events")),
        size(number("before_bytes")),
        size(number("after_bytes"))
    ))?;
    let (free, dead) = (number("free_bytes"), number("dead_bytes"));
    say(&format!(
        "{} of free pages are left, which later events fill, and {} of zeros between events; to give \
         these back and to fill the pages of the indexes, stop the relay and run `relay compact --data \
         {}`",
        size(free),
        size(dead),
        settings.store.path.display()
    ));
    Ok(())
}
