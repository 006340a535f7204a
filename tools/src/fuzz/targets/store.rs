//! A store of which one row was garbled behind its back: it is opened, read, queried, checked and
//! written to. Errors are right; panics are not.
//!
//! An input is a table, a row of it, and the bytes that row has from then on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chappe::nostr::{Event, Filter, Verified, Verifier};
use chappe::query;
use chappe::store::{self, Durability, Store, StoreError, StoreOptions, Writer};
use fastrand::Rng;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, EnvOpenOptions};
use tempfile::TempDir;

use super::Target;
use crate::dataset::choose;
use crate::fuzz::grammar::{self, NOW};
use crate::fuzz::mutate::{WORDS, mutate};

pub(super) struct Garbled {
    folder: TempDir,
    /// Keys and values by table.
    rows: Vec<Vec<Row>>,
    filters: Vec<Filter>,
    later: Vec<Verified>,
}

type Row = (Vec<u8>, Vec<u8>);

impl Garbled {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let mut rng = Rng::with_seed(11);
        let mut events = distinct(grammar::signed(160, "", &mut rng));
        let later = events.split_off(events.len() - 8);
        let base = folder.path().join("base");
        fill(&base, &events).expect("a store can be filled");
        let rows = read_rows(&base).expect("a store can be read");
        let texts = [
            "{}",
            r#"{"kinds":[1,0,30023]}"#,
            r##"{"#t":["a"],"limit":5}"##,
            r##"{"#p":["79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"]}"##,
            r#"{"authors":["79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"]}"#,
            r#"{"since":1700000000,"until":1700000001}"#,
        ];
        let filter = |text: &str| Filter::parse(text.as_bytes()).expect("they are filters");
        Self { folder, rows, filters: texts.map(filter).to_vec(), later }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Reads the store in every way there is.
    fn read(&self, store: &Store) -> Result<(), StoreError> {
        let snapshot = store.snapshot()?;
        let is_visible = |_: &chappe::nostr::EventRef<'_>| true;
        for filter in &self.filters {
            let found = query::find_all(&snapshot, filter, &is_visible);
            let counted = query::count(&snapshot, std::slice::from_ref(filter), NOW, &is_visible);
            for seq in found.into_iter().flatten() {
                if let Ok(Some(event)) = snapshot.by_seq(seq) {
                    let mut json = Vec::new();
                    event.write_json(&mut json);
                    assert_eq!(json.len(), event.json_len());
                    let _ = snapshot.by_id(event.id);
                }
            }
            drop(counted);
        }
        drop(snapshot);
        let _ = store::info(store);
        let _ = store::check(store, &mut |_, _| {});
        Ok(())
    }

    /// Writes to it: more events, what has expired, merges.
    fn write(&self, store: &Store) -> Result<(), StoreError> {
        let mut writer = Writer::new(store.clone());
        writer.commit(&self.later, NOW)?;
        writer.expire(NOW + 200_000_000, 100)?;
        for _ in 0..200 {
            if !writer.maintain(true)? {
                break;
            }
        }
        Ok(())
    }
}

impl Target for Garbled {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let table = rng.usize(..self.rows.len());
        let rows = &self.rows[table];
        if rows.is_empty() {
            return Vec::new();
        }
        let row = rng.usize(..rows.len());
        let mut value = rows[row].1.clone();
        let other = choose(rng, rows).1.clone();
        mutate(&mut value, &other, &WORDS, rng);
        [&[table as u8, row as u8, (row >> 8) as u8][..], &value].concat()
    }

    fn check(&mut self, input: &[u8]) {
        let [table, low, high, value @ ..] = input else { return };
        let row = usize::from(u16::from_le_bytes([*low, *high]));
        let Some((key, _)) = self.rows.get(usize::from(*table)).and_then(|rows| rows.get(row))
        else {
            return;
        };
        let work = self.path("work");
        copy(&self.path("base"), &work).expect("the folder can be written to");
        garble(&work, TABLES[usize::from(*table)], key, value).expect("rows can be changed");
        // An error is a fine answer to a damaged store.
        let Ok(store) = Store::open(&work, &options()) else { return };
        let _ = self.read(&store);
        let _ = self.write(&store);
        let _ = self.read(&store);
    }
}

fn options() -> StoreOptions {
    StoreOptions { map_bytes: Some(16 << 20), durability: Durability::Lazy, salt: [5; 16] }
}

fn distinct(events: Vec<Event>) -> Vec<Verified> {
    let mut verifier = Verifier::new();
    let by_id: BTreeMap<_, _> = events.into_iter().map(|event| (event.id, event)).collect();
    let mut distinct = Vec::new();
    for event in by_id.into_values() {
        distinct.push(verifier.verify(event).expect("it was signed here"));
    }
    distinct
}

fn fill(path: &Path, events: &[Verified]) -> Result<(), StoreError> {
    let store = Store::open(path, &options())?;
    let mut writer = Writer::new(store);
    let (merged, fresh) = events.split_at(events.len() / 2);
    writer.commit(merged, NOW)?;
    while writer.maintain(true)? {}
    writer.commit(fresh, NOW)?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Opens the file below the store.
fn open(path: &Path) -> heed::Result<heed::Env> {
    let mut options = EnvOpenOptions::new();
    options.map_size(16 << 20).max_dbs(16);
    // SAFETY: the folder is this target's own, and no store is open on it meanwhile.
    unsafe { options.open(path) }
}

fn read_rows(path: &Path) -> heed::Result<Vec<Vec<Row>>> {
    let env = open(path)?;
    let mut tables = Vec::new();
    for name in TABLES {
        let table = open_table(&env, name)?;
        let txn = env.read_txn()?;
        let mut rows = Vec::new();
        for row in table.iter(&txn)? {
            let (key, value) = row?;
            rows.push((key.to_vec(), value.to_vec()));
        }
        tables.push(rows);
    }
    env.prepare_for_closing().wait();
    Ok(tables)
}

fn garble(path: &Path, table: &'static str, key: &[u8], value: &[u8]) -> heed::Result<()> {
    let env = open(path)?;
    let table = open_table(&env, table)?;
    let mut txn = env.write_txn()?;
    table.put(&mut txn, key, value)?;
    txn.commit()?;
    env.prepare_for_closing().wait();
    Ok(())
}

/// Opens a table as plain bytes, whatever its keys are.
fn open_table(
    env: &heed::Env,
    name: &'static str,
) -> heed::Result<Database<'static, Bytes, Bytes>> {
    let opened = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        let table = opener.create_database::<Bytes, Bytes>(txn, Some(name))?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(table))
    })?;
    Ok(opened.unwrap_commit())
}

const TABLES: [&str; 10] = [
    "events",
    "dead",
    "meta",
    "fingerprints",
    "by_id",
    "by_author_kind",
    "by_kind",
    "by_tag",
    "by_time",
    "by_expiry",
];
