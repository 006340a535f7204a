//! What the comparison found, as tables and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::command::{LARGE_BATCH, MIDDLE_BATCH};
use super::indexes::{Answer, LayoutKind, TAKEN};
use super::records::RecordFigures;
use crate::probe::effort::Spent;

/// All figures of a run.
pub(crate) struct Report {
    pub(crate) records: Vec<RecordFigures>,
    pub(crate) indexes: Vec<IndexFigures>,
    events: usize,
    small_batch: usize,
}

/// What was measured of one index in one layout.
pub(crate) struct IndexFigures {
    pub(crate) index: &'static str,
    pub(crate) layout: LayoutKind,
    /// How many events were inserted in large batches, and how many entries they have.
    pub(crate) bulk_events: usize,
    pub(crate) entries: usize,
    /// How many events were then inserted in small batches.
    pub(crate) small_events: usize,
    pub(crate) small: Spent,
    pub(crate) middle: Spent,
    pub(crate) large: Spent,
    pub(crate) load: Spent,
    /// Pages in use, then the file with free pages.
    pub(crate) middle_bytes: (u64, u64),
    pub(crate) large_bytes: (u64, u64),
    pub(crate) loaded_bytes: u64,
    pub(crate) question_ns: f64,
    pub(crate) taken: f64,
    pub(crate) walk_ns: f64,
    /// What was read, which must not depend on the layout.
    pub(crate) answers: (Answer, Answer),
}

impl Report {
    /// Starts a report.
    pub(crate) fn new(events: usize, small_batch: usize) -> Self {
        Self { records: Vec::new(), indexes: Vec::new(), events, small_batch }
    }

    /// All figures for a machine.
    pub(crate) fn to_json(&self) -> Value {
        let records: Vec<Value> = self
            .records
            .iter()
            .map(|figures| {
                json!({
                    "encoding": figures.name,
                    "bytes": figures.bytes,
                    "file_bytes": figures.file_bytes,
                    "encode_ns": figures.encode_ns,
                    "render_ns": figures.render_ns,
                })
            })
            .collect();
        let indexes: Vec<Value> = self.indexes.iter().map(|it| it.row().to_json()).collect();
        let totals: Vec<Value> = self.totals().iter().map(Row::to_json).collect();
        json!({ "events": self.events, "records": records, "indexes": indexes, "totals": totals })
    }

    /// The sums over all indexes, a row for each layout.
    fn totals(&self) -> Vec<Row> {
        LayoutKind::ALL
            .iter()
            .map(|&layout| {
                let mut total =
                    Row { layout: layout.name(), index: "all indexes", ..Row::default() };
                for figures in self.indexes.iter().filter(|it| it.layout == layout) {
                    total.add(&figures.row());
                }
                total
            })
            .collect()
    }
}

/// One line of the table of indexes: everything per event.
#[derive(Default)]
struct Row {
    index: &'static str,
    layout: &'static str,
    entries: f64,
    middle_bytes: f64,
    large_bytes: f64,
    file_bytes: f64,
    loaded_bytes: f64,
    small_ns: f64,
    middle_ns: f64,
    large_ns: f64,
    load_ns: f64,
    small_dirty: f64,
    middle_dirty: f64,
    large_dirty: f64,
    /// Per question and per entry; no sums.
    question_ns: f64,
    taken: f64,
    walk_ns: f64,
}

