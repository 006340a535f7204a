//! Subscriptions that are out of their readers' reach: whoever loses a membership (NIP-43, NIP-29) is
//! told that nothing more will come.
//!
//! Live events are withheld from the moment at which what stands has changed; that is up to
//! `live`. Here the subscriptions end that could show nothing any more. Who belongs to what may
//! change often, and all subscriptions are looked at, so that is done once a second at most.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use crate::fanout::SubKey;

/// By what the subscriptions of a core were last looked at.
#[derive(Default)]
pub(super) struct Reach {
    /// The version of what stood.
    version: u64,
    /// The second of the clock.
    looked_at: u64,
}

impl Reach {
    /// Begins without subscriptions, by what stands in this version.
    pub(super) fn new(version: u64) -> Reach {
        Reach { version, looked_at: 0 }
    }
}

impl Core {
    /// Ends the subscriptions whose readers would not be served any more.
    pub(super) fn end_lost_subscriptions(&self) {
        if self.is_reach_unchanged() {
            return;
        }
        let now = self.relay.clock.now_secs();
        let standing = Arc::clone(self.standing.borrow_mut().current());
        {
            let mut reach = self.reach.borrow_mut();
            if reach.looked_at == now {
                return;
            }
            *reach = Reach { version: standing.version(), looked_at: now };
        }
        if !standing.withholds() {
            return;
        }
        let mut lost = Vec::new();
        for connection in self.connections.borrow().iter() {
            let mut session = connection.session.borrow_mut();
            let open: Vec<u32> = session.subscriptions().iter().map(|it| it.number).collect();
            let index = self.index.borrow();
            for subscription in open {
                let key = SubKey { connection: connection.key.slot, subscription };
                let Some(filters) = index.filters(key) else { continue };
                if let Some(reject) = session.loss(filters, &standing) {
                    lost.push((Rc::clone(connection), subscription, reject));
                }
            }
        }
        for (connection, subscription, reject) in lost {
            self.fail_subscription(&connection, subscription, &reject);
        }
    }

    /// Returns how long to sleep at most, if there is something to look at that was put off.
    pub(super) fn reach_pause(&self) -> Option<Duration> {
        (!self.is_reach_unchanged()).then_some(PAUSE)
    }

    fn is_reach_unchanged(&self) -> bool {
        self.reach.borrow().version == self.standing.borrow_mut().current().version()
    }
}

/// Until the next second has come, or nearly.
const PAUSE: Duration = Duration::from_millis(200);
