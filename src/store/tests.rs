//! The store against a dumb model: a `Vec` and the rules of NIP-01, NIP-09 and NIP-40 in a loop.

use std::path::Path;

use super::{
    CheckReport, Chore, Durability, Outcome, Prepared, Preparer, Store, StoreError, StoreOptions,
    Writer, check,
};
use super::{Extra, KINDS_SET_ASIDE, TimeTree, TreeError, compact, info, repair};
use crate::nostr::{Event, EventId, Kind, KindClass, PublicKey, Signature, Verified, Verifier};
use crate::reconcile::{Item, Items, SortedItems};
use crate::seq::Seq;

mod backup;
mod erase;
mod log;
mod mend;

/// Has a writer do the chores itself, with nobody beside it.
fn tended_by(writer: &mut Writer) -> impl FnMut(Chore) -> Result<(), StoreError> {
    |chore| {
        chore(writer);
        Ok(())
    }
}

fn options() -> StoreOptions {
    StoreOptions { map_bytes: Some(256 << 20), durability: Durability::Lazy, salt: [9; 16] }
}

fn open(path: &Path) -> Store {
    Store::open(path, &options()).unwrap()
}

/// Makes an event with a right id and no signature.
fn event(author: u8, kind: u16, created_at: u64, tags: &[&[&str]], content: &str) -> Verified {
    let tags: Vec<Vec<String>> =
        tags.iter().map(|tag| tag.iter().map(|text| (*text).to_owned()).collect()).collect();
    let json = serde_json::json!({
        "id": "0".repeat(64), "pubkey": format!("{author:02x}").repeat(32), "created_at": created_at,
        "kind": kind, "tags": tags, "content": content, "sig": "0".repeat(128),
    });
    let mut event = Event::parse(json.to_string().as_bytes()).unwrap();
    event.id = crate::nostr::verify::event_id(&event.view());
    Verifier::new().verify_id_only(event).unwrap()
}

fn assert_whole(store: &Store) -> CheckReport {
    let report = check(store, &mut |_, _| {}).unwrap();
    assert!(report.is_whole(), "{:?}", report.examples);
    report
}

/// The rules, as plainly as they can be said.
#[derive(Default)]
struct Model {
    living: Vec<Event>,
    requests: Vec<Event>,
}

impl Model {
    fn address(event: &Event) -> Option<String> {
        let mut text = Vec::new();
        event.view().has_address().then(|| {
            text.push(b'"');
            event.view().write_address(&mut text);
            text.push(b'"');
            serde_json::from_slice(&text).unwrap()
        })
    }

    fn names(request: &Event, letter: &str, wanted: &str) -> bool {
        let mut json = Vec::new();
        request.view().write_json(&mut json);
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        json["tags"].as_array().unwrap().iter().any(|tag| tag[0] == letter && tag[1] == wanted)
    }

    fn covers(request: &Event, target: &Event) -> bool {
        if request.pubkey != target.pubkey || target.kind == Kind::DELETION {
            return false;
        }
        let by_address = Model::address(target).is_some_and(|address| {
            Model::names(request, "a", &address) && target.created_at <= request.created_at
        });
        by_address || Model::names(request, "e", &target.id.to_string())
    }

    fn add(&mut self, event: &Event, now: u64) -> Outcome {
        let class = event.kind.class();
        if class == KindClass::Ephemeral {
            return Outcome::Ephemeral;
        }
        if self.living.iter().any(|stored| stored.id == event.id) {
            return Outcome::Duplicate;
        }
        if event.view().expiration().is_some_and(|expiration| expiration <= now) {
            return Outcome::Expired;
        }
        if self.requests.iter().any(|request| Model::covers(request, event)) {
            return Outcome::Deleted;
        }
        if let Some(address) = Model::address(event) {
            let is_same = |stored: &Event| Model::address(stored) == Some(address.clone());
            let wins = |a: &Event, b: &Event| (a.created_at, b.id) > (b.created_at, a.id);
            if self.living.iter().any(|stored| is_same(stored) && wins(stored, event)) {
                return Outcome::Superseded;
            }
            self.living.retain(|stored| !is_same(stored));
        }
        if event.kind == Kind::DELETION {
            self.living.retain(|stored| !Model::covers(event, stored));
            self.requests.push(event.clone());
        }
        self.living.push(event.clone());
        Outcome::Stored(Seq::ZERO)
    }
}

