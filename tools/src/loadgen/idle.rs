//! Connections that do nothing: what each costs the relay's memory, bare and with subscriptions,
//! and what an event for one of them costs.

use std::fmt::Write as _;
use std::time::Duration;

use fastrand::Rng;

use super::client::Client;
use super::command::Target;
use super::fanout;
use super::fresh::Author;
use super::report::Row;
use crate::Failure;

/// How many of what.
pub(crate) struct Idling {
    pub(crate) connections: usize,
    /// Subscriptions of each connection.
    pub(crate) subscriptions: usize,
    /// Events that are then published, each for one of the subscriptions.
    pub(crate) events: usize,
    pub(crate) rate: f64,
}

/// Opens connections, then subscriptions, then publishes; a row for each.
pub(crate) fn idle(target: &Target, idling: &Idling) -> Result<Vec<Row>, Failure> {
    let Idling { connections, subscriptions, events, rate } = *idling;
    let mut rows = Vec::new();
    let before = memory_bytes(target)?;
    let meter = target.meter()?;
    let mut client = Client::connect(&target.address, connections)?;
    std::thread::sleep(Duration::from_millis(500));
    let mut row = meter.row(format!("{connections} idle connections"), connections as u64)?;
    each(&mut row, before, connections);
    rows.push(row);
    if subscriptions == 0 {
        return Ok(rows);
    }

    let before = memory_bytes(target)?;
    let meter = target.meter()?;
    let count = connections * subscriptions;
    let mut authors = Author::several(events.min(connections).clamp(1, 100));
    let mut rng = Rng::with_seed(1);
    for connection in 0..connections {
        for subscription in 0..subscriptions {
            let author = match authors.get(connection) {
                Some(author) if subscription == 0 => author.pubkey(),
                _ => stranger(&mut rng),
            };
            let text = format!(
                r#"["REQ","subscription-{subscription}",{{"authors":["{author}"],"kinds":[1]}}]"#
            );
            client.push(connection, &[text.as_bytes()]);
        }
    }
    fanout::await_stored(target, &mut client, count)?;
    let work = format!("{subscriptions} subscriptions on each");
    let mut row = meter.row(work, count as u64)?;
    each(&mut row, before, count);
    rows.push(row);
    if events == 0 {
        return Ok(rows);
    }

    let authors_count = authors.len();
    let notes: Vec<_> = (0..events).map(|number| authors[number % authors_count].note()).collect();
    let delivered = fanout::deliver(target, &mut client, &notes, Some(rate), events)?;
    rows.extend(delivered.rows("an event for one of them", events as u64)?);
    Ok(rows)
}

fn memory_bytes(target: &Target) -> Result<u64, Failure> {
    target.process.map_or(Ok(0), |process| Ok(process.usage()?.memory_bytes))
}

/// Says what each of `count` things has added to the relay's memory.
fn each(row: &mut Row, before: u64, count: usize) {
    if let Some(after) = row.memory_bytes {
        let more = after.saturating_sub(before) as f64 / count.max(1) as f64;
        row.memory_bytes_each = Some(more);
        row.notes.push(format!("{:.2} KB each", more / 1024.0));
    }
}

/// A public key that nobody has.
fn stranger(rng: &mut Rng) -> String {
    let mut hex = String::with_capacity(64);
    for _ in 0..32 {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{:02x}", rng.u8(..));
    }
    hex
}
