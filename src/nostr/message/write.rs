//! The relay's messages, compact and complete, appended to a buffer without a frame around them.
//!
//! Clients look for `["EVENT","` at the very start and for the prefix of a refusal at the very
//! start of its text.

use super::SubscriptionId;
use crate::hex;
use crate::nostr::id::EventId;
use crate::nostr::json;
use crate::nostr::reject::Reject;

/// Appends `["OK",...]`: whether an event was accepted, and a text that may be empty if it was.
pub fn write_ok(out: &mut Vec<u8>, id: &EventId, is_accepted: bool, text: &str) {
    out.extend_from_slice(b"[\"OK\",\"");
    hex::encode_into(&id.0, out);
    out.extend_from_slice(if is_accepted { b"\",true,\"" } else { b"\",false,\"" });
    json::escape_into(text, out);
    out.extend_from_slice(b"\"]");
}

/// Appends `["OK",...]` for an event that was not accepted.
pub fn write_refusal(out: &mut Vec<u8>, id: &EventId, reject: &Reject) {
    out.extend_from_slice(b"[\"OK\",\"");
    hex::encode_into(&id.0, out);
    out.extend_from_slice(b"\",false,");
    write_reject(out, reject);
}

/// Appends what precedes the JSON of an event that is delivered; a `]` follows it.
pub fn write_event_prefix(out: &mut Vec<u8>, subscription: &SubscriptionId) {
    out.extend_from_slice(b"[\"EVENT\",\"");
    out.extend_from_slice(subscription.as_canonical());
    out.extend_from_slice(b"\",");
}

/// Appends `["EOSE",...]`: all stored events were delivered, and what that means if it is known.
pub fn write_eose(out: &mut Vec<u8>, subscription: &SubscriptionId, hint: Option<EoseHint>) {
    write_named(out, "EOSE", subscription);
    out.extend_from_slice(match hint {
        None => b"]",
        Some(EoseHint::Finish) => b",[\"finish\"]]",
        Some(EoseHint::More) => b",[\"more\"]]",
    });
}

/// What EOSE can say beyond that it is over for now (NIP-67).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EoseHint {
    /// Nothing else that is stored matches.
    Finish,
    /// Something else that is stored matches.
    More,
}

/// Appends `["CLOSED",...]`: a subscription or count was refused or ended.
pub fn write_closed(out: &mut Vec<u8>, subscription: &SubscriptionId, reject: &Reject) {
    write_named(out, "CLOSED", subscription);
    out.push(b',');
    write_reject(out, reject);
}

/// Appends `["COUNT",...]`: how many events match.
pub fn write_count(out: &mut Vec<u8>, query: &SubscriptionId, count: &Count<'_>) {
    write_named(out, "COUNT", query);
    out.extend_from_slice(b",{\"count\":");
    json::write_integer(count.count, out);
    if count.is_approximate {
        out.extend_from_slice(b",\"approximate\":true");
    }
    if let Some(registers) = count.registers {
        out.extend_from_slice(b",\"hll\":\"");
        hex::encode_into(registers, out);
        out.push(b'"');
    }
    out.extend_from_slice(b"}]");
}

/// The answer to a COUNT (NIP-45).
#[derive(Clone, Copy, Debug)]
pub struct Count<'a> {
    /// How many events there are.
    pub count: u64,
    /// There may be more.
    pub is_approximate: bool,
    /// What the counts of several relays can be added up by, if the question defines it.
    pub registers: Option<&'a [u8; 256]>,
}

/// Appends `["NOTICE",...]`: a text for people.
pub fn write_notice(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(b"[\"NOTICE\",\"");
    json::escape_into(text, out);
    out.extend_from_slice(b"\"]");
}

/// Appends `["AUTH",...]`: the challenge that a proof of identity must contain.
pub fn write_auth(out: &mut Vec<u8>, challenge: &str) {
    out.extend_from_slice(b"[\"AUTH\",\"");
    json::escape_into(challenge, out);
    out.extend_from_slice(b"\"]");
}

/// Appends `["NEG-MSG",...]`: the next binary message of a reconciliation.
pub fn write_neg_msg(out: &mut Vec<u8>, subscription: &SubscriptionId, message: &[u8]) {
    write_named(out, "NEG-MSG", subscription);
    out.extend_from_slice(b",\"");
    hex::encode_into(message, out);
    out.extend_from_slice(b"\"]");
}

/// Appends `["NEG-ERR",...]`: a reconciliation was refused or ended.
pub fn write_neg_err(out: &mut Vec<u8>, subscription: &SubscriptionId, reject: &Reject) {
    write_named(out, "NEG-ERR", subscription);
    out.push(b',');
    write_reject(out, reject);
}

/// Appends `["NEG-ERR",...]` with the number that would not have been too many.
pub fn write_neg_err_max(
    out: &mut Vec<u8>,
    subscription: &SubscriptionId,
    reject: &Reject,
    max: u64,
) {
    write_neg_err(out, subscription, reject);
    out.pop();
    out.push(b',');
    json::write_integer(max, out);
    out.push(b']');
}

/// Appends `["OK",...]` for what has no legal id.
pub(super) fn write_refusal_of_text(out: &mut Vec<u8>, id: &str, reject: &Reject) {
    out.extend_from_slice(b"[\"OK\",\"");
    json::escape_into(id, out);
    out.extend_from_slice(b"\",false,");
    write_reject(out, reject);
}

