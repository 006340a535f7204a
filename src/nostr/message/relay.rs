//! Messages of other relays, and what is asked of them: the other side of this protocol.
//!
//! What comes is from anybody: unknown messages and surplus elements are ignored, and an event that
//! is none is an error of its own, so that one bad event does not spoil a connection.

use std::borrow::Cow;

use super::write::{EoseHint, write_named};
use super::{MessageError, SubscriptionId};
use crate::hex;
use crate::nostr::event::{Event, EventError, EventRef};
use crate::nostr::filter::Filter;
use crate::nostr::id::EventId;
use crate::nostr::json::{JsonError, Scanner};

/// What a relay says; names of subscriptions are in canonical escaped form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayMessage<'a> {
    /// An event of a subscription.
    Event {
        /// Of which one.
        subscription: Cow<'a, [u8]>,
        /// The event, or why it is none.
        event: Result<Event, EventError>,
    },
    /// All stored events of a subscription were sent.
    Eose {
        /// Of which one.
        subscription: Cow<'a, [u8]>,
        /// What it says beyond that (NIP-67).
        hint: Option<EoseHint>,
    },
    /// A subscription was refused or ended.
    Closed {
        /// Which one.
        subscription: Cow<'a, [u8]>,
        /// Why.
        reason: String,
    },
    /// What became of an event that was sent.
    Ok {
        /// Which one.
        id: EventId,
        /// Whether it was taken.
        is_accepted: bool,
        /// Why not.
        text: String,
    },
    /// A text for people.
    Notice(String),
    /// What a proof of identity must contain (NIP-42).
    Auth(String),
    /// The next message of a reconciliation (NIP-77).
    NegMsg {
        /// Of which one.
        subscription: Cow<'a, [u8]>,
        /// Hexadecimal text.
        message: Cow<'a, [u8]>,
    },
    /// A reconciliation was refused or ended (NIP-77).
    NegErr {
        /// Which one.
        subscription: Cow<'a, [u8]>,
        /// Why.
        reason: String,
    },
    /// Something else.
    Other,
}

impl<'a> RelayMessage<'a> {
    /// Parses the text of one frame.
    ///
    /// # Errors
    ///
    /// If it is no array that begins with a name of a message, or lacks what that needs.
    pub fn parse(frame: &'a str) -> Result<RelayMessage<'a>, MessageError> {
        read(frame).map_err(|problem| MessageError::Notice(problem.to_owned()))
    }
}

fn read(frame: &str) -> Result<RelayMessage<'_>, &'static str> {
    let mut scanner = Scanner::new(frame);
    if scanner.peek() != Some(b'[') || !scanner.open(b'[', b']')? {
        return Err("message is not a JSON array");
    }
    let mut elements = Elements { scanner, is_first: true };
    let verb = elements.text()?;
    match &*verb {
        b"EVENT" => {
            let subscription = elements.text()?;
            elements.next()?;
            let event = match Event::read(&mut elements.scanner) {
                // Behind a fault the scanner stands anywhere.
                Err(error) => return Ok(RelayMessage::Event { subscription, event: Err(error) }),
                Ok(event) => event,
            };
            elements.finish()?;
            Ok(RelayMessage::Event { subscription, event: Ok(event) })
        }
        b"EOSE" => {
            let subscription = elements.text()?;
            Ok(RelayMessage::Eose { subscription, hint: elements.hint()? })
        }
        b"CLOSED" => {
            let subscription = elements.text()?;
            Ok(RelayMessage::Closed { subscription, reason: elements.reason() })
        }
        b"OK" => {
            let id = EventId::from_hex(&elements.text()?).ok_or("OK names no event")?;
            let is_accepted = elements.truth()?;
            Ok(RelayMessage::Ok { id, is_accepted, text: elements.reason() })
        }
        b"NOTICE" => Ok(RelayMessage::Notice(elements.reason())),
        b"AUTH" => Ok(RelayMessage::Auth(elements.words()?)),
        b"NEG-MSG" => {
            let subscription = elements.text()?;
            Ok(RelayMessage::NegMsg { subscription, message: elements.text()? })
        }
        b"NEG-ERR" => {
            let subscription = elements.text()?;
            Ok(RelayMessage::NegErr { subscription, reason: elements.reason() })
        }
        _ => Ok(RelayMessage::Other),
    }
}

impl From<JsonError> for &'static str {
    fn from(error: JsonError) -> &'static str {
        error.problem
    }
}

/// The elements of a message, one after the other.
struct Elements<'a> {
    scanner: Scanner<'a>,
    is_first: bool,
}

