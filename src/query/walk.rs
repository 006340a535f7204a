//! Walking: one plan of one filter, from a time downwards, for a bounded number of steps.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::plan::Plan;
use crate::nostr::{EventRef, Filter, PublicKey};
use crate::seq::Seq;
use crate::store::{Found, Scan, StoreError, View};

/// The place of an event in a result: newest first, then lowest id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) created_at: u64,
    /// The first bytes of the id; they order events of the same second.
    pub(super) id_head: u64,
    pub(super) seq: Seq,
}

impl Ord for Hit {
    fn cmp(&self, other: &Hit) -> Ordering {
        let newest_first = other.created_at.cmp(&self.created_at);
        newest_first.then(self.id_head.cmp(&other.id_head)).then(self.seq.cmp(&other.seq))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Hit) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A hit and its record, as long as the view lives.
pub(super) type Match<'t> = (Hit, EventRef<'t>);

/// What a walk is to find.
#[derive(Clone, Copy)]
pub(super) struct Task<'q> {
    pub(super) filter: &'q Filter,
    /// Events after this one are not part of the result.
    pub(super) seq_max: Seq,
    /// How many hits are enough.
    pub(super) want: usize,
    /// Whether an event may be given out.
    pub(super) is_visible: &'q dyn Fn(&EventRef<'_>) -> bool,
    /// Kinds of which no event may be given out.
    pub(super) hidden_kinds: &'q [u16],
}

/// What there is beyond the hits that were wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing: the hits are all there are.
    Nothing,
    /// At least this event.
    Something(Seq),
    /// Nobody has looked far enough to tell.
    Unknown,
}

/// Counts what a walk touched; the unit of budgets is the cost of one index entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) ranges: u64,
    pub(super) entries: u64,
    pub(super) records: u64,
}

impl Cost {
    pub(super) fn steps(&self) -> u64 {
        self.ranges * STEPS_PER_RANGE + self.entries + self.records * STEPS_PER_RECORD
    }

    pub(super) fn add(&mut self, other: Cost) {
        self.ranges += other.ranges;
        self.entries += other.entries;
        self.records += other.records;
    }
}

/// Opening a range costs about as much as this many further entries.
pub(super) const STEPS_PER_RANGE: u64 = 40;
/// Reading a record costs about as much as this many entries.
pub(super) const STEPS_PER_RECORD: u64 = 30;

/// Where a walk stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// All hits are found, or as many as wanted.
    Done(Rest),
    /// Out of budget: every event newer than this time was looked at.
    Below(u64),
}

/// Walks a plan downwards from `until`; appends hits in result order.
///
/// `already` hits were found by earlier walks of the same plan.
pub(super) fn walk<'t>(
    view: &View<'t>,
    plan: &Plan,
    task: &Task<'_>,
    until: u64,
    already: usize,
    steps_max: u64,
    out: &mut Vec<Match<'t>>,
) -> Result<(Stop, Cost), StoreError> {
    let mut walk = Walk {
        view: *view,
        task: *task,
        check: EntryCheck::new(plan, task.filter),
        cost: Cost::default(),
        group: Vec::new(),
        beyond: None,
        has_withheld: false,
        want: task.want.saturating_sub(already),
        out,
    };
    if *plan == Plan::Ids {
        walk.look_up_ids()?;
        return Ok((walk.done(Rest::Nothing), walk.cost));
    }
    let since = task.filter.since.unwrap_or(0);
    let until = until.min(task.filter.until.unwrap_or(u64::MAX));
    let ranges = plan.ranges(view, task.filter, since, until)?;
    walk.cost.ranges = ranges.len() as u64;
    let mut scans = Vec::with_capacity(ranges.len());
    let mut heap = BinaryHeap::with_capacity(ranges.len());
    for range in ranges {
        let mut scan = view.scan(range)?;
        if let Some(found) = scan.next()? {
            heap.push(Head::new(found, scans.len()));
            scans.push(scan);
        }
    }
    // A walk that only opens its ranges gets nowhere: it may at least read twice that much.
    let steps_max = steps_max.max(3 * walk.cost.steps());
    let stop = walk.merge(&mut scans, heap, steps_max)?;
    Ok((stop, walk.cost))
}

