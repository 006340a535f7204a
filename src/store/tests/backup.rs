//! Backups of a store that is written to, restoring them, and repairing what is damaged.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use super::super::log::Generation;
use super::super::{FactChange, backup, repair, restore, verify};
use super::*;

fn silent() -> impl FnMut(u64, u64) {
    |_, _| {}
}

/// The ids of what lives in a store, sorted.
fn ids(store: &Store) -> Vec<EventId> {
    let snapshot = store.snapshot().unwrap();
    let mut ids: Vec<EventId> =
        snapshot.log(Seq::ZERO).unwrap().map(|item| *item.unwrap().1.id).collect();
    ids.sort_unstable();
    ids
}

/// Commits random events, merging now and then.
fn write(writer: &mut Writer, random: &mut fastrand::Rng, known: &mut Vec<EventId>) {
    for _ in 0..random.usize(1..12) {
        let batch: Vec<Verified> = (0..random.usize(1..15))
            .map(|_| {
                let event = random_event(random, known);
                known.push(event.event().id);
                event
            })
            .collect();
        writer.commit(&batch, 1000).unwrap();
        if random.u8(..4) == 0 {
            while writer.maintain(true).unwrap() {}
        }
    }
}

/// A store with a history, closed.
fn with_history(folder: &Path, seed: u64) -> Vec<EventId> {
    let store = open(folder);
    let mut writer = Writer::new(store.clone());
    let (mut random, mut known) = (fastrand::Rng::with_seed(seed), Vec::new());
    for _ in 0..4 {
        write(&mut writer, &mut random, &mut known);
    }
    while writer.maintain(true).unwrap() {}
    writer.change_facts(&[FactChange::put("banned/x", "for spam")]).unwrap();
    ids(&store)
}

fn facts(store: &Store) -> Vec<(String, Vec<u8>)> {
    store.snapshot().unwrap().facts("banned/").unwrap()
}

fn log_of(folder: &Path, generation: u32) -> PathBuf {
    Generation(generation).log(folder)
}

#[test]
fn a_backup_holds_what_was_there_and_the_next_one_copies_what_came_since() {
    // The first: where the backup before has ended there is a gap.
    for seed in [3_007_221_906_420_013_935].into_iter().chain((0..5).map(|_| fastrand::u64(..))) {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut store = open(folder.path());
        let mut writer = Writer::new(store.clone());
        let mut known = Vec::new();
        let mut bytes_before = 0;
        for step in 0..5 {
            write(&mut writer, &mut random, &mut known);
            writer.change_facts(&[FactChange::put("banned/x", format!("{step}"))]).unwrap();
            if step == 3 {
                drop((writer, store));
                compact(folder.path(), &options(), &mut silent()).unwrap();
                store = open(folder.path());
                writer = Writer::new(store.clone());
                bytes_before = 0;
            }
            let report = backup(&store, copy.path(), 1000, &mut silent()).unwrap();
            let head = if bytes_before == 0 { 16 } else { 0 };
            // What has become a gap since is no more than its head.
            assert!(report.copied_bytes <= report.bytes - bytes_before - head, "step {step}");
            bytes_before = report.bytes;
            let expected = ids(&store);
            assert_eq!(report.events, expected.len() as u64);
            let verified = verify(copy.path(), &mut silent()).unwrap();
            assert_eq!((verified.events, verified.bytes), (report.events, report.bytes));
            let target = tempfile::tempdir().unwrap();
            restore(copy.path(), target.path(), &options(), &mut silent()).unwrap();
            let restored = open(target.path());
            assert_eq!(ids(&restored), expected, "step {step}");
            assert_eq!(facts(&restored), facts(&store));
            assert_whole(&restored);
            // What was deleted stays deleted there, too.
            let mut there = Writer::new(restored.clone());
            let again: Vec<Verified> = (0..20).map(|_| random_event(&mut random, &known)).collect();
            let outcomes = there.commit(&again, 1000).unwrap().outcomes;
            let kinds = |outcomes: &[Outcome]| {
                outcomes.iter().map(std::mem::discriminant).collect::<Vec<_>>()
            };
            known.extend(again.iter().map(|event| event.event().id));
            assert_eq!(kinds(&outcomes), kinds(&writer.commit(&again, 1000).unwrap().outcomes));
        }
    }
}

