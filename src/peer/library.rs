//! The own store, as far as a conversation with a peer reads it.

use std::ops::ControlFlow;

use super::terms::Asked;
use crate::clock::Clock;
use crate::ingest::GroupSight;
use crate::nostr::{Event, EventId, EventRef, Filter, message};
use crate::policy::groups::Rules;
use crate::query::{Budget, Cursor, Progress, QueryLimits, ReconcileLimits, Reconciliation, Step};
use crate::reconcile::Differences;
use crate::seq::Seq;
use crate::session::{self, Reader};
use crate::store::{Store, StoreError};

/// As whom the store is read for a peer.
#[derive(Clone, Debug)]
pub struct Onlooker {
    /// What it may see by itself.
    pub reader: Reader,
    /// By what the groups of the relay are known, if they keep anything from it (NIP-29).
    pub groups: Option<Rules>,
}

/// Reads the store as somebody who may see what this reader may.
pub struct Library {
    store: Store,
    reader: Reader,
    groups: Option<GroupSight>,
    clock: Clock,
    reconciliation: Option<Reconciliation>,
}

/// What a look at the log has found.
#[derive(Debug, PartialEq, Eq)]
pub struct Tail {
    /// Events that match, in commit order.
    pub found: Vec<(Seq, EventId)>,
    /// Up to where it was looked.
    pub until: Seq,
}

impl Library {
    /// Returns the library of a store: nothing leaves it that the reader may not see.
    pub fn new(store: Store, onlooker: Onlooker, clock: Clock) -> Library {
        let Onlooker { reader, groups } = onlooker;
        let groups = groups.map(GroupSight::new);
        Library { store, reader, groups, clock, reconciliation: None }
    }

    /// Learns what may be seen at this moment.
    fn look(&mut self) -> Result<(), StoreError> {
        if let Some(groups) = &mut self.groups {
            let standing = groups.look(&self.store, self.clock.now_secs())?;
            self.reader.follow(&standing);
        }
        Ok(())
    }

    /// Returns the newest event, whoever wrote it.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn last_seq(&self) -> Result<Seq, StoreError> {
        self.store.refresh()
    }

    /// Does a step of a reconciliation: of its first message without an answer. Nothing if there is
    /// more to do.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn reconcile(
        &mut self,
        filter: &Filter,
        answer: Option<&[u8]>,
    ) -> Result<Option<Asked>, StoreError> {
        let last = self.store.refresh()?;
        if self.reconciliation.is_none() {
            self.look()?;
        }
        let now = self.clock.now_secs();
        let reader = &self.reader;
        let set = self.reconciliation.get_or_insert_with(|| {
            let aside = session::set_aside(reader, filter);
            Reconciliation::new(filter.clone(), aside, LIMITS, last)
        });
        let snapshot = self.store.snapshot()?;
        let is_visible = |event: &EventRef<'_>| session::visible(event, reader, now);
        let mut found = Differences::default();
        let progress = set.ask(&snapshot, answer, SLICE, now, &is_visible, &mut found)?;
        let asked = match progress {
            Progress::More | Progress::Moved => return Ok(None),
            Progress::Answer(next) => {
                self.without_known(&mut found)?;
                Asked::Say(next, found)
            }
            Progress::Malformed(malformed) => Asked::Malformed(malformed.to_string()),
            Progress::TooMany => Asked::TooMany,
        };
        Ok(Some(asked))
    }

    /// Ends a reconciliation, so that the next step begins another.
    pub fn end_reconciliation(&mut self) {
        self.reconciliation = None;
    }

    /// Drops what is stored already, though it is not shown to the reader.
    fn without_known(&self, found: &mut Differences) -> Result<(), StoreError> {
        let snapshot = self.store.snapshot()?;
        let hidden = self.reader.hidden().map_or(&[][..], |kinds| kinds);
        let has_hidden = hidden.iter().any(|kind| snapshot.total(*kind) > 0);
        if found.need.is_empty() || !(has_hidden || self.reader.is_partial()) {
            return Ok(());
        }
        let mut failed = None;
        found.need.retain(|id| match snapshot.by_id(&EventId(*id)) {
            Ok(known) => known.is_none(),
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// Returns each of these events as a message to the peer, if it is there and may be seen.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn messages(
        &mut self,
        ids: &[EventId],
        mut sink: impl FnMut(EventId, Option<Vec<u8>>),
    ) -> Result<(), StoreError> {
        self.store.refresh()?;
        self.look()?;
        let (snapshot, now) = (self.store.snapshot()?, self.clock.now_secs());
        for id in ids {
            let found = snapshot.by_id(id)?.map(|(_, event)| event);
            let event = found.filter(|event| session::visible(event, &self.reader, now));
            let text = event.map(|event| {
                let mut text = Vec::with_capacity(event.json_len() + MESSAGE_BYTES);
                message::write_event(&mut text, &event);
                text
            });
            sink(*id, text);
        }
        Ok(())
    }

    /// Returns the ids of all that matches and may be seen.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn ids(&mut self, filter: &Filter) -> Result<Vec<EventId>, StoreError> {
        let last = self.store.refresh()?;
        self.look()?;
        let now = self.clock.now_secs();
        let is_visible = |event: &EventRef<'_>| session::visible(event, &self.reader, now);
        let mut cursor = Cursor::new([filter.clone()].into(), UNLIMITED, last);
        let mut ids = Vec::new();
        loop {
            let snapshot = self.store.snapshot()?;
            let step = cursor.step(&snapshot, SLICE, &is_visible, &mut |event| {
                ids.push(*event.id);
                ControlFlow::Continue(())
            })?;
            if step == Step::Done {
                return Ok(ids);
            }
        }
    }

    /// Returns how many of these events are not stored.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn count_unknown(&self, events: &[Event]) -> Result<u64, StoreError> {
        let snapshot = self.store.snapshot()?;
        let mut count = 0;
        for event in events {
            count += u64::from(snapshot.by_id(&event.id)?.is_none());
        }
        Ok(count)
    }

    /// Looks for what was stored after `after`, matches and may be seen.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn tail(&mut self, after: Seq, filter: &Filter) -> Result<Tail, StoreError> {
        let mut tail = Tail { found: Vec::new(), until: after };
        if self.store.refresh()? <= after {
            return Ok(tail);
        }
        self.look()?;
        let (snapshot, now) = (self.store.snapshot()?, self.clock.now_secs());
        for item in snapshot.log(after)?.take(TAIL_MAX) {
            let (seq, event) = item?;
            tail.until = seq;
            if filter.matches(&event) && session::visible(&event, &self.reader, now) {
                tail.found.push((seq, *event.id));
            }
        }
        // What lies behind the last one found is dead.
        if tail.until == after {
            tail.until = snapshot.seq();
        }
        Ok(tail)
    }
}

const UNLIMITED: QueryLimits = QueryLimits { default_limit: u64::MAX, max_limit: u64::MAX };
/// Some tens of megabytes of ids at most; messages as long as other relays take.
const LIMITS: ReconcileLimits =
    ReconcileLimits { items_max: 20_000_000, answer_bytes_max: 400_000 };
/// About a tenth of a second.
const SLICE: Budget = Budget { steps: 10_000_000 };
/// Events of the log that are looked at in one go.
const TAIL_MAX: usize = 2_000;
/// What a message has around an event.
const MESSAGE_BYTES: usize = 16;
