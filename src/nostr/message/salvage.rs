//! What can still be said about a frame that is no legal message.
//!
//! A client that waits for an answer to its event or subscription is better served by that answer
//! than by a notice, even if its JSON has a flaw inside a string. Only the shape is looked at here:
//! quotes and brackets.

use crate::limits;
use crate::nostr::json::Scanner;

/// Tells whether brackets and quotes balance and nothing follows the first value.
pub(super) fn is_balanced(text: &str) -> bool {
    let mut walk = Walk::new(text);
    if !matches!(walk.next(), Some(Token::Open)) {
        return false;
    }
    while walk.depth > 0 {
        if walk.next().is_none() {
            return false;
        }
    }
    text[walk.at..].trim_ascii().is_empty()
}

/// Returns the string member `id` of the object at the start of a text, as text.
pub(super) fn id_of(object: &str) -> Option<String> {
    let mut walk = Walk::new(object);
    walk.next()?;
    let mut last = None;
    while walk.depth > 0 {
        let token = walk.next()?;
        if let (Some(Token::Text(key)), Token::Colon) = (last, token)
            && walk.depth == 1
            && text_at(object, key).is_some_and(|key| key == "id")
        {
            return match walk.next()? {
                Token::Text(start) => text_at(object, start),
                _ => None,
            };
        }
        last = Some(token);
    }
    None
}

fn text_at(source: &str, start: usize) -> Option<String> {
    Some(Scanner::new(source.get(start..)?).text().ok()?.to_text())
}

#[derive(Clone, Copy)]
enum Token {
    Open,
    Close,
    Colon,
    /// A string that begins here.
    Text(usize),
    Other,
}

/// A position that moves from token to token.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    /// One bit per open level: set for an object.
    levels: u64,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str) -> Walk<'a> {
        Walk { bytes: text.as_bytes(), at: 0, depth: 0, levels: 0 }
    }

    /// Returns the next token; nothing at the end or where brackets or quotes do not match.
    fn next(&mut self) -> Option<Token> {
        while self.bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        let start = self.at;
        self.at += 1;
        match self.bytes[start] {
            open @ (b'[' | b'{') => {
                if self.depth == limits::JSON_DEPTH_MAX {
                    return None;
                }
                self.levels = self.levels << 1 | u64::from(open == b'{');
                self.depth += 1;
                Some(Token::Open)
            }
            close @ (b']' | b'}') => {
                if self.depth == 0 || (self.levels & 1 == 1) != (close == b'}') {
                    return None;
                }
                self.levels >>= 1;
                self.depth -= 1;
                Some(Token::Close)
            }
            b'"' => {
                self.skip_text()?;
                Some(Token::Text(start))
            }
            b':' => Some(Token::Colon),
            _ => Some(Token::Other),
        }
    }

    fn skip_text(&mut self) -> Option<()> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            let end = memchr::memchr2(b'"', b'\\', rest)?;
            if rest[end] == b'"' {
                self.at += end + 1;
                return Some(());
            }
            self.at += end + 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_matching_brackets_and_quotes_balance() {
        for text in ["[]", " [{\"a\":[1,\"]\"]}] \n", "[\"\\\"\"]", "[\"a\nb\",nonsense]", "{}"] {
            assert!(is_balanced(text), "{text}");
        }
        for text in ["", "x", "[", "]", "[}", "[\"]", "[\"\\\"]", "[]]", "[] x", "\"a\"", "[[]"] {
            assert!(!is_balanced(text), "{text}");
        }
        assert!(!is_balanced(&"[".repeat(100_000)));
    }

    #[test]
    fn the_id_is_found_at_the_top_of_the_object_only() {
        let found = |text| id_of(text);
        assert_eq!(found(r#"{"id":"x"}"#), Some("x".to_owned()));
        assert_eq!(
            found(r#"{"a":{"id":"y"},"tags":[["id","z"]],"\u0069d" : "x\n"} , 5]"#),
            Some("x\n".to_owned())
        );
        assert_eq!(found("{\"content\":\"a\nb\",\"id\":\"x\"}"), Some("x".to_owned()));
        for text in [
            "",
            "{}",
            r#"{"id":5}"#,
            r#"{"id":null,"id":"x"}"#,
            r#"{"a":"id","b":"x"}"#,
            r#"{"id":"x"#,
            "[]",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
