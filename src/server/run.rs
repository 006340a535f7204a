//! Starting and stopping: which thread comes up after which, and goes down before which.
//!
//! Up: listeners (so that a taken port stops the start), the writer, the plugin stage, the workers,
//! the keeper, the cores. Down the other way round: the cores close their connections, the workers
//! finish what they were given, the plugin's processes end, the writer commits what it was given.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};

use super::core::{CoreParts, CoreStart, Inboxes, Relay};
use super::herald::{self, Desk, HERALD, Herald, HeraldHandle};
use super::in_force::InForce;
use super::keeper::Keeper;
use super::members::Reception;
use super::negentropy::Kept;
use super::plugin::{self, QuestionSender, Stage, StageParts};
use super::pulse::Pulse;
use super::recall;
use super::render::SliceSize;
use super::report::Report;
use super::scribe::Scribe;
use super::settings::{LiveSettings, MembershipSettings, ServerError, ServerSettings};
use super::warden::Warden;
use super::work::{Job, Worker};
use crate::clock::Clock;
use crate::fanout::{self, Ring, RingLimits, Waker};
use crate::ingest::{self, GroupKeeping, Replies, Reply, Witness, WriterHandle, WriterThread};
use crate::limits;
use crate::mailbox::{self, Inbox, Sender};
use crate::metrics::{CoreMetrics, PluginMetrics};
use crate::net;
use crate::nostr::{Keypair, Verifier};
use crate::policy::Crowd;
use crate::policy::groups::Rules;
use crate::query::Budget;
use crate::store::Store;
use crate::sys;

/// Who knows the settings, and is asked for them while the server runs.
pub trait Steward {
    /// Returns settings to go by from here on; nothing to go on as before.
    fn settings(&mut self, occasion: Occasion) -> Option<LiveSettings>;
}

/// Why a [`Steward`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody wants the settings read again (SIGHUP).
    Signal,
    /// It is time to look whether they have changed, twice a second.
    Look,
}

/// A running server. Dropping it leaves it running until the process ends.
pub struct Server {
    address: SocketAddr,
    signals: Signals,
    metrics: Arc<[Arc<CoreMetrics>]>,
    relay: Arc<Relay>,
    inboxes: Inboxes,
    stop: watch::Sender<bool>,
    cores: Vec<JoinHandle<std::io::Result<()>>>,
    workers: Vec<JoinHandle<()>>,
    /// The workers end once every sender is gone; this is the last.
    work: Sender<Job>,
    stage: JoinHandle<std::io::Result<()>>,
    plugin_metrics: Arc<PluginMetrics>,
    keeper: JoinHandle<()>,
    /// The keeper ends once this is gone.
    keeping: Sender<()>,
    warden: JoinHandle<()>,
    /// The warden ends once this is gone.
    warding: Sender<()>,
    /// Who speaks for the relay, if it has a key.
    herald: Option<(HeraldHandle, JoinHandle<()>)>,
    /// Where `/metrics` is, and the thread that answers there.
    reporter: Option<Reporter>,
    writer: WriterThread,
    /// Names of threads that ended.
    ended: mpsc::UnboundedReceiver<String>,
}

