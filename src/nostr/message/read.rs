//! One text frame to one message, straight from its bytes.
//!
//! Surplus elements are ignored. A frame that is refused is answered in the words of what it asked
//! for, if it names that and is at least shaped like JSON; else by a notice.

use super::{ClientMessage, MessageError, SubscriptionId, salvage};
use crate::limits;
use crate::nostr::event::{Event, EventError};
use crate::nostr::filter::Filter;
use crate::nostr::json::{JsonError, Scanner};
use crate::nostr::reject::{Prefix, Reject};

pub(super) fn parse(frame: &str) -> Result<ClientMessage<'_>, MessageError> {
    read(frame).map_err(|error| {
        if salvage::is_balanced(frame) {
            return error;
        }
        notice(Prefix::Invalid, "message is not a JSON array")
    })
}

fn read(frame: &str) -> Result<ClientMessage<'_>, MessageError> {
    let mut scanner = Scanner::new(frame);
    if scanner.peek() != Some(b'[') {
        return Err(notice(Prefix::Invalid, "message is not a JSON array"));
    }
    if !scanner.open(b'[', b']')? {
        return Err(notice(Prefix::Invalid, "message is an empty array"));
    }
    if scanner.peek() != Some(b'"') {
        return Err(notice(Prefix::Invalid, "message does not begin with a string"));
    }
    let verb = scanner.text()?.canonical();
    let mut arguments = Arguments { frame, scanner };
    match &*verb {
        b"EVENT" => arguments.only_event().map(ClientMessage::Event),
        b"AUTH" => arguments.only_event().map(ClientMessage::Auth),
        b"REQ" => {
            let (subscription, filters) = arguments.name_and_filters()?;
            Ok(ClientMessage::Req { subscription, filters })
        }
        b"COUNT" => {
            let (query, filters) = arguments.name_and_filters()?;
            Ok(ClientMessage::Count { query, filters })
        }
        b"CLOSE" => Ok(ClientMessage::Close { subscription: arguments.only_name()? }),
        b"NEG-OPEN" => arguments.neg_open(),
        b"NEG-MSG" => arguments.neg_msg(),
        b"NEG-CLOSE" => Ok(ClientMessage::NegClose { subscription: arguments.only_name()? }),
        _ => Err(notice(Prefix::Unsupported, "unknown message type")),
    }
}

impl From<JsonError> for MessageError {
    fn from(error: JsonError) -> MessageError {
        notice(Prefix::Invalid, &error.to_string())
    }
}

/// How a refusal is addressed, given the name that the client used.
type Refusal = fn(String, Reject) -> MessageError;

fn closed(subscription: String, reject: Reject) -> MessageError {
    MessageError::Closed { subscription, reject }
}

fn neg_err(subscription: String, reject: Reject) -> MessageError {
    MessageError::NegErr { subscription, reject }
}

/// The elements behind the verb; the scanner stands behind the last that was read.
struct Arguments<'a> {
    frame: &'a str,
    scanner: Scanner<'a>,
}

impl<'a> Arguments<'a> {
    /// Moves to the next element, if there is one.
    fn has_next(&mut self) -> Result<bool, JsonError> {
        self.scanner.another(b']')
    }

    /// Skips surplus elements and confirms the end of the frame.
    fn finish(&mut self) -> Result<(), JsonError> {
        while self.has_next()? {
            self.scanner.skip_value()?;
        }
        self.scanner.finish()
    }

    fn only_event(&mut self) -> Result<Event, MessageError> {
        if !self.has_next()? {
            return Err(notice(Prefix::Invalid, "message has no event"));
        }
        let start = self.frame.len() - self.scanner.remaining();
        match Event::read(&mut self.scanner) {
            Ok(event) => {
                self.finish()?;
                Ok(event)
            }
            Err(EventError::NotObject) => Err(notice(Prefix::Invalid, "event is not an object")),
            Err(error) => {
                let id = self.frame.get(start..).and_then(salvage::id_of);
                Err(MessageError::Ok {
                    id: id.unwrap_or_else(|| "?".to_owned()),
                    reject: error.into(),
                })
            }
        }
    }

    fn only_name(&mut self) -> Result<SubscriptionId, MessageError> {
        let (name, _) = self.name(|_, reject| MessageError::Notice(reject.to_string()))?;
        self.finish()?;
        Ok(name)
    }

