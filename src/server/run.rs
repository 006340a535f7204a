//! Starting and stopping: which thread comes up after which, and goes down before which.
//!
//! Up: listeners (so that a taken port stops the start), the writer, the plugin stage, the workers,
//! the chores, the office, the cores. Down the other way round: the cores close their connections, the workers
//! finish what they were given, the plugin's processes end, the writer commits what it was given.
//! How a thread is put together is `start`'s.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};

use super::core::{AllMetrics, Inboxes, Relay};
use super::gate::{Doorway, Gate};
use super::herald::{self, HeraldHandle};
use super::in_force::InForce;
use super::management::{self, OfficeHandle};
use super::negentropy::Kept;
use super::pages::Counters;
use super::plugin;
use super::pool::JobSender;
use super::pulse::Pulse;
use super::recall;
use super::render::SliceSize;
use super::scribe::Scribe;
use super::settings::{Addresses, LiveSettings, ServerError, ServerSettings};
use super::signals::{Sign, Signals, Steward};
use super::start::{self, Consumers, Starter};
use super::threads::{Leashed, Spawner, Thread};
use super::warden::Sweeps;
use super::wishes::Wishes;
use crate::address::Aliases;
use crate::clock::Clock;
use crate::fanout::{self, RingLimits};
use crate::ingest::{Entrance, WriterThread};
use crate::limits;
use crate::metrics::{CaretakerMetrics, CoreMetrics, PluginMetrics};
use crate::net;
use crate::nostr::Keypair;
use crate::policy::{Crowd, Standings};
use crate::query::Budget;
use crate::store::Store;
use crate::sys;

/// A running server. Dropping it leaves it running until the process ends.
pub struct Server {
    addresses: Addresses,
    signals: Signals,
    plugin_metrics: Arc<PluginMetrics>,
    relay: Arc<Relay>,
    inboxes: Inboxes,
    stop: watch::Sender<bool>,
    cores: Vec<Thread>,
    workers: Vec<Thread>,
    /// The workers end once every sender is gone; this is the last.
    work: JobSender,
    stage: Thread,
    /// Where events of peers enter.
    entrance: Arc<Doorway>,
    /// What goes on beside the clients, in the order in which it ends.
    chores: Vec<Leashed>,
    /// Who cares for the store; nobody waits for its end.
    caretaker: Leashed,
    /// Who speaks for the relay, if it has a key.
    herald: Option<(HeraldHandle, Thread)>,
    /// Where `/metrics` is, and the thread that answers there.
    reporter: Option<(SocketAddr, Thread)>,
    /// Who does what administrators ask for.
    office: Thread,
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
        let count = settings.cores.unwrap_or_else(sys::core_count).max(1);
        let (listeners, addresses) = start::listen(&settings, count, given)?;
        let reporting = settings.metrics.map(|address| net::listen(address, 1)).transpose()?;
        let bells: Vec<Arc<Notify>> = (0..count).map(|_| Arc::default()).collect();
        let inboxes = start::inboxes(&bells);
        let gate: Arc<Gate> = Arc::default();
        let (producer, ring) = fanout::ring(RING, start::wakers(&inboxes, &gate));
        let (head, consumers) = (ring.consumer(), Consumers::new(ring, &store));

        let ServerSettings { keys, groups, membership, live, .. } = settings;
        let standings = recall::standings(keys.as_deref(), membership.as_ref(), &store)?;
        let (herald, herald_replies, desk) = herald::desk();
        let scribe = membership.is_some().then(|| Scribe::new(standings.clone(), herald.clone()));
        let (office, calls) = management::office_channel();
        let facts = (standings, InForce::new(live, addresses.plain), office, gate);
        let relay = Arc::new(relay(store, keys.as_deref(), facts, count));

