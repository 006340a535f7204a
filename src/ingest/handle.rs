//! The way to the writer: what is sent to its thread, and what comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::admit::Admitted;
use crate::mailbox::{Refused, Sender, mailbox};
use crate::metrics::WriterMetrics;
use crate::nostr::{EventId, Prefix, Reject};
use crate::seq::Seq;
use crate::store::{Chore, FactChange, Outcome};

/// Where the answer to a submission goes; the writer only passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    /// The core that holds the connection.
    pub core: u32,
    /// The connection, in the core's own numbering.
    pub connection: u64,
}

/// An event on its way into the store.
#[derive(Debug)]
pub struct Submission {
    /// The event.
    pub event: Admitted,
    /// Who waits for the outcome.
    pub reply: ReplyTo,
}

/// What became of a submission.
#[derive(Debug)]
pub struct Reply {
    /// Who waits for it.
    pub to: ReplyTo,
    /// The event.
    pub id: EventId,
    /// The outcome, or why there is none.
    pub outcome: Result<Outcome, Reject>,
}

/// Takes replies to the cores; called once per batch and core.
pub trait Replies: Send {
    /// Hands replies to a core.
    fn deliver(&self, core: u32, replies: Vec<Reply>);
}

/// The writer's mailbox is full; the submission comes back.
#[derive(Debug)]
pub struct Full(pub Submission);

/// What the writer is told.
pub(super) enum Message {
    Submit(Submission),
    Bury(Burial),
    /// Takes whether they were changed.
    Facts(Vec<FactChange>, Sender<Result<(), Reject>>),
    Tend(Chore),
    Foreign,
    Beat(Sender<u32>, u32),
    Stop,
}

/// Events that are to be removed, and who waits for that.
pub(super) struct Burial {
    pub(super) seqs: Vec<Seq>,
    /// Takes how many of them were living.
    pub(super) done: Sender<u64>,
}

/// Sends events to the writer thread.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    pub(super) mailbox: Sender<Message>,
    /// The newest event that went to the ring.
    pub(super) published: Arc<AtomicU64>,
    pub(super) metrics: Arc<WriterMetrics>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Message::Submit(_) => "Submit",
            Message::Bury(_) => "Bury",
            Message::Facts(..) => "Facts",
            Message::Tend(_) => "Tend",
            Message::Foreign => "Foreign",
            Message::Beat(..) => "Beat",
            Message::Stop => "Stop",
        })
    }
}

impl WriterHandle {
    /// Gives an event to the writer, without waiting.
    ///
    /// # Errors
    ///
    /// [`Full`] if the mailbox is full: the sender stops reading from its client and tries again.
    pub fn submit(&self, submission: Submission) -> Result<(), Box<Full>> {
        self.mailbox.try_send(Message::Submit(submission)).map_err(|refused| match refused {
            Refused::Full(Message::Submit(back)) | Refused::Closed(Message::Submit(back)) => {
                Box::new(Full(back))
            }
            _ => unreachable!("a submission was sent"),
        })
    }

    /// Returns what the writer counts.
    pub fn metrics(&self) -> &WriterMetrics {
        &self.metrics
    }

    /// Returns how many messages wait for the writer.
    pub fn waiting(&self) -> usize {
        self.mailbox.count()
    }

    /// Returns the newest event that went to the ring.
    pub fn published(&self) -> Seq {
        Seq(self.published.load(Ordering::Acquire))
    }

    /// Tells the writer that other processes have committed events, which it then publishes.
    pub fn notice_foreign(&self) {
        // If the mailbox is full, a batch follows, and that publishes them too.
        let _ = self.mailbox.try_send(Message::Foreign);
    }

    /// Asks the writer to answer with `number`, to see whether it still runs.
    pub fn beat(&self, asker: &Sender<u32>, number: u32) {
        // If the mailbox is full there is no answer, and who asks may ask again.
        let _ = self.mailbox.try_send(Message::Beat(asker.clone(), number));
    }

    /// Has events removed in one transaction, and waits for that; returns how many were there, or
    /// nothing if the writer has stopped.
    pub fn bury(&self, seqs: Vec<Seq>) -> Option<u64> {
        let (done, buried) = mailbox(1);
        self.mailbox.send(Message::Bury(Burial { seqs, done })).ok()?;
        buried.recv()
    }

    /// Has facts changed in one transaction, and waits for that.
    ///
    /// # Errors
    ///
    /// Why they were not.
    pub fn change_facts(&self, changes: Vec<FactChange>) -> Result<(), Reject> {
        let (done, changed) = mailbox(1);
        let stopped = || Reject::new(Prefix::Error, "the relay is stopping");
        let sent = self.mailbox.send(Message::Facts(changes, done));
        sent.map_err(|_| stopped())?;
        changed.recv().unwrap_or_else(|| Err(stopped()))
    }

    /// Has a step of maintenance done between two batches; returns whether there is a writer.
    pub fn tend(&self, chore: Chore) -> bool {
        self.mailbox.send(Message::Tend(chore)).is_ok()
    }

    /// Asks the writer to finish what is queued and stop.
    pub fn stop(&self) {
        let _ = self.mailbox.send(Message::Stop);
    }
}
