//! The race: candidate plans advance in turns of growing budget; the first to finish wins.
//!
//! All plans of a filter find the same hits in the same order, so whoever has filled the limit or
//! reached the end has the whole answer. Budgets grow fourfold from turn to turn, and each plan has
//! a quarter of the budget of the likelier one before it. So the likeliest plan usually pays
//! little for the others, and the worst case is a small multiple of the best plan, whatever the data.

use super::cursor::PlanName;
use super::plan::{Plan, candidates};
use super::walk::{Cost, Hit, Out, Rest, STEPS_PER_RANGE, Stop, Task, walk};
use crate::nostr::{EventRef, Filter};
use crate::store::{StoreError, View};

/// The race for one filter; it can be paused and holds nothing of the store.
#[derive(Debug)]
pub(super) struct Race {
    runners: Vec<Runner>,
    turn_steps: u64,
    /// What is left of the turn of the runner at `next`.
    turn_left: u64,
    next: usize,
    rest: Rest,
}

/// One plan and how far it has come.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) plan: Plan,
    pub(super) cost: Cost,
    pub(super) turns: u32,
    hits: Vec<Hit>,
    until: u64,
}

/// The records that were read in this slice, for each runner the last of its hits.
struct Fresh<'t>(Vec<Vec<Option<EventRef<'t>>>>);

/// Hits in result order.
#[derive(Default)]
pub(super) struct Found<'t> {
    pub(super) hits: Vec<Hit>,
    /// The records of the last of them, as far as they were read in this slice.
    pub(super) records: Vec<Option<EventRef<'t>>>,
}

impl<'t> Found<'t> {
    /// Returns what was found for several filters, each event once; `earlier` is what was found in
    /// earlier slices.
    pub(super) fn joined(parts: Vec<Found<'t>>, earlier: Vec<Hit>) -> Found<'t> {
        let with_records = |Found { hits, records }: Found<'t>| {
            let unread = std::iter::repeat_n(None, hits.len() - records.len());
            hits.into_iter().zip(unread.chain(records))
        };
        let mut all: Vec<_> = parts.into_iter().flat_map(with_records).collect();
        all.extend(earlier.into_iter().map(|hit| (hit, None)));
        all.sort_by_key(|(hit, _)| *hit);
        all.dedup_by_key(|(hit, _)| hit.seq);
        let (hits, records) = all.into_iter().unzip();
        Found { hits, records }
    }
}

/// Steps of the first turn: some tens of microseconds.
const FIRST_TURN_STEPS: u64 = 6_000;
const TURN_GROWTH: u64 = 4;
/// From this place on all plans have the same budget.
const HANDICAPS_MAX: u32 = 3;

impl Race {
    /// Returns a race of all plans that could answer a filter.
    pub(super) fn new(filter: &Filter, view: &View<'_>) -> Race {
        Race::of(candidates(filter, |kind| view.total(kind)))
    }

    /// Returns a race of the given plans.
    pub(super) fn of(plans: Vec<Plan>) -> Race {
        let runner = |plan| Runner {
            plan,
            cost: Cost::default(),
            turns: 0,
            hits: Vec::new(),
            until: u64::MAX,
        };
        let runners = plans.into_iter().map(runner).collect();
        Race { runners, turn_steps: 0, turn_left: 0, next: 0, rest: Rest::Unknown }
    }

    /// Returns the runners, for reports.
    pub(super) fn runners(&self) -> &[Runner] {
        &self.runners
    }

    /// Returns the winner's place after the race.
    pub(super) fn winner(&self) -> usize {
        self.next
    }

    /// Returns the name of the winner's plan, after the race.
    pub(super) fn winning_plan(&self) -> PlanName {
        self.runners.get(self.next).map_or(PlanName::None, |runner| runner.plan.name())
    }

    /// Returns what there is beyond the winner's hits, after the race.
    pub(super) fn rest(&self) -> Rest {
        self.rest
    }

    /// Runs until there is a winner or `steps` are used up; returns the winner's hits.
    pub(super) fn run<'t>(
        &mut self,
        view: &View<'t>,
        task: &Task<'_>,
        steps: &mut u64,
    ) -> Result<Option<Found<'t>>, StoreError> {
        let mut fresh = Fresh(self.runners.iter().map(|_| Vec::new()).collect());
        let is_alone = self.runners.len() == 1;
        if self.turn_steps == 0 {
            // The likeliest plan always has its first turn.
            let ranges = self.runners[0].plan.range_count(task.filter) as u64;
            self.turn_steps = FIRST_TURN_STEPS.max(3 * ranges * STEPS_PER_RANGE);
        }
        loop {
            while self.next < self.runners.len() {
                if is_alone {
                    self.turn_left = *steps;
                } else if self.turn_left == 0 {
                    self.turn_left = self.turn_of(self.next);
                }
                if is_alone || self.may_run(task.filter, self.turn_of(self.next)) {
                    if self.turn(view, task, &mut fresh, steps)? {
                        return Ok(Some(self.finish(fresh)));
                    }
                } else {
                    self.turn_left = 0;
                }
                self.next += usize::from(self.turn_left == 0 && !is_alone);
                if *steps == 0 {
                    return Ok(None);
                }
            }
            self.next = 0;
            self.turn_steps = self.turn_steps.saturating_mul(TURN_GROWTH);
        }
    }

    fn turn_of(&self, place: usize) -> u64 {
        let handicap = u32::try_from(place).unwrap_or(u32::MAX).min(HANDICAPS_MAX);
        self.turn_steps / TURN_GROWTH.pow(handicap)
    }

    /// A plan that needs more than a turn just to open its ranges waits for a longer turn.
    fn may_run(&self, filter: &Filter, turn_steps: u64) -> bool {
        let ranges = self.runners[self.next].plan.range_count(filter) as u64;
        2 * ranges * STEPS_PER_RANGE <= turn_steps
    }

    fn turn<'t>(
        &mut self,
        view: &View<'t>,
        task: &Task<'_>,
        fresh: &mut Fresh<'t>,
        steps: &mut u64,
    ) -> Result<bool, StoreError> {
        let runner = &mut self.runners[self.next];
        let out = Out { hits: &mut runner.hits, records: &mut fresh.0[self.next] };
        // The turn may be longer than the slice: then it goes on in the next one.
        let most = self.turn_left.min(*steps);
        let (stop, cost) = walk(view, &runner.plan, task, runner.until, most, out)?;
        runner.cost.add(cost);
        runner.turns += 1;
        let used = cost.steps().max(1);
        *steps = steps.saturating_sub(used);
        self.turn_left = self.turn_left.saturating_sub(used);
        match stop {
            Stop::Done(rest) => {
                self.rest = rest;
                Ok(true)
            }
            Stop::Below(until) => {
                runner.until = until;
                Ok(false)
            }
        }
    }

    fn finish<'t>(&mut self, mut fresh: Fresh<'t>) -> Found<'t> {
        let hits = std::mem::take(&mut self.runners[self.next].hits);
        Found { hits, records: fresh.0.swap_remove(self.next) }
    }
}
