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
        let mut last = self.store.last_seq();
        while self.stop.recv_timeout(POLL_PERIOD) == Received::Nothing {
            match self.store.refresh() {
                Ok(seq) if seq == last => {}
                Ok(seq) => {
                    last = seq;
                    self.writer.notice_foreign();
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot look for other processes' events");
                }
            }
        }
    }
}

/// One read of LMDB's header each time.
const POLL_PERIOD: Duration = Duration::from_millis(50);
