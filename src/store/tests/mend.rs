//! A store that is damaged and mended while it is written to.

use std::cell::RefCell;

use super::super::block::{Block, pack};
use super::super::env::{META_BYTES, META_TOTALS};
use super::super::key::{Entry, Index};
use super::super::{MendReport, Stage, mend};
use super::*;

/// A store in use: whatever is done with it, somebody publishes meanwhile.
struct Busy {
    store: Store,
    writer: Writer,
    model: Model,
    random: fastrand::Rng,
    published: u64,
}

impl Busy {
    fn open(path: &Path, seed: u64) -> Busy {
        let store = open(path);
        let (writer, model) = (Writer::new(store.clone()), Model::default());
        let mut busy =
            Busy { store, writer, model, random: fastrand::Rng::with_seed(seed), published: 0 };
        let mut known = Vec::new();
        for round in 0..30 {
            let batch: Vec<Verified> = (0..10)
                .map(|_| {
                    let event = random_event(&mut busy.random, &known);
                    known.push(event.event().id);
                    event
                })
                .collect();
            busy.commit(&batch);
            if round % 8 == 7 {
                while busy.writer.maintain(true).unwrap() {}
            }
        }
        busy
    }

    fn commit(&mut self, batch: &[Verified]) {
        for event in batch {
            self.model.add(event.event(), 1000);
        }
        self.writer.commit(batch, 1000).unwrap();
    }

    /// Publishes what does not depend on anything else, and does a step of a merge now and then.
    fn go_on(&mut self) {
        self.published += 1;
        let author = self.random.u8(100..);
        let number = self.published.to_string();
        let note = event(author, 1, 1000 + self.published % 50, &[&["t", "x"]], &number);
        self.commit(&[note]);
        if self.random.u8(..3) == 0 {
            let _ = self.writer.maintain(self.random.bool()).unwrap();
        }
    }
}

fn mended(busy: &RefCell<Busy>) -> MendReport {
    let store = busy.borrow().store.clone();
    let report = mend(
        &store,
        &mut |chore| {
            chore(&mut busy.borrow_mut().writer);
            // What is no block must not be met by somebody else first.
            busy.borrow_mut().go_on();
            Ok(())
        },
        &mut |stage: Stage| {
            if stage.name != "reading the indexes" {
                busy.borrow_mut().go_on();
            }
            Ok(())
        },
    );
    report.unwrap()
}

fn damage(store: &Store, random: &mut fastrand::Rng, kind: u8) {
    let mut txn = store.env().write_txn().unwrap();
    let tables = store.tables();
    let index = *random.choice(&[Index::ById, Index::ByTag, Index::ByTime, Index::ByKind]).unwrap();
    let table = tables.indexes[index as usize];
    let rows: Vec<(Vec<u8>, Vec<u8>)> = table
        .iter(&txn)
        .unwrap()
        .map(|row| row.unwrap())
        .map(|(k, v)| (k.into(), v.into()))
        .collect();
    // What is damaged already is enough.
    let is_block = |value: &[u8]| Block::new(value, index.width()).is_some_and(|it| it.len() > 0);
    let whole: Vec<_> = rows.into_iter().filter(|(_, value)| is_block(value)).collect();
    let Some((key, value)) = random.choice(&whole).cloned() else { return };
    let mut entries = Vec::new();
    Block::new(&value, index.width()).unwrap().unpack(&mut entries);
    let mut packed = Vec::new();
    match kind {
        1 => table.put(&mut txn, &key, &[0xff; 30]).unwrap(),
        2 => {
            // One entry is another one.
            let place = random.usize(1.min(entries.len() - 1)..entries.len());
            let mut bytes = entries[place].bytes();
            bytes[index.width() - 3] ^= 0x55;
            entries[place] = Entry::padded(&bytes[..index.width()]);
            pack(&entries, index.width(), &mut packed);
            table.put(&mut txn, &key, &packed).unwrap();
        }
        3 if entries.len() > 1 => {
            entries.remove(1);
            pack(&entries, index.width(), &mut packed);
            table.put(&mut txn, &key, &packed).unwrap();
        }
        4 => {
            // A row of the past, in the middle of others.
            let mut bytes = random.choice(&entries).unwrap().bytes();
            bytes[index.width() - 1] = 250;
            let stray = Entry::padded(&bytes[..index.width()]);
            pack(&[stray], index.width(), &mut packed);
            table.put(&mut txn, &bytes[..index.width()], &packed).unwrap();
        }
        5 => {
            tables.meta.put(&mut txn, META_TOTALS, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 3]).unwrap();
            tables.meta.put(&mut txn, META_BYTES, &[7; 8]).unwrap();
        }
        6 => {
            let table = tables.fingerprints;
            let rows: Vec<Vec<u8>> =
                table.iter(&txn).unwrap().map(|row| row.unwrap().0.to_vec()).collect();
            let key = random.choice(&rows).unwrap();
            let bytes = if random.bool() { 38 * 2 } else { 40 };
            table.put(&mut txn, key, &vec![3; bytes]).unwrap();
        }
        _ => drop(table.delete(&mut txn, &key).unwrap()),
    }
    txn.commit().unwrap();
}