#[test]
fn the_backup_of_another_store_is_left_alone() {
    let [a, b, copy] = [0; 3].map(|_| tempfile::tempdir().unwrap());
    let expected = with_history(a.path(), 1);
    with_history(b.path(), 2);
    backup(&open(a.path()), copy.path(), 0, &mut silent()).unwrap();
    let other = StoreOptions { salt: [8; 16], ..options() };
    let third = tempfile::tempdir().unwrap();
    for store in [open(b.path()), Store::open(third.path(), &other).unwrap()] {
        let error = backup(&store, copy.path(), 0, &mut silent()).unwrap_err();
        assert!(matches!(error, StoreError::Backup { .. }), "{error}");
    }
    assert_eq!(verify(copy.path(), &mut silent()).unwrap().events, expected.len() as u64);
}

#[test]
fn a_backup_that_is_damaged_anywhere_is_refused() {
    let [folder, copy] = [0; 2].map(|_| tempfile::tempdir().unwrap());
    with_history(folder.path(), 3);
    backup(&open(folder.path()), copy.path(), 0, &mut silent()).unwrap();
    let path = log_of(copy.path(), 1);
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        fs::write(&path, &damaged).unwrap();
        assert!(verify(copy.path(), &mut silent()).is_err(), "byte {at}");
        let target = tempfile::tempdir().unwrap();
        assert!(restore(copy.path(), target.path(), &options(), &mut silent()).is_err());
        assert!(!target.path().join("data.mdb").exists(), "nothing half restored");
    }
    fs::write(&path, &whole[..whole.len() - 8]).unwrap();
    assert!(verify(copy.path(), &mut silent()).is_err(), "cut off");
    fs::write(&path, &whole).unwrap();
    verify(copy.path(), &mut silent()).unwrap();
}

#[test]
fn neither_a_backup_nor_a_restored_store_goes_where_something_else_is() {
    let [folder, copy, other] = [0; 3].map(|_| tempfile::tempdir().unwrap());
    with_history(folder.path(), 4);
    let store = open(folder.path());
    fs::write(other.path().join("letter.txt"), "dear").unwrap();
    for path in [other.path(), folder.path()] {
        let error = backup(&store, path, 0, &mut silent()).unwrap_err();
        assert!(matches!(error, StoreError::Occupied { .. }), "{error}");
    }
    backup(&store, copy.path(), 0, &mut silent()).unwrap();
    for path in [other.path(), folder.path()] {
        let error = restore(copy.path(), path, &options(), &mut silent()).unwrap_err();
        assert!(matches!(error, StoreError::Occupied { .. }), "{error}");
    }
    let error = verify(other.path(), &mut silent()).unwrap_err();
    assert!(error.to_string().contains("backup.json"), "{error}");
}

#[test]
fn indexes_that_are_damaged_are_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let expected = with_history(folder.path(), 5);
    {
        // An index that lacks a block, another with a block of nonsense.
        let store = open(folder.path());
        let mut txn = store.env().write_txn().unwrap();
        let [first, second, ..] = store.tables().indexes;
        let key = first.first(&txn).unwrap().unwrap().0.to_vec();
        first.delete(&mut txn, &key).unwrap();
        second.put(&mut txn, &[0; 20], &[7; 100]).unwrap();
        txn.commit().unwrap();
        assert!(!check(&store, &mut silent()).unwrap().is_whole());
        let error = repair(folder.path(), &options(), &mut silent()).unwrap_err();
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    }
    let report = repair(folder.path(), &options(), &mut silent()).unwrap();
    assert_eq!((report.events, report.had_tables), (expected.len() as u64, true));
    assert_eq!((report.records_left_out, report.bytes_left_out), (0, 0));
    let store = open(folder.path());
    assert_eq!(ids(&store), expected);
    assert_eq!(facts(&store).len(), 1, "what administrators decided is kept");
    assert_whole(&store);
}

