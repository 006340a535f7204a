//! What is said between the relay and a plugin that judges events: strfry's protocol, one JSON
//! object a line each way. Who runs the plugin, and what happens when it says nothing, is elsewhere.

use std::net::IpAddr;
use std::sync::Arc;

use crate::hex;
use crate::nostr::json::{self, JsonError, Scanner};
use crate::nostr::{EventId, EventRef, Prefix, PublicKey, Reject};

/// Who sent an event, as far as plugins are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginSource {
    /// A client with this address.
    Client(IpAddr),
    /// Another relay with this address, whose events this relay takes.
    Peer(Arc<str>),
}

/// What a plugin is asked about one event.
#[derive(Clone, Copy, Debug)]
pub struct PluginRequest<'a> {
    /// The event.
    pub event: EventRef<'a>,
    /// When it came, in seconds of Unix time.
    pub received_at: u64,
    /// Who sent it.
    pub source: &'a PluginSource,
    /// Who the sender has proven to be (NIP-42).
    pub authed: Option<&'a PublicKey>,
}

impl PluginRequest<'_> {
    /// Appends the request as one line.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"new\",\"event\":");
        self.event.write_json(out);
        out.extend_from_slice(b",\"receivedAt\":");
        json::write_integer(self.received_at, out);
        let (source_type, info) = match self.source {
            PluginSource::Client(client) => match client.to_canonical() {
                IpAddr::V4(client) => ("IP4", client.to_string()),
                IpAddr::V6(client) => ("IP6", client.to_string()),
            },
            // Addresses of relays are of printable ASCII, which needs no escapes but for these.
            PluginSource::Peer(url) => ("Stream", url.replace(['"', '\\'], "_")),
        };
        let source = format!(",\"sourceType\":\"{source_type}\",\"sourceInfo\":\"{info}");
        out.extend_from_slice(source.as_bytes());
        match self.authed {
            Some(key) => {
                out.extend_from_slice(b"\",\"authed\":\"");
                hex::encode_into(&key.0, out);
                out.extend_from_slice(b"\"}\n");
            }
            None => out.extend_from_slice(b"\",\"authed\":null}\n"),
        }
    }
}

/// What a plugin says of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginAnswer {
    /// Which event.
    pub id: EventId,
    /// What is to become of it.
    pub verdict: PluginVerdict,
}

/// What is to become of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginVerdict {
    /// It goes on as if nobody had been asked.
    Accept,
    /// It is refused.
    Reject(Reject),
    /// It is dropped, and its sender is told that it was taken.
    ShadowReject,
    /// The plugin names an action that there is none of.
    Unknown,
}

/// Why a line of a plugin is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is no JSON object.
    #[error("read the answer of the plugin: {0}")]
    Json(#[from] JsonError),
    /// It names no event.
    #[error("read the answer of the plugin: its id is not that of an event")]
    Id,
    /// It names no action.
    #[error("read the answer of the plugin: it has no action")]
    Action,
}

impl PluginAnswer {
    /// Reads one line. Members that are not known are skipped; of those that are, the last counts.
    ///
    /// # Errors
    ///
    /// If it is no JSON object, or lacks `id` or `action`.
    pub fn read(line: &str) -> Result<PluginAnswer, AnswerError> {
        let mut scanner = Scanner::new(line);
        let (mut id, mut action, mut message) = (None, None, None);
        let mut has_more = scanner.open(b'{', b'}')?;
        while has_more {
            let name = scanner.key()?.canonical();
            let place = match &*name {
                b"id" => &mut id,
                b"action" => &mut action,
                b"msg" => &mut message,
                _ => &mut None,
            };
            *place = match scanner.peek() {
                Some(b'"') => Some(scanner.text()?.to_text()),
                _ => {
                    scanner.skip_value()?;
                    None
                }
            };
            has_more = scanner.another(b'}')?;
        }
        scanner.finish()?;
        let id = id.and_then(|text| EventId::from_hex(text.as_bytes())).ok_or(AnswerError::Id)?;
        let verdict = match &*action.ok_or(AnswerError::Action)? {
            "accept" => PluginVerdict::Accept,
            "reject" => PluginVerdict::Reject(refusal(&message.unwrap_or_default())),
            "shadowReject" => PluginVerdict::ShadowReject,
            _ => PluginVerdict::Unknown,
        };
        Ok(PluginAnswer { id, verdict })
    }
}

/// Returns the refusal that a plugin words; without a prefix that clients know it is `blocked`.
fn refusal(message: &str) -> Reject {
    let message = &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)];
    if message.trim().is_empty() {
        return Reject::new(Prefix::Blocked, "not taken by the policy of this relay");
    }
    let worded = message.split_once(':').and_then(|(word, text)| {
        let prefix = PREFIXES.into_iter().find(|prefix| prefix.word() == word)?;
        Some(Reject::new(prefix, text.trim_start().to_owned()))
    });
    worded.unwrap_or_else(|| Reject::new(Prefix::Blocked, message.to_owned()))
}