        let (spawner, ended) = Spawner::new();
        let (replies, groups) = ((inboxes.clone(), herald_replies), groups.zip(keys.clone()));
        let writer = start::start_writer(&spawner, &relay, producer, replies, groups, scribe)?;
        let (stop, stopping) = watch::channel(false);
        let (sender, questions) = plugin::question_channel();
        let starter = Starter {
            spawner,
            relay: Arc::clone(&relay),
            writer: writer.handle.clone(),
            inboxes: inboxes.clone(),
            questions: sender,
            stopping,
        };
        let entrance = starter.doorway();
        let plugin_metrics: Arc<PluginMetrics> = Arc::default();
        let stage = starter.stage(questions, &plugin_metrics)?;
        let (work, workers) = starter.workers(count)?;
        let chores = vec![starter.warden()?, starter.keeper()?];
        let speaker = starter.herald(keys.clone(), membership, desk)?;
        let asked = speaker.is_some().then_some(&herald);
        let office = starter.office(calls, keys.as_deref(), asked)?;
        let cores = starter.cores(listeners, &bells, &consumers, (&work, asked))?;
        let caretaker = starter.caretaker()?;
        let report = starter.report(&plugin_metrics, &work, head);
        let reporter = starter.reporter(report, reporting)?;
        let herald = speaker.map(|thread| (herald, thread));
        Ok(Server {
            addresses,
            signals,
            plugin_metrics,
            relay,
            inboxes,
            stop,
            cores,
            workers,
            work,
            stage,
            entrance,
            chores,
            caretaker,
            herald,
            reporter,
            office,
            writer,
            ended,
        })
    }

    /// Returns the address the server listens on without TLS.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses.plain
    }

    /// Returns the addresses that the server speaks TLS at.
    pub fn encrypted_addrs(&self) -> &[SocketAddr] {
        &self.addresses.encrypted
    }

    /// Returns what each core counts.
    pub fn metrics(&self) -> &[Arc<CoreMetrics>] {
        &self.relay.cores
    }

    /// Returns where `/metrics` is, if anywhere.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.reporter.as_ref().map(|(address, _)| *address)
    }

    /// Returns what the plugin stage counts.
    pub fn plugin_metrics(&self) -> &PluginMetrics {
        &self.plugin_metrics
    }

    /// Returns where events of peers enter, as long as the server runs.
    pub fn entrance(&self) -> Arc<dyn Entrance> {
        Arc::clone(&self.entrance) as Arc<dyn Entrance>
    }

    /// Returns what tells whether the server's threads still run.
    pub fn pulse(&self) -> Pulse {
        Pulse { inboxes: self.inboxes.clone(), writer: self.writer.handle.clone() }
    }

    /// Goes by other settings from here on; what is under way ends by the old ones.
    pub fn reload(&self, settings: LiveSettings) {
        let terms = settings.membership.terms.clone();
        self.relay.in_force.replace(settings, &self.inboxes);
        self.relay.standings.update(|standing| {
            if let Some(members) = &mut standing.members {
                members.agree(&terms);
            }
        });
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
        steward.stopping();
        let stopped = self.stop();
        ended.map_or(stopped, |name| Err(ServerError::Ended(name)))
    }

    /// Closes all connections, finishes what was accepted, and ends all threads.
    ///
    /// # Errors
    ///
    /// If a thread had ended with an error before.
    pub fn stop(self) -> Result<(), ServerError> {
        self.stop.send_replace(true);
        drop(self.caretaker);
        let mut result = Ok(());
        let mut note = |ended: Result<(), ServerError>| {
            let before = std::mem::replace(&mut result, Ok(()));
            result = before.and(ended);
        };
        self.cores.into_iter().for_each(|core| note(core.join()));
        if let Some((_, reporter)) = self.reporter {
            note(reporter.join());
        }
        note(self.office.join());
        drop(self.work);
        self.workers.into_iter().for_each(|worker| note(worker.join()));
        note(self.stage.join());
        self.chores.into_iter().for_each(|chore| note(chore.stop()));
        if let Some((handle, herald)) = self.herald {
            handle.stop();
            note(herald.join());
        }
        self.writer.join();
        result
    }
}

/// Returns what all threads share.
fn relay(
    store: Store,
    keys: Option<&Keypair>,
    (standings, in_force, office, gate): (Standings, InForce, OfficeHandle, Arc<Gate>),
    cores: usize,
) -> Relay {
    let clock = Clock::system();
    let cores: AllMetrics = (0..cores).map(|_| Arc::default()).collect();
    Relay {
        store,
        clock,
        random: sys::random_bytes,
        own_key: keys.map(Keypair::public_key),
        standings,
        office,
        sweeps: Sweeps::default(),
        crowd: Arc::new(Crowd::new(limits::CROWD_MAX)),
        in_force,
        aliases: Aliases::new(sys::random_bytes()),
        kept: Kept::default(),
        counters: Counters::new(Arc::clone(&cores), clock.now_secs()),
        cores,
        gate,
        caretaking: CaretakerMetrics::default(),
        wishes: Wishes::default(),
        slice_inline: SLICE_INLINE,
        slice_pooled: SLICE_POOLED,
    }
}

/// Enough for a second of the busiest writer; a core that is further behind reads the store's log.
const RING: RingLimits = RingLimits { batches: 1024, bytes: 32 << 20 };
/// About 300 microseconds of searching, and the rendering of a usual page of events.
const SLICE_INLINE: SliceSize =
    SliceSize { budget: Budget { steps: 30_000 }, chunk_bytes: 512 * 1024 };
/// About two milliseconds.
const SLICE_POOLED: SliceSize =
    SliceSize { budget: Budget { steps: 200_000 }, chunk_bytes: 256 * 1024 };
