//! The engine: what the peer says goes in, what is to be done comes out.
//!
//! It holds the parts together and decides what each message is for. All of them are bounded: by
//! what was asked for, and by holding back what would list more than is transferred.

mod agreeing;

use std::collections::HashSet;
use std::sync::Arc;

use super::allowance::Allowance;
use super::download::Download;
use super::identity::Identity;
use super::live::Live;
use super::outbox::{Outbox, Purpose, Refusal, purpose_of, refusal_of};
use super::pages::Pages;
use super::reconciling::{Course, Reconciling};
use super::terms::{
    Action, Agreement, Asked, Counts, Direction, Fault, Moment, Span, Stage, Transfer,
};
use super::upload::Upload;
use crate::nostr::info::PeerInformation;
use crate::nostr::message::EoseHint;
use crate::nostr::{Event, EventError, EventId, Filter, Keypair, RelayMessage};
use crate::seq::Seq;

/// What the engine is to do.
pub struct EngineOptions {
    /// The address of the peer, as it calls itself.
    pub url: String,
    /// Which events.
    pub filter: Filter,
    /// Which way.
    pub direction: Direction,
    /// How long.
    pub span: Span,
    /// Whether they travel.
    pub transfer: Transfer,
    /// Who to be for the peer.
    pub key: Option<Arc<Keypair>>,
    /// What earlier conversations have come to.
    pub agreement: Agreement,
    /// After how many seconds everything is compared again, whatever was compared in between;
    /// `None` for never.
    pub full_secs: Option<u64>,
    /// How many times as long as usual the peer may be silent: 1 where the way to it is fast.
    pub patience: u64,
}

/// One peer's conversation, over all connections to it.
pub struct Engine {
    filter: Filter,
    direction: Direction,
    span: Span,
    transfer: Transfer,
    stage: Stage,
    allowance: Allowance,
    identity: Identity,
    reconciling: Reconciling,
    download: Download,
    upload: Upload,
    /// In place of reconciling.
    pages: Option<Pages>,
    live: Live,
    outbox: Outbox,
    /// Events that came and are to be verified and stored.
    events: Vec<Event>,
    /// Events that came from the peer and need not be offered to it, until they were met in the own
    /// log.
    came: HashSet<EventId>,
    /// Whether the information document was asked for.
    has_asked: bool,
    gibberish: u32,
    /// When the connection began, in milliseconds.
    connected: u64,
    agreement: Agreement,
    full_secs: Option<u64>,
    /// When everything began to be compared, if that is what is being done.
    comparing_since: Option<u64>,
    /// When there was a connection the last time, in seconds since 1970.
    left: u64,
}

impl Engine {
    /// Returns an engine that has no connection.
    pub fn new(options: EngineOptions) -> Engine {
        Engine {
            filter: options.filter,
            direction: options.direction,
            span: options.span,
            transfer: options.transfer,
            stage: Stage::Away,
            allowance: Allowance::usual(),
            identity: Identity::new(options.url, options.key),
            reconciling: Reconciling::default(),
            download: Download::default(),
            upload: Upload::default(),
            pages: None,
            live: Live::default(),
            outbox: Outbox::new(options.patience),
            events: Vec::new(),
            came: HashSet::new(),
            has_asked: false,
            gibberish: 0,
            connected: 0,
            left: options.agreement.agreed,
            agreement: options.agreement,
            full_secs: options.full_secs,
            comparing_since: None,
        }
    }

    /// Returns what was done so far.
    pub fn counts(&self) -> &Counts {
        &self.outbox.counts
    }

    /// Returns what is being done.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns how many events are known to be transferred and are not yet.
    pub fn backlog(&self) -> usize {
        self.download.backlog() + self.upload.backlog()
    }

    /// Returns what has been come to so far.
    pub fn agreement(&self) -> Agreement {
        let is_following = self.stage == Stage::Following;
        let agreed = if is_following { self.outbox.now.secs } else { self.agreement.agreed };
        Agreement { agreed, ..self.agreement }
    }

    /// Returns the first place in the own log of which the peer has not decided, if there is one.
    pub fn first_open(&self) -> Option<Seq> {
        self.upload.first_open()
    }

    /// Returns how many events are to be sent or not answered.
    pub fn outbound(&self) -> usize {
        self.upload.backlog()
    }

