//! Events: parsed from JSON, viewed without copying, rendered back.
//!
//! An [`Event`] proves its shape (members, types, lower-case hexadecimal, canonical text), and
//! nothing about its id or signature; that is what `verify` adds.
//!
//! Sketch of parsing 1 KB: UTF-8 check by SIMD, then one pass that finds the end of each string
//! eight bytes at a time and copies it whole; one allocation, for tags and content together.
//! Content may stand before the tags in the JSON, so it is remembered where it lies and copied
//! last.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::id::{EventId, PublicKey, Signature};
use super::json::{self, JsonError, RawText, Scanner};
use super::kind::{Kind, KindClass};
use super::tag::{self, TagError, Tags, Value};
use crate::{hex, limits};

/// A parsed event that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The claimed hash of the canonical serialisation.
    pub id: EventId,
    /// The claimed author.
    pub pubkey: PublicKey,
    /// The signature of the id.
    pub sig: Signature,
    /// When the author says that it was made, in seconds since 1970.
    pub created_at: u64,
    /// What it is about.
    pub kind: Kind,
    /// Packed tags, then canonical content.
    body: Vec<u8>,
    tags_len: u32,
}

/// Why a JSON text is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The bytes are not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// The text is not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The value is of another type.
    #[error("event is not an object")]
    NotObject,
    /// A required member is absent.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A member is there twice, so that readers could disagree about its value.
    #[error("`{0}` occurs twice")]
    Repeated(&'static str),
    /// A member has the wrong type or shape.
    #[error("`{member}` is not {expected}")]
    Malformed {
        /// The member's name.
        member: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
    /// The tags have the wrong type or shape.
    #[error(transparent)]
    Tags(TagError),
    /// Tags and content together are longer than any event may be.
    #[error("tags and content are longer than {} bytes", limits::EVENT_BODY_BYTES_MAX)]
    TooLong,
}

impl From<TagError> for EventError {
    fn from(error: TagError) -> EventError {
        match error {
            TagError::Json(error) => EventError::Json(error),
            error => EventError::Tags(error),
        }
    }
}

impl Event {
    /// Parses a JSON text that is one event object; whitespace around it is allowed.
    pub fn parse(json: &[u8]) -> Result<Event, EventError> {
        let text = simdutf8::basic::from_utf8(json).map_err(|_| EventError::NotUtf8)?;
        Event::parse_str(text)
    }

    /// Parses a JSON text that is known to be UTF-8.
    pub fn parse_str(json: &str) -> Result<Event, EventError> {
        let mut scanner = Scanner::new(json);
        let event = Event::read(&mut scanner)?;
        scanner.finish()?;
        Ok(event)
    }

    /// Puts an event together from its stored parts: packed tags and canonical content.
    ///
    /// The parts are trusted to be in their canonical forms.
    pub fn from_parts(
        id: EventId,
        pubkey: PublicKey,
        sig: Signature,
        created_at: u64,
        kind: Kind,
        tags: &[u8],
        content: &[u8],
    ) -> Event {
        let tags_len = u32::try_from(tags.len()).expect("packed tags are shorter than 4 GiB");
        let mut body = Vec::with_capacity(tags.len() + content.len());
        body.extend_from_slice(tags);
        body.extend_from_slice(content);
        Event { id, pubkey, sig, created_at, kind, body, tags_len }
    }

    /// Returns the borrowed view on which everything works.
    #[inline]
    pub fn view(&self) -> EventRef<'_> {
        let (tags_packed, content) = self.body.split_at(self.tags_len as usize);
        EventRef {
            id: &self.id,
            pubkey: &self.pubkey,
            sig: &self.sig,
            created_at: self.created_at,
            kind: self.kind,
            tags_packed,
            content,
        }
    }

    /// Returns how many bytes of memory the event takes, its own size included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Event>() + self.body.capacity()
    }

    /// Reads an event object from the scanner.
    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Event, EventError> {
        if scanner.peek() != Some(b'{') {
            return Err(EventError::NotObject);
        }
        let mut members = Members::default();
        let mut has_member = scanner.open(b'{', b'}')?;
        while has_member {
            let key = scanner.key()?;
            match key.as_canonical() {
                Some(key) => members.read(key, scanner)?,
                None => members.read(&key.canonical(), scanner)?,
            }
            has_member = scanner.another(b'}')?;
        }
        members.finish()
    }
}

