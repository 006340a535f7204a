//! The loop around the engine: a socket, the own store, time. It decides nothing but when to try
//! again.

use std::future::pending;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::engine::{Engine, EngineOptions};
use super::intake::Intake;
use super::library::Library;
use super::terms::{Action, Agreement, Asked, Direction, Fault, Moment, Span, Stage};
use crate::clock::Clock;
use crate::net::{
    self, Address, Bytes, Client, ClientEnding, ClientOptions, ConnectError, Reading,
};
use crate::nostr::EventId;
use crate::nostr::info::PeerInformation;
use crate::seq::Seq;
use crate::store::StoreError;

/// One peer and how to deal with it.
pub struct PeerOptions {
    /// Where it is.
    pub address: Address,
    /// How it is reached.
    pub client: ClientOptions,
    /// What is to be done.
    pub engine: EngineOptions,
    /// Up to where in the own log everything that matches was given to the peer, as far as that is
    /// known.
    pub given: Option<Seq>,
    /// Rings when the own store has got something; without it the log is looked at now and then.
    pub bell: Option<Arc<Notify>>,
}

/// Is shown how far it is.
pub trait Watcher {
    /// Looks at the engine, a few times a second.
    fn look(&mut self, engine: &Engine);

    /// Learns why a connection ended or did not come about, and when it is tried again.
    fn interrupted(&mut self, why: &str, again: Duration);

    /// Learns that both sides agree.
    fn in_sync(&mut self, engine: &Engine);

    /// Is told, now and then and at the end, what a later run can go on from.
    fn remember(&mut self, _agreement: Agreement, _given: Option<Seq>) {}
}

/// How it came to an end.
#[derive(Debug)]
pub enum Ended {
    /// Both sides agree.
    InSync,
    /// It was told to stop.
    Stopped,
    /// The peer cannot be dealt with.
    Fault(Fault),
    /// The peer cannot be reached.
    Unreachable(ConnectError),
    /// The connection broke too often.
    Lost(String),
    /// The own store cannot be read or written to.
    Store(StoreError),
}

/// How a connection came to an end.
enum Leave {
    Done,
    Stopped,
    Fault(Fault),
    Lost(ClientEnding),
    Store(StoreError),
}

/// Deals with a peer until it is done, or until `stop` is ready.
///
/// Events that come go to the intake; without one they are only counted.
pub async fn run(
    options: PeerOptions,
    library: &mut Library,
    intake: Option<&Intake>,
    clock: &Clock,
    watcher: &mut dyn Watcher,
    stop: impl Future<Output = ()>,
) -> (Engine, Ended) {
    let span = options.engine.span;
    let mut stop = std::pin::pin!(stop);
    let mut drive = Drive {
        filter: options.engine.filter.clone(),
        direction: options.engine.direction,
        span,
        stored: options.engine.agreement,
        engine: Engine::new(options.engine),
        address: options.address,
        options: options.client,
        library,
        intake,
        clock,
        watcher,
        begun: Instant::now(),
        paused: Duration::ZERO,
        tail: options.given,
        is_given: options.given.is_some(),
        bell: options.bell,
        load: None,
    };
    let ended = drive.run(stop.as_mut()).await;
    if let Some(intake) = intake {
        intake.idle().await;
    }
    drive.remember();
    let ended = match intake.and_then(Intake::take_failure) {
        Some(error) => Ended::Store(error),
        None => ended,
    };
    (drive.engine, ended)
}

type Stop<'s> = Pin<&'s mut dyn Future<Output = ()>>;
type Informing = Pin<Box<dyn Future<Output = Result<Bytes, ConnectError>>>>;

struct Drive<'d> {
    filter: crate::nostr::Filter,
    direction: Direction,
    span: Span,
    engine: Engine,
    address: Address,
    options: ClientOptions,
    library: &'d mut Library,
    intake: Option<&'d Intake>,
    clock: &'d Clock,
    watcher: &'d mut dyn Watcher,
    begun: Instant,
    /// How long nothing was read in all.
    paused: Duration,
    /// Up to where the own log was looked at for what is new.
    tail: Option<Seq>,
    /// Whether the peer has, or has refused, all that came before that and is not under way.
    is_given: bool,
    /// What was agreed on when all that came was stored.
    stored: Agreement,
    bell: Option<Arc<Notify>>,
    /// Events to be read once less waits to be sent.
    load: Option<Vec<EventId>>,
}

