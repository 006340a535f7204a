//! The peers of a relay that serves: each followed by a thread of its own, begun and left as the
//! configuration says, and what is known of each noted in the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::drive::{self, Ended, PeerOptions, Watcher};
use super::engine::{Engine, EngineOptions};
use super::intake::{Intake, IntakeThreads};
use super::library::{Library, Onlooker};
use super::status::{PeerNote, PeerStatus, Scope};
use super::terms::{Agreement, Direction, Provenance, Span, Transfer};
use crate::clock::Clock;
use crate::ingest::{Entrance, EntryTerms};
use crate::mailbox::{Received, Receiver, Sender, mailbox};
use crate::metrics::exposition::{Exposition, Tells};
use crate::net::{Address, ClientOptions};
use crate::nostr::{Filter, Keypair};
use crate::seq::Seq;
use crate::store::{FactChange, Store};

/// What is to be done with a peer.
#[derive(Clone)]
pub struct Plan {
    /// What it is called; no two plans have the same name.
    pub name: String,
    /// Everything that makes the plan, as a text: the same text means the same plan.
    pub print: String,
    /// Where the peer is.
    pub address: Address,
    /// Which way events go.
    pub direction: Direction,
    /// Which events.
    pub filter: Filter,
    /// After how many seconds everything is compared again.
    pub full_secs: Option<u64>,
    /// What events have to be that come from there.
    pub terms: EntryTerms,
    /// Whether it is remembered which events came from there.
    pub provenance: Provenance,
    /// Who to be for the peer.
    pub key: Option<Arc<Keypair>>,
    /// As whom the own store is read for it.
    pub reader: Onlooker,
    /// Whether private messages go, too.
    pub is_private: bool,
    /// How it is reached.
    pub client: ClientOptions,
    /// How many times as long as usual it may be silent.
    pub patience: u64,
}

/// The peers of a relay that serves.
pub struct Roster {
    shared: Arc<Shared>,
    /// The intake and what notes; started with the first peer.
    machine: Option<Machine>,
}

/// What the threads share.
struct Shared {
    store: Store,
    entrance: Arc<dyn Entrance>,
    clock: Clock,
    running: Mutex<Vec<Running>>,
}

struct Machine {
    intake: Intake,
    threads: IntakeThreads,
    /// The one who notes ends when this is dropped.
    leash: Sender<()>,
    noter: JoinHandle<()>,
}

/// A peer that is followed.
struct Running {
    print: String,
    note: PeerNote,
    bell: Arc<Notify>,
    stop: watch::Sender<bool>,
    status: Arc<Mutex<PeerStatus>>,
    intake: Intake,
    thread: Option<JoinHandle<()>>,
}

impl Roster {
    /// Returns a roster without peers, behind the entrance of a relay that serves.
    pub fn new(store: Store, entrance: Arc<dyn Entrance>, clock: Clock) -> Roster {
        let running = Mutex::default();
        Roster { shared: Arc::new(Shared { store, entrance, clock, running }), machine: None }
    }

    /// Follows these peers and no others: those whose plan is as before go on undisturbed.
    ///
    /// # Errors
    ///
    /// If the system gives no threads.
    pub fn follow(&mut self, plans: Vec<Plan>) -> std::io::Result<()> {
        self.shared.leave(|running| !plans.iter().any(|plan| plan.print == running.print));
        let known: Vec<String> =
            lock(&self.shared.running).iter().map(|running| running.print.clone()).collect();
        for plan in plans {
            if !known.contains(&plan.print) {
                let url = plan.address.to_string();
                let intake = &self.machine()?.intake;
                let intake = intake.for_peer(&plan.name, &url, plan.terms, plan.provenance);
                self.begin(plan, intake)?;
            }
        }
        Ok(())
    }

