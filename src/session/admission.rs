//! What an event must be to be taken at all, as far as the event itself, the settings and the time
//! can tell. Proofs come later; what the store knows comes last.

use super::visible::is_expired;
use crate::nostr::{EventRef, Kind, Reject};

/// What an event may be. Any value is legal.
#[derive(Clone, Copy, Debug)]
pub struct EventLimits {
    /// How many tags.
    pub tags_max: usize,
    /// How many characters of content.
    pub content_characters_max: usize,
    /// How many seconds `created_at` may lie behind; `None` for any.
    pub past_secs_max: Option<u64>,
    /// How many seconds `created_at` may lie ahead; `None` for any.
    pub future_secs_max: Option<u64>,
}

/// Returns why the event cannot be taken, if so.
pub(super) fn check(event: &EventRef<'_>, limits: &EventLimits, now: u64) -> Result<(), Reject> {
    if event.kind == Kind::AUTHENTICATION {
        return Err(Reject::invalid("kind 22242 belongs into an AUTH message"));
    }
    // Each tag takes two packed bytes or more: most events need no counting.
    if event.tags_packed.len() / 2 > limits.tags_max {
        let count = event.tags().count();
        if count > limits.tags_max {
            let max = limits.tags_max;
            return Err(Reject::invalid(format!("event has {count} tags, this relay takes {max}")));
        }
    }
    if event.content.len() > limits.content_characters_max {
        let count = characters(event.content);
        if count > limits.content_characters_max {
            let max = limits.content_characters_max;
            let text = format!("content has {count} characters, this relay takes {max}");
            return Err(Reject::invalid(text));
        }
    }
    check_time(event, limits, now)
}

fn check_time(event: &EventRef<'_>, limits: &EventLimits, now: u64) -> Result<(), Reject> {
    if let Some(max) = limits.future_secs_max
        && event.created_at > now.saturating_add(max)
    {
        let ahead = event.created_at - now;
        let text = format!("created_at is {ahead} seconds ahead, this relay takes {max}");
        return Err(Reject::invalid(text));
    }
    if let Some(max) = limits.past_secs_max
        && event.created_at < now.saturating_sub(max)
    {
        let behind = now - event.created_at;
        let text = format!("created_at is {behind} seconds ago, this relay takes {max}");
        return Err(Reject::invalid(text));
    }
    if is_expired(event, now) {
        return Err(Reject::invalid("event expired"));
    }
    Ok(())
}

/// Counts the characters that canonical escaped text stands for.
fn characters(escaped: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = escaped;
    while let [first, tail @ ..] = rest {
        // An escape is two bytes, or six when it is `\u00xx`; canonical text is never cut in one.
        let skipped = match (first, tail.first()) {
            (b'\\', Some(b'u')) => 5,
            (b'\\', _) => 1,
            _ => 0,
        };
        // Bytes 0b10xx_xxxx go on with a character that was counted.
        count += usize::from(first & 0xc0 != 0x80);
        rest = tail.get(skipped..).unwrap_or_default();
    }
    count
}
