//! `tools loadgen`: which scenarios run against which relay.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::fanout::{self, Audience, Broadcast};
use super::files::{Check, Files};
use super::flood::{self, Flooding, Means};
use super::idle::{self, Idling};
use super::material::Material;
use super::process::{Process, Usage};
use super::publish::{self, Answers, Publishing};
use super::query::{self, Asking, Verb};
use super::report::{Head, Row};
use super::shapes::{self, Shape};
use super::wire::Address;
use crate::Failure;

/// The arguments of `tools loadgen`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The relay, as ws://HOST:PORT/ or wss://HOST:PORT/
    #[arg(long, global = true, default_value = "ws://127.0.0.1:7777")]
    url: Address,
    /// The relay's process on this machine, to tell what it uses
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// Events as JSON lines; what is queried is derived from them
    #[arg(long, global = true, value_name = "FILE")]
    events: Option<PathBuf>,
    /// How many events to generate if there is no file
    #[arg(long, global = true, value_name = "N", default_value_t = 20_000)]
    generated: u64,
    /// The seed of everything random
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Messages per second, sent whatever the relay does [default: as fast as it answers]
    #[arg(long, global = true)]
    rate: Option<f64>,
    /// Offer compression (permessage-deflate), and insist on it
    #[arg(long, global = true)]
    deflate: bool,
    /// Give up when nothing has been answered for so long
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30)]
    patience: u64,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    scenario: Scenario,
}

/// The scenarios.
#[derive(clap::Subcommand)]
enum Scenario {
    /// Publish stored events and wait for their OKs
    Publish {
        /// How many may wait for their OK; 1 is one by one
        #[arg(long, default_value_t = 256)]
        in_flight: usize,
        #[arg(long, default_value_t = 4)]
        connections: usize,
        /// Leave out the first events
        #[arg(long, default_value_t = 0)]
        skip: usize,
        /// How many events [default: all]
        #[arg(long)]
        count: Option<usize>,
        /// The relay has these events already
        #[arg(long)]
        duplicates: bool,
    },
    /// Ask for stored events in every shape that clients use
    Query {
        #[command(flatten)]
        query: Query,
        /// Only shapes whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Count stored events
    Count {
        #[command(flatten)]
        query: Query,
    },
    /// Reconcile stored events with clients that have none or others (NIP-77)
    Negentropy {
        #[command(flatten)]
        query: Query,
    },
    /// Publish new events to many subscribers
    Fanout {
        #[arg(long, default_value_t = 1_000)]
        subscribers: usize,
        #[arg(long, default_value_t = 250)]
        count: usize,
        /// Send all events at once
        #[arg(long)]
        burst: bool,
    },
    /// Publish new events, each to a few of many subscribers
    Targeted {
        #[arg(long, default_value_t = 1_000)]
        subscribers: usize,
        /// How many subscribers get an event
        #[arg(long, default_value_t = 10)]
        few: usize,
        #[arg(long, default_value_t = 250)]
        count: usize,
    },
    /// Hold connections open
    Idle {
        #[arg(long, default_value_t = 1_000)]
        connections: usize,
        #[arg(long, default_value_t = 0)]
        subscriptions: usize,
        /// Then publish events, each for one of the subscriptions
        #[arg(long, default_value_t = 0)]
        count: usize,
    },
    /// Measure a well-behaved client in calm, and while many addresses flood the relay
    ///
    /// They are 127.0.1.1 and so on, so the relay has to measure those: start it with
    /// --set guard.exempt= --set server.trusted_proxies=
    Flood {
        #[arg(long, default_value_t = 100)]
        addresses: u16,
        /// Messages of each of them in a second
        #[arg(long, default_value_t = 200)]
        each: u32,
        /// Seconds of calm, and of flood
        #[arg(long, default_value_t = 10.0)]
        period: f64,
        /// What they flood with
        #[arg(long, value_enum, default_value_t = Means::Mixed)]
        by: Means,
    },
    /// Import the events into empty stores and export them, by the relay's own commands
    Files(Commands),
    /// Fill an empty relay with the events, then run everything
    All {
        /// The relay has the events already
        #[arg(long)]
        filled: bool,
        /// Seconds for each shape of query
        #[arg(long, default_value_t = 2.0)]
        period: f64,
        /// Idle connections
        #[arg(long, default_value_t = 9_000)]
        connections: usize,
    },
}

/// Where the relay's own commands are, and where they work.
#[derive(clap::Args)]
struct Commands {
    /// The relay's binary
    #[arg(long)]
    relay: PathBuf,
    /// Where the stores are made for a while; this folder's disk is part of what is measured
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
}

/// How to ask queries.
#[derive(clap::Args)]
struct Query {
    /// How many queries may wait for their end
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Seconds for each shape
    #[arg(long, default_value_t = 2.0)]
    period: f64,
}

impl Query {
    fn asking(&self, verb: Verb, rate: Option<f64>) -> Asking {
        let period = Duration::from_secs_f64(self.period.clamp(0.01, 3_600.0));
        let (in_flight, connections) = (self.in_flight, self.connections);
        Asking { verb, in_flight, connections, rate, period }
    }
}

/// The relay under load.
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) process: Option<Process>,
    pub(crate) patience: Duration,
    own: Process,
}

