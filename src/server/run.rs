//! Starting and stopping: which thread comes up after which, and goes down before which.
//!
//! Up: listeners (so that a taken port stops the start), the writer, the workers, the keeper, the
//! cores. Down the other way round: the cores close their connections, the workers finish what they
//! were given, the writer commits what it was given.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};

use super::core::{CoreParts, CoreStart, Inboxes, Relay};
use super::keeper::Keeper;
use super::negentropy::Kept;
use super::pulse::Pulse;
use super::render::SliceSize;
use super::routes::RelaySite;
use super::settings::{Compression, ServerError, ServerSettings};
use super::work::{Job, Worker};
use crate::clock::Clock;
use crate::fanout::{self, Ring, RingLimits, Waker};
use crate::ingest::{self, Replies, Reply, WriterHandle, WriterThread};
use crate::limits;
use crate::mailbox::{self, Inbox, Sender};
use crate::metrics::CoreMetrics;
use crate::net::{self, Encoding, NetOptions, OutboundLimits, Places};
use crate::policy::Crowd;
use crate::query::Budget;
use crate::session::OwnNames;
use crate::store::Store;
use crate::sys;

/// Runs a server until SIGINT or SIGTERM.
///
/// # Errors
///
/// If it cannot start, or a thread ends unexpectedly.
pub fn run(settings: ServerSettings, store: Store) -> Result<(), ServerError> {
    Server::start(settings, store, &[])?.run_until_signal(|| ())
}

/// A running server. Dropping it leaves it running until the process ends.
pub struct Server {
    address: SocketAddr,
    metrics: Arc<[Arc<CoreMetrics>]>,
    inboxes: Inboxes,
    stop: watch::Sender<bool>,
    cores: Vec<JoinHandle<std::io::Result<()>>>,
    workers: Vec<JoinHandle<()>>,
    /// The workers end once every sender is gone; this is the last.
    work: Sender<Job>,
    keeper: JoinHandle<()>,
    /// The keeper ends once this is gone.
    keeping: Sender<()>,
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
        mut settings: ServerSettings,
        store: Store,
        given: &[TcpListener],
    ) -> Result<Server, ServerError> {
        let cores = settings.cores.unwrap_or_else(sys::core_count).max(1);
        let listeners = if given.is_empty() {
            net::listen(settings.listen, cores)?.into_iter().map(|it| vec![it]).collect()
        } else {
            net::share(given, cores).map_err(ServerError::Sockets)?
        };
        let first = listeners.iter().flatten().next();
        let address = first.and_then(|it| it.local_addr().ok()).unwrap_or(settings.listen);
        if let OwnNames::Local(listen) = &mut settings.session.names {
            // The port may have been left to the system.
            *listen = address;
        }
        let (says_ended, ended) = mpsc::unbounded_channel();
        let bells: Vec<Arc<Notify>> = (0..cores).map(|_| Arc::default()).collect();
        let inboxes = Inboxes(bells.iter().map(inbox_of).collect());
        let (producer, ring) = fanout::ring(RING, inboxes.0.iter().map(waker_of).collect());
        let consumers = Consumers { ring, last: store.last_seq() };
        let relay = Arc::new(Relay {
            store: store.clone(),
            clock: Clock::system(),
            random: sys::random_bytes,
            session: settings.session.clone(),
            query: settings.query,
            count_max: settings.count_max,
            reconcile: settings.reconcile,
            proxies: settings.proxies.clone(),
            crowd: Arc::new(Crowd::new(limits::CROWD_MAX)),
            kept: Kept::default(),
            message_bytes_max: settings.message_bytes_max,
            compression: settings.compression,
            slice_inline: SLICE_INLINE,
            slice_pooled: SLICE_POOLED,
        });
        let replies = WriterReplies {
            inboxes: inboxes.clone(),
            _sentinel: Sentinel { name: "writer".to_owned(), says_ended: says_ended.clone() },
        };
        let writer = ingest::spawn(store.clone(), producer, Box::new(replies), relay.clock)
            .map_err(|source| ServerError::Thread { name: "writer".to_owned(), source })?;
        let (work, workers) = start_workers(cores, &relay, &writer.handle, &inboxes, &says_ended)?;
        let (keeping, keeper) = start_keeper(store, &writer.handle, &says_ended)?;
        let (stop, stopping) = watch::channel(false);
        let all = Cores {
            settings,
            relay,
            inboxes: inboxes.clone(),
            bells,
            consumers,
            work: work.clone(),
        };
        let (cores, metrics) = all.start(listeners, &writer.handle, &stopping, &says_ended)?;
        Ok(Server {
            address,
            metrics,
            inboxes,
            stop,
            cores,
            workers,
            work,
            keeper,
            keeping,
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

    /// Returns what tells whether the server's threads still run.
    pub fn pulse(&self) -> Pulse {
        Pulse { inboxes: self.inboxes.clone(), writer: self.writer.handle.clone() }
    }

    /// Waits for SIGINT or SIGTERM, says that it stops, and stops.
    ///
    /// # Errors
    ///
    /// If signals cannot be listened for, or a thread ended unexpectedly before.
    pub fn run_until_signal(mut self, says_stop: impl FnOnce()) -> Result<(), ServerError> {
        let waited = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .and_then(|runtime| runtime.block_on(signalled(&mut self.ended)));
        says_stop();
        let stopped = self.stop();
        match waited {
            Ok(None) => stopped,
            Ok(Some(name)) => stopped.and(Err(ServerError::Ended(name))),
            Err(error) => Err(ServerError::Signals(error)),
        }
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
        drop(self.work);
        for (number, worker) in self.workers.into_iter().enumerate() {
            let ended = worker.join().map_err(|_| ServerError::Ended(format!("work-{number}")));
            result = result.and(ended);
        }
        drop(self.keeping);
        let ended = self.keeper.join().map_err(|_| ServerError::Ended("keeper".to_owned()));
        self.writer.join();
        result.and(ended)
    }
}

/// Waits for a signal (`None`) or the name of a thread that ended.
async fn signalled(ended: &mut mpsc::UnboundedReceiver<String>) -> std::io::Result<Option<String>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
        name = ended.recv() => Ok(name),
    }
}

