//! The keeper: notices what other processes commit to the store, and has the writer publish it.
//!
//! The writer looks for itself when it commits and now and then when it is idle; the keeper makes
//! sure that an import reaches live subscribers within the blink of an eye.

use std::time::Duration;

use crate::ingest::WriterHandle;
use crate::mailbox::{Received, Receiver};
use crate::store::Store;

/// The keeper's thread.
pub(super) struct Keeper {
    pub(super) store: Store,
    pub(super) writer: WriterHandle,
    /// Closed when the keeper is to stop.
    pub(super) stop: Receiver<()>,
}

impl Keeper {
    /// Looks at the store until told to stop.
    pub(super) fn run(self) {
        let mut quiet = QUIET_POLLS;
        let pause = |quiet| if quiet < QUIET_POLLS { POLL_PERIOD } else { QUIET_PERIOD };
        while self.stop.recv_timeout(pause(quiet)) == Received::Nothing {
            quiet = QUIET_POLLS.min(quiet + 1);
            match self.store.refresh() {
                Ok(seq) if seq <= self.writer.published() => {}
                Ok(_) => {
                    quiet = 0;
                    self.writer.notice_foreign();
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look for other processes' events");
                }
            }
        }
    }
}

/// One look at the end of the log each time, and a thread that wakes for it.
const POLL_PERIOD: Duration = Duration::from_millis(50);
/// The pause while nobody else has written for so many looks.
const QUIET_PERIOD: Duration = Duration::from_millis(250);
const QUIET_POLLS: u32 = 200;