/// What was found so far of an event object.
#[derive(Default)]
struct Members<'a> {
    id: Option<EventId>,
    pubkey: Option<PublicKey>,
    sig: Option<Signature>,
    created_at: Option<u64>,
    kind: Option<Kind>,
    content: Option<RawText<'a>>,
    tags_len: Option<u32>,
    body: Vec<u8>,
}

impl<'a> Members<'a> {
    /// Reads the value of the member called `key`; unknown ones are skipped.
    #[inline]
    fn read(&mut self, key: &[u8], scanner: &mut Scanner<'a>) -> Result<(), EventError> {
        match key {
            b"id" => {
                let id = scanner.hex_32().ok_or_else(|| malformed("id", HEX_32, scanner))?;
                once("id", &mut self.id, EventId(id))
            }
            b"pubkey" => {
                let pubkey =
                    scanner.hex_32().ok_or_else(|| malformed("pubkey", HEX_32, scanner))?;
                once("pubkey", &mut self.pubkey, PublicKey(pubkey))
            }
            b"sig" => {
                let sig = scanner.hex_64().ok_or_else(|| malformed("sig", HEX_64, scanner))?;
                once("sig", &mut self.sig, Signature(sig))
            }
            b"created_at" => {
                let secs =
                    scanner.integer().ok_or_else(|| malformed("created_at", INTEGER, scanner))?;
                once("created_at", &mut self.created_at, secs)
            }
            b"kind" => {
                let number = scanner.integer().ok_or_else(|| malformed("kind", KIND, scanner))?;
                let kind = u16::try_from(number)
                    .map_err(|_| EventError::Malformed { member: "kind", expected: KIND })?;
                once("kind", &mut self.kind, Kind(kind))
            }
            b"content" => {
                if scanner.peek() != Some(b'"') {
                    return Err(malformed("content", "a string", scanner));
                }
                let content = scanner.text()?;
                once("content", &mut self.content, content)
            }
            b"tags" => self.read_tags(scanner),
            _ => Ok(scanner.skip_value()?),
        }
    }

    fn read_tags(&mut self, scanner: &mut Scanner<'a>) -> Result<(), EventError> {
        if self.tags_len.is_some() {
            return Err(EventError::Repeated("tags"));
        }
        // Packed tags are never longer than their JSON, canonical content never longer than its
        // source.
        let content_len = self.content.map_or(0, |content| content.source_len());
        self.body.reserve_exact(scanner.remaining() + content_len);
        tag::read_packed(scanner, &mut self.body)?;
        self.tags_len = Some(u32::try_from(self.body.len()).map_err(|_| EventError::TooLong)?);
        Ok(())
    }

    fn finish(self) -> Result<Event, EventError> {
        let id = self.id.ok_or(EventError::Missing("id"))?;
        let pubkey = self.pubkey.ok_or(EventError::Missing("pubkey"))?;
        let sig = self.sig.ok_or(EventError::Missing("sig"))?;
        let created_at = self.created_at.ok_or(EventError::Missing("created_at"))?;
        let kind = self.kind.ok_or(EventError::Missing("kind"))?;
        let tags_len = self.tags_len.ok_or(EventError::Missing("tags"))?;
        let content = self.content.ok_or(EventError::Missing("content"))?;
        let mut body = self.body;
        content.canonical_into(&mut body);
        if body.len() > limits::EVENT_BODY_BYTES_MAX {
            return Err(EventError::TooLong);
        }
        // Hexadecimal tags take half of what was reserved; events may stay in memory for long.
        if body.capacity() > body.len() + body.len() / 4 + SPARE_BYTES_MAX {
            body.shrink_to_fit();
        }
        Ok(Event { id, pubkey, sig, created_at, kind, body, tags_len })
    }
}

