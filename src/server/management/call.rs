//! A call on its way to the office, and what comes back.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::journal;
use crate::nostr::{EventId, EventRef, PublicKey};
use crate::policy::{Permissions, Replays, Right, Unauthorized};
use crate::store::{Store, StoreError};

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) who: Who,
    /// From where, for the journal.
    pub(super) from: String,
    /// What has proven who it is, if that could be used again.
    pub(super) authorization: Option<EventId>,
}

/// Who somebody has proven to be.
#[derive(Clone, Debug)]
pub(super) enum Who {
    /// An administrator of the settings.
    Admin(PublicKey, Permissions),
    /// A user of this machine, by number, who may do everything.
    Local(u32),
}

impl Caller {
    /// Returns whether a method may be called that belongs to this right.
    pub(super) fn may(&self, method: &str, right: Right) -> bool {
        match &self.who {
            Who::Admin(_, permissions) => permissions.allow(method, right),
            Who::Local(_) => true,
        }
    }

    /// Returns the caller as the journal names one.
    pub(super) fn name(&self) -> String {
        match &self.who {
            Who::Admin(key, _) => key.to_string(),
            Who::Local(user) => format!("user {user}"),
        }
    }
}

/// A method to be called.
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) method: String,
    pub(super) params: Vec<Value>,
    pub(super) answer: oneshot::Sender<Said>,
}

/// What a call comes to.
pub(super) type Said = Result<Value, Refusal>;

/// Why a call comes to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The caller may not.
    Forbidden(String),
    /// It is no call, or cannot be done.
    Failed(String),
    /// Too many others call, or the relay stops.
    Busy,
}

impl Refusal {
    /// Returns what people read.
    pub(super) fn text(&self) -> &str {
        match self {
            Refusal::Forbidden(text) | Refusal::Failed(text) => text,
            Refusal::Busy => "the relay is busy with other calls, or stopping; try again",
        }
    }
}

/// The way to the office; cloning shares it.
#[derive(Clone)]
pub(in crate::server) struct OfficeHandle {
    calls: mpsc::Sender<Call>,
    replays: Arc<Mutex<Replays>>,
}

/// Where calls arrive, and the way there for those from this machine.
pub(in crate::server) struct Calls {
    pub(super) arriving: mpsc::Receiver<Call>,
    pub(super) handle: OfficeHandle,
}

impl Calls {
    /// Remembers what must not be used again, from before the relay was started.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(in crate::server) fn recall(&self, store: &Store) -> Result<(), StoreError> {
        self.handle.recall(store)
    }
}

/// Returns the way to an office, and where it ends.
pub(in crate::server) fn office_channel() -> (OfficeHandle, Calls) {
    let (sender, arriving) = mpsc::channel(CALLS_MAX);
    let handle = OfficeHandle { calls: sender, replays: Arc::default() };
    (handle.clone(), Calls { arriving, handle })
}

impl OfficeHandle {
    /// Has a method called.
    pub(super) async fn call(&self, caller: Caller, method: String, params: Vec<Value>) -> Said {
        let (answer, said) = oneshot::channel();
        let call = Call { caller, method, params, answer };
        self.calls.try_send(call).map_err(|_| Refusal::Busy)?;
        said.await.unwrap_or(Err(Refusal::Busy))
    }

    /// Notes that an administrator's authorization is used.
    ///
    /// # Errors
    ///
    /// If it was used before.
    pub(super) fn use_up(&self, event: &EventRef<'_>, now: u64) -> Result<(), Unauthorized> {
        // Nothing under the lock can leave it half done.
        self.replays.lock().unwrap_or_else(PoisonError::into_inner).use_up(event, now)
    }

    /// Remembers which authorizations were used for what the journal tells of.
    pub(super) fn recall(&self, store: &Store) -> Result<(), StoreError> {
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, entry) in journal::read(store, u64::MAX, RECALLED_MAX)? {
            let id = entry.authorization.and_then(|it| EventId::from_hex(it.as_bytes()));
            if let Some(id) = id {
                replays.recall(id, entry.at);
            }
        }
        Ok(())
    }
}

/// Entries of the journal that may be as new as authorizations are good: several a second.
const RECALLED_MAX: usize = 1_000;
/// Calls that may wait for the office; more are refused.
const CALLS_MAX: usize = 64;
