//! The office: the thread that does what administrators ask for, one call after the other.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use super::DECISIONS;
use super::call::{Call, Caller, Calls, Refusal, Said};
use super::journal::{Entry, Journal};
use super::method::{self, Effect};
use super::params::Params;
use super::socket::LocalDoor;
use crate::ingest::WriterHandle;
use crate::policy::{InviteKey, Moderation, Subject};
use crate::server::core::{Inboxes, Message, Relay};
use crate::server::herald::HeraldHandle;
use crate::store::{FactChange, StoreError};

/// What the office is made of.
pub(in crate::server) struct OfficeParts {
    pub(in crate::server) relay: Arc<Relay>,
    pub(in crate::server) writer: WriterHandle,
    pub(in crate::server) inboxes: Inboxes,
    /// Who speaks for the relay, if it has members.
    pub(in crate::server) herald: Option<HeraldHandle>,
    /// What makes invitations, if the relay has a key.
    pub(in crate::server) invite_key: Option<InviteKey>,
    /// Where calls of this machine come in, if there is a socket.
    pub(in crate::server) door: Option<LocalDoor>,
    pub(in crate::server) calls: Calls,
    pub(in crate::server) stop: watch::Receiver<bool>,
}

/// The office.
pub(in crate::server) struct Office {
    pub(super) relay: Arc<Relay>,
    pub(super) writer: WriterHandle,
    pub(super) inboxes: Inboxes,
    pub(super) herald: Option<HeraldHandle>,
    pub(super) invite_key: Option<InviteKey>,
    journal: Journal,
    /// The entry about the call at hand, until it is written.
    entry: Option<Entry>,
}

impl Office {
    /// Attends to calls until the server stops.
    pub(in crate::server) fn run(parts: OfficeParts) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let OfficeParts { relay, writer, inboxes, herald, invite_key, door, mut calls, mut stop } =
            parts;
        let journal = Journal::open(&relay.store).map_err(std::io::Error::other)?;
        let mut office =
            Office { relay, writer, inboxes, herald, invite_key, journal, entry: None };
        LocalSet::new().block_on(&runtime, async move {
            if let Some(door) = door {
                spawn_local(door.serve(calls.handle));
            }
            loop {
                tokio::select! {
                    biased;
                    // An error means that the one who could say so is gone, which says the same.
                    _ = stop.wait_for(|is_stopping| *is_stopping) => return,
                    call = calls.arriving.recv() => match call {
                        Some(call) => office.attend(call),
                        None => return,
                    },
                }
            }
        });
        Ok(())
    }

    fn attend(&mut self, call: Call) {
        let said = self.carry_out(&call.caller, &call.method, &call.params);
        // Who has called may be gone.
        let _ = call.answer.send(said);
    }

    /// Does what a call asks for, if its caller may, and keeps in the journal what it was.
    fn carry_out(&mut self, caller: &Caller, name: &str, params: &[Value]) -> Said {
        let Some(method) = method::find(name) else {
            return Err(Refusal::Failed(method::unknown(name)));
        };
        let entry = || Entry::of(caller, name, params, self.relay.clock.now_secs());
        if !caller.may(name, method.right) {
            let right = method.right.word();
            let text = format!("{name} needs the right `{right}`, which this key does not have");
            self.entry = Some(entry());
            self.close_entry(Some(&text));
            return Err(Refusal::Forbidden(text));
        }
        self.entry = (method.effect == Effect::Changes).then(entry);
        let said = (method.run)(self, &Params(params), caller);
        if self.entry.is_some() {
            self.close_entry(said.as_ref().err().map(Refusal::text));
        }
        said
    }

    /// Writes the entry about the call at hand by itself.
    fn close_entry(&mut self, error: Option<&str>) {
        if let Some(error) = error {
            self.note_error(error);
        }
        let changes = self.entry_changes();
        if let Err(reject) = self.writer.change_facts(changes) {
            tracing::error!(%reject, "an act of an administrator was not kept in the journal");
        }
    }

    /// Notes for the journal that the call at hand comes to nothing, and why.
    pub(super) fn note_error(&mut self, error: &str) {
        if let Some(entry) = &mut self.entry {
            entry.error = Some(error.to_owned());
        }
    }

    fn entry_changes(&mut self) -> Vec<FactChange> {
        let Some(entry) = self.entry.take() else { return Vec::new() };
        // Who it was, and about whom, is in the journal alone.
        let (method, failed) = (&entry.method, entry.error.is_some());
        tracing::info!(%method, failed, "an administrator has acted");
        let most = self.relay.in_force.load().management.log_entries_max;
        self.journal.add(&entry, most)
    }

    /// Keeps decisions, or takes them back where there is no note, and lets them stand.
    pub(super) fn decide(
        &mut self,
        decisions: Vec<(Subject, Option<&str>)>,
    ) -> Result<(), Refusal> {
        let count = self.moderation().count();
        let added = decisions.iter().filter(|(_, note)| note.is_some()).count();
        if added > 0 && count + added > DECISIONS_MAX {
            let text = format!("there are {count} decisions, of at most {DECISIONS_MAX}");
            return Err(Refusal::Failed(text));
        }
        let change = |(subject, note): &(Subject, Option<&str>)| FactChange {
            name: format!("{DECISIONS}{subject}"),
            value: note.map(|note| note.as_bytes().to_vec()),
        };
        let mut changes: Vec<FactChange> = decisions.iter().map(change).collect();
        changes.extend(self.entry_changes());
        self.writer.change_facts(changes).map_err(|it| Refusal::Failed(it.to_string()))?;
        self.relay.standings.update(|standing| {
            let moderation = standing.moderation.get_or_insert_default();
            for (subject, note) in &decisions {
                match note {
                    Some(note) => moderation.decide(subject.clone(), note),
                    None => moderation.revoke(subject),
                }
            }
            if moderation.count() == 0 {
                standing.moderation = None;
            }
        });
        if decisions.iter().any(|(it, _)| matches!(it, Subject::BlockedAddress(_))) {
            for inbox in self.inboxes.0.iter() {
                inbox.put(Message::Blocked);
            }
        }
        Ok(())
    }

    /// Returns what stands.
    pub(super) fn moderation(&self) -> Moderation {
        self.relay.standings.current().moderation.clone().unwrap_or_default()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::error!(%error, "a call of an administrator has failed");
        Refusal::Failed(format!("failed to {error}"))
    }
}

/// Decisions that may stand at a time: some tens of megabytes.
const DECISIONS_MAX: usize = 100_000;
