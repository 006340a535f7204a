//! What is in a store: counts, sizes, ages.

use heed::DatabaseStat;
use serde::Serialize;

use super::env::{FORMAT, Store};
use super::error::StoreError;
use super::key::{Index, Range};
use super::snapshot::Snapshot;
use super::sweep::dead_bytes;

/// A description of a store at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct StoreInfo {
    /// The format version.
    pub format: u32,
    /// What it takes.
    #[serde(flatten)]
    pub size: StoreSize,
    /// Living events by kind, ascending.
    pub kinds: Vec<(u16, u64)>,
    /// Distinct authors of living events.
    pub authors: u64,
    /// `created_at` of the oldest living event.
    pub oldest: Option<u64>,
    /// `created_at` of the newest living event.
    pub newest: Option<u64>,
    /// The tables.
    pub tables: Vec<TableInfo>,
}

/// A table and its size.
#[derive(Debug, Clone, Serialize)]
pub struct TableInfo {
    /// Its name.
    pub name: &'static str,
    /// Rows: records, or blocks of entries.
    pub rows: u64,
    /// Bytes of its pages.
    pub bytes: u64,
}

/// What the living events of a store take.
#[derive(Debug, Clone, Copy)]
pub struct Living {
    /// Living events.
    pub events: u64,
    /// The bytes in use, without the part of the dead.
    pub bytes: u64,
}

/// Tells what the living events of a store take.
///
/// # Errors
///
/// If the store cannot be read.
pub fn living(store: &Store) -> Result<Living, StoreError> {
    let snapshot = store.snapshot()?;
    let tables: u64 = table_sizes(store, &snapshot)?.iter().map(|table| table.bytes).sum();
    let events = snapshot.totals().map(|(_, count)| count).sum::<u64>();
    let all = u128::from(events) + snapshot.layers().dead.len() as u128;
    let bytes = u128::from(tables) * u128::from(events) / all.max(1);
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Ok(Living { events, bytes: bytes.saturating_add(snapshot.layers().record_bytes) })
}

/// What a store takes, cheaply found out.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct StoreSize {
    /// Living events.
    pub events: u64,
    /// The newest position in commit order.
    pub last_seq: u64,
    /// Events whose index entries wait in memory to be merged into the tables.
    pub unmerged: u64,
    /// Replaced, deleted or expired events that are not yet removed.
    pub dead: u64,
    /// Size of the files in bytes.
    pub file_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes of free pages and of room made ahead, which later commits fill.
    pub free_bytes: u64,
    /// Bytes of the log that were those of dead events and were not given back yet.
    pub dead_bytes: u64,
    /// Address space of the maps in bytes.
    pub map_bytes: u64,
}

/// Returns what a store takes.
///
/// # Errors
///
/// If the store cannot be read.
pub fn size(store: &Store) -> Result<StoreSize, StoreError> {
    let snapshot = store.snapshot()?;
    size_of(store, &snapshot, &table_sizes(store, &snapshot)?)
}

/// Describes a store. Counting the authors walks one index; everything else is known.
///
/// # Errors
///
/// If the store cannot be read.
pub fn info(store: &Store) -> Result<StoreInfo, StoreError> {
    let snapshot = store.snapshot()?;
    let mut tables = table_sizes(store, &snapshot)?;
    let size = size_of(store, &snapshot, &tables)?;
    let (log, places) = log_sizes(&snapshot);
    let rows = size.events + size.dead;
    tables.insert(0, TableInfo { name: "log", rows, bytes: log });
    tables.insert(1, TableInfo { name: "places", rows, bytes: places });
    Ok(StoreInfo {
        format: FORMAT,
        size,
        kinds: snapshot.totals().collect(),
        authors: count_authors(&snapshot)?,
        oldest: edge(&snapshot, false)?,
        newest: edge(&snapshot, true)?,
        tables,
    })
}

fn size_of(
    store: &Store,
    snapshot: &Snapshot<'_>,
    tables: &[TableInfo],
) -> Result<StoreSize, StoreError> {
    let page = store.page_bytes() as u64;
    // Two pages of LMDB's own, and the root of the unnamed table.
    let tables = tables.iter().map(|table| table.bytes).sum::<u64>() + 3 * page;
    let environment = store.env().info();
    let allocated = (environment.last_page_number as u64 + 1) * page;
    let (log, places) = log_sizes(snapshot);
    let files = store.log().file().disk_bytes()? + store.log().places().len();
    // What lies behind the end; holes before it are neither in use nor free.
    let ahead =
        (store.log().file().len() + store.log().places().len()).saturating_sub(log + places);
    Ok(StoreSize {
        events: snapshot.totals().fold(0, |sum, (_, count)| sum.saturating_add(count)),
        last_seq: snapshot.seq().0,
        unmerged: snapshot.unmerged(),
        dead: (snapshot.layers().dead.len() + snapshot.layers().gone.len()) as u64,
        file_bytes: store.env().real_disk_size()? + files,
        used_bytes: tables + snapshot.layers().record_bytes,
        free_bytes: allocated.saturating_sub(tables) + ahead,
        dead_bytes: dead_bytes(store, snapshot.txn())?,
        map_bytes: environment.map_size as u64 + store.log().room(),
    })
}

/// Returns the bytes of the log and of the places.
fn log_sizes(snapshot: &Snapshot<'_>) -> (u64, u64) {
    (snapshot.layers().tail.at * 8, (snapshot.seq().0 + 1) * 8)
}

fn table_sizes(store: &Store, snapshot: &Snapshot<'_>) -> Result<Vec<TableInfo>, StoreError> {
    let (txn, tables, page) = (snapshot.txn(), store.tables(), store.page_bytes() as u64);
    let size = |name: &'static str, stat: DatabaseStat| {
        let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        TableInfo { name, rows: stat.entries as u64, bytes: pages as u64 * page }
    };
    let mut sizes = vec![
        size("dead", tables.dead.stat(txn)?),
        size("segments", tables.segments.stat(txn)?),
        size("meta", tables.meta.stat(txn)?),
        size("fingerprints", tables.fingerprints.stat(txn)?),
        size("facts", tables.facts.stat(txn)?),
    ];
    for index in Index::ALL {
        sizes.push(size(index.name(), tables.indexes[index as usize].stat(txn)?));
    }
    Ok(sizes)
}

fn edge(snapshot: &Snapshot<'_>, newest: bool) -> Result<Option<u64>, StoreError> {
    let view = snapshot.view();
    if newest {
        return Ok(view.scan(Range::time(0, u64::MAX))?.next()?.map(|found| found.time()));
    }
    // Scans go downwards; halve the time until only the oldest is left.
    let Some(first) = view.scan(Range::time(0, u64::MAX))?.next()? else { return Ok(None) };
    let (mut low, mut high) = (0, first.time());
    while low < high {
        let middle = low + (high - low) / 2;
        match view.scan(Range::time(low, middle))?.next()? {
            Some(found) => high = found.time().min(middle),
            None => low = middle + 1,
        }
    }
    Ok(Some(low))
}

fn count_authors(snapshot: &Snapshot<'_>) -> Result<u64, StoreError> {
    let mut count = 0;
    let mut last = None;
    let mut scan = snapshot.view().scan(Range::all_authors())?;
    while let Some(found) = scan.next()? {
        let author = found.author8();
        if last != Some(author) {
            count += 1;
            last = Some(author);
        }
    }
    Ok(count)
}
