//! A websocket client that never waits for ever and forgets nothing it was sent.
//!
//! A wait names what it waits for; other messages stay in the backlog in their order. That
//! nothing comes is shown by a *fence*: an ephemeral event that the client publishes to itself.
//! When it returns, everything that was due before it has arrived.

use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderName;
use tungstenite::{Bytes, Error, HandshakeError, Message, Utf8Bytes, WebSocket};

use super::PATIENCE;
use super::event::{Event, Key, key, now};
use super::tls::Line;

/// What a client received, in order of arrival.
#[derive(Debug)]
pub(crate) enum Received {
    /// A text frame: its own bytes, and the JSON in them.
    Json(String, Value),
    /// The answer to a ping.
    Pong(Bytes),
    /// The connection's end, with the close code if one was sent.
    End(Option<u16>),
}

/// One websocket connection.
pub(crate) struct Client {
    socket: WebSocket<Line>,
    backlog: VecDeque<Received>,
    fences: u32,
    url: String,
    challenge: String,
}

/// The relay's answer to one EVENT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) accepted: bool,
    pub(crate) text: String,
}

impl Verdict {
    /// True when the text begins with `prefix: `.
    pub(crate) fn has_prefix(&self, prefix: &str) -> bool {
        self.text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(": "))
    }

    /// Panics unless this is `OK true` whose text has the prefix; empty prefix: empty or any text.
    #[track_caller]
    pub(crate) fn is_true(&self, prefix: &str, what: impl std::fmt::Debug) {
        let right = self.accepted && (prefix.is_empty() || self.has_prefix(prefix));
        assert!(right, "expected OK true {prefix:?} for {what:?}, got {self:?}");
    }

    /// Panics unless this is `OK false` whose text has the prefix.
    #[track_caller]
    pub(crate) fn is_false(&self, prefix: &str, what: impl std::fmt::Debug) {
        let right = !self.accepted && self.has_prefix(prefix);
        assert!(right, "expected OK false `{prefix}: ` for {what:?}, got {self:?}");
    }
}

impl Client {
    /// Connects, upgrades to a websocket on `/`, and reads the challenge that the relay begins with
    /// (NIP-42).
    pub(crate) fn connect(address: &str) -> Client {
        let connected = Client::connect_through(address, b"", &[]);
        connected.unwrap_or_else(|status| panic!("the upgrade on / succeeds, not {status}"))
    }

    /// Does the same behind `prefix` and with more headers; returns the status of a refusal, 0 if
    /// the connection just ended.
    pub(crate) fn connect_through(
        address: &str,
        prefix: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<Client, u16> {
        let mut line = Line::open(address);
        line.write_all(prefix).expect("a new connection takes a few bytes");
        Client::over(line, format!("ws://{address}/"), headers)
    }

    /// Connects to an address that speaks TLS, as `localhost`.
    pub(crate) fn connect_encrypted(address: &str) -> Client {
        let connected = Client::over(Line::open(address).encrypt(), encrypted_url(address), &[]);
        connected.unwrap_or_else(|status| panic!("the upgrade on / succeeds, not {status}"))
    }

    /// Upgrades a line that is open already.
    pub(crate) fn over(line: Line, url: String, headers: &[(&str, &str)]) -> Result<Client, u16> {
        let mut request = url.as_str().into_client_request().expect("it is an address");
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("a name of a header");
            request.headers_mut().append(name, value.parse().expect("a value of a header"));
        }
        let (socket, _) = match tungstenite::client(request, line) {
            Ok(connected) => connected,
            Err(HandshakeError::Failure(Error::Http(response))) => {
                return Err(response.status().as_u16());
            }
            Err(_) => return Err(0),
        };
        let challenge = String::new();
        let mut client = Client { socket, backlog: VecDeque::new(), fences: 0, url, challenge };
        client.challenge = client.wait_for("the challenge, before anything else", |received| {
            let Received::Json(_, message) = received else { panic!("it was {received:?}") };
            let is_challenge = message[0] == "AUTH" && message[2].is_null();
            assert!(is_challenge, "a challenge comes before anything else, not {message}");
            Some(message[1].as_str().expect("a challenge is text").to_owned())
        });
        Ok(client)
    }

