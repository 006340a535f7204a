//! Text in JSON strings, and its canonical escaped form.
//!
//! The canonical form is what `JSON.stringify` puts between the quotes: the short escapes for `"`,
//! `\` and the five controls that have one, `\u00xx` in lower case for the other controls,
//! everything else as raw UTF-8. It is unique per text, so equality of texts is equality of bytes.
//! It is never longer than any other escaping.

use std::borrow::Cow;

use super::scanner::code_unit;

/// The inside of a JSON string whose escapes were checked, without the quotes.
#[derive(Clone, Copy, Debug)]
pub struct RawText<'a> {
    bytes: &'a [u8],
    is_canonical: bool,
}

impl<'a> RawText<'a> {
    pub(super) fn new(bytes: &'a [u8], is_canonical: bool) -> RawText<'a> {
        RawText { bytes, is_canonical }
    }

    /// Returns the canonical form, which nearly every string already has.
    #[inline]
    pub fn canonical(&self) -> Cow<'a, [u8]> {
        if self.is_canonical {
            return Cow::Borrowed(self.bytes);
        }
        let mut out = Vec::with_capacity(self.bytes.len());
        self.rewrite_into(&mut out);
        Cow::Owned(out)
    }

    /// Returns the bytes of the source if they are the canonical form.
    #[inline]
    pub fn as_canonical(&self) -> Option<&'a [u8]> {
        self.is_canonical.then_some(self.bytes)
    }

    /// Appends the canonical form to `out`.
    #[inline]
    pub fn canonical_into(&self, out: &mut Vec<u8>) {
        if self.is_canonical {
            out.extend_from_slice(self.bytes);
        } else {
            self.rewrite_into(out);
        }
    }

    /// Returns the text itself, without escapes.
    pub fn to_text(&self) -> String {
        unescape(&self.canonical()).into_owned()
    }

    /// Returns the length of the source between the quotes; the canonical form is not longer.
    pub fn source_len(&self) -> usize {
        self.bytes.len()
    }

    #[cold]
    fn rewrite_into(&self, out: &mut Vec<u8>) {
        let mut rest = self.bytes;
        while let Some(run) = memchr::memchr(b'\\', rest) {
            out.extend_from_slice(&rest[..run]);
            rest = &rest[run..];
            let used = match rest.get(1) {
                Some(b'/') => {
                    out.push(b'/');
                    2
                }
                Some(b'u') => {
                    let (character, used) = escaped_character(rest);
                    escape_character_into(character, out);
                    used
                }
                _ => {
                    out.extend_from_slice(&rest[..rest.len().min(2)]);
                    2
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
    }
}

/// Returns the canonical form of `text`.
pub fn escaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    escape_into(text, &mut out);
    out
}

/// Appends the canonical form of `text` to `out`.
pub fn escape_into(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let end = plain_run_end(bytes, at);
        out.extend_from_slice(&bytes[at..end]);
        let Some(byte) = bytes.get(end) else {
            return;
        };
        escape_character_into(char::from(*byte), out);
        at = end + 1;
    }
}

/// Returns the text that a canonical form stands for.
///
/// Bytes that are no canonical form (of a damaged record) yield some text, never a panic.
pub fn unescape(canonical: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', canonical).is_none() {
        return String::from_utf8_lossy(canonical);
    }
    let mut out = Vec::with_capacity(canonical.len());
    let mut rest = canonical;
    while let Some(run) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..run]);
        rest = &rest[run..];
        let (character, used) = escaped_character(rest);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = rest.get(used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

/// Appends a canonical form to `out`, with `\u00xx` escapes turned into the control characters
/// themselves, and tells whether there were any.
///
/// That is no JSON any more, but what NIP-01 says literally about the text that is hashed.
pub fn unescape_controls_into(canonical: &[u8], out: &mut Vec<u8>) -> bool {
    let mut found = false;
    let mut rest = canonical;
    while let Some(run) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..run]);
        rest = &rest[run..];
        let used = match code_unit(rest, 0).map(u8::try_from) {
            Some(Ok(control)) => {
                found = true;
                out.push(control);
                6
            }
            _ => {
                out.extend_from_slice(&rest[..rest.len().min(2)]);
                2
            }
        };
        rest = rest.get(used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    found
}

/// Returns how many Unicode characters a canonical form stands for.
pub fn character_count(canonical: &[u8]) -> usize {
    let is_start = |byte: &&u8| **byte & 0xc0 != 0x80;
    let mut count = canonical.iter().filter(is_start).count();
    let mut rest = canonical;
    while let Some(run) = memchr::memchr(b'\\', rest) {
        let used = if rest.get(run + 1) == Some(&b'u') { 6 } else { 2 };
        count = count.saturating_sub(used - 1);
        rest = rest.get(run + used..).unwrap_or_default();
    }
    count
}