/// The prefixes that an event may be refused with.
const PREFIXES: [Prefix; 10] = [
    Prefix::Duplicate,
    Prefix::Pow,
    Prefix::Blocked,
    Prefix::RateLimited,
    Prefix::Invalid,
    Prefix::Restricted,
    Prefix::AuthRequired,
    Prefix::Mute,
    Prefix::Error,
    Prefix::Unsupported,
];
/// As much of a message as clients are told.
const MESSAGE_BYTES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{Keypair, Kind};

    const ID: &str = "5c83da77af1dec6d7289834998ad7aafbd9e2191396d75ec3cc27f5a77226f36";

    fn read(line: &str) -> Result<PluginVerdict, AnswerError> {
        let answer = PluginAnswer::read(&line.replace("ID", ID))?;
        assert_eq!(answer.id.to_string(), ID);
        Ok(answer.verdict)
    }

    #[test]
    fn a_request_is_one_line_of_json_that_says_who_sent_what_and_when() {
        let keys = Keypair::from_secret([7; 32]).unwrap();
        let tags = [vec!["t".to_owned(), "a\nb".to_owned()]];
        let event = keys.sign_event(5, Kind(1), &tags, "line\nline \"quoted\"");
        let key = event.pubkey;
        let rows = [
            ("192.0.2.7", None, "IP4", "192.0.2.7"),
            ("::ffff:192.0.2.7", Some(&key), "IP4", "192.0.2.7"),
            ("2001:db8::1", Some(&key), "IP6", "2001:db8::1"),
            ("wss://a.example/\"x\\", None, "Stream", "wss://a.example/_x_"),
        ];
        for (sender, authed, kind, shown) in rows {
            let peer = || PluginSource::Peer(sender.into());
            let source = &sender.parse().map_or_else(|_| peer(), PluginSource::Client);
            let mut out = Vec::new();
            PluginRequest { event: event.view(), received_at: 9, source, authed }.write(&mut out);
            assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let mut json = Vec::new();
            event.view().write_json(&mut json);
            let expected = serde_json::json!({
                "type": "new",
                "event": serde_json::from_slice::<serde_json::Value>(&json).unwrap(),
                "receivedAt": 9,
                "sourceType": kind,
                "sourceInfo": shown,
                "authed": authed.map(ToString::to_string),
            });
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn an_answer_names_an_event_and_an_action() {
        assert_eq!(read(r#"{"id":"ID","action":"accept"}"#), Ok(PluginVerdict::Accept));
        let spaced = r#" { "action" : "shadowReject" , "msg" : null , "id" : "ID", "x":[{}] } "#;
        assert_eq!(read(spaced), Ok(PluginVerdict::ShadowReject));
        assert_eq!(read(r#"{"id":"ID","action":"Accept"}"#), Ok(PluginVerdict::Unknown));
        for line in ["", "accept", "[]", "{}", "null", "{\"id\":", "{\"id\":\"ID\"} x"] {
            assert!(read(line).is_err(), "{line}");
        }
        assert_eq!(read(r#"{"id":"ID"}"#), Err(AnswerError::Action));
        assert_eq!(read(r#"{"id":"ID","action":7}"#), Err(AnswerError::Action));
        assert_eq!(read(r#"{"id":"ID0","action":"accept"}"#), Err(AnswerError::Id));
        assert_eq!(read(r#"{"action":"accept"}"#), Err(AnswerError::Id));
    }

    #[test]
    fn a_refusal_keeps_the_plugins_words_and_gets_a_prefix_if_it_has_none() {
        let rows = [
            ("blocked: not on the list", "blocked: not on the list"),
            ("rate-limited:slow down", "rate-limited: slow down"),
            ("no", "blocked: no"),
            ("see: https://example.org", "blocked: see: https://example.org"),
            ("", "blocked: not taken by the policy of this relay"),
            ("caf\\u00e9", "blocked: caf\u{e9}"),
        ];
        for (message, expected) in rows {
            let line = format!(r#"{{"id":"ID","action":"reject","msg":"{message}"}}"#);
            let Ok(PluginVerdict::Reject(reject)) = read(&line) else { panic!("{line}") };
            assert_eq!(reject.to_string(), expected);
        }
        let long = "\u{e9}".repeat(2_000);
        let line = format!(r#"{{"id":"ID","action":"reject","msg":"{long}"}}"#);
        let Ok(PluginVerdict::Reject(reject)) = read(&line) else { panic!("{line}") };
        assert_eq!(reject.text.len(), 1_000);
    }
}
