//! The one predicate that everything passes before it leaves: stored results, live push, COUNT.
//!
//! What a client may read is decided here and nowhere else, so that no path can forget it. That an
//! event is deleted, vanished or superseded is the store's knowledge: it does not show such events.

use crate::nostr::{EventRef, Kind, KindClass};

/// Who reads, as far as it matters to what may be read. Goes along with a query to other threads.
#[derive(Clone, Debug, Default)]
pub struct Reader {}

impl Reader {
    /// Returns whether this reader may read an event that is shown at all.
    pub fn may_read(&self, _event: &EventRef<'_>) -> bool {
        true
    }
}

/// Returns whether `reader` may read `event` at the second `now`.
pub fn visible(event: &EventRef<'_>, reader: &Reader, now: u64) -> bool {
    is_shown(event, now) && reader.may_read(event)
}

/// Returns whether `event` is shown to anybody: the part of [`visible`] that one event has in
/// common for all its readers.
pub fn is_shown(event: &EventRef<'_>, now: u64) -> bool {
    !BEARER_KINDS.contains(&event.kind) && !is_expired(event, now)
}

/// Returns whether the time an event sets for itself has passed (NIP-40).
///
/// Ephemeral events are passed on whatever they say: they are not kept anyway.
pub(super) fn is_expired(event: &EventRef<'_>, now: u64) -> bool {
    event.expiration().is_some_and(|expiration| expiration <= now)
        && event.kind.class() != KindClass::Ephemeral
}

/// Events that prove something to whoever holds them: showing them to others would give the proof
/// away. Authentication (NIP-42), HTTP (NIP-98) and Blossom tokens, requests to join or leave with
/// their codes (NIP-43).
const BEARER_KINDS: [Kind; 5] =
    [Kind::AUTHENTICATION, Kind(24_242), Kind(27_235), Kind(28_934), Kind(28_936)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Keypair;

    #[test]
    fn nip_40_2_an_event_is_shown_until_the_second_it_sets() {
        let tags = [vec!["expiration".to_owned(), "100".to_owned()]];
        let rows = [(1, 99, true), (1, 100, false), (1, 101, false), (20_000, 101, true)];
        for (kind, now, expected) in rows {
            let event = keys().sign_event(1, Kind(kind), &tags, "");
            assert_eq!(visible(&event.view(), &Reader::default(), now), expected, "{kind} {now}");
        }
    }

    #[test]
    fn what_proves_something_to_its_holder_is_shown_to_nobody() {
        for (kind, expected) in [(27_235, false), (22_242, false), (24_242, false), (24_133, true)]
        {
            let event = keys().sign_event(1, Kind(kind), &[], "");
            assert_eq!(visible(&event.view(), &Reader::default(), 1), expected, "{kind}");
        }
    }

    fn keys() -> Keypair {
        Keypair::from_secret([1; 32]).expect("the secret is in range")
    }
}
