//! Websocket frames: however the bytes arrive, what is read is what a plain reading finds, and what
//! tungstenite finds. Offers of extensions are answered by what was offered.

use std::io::{self, Cursor, Read, Write};

use chappe::deflate::{Deflater, Inflater};
use chappe::net::{self, Decoder, Encoding, Item, Sender, Then};
use fastrand::Rng;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::deflate::{Wrong, plain_inflate};
use super::{Target, damaged};
use crate::dataset::choose;
use crate::fuzz::grammar::{self, word};
use crate::fuzz::mutate::{WORDS, mutate};

pub(super) struct Frames {
    inflater: Inflater,
    deflater: Deflater,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { inflater: Inflater::default(), deflater: Deflater::default() }
    }
}

/// What a decoder handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// What became of a stream: the items, and the code of the fault that ended it.
#[derive(Debug, PartialEq, Eq)]
struct Story {
    seen: Vec<Seen>,
    fault: Option<u16>,
}

impl Target for Frames {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        if rng.u8(..12) == 0 {
            return [&[OFFER][..], &damaged(offer(rng), OFFERS[0].as_bytes(), rng)].concat();
        }
        let mut input = vec![rng.u8(..OFFER)];
        for _ in 0..rng.usize(1..6) {
            self.push_message(rng, &mut input);
        }
        if rng.bool() {
            let mut bytes = input.split_off(1);
            let other = bytes.clone();
            mutate(&mut bytes, &other, &WORDS, rng);
            input.append(&mut bytes);
        }
        input
    }

    fn check(&mut self, input: &[u8]) {
        let Some((settings, bytes)) = input.split_first() else { return };
        if *settings >= OFFER {
            return check_offer(&String::from_utf8_lossy(bytes));
        }
        let encoding = if settings & 1 == 0 { Encoding::Plain } else { Encoding::Deflate };
        let bytes_max = [10, 125, 126, 300, 70_000][usize::from(settings >> 1) % 5];
        let whole = self.story(bytes, bytes_max, encoding, None);
        let mut rng = Rng::with_seed(bytes.len() as u64);
        let pieces = self.story(bytes, bytes_max, encoding, Some(&mut rng));
        assert_eq!(whole, pieces, "in pieces");
        let (plain, is_cut) = plain_story(bytes, bytes_max, encoding);
        assert_eq!(whole.seen, plain.seen);
        // Of a damaged text that is too long, too, either may be said.
        let is_either = |fault| encoding == Encoding::Deflate && matches!(fault, Some(1007 | 1009));
        let is_same =
            whole.fault == plain.fault || is_either(whole.fault) && is_either(plain.fault);
        assert!(is_same || is_cut, "{whole:?}\n{plain:?}");
        if encoding == Encoding::Plain {
            compare_tungstenite(bytes, bytes_max, &whole);
        }
    }
}

impl Frames {
    /// Feeds a decoder; in pieces, and with stops, if there are random numbers for that.
    fn story(
        &mut self,
        bytes: &[u8],
        bytes_max: usize,
        encoding: Encoding,
        mut rng: Option<&mut Rng>,
    ) -> Story {
        let mut rest = bytes.to_vec();
        let early = rng.as_mut().map_or(0, |rng| rng.usize(..=rest.len()) / 2);
        let early: Vec<u8> = rest.drain(..early).collect();
        let mut decoder = Decoder::new(Sender::Client, bytes_max, encoding, early);
        let mut story = Story { seen: Vec::new(), fault: None };
        while !rest.is_empty() || decoder.is_stopped() {
            let len = match &mut rng {
                Some(rng) if !rest.is_empty() => {
                    let most = rest.len().min(1 << rng.u8(..12));
                    rng.usize(..=most)
                }
                _ => rest.len(),
            };
            let mut piece: Vec<u8> = rest.drain(..len).collect();
            let fed = decoder.feed(&mut piece, &mut self.inflater, &mut |item| {
                story.seen.push(seen_of(&item));
                let stops = rng.as_mut().is_some_and(|rng| rng.u8(..4) == 0);
                if stops { Then::Stop } else { Then::Next }
            });
            if let Err(fault) = fed {
                assert!(!fault.reason().is_empty());
                story.fault = Some(fault.close_code().into());
                break;
            }
        }
        story
    }

