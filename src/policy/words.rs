//! Words that are looked for in contents, all of them in one pass.
//!
//! A content is in its canonical escaped form, and so are the words. Letters of ASCII match in
//! either case; of other letters the forms that a word has as it is, in lower and in upper case. A
//! word that begins or ends with a letter or digit of ASCII is not found inside a longer one.

use aho_corasick::{AhoCorasick, BuildError, MatchKind};

use crate::nostr::json::escaped;

/// A set of words; cloning shares it.
#[derive(Clone, Debug)]
pub struct Words(AhoCorasick);

impl Words {
    /// Returns the set of these words; nothing if there are none.
    ///
    /// # Errors
    ///
    /// If they are too many, or too long, for one search.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Option<Words>, BuildError> {
        let mut forms: Vec<Vec<u8>> = Vec::new();
        for word in words.into_iter().filter(|word| !word.is_empty()) {
            forms.extend([word, &word.to_lowercase(), &word.to_uppercase()].map(escaped));
        }
        forms.sort_unstable();
        forms.dedup();
        if forms.is_empty() {
            return Ok(None);
        }
        let searcher = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(&forms)?;
        Ok(Some(Words(searcher)))
    }

    /// Returns whether one of the words is in a content.
    pub fn are_in(&self, content: &[u8]) -> bool {
        self.0.find_overlapping_iter(content).any(|found| {
            let (before, after) = (&content[..found.start()], &content[found.end()..]);
            let word = &content[found.start()..found.end()];
            let is_cut_before =
                word.first().is_some_and(u8::is_ascii_alphanumeric) && ends_inside_a_word(before);
            let is_cut_after = word.last().is_some_and(u8::is_ascii_alphanumeric)
                && after.first().is_some_and(u8::is_ascii_alphanumeric);
            !is_cut_before && !is_cut_after
        })
    }
}

/// Returns whether a letter or digit of ASCII is the last character, and not the end of an escape.
fn ends_inside_a_word(escaped: &[u8]) -> bool {
    let Some((last, rest)) = escaped.split_last() else { return false };
    if !last.is_ascii_alphanumeric() {
        return false;
    }
    let backslashes = rest.iter().rev().take_while(|byte| **byte == b'\\').count();
    let is_escape = matches!(last, b'n' | b'r' | b't' | b'b' | b'f') && backslashes % 2 == 1;
    !is_escape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_in_any_case_and_as_a_whole() {
        let words = ["casino", "two words", "\u{e9}clair", "\u{65e5}\u{672c}", "a\"b", "$$$"];
        let words = Words::new(words).expect("they are few").expect("there are some");
        let rows = [
            ("a casino!", true),
            ("CaSiNo", true),
            ("casinos", false),
            ("mycasino", false),
            ("casinos and a casino", true),
            ("\ncasino\n", true),
            ("\\ncasino", false),
            ("\\\ncasino", true),
            ("two words", true),
            ("two  words", false),
            ("\u{c9}CLAIR", true),
            ("\u{65e5}\u{672c}\u{8a9e}", true),
            ("say a\"b", true),
            ("x$$$x", true),
            ("nothing", false),
            ("", false),
        ];
        for (content, expected) in rows {
            assert_eq!(words.are_in(&escaped(content)), expected, "{content:?}");
        }
        assert!(Words::new([]).expect("none are few").is_none());
        assert!(Words::new([""]).expect("none are few").is_none());
    }
}