/// The next entry of one scan; the heap gives the newest.
struct Head {
    time: u64,
    found: Found,
    scan: usize,
}

impl Head {
    fn new(found: Found, scan: usize) -> Head {
        Head { time: found.time(), found, scan }
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        let by_time = self.time.cmp(&other.time);
        by_time.then_with(|| self.found.seq().cmp(&other.found.seq()))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

struct Walk<'w, 't, 'q> {
    view: View<'t>,
    task: Task<'q>,
    check: EntryCheck,
    cost: Cost,
    /// Matches of the second that is being read.
    group: Vec<Match<'t>>,
    /// A match that is not among the hits, because they are enough without it.
    beyond: Option<Seq>,
    /// A matching event was of a hidden kind. One is looked at, so that whoever decides about
    /// visibility knows; the others are stepped over.
    has_withheld: bool,
    want: usize,
    out: &'w mut Vec<Match<'t>>,
}

impl<'t> Walk<'_, 't, '_> {
    /// Merges the scans, newest first, second by second.
    fn merge(
        &mut self,
        scans: &mut [Scan<'t>],
        mut heap: BinaryHeap<Head>,
        steps_max: u64,
    ) -> Result<Stop, StoreError> {
        if self.want == 0 {
            return Ok(Stop::Done(Rest::Unknown));
        }
        let mut second = None;
        let mut last = None;
        let mut ahead = None;
        while let Some(mut top) = heap.peek_mut() {
            let (found, time) = (top.found, top.time);
            match scans[top.scan].next()? {
                Some(next) => {
                    *top = Head::new(next, top.scan);
                    drop(top);
                }
                None => drop(std::collections::binary_heap::PeekMut::pop(top)),
            }
            if second != Some(time) {
                self.flush();
                if self.want == 0 && ahead.is_none() {
                    ahead = Some(self.cost.steps() + AHEAD_STEPS_MAX);
                }
                if ahead.is_none() && second.is_some() && self.cost.steps() >= steps_max {
                    return Ok(Stop::Below(time));
                }
                second = Some(time);
            }
            if let Some(steps_max) = ahead
                && (self.beyond.is_some() || self.cost.steps() >= steps_max)
            {
                return Ok(self.done(Rest::Unknown));
            }
            self.cost.entries += 1;
            // Two ranges may name the same event: its entries are neighbours in time and seq.
            let is_candidate = last != Some(found.seq()) && self.check.accepts(&found);
            if is_candidate && !self.steps_over(&found) {
                last = Some(found.seq());
                self.take(found.seq())?;
            }
        }
        self.flush();
        Ok(self.done(Rest::Nothing))
    }

    /// Returns the end of a walk on which nothing was found beyond the hits, or something was.
    fn done(&self, otherwise: Rest) -> Stop {
        Stop::Done(self.beyond.map_or(otherwise, Rest::Something))
    }

    /// Returns whether an entry is of a kind that is hidden, and this is already known to matter.
    fn steps_over(&self, found: &Found) -> bool {
        self.has_withheld && found.kind().is_some_and(|kind| self.task.hidden_kinds.contains(&kind))
    }

    /// Reads a record and keeps it if it matches.
    fn take(&mut self, seq: Seq) -> Result<(), StoreError> {
        if seq > self.task.seq_max {
            return Ok(());
        }
        self.cost.records += 1;
        if let Some(event) = self.view.by_seq(seq)? {
            self.keep(seq, event);
        }
        Ok(())
    }

    /// Keeps an event if it matches and may be seen.
    fn keep(&mut self, seq: Seq, event: EventRef<'t>) {
        if self.task.filter.matches(&event) {
            if !(self.task.is_visible)(&event) {
                self.has_withheld |= self.task.hidden_kinds.contains(&event.kind.0);
                return;
            }
            if self.want == 0 {
                self.beyond = Some(seq);
                return;
            }
            let id_head = event.id.0.first_chunk().expect("an id has 32 bytes");
            let id_head = u64::from_be_bytes(*id_head);
            let hit = Hit { created_at: event.created_at, id_head, seq };
            self.group.push((hit, event));
            if self.group.len() / 2 > self.want.max(GROUP_MIN) {
                // Many events of one second: keep the best of them.
                self.cut();
            }
        }
    }

    /// Sorts the events of a second and drops those that are too many.
    fn cut(&mut self) {
        self.group.sort_unstable_by_key(|(hit, _)| *hit);
        if let Some((hit, _)) = self.group.get(self.want) {
            self.beyond = Some(hit.seq);
            self.group.truncate(self.want);
        }
    }

    /// Puts the finished second into the result.
    fn flush(&mut self) {
        if self.group.len() > 1 {
            self.cut();
        }
        self.want -= self.group.len().min(self.want);
        self.out.append(&mut self.group);
    }

    fn look_up_ids(&mut self) -> Result<(), StoreError> {
        let filter = self.task.filter;
        for id in filter.ids.iter().flatten() {
            self.cost.ranges += 1;
            if let Some((seq, event)) = self.view.by_id(id)?
                && seq <= self.task.seq_max
            {
                self.cost.records += 1;
                self.keep(seq, event);
            }
        }
        self.flush();
        Ok(())
    }
}

/// How far a walk that has its hits looks for one more, only to tell whether there is one: a few
/// records. Mostly the next entry or the end of the range tells.
const AHEAD_STEPS_MAX: u64 = 8 * STEPS_PER_RECORD;

/// Seconds with fewer events than this are not trimmed while they are read.
const GROUP_MIN: usize = 64;

/// What an entry alone says about a match: it spares most reads of records.
struct EntryCheck {
    kinds: Option<Box<[u16]>>,
    authors: Option<AuthorCheck>,
}

impl EntryCheck {
    fn new(plan: &Plan, filter: &Filter) -> EntryCheck {
        let by_payload = matches!(plan, Plan::Kinds | Plan::Time);
        EntryCheck {
            kinds: filter.kinds.clone().filter(|_| *plan == Plan::Time),
            authors: filter.authors.as_deref().filter(|_| by_payload).map(AuthorCheck::new),
        }
    }