impl Drive<'_> {
    async fn run(&mut self, mut stop: Stop<'_>) -> Ended {
        let mut failures = 0;
        let mut progress = 0;
        loop {
            let connecting = net::connect(&self.address, &self.options);
            let connected = tokio::select! {
                () = stop.as_mut() => return Ended::Stopped,
                connected = connecting => connected,
            };
            let why = match connected {
                Ok(client) => match self.converse(client, stop.as_mut()).await {
                    Leave::Done => return Ended::InSync,
                    Leave::Stopped => return Ended::Stopped,
                    Leave::Store(error) => return Ended::Store(error),
                    Leave::Fault(fault) if !fault.is_passing() => return Ended::Fault(fault),
                    // Each took long already.
                    Leave::Fault(fault) if self.is_last(failures + FAULT_WEIGHT) => {
                        return Ended::Fault(fault);
                    }
                    Leave::Lost(why) if self.is_last(failures + weight_of(&why)) => {
                        return Ended::Lost(why.to_string());
                    }
                    Leave::Fault(fault) => fault.to_string(),
                    Leave::Lost(why) => why.to_string(),
                },
                Err(error) if !error.is_passing() || self.is_last(failures) => {
                    return Ended::Unreachable(error);
                }
                Err(error) => format!("failed to {error}"),
            };
            // Who makes progress may be interrupted as often as it likes.
            let counts = self.engine.counts();
            let now = counts.received + counts.accepted + counts.duplicate;
            failures = if now > progress { 1 } else { failures + 1 };
            progress = now;
            let again = RETRY_MIN.saturating_mul(1 << (failures - 1).min(10)).min(RETRY_MAX);
            self.watcher.interrupted(&why, again);
            tokio::select! {
                () = stop.as_mut() => return Ended::Stopped,
                () = sleep(again) => {}
            }
        }
    }

    fn is_last(&self, failures: u32) -> bool {
        self.span == Span::UntilInSync && failures >= FAILURES_MAX
    }

    fn now(&self) -> Moment {
        let millis = self.begun.elapsed().saturating_sub(self.paused).as_millis();
        Moment { millis: u64::try_from(millis).unwrap_or(u64::MAX), secs: self.clock.now_secs() }
    }

    /// One connection, from its beginning to its end.
    async fn converse(&mut self, mut client: Client, stop: Stop<'_>) -> Leave {
        if self.span == Span::Forever && self.direction.gives() && self.tail.is_none() {
            match self.library.last_seq() {
                Ok(last) => self.tail = Some(last),
                Err(error) => return Leave::Store(error),
            }
        }
        self.load = None;
        self.engine.connected(self.now());
        let leave = self.exchange(&mut client, stop).await;
        self.hand_over();
        if let Leave::Done | Leave::Stopped = leave {
            client.close();
            let farewell = async {
                let sink = &mut |_: &str| ControlFlow::Continue(());
                while client.work(Reading::Open, sink).await.is_ok() {}
            };
            let _ = timeout(FAREWELL, farewell).await;
        }
        self.watcher.look(&self.engine);
        self.engine.disconnected();
        self.library.end_reconciliation();
        leave
    }

    async fn exchange(&mut self, client: &mut Client, mut stop: Stop<'_>) -> Leave {
        let mut informing: Option<Informing> = None;
        let mut look = Instant::now();
        let mut is_rung = true;
        let bell = self.bell.clone();
        loop {
            self.hand_over();
            if let Err(leave) = self.act(client, &mut informing).await {
                return leave;
            }
            if self.intake.is_some_and(Intake::has_failed) {
                return Leave::Stopped;
            }
            if look.elapsed() >= LOOK_PERIOD {
                look = Instant::now();
                self.engine.tick(self.now());
                self.watcher.look(&self.engine);
                self.remember();
                is_rung = true;
            }
            if is_rung && let Err(error) = self.look_at_log() {
                return Leave::Store(error);
            }
            let has_room = self.intake.is_none_or(Intake::has_room);
            let reading = if has_room { Reading::Open } else { Reading::Paused };
            let waited = Instant::now();
            let deadline = self.deadline(look);
            let informed = async {
                match &mut informing {
                    Some(informing) => informing.await,
                    None => pending().await,
                }
            };
            let room = async {
                match self.intake {
                    Some(intake) if !has_room => intake.room().await,
                    _ => pending().await,
                }
            };
            let rung = async {
                match &bell {
                    Some(bell) => bell.notified().await,
                    None => pending().await,
                }
            };
            let (engine, clock) = (&mut self.engine, self.clock);
            let (begun, paused) = (self.begun, self.paused);
            let mut sink = |text: &str| {
                let millis = begun.elapsed().saturating_sub(paused).as_millis();
                let millis = u64::try_from(millis).unwrap_or(u64::MAX);
                engine.message(text, Moment { millis, secs: clock.now_secs() });
                match engine.event_count() < EVENTS_MAX {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            };
            let mut said = None;
            is_rung = false;
            let worked = tokio::select! {
                biased;
                () = stop.as_mut() => return Leave::Stopped,
                worked = client.work(reading, &mut sink) => Some(worked),
                found = informed => {
                    said = Some(found);
                    None
                }
                () = room => None,
                () = rung => {
                    is_rung = true;
                    None
                }
                () = sleep_until(deadline) => None,
            };
            if !has_room {
                self.paused += waited.elapsed();
            }
            match worked {
                Some(Err(ending)) => return Leave::Lost(ending),
                Some(Ok(())) => {}
                None => self.engine.tick(self.now()),
            }
            if let Some(found) = said {
                informing = None;
                let said = found.ok().and_then(|text| PeerInformation::parse(&text));
                self.engine.informed(said.as_ref(), self.now());
            }
        }
    }

    /// Returns until when to wait at most.
    fn deadline(&self, look: Instant) -> Instant {
        let look = look + LOOK_PERIOD;
        let Some(millis) = self.engine.deadline() else { return look };
        let due = self.begun + self.paused + Duration::from_millis(millis.saturating_add(1));
        due.min(look)
    }

    /// Does what the engine wants done.
    async fn act(
        &mut self,
        client: &mut Client,
        informing: &mut Option<Informing>,
    ) -> Result<(), Leave> {
        if client.queued_bytes() < QUEUED_LOW
            && let Some(ids) = self.load.take()
        {
            self.give(&ids).map_err(Leave::Store)?;
        }
        while let Some(action) = self.engine.next_action() {
            match action {
                Action::Send(text) => client.push(&text),
                Action::Inform => {
                    let (address, options) = (self.address.clone(), self.options.clone());
                    *informing = Some(Box::pin(async move {
                        let bytes_max = INFORMATION_BYTES_MAX;
                        net::fetch(&address, "application/nostr+json", bytes_max, &options).await
                    }));
                }
                Action::Reconcile { filter, answer } => {
                    if answer.is_none() {
                        self.library.end_reconciliation();
                    }
                    let mut asked = loop {
                        let step = self.library.reconcile(&filter, answer.as_deref());
                        match step.map_err(Leave::Store)? {
                            Some(asked) => break asked,
                            None => tokio::task::yield_now().await,
                        }
                    };
                    if let (Asked::Say(_, found), Some(intake)) = (&mut asked, self.intake) {
                        intake.keep_acceptable(&mut found.need);
                    }
                    self.engine.reconciled(asked, self.now());
                }
                Action::Load(ids) if client.queued_bytes() < QUEUED_LOW => {
                    self.give(&ids).map_err(Leave::Store)?;
                }
                Action::Load(mut ids) => self.load.get_or_insert_default().append(&mut ids),
                Action::List(filter) => {
                    let ids = self.library.ids(&filter).map_err(Leave::Store)?;
                    self.engine.listed(ids, self.now());
                }
                Action::InSync => {
                    self.is_given = true;
                    self.watcher.in_sync(&self.engine);
                }
                Action::Finish => return Err(Leave::Done),
                Action::Fail(fault) => return Err(Leave::Fault(fault)),
            }
        }
        Ok(())
    }

    /// Tells what a later run can go on from.
    fn remember(&mut self) {
        let given = self.tail.filter(|_| self.is_given && self.span == Span::Forever).map(|tail| {
            let before = |seq: Seq| Seq(seq.0.saturating_sub(1));
            self.engine.first_open().map_or(tail, before)
        });
        // What has come and is not stored would be missing after a crash.
        if self.intake.is_none_or(Intake::is_idle) && self.engine.event_count() == 0 {
            self.stored = self.engine.agreement();
        }
        self.watcher.remember(self.stored, given);
    }

    /// Reads events of the own store for the peer.
    fn give(&mut self, ids: &[EventId]) -> Result<(), StoreError> {
        let engine = &mut self.engine;
        self.library.messages(ids, |id, text| engine.loaded(id, text))
    }

    /// Hands over what came.
    fn hand_over(&mut self) {
        if self.engine.event_count() == 0 {
            return;
        }
        let events = self.engine.take_events();
        match self.intake {
            Some(intake) => intake.put(events),
            None => {
                let count = self.library.count_unknown(&events).unwrap_or(0);
                self.engine.found_unknown(count);
            }
        }
    }

    /// Offers what the own store has got since the last look.
    fn look_at_log(&mut self) -> Result<(), StoreError> {
        while let Some(after) = self.tail {
            if self.engine.backlog() > TAIL_BACKLOG_MAX || self.engine.stage() == Stage::Away {
                return Ok(());
            }
            let tail = self.library.tail(after, &self.filter)?;
            self.tail = Some(tail.until);
            self.engine.offer(tail.found, self.now());
            if tail.until == after {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Returns for how many failures the end of a connection counts: a peer that sends what is no
/// websocket's will most likely do so again.
fn weight_of(why: &ClientEnding) -> u32 {
    match why {
        ClientEnding::Violation(_) | ClientEnding::TooLong => FAULT_WEIGHT,
        _ => 0,
    }
}

const FAULT_WEIGHT: u32 = 3;
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Connections in a row without progress after which a command gives up.
const FAILURES_MAX: u32 = 5;
const FAREWELL: Duration = Duration::from_secs(1);
const LOOK_PERIOD: Duration = Duration::from_millis(100);
/// Events that are handed over at once.
const EVENTS_MAX: usize = 1_024;
/// Bytes waiting to be sent above which no more events are read for sending.
const QUEUED_LOW: usize = 4 << 20;
const TAIL_BACKLOG_MAX: usize = 10_000;
const INFORMATION_BYTES_MAX: usize = 256 << 10;
