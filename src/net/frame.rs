//! Bytes to websocket frames and back (RFC 6455 section 5), without a socket.
//!
//! [`Decoder`] turns whatever pieces the network delivers into whole messages. It owns memory only
//! while a frame or a fragmented message is incomplete: a whole frame inside the caller's buffer is
//! unmasked in place and lent to the sink as `&str`, so the usual message is never copied and an idle
//! connection keeps nothing. A compressed message (RFC 7692) is inflated when it is whole, in memory
//! that all connections of a core share. Header parsing is tungstenite's; reserved bits have one
//! place ([`is_deflated`]).
//!
//! The writing half makes frames of a server: never masked, never fragmented; and those of a client,
//! which are masked.

use std::borrow::Cow;
use std::io::Cursor;
use std::mem;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::extension::Encoding;
use crate::deflate::{InflateError, Inflater};

/// What a client sent, whole and checked.
#[derive(Debug)]
pub enum Item<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message; what it says is not kept.
    Binary,
    /// A ping, and what its pong has to repeat.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The client's farewell, and its reason if it gives one.
    Close(Option<CloseCode>),
}

/// Whether the sink takes the next item or wants the decoder to keep the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next item.
    Next,
    /// No more for the time being.
    Stop,
}

/// Takes the items, one after the other.
pub type Sink<'a> = dyn FnMut(Item<'_>) -> Then + 'a;

/// Why the bytes of a client cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Breaks RFC 6455; the text says which rule.
    Protocol(&'static str),
    /// A text message or close reason is not UTF-8.
    Utf8,
    /// A compressed message is damaged.
    Deflate,
    /// The message is longer than this relay takes.
    TooLong,
}

impl Fault {
    /// Returns the code the connection is closed with.
    pub fn close_code(self) -> CloseCode {
        match self {
            Fault::Protocol(_) => CloseCode::Protocol,
            Fault::Utf8 | Fault::Deflate => CloseCode::Invalid,
            Fault::TooLong => CloseCode::Size,
        }
    }

    /// Returns the reason the connection is closed with.
    pub fn reason(self) -> &'static str {
        match self {
            Fault::Protocol(rule) => rule,
            Fault::Utf8 => "text is not UTF-8",
            Fault::Deflate => "compressed text is damaged",
            Fault::TooLong => "message too long",
        }
    }
}

/// The reading half of one connection: what is left of earlier reads, and nothing else.
///
/// After a fault the decoder must not be fed again.
pub struct Decoder {
    message_bytes_max: usize,
    encoding: Encoding,
    sender: Sender,
    /// Received and not consumed: the start of an incomplete frame or, when `stopped`, anything.
    kept: Vec<u8>,
    stopped: bool,
    fragments: Option<Box<Fragments>>,
}

/// Who sends what is read: only clients mask it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client.
    Client,
    /// A server.
    Server,
}

/// A message whose last frame has not arrived.
struct Fragments {
    form: Form,
    /// Payload so far. Of a binary message only its length matters, but one rule bounds both.
    payload: Vec<u8>,
}

/// What the first frame says of its message.
#[derive(Clone, Copy)]
struct Form {
    kind: Data,
    is_deflated: bool,
}

/// A checked frame header; `start..end` is where the payload lies, counted from the header's start.
struct Head {
    is_final: bool,
    is_deflated: bool,
    opcode: OpCode,
    mask: Option<[u8; 4]>,
    start: usize,
    end: usize,
}

impl Decoder {
    /// Creates a decoder that begins with bytes which came along with the handshake.
    pub fn new(
        sender: Sender,
        message_bytes_max: usize,
        encoding: Encoding,
        early: Vec<u8>,
    ) -> Self {
        let stopped = !early.is_empty();
        Decoder { message_bytes_max, encoding, sender, kept: early, stopped, fragments: None }
    }

