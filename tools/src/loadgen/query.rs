//! REQ, COUNT and NEG-OPEN: queries of one shape, one after the other in so many slots.

use std::time::{Duration, Instant};

use super::answer::Answer;
use super::client::Client;
use super::command::Target;
use super::pace::{Latencies, Pace};
use super::report::Row;
use super::shapes::{Expected, Shape};
use crate::Failure;

/// How to ask.
#[derive(Clone, Copy)]
pub(crate) struct Asking {
    pub(crate) verb: Verb,
    /// How many queries may wait for their end, over all connections.
    pub(crate) in_flight: usize,
    pub(crate) connections: usize,
    pub(crate) rate: Option<f64>,
    /// For how long.
    pub(crate) period: Duration,
}

/// What is asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// REQ, ended by EOSE.
    Req,
    /// COUNT, ended by its answer.
    Count,
    /// NEG-OPEN, ended by the first answer.
    Reconcile,
}

impl Verb {
    /// What comes before the name of a query.
    fn opening(self) -> &'static [u8] {
        match self {
            Verb::Req => b"[\"REQ\",\"",
            Verb::Count => b"[\"COUNT\",\"",
            Verb::Reconcile => b"[\"NEG-OPEN\",\"",
        }
    }

    /// What comes before the name of a query that is still open after its answer, to close it.
    fn closing(self) -> Option<&'static [u8]> {
        match self {
            Verb::Req => Some(b"[\"CLOSE\",\""),
            Verb::Count => None,
            Verb::Reconcile => Some(b"[\"NEG-CLOSE\",\""),
        }
    }
}

/// Asks queries of one shape, and measures what it takes.
pub(crate) fn ask(target: &Target, shape: &Shape, asking: &Asking) -> Result<Row, Failure> {
    let connections = asking.connections.clamp(1, asking.in_flight.max(1));
    let mut client = Client::connect(&target.address, connections)?;
    let warm_up = Asking { rate: None, period: asking.period / 5, ..*asking };
    let mut run = Run::new(shape, &warm_up, connections)?;
    run.drive(target, &mut client)?;
    let mut run = Run { place: run.place, ..Run::new(shape, asking, connections)? };
    let meter = target.meter()?;
    run.drive(target, &mut client)?;
    let mut row = meter.row(shape.name, run.latencies.count())?;
    row.latencies = run.latencies.quantiles();
    row.output_bytes = (asking.verb == Verb::Reconcile).then_some(run.answer_bytes);
    row.events = (asking.verb == Verb::Req).then_some(run.events);
    run.judge(&mut row);
    Ok(row)
}

/// Asking under way.
struct Run<'a> {
    shape: &'a Shape,
    asking: Asking,
    /// The next example.
    place: usize,
    slots: Vec<Slot>,
    free: Vec<usize>,
    latencies: Latencies,
    /// Events, or reconciliations that found a difference.
    events: u64,
    /// Of reconciliations.
    answer_bytes: u64,
    /// The last answer to COUNT.
    count: Option<u64>,
    refused: u64,
    reason: Option<String>,
}

/// A subscription id of a connection.
struct Slot {
    connection: usize,
    /// When its query was due, while it runs.
    due: Option<Instant>,
    name: String,
    /// Closes the last query, whose stored part has ended.
    is_open: bool,
}

impl<'a> Run<'a> {
    fn new(shape: &'a Shape, asking: &Asking, connections: usize) -> Result<Self, Failure> {
        let slots = (0..asking.in_flight.max(1)).map(|number| Slot {
            connection: number % connections,
            due: None,
            name: format!("s{number}"),
            is_open: false,
        });
        let slots: Vec<Slot> = slots.collect();
        Ok(Self {
            shape,
            asking: *asking,
            place: 0,
            free: (0..slots.len()).collect(),
            slots,
            latencies: Latencies::new(asking.rate)?,
            events: 0,
            answer_bytes: 0,
            count: None,
            refused: 0,
            reason: None,
        })
    }

