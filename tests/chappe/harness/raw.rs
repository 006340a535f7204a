//! HTTP and websocket frames written by hand, for what a well-behaved client cannot send.

use std::io::{Read, Write};
use std::net::Shutdown;

use serde_json::Value;

use super::tls::Line;

/// A TCP connection, after its websocket handshake.
pub(crate) struct RawSocket {
    stream: Line,
}

/// What came back on a raw socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A data or control frame that is not a close: opcode, with 0x40 if it is compressed.
    Data(u8, Vec<u8>),
    /// A close frame with its code.
    Close(Option<u16>),
    /// The end of the stream, or a reset.
    End,
}

/// How a frame sent by hand is masked.
#[derive(Clone, Copy)]
pub(crate) enum Mask {
    Yes,
    No,
}

impl RawSocket {
    /// Connects, without any handshake.
    pub(crate) fn open(address: &str) -> RawSocket {
        RawSocket { stream: Line::open(address) }
    }

    /// Connects to an address that speaks TLS.
    pub(crate) fn open_encrypted(address: &str) -> RawSocket {
        RawSocket { stream: Line::open(address).encrypt() }
    }

    /// The line below.
    pub(crate) fn line(&mut self) -> &mut Line {
        &mut self.stream
    }

    /// Connects, upgrades to a websocket, and reads the challenge that the relay begins with.
    pub(crate) fn upgrade(address: &str) -> RawSocket {
        let mut socket = RawSocket::open(address);
        let response = socket.request("GET", "/", &UPGRADE, address);
        assert_eq!(response.status, 101, "the upgrade succeeds");
        let first = socket.read_frame();
        let is_challenge = matches!(&first, Frame::Data(1, text) if text.starts_with(b"[\"AUTH\""));
        assert!(is_challenge, "a challenge comes first, not {first:?}");
        socket
    }

    /// Sends bytes as they are; a relay that has already closed is no failure.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends one frame: `head` is the first byte (FIN, reserved bits, opcode).
    pub(crate) fn send_frame(&mut self, head: u8, mask: Mask, payload: &[u8]) {
        self.send(&frame(head, mask, payload));
    }

    /// Closes our sending half.
    pub(crate) fn finish_sending(&mut self) {
        let _ = self.stream.socket().shutdown(Shutdown::Write);
    }

    /// Reads one frame.
    #[track_caller]
    pub(crate) fn read_frame(&mut self) -> Frame {
        let mut head = [0; 2];
        if !self.read_exactly(&mut head) {
            return Frame::End;
        }
        let mut long = [0; 8];
        let wide = match head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if !self.read_exactly(&mut long[8 - wide..]) {
            return Frame::End;
        }
        let length = if wide == 0 { u64::from(head[1] & 0x7f) } else { u64::from_be_bytes(long) };
        let mut payload = vec![0; usize::try_from(length).expect("a frame fits memory")];
        if !self.read_exactly(&mut payload) {
            return Frame::End;
        }
        match head[0] & 0x4f {
            8 => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
            opcode => Frame::Data(opcode, payload),
        }
    }

    /// Reads frames until the connection ends; returns the close code, if one came.
    #[track_caller]
    pub(crate) fn end(&mut self) -> Option<u16> {
        loop {
            match self.read_frame() {
                Frame::Data(..) => {}
                Frame::Close(code) => return code,
                Frame::End => return None,
            }
        }
    }

    /// Reads whatever comes until the connection ends.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while self.read_exactly(&mut byte) {
            bytes.push(byte[0]);
        }
        bytes
    }

    /// Sends an HTTP request and reads its answer's head and body.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        host: &str,
    ) -> Response {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.send(text.as_bytes());
        self.read_response()
    }

    /// Reads an HTTP answer.
    #[track_caller]
    pub(crate) fn read_response(&mut self) -> Response {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert!(self.read_exactly(&mut byte), "an HTTP answer, not {head:?}");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("an HTTP head is text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut response = Response {
            status: status.parse().unwrap_or_else(|_| panic!("a status line in {head:?}")),
            headers,
            body: Vec::new(),
        };
        let length = response.header("content-length").and_then(|text| text.parse().ok());
        response.body.resize(length.unwrap_or(0), 0);
        let whole = self.read_exactly(&mut response.body);
        assert!(whole, "the whole body of {head:?}");
        response
    }

    #[track_caller]
    fn read_exactly(&mut self, bytes: &mut [u8]) -> bool {
        match self.stream.read_exact(bytes) {
            Ok(()) => true,
            Err(error) => {
                let waited = matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
                assert!(!waited, "the relay neither answers nor closes");
                false
            }
        }
    }
}

/// The headers of a websocket upgrade.
pub(crate) const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("a JSON body, not {text:?}"))
    }
}

/// Sends one HTTP request on a connection of its own.
pub(crate) fn http(address: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    RawSocket::open(address).request(method, path, headers, address)
}

/// The bytes of one frame.
pub(crate) fn frame(head: u8, mask: Mask, payload: &[u8]) -> Vec<u8> {
    let bit = match mask {
        Mask::Yes => 0x80,
        Mask::No => 0,
    };
    let mut bytes = vec![head];
    match payload.len() {
        0..126 => bytes.push(bit | u8::try_from(payload.len()).expect("less than 126")),
        126..65_536 => {
            bytes.push(bit | 126);
            let length = u16::try_from(payload.len()).expect("less than 65536");
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(bit | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    if let Mask::No = mask {
        bytes.extend(payload);
        return bytes;
    }
    let key = [0x12, 0x34, 0x56, 0x78];
    bytes.extend(key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
