//! `relay stream`: follows other relays live, and makes up for what was missed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::sync::watch;

use super::arguments::Common;
use super::exit::{Exit, Failure};
use super::interrupt;
use super::matching::{everything, parse_filter};
use super::names::own_names;
use super::network::{block_on, client_options, patience};
use super::open::open_or_create;
use super::output::{Progress, elapsed, grouped, print_json, say};
use super::peers::{
    Way, failure_of, parse_url, provenance_of, reader_of, start_intake, without_limits,
};
use super::secret;
use crate::clock::Clock;
use crate::ingest::EntryTerms;
use crate::net::{Address, ClientOptions};
use crate::nostr::{Filter, Keypair};
use crate::peer::{
    self, Agreement, Counts, Engine, EngineOptions, Intake, Library, Onlooker, PeerNote,
    PeerOptions, PeerStatus, Provenance, Scope, Span, Stage, Transfer, Watcher,
};
use crate::seq::Seq;
use crate::store::Store;

/// Follow other relays live, and catch up with what was missed
///
/// First brings the store and each relay into agreement as `relay sync` does, then passes on what
/// comes as it comes. A connection that breaks is made anew, and what was missed in between is made
/// up for, so that a cut of minutes or days loses nothing. Runs until Ctrl-C.
///
/// Works while the relay is served from the same store: its subscribers get what comes down, and
/// what its clients publish goes up.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The other relays, such as wss://relay.example.org
    #[arg(value_name = "URL", value_parser = parse_url, required = true)]
    urls: Vec<Address>,

    /// Only events that match this filter
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    filter: Option<Filter>,

    /// Which way events go: down from the other relays, up to them, or both
    #[arg(long, value_name = "WAY", default_value = "down")]
    dir: Way,

    /// Prove to be the owner of the secret key in FILE if asked (NIP-42); `relay key generate`
    /// makes one
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Compare and send private messages, too: for relays that are yours as well
    #[arg(long)]
    private: bool,

    /// Remember which events came from which relay first, and when, for `relay scan --from`
    #[arg(long)]
    provenance: bool,

    /// Compare everything again after this many hours, whatever was compared in between; a relay
    /// without NIP-77 sends all it has for that. 0: never
    #[arg(long, value_name = "HOURS", default_value_t = 168)]
    full_sync_hours: u64,

    /// Print the counts as JSON at the end
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay stream wss://relay.example.org
  relay stream wss://a.example.org wss://b.example.org --dir both
  relay stream wss://relay.example.org --filter '{\"kinds\":[0,3,10002]}'

How far it has come is kept in the store: it goes on from there when it is run again. The parts
[[peer]] of the configuration do the same within `relay serve`.

Exit code 130 after Ctrl-C; 1 when no relay is left that could be dealt with.";

