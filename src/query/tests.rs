//! Queries against the obvious: every event, every filter, a sort and a cut.

mod reconcile;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Budget, Cursor, Hint, QueryLimits, Step, count, explain, find_all};
use crate::nostr::{Event, EventId, EventRef, Filter, Keypair, Verified, Verifier, verify};
use crate::seq::Seq;
use crate::store::{Durability, Store, StoreOptions, Writer};

const LIMITS: QueryLimits = QueryLimits { default_limit: 20, max_limit: 60 };

fn store(path: &std::path::Path) -> Store {
    let options =
        StoreOptions { map_bytes: Some(256 << 20), durability: Durability::Lazy, salt: [5; 16] };
    Store::open(path, &options).unwrap()
}

fn author(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// Keys that let the authors speak for them.
fn delegator(number: u8) -> Keypair {
    Keypair::from_secret([number + 1; 32]).unwrap()
}

/// What a delegator signs for an author, rightly or not.
fn delegation(random: &mut fastrand::Rng, author: &str) -> Vec<String> {
    let from = delegator(random.u8(..2));
    let conditions = *random.choice(&["kind=1", "created_at<140", "kind=0&kind=7"]).unwrap();
    let text = format!("nostr:delegation:{author}:{conditions}");
    let mut token = from.sign_id(&EventId(verify::digest(text.as_bytes())));
    token.0[63] ^= u8::from(random.u8(..4) == 0);
    let mut digits = Vec::new();
    crate::hex::encode_into(&token.0, &mut digits);
    let key = from.public_key().to_string();
    ["delegation", &key, conditions, &String::from_utf8(digits).unwrap()].map(str::to_owned).into()
}

fn random_event(random: &mut fastrand::Rng, known: &[EventId]) -> Verified {
    let pubkey = author(random.u8(..5));
    let mut tags: Vec<Vec<String>> = Vec::new();
    if random.u8(..4) == 0 {
        tags.push(delegation(random, &pubkey));
    }
    for _ in 0..random.usize(..4) {
        let tag = match random.u8(..4) {
            0 => ["t".to_owned(), random.u8(..4).to_string()],
            1 => ["p".to_owned(), author(random.u8(..5))],
            2 => ["d".to_owned(), random.u8(..3).to_string()],
            _ => ["e".to_owned(), random.choice(known).map_or(String::new(), EventId::to_string)],
        };
        tags.push(tag.to_vec());
    }
    let kind = *random.choice(&[1, 1, 1, 7, 7, 0, 3, 30_023, 30_000, 1059]).unwrap();
    let json = serde_json::json!({
        "id": "0".repeat(64), "pubkey": pubkey, "kind": kind, "tags": tags,
        "created_at": random.u64(100..160), "content": random.u32(..).to_string(),
        "sig": "0".repeat(128),
    });
    let mut event = Event::parse(json.to_string().as_bytes()).unwrap();
    event.id = crate::nostr::verify::event_id(&event.view());
    Verifier::new().verify_id_only(event).unwrap()
}

fn random_filter(random: &mut fastrand::Rng, known: &[EventId]) -> Filter {
    let mut filter = serde_json::Map::new();
    let mut some =
        |random: &mut fastrand::Rng,
         name: &str,
         of: &mut dyn FnMut(&mut fastrand::Rng) -> serde_json::Value| {
            if random.u8(..3) == 0 {
                let values: Vec<_> = (0..random.usize(1..5)).map(|_| of(random)).collect();
                filter.insert(name.to_owned(), values.into());
            }
        };
    if random.u8(..4) == 0 {
        some(random, "ids", &mut |random| {
            random.choice(known).map_or(author(9), EventId::to_string).into()
        });
    }
    some(random, "authors", &mut |random| match random.u8(..8) {
        number @ 6.. => delegator(number - 6).public_key().to_string().into(),
        number => author(number).into(),
    });
    some(random, "kinds", &mut |random| {
        (*random.choice(&[0, 1, 3, 7, 30_023, 30_000, 1059, 4]).unwrap()).into()
    });
    some(random, "#t", &mut |random| random.u8(..5).to_string().into());
    some(random, "#d", &mut |random| (*random.choice(&["0", "1", ""]).unwrap()).into());
    some(random, "&p", &mut |random| author(random.u8(..5)).into());
    some(random, "#e", &mut |random| {
        random.choice(known).map_or(author(9), EventId::to_string).into()
    });
    if random.u8(..3) == 0 {
        filter.insert("since".to_owned(), random.u64(90..170).into());
    }
    if random.u8(..3) == 0 {
        filter.insert("until".to_owned(), random.u64(90..170).into());
    }
    if random.bool() {
        filter.insert("limit".to_owned(), random.u64(..80).into());
    }
    let text = serde_json::Value::Object(filter).to_string();
    let filter = Filter::parse(text.as_bytes()).unwrap();
    Filter { by_delegation: filter.authors.is_some() && random.bool(), ..filter }
}

/// What a filter gives: everything that matches, newest first, ties by lowest id, cut.
fn obvious(living: &[Event], filter: &Filter, limit: u64) -> Vec<EventId> {
    let mut matching: Vec<&Event> =
        living.iter().filter(|event| filter.matches(&event.view())).collect();
    matching.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
    matching.truncate(usize::try_from(limit).unwrap());
    matching.into_iter().map(|event| event.id).collect()
}

fn all_of(store: &Store, filters: &[Filter], random: &mut fastrand::Rng) -> (Vec<EventId>, Hint) {
    let mut cursor = Cursor::new(Arc::from(filters.to_vec()), LIMITS, store.last_seq());
    let mut given = Vec::new();
    let steps = *random.choice(&[1, 50, 1000, 100_000]).unwrap();
    let chunk = random.usize(1..100);
    for _slice in 0..100_000 {
        let snapshot = store.snapshot().unwrap();
        let mut left = chunk;
        let step = cursor.step(&snapshot, Budget { steps }, &|_| true, &mut |event| {
            given.push(*event.id);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if step.unwrap() == Step::Done {
            return (given, cursor.hint());
        }
    }
    panic!("the query does not end");
}

#[test]
fn queries_agree_with_the_obvious_in_any_slices() {
    for _round in 0..6 {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let mut writer = Writer::new(store.clone());
        let mut known = Vec::new();
        for _batch in 0..8 {
            let batch: Vec<_> =
                (0..random.usize(1..80)).map(|_| random_event(&mut random, &known)).collect();
            known.extend(batch.iter().map(|event| event.event().id));
            writer.commit(&batch, 0).unwrap();
            if random.u8(..3) == 0 {
                while writer.maintain(true).unwrap() {}
            }
        }
        let snapshot = store.snapshot().unwrap();
        let living: Vec<Event> =
            snapshot.log(Seq::ZERO).unwrap().map(|item| item.unwrap().1.to_owned()).collect();
        for _query in 0..150 {
            let filters: Vec<Filter> =
                (0..random.usize(1..4)).map(|_| random_filter(&mut random, &known)).collect();
            agrees(&store, &living, &filters, &mut random);
        }
    }
}

fn agrees(store: &Store, living: &[Event], filters: &[Filter], random: &mut fastrand::Rng) {
    let wanted: HashSet<EventId> = filters
        .iter()
        .flat_map(|filter| {
            let limit = filter.limit.unwrap_or(LIMITS.default_limit).min(LIMITS.max_limit);
            obvious(living, filter, limit)
        })
        .collect();
    let mut expected: Vec<&Event> =
        living.iter().filter(|event| wanted.contains(&event.id)).collect();
    expected.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
    let expected: Vec<EventId> = expected.into_iter().map(|event| event.id).collect();
    let (given, hint) = all_of(store, filters, random);
    assert_eq!(given, expected, "{filters:?}");
    check_hint(living, filters, &given, hint);
    let snapshot = store.snapshot().unwrap();
    let matching =
        living.iter().filter(|event| filters.iter().any(|filter| filter.matches(&event.view())));
    let visible = |_: &EventRef<'_>| true;
    let counted = count(&snapshot, filters, 0, &visible).unwrap();
    assert_eq!(counted, matching.count() as u64, "{filters:?}");
    let report = explain(&snapshot, &filters[0], &LIMITS, &visible).unwrap();
    let first = obvious(living, &filters[0], filters[0].limit.unwrap_or(20).min(60));
    assert_eq!(report.hits, first.len() as u64);
    let all = Filter { limit: None, ..filters[0].clone() };
    let found = find_all(&snapshot, &all, &visible).unwrap();
    assert_eq!(found.len(), obvious(living, &all, 1 << 30).len());
}

/// NIP-67: what a hint says is true, and what surely is all is said to be.
fn check_hint(living: &[Event], filters: &[Filter], given: &[EventId], hint: Hint) {
    let of = |filter: &Filter| obvious(living, filter, 1 << 30);
    let is_whole = filters.iter().flat_map(of).all(|id| given.contains(&id));
    match hint {
        Hint::Finish => assert!(is_whole, "there is more: {filters:?}"),
        Hint::More => assert!(!is_whole, "there is no more: {filters:?}"),
        Hint::Nothing => {
            let limit = |filter: &Filter| filter.limit.unwrap_or(20).min(60);
            let is_short = |filter: &Filter| {
                (of(filter).len() as u64) < limit(filter) || filter.matches_nothing()
            };
            assert!(!filters.iter().all(is_short), "everything was given: {filters:?}");
        }
    }
}

fn hint_of(store: &Store, filter: &str) -> (usize, Hint) {
    let filters = [Filter::parse(filter.as_bytes()).unwrap()];
    let (given, hint) = all_of(store, &filters, &mut fastrand::Rng::with_seed(1));
    (given.len(), hint)
}

#[test]
fn nip_67_2_a_limit_that_is_just_reached_is_told_from_one_that_cuts() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut writer = Writer::new(store.clone());
    let note = |second: u64, content: u64| {
        let json = serde_json::json!({
            "id": "0".repeat(64), "pubkey": author(1), "kind": 1, "tags": [["t", "a"]],
            "created_at": second, "content": content.to_string(), "sig": "0".repeat(128),
        });
        let mut event = Event::parse(json.to_string().as_bytes()).unwrap();
        event.id = crate::nostr::verify::event_id(&event.view());
        Verifier::new().verify_id_only(event).unwrap()
    };
    // Six events, two of them in each second.
    let batch: Vec<_> = (0..6).map(|number| note(100 + number / 2, number)).collect();
    writer.commit(&batch, 0).unwrap();
    for kind in ["\"kinds\":[1]", "\"#t\":[\"a\"]", "\"since\":0"] {
        let with = |limit: u64| hint_of(&store, &format!("{{{kind},\"limit\":{limit}}}"));
        assert_eq!(with(7), (6, Hint::Finish));
        assert_eq!(with(6), (6, Hint::Finish));
        assert_eq!(with(5), (5, Hint::More), "cut within a second");
        assert_eq!(with(4), (4, Hint::More), "cut between two seconds");
        assert_eq!(with(1), (1, Hint::More));
        assert_eq!(with(0), (0, Hint::Nothing));
    }
    assert_eq!(hint_of(&store, r#"{"ids":[]}"#), (0, Hint::Finish));
    assert_eq!(hint_of(&store, r#"{"kinds":[2]}"#), (0, Hint::Finish));
}

#[test]
fn hidden_kinds_are_looked_at_once_and_then_stepped_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut writer = Writer::new(store.clone());
    let mut random = fastrand::Rng::with_seed(3);
    let batch: Vec<_> = (0..2_000).map(|_| random_event(&mut random, &[])).collect();
    writer.commit(&batch, 0).unwrap();
    let filters: Arc<[Filter]> = Arc::from([Filter { limit: Some(60), ..Filter::default() }]);
    let mut cursor = Cursor::new(filters, LIMITS, store.last_seq());
    cursor.hide_kinds(Arc::from([1059]));
    let looked_at = std::cell::Cell::new(0);
    let is_visible = |event: &EventRef<'_>| {
        let is_hidden = event.kind.0 == 1059;
        looked_at.set(looked_at.get() + u32::from(is_hidden));
        !is_hidden
    };
    let mut given = 0;
    let snapshot = store.snapshot().unwrap();
    let step = cursor.step(&snapshot, Budget { steps: 1 << 30 }, &is_visible, &mut |event| {
        assert_ne!(event.kind.0, 1059);
        given += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(step.unwrap(), Step::Done);
    assert_eq!((given, looked_at.get()), (60, 1));
}

#[test]
fn a_quiet_author_under_a_popular_tag_costs_what_the_author_costs() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut writer = Writer::new(store.clone());
    let note = |number: u64, by: u8| {
        let json = serde_json::json!({
            "id": "0".repeat(64), "pubkey": author(by), "kind": 1, "tags": [["t", "popular"]],
            "created_at": number, "content": "", "sig": "0".repeat(128),
        });
        let mut event = Event::parse(json.to_string().as_bytes()).unwrap();
        event.id = crate::nostr::verify::event_id(&event.view());
        Verifier::new().verify_id_only(event).unwrap()
    };
    let mut batch: Vec<_> = (100..20_000).map(|number| note(number, 1)).collect();
    batch.push(note(1, 2));
    writer.commit(&batch, 0).unwrap();
    while writer.maintain(true).unwrap() {}
    let filter = format!("{{\"authors\":[\"{}\"],\"#t\":[\"popular\"]}}", author(2));
    let filter = Filter::parse(filter.as_bytes()).unwrap();
    let report = explain(&store.snapshot().unwrap(), &filter, &LIMITS, &|_| true).unwrap();
    assert_eq!(report.hits, 1);
    let touched: u64 = report.plans.iter().map(|plan| plan.entries).sum();
    assert!(touched < 2_000, "{report}");
}

#[test]
fn a_second_with_very_many_events_is_read_no_further_than_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut writer = Writer::new(store.clone());
    let note = |number: u32| {
        let json = serde_json::json!({
            "id": "0".repeat(64), "pubkey": author(1), "kind": 1, "tags": [["t", "flood"]],
            "created_at": 1_700_000_000, "content": number.to_string(), "sig": "0".repeat(128),
        });
        let mut event = Event::parse(json.to_string().as_bytes()).unwrap();
        event.id = crate::nostr::verify::event_id(&event.view());
        Verifier::new().verify_id_only(event).unwrap()
    };
    let batch: Vec<_> = (0..8_000).map(note).collect();
    writer.commit(&batch, 0).unwrap();
    let mut lowest: Vec<EventId> = batch.iter().map(|event| event.event().id).collect();
    lowest.sort_unstable();
    for filter in [r#"{"limit":20}"#, r##"{"#t":["flood"]}"##, r#"{"kinds":[1],"since":3}"#] {
        let filter = Filter::parse(filter.as_bytes()).unwrap();
        let report = explain(&store.snapshot().unwrap(), &filter, &LIMITS, &|_| true).unwrap();
        assert!(report.plans.iter().map(|plan| plan.records).sum::<u64>() < 1_000, "{report}");
        let (given, _) = all_of(&store, &[filter], &mut fastrand::Rng::with_seed(1));
        assert_eq!(given, lowest[..20]);
    }
}

#[test]
fn an_addressable_event_is_found_by_each_of_its_d_values() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let json = serde_json::json!({
        "id": "0".repeat(64), "pubkey": author(1), "kind": 30_023, "content": "",
        "tags": [["d", "first"], ["d", "second"]], "created_at": 1, "sig": "0".repeat(128),
    });
    let mut event = Event::parse(json.to_string().as_bytes()).unwrap();
    event.id = crate::nostr::verify::event_id(&event.view());
    let verified = Verifier::new().verify_id_only(event).unwrap();
    Writer::new(store.clone()).commit(&[verified], 0).unwrap();
    for value in ["first", "second"] {
        let filter = serde_json::json!({
            "authors": [author(1)], "kinds": [30_023], "#d": [value],
        });
        let filter = Filter::parse(filter.to_string().as_bytes()).unwrap();
        let snapshot = store.snapshot().unwrap();
        assert_eq!(find_all(&snapshot, &filter, &|_| true).unwrap().len(), 1, "{value}");
    }
}

#[test]
fn profiles_are_read_by_author_where_the_kind_is_long() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut writer = Writer::new(store.clone());
    let profile = |number: u32| {
        let json = serde_json::json!({
            "id": "0".repeat(64), "pubkey": format!("{number:08x}").repeat(8), "kind": 0, "tags": [],
            "created_at": number, "content": "", "sig": "0".repeat(128),
        });
        let mut event = Event::parse(json.to_string().as_bytes()).unwrap();
        event.id = crate::nostr::verify::event_id(&event.view());
        Verifier::new().verify_id_only(event).unwrap()
    };
    writer.commit(&(0..5_000).map(profile).collect::<Vec<_>>(), 0).unwrap();
    while writer.maintain(true).unwrap() {}
    let authors: Vec<_> = (0..10).map(|number| format!("{number:08x}").repeat(8)).collect();
    let filter = serde_json::json!({ "authors": authors, "kinds": [0] }).to_string();
    let filter = Filter::parse(filter.as_bytes()).unwrap();
    let report = explain(&store.snapshot().unwrap(), &filter, &LIMITS, &|_| true).unwrap();
    assert_eq!(report.hits, 10);
    assert!(report.plans.iter().map(|plan| plan.entries).sum::<u64>() < 100, "{report}");
}
