//! The usher: brings verified events into the relay that serves, as many as it has room for.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::account::{Account, Shared, What};
use super::{Checked, Ready};
use crate::ingest::{Entrance, Entry, Turned};
use crate::mailbox::{Received, Receiver};
use crate::nostr::Verified;

pub(super) struct Usher {
    pub(super) entrance: Arc<dyn Entrance>,
    pub(super) shared: Arc<Shared>,
}

impl Usher {
    pub(super) fn run(self, outbox: &Receiver<Checked>) {
        loop {
            match outbox.recv_timeout(RETRY_PERIOD) {
                Received::Message(Checked { events: Ready::Verified(events), bytes, account }) => {
                    let mut left = bytes;
                    for event in events {
                        let bytes = event.event().memory_bytes().min(left);
                        left -= bytes;
                        self.bring(event, bytes, &account);
                    }
                    // Of those that were dropped before.
                    self.shared.done(left, &account);
                }
                Received::Message(_) => {}
                Received::Nothing => self.entrance.retry(),
                Received::Closed => return,
            }
        }
    }

    /// Brings an event in, or waits until there is room for it.
    fn bring(&self, event: Verified, bytes: usize, account: &Account) {
        let (id, created_at) = (event.event().id, event.event().created_at);
        let mut entry = Entry {
            event,
            terms: account.terms,
            peer: Arc::clone(&account.url),
            ticket: account.ticket(bytes),
        };
        // Behind these no client waits for long.
        while self.shared.entered() >= ENTERED_MAX {
            self.entrance.retry();
            thread::sleep(ROOM_PERIOD);
        }
        self.shared.enter();
        loop {
            match self.entrance.enter(entry) {
                Ok(()) => return,
                Err(Turned::Refused(reject)) => {
                    // What is dated ahead may be taken later.
                    let judged = self.shared.judged();
                    match created_at > judged.now {
                        true => account.add(What::Refused, 1),
                        false => account.refuse(&id, &reject, judged),
                    }
                    self.shared.leave(1);
                    return self.shared.done(bytes, account);
                }
                Err(Turned::Full(back)) => {
                    entry = *back;
                    self.entrance.retry();
                    thread::sleep(ROOM_PERIOD);
                }
            }
        }
    }
}

/// Events of peers that the relay has not decided on: what a commit takes on, and a little more.
const ENTERED_MAX: usize = 4_096;
/// How long the usher waits for room.
const ROOM_PERIOD: Duration = Duration::from_millis(2);
/// How often what was turned back is brought on while nothing comes.
const RETRY_PERIOD: Duration = Duration::from_millis(100);
