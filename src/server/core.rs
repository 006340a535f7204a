//! A core: one thread with its own listener, connections, subscriptions and place in the ring.
//!
//! The thread runs a current-thread runtime. Connections are local tasks that call in through
//! [`Talk`]; everything from other threads comes through the core's inbox or the ring, whose bell
//! wakes the one task that attends to both. Nothing of a core is shared but that inbox, so nothing
//! here locks.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, yield_now};

use super::connection::{Connection, ConnectionKey, Connections, Talk};
use super::gate::Gate;
use super::guard::{self, Door, Resting};
use super::herald::HeraldHandle;
use super::in_force::InForce;
use super::live::Live;
use super::management::OfficeHandle;
use super::negentropy::{IDLE_PERIOD, Kept, Reconciled, Reconcilers};
use super::pages::Counters;
use super::plugin::{Judged, QuestionSender};
use super::pool::JobSender;
use super::publish::{Returned, Stalled};
use super::query::Chunk;
use super::reach::Reach;
use super::render::{Page, SliceSize};
use super::routes::RelaySite;
use super::settings::{Compression, LiveSettings};
use super::warden::Sweeps;
use super::wishes::Wishes;
use crate::address::{Aliases, ClientName};
use crate::clock::Clock;
use crate::fanout::{Consumer, SubscriptionIndex};
use crate::ingest::{Replies, Reply, WriterHandle};
use crate::mailbox::{Inbox, Sender};
use crate::metrics::{CaretakerMetrics, CoreMetrics};
use crate::net::{self, ConnectionInfo, Encoding, Listening, NetOptions, Outbound};
use crate::nostr::{Event, PublicKey, Verifier};
use crate::policy::{Crowd, Follower, Line, Standings};
use crate::seq::Seq;
use crate::session::Reader;
use crate::store::Store;
use crate::sys;

/// What each core counts.
pub(super) type AllMetrics = Arc<[Arc<CoreMetrics>]>;

/// What all threads of the server share.
pub(super) struct Relay {
    pub(super) store: Store,
    pub(super) clock: Clock,
    /// Where everything unpredictable comes from.
    pub(super) random: fn() -> [u8; 16],
    /// Everybody who is measured.
    pub(super) crowd: Arc<Crowd>,
    pub(super) in_force: InForce,
    /// What log lines call clients.
    pub(super) aliases: Aliases,
    /// The key that the relay signs with itself, if it has one.
    pub(super) own_key: Option<PublicKey>,
    /// What was decided about authors and readers.
    pub(super) standings: Standings,
    /// Where administrators are heard.
    pub(super) office: OfficeHandle,
    /// What the warden tells of its looks at all events.
    pub(super) sweeps: Sweeps,
    pub(super) kept: Kept,
    /// What each core counts.
    pub(super) cores: AllMetrics,
    /// What the caretaker counts.
    pub(super) caretaking: CaretakerMetrics,
    /// What the caretaker is asked for.
    pub(super) wishes: Wishes,
    /// What `/` shows of that.
    pub(super) counters: Counters,
    /// Where events of peers enter.
    pub(super) gate: Arc<Gate>,
    /// What one query may do on the core before others get their turn.
    pub(super) slice_inline: SliceSize,
    /// What a worker does of one query before it looks for the next job.
    pub(super) slice_pooled: SliceSize,
}

/// What other threads tell a core.
pub(super) enum Message {
    /// The fate of events.
    Replies(Vec<Reply>),
    /// Verified events for which there was no room.
    Returned(Returned),
    /// Events that the plugin has refused.
    Judged(Vec<Judged>),
    /// A chunk of a query.
    Chunk(Box<Chunk>),
    /// A reconciliation that the pool has worked on.
    Reconciled(Box<Reconciled>),
    /// The answer to a COUNT.
    Counted {
        /// Who asked.
        connection: ConnectionKey,
        /// What it cost, in steps.
        work: u64,
        /// The whole message.
        answer: Vec<u8>,
    },
    /// The answer to an event that the herald has decided on.
    Answer {
        /// Who sent it.
        connection: ConnectionKey,
        /// The whole message.
        answer: Vec<u8>,
    },
    /// An invitation for a subscription that asked for one.
    Invitation {
        /// Who asked.
        connection: ConnectionKey,
        /// In which subscription.
        subscription: u32,
        /// The event.
        event: Box<Event>,
    },
    /// A question whether this core still runs, to be answered with its number.
    Beat(Sender<u32>),
    /// What to go by from here on.
    Settings(Arc<LiveSettings>),
    /// Addresses were blocked.
    Blocked,
}

