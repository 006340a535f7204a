//! A cursor that moves once over valid UTF-8 and knows the grammar of JSON (RFC 8259).
//!
//! It accepts exactly what the grammar accepts, except that a lone surrogate (`"\ud800"`, which no
//! UTF-8 text can hold) and nesting deeper than [`limits::JSON_DEPTH_MAX`] are errors. It never
//! recurses, never allocates and never turns a number into a float.

use crate::{hex, limits};

use super::text::{RawText, plain_run_end};

/// Where and why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed JSON at byte {at}: {problem}")]
pub struct JsonError {
    /// The offset of the offending byte in the text.
    pub at: usize,
    /// What was wrong there.
    pub problem: &'static str,
}

impl JsonError {
    /// Tells whether the text may well be JSON, but is nested too deeply to be read.
    pub fn is_too_deep(&self) -> bool {
        self.problem == TOO_DEEP
    }
}

/// A position in a JSON text.
///
/// Methods that read something expect the cursor on its first byte and leave it behind the last;
/// those that read punctuation also skip the whitespace after it.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Returns a scanner on the first byte of `text` that is not whitespace.
    pub fn new(text: &'a str) -> Scanner<'a> {
        let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
        scanner.skip_whitespace();
        scanner
    }

    /// Returns the byte under the cursor; nothing at the end.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Returns how many bytes are left from the cursor on.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Enters an array or object, and tells whether it has a first item; an empty one is left
    /// again.
    #[inline]
    pub fn open(&mut self, open: u8, close: u8) -> Result<bool, JsonError> {
        if self.peek() != Some(open) {
            return Err(self.error("expected the start of an array or object"));
        }
        self.advance();
        if self.peek() != Some(close) {
            return Ok(true);
        }
        self.advance();
        Ok(false)
    }

    /// Moves behind an item, and tells whether another follows; behind the last the array or object
    /// is left.
    #[inline]
    pub fn another(&mut self, close: u8) -> Result<bool, JsonError> {
        self.skip_whitespace();
        match self.peek() {
            Some(b',') => {
                self.advance();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.advance();
                Ok(false)
            }
            _ => Err(self.error("expected a comma or the end of the array or object")),
        }
    }

    /// Reads the name of an object's member and the colon behind it.
    #[inline]
    pub fn key(&mut self) -> Result<RawText<'a>, JsonError> {
        let key = self.text()?;
        self.skip_whitespace();
        if self.peek() != Some(b':') {
            return Err(self.error("expected a colon"));
        }
        self.advance();
        Ok(key)
    }

    /// Reads a string.
    #[inline]
    pub fn text(&mut self) -> Result<RawText<'a>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a string"));
        }
        let start = self.at + 1;
        let mut is_canonical = true;
        let mut at = start;
        loop {
            at = plain_run_end(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at = self.escape_end(at, &mut is_canonical)?,
                Some(_) => return Err(JsonError { at, problem: "unescaped control character" }),
                None => return Err(JsonError { at, problem: "unterminated string" }),
            }
        }
        self.at = at + 1;
        Ok(RawText::new(&self.bytes[start..at], is_canonical))
    }

    /// Reads a string of exactly 64 lower-case hexadecimal digits; anything else is left where it
    /// is.
    #[inline]
    pub fn hex_32(&mut self) -> Option<[u8; 32]> {
        self.plain_hex_32().or_else(|| self.escaped_hex(hex::decode_32))
    }

    /// Reads a string of exactly 128 lower-case hexadecimal digits; anything else is left where it
    /// is.
    #[inline]
    pub fn hex_64(&mut self) -> Option<[u8; 64]> {
        let Some(bytes) = self.quoted(128).and_then(hex::decode_64) else {
            return self.escaped_hex(hex::decode_64);
        };
        self.at += 130;
        Some(bytes)
    }

    /// Does as [`Scanner::hex_32`], but leaves digits that are written as escapes to whoever reads
    /// them as text.
    #[inline]
    pub fn plain_hex_32(&mut self) -> Option<[u8; 32]> {
        let bytes = hex::decode_32(self.quoted(64)?)?;
        self.at += 66;
        Some(bytes)
    }

    /// Reads a number without sign, fraction and exponent that fits in a `u64`; anything else is
    /// left where it is.
    pub fn integer(&mut self) -> Option<u64> {
        let mut value: u64 = 0;
        let mut at = self.at;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(at) {
            value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            at += 1;
        }
        let has_leading_zero = at > self.at + 1 && self.peek() == Some(b'0');
        let has_more = matches!(self.bytes.get(at), Some(b'.' | b'e' | b'E'));
        if at == self.at || has_leading_zero || has_more {
            return None;
        }
        self.at = at;
        Some(value)
    }

    /// Moves behind a value of any type.
    pub fn skip_value(&mut self) -> Result<(), JsonError> {
        // One bit per open level: set for an object.
        let mut levels: u64 = 0;
        let mut depth = 0;
        loop {
            let is_object = self.peek() == Some(b'{');
            let has_items = match self.peek() {
                Some(b'{') => self.open(b'{', b'}')?,
                Some(b'[') => self.open(b'[', b']')?,
                _ => {
                    self.skip_scalar()?;
                    false
                }
            };
            if has_items {
                if depth == limits::JSON_DEPTH_MAX {
                    return Err(self.error(TOO_DEEP));
                }
                levels = levels << 1 | u64::from(is_object);
                depth += 1;
                if is_object {
                    self.key()?;
                }
                continue;
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let in_object = levels & 1 == 1;
                if self.another(if in_object { b'}' } else { b']' })? {
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                levels >>= 1;
                depth -= 1;
            }
        }
    }

    /// Confirms that nothing but whitespace is left.
    pub fn finish(&mut self) -> Result<(), JsonError> {
        self.skip_whitespace();
        if self.at < self.bytes.len() {
            return Err(self.error("expected the end of the text"));
        }
        Ok(())
    }

    /// Returns an error about the byte under the cursor.
    pub fn error(&self, problem: &'static str) -> JsonError {
        JsonError { at: self.at, problem }
    }

    /// Returns the next `len` bytes behind a quote if another quote follows them.
    #[inline]
    fn quoted(&self, len: usize) -> Option<&'a [u8]> {
        match self.bytes.get(self.at..self.at + len + 2)? {
            [b'"', inside @ .., b'"'] => Some(inside),
            _ => None,
        }
    }

    /// Reads hexadecimal digits some of which are written as escapes.
    #[cold]
    fn escaped_hex<T>(&mut self, decode: fn(&[u8]) -> Option<T>) -> Option<T> {
        let mut ahead = self.clone();
        let decoded = decode(&ahead.text().ok()?.canonical())?;
        *self = ahead;
        Some(decoded)
    }

    #[inline]
    fn advance(&mut self) {
        self.at += 1;
        self.skip_whitespace();
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// Returns the offset behind the escape that begins at `at`.
    #[inline]
    fn escape_end(&self, at: usize, is_canonical: &mut bool) -> Result<usize, JsonError> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'/') => {
                *is_canonical = false;
                Ok(at + 2)
            }
            Some(b'u') => self.unicode_escape_end(at, is_canonical),
            _ => Err(JsonError { at, problem: "unknown escape" }),
        }
    }

    fn unicode_escape_end(&self, at: usize, is_canonical: &mut bool) -> Result<usize, JsonError> {
        let Some(unit) = code_unit(self.bytes, at) else {
            return Err(JsonError { at, problem: "expected four hexadecimal digits" });
        };
        if !is_canonical_control(&self.bytes[at..at + 6], unit) {
            *is_canonical = false;
        }
        match unit {
            0xd800..=0xdbff => match code_unit(self.bytes, at + 6) {
                Some(0xdc00..=0xdfff) => Ok(at + 12),
                _ => Err(JsonError { at, problem: "lone surrogate" }),
            },
            0xdc00..=0xdfff => Err(JsonError { at, problem: "lone surrogate" }),
            _ => Ok(at + 6),
        }
    }

    fn skip_scalar(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.text().map(|_| ()),
            Some(b't') => self.skip_word(b"true"),
            Some(b'f') => self.skip_word(b"false"),
            Some(b'n') => self.skip_word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("unexpected end of the text")),
        }
    }

    fn skip_word(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.error("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn skip_number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.skip_digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        Ok(())
    }

    fn skip_digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error("expected a digit"));
        }
        Ok(())
    }
}