    fn name_and_filters(&mut self) -> Result<(SubscriptionId, Vec<Filter>), MessageError> {
        let (name, text) = self.name(closed)?;
        let refuse = |reject| closed(text(), reject);
        let mut filters = Vec::new();
        while self.has_next()? {
            if filters.len() == limits::MESSAGE_FILTERS_MAX {
                return Err(refuse(Reject::invalid("too many filters in one message")));
            }
            let filter = Filter::read(&mut self.scanner);
            filters.push(filter.map_err(|error| refuse(error.into()))?);
        }
        self.scanner.finish()?;
        if filters.is_empty() {
            return Err(refuse(Reject::invalid("at least one filter is needed")));
        }
        Ok((name, filters))
    }

    fn neg_open(&mut self) -> Result<ClientMessage<'a>, MessageError> {
        let (subscription, text) = self.name(neg_err)?;
        if !self.has_next()? {
            return Err(neg_err(text(), Reject::invalid("a filter is needed")));
        }
        let filter = Filter::read(&mut self.scanner);
        let filter = filter.map_err(|error| neg_err(text(), error.into()))?;
        let message = self.binary_message(&text)?;
        Ok(ClientMessage::NegOpen { subscription, filter, message })
    }

    fn neg_msg(&mut self) -> Result<ClientMessage<'a>, MessageError> {
        let (subscription, text) = self.name(neg_err)?;
        let message = self.binary_message(&text)?;
        Ok(ClientMessage::NegMsg { subscription, message })
    }

    /// Reads the hexadecimal text that ends a message; whether it is that is seen when it is
    /// decoded.
    fn binary_message(&mut self, name: &dyn Fn() -> String) -> Result<&'a str, MessageError> {
        let refuse = || neg_err(name(), Reject::invalid("message is not hexadecimal text"));
        if !self.has_next()? || self.scanner.peek() != Some(b'"') {
            return Err(refuse());
        }
        let end = self.scanner.text()?;
        let message = end.as_canonical().and_then(|bytes| std::str::from_utf8(bytes).ok());
        self.finish()?;
        message.ok_or_else(refuse)
    }

    /// Reads a name, and returns with it how to spell it in a refusal.
    fn name(
        &mut self,
        refuse: Refusal,
    ) -> Result<(SubscriptionId, impl Fn() -> String + use<'a>), MessageError> {
        if !self.has_next()? || self.scanner.peek() != Some(b'"') {
            return Err(notice(Prefix::Invalid, "message names no subscription by a string"));
        }
        let raw = self.scanner.text()?;
        match SubscriptionId::from_raw(&raw) {
            Some(name) => Ok((name, move || raw.to_text())),
            None => {
                let max = limits::SUBSCRIPTION_ID_CHARACTERS_MAX;
                let reject =
                    Reject::invalid(format!("subscription id has not 1 to {max} characters"));
                Err(refuse(raw.to_text(), reject))
            }
        }
    }
}