/// The inboxes of all cores, by number.
#[derive(Clone)]
pub(super) struct Inboxes(pub(super) Arc<[Arc<Inbox<Message>>]>);

impl Inboxes {
    /// Puts a message into the inbox of one core.
    pub(super) fn put(&self, core: u32, message: Message) {
        self.0[core as usize].put(message);
    }
}

impl Replies for Inboxes {
    fn deliver(&self, core: u32, replies: Vec<Reply>) {
        self.put(core, Message::Replies(replies));
    }
}

/// Whether there is more of the same to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    No,
    Yes,
}

/// One core, seen from its own thread.
pub(super) struct Core {
    pub(super) number: u32,
    pub(super) relay: Arc<Relay>,
    /// The settings in force, as far as this core has heard.
    pub(super) settings: RefCell<Arc<LiveSettings>>,
    /// What they mean to transport.
    pub(super) net: Rc<RefCell<NetOptions>>,
    pub(super) work: JobSender,
    pub(super) writer: WriterHandle,
    /// Who speaks for the relay, if it has a key.
    pub(super) herald: Option<HeraldHandle>,
    pub(super) questions: QuestionSender,
    pub(super) metrics: Arc<CoreMetrics>,
    pub(super) connections: RefCell<Connections>,
    pub(super) index: RefCell<SubscriptionIndex>,
    pub(super) live: RefCell<Live>,
    pub(super) stalled: RefCell<Stalled>,
    pub(super) reconcilers: RefCell<Reconcilers>,
    pub(super) resting: RefCell<Resting>,
    /// The connections that wait for their turn.
    pub(super) line: RefCell<Line<ConnectionKey>>,
    /// What was done since the last turn was given, in steps.
    pub(super) round_spent: Cell<u64>,
    /// The second in which it was last forgotten who had taken what.
    pub(super) turns_forgotten: Cell<u64>,
    pub(super) verifier: RefCell<Verifier>,
    pub(super) standing: RefCell<Follower>,
    pub(super) reach: RefCell<Reach>,
    /// Where the answer to one message is written.
    pub(super) answer: RefCell<Vec<u8>>,
    /// Where the frames of one slice are written.
    pub(super) page: RefCell<Page>,
    pub(super) inbox: Arc<Inbox<Message>>,
}

/// What a core is made of.
pub(super) struct CoreParts {
    pub(super) number: u32,
    pub(super) relay: Arc<Relay>,
    pub(super) inbox: Arc<Inbox<Message>>,
    pub(super) consumer: Consumer,
    /// Up to where nothing is to be delivered live.
    pub(super) last: Seq,
    pub(super) work: JobSender,
    pub(super) writer: WriterHandle,
    pub(super) herald: Option<HeraldHandle>,
    pub(super) questions: QuestionSender,
    pub(super) metrics: Arc<CoreMetrics>,
    /// Keys the tables that clients could otherwise choose collisions for.
    pub(super) seed: u64,
}

/// What a core's thread is started with.
pub(super) struct CoreStart {
    pub(super) parts: CoreParts,
    pub(super) listeners: Vec<Listening>,
    pub(super) bell: Arc<Notify>,
    pub(super) stop: watch::Receiver<bool>,
}

impl CoreStart {
    /// Runs the core until it is told to stop and its connections are closed.
    pub(super) fn run(self) -> std::io::Result<()> {
        // Who waits for a core waits for little.
        sys::begin_soon();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.serve())
    }

    async fn serve(self) -> std::io::Result<()> {
        let core = Rc::new(Core::new(self.parts));
        let attending = tokio::task::spawn_local(attend(Rc::clone(&core), self.bell));
        let mut stop = self.stop;
        let stopped = async move {
            // An error means that the one who could say so is gone, which says the same.
            let _ = stop.wait_for(|is_stopping| *is_stopping).await;
        };
        let site = Rc::new(RelaySite::new(Rc::clone(&core)));
        let gate = Rc::new(Door::of(&core));
        let options = Rc::clone(&core.net);
        let accept = move |info: ConnectionInfo, outbound| -> Box<dyn net::Conversation> {
            let client = info.request.peer().ip();
            Box::new(Talk::begin(&core, client, guard::allowance_of(info.pass), outbound))
        };
        let served = net::serve(self.listeners, site, gate, accept, options, stopped).await;
        attending.abort();
        served
    }
}

