//! Cursors: a REQ's stored part, run in slices.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::race::{Found, Race};
use super::walk::{Hit, Task};
use crate::nostr::{EventRef, Filter};
use crate::seq::Seq;
use crate::store::{Snapshot, StoreError, View};

/// How many events a filter may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// For filters without `limit`.
    pub default_limit: u64,
    /// The most that a filter can ask for; higher limits are lowered to it (NIP-11 `max_limit`).
    pub max_limit: u64,
}

impl QueryLimits {
    fn of(&self, filter: &Filter) -> u64 {
        filter.limit.unwrap_or(self.default_limit).min(self.max_limit)
    }
}

/// How much one slice may do; the unit is about the time of reading one index entry (10 ns).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Steps of the slice.
    pub steps: u64,
}

/// How a slice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Every event was given.
    Done,
    /// There is more to do.
    More,
}

/// A query between its slices. It holds no transaction and can move between threads.
#[derive(Debug)]
pub struct Cursor {
    filters: Arc<[Filter]>,
    limits: QueryLimits,
    seq_max: Seq,
    /// Filters that are answered.
    answered: usize,
    race: Option<Race>,
    hits: Vec<Hit>,
    /// Hits that were given.
    given: usize,
}

impl Cursor {
    /// Returns a query of the union of these filters, over events up to `seq_max`.
    pub fn new(filters: Arc<[Filter]>, limits: QueryLimits, seq_max: Seq) -> Cursor {
        Cursor { filters, limits, seq_max, answered: 0, race: None, hits: Vec::new(), given: 0 }
    }

    /// Does the next slice; gives events to `sink` in result order until it breaks.
    ///
    /// `is_visible` says whether an event may be given out at all.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn step(
        &mut self,
        snapshot: &Snapshot<'_>,
        budget: Budget,
        is_visible: &dyn Fn(&EventRef<'_>) -> bool,
        sink: &mut dyn FnMut(&EventRef<'_>) -> ControlFlow<()>,
    ) -> Result<Step, StoreError> {
        let view = snapshot.view();
        let mut steps = budget.steps.max(1);
        if self.answered < self.filters.len() {
            match self.find(&view, is_visible, &mut steps)? {
                Some(found) => {
                    self.hits = found.iter().map(|(hit, _)| *hit).collect();
                    return self.give(&view, &found, is_visible, sink);
                }
                None => return Ok(Step::More),
            }
        }
        self.give(&view, &[], is_visible, sink)
    }

    /// Answers the filters that are left; returns the merged result when all are answered.
    fn find<'t>(
        &mut self,
        view: &View<'t>,
        is_visible: &dyn Fn(&EventRef<'_>) -> bool,
        steps: &mut u64,
    ) -> Result<Option<Vec<Found<'t>>>, StoreError> {
        let mut all: Vec<Found<'t>> = Vec::new();
        while let Some(filter) = self.filters.get(self.answered) {
            let want = usize::try_from(self.limits.of(filter)).unwrap_or(usize::MAX);
            if want > 0 && !filter.matches_nothing() {
                let task = Task { filter, seq_max: self.seq_max, want, is_visible };
                let race = self.race.get_or_insert_with(|| Race::new(filter));
                let found = if *steps == 0 { None } else { race.run(view, &task, steps)? };
                let Some(found) = found else {
                    self.hits.extend(all.iter().map(|(hit, _)| *hit));
                    return Ok(None);
                };
                if all.is_empty() {
                    all = found;
                } else {
                    all.extend(found);
                }
            }
            self.race = None;
            self.answered += 1;
        }
        all.extend(self.hits.drain(..).map(|hit| (hit, None)));
        if self.filters.len() > 1 {
            all.sort_by_key(|(hit, _)| *hit);
            all.dedup_by_key(|(hit, _)| hit.seq);
        }
        Ok(Some(all))
    }

    /// Gives hits until the sink breaks.
    fn give(
        &mut self,
        view: &View<'_>,
        found: &[Found<'_>],
        is_visible: &dyn Fn(&EventRef<'_>) -> bool,
        sink: &mut dyn FnMut(&EventRef<'_>) -> ControlFlow<()>,
    ) -> Result<Step, StoreError> {
        while let Some(hit) = self.hits.get(self.given) {
            self.given += 1;
            let known = found.get(self.given - 1).and_then(|(_, event)| *event);
            let event = match known {
                Some(event) => Some(event),
                // Deleted or expired since it was found: not given.
                None => view.by_seq(hit.seq)?.filter(|event| is_visible(event)),
            };
            let Some(event) = event else { continue };
            if sink(&event).is_break() && self.given < self.hits.len() {
                return Ok(Step::More);
            }
        }
        Ok(Step::Done)
    }
}