    fn push_message(&mut self, rng: &mut Rng, out: &mut Vec<u8>) {
        let mut payload = match rng.u8(..6) {
            0 => {
                let len = *choose(
                    rng,
                    &[0, 9, 10, 11, 124, 125, 126, 127, 299, 300, 301, 65_535, 70_000],
                );
                vec![b'z'; len]
            }
            _ => grammar::text(rng).into_bytes(),
        };
        let opcode = *choose(rng, &[1, 1, 1, 1, 2, 8, 9, 10, 0, 3, 11]);
        let mut head = opcode;
        if opcode == 8 && rng.bool() {
            let code = *choose(rng, &[1000_u16, 1001, 1005, 1006, 1015, 999, 3000, 4999, 5000]);
            payload.splice(0..0, code.to_be_bytes());
        }
        if matches!(opcode, 1 | 2) && rng.u8(..3) == 0 {
            let mut blocks = Vec::new();
            self.deflater.append(&[&payload], &mut blocks);
            (payload, head) = (blocks, head | 0x40);
        }
        if rng.u8(..40) == 0 {
            head |= *choose(rng, &[0x10, 0x20, 0x40, 0x70]);
        }
        let cuts = if opcode < 8 { rng.usize(..4) } else { 0 };
        for _ in 0..cuts {
            let rest = payload.split_off(rng.usize(..=payload.len()));
            push_frame(head, &payload, rng, out);
            (payload, head) = (rest, 0);
            if rng.u8(..4) == 0 {
                push_frame(0x89, b"between", rng, out);
            }
        }
        push_frame(head | if rng.u8(..30) == 0 { 0 } else { 0x80 }, &payload, rng, out);
    }
}

fn push_frame(head: u8, payload: &[u8], rng: &mut Rng, out: &mut Vec<u8>) {
    let masked = if rng.u8(..60) == 0 { 0 } else { 0x80 };
    out.push(head);
    // Longer forms of the length than needed are legal to read.
    match (payload.len(), rng.u8(..30)) {
        (len @ 0..126, 1..) => out.push(masked | len as u8),
        (len @ ..65_536, 2..) => {
            out.push(masked | 126);
            out.extend((len as u16).to_be_bytes());
        }
        (len, _) => {
            out.push(masked | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    let mask = [rng.u8(..), rng.u8(..), 0, rng.u8(..)];
    if masked != 0 {
        out.extend(mask);
    }
    let byte_of = |(at, byte): (usize, &u8)| if masked == 0 { *byte } else { byte ^ mask[at % 4] };
    out.extend(payload.iter().enumerate().map(byte_of));
}

fn seen_of(item: &Item<'_>) -> Seen {
    match item {
        Item::Text(text) => Seen::Text((*text).to_owned()),
        Item::Binary => Seen::Binary,
        Item::Ping(payload) => Seen::Ping(payload.to_vec()),
        Item::Pong => Seen::Pong,
        Item::Close(code) => Seen::Close(code.map(u16::from)),
    }
}

/// Reads a stream frame by frame as RFC 6455 says; also tells whether it ends within a header.
fn plain_story(bytes: &[u8], bytes_max: usize, encoding: Encoding) -> (Story, bool) {
    let mut story = Story { seen: Vec::new(), fault: None };
    let mut message: Option<(u8, bool, Vec<u8>)> = None;
    let mut rest = bytes;
    loop {
        let Some(frame) = PlainFrame::take(&mut rest) else { return (story, true) };
        let opcode = frame.head & 15;
        let (is_final, is_deflated) = (frame.head & 0x80 != 0, frame.head & 0x40 != 0);
        let begins = opcode == 1 || opcode == 2;
        let may_deflate = begins && encoding == Encoding::Deflate;
        let is_control = opcode >= 8;
        let is_wrong = !matches!(opcode, 0..=2 | 8..=10)
            || frame.head & 0x30 != 0
            || (is_deflated && !may_deflate)
            || frame.mask.is_none()
            || (is_control && (!is_final || frame.len > 125))
            || (opcode == 0 && message.is_none())
            || (begins && message.is_some());
        let before = message.as_ref().map_or(0, |(_, _, payload)| payload.len());
        if is_wrong {
            story.fault = Some(1002);
        } else if !is_control && frame.len > (bytes_max - before) as u64 {
            story.fault = Some(1009);
        }
        let whole = usize::try_from(frame.len).ok().and_then(|len| rest.split_at_checked(len));
        let (Some((payload, after)), None) = (whole, story.fault) else { return (story, false) };
        rest = after;
        let mask = frame.mask.unwrap_or_default();
        let payload = payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]);
        let payload: Vec<u8> = payload.collect();
        let item = if is_control {
            plain_control(opcode, payload).map(Some)
        } else {
            let (.., text) = message.get_or_insert((opcode, is_deflated, Vec::new()));
            text.extend(payload);
            match message.take_if(|_| is_final) {
                Some((kind, is_deflated, text)) => {
                    plain_message(kind, is_deflated, text, bytes_max).map(Some)
                }
                None => Ok(None),
            }
        };
        match item {
            Ok(item) => story.seen.extend(item),
            Err(code) => {
                story.fault = Some(code);
                return (story, false);
            }
        }
    }
}

struct PlainFrame {
    head: u8,
    len: u64,
    mask: Option<[u8; 4]>,
}

impl PlainFrame {
    fn take(rest: &mut &[u8]) -> Option<PlainFrame> {
        let (mut at, bytes) = (2, *rest);
        let [head, second, ..] = *bytes else { return None };
        let mut number = |count: usize| -> Option<u64> {
            let digits = bytes.get(at..at + count)?;
            at += count;
            Some(digits.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        };
        let len = match second & 0x7f {
            126 => number(2)?,
            127 => number(8)?,
            short => u64::from(short),
        };
        let mask = match second & 0x80 {
            0 => None,
            _ => Some((number(4)? as u32).to_be_bytes()),
        };
        *rest = &bytes[at..];
        Some(PlainFrame { head, len, mask })
    }
}

fn plain_control(opcode: u8, payload: Vec<u8>) -> Result<Seen, u16> {
    match (opcode, &payload[..]) {
        (9, _) => Ok(Seen::Ping(payload)),
        (10, _) => Ok(Seen::Pong),
        (_, []) => Ok(Seen::Close(None)),
        (_, [_]) => Err(1002),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(1002);
            }
            std::str::from_utf8(reason).map_err(|_| 1007_u16)?;
            Ok(Seen::Close(Some(code)))
        }
    }
}

