//! Tags, in the packed form in which events carry and store them.
//!
//! Packed, for each tag: the number of elements (at least one), then each element: a header `h`,
//! and if `h` is 65 the 32 bytes whose lower-case hexadecimal text the element is, else (`h` is
//! even) `h / 2` bytes of canonical escaped text. Numbers are LEB128. An element of 64 lower-case
//! hexadecimal digits is always packed as its 32 bytes, so that two elements are equal exactly when
//! their packed bytes are.
//!
//! Readers accept any bytes: at the first that is not well formed the tags end.

use std::borrow::Cow;
use std::fmt;

use crate::hex;

use super::json::{self, RawText, Scanner};

/// The text of one element of a tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value<'a> {
    /// The text of 64 lower-case hexadecimal digits that these bytes have.
    Hex(&'a [u8; 32]),
    /// Any other text, in canonical escaped form.
    Text(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The empty text.
    pub const EMPTY: Value<'static> = Value::Text(b"");

    /// Appends the text in canonical escaped form, without quotes.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Value::Hex(bytes) => hex::encode_32_into(bytes, out),
            Value::Text(text) => out.extend_from_slice(text),
        }
    }

    /// Returns the length of the text in canonical escaped form, without quotes.
    pub fn canonical_len(&self) -> usize {
        match self {
            Value::Hex(bytes) => bytes.len() * 2,
            Value::Text(text) => text.len(),
        }
    }

    /// Returns the text itself, without escapes.
    pub fn to_text(&self) -> Cow<'a, str> {
        match self {
            Value::Hex(bytes) => Cow::Owned(hex::Hex(*bytes).to_string()),
            Value::Text(text) => json::unescape(text),
        }
    }

    /// Returns the bytes if the text is an event id or a public key.
    pub fn as_hex(&self) -> Option<&'a [u8; 32]> {
        match self {
            Value::Hex(bytes) => Some(bytes),
            Value::Text(_) => None,
        }
    }

    /// Tells whether the text is empty.
    pub fn is_empty(&self) -> bool {
        *self == Value::EMPTY
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

/// The tags of an event, in order.
#[derive(Clone, Copy)]
pub struct Tags<'a> {
    rest: &'a [u8],
}

impl<'a> Tags<'a> {
    /// Reads packed tags.
    pub fn new(packed: &'a [u8]) -> Tags<'a> {
        Tags { rest: packed }
    }

    /// Tells whether bytes are packed tags from the first to the last, each element in its one
    /// legal form.
    pub fn is_well_formed(packed: &[u8]) -> bool {
        let mut rest = packed;
        while !rest.is_empty() {
            let Some(tag) = take_tag(&mut rest) else {
                return false;
            };
            let is_spelled_out =
                |value| matches!(value, Value::Text(text) if hex::decode_32(text).is_some());
            if tag.elements().any(is_spelled_out) {
                return false;
            }
        }
        true
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    #[inline]
    fn next(&mut self) -> Option<Tag<'a>> {
        let tag = take_tag(&mut self.rest);
        if tag.is_none() {
            self.rest = &[];
        }
        tag
    }
}

impl fmt::Debug for Tags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// One tag: a name and any number of further elements.
#[derive(Clone, Copy)]
pub struct Tag<'a> {
    count: usize,
    packed: &'a [u8],
}

impl<'a> Tag<'a> {
    /// Returns the first element.
    #[inline]
    pub fn name(&self) -> Value<'a> {
        take_element(&mut { self.packed }).unwrap_or(Value::EMPTY)
    }

    /// Returns the second element, which is the one that filters look at.
    #[inline]
    pub fn value(&self) -> Option<Value<'a>> {
        self.elements().nth(1)
    }

    /// Returns all elements, the name first.
    #[inline]
    pub fn elements(&self) -> Elements<'a> {
        Elements { left: self.count, rest: self.packed }
    }

    /// Returns the name if it is one ASCII letter: only such tags are indexed.
    #[inline]
    pub fn letter(&self) -> Option<u8> {
        match self.packed {
            [2, letter, ..] if letter.is_ascii_alphabetic() => Some(*letter),
            _ => None,
        }
    }

    /// Tells whether the name is this plain ASCII word.
    #[inline]
    pub fn is_named(&self, name: &str) -> bool {
        self.name() == Value::Text(name.as_bytes())
    }
}

impl fmt::Debug for Tag<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.elements()).finish()
    }
}