/// Measures from its making on.
pub(crate) struct Meter {
    process: Option<Process>,
    own: Process,
    before: Usage,
    own_before: Usage,
    start: Instant,
}

impl Target {
    /// Begins to measure.
    pub(crate) fn meter(&self) -> Result<Meter, Failure> {
        Ok(Meter {
            process: self.process,
            own: self.own,
            before: self.process.map_or(Ok(Usage::default()), Process::usage)?,
            own_before: self.own.usage()?,
            start: Instant::now(),
        })
    }
}

impl Meter {
    /// Returns a row with what was used for `count` units so far.
    pub(crate) fn row(&self, work: impl Into<String>, count: u64) -> Result<Row, Failure> {
        let mut row = Row { count, elapsed: self.start.elapsed(), ..Row::new(work) };
        if let Some(process) = self.process {
            let usage = process.usage()?;
            row.spent = Some(usage.since(&self.before));
            row.memory_bytes = Some(usage.memory_bytes);
        }
        row.own = Some(self.own.usage()?.since(&self.own_before));
        Ok(row)
    }

    /// Adds what the relay does afterwards, by itself.
    pub(crate) fn settle(&self, row: &mut Row) -> Result<(), Failure> {
        if let Some(process) = self.process {
            process.settle(Duration::from_secs(20))?;
            row.settled = Some(process.usage()?.since(&self.before));
        }
        Ok(())
    }
}

/// Runs scenarios and prints their rows.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // With fewer files than it wants, `idle` says at which connection it failed.
    let _ = chappe::sys::raise_open_file_limit(FILES);
    let address = arguments.url.clone();
    let target = Target {
        address: if arguments.deflate { address.with_deflate() } else { address },
        process: arguments.pid.map(Process::watch).transpose()?,
        patience: Duration::from_secs(arguments.patience.max(1)),
        own: Process::watch(std::process::id())?,
    };
    let mut session = Session { arguments, target, rows: Vec::new() };
    if !arguments.json {
        println!("{Head}");
    }
    session.run()?;
    if arguments.json {
        let rows: Vec<_> = session.rows.iter().map(Row::to_json).collect();
        println!("{}", serde_json::Value::Array(rows));
    }
    let faults = session.rows.iter().filter(|row| !row.faults.is_empty()).count();
    if faults > 0 { Err(format!("{faults} rows have faults").into()) } else { Ok(()) }
}

/// Scenarios under way.
struct Session<'a> {
    arguments: &'a Arguments,
    target: Target,
    rows: Vec<Row>,
}

