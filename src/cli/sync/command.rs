//! The command line of `relay sync`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::sync::Notify;

use super::super::arguments::Common;
use super::super::exit::{Exit, Failure};
use super::super::interrupt;
use super::super::matching::{everything, parse_filter};
use super::super::names::own_names;
use super::super::network::{block_on, client_options, patience};
use super::super::open::{now, open_or_create};
use super::super::output::{Progress, grouped, print_json, rate, say};
use super::super::peers::{
    Way, failure_of, parse_url, provenance_of, reader_of, start_intake, without_limits,
};
use super::super::range::parse_range;
use super::super::secret;
use super::summary::Summary;
use crate::clock::Clock;
use crate::ingest::EntryTerms;
use crate::net::Address;
use crate::nostr::Filter;
use crate::peer::{
    self, Agreement, Ended, Engine, EngineOptions, Library, PeerOptions, Span, Transfer, Watcher,
};

/// Bring the store and another relay into agreement
///
/// Finds out what either side lacks by reconciliation (NIP-77), whose cost depends on what differs
/// and not on what is stored, and transfers that. A relay without NIP-77 is gone through page by
/// page. What comes is verified on all cores and stored by the same rules as a published event.
///
/// Works while the relay is served from the same store, and can be interrupted and run again at any
/// time: what has been stored need not come again. A broken connection is made anew.
///
/// What leaves the store is what any stranger could read from the relay; --private lifts that.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(in super::super) struct Arguments {
    /// The other relay, such as wss://relay.example.org
    #[arg(value_name = "URL", value_parser = parse_url)]
    url: Address,

    /// Only events that match this filter
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    filter: Option<Filter>,

    /// Only events created in this time: seconds since 1970, dates, or periods ago; either end may
    /// be left out
    #[arg(long, value_name = "SINCE..UNTIL")]
    range: Option<String>,

    /// Which way events go: down from the other relay, up to it, or both
    #[arg(long, value_name = "WAY", default_value = "down")]
    dir: Way,

    /// Only say what differs
    #[arg(long)]
    dry_run: bool,

    /// Prove to be the owner of the secret key in FILE if asked (NIP-42); `relay key generate`
    /// makes one
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Compare and send private messages, too: for relays that are yours as well
    #[arg(long)]
    private: bool,

    /// Remember which events came from there first, and when, for `relay scan --from`
    #[arg(long)]
    provenance: bool,

    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay sync wss://relay.example.org
  relay sync wss://relay.example.org --dir both --range 30d..
  relay sync wss://relay.example.org --filter '{\"kinds\":[0,3,10002]}' --dry-run
  relay sync ws://abc.onion --set network.tor_proxy=127.0.0.1:9050

Exit code 0 when both sides agree as far as each shows and takes events; 3 when they do but for
events that were refused or not valid; 1 when the other relay could not be dealt with.";

/// Runs the command.
pub(in super::super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let filter = filter_of(arguments)?;
    let key = arguments.key.as_deref().map(secret::read).transpose()?;
    let config = common.load(Vec::new())?;
    let settings = &config.settings;
    let store = open_or_create(settings)?;
    let clock = Clock::system();
    let mut library = Library::new(store.clone(), reader_of(settings, arguments.private)?, clock);
    let is_dry = arguments.dry_run;
    let (all, threads) = start_intake(&store, own_names(settings), &clock)?;
    let (shown, provenance) = (arguments.url.to_string(), provenance_of(arguments.provenance));
    let intake = all.for_peer(&shown, &shown, EntryTerms::Plain, provenance);
    // The threads end once no intake is left.
    drop(all);
    let client = client_options(settings);
    let options = PeerOptions {
        address: arguments.url.clone(),
        engine: EngineOptions {
            url: arguments.url.to_string(),
            filter,
            direction: arguments.dir.into(),
            span: Span::UntilInSync,
            transfer: if is_dry { Transfer::CountedOnly } else { Transfer::Wanted },
            key: key.map(Arc::new),
            agreement: Agreement::default(),
            full_secs: None,
            patience: patience(&client, &arguments.url),
        },
        client,
        given: None,
        bell: None,
    };
    let stop = Arc::new(Notify::new());
    let announced = Arc::clone(&stop);
    interrupt::watch(move || announced.notify_one())?;
    let started = Instant::now();
    let mut watching = Watching { progress: Progress::of_count(0), started };
    let taking = (!is_dry).then_some(&intake);
    let running = peer::run(options, &mut library, taking, &clock, &mut watching, stop.notified());
    let (engine, ended) = block_on(running)?;
    let found = intake.counts();
    intake.keep(intake.take_origins(clock.now_secs()));
    drop(intake);
    threads.join();
    watching.progress.clear();
    let mut summary = Summary::new(&arguments.url, engine.counts(), &found, is_dry);
    summary.seconds = started.elapsed().as_secs_f64();
    summary.interrupted = matches!(ended, Ended::Stopped);
    summary.in_sync = matches!(ended, Ended::InSync);
    match arguments.json {
        true => print_json(&summary)?,
        false => say(summary.render().trim_end()),
    }
    conclude(ended, &summary, &arguments.url)
}

/// Joins the flags to one filter.
fn filter_of(arguments: &Arguments) -> Result<Filter, Failure> {
    let mut filter = without_limits(arguments.filter.clone().unwrap_or_else(everything))?;
    if let Some(text) = &arguments.range {
        let range = parse_range(text, now())
            .map_err(|error| Failure::usage(format!("--range: {error}")))?;
        filter.since = filter.since.max(range.since);
        filter.until = match (filter.until, range.until) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    Ok(filter)
}

fn conclude(ended: Ended, summary: &Summary, url: &Address) -> Result<(), Failure> {
    match ended {
        Ended::InSync if summary.is_refused() => Err(Failure::silent(Exit::Refused)),
        Ended::Stopped => Err(Failure::silent(Exit::Interrupted)),
        ended => failure_of(ended, url).map_or(Ok(()), Err),
    }
}

/// Shows how far it is.
struct Watching {
    progress: Progress,
    started: Instant,
}

impl Watcher for Watching {
    fn look(&mut self, engine: &Engine) {
        let counts = engine.counts();
        let done = counts.received
            + counts.missing
            + counts.accepted
            + counts.duplicate
            + counts.refused_total();
        self.progress
            .set_of(done, (done + engine.backlog() as u64).max(counts.needed + counts.had));
        self.progress.describe(|| {
            let per_second = rate(done, self.started.elapsed());
            format!(
                "{} down, {} up, {}/s",
                grouped(counts.received),
                grouped(counts.sent),
                grouped(per_second)
            )
        });
    }

    fn interrupted(&mut self, why: &str, again: Duration) {
        say(&format!("{why}; trying again in {:.1} s", again.as_secs_f64()));
    }

    fn in_sync(&mut self, _: &Engine) {}
}