    /// The address that the client connected to.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What the relay wants to have signed.
    pub(crate) fn challenge(&self) -> &str {
        &self.challenge
    }

    /// Returns the proof that a key signs for this connection.
    pub(crate) fn proof(&self, key: &Key) -> Event {
        key.event(22_242, "", &[&["relay", &self.url], &["challenge", &self.challenge]], now())
    }

    /// Sends AUTH and returns the relay's answer.
    #[track_caller]
    pub(crate) fn present(&mut self, proof: &Event) -> Verdict {
        self.send(&json!(["AUTH", proof.json()]));
        self.verdict(&proof.id)
    }

    /// Proves to be the owner of a key.
    #[track_caller]
    pub(crate) fn authenticate(&mut self, key: &Key) {
        let proof = self.proof(key);
        self.present(&proof).is_true("", "a proof of identity");
    }

    /// Sends COUNT and returns the object of the answer.
    #[track_caller]
    pub(crate) fn counted(&mut self, filters: &[Value]) -> Value {
        let mut message = vec![json!("COUNT"), json!("count")];
        message.extend_from_slice(filters);
        self.send(&Value::Array(message));
        self.wait_for_json("COUNT", |message| {
            if message[0] == "CLOSED" && message[1] == "count" {
                panic!("{filters:?} was not counted: {message}");
            }
            (message[0] == "COUNT" && message[1] == "count").then(|| message[2].clone())
        })
    }

    /// Sends a COUNT that must be refused with this prefix.
    #[track_caller]
    pub(crate) fn count_refused(&mut self, filters: &[Value], prefix: &str) {
        let mut message = vec![json!("COUNT"), json!("count")];
        message.extend_from_slice(filters);
        self.send(&Value::Array(message));
        let reason = self.wait_for_json("CLOSED of a COUNT", |message| {
            assert!(message[0] != "COUNT", "{filters:?} was counted: {message}");
            let wanted = message[0] == "CLOSED" && message[1] == "count";
            wanted.then(|| message[2].as_str().expect("CLOSED has a reason").to_owned())
        });
        let right = reason.starts_with(&format!("{prefix}: "));
        assert!(right, "{filters:?} is closed with `{prefix}: `, not {reason:?}");
    }

    /// Sends one JSON message.
    #[track_caller]
    pub(crate) fn send(&mut self, message: &Value) {
        self.send_text(message.to_string());
    }

    /// Sends one text frame as it is.
    #[track_caller]
    pub(crate) fn send_text(&mut self, text: impl Into<Utf8Bytes>) {
        self.send_frame(Message::Text(text.into()));
    }

    /// Sends any websocket message.
    #[track_caller]
    pub(crate) fn send_frame(&mut self, message: Message) {
        self.socket.send(message).expect("the relay keeps the connection open");
    }

