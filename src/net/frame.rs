//! Bytes to websocket frames and back (RFC 6455 section 5), without a socket.
//!
//! [`Decoder`] turns whatever pieces the network delivers into whole messages. It owns memory only
//! while a frame or a fragmented message is incomplete: a whole frame inside the caller's buffer is
//! unmasked in place and lent to the sink as `&str`, so the usual message is never copied and an idle
//! connection keeps nothing. Header parsing is tungstenite's; reserved bits have one place
//! ([`check_reserved_bits`]), where an extension that uses RSV1 will be asked.
//!
//! The writing half makes frames of a server: never masked, never fragmented.

use std::io::Cursor;
use std::mem;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// What a client sent, whole and checked.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Text(&'a str),
    Binary,
    Ping(&'a [u8]),
    Pong,
    Close(Option<CloseCode>),
}

/// Whether the sink takes the next item or wants the decoder to keep the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Next,
    Stop,
}

/// Why the bytes of a client cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Breaks RFC 6455; the text says which rule.
    Protocol(&'static str),
    /// A text message or close reason is not UTF-8.
    Utf8,
    /// The message is longer than this relay takes.
    TooLong,
}

impl Fault {
    /// Returns the code the connection is closed with.
    pub(crate) fn close_code(self) -> CloseCode {
        match self {
            Fault::Protocol(_) => CloseCode::Protocol,
            Fault::Utf8 => CloseCode::Invalid,
            Fault::TooLong => CloseCode::Size,
        }
    }

    /// Returns the reason the connection is closed with.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Fault::Protocol(rule) => rule,
            Fault::Utf8 => "text is not UTF-8",
            Fault::TooLong => "message too long",
        }
    }
}

/// The reading half of one connection: what is left of earlier reads, and nothing else.
///
/// After a fault the decoder must not be fed again.
pub(crate) struct Decoder {
    message_bytes_max: usize,
    /// Received and not consumed: the start of an incomplete frame or, when `stopped`, anything.
    kept: Vec<u8>,
    stopped: bool,
    fragments: Option<Box<Fragments>>,
}

/// A message whose last frame has not arrived.
struct Fragments {
    kind: Data,
    /// Payload so far. Of a binary message only its length matters, but one rule bounds both.
    payload: Vec<u8>,
}

/// A checked frame header; `start..end` is where the payload lies, counted from the header's start.
struct Head {
    is_final: bool,
    opcode: OpCode,
    mask: [u8; 4],
    start: usize,
    end: usize,
}

impl Decoder {
    /// Creates a decoder that begins with bytes which came along with the handshake.
    pub(crate) fn new(message_bytes_max: usize, early: Vec<u8>) -> Self {
        Decoder { message_bytes_max, stopped: !early.is_empty(), kept: early, fragments: None }
    }

    /// Returns whether kept bytes may hold whole frames; `feed` with no bytes goes on with them.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Hands every item that `received` completes to `sink`, in order, and keeps what is left.
    pub(crate) fn feed(
        &mut self,
        received: &mut [u8],
        sink: &mut dyn FnMut(Item<'_>) -> Then,
    ) -> Result<(), Fault> {
        if self.stopped {
            self.stopped = false;
            let mut bytes = mem::take(&mut self.kept);
            bytes.extend_from_slice(received);
            let used = self.decode(&mut bytes, sink)?;
            bytes.drain(..used);
            self.keep(bytes);
            return Ok(());
        }
        let rest = self.complete_kept(received, sink)?;
        if self.stopped {
            self.keep(rest.to_vec());
            return Ok(());
        }
        let used = self.decode(rest, sink)?;
        if used < rest.len() {
            self.kept.extend_from_slice(&rest[used..]);
        }
        self.stopped &= !self.kept.is_empty();
        Ok(())
    }

    /// Adds just the bytes that the kept frame lacks, hands it over if that completes it, and
    /// returns the bytes after it.
    fn complete_kept<'b>(
        &mut self,
        received: &'b mut [u8],
        sink: &mut dyn FnMut(Item<'_>) -> Then,
    ) -> Result<&'b mut [u8], Fault> {
        let mut rest = received;
        while !self.kept.is_empty() {
            let wanted = match self.head(&self.kept)? {
                Some(head) => head.end,
                None => self.kept.len() + 1,
            };
            if self.kept.len() >= wanted {
                let mut frame = mem::take(&mut self.kept);
                self.decode(&mut frame, sink)?;
                break;
            }
            if rest.is_empty() {
                break;
            }
            let missing = (wanted - self.kept.len()).min(rest.len());
            let (first, later) = rest.split_at_mut(missing);
            self.kept.extend_from_slice(first);
            rest = later;
        }
        Ok(rest)
    }