impl Server {
    /// Starts all threads; clients can connect when it returns.
    ///
    /// Listens on the sockets that were `given` to this process, or else on the address of the
    /// settings.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on, or the system gives no threads.
    pub fn start(
        settings: ServerSettings,
        store: Store,
        given: &[TcpListener],
    ) -> Result<Server, ServerError> {
        let signals = Signals::listen().map_err(ServerError::Signals)?;
        let cores = settings.cores.unwrap_or_else(sys::core_count).max(1);
        let listeners = if given.is_empty() {
            net::listen(settings.listen, cores)?.into_iter().map(|it| vec![it]).collect()
        } else {
            net::share(given, cores).map_err(ServerError::Sockets)?
        };
        let reporting = settings.metrics.map(|address| net::listen(address, 1)).transpose()?;
        let first = listeners.iter().flatten().next();
        let address = first.and_then(|it| it.local_addr().ok()).unwrap_or(settings.listen);
        let (says_ended, ended) = mpsc::unbounded_channel();
        let bells: Vec<Arc<Notify>> = (0..cores).map(|_| Arc::default()).collect();
        let inboxes = Inboxes(bells.iter().map(inbox_of).collect());
        let (producer, ring) = fanout::ring(RING, inboxes.0.iter().map(waker_of).collect());
        let head = ring.consumer();
        let consumers = Consumers { ring, last: store.last_seq() };
        let ServerSettings { keys, groups, membership, live, .. } = settings;
        let standings = recall::standings(keys.as_deref(), membership.as_ref(), &store)?;
        let (herald, herald_replies, desk) = herald::desk();
        let relay = Arc::new(Relay {
            store: store.clone(),
            clock: Clock::system(),
            random: sys::random_bytes,
            own_key: keys.as_ref().map(|keys| keys.public_key()),
            standings: standings.clone(),
            crowd: Arc::new(Crowd::new(limits::CROWD_MAX)),
            in_force: InForce::new(live, address),
            kept: Kept::default(),
            slice_inline: SLICE_INLINE,
            slice_pooled: SLICE_POOLED,
        });
        let replies = WriterReplies {
            inboxes: inboxes.clone(),
            herald: herald_replies,
            _sentinel: Sentinel { name: "writer".to_owned(), says_ended: says_ended.clone() },
        };
        let scribe = membership
            .is_some()
            .then(|| Box::new(Scribe::new(standings.clone(), herald.clone())) as Box<dyn Witness>);
        let replies = Box::new(replies);
        let groups = start_groups(keys.as_ref(), groups, &relay)?;
        let writer = ingest::spawn(store.clone(), producer, replies, scribe, groups, relay.clock)
            .map_err(|source| ServerError::Thread { name: "writer".to_owned(), source })?;
        let (stop, stopping) = watch::channel(false);
        let (sender, questions) = plugin::question_channel();
        let ends =
            Ends { writer: writer.handle.clone(), questions: sender, inboxes: inboxes.clone() };
        let plugin_metrics: Arc<PluginMetrics> = Arc::default();
        let stage = StageParts {
            relay: Arc::clone(&relay),
            writer: ends.writer.clone(),
            inboxes: ends.inboxes.clone(),
            questions,
            metrics: Arc::clone(&plugin_metrics),
            stop: stopping.clone(),
        };
        let stage = spawn("plugin".to_owned(), &says_ended, move || Stage::run(stage))?;
        let (work, workers) = start_workers(cores, &relay, &ends, &says_ended)?;
        let (warding, warden) = start_warden(&store, &relay, &writer.handle, &says_ended)?;
        let heraldry =
            start_herald((keys, membership), &relay, desk, &writer.handle, &inboxes, &says_ended)?;
        let (keeping, keeper) = start_keeper(store, &writer.handle, &says_ended)?;
        let all = Cores {
            relay: Arc::clone(&relay),
            bells,
            consumers,
            work: work.clone(),
            herald: heraldry.is_some().then(|| herald.clone()),
        };
        let (cores, metrics) = all.start(listeners, &ends, &stopping, &says_ended)?;
        let report = Report {
            relay: Arc::clone(&relay),
            cores: Arc::clone(&metrics),
            pulse: Pulse { inboxes: inboxes.clone(), writer: writer.handle.clone() },
            work: work.clone(),
            ring: head,
        };
        let reporter = start_reporter(report, reporting, &stopping, &says_ended)?;
        Ok(Server {
            address,
            signals,
            metrics,
            relay,
            inboxes,
            stop,
            cores,
            workers,
            work,
            stage,
            plugin_metrics,
            keeper,
            keeping,
            warden,
            warding,
            herald: heraldry.map(|thread| (herald, thread)),
            reporter,
            writer,
            ended,
        })
    }

    /// Returns the address the server listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns what each core counts.
    pub fn metrics(&self) -> &[Arc<CoreMetrics>] {
        &self.metrics
    }

