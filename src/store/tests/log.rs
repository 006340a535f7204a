//! What may happen to the log: cut off anywhere, damaged anywhere, written by two at once.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::log::Generation;
use super::*;

fn note(number: u64) -> Verified {
    event(1, 1, number, &[&["t", "x"]], &"y".repeat(number as usize % 50))
}

fn log_of(folder: &Path) -> PathBuf {
    Generation(1).log(folder)
}

/// Copies a closed store, as it stands after a crash.
fn copied(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

fn living(store: &Store) -> Vec<u64> {
    let snapshot = store.snapshot().unwrap();
    snapshot.log(Seq::ZERO).unwrap().map(|item| item.unwrap().1.created_at).collect()
}

/// Makes a store of three commits, one of them a deletion, after `merged` others that are merged.
/// Returns what is living after each commit, and the part of the log that the three take.
fn three_commits(folder: &Path, merged: u64) -> (Vec<Vec<u64>>, Range<usize>) {
    let store = open(folder);
    let mut writer = Writer::new(store.clone());
    for number in 0..merged {
        writer.commit(&[note(number)], 0).unwrap();
    }
    while writer.maintain(true).unwrap() {}
    let mut states = vec![living(&store)];
    let tail = || store.layers().tail.at as usize * 8;
    let begin = tail();
    let target = note(101).into_event().id.to_string();
    let deletion = event(1, 5, 103, &[&["e", &target]], "");
    for batch in [vec![note(101), note(102)], vec![deletion], vec![note(104)]] {
        writer.commit(&batch, 0).unwrap();
        states.push(living(&store));
    }
    (states, begin..tail())
}

#[test]
fn a_log_that_was_cut_off_anywhere_shows_the_commits_before_and_goes_on() {
    for merged in [0, 5] {
        let folder = tempfile::tempdir().unwrap();
        let (states, commits) = three_commits(folder.path(), merged);
        let whole = fs::read(log_of(folder.path())).unwrap();
        let mut random = fastrand::Rng::with_seed(5);
        let mut seen = vec![false; states.len()];
        let end = commits.end;
        for cut in (commits.start..=end).rev().step_by(7) {
            let copy = copied(folder.path());
            // What was not written is missing, or it is what the disk had there before.
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(end + 64, 0);
            if random.bool() {
                random.fill(&mut bytes[cut..]);
            }
            fs::write(log_of(copy.path()), &bytes).unwrap();
            let store = open(copy.path());
            let found = living(&store);
            let Some(place) = states.iter().position(|state| *state == found) else {
                panic!("cut at {cut}: {found:?}");
            };
            seen[place] = true;
            assert_whole(&store);
            // The commits that were lost may be made again, in the same words.
            let mut writer = Writer::new(store.clone());
            let outcomes = writer.commit(&[note(101), note(102)], 0).unwrap().outcomes;
            let is_there = place > 0;
            assert_eq!(matches!(outcomes[1], Outcome::Duplicate), is_there, "cut at {cut}");
            drop((writer, store));
            assert_whole(&open(copy.path()));
        }
        assert!(seen.into_iter().all(|seen| seen), "every state was met");
    }
}

#[test]
fn a_frame_that_was_lost_does_not_come_back_behind_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = log_of(folder.path());
    let [first, second] = [1, 2].map(|number| {
        let mut writer = Writer::new(open(folder.path()));
        let begin = fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
        writer.commit(&[note(number)], 0).unwrap();
        begin
    });
    assert!(first < second);
    // The first commit is damaged, the second one is whole.
    let mut bytes = fs::read(&log).unwrap();
    bytes[second - 3] ^= 1;
    fs::write(&log, &bytes).unwrap();
    let mut other = options();
    other.salt[0] ^= 1;
    let store = Store::open(folder.path(), &other).unwrap();
    assert!(living(&store).is_empty());
    Writer::new(store.clone()).commit(&[note(1)], 0).unwrap();
    assert_eq!(living(&store), [1]);
    drop(store);
    assert_eq!(living(&open(folder.path())), [1]);
}

#[test]
fn places_that_did_not_reach_the_disk_are_found_again() {
    for merged in [0, 5] {
        let folder = tempfile::tempdir().unwrap();
        let (states, _) = three_commits(folder.path(), merged);
        let path = Generation(1).places(folder.path());
        let whole = fs::read(&path).unwrap();
        let kept = (merged as usize + 1) * 8;
        let mut random = fastrand::Rng::with_seed(6);
        for _ in 0..20 {
            let mut bytes = whole.clone();
            match random.bool() {
                true => bytes.truncate(random.usize(kept..=whole.len())),
                false => random.fill(&mut bytes[kept..]),
            }
            fs::write(&path, &bytes).unwrap();
            let store = open(folder.path());
            assert_eq!(&living(&store), states.last().unwrap());
            assert_whole(&store);
        }
    }
}

#[test]
fn a_damaged_mark_or_a_missing_log_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    three_commits(folder.path(), 3);
    for mark in [1_u64 << 39, u64::MAX] {
        let copy = copied(folder.path());
        {
            let store = open(copy.path());
            let mut txn = store.env().write_txn().unwrap();
            store.tables().meta.put(&mut txn, "merged", &mark.to_be_bytes()).unwrap();
            txn.commit().unwrap();
        }
        let error = Store::open(copy.path(), &options()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
    fs::remove_file(log_of(folder.path())).unwrap();
    let error = Store::open(folder.path(), &options()).unwrap_err();
    assert!(error.to_string().contains("events.1.log"), "{error}");
}

#[test]
fn what_somebody_else_is_writing_is_not_taken_for_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let ours = open(folder.path());
    let twin = ours.twin().unwrap();
    let mut writer = Writer::new(ours.clone());
    writer.commit(&[note(1)], 0).unwrap();
    twin.refresh().unwrap();
    let before = fs::read(log_of(folder.path())).unwrap();
    writer.commit(&[note(2), note(3)], 0).unwrap();
    let after = fs::read(log_of(folder.path())).unwrap();
    let end = after.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let begin = before.iter().zip(&after).position(|(a, b)| a != b).unwrap();
    let file = fs::File::options().write(true).open(log_of(folder.path())).unwrap();
    for cut in begin..end {
        let written = [&after[..cut], &before[cut..]].concat();
        file.write_all_at(&written[begin..end], begin as u64).unwrap();
        assert_eq!(twin.refresh().unwrap(), Seq(1), "{cut} of {begin}..{end}");
    }
    file.write_all_at(&after[begin..end], begin as u64).unwrap();
    assert_eq!(twin.refresh().unwrap(), Seq(3));
    assert_eq!(living(&twin), [1, 2, 3]);
}
