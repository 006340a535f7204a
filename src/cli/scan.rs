//! `relay scan`: what a REQ would return, how many that are, and how they were found.

use std::io::Write;

use clap::Args;

use super::arguments::Common;
use super::exit::Failure;
use super::matching::{Lines, Walk, everything, parse_filter, unexpired};
use super::open::{now, open_existing};
use super::output::{print, print_json, stdout};
use super::serve::size_of;
use crate::config::Settings;
use crate::net::Address;
use crate::nostr::Filter;
use crate::peer::{self, PeerStatus};
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
    #[arg(required_unless_present = "from", value_name = "FILTER", value_parser = parse_filter)]
    filters: Vec<Filter>,

    /// Only events that came first from this peer, by its name or address, where that is remembered
    /// (`provenance`)
    #[arg(long, value_name = "PEER", conflicts_with = "plan")]
    from: Option<String>,

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
  relay scan --from relay.example.org --count
  relay scan --plan '{\"#t\":[\"nostr\"],\"kinds\":[1]}'";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let store = open_existing(&config.settings)?;
    if let Some(peer) = &arguments.from {
        return from(&store, &config.settings, arguments, peer);
    }
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

/// Prints what came first from a peer, newest first.
fn from(
    store: &Store,
    settings: &Settings,
    arguments: &Arguments,
    peer: &str,
) -> Result<(), Failure> {
    let url = url_of(store, peer)?;
    let (now, all) = (now(), [everything()]);
    let filters = if arguments.filters.is_empty() { &all } else { &arguments.filters[..] };
    let mut found = Vec::new();
    let origins = peer::came_from(store, &url)?;
    for part in origins.chunks(PART) {
        let snapshot = store.snapshot()?;
        for origin in part {
            let Some(event) = snapshot.by_seq(origin.seq)? else { continue };
            if unexpired(now)(&event) && filters.iter().any(|filter| filter.matches(&event)) {
                found.push((std::cmp::Reverse(event.created_at), *event.id, origin.seq));
            }
        }
    }
    if arguments.count {
        return match arguments.json {
            true => print_json(&serde_json::json!({ "count": found.len() })),
            false => print(&format!("{}\n", found.len())),
        };
    }
    found.sort_unstable();
    let limits = &settings.limits;
    let most = filters.iter().map(|filter| filter.limit.unwrap_or(limits.default_limit)).sum();
    found.truncate(size_of(limits.max_limit.min(most)));
    let (snapshot, mut line) = (store.snapshot()?, Vec::new());
    let mut out = stdout();
    for (_, _, seq) in found {
        // What was deleted meanwhile is passed over.
        let Some(event) = snapshot.by_seq(seq)? else { continue };
        line.clear();
        event.write_json(&mut line);
        line.push(b'\n');
        out.write_all(&line).map_err(|error| Failure::of_output(&error))?;
    }
    out.flush().map_err(|error| Failure::of_output(&error))
}

/// Returns the address of a peer by its name, or as it was given.
fn url_of(store: &Store, peer: &str) -> Result<String, Failure> {
    if let Ok(address) = Address::parse(peer) {
        return Ok(address.to_string());
    }
    let known = PeerStatus::all(store)?;
    if let Some(status) = known.iter().find(|status| status.name == peer) {
        return Ok(status.url.clone());
    }
    let names: Vec<String> = known.into_iter().map(|status| status.name).collect();
    let hint = match names.is_empty() {
        true => "`relay info` lists the peers; there is none yet".to_owned(),
        false => format!("the known peers are {}", names.join(", ")),
    };
    Err(Failure::usage(format!("--from: expected the name or address of a peer, found {peer:?}"))
        .hint(hint))
}

/// Events looked at within one snapshot.
const PART: usize = 10_000;

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
