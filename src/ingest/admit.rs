//! Admission: the last decision before an event is given to the writer.

use crate::nostr::{Event, Kind, Prefix, Reject, Verified};

/// A verified event that this relay is willing to store or pass on.
#[derive(Debug)]
pub struct Admitted(Verified);

impl Admitted {
    /// Admits an event, or says why not.
    ///
    /// # Errors
    ///
    /// If the event's kind is never taken from clients (NIP-42), or its time is beyond what the
    /// store can order.
    pub fn new(event: Verified) -> Result<Admitted, Reject> {
        if event.event().kind == Kind::AUTHENTICATION {
            return Err(Reject::new(Prefix::Invalid, "kind 22242 belongs into an AUTH message"));
        }
        Ok(Admitted(event))
    }

    /// Returns the event.
    pub fn event(&self) -> &Event {
        self.0.event()
    }

    /// Returns the proof of its id and signature.
    pub fn into_verified(self) -> Verified {
        self.0
    }
}
