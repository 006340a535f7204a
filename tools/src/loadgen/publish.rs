//! Publishing stored events: so many in flight, or so many per second.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::client::Client;
use super::command::Target;
use super::material::Material;
use super::pace::{Latencies, Pace};
use super::report::Row;
use crate::Failure;

/// How to publish.
#[derive(Clone)]
pub(crate) struct Publishing {
    pub(crate) work: String,
    /// Which events.
    pub(crate) places: Range<usize>,
    /// How many may wait for their OK, over all connections.
    pub(crate) in_flight: usize,
    pub(crate) connections: usize,
    pub(crate) rate: Option<f64>,
    /// What is expected of the relay.
    pub(crate) answers: Answers,
}

/// What is expected of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// The events are new to it.
    Accepted,
    /// It has them already.
    Duplicates,
}

/// Publishes, and measures what it takes.
pub(crate) fn publish(
    target: &Target,
    material: &Material,
    publishing: &Publishing,
) -> Result<Row, Failure> {
    let connections = publishing.connections.clamp(1, publishing.in_flight.max(1));
    let mut client = Client::connect(&target.address, connections)?;
    let mut run = Run {
        waiting: HashMap::with_capacity(publishing.in_flight),
        free: vec![publishing.in_flight.div_ceil(connections); connections],
        latencies: Latencies::new(publishing.rate)?,
        tally: Tally::default(),
    };
    let meter = target.meter()?;
    let mut pace = Pace::start(publishing.rate);
    let mut next = publishing.places.clone();
    let mut answered_at = Instant::now();
    while !next.is_empty() || !run.waiting.is_empty() {
        run.send(&mut client, material, &mut pace, &mut next)?;
        client.flush()?;
        let wait = if next.is_empty() { STEP } else { pace.wait(Instant::now()) };
        let before = run.latencies.count();
        client.turn(wait, &mut |connection, text| run.take(connection, text))?;
        if run.latencies.count() > before {
            answered_at = Instant::now();
        } else if answered_at.elapsed() > target.patience {
            return Err(format!("{} events were never answered", run.waiting.len()).into());
        }
    }
    let mut row = meter.row(&publishing.work, run.latencies.count())?;
    meter.settle(&mut row)?;
    row.latencies = run.latencies.quantiles();
    run.tally.judge(publishing.answers, &mut row);
    Ok(row)
}

/// Publishing under way.
struct Run {
    /// When each event in flight was due, and its connection.
    waiting: HashMap<u64, (Instant, usize)>,
    /// How many more each connection may have in flight.
    free: Vec<usize>,
    latencies: Latencies,
    tally: Tally,
}

/// What the relay said.
#[derive(Default)]
struct Tally {
    accepted: u64,
    duplicates: u64,
    refused: u64,
    reason: Option<String>,
}

impl Run {
    fn send(
        &mut self,
        client: &mut Client,
        material: &Material,
        pace: &mut Pace,
        next: &mut Range<usize>,
    ) -> Result<(), Failure> {
        let now = Instant::now();
        for connection in 0..self.free.len() {
            while self.free[connection] > 0 && client.waiting_bytes(connection) < LINE_BYTES_MAX {
                let Some(due) = pace.due(now) else { return Ok(()) };
                let Some(place) = next.next() else { return Ok(()) };
                pace.advance();
                client.push(connection, &[b"[\"EVENT\",", material.json(place), b"]"]);
                self.waiting.insert(material.number(place), (due, connection));
                self.free[connection] -= 1;
            }
            client.flush_one(connection)?;
        }
        Ok(())
    }

    fn take(&mut self, _connection: usize, text: &[u8]) {
        match Answer::of(text) {
            Answer::Ok { id, is_accepted, reason } => {
                let number = super::answer::number(id).unwrap_or_default();
                if let Some((due, connection)) = self.waiting.remove(&number) {
                    self.latencies.add(due.elapsed());
                    self.free[connection] += 1;
                    self.tally.add(is_accepted, reason);
                }
            }
            Answer::Notice(text) => self.tally.say(text),
            _ => {}
        }
    }
}

impl Tally {
    fn add(&mut self, is_accepted: bool, reason: &[u8]) {
        match (is_accepted, reason.starts_with(b"duplicate")) {
            (_, true) => self.duplicates += 1,
            (true, false) => self.accepted += 1,
            (false, false) => {
                self.refused += 1;
                self.say(reason);
            }
        }
    }

    fn say(&mut self, reason: &[u8]) {
        self.reason.get_or_insert_with(|| String::from_utf8_lossy(reason).into_owned());
    }

    fn judge(self, expected: Answers, row: &mut Row) {
        let count = self.accepted + self.duplicates + self.refused;
        row.notes.push(format!("{} accepted", self.accepted));
        if self.duplicates > 0 {
            row.notes.push(format!("{} duplicates", self.duplicates));
        }
        if self.refused > 0 {
            row.notes.push(format!("{} refused", self.refused));
        }
        row.notes.extend(self.reason);
        let right = match expected {
            Answers::Accepted => self.accepted,
            // What was deleted or replaced is refused in some other words.
            Answers::Duplicates => count - self.accepted,
        };
        if right * 10 < count * 9 {
            row.faults.push(format!("{right} of {count} answers were as expected"));
        }
    }
}

const STEP: Duration = Duration::from_millis(100);
/// A connection's line is not filled beyond what its socket takes soon.
const LINE_BYTES_MAX: usize = 1 << 20;
