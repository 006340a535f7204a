//! The websocket as a client speaks it: the upgrade, frames out, frames in.
//!
//! Masks are zero, which is legal and leaves the payload as it is. If asked for, permessage-deflate is
//! offered, without anything that a message takes over from the one before.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};

use super::line::Line;
use crate::Failure;

/// Where a relay listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    authority: String,
    path: String,
    offer: &'static str,
    is_encrypted: bool,
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (rest, is_encrypted) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            (None, None) => {
                return Err("expected a URL that starts with ws:// or wss://".to_owned());
            }
        };
        let (host, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let has_port = host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let port = if is_encrypted { 443 } else { 80 };
        let authority = if has_port { host.to_owned() } else { format!("{host}:{port}") };
        Ok(Self { authority, path: path.to_owned(), offer: "", is_encrypted })
    }
}

impl Address {
    /// Has compression offered, and insisted on.
    pub(crate) fn with_deflate(self) -> Self {
        Self { offer: DEFLATE_OFFER, ..self }
    }

    /// Returns where the relay's socket is.
    pub(crate) fn socket(&self) -> Result<SocketAddr, Failure> {
        let mut found = self.authority.to_socket_addrs()?;
        Ok(found.next().ok_or_else(|| format!("{} has no address", self.authority))?)
    }

    /// Opens a websocket; returns what the relay sent behind its answer, too.
    pub(crate) fn open(&self) -> Result<(Line, Vec<u8>), Failure> {
        let socket = TcpStream::connect(self.socket()?)
            .map_err(|error| format!("connect to {}: {error}", self.authority))?;
        socket.set_nodelay(true)?;
        let mut line =
            if self.is_encrypted { Line::encrypted(socket)? } else { Line::Plain(socket) };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            self.path, self.authority, self.offer
        );
        line.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            let count = line.read(&mut buffer)?;
            answer.extend_from_slice(&buffer[..count]);
            if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                break end + 4;
            }
            if count == 0 || answer.len() > ANSWER_BYTES_MAX {
                return Err("the relay ended its answer to the upgrade too early".into());
            }
        };
        if !answer.starts_with(b"HTTP/1.1 101") {
            let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
            return Err(format!("no upgrade: {}", String::from_utf8_lossy(line)).into());
        }
        let has_terms = memchr::memmem::find(&answer[..end], TAKES_NOTHING_OVER).is_some();
        if !self.offer.is_empty() && !has_terms {
            return Err("the relay does not compress, or keeps a context for each client".into());
        }
        Ok((line, answer.split_off(end)))
    }
}

/// Appends a client's text frame around the concatenation of `parts`.
pub(crate) fn write_text(out: &mut Vec<u8>, parts: &[&[u8]]) {
    write_frame(out, TEXT, parts);
}

/// Appends the answer to a ping.
pub(crate) fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    write_frame(out, PONG, &[payload]);
}

fn write_frame(out: &mut Vec<u8>, opcode: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(FINAL | opcode);
    match length {
        0..126 => out.push(MASKED | length as u8),
        126..=0xffff => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// What one frame from a relay is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A whole message.
    Message {
        /// The payload.
        payload: &'a [u8],
        /// Whether it is compressed.
        is_deflated: bool,
    },
    /// A piece of a message; more follows unless it is the last.
    Piece {
        /// The payload.
        payload: &'a [u8],
        /// Whether the message that it begins is compressed; a later piece does not say so.
        is_deflated: bool,
        /// Whether the message is complete with it.
        is_last: bool,
    },
    /// To be answered.
    Ping(&'a [u8]),
    /// The relay closes.
    Close,
    /// Nothing to do.
    Pong,
}

/// Takes the first frame of `bytes`; returns it and its length, or nothing if it is not complete.
pub(crate) fn read_frame(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let short = usize::from(*rest.first()? & 0x7f);
    let (header, length): (usize, usize) = match short {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?) as usize),
        length => (2, length),
    };
    let end = header.checked_add(length)?;
    let payload = bytes.get(header..end)?;
    let is_last = first & FINAL != 0;
    let is_deflated = first & DEFLATED != 0;
    let frame = match first & 0x0f {
        TEXT | BINARY if is_last => Frame::Message { payload, is_deflated },
        8 => Frame::Close,
        9 => Frame::Ping(payload),
        PONG => Frame::Pong,
        _ => Frame::Piece { payload, is_deflated, is_last },
    };
    Some((frame, end))
}

const FINAL: u8 = 0x80;
const DEFLATED: u8 = 0x40;
const MASKED: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PONG: u8 = 10;
const DEFLATE_OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; \
    server_no_context_takeover; client_no_context_takeover\r\n";
const TAKES_NOTHING_OVER: &[u8] = b"server_no_context_takeover";
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_a_port_and_a_path() {
        let check = |url: &str, authority: &str, path: &str| {
            let address: Address = url.parse().expect("a URL");
            assert_eq!((address.authority.as_str(), address.path.as_str()), (authority, path));
        };
        check("ws://localhost:7777", "localhost:7777", "/");
        check("ws://localhost:7777/", "localhost:7777", "/");
        check("ws://[::1]:1/a/b?c", "[::1]:1", "/a/b?c");
        check("ws://relay.example", "relay.example:80", "/");
        check("wss://relay.example", "relay.example:443", "/");
        assert!("https://relay.example".parse::<Address>().is_err());
    }

    #[test]
    fn frames_of_all_lengths_are_written_and_read() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut frame = Vec::new();
            write_text(&mut frame, &[&payload[..length / 2], &payload[length / 2..]]);
            // As a relay would have sent it: no mask.
            frame[1] &= 0x7f;
            let mask = frame.len() - length - 4;
            frame.drain(mask..mask + 4);
            for cut in [0, 1, frame.len() - 1] {
                assert_eq!(read_frame(&frame[..cut]), None, "{length} bytes cut at {cut}");
            }
            let message = Frame::Message { payload: &payload[..], is_deflated: false };
            assert_eq!(read_frame(&frame), Some((message, frame.len())));
        }
    }

    #[test]
    fn pieces_and_control_frames_are_told_apart() {
        let check = |bytes: &[u8], frame| assert_eq!(read_frame(bytes), Some((frame, bytes.len())));
        let piece = |payload, is_deflated, is_last| Frame::Piece { payload, is_deflated, is_last };
        check(&[0x01, 1, b'a'], piece(b"a", false, false));
        check(&[0x41, 1, b'a'], piece(b"a", true, false));
        check(&[0x80, 1, b'b'], piece(b"b", false, true));
        check(&[0xc1, 1, 0], Frame::Message { payload: &[0], is_deflated: true });
        check(&[0x89, 1, b'p'], Frame::Ping(b"p"));
        check(&[0x8a, 0], Frame::Pong);
        check(&[0x88, 2, 3, 0xe8], Frame::Close);
    }
}
