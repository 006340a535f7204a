//! What all parts of the engine write to: actions, counts, names, and how long to hold back.

use std::collections::VecDeque;

use super::terms::{Action, Counts, Fault, Moment};
use crate::nostr::SubscriptionId;

/// Where the parts of the engine put what is to be done.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) actions: VecDeque<Action>,
    pub(super) counts: Counts,
    pub(super) now: Moment,
    /// How many times as long as usual the peer may be silent: 1 where the way to it is fast.
    pub(super) patience: u64,
    /// Until when nothing is asked, in milliseconds: the peer wants to be asked more slowly.
    held_until: u64,
    /// How long it was held back the last time.
    hold: u64,
    named: u32,
}

/// What a name of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Download,
    Page,
    Live,
    Reconcile,
}

impl Purpose {
    fn letter(self) -> char {
        match self {
            Purpose::Download => 'd',
            Purpose::Page => 'p',
            Purpose::Live => 'l',
            Purpose::Reconcile => 'n',
        }
    }
}

/// A name that the engine gave, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) number: u32,
    pub(super) text: SubscriptionId,
}

impl Outbox {
    pub(super) fn new(patience: u64) -> Outbox {
        Outbox {
            actions: VecDeque::new(),
            counts: Counts::default(),
            now: Moment::default(),
            patience: patience.max(1),
            held_until: 0,
            hold: 0,
            named: 0,
        }
    }

    pub(super) fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut text = Vec::new();
        write(&mut text);
        self.actions.push_back(Action::Send(text));
    }

    pub(super) fn fail(&mut self, fault: Fault) {
        self.actions.push_back(Action::Fail(fault));
    }

    /// Returns a name that was never given before.
    pub(super) fn name(&mut self, purpose: Purpose) -> Name {
        self.named = self.named.wrapping_add(1);
        let text = format!("{}{}", purpose.letter(), self.named);
        let text = SubscriptionId::new(&text).expect("a letter and a number are a name");
        Name { number: self.named, text }
    }

    /// Returns whether nothing is to be asked for a while.
    pub(super) fn is_held(&self) -> bool {
        self.now.millis < self.held_until
    }

    /// Returns until when nothing is asked, if that is to come.
    pub(super) fn held_until(&self) -> Option<u64> {
        self.is_held().then_some(self.held_until)
    }

    /// Holds back after a refusal for asking too often: each time twice as long.
    pub(super) fn hold_back(&mut self) {
        if self.is_held() {
            return;
        }
        self.hold = (self.hold * 2).clamp(HOLD_MIN, HOLD_MAX);
        self.held_until = self.now.millis + self.hold;
    }

    /// Waits for something else than time, though not for ever.
    pub(super) fn hold_for(&mut self, millis: u64) {
        self.held_until = self.now.millis + millis;
    }

    /// Goes on at once.
    pub(super) fn release(&mut self) {
        self.held_until = self.now.millis;
    }

    /// Notes that the peer gives what it is asked for.
    pub(super) fn is_well(&mut self) {
        if !self.is_held() {
            self.hold /= 2;
        }
    }
}

/// Returns the purpose and number of a name that the engine gave; nothing for any other.
pub(super) fn purpose_of(name: &[u8]) -> Option<(Purpose, u32)> {
    let (letter, digits) = name.split_first()?;
    let purpose = match letter {
        b'd' => Purpose::Download,
        b'p' => Purpose::Page,
        b'l' => Purpose::Live,
        b'n' => Purpose::Reconcile,
        _ => return None,
    };
    Some((purpose, std::str::from_utf8(digits).ok()?.parse().ok()?))
}

/// What a refusal means for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Prove who you are first (NIP-42).
    Identity,
    /// Later.
    TooOften,
    /// It will be refused again.
    Final,
}

/// Reads the beginning of a refusal (NIP-01).
pub(super) fn refusal_of(reason: &str) -> Refusal {
    if reason.starts_with("auth-required:") {
        return Refusal::Identity;
    }
    let is_too_often =
        reason.starts_with("rate-limited:") || reason.contains("too many concurrent");
    if is_too_often { Refusal::TooOften } else { Refusal::Final }
}

const HOLD_MIN: u64 = 500;
const HOLD_MAX: u64 = 60_000;
