//! The names that clients give to what they have open.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::limits;
use crate::nostr::json::{self, RawText};

/// The name of a subscription, count or reconciliation within one connection: any text of 1 to
/// [`limits::SUBSCRIPTION_ID_CHARACTERS_MAX`] characters.
///
/// Kept as it is sent back: in canonical escaped form, without quotes. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(Arc<[u8]>);

impl SubscriptionId {
    /// Returns the name with this text; nothing if it is empty or too long.
    pub fn new(text: &str) -> Option<SubscriptionId> {
        let mut canonical = Vec::with_capacity(text.len());
        json::escape_into(text, &mut canonical);
        SubscriptionId::from_canonical(&canonical)
    }

    /// Returns the name in canonical escaped form, without quotes.
    #[inline]
    pub fn as_canonical(&self) -> &[u8] {
        &self.0
    }

    /// Returns the name as text.
    pub fn to_text(&self) -> Cow<'_, str> {
        json::unescape(&self.0)
    }

    /// Returns the name that a JSON string is; nothing if it is empty or too long.
    pub(super) fn from_raw(raw: &RawText<'_>) -> Option<SubscriptionId> {
        SubscriptionId::from_canonical(&raw.canonical())
    }

    fn from_canonical(canonical: &[u8]) -> Option<SubscriptionId> {
        let count = json::character_count(canonical);
        (1..=limits::SUBSCRIPTION_ID_CHARACTERS_MAX)
            .contains(&count)
            .then(|| SubscriptionId(canonical.into()))
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_from_one_to_64_characters_of_any_kind() {
        assert_eq!(SubscriptionId::new(""), None);
        for character in ["a", "\"", "\n", "\0", "\u{e9}", "\u{1f600}"] {
            let longest =
                SubscriptionId::new(&character.repeat(64)).expect("64 characters are legal");
            assert_eq!(longest.to_text(), character.repeat(64));
            assert_eq!(SubscriptionId::new(&character.repeat(65)), None);
        }
    }

    #[test]
    fn equal_texts_are_equal_names() {
        let name = SubscriptionId::new("a\"\u{e9}").expect("it is legal");
        assert_eq!(name, name.clone());
        assert_eq!(name.as_canonical(), "a\\\"\u{e9}".as_bytes());
        assert_eq!(format!("{name:?}"), "\"a\\\"\u{e9}\"");
    }
}
