//! The warden: chores that look through the whole store and may take long, on a thread of their own.
//! It weaves the web of trust, sees to it that domains are asked for names, and finds what the rules of retention say is to go; the writer buries
//! that in small batches. No snapshot is held for longer than one slice (I6).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::core::Relay;
use super::registrar::Registrar;
use super::trust::Weaver;
use crate::ingest::WriterHandle;
use crate::mailbox::{Received, Receiver};
use crate::nostr::{EventRef, Filter, PublicKey};
use crate::policy::groups::MANAGING_KINDS;
use crate::policy::{ANY_PEER, Resident, RetentionRule, SizeLimit, Survey};
use crate::query;
use crate::seq::Seq;
use crate::store::{self, Store, StoreError};
use crate::sys;

/// What is kept for how long.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The rules.
    pub rules: Arc<[RetentionRule]>,
    /// How long after one look at all events the next one begins.
    pub period: Duration,
    /// Tells what came first from a peer.
    pub came_from: CameFrom,
}

/// Tells which events came first from the peer at an address, or from any without one.
pub type CameFrom = fn(&Store, Option<&str>, &mut dyn FnMut(Seq)) -> Result<(), StoreError>;

/// Which events came from the peers that rules name, by the rule's place: a bit for each event up to
/// the last one that did.
struct Sources(Vec<Vec<u64>>);

/// What is known of the looks at all events, and whether another one is wanted.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    is_wanted: AtomicBool,
    is_on: AtomicBool,
    /// The second of the last one; 0 before the first.
    at: AtomicU64,
    removed: AtomicU64,
}

impl Sweeps {
    /// Has all events looked at soon, though it is not time yet.
    pub(super) fn want(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
    }

    /// Returns whether one is under way, or about to be.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed) || self.is_wanted.load(Ordering::Relaxed)
    }

    /// Returns when the last one ended, and how many events it removed.
    pub(super) fn last(&self) -> Option<(u64, u64)> {
        let at = self.at.load(Ordering::Relaxed);
        (at > 0).then(|| (at, self.removed.load(Ordering::Relaxed)))
    }

    fn end(&self, at: u64, removed: u64) {
        self.removed.store(removed, Ordering::Relaxed);
        self.at.store(at, Ordering::Relaxed);
    }
}

/// The warden's thread.
pub(super) struct Warden {
    pub(super) store: Store,
    pub(super) relay: Arc<Relay>,
    pub(super) writer: WriterHandle,
    /// Closed when the warden is to stop.
    pub(super) stop: Receiver<()>,
    pub(super) weaver: Option<Weaver>,
    pub(super) registrar: Option<Registrar>,
    /// When all events were last looked at.
    pub(super) swept_at: Option<u64>,
}

/// Whether the warden goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    On,
    Over,
}

impl Warden {
    /// Does what has to be done before anybody is served.
    pub(super) fn begin(&mut self) {
        self.weave();
    }

    /// Does its chores until told to stop.
    pub(super) fn run(mut self) {
        self.register();
        while self.stop.recv_timeout(LOOK_PERIOD) == Received::Nothing {
            self.weave();
            self.register();
            let retention = self.relay.in_force.load().retention.clone();
            let now = self.relay.clock.now_secs();
            let is_due =
                self.swept_at.is_none_or(|at| now.saturating_sub(at) >= retention.period.as_secs());
            let sweeps = &self.relay.sweeps;
            let is_wanted = sweeps.is_wanted.swap(false, Ordering::Relaxed);
            if retention.rules.is_empty() || !(is_due || is_wanted) {
                continue;
            }
            sweeps.is_on.store(true, Ordering::Relaxed);
            let swept = self.sweep(&retention, now);
            self.relay.sweeps.is_on.store(false, Ordering::Relaxed);
            match swept {
                Ok(Duty::On) => self.swept_at = Some(now),
                Ok(Duty::Over) => return,
                Err(error) => {
                    tracing::error!(%error, "what is kept too long could not be looked for");
                    self.swept_at = Some(now);
                }
            }
        }
    }

