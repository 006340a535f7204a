//! `relay delete`: removes matching events from the store, after asking.

use std::io::{self, IsTerminal, Write};

use clap::Args;

use super::arguments::Common;
use super::exit::Failure;
use super::matching::{everything, parse_filter};
use super::open::{now, open_existing};
use super::output::{Progress, grouped, print_json, say};
use super::period::parse_period;
use crate::nostr::Filter;
use crate::query;
use crate::seq::Seq;
use crate::store::{Store, Writer};

/// Delete events from the store
///
/// Removes every event that matches. This is the operator's own act: it leaves no deletion
/// request behind, and an event that is published or imported again is stored again. The space is
/// used for later events; `relay compact` gives it back to the disk.
///
/// Asks before it deletes on a terminal; elsewhere it needs --yes.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Delete the events that match this filter
    #[arg(long, value_name = "JSON", value_parser = parse_filter,
        required_unless_present = "older_than")]
    filter: Option<Filter>,

    /// Delete events created longer ago, such as 30d (units s, m, h, d, w)
    #[arg(long, value_name = "PERIOD", value_parser = parse_period)]
    older_than: Option<u64>,

    /// Only say how many events would be deleted
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Print the count as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay delete --filter '{\"kinds\":[7]}' --older-than 365d --dry-run
  relay delete --filter '{\"authors\":[\"<64 hex characters>\"]}' --yes";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let filter = filter_of(arguments, now())?;
    if !arguments.dry_run && !arguments.yes && !io::stdin().is_terminal() {
        return Err(Failure::usage("failed to ask: standard input is not a terminal")
            .hint("add --yes to delete without asking, or --dry-run to count"));
    }
    let config = common.load(Vec::new())?;
    let store = open_existing(&config.settings)?;
    // What has expired is deleted too, so everything is visible here.
    let found = query::find_all(&store.snapshot()?, &filter, &|_| true)?;
    let count = found.len() as u64;
    if arguments.dry_run {
        return report(arguments, count, "would be deleted");
    }
    if count == 0 {
        return report(arguments, 0, "deleted");
    }
    if !arguments.yes && !confirm(count)? {
        return report(arguments, 0, "deleted");
    }
    let deleted = delete(&store, &found)?;
    report(arguments, deleted, "deleted")
}

/// Joins the flags to one filter.
fn filter_of(arguments: &Arguments, now: u64) -> Result<Filter, Failure> {
    let mut filter = arguments.filter.clone().unwrap_or_else(everything);
    if filter.limit.is_some() {
        return Err(Failure::usage("expected a filter without limit, found one with a limit")
            .hint("narrow the filter by since and until instead"));
    }
    if filter.search.is_some() {
        return Err(Failure::usage("expected a filter without search, found one with a search"));
    }
    if let Some(period) = arguments.older_than {
        let until = now.saturating_sub(period).saturating_sub(1);
        filter.until = Some(filter.until.map_or(until, |given| given.min(until)));
    }
    Ok(filter)
}

fn confirm(count: u64) -> Result<bool, Failure> {
    let mut err = io::stderr().lock();
    let _ = write!(err, "delete {} events for good? [y/N] ", grouped(count));
    let _ = err.flush();
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("failed to read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Deletes in batches, so that a writer of another process waits for one at most.
fn delete(store: &Store, found: &[Seq]) -> Result<u64, Failure> {
    let progress = Progress::of_count(found.len() as u64);
    let mut writer = Writer::new(store.clone());
    let mut deleted = 0;
    for batch in found.chunks(BATCH_EVENTS) {
        deleted += writer.bury(batch)?;
        progress.set(deleted);
    }
    while writer.maintain(true)? {}
    progress.clear();
    Ok(deleted)
}

fn report(arguments: &Arguments, count: u64, verb: &str) -> Result<(), Failure> {
    if arguments.json {
        return print_json(&serde_json::json!({ "events": count, "dry_run": arguments.dry_run }));
    }
    say(&format!("{} events {verb}", grouped(count)));
    Ok(())
}

/// Events deleted in one transaction.
const BATCH_EVENTS: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(filter: Option<&str>, older_than: Option<u64>) -> Arguments {
        let filter = filter.map(|text| parse_filter(text).expect("a valid filter"));
        Arguments { filter, older_than, dry_run: false, yes: false, json: false }
    }

    #[test]
    fn older_than_narrows_the_filter_and_never_widens_it() {
        for (filter, older_than, until) in [
            (None, Some(100), Some(899)),
            (Some("{}"), None, None),
            (Some("{\"until\":500}"), Some(100), Some(500)),
            (Some("{\"until\":950}"), Some(100), Some(899)),
            (None, Some(5_000), Some(0)),
        ] {
            let filter = filter_of(&arguments(filter, older_than), 1_000).expect("a valid filter");
            assert_eq!(filter.until, until);
        }
    }

    #[test]
    fn a_filter_with_a_limit_is_refused() {
        assert!(filter_of(&arguments(Some("{\"limit\":5}"), None), 1_000).is_err());
    }
}
