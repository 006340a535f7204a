//! Measuring: rounds of repeated work, and the report of what they took.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What one unit of work took, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    /// In the best round.
    pub(crate) least_ns: f64,
    /// In the median round.
    pub(crate) median_ns: f64,
}

impl Figure {
    /// Sums up rounds.
    pub(crate) fn of(mut rounds: Vec<f64>) -> Figure {
        assert!(!rounds.is_empty(), "there is no figure without a round");
        rounds.sort_by(f64::total_cmp);
        Figure { least_ns: rounds[0], median_ns: rounds[rounds.len() / 2] }
    }

    /// Runs `work` again and again; it returns how many units it did.
    pub(crate) fn measure(mut work: impl FnMut() -> usize) -> Figure {
        work();
        Figure::of((0..ROUNDS).map(|_| round(&mut work)).collect())
    }
}

fn round(work: &mut impl FnMut() -> usize) -> f64 {
    let start = Instant::now();
    let mut units = 0;
    loop {
        units += work();
        let elapsed = start.elapsed();
        if elapsed >= ROUND {
            return elapsed.as_nanos() as f64 / units.max(1) as f64;
        }
    }
}

const ROUNDS: usize = 11;
const ROUND: Duration = Duration::from_millis(20);

/// What a path is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) name: &'static str,
    pub(crate) ns: f64,
}

struct Row {
    name: String,
    figure: Figure,
    /// Bytes of a unit, if it is about bytes.
    bytes: Option<f64>,
    limit: Option<Limit>,
}

/// All figures so far.
pub(crate) struct Report {
    only: String,
    rows: Vec<Row>,
}

impl Report {
    /// A report of what has `only` in its name.
    pub(crate) fn new(only: String) -> Report {
        Report { only, rows: Vec::new() }
    }

    /// Returns whether a path is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// Adds a limit of the machine; limits are always measured.
    pub(crate) fn add_limit(&mut self, name: &str, figure: Figure, bytes: Option<f64>) -> f64 {
        self.rows.push(Row { name: name.to_owned(), figure, bytes, limit: None });
        figure.median_ns
    }

    /// Measures a path whose units have `bytes` bytes, if it is asked for.
    pub(crate) fn path(
        &mut self,
        name: &str,
        bytes: Option<f64>,
        limit: Option<Limit>,
        work: impl FnMut() -> usize,
    ) {
        if self.wants(name) {
            self.add(name, bytes, limit, Figure::measure(work));
        }
    }

    /// Adds a path that was measured in its own way.
    pub(crate) fn add(
        &mut self,
        name: &str,
        bytes: Option<f64>,
        limit: Option<Limit>,
        figure: Figure,
    ) {
        self.rows.push(Row { name: name.to_owned(), figure, bytes, limit });
    }

    /// All figures for a machine.
    pub(crate) fn to_json(&self) -> Value {
        self.rows
            .iter()
            .map(|row| {
                json!({
                    "name": row.name,
                    "least_ns": row.figure.least_ns,
                    "median_ns": row.figure.median_ns,
                    "bytes": row.bytes,
                    "limit": row.limit.map(|limit| limit.name),
                    "limit_ns": row.limit.map(|limit| limit.ns),
                    "ratio": row.ratio(),
                })
            })
            .collect()
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.limit.map(|limit| self.figure.median_ns / limit.ns.max(1e-9))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<38}{:>12}{:>12}{:>12}{:>10}{:>9}  limit",
            "path", "median", "least", "per s", "MB/s", "ratio"
        )?;
        for row in &self.rows {
            let Figure { median_ns, least_ns } = row.figure;
            write!(f, "{:<38}{:>12}{:>12}", row.name, time(median_ns), time(least_ns))?;
            write!(f, "{:>12.0}", 1e9 / median_ns)?;
            let rate = row.bytes.map(|bytes| bytes * 1e3 / median_ns);
            write!(f, "{:>10}", rate.map_or_else(String::new, |rate| format!("{rate:.0}")))?;
            match (row.ratio(), row.limit) {
                (Some(ratio), Some(limit)) => writeln!(f, "{ratio:>9.2}  {}", limit.name)?,
                _ => writeln!(f)?,
            }
        }
        Ok(())
    }
}

fn time(ns: f64) -> String {
    match ns {
        0.0..1e3 => format!("{ns:.1} ns"),
        1e3..1e6 => format!("{:.2} us", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}