fn plain_message(kind: u8, is_deflated: bool, text: Vec<u8>, max: usize) -> Result<Seen, u16> {
    if kind == 2 {
        return Ok(Seen::Binary);
    }
    let text = match is_deflated.then(|| plain_inflate(&text, max)) {
        None => text,
        Some(Ok(text)) => text,
        Some(Err(Wrong::TooLong)) => return Err(1009),
        Some(Err(Wrong::Invalid)) => return Err(1007),
    };
    String::from_utf8(text).map(Seen::Text).map_err(|_| 1007)
}

/// A client's end of a pipe that swallows what the server says.
struct Pipe<'a>(Cursor<&'a [u8]>);

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Holds a story against tungstenite's, up to the first farewell or fault of either.
fn compare_tungstenite(bytes: &[u8], bytes_max: usize, ours: &Story) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max.max(125)));
    let pipe = Pipe(Cursor::new(bytes));
    let mut theirs = WebSocket::from_raw_socket(pipe, Role::Server, Some(config));
    let mut count = 0;
    loop {
        let seen = match theirs.read() {
            Ok(Message::Text(text)) => Seen::Text(text.as_str().to_owned()),
            Ok(Message::Binary(_)) => Seen::Binary,
            Ok(Message::Ping(payload)) => Seen::Ping(payload.to_vec()),
            Ok(Message::Pong(_)) => Seen::Pong,
            Ok(Message::Close(frame)) => Seen::Close(frame.map(|frame| frame.code.into())),
            Ok(Message::Frame(_)) => return,
            // Ours says what is wrong with a text when it is whole.
            Err(Error::Utf8(_)) => {
                let later = ours.seen.iter().skip(count);
                assert!(!later.clone().any(|seen| matches!(seen, Seen::Text(_) | Seen::Binary)));
                return;
            }
            Err(_) => return assert_eq!(count, ours.seen.len(), "{ours:?}"),
        };
        match ours.seen.get(count) {
            // It does not know this code, and answers as to one that must not be sent.
            Some(Seen::Close(Some(1014))) => return,
            Some(expected) => assert_eq!(*expected, seen),
            // Ours refuses a code that must not be sent.
            None => assert!(matches!(seen, Seen::Close(_)) && ours.fault.is_some(), "{seen:?}"),
        }
        count += 1;
        if let Seen::Close(_) = seen {
            return;
        }
    }
}

fn offer(rng: &mut Rng) -> String {
    let mut text = word(rng, &OFFERS).to_owned();
    for _ in 0..rng.usize(..4) {
        text += word(rng, &["; ", ";", ", ", ","]);
        text += word(rng, &OFFERS);
        text += word(rng, &["", "", "=12", "=\"15\"", "=8", "=016", "=\"", "="]);
    }
    text
}

/// The answer promises nothing that was not offered.
fn check_offer(line: &str) {
    let Some(answer) = net::accept(std::iter::once(line)) else { return };
    let mut terms = answer.split("; ");
    assert_eq!(terms.next(), Some("permessage-deflate"));
    let line = line.to_lowercase();
    assert!(line.contains("permessage-deflate"));
    for term in terms {
        match term {
            "server_no_context_takeover" | "client_no_context_takeover" => {}
            "server_max_window_bits=12" => assert!(line.contains("server_max_window_bits")),
            other => panic!("{other} was agreed on"),
        }
    }
}

/// The first byte of an input that is an offer; below it, it chooses limits.
const OFFER: u8 = 200;
const OFFERS: [&str; 6] = [
    "permessage-deflate",
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
    "x-webkit-deflate-frame",
];
