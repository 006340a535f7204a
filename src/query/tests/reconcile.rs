//! Reconciliations against the obvious: a sorted vector of what is visible and matches.

use std::sync::Arc;

use super::{author, obvious, random_event, random_filter, store};
use crate::nostr::{Event, EventRef, Filter, Verified, Verifier};
use crate::query::{Budget, Progress, ReconcileLimits, Reconciliation};
use crate::reconcile::{Item, SortedItems, respond};
use crate::seq::Seq;
use crate::store::{KINDS_SET_ASIDE, Store, Writer};

fn expiring_event(random: &mut fastrand::Rng) -> Verified {
    let kind = *random.choice(&[1, 7, 1059, 4]).unwrap();
    let json = serde_json::json!({
        "id": "0".repeat(64), "pubkey": author(random.u8(..5)), "kind": kind,
        "tags": [["expiration", random.u64(40..60).to_string()]],
        "created_at": random.u64(100..160), "content": random.u32(..).to_string(),
        "sig": "0".repeat(128),
    });
    let mut event = Event::parse(json.to_string().as_bytes()).unwrap();
    event.id = crate::nostr::verify::event_id(&event.view());
    Verifier::new().verify_id_only(event).unwrap()
}

#[test]
fn reconciliations_are_about_what_is_visible_whatever_way_it_is_found() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let mut writer = Writer::new(store.clone());
        for _batch in 0..8 {
            let batch: Vec<_> = (0..random.usize(1..80))
                .map(|_| match random.u8(..5) {
                    0 => expiring_event(&mut random),
                    _ => random_event(&mut random, &[]),
                })
                .collect();
            writer.commit(&batch, 0).unwrap();
            if random.u8(..3) == 0 {
                let _ = writer.maintain(true).unwrap();
            }
        }
        let snapshot = store.snapshot().unwrap();
        let living: Vec<Event> =
            snapshot.log(Seq::ZERO).unwrap().map(|item| item.unwrap().1.to_owned()).collect();
        for _ in 0..40 {
            let mut filter = random_filter(&mut random, &[]);
            if random.bool() {
                filter = Filter { since: filter.since, until: filter.until, ..Filter::default() };
            }
            reconciles(&store, &living, &filter, &mut random);
        }
    }
}

fn reconciles(store: &Store, living: &[Event], filter: &Filter, random: &mut fastrand::Rng) {
    const NOW: u64 = 50;
    let is_visible = |event: &EventRef<'_>| {
        let is_expired = event.expiration().is_some_and(|expiration| expiration <= NOW);
        !is_expired && (event.kind.0 != 1059 || event.pubkey.0[0] < 2)
    };
    let items_max = [30, 1_000_000][random.usize(..2)];
    let limits = ReconcileLimits { items_max, answer_bytes_max: 1 << 20 };
    let visible: Vec<Event> =
        living.iter().filter(|event| is_visible(&event.view())).cloned().collect();
    let found = obvious(&visible, filter, filter.limit.unwrap_or(1 << 30));
    let is_found = |event: &&Event| found.contains(&event.id);
    let items = visible.iter().filter(is_found);
    let items = items.map(|event| Item { timestamp: event.created_at, id: event.id.0 }).collect();
    let mut expected = SortedItems::new(items);
    let aside = Filter {
        kinds: Some(KINDS_SET_ASIDE.into()),
        since: filter.since,
        until: filter.until,
        ..Filter::default()
    };
    let aside = random.bool().then(|| Arc::from([aside]));
    let is_stored = aside.is_some();
    let mut set = Reconciliation::new(filter.clone(), aside, limits, store.last_seq());
    let steps = *random.choice(&[1, 50, 1000, 100_000]).unwrap();
    for message in ["6100000200", "6181190002008119000200", "61000001"] {
        let mut message = crate::hex::decode_any_case(message.as_bytes()).unwrap();
        if message.len() == 4 {
            message.extend([0; 16]);
        }
        let answer = loop {
            let snapshot = store.snapshot().unwrap();
            let step = set.step(&snapshot, &message, Budget { steps }, NOW, &is_visible).unwrap();
            if !matches!(step, Progress::More | Progress::Moved) {
                break step;
            }
        };
        if answer == Progress::TooMany {
            assert!(is_stored || expected.as_slice().len() as u64 > items_max, "{filter:?}");
            assert_eq!(items_max, 30);
            return;
        }
        let right = respond(&mut expected, &message, 1 << 20).unwrap();
        assert_eq!(answer, Progress::Answer(right), "{filter:?}");
    }
}