#[test]
fn a_log_whose_tables_are_gone_is_never_overwritten_and_makes_a_store_again() {
    let folder = tempfile::tempdir().unwrap();
    let expected = with_history(folder.path(), 6);
    fs::remove_file(folder.path().join("data.mdb")).unwrap();
    let error = Store::open(folder.path(), &options()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    fs::remove_file(folder.path().join("data.mdb")).unwrap();
    let report = repair(folder.path(), &options(), &mut silent()).unwrap();
    assert_eq!((report.events, report.had_tables), (expected.len() as u64, false));
    assert_eq!(ids(&open(folder.path())), expected);
}

#[test]
fn a_record_that_is_damaged_is_left_out_and_what_stands_behind_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    for batch in 0..10 {
        let notes =
            [0, 1, 2].map(|n| event(1, 1, 3 * batch + n, &[], &format!("{batch} {n} text")));
        writer.commit(&notes, 0).unwrap();
    }
    while writer.maintain(true).unwrap() {}
    let expected = ids(&store);
    drop((writer, store));
    let path = log_of(folder.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|it| it == b"5 1 text").unwrap();
    bytes[at] = b'?';
    fs::write(&path, &bytes).unwrap();
    let report = repair(folder.path(), &options(), &mut silent()).unwrap();
    assert_eq!((report.events, report.records_left_out), (29, 1));
    let found = ids(&open(folder.path()));
    assert!(found.iter().all(|id| expected.contains(id)));
    assert_eq!(found.len(), 29);
}

#[test]
fn a_frame_that_cannot_be_found_any_more_costs_its_own_events() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    let mut tails = Vec::new();
    for number in 0..6 {
        tails.push(store.layers().tail.at as usize * 8);
        writer.commit(&[event(1, 1, number, &[], "x")], 0).unwrap();
    }
    while writer.maintain(true).unwrap() {}
    drop((writer, store));
    let path = log_of(folder.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    // The third has no header any more.
    bytes[tails[2]..tails[2] + 40].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let report = repair(folder.path(), &options(), &mut silent()).unwrap();
    assert_eq!(report.events, 5, "{report:?}");
    assert_eq!(report.bytes_left_out, (tails[3] - tails[2]) as u64);
    assert_whole(&open(folder.path()));
}

#[test]
fn what_root_builds_anew_belongs_to_whom_the_folder_belongs() {
    let folder = tempfile::tempdir().unwrap();
    with_history(folder.path(), 7);
    // Only root can give anything away.
    let _ = chown(folder.path(), Some(54_321), Some(54_321));
    let owner = folder.path().metadata().unwrap().uid();
    repair(folder.path(), &options(), &mut silent()).unwrap();
    compact(folder.path(), &options(), &mut silent()).unwrap();
    for name in ["events.3.log", "events.3.places", "data.mdb"] {
        let file = folder.path().join(name).metadata().unwrap();
        assert_eq!(file.uid(), owner, "{name}");
    }
    // So that a relay that backs up by the clock can go on with it.
    let copy = tempfile::tempdir().unwrap();
    let _ = chown(copy.path(), Some(54_321), Some(54_321));
    backup(&open(folder.path()), copy.path(), 0, &mut silent()).unwrap();
    for entry in fs::read_dir(copy.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().uid(), owner, "{:?}", entry.path());
    }
}

#[test]
fn what_a_crash_has_left_behind_the_end_is_no_part_of_a_repaired_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    writer.commit(&[event(1, 1, 1, &[], "merged")], 0).unwrap();
    while writer.maintain(true).unwrap() {}
    let end = store.layers().tail.at as usize * 8;
    for number in 2..5 {
        writer.commit(&[event(1, 1, number, &[], "not merged")], 0).unwrap();
    }
    drop((writer, store));
    let path = log_of(folder.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes[end + 60] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let report = repair(folder.path(), &options(), &mut silent()).unwrap();
    assert_eq!(report.events, 1, "as opening the store would have it");
}

#[test]
fn what_was_deleted_stays_so_in_a_backup_though_the_frame_that_says_so_was_swept() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    let target = event(1, 1, 5, &[], "target");
    let version = |number: u64| event(2, 10_002, 1_000 + number, &[], &"x".repeat(500));
    writer.commit(std::slice::from_ref(&target), 0).unwrap();
    backup(&store, copy.path(), 1, &mut silent()).unwrap();
    writer.bury(&[Seq(1)]).unwrap();
    // Nearly all around that is dead soon.
    for number in 0..40 {
        writer.commit(&[version(number)], 0).unwrap();
    }
    while writer.maintain(true).unwrap() {}
    assert_eq!(store.log().head(store.layers().tail.at).map(|(_, _, is_frame)| is_frame), None);
    backup(&store, copy.path(), 2, &mut silent()).unwrap();
    let restored = tempfile::tempdir().unwrap();
    restore(copy.path(), restored.path(), &options(), &mut silent()).unwrap();
    let restored = open(restored.path());
    assert_eq!(ids(&restored), ids(&store));
    assert_whole(&restored);
}