/// Runs the command until it is interrupted.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let filter = without_limits(arguments.filter.clone().unwrap_or_else(everything))?;
    let key = arguments.key.as_deref().map(secret::read).transpose()?.map(Arc::new);
    let config = common.load(Vec::new())?;
    let settings = &config.settings;
    let store = open_or_create(settings)?;
    let clock = Clock::system();
    let (intake, threads) = start_intake(&store, own_names(settings), &clock)?;
    let (announce, stop) = watch::channel(false);
    interrupt::watch(move || {
        let _ = announce.send(true);
    })?;
    let screen = Arc::new(Screen {
        progress: Progress::open_ended(),
        received: AtomicU64::new(0),
        sent: AtomicU64::new(0),
    });
    let follower = Follower {
        store,
        reader: reader_of(settings, arguments.private)?,
        client: client_options(settings),
        filter,
        way: arguments.dir,
        key,
        is_private: arguments.private,
        provenance: provenance_of(arguments.provenance),
        full_secs: (arguments.full_sync_hours > 0).then_some(arguments.full_sync_hours * 3_600),
        intake,
        clock,
        stop: stop.clone(),
        screen: Arc::clone(&screen),
    };
    let started = Instant::now();
    let mut running = Vec::new();
    for url in &arguments.urls {
        let (follower, url) = (follower.clone(), url.clone());
        let spawned = thread::Builder::new()
            .name("peer".to_owned())
            .spawn(move || follower.follow(url))
            .map_err(|error| Failure::failed(format!("failed to start a thread: {error}")))?;
        running.push(spawned);
    }
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for thread in running {
        let (row, failure) = thread.join().map_err(|_| Failure::failed("a thread panicked"))??;
        rows.push(row);
        failures.extend(failure);
    }
    let stored = rows.iter().map(|row: &Row| row.stored).sum();
    drop(follower);
    threads.join();
    screen.progress.clear();
    report(arguments, &rows, stored, started.elapsed())?;
    if *stop.borrow() {
        return Err(Failure::silent(Exit::Interrupted));
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// What one relay's thread needs.
#[derive(Clone)]
struct Follower {
    store: Store,
    reader: Onlooker,
    client: ClientOptions,
    filter: Filter,
    way: Way,
    key: Option<Arc<Keypair>>,
    is_private: bool,
    provenance: Provenance,
    full_secs: Option<u64>,
    intake: Intake,
    clock: Clock,
    stop: watch::Receiver<bool>,
    screen: Arc<Screen>,
}

impl Follower {
    fn follow(self, url: Address) -> Result<(Row, Option<Failure>), Failure> {
        let mut library = Library::new(self.store.clone(), self.reader.clone(), self.clock);
        let shown = url.to_string();
        let (direction, filter) = (self.way.into(), &self.filter);
        let scope = Scope { url: &shown, direction, filter, is_private: self.is_private };
        let status = scope.recall(&shown, &self.store)?;
        let (terms, provenance) = (EntryTerms::Plain, self.provenance);
        let intake = self.intake.for_peer(&shown, &shown, terms, provenance);
        let options = PeerOptions {
            address: url.clone(),
            client: self.client.clone(),
            engine: EngineOptions {
                url: url.to_string(),
                filter: self.filter.clone(),
                direction,
                span: Span::Forever,
                transfer: Transfer::Wanted,
                key: self.key.clone(),
                agreement: status.agreement(),
                full_secs: self.full_secs,
                patience: patience(&self.client, &url),
            },
            given: status.given(),
            bell: None,
        };
        let mut watching = Watching {
            url: url.to_string(),
            screen: Arc::clone(&self.screen),
            seen: (0, 0),
            intake: intake.clone(),
            note: PeerNote::of(&scope),
            before: status.clone(),
            status,
            clock: self.clock,
            noted: Instant::now(),
        };
        let mut stop = self.stop.clone();
        let stopped = async move {
            // Without anybody who could say so it goes on.
            if stop.wait_for(|is_over| *is_over).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let taking = Some(&intake);
        let running = peer::run(options, &mut library, taking, &self.clock, &mut watching, stopped);
        let (engine, ended) = block_on(running)?;
        watching.look(&engine);
        watching.note();
        let row = Row::new(&url, engine.counts(), intake.counts().stored);
        let failure = failure_of(ended, &url);
        if let Some(failure) = &failure {
            // The others go on without it.
            say(failure.to_string().trim_end());
        }
        Ok((row, failure.map(|_| Failure::silent(Exit::Failed))))
    }
}

/// What all threads show together.
struct Screen {
    progress: Progress,
    received: AtomicU64,
    sent: AtomicU64,
}

struct Watching {
    url: String,
    screen: Arc<Screen>,
    /// What was added to the screen's counts.
    seen: (u64, u64),
    intake: Intake,
    note: PeerNote,
    before: PeerStatus,
    status: PeerStatus,
    clock: Clock,
    /// When it was noted last how far it is.
    noted: Instant,
}

impl Watching {
    /// Notes in the store how far it is.
    fn note(&mut self) {
        self.noted = Instant::now();
        let now = self.clock.now_secs();
        let mut rows = self.intake.take_origins(now);
        rows.extend(self.note.take(&self.status, now));
        self.intake.keep(rows);
    }
}

impl Watcher for Watching {
    fn look(&mut self, engine: &Engine) {
        let counts = engine.counts();
        let screen = &self.screen;
        let (received, sent) = (counts.received, counts.accepted + counts.duplicate);
        let more = |all: &AtomicU64, now: u64, before: u64| {
            let more = now.saturating_sub(before);
            all.fetch_add(more, Ordering::Relaxed) + more
        };
        let down = more(&screen.received, received, self.seen.0);
        let up = more(&screen.sent, sent, self.seen.1);
        self.seen = (received, sent);
        self.status.look(engine, &self.before, &self.intake.counts());
        let stage = match engine.stage() {
            Stage::Away => "away",
            Stage::Syncing => "catching up",
            Stage::Following => "following",
        };
        screen.progress.set(down + up);
        screen.progress.describe(|| {
            format!("{} down, {} up; {} {stage}", grouped(down), grouped(up), self.url)
        });
    }

    fn interrupted(&mut self, why: &str, again: Duration) {
        self.status.note_error(why, self.clock.now_secs());
        say(&format!("{}: {why}; trying again in {:.1} s", self.url, again.as_secs_f64()));
    }

    fn remember(&mut self, agreement: Agreement, given: Option<Seq>) {
        self.status.remember(agreement, given);
        if self.noted.elapsed() >= NOTE_PERIOD {
            self.note();
        }
    }

    fn in_sync(&mut self, engine: &Engine) {
        self.look(engine);
        let counts = engine.counts();
        let (down, up) = (grouped(counts.received), grouped(counts.accepted));
        say(&format!("{}: in sync, following ({down} down, {up} up so far)", self.url));
    }
}

/// How often it is noted how far it is.
const NOTE_PERIOD: Duration = Duration::from_secs(5);

/// What was exchanged with one relay.
#[derive(Debug, Serialize)]
struct Row {
    url: String,
    received: u64,
    live: u64,
    stored: u64,
    sent: u64,
    accepted: u64,
    refused: u64,
    connections: u64,
    notes: Vec<String>,
}

impl Row {
    fn new(url: &Address, counts: &Counts, stored: u64) -> Row {
        Row {
            url: url.to_string(),
            received: counts.received,
            live: counts.live,
            stored,
            sent: counts.sent,
            accepted: counts.accepted,
            refused: counts.refused_total(),
            connections: counts.connections,
            notes: counts.notes.clone(),
        }
    }
}

fn report(arguments: &Arguments, rows: &[Row], stored: u64, took: Duration) -> Result<(), Failure> {
    if arguments.json {
        return print_json(&serde_json::json!({ "stored": stored, "peers": rows }));
    }
    say(&format!("followed for {}, {} events stored", elapsed(took), grouped(stored)));
    for row in rows {
        let (down, up) = (grouped(row.received), grouped(row.accepted));
        say(&format!("  {}: {down} down ({} live), {up} up", row.url, grouped(row.live)));
        row.notes.iter().for_each(|note| say(&format!("    note: {note}")));
    }
    Ok(())
}
