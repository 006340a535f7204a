//! The committer: batches into the store, for commands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::account::{Account, Shared};
use super::{Checked, Ready};
use crate::mailbox::{Received, Receiver};
use crate::nostr::EventId;
use crate::store::{Prepared, Store, StoreError, Writer};

pub(super) struct Committer {
    store: Store,
    writer: Writer,
    shared: Arc<Shared>,
    batch: Vec<Prepared>,
    /// The ids of its events.
    ids: Vec<EventId>,
    /// Whose events they are, and how many bytes came with them.
    accounts: Vec<(Arc<Account>, usize)>,
    /// Events of the batch.
    events: usize,
    /// Bytes that came with them.
    bytes: usize,
}

impl Committer {
    pub(super) fn new(store: Store, shared: Arc<Shared>) -> Committer {
        Committer {
            // One for loads would not show what is stored to who compares in this process.
            writer: Writer::new(store.clone()),
            store,
            shared,
            batch: Vec::new(),
            ids: Vec::new(),
            accounts: Vec::new(),
            events: 0,
            bytes: 0,
        }
    }

    pub(super) fn run(mut self, outbox: &Receiver<Checked>) {
        let mut since = Instant::now();
        loop {
            let wait = if self.bytes == 0 { IDLE_WAIT } else { BATCH_WAIT };
            match outbox.recv_timeout(wait) {
                Received::Message(Checked {
                    events: Ready::Prepared(events, ids),
                    bytes,
                    account,
                }) => {
                    if self.bytes == 0 {
                        since = Instant::now();
                    }
                    self.events += events.len();
                    self.bytes += bytes;
                    self.batch.push(events);
                    self.ids.extend(ids);
                    self.accounts.push((account, bytes));
                    let is_full = self.events >= BATCH_EVENTS_MAX || self.bytes >= BATCH_BYTES_MAX;
                    if is_full || bytes == 0 || since.elapsed() >= BATCH_AGE_MAX {
                        self.commit();
                    }
                }
                Received::Message(_) => {}
                Received::Nothing => self.commit(),
                Received::Closed => break,
            }
        }
        self.commit();
        self.tidy();
    }

    fn commit(&mut self) {
        self.bytes = 0;
        if std::mem::take(&mut self.events) > 0
            && let Err(error) = self.write()
        {
            self.shared.fail(error);
        }
        self.batch.clear();
        self.ids.clear();
        let rows = self.shared.take_rows();
        if !rows.is_empty()
            && let Err(error) = self.writer.change_facts(&rows)
        {
            self.shared.fail(error);
        }
        for (account, bytes) in self.accounts.drain(..) {
            self.shared.done(bytes, &account);
        }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let judged = self.shared.judged();
        let committed = self.writer.commit_prepared(&self.batch, judged.now)?;
        let mut outcomes = self.ids.iter().zip(&committed.outcomes);
        for (events, (account, _)) in self.batch.iter().zip(&self.accounts) {
            let of_batch = outcomes.by_ref().take(events.len());
            of_batch.for_each(|(id, outcome)| account.note(id, outcome, judged));
        }
        while self.writer.maintain(false)? {}
        Ok(())
    }

    /// Leaves little for the next who opens the store.
    fn tidy(&mut self) {
        let is_worth = self.store.snapshot().is_ok_and(|it| it.unmerged() >= UNMERGED_MAX);
        let mut is_unfinished = is_worth && !self.shared.has_failed();
        while is_unfinished {
            is_unfinished = self.writer.maintain(true).unwrap_or_else(|error| {
                self.shared.fail(error);
                false
            });
        }
    }
}

/// Events of one commit: enough to make a sync cheap, little enough to lose at a crash.
const BATCH_EVENTS_MAX: usize = 32_768;
const BATCH_BYTES_MAX: usize = 32 << 20;
/// Peers that say nothing for so long are not waited for to fill a batch.
const BATCH_WAIT: Duration = Duration::from_millis(20);
const BATCH_AGE_MAX: Duration = Duration::from_secs(1);
const IDLE_WAIT: Duration = Duration::from_secs(3_600);
/// Events that may stay unmerged.
const UNMERGED_MAX: u64 = 20_000;
