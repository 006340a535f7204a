//! The moderation queue: what people have reported (NIP-56) and nobody has decided about.
//!
//! Nothing is ever removed because of reports alone. The newest reports are looked through each time
//! somebody asks, so nothing has to be kept in line.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::call::{Caller, Refusal, Said};
use super::office::Office;
use super::params::Params;
use super::search::shown;
use crate::nostr::{EventId, EventRef, Filter, Kind, PublicKey};
use crate::policy::Subject;
use crate::query;
use crate::store::Snapshot;

/// One report about something.
struct Report {
    by: PublicKey,
    kind: String,
    text: String,
    at: u64,
}

/// What is reported, each with its reports, the newest first.
#[derive(Default)]
struct Queue {
    events: Vec<(EventId, Vec<Report>)>,
    keys: Vec<(PublicKey, Vec<Report>)>,
}

/// `listeventsneedingmoderation` of NIP-86.
pub(super) fn events_needing_moderation(office: &mut Office, _: &Params<'_>, _: &Caller) -> Said {
    let snapshot = office.relay.store.snapshot()?;
    let queue = read_queue(office, &snapshot)?;
    let row = |(id, reports): &(EventId, Vec<Report>)| json!({ "id": id.to_string(), "reason": summary(reports) });
    Ok(queue.events.iter().map(row).collect())
}

pub(super) fn queue(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let most = params.number(0)?.unwrap_or(SHOWN_DEFAULT).min(SHOWN_MAX);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let snapshot = office.relay.store.snapshot()?;
    let Queue { events, keys } = read_queue(office, &snapshot)?;
    let (all_events, all_keys) = (events.len(), keys.len());
    let mut shown_events = Vec::new();
    for (id, reports) in events.into_iter().take(most) {
        if let Some((_, event)) = snapshot.by_id(&id)? {
            let reason = summary(&reports);
            shown_events.push(json!({
                "event": shown(&event), "reason": reason, "reports": shown_reports(reports),
            }));
        }
    }
    let row = |(key, reports): (PublicKey, Vec<Report>)| {
        let reason = summary(&reports);
        json!({ "pubkey": key.to_string(), "reason": reason, "reports": shown_reports(reports) })
    };
    let shown_keys: Vec<Value> = keys.into_iter().take(most).map(row).collect();
    Ok(json!({
        "events": shown_events, "events_total": all_events,
        "pubkeys": shown_keys, "pubkeys_total": all_keys,
    }))
}

fn read_queue(office: &Office, snapshot: &Snapshot<'_>) -> Result<Queue, Refusal> {
    let moderation = office.moderation();
    let is_decided = |subject: Subject| moderation.note(&subject).is_some();
    let is_decided_key = |key: &PublicKey| {
        is_decided(Subject::BannedKey(*key)) || is_decided(Subject::AllowedKey(*key))
    };
    let filter = Filter {
        kinds: Some([Kind::REPORT.0].into()),
        limit: Some(REPORTS_MAX),
        ..Filter::default()
    };
    let mut places = HashMap::<[u8; 32], usize>::new();
    let mut queue = Queue::default();
    for seq in query::find_all(snapshot, &filter, &|_| true)? {
        let Some(report) = snapshot.by_seq(seq)? else { continue };
        if is_decided(Subject::BannedKey(*report.pubkey)) {
            continue;
        }
        let mut has_events = false;
        for (id, kind) in named(&report, b'e').map(|(id, kind)| (EventId(id), kind)) {
            has_events = true;
            if is_decided(Subject::AllowedEvent(id)) || is_decided(Subject::BannedEvent(id)) {
                continue;
            }
            let Some((_, event)) = snapshot.by_id(&id)? else { continue };
            if is_decided(Subject::BannedKey(*event.pubkey)) {
                continue;
            }
            add(&mut queue.events, &mut places, (id, id.0), Report::of(&report, kind));
        }
        if has_events {
            continue;
        }
        for (key, kind) in named(&report, b'p').map(|(key, kind)| (PublicKey(key), kind)) {
            if !is_decided_key(&key) {
                add(&mut queue.keys, &mut places, (key, key.0), Report::of(&report, kind));
            }
        }
    }
    Ok(queue)
}

/// Adds a report to those about the same thing; whoever reports twice counts once.
fn add<T>(
    list: &mut Vec<(T, Vec<Report>)>,
    places: &mut HashMap<[u8; 32], usize>,
    (item, name): (T, [u8; 32]),
    report: Report,
) {
    let place = *places.entry(name).or_insert(list.len());
    if place == list.len() {
        list.push((item, Vec::new()));
    }
    let reports = &mut list[place].1;
    if reports.len() < REPORTS_EACH_MAX && reports.iter().all(|it| it.by != report.by) {
        reports.push(report);
    }
}

/// Returns what the tags of a letter name, and how the reporter calls it.
fn named<'a>(report: &EventRef<'a>, letter: u8) -> impl Iterator<Item = ([u8; 32], String)> + 'a {
    let name = char::from(letter).to_string();
    let tags = report.tags().filter(move |tag| tag.is_named(&name)).take(TAGS_MAX);
    tags.filter_map(|tag| {
        let item = *tag.value()?.as_hex()?;
        let kind = tag.elements().nth(2).map(|it| it.to_text().into_owned()).unwrap_or_default();
        Some((item, kind.chars().take(KIND_CHARACTERS_MAX).collect()))
    })
}

impl Report {
    fn of(event: &EventRef<'_>, mut kind: String) -> Report {
        if kind.is_empty() {
            "other".clone_into(&mut kind);
        }
        // The content is in its escaped form.
        let quoted = [b"\"", event.content, b"\""].concat();
        let text: String = serde_json::from_slice(&quoted).unwrap_or_default();
        let text = text.chars().take(TEXT_CHARACTERS_MAX).collect();
        Report { by: *event.pubkey, kind, text, at: event.created_at }
    }
}

/// Says how often something was reported as what.
fn summary(reports: &[Report]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for report in reports {
        match counts.iter_mut().find(|(kind, _)| *kind == report.kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((&report.kind, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let said: Vec<String> = counts
        .iter()
        .take(KINDS_SHOWN_MAX)
        .map(|(kind, count)| format!("{kind}: {count}"))
        .collect();
    said.join(", ")
}

fn shown_reports(reports: Vec<Report>) -> Vec<Value> {
    let row = |Report { by, kind, text, at }| json!({ "by": by.to_string(), "type": kind, "text": text, "at": at });
    reports.into_iter().map(row).collect()
}

/// The newest reports, which are looked through.
const REPORTS_MAX: u64 = 5_000;
/// Reports about one thing that are counted.
const REPORTS_EACH_MAX: usize = 100;
/// Tags of one report that count.
const TAGS_MAX: usize = 20;
const SHOWN_DEFAULT: u64 = 50;
const SHOWN_MAX: u64 = 500;
const TEXT_CHARACTERS_MAX: usize = 500;
const KIND_CHARACTERS_MAX: usize = 30;
const KINDS_SHOWN_MAX: usize = 5;
