//! The checkers: what is stored already is dropped, all else is verified.

use std::sync::Arc;

use super::account::{Shared, What};
use super::{Batch, Checked, Judge, Ready};
use crate::ingest::Admitted;
use crate::mailbox::{Receiver, Sender};
use crate::nostr::{Event, Verified, Verifier};
use crate::store::{Prepared, Preparer, Store, StoreError};

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
        while let Some(batch) = inbox.recv() {
            let Batch { events, bytes, account } = batch;
            let (before, known) = (events.len(), self.unknown(events));
            let events = known.unwrap_or_else(|error| {
                self.shared.fail(error);
                Vec::new()
            });
            account.add(What::Duplicate, (before - events.len()) as u64);
            let before = events.len();
            let events = self.check(events);
            account.add(What::Invalid, (before - events.len()) as u64);
            if checked.send(Checked { events, bytes, account }).is_err() {
                return;
            }
        }
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

    fn check(&mut self, events: Vec<Event>) -> Ready {
        let mut form = std::mem::replace(&mut self.form, Form::Verified);
        let ready = match &mut form {
            Form::Verified => {
                Ready::Verified(events.into_iter().filter_map(|it| self.verified(it)).collect())
            }
            Form::Prepared(preparer) => {
                let mut prepared = Prepared::default();
                let bytes = events.iter().map(Event::memory_bytes).sum();
                prepared.reserve(bytes, events.len());
                let mut ids = Vec::with_capacity(events.len());
                for event in events {
                    if let Some(verified) = self.verified(event) {
                        preparer.add(&mut prepared, &verified);
                        ids.push(verified.event().id);
                    }
                }
                Ready::Prepared(prepared, ids)
            }
        };
        self.form = form;
        ready
    }

    fn verified(&mut self, event: Event) -> Option<Verified> {
        let verified = self.verifier.verify(event).ok()?;
        if let Some(judge) = &self.judge {
            judge(verified.event()).ok()?;
        }
        Some(Admitted::new(verified).ok()?.into_verified())
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