    /// Returns where `/metrics` is, if anywhere.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.reporter.as_ref().map(|(address, _)| *address)
    }

    /// Returns what the plugin stage counts.
    pub fn plugin_metrics(&self) -> &PluginMetrics {
        &self.plugin_metrics
    }

    /// Returns what tells whether the server's threads still run.
    pub fn pulse(&self) -> Pulse {
        Pulse { inboxes: self.inboxes.clone(), writer: self.writer.handle.clone() }
    }

    /// Goes by other settings from here on; what is under way ends by the old ones.
    pub fn reload(&self, settings: LiveSettings) {
        self.relay.in_force.replace(settings, &self.inboxes);
    }

    /// Waits for SIGINT or SIGTERM, says that it stops, and stops. Meanwhile the steward is asked
    /// for other settings: at SIGHUP, and now and then.
    ///
    /// # Errors
    ///
    /// If a thread ended unexpectedly before.
    pub fn run_until_signal(
        mut self,
        steward: &mut dyn Steward,
        says_stop: impl FnOnce(),
    ) -> Result<(), ServerError> {
        let ended = loop {
            match self.signals.next(&mut self.ended) {
                Sign::Stop => break None,
                Sign::Ended(name) => break Some(name),
                Sign::Ask(occasion) => {
                    if let Some(settings) = steward.settings(occasion) {
                        self.reload(settings);
                    }
                }
            }
        };
        says_stop();
        let stopped = self.stop();
        ended.map_or(stopped, |name| Err(ServerError::Ended(name)))
    }

    /// Closes all connections, finishes what was accepted, and ends all threads.
    ///
    /// # Errors
    ///
    /// If a core or worker had ended with an error before.
    pub fn stop(self) -> Result<(), ServerError> {
        self.stop.send_replace(true);
        let mut result = Ok(());
        for (number, core) in self.cores.into_iter().enumerate() {
            let name = format!("core-{number}");
            let ended = match core.join() {
                Ok(Ok(())) => Ok(()),
                Ok(Err(source)) => Err(ServerError::Core { name, source }),
                Err(_) => Err(ServerError::Ended(name)),
            };
            result = result.and(ended);
        }
        if let Some((_, reporter)) = self.reporter {
            let name = "metrics".to_owned();
            let ended = reporter.join().map_err(|_| ServerError::Ended(name)).map(drop);
            result = result.and(ended);
        }
        drop(self.work);
        for (number, worker) in self.workers.into_iter().enumerate() {
            let ended = worker.join().map_err(|_| ServerError::Ended(format!("work-{number}")));
            result = result.and(ended);
        }
        let ended = match self.stage.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(ServerError::Core { name: "plugin".to_owned(), source }),
            Err(_) => Err(ServerError::Ended("plugin".to_owned())),
        };
        result = result.and(ended);
        drop(self.warding);
        let ended = self.warden.join().map_err(|_| ServerError::Ended("warden".to_owned()));
        result = result.and(ended);
        drop(self.keeping);
        let ended = self.keeper.join().map_err(|_| ServerError::Ended("keeper".to_owned()));
        result = result.and(ended);
        if let Some((handle, herald)) = self.herald {
            handle.stop();
            result = result.and(herald.join().map_err(|_| ServerError::Ended("herald".to_owned())));
        }
        self.writer.join();
        result
    }
}

/// What the main thread waits for.
///
/// Listened for before the relay says that it serves: a signal that nobody listens for ends it.
struct Signals {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    looks: Interval,
}

/// What the main thread has to do.
enum Sign {
    Stop,
    /// A thread of this name has ended.
    Ended(String),
    /// The steward is to be asked.
    Ask(Occasion),
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _context = runtime.enter();
        let mut looks = tokio::time::interval(LOOK_PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            looks,
            runtime,
        })
    }

    fn next(&mut self, ended: &mut mpsc::UnboundedReceiver<String>) -> Sign {
        let Signals { runtime, interrupt, terminate, hang_up, looks } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => Sign::Stop,
                _ = terminate.recv() => Sign::Stop,
                name = ended.recv() => name.map_or(Sign::Stop, Sign::Ended),
                _ = hang_up.recv() => Sign::Ask(Occasion::Signal),
                _ = looks.tick() => Sign::Ask(Occasion::Look),
            }
        })
    }
}

/// Where each core's ring consumer starts.
struct Consumers {
    ring: Ring,
    last: crate::seq::Seq,
}

