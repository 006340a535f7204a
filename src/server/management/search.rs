//! Search for events by id, author, kind or filter, and removal of what was found.

use std::cell::Cell;

use serde_json::{Value, json};

use super::call::{Caller, Refusal, Said};
use super::office::Office;
use super::params::Params;
use crate::nostr::{EventId, EventRef, Filter, Kind, PublicKey, bech32};
use crate::query;
use crate::seq::Seq;

pub(super) fn search(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let most = params.number(1)?.unwrap_or(FOUND_DEFAULT).clamp(1, FOUND_MAX);
    let until = params.number(2)?;
    let filters = filters(params, 0)?;
    let snapshot = office.relay.store.snapshot()?;
    let mut found: Vec<(u64, Seq)> = Vec::new();
    for mut filter in filters {
        // One more tells whether there are more.
        filter.limit = Some(filter.limit.unwrap_or(u64::MAX).min(most + 1));
        filter.until = [filter.until, until].into_iter().flatten().min();
        for seq in query::find_all(&snapshot, &filter, &|_| true)? {
            if let Some(event) = snapshot.by_seq(seq)? {
                found.push((event.created_at, seq));
            }
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup();
    let mut events = Vec::new();
    let mut bytes = 0;
    for (_, seq) in &found {
        if events.len() as u64 == most || bytes > FOUND_BYTES_MAX {
            break;
        }
        if let Some(event) = snapshot.by_seq(*seq)? {
            bytes += event.json_len();
            events.push(shown(&event));
        }
    }
    let has_more = events.len() < found.len();
    Ok(json!({ "events": events, "more": has_more }))
}

pub(super) fn count(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let Doomed { events, kept } = doomed(office, params)?;
    Ok(json!({ "count": events.len(), "kept": kept }))
}

pub(super) fn remove(office: &mut Office, params: &Params<'_>, _: &Caller) -> Said {
    let Doomed { events: found, .. } = doomed(office, params)?;
    let mut removed = 0;
    for batch in found.iter().take(REMOVED_MAX).copied().collect::<Vec<Seq>>().chunks(BATCH_EVENTS)
    {
        removed += office.writer.bury(batch.to_vec()).ok_or(Refusal::Busy)?;
    }
    Ok(json!({ "removed": removed, "more": found.len() > REMOVED_MAX }))
}

/// What would be removed.
struct Doomed {
    events: Vec<Seq>,
    /// How many events stay that are found too.
    kept: usize,
}

/// Finds what would be removed, and how much of what is found stays: what was asked to be forgotten
/// must not come back.
fn doomed(office: &Office, params: &Params<'_>) -> Result<Doomed, Refusal> {
    let filters = filters(params, 0)?;
    if filters.contains(&Filter::default()) {
        return Err(params.wrong(0, "a filter that names what is to go"));
    }
    let is_kept = |event: &EventRef<'_>| matches!(event.kind, Kind::DELETION | Kind::VANISH);
    let snapshot = office.relay.store.snapshot()?;
    let (mut events, mut kept) = (Vec::new(), 0);
    for mut filter in filters {
        filter.limit = None;
        let count = Cell::new(0);
        events.extend(query::find_all(&snapshot, &filter, &|event| {
            count.set(count.get() + usize::from(is_kept(event)));
            !is_kept(event)
        })?);
        kept += count.get();
    }
    events.sort_unstable();
    events.dedup();
    Ok(Doomed { events, kept })
}

/// Returns the event as JSON.
pub(super) fn shown(event: &EventRef<'_>) -> Value {
    let mut json = Vec::with_capacity(event.json_len());
    event.write_json(&mut json);
    serde_json::from_slice(&json).unwrap_or_default()
}

/// Reads what is asked for: a filter of NIP-01, or words.
fn filters(params: &Params<'_>, place: usize) -> Result<Vec<Filter>, Refusal> {
    match params.0.get(place) {
        Some(object @ Value::Object(_)) => match Filter::parse(object.to_string().as_bytes()) {
            Ok(filter) if filter.search.is_none() => Ok(vec![filter]),
            Ok(_) => Err(params.wrong(place, "a filter without `search`")),
            Err(error) => Err(Refusal::Failed(format!("params[{place}]: {error}"))),
        },
        _ => read_words(params.text(place, QUERY_CHARACTERS_MAX)?)
            .ok_or_else(|| params.wrong(place, WORDS)),
    }
}

/// Reads words such as an id, npub1... and kind:1, all of which have to hold.
fn read_words(text: &str) -> Option<Vec<Filter>> {
    let (mut ids, mut authors, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    // 64 digits may be an id or an author.
    let mut either = Vec::new();
    for word in text.split_whitespace() {
        let (name, value) = word.split_once(':').unwrap_or(("", word));
        let bytes = |prefix: &str| {
            let decoded = || bech32::decode(prefix, value);
            PublicKey::from_hex(value.as_bytes()).map(|key| key.0).or_else(decoded)
        };
        match name {
            "" if value.starts_with("npub1") => authors.push(PublicKey(bytes("npub")?)),
            "" if value.starts_with("note1") => ids.push(EventId(bytes("note")?)),
            "" if value.len() == 64 => either.push(bytes("")?),
            "" | "kind" => kinds.push(value.parse().ok()?),
            "id" => ids.push(EventId(bytes("note")?)),
            "author" => authors.push(PublicKey(bytes("npub")?)),
            _ => return None,
        }
    }
    let list = |ids: &[EventId], authors: &[PublicKey]| {
        let sorted = |kinds: &[u16]| {
            let mut kinds = kinds.to_vec();
            kinds.sort_unstable();
            kinds.dedup();
            kinds.into_boxed_slice()
        };
        let (mut ids, mut authors) = (ids.to_vec(), authors.to_vec());
        ids.sort_unstable();
        ids.dedup();
        authors.sort_unstable();
        authors.dedup();
        Filter {
            ids: (!ids.is_empty()).then(|| ids.into()),
            authors: (!authors.is_empty()).then(|| authors.into()),
            kinds: (!kinds.is_empty()).then(|| sorted(&kinds)),
            ..Filter::default()
        }
    };
    if either.is_empty() {
        return Some(vec![list(&ids, &authors)]);
    }
    let as_ids: Vec<EventId> = either.iter().copied().map(EventId).collect();
    let as_authors: Vec<PublicKey> = either.into_iter().map(PublicKey).collect();
    Some(vec![
        list(&[&ids[..], &as_ids].concat(), &authors),
        list(&ids, &[&authors[..], &as_authors].concat()),
    ])
}

const WORDS: &str = "a filter, or words: an id, a public key, note1..., npub1..., kind:1";
const QUERY_CHARACTERS_MAX: usize = 2_000;
const FOUND_DEFAULT: u64 = 50;
const FOUND_MAX: u64 = 500;
/// What is given out at once ends after this.
const FOUND_BYTES_MAX: usize = 1 << 20;
/// Events that one call removes; who has more to remove calls again.
const REMOVED_MAX: usize = 20_000;
/// Events that one transaction removes.
const BATCH_EVENTS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_filters() {
        let hex = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d";
        let npub = "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6";
        let json = |text: &str| {
            let filters = read_words(text)?;
            let json = |filter: &Filter| {
                let mut out = Vec::new();
                filter.write_json(&mut out);
                String::from_utf8(out).expect("it is text")
            };
            Some(filters.iter().map(json).collect::<Vec<_>>().join(" "))
        };
        let rows = [
            ("", Some("{}".to_owned())),
            ("1 kind:7", Some("{\"kinds\":[1,7]}".to_owned())),
            (npub, Some(format!("{{\"authors\":[\"{hex}\"]}}"))),
            (hex, Some(format!("{{\"ids\":[\"{hex}\"]}} {{\"authors\":[\"{hex}\"]}}"))),
            ("author:x", None),
            ("colour:red", None),
            ("70000", None),
        ];
        for (text, expected) in rows {
            assert_eq!(json(text), expected, "{text}");
        }
        let both = format!("kind:1 author:{hex}");
        assert!(json(&both).is_some_and(|it| it.contains("kinds") && it.contains("authors")));
    }
}
