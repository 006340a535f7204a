//! The numbers of `/`: what this relay has and does, in totals that tell of nobody.
//!
//! Whoever asks costs next to nothing: the answer is made at most once a second, for all cores.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::metrics::{CoreMetrics, Counter};
use crate::net::Bytes;
use crate::store::{Store, StoreError};

/// The totals of all cores, and the last answer.
#[derive(Debug, Default)]
pub(in crate::server) struct Counters {
    cores: Arc<[Arc<CoreMetrics>]>,
    started: u64,
    answer: Mutex<Option<Answer>>,
}

/// Who may ask for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Audience {
    /// Anybody.
    Everyone,
    /// Only some; nobody else is told how many events there are.
    Some,
}

#[derive(Debug)]
struct Answer {
    second: u64,
    audience: Audience,
    json: Bytes,
}

impl Counters {
    /// Begins with what these cores will count from the second `started` on.
    pub(in crate::server) fn new(cores: Arc<[Arc<CoreMetrics>]>, started: u64) -> Counters {
        Counters { cores, started, answer: Mutex::default() }
    }

    /// Returns the second in which counting began.
    pub(in crate::server) fn started(&self) -> u64 {
        self.started
    }

    /// Returns the numbers as JSON, not older than the second `now`.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(in crate::server) fn json(
        &self,
        store: &Store,
        audience: Audience,
        now: u64,
    ) -> Result<Bytes, StoreError> {
        // Whoever panicked with the lock has replaced the answer or not; both are answers.
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*answer
            && (last.second, last.audience) == (now, audience)
        {
            return Ok(last.json.clone());
        }
        let json = self.gather(store, audience, now)?;
        *answer = Some(Answer { second: now, audience, json: json.clone() });
        Ok(json)
    }

    fn gather(&self, store: &Store, audience: Audience, now: u64) -> Result<Bytes, StoreError> {
        let sum = |counter: fn(&CoreMetrics) -> &Counter| -> u64 {
            self.cores.iter().map(|core| counter(core).total()).sum()
        };
        // What ended is read first, so that it is never more than what began.
        let disconnected = sum(|it| &it.connections_closed_total);
        let closed = sum(|it| &it.subscriptions_closed_total);
        let mut numbers = json!({
            "connections": sum(|it| &it.connections_opened_total).saturating_sub(disconnected),
            "subscriptions": sum(|it| &it.subscriptions_opened_total).saturating_sub(closed),
            "received": sum(|it| &it.events_total),
            "sent": sum(|it| &it.events_sent_stored_total) + sum(|it| &it.events_sent_live_total),
            "up_secs": now.saturating_sub(self.started),
        });
        if audience == Audience::Everyone {
            let events: u64 = store.snapshot()?.totals().map(|(_, count)| count).sum();
            numbers["events"] = events.into();
        }
        Ok(Bytes::from(numbers.to_string()))
    }
}