    /// Returns whether kept bytes may hold whole frames; `feed` with no bytes goes on with them.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Hands every item that `received` completes to `sink`, in order, and keeps what is left.
    pub fn feed(
        &mut self,
        received: &mut [u8],
        inflater: &mut Inflater,
        sink: &mut Sink<'_>,
    ) -> Result<(), Fault> {
        if self.stopped {
            self.stopped = false;
            let mut bytes = mem::take(&mut self.kept);
            bytes.extend_from_slice(received);
            let used = self.decode(&mut bytes, inflater, sink)?;
            bytes.drain(..used);
            self.keep(bytes);
            return Ok(());
        }
        let rest = self.complete_kept(received, inflater, sink)?;
        if self.stopped {
            self.keep(rest.to_vec());
            return Ok(());
        }
        let used = self.decode(rest, inflater, sink)?;
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
        inflater: &mut Inflater,
        sink: &mut Sink<'_>,
    ) -> Result<&'b mut [u8], Fault> {
        let mut rest = received;
        while !self.kept.is_empty() {
            let wanted = match self.head(&self.kept)? {
                Some(head) => head.end,
                None => self.kept.len() + 1,
            };
            if self.kept.len() >= wanted {
                let mut frame = mem::take(&mut self.kept);
                self.decode(&mut frame, inflater, sink)?;
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
        inflater: &mut Inflater,
        sink: &mut Sink<'_>,
    ) -> Result<usize, Fault> {
        let mut used = 0;
        while let Some(head) = self.head(&bytes[used..])? {
            let Some(payload) = bytes.get_mut(used + head.start..used + head.end) else { break };
            if let Some(mask) = head.mask {
                unmask(payload, mask);
            }
            used += head.end;
            let then = match head.opcode {
                OpCode::Control(control) => sink(control_item(control, payload)?),
                OpCode::Data(kind) => {
                    let form = Form { kind, is_deflated: head.is_deflated };
                    match self.completed(form, head.is_final, payload) {
                        None => Then::Next,
                        Some((form, whole)) => sink(self.message_item(form, &whole, inflater)?),
                    }
                }
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
        let is_deflated = is_deflated(&header, self.encoding)?;
        let mask = header.mask;
        match self.sender {
            Sender::Client if mask.is_none() => return Err(Fault::Protocol("frame is not masked")),
            Sender::Server if mask.is_some() => return Err(Fault::Protocol("frame is masked")),
            Sender::Client | Sender::Server => {}
        }
        let payload_len = match header.opcode {
            OpCode::Control(_) => control_len(&header, payload_len)?,
            OpCode::Data(kind) => self.data_len(kind, payload_len)?,
        };
        let end = start + payload_len;
        let (is_final, opcode) = (header.is_final, header.opcode);
        Ok(Some(Head { is_final, is_deflated, opcode, mask, start, end }))
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

    /// Returns the message that a data frame completes: its own payload, or all fragments'.
    fn completed<'p>(
        &mut self,
        form: Form,
        is_final: bool,
        payload: &'p [u8],
    ) -> Option<(Form, Cow<'p, [u8]>)> {
        if is_final && form.kind != Data::Continue {
            return Some((form, Cow::Borrowed(payload)));
        }
        let fragments =
            self.fragments.get_or_insert_with(|| Box::new(Fragments { form, payload: Vec::new() }));
        fragments.payload.extend_from_slice(payload);
        if !is_final {
            return None;
        }
        self.fragments.take().map(|whole| (whole.form, Cow::Owned(whole.payload)))
    }

    fn message_item<'a>(
        &self,
        form: Form,
        payload: &'a [u8],
        inflater: &'a mut Inflater,
    ) -> Result<Item<'a>, Fault> {
        if form.kind == Data::Binary {
            return Ok(Item::Binary);
        }
        let text = if form.is_deflated {
            inflater.inflate(payload, self.message_bytes_max)?
        } else {
            payload
        };
        simdutf8::basic::from_utf8(text).map(Item::Text).map_err(|_| Fault::Utf8)
    }
}

impl From<InflateError> for Fault {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::Invalid => Fault::Deflate,
            InflateError::TooLong => Fault::TooLong,
        }
    }
}

/// Returns whether a frame begins a compressed message; no other meaning of the reserved bits is
/// agreed on.
fn is_deflated(header: &FrameHeader, encoding: Encoding) -> Result<bool, Fault> {
    let begins = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
    let is_agreed = begins && encoding == Encoding::Deflate;
    if header.rsv2 || header.rsv3 || (header.rsv1 && !is_agreed) {
        return Err(Fault::Protocol("reserved bit is set"));
    }
    Ok(header.rsv1)
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
    if !code.is_allowed() && u16::from(code) != BAD_GATEWAY {
        return Err(Fault::Protocol("close code is reserved"));
    }
    simdutf8::basic::from_utf8(reason).map_err(|_| Fault::Utf8)?;
    Ok(Some(code))
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
    let (header, header_len) = frame_header(TEXT, payload_len);
    out.extend_from_slice(&header[..header_len]);
}

