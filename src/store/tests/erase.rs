//! What is deleted is erased, when nobody reads it any more, and its room is used again.

use std::fs;
use std::path::Path;

use super::super::log::Generation;
use super::*;

/// A version of a replaceable event, with a text that no other one has.
fn version(author: u8, number: u64) -> Verified {
    event(author, 10_002, 1_000 + number, &[], &text(author, number))
}

fn text(author: u8, number: u64) -> String {
    format!("<{author}/{number}>{}", "x".repeat(200))
}

fn is_in_log(folder: &Path, author: u8, number: u64) -> bool {
    let log = fs::read(Generation(1).log(folder)).unwrap();
    let text = format!("<{author}/{number}>");
    log.windows(text.len()).any(|bytes| bytes == text.as_bytes())
}

fn tidy(writer: &mut Writer) {
    while writer.maintain(true).unwrap() {}
}

#[test]
fn what_was_replaced_is_erased_when_no_snapshot_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    writer.commit(&[version(1, 1), version(2, 1)], 0).unwrap();
    tidy(&mut writer);
    let snapshot = store.snapshot().unwrap();
    let (_, event) = snapshot.by_id(&version(1, 1).event().id).unwrap().unwrap();
    writer.commit(&[version(1, 2)], 0).unwrap();
    tidy(&mut writer);
    assert_eq!(event.content, text(1, 1).as_bytes(), "a reader keeps what it reads");
    assert!(is_in_log(folder.path(), 1, 1));
    drop(snapshot);
    tidy(&mut writer);
    assert!(!is_in_log(folder.path(), 1, 1));
    assert!(is_in_log(folder.path(), 1, 2) && is_in_log(folder.path(), 2, 1));
    assert_whole(&store);
    drop((writer, store));
    assert_whole(&open(folder.path()));
}

#[test]
fn nothing_is_erased_while_another_process_has_the_store_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    writer.commit(&[version(1, 1)], 0).unwrap();
    let twin = store.twin().unwrap();
    let snapshot = twin.snapshot().unwrap();
    let (_, event) = snapshot.by_id(&version(1, 1).event().id).unwrap().unwrap();
    writer.commit(&[version(1, 2)], 0).unwrap();
    tidy(&mut writer);
    assert_eq!(event.content, text(1, 1).as_bytes());
    drop(snapshot);
    twin.refresh().unwrap();
    assert_whole(&twin);
    drop(twin);
    // Another opening of the store finds what was left to erase.
    drop((writer, store));
    assert!(is_in_log(folder.path(), 1, 1));
    let store = open(folder.path());
    tidy(&mut Writer::new(store.clone()));
    assert!(!is_in_log(folder.path(), 1, 1));
    assert_whole(&store);
}

#[test]
fn the_room_of_what_was_replaced_again_and_again_goes_back_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    let mut random = fastrand::Rng::with_seed(8);
    let mut newest = [0; 20];
    for round in 0..60 {
        let batch: Vec<Verified> = (0..30)
            .map(|_| {
                let author = random.usize(..newest.len());
                newest[author] += 1;
                version(author as u8 + 1, newest[author])
            })
            .collect();
        writer.commit(&batch, 0).unwrap();
        for _ in 0..random.usize(..8) {
            let _ = writer.maintain(true).unwrap();
        }
        if round % 10 == 9 {
            // As after a crash.
            drop((writer, store));
            store = open(folder.path());
            writer = Writer::new(store.clone());
        }
    }
    tidy(&mut writer);
    let size = super::super::size(&store).unwrap();
    assert_eq!((size.events, size.dead), (20, 0));
    let written = store.layers().tail.at * 8;
    assert!(written > 60 * 30 * 200, "{written} bytes were written");
    assert!(size.dead_bytes < 20_000, "{} bytes are not given back", size.dead_bytes);
    for (author, newest) in (1..).zip(newest) {
        let event = version(author, newest).into_event();
        assert_eq!(
            store.snapshot().unwrap().by_id(&event.id).unwrap().unwrap().1.to_owned(),
            event
        );
        assert!(!is_in_log(folder.path(), author, newest - 1));
    }
    assert_whole(&store);
    drop((writer, store));
    compact(folder.path(), &options(), &mut |_, _| {}).unwrap();
    assert_whole(&open(folder.path()));
}

#[test]
fn what_died_is_gone_after_reclaiming_though_everybody_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    // Of each five events that lie together one dies: no segment is half dead.
    for number in 0..400 {
        writer.commit(&[version((number % 10) as u8 + 1, number / 10 + 1)], 0).unwrap();
        for note in 0..4 {
            writer.commit(&[event(20, 1, note, &[], &text(20, number * 10 + note))], 0).unwrap();
        }
    }
    tidy(&mut writer);
    let before = super::super::size(&store).unwrap();
    assert!(before.dead_bytes > 20_000, "{} bytes are dead", before.dead_bytes);
    writer.commit(&[version(1, 41)], 0).unwrap();
    let (mut later, mut stages) = (100, Vec::new());
    let report = super::super::reclaim(
        &store,
        &mut |chore| {
            // Somebody publishes, and somebody reads.
            later += 1;
            let note = event(21, 1, later, &[], "");
            writer.commit(std::slice::from_ref(&note), 0).unwrap();
            let snapshot = store.snapshot().unwrap();
            assert!(snapshot.by_id(&note.event().id).unwrap().is_some());
            chore(&mut writer);
            Ok(())
        },
        &mut |stage| {
            stages.push(stage);
            Ok(())
        },
    )
    .unwrap();
    assert!(!is_in_log(folder.path(), 1, 40), "what had died before it began");
    assert!(is_in_log(folder.path(), 1, 41));
    assert!(report.dead_bytes < before.dead_bytes / 4, "{report:?}, {before:?}");
    let last = stages.iter().rfind(|stage| stage.name == "sweeping").unwrap();
    assert!(last.done.1 > 0 && last.done.0 > last.done.1 / 2, "{last:?}");
    assert_whole(&store);
    drop((writer, store));
    assert_whole(&open(folder.path()));
}

#[test]
fn reclaiming_waits_for_other_processes_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    writer.commit(&[version(1, 1)], 0).unwrap();
    writer.commit(&[version(1, 2)], 0).unwrap();
    let mut twin = Some(store.twin().unwrap());
    let mut reclaim = |patience: usize, twin: &mut Option<Store>| {
        let mut waited = 0;
        super::super::reclaim(&store, &mut tended_by(&mut writer), &mut |stage| {
            waited += usize::from(stage.is_waiting);
            match (waited > patience, patience) {
                (true, 3) => Err(StoreError::Stopped),
                (true, _) => {
                    twin.take();
                    Ok(())
                }
                _ => Ok(()),
            }
        })
    };
    assert!(matches!(reclaim(3, &mut twin), Err(StoreError::Stopped)));
    assert!(is_in_log(folder.path(), 1, 1));
    reclaim(5, &mut twin).unwrap();
    assert!(!is_in_log(folder.path(), 1, 1));
    assert_whole(&store);
}
