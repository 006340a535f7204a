//! The words that the engine and the loop around it have in common.

use std::collections::BTreeMap;

use crate::nostr::{EventId, Filter};
use crate::reconcile::Differences;

/// Which way events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer into the own store.
    Down,
    /// From the own store to the peer.
    Up,
    /// Both.
    Both,
}

impl Direction {
    /// Returns whether events are taken from the peer.
    pub fn takes(self) -> bool {
        self != Direction::Up
    }

    /// Returns whether events are given to the peer.
    pub fn gives(self) -> bool {
        self != Direction::Down
    }
}

/// When it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// When both sides agree.
    UntilInSync,
    /// Never: what comes later is passed on as it comes.
    Forever,
}

/// Whether events travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// They do.
    Wanted,
    /// They are only counted.
    CountedOnly,
}

/// Whether it is remembered which events came from a peer first, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provenance {
    /// It is not.
    #[default]
    Forgotten,
    /// It is.
    Remembered,
}

/// What conversations with a peer have come to, over all connections; times in seconds since 1970,
/// zero for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// When both sides agreed the last time.
    pub agreed: u64,
    /// When everything was compared the last time, not only what is dated lately.
    pub compared: u64,
    /// Whether there was a long cut since then.
    pub has_gap: bool,
}

/// A time, as the loop around the engine tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Milliseconds since some beginning, without those in which nothing was read from the peer.
    pub millis: u64,
    /// Seconds since 1970.
    pub secs: u64,
}

/// What the loop around the engine is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this text to the peer.
    Send(Vec<u8>),
    /// Ask for the peer's information document.
    Inform,
    /// Reconcile what matches a filter: say the first message, or go on from the peer's answer.
    Reconcile {
        /// What it is about; the same in all messages of one reconciliation.
        filter: Box<Filter>,
        /// What the peer said.
        answer: Option<Vec<u8>>,
    },
    /// Read these events.
    Load(Vec<EventId>),
    /// Find the ids of what matches.
    List(Box<Filter>),
    /// Note that both sides agree, but for what has come since.
    InSync,
    /// End the connection, all being done.
    Finish,
    /// End the connection; whether to try again is said by the fault.
    Fail(Fault),
}

/// What the own store knows about a message of a reconciliation.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The next message to the peer; nothing if all is known.
    Say(Option<Vec<u8>>, Differences),
    /// What the peer said is no message.
    Malformed(String),
    /// There are more events than can be held in memory.
    TooMany,
}

/// Why a conversation with a peer cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It wants to know who asks, and there is no key.
    #[error("the peer asks for a proof of identity (NIP-42): {0}")]
    NeedsKey(String),
    /// It does not take the proof, or knows who asks and refuses all the same.
    #[error("the peer refuses this key: {0}")]
    KeyRefused(String),
    /// It refuses what cannot be done without.
    #[error("the peer refuses: {0}")]
    Refused(String),
    /// It sends what nobody asked for.
    #[error("the peer sends events that were not asked for")]
    Unasked,
    /// It sends texts that are no messages of a relay.
    #[error("the peer sends what is no message of a relay: {0}")]
    Gibberish(String),
    /// It lists ids of events without end, and gives none.
    #[error("the peer lists events that it does not have")]
    Phantoms,
    /// Reconciliation does not come to an end.
    #[error("the peer reconciles without end: {0} rounds")]
    Endless(u64),
    /// It does not answer.
    #[error("the peer does not answer {0}")]
    Silent(&'static str),
}

impl Fault {
    /// Returns whether a later connection may fare better.
    pub fn is_passing(&self) -> bool {
        matches!(self, Fault::Silent(_))
    }

    /// Returns what the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Fault::NeedsKey(_) => Some("name a file with a secret key: --key FILE"),
            Fault::KeyRefused(_) => Some("ask its operator to admit the key"),
            _ => None,
        }
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// There is no connection.
    #[default]
    Away,
    /// What differs is being found out and transferred.
    Syncing,
    /// Both sides agree; what comes is passed on.
    Following,
}

/// What was done so far, over all connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that the peer has and this store has not, as far as is known.
    pub needed: u64,
    /// Events that this store has and the peer has not, as far as is known.
    pub had: u64,
    /// Events that came and were asked for.
    pub received: u64,
    /// Of those, events that came by themselves, live.
    pub live: u64,
    /// When the last of them came, in seconds since 1970.
    pub last_received_at: u64,
    /// By when that one is dated.
    pub last_created_at: u64,
    /// Events that came and are none, or do not match.
    pub malformed: u64,
    /// Events that the peer listed and does not give.
    pub missing: u64,
    /// Events that were sent.
    pub sent: u64,
    /// Of those, events that the peer took.
    pub accepted: u64,
    /// Of those, events that it had.
    pub duplicate: u64,
    /// Of those, events that it refused, by the beginning of its reason.
    pub refused: BTreeMap<String, u64>,
    /// Messages of reconciliations that the peer answered.
    pub rounds: u64,
    /// Pages that the peer gave.
    pub pages: u64,
    /// Seconds with more events than the peer shows at once, so that some may be missing.
    pub crowded_seconds: u64,
    /// Connections that were made.
    pub connections: u64,
    /// What people should know.
    pub notes: Vec<String>,
}

impl Counts {
    /// Returns how many events the peer refused.
    pub fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Adds a note, unless it is known or there are too many.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// Counts an event that the peer refused.
    pub(super) fn add_refused(&mut self, reason: &str) {
        let reason = if reason.is_empty() { "without a reason" } else { reason };
        let has_room = self.refused.len() < REASONS_MAX || self.refused.contains_key(reason);
        let key = if has_room { reason } else { "other reasons" };
        *self.refused.entry(key.to_owned()).or_default() += 1;
    }
}

const NOTES_MAX: usize = 20;
/// Reasons that are told apart; a peer could give each event one of its own.
const REASONS_MAX: usize = 50;
