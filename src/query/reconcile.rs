//! Reconciliations (NIP-77): one client's session over the events that match its filter.
//!
//! A filter that asks for everything, or for everything of a time, is answered from the store's
//! own sums, message by message on the newest snapshot; only what the sums set aside is looked up,
//! once. For any other filter the ids are collected once and kept. In neither case is anything of
//! the store held between slices (I6).

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::cursor::{Budget, Cursor, QueryLimits, Step};
use super::walk::{STEPS_PER_RANGE, STEPS_PER_RECORD};
use crate::nostr::{EventRef, Filter};
use crate::reconcile::{
    Differences, Failure, Item, Items, Malformed, SortedItems, Sum, begin, go_on, respond,
};
use crate::seq::Seq;
use crate::store::{Extra, Range, Snapshot, StoreError, TimeTree, TreeError};

/// How much a reconciliation may hold and say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconcileLimits {
    /// How many events it may be about, as far as they have to be kept in memory.
    pub items_max: u64,
    /// How many bytes one answer may have, at least 4,096.
    pub answer_bytes_max: usize,
}

/// A reconciliation between its slices. It holds no transaction and can move between threads.
#[derive(Debug)]
pub struct Reconciliation {
    limits: ReconcileLimits,
    state: State,
    /// Snapshots in a row that were of no use.
    moved: u32,
}

#[derive(Debug)]
enum State {
    /// Looking for what has to be kept.
    Collecting(Box<Collecting>),
    /// All events are known.
    Known(SortedItems),
    /// The store knows them.
    Stored(Window, Extra),
}

/// What a slice has brought: a message to the other side, in the end.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress<M> {
    /// There is more to do before the message is answered.
    More,
    /// Nothing: the snapshot was taken while a merge ended, perhaps in another process. The store
    /// is to be refreshed.
    Moved,
    /// The answer.
    Answer(M),
    /// The message is none.
    Malformed(Malformed),
    /// There are more events than may be kept.
    TooMany,
}

impl Reconciliation {
    /// Returns a reconciliation about the events up to `seq_max` that match a filter.
    ///
    /// `aside` finds those kinds that the store's sums set aside, as far as the reader may see
    /// them; nothing if the sums hold events that the reader may not see, so that they are of no
    /// use.
    pub fn new(
        filter: Filter,
        aside: Option<Arc<[Filter]>>,
        limits: ReconcileLimits,
        seq_max: Seq,
    ) -> Reconciliation {
        let window = Window::of(&filter);
        let (scope, filters) = match (window, aside) {
            (Some(window), Some(aside)) => (Scope::Window(window), aside),
            _ => (Scope::Matching, [filter].into()),
        };
        let most = limits.items_max.saturating_add(1);
        let most = QueryLimits { default_limit: most, max_limit: most };
        let collecting = Collecting {
            scope,
            cursor: Cursor::new(filters, most, seq_max),
            expiring_until: Some(u64::MAX),
            items: Vec::new(),
        };
        Reconciliation { limits, state: State::Collecting(Box::new(collecting)), moved: 0 }
    }

    /// Returns how many events are kept in memory.
    pub fn kept(&self) -> usize {
        match &self.state {
            State::Collecting(collecting) => collecting.items.len(),
            State::Known(items) => items.as_slice().len(),
            State::Stored(_, extra) => extra.len(),
        }
    }

    /// Returns whether answering any message of usual size takes a moment only.
    pub fn is_quick(&self) -> bool {
        matches!(self.state, State::Known(_))
    }

    /// Does the next slice of answering `message`.
    ///
    /// `is_visible` says whether an event may be given out at all.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn step(
        &mut self,
        snapshot: &Snapshot<'_>,
        message: &[u8],
        budget: Budget,
        now: u64,
        is_visible: &dyn Fn(&EventRef<'_>) -> bool,
    ) -> Result<Progress<Vec<u8>>, StoreError> {
        if let Some(stop) = self.collect(snapshot, budget, now, is_visible)? {
            return Ok(stop.into());
        }
        let bytes_max = self.limits.answer_bytes_max;
        let answered = match &mut self.state {
            State::Collecting(_) => return Ok(Progress::More),
            State::Known(items) => without_store(respond(items, message, bytes_max)),
            State::Stored(window, extra) => windowed(snapshot, extra, *window)
                .and_then(|mut items| respond(&mut items, message, bytes_max)),
        };
        self.progress(answered)
    }