/// Returns the UTF-16 code unit that the escape `\uXXXX` at `at` means.
pub(super) fn code_unit(bytes: &[u8], at: usize) -> Option<u32> {
    let escape = bytes.get(at..at + 6)?;
    if !escape.starts_with(b"\\u") {
        return None;
    }
    let mut unit = 0;
    for digit in &escape[2..] {
        unit = unit << 4 | char::from(*digit).to_digit(16)?;
    }
    Some(unit)
}

/// Tells whether an escape `\uXXXX` is how the canonical form itself writes that code unit.
fn is_canonical_control(escape: &[u8], unit: u32) -> bool {
    let has_short_form = matches!(unit, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d);
    unit < 0x20 && !has_short_form && !escape[2..].iter().any(u8::is_ascii_uppercase)
}

const TOO_DEEP: &str = "nested too deeply";

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip_value().and_then(|()| scanner.finish()).is_ok()
    }

    #[test]
    fn values_are_accepted_exactly_when_the_grammar_does() {
        let legal = [
            "0",
            "-0",
            "10",
            "-1.5e+10",
            "1E5",
            "0.0",
            "true",
            "false",
            "null",
            "\"\"",
            "[]",
            "{}",
            " [ 1 , [ ] , { } ] ",
            "{\"a\":{\"b\":[null]}}",
            "\t{ \"a\" : 1 , \"b\" : 2 }\r\n",
            r#""\"\\\/\b\f\n\r\t\u0041\ud83d\ude00""#,
            "\"\u{7f}\u{fdd1}\"",
        ];
        for text in legal {
            assert!(accepts(text), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "model: {text}");
        }
        let illegal = [
            "",
            " ",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "tru",
            "nul",
            "True",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[",
            "]",
            "{",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\n\"",
            "\"\u{0}\"",
            "1 1",
            "[1}",
            "{\"a\":1]",
            "\u{feff}1",
            "NaN",
            "'a'",
            "\"\\ud800\\ud800\"",
        ];
        for text in illegal {
            assert!(!accepts(text), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "model: {text}");
        }
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let nested = |depth: usize| "[".repeat(depth) + "1" + &"]".repeat(depth);
        let bound = limits::JSON_DEPTH_MAX as usize;
        assert!(accepts(&nested(bound)));
        assert!(!accepts(&nested(bound + 1)));
        assert!(!accepts(&"[".repeat(1_000_000)));
        assert!(!accepts(&"{\"a\":".repeat(1_000_000)));
        assert!(accepts(&("{\"a\":[".repeat(bound / 2) + "1" + &"]}".repeat(bound / 2))));
    }

    #[test]
    fn integers_are_plain_digits_that_fit() {
        let rows = [
            ("0", Some(0)),
            ("7,", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("00", None),
            ("01", None),
            ("-1", None),
            ("-0", None),
            ("1.0", None),
            ("1e3", None),
            ("1E3", None),
            ("\"1\"", None),
            ("", None),
            ("x", None),
        ];
        for (text, expected) in rows {
            assert_eq!(Scanner::new(text).integer(), expected, "{text}");
        }
    }

    #[test]
    fn a_hexadecimal_name_is_read_whole_or_not_at_all() {
        let digits = "ab".repeat(32);
        let mut scanner = Scanner { bytes: &[], at: 0 };
        assert_eq!(scanner.hex_32(), None);
        let text = format!("\"{digits}\"");
        scanner = Scanner::new(&text);
        assert_eq!(scanner.hex_32(), Some([0xab; 32]));
        assert_eq!(scanner.remaining(), 0);
        let escaped = format!("\"{}\\u0061b\"", &digits[2..]);
        scanner = Scanner::new(&escaped);
        assert_eq!(scanner.plain_hex_32(), None);
        assert_eq!(scanner.hex_32(), Some([0xab; 32]));
        assert_eq!(scanner.remaining(), 0);
        for wrong in [&text[1..], &text[..65], &format!("\"{digits}0\""), &text.to_uppercase()] {
            scanner = Scanner::new(wrong);
            assert_eq!(scanner.hex_32(), None, "{wrong}");
            assert_eq!(scanner.remaining(), wrong.len());
        }
    }
}
