//! A relay in this process, on an empty store, and somebody who publishes to it.

use std::net::TcpStream;
use std::time::Duration;

use chappe::config::Settings;
use chappe::peer::PeerStatus;
use chappe::server::Server;
use chappe::store::{Durability, FactChange, Store, StoreOptions, Writer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::signer::Signer;

/// A running relay; it stops when it is dropped.
pub struct Relay {
    server: Option<Server>,
    address: String,
    _folder: TempDir,
}

impl Relay {
    /// Starts a relay on a free port; `change` what is to be other than by default.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(change: impl FnOnce(&mut Settings)) -> Relay {
        Relay::start_with_peers(change, &[])
    }

    /// Starts a relay that has noted this of its peers.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start_with_peers(change: impl FnOnce(&mut Settings), peers: &[PeerStatus]) -> Relay {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let mut settings = Settings::default();
        settings.server.listen = ([127, 0, 0, 1], 0).into();
        settings.server.threads = 2;
        change(&mut settings);
        let options =
            StoreOptions { map_bytes: Some(1 << 30), durability: Durability::Lazy, salt: [1; 16] };
        let store = Store::open(folder.path(), &options).expect("a store can be made");
        let note = |peer: &PeerStatus| {
            let text = serde_json::to_vec(peer).expect("texts and numbers are JSON");
            FactChange::put(format!("peer/{}", peer.name), text)
        };
        let notes: Vec<FactChange> = peers.iter().map(note).collect();
        Writer::new(store.clone()).change_facts(&notes).expect("the store can be written to");
        let settings = match chappe::cli::server_settings(&settings) {
            Ok(settings) => settings,
            Err(failure) => panic!("the settings name no file: {failure}"),
        };
        let server = Server::start(settings, store, &[]).expect("a server can be started");
        let address = server.local_addr().to_string();
        Relay { server: Some(server), address, _folder: folder }
    }

    /// Returns where its pages are, without a path.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Publishes events and returns once all of them were answered.
    ///
    /// # Panics
    ///
    /// If the relay does not answer, or does not take one.
    pub fn publish(&self, events: &[Value]) {
        let mut socket = self.connect();
        for event in events {
            assert_eq!(submit(&mut socket, event), Ok(()), "{event}");
        }
    }

    /// Publishes an event that may be refused; returns why, if it is.
    ///
    /// # Errors
    ///
    /// What the relay says against it.
    pub fn try_publish(&self, event: &Value) -> Result<(), String> {
        submit(&mut self.connect(), event)
    }

    /// Publishes an event as somebody who has proven who they are (NIP-42).
    ///
    /// # Errors
    ///
    /// What the relay says against it.
    ///
    /// # Panics
    ///
    /// If the relay does not ask for the proof, or does not take it.
    pub fn publish_as(&self, author: &Signer, event: &Value) -> Result<(), String> {
        let mut socket = self.connect();
        let challenge = loop {
            let message = read(&mut socket);
            if message[0] == "AUTH" {
                break message[1].as_str().expect("a challenge is text").to_owned();
            }
        };
        let url = format!("ws://{}/", self.address);
        let tag = |name: &str, value: String| vec![name.to_owned(), value];
        let tags = [tag("relay", url), tag("challenge", challenge)];
        let proof = author.event(now(), 22_242, &tags, "");
        assert_eq!(say(&mut socket, "AUTH", &proof), Ok(()), "the proof is taken");
        submit(&mut socket, event)
    }

    /// Returns the stored events that a filter finds.
    ///
    /// # Panics
    ///
    /// If the relay does not answer.
    pub fn ask(&self, filter: &Value) -> Vec<Value> {
        let mut socket = self.connect();
        let text = json!(["REQ", "a", filter]).to_string();
        socket.send(Message::text(text)).expect("the relay reads");
        let mut events = Vec::new();
        loop {
            let mut message = read(&mut socket);
            match message[0].as_str() {
                Some("EVENT") => events.push(message[2].take()),
                Some("EOSE") => return events,
                _ => {}
            }
        }
    }

    /// Stops the relay, as a machine that goes away.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            // A test that has failed already says why.
            let _ = server.stop();
        }
    }

    /// Opens a websocket.
    fn connect(&self) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(&self.address).expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out is legal");
        let url = format!("ws://{}/", self.address);
        tungstenite::client(url, stream).expect("the relay takes us").0
    }
}

/// Returns the seconds since 1970.
pub fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

fn submit(socket: &mut WebSocket<TcpStream>, event: &Value) -> Result<(), String> {
    say(socket, "EVENT", event)
}

fn read(socket: &mut WebSocket<TcpStream>) -> Value {
    let message = socket.read().expect("the relay answers");
    serde_json::from_str(message.to_text().unwrap_or_default()).unwrap_or_default()
}

/// Sends an event in a message of this name, and returns what the relay says of it.
fn say(socket: &mut WebSocket<TcpStream>, name: &str, event: &Value) -> Result<(), String> {
    let text = json!([name, event]).to_string();
    socket.send(Message::text(text)).expect("the relay reads");
    loop {
        let answer = read(socket);
        if answer[0] == "OK" && answer[1] == event["id"] {
            let reason = answer[3].as_str().unwrap_or_default().to_owned();
            return if answer[2] == true { Ok(()) } else { Err(reason) };
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
