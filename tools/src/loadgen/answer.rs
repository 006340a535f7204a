//! What a relay says, found by searching bytes: enough to count and to pair, nothing is parsed.

use memchr::memmem;

/// A message from a relay.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// An event for a subscription; the whole text.
    Event {
        /// The subscription.
        subscription: &'a [u8],
        /// The whole message.
        text: &'a [u8],
    },
    /// The end of stored events.
    Eose(&'a [u8]),
    /// What became of an event.
    Ok {
        /// The event's id in hex.
        id: &'a [u8],
        /// Whether it was accepted.
        is_accepted: bool,
        /// The reason, as JSON has it.
        reason: &'a [u8],
    },
    /// A subscription was refused or ended.
    Closed {
        /// The subscription.
        subscription: &'a [u8],
        /// The reason, as JSON has it.
        reason: &'a [u8],
    },
    /// The answer to COUNT.
    Count {
        /// The query.
        subscription: &'a [u8],
        /// How many.
        count: u64,
    },
    /// The relay's side of a reconciliation.
    Reconciliation {
        /// The reconciliation.
        subscription: &'a [u8],
        /// The message in hex.
        message: &'a [u8],
    },
    /// A complaint to nobody in particular.
    Notice(&'a [u8]),
    /// Anything else.
    Other,
}

impl<'a> Answer<'a> {
    /// Classifies a message.
    pub(crate) fn of(text: &'a [u8]) -> Self {
        Self::classify(text).unwrap_or(Answer::Other)
    }

    fn classify(text: &'a [u8]) -> Option<Self> {
        let (label, rest) = string(text)?;
        let (subject, rest) = string(rest)?;
        let reason = || string(rest).map_or(&b""[..], |(reason, _)| reason);
        Some(match label {
            b"EVENT" => Answer::Event { subscription: subject, text },
            b"EOSE" => Answer::Eose(subject),
            b"OK" => Answer::Ok { id: subject, is_accepted: is_true(rest)?, reason: reason() },
            b"NEG-MSG" => {
                Answer::Reconciliation { subscription: subject, message: string(rest)?.0 }
            }
            b"CLOSED" | b"NEG-ERR" => Answer::Closed { subscription: subject, reason: reason() },
            b"COUNT" => Answer::Count { subscription: subject, count: count(rest)? },
            b"NOTICE" => Answer::Notice(subject),
            _ => return None,
        })
    }
}

/// Returns the first 16 hex digits of an event's id in an EVENT message, as a number.
pub(crate) fn event_number(text: &[u8]) -> Option<u64> {
    let place = memmem::find(text, b"\"id\"")? + 4;
    number(string(&text[place..])?.0)
}

/// Returns the first 16 hex digits as a number.
pub(crate) fn number(hex: &[u8]) -> Option<u64> {
    hex.get(..16)?.iter().try_fold(0, |number, digit| {
        Some(number << 4 | u64::from(char::from(*digit).to_digit(16)?))
    })
}

/// Takes the next JSON string without its quotes; returns what follows it, too.
fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = memchr::memchr(b'"', text)? + 1;
    let mut end = start;
    loop {
        end += memchr::memchr2(b'"', b'\\', &text[end..])?;
        if text[end] == b'"' {
            return Some((&text[start..end], &text[end + 1..]));
        }
        end += 2;
        text.get(end)?;
    }
}

/// Returns whether the next element of the list is `true`.
fn is_true(text: &[u8]) -> Option<bool> {
    match text.trim_ascii_start().strip_prefix(b",")?.trim_ascii_start().first()? {
        b't' => Some(true),
        b'f' => Some(false),
        _ => None,
    }
}

/// Takes the digits behind `"count":`.
fn count(text: &[u8]) -> Option<u64> {
    let place = memmem::find(text, b"\"count\"")? + 7;
    let digits = text[place..].iter().skip_while(|byte| !byte.is_ascii_digit());
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |sum: u64, digit| sum.wrapping_mul(10) + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_told_by_its_label() {
        let check = |text: &str, answer| assert_eq!(Answer::of(text.as_bytes()), answer, "{text}");
        check(r#"["EOSE","a"]"#, Answer::Eose(b"a"));
        check(r#"[ "EOSE" , "a\"b" ]"#, Answer::Eose(br#"a\"b"#));
        check(r#"["OK","ab",true,""]"#, Answer::Ok { id: b"ab", is_accepted: true, reason: b"" });
        check(
            r#"["OK", "ab", false, "invalid: \"x\""]"#,
            Answer::Ok { id: b"ab", is_accepted: false, reason: br#"invalid: \"x\""# },
        );
        check(
            r#"["CLOSED","s","error: no"]"#,
            Answer::Closed { subscription: b"s", reason: b"error: no" },
        );
        check(r#"["COUNT","s",{"count":42}]"#, Answer::Count { subscription: b"s", count: 42 });
        check(
            r#"["NEG-MSG","s","6100"]"#,
            Answer::Reconciliation { subscription: b"s", message: b"6100" },
        );
        check(
            r#"["NEG-ERR","s","blocked: no"]"#,
            Answer::Closed { subscription: b"s", reason: b"blocked: no" },
        );
        check(r#"["NOTICE","oh"]"#, Answer::Notice(b"oh"));
        check(r#"["AUTH","challenge"]"#, Answer::Other);
        for broken in ["", "[", "[\"", r#"["OK"#, r#"["OK","a"]"#, r#"["OK","a","#, "\"\\"] {
            check(broken, Answer::Other);
        }
    }

    #[test]
    fn an_event_is_paired_by_its_id() {
        let text = br#"["EVENT","s",{"content":"\"id\"","id": "00000000000000ff00","kind":1}]"#;
        assert!(matches!(Answer::of(text), Answer::Event { subscription: b"s", .. }));
        assert_eq!(
            event_number(text),
            Some(255),
            "what looks like an id in the content is escaped"
        );
        let text = br#"["EVENT","s",{"id":"00000000000000ff00","kind":1}]"#;
        assert_eq!(event_number(text), Some(255));
    }
}
