//! Calls of NIP-86, each with an authorization of its own (NIP-98).

use std::cell::Cell;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::event::{Event, Key, hex, now};
use super::raw::{RawSocket, Response};

/// A call, in the parts that a test may want to be wrong.
pub(crate) struct Call<'a> {
    pub(crate) address: &'a str,
    pub(crate) key: &'a Key,
    pub(crate) kind: u16,
    pub(crate) url: String,
    pub(crate) method: &'a str,
    pub(crate) at: u64,
    /// The body that the authorization is for, if it is another one.
    pub(crate) payload_of: Option<String>,
    pub(crate) body: String,
}

thread_local! {
    /// Two authorizations of one second differ by this.
    static SERIAL: Cell<u64> = const { Cell::new(0) };
}

impl<'a> Call<'a> {
    /// A call that is right.
    pub(crate) fn new(address: &'a str, key: &'a Key, method: &str, params: &Value) -> Call<'a> {
        Call {
            address,
            key,
            kind: 27_235,
            url: format!("http://{address}/"),
            method: "POST",
            at: now(),
            payload_of: None,
            body: json!({ "method": method, "params": params }).to_string(),
        }
    }

    /// The event that authorizes it.
    pub(crate) fn authorization(&self) -> Event {
        let body = self.payload_of.as_ref().unwrap_or(&self.body);
        let payload = hex(&Sha256::digest(body.as_bytes()));
        let serial = SERIAL.replace(SERIAL.get() + 1).to_string();
        let tags: [&[&str]; 4] = [
            &["u", &self.url],
            &["method", self.method],
            &["payload", &payload],
            &["serial", &serial],
        ];
        self.key.event(self.kind, "", &tags, self.at)
    }

    /// Sends it.
    pub(crate) fn send(&self) -> Response {
        self.send_with(&format!("Nostr {}", base64(self.authorization().line().as_bytes())))
    }

    /// Sends it with another authorization.
    pub(crate) fn send_with(&self, authorization: &str) -> Response {
        post(self.address, &self.body, &[("Authorization", authorization)])
    }
}

/// Calls a method as who has this key; returns the result.
#[track_caller]
pub(crate) fn call(address: &str, key: &Key, method: &str, params: Value) -> Result<Value, String> {
    let response = Call::new(address, key, method, &params).send();
    let said = response.json();
    match said["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => {
            assert_eq!(response.status, 200, "{said}");
            Ok(said["result"].clone())
        }
    }
}

/// Posts the body of a call.
pub(crate) fn post(address: &str, body: &str, headers: &[(&str, &str)]) -> Response {
    post_over(RawSocket::open(address), address, body, headers)
}

/// Posts the body of a call over a line that is open already.
pub(crate) fn post_over(
    mut socket: RawSocket,
    host: &str,
    body: &str,
    headers: &[(&str, &str)],
) -> Response {
    let length = body.len().to_string();
    let own = [("Content-Type", "application/nostr+json+rpc"), ("Content-Length", &length)];
    let mut text = format!("POST / HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in own.iter().chain(headers) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    socket.send(text.as_bytes());
    socket.read_response()
}

/// The text of bytes, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
