//! `relay scan`: what a REQ would return, how many that are, and how they were found.

use std::io::Write;

use clap::Args;

use super::arguments::Common;
use super::exit::Failure;
use super::matching::{Lines, Walk, parse_filter, unexpired};
use super::open::{now, open_existing};
use super::output::{print, print_json, stdout};
use crate::nostr::Filter;
use crate::query::{self, QueryLimits};
use crate::store::Store;

/// Print the stored events that a REQ would return
///
/// Several filters are asked together, as in one REQ: each event is printed once, newest first.
/// The limits of the configuration apply (limits.default_limit, limits.max_limit).
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Filters as JSON
    #[arg(required = true, value_name = "FILTER", value_parser = parse_filter)]
    filters: Vec<Filter>,

    /// Print only how many events match, whatever their limit
    #[arg(long, conflicts_with = "plan")]
    count: bool,

    /// Print how the events are found instead: indexes considered, chosen, and rows touched
    #[arg(long)]
    plan: bool,

    /// Print the count or the plan as JSON; events are JSON in any case
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay scan '{\"kinds\":[1],\"limit\":20}'
  relay scan --count '{\"kinds\":[7]}'
  relay scan --plan '{\"#t\":[\"nostr\"],\"kinds\":[1]}'";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let store = open_existing(&config.settings)?;
    if arguments.count {
        return count(&store, arguments);
    }
    let limits = QueryLimits {
        default_limit: config.settings.limits.default_limit,
        max_limit: config.settings.limits.max_limit,
    };
    if arguments.plan {
        return plan(&store, limits, arguments);
    }
    events(&store, limits, arguments)
}

fn count(store: &Store, arguments: &Arguments) -> Result<(), Failure> {
    let now = now();
    let count = query::count(&store.snapshot()?, &arguments.filters, now, &unexpired(now))?;
    if arguments.json {
        return print_json(&serde_json::json!({ "count": count }));
    }
    print(&format!("{count}\n"))
}

fn plan(store: &Store, limits: QueryLimits, arguments: &Arguments) -> Result<(), Failure> {
    let is_visible = unexpired(now());
    let mut reports = Vec::new();
    for filter in &arguments.filters {
        reports.push(query::explain(&store.snapshot()?, filter, &limits, &is_visible)?);
    }
    if arguments.json {
        return print_json(&reports);
    }
    let text: Vec<String> = reports.iter().map(|report| format!("{report}\n")).collect();
    print(&text.join("\n"))
}

fn events(store: &Store, limits: QueryLimits, arguments: &Arguments) -> Result<(), Failure> {
    let mut walk = Walk::new(store, arguments.filters.clone(), limits, store.last_seq());
    let mut out = stdout();
    let mut lines = Lines::default();
    loop {
        let more = walk.lines(&mut lines)?;
        lines.write(&mut out).map_err(|error| Failure::of_output(&error))?;
        lines.clear();
        if !more {
            break;
        }
    }
    out.flush().map_err(|error| Failure::of_output(&error))
}