impl<'a> Elements<'a> {
    /// Moves to the next element, which must be there.
    fn next(&mut self) -> Result<(), &'static str> {
        if std::mem::take(&mut self.is_first) || self.scanner.another(b']')? {
            return Ok(());
        }
        Err("message lacks an element")
    }

    /// Reads a string in canonical escaped form.
    fn text(&mut self) -> Result<Cow<'a, [u8]>, &'static str> {
        self.next()?;
        if self.scanner.peek() != Some(b'"') {
            return Err("message has something else where a string belongs");
        }
        Ok(self.scanner.text()?.canonical())
    }

    fn words(&mut self) -> Result<String, &'static str> {
        self.next()?;
        if self.scanner.peek() != Some(b'"') {
            return Err("message has something else where a string belongs");
        }
        Ok(self.scanner.text()?.to_text())
    }

    /// Reads a text for people, which may be absent.
    fn reason(&mut self) -> String {
        let mut words = self.words().unwrap_or_default();
        words.truncate(words.floor_char_boundary(REASON_BYTES_MAX));
        words
    }

    fn truth(&mut self) -> Result<bool, &'static str> {
        self.next()?;
        let is_true = self.scanner.peek() == Some(b't');
        self.scanner.skip_value()?;
        Ok(is_true)
    }

    /// Reads the list of hints behind EOSE, if there is one.
    fn hint(&mut self) -> Result<Option<EoseHint>, &'static str> {
        if !self.scanner.another(b']')? || self.scanner.peek() != Some(b'[') {
            return Ok(None);
        }
        let mut hint = None;
        let mut has_next = self.scanner.open(b'[', b']')?;
        while has_next {
            if self.scanner.peek() == Some(b'"') {
                match &*self.scanner.text()?.canonical() {
                    b"finish" => hint = Some(EoseHint::Finish),
                    b"more" => hint = Some(EoseHint::More),
                    _ => {}
                }
            } else {
                self.scanner.skip_value()?;
            }
            has_next = self.scanner.another(b']')?;
        }
        Ok(hint)
    }

    /// Skips surplus elements and confirms the end.
    fn finish(&mut self) -> Result<(), &'static str> {
        while self.scanner.another(b']')? {
            self.scanner.skip_value()?;
        }
        Ok(self.scanner.finish()?)
    }
}

/// Appends `["REQ",...]`.
pub fn write_req(out: &mut Vec<u8>, subscription: &SubscriptionId, filter: &Filter) {
    write_named(out, "REQ", subscription);
    out.push(b',');
    filter.write_json(out);
    out.push(b']');
}

/// Appends `["REQ",...]` for the events with these ids.
pub fn write_req_of_ids(out: &mut Vec<u8>, subscription: &SubscriptionId, ids: &[EventId]) {
    write_named(out, "REQ", subscription);
    out.extend_from_slice(b",{\"ids\":[");
    for (index, id) in ids.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"\"" } else { b",\"" });
        hex::encode_into(&id.0, out);
        out.push(b'"');
    }
    out.extend_from_slice(b"],\"limit\":");
    crate::nostr::json::write_integer(ids.len() as u64, out);
    out.extend_from_slice(b"}]");
}

/// Appends `["CLOSE",...]`.
pub fn write_close(out: &mut Vec<u8>, subscription: &SubscriptionId) {
    write_named(out, "CLOSE", subscription);
    out.push(b']');
}

/// Appends `["EVENT",...]`: an event to be taken.
pub fn write_event(out: &mut Vec<u8>, event: &EventRef<'_>) {
    out.extend_from_slice(b"[\"EVENT\",");
    event.write_json(out);
    out.push(b']');
}

/// Appends `["AUTH",...]`: a proof of identity.
pub fn write_proof(out: &mut Vec<u8>, event: &EventRef<'_>) {
    out.extend_from_slice(b"[\"AUTH\",");
    event.write_json(out);
    out.push(b']');
}

/// Appends `["NEG-OPEN",...]`: the beginning of a reconciliation.
pub fn write_neg_open(
    out: &mut Vec<u8>,
    subscription: &SubscriptionId,
    filter: &Filter,
    message: &[u8],
) {
    write_named(out, "NEG-OPEN", subscription);
    out.push(b',');
    filter.write_json(out);
    out.extend_from_slice(b",\"");
    hex::encode_into(message, out);
    out.extend_from_slice(b"\"]");
}

/// Appends `["NEG-CLOSE",...]`: the end of a reconciliation.
pub fn write_neg_close(out: &mut Vec<u8>, subscription: &SubscriptionId) {
    write_named(out, "NEG-CLOSE", subscription);
    out.push(b']');
}