    fn drive(&mut self, target: &Target, client: &mut Client) -> Result<(), Failure> {
        let mut pace = Pace::start(self.asking.rate);
        let start = Instant::now();
        let mut answered_at = start;
        loop {
            let is_over = start.elapsed() >= self.asking.period;
            if is_over && self.free.len() == self.slots.len() {
                return self.close_all(client);
            }
            if !is_over {
                self.send(client, &mut pace);
                client.flush()?;
            }
            let before = self.latencies.count();
            let wait = pace.wait(Instant::now());
            client.turn(wait, &mut |_, text| self.take(text))?;
            if self.latencies.count() > before {
                answered_at = Instant::now();
            } else if answered_at.elapsed() > target.patience {
                return Err(format!("{}: no answer", self.shape.name).into());
            }
        }
    }

    fn send(&mut self, client: &mut Client, pace: &mut Pace) {
        let now = Instant::now();
        while !self.free.is_empty() {
            let Some(due) = pace.due(now) else { return };
            let Some(number) = self.free.pop() else { return };
            pace.advance();
            let slot = &mut self.slots[number];
            let filters = &self.shape.examples[self.place % self.shape.examples.len()];
            self.place += 1;
            let name = slot.name.as_bytes();
            let verb = self.asking.verb;
            if let (true, Some(closing)) = (slot.is_open, verb.closing()) {
                client.push(slot.connection, &[closing, name, b"\"]"]);
            }
            client.push(slot.connection, &[verb.opening(), name, b"\",", filters.as_bytes(), b"]"]);
            slot.due = Some(due);
            slot.is_open = verb.closing().is_some();
        }
    }

    fn close_all(&mut self, client: &mut Client) -> Result<(), Failure> {
        let Some(closing) = self.asking.verb.closing() else { return Ok(()) };
        for slot in self.slots.iter_mut().filter(|slot| slot.is_open) {
            client.push(slot.connection, &[closing, slot.name.as_bytes(), b"\"]"]);
            slot.is_open = false;
        }
        client.flush()
    }

    fn take(&mut self, text: &[u8]) {
        match Answer::of(text) {
            Answer::Event { .. } => self.events += 1,
            Answer::Eose(subscription) => self.end(subscription),
            Answer::Count { subscription, count } => {
                self.count = Some(count);
                self.end(subscription);
            }
            Answer::Reconciliation { subscription, message } => {
                // The version alone says that nothing differs.
                self.events += u64::from(message.len() > 2);
                self.answer_bytes += text.len() as u64;
                self.end(subscription);
            }
            Answer::Closed { subscription, reason } => {
                self.refuse(reason);
                if let Some(number) = number(subscription).filter(|it| *it < self.slots.len()) {
                    self.slots[number].is_open = false;
                }
                self.end(subscription);
            }
            Answer::Notice(reason) => self.refuse(reason),
            _ => {}
        }
    }

    /// Frees a slot; an answer to none is nobody's.
    fn end(&mut self, subscription: &[u8]) {
        let Some(number) = number(subscription) else { return };
        let Some(due) = self.slots.get_mut(number).and_then(|slot| slot.due.take()) else { return };
        self.latencies.add(due.elapsed());
        self.free.push(number);
    }

    fn refuse(&mut self, reason: &[u8]) {
        self.refused += 1;
        self.reason.get_or_insert_with(|| String::from_utf8_lossy(reason).into_owned());
    }

    fn judge(self, row: &mut Row) {
        if self.refused > 0 {
            row.notes.push(format!("{} refused", self.refused));
        }
        row.notes.extend(self.reason);
        row.notes.extend(self.count.map(|count| format!("counted {count}")));
        // Some of what is asked for has been deleted or replaced.
        let is_empty = self.asking.verb != Verb::Count && self.events * 2 < self.latencies.count();
        // A relay may keep private messages to those they concern: that is no fault, and is noted.
        let is_refused = self.refused >= self.latencies.count();
        if is_empty && !is_refused && self.shape.answer == Expected::Events {
            let what = if self.asking.verb == Verb::Req { "events" } else { "differences" };
            row.faults.push(format!("{} {what} in all", self.events));
        }
    }
}

/// The number of a slot's name.
fn number(subscription: &[u8]) -> Option<usize> {
    std::str::from_utf8(subscription.strip_prefix(b"s")?).ok()?.parse().ok()
}