/// Writes the header of a server's frame with a compressed text of this length.
pub(crate) fn write_deflated_frame_header(out: &mut Vec<u8>, payload_len: usize) {
    let (header, header_len) = frame_header(DEFLATED_TEXT, payload_len);
    out.extend_from_slice(&header[..header_len]);
}

/// Writes a text frame around what `render` appends; for payloads of unknown length.
///
/// `render` must only append.
pub fn write_text_frame(out: &mut Vec<u8>, render: impl FnOnce(&mut Vec<u8>)) {
    write_frame(out, TEXT, render);
}

/// Writes a frame with a compressed text around the blocks that `render` appends.
///
/// `render` must only append.
pub fn write_deflated_frame(out: &mut Vec<u8>, render: impl FnOnce(&mut Vec<u8>)) {
    write_frame(out, DEFLATED_TEXT, render);
}

fn write_frame(out: &mut Vec<u8>, first: u8, render: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES_USUAL]);
    let payload_start = out.len();
    render(out);
    assert!(out.len() >= payload_start, "a renderer took bytes away");
    let payload_len = out.len() - payload_start;
    let (header, header_len) = frame_header(first, payload_len);
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

fn frame_header(first: u8, payload_len: usize) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut header = [0; HEADER_BYTES_MAX];
    header[0] = first;
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

/// Writes a client's frame around a payload; a control frame's must not be longer than it holds.
pub(crate) fn write_masked_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8], mask: [u8; 4]) {
    let (mut header, header_len) = frame_header(FIN_BIT | u8::from(opcode), payload.len());
    header[1] |= MASK_BIT;
    out.extend_from_slice(&header[..header_len]);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask);
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

/// A close code that was registered after tungstenite's list of them.
const BAD_GATEWAY: u16 = 1014;
/// The longest payload of a control frame, and of a data frame with a one-byte length.
pub(super) const CONTROL_BYTES_MAX: usize = 125;
/// A server's header with a two-byte length: the room left for payloads of unknown length.
const HEADER_BYTES_USUAL: usize = 4;
pub(super) const HEADER_BYTES_MAX: usize = 10;
const FIN_BIT: u8 = 0x80;
const RSV1_BIT: u8 = 0x40;
/// Of the second byte.
const MASK_BIT: u8 = 0x80;
/// The first byte of a whole text message, as it is and compressed.
const TEXT: u8 = FIN_BIT | 1;
const DEFLATED_TEXT: u8 = TEXT | RSV1_BIT;
const LENGTH_IS_U16: u8 = 126;
const LENGTH_IS_U64: u8 = 127;

#[cfg(test)]
mod tests {
    use super::super::testing::{client_frame, print_seed};
    use super::*;
    use crate::deflate::Deflater;

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Owned {
        Text(String),
        Binary,
        Ping(Vec<u8>),
        Pong,
        Close(Option<u16>),
    }

