//! What a relay should do, said as plainly as possible.

use serde_json::Value;

use crate::harness::Event;

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stored,
    Ephemeral,
    Duplicate,
    Superseded,
    Deleted,
    Vanished,
    Expired,
}

/// All events that should be there.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) events: Vec<Event>,
}

impl Model {
    /// Decides about an event, and keeps what follows from it.
    pub(super) fn publish(&mut self, event: &Event, now: u64) -> Fate {
        if (20_000..30_000).contains(&event.kind) {
            return Fate::Ephemeral;
        }
        if self.events.iter().any(|stored| stored.id == event.id) {
            return Fate::Duplicate;
        }
        if is_expired(event, now) {
            return Fate::Expired;
        }
        if self.events.iter().any(|stored| stored.kind == 62 && vanishes(stored, event)) {
            return Fate::Vanished;
        }
        let is_covered = |stored: &Event| {
            stored.kind == 62
                && stored.pubkey == event.pubkey
                && stored.created_at >= event.created_at
        };
        if event.kind == 62 && self.events.iter().any(is_covered) {
            return Fate::Duplicate;
        }
        if self.events.iter().any(|stored| stored.kind == 5 && deletes(stored, event)) {
            return Fate::Deleted;
        }
        if has_address(event) {
            let same = |stored: &&Event| has_address(stored) && stored.address() == event.address();
            if self.events.iter().filter(same).any(|stored| wins(stored, event)) {
                return Fate::Superseded;
            }
            self.events.retain(|stored| !same(&stored));
        }
        if event.kind == 62 {
            self.events.retain(|stored| !vanishes(event, stored));
        }
        if event.kind == 5 {
            self.events.retain(|stored| !deletes(event, stored));
        }
        self.events.push(event.clone());
        Fate::Stored
    }

    /// Forgets what has expired, as a sweeper may; deletion requests keep their effect (NIP-40).
    pub(super) fn sweep(&mut self, now: u64) {
        self.events.retain(|stored| stored.kind == 5 || !is_expired(stored, now));
    }

    /// The stored events of a REQ, in order.
    pub(super) fn query(&self, filters: &[Value], default_limit: u64, now: u64) -> Vec<&Event> {
        let mut union: Vec<&Event> = Vec::new();
        for filter in filters {
            let mut found: Vec<&Event> = self.events.iter().collect();
            found.retain(|event| !is_expired(event, now) && matches(filter, event));
            found.sort_by(|a, b| newest_first(a, b));
            let limit = filter.get("limit").map_or(Some(default_limit), Value::as_u64);
            found.truncate(limit.and_then(|limit| limit.try_into().ok()).unwrap_or(usize::MAX));
            union.extend(found);
        }
        union.sort_by(|a, b| newest_first(a, b));
        union.dedup_by(|a, b| a.id == b.id);
        union
    }
}

/// True when any filter matches the event; limits play no part.
pub(super) fn matches_any(filters: &[Value], event: &Event) -> bool {
    filters.iter().any(|filter| matches(filter, event))
}

/// True when every condition of the filter holds (NIP-01).
pub(super) fn matches(filter: &Value, event: &Event) -> bool {
    let json = event.json();
    filter.as_object().expect("a filter is an object").iter().all(|(name, value)| {
        let listed = |member: &str| contains(value, &json[member]);
        match name.as_str() {
            "ids" => listed("id"),
            "authors" => listed("pubkey"),
            "kinds" => listed("kind"),
            "since" => value.as_u64() <= json["created_at"].as_u64(),
            "until" => value.as_u64() >= json["created_at"].as_u64(),
            "limit" => true,
            tag if tag.starts_with('#') => has_value(&json, &tag[1..], value),
            other => panic!("the model knows no {other}"),
        }
    })
}

fn has_value(event: &Value, name: &str, wanted: &Value) -> bool {
    let tags = event["tags"].as_array().expect("tags are an array");
    let found = tags
        .iter()
        .any(|tag| tag[0] == name && tag.get(1).is_some_and(|value| contains(wanted, value)));
    // An addressable event without a d tag has the empty address.
    let no_d = name == "d"
        && event["kind"].as_u64().is_some_and(|kind| (30_000..40_000).contains(&kind))
        && tags.iter().all(|tag| tag[0] != "d");
    found || no_d && contains(wanted, &Value::from(""))
}

fn contains(list: &Value, value: &Value) -> bool {
    list.as_array().expect("a condition is a list").contains(value)
}

fn newest_first(a: &Event, b: &Event) -> std::cmp::Ordering {
    b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id))
}

fn has_address(event: &Event) -> bool {
    matches!(event.kind, 0 | 3 | 10_000..20_000 | 30_000..40_000)
}

/// True when a stored version stays and the arriving one does not (NIP-01: ties by lowest id).
fn wins(stored: &Event, event: &Event) -> bool {
    (stored.created_at > event.created_at)
        || (stored.created_at == event.created_at && stored.id < event.id)
}

/// True when this deletion request covers that event (NIP-09, NIP-59).
fn deletes(request: &Event, event: &Event) -> bool {
    if matches!(event.kind, 5 | 62) {
        return false;
    }
    let is_recipient = event.kind == 1059
        && event.tags.iter().any(|tag| tag[0] == "p" && tag.get(1) == Some(&request.pubkey));
    let is_author = event.pubkey == request.pubkey;
    request.tags.iter().any(|tag| match (tag[0].as_str(), tag.get(1)) {
        ("e", Some(id)) => *id == event.id && (is_author || is_recipient),
        ("a", Some(address)) => {
            is_author
                && has_address(event)
                && *address == event.address()
                && event.created_at <= request.created_at
        }
        _ => false,
    })
}

/// True when this request to vanish covers that event (NIP-62).
fn vanishes(request: &Event, event: &Event) -> bool {
    let is_recipient = event.kind == 1059
        && event.tags.iter().any(|tag| tag[0] == "p" && tag.get(1) == Some(&request.pubkey));
    event.kind != 62
        && event.created_at <= request.created_at
        && (event.pubkey == request.pubkey || is_recipient)
}

/// True when the first expiration tag is a number of seconds that is not in the future (NIP-40).
fn is_expired(event: &Event, now: u64) -> bool {
    let Some(text) = event.first("expiration") else { return false };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number && text.parse::<u128>().is_ok_and(|expiry| expiry <= u128::from(now))
}

#[test]
fn the_filter_of_the_model_knows_the_sentences_of_nip_01() {
    use serde_json::json;
    let event = crate::harness::key(1).event(1, "", &[&["t", "a", "b"], &["x"]], 100);
    let rows = [
        (json!({}), true),
        (json!({"since": 100, "until": 100}), true),
        (json!({"since": 101}), false),
        (json!({"until": 99}), false),
        (json!({"kinds": [1], "ids": [event.id]}), true),
        (json!({"kinds": []}), false),
        (json!({"#t": ["a"]}), true),
        (json!({"#t": ["b"]}), false),
        (json!({"#x": [""]}), false),
        (json!({"#d": [""]}), false),
    ];
    for (filter, expected) in rows {
        assert_eq!(matches(&filter, &event), expected, "{filter}");
    }
}