/// How much of a text for people is kept.
const REASON_BYTES_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::fixtures;

    fn check(frame: &str, expected: RelayMessage<'_>) {
        assert_eq!(RelayMessage::parse(frame).as_ref(), Ok(&expected), "{frame}");
    }

    #[test]
    fn each_message_is_read_with_what_it_tells() {
        let subscription = Cow::Borrowed(&b"x"[..]);
        let event = Event::parse(fixtures::S1.as_bytes()).expect("the fixture is an event");
        let frame = format!("[\"EVENT\",\"x\",{}]", fixtures::S1);
        let told = RelayMessage::Event { subscription: subscription.clone(), event: Ok(event) };
        check(&frame, told);
        for (frame, hint) in [
            (r#"["EOSE","x"]"#, None),
            (r#" [ "EOSE" , "x" , [ ] ] "#, None),
            (r#"["EOSE","x",["finish"]]"#, Some(EoseHint::Finish)),
            (r#"["EOSE","x",[1,"other","more"],{}]"#, Some(EoseHint::More)),
            (r#"["EOSE","x","more"]"#, None),
        ] {
            check(frame, RelayMessage::Eose { subscription: subscription.clone(), hint });
        }
        let reason = "error: \"why\"".to_owned();
        let closed = RelayMessage::Closed { subscription: subscription.clone(), reason };
        check(r#"["CLOSED","x","error: \"why\""]"#, closed);
        let closed =
            RelayMessage::Closed { subscription: subscription.clone(), reason: String::new() };
        check(r#"["CLOSED","x"]"#, closed);
        let id = EventId([0xab; 32]);
        let hex = "ab".repeat(32);
        let ok = RelayMessage::Ok { id, is_accepted: true, text: String::new() };
        check(&format!("[\"OK\",\"{hex}\",true,\"\"]"), ok.clone());
        check(&format!("[\"OK\",\"{hex}\",true]"), ok);
        let text = "blocked: no".to_owned();
        let ok = RelayMessage::Ok { id, is_accepted: false, text };
        check(&format!("[\"OK\",\"{hex}\",false,\"blocked: no\"]"), ok);
        check(r#"["NOTICE","hello"]"#, RelayMessage::Notice("hello".to_owned()));
        check(r#"["AUTH","a\nb"]"#, RelayMessage::Auth("a\nb".to_owned()));
        let message = Cow::Borrowed(&b"6100"[..]);
        let neg = RelayMessage::NegMsg { subscription: subscription.clone(), message };
        check(r#"["NEG-MSG","x","6100"]"#, neg);
        let reason = "blocked: too many".to_owned();
        check(
            r#"["NEG-ERR","x","blocked: too many",500]"#,
            RelayMessage::NegErr { subscription, reason },
        );
        check(r#"["COUNT","x",{"count":5}]"#, RelayMessage::Other);
    }

    #[test]
    fn a_bad_event_is_told_with_its_subscription() {
        for event in ["{}", "5", "{\"id\":5}", "nonsense"] {
            let frame = format!("[\"EVENT\",\"x\",{event}]");
            let told = RelayMessage::parse(&frame).expect("a message");
            assert!(matches!(told, RelayMessage::Event { event: Err(_), .. }), "{frame}");
        }
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for frame in [
            "",
            "{}",
            "[]",
            "[5]",
            "[\"EVENT\"]",
            "[\"EVENT\",5]",
            "[\"EVENT\",\"x\"]",
            "[\"EOSE\"]",
            "[\"OK\",\"x\",true]",
            "[\"AUTH\",5]",
            "[\"NEG-MSG\",\"x\"]",
        ] {
            assert!(RelayMessage::parse(frame).is_err(), "{frame}");
        }
    }

    #[test]
    fn what_is_asked_is_what_this_relay_reads() {
        use crate::nostr::ClientMessage;
        let subscription = SubscriptionId::new("d1").expect("a name");
        let ids = [EventId([1; 32]), EventId([2; 32])];
        let event = Event::parse(fixtures::S1.as_bytes()).expect("the fixture is an event");
        let filter = Filter { kinds: Some([1].into()), since: Some(5), ..Filter::default() };
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).expect("text")
        };
        let of_ids = Filter { ids: Some(ids.into()), limit: Some(2), ..Filter::default() };
        let name = || subscription.clone();
        for (asked, read) in [
            (
                text(&|out| write_req(out, &subscription, &filter)),
                ClientMessage::Req { subscription: name(), filters: vec![filter.clone()] },
            ),
            (
                text(&|out| write_req_of_ids(out, &subscription, &ids)),
                ClientMessage::Req { subscription: name(), filters: vec![of_ids] },
            ),
            (
                text(&|out| write_close(out, &subscription)),
                ClientMessage::Close { subscription: name() },
            ),
            (text(&|out| write_event(out, &event.view())), ClientMessage::Event(event.clone())),
            (text(&|out| write_proof(out, &event.view())), ClientMessage::Auth(event.clone())),
            (
                text(&|out| write_neg_open(out, &subscription, &filter, &[0x61])),
                ClientMessage::NegOpen {
                    subscription: name(),
                    filter: filter.clone(),
                    message: "61",
                },
            ),
            (
                text(&|out| write_neg_close(out, &subscription)),
                ClientMessage::NegClose { subscription: name() },
            ),
        ] {
            assert_eq!(ClientMessage::parse(&asked), Ok(read), "{asked}");
        }
    }
}