    /// Does the next slice of asking another side: of the first message without an answer, else of
    /// the one that follows an answer. There is none when all is known.
    ///
    /// What the answer tells is added to `differences`.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn ask(
        &mut self,
        snapshot: &Snapshot<'_>,
        answer: Option<&[u8]>,
        budget: Budget,
        now: u64,
        is_visible: &dyn Fn(&EventRef<'_>) -> bool,
        differences: &mut Differences,
    ) -> Result<Progress<Option<Vec<u8>>>, StoreError> {
        if let Some(stop) = self.collect(snapshot, budget, now, is_visible)? {
            return Ok(stop.into());
        }
        let bytes_max = self.limits.answer_bytes_max;
        // What is read of a snapshot that is of no use does not count.
        let mut found = Differences::default();
        let asked = match &mut self.state {
            State::Collecting(_) => return Ok(Progress::More),
            State::Known(items) => without_store(say(items, answer, bytes_max, &mut found)),
            State::Stored(window, extra) => windowed(snapshot, extra, *window)
                .and_then(|mut items| say(&mut items, answer, bytes_max, &mut found)),
        };
        if asked.is_ok() {
            differences.have.append(&mut found.have);
            differences.need.append(&mut found.need);
            differences.listed += found.listed;
        }
        self.progress(asked)
    }

    /// Does a slice of what comes before the first message; nothing if that is done.
    fn collect(
        &mut self,
        snapshot: &Snapshot<'_>,
        budget: Budget,
        now: u64,
        is_visible: &dyn Fn(&EventRef<'_>) -> bool,
    ) -> Result<Option<Stop>, StoreError> {
        let State::Collecting(collecting) = &mut self.state else { return Ok(None) };
        let collected = collecting.step(snapshot, budget, now, is_visible)?;
        if collecting.items.len() as u64 > self.limits.items_max {
            return Ok(Some(Stop::TooMany));
        }
        match collected {
            Step::More => return Ok(Some(Stop::More)),
            Step::Done => self.state = collecting.finish(),
        }
        Ok((!self.is_quick()).then_some(Stop::More))
    }

    fn progress<M>(
        &mut self,
        done: Result<M, Failure<TreeError>>,
    ) -> Result<Progress<M>, StoreError> {
        self.moved += 1;
        match done {
            Ok(message) => {
                self.moved = 0;
                Ok(Progress::Answer(message))
            }
            Err(Failure::Malformed(malformed)) => Ok(Progress::Malformed(malformed)),
            Err(Failure::Items(TreeError::Store(error))) => Err(error),
            Err(Failure::Items(TreeError::Moved)) if self.moved < MOVED_MAX => Ok(Progress::Moved),
            Err(Failure::Items(TreeError::Moved)) => Err(StoreError::Damaged {
                what: "the fingerprints, which differ from the events".to_owned(),
            }),
        }
    }
}

/// Why a slice ends before there is a message.
enum Stop {
    More,
    TooMany,
}

impl<M> From<Stop> for Progress<M> {
    fn from(stop: Stop) -> Progress<M> {
        match stop {
            Stop::More => Progress::More,
            Stop::TooMany => Progress::TooMany,
        }
    }
}

/// Says the first message, or goes on from an answer.
fn say<I: Items>(
    items: &mut I,
    answer: Option<&[u8]>,
    bytes_max: usize,
    differences: &mut Differences,
) -> Result<Option<Vec<u8>>, Failure<I::Error>> {
    match answer {
        None => begin(items).map(Some).map_err(Failure::Items),
        Some(answer) => go_on(items, answer, bytes_max, differences),
    }
}

fn without_store<M>(done: Result<M, Failure<Infallible>>) -> Result<M, Failure<TreeError>> {
    done.map_err(|failure| match failure {
        Failure::Malformed(malformed) => Failure::Malformed(malformed),
        Failure::Items(never) => match never {},
    })
}

fn windowed<'s>(
    snapshot: &'s Snapshot<'_>,
    extra: &'s Extra,
    window: Window,
) -> Result<Windowed<TimeTree<'s>>, Failure<TreeError>> {
    TimeTree::new(snapshot, extra)
        .and_then(|tree| Windowed::new(tree, window))
        .map_err(Failure::Items)
}

/// Merges end every few seconds at most; so many refreshed snapshots in a row never fall on one.
const MOVED_MAX: u32 = 50;

/// A stretch of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    since: u64,
    until: u64,
}

impl Window {
    /// Returns the time that a filter asks for, if it asks for nothing else.
    fn of(filter: &Filter) -> Option<Window> {
        let Filter { ids: None, authors: None, kinds: None, limit: None, search: None, .. } =
            filter
        else {
            return None;
        };
        let window =
            Window { since: filter.since.unwrap_or(0), until: filter.until.unwrap_or(u64::MAX) };
        (filter.tags.is_empty() && !filter.matches_nothing()).then_some(window)
    }