/// Appends the end of something that has no legal name.
pub(super) fn write_end_of_text(out: &mut Vec<u8>, verb: &str, name: &str, reject: &Reject) {
    out.extend_from_slice(b"[\"");
    out.extend_from_slice(verb.as_bytes());
    out.extend_from_slice(b"\",\"");
    json::escape_into(name, out);
    out.extend_from_slice(b"\",");
    write_reject(out, reject);
}

pub(super) fn write_named(out: &mut Vec<u8>, verb: &str, name: &SubscriptionId) {
    out.extend_from_slice(b"[\"");
    out.extend_from_slice(verb.as_bytes());
    out.extend_from_slice(b"\",\"");
    out.extend_from_slice(name.as_canonical());
    out.push(b'"');
}

/// Appends the text of a refusal and the end of the message.
fn write_reject(out: &mut Vec<u8>, reject: &Reject) {
    out.push(b'"');
    out.extend_from_slice(reject.prefix.word().as_bytes());
    out.extend_from_slice(b": ");
    json::escape_into(&reject.text, out);
    out.extend_from_slice(b"\"]");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::MessageError;

    fn check(write: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = b"before".to_vec();
        write(&mut out);
        assert_eq!(String::from_utf8_lossy(&out[6..]), expected);
        assert!(
            serde_json::from_str::<serde_json::Value>(expected).is_ok() || expected.ends_with(',')
        );
    }

    #[test]
    fn messages_are_compact_json_with_escaped_texts() {
        let id = EventId([0xab; 32]);
        let hex = "ab".repeat(32);
        let name = SubscriptionId::new("a\"\\\n\u{e9}").expect("it is legal");
        let reject = Reject::invalid("no \"x\"");
        check(|out| write_ok(out, &id, true, ""), &format!(r#"["OK","{hex}",true,""]"#));
        check(|out| write_ok(out, &id, false, "a\nb"), &format!(r#"["OK","{hex}",false,"a\nb"]"#));
        check(
            |out| write_refusal(out, &id, &reject),
            &format!(r#"["OK","{hex}",false,"invalid: no \"x\""]"#),
        );
        check(|out| write_event_prefix(out, &name), "[\"EVENT\",\"a\\\"\\\\\\n\u{e9}\",");
        check(|out| write_eose(out, &name, None), "[\"EOSE\",\"a\\\"\\\\\\n\u{e9}\"]");
        let plain = SubscriptionId::new("x").expect("it is legal");
        for (hint, word) in [(EoseHint::Finish, "finish"), (EoseHint::More, "more")] {
            let expected = format!(r#"["EOSE","x",["{word}"]]"#);
            check(|out| write_eose(out, &plain, Some(hint)), &expected);
        }
        check(
            |out| write_closed(out, &name, &reject),
            "[\"CLOSED\",\"a\\\"\\\\\\n\u{e9}\",\"invalid: no \\\"x\\\"\"]",
        );
        let count = Count { count: 12, is_approximate: false, registers: None };
        check(|out| write_count(out, &plain, &count), r#"["COUNT","x",{"count":12}]"#);
        let registers = std::array::from_fn(|place| place as u8);
        let count = Count { count: 0, is_approximate: true, registers: Some(&registers) };
        let expected = format!(
            r#"["COUNT","x",{{"count":0,"approximate":true,"hll":"{}"}}]"#,
            hex::Hex(&registers)
        );
        check(|out| write_count(out, &plain, &count), &expected);
        check(|out| write_notice(out, "a\tb"), r#"["NOTICE","a\tb"]"#);
        check(|out| write_auth(out, "c\"d"), r#"["AUTH","c\"d"]"#);
        check(
            |out| write_neg_msg(out, &name, &[0x61, 0]),
            "[\"NEG-MSG\",\"a\\\"\\\\\\n\u{e9}\",\"6100\"]",
        );
        check(
            |out| write_neg_err(out, &name, &reject),
            "[\"NEG-ERR\",\"a\\\"\\\\\\n\u{e9}\",\"invalid: no \\\"x\\\"\"]",
        );
        check(
            |out| write_neg_err_max(out, &name, &reject, 70),
            "[\"NEG-ERR\",\"a\\\"\\\\\\n\u{e9}\",\"invalid: no \\\"x\\\"\",70]",
        );
    }

    #[test]
    fn answers_to_illegal_messages_repeat_what_was_given() {
        let reject = Reject::invalid("x");
        let ok = MessageError::Ok { id: "a\"b".to_owned(), reject: reject.clone() };
        check(|out| ok.write(out), r#"["OK","a\"b",false,"invalid: x"]"#);
        let closed = MessageError::Closed { subscription: String::new(), reject: reject.clone() };
        check(|out| closed.write(out), r#"["CLOSED","","invalid: x"]"#);
        let neg_err = MessageError::NegErr { subscription: "\n".to_owned(), reject };
        check(|out| neg_err.write(out), r#"["NEG-ERR","\n","invalid: x"]"#);
        check(|out| MessageError::Notice("n".to_owned()).write(out), r#"["NOTICE","n"]"#);
    }
}
