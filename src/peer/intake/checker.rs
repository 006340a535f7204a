//! The checkers: what is stored already is dropped, all else is verified, that of several batches
//! at once where they wait.

use std::sync::Arc;

use super::account::{Shared, What};
use super::{Batch, Checked, Judge, Ready};
use crate::ingest::Admitted;
use crate::mailbox::{Received, Receiver, Sender};
use crate::nostr::{Event, Verified, Verifier};
use crate::store::{Prepared, Preparer, Store, StoreError};
use crate::sys;

/// What checked events are made into.
pub(super) enum Form {
    Prepared(Preparer),
    Verified,
}

pub(super) struct Checker {
    pub(super) store: Store,
    /// Whether the store had nothing at the beginning.
    pub(super) is_first: bool,
    pub(super) shared: Arc<Shared>,
    /// Who judges here; a relay that serves judges what enters itself.
    pub(super) judge: Option<Judge>,
    pub(super) verifier: Verifier,
    pub(super) form: Form,
}

impl Checker {
    pub(super) fn run(mut self, inbox: &Receiver<Batch>, checked: &Sender<Checked>) {
        while let Some(first) = inbox.recv() {
            let mut count = first.events.len();
            let mut batches = vec![first];
            while count < EVENTS_TOGETHER {
                let Received::Message(next) = inbox.try_recv() else { break };
                count += next.events.len();
                batches.push(next);
            }
            if self.check_all(batches).into_iter().any(|batch| checked.send(batch).is_err()) {
                return;
            }
        }
    }

    fn check_all(&mut self, batches: Vec<Batch>) -> Vec<Checked> {
        let mut all = Vec::new();
        let mut rest = Vec::with_capacity(batches.len());
        for Batch { events, bytes, account } in batches {
            let before = events.len();
            let unknown = self.unknown(events).unwrap_or_else(|error| {
                self.shared.fail(error);
                Vec::new()
            });
            account.add(What::Duplicate, (before - unknown.len()) as u64);
            rest.push((unknown.len(), bytes, account));
            all.extend(unknown);
        }
        let mut verified = self.verifier.verify_all(all, sys::random_bytes).into_iter();
        let mut checked = Vec::with_capacity(rest.len());
        for (count, bytes, account) in rest {
            let right = verified.by_ref().take(count).filter_map(Result::ok).collect();
            let events = self.judge(right);
            account.add(What::Invalid, (count - events.len()) as u64);
            checked.push(Checked { events, bytes, account });
        }
        checked
    }

    /// Drops what is stored, so that it is not verified once more.
    fn unknown(&self, events: Vec<Event>) -> Result<Vec<Event>, StoreError> {
        if self.is_first || events.is_empty() {
            return Ok(events);
        }
        let snapshot = self.store.snapshot()?;
        let mut unknown = Vec::with_capacity(events.len());
        for event in events {
            if snapshot.by_id(&event.id)?.is_none() {
                unknown.push(event);
            }
        }
        Ok(unknown)
    }

    fn judge(&mut self, events: Vec<Verified>) -> Ready {
        let bytes = events.iter().map(|it| it.event().memory_bytes()).sum();
        let admitted = events.into_iter().filter_map(|event| {
            if let Some(judge) = &self.judge {
                judge(event.event()).ok()?;
            }
            Some(Admitted::new(event).ok()?.into_verified())
        });
        match &mut self.form {
            Form::Verified => Ready::Verified(admitted.collect()),
            Form::Prepared(preparer) => {
                let mut prepared = Prepared::default();
                let mut ids = Vec::with_capacity(admitted.size_hint().1.unwrap_or(0));
                prepared.reserve(bytes, ids.capacity());
                for event in admitted {
                    preparer.add(&mut prepared, &event);
                    ids.push(event.event().id);
                }
                Ready::Prepared(prepared, ids)
            }
        }
    }
}

impl Ready {
    pub(super) fn len(&self) -> usize {
        match self {
            Ready::Prepared(events, _) => events.len(),
            Ready::Verified(events) => events.len(),
        }
    }
}

/// More events at once would save little more, and all of them wait for each other.
const EVENTS_TOGETHER: usize = 2_048;
