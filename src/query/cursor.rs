//! Cursors: a REQ's stored part, run in slices.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::race::{Found, Race};
use super::walk::{Hit, Rest, Task};
use crate::metrics::PLANS;
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

/// What a query that is done can say about what it has not given (NIP-67).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// There is nothing else.
    Finish,
    /// There is more.
    More,
    /// It is not known, or not to be told.
    Nothing,
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
    hidden_kinds: Arc<[u16]>,
    /// Events that were beyond the limit of their filter.
    beyond: Vec<Seq>,
    /// Some filter was not followed to its end.
    has_unknown: bool,
    has_withheld: bool,
    spent: u64,
    plan: PlanName,
    /// Nanoseconds that the slices so far have taken.
    busy: u64,
}

/// By what a query was answered; the place of its name in [`PLANS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PlanName {
    /// Nothing was looked for.
    None,
    /// Ids.
    Ids,
    /// Authors, with or without kinds.
    Authors,
    /// Addresses of addressable events.
    Addresses,
    /// Values of a tag.
    Tag,
    /// Kinds.
    Kinds,
    /// Time alone.
    Time,
    /// Its filters were answered differently.
    Several,
}

impl PlanName {
    /// Returns the name.
    pub fn word(self) -> &'static str {
        PLANS[self as usize]
    }

    fn and(self, other: PlanName) -> PlanName {
        if self == PlanName::None || self == other { other } else { PlanName::Several }
    }
}

impl Cursor {
    /// Returns a query of the union of these filters, over events up to `seq_max`.
    pub fn new(filters: Arc<[Filter]>, limits: QueryLimits, seq_max: Seq) -> Cursor {
        Cursor {
            filters,
            limits,
            seq_max,
            answered: 0,
            race: None,
            hits: Vec::new(),
            given: 0,
            hidden_kinds: Arc::default(),
            beyond: Vec::new(),
            has_unknown: false,
            has_withheld: false,
            spent: 0,
            plan: PlanName::None,
            busy: 0,
        }
    }

    /// Returns how many steps the query has taken so far.
    pub fn spent(&self) -> u64 {
        self.spent
    }

    /// Returns by what the query was answered so far.
    pub fn plan(&self) -> PlanName {
        self.plan
    }

    /// Returns what the query asks for.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// Returns how many events were found and given out so far.
    pub fn given(&self) -> usize {
        self.given
    }

    /// Notes how long a slice took.
    pub fn add_busy(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.busy = self.busy.saturating_add(nanos);
    }

    /// Returns what was noted by [`Cursor::add_busy`], summed up.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy)
    }

    /// Says that no event of these kinds is visible, so that they need not be looked through.
    pub fn hide_kinds(&mut self, kinds: Arc<[u16]>) {
        self.hidden_kinds = kinds;
    }

    /// Notes that something was withheld because of who asks: then nothing is told of the rest.
    pub fn note_withheld(&mut self) {
        self.has_withheld = true;
    }

    /// Returns what a query that is done can say about what it has not given.
    pub fn hint(&self) -> Hint {
        if self.has_withheld {
            return Hint::Nothing;
        }
        // What one filter cut off another may have found.
        let is_given = |seq: &Seq| self.hits.iter().any(|hit| hit.seq == *seq);
        if !self.beyond.is_empty() {
            let has_more = !self.beyond.iter().all(is_given);
            return if has_more { Hint::More } else { Hint::Nothing };
        }
        if self.has_unknown { Hint::Nothing } else { Hint::Finish }
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
            let before = steps;
            let found = self.find(&view, is_visible, &mut steps)?;
            self.spent = self.spent.saturating_add(before - steps);
            match found {
                Some(Found { hits, records }) => {
                    self.hits = hits;
                    return self.give(&view, &records, is_visible, sink);
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
    ) -> Result<Option<Found<'t>>, StoreError> {
        let mut all: Vec<Found<'t>> = Vec::new();
        while let Some(filter) = self.filters.get(self.answered) {
            let want = usize::try_from(self.limits.of(filter)).unwrap_or(usize::MAX);
            if filter.matches_nothing() {
                // There is nothing to know either.
            } else if want == 0 {
                self.has_unknown = true;
            } else {
                let task = Task {
                    filter,
                    seq_max: self.seq_max,
                    want,
                    is_visible,
                    hidden_kinds: &self.hidden_kinds,
                };
                let race = self.race.get_or_insert_with(|| Race::new(filter, view));
                let found = if *steps == 0 { None } else { race.run(view, &task, steps)? };
                let Some(found) = found else {
                    self.hits.extend(all.into_iter().flat_map(|found| found.hits));
                    return Ok(None);
                };
                match race.rest() {
                    Rest::Nothing => {}
                    Rest::Something(seq) => self.beyond.push(seq),
                    Rest::Unknown => self.has_unknown = true,
                }
                all.push(found);
            }
            if let Some(race) = self.race.take() {
                self.plan = self.plan.and(race.winning_plan());
            }
            self.answered += 1;
        }
        if self.filters.len() == 1 {
            return Ok(Some(all.pop().unwrap_or_default()));
        }
        Ok(Some(Found::joined(all, std::mem::take(&mut self.hits))))
    }

    /// Gives hits until the sink breaks; `records` are those of the last hits.
    fn give(
        &mut self,
        view: &View<'_>,
        records: &[Option<EventRef<'_>>],
        is_visible: &dyn Fn(&EventRef<'_>) -> bool,
        sink: &mut dyn FnMut(&EventRef<'_>) -> ControlFlow<()>,
    ) -> Result<Step, StoreError> {
        let unread = self.hits.len() - records.len().min(self.hits.len());
        while let Some(hit) = self.hits.get(self.given) {
            let place = self.given.checked_sub(unread);
            if place.is_none() {
                let later = |ahead: usize| self.hits.get(self.given + ahead).map(|hit| hit.seq);
                later(APPROACHED).into_iter().for_each(|seq| view.approach(seq));
                later(EXPECTED).into_iter().for_each(|seq| view.expect(seq));
            }
            self.given += 1;
            let event = match place.and_then(|place| records.get(place).copied().flatten()) {
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

/// How far ahead of a record that was found in an earlier slice its place is fetched, and how far
/// the record itself.
const APPROACHED: usize = 16;
const EXPECTED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_plans_stand_in_the_order_of_the_metrics() {
        assert_eq!((PlanName::None.word(), PlanName::Several.word()), ("none", "several"));
        assert_eq!((PlanName::Ids.word(), PlanName::Time.word()), ("ids", "time"));
        assert_eq!(PlanName::Several as usize, PLANS.len() - 1);
    }
}
