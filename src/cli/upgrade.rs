//! `relay upgrade`: brings a store of an older format to this one.

use clap::Args;
use serde_json::json;

use super::arguments::Common;
use super::exit::Failure;
use super::open::{options, require_existing};
use super::output::{Progress, grouped, print, print_json};
use crate::store::{self, Upgraded};

/// Bring the store to the format of this version
///
/// Needed only where the relay says that it expects another format. Builds the new files beside the
/// old ones, checks them, and puts them in their place in one step. Stop the relay first, and back
/// up the folder: versions before this one cannot read what it writes.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print the formats as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Example:
  relay upgrade --data /var/lib/relay";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let settings = &config.settings;
    require_existing(settings)?;
    let progress = Progress::rows();
    let mut show = |done, total| progress.set_of(done, total);
    let upgraded = store::upgrade(&settings.store.path, &options(settings)?, &mut show)?;
    progress.clear();
    let (from, to) = (upgraded.from(), store::FORMAT);
    if arguments.json {
        let events = match upgraded {
            Upgraded::Already => None,
            Upgraded::From { events, .. } => Some(events),
        };
        return print_json(&json!({ "from": from, "to": to, "events": events }));
    }
    match upgraded {
        Upgraded::Already => print(&format!("the store has format {to} already\n")),
        Upgraded::From { events, .. } => {
            print(&format!("{} events brought from format {from} to {to}\n", grouped(events)))
        }
    }
}
