//! The paths of the store and of queries.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use chappe::nostr::{Filter, Verified};
use chappe::query::{self, Budget, Cursor, QueryLimits, Step};
use chappe::seq::Seq;
use chappe::store::{Durability, Snapshot, Store, StoreOptions, Writer};

use super::Failure;
use super::events::{Events, FIRST_SECOND};
use super::limits::Limits;
use super::timing::{Figure, Report};

/// Measures them; stores are made below `folder`.
pub(crate) fn measure(
    report: &mut Report,
    limits: &Limits,
    events: &Events,
    folder: &Path,
) -> Result<(), Failure> {
    for (name, durability, batch, batches) in [
        ("insert, batch 1, synced", Durability::Sync, 1, 300),
        ("insert, batch 100, synced", Durability::Sync, 100, 50),
        ("insert, batch 10,000, synced", Durability::Sync, 10_000, 3),
        ("insert, batch 1, lazy", Durability::Lazy, 1, 2_000),
        ("insert, batch 100, lazy", Durability::Lazy, 100, 100),
        ("insert, batch 10,000, lazy", Durability::Lazy, 10_000, 3),
    ] {
        if !report.wants(name) {
            continue;
        }
        let store = open(&folder.join(name), durability)?;
        let figure = insert(store, &events.verified, batch, batches)?;
        let limit =
            if durability == Durability::Sync { limits.synced_put(batch) } else { limits.put() };
        report.add(name, None, limit, figure);
    }
    let store = open(&folder.join("full"), Durability::Lazy)?;
    let mut writer = Writer::new(store.clone());
    writer.commit(&events.verified, NOW)?;
    let merged = merge(&mut writer, events.verified.len())?;
    report.add("merge into the index blocks, per event", None, limits.put(), merged);
    lookups(report, limits, events, &store)?;
    queries(report, limits, events, &store)
}

pub(crate) fn open(folder: &Path, durability: Durability) -> Result<Store, Failure> {
    let options = StoreOptions { map_bytes: Some(MAP_BYTES), durability, salt: [1; 16] };
    Ok(Store::open(folder, &options)?)
}

/// Commits batches into a store that has a thousand events.
fn insert(
    store: Store,
    events: &[Verified],
    batch: usize,
    batches: usize,
) -> Result<Figure, Failure> {
    let mut writer = Writer::new(store);
    let (first, rest) = events.split_at(1_000);
    writer.commit(first, NOW)?;
    let mut rounds = Vec::new();
    for batch in rest.chunks_exact(batch).take(batches) {
        let start = Instant::now();
        black_box(writer.commit(batch, NOW)?);
        rounds.push(start.elapsed().as_nanos() as f64 / batch.len() as f64);
    }
    Ok(Figure::of(rounds))
}

fn merge(writer: &mut Writer, events: usize) -> Result<Figure, Failure> {
    let start = Instant::now();
    while writer.maintain(true)? {}
    Ok(Figure::of(vec![start.elapsed().as_nanos() as f64 / events as f64]))
}

fn lookups(
    report: &mut Report,
    limits: &Limits,
    events: &Events,
    store: &Store,
) -> Result<(), Failure> {
    let mut rng = fastrand::Rng::with_seed(1);
    report.path("snapshot", None, None, || usize::from(black_box(store.snapshot()).is_ok()));
    let snapshot = store.snapshot()?;
    let mut any = || rng.usize(0..events.verified.len());
    // The block of the index, then the record.
    report.path("point get by id", None, limits.gets(2.0), || {
        let id = &events.event(any()).id;
        usize::from(matches!(black_box(snapshot.by_id(id)), Ok(Some(_))))
    });
    report.path("point get by seq", None, limits.gets(1.0), || {
        let seq = Seq(1 + any() as u64);
        usize::from(matches!(black_box(snapshot.by_seq(seq)), Ok(Some(_))))
    });
    Ok(())
}

fn queries(
    report: &mut Report,
    limits: &Limits,
    events: &Events,
    store: &Store,
) -> Result<(), Failure> {
    let snapshot = store.snapshot()?;
    let last = FIRST_SECOND + events.verified.len() as u64;
    let step = Filter::parse(format!(r#"{{"since":{FIRST_SECOND},"until":{last}}}"#).as_bytes())
        .map_err(|error| error.text)?;
    report.path("index step (COUNT by time)", None, limits.step(), || {
        let count = query::count(&snapshot, std::slice::from_ref(&step), NOW, &|_| true);
        count.map_or(0, |count| count as usize)
    });
    let author = events.authors[0];
    let id = events.event(777).id;
    for (name, filter, gets) in [
        ("query one id", format!(r#"{{"ids":["{id}"]}}"#), 2.0),
        (
            "query an author's 20 newest",
            format!(r#"{{"authors":["{author}"],"limit":20}}"#),
            20.0 + 3.0,
        ),
        ("query a home feed (500 authors, 100)", home_feed(events), 100.0),
        (
            "query a hashtag's 50",
            r##"{"#t":["hashtag12"],"kinds":[1],"limit":50}"##.to_owned(),
            50.0,
        ),
        ("query the newest 100 notes", r#"{"kinds":[1],"limit":100}"#.to_owned(), 100.0),
    ] {
        let filter = Filter::parse(filter.as_bytes()).map_err(|error| error.text)?;
        let filters: Arc<[Filter]> = Arc::new([filter]);
        if run(&snapshot, &filters)? == 0 {
            return Err(format!("{name} found nothing").into());
        }
        report
            .path(name, None, limits.gets(gets), || usize::from(run(&snapshot, &filters).is_ok()));
    }
    Ok(())
}

/// What 500 authors wrote last, as a filter.
pub(crate) fn home_feed(events: &Events) -> String {
    let authors: Vec<String> = events.authors.iter().map(|key| format!("\"{key}\"")).collect();
    format!(r#"{{"authors":[{}],"kinds":[1,6],"limit":100}}"#, authors[..500].join(","))
}

/// Runs a query to its end; returns how many events it gave.
pub(crate) fn run(snapshot: &Snapshot<'_>, filters: &Arc<[Filter]>) -> Result<usize, Failure> {
    let limits = QueryLimits { default_limit: 500, max_limit: 5_000 };
    let mut cursor = Cursor::new(Arc::clone(filters), limits, snapshot.seq());
    let mut given = 0;
    let budget = Budget { steps: 1_000_000 };
    while cursor.step(snapshot, budget, &|_| true, &mut |event| {
        given += 1;
        black_box(event.content);
        ControlFlow::Continue(())
    })? == Step::More
    {}
    Ok(given)
}

const MAP_BYTES: u64 = 4 << 30;
/// The time of the commits; only expirations look at it.
pub(crate) const NOW: u64 = FIRST_SECOND + 10_000_000;