    /// Leaves all peers; what is known of them is noted.
    pub fn stop(mut self) {
        self.shared.leave(|_| true);
        if let Some(machine) = self.machine.take() {
            drop((machine.intake, machine.leash));
            machine.threads.join();
            if machine.noter.join().is_err() {
                tracing::error!("the thread that notes how it stands with peers panicked");
            }
        }
    }

    /// Starts what all peers need, unless that was done.
    fn machine(&mut self) -> std::io::Result<&Machine> {
        let machine = match self.machine.take() {
            Some(machine) => machine,
            None => self.start()?,
        };
        Ok(self.machine.insert(machine))
    }

    fn start(&self) -> std::io::Result<Machine> {
        let shared = &self.shared;
        let (intake, threads) =
            Intake::start_for(&shared.store, Arc::clone(&shared.entrance), shared.clock)?;
        let waking = Arc::downgrade(shared);
        shared.entrance.watch(Arc::new(move || {
            if let Some(shared) = waking.upgrade() {
                lock(&shared.running).iter().for_each(|running| running.bell.notify_one());
            }
        }));
        shared.entrance.show(Arc::clone(shared) as Arc<dyn Tells>);
        shared.forget_stale();
        let (leash, stop) = mailbox(1);
        let noting = Arc::clone(shared);
        let note = move || noting.note_until(&stop);
        let noter = Builder::new().name("peers".to_owned()).spawn(note)?;
        Ok(Machine { intake, threads, leash, noter })
    }

    fn begin(&self, plan: Plan, intake: Intake) -> std::io::Result<()> {
        let shared = &self.shared;
        let url = plan.address.to_string();
        let (direction, filter) = (plan.direction, &plan.filter);
        let scope = Scope { url: &url, direction, filter, is_private: plan.is_private };
        let note = PeerNote::of(&scope);
        let status = scope.recall(&plan.name, &shared.store).unwrap_or_else(|error| {
            tracing::error!(%error, peer = plan.name, "what is known of a peer cannot be read");
            PeerStatus { name: plan.name.clone(), ..PeerStatus::default() }
        });
        let status = Arc::new(Mutex::new(status));
        let bell = Arc::<Notify>::default();
        let (stop, stopping) = watch::channel(false);
        let (print, taking) = (plan.print.clone(), intake.clone());
        tracing::info!(peer = plan.name, "following");
        let follower = Follower {
            bell: Arc::clone(&bell),
            status: Arc::clone(&status),
            store: shared.store.clone(),
            clock: shared.clock,
            plan,
            intake,
            stopping,
        };
        let thread = Builder::new().name("peer".to_owned()).spawn(move || follower.run())?;
        let thread = Some(thread);
        lock(&shared.running).push(Running {
            print,
            note,
            bell,
            stop,
            status,
            intake: taking,
            thread,
        });
        Ok(())
    }
}

impl Shared {
    /// Leaves some of the peers, and notes how it stood with them.
    fn leave(&self, is_left: impl Fn(&Running) -> bool) {
        let mut threads = Vec::new();
        for running in lock(&self.running).iter_mut().filter(|running| is_left(running)) {
            tracing::info!(peer = lock(&running.status).name, "left");
            running.stop.send_replace(true);
            threads.extend(running.thread.take());
        }
        if threads.is_empty() {
            return;
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("the thread of a peer panicked");
            }
        }
        self.note();
        lock(&self.running).retain(|running| running.thread.is_some());
    }

    /// Notes now and then how it stands with the peers, until the other end is gone.
    fn note_until(&self, stop: &Receiver<()>) {
        while stop.recv_timeout(NOTE_PERIOD) == Received::Nothing {
            self.note();
        }
    }

    /// Writes what has changed.
    fn note(&self) {
        let now = self.clock.now_secs();
        let mut rows: Vec<FactChange> = Vec::new();
        for running in lock(&self.running).iter_mut() {
            let status = lock(&running.status).clone();
            rows.extend(running.note.take(&status, now));
            rows.extend(running.intake.take_origins(now));
        }
        if !rows.is_empty() && !self.entrance.keep(rows) {
            tracing::warn!("how it stands with peers could not be noted");
        }
    }

    fn forget_stale(&self) {
        let since = self.clock.now_secs().saturating_sub(STALE_SECS);
        match PeerStatus::stale(&self.store, since) {
            Ok(rows) if rows.is_empty() => {}
            Ok(rows) => drop(self.entrance.keep(rows)),
            Err(error) => tracing::warn!(%error, "what is known of peers cannot be read"),
        }
    }
}