    fn keep(&mut self, mut bytes: Vec<u8>) {
        bytes.shrink_to_fit();
        self.stopped &= !bytes.is_empty();
        self.kept = bytes;
    }

    /// Hands over the whole frames at the start of `bytes` and returns how many bytes they were.
    fn decode(
        &mut self,
        bytes: &mut [u8],
        sink: &mut dyn FnMut(Item<'_>) -> Then,
    ) -> Result<usize, Fault> {
        let mut used = 0;
        while let Some(head) = self.head(&bytes[used..])? {
            let Some(payload) = bytes.get_mut(used + head.start..used + head.end) else { break };
            unmask(payload, head.mask);
            used += head.end;
            let then = match head.opcode {
                OpCode::Control(control) => sink(control_item(control, payload)?),
                OpCode::Data(kind) => self.data(kind, head.is_final, payload, sink)?,
            };
            if then == Then::Stop {
                self.stopped = true;
                break;
            }
        }
        Ok(used)
    }

    /// Parses and checks the header at the start of `bytes`; `None` when it is incomplete.
    ///
    /// Everything that can be refused is refused here, before a byte of payload is kept.
    fn head(&self, bytes: &[u8]) -> Result<Option<Head>, Fault> {
        let mut cursor = Cursor::new(bytes);
        let parsed =
            FrameHeader::parse(&mut cursor).map_err(|_| Fault::Protocol("reserved opcode"))?;
        let Some((header, payload_len)) = parsed else { return Ok(None) };
        let start = cursor.position() as usize;
        check_reserved_bits(&header)?;
        let Some(mask) = header.mask else {
            return Err(Fault::Protocol("frame is not masked"));
        };
        let payload_len = match header.opcode {
            OpCode::Control(_) => control_len(&header, payload_len)?,
            OpCode::Data(kind) => self.data_len(kind, payload_len)?,
        };
        let end = start + payload_len;
        Ok(Some(Head { is_final: header.is_final, opcode: header.opcode, mask, start, end }))
    }

    /// Returns the payload's length if a data frame of this kind and length may come next.
    fn data_len(&self, kind: Data, payload_len: u64) -> Result<usize, Fault> {
        let before = match (&self.fragments, kind) {
            (None, Data::Continue) => return Err(Fault::Protocol("nothing to continue")),
            (Some(fragments), Data::Continue) => fragments.payload.len(),
            (Some(_), _) => return Err(Fault::Protocol("message inside a message")),
            (None, _) => 0,
        };
        let room = self.message_bytes_max.saturating_sub(before);
        usize::try_from(payload_len).ok().filter(|len| *len <= room).ok_or(Fault::TooLong)
    }

    fn data(
        &mut self,
        kind: Data,
        is_final: bool,
        payload: &[u8],
        sink: &mut dyn FnMut(Item<'_>) -> Then,
    ) -> Result<Then, Fault> {
        if is_final && kind != Data::Continue {
            return Ok(sink(message_item(kind, payload)?));
        }
        let fragments =
            self.fragments.get_or_insert_with(|| Box::new(Fragments { kind, payload: Vec::new() }));
        fragments.payload.extend_from_slice(payload);
        if !is_final {
            return Ok(Then::Next);
        }
        let Some(whole) = self.fragments.take() else { return Ok(Then::Next) };
        Ok(sink(message_item(whole.kind, &whole.payload)?))
    }
}

/// Refuses reserved bits: no extension is negotiated, so each of them has no meaning.
fn check_reserved_bits(header: &FrameHeader) -> Result<(), Fault> {
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(Fault::Protocol("reserved bit is set"));
    }
    Ok(())
}

fn control_len(header: &FrameHeader, payload_len: u64) -> Result<usize, Fault> {
    if !header.is_final {
        return Err(Fault::Protocol("control frame is fragmented"));
    }
    usize::try_from(payload_len)
        .ok()
        .filter(|len| *len <= CONTROL_BYTES_MAX)
        .ok_or(Fault::Protocol("control frame is too long"))
}

fn control_item(control: Control, payload: &[u8]) -> Result<Item<'_>, Fault> {
    match control {
        Control::Ping => Ok(Item::Ping(payload)),
        Control::Pong => Ok(Item::Pong),
        Control::Close => close_code(payload).map(Item::Close),
        Control::Reserved(_) => Err(Fault::Protocol("reserved opcode")),
    }
}

fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(None),
            _ => Err(Fault::Protocol("close code is cut off")),
        };
    };
    let code = CloseCode::from(u16::from_be_bytes(*code));
    if !code.is_allowed() {
        return Err(Fault::Protocol("close code is reserved"));
    }
    simdutf8::basic::from_utf8(reason).map_err(|_| Fault::Utf8)?;
    Ok(Some(code))
}

fn message_item(kind: Data, payload: &[u8]) -> Result<Item<'_>, Fault> {
    if kind == Data::Binary {
        return Ok(Item::Binary);
    }
    simdutf8::basic::from_utf8(payload).map(Item::Text).map_err(|_| Fault::Utf8)
}

/// Masks or unmasks in place, sixteen bytes a step.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u128::from_ne_bytes(std::array::from_fn(|index| mask[index & 3]));
    let (blocks, rest) = payload.as_chunks_mut::<16>();
    for block in blocks {
        *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    for (index, byte) in rest.iter_mut().enumerate() {
        *byte ^= mask[index & 3];
    }
}

/// Writes the header of a server's text frame for a payload of this length.
pub fn write_text_frame_header(out: &mut Vec<u8>, payload_len: usize) {
    let (header, header_len) = text_frame_header(payload_len);
    out.extend_from_slice(&header[..header_len]);
}

/// Writes a text frame around what `render` appends; for payloads of unknown length.
///
/// `render` must only append.
pub fn write_text_frame(out: &mut Vec<u8>, render: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES_USUAL]);
    let payload_start = out.len();
    render(out);
    assert!(out.len() >= payload_start, "a renderer took bytes away");
    let payload_len = out.len() - payload_start;
    let (header, header_len) = text_frame_header(payload_len);
    // The usual header fits as it is; otherwise the payload moves by a few bytes.
    if header_len > HEADER_BYTES_USUAL {
        out.resize(start + header_len + payload_len, 0);
    }
    if header_len != HEADER_BYTES_USUAL {
        out.copy_within(payload_start..payload_start + payload_len, start + header_len);
    }
    out.truncate(start + header_len + payload_len);
    out[start..start + header_len].copy_from_slice(&header[..header_len]);
}

fn text_frame_header(payload_len: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut header = [0; HEADER_BYTES_MAX];
    header[0] = FIN_BIT | u8::from(OpCode::Data(Data::Text));
    if payload_len <= CONTROL_BYTES_MAX {
        header[1] = payload_len as u8;
        return (header, 2);
    }
    if let Ok(short) = u16::try_from(payload_len) {
        header[1] = LENGTH_IS_U16;
        header[2..4].copy_from_slice(&short.to_be_bytes());
        return (header, 4);
    }
    header[1] = LENGTH_IS_U64;
    header[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
    (header, HEADER_BYTES_MAX)
}

/// Writes a ping or pong; a payload longer than a control frame holds is cut off.
pub(crate) fn write_control_frame(out: &mut Vec<u8>, control: Control, payload: &[u8]) {
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    out.extend_from_slice(&[FIN_BIT | u8::from(OpCode::Control(control)), payload.len() as u8]);
    out.extend_from_slice(payload);
}

/// Writes a close frame; without a code the payload is empty, a long reason is cut off.
pub(crate) fn write_close_frame(out: &mut Vec<u8>, code: Option<CloseCode>, reason: &str) {
    let mut payload = Vec::new();
    if let Some(code) = code {
        let reason_len = reason.floor_char_boundary(CONTROL_BYTES_MAX - 2);
        payload.extend_from_slice(&u16::from(code).to_be_bytes());
        payload.extend_from_slice(&reason.as_bytes()[..reason_len]);
    }
    write_control_frame(out, Control::Close, &payload);
}

/// The longest payload of a control frame, and of a data frame with a one-byte length.
const CONTROL_BYTES_MAX: usize = 125;
/// A server's header with a two-byte length: the room left for payloads of unknown length.
const HEADER_BYTES_USUAL: usize = 4;
const HEADER_BYTES_MAX: usize = 10;
const FIN_BIT: u8 = 0x80;
const LENGTH_IS_U16: u8 = 126;
const LENGTH_IS_U64: u8 = 127;
