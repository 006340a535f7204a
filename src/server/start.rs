//! How each thread is put together from what the others share. Their order is `run`'s.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};

use super::caretaker::Caretaker;
use super::core::{CoreParts, CoreStart, Inboxes, Message, Relay};
use super::gate::{Doorway, GATE, Gate};
use super::herald::{Desk, HERALD, Herald, HeraldHandle};
use super::keeper::Keeper;
use super::management::{Calls, LocalDoor, Office, OfficeParts};
use super::members::Reception;
use super::plugin::{Question, QuestionSender, Stage, StageParts};
use super::pool::{self, JobSender};
use super::pulse::Pulse;
use super::report::Report;
use super::scribe::Scribe;
use super::settings::{Addresses, ServerError, ServerSettings};
use super::threads::{Leashed, Sentinel, Spawner, Thread};
use super::warden::Warden;
use super::work::Worker;
use crate::fanout::{Consumer, Producer, Ring, Waker};
use crate::ingest::{self, GroupKeeping, Replies, Reply, Witness, WriterHandle, WriterThread};
use crate::mailbox::{self, Inbox, Sender};
use crate::metrics::PluginMetrics;
use crate::net::{self, Listening, Wire};
use crate::nostr::{Keypair, Verifier};
use crate::policy::groups::Rules;
use crate::policy::{InviteKey, MembershipRules};
use crate::seq::Seq;
use crate::store::Store;

/// The sockets of each core.
pub(super) type Listeners = Vec<Vec<Listening>>;

/// Returns the sockets of each core, and the addresses that clients reach them at. Of those that
/// were given TLS is spoken where the settings name the port.
pub(super) fn listen(
    settings: &ServerSettings,
    cores: usize,
    given: &[TcpListener],
) -> Result<(Listeners, Addresses), ServerError> {
    let is_of = |socket: &&TcpListener, port: u16| {
        socket.local_addr().is_ok_and(|address| address.port() == port)
    };
    let is_encrypted =
        |socket: &&TcpListener| settings.encrypted.iter().any(|it| is_of(socket, it.port()));
    let (encrypted, plain): (Vec<_>, Vec<_>) = given.iter().partition(is_encrypted);
    let mut listeners: Listeners = (0..cores).map(|_| Vec::new()).collect();
    let plain = open(&mut listeners, Wire::Plain, &plain, &[settings.listen])?;
    let encrypted = open(&mut listeners, Wire::Encrypted, &encrypted, &settings.encrypted)?;
    let plain = plain.first().copied().unwrap_or(settings.listen);
    Ok((listeners, Addresses { plain, encrypted }))
}

/// Gives each core sockets at these addresses, or those that were given in their place; returns
/// where that is.
fn open(
    listeners: &mut Listeners,
    wire: Wire,
    given: &[&TcpListener],
    wanted: &[SocketAddr],
) -> Result<Vec<SocketAddr>, ServerError> {
    let cores = listeners.len();
    let mut add = |sockets: Vec<Vec<TcpListener>>| {
        for (core, sockets) in listeners.iter_mut().zip(sockets) {
            core.extend(sockets.into_iter().map(|socket| Listening { socket, wire }));
        }
    };
    if given.is_empty() {
        for address in wanted {
            add(net::listen(*address, cores)?.into_iter().map(|it| vec![it]).collect());
        }
    } else {
        add(net::share(given, cores).map_err(ServerError::Sockets)?);
    }
    let of_first = listeners.iter().take(1).flatten().filter(|it| it.wire == wire);
    Ok(of_first.filter_map(|it| it.socket.local_addr().ok()).collect())
}

/// Starts the writer, after groups were read back from the store.
pub(super) fn start_writer(
    spawner: &Spawner,
    relay: &Relay,
    producer: Producer,
    replies: (Inboxes, Sender<Vec<Reply>>),
    groups: Option<(Rules, Arc<Keypair>)>,
    scribe: Option<Scribe>,
) -> Result<WriterThread, ServerError> {
    let (inboxes, herald) = replies;
    let (gate, sentinel) = (Arc::clone(&relay.gate), spawner.sentinel("writer"));
    let replies = WriterReplies { inboxes, herald, gate, _sentinel: sentinel };
    let standings = relay.standings.clone();
    let groups = groups.map(|(rules, keys)| {
        GroupKeeping::new(rules, keys, standings, &relay.store, relay.clock.now_secs())
    });
    let scribe = scribe.map(|scribe| Box::new(scribe) as Box<dyn Witness>);
    let (store, replies) = (relay.store.clone(), Box::new(replies));
    ingest::spawn(store, producer, replies, scribe, groups.transpose()?, relay.clock)
        .map_err(|source| ServerError::Thread { name: "writer".to_owned(), source })
}