/// Where events go, and what became of them.
struct Ends {
    writer: WriterHandle,
    questions: QuestionSender,
    inboxes: Inboxes,
}

/// Everything the cores are started with.
struct Cores {
    relay: Arc<Relay>,
    bells: Vec<Arc<Notify>>,
    consumers: Consumers,
    work: Sender<Job>,
    herald: Option<HeraldHandle>,
}

type CoreThreads = (Vec<JoinHandle<std::io::Result<()>>>, Arc<[Arc<CoreMetrics>]>);

impl Cores {
    fn start(
        self,
        listeners: Vec<Vec<TcpListener>>,
        ends: &Ends,
        stopping: &watch::Receiver<bool>,
        says_ended: &mpsc::UnboundedSender<String>,
    ) -> Result<CoreThreads, ServerError> {
        let metrics: Arc<[Arc<CoreMetrics>]> = listeners.iter().map(|_| Arc::default()).collect();
        let mut threads = Vec::with_capacity(listeners.len());
        for (place, listeners) in listeners.into_iter().enumerate() {
            let parts = CoreParts {
                number: u32::try_from(place).expect("a machine has fewer than 2^32 cores"),
                relay: Arc::clone(&self.relay),
                inbox: Arc::clone(&ends.inboxes.0[place]),
                consumer: self.consumers.ring.consumer(),
                last: self.consumers.last,
                work: self.work.clone(),
                writer: ends.writer.clone(),
                questions: ends.questions.clone(),
                herald: self.herald.clone(),
                metrics: Arc::clone(&metrics[place]),
                seed: seed_of((self.relay.random)()),
            };
            let start = CoreStart {
                parts,
                listeners,
                bell: Arc::clone(&self.bells[place]),
                stop: stopping.clone(),
            };
            threads.push(spawn(format!("core-{place}"), says_ended, move || start.run())?);
        }
        Ok((threads, metrics))
    }
}

/// Reads the groups of a relay that has some back from its store.
fn start_groups(
    keys: Option<&Arc<Keypair>>,
    rules: Option<Rules>,
    relay: &Relay,
) -> Result<Option<GroupKeeping>, ServerError> {
    let (Some(keys), Some(rules)) = (keys, rules) else { return Ok(None) };
    let (standings, now) = (relay.standings.clone(), relay.clock.now_secs());
    Ok(Some(GroupKeeping::new(rules, Arc::clone(keys), standings, &relay.store, now)?))
}

/// Starts the herald of a relay that has a key.
fn start_herald(
    settings: (Option<Arc<Keypair>>, Option<MembershipSettings>),
    relay: &Relay,
    desk: Desk,
    writer: &WriterHandle,
    inboxes: &Inboxes,
    says_ended: &mpsc::UnboundedSender<String>,
) -> Result<Option<JoinHandle<()>>, ServerError> {
    let (Some(keys), Some(membership)) = settings else { return Ok(None) };
    let herald = Herald {
        clock: relay.clock,
        standings: relay.standings.clone(),
        writer: writer.clone(),
        inboxes: inboxes.clone(),
        reception: Reception::new(membership, &keys, relay.random),
        keys,
        desk,
        verifier: Verifier::default(),
        said_at: 0,
    };
    spawn("herald".to_owned(), says_ended, move || herald.run()).map(Some)
}

fn start_workers(
    count: usize,
    relay: &Arc<Relay>,
    ends: &Ends,
    says_ended: &mpsc::UnboundedSender<String>,
) -> Result<(Sender<Job>, Vec<JoinHandle<()>>), ServerError> {
    let (work, jobs) = mailbox::mailbox(count * JOBS_PER_WORKER);
    let mut workers = Vec::with_capacity(count);
    for place in 0..count {
        let worker = Worker {
            relay: Arc::clone(relay),
            jobs: jobs.clone(),
            writer: ends.writer.clone(),
            questions: ends.questions.clone(),
            inboxes: ends.inboxes.clone(),
        };
        workers.push(spawn(format!("work-{place}"), says_ended, move || worker.run())?);
    }
    Ok((work, workers))
}

