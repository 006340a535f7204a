//! Reposts: whether the event inside another one is protected (NIP-70).
//!
//! The content is read as JSON, not searched as text: spaces and escapes must not hide a tag, and
//! prose about tags must not look like one.

use crate::nostr::json::{self, JsonError, Scanner};

/// Tells whether canonical content is a JSON object whose `tags` have one named `-`.
///
/// What is no JSON embeds nothing, unless it is nested so deeply that it was not read to its end.
pub(super) fn embeds_protected(content: &[u8]) -> bool {
    let text = json::unescape(content);
    let mut scanner = Scanner::new(&text);
    if scanner.peek() != Some(b'{') {
        return false;
    }
    match find_protection(&mut scanner) {
        Ok(is_found) => is_found,
        Err(error) => error.is_too_deep(),
    }
}

fn find_protection(scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
    let mut has_member = scanner.open(b'{', b'}')?;
    while has_member {
        let key = scanner.key()?;
        if *key.canonical() == *b"tags" && scanner.peek() == Some(b'[') {
            if has_protected_tag(scanner)? {
                return Ok(true);
            }
        } else {
            scanner.skip_value()?;
        }
        has_member = scanner.another(b'}')?;
    }
    Ok(false)
}

fn has_protected_tag(scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
    let mut has_tag = scanner.open(b'[', b']')?;
    while has_tag {
        if scanner.peek() == Some(b'[') && is_protection(scanner.clone())? {
            return Ok(true);
        }
        scanner.skip_value()?;
        has_tag = scanner.another(b']')?;
    }
    Ok(false)
}

fn is_protection(mut tag: Scanner<'_>) -> Result<bool, JsonError> {
    let has_name = tag.open(b'[', b']')? && tag.peek() == Some(b'"');
    Ok(has_name && *tag.text()?.canonical() == *b"-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: bool) {
        let mut content = Vec::new();
        json::escape_into(text, &mut content);
        assert_eq!(embeds_protected(&content), expected, "{text}");
    }

    #[test]
    fn nip_70_4_an_embedded_protected_event_is_found_however_it_is_spelled() {
        for text in [
            r#"{"id":"x","tags":[["-"]],"content":""}"#,
            "{ \"tags\" : [ [\"t\",\"a\"] ,\n [ \"-\" ] ] }",
            r#"{"tags":[["-","x"]]}"#,
            r#"{"\u0074ags":[["\u002d"]]}"#,
            r#" {"content":"{}","tags":[["e"],["-"]]}"#,
            r#"{"tags":[],"tags":[["-"]]}"#,
            r#"{"tags":[["-"]], and this is no JSON"#,
        ] {
            check(text, true);
        }
    }

    #[test]
    fn nip_70_4_what_only_looks_like_one_is_none() {
        for text in [
            "",
            "a repost of [\"-\"]",
            r#"{"tags":[["t","-"]],"content":"[\"-\"]"}"#,
            r#"{"content":"\"tags\":[[\"-\"]]","tags":[]}"#,
            r#"{"tags":["-"]}"#,
            r#"{"tags":{"-":["-"]}}"#,
            r#"{"tags":[[["-"]]]}"#,
            r#"{"x":{"tags":[["-"]]}}"#,
            r#"[["-"]]"#,
            r#"{"tags":[["-x"],["--"],[]]}"#,
            "{not JSON",
        ] {
            check(text, false);
        }
    }

    #[test]
    fn what_is_too_deep_to_be_read_is_not_trusted() {
        let deep = format!(r#"{{"x":{}{},"tags":[["-"]]}}"#, "[".repeat(80), "]".repeat(80));
        check(&deep, true);
        check(&"[".repeat(100_000), false);
        check(&format!("{{\"x\":{}", "[".repeat(100_000)), true);
    }
}
