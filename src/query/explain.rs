//! Explaining: which plans were considered for a filter, which won, and what each touched.

use std::fmt;

use serde::Serialize;

use super::cursor::QueryLimits;
use super::race::Race;
use super::walk::Task;
use crate::nostr::{EventRef, Filter};
use crate::seq::Seq;
use crate::store::{Snapshot, StoreError};

/// What the race for a filter looked like.
#[derive(Debug, Clone, Serialize)]
pub struct PlanReport {
    /// Hits that were found.
    pub hits: u64,
    /// The plans, in the order in which they ran.
    pub plans: Vec<PlanRow>,
}

/// One candidate plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlanRow {
    /// The index it reads.
    pub index: &'static str,
    /// What of the filter it reads by.
    pub by: String,
    /// Whether it gave the answer.
    pub chosen: bool,
    /// Turns it had.
    pub turns: u32,
    /// Ranges it opened.
    pub ranges: u64,
    /// Index entries it stepped over.
    pub entries: u64,
    /// Records it read.
    pub records: u64,
}

/// Runs one filter as a REQ would and reports how it was answered.
///
/// # Errors
///
/// If the store cannot be read.
pub fn explain(
    snapshot: &Snapshot<'_>,
    filter: &Filter,
    limits: &QueryLimits,
    is_visible: &dyn Fn(&EventRef<'_>) -> bool,
) -> Result<PlanReport, StoreError> {
    let limit = filter.limit.unwrap_or(limits.default_limit).min(limits.max_limit);
    let want = usize::try_from(limit).unwrap_or(usize::MAX);
    let task = Task { filter, seq_max: Seq::MAX, want, is_visible, hidden_kinds: &[] };
    let mut race = Race::new(filter, &snapshot.view());
    let mut hits = 0;
    if want > 0 && !filter.matches_nothing() {
        let mut steps = u64::MAX;
        hits = race.run(&snapshot.view(), &task, &mut steps)?.map_or(0, |found| found.hits.len());
    }
    let winner = race.winner();
    let row = |(place, runner): (usize, &super::race::Runner)| PlanRow {
        index: runner.plan.index().name(),
        by: format!("{:?}", runner.plan),
        chosen: place == winner,
        turns: runner.turns,
        ranges: runner.cost.ranges,
        entries: runner.cost.entries,
        records: runner.cost.records,
    };
    let plans = race.runners().iter().enumerate().map(row).collect();
    Ok(PlanReport { hits: hits as u64, plans })
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {:<16} {:<40} {:>6} {:>8} {:>10} {:>8}",
            "index", "by", "turns", "ranges", "entries", "records"
        )?;
        for row in &self.plans {
            writeln!(
                f,
                "{} {:<16} {:<40} {:>6} {:>8} {:>10} {:>8}",
                if row.chosen { '*' } else { ' ' },
                row.index,
                row.by,
                row.turns,
                row.ranges,
                row.entries,
                row.records
            )?;
        }
        write!(f, "{} hits", self.hits)
    }
}