/// The writer's way to the cores; dropped when the writer ends.
struct WriterReplies {
    inboxes: Inboxes,
    herald: Sender<Vec<Reply>>,
    gate: Arc<Gate>,
    _sentinel: Sentinel,
}

impl Replies for WriterReplies {
    fn deliver(&self, core: u32, replies: Vec<Reply>) {
        match core {
            // There is room for as many as the herald waits for.
            HERALD => drop(self.herald.try_send(replies)),
            GATE => self.gate.answer(replies),
            _ => self.inboxes.deliver(core, replies),
        }
    }
}

/// What all threads but the writer are started with.
pub(super) struct Starter {
    pub(super) spawner: Spawner,
    pub(super) relay: Arc<Relay>,
    pub(super) writer: WriterHandle,
    pub(super) inboxes: Inboxes,
    pub(super) questions: QuestionSender,
    pub(super) stopping: watch::Receiver<bool>,
}

impl Starter {
    /// Starts the stage that asks plugins.
    pub(super) fn stage(
        &self,
        questions: mpsc::Receiver<Question>,
        metrics: &Arc<PluginMetrics>,
    ) -> Result<Thread, ServerError> {
        let parts = StageParts {
            relay: Arc::clone(&self.relay),
            writer: self.writer.clone(),
            inboxes: self.inboxes.clone(),
            questions,
            metrics: Arc::clone(metrics),
            stop: self.stopping.clone(),
        };
        self.spawner.spawn("plugin", move || Stage::run(parts))
    }

    /// Returns where events of peers enter.
    pub(super) fn doorway(&self) -> Arc<Doorway> {
        Arc::new(Doorway {
            relay: Arc::clone(&self.relay),
            writer: self.writer.clone(),
            questions: self.questions.clone(),
            gate: Arc::clone(&self.relay.gate),
        })
    }

    /// Starts the work pool.
    pub(super) fn workers(&self, count: usize) -> Result<(JobSender, Vec<Thread>), ServerError> {
        let (work, jobs) = pool::pool(pool::PARTY_JOBS_MAX);
        let mut workers = Vec::with_capacity(count);
        for place in 0..count {
            let worker = Worker {
                relay: Arc::clone(&self.relay),
                jobs: jobs.clone(),
                writer: self.writer.clone(),
                questions: self.questions.clone(),
                inboxes: self.inboxes.clone(),
            };
            let run = move || {
                worker.run(count);
                Ok(())
            };
            workers.push(self.spawner.spawn(format!("work-{place}"), run)?);
        }
        Ok((work, workers))
    }

    /// Starts the warden, after what it has to do before anybody is served.
    pub(super) fn warden(&self) -> Result<Leashed, ServerError> {
        let (leash, stop) = mailbox::mailbox(1);
        let (relay, writer) = (Arc::clone(&self.relay), self.writer.clone());
        let store = relay.store.clone();
        let mut warden =
            Warden { store, relay, writer, stop, weaver: None, registrar: None, swept_at: None };
        warden.begin();
        self.spawner.spawn_leashed("warden", leash, move || warden.run())
    }

    /// Starts the keeper.
    pub(super) fn keeper(&self) -> Result<Leashed, ServerError> {
        let (leash, stop) = mailbox::mailbox(1);
        let keeper = Keeper { store: self.relay.store.clone(), writer: self.writer.clone(), stop };
        self.spawner.spawn_leashed("keeper", leash, move || keeper.run())
    }

    /// Starts the caretaker of the store.
    pub(super) fn caretaker(&self) -> Result<Leashed, ServerError> {
        let (leash, stop) = mailbox::mailbox(1);
        let caretaker = Caretaker::new(Arc::clone(&self.relay), self.writer.clone());
        self.spawner.spawn_leashed("caretaker", leash, move || caretaker.run(&stop))
    }

    /// Starts the office, which attends to calls of administrators.
    pub(super) fn office(
        &self,
        calls: Calls,
        keys: Option<&Keypair>,
        herald: Option<&HeraldHandle>,
    ) -> Result<Thread, ServerError> {
        // Before anybody can call.
        calls.recall(&self.relay.store)?;
        let parts = OfficeParts {
            relay: Arc::clone(&self.relay),
            writer: self.writer.clone(),
            inboxes: self.inboxes.clone(),
            herald: herald.cloned(),
            invite_key: keys.map(InviteKey::of),
            door: LocalDoor::open(self.relay.store.path()),
            calls,
            stop: self.stopping.clone(),
        };
        self.spawner.spawn("office", move || Office::run(parts))
    }

