//! Live delivery: new events from one publisher to many subscribers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::answer::{self, Answer};
use super::client::Client;
use super::command::Target;
use super::fresh::{Author, Fresh, now_secs};
use super::pace::{Latencies, Pace};
use super::report::Row;
use crate::Failure;

/// What to deliver to whom.
pub(crate) struct Broadcast {
    pub(crate) work: String,
    /// Connections with one subscription each.
    pub(crate) subscribers: usize,
    pub(crate) audience: Audience,
    pub(crate) events: usize,
    /// Events per second; without it all are sent at once.
    pub(crate) rate: Option<f64>,
}

/// Who gets an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Every subscriber.
    All,
    /// So many subscribers each: they follow one author.
    Few(usize),
}

/// Subscribes, publishes and waits for every delivery.
///
/// The first row has latencies from the publisher's OK, the second from sending.
pub(crate) fn broadcast(target: &Target, broadcast: &Broadcast) -> Result<Vec<Row>, Failure> {
    let authors_count = match broadcast.audience {
        Audience::All => 1,
        Audience::Few(few) => (broadcast.subscribers / few.max(1)).max(1),
    };
    let mut authors = Author::several(authors_count);
    let mut client = Client::connect(&target.address, 1 + broadcast.subscribers)?;
    let since = now_secs();
    for subscriber in 0..broadcast.subscribers {
        let filter = match broadcast.audience {
            Audience::All => format!(r#"{{"kinds":[1],"since":{since}}}"#),
            Audience::Few(_) => {
                let author = authors[subscriber % authors_count].pubkey();
                format!(r#"{{"kinds":[1],"authors":["{author}"]}}"#)
            }
        };
        client.push(1 + subscriber, &[b"[\"REQ\",\"live\",", filter.as_bytes(), b"]"]);
    }
    await_stored(target, &mut client, broadcast.subscribers)?;
    let mut expected = 0;
    let mut events = Vec::with_capacity(broadcast.events);
    for number in 0..broadcast.events {
        let author = number % authors_count;
        events.push(authors[author].note());
        expected += broadcast.subscribers.saturating_sub(author).div_ceil(authors_count);
    }
    let delivered = deliver(target, &mut client, &events, broadcast.rate, expected)?;
    let per_event = broadcast.audience != Audience::All;
    let count = if per_event { broadcast.events } else { delivered.deliveries.len() };
    delivered.rows(&broadcast.work, count as u64)
}

/// Sends what waits, and waits until so many subscriptions have had their stored events.
pub(crate) fn await_stored(
    target: &Target,
    client: &mut Client,
    mut subscriptions: usize,
) -> Result<(), Failure> {
    client.flush()?;
    let start = Instant::now();
    let mut refusal = None;
    while subscriptions > 0 {
        client.turn(Duration::from_millis(100), &mut |_, text| match Answer::of(text) {
            Answer::Eose(_) => subscriptions = subscriptions.saturating_sub(1),
            Answer::Closed { reason, .. } | Answer::Notice(reason) => {
                refusal = Some(String::from_utf8_lossy(reason).into_owned());
            }
            _ => {}
        })?;
        if let Some(refusal) = refusal {
            return Err(format!("a subscription was refused: {refusal}").into());
        }
        if start.elapsed() > target.patience {
            return Err(format!("{subscriptions} subscriptions had no EOSE").into());
        }
    }
    Ok(())
}

/// What was delivered, and what it cost.
pub(crate) struct Delivered {
    /// When each event was due and when its OK came.
    published: Vec<(Instant, Option<Instant>)>,
    /// The event and the moment of each delivery.
    deliveries: Vec<(u32, Instant)>,
    expected: usize,
    refused: usize,
    row: Row,
}

/// Publishes events on the first connection until `expected` deliveries have arrived.
pub(crate) fn deliver(
    target: &Target,
    client: &mut Client,
    events: &[Fresh],
    rate: Option<f64>,
    expected: usize,
) -> Result<Delivered, Failure> {
    let places: HashMap<u64, u32> =
        events.iter().zip(0..).map(|(event, place)| (event.number, place)).collect();
    let mut published: Vec<(Instant, Option<Instant>)> = Vec::with_capacity(events.len());
    let mut deliveries = Vec::with_capacity(expected);
    let (mut refused, mut answered) = (0, 0);
    let meter = target.meter()?;
    let received_bytes = client.received_bytes();
    let mut pace = Pace::start(rate);
    let mut moved_at = Instant::now();
    while deliveries.len() < expected || answered < events.len() {
        let now = Instant::now();
        while let Some(event) = events.get(published.len()) {
            let Some(due) = pace.due(now) else { break };
            pace.advance();
            client.push(0, &[b"[\"EVENT\",", &event.json, b"]"]);
            published.push((due, None));
        }
        client.flush_one(0)?;
        let before = deliveries.len() + answered;
        client.turn(pace.wait(Instant::now()), &mut |_, text| match Answer::of(text) {
            Answer::Event { text, .. } => {
                let place = answer::event_number(text).and_then(|number| places.get(&number));
                deliveries.extend(place.map(|place| (*place, Instant::now())));
            }
            Answer::Ok { id, is_accepted, .. } => {
                answered += 1;
                refused += usize::from(!is_accepted);
                let place = answer::number(id).and_then(|number| places.get(&number));
                if let Some(event) = place.and_then(|place| published.get_mut(*place as usize)) {
                    event.1 = Some(Instant::now());
                }
            }
            _ => {}
        })?;
        if deliveries.len() + answered > before {
            moved_at = Instant::now();
        } else if moved_at.elapsed() > target.patience {
            break;
        }
    }
    let mut row = meter.row("", 1)?;
    let bytes = (client.received_bytes() - received_bytes) / deliveries.len().max(1) as u64;
    row.notes.push(format!("{bytes} B received each"));
    Ok(Delivered { published, deliveries, expected, refused, row })
}

impl Delivered {
    /// The figures per `count`: latencies from the OK, and from sending.
    pub(crate) fn rows(self, work: &str, count: u64) -> Result<Vec<Row>, Failure> {
        let mut after_ok = Latencies::new(Some(1.0))?;
        let mut after_due = Latencies::new(Some(1.0))?;
        for (place, at) in &self.deliveries {
            let (due, ok) = self.published[*place as usize];
            after_due.add(at.saturating_duration_since(due));
            // Who has the event before the publisher has its OK has not waited.
            after_ok.add(ok.map_or(Duration::ZERO, |ok| at.saturating_duration_since(ok)));
        }
        let mut row = Row { work: work.to_owned(), count, ..self.row };
        row.latencies = after_ok.quantiles();
        row.events = Some(self.deliveries.len() as u64);
        if self.refused > 0 {
            row.faults.push(format!("{} events were refused", self.refused));
        }
        if self.deliveries.len() != self.expected {
            let (arrived, expected) = (self.deliveries.len(), self.expected);
            row.faults.push(format!("{arrived} of {expected} deliveries arrived"));
        }
        let mut since_due = Row::new("  the same, since it was sent");
        (since_due.count, since_due.elapsed) = (count, row.elapsed);
        since_due.latencies = after_due.quantiles();
        Ok(vec![row, since_due])
    }
}
