//! When what is compared: everything, what is dated lately, or nothing but what the own log tells.
//!
//! By reconciliation everything is compared each time, because that costs next to nothing. Without
//! it all events of the peer would have to be transferred for that; so only those are gone through
//! that are dated since both sides agreed, or a little before, and everything only when it is due:
//! after a while, and some time after a cut in which the peer may have got what is dated further
//! back.

use std::collections::VecDeque;

use super::super::pages::Pages;
use super::super::reconciling::Window;
use super::super::terms::{Action, Direction, Span, Stage};
use super::{Engine, shown};

impl Engine {
    /// Goes through pages from here on.
    pub(super) fn turn_pages(&mut self, reason: &str) {
        if self.pages.is_some() {
            return;
        }
        let left = self.reconciling.give_up(&mut self.outbox);
        let reason = shown(reason);
        self.outbox.counts.note(format!("going through pages instead of NIP-77: {reason}"));
        if self.has_agreed() && !self.is_full_due() {
            return self.begin_pages();
        }
        self.pages = Some(Pages::new(left, self.direction));
    }

    /// Goes through pages once more: through those of the time since both sides agreed, and of
    /// what is dated back. All of them each time would be the whole store of the peer; that is done
    /// when it is due.
    pub(super) fn begin_pages(&mut self) {
        let mut window = Window::of(&self.filter);
        let is_full = self.is_full_due();
        self.comparing_since = is_full.then_some(self.outbox.now.secs);
        if !is_full {
            let since = self.agreement.agreed.saturating_sub(DATED_BACK_SECS);
            window.since = window.since.max(since);
        }
        // What is to be given is told by the own log.
        let (direction, is_needed) = match self.direction {
            _ if is_full => (self.direction, true),
            direction => (Direction::Down, direction.takes()),
        };
        let is_any = is_needed && window.since <= window.until;
        let left = if is_any { [window].into() } else { VecDeque::new() };
        self.pages = Some(Pages::new(left, direction));
    }

    /// Compares everything.
    pub(super) fn compare(&mut self) {
        self.comparing_since = Some(self.outbox.now.secs);
        self.reconciling.begin(&self.filter);
    }

    pub(super) fn has_agreed(&self) -> bool {
        self.span == Span::Forever && self.agreement.agreed > 0
    }

    /// Returns whether the own log alone tells what the peer lacks.
    pub(super) fn is_given_by_log(&self) -> bool {
        self.direction == Direction::Up && self.has_agreed() && !self.is_full_due()
    }

    /// Returns whether everything is to be compared, whatever was compared since the last time.
    pub(super) fn is_full_due(&self) -> bool {
        if !self.has_agreed() || self.agreement.compared == 0 {
            return true;
        }
        let age = self.outbox.now.secs.saturating_sub(self.agreement.compared);
        let Some(full_secs) = self.full_secs else { return false };
        age >= full_secs || self.agreement.has_gap && age >= GAP_FULL_SECS.min(full_secs)
    }

    /// Notes that the peer may have got something old while nobody looked: pages of what is dated
    /// lately do not show that.
    pub(super) fn note_gap(&mut self) {
        let cut = self.outbox.now.secs.saturating_sub(self.left);
        self.agreement.has_gap |= self.direction.takes() && self.left > 0 && cut >= GAP_SECS;
    }

    /// Adds what came while there was no connection to the pages that are left.
    pub(super) fn make_up(&mut self) {
        let since = self.left.saturating_sub(DATED_BACK_SECS);
        let whole = Window::of(&self.filter);
        let window = Window { since: whole.since.max(since), ..whole };
        if let Some(pages) = &mut self.pages
            && self.span == Span::Forever
            && window.since <= window.until
        {
            pages.add(window);
        }
    }

    pub(super) fn note_agreement(&mut self) {
        self.agreement = self.agreement();
    }

    pub(super) fn compare_again(&mut self) {
        self.note_agreement();
        self.stage = Stage::Syncing;
        match &self.pages {
            Some(pages) if pages.is_done() => self.begin_pages(),
            Some(_) => {}
            None if self.reconciling.is_done() => self.compare(),
            None => {}
        }
    }

    /// Notes that both sides agree.
    pub(super) fn agree(&mut self) {
        self.stage = Stage::Following;
        if let Some(since) = self.comparing_since.take() {
            self.agreement.compared = since;
            self.agreement.has_gap = false;
        }
        self.agreement.agreed = self.outbox.now.secs;
        self.outbox.actions.push_back(match self.span {
            Span::UntilInSync => Action::Finish,
            Span::Forever => Action::InSync,
        });
    }
}

/// Gift wraps are dated back by up to two days (NIP-59), clocks differ.
const DATED_BACK_SECS: u64 = 3 * 86_400;
/// From so long a cut on it is worth to look for what is dated back further.
const GAP_SECS: u64 = 3_600;
/// How seldom that is done, because without NIP-77 all events of the peer are transferred for it.
const GAP_FULL_SECS: u64 = 86_400;
