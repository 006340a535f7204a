//! A relay as the client of servers that say anything: the head of their answer, their frames, their
//! documents. Every connection ends with a reason, and nothing that comes is longer than is taken.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use chappe::net::{
    Address, ClientEnding, ClientOptions, Encoding, Reading, Roots, Route, Routes, connect, fetch,
};
use fastrand::Rng;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tungstenite::handshake::derive_accept_key;

use super::Target;
use crate::fuzz::grammar::word;
use crate::fuzz::mutate::mutate;

pub(super) struct Clients {
    runtime: Runtime,
    options: ClientOptions,
    address: Address,
    /// What the server says to whoever connects next.
    says: Sender<Vec<u8>>,
}

impl Clients {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let port = listener.local_addr().expect("it listens").port();
        let (says, said) = channel::<Vec<u8>>();
        thread::spawn(move || {
            while let Ok(input) = said.recv() {
                if let Ok((stream, _)) = listener.accept() {
                    // Whoever does not like what it is told may hang up.
                    let _ = serve(stream, &input);
                }
            }
        });
        let direct = Route {
            proxy: None,
            connect_deadline: PATIENCE,
            answer_deadline: PATIENCE,
            places: Arc::new(Semaphore::new(1)),
        };
        let options = ClientOptions {
            message_bytes_max: MESSAGE_BYTES_MAX,
            outbound_bytes_max: 1 << 20,
            routes: Arc::new(Routes {
                clearnet: direct.clone(),
                tor: direct.clone(),
                i2p: direct.clone(),
                lokinet: direct,
            }),
            roots: Roots::default(),
            ping_period: PATIENCE,
            encoding: Encoding::Deflate,
        };
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let address = Address::parse(&format!("ws://127.0.0.1:{port}")).expect("an address");
        Self { runtime, options, address, says }
    }
}

/// Says what the input has, behind the head that its first byte chooses.
fn serve(mut stream: TcpStream, input: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    let Some((mode, said)) = input.split_first() else { return Ok(()) };
    let extension = match mode % 4 {
        2 => {
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
              client_no_context_takeover\r\n"
        }
        _ => "",
    };
    if mode % 4 != 0 && mode % 4 != 3 {
        write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{extension}\r\n"
        )?;
    }
    stream.write_all(&replaced(said, b"$ACCEPT", accept.as_bytes()))?;
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).map(drop)
}

fn replaced(bytes: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    match bytes.windows(what.len()).position(|it| it == what) {
        Some(at) => [&bytes[..at], by, &bytes[at + what.len()..]].concat(),
        None => bytes.to_vec(),
    }
}

impl Target for Clients {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mode = rng.u8(..4);
        let mut said = Vec::new();
        if mode == 0 || mode == 3 {
            said = head(mode, rng).into_bytes();
        }
        if mode == 3 {
            said.extend_from_slice(word(rng, &DOCUMENTS).as_bytes());
        } else {
            for _ in 0..rng.usize(..6) {
                frame(rng, &mut said);
            }
        }
        if rng.u8(..3) > 0 {
            let mut other = head(mode, rng).into_bytes();
            frame(rng, &mut other);
            mutate(&mut said, &other, &PIECES, rng);
        }
        said.insert(0, mode);
        said
    }

    fn check(&mut self, input: &[u8]) {
        let Some(mode) = input.first() else { return };
        self.says.send(input.to_vec()).expect("the server is there");
        let work = async {
            if mode % 4 == 3 {
                let found = fetch(&self.address, "application/nostr+json", 500, &self.options);
                assert!(found.await.map_or(0, |it| it.len()) <= 500, "it is too long");
                return;
            }
            let Ok(mut client) = connect(&self.address, &self.options).await else { return };
            let ending = loop {
                let mut sink = |text: &str| {
                    assert!(text.len() <= MESSAGE_BYTES_MAX, "{} bytes", text.len());
                    if text.len().is_multiple_of(7) {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                };
                if let Err(ending) = client.work(Reading::Open, &mut sink).await {
                    break ending;
                }
            };
            let is_plain = !matches!(ending, ClientEnding::Silent | ClientEnding::SlowReader);
            assert!(is_plain, "it says something else: {ending}");
            assert!(!ending.to_string().is_empty());
        };
        let ended = self.runtime.block_on(async { timeout(PATIENCE, work).await });
        assert!(ended.is_ok(), "it waits for more than comes");
    }
}

fn head(mode: u8, rng: &mut Rng) -> String {
    let mut text = word(
        rng,
        &[
            "HTTP/1.1 101 Switching Protocols",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 301 Moved",
            "HTTP/1.0 403 x",
        ],
    )
    .to_owned();
    if mode == 3 {
        text = word(rng, &["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"]).to_owned();
    }
    text += "\r\n";
    for _ in 0..rng.usize(..6) {
        text += word(rng, &HEADERS);
        text += "\r\n";
    }
    text + "\r\n"
}

/// A frame of a server, more or less.
fn frame(rng: &mut Rng, out: &mut Vec<u8>) {
    let payload: Vec<u8> = match rng.u8(..5) {
        0 => vec![b'a'; [0, 125, 126, 4_095, 4_096, 4_097, 70_000][rng.usize(..7)]],
        1 => (0..rng.usize(..40)).map(|_| rng.u8(..)).collect(),
        2 => u16::to_be_bytes([1_000, 1_001, 999, 5_000, 1_005][rng.usize(..5)]).to_vec(),
        _ => word(rng, &["", "[\"NOTICE\",\"x\"]", "\u{e9}", "[\"EOSE\",\"d1\"]"]).into(),
    };
    let opcode = [0x81, 0x81, 0x81, 0x01, 0x80, 0x00, 0x82, 0x88, 0x89, 0x8a, 0xc1, 0x41, 0x83];
    out.push(opcode[rng.usize(..opcode.len())]);
    let mask = if rng.u8(..20) == 0 { 0x80 } else { 0 };
    match u16::try_from(payload.len()) {
        Ok(length @ ..126) => out.push(mask | length as u8),
        Ok(length) => {
            out.push(mask | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(mask | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&payload);
}

const MESSAGE_BYTES_MAX: usize = 4_096;
const PATIENCE: Duration = Duration::from_secs(20);
const HEADERS: [&str; 12] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Accept: $ACCEPT",
    "Sec-WebSocket-Accept: x",
    "Sec-WebSocket-Extensions: permessage-deflate",
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
    "Content-Length: 5",
    "Content-Length: 99999999999",
    "Transfer-Encoding: chunked",
    "Location: wss://elsewhere.example/",
    "Content-Type: application/nostr+json",
    "X: \u{e9}",
];
const DOCUMENTS: [&str; 5] =
    ["{}", "5\r\n{\"a\"}\r\n0\r\n\r\n", "ffffffffffffffff\r\nx", "{\"limitation\":{}}", ""];
const PIECES: [&[u8]; 8] =
    [b"\r\n", b": ", b"\x81\x7e\xff\xff", b"\x81\x7f", b"\x88\x02\x03\xe8", b"\xff", b"\0", b"101"];
