//! The parameters of a call, read with errors that say what is expected.

use serde_json::Value;

use super::call::Refusal;
use crate::nostr::{EventId, Kind, PublicKey, bech32};

/// The parameters of a call.
pub(super) struct Params<'a>(pub(super) &'a [Value]);

impl Params<'_> {
    /// Returns a public key.
    pub(super) fn key(&self, place: usize) -> Result<PublicKey, Refusal> {
        let read = |text: &str| {
            let decoded = || bech32::decode("npub", text).map(PublicKey);
            PublicKey::from_hex(text.as_bytes()).or_else(decoded)
        };
        let found = self.0.get(place).and_then(Value::as_str).and_then(read);
        found.ok_or_else(|| self.wrong(place, "a public key, in hexadecimal or as npub1..."))
    }

    /// Returns the id of an event.
    pub(super) fn id(&self, place: usize) -> Result<EventId, Refusal> {
        let read = |text: &str| {
            let decoded = || bech32::decode("note", text).map(EventId);
            EventId::from_hex(text.as_bytes()).or_else(decoded)
        };
        let found = self.0.get(place).and_then(Value::as_str).and_then(read);
        found.ok_or_else(|| self.wrong(place, "the id of an event, in hexadecimal or as note1..."))
    }

    /// Returns a kind, which may be written as text.
    pub(super) fn kind(&self, place: usize) -> Result<Kind, Refusal> {
        let number = self.number(place)?.and_then(|number| u16::try_from(number).ok());
        number.map(Kind).ok_or_else(|| self.wrong(place, "a kind from 0 to 65535"))
    }

    /// Returns a number, which may be written as text; nothing if there is none.
    pub(super) fn number(&self, place: usize) -> Result<Option<u64>, Refusal> {
        let found = match self.0.get(place) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_u64(),
        };
        found.map(Some).ok_or_else(|| self.wrong(place, "a whole number"))
    }

    /// Returns a text of at most so many characters.
    pub(super) fn text(&self, place: usize, most: usize) -> Result<&str, Refusal> {
        let text = self.0.get(place).and_then(Value::as_str);
        let text = text.ok_or_else(|| self.wrong(place, "a text"))?;
        // Control characters have no business in what is shown to people.
        let is_fine = |c: char| !c.is_control() || c == '\n';
        if text.chars().count() > most || !text.chars().all(is_fine) {
            return Err(self.wrong(place, &format!("a text of at most {most} characters")));
        }
        Ok(text)
    }

    /// Returns a text that may be missing, as an empty one.
    pub(super) fn optional_text(&self, place: usize, most: usize) -> Result<&str, Refusal> {
        match self.0.get(place) {
            None | Some(Value::Null) => Ok(""),
            Some(_) => self.text(place, most),
        }
    }

    /// Returns the reason of a decision, which may be missing.
    pub(super) fn reason(&self, place: usize) -> Result<&str, Refusal> {
        self.optional_text(place, REASON_CHARACTERS_MAX)
    }

    /// Says what is expected in a place.
    pub(super) fn wrong(&self, place: usize, expected: &str) -> Refusal {
        let found = self.0.get(place).map_or("nothing".to_owned(), Value::to_string);
        let shown: String = found.chars().take(SHOWN_CHARACTERS_MAX).collect();
        Refusal::Failed(format!("params[{place}]: expected {expected}, found {shown}"))
    }
}

/// Characters of a reason.
const REASON_CHARACTERS_MAX: usize = 1_000;
/// As much of what was found as is said back.
const SHOWN_CHARACTERS_MAX: usize = 100;