#[inline]
fn once<T>(member: &'static str, slot: &mut Option<T>, value: T) -> Result<(), EventError> {
    if slot.is_some() {
        return Err(EventError::Repeated(member));
    }
    *slot = Some(value);
    Ok(())
}

/// Returns the error about a member of the wrong shape, or the one about JSON if it is not even a
/// value.
#[cold]
fn malformed(member: &'static str, expected: &'static str, scanner: &Scanner<'_>) -> EventError {
    match scanner.clone().skip_value() {
        Ok(()) => EventError::Malformed { member, expected },
        Err(error) => EventError::Json(error),
    }
}

/// A borrowed view of an event: of an [`Event`] or of a stored record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef<'a> {
    /// The hash of the canonical serialisation.
    pub id: &'a EventId,
    /// The author.
    pub pubkey: &'a PublicKey,
    /// The signature of the id.
    pub sig: &'a Signature,
    /// When the author says that it was made, in seconds since 1970.
    pub created_at: u64,
    /// What it is about.
    pub kind: Kind,
    /// The tags in packed form.
    pub tags_packed: &'a [u8],
    /// The content in canonical escaped form, without quotes.
    pub content: &'a [u8],
}

impl<'a> EventRef<'a> {
    /// Returns the tags in order.
    #[inline]
    pub fn tags(&self) -> Tags<'a> {
        Tags::new(self.tags_packed)
    }

    /// Appends the event as compact JSON: the seven members, text in canonical form.
    ///
    /// Whoever fills a buffer of its own with one event makes it [`EventRef::json_len`] bytes
    /// large.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut head = *HEAD;
        hex::encode(&self.id.0, &mut head[ID_AT..ID_AT + 64]);
        hex::encode(&self.pubkey.0, &mut head[PUBKEY_AT..PUBKEY_AT + 64]);
        let mut tail = *TAIL;
        hex::encode(&self.sig.0, &mut tail[SIG_AT..SIG_AT + 128]);
        out.extend_from_slice(&head);
        json::write_integer(self.created_at, out);
        out.extend_from_slice(b",\"kind\":");
        json::write_integer(u64::from(self.kind.0), out);
        out.extend_from_slice(b",\"tags\":");
        tag::write_json(self.tags_packed, out);
        out.extend_from_slice(b",\"content\":\"");
        out.extend_from_slice(self.content);
        out.extend_from_slice(&tail);
    }

    /// Returns how many bytes [`EventRef::write_json`] appends.
    pub fn json_len(&self) -> usize {
        let punctuation =
            r#"{"id":"","pubkey":"","created_at":,"kind":,"tags":,"content":"","sig":""}"#.len();
        let names = (32 + 32 + 64) * 2;
        let numbers =
            json::integer_len(self.created_at) + json::integer_len(u64::from(self.kind.0));
        punctuation + names + numbers + tag::json_len(self.tags_packed) + self.content.len()
    }

    /// Appends the text whose SHA-256 is the id, up to the content: it lacks the content and `"]`.
    pub(super) fn write_canonical_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"[0,\"");
        hex::encode_into(&self.pubkey.0, out);
        out.extend_from_slice(b"\",");
        json::write_integer(self.created_at, out);
        out.push(b',');
        json::write_integer(u64::from(self.kind.0), out);
        out.push(b',');
        tag::write_json(self.tags_packed, out);
        out.extend_from_slice(b",\"");
    }

    /// Returns when the event expires (NIP-40): the first `expiration` tag, if it is a plain
    /// decimal number.
    pub fn expiration(&self) -> Option<u64> {
        // Everything that is shown is asked, and hardly anything has it: to see that the name is
        // nowhere in the bytes is faster than to walk over the tags.
        EXPIRATION.find(self.tags_packed)?;
        let tag = self.tags().find(|tag| tag.is_named("expiration"))?;
        let Value::Text(digits) = tag.value()? else {
            return None;
        };
        if digits.is_empty() {
            return None;
        }
        digits.iter().try_fold(0_u64, |value, byte| {
            let digit = char::from(*byte).to_digit(10)?;
            value.checked_mul(10)?.checked_add(u64::from(digit))
        })
    }

    /// Returns the value of the first `d` tag; the empty text if there is none.
    pub fn identifier(&self) -> Value<'a> {
        let tag = self.tags().find(|tag| tag.letter() == Some(b'd'));
        tag.and_then(|tag| tag.value()).unwrap_or(Value::EMPTY)
    }

    /// Tells whether only its author may publish the event here (NIP-70).
    pub fn is_protected(&self) -> bool {
        self.tags().any(|tag| tag.is_named("-"))
    }

    /// Tells whether newer events with the same address replace this one.
    pub fn has_address(&self) -> bool {
        matches!(self.kind.class(), KindClass::Replaceable | KindClass::Addressable)
    }

    /// Appends `kind:pubkey:identifier` in canonical escaped form; only addressable kinds have an
    /// identifier.
    pub fn write_address(&self, out: &mut Vec<u8>) {
        json::write_integer(u64::from(self.kind.0), out);
        out.push(b':');
        hex::encode_into(&self.pubkey.0, out);
        out.push(b':');
        if self.kind.is_addressable() {
            self.identifier().write_canonical(out);
        }
    }

    /// Returns what tag filters can find: the letter and value of each tag that has both,
    /// repetitions included.
    ///
    /// An addressable event whose first `d` tag has no value, or that has none, also counts as
    /// having the empty one (NIP-01.39), so that `#d` finds every event by the identifier in its
    /// address.
    pub fn indexed_values(&self) -> impl Iterator<Item = (u8, Value<'a>)> + use<'a> {
        let implied = self.lacks_identifier().then_some((b'd', Value::EMPTY));
        self.tags().filter_map(|tag| Some((tag.letter()?, tag.value()?))).chain(implied)
    }

    /// Returns those of [`EventRef::indexed_values`] that belong to one letter.
    pub fn values_of(&self, letter: u8) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let implied = (letter == b'd' && self.lacks_identifier()).then_some(Value::EMPTY);
        let literal = self.tags().filter(move |tag| tag.letter() == Some(letter));
        literal.filter_map(|tag| tag.value()).chain(implied)
    }

    /// Tells whether the event has an identifier that no tag spells out.
    fn lacks_identifier(&self) -> bool {
        let first_d = || self.tags().find(|tag| tag.letter() == Some(b'd'));
        self.kind.is_addressable() && first_d().and_then(|tag| tag.value()).is_none()
    }

    /// Returns how many Unicode characters the content has.
    pub fn content_character_count(&self) -> usize {
        json::character_count(self.content)
    }

    /// Copies the event out of whatever it is borrowed from.
    pub fn to_owned(&self) -> Event {
        Event::from_parts(
            *self.id,
            *self.pubkey,
            *self.sig,
            self.created_at,
            self.kind,
            self.tags_packed,
            self.content,
        )
    }
}