    fn has(&self, time: u64) -> bool {
        (self.since..=self.until).contains(&time)
    }
}

/// What becomes of what is collected.
#[derive(Debug)]
enum Scope {
    /// It is all.
    Matching,
    /// It is what the store's sums set aside.
    Window(Window),
}

/// The search for what has to be kept.
#[derive(Debug)]
struct Collecting {
    scope: Scope,
    cursor: Cursor,
    /// Up to when expiring events are still to be looked for; nothing once they are found.
    expiring_until: Option<u64>,
    items: Vec<Item>,
}

impl Collecting {
    fn step(
        &mut self,
        snapshot: &Snapshot<'_>,
        budget: Budget,
        now: u64,
        is_visible: &dyn Fn(&EventRef<'_>) -> bool,
    ) -> Result<Step, StoreError> {
        let mut steps = budget.steps;
        if let Scope::Window(window) = &self.scope
            && let Some(until) = self.expiring_until
        {
            let is_wanted =
                |event: &EventRef<'_>| window.has(event.created_at) && is_visible(event);
            let items = &mut self.items;
            self.expiring_until = expiring(snapshot, now, until, &mut steps, is_wanted, items)?;
            if self.expiring_until.is_some() || steps == 0 {
                return Ok(Step::More);
            }
        }
        let (items, mut left) = (&mut self.items, GIVEN_MAX);
        self.cursor.step(snapshot, Budget { steps }, is_visible, &mut |event| {
            items.push(item_of(event));
            left -= 1;
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    }

    fn finish(&mut self) -> State {
        let mut items = std::mem::take(&mut self.items);
        match self.scope {
            Scope::Matching => State::Known(SortedItems::new(items)),
            Scope::Window(window) => {
                // An event of a kind that is set aside may expire, too.
                items.sort_unstable();
                items.dedup();
                State::Stored(window, Extra::new(&items))
            }
        }
    }
}

/// Events taken over in one slice: reading them again takes some milliseconds.
const GIVEN_MAX: usize = 10_000;

/// Adds wanted events that expire between `now` and `until`; returns up to where it has come if it
/// ran out of steps.
fn expiring(
    snapshot: &Snapshot<'_>,
    now: u64,
    until: u64,
    steps: &mut u64,
    is_wanted: impl Fn(&EventRef<'_>) -> bool,
    items: &mut Vec<Item>,
) -> Result<Option<u64>, StoreError> {
    let view = snapshot.view();
    let mut scan = view.scan(Range::expiry(now, until))?;
    *steps = steps.saturating_sub(STEPS_PER_RANGE);
    let mut second = None;
    while let Some(found) = scan.next()? {
        if *steps == 0 && second.is_some_and(|second| second != found.time()) {
            return Ok(Some(found.time()));
        }
        second = Some(found.time());
        *steps = steps.saturating_sub(STEPS_PER_RECORD);
        if let Some(event) = view.by_seq(found.seq())?
            && is_wanted(&event)
        {
            items.push(item_of(&event));
        }
    }
    Ok(None)
}

fn item_of(event: &EventRef<'_>) -> Item {
    Item { timestamp: event.created_at, id: event.id.0 }
}

/// The part of an ordered set that lies in a stretch of time.
struct Windowed<I> {
    items: I,
    begin: usize,
    end: usize,
}

impl<I: Items> Windowed<I> {
    fn new(mut items: I, window: Window) -> Result<Windowed<I>, I::Error> {
        let begin = items.lower_bound(&Item::at(window.since))?;
        let end = match window.until.checked_add(1) {
            Some(after) => items.lower_bound(&Item::at(after))?,
            None => items.count()?,
        };
        Ok(Windowed { items, begin, end })
    }
}

impl<I: Items> Items for Windowed<I> {
    type Error = I::Error;

    fn count(&mut self) -> Result<usize, I::Error> {
        Ok(self.end - self.begin)
    }

    fn item(&mut self, index: usize) -> Result<Item, I::Error> {
        self.items.item(self.begin + index)
    }

    fn visit(
        &mut self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(&[Item]),
    ) -> Result<(), I::Error> {
        self.items.visit(self.begin + begin, self.begin + end, each)
    }

    fn lower_bound(&mut self, bound: &Item) -> Result<usize, I::Error> {
        let rank = self.items.lower_bound(bound)?;
        Ok(rank.clamp(self.begin, self.end) - self.begin)
    }

    fn sum(&mut self, begin: usize, end: usize) -> Result<Sum, I::Error> {
        self.items.sum(self.begin + begin, self.begin + end)
    }
}