    /// The stream below, to send what no well-behaved client would.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut().socket()
    }

    /// Waits for the first message that `choose` turns into something; keeps all others.
    #[track_caller]
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        mut choose: impl FnMut(&Received) -> Option<T>,
    ) -> T {
        for at in 0..self.backlog.len() {
            if let Some(found) = choose(&self.backlog[at]) {
                self.backlog.remove(at);
                return found;
            }
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let received = match self.read(deadline) {
                Ok(received) => received,
                Err(why) => panic!("waiting for {what}: {why}; unused: {:#?}", self.backlog),
            };
            if let Some(found) = choose(&received) {
                return found;
            }
            let ended = matches!(received, Received::End(_));
            self.backlog.push_back(received);
            assert!(!ended, "waiting for {what}: the connection ended; {:#?}", self.backlog);
        }
    }

    /// Waits for a JSON message that `choose` turns into something.
    #[track_caller]
    pub(crate) fn wait_for_json<T>(
        &mut self,
        what: &str,
        mut choose: impl FnMut(&Value) -> Option<T>,
    ) -> T {
        self.wait_for(what, |received| match received {
            Received::Json(_, value) => choose(value),
            _ => None,
        })
    }

    /// Publishes an event and returns the relay's answer.
    #[track_caller]
    pub(crate) fn publish(&mut self, event: &Event) -> Verdict {
        self.send(&json!(["EVENT", event.json()]));
        self.verdict(&event.id)
    }

    /// Publishes events that must be accepted.
    #[track_caller]
    pub(crate) fn publish_all<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) {
        let events: Vec<&Event> = events.into_iter().collect();
        for event in &events {
            self.send(&json!(["EVENT", event.json()]));
        }
        for event in events {
            self.verdict(&event.id).is_true("", event);
        }
    }

    /// Waits for the OK about this event id.
    #[track_caller]
    pub(crate) fn verdict(&mut self, id: &str) -> Verdict {
        self.wait_for_json(&format!("OK about {id}"), |message| {
            if message[0] != "OK" || message[1] != id {
                return None;
            }
            let parts = message.as_array().map_or(0, Vec::len);
            assert_eq!(parts, 4, "an OK has four elements: {message}");
            let accepted = message[2].as_bool().expect("the third element of OK is a boolean");
            let text = message[3].as_str().expect("the fourth element of OK is text").to_owned();
            Some(Verdict { accepted, text })
        })
    }

    /// Opens a subscription, without waiting.
    #[track_caller]
    pub(crate) fn request(&mut self, subscription: &str, filters: &[Value]) {
        let mut message = vec![json!("REQ"), json!(subscription)];
        message.extend_from_slice(filters);
        self.send(&Value::Array(message));
    }

    /// Opens a subscription and returns its stored events, up to EOSE.
    #[track_caller]
    pub(crate) fn stored(&mut self, subscription: &str, filters: &[Value]) -> Vec<Event> {
        self.request(subscription, filters);
        self.until_eose(subscription)
    }

    /// The ids of [`Client::stored`], the subscription being closed afterwards.
    #[track_caller]
    pub(crate) fn ids(&mut self, filters: &[Value]) -> Vec<String> {
        let events = self.stored("ids", filters);
        self.close("ids");
        events.into_iter().map(|event| event.id).collect()
    }

    /// Asks how many events match (NIP-45).
    #[track_caller]
    pub(crate) fn count(&mut self, filters: &[Value]) -> u64 {
        let mut message = vec![json!("COUNT"), json!("how many")];
        message.extend_from_slice(filters);
        self.send(&Value::Array(message));
        self.wait_for_json("the answer to a COUNT", |message| {
            let closed = message[0] == "CLOSED" && message[1] == "how many";
            assert!(!closed, "a COUNT was refused: {message}");
            let wanted = message[0] == "COUNT" && message[1] == "how many";
            wanted.then(|| message[2]["count"].as_u64().expect("a count is a number"))
        })
    }

    /// Collects the events of a subscription up to its EOSE.
    #[track_caller]
    pub(crate) fn until_eose(&mut self, subscription: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let what = format!("EOSE of {subscription:?}");
        loop {
            let event = self.wait_for_json(&what, |message| {
                if message[1] != subscription {
                    return None;
                }
                match message[0].as_str() {
                    Some("EVENT") => Some(Some(Event::from_json(&message[2]))),
                    Some("EOSE") => Some(None),
                    Some("CLOSED") => panic!("{subscription:?} was refused: {message}"),
                    _ => None,
                }
            });
            match event {
                Some(event) => events.push(event),
                None => return events,
            }
        }
    }

    /// Waits for one event of a subscription.
    #[track_caller]
    pub(crate) fn live(&mut self, subscription: &str) -> Event {
        let what = format!("a live EVENT of {subscription:?}");
        self.wait_for_json(&what, |message| {
            let wanted = message[0] == "EVENT" && message[1] == subscription;
            wanted.then(|| Event::from_json(&message[2]))
        })
    }

    /// Sends CLOSE.
    #[track_caller]
    pub(crate) fn close(&mut self, subscription: &str) {
        self.send(&json!(["CLOSE", subscription]));
    }

    /// Waits for CLOSED and returns its reason.
    #[track_caller]
    pub(crate) fn closed(&mut self, subscription: &str) -> String {
        self.wait_for_json(&format!("CLOSED of {subscription:?}"), |message| {
            if message[0] == "EOSE" && message[1] == subscription {
                panic!("{subscription:?} was accepted, CLOSED was expected");
            }
            let wanted = message[0] == "CLOSED" && message[1] == subscription;
            wanted.then(|| message[2].as_str().expect("CLOSED has a reason").to_owned())
        })
    }

    /// Sends a REQ that must be refused with this prefix.
    #[track_caller]
    pub(crate) fn refused(&mut self, filters: &[Value], prefix: &str) {
        self.request("refused", filters);
        let reason = self.closed("refused");
        let right = reason.starts_with(&format!("{prefix}: "));
        assert!(right, "{filters:?} is closed with `{prefix}: `, not {reason:?}");
    }

    /// Waits until the relay has ended the connection; returns the close code, if one came.
    #[track_caller]
    pub(crate) fn end(&mut self) -> Option<u16> {
        self.wait_for("the connection's end", |received| match received {
            Received::End(code) => Some(*code),
            _ => None,
        })
    }

    /// Returns everything that arrived and was not used, after all that was due has arrived.
    #[track_caller]
    pub(crate) fn fence(&mut self) -> Vec<Value> {
        self.fences += 1;
        let name = format!("fence-{}-{}", self.fences, fastrand::u64(..));
        let filter = json!({"kinds": [20_999], "#t": [name], "limit": 0});
        self.stored(&name, &[filter]);
        let event = key(99).event(20_999, "", &[&["t", &name]], now());
        self.publish(&event).is_true("", "the fence");
        assert_eq!(self.live(&name).id, event.id, "the fence returns");
        self.close(&name);
        let mut unused = self.unused();
        // Subscriptions to everything got the fence too.
        unused.retain(|message| message[2]["pubkey"] != key(99).public());
        unused
    }

    /// Returns everything that was read and not used.
    pub(crate) fn unused(&mut self) -> Vec<Value> {
        let unused = self.backlog.drain(..).map(|received| match received {
            Received::Json(_, value) => value,
            other => json!(format!("{other:?}")),
        });
        unused.collect()
    }

    /// Panics unless nothing unexpected arrived.
    #[track_caller]
    pub(crate) fn assert_quiet(&mut self) {
        let unused = self.fence();
        assert!(unused.is_empty(), "nothing more was due: {unused:#?}");
    }

    /// Reads one message within the time; time-outs and failures are told in words.
    fn read(&mut self, deadline: Instant) -> Result<Received, String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("nothing came within {PATIENCE:?}"));
            }
            let socket = self.socket.get_mut().socket();
            socket.set_read_timeout(Some(left)).expect("time-outs are supported");
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let value: Value = serde_json::from_str(&text)
                        .map_err(|error| format!("not JSON ({error}): {text}"))?;
                    return Ok(Received::Json(text.to_string(), value));
                }
                Ok(Message::Pong(payload)) => return Ok(Received::Pong(payload)),
                Ok(Message::Close(frame)) => {
                    return Ok(Received::End(frame.map(|frame| frame.code.into())));
                }
                Ok(Message::Ping(_)) => {}
                Ok(other) => return Err(format!("an unexpected frame {other:?}")),
                Err(Error::Io(error)) if is_time_out(&error) => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => {
                    return Ok(Received::End(None));
                }
                Err(Error::Io(_)) => return Ok(Received::End(None)),
                Err(error) => return Err(format!("the websocket failed: {error}")),
            }
        }
    }
}

/// The address of a relay on this machine over TLS.
pub(crate) fn encrypted_url(address: &str) -> String {
    let port = address.rsplit(':').next().expect("an address has a port");
    format!("wss://localhost:{port}/")
}

fn is_time_out(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