/// Attends to what other threads have for this core, whenever the bell rings.
async fn attend(core: Rc<Core>, bell: Arc<Notify>) {
    loop {
        match core.pause() {
            None => bell.notified().await,
            Some(pause) => {
                let _ = tokio::time::timeout(pause, bell.notified()).await;
            }
        }
        let now = core.relay.clock.now_secs();
        core.end_idle_reconciliations(now);
        core.wake_rested(now);
        core.inbox.answer();
        loop {
            let messages = core.attend_to_some();
            let events = core.deliver_some();
            core.retry_stalled();
            core.end_lost_subscriptions();
            let turns = core.give_turn();
            if messages == More::No && events == More::No && turns == More::No {
                break;
            }
            yield_now().await;
        }
    }
}

impl Core {
    /// Creates a core without connections.
    pub(super) fn new(parts: CoreParts) -> Core {
        let settings = parts.relay.in_force.load();
        let mut standing = parts.relay.standings.follow();
        let reach = RefCell::new(Reach::new(standing.current().version()));
        Core {
            number: parts.number,
            net: Rc::new(RefCell::new(parts.relay.in_force.net_options(&settings, &parts.metrics))),
            settings: RefCell::new(settings),
            relay: parts.relay,
            work: parts.work,
            writer: parts.writer,
            herald: parts.herald,
            questions: parts.questions,
            metrics: parts.metrics,
            connections: RefCell::default(),
            index: RefCell::new(SubscriptionIndex::new(parts.seed)),
            live: RefCell::new(Live::new(parts.consumer, parts.last)),
            stalled: RefCell::default(),
            reconcilers: RefCell::default(),
            resting: RefCell::default(),
            line: RefCell::default(),
            round_spent: Cell::new(0),
            turns_forgotten: Cell::new(0),
            verifier: RefCell::default(),
            standing: RefCell::new(standing),
            reach,
            answer: RefCell::default(),
            page: RefCell::default(),
            inbox: parts.inbox,
        }
    }

    /// Returns what log lines call a client.
    pub(super) fn name_of(&self, client: IpAddr) -> ClientName {
        let naming = self.settings.borrow().client_naming;
        self.relay.aliases.name(client, naming, self.relay.clock.now_secs())
    }

    /// Returns how stored events travel on a connection.
    pub(super) fn encoding_of_stored(&self, outbound: &Outbound) -> Encoding {
        match self.settings.borrow().compression {
            Compression::Off | Compression::Live => Encoding::Plain,
            Compression::All => outbound.encoding(),
        }
    }

    /// Returns who reads on a connection, by what stands at this moment.
    pub(super) fn reader_of(&self, connection: &Connection) -> Reader {
        let mut standing = self.standing.borrow_mut();
        connection.session.borrow_mut().reader_now(standing.current()).clone()
    }

    /// Returns how long to sleep at most, for what the bell does not ring for: room in the pool or
    /// at the writer, and the silence of clients.
    fn pause(&self) -> Option<Duration> {
        if !self.stalled.borrow().is_empty() {
            return Some(STALL_PAUSE);
        }
        let is_idle = self.reconcilers.borrow().is_empty() && self.resting.borrow().is_empty();
        let idle = (!is_idle).then_some(IDLE_PERIOD);
        idle.into_iter().chain(self.reach_pause()).min()
    }

    /// Attends to some of the inbox; returns whether there may be more.
    pub(super) fn attend_to_some(&self) -> More {
        for _ in 0..MESSAGES_MAX {
            match self.inbox.take() {
                None => return More::No,
                Some(Message::Replies(replies)) => self.take_replies(&replies),
                Some(Message::Returned(returned)) => self.take_returned(returned),
                Some(Message::Judged(judged)) => self.take_judged(&judged),
                Some(Message::Chunk(chunk)) => self.take_chunk(*chunk),
                Some(Message::Reconciled(reconciled)) => self.take_reconciled(*reconciled),
                Some(Message::Counted { connection, work, answer }) => {
                    self.take_count(connection, work, &answer);
                }
                Some(Message::Answer { connection, answer }) => {
                    self.take_answer(connection, &answer);
                }
                Some(Message::Invitation { connection, subscription, event }) => {
                    self.take_invitation(connection, subscription, &event);
                }
                // Who asked may have stopped waiting.
                Some(Message::Beat(asker)) => drop(asker.try_send(self.number)),
                Some(Message::Settings(settings)) => self.take_settings(settings),
                Some(Message::Blocked) => self.expel_blocked(),
            }
        }
        More::Yes
    }
}

/// Messages attended to before the connections of the core get their turn.
const MESSAGES_MAX: usize = 32;
/// How long what stands in line waits before it is tried again.
const STALL_PAUSE: Duration = Duration::from_millis(1);