#[cold]
fn notice(prefix: Prefix, text: &str) -> MessageError {
    MessageError::Notice(format!("{prefix}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::fixtures;

    fn answer(frame: &str) -> String {
        let error = parse(frame).expect_err(frame);
        let mut out = Vec::new();
        error.write(&mut out);
        String::from_utf8(out).expect("answers are text")
    }

    fn check(frame: &str, expected: &str) {
        let answer = answer(frame);
        assert!(answer.starts_with(expected), "{frame}\n{answer}\n{expected}");
        assert!(serde_json::from_str::<serde_json::Value>(&answer).is_ok(), "{answer}");
    }

    fn name(text: &str) -> SubscriptionId {
        SubscriptionId::new(text).expect("it is legal")
    }

    fn filter(json: &str) -> Filter {
        Filter::parse(json.as_bytes()).expect("it is a filter")
    }

    #[test]
    fn each_verb_is_read_with_its_arguments() {
        let event = Event::parse(fixtures::S1.as_bytes()).expect("the fixture is an event");
        let spaced = format!(" [ \"EVENT\" , {} ] \n", fixtures::S1);
        assert_eq!(parse(&spaced), Ok(ClientMessage::Event(event.clone())));
        let spelled = format!("[\"\\u0045VENT\",{}]", fixtures::S1);
        assert_eq!(parse(&spelled), Ok(ClientMessage::Event(event.clone())));
        let auth = format!("[\"AUTH\",{}]", fixtures::S1);
        assert_eq!(parse(&auth), Ok(ClientMessage::Auth(event)));
        let filters = vec![filter("{}"), filter(r#"{"kinds":[1]}"#)];
        let req = ClientMessage::Req { subscription: name("x"), filters: filters.clone() };
        assert_eq!(parse(r#"["REQ","x",{},{"kinds":[1]}]"#), Ok(req));
        let count = ClientMessage::Count { query: name("\n"), filters };
        assert_eq!(parse(r#"["COUNT","\n",{},{"kinds":[1]}]"#), Ok(count));
        assert_eq!(parse(r#"["CLOSE","x"]"#), Ok(ClientMessage::Close { subscription: name("x") }));
        let open =
            ClientMessage::NegOpen { subscription: name("x"), filter: filter("{}"), message: "61" };
        assert_eq!(parse(r#"["NEG-OPEN","x",{},"61"]"#), Ok(open));
        let next = ClientMessage::NegMsg { subscription: name("x"), message: "" };
        assert_eq!(parse(r#"["NEG-MSG","x",""]"#), Ok(next));
        let close = ClientMessage::NegClose { subscription: name("x") };
        assert_eq!(parse(r#"["NEG-CLOSE","x"]"#), Ok(close));
    }

    #[test]
    fn surplus_elements_are_ignored() {
        assert!(parse(r#"["CLOSE","x","extra",{"a":[null]}]"#).is_ok());
        assert!(parse(&format!("[\"EVENT\",{},\"extra\"]", fixtures::S1)).is_ok());
        assert!(parse(r#"["NEG-MSG","x","61",5]"#).is_ok());
        assert!(parse(r#"["NEG-OPEN","x",{},"61",5]"#).is_ok());
    }

    #[test]
    fn junk_is_answered_by_a_notice() {
        let rows = [
            "hello",
            "",
            " ",
            "{}",
            "5",
            "null",
            "\"EVENT\"",
            "[]",
            "[5]",
            "[null,1]",
            "[[]]",
            "[{}]",
            "[\"EVENT\"",
            "[\"EVENT\"]",
            "[\"EVENT\",5]",
            "[\"EVENT\",null]",
            "[\"EVENT\",[]]",
            "[\"EVENT\",\"x\"]",
            "[\"AUTH\",\"x\"]",
            "[\"AUTH\"]",
            "[\"REQ\"]",
            "[\"REQ\",5]",
            "[\"REQ\",null,{}]",
            "[\"COUNT\",{}]",
            "[\"CLOSE\"]",
            "[\"CLOSE\",5]",
            "[\"CLOSE\",\"\"]",
            "[\"NEG-OPEN\"]",
            "[\"NEG-MSG\",{}]",
            "[\"NEG-CLOSE\",1]",
            "[\"event\",{}]",
            "[\"\"]",
            "[\"CLOSE\",\"x\"",
            "[\"CLOSE\",\"x\"]]",
            "[\"CLOSE\",\"x\"] x",
            "[\"CLOSE\",\"x\",]",
            "[\"REQ\",\"x\",{}",
            "[\"REQ\",\"x\",{\"kinds\":[1}]",
            "[\"REQ\",\"x\",{\"search\":\"]",
            "[\"REQ\" \"x\",{}]",
            "[\"CLOSE\",\"\\ud800\"]",
        ];
        for frame in rows {
            check(frame, "[\"NOTICE\",\"");
        }
        check("[\"FOO\",1]", "[\"NOTICE\",\"unsupported: unknown message type\"]");
        check(&"[".repeat(100_000), "[\"NOTICE\",");
        check(&format!("[\"REQ\",\"x\",{}", "{\"a\":".repeat(100_000)), "[\"NOTICE\",");
        let whole = format!("[\"EVENT\",{}]", fixtures::S1);
        for end in 0..whole.len() {
            check(&whole[..end], "[\"NOTICE\",");
        }
    }

    #[test]
    fn a_refused_event_is_answered_with_the_id_it_claims() {
        let id = "bde202ea7642ff9910600c7edc948a1f4220f0cbf5e4fb2b7efafa681bbb5285";
        let frame = |text: &str| format!("[\"EVENT\",{text}]");
        let refused = |id: &str| format!("[\"OK\",\"{id}\",false,\"invalid: ");
        let altered = |from: &str, to: &str| {
            assert!(fixtures::S1.contains(from));
            frame(&fixtures::S1.replace(from, to))
        };
        check(&altered("\"kind\":1", "\"kind\":65536"), &refused(id));
        check(&altered("\"tags\":[]", "\"tags\":[[]]"), &refused(id));
        check(&altered("\"content\":\"hello\"", "\"content\":null"), &refused(id));
        check(&altered("1700000000", "1700000000.0"), &refused(id));
        check(&altered("\"kind\":1,", ""), &refused(id));
        check(&altered("hello", "x\\ud800y"), &refused(id));
        check(&altered("hello", "x\ny"), &refused(id));
        check(&altered("\"kind\":1", "\"kind\":01"), &refused(id));
        check(&altered("\"kind\":1", "\"kind\":1,\"kind\":1"), &refused(id));
        check(&altered(id, &id.to_uppercase()), &refused(&id.to_uppercase()));
        check(&altered(id, "0x\\n\\u0041"), &refused("0x\\nA"));
        check(&altered(&format!("\"{id}\""), "5"), &refused("?"));
        check(&frame("{}"), &refused("?"));
        check(&frame(fixtures::U1), "[\"OK\",\"0acfc1e0");
        check(&altered("hello", "x\ny").replace("EVENT", "AUTH"), &refused(id));
        let deep =
            format!("[\"EVENT\",{{\"foo\":{}1{},\"id\":\"x\"}}]", "[".repeat(65), "]".repeat(65));
        check(&deep, "[\"NOTICE\",");
    }

    #[test]
    fn a_refused_subscription_is_closed_under_the_name_it_was_given() {
        check(r#"["REQ","x"]"#, r#"["CLOSED","x","invalid: "#);
        check(r#"["COUNT","x"]"#, r#"["CLOSED","x","invalid: "#);
        check(r#"["REQ","x",5]"#, r#"["CLOSED","x","invalid: filter is not an object"]"#);
        check(r#"["REQ","x",{},[]]"#, r#"["CLOSED","x","invalid: filter is not an object"]"#);
        check(
            r#"["REQ","a\"\u00e9",{"foo":1}]"#,
            "[\"CLOSED\",\"a\\\"\u{e9}\",\"unsupported: filter contains",
        );
        check(r#"["COUNT","x",{"ids":["y"]}]"#, r#"["CLOSED","x","invalid: `ids`"#);
        check(r#"["REQ","x",{"kinds":[1,]}]"#, r#"["CLOSED","x","invalid: malformed JSON"#);
        check(r#"["REQ","",{}]"#, r#"["CLOSED","","invalid: "#);
        let long = "\u{e9}".repeat(65);
        check(
            &format!("[\"REQ\",\"{long}\",{{}}]"),
            &format!("[\"CLOSED\",\"{long}\",\"invalid: "),
        );
        assert!(parse(&format!("[\"REQ\",\"{}\",{{}}]", &long[2..])).is_ok());
        let many = |count| format!("[\"REQ\",\"x\"{}]", ",{}".repeat(count));
        assert!(parse(&many(limits::MESSAGE_FILTERS_MAX)).is_ok());
        check(&many(limits::MESSAGE_FILTERS_MAX + 1), r#"["CLOSED","x","invalid: too many"#);
    }

    #[test]
    fn a_refused_reconciliation_is_answered_by_its_own_error() {
        check(r#"["NEG-OPEN","x"]"#, r#"["NEG-ERR","x","invalid: "#);
        check(r#"["NEG-OPEN","x",5,"61"]"#, r#"["NEG-ERR","x","invalid: filter is not"#);
        check(r#"["NEG-OPEN","x",{"foo":1},"61"]"#, r#"["NEG-ERR","x","unsupported: "#);
        check(r#"["NEG-OPEN","x",{}]"#, r#"["NEG-ERR","x","invalid: message is not"#);
        check(r#"["NEG-OPEN","x",{},32,"61"]"#, r#"["NEG-ERR","x","invalid: message is not"#);
        check(r#"["NEG-OPEN","",{},"61"]"#, r#"["NEG-ERR","","invalid: "#);
        check(r#"["NEG-MSG","x"]"#, r#"["NEG-ERR","x","invalid: message is not"#);
        check(r#"["NEG-MSG","x","\/"]"#, r#"["NEG-ERR","x","invalid: message is not"#);
    }
}
