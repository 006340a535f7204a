//! What the stage is asked and what it answers, and the way of a question to it.

use std::net::IpAddr;

use tokio::sync::mpsc;

use crate::ingest::{ReplyTo, Submission};
use crate::nostr::{EventId, Kind, PublicKey, Reject};
use crate::policy::{Party, PluginSource};
use crate::session::Reader;

/// Where questions are handed in.
pub(in crate::server) type QuestionSender = mpsc::Sender<Question>;

/// Returns where questions are handed in, and where they arrive.
pub(in crate::server) fn question_channel() -> (QuestionSender, mpsc::Receiver<Question>) {
    mpsc::channel(QUESTIONS_MAX)
}

/// Questions that may wait for the stage; what has more to ask is not read meanwhile.
const QUESTIONS_MAX: usize = 1_024;

/// An event that is to be judged before it goes to the writer.
#[derive(Debug)]
pub(in crate::server) struct Question {
    pub(in crate::server) submission: Submission,
    /// With whom it takes turns.
    pub(in crate::server) party: Party,
    pub(in crate::server) source: PluginSource,
    pub(in crate::server) authed: Option<PublicKey>,
    /// In seconds of Unix time.
    pub(in crate::server) received_at: u64,
}

/// Who sends events, as far as plugins are told.
#[derive(Clone, Debug)]
pub(in crate::server) struct Source {
    pub(in crate::server) client: IpAddr,
    pub(in crate::server) party: Party,
    pub(in crate::server) reader: Reader,
}

/// How the events of one sender are asked about.
pub(in crate::server) struct Asking<'a> {
    pub(in crate::server) questions: &'a QuestionSender,
    pub(in crate::server) source: &'a Source,
    pub(in crate::server) now: u64,
}

impl Asking<'_> {
    /// Returns the question about an event.
    pub(in crate::server) fn question(&self, submission: Submission) -> Question {
        let event = submission.event.event();
        let reader = &self.source.reader;
        // Protocol and plugins know one key: the author's, if the sender has proven to be that.
        let is_author = reader.is(&event.pubkey);
        let key = if is_author { Some(&event.pubkey) } else { reader.keys().first() };
        Question {
            party: self.source.party,
            authed: key.copied(),
            source: PluginSource::Client(self.source.client),
            received_at: self.now,
            submission,
        }
    }
}

/// Tells whether plugins are asked about events of a kind: requests to vanish are obeyed whatever
/// else is asked of events (NIP-62).
pub(in crate::server) fn is_judged(kind: Kind) -> bool {
    kind != Kind::VANISH
}

/// Hands in a question; without room it comes back.
pub(in crate::server) fn hand_in(
    sender: &QuestionSender,
    question: Question,
) -> Result<(), Box<Question>> {
    sender.try_send(question).map_err(|error| Box::new(error.into_inner()))
}

/// An event that goes no further.
#[derive(Debug)]
pub(in crate::server) struct Judged {
    /// Who waits for it.
    pub(in crate::server) to: ReplyTo,
    /// The event.
    pub(in crate::server) id: EventId,
    /// What its sender is told; nothing, if it is to believe that the event was taken.
    pub(in crate::server) refusal: Option<Reject>,
}