/// Where each core's ring consumer starts.
struct Consumers {
    ring: Ring,
    last: crate::seq::Seq,
}

/// Everything the cores are started with.
struct Cores {
    settings: ServerSettings,
    relay: Arc<Relay>,
    inboxes: Inboxes,
    bells: Vec<Arc<Notify>>,
    consumers: Consumers,
    work: Sender<Job>,
}

type CoreThreads = (Vec<JoinHandle<std::io::Result<()>>>, Arc<[Arc<CoreMetrics>]>);

impl Cores {
    fn start(
        self,
        listeners: Vec<Vec<TcpListener>>,
        writer: &WriterHandle,
        stopping: &watch::Receiver<bool>,
        says_ended: &mpsc::UnboundedSender<String>,
    ) -> Result<CoreThreads, ServerError> {
        let site = RelaySite::new(&self.settings);
        let net = net_options(&self.settings);
        let metrics: Arc<[Arc<CoreMetrics>]> = listeners.iter().map(|_| Arc::default()).collect();
        let mut threads = Vec::with_capacity(listeners.len());
        for (place, listeners) in listeners.into_iter().enumerate() {
            let parts = CoreParts {
                number: u32::try_from(place).expect("a machine has fewer than 2^32 cores"),
                relay: Arc::clone(&self.relay),
                inbox: Arc::clone(&self.inboxes.0[place]),
                consumer: self.consumers.ring.consumer(),
                last: self.consumers.last,
                work: self.work.clone(),
                writer: writer.clone(),
                metrics: Arc::clone(&metrics[place]),
                seed: seed_of((self.relay.random)()),
            };
            let start = CoreStart {
                parts,
                listeners,
                site: site.clone(),
                net: net.clone(),
                bell: Arc::clone(&self.bells[place]),
                stop: stopping.clone(),
            };
            threads.push(spawn(format!("core-{place}"), says_ended, move || start.run())?);
        }
        Ok((threads, metrics))
    }
}

fn start_workers(
    count: usize,
    relay: &Arc<Relay>,
    writer: &WriterHandle,
    inboxes: &Inboxes,
    says_ended: &mpsc::UnboundedSender<String>,
) -> Result<(Sender<Job>, Vec<JoinHandle<()>>), ServerError> {
    let (work, jobs) = mailbox::mailbox(count * JOBS_PER_WORKER);
    let mut workers = Vec::with_capacity(count);
    for place in 0..count {
        let worker = Worker {
            relay: Arc::clone(relay),
            jobs: jobs.clone(),
            writer: writer.clone(),
            inboxes: inboxes.clone(),
        };
        workers.push(spawn(format!("work-{place}"), says_ended, move || worker.run())?);
    }
    Ok((work, workers))
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
    _sentinel: Sentinel,
}

impl Replies for WriterReplies {
    fn deliver(&self, core: u32, replies: Vec<Reply>) {
        self.inboxes.deliver(core, replies);
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

fn net_options(settings: &ServerSettings) -> NetOptions {
    let bytes_max = settings.outbound_bytes_max;
    let bytes_high = OUTBOUND_BYTES_HIGH.min(bytes_max / 4);
    NetOptions {
        message_bytes_max: settings.message_bytes_max,
        outbound: OutboundLimits { bytes_high, bytes_low: bytes_high / 4, bytes_max },
        header_deadline: Duration::from_secs(10),
        ping_period: Duration::from_secs(55),
        close_deadline: Duration::from_secs(3),
        encoding: match settings.compression {
            Compression::Off => Encoding::Plain,
            Compression::Live | Compression::All => Encoding::Deflate,
        },
        places: Arc::new(Places::new(connections_max(settings.connections_max))),
    }
}

/// Raises the limit of open files for `wanted` connections; returns how many fit.
fn connections_max(wanted: usize) -> usize {
    let files = (wanted as u64).saturating_add(OTHER_FILES);
    let allowed = sys::raise_open_file_limit(files).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot raise the limit of open files");
        OTHER_FILES * 4
    });
    let possible = usize::try_from(allowed.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    if possible < wanted {
        tracing::info!(wanted, possible, "the limit of open files allows fewer connections");
    }
    wanted.min(possible)
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
/// Above this many bytes in its queue a client gets no more chunks of its queries.
const OUTBOUND_BYTES_HIGH: usize = 512 * 1024;
/// Files that are not connections: the store, listeners, the runtimes' own.
const OTHER_FILES: u64 = 128;