/// The elements of a tag, in order.
#[derive(Clone, Copy)]
pub struct Elements<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        take_element(&mut self.rest)
    }
}

/// Why a JSON value is not a list of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// The text is not JSON.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// The value is no array.
    #[error("`tags` is not an array")]
    NotArray,
    /// A tag is no array, or one without elements.
    #[error("a tag is not an array of at least one string")]
    NotTag,
    /// An element of a tag is no string.
    #[error("an element of a tag is not a string")]
    NotText,
}

/// Reads the JSON of a list of tags and appends its packed form to `out`.
pub(super) fn read_packed(scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), TagError> {
    if scanner.peek() != Some(b'[') {
        return Err(TagError::NotArray);
    }
    let mut has_tag = scanner.open(b'[', b']')?;
    while has_tag {
        if scanner.peek() != Some(b'[') {
            return Err(TagError::NotTag);
        }
        let start = out.len();
        out.push(0);
        let mut count = 0;
        let mut has_element = scanner.open(b'[', b']')?;
        while has_element {
            read_element(scanner, out)?;
            count += 1;
            has_element = scanner.another(b']')?;
        }
        match count {
            0 => return Err(TagError::NotTag),
            1..0x80 => out[start] = count as u8,
            _ => {
                let (bytes, len) = varint(count);
                out.splice(start..=start, bytes.into_iter().take(len));
            }
        }
        has_tag = scanner.another(b']')?;
    }
    Ok(())
}

#[inline]
fn read_element(scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), TagError> {
    if let Some(bytes) = scanner.plain_hex_32() {
        push_hex(&bytes, out);
        return Ok(());
    }
    if scanner.peek() != Some(b'"') {
        return Err(TagError::NotText);
    }
    push_raw(scanner.text()?, out);
    Ok(())
}

fn push_raw(raw: RawText<'_>, out: &mut Vec<u8>) {
    match raw.as_canonical() {
        // Hexadecimal text was taken before, unless it was spelled with escapes.
        Some(text) => push_text(text, out),
        None => push_element(&raw.canonical(), out),
    }
}

/// Appends one packed element, given its canonical escaped text.
pub(super) fn push_element(canonical: &[u8], out: &mut Vec<u8>) {
    match hex::decode_32(canonical) {
        Some(bytes) => push_hex(&bytes, out),
        None => push_text(canonical, out),
    }
}

fn push_hex(bytes: &[u8; 32], out: &mut Vec<u8>) {
    out.push(HEX_HEADER as u8);
    out.extend_from_slice(bytes);
}

#[inline]
fn push_text(canonical: &[u8], out: &mut Vec<u8>) {
    push_varint(canonical.len() << 1, out);
    out.extend_from_slice(canonical);
}

/// Appends the packed form of tags given as plain texts; a tag without elements is a mistake of the
/// caller.
pub fn pack<T: AsRef<[S]>, S: AsRef<str>>(tags: &[T], out: &mut Vec<u8>) {
    let mut canonical = Vec::new();
    for tag in tags {
        let elements = tag.as_ref();
        assert!(!elements.is_empty(), "a tag has at least one element");
        push_varint(elements.len(), out);
        for element in elements {
            canonical.clear();
            json::escape_into(element.as_ref(), &mut canonical);
            push_element(&canonical, out);
        }
    }
}

/// Appends the JSON array that packed tags stand for, in canonical form.
pub(super) fn write_json(packed: &[u8], out: &mut Vec<u8>) {
    out.push(b'[');
    let mut rest = packed;
    loop {
        let written = out.len();
        if write_tag(&mut rest, out).is_none() {
            // The end, or the half of a damaged tag.
            out.truncate(written);
            break;
        }
        out.push(b',');
    }
    close_list(out);
}

/// Appends one tag while walking over it, which halves the work compared to finding its end first.
#[inline]
fn write_tag(rest: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    let count = take_varint(rest)?;
    if count == 0 {
        return None;
    }
    out.push(b'[');
    for _ in 0..count {
        let value = take_element(rest)?;
        out.push(b'"');
        value.write_canonical(out);
        out.extend_from_slice(b"\",");
    }
    close_list(out);
    Some(())
}