fn random_event(random: &mut fastrand::Rng, known: &[EventId]) -> Verified {
    let author = random.u8(1..4);
    let kind =
        *random.choice(&[1, 1, 1, 7, 0, 3, 10_002, 30_023, 30_000, 20_001, 5, 1059]).unwrap();
    let time = random.u64(1000..1040);
    let hex = format!("{author:02x}").repeat(32);
    let value = ["x", "y", "", "0a", "zz\"q"][random.usize(..5)].to_owned();
    let mut tags: Vec<Vec<String>> = Vec::new();
    if random.bool() {
        tags.push(vec!["t".to_owned(), value.clone()]);
    }
    if (30_000..40_000).contains(&kind) && random.u8(..4) > 0 {
        tags.push(vec!["d".to_owned(), value.clone()]);
    }
    if kind == 5 {
        if let Some(id) = random.choice(known) {
            tags.push(vec!["e".to_owned(), id.to_string()]);
        }
        let address = *random.choice(&[0, 10_002, 30_023, 30_000]).unwrap();
        tags.push(vec!["a".to_owned(), format!("{address}:{hex}:{value}")]);
    }
    if random.u8(..10) == 0 {
        tags.push(vec!["expiration".to_owned(), random.u64(900..2000).to_string()]);
    }
    let tags: Vec<Vec<&str>> =
        tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
    let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
    event(author, kind, time, &tags, &random.u16(..2000).to_string())
}

#[test]
fn a_store_agrees_with_the_model_whatever_is_merged_reopened_or_compacted() {
    for round in 0..8 {
        let seed = fastrand::u64(..);
        println!("round {round}, seed {seed}");
        agrees_with_the_model(seed);
    }
}

fn agrees_with_the_model(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    let mut model = Model::default();
    let mut known = Vec::new();
    let copy = tempfile::tempdir().unwrap();
    for _ in 0..40 {
        let batch: Vec<Verified> = (0..random.usize(1..20))
            .map(|_| {
                let event = random_event(&mut random, &known);
                known.push(event.event().id);
                event
            })
            .collect();
        let expected: Vec<Outcome> =
            batch.iter().map(|event| model.add(event.event(), 1000)).collect();
        let outcomes = writer.commit(&batch, 1000).unwrap().outcomes;
        for (outcome, expected) in outcomes.iter().zip(&expected) {
            assert_eq!(std::mem::discriminant(outcome), std::mem::discriminant(expected));
        }
        match random.u8(..13) {
            9 => {
                super::reclaim(&store, &mut tended_by(&mut writer), &mut |_| Ok(())).unwrap();
            }
            0..4 => while writer.maintain(true).unwrap() {},
            4 => {
                let _ = writer.maintain(true).unwrap();
            }
            5 => {
                // Without the merge being finished, as after a crash.
                drop((writer, store));
                store = open(folder.path());
                writer = Writer::new(store.clone());
            }
            6 => {
                drop((writer, store));
                compact(folder.path(), &options(), &mut |_, _| {}).unwrap();
                store = open(folder.path());
                writer = Writer::new(store.clone());
            }
            7 => {
                drop((writer, store));
                repair(folder.path(), &options(), &mut |_, _| {}).unwrap();
                store = open(folder.path());
                writer = Writer::new(store.clone());
            }
            8 => {
                super::backup(&store, copy.path(), 1, &mut |_, _| {}).unwrap();
                let living = super::verify(copy.path(), &mut |_, _| {}).unwrap().events;
                assert_eq!(living, model.living.len() as u64);
                let restored = tempfile::tempdir().unwrap();
                super::restore(copy.path(), restored.path(), &options(), &mut |_, _| {}).unwrap();
                same(&open(restored.path()), &model);
            }
            _ => {}
        }
        same(&store, &model);
    }
}

