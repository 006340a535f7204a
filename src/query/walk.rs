//! Walking: one plan of one filter, from a time downwards, for a bounded number of steps.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use super::plan::Plan;
use crate::nostr::{EventRef, Filter, PublicKey, delegation};
use crate::seq::Seq;
use crate::store::{Found, Located, Range, Scan, StoreError, View};

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
type Match<'t> = (Hit, EventRef<'t>);

/// Where hits go: each with its record, which is at hand as long as the view lives.
pub(super) struct Out<'w, 't> {
    pub(super) hits: &'w mut Vec<Hit>,
    /// The records of the last of them.
    pub(super) records: &'w mut Vec<Option<EventRef<'t>>>,
}

impl<'t> Out<'_, 't> {
    fn push(&mut self, (hit, event): Match<'t>) {
        self.hits.push(hit);
        self.records.push(Some(event));
    }
}

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
pub(super) const STEPS_PER_RECORD: u64 = 20;

/// Where a walk stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// All hits are found, or as many as wanted.
    Done(Rest),
    /// Out of budget: every event newer than this time was looked at.
    Below(u64),
}

/// Walks a plan downwards from `until`; appends hits in result order to those that were found by
/// earlier walks of the same plan.
pub(super) fn walk<'t>(
    view: &View<'t>,
    plan: &Plan,
    task: &Task<'_>,
    until: u64,
    steps_max: u64,
    out: Out<'_, 't>,
) -> Result<(Stop, Cost), StoreError> {
    let mut walk = Walk {
        view: *view,
        task: *task,
        authors: AuthorCheck::of(plan, task.filter),
        cost: Cost::default(),
        group: Vec::new(),
        beyond: None,
        has_withheld: false,
        is_by_author: *plan == Plan::Authors,
        want: task.want.saturating_sub(out.hits.len()),
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
    let mut heads = BinaryHeap::with_capacity(ranges.len());
    let mut opened = Vec::with_capacity(OPENED_AT_ONCE.min(ranges.len()));
    for ranges in ranges.chunks(OPENED_AT_ONCE) {
        for range in ranges {
            opened.push(view.open(*range)?);
        }
        for opened in opened.drain(..) {
            let mut scan = opened.scan()?;
            if let Some(found) = scan.next()? {
                view.approach(found.seq());
                heads.push(Head::new(found, scans.len()));
                scans.push(scan);
            }
        }
    }
    // A walk that only opens its ranges gets nowhere: it may at least read twice that much.
    let steps_max = steps_max.max(3 * walk.cost.steps());
    let stop = walk.merge(Lane::new(scans, heads, steps_max))?;
    Ok((stop, walk.cost))
}

/// The next entry of one scan; of several, the newest comes first.
#[derive(Clone, Copy)]
struct Head {
    moment: u64,
    found: Found,
    scan: usize,
}

impl Head {
    fn new(found: Found, scan: usize) -> Head {
        Head { moment: found.moment(), found, scan }
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        let by_moment = self.moment.cmp(&other.moment);
        by_moment.then_with(|| self.found.seq().cmp(&other.found.seq()))
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

/// The scans of a walk, and the candidates that are next: those whose records will be read.
///
/// They are known some steps before they are read, so that the processor has their records at hand
/// by then.
struct Lane<'t> {
    scans: Vec<Scan<'t>>,
    /// The newest entry of all scans. It lies beside the others, as the next one is often of the
    /// same scan.
    top: Option<Head>,
    others: BinaryHeap<Head>,
    queue: VecDeque<Found>,
    /// How many of the queue are on their way into the processor's cache.
    expected: usize,
    /// The candidate that was found last, and the second of the last entry.
    last: Option<Seq>,
    second: Option<u64>,
    steps_max: u64,
    /// All hits are found; what is looked for is one more. Then the steps may end anywhere.
    is_ahead: bool,
    /// The second at which the steps were used up.
    stopped: Option<u64>,
}

impl<'t> Lane<'t> {
    fn new(scans: Vec<Scan<'t>>, mut heads: BinaryHeap<Head>, steps_max: u64) -> Lane<'t> {
        Lane {
            scans,
            top: heads.pop(),
            others: heads,
            queue: VecDeque::with_capacity(QUEUE_MAX),
            expected: 0,
            last: None,
            second: None,
            steps_max,
            is_ahead: false,
            stopped: None,
        }
    }

    /// Allows some more steps, wherever the lane stands.
    fn look_ahead(&mut self, steps_max: u64) {
        self.is_ahead = true;
        self.steps_max = steps_max;
        self.stopped = None;
    }

    /// Steps over entries until one may match; returns nothing at the end, or out of steps.
    fn candidate(&mut self, walk: &mut Walk<'_, 't, '_>) -> Result<Option<Found>, StoreError> {
        while let Some(Head { found, scan: place, .. }) = self.top {
            let time = found.time();
            if self.second != Some(time) || self.is_ahead {
                let may_stop = self.second.is_some() || self.is_ahead;
                if may_stop && walk.cost.steps() >= self.steps_max {
                    self.stopped = Some(time);
                    return Ok(None);
                }
                self.second = Some(time);
            }
            let scan = &mut self.scans[place];
            if let Some(authors) = &walk.authors {
                let skipped = scan.skip_authors(SKIPPED_MAX, |author| !authors.may_be(author))?;
                walk.cost.entries += (skipped / SKIPPED_PER_STEP) as u64;
            }
            let next = scan.next()?.map(|next| Head::new(next, place));
            self.put(next);
            walk.cost.entries += 1;
            // Two ranges may name the same event: its entries are neighbours in moment and seq.
            let is_candidate = self.last != Some(found.seq()) && walk.is_candidate(&found);
            if is_candidate && !walk.steps_over(&found) {
                self.last = Some(found.seq());
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Puts what follows the newest entry in its scan among the others.
    #[inline]
    fn put(&mut self, next: Option<Head>) {
        let Some(next) = next else {
            self.top = self.others.pop();
            return;
        };
        self.top = Some(match self.others.peek_mut() {
            Some(mut other) if *other > next => std::mem::replace(&mut *other, next),
            _ => next,
        });
    }

    /// Returns the next candidate, and looks for those that follow.
    fn next(&mut self, walk: &mut Walk<'_, 't, '_>) -> Result<Option<Found>, StoreError> {
        // Whoever wants few reads few; where few entries are candidates, none is looked for.
        let queue_max = QUEUE_MAX.min(walk.want.saturating_add(1));
        let entries_max = walk.cost.entries + ENTRIES_AHEAD_MAX;
        while self.queue.is_empty()
            || self.queue.len() < queue_max && walk.cost.entries < entries_max
        {
            let Some(found) = self.candidate(walk)? else { break };
            walk.view.approach(found.seq());
            self.queue.push_back(found);
        }
        while let Some(found) = self.queue.get(self.expected)
            && self.expected < EXPECTED_MAX
        {
            walk.view.expect(found.seq());
            self.expected += 1;
        }
        let first = self.queue.pop_front();
        self.expected = self.expected.saturating_sub(1);
        Ok(first)
    }
}

/// Candidates that are known before they are read: enough to wait for memory once instead of each
/// time.
const QUEUE_MAX: usize = 16;
/// Of these, how many are being fetched at a time.
const EXPECTED_MAX: usize = 8;
/// Entries of others' events that are stepped over at a time, and how many of them cost as much as
/// one that is looked at.
const SKIPPED_MAX: usize = 256;
const SKIPPED_PER_STEP: usize = 4;
/// Entries that are stepped over for the sake of that.
const ENTRIES_AHEAD_MAX: u64 = 32;

struct Walk<'w, 't, 'q> {
    view: View<'t>,
    task: Task<'q>,
    authors: Option<AuthorCheck>,
    cost: Cost,
    /// Matches of the moment that is being read.
    group: Vec<Match<'t>>,
    /// A match that is not among the hits, because they are enough without it.
    beyond: Option<Seq>,
    /// A matching event was of a hidden kind. One is looked at, so that whoever decides about
    /// visibility knows; the others are stepped over.
    has_withheld: bool,
    /// What is read stands under its author, or under whom its author speaks for.
    is_by_author: bool,
    want: usize,
    out: Out<'w, 't>,
}

impl<'t> Walk<'_, 't, '_> {
    /// Merges the scans, newest first, moment by moment.
    fn merge(&mut self, mut lane: Lane<'t>) -> Result<Stop, StoreError> {
        if self.want == 0 {
            return Ok(Stop::Done(Rest::Unknown));
        }
        let mut moment = None;
        loop {
            let Some(found) = lane.next(self)? else {
                self.flush();
                match lane.stopped {
                    None => return Ok(self.done(Rest::Nothing)),
                    Some(time) if self.want > 0 => return Ok(Stop::Below(time)),
                    Some(_) if lane.is_ahead => return Ok(self.done(Rest::Unknown)),
                    Some(_) => lane.look_ahead(self.cost.steps() + AHEAD_STEPS_MAX),
                }
                continue;
            };
            if moment != Some(found.moment()) {
                moment = Some(found.moment());
                self.flush();
                if self.want == 0 && !lane.is_ahead {
                    lane.look_ahead(self.cost.steps() + AHEAD_STEPS_MAX);
                }
            }
            if self.want == 0 && self.beyond.is_some() {
                return Ok(self.done(Rest::Unknown));
            }
            // What was read meanwhile may have told more than was known when it was queued.
            if !self.steps_over(&found) {
                self.take(found.seq())?;
            }
        }
    }

    /// Returns the end of a walk on which nothing was found beyond the hits, or something was.
    fn done(&self, otherwise: Rest) -> Stop {
        Stop::Done(self.beyond.map_or(otherwise, Rest::Something))
    }

    /// Returns whether the event of an entry may match, as far as the entry tells.
    fn is_candidate(&self, found: &Found) -> bool {
        match (&self.authors, found.author4()) {
            (Some(authors), Some(author)) => authors.may_be(author),
            _ => true,
        }
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
        // A scan gives no dead ones.
        if let Some(event) = self.view.record(seq)? {
            self.keep(seq, event);
        }
        Ok(())
    }

    /// Keeps an event if it matches and may be seen.
    fn keep(&mut self, seq: Seq, event: EventRef<'t>) {
        let filter = self.task.filter;
        // What stands under a delegator was proven when it was entered there (NIP-26).
        let is_match = match self.is_by_author {
            true => filter.matches_as(&event, delegation::claimed),
            false => filter.matches(&event),
        };
        if is_match {
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
                // Many events of one moment: keep the best of them.
                self.cut();
            }
        }
    }

    /// Sorts the events of a moment and drops those that are too many.
    fn cut(&mut self) {
        self.group.sort_unstable_by_key(|(hit, _)| *hit);
        if let Some((hit, _)) = self.group.get(self.want) {
            self.beyond = Some(hit.seq);
            self.group.truncate(self.want);
        }
    }

    /// Puts the finished moment into the result.
    fn flush(&mut self) {
        if self.group.len() > 1 {
            self.cut();
        }
        self.want -= self.group.len().min(self.want);
        self.group.drain(..).for_each(|found| self.out.push(found));
    }

    fn look_up_ids(&mut self) -> Result<(), StoreError> {
        let filter = self.task.filter;
        let ids = filter.ids.as_deref().unwrap_or_default();
        let mut opened = Vec::with_capacity(OPENED_AT_ONCE.min(ids.len()));
        let mut located = Vec::with_capacity(OPENED_AT_ONCE.min(ids.len()));
        for ids in ids.chunks(OPENED_AT_ONCE) {
            // First where they are, then what they are: so the processor can fetch the records.
            for id in ids {
                self.cost.ranges += 1;
                opened.push((id, self.view.open(Range::id(id))?));
            }
            for (id, opened) in opened.drain(..) {
                let found = opened.locate()?;
                if let Located::One(found) = &found {
                    self.view.expect(found.seq());
                }
                located.push((id, found));
            }
            for (id, found) in located.drain(..) {
                if let Some((seq, event)) = self.view.by_id_at(id, &found)?
                    && seq <= self.task.seq_max
                {
                    self.cost.records += 1;
                    self.keep(seq, event);
                }
            }
        }
        self.flush();
        Ok(())
    }
}

/// Ranges that are opened before the first of them is read.
const OPENED_AT_ONCE: usize = 16;

/// How far a walk that has its hits looks for one more, only to tell whether there is one: a few
/// records. Mostly the next entry or the end of the range tells.
const AHEAD_STEPS_MAX: u64 = 8 * STEPS_PER_RECORD;

/// Moments with fewer events than this are not trimmed while they are read.
const GROUP_MIN: usize = 64;

/// Whether an author may be one of a list, judged by the first four bytes: so entries alone spare
/// most reads of records.
struct AuthorCheck {
    /// One bit for each pair of first bytes: most authors are not in the list, and go here.
    first_two: Box<[u64; 1024]>,
    /// First bytes of the authors, sorted.
    first_four: Vec<[u8; 4]>,
}

impl AuthorCheck {
    /// Returns the check for a plan whose entries tell of authors, if the filter is about them.
    fn of(plan: &Plan, filter: &Filter) -> Option<AuthorCheck> {
        let is_told = matches!(plan, Plan::Kinds | Plan::Time) && !filter.by_delegation;
        filter.authors.as_deref().filter(|_| is_told).map(AuthorCheck::new)
    }

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
