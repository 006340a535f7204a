//! What comes by itself: a subscription that stays open.
//!
//! It is opened before the two sides are compared, so that nothing can fall between: what was stored
//! before is found by comparing, what comes later by this. A limit of one keeps the stored part
//! short where a limit of zero is refused.

use super::outbox::{Name, Outbox, Purpose, Refusal, refusal_of};
use super::terms::Fault;
use crate::nostr::{Filter, message};

/// The subscription.
#[derive(Debug, Default)]
pub(super) struct Live {
    name: Option<Name>,
    /// When it is asked for again.
    retry: Option<u64>,
    refusals: u32,
}

impl Live {
    pub(super) fn open(&mut self, filter: &Filter, outbox: &mut Outbox) {
        let name = outbox.name(Purpose::Live);
        let filter = Filter { limit: Some(1), ..filter.clone() };
        outbox.send(|out| message::write_req(out, &name.text, &filter));
        (self.name, self.retry) = (Some(name), None);
    }

    pub(super) fn is(&self, number: u32) -> bool {
        self.name.as_ref().is_some_and(|name| name.number == number)
    }

    /// Takes the end of the subscription; it is opened again a little later.
    pub(super) fn closed(&mut self, number: u32, reason: &str, outbox: &mut Outbox) -> Refusal {
        let refusal = refusal_of(reason);
        if self.is(number) {
            self.name = None;
            self.refusals += 1;
            self.retry = Some(outbox.now.millis + RETRY_WAIT * u64::from(self.refusals.min(30)));
            if self.refusals > REFUSALS_MAX {
                outbox.fail(Fault::Refused(reason.to_owned()));
            }
        }
        refusal
    }

    /// Notes that something came.
    pub(super) fn heard(&mut self) {
        self.refusals = 0;
    }

    pub(super) fn tick(&mut self, filter: &Filter, outbox: &mut Outbox) -> bool {
        let is_due = self.retry.is_some_and(|at| at <= outbox.now.millis);
        if is_due {
            self.open(filter, outbox);
        }
        is_due
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.retry
    }

    pub(super) fn lost(&mut self) {
        (self.name, self.retry) = (None, None);
    }
}

const RETRY_WAIT: u64 = 1_000;
const REFUSALS_MAX: u32 = 20;