/// Returns how many bytes [`write_json`] appends.
pub(super) fn json_len(packed: &[u8]) -> usize {
    let tag_len = |tag: Tag<'_>| {
        let elements: usize = tag.elements().map(|value| value.canonical_len() + 3).sum();
        // The last element's comma is the bracket; one bracket and one comma are added.
        elements + 2
    };
    let tags: usize = Tags::new(packed).map(tag_len).sum();
    // Likewise: the last tag's comma is the bracket.
    (tags + 1).max(2)
}

/// Turns the comma behind the last item into the bracket; an empty list gets its bracket.
#[inline]
fn close_list(out: &mut Vec<u8>) {
    match out.last_mut() {
        Some(comma @ b',') => *comma = b']',
        _ => out.push(b']'),
    }
}

#[inline]
fn take_tag<'a>(rest: &mut &'a [u8]) -> Option<Tag<'a>> {
    let count = take_varint(rest)?;
    if count == 0 {
        return None;
    }
    let packed = *rest;
    for _ in 0..count {
        take_element(rest)?;
    }
    Some(Tag { count, packed: &packed[..packed.len() - rest.len()] })
}

#[inline]
fn take_element<'a>(rest: &mut &'a [u8]) -> Option<Value<'a>> {
    let header = take_varint(rest)?;
    if header & 1 == 0 {
        let (text, tail) = rest.split_at_checked(header >> 1)?;
        *rest = tail;
        return Some(Value::Text(text));
    }
    if header != HEX_HEADER {
        return None;
    }
    let (bytes, tail) = rest.split_first_chunk::<32>()?;
    *rest = tail;
    Some(Value::Hex(bytes))
}

#[inline]
fn take_varint(rest: &mut &[u8]) -> Option<usize> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    if *first < 0x80 {
        return Some(usize::from(*first));
    }
    take_long_varint(*first, rest)
}

fn take_long_varint(first: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut value = u64::from(first & 0x7f);
    for shift in (7..VARINT_BITS_MAX).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return usize::try_from(value).ok();
        }
    }
    None
}

#[inline]
fn push_varint(value: usize, out: &mut Vec<u8>) {
    if value < 0x80 {
        out.push(value as u8);
        return;
    }
    let (bytes, len) = varint(value);
    out.extend_from_slice(&bytes[..len]);
}

fn varint(mut value: usize) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    (bytes, len + 1)
}

/// The header of an element of 32 raw bytes.
const HEX_HEADER: usize = 32 << 1 | 1;

/// Bodies are shorter than 2^32 bytes, so 35 bits hold every header.
const VARINT_BITS_MAX: u32 = 35;

#[cfg(test)]
mod tests {
    use super::*;

    const HEX_TEXT: &str = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    fn packed(json: &str) -> Result<Vec<u8>, TagError> {
        let mut out = Vec::new();
        read_packed(&mut Scanner::new(json), &mut out).map(|()| out)
    }

    fn rendered(packed: &[u8]) -> String {
        let mut out = b"x".to_vec();
        write_json(packed, &mut out);
        assert_eq!(out.len() - 1, json_len(packed));
        String::from_utf8_lossy(&out[1..]).into_owned()
    }

