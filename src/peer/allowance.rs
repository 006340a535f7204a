//! How much may be asked of a peer at once: what it says itself, and what its answers teach.

use crate::nostr::info::Limitation;

/// How much is asked at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Ids of one request.
    ids: usize,
    /// The most that ids may grow to.
    ids_max: usize,
    /// Requests under way.
    requests: usize,
    requests_max: usize,
    /// Events asked for in one page.
    page: u64,
    /// Bytes of one message.
    message_bytes_max: usize,
    /// Events sent and not answered.
    window: usize,
}

impl Allowance {
    /// Returns what nearly every relay takes.
    pub fn usual() -> Allowance {
        Allowance {
            ids: 250,
            ids_max: 500,
            requests: 4,
            requests_max: 8,
            page: 500,
            message_bytes_max: 60_000,
            window: 128,
        }
    }

    /// Takes over what the peer says about itself (NIP-11).
    pub fn learn(&mut self, said: &Limitation) {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(bytes) = said.max_message_length.map(size).filter(|bytes| *bytes >= 1_000) {
            self.message_bytes_max = bytes;
        }
        if let Some(limit) = said.max_limit.filter(|limit| *limit > 0) {
            self.page = limit.min(PAGE_MAX);
            self.ids_max = size(limit).min(IDS_MAX);
        }
        let fitting = self.message_bytes_max.saturating_sub(REQUEST_BYTES) / ID_BYTES;
        self.ids_max = self.ids_max.min(fitting).max(1);
        self.ids = self.ids.min(self.ids_max);
        if let Some(most) = said.max_subscriptions.map(size) {
            // One is for a reconciliation, one for what comes live.
            self.requests_max = most.saturating_sub(2).clamp(1, REQUESTS_MAX);
            self.requests = self.requests.min(self.requests_max);
        }
    }

    /// Returns how many ids to ask for at once.
    pub(super) fn ids(&self) -> usize {
        self.ids
    }

    /// Returns how many requests may be under way.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    /// Returns how many events to ask for in one page.
    pub(super) fn page(&self) -> u64 {
        self.page
    }

    /// Returns how many events may be sent before they are answered.
    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// Returns whether the peer takes a message of this length.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        bytes <= self.message_bytes_max.max(MESSAGE_BYTES_TRIED)
    }

    /// Learns that a request for so many ids was answered whole.
    pub(super) fn answered(&mut self, asked: usize) {
        if asked >= self.ids {
            self.ids = (self.ids * 2).min(self.ids_max);
        }
        self.requests = (self.requests + 1).min(self.requests_max);
    }

    /// Learns that of a request only so many were given.
    pub(super) fn cut_off(&mut self, given: usize) {
        self.ids_max = self.ids_max.min(given.max(1));
        self.ids = self.ids.min(self.ids_max);
    }

    /// Learns that a request for so many ids was refused or not answered.
    pub(super) fn refused(&mut self, asked: usize) {
        self.ids_max = self.ids_max.min((asked / 2).max(1));
        self.ids = self.ids.min(self.ids_max);
        self.asked_too_often();
    }

    /// Learns that there were too many requests.
    pub(super) fn asked_too_often(&mut self) {
        self.requests = (self.requests / 2).max(1);
        self.requests_max = self.requests_max.min((self.requests * 2).max(1));
    }

    /// Learns that a page was refused.
    pub(super) fn page_refused(&mut self) {
        self.page = (self.page / 2).max(1);
    }

    /// Learns that the peer took an event.
    pub(super) fn taken(&mut self) {
        self.window = (self.window + 1).min(WINDOW_MAX);
    }

    /// Learns that events came too fast.
    pub(super) fn sent_too_fast(&mut self) {
        self.window = (self.window / 2).max(1);
    }
}

const IDS_MAX: usize = 1_000;
const PAGE_MAX: u64 = 5_000;
const REQUESTS_MAX: usize = 16;
/// Enough for a round trip of 50 ms at 80,000 events a second.
const WINDOW_MAX: usize = 4_096;
/// An id in hexadecimal, quoted, with a comma.
const ID_BYTES: usize = 67;
/// What a request has beside its ids.
const REQUEST_BYTES: usize = 100;
/// Events up to here are sent whatever the peer says: it answers each by itself.
const MESSAGE_BYTES_TRIED: usize = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_peer_says_bounds_what_is_asked() {
        let mut allowance = Allowance::usual();
        let said = Limitation {
            max_message_length: Some(10_000),
            max_subscriptions: Some(10),
            max_limit: Some(5_000),
            ..Limitation::default()
        };
        allowance.learn(&said);
        assert_eq!((allowance.ids(), allowance.page()), (147, 5_000));
        for _ in 0..20 {
            allowance.answered(147);
        }
        assert_eq!((allowance.ids(), allowance.requests()), (147, 8));
        let silly = Limitation {
            max_message_length: Some(0),
            max_subscriptions: Some(0),
            max_limit: Some(0),
            ..Limitation::default()
        };
        let mut allowance = Allowance::usual();
        allowance.learn(&silly);
        assert!(allowance.ids() > 0 && allowance.requests() == 1 && allowance.page() > 0);
    }

    #[test]
    fn refusals_make_requests_smaller_and_never_nothing() {
        let mut allowance = Allowance::usual();
        for _ in 0..20 {
            allowance.refused(allowance.ids());
            allowance.page_refused();
            allowance.sent_too_fast();
        }
        assert_eq!((allowance.ids(), allowance.requests()), (1, 1));
        assert_eq!((allowance.page(), allowance.window()), (1, 1));
        allowance.answered(1);
        assert_eq!(allowance.ids(), 1, "what was refused is not tried again");
        let mut allowance = Allowance::usual();
        allowance.cut_off(100);
        allowance.answered(100);
        assert_eq!(allowance.ids(), 100);
    }
}