    /// Takes the next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.outbox.actions.pop_front()
    }

    /// Takes the events that came.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Returns how many events have come and were not taken.
    pub fn event_count(&self) -> usize {
        self.events.len()
    }

    /// Learns that there is a connection.
    pub fn connected(&mut self, now: Moment) {
        self.outbox.now = now;
        self.outbox.actions.clear();
        self.outbox.counts.connections += 1;
        self.outbox.release();
        self.identity.reset();
        self.stage = Stage::Syncing;
        self.connected = now.millis;
        if self.span == Span::Forever && self.direction.takes() {
            self.live.open(&self.filter, &mut self.outbox);
        }
        self.note_gap();
        match &self.pages {
            Some(pages) if pages.is_done() => self.begin_pages(),
            Some(_) => self.make_up(),
            None if self.is_given_by_log() => {}
            None => self.compare(),
        }
        self.go_on();
    }

    /// Learns that the connection is gone.
    pub fn disconnected(&mut self) {
        self.note_agreement();
        self.left = self.outbox.now.secs;
        self.stage = Stage::Away;
        self.outbox.actions.clear();
        self.live.lost();
        self.upload.lost(&mut self.outbox);
        match &mut self.pages {
            Some(pages) => pages.lost(),
            None => {
                // What is missing is found out anew.
                let backlog = self.download.backlog() as u64;
                let counts = &mut self.outbox.counts;
                counts.needed = counts.needed.saturating_sub(backlog);
                let found = self.upload.forget_found() as u64;
                counts.had = counts.had.saturating_sub(found);
            }
        }
        self.download.forget();
    }

    /// Learns what the peer says about itself, if it does (NIP-11).
    pub fn informed(&mut self, said: Option<&PeerInformation>, now: Moment) {
        self.outbox.now = now;
        if let Some(said) = said {
            self.allowance.learn(&said.limitation);
            let knows = said.supported_nips.contains(&NEGENTROPY);
            let course = self.reconciling.informed(knows);
            self.follow(course);
        }
        self.go_on();
    }

    /// Learns that time has passed.
    pub fn tick(&mut self, now: Moment) {
        self.outbox.now = now;
        self.download.tick(&mut self.allowance, &mut self.outbox);
        self.upload.tick(&mut self.outbox);
        let course = self.reconciling.tick(&mut self.outbox);
        self.follow(course);
        if let Some(pages) = &mut self.pages {
            pages.tick(&mut self.allowance, &mut self.outbox);
        }
        if self.live.tick(&self.filter, &mut self.outbox) {
            // What has come while nothing was listened to.
            self.compare_again();
        }
        if self.stage == Stage::Following && self.is_full_due() {
            self.compare_again();
        }
        self.go_on();
    }

    /// Returns when time matters next, in milliseconds.
    pub fn deadline(&self) -> Option<u64> {
        let patience = self.outbox.patience;
        let inform = (!self.has_asked && self.reconciling.is_untried())
            .then_some(self.connected + INFORM_AFTER);
        [
            self.download.deadline(patience),
            self.upload.deadline(patience),
            self.reconciling.deadline(patience),
            self.pages.as_ref().and_then(|pages| pages.deadline(patience)),
            self.live.deadline(),
            self.outbox.held_until(),
            inform,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes what the own store says to [`Action::Reconcile`].
    pub fn reconciled(&mut self, asked: Asked, now: Moment) {
        self.outbox.now = now;
        match asked {
            Asked::Say(next, found) => {
                let listed = found.listed;
                if self.direction.takes() {
                    self.outbox.counts.needed += found.need.len() as u64;
                    if self.transfer == Transfer::Wanted {
                        self.download.want(found.need.into_iter().map(EventId));
                    }
                }
                if self.direction.gives() {
                    self.outbox.counts.had += found.have.len() as u64;
                    if self.transfer == Transfer::Wanted {
                        self.upload.offer(found.have.into_iter().map(EventId));
                    }
                }
                self.reconciling.say(next, listed, &self.filter, &mut self.outbox);
            }
            Asked::Malformed(problem) => self.turn_pages(&problem),
            Asked::TooMany => self.turn_pages("more events match than are held in memory"),
        }
        self.go_on();
    }

    /// Takes an event that [`Action::Load`] asked for, as a message; nothing if it is gone.
    pub fn loaded(&mut self, id: EventId, text: Option<Vec<u8>>) {
        self.upload.loaded(id, text, &self.allowance, &mut self.outbox);
    }

    /// Takes the ids that [`Action::List`] asked for.
    pub fn listed(&mut self, ids: Vec<EventId>, now: Moment) {
        self.outbox.now = now;
        if let Some(pages) = &mut self.pages {
            let lacking = pages.listed(ids);
            self.outbox.counts.had += lacking.len() as u64;
            if self.transfer == Transfer::Wanted {
                self.upload.offer(lacking);
            }
        }
        self.go_on();
    }

    /// Learns how many of the events that came are not stored, where they are only counted.
    pub fn found_unknown(&mut self, count: u64) {
        self.outbox.counts.needed += count;
    }

    /// Has events sent that the own store has got, each with its place in the log.
    pub fn offer(&mut self, items: impl IntoIterator<Item = (Seq, EventId)>, now: Moment) {
        self.outbox.now = now;
        if self.direction.gives() {
            let own = &mut self.came;
            self.upload.follow(items.into_iter().filter(|(_, id)| !own.remove(id)));
            self.go_on();
        }
    }

    /// Takes a message of the peer.
    pub fn message(&mut self, text: &str, now: Moment) {
        self.outbox.now = now;
        match RelayMessage::parse(text) {
            Ok(RelayMessage::Event { subscription, event }) => self.event(&subscription, event),
            Ok(message) => {
                self.other(message);
                self.go_on();
            }
            Err(_) => {
                self.gibberish += 1;
                if self.gibberish > GIBBERISH_MAX {
                    let shown: String = text.chars().take(SHOWN_CHARACTERS).collect();
                    self.outbox.fail(Fault::Gibberish(shown));
                }
            }
        }
    }

    fn event(&mut self, subscription: &[u8], event: Result<Event, EventError>) {
        let Ok(event) = event else {
            self.outbox.counts.malformed += 1;
            return self.download.note_unasked(&mut self.outbox);
        };
        let is_wanted = match purpose_of(subscription) {
            Some((Purpose::Download, number)) => {
                let is_first = self.download.event(number, &event, &mut self.outbox);
                is_first.then_some(false)
            }
            Some((Purpose::Page, number)) if self.filter.matches(&event.view()) => {
                let pages = self.pages.as_mut();
                let is_new = pages.map(|pages| pages.event(number, &event, &mut self.outbox));
                match is_new {
                    Some(true) => Some(false),
                    // Twice: at the seam between two pages.
                    _ => return,
                }
            }
            Some((Purpose::Live, number)) if self.live.is(number) => {
                self.live.heard();
                self.filter.matches(&event.view()).then_some(true)
            }
            _ => None,
        };
        let Some(is_live) = is_wanted else {
            self.outbox.counts.malformed += 1;
            if !matches!(purpose_of(subscription), Some((Purpose::Download, _))) {
                self.download.note_unasked(&mut self.outbox);
            }
            return;
        };
        self.outbox.counts.received += 1;
        self.outbox.counts.live += u64::from(is_live);
        self.outbox.counts.last_received_at = self.outbox.now.secs;
        self.outbox.counts.last_created_at = event.created_at;
        if self.direction.takes() {
            if self.span == Span::Forever && self.direction.gives() {
                if self.came.len() >= CAME_MAX {
                    self.came.clear();
                }
                self.came.insert(event.id);
            }
            self.events.push(event);
        }
    }

    fn other(&mut self, message: RelayMessage<'_>) {
        match message {
            RelayMessage::Eose { subscription, hint } => self.eose(&subscription, hint),
            RelayMessage::Closed { subscription, reason } => self.closed(&subscription, &reason),
            RelayMessage::Ok { id, is_accepted, text } => self.ok(id, is_accepted, &text),
            RelayMessage::Notice(text) => {
                let course = self.reconciling.noticed(&text);
                if course == Course::On && self.gibberish < NOTICES_MAX {
                    self.outbox.counts.note(format!("the peer says: {}", shown(&text)));
                }
                self.follow(course);
            }
            RelayMessage::Auth(challenge) => {
                self.identity.challenged(challenge, &mut self.outbox);
            }
            RelayMessage::NegMsg { subscription, message } => {
                if self.is_reconciliation(&subscription) {
                    let course = self.reconciling.answered(&message, &mut self.outbox);
                    self.follow(course);
                }
            }
            RelayMessage::NegErr { subscription, reason } => {
                if self.is_reconciliation(&subscription) {
                    self.refuse_reconciling(&reason);
                }
            }
            RelayMessage::Event { .. } | RelayMessage::Other => {}
        }
    }

    fn is_reconciliation(&self, subscription: &[u8]) -> bool {
        let Some((Purpose::Reconcile, number)) = purpose_of(subscription) else { return false };
        self.reconciling.is(number)
    }

    fn eose(&mut self, subscription: &[u8], hint: Option<EoseHint>) {
        let Some((purpose, number)) = purpose_of(subscription) else { return };
        match purpose {
            Purpose::Download => self.download.close(number, &mut self.outbox),
            Purpose::Page => {
                if let Some(pages) = &self.pages {
                    pages.close(number, &mut self.outbox);
                }
            }
            Purpose::Live if self.live.is(number) => self.live.heard(),
            _ => {}
        }
        self.ended(purpose, number, hint);
    }

    /// Takes the end of an answer, whose subscription is closed.
    fn ended(&mut self, purpose: Purpose, number: u32, hint: Option<EoseHint>) {
        match (purpose, &mut self.pages) {
            (Purpose::Download, _) => {
                self.download.ended(number, hint, &mut self.allowance, &mut self.outbox);
            }
            (Purpose::Page, Some(pages)) => {
                pages.ended(number, hint, &self.filter, &mut self.outbox);
            }
            _ => {}
        }
    }

    fn closed(&mut self, subscription: &[u8], reason: &str) {
        let refusal = match purpose_of(subscription) {
            Some((purpose, number)) if self.is_end(purpose, number, reason) => {
                // It is gone there: chorus takes it ill to be told so.
                return self.ended(purpose, number, None);
            }
            Some((Purpose::Download, number)) => {
                self.download.closed(number, reason, &mut self.allowance, &mut self.outbox)
            }
            Some((Purpose::Page, number)) => match &mut self.pages {
                Some(pages) => pages.closed(number, reason, &mut self.allowance, &mut self.outbox),
                None => return,
            },
            Some((Purpose::Live, number)) => self.live.closed(number, reason, &mut self.outbox),
            Some((Purpose::Reconcile, number)) if self.reconciling.is(number) => {
                return self.refuse_reconciling(reason);
            }
            _ => return,
        };
        if refusal == Refusal::Identity {
            self.identity.demanded(reason, &mut self.outbox);
        }
    }

    /// Tells whether an answer came to its end though it was closed, as by chorus: without a reason
    /// if it can bring nothing more, or because somebody else would be shown more.
    fn is_end(&mut self, purpose: Purpose, number: u32, reason: &str) -> bool {
        let has_begun = match purpose {
            Purpose::Download => self.download.has_begun(number),
            Purpose::Page => self.pages.as_ref().is_some_and(|pages| pages.has_begun(number)),
            _ => return false,
        };
        let is_partial =
            has_begun && refusal_of(reason) == Refusal::Identity && self.identity.is_exhausted();
        if is_partial {
            self.outbox.counts.note(format!("the peer shows others more: {}", shown(reason)));
        }
        is_partial || reason.is_empty()
    }

    fn refuse_reconciling(&mut self, reason: &str) {
        let (course, refusal) = self.reconciling.refused(reason, &mut self.outbox);
        if refusal == Refusal::Identity {
            self.identity.demanded(reason, &mut self.outbox);
        }
        self.follow(course);
    }

    fn ok(&mut self, id: EventId, is_accepted: bool, text: &str) {
        if self.identity.answered(&id, is_accepted, text, &mut self.outbox) {
            return;
        }
        let (allowance, outbox) = (&mut self.allowance, &mut self.outbox);
        let refusal = self.upload.answered(id, is_accepted, text, allowance, outbox);
        if refusal == Some(Refusal::Identity) {
            if self.identity.is_exhausted() {
                // It is this event that nobody but its author may give (NIP-70).
                return self.upload.give_up(id, text, &mut self.outbox);
            }
            self.identity.demanded(text, &mut self.outbox);
        }
    }

    fn follow(&mut self, course: Course) {
        if let Course::Unable(reason) = course {
            self.turn_pages(&reason);
        }
    }

    /// Does what can be done.
    fn go_on(&mut self) {
        if self.stage == Stage::Away {
            return;
        }
        let backlog = self.backlog();
        let outbox = &mut self.outbox;
        match &mut self.pages {
            Some(pages) => pages.fill(&self.filter, backlog, &self.allowance, outbox),
            None => self.reconciling.fill(&self.filter, backlog, outbox),
        }
        self.download.fill(&self.allowance, outbox);
        self.upload.fill(&self.allowance, outbox);
        self.ask_for_information();
        let is_found = match &self.pages {
            Some(pages) => pages.is_done(),
            None => self.reconciling.is_done(),
        };
        let is_done = is_found && self.download.is_idle() && self.upload.is_idle();
        if is_done && self.stage == Stage::Syncing {
            self.agree();
        }
    }

    /// Asks what the peer says of itself, once that matters: two stores that agree need not know.
    fn ask_for_information(&mut self) {
        let is_slow = self.reconciling.is_untried()
            && self.outbox.now.millis >= self.connected + INFORM_AFTER;
        let matters = self.pages.is_some() || self.backlog() > 0 || is_slow;
        if matters && !self.has_asked {
            self.has_asked = true;
            self.outbox.actions.push_back(Action::Inform);
        }
    }
}

fn shown(text: &str) -> &str {
    text.get(..text.floor_char_boundary(NOTE_BYTES_MAX)).unwrap_or(text)
}

const NEGENTROPY: u16 = 77;
/// How long an answer to NEG-OPEN may take before the peer is asked what it knows.
const INFORM_AFTER: u64 = 1_000;
/// Some of them are never met: they were there before.
const CAME_MAX: usize = 500_000;
const GIBBERISH_MAX: u32 = 100;
const NOTICES_MAX: u32 = 100;
const SHOWN_CHARACTERS: usize = 60;
const NOTE_BYTES_MAX: usize = 200;