    #[test]
    fn tags_survive_packing_and_come_out_canonical() {
        let rows = [
            ("[]", "[]"),
            (r#" [ [ "a" ] , [ "" , "" ] ] "#, r#"[["a"],["",""]]"#),
            (r#"[["t","a\"b\\c\n"],["x",""]]"#, r#"[["t","a\"b\\c\n"],["x",""]]"#),
            (r#"[["r","https:\/\/x\u002f"]]"#, r#"[["r","https://x/"]]"#),
        ];
        for (json, expected) in rows {
            let bytes = packed(json.trim()).expect("it is well formed");
            assert!(Tags::is_well_formed(&bytes));
            assert_eq!(rendered(&bytes), expected);
        }
    }

    #[test]
    fn hexadecimal_elements_are_packed_however_they_are_spelled() {
        let escaped = HEX_TEXT.replacen('7', "\\u0037", 1);
        for text in [HEX_TEXT, &escaped] {
            let bytes = packed(&format!(r#"[["e","{text}"]]"#)).expect("it is well formed");
            assert_eq!(bytes.len(), 1 + 2 + 33);
            assert_eq!(rendered(&bytes), format!(r#"[["e","{HEX_TEXT}"]]"#));
            let value = Tags::new(&bytes).next().and_then(|tag| tag.value());
            assert_eq!(
                value.and_then(|value| value.as_hex()),
                hex::decode_32(HEX_TEXT.as_bytes()).as_ref()
            );
            assert_eq!(value.map(|value| value.to_text().into_owned()), Some(HEX_TEXT.to_owned()));
        }
        let upper =
            packed(&format!(r#"[["e","{}"]]"#, HEX_TEXT.to_uppercase())).expect("it is text");
        assert_eq!(upper.len(), 1 + 2 + 2 + 64);
    }

    #[test]
    fn a_spelled_out_hexadecimal_element_is_not_well_formed() {
        let mut bytes = vec![1, 0x80, 1];
        bytes.extend_from_slice(HEX_TEXT.as_bytes());
        assert_eq!(Tags::new(&bytes).count(), 1);
        assert!(!Tags::is_well_formed(&bytes));
    }

    #[test]
    fn long_tags_and_long_elements_keep_their_counts() {
        for count in [1, 127, 128, 129, 16_383, 16_384, 20_000] {
            let json = format!("[[\"a\"],[{}],[\"z\"]]", vec!["\"b\""; count].join(","));
            let bytes = packed(&json).expect("it is well formed");
            assert_eq!(rendered(&bytes), json);
            let counts: Vec<usize> = Tags::new(&bytes).map(|tag| tag.elements().count()).collect();
            assert_eq!(counts, [1, count, 1]);
        }
        for len in [63, 64, 8_191, 8_192, 1 << 20, 1 << 21] {
            let json = format!("[[\"a\",\"{}\"]]", "z".repeat(len));
            assert_eq!(rendered(&packed(&json).expect("it is well formed")), json);
        }
    }

    #[test]
    fn only_arrays_of_arrays_of_strings_are_tags() {
        use TagError::{NotArray, NotTag, NotText};
        let rows = [
            ("null", NotArray),
            ("{}", NotArray),
            ("\"\"", NotArray),
            ("[[]]", NotTag),
            ("[\"t\"]", NotTag),
            ("[null]", NotTag),
            (r#"[["t",1]]"#, NotText),
            (r#"[["t",null]]"#, NotText),
            (r#"[["t",["a"]]]"#, NotText),
            (r#"[["e","x",7]]"#, NotText),
            (r#"[["e",{}]]"#, NotText),
        ];
        for (json, expected) in rows {
            assert_eq!(packed(json), Err(expected), "{json}");
        }
        for json in ["[", "[[", "[[\"a\"", "[[\"a\",", "[[\"a\",]]", "[[\"a\"]", "[[\"a\"],]"] {
            assert!(packed(json).is_err(), "{json}");
        }
    }

    #[test]
    fn names_values_and_letters_are_found() {
        let bytes = packed(r#"[["t","a","b"],["T"],["tt","x"],["-"],["1","y"],["\u00e9"]]"#)
            .expect("well formed");
        let letters: Vec<Option<u8>> = Tags::new(&bytes).map(|tag| tag.letter()).collect();
        assert_eq!(letters, [Some(b't'), Some(b'T'), None, None, None, None]);
        let values: Vec<Option<Value<'_>>> = Tags::new(&bytes).map(|tag| tag.value()).collect();
        assert_eq!(values[..3], [Some(Value::Text(b"a")), None, Some(Value::Text(b"x"))]);
        assert!(Tags::new(&bytes).any(|tag| tag.is_named("-")));
    }

    #[test]
    fn texts_are_packed_like_their_json() {
        let mut out = Vec::new();
        pack(&[vec!["t", "a\"b\n"], vec!["e", HEX_TEXT]], &mut out);
        let json = format!(r#"[["t","a\"b\n"],["e","{HEX_TEXT}"]]"#);
        assert_eq!(out, packed(&json).expect("it is well formed"));
    }

    #[test]
    fn damaged_packed_bytes_end_the_tags_and_never_panic() {
        let good =
            packed(&format!(r#"[["t","abc"],["e","{HEX_TEXT}","x"]]"#)).expect("well formed");
        for end in 0..good.len() {
            let _ = rendered(&good[..end]);
            let whole_tags = Tags::new(&good[..end]).count();
            assert_eq!(
                Tags::is_well_formed(&good[..end]),
                end == 0 || end == 7,
                "{whole_tags} tags"
            );
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.usize(..80)).map(|_| random.u8(..)).collect();
            let _ = rendered(&bytes);
            let mut mutated = good.clone();
            mutated[random.usize(..good.len())] = random.u8(..);
            let _ = rendered(&mutated);
            let _ = Tags::is_well_formed(&mutated);
        }
    }
}