/// The JSON of an event up to its time, with room for the digits of id and author.
const HEAD: &[u8; 162] = b"{\"id\":\"\
    0000000000000000000000000000000000000000000000000000000000000000\
    \",\"pubkey\":\"\
    0000000000000000000000000000000000000000000000000000000000000000\
    \",\"created_at\":";
const ID_AT: usize = br#"{"id":""#.len();
const PUBKEY_AT: usize = ID_AT + 64 + br#"","pubkey":""#.len();
/// The JSON of an event behind its content, with room for the digits of the signature.
const TAIL: &[u8; 139] = b"\",\"sig\":\"\
    0000000000000000000000000000000000000000000000000000000000000000\
    0000000000000000000000000000000000000000000000000000000000000000\"}";
const SIG_AT: usize = br#"","sig":""#.len();

/// Looks for the name of the tag that NIP-40 is about.
static EXPIRATION: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("expiration"));

/// How much more than its length (and a quarter) a body may hold before it is shrunk.
const SPARE_BYTES_MAX: usize = 512;

const HEX_32: &str = "64 lower-case hexadecimal digits";
const HEX_64: &str = "128 lower-case hexadecimal digits";
const INTEGER: &str = "a non-negative integer";
const KIND: &str = "an integer from 0 to 65535";

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;
    use serde_json::{Value as Json, json};

    fn parse(json: &Json) -> Result<Event, EventError> {
        Event::parse(json.to_string().as_bytes())
    }

    fn rendered(event: &EventRef<'_>) -> String {
        let mut out = b"x".to_vec();
        event.write_json(&mut out);
        assert_eq!(out.len() - 1, event.json_len());
        String::from_utf8(out.split_off(1)).expect("it is text")
    }

    fn sample() -> Json {
        serde_json::from_str(fixtures::S1).expect("the fixture is JSON")
    }

    fn with(member: &str, value: Json) -> Json {
        let mut event = sample();
        event[member] = value;
        event
    }

    fn tagged(kind: u16, tags: Json) -> Event {
        let mut event = with("kind", json!(kind));
        event["tags"] = tags;
        parse(&event).expect("it is well formed")
    }

    #[test]
    fn events_come_out_as_they_went_in_for_any_reader() {
        for text in fixtures::VALID {
            let event = Event::parse(text.as_bytes()).expect("the fixture is an event");
            let out = rendered(&event.view());
            let before: Json = serde_json::from_str(text).expect("the fixture is JSON");
            let after: Json = serde_json::from_str(&out).expect("we render JSON");
            assert_eq!(before, after);
            assert_eq!(Event::parse_str(&out), Ok(event.clone()));
            assert_eq!(event.view().to_owned(), event);
            assert_eq!(
                event.view().content_character_count(),
                before["content"].as_str().map_or(0, |text| text.chars().count())
            );
        }
    }

    #[test]
    fn rendering_is_compact_and_in_the_order_of_the_protocol() {
        let event = Event::parse(fixtures::S7.as_bytes()).expect("the fixture is an event");
        let expected = r#"{"id":"159d8dec53e3c38dbc16acdfd1cb803e7dccd56c3e7adc2ef8827ae9194f6e4e","pubkey":"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798","created_at":1700000000,"kind":1,"tags":[["t","a\"b\\c\n"],["x",""]],"content":"t","sig":"ba5a70248fab52fe4b79282d9b6289093d1a0921f6a452ce8886be7738380e89593c88213f1ce06bec968005ec4e91dda62e9799ecad1f8053b87d616ea1168d"}"#;
        assert_eq!(rendered(&event.view()), expected);
    }

    #[test]
    fn members_may_stand_in_any_order_with_whitespace_and_escaped_names() {
        let plain = parse(&sample()).expect("it is an event");
        let spaced = serde_json::to_string_pretty(&sample()).expect("it is JSON");
        assert_eq!(Event::parse(format!(" \t\r\n{spaced}\n ").as_bytes()), Ok(plain.clone()));
        let escaped = sample()
            .to_string()
            .replace("\"id\"", "\"\\u0069d\"")
            .replace("hello", "\\u0068ell\\u006f");
        assert_eq!(Event::parse(escaped.as_bytes()), Ok(plain.clone()));
        let names = ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"];
        for first in names {
            let value = &sample()[first];
            let mut rest = sample();
            rest.as_object_mut().expect("an object").remove(first);
            let rest = rest.to_string();
            let moved = format!("{{\"{first}\":{value},{}", &rest[1..]);
            assert_eq!(Event::parse(moved.as_bytes()), Ok(plain.clone()), "{first}");
        }
    }

    #[test]
    fn unknown_members_are_dropped_and_their_nesting_is_bounded() {
        let plain = parse(&sample()).expect("it is an event");
        for value in [json!(1.5e300), json!(null), json!({"a": [1, {"id": "x"}]}), json!("\u{1}")] {
            assert_eq!(parse(&with("foo", value)), Ok(plain.clone()));
        }
        let deep = "[".repeat(100_000);
        let text = sample().to_string();
        let hostile = format!("{{\"foo\":{deep},{}", &text[1..]);
        assert!(matches!(Event::parse(hostile.as_bytes()), Err(EventError::Json(_))));
    }

    #[test]
    fn each_member_has_exactly_one_type_and_shape() {
        let hex = "bde202ea7642ff9910600c7edc948a1f4220f0cbf5e4fb2b7efafa681bbb5285";
        let names = [
            json!(hex.to_uppercase()),
            json!(format!("0x{}", &hex[2..])),
            json!(&hex[1..]),
            json!(format!("{hex}0")),
            json!(format!("{}g", &hex[1..])),
            json!(""),
            json!(null),
            json!(5),
            json!([]),
            json!({}),
            json!(true),
        ];
        for value in &names {
            for member in ["id", "pubkey", "sig"] {
                let error = parse(&with(member, value.clone())).expect_err("it is malformed");
                assert!(
                    matches!(error, EventError::Malformed { member: found, .. } if found == member),
                    "{member} {value}"
                );
            }
        }
        let numbers = [json!(-1), json!(1.5), json!("1"), json!(null), json!([]), json!(true)];
        for value in &numbers {
            for member in ["created_at", "kind"] {
                assert!(
                    matches!(
                        parse(&with(member, value.clone())),
                        Err(EventError::Malformed { .. })
                    ),
                    "{member} {value}"
                );
            }
        }
        assert!(matches!(
            parse(&with("kind", json!(65_536))),
            Err(EventError::Malformed { member: "kind", .. })
        ));
        assert!(parse(&with("kind", json!(65_535))).is_ok());
        assert!(parse(&with("created_at", json!(u64::MAX))).is_ok());
        for value in [json!(null), json!(5), json!({}), json!([])] {
            assert!(matches!(
                parse(&with("content", value)),
                Err(EventError::Malformed { member: "content", .. })
            ));
        }
        for value in [
            json!(null),
            json!({}),
            json!([[]]),
            json!([["t", 1]]),
            json!(["t"]),
            json!([["t", ["a"]]]),
        ] {
            assert!(matches!(parse(&with("tags", value)), Err(EventError::Tags(_))));
        }
    }

    #[test]
    fn numbers_that_are_integers_only_by_value_are_refused() {
        let text = sample().to_string();
        for number in [
            "1700000000.0",
            "1.7e9",
            "17E8",
            "01700000000",
            "-0",
            "18446744073709551616",
            "+1",
            "0x1",
        ] {
            let altered = text.replace("1700000000", number);
            assert!(Event::parse(altered.as_bytes()).is_err(), "{number}");
        }
    }

    #[test]
    fn every_member_is_required_once() {
        let text = sample().to_string();
        for member in ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"] {
            let mut lacking = sample();
            lacking.as_object_mut().expect("an object").remove(member);
            assert_eq!(parse(&lacking), Err(EventError::Missing(member)));
            let twice = format!("{{\"{member}\":{},{}", sample()[member], &text[1..]);
            assert_eq!(Event::parse(twice.as_bytes()), Err(EventError::Repeated(member)));
        }
    }

    #[test]
    fn an_author_in_upper_case_is_refused_though_it_was_hashed_like_that() {
        let error = Event::parse(fixtures::U1.as_bytes()).expect_err("it is malformed");
        assert_eq!(error.to_string(), "`pubkey` is not 64 lower-case hexadecimal digits");
    }

    #[test]
    fn text_that_is_no_json_object_is_no_event() {
        for value in [json!([]), json!(null), json!("x"), json!(1)] {
            assert_eq!(parse(&value), Err(EventError::NotObject));
        }
        assert!(Event::parse(b"").is_err());
        assert_eq!(Event::parse(b"{}"), Err(EventError::Missing("id")));
        assert_eq!(Event::parse(b"{\"content\":\"\xff\"}"), Err(EventError::NotUtf8));
        let text = sample().to_string();
        for end in 0..text.len() {
            assert!(Event::parse(&text.as_bytes()[..end]).is_err());
        }
        assert!(Event::parse(format!("{text}x").as_bytes()).is_err());
        for content in ["x\\ud800y", "x\\udc00", "\\ud83d\\ud83d", "a\nb", "a\\xb", "\\u00g0"] {
            let altered = text.replace("hello", content);
            assert!(
                matches!(Event::parse(altered.as_bytes()), Err(EventError::Json(_))),
                "{content}"
            );
        }
    }

    #[test]
    fn expiration_is_the_first_such_tag_if_it_is_a_number() {
        let rows = [
            (json!([]), None),
            (json!([["expiration", "0"]]), Some(0)),
            (json!([["expiration", "1700000001", "x"], ["expiration", "5"]]), Some(1_700_000_001)),
            (json!([["expiration", "x"], ["expiration", "5"]]), None),
            (json!([["expiration"], ["expiration", "5"]]), None),
            (json!([["expiration", ""]]), None),
            (json!([["expiration", "-1"]]), None),
            (json!([["expiration", " 1"]]), None),
            (json!([["expiration", "1.0"]]), None),
            (json!([["expiration", "18446744073709551615"]]), Some(u64::MAX)),
            (json!([["expiration", "18446744073709551616"]]), None),
            (json!([["expiration", "0".repeat(64)]]), None),
        ];
        for (tags, expected) in rows {
            assert_eq!(tagged(1, tags.clone()).view().expiration(), expected, "{tags}");
        }
    }

    #[test]
    fn an_address_is_kind_author_and_first_identifier() {
        let author = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let rows = [
            (30_000, json!([]), format!("30000:{author}:")),
            (30_000, json!([["d"]]), format!("30000:{author}:")),
            (30_000, json!([["d", ""]]), format!("30000:{author}:")),
            (
                30_023,
                json!([["t", "x"], ["d", "a:b\"\n"], ["d", "y"]]),
                format!("30023:{author}:a:b\\\"\\n"),
            ),
            (30_000, json!([["d", author]]), format!("30000:{author}:{author}")),
            (10_002, json!([["d", "ignored"]]), format!("10002:{author}:")),
        ];
        for (kind, tags, expected) in rows {
            let event = tagged(kind, tags);
            assert!(event.view().has_address());
            let mut out = Vec::new();
            event.view().write_address(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
        assert!(!tagged(1, json!([])).view().has_address());
        assert!(!tagged(20_000, json!([])).view().has_address());
    }

    #[test]
    fn indexed_values_are_those_of_letters_and_the_implied_identifier() {
        let found = |event: Event| -> Vec<(char, String)> {
            event
                .view()
                .indexed_values()
                .map(|(letter, value)| (char::from(letter), value.to_text().into_owned()))
                .collect()
        };
        let tags = json!([["t", "a", "b"], ["t"], ["title", "x"], ["E", "y"], ["-"], ["1", "z"]]);
        let literal = [('t', "a".to_owned()), ('E', "y".to_owned())];
        assert_eq!(found(tagged(1, tags.clone())), literal);
        let mut implied = literal.to_vec();
        implied.push(('d', String::new()));
        assert_eq!(found(tagged(30_000, tags.clone())), implied);
        assert_eq!(found(tagged(10_002, tags)), literal);
        assert_eq!(found(tagged(30_000, json!([["d", "v"]]))), [('d', "v".to_owned())]);
        assert_eq!(
            found(tagged(30_000, json!([["d"], ["d", "v"]]))),
            [('d', "v".to_owned()), ('d', String::new())]
        );
    }

    #[test]
    fn protected_events_carry_the_dash_tag() {
        assert!(tagged(1, json!([["-"]])).view().is_protected());
        assert!(tagged(1, json!([["x"], ["-", "y"]])).view().is_protected());
        assert!(!tagged(1, json!([["--"], ["x", "-"]])).view().is_protected());
    }

    #[test]
    fn memory_follows_the_size_of_the_event_and_not_of_its_source() {
        let author = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let mut event = with("tags", json!(vec![["p", author]; 1000]));
        event["padding"] = json!("x".repeat(100_000));
        let event = parse(&event).expect("it is an event");
        assert!(event.memory_bytes() < 1000 * 36 * 2, "{}", event.memory_bytes());
    }
}