    fn accepts(&self, found: &Found) -> bool {
        let kind_fits = match (&self.kinds, found.kind()) {
            (Some(kinds), Some(kind)) => kinds.binary_search(&kind).is_ok(),
            _ => true,
        };
        kind_fits
            && match (&self.authors, found.author4()) {
                (Some(authors), Some(author)) => authors.may_be(author),
                _ => true,
            }
    }
}

/// Whether an author may be one of a list, judged by the first four bytes.
struct AuthorCheck {
    /// One bit for each pair of first bytes: most authors are not in the list, and go here.
    first_two: Box<[u64; 1024]>,
    /// First bytes of the authors, sorted.
    first_four: Vec<[u8; 4]>,
}

impl AuthorCheck {
    fn new(authors: &[PublicKey]) -> AuthorCheck {
        let mut first_two = Box::new([0; 1024]);
        let mut first_four = Vec::with_capacity(authors.len());
        // The authors are sorted, so their first bytes are.
        for author in authors {
            let four = *author.0.first_chunk().expect("a key has 32 bytes");
            let (word, bit) = AuthorCheck::place(four);
            first_two[word] |= 1 << bit;
            first_four.push(four);
        }
        AuthorCheck { first_two, first_four }
    }

    fn may_be(&self, author: [u8; 4]) -> bool {
        let (word, bit) = AuthorCheck::place(author);
        self.first_two[word] >> bit & 1 == 1 && self.first_four.binary_search(&author).is_ok()
    }

    fn place([a, b, ..]: [u8; 4]) -> (usize, u32) {
        let pair = u16::from_be_bytes([a, b]);
        (usize::from(pair >> 6), u32::from(pair & 63))
    }
}