impl Tells for Shared {
    fn tell(&self, page: &mut Exposition) {
        let all: Vec<PeerStatus> =
            lock(&self.running).iter().map(|running| lock(&running.status).clone()).collect();
        let now = self.clock.now_secs();
        type Fact = fn(&PeerStatus) -> u64;
        let counters: [(&'static str, &str, Fact); 10] = [
            ("chappe_peer_received_events_total", "Events that came from a peer.", |it| {
                it.received
            }),
            (
                "chappe_peer_live_events_total",
                "Events that came from a peer by themselves.",
                |it| it.live,
            ),
            ("chappe_peer_stored_events_total", "Events of a peer that were stored.", |it| {
                it.stored
            }),
            ("chappe_peer_known_events_total", "Events of a peer that brought nothing.", |it| {
                it.duplicate
            }),
            ("chappe_peer_invalid_events_total", "Events of a peer that are none.", |it| {
                it.invalid
            }),
            ("chappe_peer_refused_events_total", "Events of a peer that the rules refuse.", |it| {
                it.refused
            }),
            ("chappe_peer_sent_events_total", "Events that a peer has taken.", |it| {
                it.accepted + it.known_there
            }),
            ("chappe_peer_unwanted_events_total", "Events that a peer has refused.", |it| {
                it.refused_there
            }),
            ("chappe_peer_connections_total", "Connections made to a peer.", |it| it.connections),
            ("chappe_peer_errors_total", "Connections to a peer that failed or broke.", |it| {
                it.errors
            }),
        ];
        let label = |status: &PeerStatus| format!("peer=\"{}\"", status.name);
        for (name, help, fact) in counters {
            let mut samples = page.counter(name, help);
            for status in &all {
                samples.labelled(&label(status), fact(status));
            }
        }
        type FactNow = fn(&PeerStatus, u64) -> u64;
        let gauges: [(&'static str, &str, FactNow); 5] = [
            ("chappe_peer_connected", "Whether a peer is connected.", |it, _| {
                u64::from(it.stage != "away")
            }),
            (
                "chappe_peer_following",
                "Whether both sides agreed and what comes is passed on.",
                |it, _| u64::from(it.stage == "following"),
            ),
            ("chappe_peer_waiting_events", "Events that a peer is yet to be given.", |it, _| {
                it.waiting
            }),
            ("chappe_peer_lag_seconds", "For how long the two sides may differ.", |it, now| {
                it.lag_secs(now)
            }),
            (
                "chappe_peer_last_event_timestamp_seconds",
                "When an event came from a peer last.",
                |it, _| it.last_received_at,
            ),
        ];
        for (name, help, fact) in gauges {
            let mut samples = page.gauge(name, help);
            for status in &all {
                samples.labelled(&label(status), fact(status, now));
            }
        }
    }
}

/// What the thread of a peer has.
struct Follower {
    plan: Plan,
    store: Store,
    intake: Intake,
    clock: Clock,
    bell: Arc<Notify>,
    status: Arc<Mutex<PeerStatus>>,
    stopping: watch::Receiver<bool>,
}

impl Follower {
    fn run(self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return tracing::error!(peer = self.plan.name, "the system gives nothing to wait with");
        };
        runtime.block_on(self.follow());
    }

    /// Follows until told to stop. A peer that cannot be dealt with may be mended meanwhile.
    async fn follow(&self) {
        let mut pause = FAULT_PAUSE_MIN;
        loop {
            let before = lock(&self.status).clone();
            let why = match self.converse(&before).await {
                Ended::Stopped | Ended::InSync => return,
                Ended::Fault(fault) => fault.to_string(),
                Ended::Unreachable(error) => format!("failed to {error}"),
                Ended::Lost(why) => why,
                Ended::Store(error) => {
                    tracing::error!(%error, peer = self.plan.name, "events are not taken any more");
                    return lock(&self.status)
                        .note_error(&error.to_string(), self.clock.now_secs());
                }
            };
            lock(&self.status).note_error(&why, self.clock.now_secs());
            let again_secs = pause.as_secs();
            tracing::error!(peer = self.plan.name, again_secs, "{why}");
            tokio::select! {
                () = stopped(&self.stopping) => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(FAULT_PAUSE_MAX);
        }
    }

    async fn converse(&self, before: &PeerStatus) -> Ended {
        let plan = &self.plan;
        let mut library = Library::new(self.store.clone(), plan.reader.clone(), self.clock);
        let options = PeerOptions {
            address: plan.address.clone(),
            client: plan.client.clone(),
            engine: EngineOptions {
                url: plan.address.to_string(),
                filter: plan.filter.clone(),
                direction: plan.direction,
                span: Span::Forever,
                transfer: Transfer::Wanted,
                key: plan.key.clone(),
                agreement: before.agreement(),
                full_secs: plan.full_secs,
                patience: plan.patience,
            },
            given: before.given(),
            bell: Some(Arc::clone(&self.bell)),
        };
        let mut observer = Observer {
            name: &plan.name,
            status: &self.status,
            before,
            intake: &self.intake,
            clock: self.clock,
            told: String::new(),
        };
        let (taking, stop) = (Some(&self.intake), stopped(&self.stopping));
        let (engine, ended) =
            drive::run(options, &mut library, taking, &self.clock, &mut observer, stop).await;
        observer.look(&engine);
        ended
    }
}

async fn stopped(stopping: &watch::Receiver<bool>) {
    // An error means that the one who could say so is gone, which says the same.
    let _ = stopping.clone().wait_for(|is_stopping| *is_stopping).await;
}

/// Notes what the loop around the engine shows.
struct Observer<'o> {
    name: &'o str,
    status: &'o Mutex<PeerStatus>,
    before: &'o PeerStatus,
    intake: &'o Intake,
    clock: Clock,
    /// What the log has said last.
    told: String,
}

impl Watcher for Observer<'_> {
    fn look(&mut self, engine: &Engine) {
        lock(self.status).look(engine, self.before, &self.intake.counts());
    }

    fn interrupted(&mut self, why: &str, again: Duration) {
        lock(self.status).note_error(why, self.clock.now_secs());
        // A peer that is away for long is told of once.
        if self.told != why {
            self.told = why.to_owned();
            let again_millis = u64::try_from(again.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(peer = self.name, again_millis, "{why}");
        }
    }

    fn in_sync(&mut self, engine: &Engine) {
        self.look(engine);
        self.told.clear();
        let counts = engine.counts();
        let (received, sent) = (counts.received, counts.accepted);
        tracing::info!(peer = self.name, received, sent, "in sync");
    }

    fn remember(&mut self, agreement: Agreement, given: Option<Seq>) {
        lock(self.status).remember(agreement, given);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often it is noted how it stands: what was given since then is offered again after a crash.
const NOTE_PERIOD: Duration = Duration::from_secs(2);
/// Rows of peers are forgotten that nothing was noted of for so long.
const STALE_SECS: u64 = 180 * 86_400;
/// How long a peer is left alone that cannot be dealt with; twice as long each time.
const FAULT_PAUSE_MIN: Duration = Duration::from_secs(60);
const FAULT_PAUSE_MAX: Duration = Duration::from_secs(3_600);
