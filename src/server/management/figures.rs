//! Figures: what the relay does, as totals since its start, for charts to be drawn from.

use serde_json::{Map, Value, json};

use super::call::{Caller, Refusal, Said};
use super::office::Office;
use super::params::Params;
use super::upkeep::noted_peers;
use crate::metrics::{BUCKETS, CLASSES, CoreMetrics, Counter, Histogram, REASONS, VERDICTS};
use crate::policy::Activity;
use crate::store;
use crate::sys::process;

pub(super) fn stats(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    let relay = &office.relay;
    let now = relay.clock.now_secs();
    Ok(json!({
        "at": now,
        "up_secs": now.saturating_sub(relay.counters.started()),
        "clients": clients(office),
        "events": events(office),
        "latency": latency(office),
        "store": store::size(&relay.store)?,
        "queues": {
            "writer": office.writer.waiting(),
            "cores": office.inboxes.0.iter().map(|inbox| inbox.count()).sum::<usize>(),
        },
        "guard": guard(office),
        "peers": peers(office)?,
        "process": used(),
    }))
}

fn sum(office: &Office, counter: impl Fn(&CoreMetrics) -> &Counter) -> u64 {
    office.relay.cores.iter().map(|core| counter(core).total()).sum()
}

fn clients(office: &Office) -> Value {
    // What ended is read first, so that it is never more than what began.
    let disconnected = sum(office, |it| &it.connections_closed_total);
    let closed = sum(office, |it| &it.subscriptions_closed_total);
    let connected = sum(office, |it| &it.connections_opened_total);
    let opened = sum(office, |it| &it.subscriptions_opened_total);
    json!({
        "connections": connected.saturating_sub(disconnected),
        "connections_opened_total": connected,
        "subscriptions": opened.saturating_sub(closed),
        "subscriptions_opened_total": opened,
        "counts_total": sum(office, |it| &it.counts_total),
        "messages_total": sum(office, |it| &it.messages_total),
        "received_bytes_total": sum(office, |it| &it.traffic.received_bytes_total),
        "sent_bytes_total": sum(office, |it| &it.traffic.sent_bytes_total),
        "slow_readers_total": sum(office, |it| &it.slow_readers_total),
        "questions_refused_total": by_reason(office, |it| &it.questions_refused_total),
    })
}

fn events(office: &Office) -> Value {
    let metrics = office.writer.metrics();
    let of_verdict = |place: usize| -> u64 {
        (0..CLASSES.len()).map(|class| metrics.events_total[class][place].total()).sum()
    };
    let verdicts: Map<String, Value> = VERDICTS
        .iter()
        .enumerate()
        .map(|(place, name)| ((*name).to_owned(), of_verdict(place).into()))
        .collect();
    json!({
        "received_total": sum(office, |it| &it.events_total),
        "known_total": sum(office, |it| &it.events_duplicate_total),
        "sent_stored_total": sum(office, |it| &it.events_sent_stored_total),
        "sent_live_total": sum(office, |it| &it.events_sent_live_total),
        "verdicts_total": verdicts,
        "refused_total": by_reason(office, |it| &it.events_refused_total),
    })
}

/// Returns one counter of each reason.
fn by_reason(
    office: &Office,
    counters: impl Fn(&CoreMetrics) -> &[Counter; REASONS.len()],
) -> Map<String, Value> {
    let count = |place: usize| sum(office, |core| &counters(core)[place]);
    REASONS.iter().enumerate().map(|(at, name)| ((*name).to_owned(), count(at).into())).collect()
}

fn latency(office: &Office) -> Value {
    let queries = office.relay.cores.iter().flat_map(|core| &core.queries);
    let queries = added(queries.map(|it| &it.work_micros));
    json!({
        "query_micros": distribution(queries),
        "commit_micros": distribution(added([&office.writer.metrics().commit_micros].into_iter())),
    })
}

/// Returns the histograms as one: of each bucket and those before it.
fn added<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> [u64; BUCKETS] {
    histograms.fold([0; BUCKETS], |mut all, histogram| {
        all.iter_mut().zip(histogram.cumulative()).for_each(|(sum, count)| *sum += count);
        all
    })
}

/// Shows a histogram: how many values were at most 2^n, and where the median and the slowest
/// hundredth begin, since the start. Of two such lists the difference is what came in between.
fn distribution(cumulative: [u64; BUCKETS]) -> Value {
    let count = cumulative[BUCKETS - 1];
    let at = |hundredth: u64| {
        let wanted = (count * hundredth).div_ceil(100).max(1);
        cumulative.iter().position(|it| *it >= wanted).map(|place| 1_u64 << place)
    };
    json!({ "at_most_power_of_two": cumulative, "count": count, "p50": at(50), "p99": at(99) })
}

/// Tells how many peers there are at each stage, and how many events came and went.
fn peers(office: &Office) -> Result<Value, Refusal> {
    let noted = noted_peers(office)?;
    let at = |stage: &str| noted.iter().filter(|peer| peer["stage"] == stage).count();
    let sum = |name: &str| noted.iter().filter_map(|peer| peer[name].as_u64()).sum::<u64>();
    Ok(json!({
        "following": at("following"),
        "syncing": at("syncing"),
        "away": at("away"),
        "received_total": sum("received"),
        "accepted_total": sum("accepted"),
    }))
}

fn guard(office: &Office) -> Value {
    let tally = office.relay.crowd.tally();
    let refused: Map<String, Value> = Activity::ALL
        .iter()
        .map(|activity| (activity.word().to_owned(), tally.refused(*activity).into()))
        .collect();
    json!({
        "too_fast_total": refused,
        "banned_total": tally.banned(),
        "shut_out_total": tally.shut_out(),
        "crowded_out_total": tally.crowded_out(),
    })
}

fn used() -> Value {
    let used = process::process_use();
    let ticks: u64 = used.threads.iter().map(|(_, ticks)| ticks).sum();
    json!({
        "cpu_micros_total": ticks * (1_000_000 / process::TICKS_PER_SEC),
        "resident_bytes": used.resident_bytes,
        "open_files": used.open_files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_slowest_hundredth_are_found() {
        let histogram = Histogram::default();
        assert_eq!(distribution(added([&histogram].into_iter()))["p99"], Value::Null);
        (0..98).for_each(|_| histogram.add(3));
        (0..2).for_each(|_| histogram.add(1_000));
        let shown = distribution(added([&histogram, &Histogram::default()].into_iter()));
        assert_eq!((&shown["p50"], &shown["p99"]), (&json!(4), &json!(1_024)));
        assert_eq!(shown["count"], 100);
    }
}