/// Compares what the store shows with the model, by log, by id, by counts and by the check.
fn same(store: &Store, model: &Model) {
    let snapshot = store.snapshot().unwrap();
    let mut stored: Vec<EventId> =
        snapshot.log(Seq::ZERO).unwrap().map(|item| *item.unwrap().1.id).collect();
    let mut expected: Vec<EventId> = model.living.iter().map(|event| event.id).collect();
    stored.sort_unstable();
    expected.sort_unstable();
    let lost: Vec<_> = model.living.iter().filter(|event| !stored.contains(&event.id)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(stored.len(), expected.len(), "events that should not be there");
    for event in &model.living {
        let (seq, found) = snapshot.by_id(&event.id).unwrap().unwrap();
        assert_eq!(found.to_owned(), *event);
        assert_eq!(snapshot.by_seq(seq).unwrap().unwrap().id, &event.id);
    }
    assert_eq!(snapshot.totals().map(|(_, n)| n).sum::<u64>(), expected.len() as u64);
    for (kind, count) in snapshot.totals() {
        let of_kind = model.living.iter().filter(|event| event.kind.0 == kind).count();
        assert_eq!(count, of_kind as u64, "kind {kind}");
    }
    assert_whole(store);
    same_sums(store, &model.living);
    let info = info(store).unwrap();
    assert_eq!(info.oldest, model.living.iter().map(|event| event.created_at).min());
    assert_eq!(info.newest, model.living.iter().map(|event| event.created_at).max());
}

/// Compares the tree of sums with a vector, at every place and for some ranges.
fn same_sums(store: &Store, living: &[Event]) {
    let is_plain = |event: &&Event| {
        event.view().expiration().is_none() && !KINDS_SET_ASIDE.contains(&event.kind.0)
    };
    let item = |event: &Event| Item { timestamp: event.created_at, id: event.id.0 };
    let (plain, aside): (Vec<_>, Vec<_>) = living.iter().partition(is_plain);
    let aside: Vec<Item> = aside.into_iter().step_by(2).map(item).collect();
    let mut expected = SortedItems::new(plain.into_iter().map(item).chain(aside.clone()).collect());
    let snapshot = store.snapshot().unwrap();
    let extra = Extra::new(&aside);
    let mut tree = TimeTree::new(&snapshot, &extra).unwrap();
    let items = expected.as_slice().to_vec();
    assert_eq!(tree.count().unwrap(), items.len());
    for (index, item) in items.iter().enumerate() {
        assert_eq!(tree.item(index).unwrap(), *item);
        let Ok(sum) = expected.sum(0, index);
        assert_eq!(tree.sum(0, index).unwrap(), sum, "the first {index}");
    }
    let mut random = fastrand::Rng::with_seed(items.len() as u64);
    for _ in 0..100 {
        let (a, b) = (random.usize(..=items.len()), random.usize(..=items.len()));
        let Ok(sum) = expected.sum(a.min(b), a.max(b));
        assert_eq!(tree.sum(a.min(b), a.max(b)).unwrap(), sum, "{a} to {b}");
        let mut listed = Vec::new();
        tree.visit(a.min(b), a.max(b), &mut |items| listed.extend_from_slice(items)).unwrap();
        assert_eq!(listed, items[a.min(b)..a.max(b)], "{a} to {b}");
        let mut bound = Item::at(random.u64(990..1050));
        random.fill(&mut bound.id[..2]);
        let bounds = [bound, Item::at(bound.timestamp), Item::at(bound.timestamp << 40)];
        for bound in bounds.into_iter().chain(items.get(a).copied()) {
            let Ok(rank) = expected.lower_bound(&bound);
            assert_eq!(tree.lower_bound(&bound).unwrap(), rank);
        }
    }
}

#[test]
fn a_load_agrees_with_the_model_also_beside_another_process() {
    // The first: a batch of nothing new right after another process has merged; the second: a sweep
    // over what another process has left to erase.
    for seed in [11_899_483_923_962_184_413, 11_200_859_159_311_605_033]
        .into_iter()
        .chain((0..5).map(|_| fastrand::u64(..)))
    {
        println!("seed {seed}");
        load_agrees_with_the_model(seed);
    }
}

fn load_agrees_with_the_model(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut writer = Writer::for_load(store.clone());
    let mut model = Model::default();
    let mut known = Vec::new();
    let has_others = random.bool();
    for _ in 0..60 {
        let mut preparer = Preparer::new(&store);
        let mut batch = vec![Prepared::default(), Prepared::default()];
        let mut events = Vec::new();
        for place in 0..random.usize(1..20) {
            let event = random_event(&mut random, &known);
            known.push(event.event().id);
            preparer.add(&mut batch[place / 8 % 2], &event);
            events.push(event);
        }
        // The second chunk takes the ninth event to the sixteenth; what follows is in the first.
        let order = |place: &usize| (place / 8 % 2, *place);
        let mut places: Vec<usize> = (0..events.len()).collect();
        places.sort_unstable_by_key(order);
        let expected: Vec<Outcome> =
            places.iter().map(|place| model.add(events[*place].event(), 1000)).collect();
        let outcomes = if has_others && random.u8(..3) == 0 {
            let mut other = Writer::new(store.twin().unwrap());
            let outcomes = other.commit_prepared(&batch, 1000).unwrap().outcomes;
            for _ in 0..random.usize(..3) {
                while random.bool() && other.maintain(true).unwrap() {}
            }
            outcomes
        } else {
            writer.commit_prepared(&batch, 1000).unwrap().outcomes
        };
        assert_eq!(outcomes.len(), expected.len());
        for (outcome, expected) in outcomes.iter().zip(&expected) {
            assert_eq!(std::mem::discriminant(outcome), std::mem::discriminant(expected));
        }
        match random.u8(..12) {
            0 => {
                while writer.maintain(true).unwrap() {}
                store.refresh().unwrap();
                same(&store, &model);
            }
            1 => {
                // As after a crash.
                drop((writer, store));
                store = open(folder.path());
                same(&store, &model);
                writer = Writer::for_load(store.clone());
            }
            2 => same(&store.twin().unwrap(), &model),
            _ => {}
        }
    }
    while writer.maintain(true).unwrap() {}
    store.refresh().unwrap();
    same(&store, &model);
}

#[test]
fn sums_are_right_for_any_time_an_event_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    let mut random = fastrand::Rng::with_seed(40);
    let mut living = Vec::new();
    for round in 0..20 {
        let batch: Vec<Verified> = (0..50)
            .map(|number| {
                let near = [0, 1_700_000_000, (1 << 36) - 5, 1 << 36, 1 << 40, 1 << 52];
                let time = *random.choice(&near).unwrap() + random.u64(..10);
                event(1, 1, time, &[], &format!("{round} {number}"))
            })
            .collect();
        writer.commit(&batch, 0).unwrap();
        living.extend(batch.into_iter().map(Verified::into_event));
        if round % 3 == 0 {
            let _ = writer.maintain(true).unwrap();
        }
        same_sums(&store, &living);
    }
    while writer.maintain(true).unwrap() {}
    same_sums(&store, &living);
    assert_whole(&store);
}

