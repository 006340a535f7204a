//! A relay that does what a test says: the other side of clients that this project makes.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::spawn;

use serde_json::Value;
use tungstenite::{Message, WebSocket};

use super::PATIENCE;

/// One connection to a client.
pub(crate) struct Talk {
    socket: WebSocket<TcpStream>,
}

impl Talk {
    /// Sends a message; a client that has gone is no failure of the script. Returns whether it is
    /// there.
    pub(crate) fn say(&mut self, message: &Value) -> bool {
        self.say_text(&message.to_string())
    }

    /// Sends any text.
    pub(crate) fn say_text(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).is_ok()
    }

    /// Sends raw bytes below the websocket.
    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) -> bool {
        use std::io::Write;
        self.socket.get_mut().write_all(bytes).is_ok()
    }
}

/// Starts a relay that has every message of every connection answered by `answer`; returns its URL.
pub(crate) fn scripted(answer: impl Fn(&mut Talk, &Value) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    let answer = Arc::new(answer);
    spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let answer = Arc::clone(&answer);
            spawn(move || {
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let _ = stream.set_write_timeout(Some(PATIENCE));
                // Whoever asks for a document gets none.
                let Ok(socket) = tungstenite::accept(stream) else { return };
                let mut talk = Talk { socket };
                while let Ok(message) = talk.socket.read() {
                    let Message::Text(text) = message else { continue };
                    let value = serde_json::from_str(&text).expect("clients send JSON");
                    answer(&mut talk, &value);
                }
            });
        }
    });
    url
}
