//! Going through what a peer shows, newest first, page by page: for peers without NIP-77.
//!
//! A page ends somewhere within a second, so the next one begins with that second again: nothing is
//! lost at equal times, and what comes twice is dropped. Only a second with more events than the
//! peer shows at once cannot be passed whole; it is counted. It is over when a page is empty, or
//! when the peer says so (NIP-67).
//!
//! The events of a page are what the peer has of that time: what this store has beyond them, the
//! peer lacks.

use std::collections::{HashMap, VecDeque};

use super::allowance::Allowance;
use super::outbox::{Name, Outbox, Purpose, Refusal, refusal_of};
use super::reconciling::Window;
use super::terms::{Action, Direction, Fault};
use crate::nostr::message::{self, EoseHint};
use crate::nostr::{Event, EventId, Filter};

/// How far the pages have come. It lasts over connections.
#[derive(Debug)]
pub(super) struct Pages {
    left: VecDeque<Window>,
    direction: Direction,
    current: Option<Current>,
    refusals: u32,
    silences: u32,
}

#[derive(Debug)]
struct Current {
    /// What is left of the time.
    window: Window,
    page: Option<Page>,
    /// What the peer has shown of the time that is not left behind, by when it is from.
    shown: HashMap<EventId, u64>,
    /// Whether the own store is asked what it has of the time last passed.
    is_comparing: bool,
    /// The most events that a page has had.
    largest: u64,
}

/// A request under way.
#[derive(Debug)]
struct Page {
    name: Name,
    limit: u64,
    count: u64,
    oldest: u64,
    heard: u64,
}

impl Pages {
    pub(super) fn new(left: VecDeque<Window>, direction: Direction) -> Pages {
        Pages { left, direction, current: None, refusals: 0, silences: 0 }
    }