    impl From<Item<'_>> for Owned {
        fn from(item: Item<'_>) -> Self {
            match item {
                Item::Text(text) => Owned::Text(text.to_owned()),
                Item::Binary => Owned::Binary,
                Item::Ping(payload) => Owned::Ping(payload.to_vec()),
                Item::Pong => Owned::Pong,
                Item::Close(code) => Owned::Close(code.map(u16::from)),
            }
        }
    }

    type Outcome = (Vec<Owned>, Option<Fault>);

    /// Feeds `pieces` one after the other; `stop` decides after which items the sink stops.
    fn decode(pieces: &[&[u8]], max: usize, stop: impl FnMut() -> bool) -> Outcome {
        decode_as(Encoding::Plain, pieces, max, stop)
    }

    fn decode_as(
        encoding: Encoding,
        pieces: &[&[u8]],
        max: usize,
        mut stop: impl FnMut() -> bool,
    ) -> Outcome {
        let mut decoder = Decoder::new(Sender::Client, max, encoding, Vec::new());
        let mut inflater = Inflater::default();
        let mut items = Vec::new();
        for piece in pieces {
            let mut received = piece.to_vec();
            loop {
                let fed = decoder.feed(&mut received, &mut inflater, &mut |item| {
                    items.push(Owned::from(item));
                    if stop() { Then::Stop } else { Then::Next }
                });
                if let Err(fault) = fed {
                    return (items, Some(fault));
                }
                received.clear();
                if !decoder.is_stopped() {
                    break;
                }
            }
        }
        (items, None)
    }

    fn decode_whole(bytes: &[u8]) -> Outcome {
        decode(&[bytes], 300, || false)
    }

    /// The dumb model: everything at once, byte by byte, out of RFC 6455 alone.
    fn model(bytes: &[u8], max: usize) -> Outcome {
        let mut items = Vec::new();
        let mut message: Option<(u8, Vec<u8>)> = None;
        let mut at = 0;
        loop {
            let before = message.as_ref().map(|(_, payload)| payload.len());
            let (fin, opcode, payload) = match model_frame(bytes, &mut at, before, max) {
                Ok(Some(frame)) => frame,
                Ok(None) => return (items, None),
                Err(fault) => return (items, Some(fault)),
            };
            let item = match opcode {
                9 => Ok(Owned::Ping(payload)),
                10 => Ok(Owned::Pong),
                8 => model_close(&payload),
                _ => {
                    let (_, whole) = message.get_or_insert((opcode, Vec::new()));
                    whole.extend(payload);
                    if !fin {
                        continue;
                    }
                    match message.take().expect("inserted above") {
                        (1, whole) => {
                            String::from_utf8(whole).map(Owned::Text).map_err(|_| Fault::Utf8)
                        }
                        _ => Ok(Owned::Binary),
                    }
                }
            };
            match item {
                Ok(item) => items.push(item),
                Err(fault) => return (items, Some(fault)),
            }
        }
    }

    type ModelFrame = (bool, u8, Vec<u8>);

    fn model_frame(
        bytes: &[u8],
        at: &mut usize,
        before: Option<usize>,
        max: usize,
    ) -> Result<Option<ModelFrame>, Fault> {
        let rest = &bytes[*at..];
        if rest.len() < 2 {
            return Ok(None);
        }
        let length_bytes = match rest[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let is_masked = rest[1] & 0x80 != 0;
        let start = 2 + length_bytes + if is_masked { 4 } else { 0 };
        if rest.len() < start {
            return Ok(None);
        }
        let mut len = u128::from(rest[1] & 0x7f);
        if length_bytes > 0 {
            len = rest[2..2 + length_bytes].iter().fold(0, |sum, b| sum << 8 | u128::from(*b));
        }
        let (fin, opcode) = (rest[0] & 0x80 != 0, rest[0] & 0x0f);
        if ![0, 1, 2, 8, 9, 10].contains(&opcode) {
            return Err(Fault::Protocol("reserved opcode"));
        }
        if rest[0] & 0x70 != 0 {
            return Err(Fault::Protocol("reserved bit is set"));
        }
        if !is_masked {
            return Err(Fault::Protocol("frame is not masked"));
        }
        match (opcode, before) {
            (8.., _) if !fin => return Err(Fault::Protocol("control frame is fragmented")),
            (8.., _) if len > 125 => return Err(Fault::Protocol("control frame is too long")),
            (0, None) => return Err(Fault::Protocol("nothing to continue")),
            (1 | 2, Some(_)) => return Err(Fault::Protocol("message inside a message")),
            (0..=2, _) if len + before.unwrap_or(0) as u128 > max as u128 => {
                return Err(Fault::TooLong);
            }
            _ => {}
        }
        let end = start + len as usize;
        if rest.len() < end {
            return Ok(None);
        }
        let mask = &rest[start - 4..start];
        let payload = (start..end).map(|i| rest[i] ^ mask[(i - start) % 4]).collect();
        *at += end;
        Ok(Some((fin, opcode, payload)))
    }

    fn model_close(payload: &[u8]) -> Result<Owned, Fault> {
        if payload.is_empty() {
            return Ok(Owned::Close(None));
        }
        if payload.len() == 1 {
            return Err(Fault::Protocol("close code is cut off"));
        }
        let code = u16::from_be_bytes([payload[0], payload[1]]);
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(Fault::Protocol("close code is reserved"));
        }
        std::str::from_utf8(&payload[2..]).map_err(|_| Fault::Utf8)?;
        Ok(Owned::Close(Some(code)))
    }

    /// Mostly legal frames, so that long runs get past the first.
    fn random_stream(random: &mut fastrand::Rng) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut is_open = false;
        for _ in 0..random.usize(1..12) {
            let mut fin = random.u8(0..3) > 0;
            let opcode = match random.u8(0..10) {
                0..6 if is_open => 0,
                0..6 => random.u8(1..3),
                6..8 => 9,
                8 => 10,
                _ => random.choice([8, 9, 10]).expect("not empty"),
            };
            fin |= opcode >= 8;
            if opcode < 8 {
                is_open = !fin;
            }
            let len = random.choice([0, 1, 3, 20, 125, 126, 200]).expect("not empty");
            let len = if opcode < 8 { len } else { len.min(125) };
            let mut payload: Vec<u8> =
                "a\u{e9}\u{20ac}\u{1f600}".bytes().cycle().take(len).collect();
            if opcode == 8 && len >= 2 {
                let code = random.choice([1000, 1005, 1016, 3000, 4999, 999]).expect("not empty");
                payload[..2].copy_from_slice(&u16::to_be_bytes(code));
            }
            let first = opcode | if fin { 0x80 } else { 0 };
            bytes.extend(client_frame(first, random.u32(..).to_be_bytes(), &payload));
        }
        if random.u8(0..4) == 0 {
            let at = random.usize(0..bytes.len());
            bytes[at] ^= 1 << random.u8(0..8);
        }
        if random.u8(0..4) == 0 {
            bytes.truncate(random.usize(0..=bytes.len()));
        }
        bytes
    }

    #[test]
    fn random_streams_in_random_pieces_decode_like_the_model() {
        let mut random = fastrand::Rng::with_seed(print_seed());
        let mut item_count = 0;
        for round in 0..20_000 {
            let bytes = random_stream(&mut random);
            let expected = model(&bytes, 300);
            item_count += expected.0.len();
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(random.usize(1..=rest.len().min(250)));
                pieces.push(piece);
                rest = later;
            }
            let stop_one_in = random.u8(1..6);
            let found = decode(&pieces, 300, || random.u8(0..stop_one_in) == 0);
            assert_eq!(found, expected, "round {round}, pieces {pieces:?}");
        }
        assert!(item_count > 20_000, "the generator makes too few whole messages: {item_count}");
    }

    #[test]
    fn a_stream_decodes_alike_split_at_every_position_and_byte_by_byte() {
        let mut bytes = Vec::new();
        bytes.extend(client_frame(0x81, [1, 2, 3, 4], "gr\u{fc}n".as_bytes()));
        bytes.extend(client_frame(0x01, [9, 8, 7, 6], b"first,"));
        bytes.extend(client_frame(0x89, [0, 0, 0, 1], b"between"));
        bytes.extend(client_frame(0x00, [5, 5, 5, 5], &[]));
        bytes.extend(client_frame(0x80, [9, 9, 9, 9], &[b'x'; 200]));
        bytes.extend(client_frame(0x82, [1, 1, 1, 1], &[0xff; 5]));
        bytes.extend(client_frame(0x88, [7, 7, 7, 7], &[0x03, 0xe8, b'o', b'k']));
        let expected = model(&bytes, 300);
        assert_eq!(expected.0.len(), 5);
        assert_eq!(expected.1, None);
        for at in 0..=bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(decode(&[first, second], 300, || false), expected, "split at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&single, 300, || false), expected);
    }

    #[test]
    fn every_code_that_may_be_sent_closes_and_no_other() {
        for code in 0..=u16::MAX {
            let frame = client_frame(0x88, [3, 1, 4, 1], &code.to_be_bytes());
            assert_eq!(decode_whole(&frame), model(&frame, 300), "{code}");
        }
    }

    #[test]
    fn faults_are_told_by_their_rule() {
        let frame = |first, payload: &[u8]| client_frame(first, [3, 1, 4, 1], payload);
        let check = |bytes: &[u8], expected| {
            let (items, fault) = decode_whole(bytes);
            assert!(items.is_empty(), "{items:?}");
            assert_eq!(fault, Some(expected), "{bytes:?}");
        };
        check(&[0x81, 0x02, b'h', b'i'], Fault::Protocol("frame is not masked"));
        for bit in [0x40, 0x20, 0x10] {
            check(&frame(0x81 | bit, b"hi"), Fault::Protocol("reserved bit is set"));
        }
        check(&frame(0x83, b"hi"), Fault::Protocol("reserved opcode"));
        check(&frame(0x8b, b"hi"), Fault::Protocol("reserved opcode"));
        check(&frame(0x09, b"hi"), Fault::Protocol("control frame is fragmented"));
        check(&frame(0x89, &[0; 126]), Fault::Protocol("control frame is too long"));
        check(&frame(0x80, b"hi"), Fault::Protocol("nothing to continue"));
        let nested = [frame(0x01, b"a"), frame(0x81, b"b")].concat();
        check(&nested, Fault::Protocol("message inside a message"));
        check(&frame(0x81, b"\xc3\x28"), Fault::Utf8);
        check(&frame(0x88, b"\x03\xe8\xff"), Fault::Utf8);
        check(&frame(0x88, b"\x03"), Fault::Protocol("close code is cut off"));
        check(&frame(0x88, b"\x03\xed"), Fault::Protocol("close code is reserved"));
        check(&frame(0x81, &[b'x'; 301]), Fault::TooLong);
        let huge = [0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        check(&huge, Fault::TooLong);
    }

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        Deflater::default().append(&[text], &mut payload);
        payload
    }

    fn decode_deflated(bytes: &[u8]) -> Outcome {
        decode_as(Encoding::Deflate, &[bytes], 300, || false)
    }

    #[test]
    fn random_compressed_and_plain_messages_arrive_in_any_fragments_and_pieces() {
        let mut random = fastrand::Rng::with_seed(print_seed());
        for round in 0..2_000 {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..random.usize(1..6) {
                let text = "gr\u{fc}n is gr\u{fc}n ".repeat(random.usize(0..12));
                let (mut first, payload) = match random.bool() {
                    true => (0x41, deflated(text.as_bytes())),
                    false => (0x01, text.clone().into_bytes()),
                };
                let mut rest = &payload[..];
                while random.bool() {
                    let (fragment, later) = rest.split_at(random.usize(0..=rest.len()));
                    bytes.extend(client_frame(first, random.u32(..).to_be_bytes(), fragment));
                    bytes.extend(client_frame(0x89, [1, 2, 3, 4], b"between"));
                    expected.push(Owned::Ping(b"between".to_vec()));
                    (first, rest) = (0, later);
                }
                bytes.extend(client_frame(0x80 | first, random.u32(..).to_be_bytes(), rest));
                expected.push(Owned::Text(text));
            }
            let size = random.usize(1..100);
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let found = decode_as(Encoding::Deflate, &pieces, 300, || random.u8(0..4) == 0);
            assert_eq!(found, (expected, None), "round {round}, pieces of {size}");
        }
    }

    #[test]
    fn faults_of_compressed_messages_are_told_by_their_rule() {
        let frame = |first, payload: &[u8]| client_frame(first, [3, 1, 4, 1], payload);
        let check = |bytes: &[u8], expected| {
            assert_eq!(decode_deflated(bytes), (vec![], Some(expected)), "{bytes:?}");
        };
        let reserved = Fault::Protocol("reserved bit is set");
        check(&frame(0xa1, b"hi"), reserved);
        check(&frame(0x91, b"hi"), reserved);
        check(&frame(0xc9, b""), reserved);
        check(&frame(0xc8, b""), reserved);
        let continued = [frame(0x41, b""), frame(0xc0, &deflated(b"hi"))].concat();
        check(&continued, reserved);
        check(&frame(0xc1, b"not deflate"), Fault::Deflate);
        let good = deflated(b"a text that is cut off");
        check(&frame(0xc1, &good[..good.len() - 3]), Fault::Deflate);
        check(&frame(0xc1, &deflated(b"\xc3\x28")), Fault::Utf8);
        check(&frame(0xc1, &deflated(&[b' '; 301])), Fault::TooLong);
    }

    #[test]
    fn the_longest_compressed_message_and_the_empty_one_pass() {
        let text = " ".repeat(300);
        let frame = |payload: &[u8]| client_frame(0xc1, [3, 1, 4, 1], payload);
        let found = decode_deflated(&frame(&deflated(text.as_bytes())));
        assert_eq!(found, (vec![Owned::Text(text)], None));
        for empty in [&[0][..], &[2, 0]] {
            assert_eq!(decode_deflated(&frame(empty)), (vec![Owned::Text(String::new())], None));
        }
        // What is not looked at need not be inflated.
        let binary = client_frame(0xc2, [3, 1, 4, 1], b"not deflate");
        assert_eq!(decode_deflated(&binary), (vec![Owned::Binary], None));
    }

    #[test]
    fn the_longest_message_passes_whole_and_in_fragments() {
        let text = "x".repeat(300);
        let whole = client_frame(0x81, [1, 2, 3, 4], text.as_bytes());
        assert_eq!(decode_whole(&whole), (vec![Owned::Text(text.clone())], None));
        let (first, second) = text.as_bytes().split_at(120);
        let mut parts = client_frame(0x01, [1, 2, 3, 4], first);
        parts.extend(client_frame(0x80, [1, 2, 3, 4], second));
        assert_eq!(decode_whole(&parts), (vec![Owned::Text(text.clone())], None));
        let mut one_more = client_frame(0x01, [1, 2, 3, 4], first);
        one_more.extend(client_frame(0x80, [1, 2, 3, 4], &[b'x'; 181]));
        assert_eq!(decode_whole(&one_more), (vec![], Some(Fault::TooLong)));
    }

    #[test]
    fn an_oversize_frame_is_refused_before_its_payload_is_kept() {
        let frame = client_frame(0x81, [1, 2, 3, 4], &[b'x'; 400]);
        let (_, fault) = decode(&[&frame[..4], &frame[4..8]], 300, || false);
        assert_eq!(fault, Some(Fault::TooLong));
    }

    #[test]
    fn nothing_is_kept_when_all_messages_are_whole() {
        let mut decoder = Decoder::new(Sender::Client, 300, Encoding::Deflate, Vec::new());
        let mut inflater = Inflater::default();
        let frame = client_frame(0x81, [1, 2, 3, 4], b"hello");
        let (first, second) = frame.split_at(3);
        for piece in [first, second, &frame] {
            let fed = decoder.feed(&mut piece.to_vec(), &mut inflater, &mut |_| Then::Next);
            fed.expect("legal frames");
        }
        assert_eq!(decoder.kept.capacity(), 0);
        assert!(decoder.fragments.is_none());
    }

    #[test]
    fn unmasking_is_its_own_inverse_at_every_length() {
        let mask = [0x12, 0x34, 0x56, 0x78];
        for len in 0..70_usize {
            let plain: Vec<u8> = (0..len as u8).collect();
            let expected: Vec<u8> =
                plain.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]).collect();
            let mut bytes = plain.clone();
            unmask(&mut bytes, mask);
            assert_eq!(bytes, expected);
            unmask(&mut bytes, mask);
            assert_eq!(bytes, plain);
        }
    }

    #[test]
    fn written_text_frames_are_what_tungstenite_would_write() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; len];
            let mut expected = b"before".to_vec();
            FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() }
                .format(len as u64, &mut expected)
                .expect("a Vec takes every write");
            expected.extend_from_slice(&payload);
            let mut framed = b"before".to_vec();
            write_text_frame_header(&mut framed, len);
            framed.extend_from_slice(&payload);
            assert_eq!(framed, expected, "header for {len}");
            let mut rendered = b"before".to_vec();
            write_text_frame(&mut rendered, |out| out.extend_from_slice(&payload));
            assert_eq!(rendered, expected, "frame around {len}");
            expected[6] |= 0x40;
            let mut deflated = b"before".to_vec();
            write_deflated_frame_header(&mut deflated, len);
            deflated.extend_from_slice(&payload);
            assert_eq!(deflated, expected, "header for {len} compressed");
            let mut rendered = b"before".to_vec();
            write_deflated_frame(&mut rendered, |out| out.extend_from_slice(&payload));
            assert_eq!(rendered, expected, "frame around {len} compressed");
        }
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        write_close_frame(&mut out, Some(CloseCode::Away), &"\u{20ac}".repeat(60));
        assert_eq!(out[..4], [0x88, 125, 0x03, 0xe9]);
        assert_eq!(std::str::from_utf8(&out[4..]).map(|reason| reason.chars().count()), Ok(41));
    }
}