/// Returns the offset, from `from` on, of the first byte that is not plain inside a JSON string: a
/// quote, a backslash or a control character; the length if there is none.
///
/// Most strings end within a word. Long ones are stepped over in blocks that the compiler turns
/// into vectors.
#[inline]
pub(super) fn plain_run_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
        if at == from + SHORT_RUN_BYTES {
            at = skip_plain_blocks(bytes, at);
        }
    }
    while let Some(byte) = bytes.get(at) {
        if is_special(*byte) {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

/// Returns the offset of the first block that has a special byte or is not whole.
fn skip_plain_blocks(bytes: &[u8], from: usize) -> usize {
    let (blocks, _) = bytes[from..].as_chunks::<32>();
    let plain = blocks.iter().position(has_special_byte).unwrap_or(blocks.len());
    from + plain * 32
}

/// Tells whether a byte ends a plain run, for all bytes of a block at once.
#[inline]
fn has_special_byte(block: &[u8; 32]) -> bool {
    block.iter().fold(0, |found, byte| found | u8::from(is_special(*byte))) != 0
}

#[inline]
fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Returns a word whose lowest set bit is the top bit of the first special byte of `word`.
///
/// The usual borrow trick: bytes above the first special one may be marked wrongly, which nobody
/// looks at.
#[inline]
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let quotes = word ^ (ONES * b'"' as u64);
    let backslashes = word ^ (ONES * b'\\' as u64);
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    let is_quote = quotes.wrapping_sub(ONES) & !quotes;
    let is_backslash = backslashes.wrapping_sub(ONES) & !backslashes;
    (controls | is_quote | is_backslash) & TOPS
}

fn escape_character_into(character: char, out: &mut Vec<u8>) {
    let short = match character {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        '\u{8}' => b"\\b",
        '\u{c}' => b"\\f",
        '\0'..='\u{1f}' => {
            out.extend_from_slice(b"\\u00");
            crate::hex::encode_into(&[character as u8], out);
            return;
        }
        _ => {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return;
        }
    };
    out.extend_from_slice(short);
}

/// Returns the character that the escape at the start of `rest` means, and how many bytes the
/// escape has.
fn escaped_character(rest: &[u8]) -> (char, usize) {
    let character = match rest.get(1) {
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_character(rest),
        Some(other) if other.is_ascii() => char::from(*other),
        // Half a character or nothing follows: only a damaged record has that.
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (character, 2)
}

fn unicode_character(rest: &[u8]) -> (char, usize) {
    match (code_unit(rest, 0), code_unit(rest, 6)) {
        (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
            let point = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        (Some(unit), _) => (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        (None, _) => (char::REPLACEMENT_CHARACTER, 2),
    }
}

/// From how many plain bytes on it pays to look at blocks.
const SHORT_RUN_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::super::Scanner;
    use super::*;

    fn check(json: &str, canonical: &str) {
        let raw = Scanner::new(json).text().expect("it is a JSON string");
        assert_eq!(raw.canonical(), canonical.as_bytes(), "{json}");
        let mut out = b"before ".to_vec();
        raw.canonical_into(&mut out);
        assert_eq!(out[7..], *canonical.as_bytes(), "{json}");
        assert_eq!(raw.as_canonical().is_some(), json[1..json.len() - 1] == *canonical, "{json}");
        let text: String = serde_json::from_str(json).expect("the model agrees");
        assert_eq!(raw.to_text(), text);
        let mut again = Vec::new();
        escape_into(&text, &mut again);
        assert_eq!(again, canonical.as_bytes(), "{json}");
        assert_eq!(character_count(canonical.as_bytes()), text.chars().count(), "{json}");
    }

    #[test]
    fn every_spelling_of_a_text_has_one_canonical_form() {
        check(r#""""#, "");
        check(r#""hello""#, "hello");
        check(r#""\u0068ell\u006f""#, "hello");
        check(r#""a\/b""#, "a/b");
        check(
            r#""lf\n dq\" bs\\ cr\r tab\t bsp\b ff\f end""#,
            r#"lf\n dq\" bs\\ cr\r tab\t bsp\b ff\f end"#,
        );
        check(r#""\u000a\u0022\u005c\u000D\u0009\u0008\u000c""#, r#"\n\"\\\r\t\b\f"#);
        check(r#""\u0001\u001f\u0000\u000b""#, r#"\u0001\u001f\u0000\u000b"#);
        check(r#""\u001F\u000B""#, r#"\u001f\u000b"#);
        check(r#""\u007f\u00e9\u65e5""#, "\u{7f}\u{e9}\u{65e5}");
        check(r#""\ud83d\ude00\uDBFF\uDFF2\ufdd1""#, "\u{1f600}\u{10fff2}\u{fdd1}");
        check(r#""\\u0041\\\/\\\\""#, r#"\\u0041\\/\\\\"#);
        check("\"\u{e9}\u{1f600}\u{2028}\u{7f}\"", "\u{e9}\u{1f600}\u{2028}\u{7f}");
    }

    #[test]
    fn every_byte_at_every_place_ends_a_run_exactly_when_it_is_special() {
        for place in 0..40 {
            for byte in 0..=255u8 {
                let mut bytes = [b'a'; 40];
                bytes[place] = byte;
                bytes[39] = b'"';
                let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
                let expected = if is_special { place } else { 39 };
                assert_eq!(plain_run_end(&bytes, 0), expected, "byte {byte} at {place}");
                assert_eq!(plain_run_end(&bytes, place.min(3)), expected, "byte {byte} at {place}");
            }
        }
        assert_eq!(plain_run_end(b"abc", 0), 3);
        assert_eq!(plain_run_end(b"", 0), 0);
    }

    #[test]
    fn the_literal_reading_of_nip_01_unescapes_only_controls_without_a_short_form() {
        let mut out = Vec::new();
        assert!(unescape_controls_into(br#"a\n\u0001\\u0041\"\u001f"#, &mut out));
        assert_eq!(out, b"a\\n\x01\\\\u0041\\\"\x1f");
        out.clear();
        assert!(!unescape_controls_into(br#"a\n\\u0001"#, &mut out));
        assert_eq!(out, br#"a\n\\u0001"#);
    }

    #[test]
    fn damaged_canonical_text_never_panics() {
        let seeds: [&[u8]; 7] =
            [b"\\", b"\\u", b"\\u00", b"\\ud800", b"\\\xff", b"a\\\xe9b", b"\\ud800\\u"];
        for bytes in seeds {
            let _ = unescape(bytes);
            let _ = character_count(bytes);
            unescape_controls_into(bytes, &mut Vec::new());
        }
    }
}