impl Session<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        let rate = self.arguments.rate;
        match &self.arguments.scenario {
            Scenario::Publish { in_flight, connections, skip, count, duplicates } => {
                let material = self.material()?;
                let first = (*skip).min(material.count());
                let last = count.map_or(material.count(), |count| first.saturating_add(count));
                let answers = if *duplicates { Answers::Duplicates } else { Answers::Accepted };
                let (in_flight, connections) = (*in_flight, *connections);
                let places = first..last.min(material.count());
                let work = format!("publish, {in_flight} in flight");
                let publishing = Publishing { work, places, in_flight, connections, rate, answers };
                self.publish(&material, &publishing);
            }
            Scenario::Query { query, only } => {
                let shapes = shapes::requests(&self.material()?.facts, self.arguments.seed);
                let chosen: Vec<_> =
                    shapes.into_iter().filter(|it| it.name.contains(only)).collect();
                self.ask(&chosen, &query.asking(Verb::Req, rate));
            }
            Scenario::Count { query } => {
                let shapes = shapes::counts(&self.material()?.facts, self.arguments.seed);
                self.ask(&shapes, &query.asking(Verb::Count, rate));
            }
            Scenario::Negentropy { query } => {
                let shapes = shapes::reconciliations(&self.material()?.facts, self.arguments.seed);
                self.ask(&shapes, &query.asking(Verb::Reconcile, rate));
            }
            Scenario::Fanout { subscribers, count, burst } => {
                let rate = if *burst { None } else { Some(rate.unwrap_or(LIVE_RATE)) };
                self.broadcast(*subscribers, Audience::All, *count, rate);
            }
            Scenario::Targeted { subscribers, few, count } => {
                let rate = Some(rate.unwrap_or(LIVE_RATE));
                self.broadcast(*subscribers, Audience::Few(*few), *count, rate);
            }
            Scenario::Idle { connections, subscriptions, count } => {
                self.idle(*connections, *subscriptions, *count);
            }
            Scenario::Flood { addresses, each, period, by } => {
                let flooding = Flooding {
                    means: *by,
                    addresses: *addresses,
                    each: *each,
                    rate: rate.unwrap_or(GOOD_RATE),
                    period: Duration::from_secs_f64(period.clamp(0.1, 3_600.0)),
                };
                let rows = flood::flood(&self.target, &flooding);
                self.add("a good client in a flood", rows);
            }
            Scenario::Files(commands) => self.files(commands)?,
            Scenario::All { filled, period, connections } => {
                self.all(*filled, *period, *connections)?;
            }
        }
        Ok(())
    }

    fn all(&mut self, filled: bool, period: f64, connections: usize) -> Result<(), Failure> {
        let material = self.material()?;
        // First, while the relay has no memory from before that it could use again.
        self.idle(connections, 5, 0);
        if !filled {
            self.fill(&material);
        }
        let duplicates = Publishing {
            work: "publish duplicates, 256 in flight".to_owned(),
            places: 0..material.count().min(20_000),
            in_flight: 256,
            connections: 4,
            rate: None,
            answers: Answers::Duplicates,
        };
        self.publish(&material, &duplicates);
        let query = Query { in_flight: 16, connections: 4, period };
        let shapes = shapes::requests(&material.facts, self.arguments.seed);
        self.ask(&shapes, &query.asking(Verb::Req, None));
        let shapes = shapes::counts(&material.facts, self.arguments.seed);
        self.ask(&shapes, &query.asking(Verb::Count, None));
        let shapes = shapes::reconciliations(&material.facts, self.arguments.seed);
        self.ask(&shapes, &query.asking(Verb::Reconcile, None));
        self.broadcast(1_000, Audience::All, 250, Some(LIVE_RATE));
        self.broadcast(1_000, Audience::Few(10), 250, Some(LIVE_RATE));
        self.broadcast(1_000, Audience::All, 250, None);
        self.idle(1_000, 5, 250);
        self.idle(connections, 5, 250);
        Ok(())
    }

    /// Publishes all events: most of them many in flight, the last ones fewer, then one by one.
    fn fill(&mut self, material: &Material) {
        let count = material.count();
        let single = (count / 20).min(2_000);
        let some = (count / 5).min(40_000);
        let parts = [
            (8_000, 0..count - single - some, 4),
            (256, count - single - some..count - single, 4),
            (1, count - single..count, 1),
        ];
        for (in_flight, places, connections) in parts {
            let work = format!("publish, {in_flight} in flight");
            let (rate, answers) = (None, Answers::Accepted);
            let publishing = Publishing { work, places, in_flight, connections, rate, answers };
            self.publish(material, &publishing);
        }
    }

    fn files(&mut self, commands: &Commands) -> Result<(), Failure> {
        let folder = tempfile::tempdir_in(std::path::absolute(&commands.folder)?)?;
        let relay = commands.relay.canonicalize().map_err(|error| {
            format!("expected the relay's binary at {}: {error}", commands.relay.display())
        })?;
        let events = self.arguments.events.as_deref().map(std::path::absolute).transpose()?;
        // A file of events may be compressed, and need not be read here.
        let material = match &events {
            Some(_) => Material::default(),
            None => self.material()?,
        };
        let files = Files::new(&relay, events.as_deref(), &material, folder.path())?;
        for check in [Check::Verified, Check::Unverified] {
            let row = files.import(check);
            self.add("import", row.map(|row| vec![row]));
        }
        let row = files.export(Check::Verified);
        self.add("export", row.map(|row| vec![row]));
        Ok(())
    }

    fn material(&self) -> Result<Material, Failure> {
        match &self.arguments.events {
            Some(path) => Material::read(path),
            None => Material::generate(self.arguments.generated, self.arguments.seed),
        }
    }

    fn publish(&mut self, material: &Material, publishing: &Publishing) {
        let row = publish::publish(&self.target, material, publishing);
        self.add(&publishing.work, row.map(|row| vec![row]));
    }

    fn ask(&mut self, shapes: &[Shape], asking: &Asking) {
        for shape in shapes {
            let row = query::ask(&self.target, shape, asking);
            self.add(shape.name, row.map(|row| vec![row]));
        }
    }

    fn broadcast(
        &mut self,
        subscribers: usize,
        audience: Audience,
        events: usize,
        rate: Option<f64>,
    ) {
        let whom = match audience {
            Audience::All => format!("{subscribers} subscribers"),
            Audience::Few(few) => format!("{few} of {subscribers} subscribers"),
        };
        let how = rate.map_or_else(|| "burst".to_owned(), |rate| format!("{rate}/s"));
        let work = format!("live, {whom}, {how}");
        let broadcast = Broadcast { work: work.clone(), subscribers, audience, events, rate };
        let rows = fanout::broadcast(&self.target, &broadcast);
        self.add(&work, rows);
    }

    fn idle(&mut self, connections: usize, subscriptions: usize, events: usize) {
        let rate = self.arguments.rate.unwrap_or(LIVE_RATE);
        let rows = idle::idle(&self.target, &Idling { connections, subscriptions, events, rate });
        self.add("idle connections", rows);
    }

    /// Prints and keeps rows; a scenario that failed is a row, too.
    fn add(&mut self, work: &str, rows: Result<Vec<Row>, Failure>) {
        let rows = rows.unwrap_or_else(|error| {
            vec![Row { faults: vec![error.to_string()], ..Row::new(work) }]
        });
        for row in rows {
            if !self.arguments.json {
                println!("{row}");
            }
            self.rows.push(row);
        }
    }
}

/// Events per second of live delivery.
const LIVE_RATE: f64 = 50.0;
/// Messages per second of a client that behaves well: less than any rate of the defaults.
const GOOD_RATE: f64 = 50.0;
/// Connections that `idle` may want, and a few more.
const FILES: u64 = 65_536;