    /// Goes through another time as well, unless it is to be gone through anyway.
    pub(super) fn add(&mut self, window: Window) {
        if !self.left.contains(&window) && self.left.len() < WINDOWS_MAX {
            self.left.push_back(window);
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.left.is_empty() && self.current.is_none()
    }

    /// Asks for the next page, unless too much is to be transferred.
    pub(super) fn fill(
        &mut self,
        filter: &Filter,
        backlog: usize,
        allowance: &Allowance,
        outbox: &mut Outbox,
    ) {
        if self.current.is_none() {
            let window = self.left.pop_front();
            self.current = window.map(|window| Current {
                window,
                page: None,
                shown: HashMap::new(),
                is_comparing: false,
                largest: 0,
            });
        }
        let Some(current) = &mut self.current else { return };
        if current.page.is_some() || current.is_comparing {
            return;
        }
        if outbox.is_held() || backlog > BACKLOG_MAX {
            return;
        }
        let name = outbox.name(Purpose::Page);
        let limit = allowance.page();
        let filter = Filter { limit: Some(limit), ..current.window.within(filter) };
        outbox.send(|out| message::write_req(out, &name.text, &filter));
        let (oldest, heard) = (current.window.until, outbox.now.millis);
        current.page = Some(Page { name, limit, count: 0, oldest, heard });
    }

    /// Takes an event of a page; returns whether it belongs there and is new.
    pub(super) fn event(&mut self, number: u32, event: &Event, outbox: &mut Outbox) -> bool {
        let Some(current) = &mut self.current else { return false };
        let Some(page) = current.page.as_mut().filter(|page| page.name.number == number) else {
            return false;
        };
        if !(current.window.since..=current.window.until).contains(&event.created_at) {
            return false;
        }
        page.heard = outbox.now.millis;
        page.count += 1;
        // Some give a little more than they are asked for, to end with a whole second.
        if page.count > page.limit * 2 + SURPLUS_MAX {
            outbox.fail(Fault::Unasked);
            return false;
        }
        page.oldest = page.oldest.min(event.created_at);
        let is_new = current.shown.insert(event.id, event.created_at).is_none();
        (self.refusals, self.silences) = (0, 0);
        is_new
    }

    /// Closes a page that is answered.
    pub(super) fn close(&self, number: u32, outbox: &mut Outbox) {
        let page = self.current.as_ref().and_then(|current| current.page.as_ref());
        if let Some(page) = page.filter(|page| page.name.number == number) {
            outbox.send(|out| message::write_close(out, &page.name.text));
        }
    }

    /// Takes the end of a page.
    pub(super) fn ended(
        &mut self,
        number: u32,
        hint: Option<EoseHint>,
        filter: &Filter,
        outbox: &mut Outbox,
    ) {
        let Some(current) = &mut self.current else { return };
        let Some(page) = current.page.take_if(|page| page.name.number == number) else { return };
        outbox.counts.pages += 1;
        outbox.is_well();
        current.largest = current.largest.max(page.count);
        let Window { since, until } = current.window;
        let is_last = hint == Some(EoseHint::Finish) || page.count == 0 || page.oldest < since;
        // Everything later than the last event of the page is known.
        let mut known = Window { since: page.oldest.saturating_add(1), until };
        if is_last {
            known.since = since;
        } else if page.oldest == until {
            // The second is known, or as much of it as the peer shows.
            let is_full = page.count >= current.largest && page.count >= CROWD_MIN;
            outbox.counts.crowded_seconds += u64::from(is_full);
            known.since = page.oldest;
        }
        self.pass(known, filter, outbox);
    }

    /// Leaves a time behind that is known, and has it compared.
    fn pass(&mut self, known: Window, filter: &Filter, outbox: &mut Outbox) {
        let Some(current) = &mut self.current else { return };
        let is_over = known.since <= current.window.since;
        current.window = match known.since.checked_sub(1) {
            Some(until) if !is_over => Window { until, ..current.window },
            _ => OVER,
        };
        if self.direction.gives() {
            current.is_comparing = true;
            outbox.actions.push_back(Action::List(Box::new(known.within(filter))));
        } else {
            self.passed();
        }
    }

    /// Takes the ids that the own store has of the time last passed; returns those that the peer
    /// lacks.
    pub(super) fn listed(&mut self, ids: Vec<EventId>) -> Vec<EventId> {
        let Some(current) = &mut self.current else { return Vec::new() };
        if !std::mem::take(&mut current.is_comparing) {
            return Vec::new();
        }
        let lacking = ids.into_iter().filter(|id| !current.shown.contains_key(id)).collect();
        self.passed();
        lacking
    }

    fn passed(&mut self) {
        let Some(current) = &mut self.current else { return };
        let until = current.window.until;
        current.shown.retain(|_, created_at| *created_at <= until);
        if current.window == OVER {
            self.current = None;
        }
    }

    /// Returns whether a page has brought anything.
    pub(super) fn has_begun(&self, number: u32) -> bool {
        let page = self.current.as_ref().and_then(|current| current.page.as_ref());
        page.is_some_and(|page| page.name.number == number && page.count > 0)
    }

    /// Takes the refusal of a page.
    pub(super) fn closed(
        &mut self,
        number: u32,
        reason: &str,
        allowance: &mut Allowance,
        outbox: &mut Outbox,
    ) -> Refusal {
        let refusal = refusal_of(reason);
        let Some(current) = &mut self.current else { return refusal };
        if current.page.take_if(|page| page.name.number == number).is_none() {
            return refusal;
        }
        match refusal {
            Refusal::Identity => {}
            Refusal::TooOften => outbox.hold_back(),
            Refusal::Final => {
                self.refusals += 1;
                allowance.page_refused();
                if self.refusals > REFUSALS_MAX {
                    outbox.fail(Fault::Refused(reason.to_owned()));
                }
            }
        }
        refusal
    }

    pub(super) fn tick(&mut self, allowance: &mut Allowance, outbox: &mut Outbox) {
        if self.deadline(outbox.patience).is_none_or(|at| at > outbox.now.millis) {
            return;
        }
        let page = self.current.as_mut().and_then(|current| current.page.take());
        if let Some(page) = page {
            outbox.send(|out| message::write_close(out, &page.name.text));
        }
        allowance.page_refused();
        self.silences += 1;
        if self.silences > SILENCES_MAX {
            outbox.fail(Fault::Silent("requests for events"));
        }
    }

    pub(super) fn deadline(&self, patience: u64) -> Option<u64> {
        let page = self.current.as_ref()?.page.as_ref()?;
        Some(page.heard + SILENCE_MAX * patience)
    }

    /// Notes that the connection is gone: the page under way is asked for again.
    pub(super) fn lost(&mut self) {
        if let Some(current) = &mut self.current {
            current.page = None;
        }
    }
}

/// No time at all.
const OVER: Window = Window { since: 1, until: 0 };
const BACKLOG_MAX: usize = 20_000;
const SURPLUS_MAX: u64 = 1_000;
/// No relay shows fewer events at once.
const CROWD_MIN: u64 = 50;
const SILENCE_MAX: u64 = 30_000;
const SILENCES_MAX: u32 = 1;
const WINDOWS_MAX: usize = 64;
const REFUSALS_MAX: u32 = 12;