    /// Starts the herald of a relay that has a key.
    pub(super) fn herald(
        &self,
        keys: Option<Arc<Keypair>>,
        membership: Option<MembershipRules>,
        desk: Desk,
    ) -> Result<Option<Thread>, ServerError> {
        let (Some(keys), Some(_)) = (keys, membership) else { return Ok(None) };
        let herald = Herald {
            clock: self.relay.clock,
            standings: self.relay.standings.clone(),
            writer: self.writer.clone(),
            inboxes: self.inboxes.clone(),
            reception: Reception::new(&self.relay, &keys),
            keys,
            desk,
            verifier: Verifier::default(),
            said_at: 0,
        };
        let run = move || {
            herald.run();
            Ok(())
        };
        self.spawner.spawn("herald", run).map(Some)
    }

    /// Starts the cores.
    pub(super) fn cores(
        &self,
        listeners: Listeners,
        bells: &[Arc<Notify>],
        consumers: &Consumers,
        (work, herald): (&JobSender, Option<&HeraldHandle>),
    ) -> Result<Vec<Thread>, ServerError> {
        let mut threads = Vec::with_capacity(listeners.len());
        for (place, listeners) in listeners.into_iter().enumerate() {
            let parts = CoreParts {
                number: u32::try_from(place).expect("a machine has fewer than 2^32 cores"),
                relay: Arc::clone(&self.relay),
                inbox: Arc::clone(&self.inboxes.0[place]),
                consumer: consumers.ring.consumer(),
                last: consumers.last,
                work: work.clone(),
                writer: self.writer.clone(),
                questions: self.questions.clone(),
                herald: herald.cloned(),
                metrics: Arc::clone(&self.relay.cores[place]),
                seed: seed_of((self.relay.random)()),
            };
            let (bell, stop) = (Arc::clone(&bells[place]), self.stopping.clone());
            let start = CoreStart { parts, listeners, bell, stop };
            threads.push(self.spawner.spawn(format!("core-{place}"), move || start.run())?);
        }
        Ok(threads)
    }

    /// Returns what there is to tell of at `/metrics`.
    pub(super) fn report(
        &self,
        plugin: &Arc<PluginMetrics>,
        work: &JobSender,
        ring: Consumer,
    ) -> Report {
        Report {
            relay: Arc::clone(&self.relay),
            cores: Arc::clone(&self.relay.cores),
            plugin: Arc::clone(plugin),
            pulse: Pulse { inboxes: self.inboxes.clone(), writer: self.writer.clone() },
            work: work.clone(),
            ring,
        }
    }

    /// Starts what answers `/metrics`, if it has a socket.
    pub(super) fn reporter(
        &self,
        report: Report,
        listeners: Option<Vec<TcpListener>>,
    ) -> Result<Option<(SocketAddr, Thread)>, ServerError> {
        let Some(listener) = listeners.into_iter().flatten().next() else { return Ok(None) };
        let address = listener.local_addr().map_err(ServerError::Sockets)?;
        let stop = self.stopping.clone();
        let thread = self.spawner.spawn("metrics", move || report.serve(listener, stop))?;
        Ok(Some((address, thread)))
    }
}

/// Where each core's ring consumer starts.
pub(super) struct Consumers {
    pub(super) ring: Ring,
    pub(super) last: Seq,
}

impl Consumers {
    /// Returns where readers of this store and ring start.
    pub(super) fn new(ring: Ring, store: &Store) -> Consumers {
        Consumers { ring, last: store.last_seq() }
    }
}

/// Returns the inboxes of cores that each hear their bell.
pub(super) fn inboxes(bells: &[Arc<Notify>]) -> Inboxes {
    let inbox_of = |bell: &Arc<Notify>| -> Arc<Inbox<Message>> {
        let bell = Arc::clone(bell);
        Inbox::new(move || bell.notify_one())
    };
    Inboxes(bells.iter().map(inbox_of).collect())
}

/// Returns what wakes each core, and who is behind the gate, when there is something in the ring.
pub(super) fn wakers(inboxes: &Inboxes, gate: &Arc<Gate>) -> Vec<Waker> {
    let gate = Arc::clone(gate);
    let gate: Waker = Arc::new(move || gate.wake());
    let waker_of = |inbox: &Arc<Inbox<Message>>| -> Waker {
        let inbox = Arc::clone(inbox);
        Arc::new(move || inbox.ring())
    };
    inboxes.0.iter().map(waker_of).chain([gate]).collect()
}

/// Returns the number that the first random bytes are.
fn seed_of([a, b, c, d, e, f, g, h, ..]: [u8; 16]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