#[test]
fn two_processes_worth_of_writers_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let one = open(folder.path());
    let two = one.twin().unwrap();
    let (mut first, mut second) = (Writer::new(one.clone()), Writer::new(two.clone()));
    let note = |number: u64| event(1, 1, number, &[], "");
    first.commit(&[note(1)], 0).unwrap();
    let committed = second.commit(&[note(2), note(1)], 0).unwrap();
    assert_eq!(committed.before, Seq(1));
    assert_eq!(committed.outcomes, [Outcome::Stored(Seq(2)), Outcome::Duplicate]);
    assert_eq!(one.last_seq(), Seq(1));
    assert_eq!(one.refresh().unwrap(), Seq(2));
    // One merges while the other has a merge under way.
    let _ = first.maintain(true).unwrap();
    while second.maintain(true).unwrap() {}
    first.commit(&[note(3)], 0).unwrap();
    while first.maintain(true).unwrap() {}
    two.refresh().unwrap();
    for store in [&one, &two] {
        assert_eq!(store.snapshot().unwrap().totals().collect::<Vec<_>>(), [(1, 3)]);
        assert_whole(store);
    }
}

#[test]
fn a_batch_of_nothing_new_after_another_process_merged_hides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let one = open(folder.path());
    let two = one.twin().unwrap();
    let (mut first, mut second) = (Writer::new(one.clone()), Writer::new(two));
    let old = event(1, 1, 1000, &[], "old");
    second.commit(std::slice::from_ref(&old), 0).unwrap();
    first.commit(&[event(1, 1, 1001, &[], "ours")], 0).unwrap();
    while second.maintain(true).unwrap() {}
    // Its transaction is aborted, and the next one has its number.
    assert_eq!(first.commit(&[old], 0).unwrap().outcomes, [Outcome::Duplicate]);
    second.commit(&[event(1, 1, 1002, &[], "theirs")], 0).unwrap();
    first.commit(&[event(1, 1, 1003, &[], "ours again")], 0).unwrap();
    assert_eq!(one.snapshot().unwrap().totals().collect::<Vec<_>>(), [(1, 4)]);
    assert_whole(&one);
}