#[test]
fn a_damaged_store_is_mended_while_it_is_written_to() {
    let mut was_damaged = false;
    for round in 0..12 {
        let seed = fastrand::u64(..);
        println!("round {round}, seed {seed}");
        let folder = tempfile::tempdir().unwrap();
        let mut busy = Busy::open(folder.path(), seed);
        let mut random = fastrand::Rng::with_seed(seed);
        for place in 0..random.u8(1..4) {
            damage(&busy.store, &mut random, (round + place) % 7);
        }
        // What is damaged of the dead is no damage.
        was_damaged |= !check(&busy.store, &mut |_, _| {}).unwrap().is_whole();
        if random.bool() {
            let Busy { store, writer, model, published, random: theirs } = busy;
            drop((writer, store));
            let store = open(folder.path());
            let writer = Writer::new(store.clone());
            busy = Busy { store, writer, model, published, random: theirs };
        }
        let busy = RefCell::new(busy);
        let report = mended(&busy);
        assert!(report.is_whole(), "{report:?}");
        let Busy { store, mut writer, model, .. } = busy.into_inner();
        same(&store, &model);
        while writer.maintain(true).unwrap() {}
        same(&store, &model);
        drop((store, writer));
        same(&open(folder.path()), &model);
    }
    assert!(was_damaged);
}

#[test]
fn nothing_is_mended_in_a_whole_store_whatever_happens_meanwhile() {
    for round in 0..6 {
        let seed = fastrand::u64(..);
        println!("round {round}, seed {seed}");
        let folder = tempfile::tempdir().unwrap();
        let busy = RefCell::new(Busy::open(folder.path(), seed));
        let report = mended(&busy);
        let changes = [
            report.rows_removed,
            report.entries_added,
            report.entries_removed,
            report.counts_corrected,
            report.fingerprints_rewritten,
            report.faults_left,
        ];
        assert_eq!(changes, [0; 6], "{report:?}");
        assert!(report.records > 0);
        let busy = busy.into_inner();
        assert!(busy.published > 5, "somebody published");
        same(&busy.store, &busy.model);
    }
}

#[test]
fn a_lost_place_is_told_of_and_its_entries_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut writer = Writer::new(store.clone());
    let notes: Vec<Verified> =
        (0..20).map(|number| event(1, 1, number, &[], &number.to_string())).collect();
    writer.commit(&notes, 0).unwrap();
    while writer.maintain(true).unwrap() {}
    store.log().places().clear(Seq(7)).unwrap();
    let report = mend(&store, &mut tended_by(&mut writer), &mut |_| Ok(())).unwrap();
    assert!(!report.is_whole());
    assert_eq!((report.entries_removed, report.counts_corrected), (0, 0), "{report:?}");
    assert!(report.examples.iter().any(|it| it.contains("its place is lost")), "{report:?}");
    drop((writer, store));
    repair(folder.path(), &options(), &mut |_, _| {}).unwrap();
    assert_eq!(open(folder.path()).snapshot().unwrap().totals().collect::<Vec<_>>(), [(1, 20)]);
}

#[test]
fn mending_ends_when_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut busy = Busy::open(folder.path(), 3);
    let mut stages = 0;
    let mut stop = |_| {
        stages += 1;
        if stages > 8 { Err(StoreError::Stopped) } else { Ok(()) }
    };
    let stopped = mend(&busy.store.clone(), &mut tended_by(&mut busy.writer), &mut stop);
    assert!(matches!(stopped, Err(StoreError::Stopped)), "{stopped:?}");
    same(&busy.store, &busy.model);
}
