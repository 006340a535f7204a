//! Whether the threads that clients depend on still run: each is asked and has to answer.
//!
//! For the watchdog of a service manager: a thread that hangs is restarted with the process, which
//! loses nothing that was acknowledged.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::core::{Inboxes, Message};
use crate::ingest::WriterHandle;
use crate::mailbox::{self, Received};

/// Asks the threads of a server whether they still run.
pub struct Pulse {
    pub(super) inboxes: Inboxes,
    pub(super) writer: WriterHandle,
}

impl Pulse {
    /// Asks every core and the writer, and returns the names of those that did not answer within
    /// `patience`.
    pub fn missing(&self, patience: Duration) -> Vec<String> {
        let cores = self.inboxes.0.len();
        let (asker, answers) = mailbox::mailbox(cores + 1);
        let writer = u32::try_from(cores).expect("a machine has fewer than 2^32 cores");
        let mut missing: BTreeSet<u32> = (0..=writer).collect();
        for core in 0..writer {
            self.inboxes.put(core, Message::Beat(asker.clone()));
        }
        self.writer.beat(&asker, writer);
        let end = Instant::now() + patience;
        while !missing.is_empty() {
            match answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Received::Message(number) => drop(missing.remove(&number)),
                Received::Nothing | Received::Closed => break,
            }
        }
        let name = |number: &u32| match *number {
            number if number == writer => "writer".to_owned(),
            number => format!("core-{number}"),
        };
        missing.iter().map(name).collect()
    }
}