#[test]
fn sums_that_another_process_has_merged_are_not_added_twice() {
    let folder = tempfile::tempdir().unwrap();
    let one = open(folder.path());
    let two = one.twin().unwrap();
    let mut writer = Writer::new(one.clone());
    writer.commit(&[event(1, 1, 5, &[], "")], 0).unwrap();
    two.refresh().unwrap();
    while writer.maintain(true).unwrap() {}
    let extra = Extra::default();
    let stale = two.snapshot().unwrap();
    assert!(matches!(TimeTree::new(&stale, &extra), Err(TreeError::Moved)));
    drop(stale);
    two.refresh().unwrap();
    assert_eq!(TimeTree::new(&two.snapshot().unwrap(), &extra).unwrap().count().unwrap(), 1);
}

#[test]
fn an_expired_event_is_swept_but_a_deletion_request_keeps_its_effect() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    let target = event(1, 1, 5, &[], "target");
    let id = target.event().id.to_string();
    let request = event(1, 5, 6, &[&["e", &id], &["expiration", "100"]], "");
    let note = event(1, 1, 7, &[&["expiration", "100"]], "");
    writer.commit(&[target.clone(), request, note], 50).unwrap();
    assert_eq!(writer.expire(99, 10).unwrap(), []);
    assert_eq!(writer.expire(100, 10).unwrap().len(), 1);
    assert_eq!(writer.commit(&[target], 100).unwrap().outcomes, [Outcome::Deleted]);
    assert_whole(&store);
}

#[test]
fn a_recipient_may_delete_a_gift_wrap_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(open(folder.path()));
    let recipient = PublicKey([2; 32]).to_string();
    let wrap = event(1, 1059, 5, &[&["p", &recipient]], "sealed");
    let id = wrap.event().id.to_string();
    let stranger = event(3, 5, 6, &[&["e", &id]], "");
    let outcomes = writer.commit(&[wrap.clone(), stranger, wrap.clone()], 0).unwrap().outcomes;
    assert_eq!(outcomes[2], Outcome::Duplicate);
    let request = event(2, 5, 6, &[&["e", &id]], "");
    let outcomes = writer.commit(&[request, wrap], 0).unwrap().outcomes;
    assert_eq!(outcomes[1], Outcome::Deleted);
}

#[test]
fn another_format_and_a_foreign_file_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    {
        let store = open(folder.path());
        let mut txn = store.env().write_txn().unwrap();
        store.tables().meta.put(&mut txn, "format", &99_u32.to_be_bytes()).unwrap();
        txn.commit().unwrap();
    }
    let error = Store::open(folder.path(), &options()).unwrap_err();
    assert!(matches!(error, StoreError::Format { found: 99, .. }), "{error}");
    assert!(error.hint().unwrap().contains("newer"));
}

#[test]
fn a_full_map_refuses_the_batch_and_goes_on_serving() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        Store::open(folder.path(), &StoreOptions { map_bytes: Some(64 << 20), ..options() })
            .unwrap();
    let mut writer = Writer::new(store.clone());
    let big = "x".repeat(1 << 20);
    let mut stored = 0;
    let error = loop {
        match writer.commit(&[event(1, 1, stored, &[], &big)], 0) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(stored > 30);
    let small = writer.commit(&[event(1, 1, 1 << 30, &[], "")], 0).unwrap().outcomes;
    assert!(matches!(small[0], Outcome::Stored(_)));
    assert_eq!(store.snapshot().unwrap().totals().next(), Some((1, stored + 1)));
}

#[test]
fn compaction_refuses_while_somebody_else_uses_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path());
    let error = compact(folder.path(), &options(), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
}

#[test]
fn a_signature_is_stored_and_given_back_as_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut event =
        event(1, 1, 5, &[&["e", "", "wss://x"], &["t"]], "a\u{1}\"\\\n\u{7f} \u{e9}").into_event();
    event.sig = Signature([0xab; 64]);
    let verified = Verifier::new().verify_id_only(event.clone()).unwrap();
    Writer::new(store.clone()).commit(&[verified], 0).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.by_id(&event.id).unwrap().unwrap().1.to_owned(), event);
}