    fn weave(&mut self) {
        let settings = self.relay.in_force.load();
        let rules = settings.session.event.rules.as_ref();
        let Some(web) = rules.and_then(|rules| rules.trusted.as_ref()) else {
            self.weaver = None;
            return;
        };
        let weaver = match self.weaver.take() {
            Some(weaver) if weaver.is_of(web) => weaver,
            _ => Weaver::of(web),
        };
        let weaver = self.weaver.insert(weaver);
        if let Err(error) = weaver.look(&self.store, self.relay.clock.now_secs()) {
            tracing::error!(%error, "the web of trust could not be woven");
        }
    }

    /// Has domains asked for whom they name, where that matters.
    fn register(&mut self) {
        let settings = self.relay.in_force.load();
        let rules = settings.session.event.rules.as_ref();
        let Some(named) = rules.and_then(|rules| rules.named.as_ref()) else {
            self.registrar = None;
            return;
        };
        if self.registrar.as_ref().is_some_and(|registrar| registrar.is_of(named)) {
            return;
        }
        // One at a time: the facts are the same.
        self.registrar = None;
        let Some(names) = &settings.names else { return };
        match Registrar::start(named, names, &self.relay, &self.writer) {
            Ok(registrar) => self.registrar = Some(registrar),
            Err(error) => tracing::error!(%error, "domains cannot be asked whom they name"),
        }
    }

    /// Looks at all events and has those buried that are to go.
    fn sweep(&self, retention: &Retention, now: u64) -> Result<Duty, StoreError> {
        let rules = &retention.rules;
        let sources = Sources::of(rules, retention.came_from, &self.store)?;
        let mut survey = Survey::new(rules, now, |_| 0);
        let mut gone = 0;
        if self.look_through(&mut survey, &sources, &mut gone)? == Duty::Over {
            return Ok(Duty::Over);
        }
        let by_age = gone;
        for (place, author) in survey.prolific() {
            let comes_from = |seq| rules[place].from.is_empty() || sources.have(place, seq);
            let surplus = self.surplus(&rules[place], &author, comes_from)?;
            if self.bury(surplus, &mut gone) == Duty::Over {
                return Ok(Duty::Over);
            }
        }
        let per_author = gone - by_age;
        // What is gone by now does not count for the size.
        let by_size = |rule: &RetentionRule| {
            rule.size_max.is_some().then(|| RetentionRule {
                age_max: None,
                per_author_max: None,
                ..rule.clone()
            })
        };
        let by_size: Vec<RetentionRule> = rules.iter().filter_map(by_size).collect();
        let living = store::living(&self.store)?;
        let excess = |limit| {
            let max = self.bytes_of(limit);
            let bytes_each = (living.bytes / living.events.max(1)).max(1);
            living.bytes.saturating_sub(max).div_ceil(bytes_each)
        };
        if by_size.iter().filter_map(|rule| rule.size_max).any(|limit| excess(limit) > 0) {
            let sources = Sources::of(&by_size, retention.came_from, &self.store)?;
            let mut survey = Survey::new(&by_size, now, excess);
            if self.look_through(&mut survey, &sources, &mut gone)? == Duty::Over {
                return Ok(Duty::Over);
            }
            let oldest = survey.oldest().into_iter().map(Seq).collect();
            if self.bury(oldest, &mut gone) == Duty::Over {
                return Ok(Duty::Over);
            }
        }
        self.relay.sweeps.end(self.relay.clock.now_secs(), gone);
        if gone > 0 {
            let size = gone - by_age - per_author;
            tracing::info!(
                events = gone,
                age = by_age,
                per_author,
                size,
                "events were removed by the rules of retention"
            );
        }
        Ok(Duty::On)
    }

    /// Returns whether an event is what the relay itself goes by: what it has signed, and, where
    /// there are groups, their record (NIP-29).
    fn is_state(&self, event: &EventRef<'_>) -> bool {
        self.relay.own_key == Some(*event.pubkey)
            || MANAGING_KINDS.contains(&event.kind.0)
                && self.relay.standings.current().groups.is_some()
    }

