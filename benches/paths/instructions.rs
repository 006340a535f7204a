//! A handful of paths as instruction counts, which do not depend on what else the machine does.
//!
//! The program runs itself once more below valgrind's callgrind, which counts the instructions of
//! [`counted`] and nothing else, kernel excluded; it needs no rights and no hardware counters, which
//! virtual machines often lack. The processor that valgrind plays knows no SHA instructions, so
//! hashes count as they are on a processor without them.
//!
//! Events come from a file: signing them below valgrind would take minutes.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use chappe::nostr::message::SubscriptionId;
use chappe::nostr::{Event, Filter, Verifier};
use chappe::store::{Durability, Writer};
use serde_json::{Value, json};

use super::Failure;
use super::events::Events;
use super::live;
use super::protocol::frame;
use super::storage::{NOW, home_feed, open, run};

/// The argument with which the program runs itself; a folder follows.
pub(crate) const COUNTED: &str = "--counted";

/// What one operation of a path takes.
pub(crate) struct Row {
    name: String,
    instructions: u64,
}

/// Counts the instructions of every path; `folder` must be empty.
pub(crate) fn measure(folder: &Path) -> Result<Vec<Row>, Failure> {
    Events::new(EVENTS).write(&folder.join(EVENTS_FILE))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--combine-dumps=no"])
        .arg(concat!("--toggle-collect=", module_path!(), "::counted"))
        .arg(concat!("--dump-after=", module_path!(), "::counted"))
        .arg(format!("--callgrind-out-file={}", folder.join("count").display()))
        .arg(std::env::current_exe()?)
        .arg(COUNTED)
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("expected valgrind to count instructions with: {error}"))?;
    if !output.status.success() {
        let talk = String::from_utf8_lossy(&output.stderr);
        return Err(format!("valgrind failed: {talk}").into());
    }
    let names = String::from_utf8(output.stdout)?;
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(names.lines()) {
        let (operations, name) = line.split_once(' ').ok_or("expected a count and a name")?;
        let text = std::fs::read_to_string(folder.join(format!("count.{number}")))
            .map_err(|error| format!("expected a dump of callgrind for {name}: {error}"))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let total: u64 = total.ok_or("expected a total of callgrind")?.trim().parse()?;
        let instructions = total / operations.parse::<u64>()?;
        rows.push(Row { name: name.to_owned(), instructions });
    }
    Ok(rows)
}

/// The rows as a table.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = format!("{:<38}{:>14}\n", "path", "instructions");
    for row in rows {
        out.push_str(&format!("{:<38}{:>14}\n", row.name, row.instructions));
    }
    out
}

/// The rows for a machine.
pub(crate) fn to_json(rows: &[Row]) -> Value {
    rows.iter().map(|row| json!({ "name": row.name, "instructions": row.instructions })).collect()
}

/// Runs every path for [`measure`], below callgrind.
pub(crate) fn run_below(folder: &Path) -> Result<(), Failure> {
    let events = Events::read(&folder.join(EVENTS_FILE))?;
    texts(&events)?;
    storage(&events, &folder.join("store"))?;
    let mut index = live::subscriptions(&events);
    let mut found = Vec::new();
    count("match against 10,000 subscriptions", 1_000, |place| {
        found.clear();
        index.matches(&events.event(place).view(), &mut found);
        black_box(&found);
    });
    Ok(())
}

fn texts(events: &Events) -> Result<(), Failure> {
    let mut verifier = Verifier::new();
    let mut out = Vec::new();
    let id = SubscriptionId::new("home").ok_or("the name is not empty")?;
    count("parse an event", 1_000, |place| {
        black_box(Event::parse(black_box(&events.json[place])).is_ok());
    });
    count("id hash", 1_000, |place| {
        black_box(verifier.check_id(&events.event(place).view()).is_ok());
    });
    count("render an event", 1_000, |place| {
        out.clear();
        events.event(place).view().write_json(&mut out);
        black_box(&out);
    });
    count("frame a rendered event", 1_000, |place| {
        out.clear();
        frame(&mut out, &id, &events.json[place]);
        black_box(&out);
    });
    Ok(())
}

fn storage(events: &Events, folder: &Path) -> Result<(), Failure> {
    let store = open(folder, Durability::Lazy)?;
    let mut writer = Writer::new(store.clone());
    let (first, rest) = events.verified.split_at(1_000);
    writer.commit(first, NOW)?;
    let mut outcome = None;
    once("insert, batch 10,000", rest.len(), &mut || outcome = Some(writer.commit(rest, NOW)));
    outcome.transpose()?;
    let batch = rest.len();
    let mut outcome = Ok(true);
    once("merge into the index blocks, per event", batch, &mut || {
        while matches!(outcome, Ok(true)) {
            outcome = writer.maintain(true);
        }
    });
    outcome?;
    let snapshot = store.snapshot()?;
    count("point get by id", 1_000, |place| {
        black_box(snapshot.by_id(&events.event(place * 7).id).is_ok());
    });
    let filter = Filter::parse(home_feed(events).as_bytes()).map_err(|error| error.text)?;
    let filters: Arc<[Filter]> = Arc::new([filter]);
    count("query a home feed (500 authors, 100)", 10, |_| {
        black_box(run(&snapshot, &filters).is_ok());
    });
    Ok(())
}

/// Counts an operation on so many places, after a few that warm it up.
fn count(name: &str, operations: usize, mut work: impl FnMut(usize)) {
    for place in 0..operations / 10 {
        work(operations + place);
    }
    once(name, operations, &mut || {
        for place in 0..operations {
            work(place);
        }
    });
}

/// Counts something that is done once and has so many operations.
fn once(name: &str, operations: usize, work: &mut dyn FnMut()) {
    println!("{operations} {name}");
    counted(work);
}

/// What callgrind counts, by this name; so it must stay a function, and the only one of the name.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    // As a tail call the work would count as the caller's.
    black_box(());
}

/// A thousand, and a batch of ten thousand.
const EVENTS: usize = 11_000;
const EVENTS_FILE: &str = "events.jsonl";