impl IndexFigures {
    fn row(&self) -> Row {
        let bulk = self.bulk_events.max(1) as f64;
        let small = self.small_events.max(1) as f64;
        Row {
            index: self.index,
            layout: self.layout.name(),
            entries: self.entries as f64 / bulk,
            middle_bytes: self.middle_bytes.0 as f64 / bulk,
            large_bytes: self.large_bytes.0 as f64 / bulk,
            file_bytes: self.middle_bytes.1 as f64 / bulk,
            loaded_bytes: self.loaded_bytes as f64 / bulk,
            small_ns: self.small.ns as f64 / small,
            middle_ns: self.middle.ns as f64 / bulk,
            large_ns: self.large.ns as f64 / bulk,
            load_ns: self.load.ns as f64 / bulk,
            small_dirty: self.small.written_bytes as f64 / small,
            middle_dirty: self.middle.written_bytes as f64 / bulk,
            large_dirty: self.large.written_bytes as f64 / bulk,
            question_ns: self.question_ns,
            taken: self.taken,
            walk_ns: self.walk_ns,
        }
    }
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.middle_bytes += other.middle_bytes;
        self.large_bytes += other.large_bytes;
        self.file_bytes += other.file_bytes;
        self.loaded_bytes += other.loaded_bytes;
        self.small_ns += other.small_ns;
        self.middle_ns += other.middle_ns;
        self.large_ns += other.large_ns;
        self.load_ns += other.load_ns;
        self.small_dirty += other.small_dirty;
        self.middle_dirty += other.middle_dirty;
        self.large_dirty += other.large_dirty;
    }

    fn to_json(&self) -> Value {
        json!({
            "index": self.index,
            "layout": self.layout,
            "entries_per_event": self.entries,
            "used_bytes_per_event": {
                "10000": self.middle_bytes,
                "64000": self.large_bytes,
                "load": self.loaded_bytes,
            },
            "file_bytes_per_event": self.file_bytes,
            "insert_ns_per_event": {
                "100": self.small_ns,
                "10000": self.middle_ns,
                "64000": self.large_ns,
                "load": self.load_ns,
            },
            "dirty_bytes_per_event": {
                "100": self.small_dirty,
                "10000": self.middle_dirty,
                "64000": self.large_dirty,
            },
            "newest_20_ns": self.question_ns,
            "newest_20_entries": self.taken,
            "walk_ns_per_entry": self.walk_ns,
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<15} {:<15} {:>7.2}", self.index, self.layout, self.entries)?;
        write!(f, " |{:>7.1}{:>7.1}", self.middle_bytes, self.large_bytes)?;
        write!(f, "{:>7.1}{:>7.1}", self.loaded_bytes, self.file_bytes)?;
        write!(
            f,
            " |{:>7.0}{:>7.0}{:>7.0}{:>6.0}",
            self.small_ns, self.middle_ns, self.large_ns, self.load_ns
        )?;
        write!(
            f,
            " |{:>8.0}{:>7.0}{:>7.0}",
            self.small_dirty, self.middle_dirty, self.large_dirty
        )?;
        if self.walk_ns > 0.0 {
            write!(f, " |{:>6.0}{:>6.1}{:>6.1}", self.question_ns, self.taken, self.walk_ns)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Records: bytes and processor time per event")?;
        writeln!(
            f,
            "{:<32}{:>8}{:>10}{:>11}{:>11}",
            "encoding", "bytes", "in LMDB", "encode ns", "render ns"
        )?;
        for it in &self.records {
            let RecordFigures { name, bytes, file_bytes, encode_ns, render_ns } = it;
            writeln!(
                f,
                "{name:<32}{bytes:>8.1}{file_bytes:>10.1}{encode_ns:>11.0}{render_ns:>11.0}"
            )?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "Indexes of {} events; figures are per event. Batches: S = {} (into the full\n\
             index), M = {MIDDLE_BATCH}, L = {LARGE_BATCH}, K = all in key order. Bytes of pages\n\
             in use, and of the file with free pages; processor ns to insert; bytes of dirty\n\
             pages. Then ns for the newest {TAKEN} of a prefix, how many there were, and ns\n\
             to walk one entry.",
            self.events, self.small_batch
        )?;
        writeln!(f, "{}", COLUMNS.concat())?;
        for figures in &self.indexes {
            writeln!(f, "{}", figures.row())?;
        }
        for total in self.totals() {
            writeln!(f, "{total}")?;
        }
        Ok(())
    }
}

/// The head of the table of indexes, as wide as [`Row`] writes its columns.
const COLUMNS: [&str; 5] = [
    "index           layout          entries",
    " |      M      L      K file M",
    " |   ns S   ns M   ns L  ns K",
    " | dirty S      M      L",
    " |   ask found  walk",
];