    /// Shows all events to a survey, slice by slice; has those buried that are too old.
    fn look_through(
        &self,
        survey: &mut Survey<'_>,
        sources: &Sources,
        gone: &mut u64,
    ) -> Result<Duty, StoreError> {
        let mut seen = Seq::ZERO;
        loop {
            let mut too_old = Vec::new();
            let mut looked_at = 0;
            for item in self.store.snapshot()?.log(seen)? {
                let (seq, event) = item?;
                seen = seq;
                let resident = Resident {
                    number: seq.0,
                    kind: event.kind,
                    author: event.pubkey,
                    created_at: event.created_at,
                };
                let comes_from = |place| sources.have(place, seq);
                if !self.is_state(&event) && survey.look_at(&resident, comes_from) {
                    too_old.push(seq);
                }
                looked_at += 1;
                if looked_at == EVENTS_PER_SLICE {
                    break;
                }
            }
            if self.bury(too_old, gone) == Duty::Over {
                return Ok(Duty::Over);
            }
            if looked_at < EVENTS_PER_SLICE {
                return Ok(Duty::On);
            }
            if self.stop.recv_timeout(SLICE_PAUSE) != Received::Nothing {
                return Ok(Duty::Over);
            }
        }
    }

    /// Returns the events of an author that are more than a rule lets stay.
    fn surplus(
        &self,
        rule: &RetentionRule,
        author: &PublicKey,
        comes_from: impl Fn(Seq) -> bool,
    ) -> Result<Vec<Seq>, StoreError> {
        let filter = Filter { authors: Some([*author].into()), ..Filter::default() };
        let snapshot = self.store.snapshot()?;
        let is_about =
            |event: &EventRef<'_>| rule.is_about(event.kind, author) && !self.is_state(event);
        let found = query::find_all(&snapshot, &filter, &is_about)?;
        let max = rule.per_author_max.and_then(|max| usize::try_from(max).ok());
        let found = found.into_iter().filter(|seq| comes_from(*seq));
        Ok(found.skip(max.unwrap_or(usize::MAX)).collect())
    }

    fn bury(&self, seqs: Vec<Seq>, gone: &mut u64) -> Duty {
        for batch in seqs.chunks(BURIED_PER_BATCH) {
            match self.writer.bury(batch.to_vec()) {
                Some(count) => *gone += count,
                None => return Duty::Over,
            }
            if self.stop.try_recv() != Received::Nothing {
                return Duty::Over;
            }
        }
        Duty::On
    }

    fn bytes_of(&self, limit: SizeLimit) -> u64 {
        match limit {
            SizeLimit::Bytes(bytes) => bytes,
            SizeLimit::Percent(percent) => match sys::disk_bytes(self.store.path()) {
                Ok(disk) => (disk / 100).saturating_mul(u64::from(percent)),
                Err(error) => {
                    tracing::warn!(%error, "cannot tell how large the disk is");
                    u64::MAX
                }
            },
        }
    }
}

impl Sources {
    fn of(
        rules: &[RetentionRule],
        came_from: CameFrom,
        store: &Store,
    ) -> Result<Sources, StoreError> {
        let mut sources = Sources(vec![Vec::new(); rules.len()]);
        for (rule, bits) in rules.iter().zip(&mut sources.0) {
            for peer in &rule.from {
                let url = (**peer != *ANY_PEER).then_some(&**peer);
                came_from(store, url, &mut |seq| {
                    let Ok(word) = usize::try_from(seq.0 / 64) else { return };
                    // What is no number of an event was damaged.
                    if seq <= store.last_seq() {
                        bits.resize(bits.len().max(word + 1), 0);
                        bits[word] |= 1 << (seq.0 % 64);
                    }
                })?;
            }
        }
        Ok(sources)
    }

    fn have(&self, place: usize, seq: Seq) -> bool {
        let word = usize::try_from(seq.0 / 64).ok().and_then(|word| self.0[place].get(word));
        word.is_some_and(|word| word >> (seq.0 % 64) & 1 == 1)
    }
}

/// How often there may be something to do.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Events looked at with one snapshot: about ten milliseconds.
const EVENTS_PER_SLICE: usize = 10_000;
/// Between two slices, so that a look at millions of events takes no more than a part of a core.
const SLICE_PAUSE: Duration = Duration::from_millis(50);
/// Events buried in one transaction.
const BURIED_PER_BATCH: usize = 500;