/// Starts the warden, after what it has to do before anybody is served.
fn start_warden(
    store: &Store,
    relay: &Arc<Relay>,
    writer: &WriterHandle,
    says_ended: &mpsc::UnboundedSender<String>,
) -> Result<(Sender<()>, JoinHandle<()>), ServerError> {
    let (warding, stop) = mailbox::mailbox(1);
    let (store, relay, writer) = (store.clone(), Arc::clone(relay), writer.clone());
    let mut warden = Warden { store, relay, writer, stop, weaver: None, swept_at: None };
    warden.begin();
    let thread = spawn("warden".to_owned(), says_ended, move || warden.run())?;
    Ok((warding, thread))
}

fn start_keeper(
    store: Store,
    writer: &WriterHandle,
    says_ended: &mpsc::UnboundedSender<String>,
) -> Result<(Sender<()>, JoinHandle<()>), ServerError> {
    let (keeping, stop) = mailbox::mailbox(1);
    let keeper = Keeper { store, writer: writer.clone(), stop };
    let thread = spawn("keeper".to_owned(), says_ended, move || keeper.run())?;
    Ok((keeping, thread))
}

type Reporter = (SocketAddr, JoinHandle<std::io::Result<()>>);

fn start_reporter(
    report: Report,
    listeners: Option<Vec<TcpListener>>,
    stopping: &watch::Receiver<bool>,
    says_ended: &mpsc::UnboundedSender<String>,
) -> Result<Option<Reporter>, ServerError> {
    let Some(listener) = listeners.into_iter().flatten().next() else { return Ok(None) };
    let address = listener.local_addr().map_err(ServerError::Sockets)?;
    let stop = stopping.clone();
    let thread = spawn("metrics".to_owned(), says_ended, move || report.serve(listener, stop))?;
    Ok(Some((address, thread)))
}

fn spawn<T: Send + 'static>(
    name: String,
    says_ended: &mpsc::UnboundedSender<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ServerError> {
    let sentinel = Sentinel { name: name.clone(), says_ended: says_ended.clone() };
    let body = move || {
        let _sentinel = sentinel;
        body()
    };
    Builder::new()
        .name(name.clone())
        .spawn(body)
        .map_err(|source| ServerError::Thread { name, source })
}

/// Says which thread ended when it is dropped at that thread's end, whatever the reason.
struct Sentinel {
    name: String,
    says_ended: mpsc::UnboundedSender<String>,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // Nobody listens while the server stops.
        let _ = self.says_ended.send(std::mem::take(&mut self.name));
    }
}

/// The writer's way to the cores; dropped when the writer ends.
struct WriterReplies {
    inboxes: Inboxes,
    herald: Sender<Vec<Reply>>,
    _sentinel: Sentinel,
}

impl Replies for WriterReplies {
    fn deliver(&self, core: u32, replies: Vec<Reply>) {
        if core == HERALD {
            // There is room for as many as the herald waits for.
            drop(self.herald.try_send(replies));
        } else {
            self.inboxes.deliver(core, replies);
        }
    }
}

/// Returns the number that the first random bytes are.
fn seed_of([a, b, c, d, e, f, g, h, ..]: [u8; 16]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn inbox_of(bell: &Arc<Notify>) -> Arc<Inbox<super::core::Message>> {
    let bell = Arc::clone(bell);
    Inbox::new(move || bell.notify_one())
}

fn waker_of(inbox: &Arc<Inbox<super::core::Message>>) -> Waker {
    let inbox = Arc::clone(inbox);
    Arc::new(move || inbox.ring())
}

/// Enough for a second of the busiest writer; a core that is further behind reads the store's log.
const RING: RingLimits = RingLimits { batches: 1024, bytes: 32 << 20 };
/// Jobs that may wait for each worker: a few milliseconds of work.
const JOBS_PER_WORKER: usize = 8;
/// About 300 microseconds of searching, and the rendering of a usual page of events.
const SLICE_INLINE: SliceSize =
    SliceSize { budget: Budget { steps: 30_000 }, chunk_bytes: 512 * 1024 };
/// About two milliseconds.
const SLICE_POOLED: SliceSize =
    SliceSize { budget: Budget { steps: 200_000 }, chunk_bytes: 256 * 1024 };
/// How often the steward looks.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
