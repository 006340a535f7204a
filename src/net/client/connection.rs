//! One websocket to another server: what is to be sent, and what comes.
//!
//! [`Client::work`] is all there is to call: it waits until something has come or has been sent,
//! answers pings, and notices a peer that has gone silent. It may be dropped at any time without
//! losing anything, so it can stand in a `select!` beside other things that are waited for.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant, Sleep, sleep};
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::super::extension::Encoding;
use super::super::frame::{
    self, CONTROL_BYTES_MAX, Decoder, Fault, HEADER_BYTES_MAX, Item, Sender, Then,
};
use super::super::websocket::{Remedy, Silence};
use super::ClientOptions;
use super::http::Transport;
use crate::deflate::Inflater;

/// A websocket that was opened.
pub struct Client {
    transport: Box<dyn Transport>,
    decoder: Decoder,
    inflater: Inflater,
    scratch: Box<[u8]>,
    outgoing: Outgoing,
    bytes: u64,
    ping_period: Duration,
    timer: Pin<Box<Sleep>>,
    silence: Silence,
}

/// What waits to be sent.
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    bytes_max: usize,
    masks: Masks,
    is_closing: bool,
    total: u64,
}

/// Whether messages are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// They are.
    Open,
    /// They stay in the socket, so that the other side feels it.
    Paused,
}

/// Why a websocket is over.
#[derive(Debug, thiserror::Error)]
pub enum ClientEnding {
    /// The other side closed it, with this code if it gave one.
    #[error("the peer closed the connection{}", code_text(.0))]
    Closed(Option<u16>),
    /// The network failed.
    #[error("the connection broke: {0}")]
    Lost(#[source] io::Error),
    /// Nothing came for three ping periods.
    #[error("the peer is silent")]
    Silent,
    /// What came is no websocket's.
    #[error("the peer broke the websocket protocol: {0}")]
    Violation(&'static str),
    /// A message was longer than is taken.
    #[error("the peer sent too long a message")]
    TooLong,
    /// More waited to be sent than may.
    #[error("the peer does not read what it is sent")]
    SlowReader,
}

fn code_text(code: &Option<u16>) -> String {
    code.map_or(String::new(), |code| format!(" with code {code}"))
}

impl Client {
    pub(super) fn new(
        transport: Box<dyn Transport>,
        early: Vec<u8>,
        encoding: Encoding,
        options: &ClientOptions,
    ) -> Client {
        Client {
            transport,
            decoder: Decoder::new(Sender::Server, options.message_bytes_max, encoding, early),
            inflater: Inflater::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            outgoing: Outgoing {
                bytes: Vec::new(),
                sent: 0,
                bytes_max: options.outbound_bytes_max,
                masks: Masks::random(),
                is_closing: false,
                total: 0,
            },
            bytes: 0,
            ping_period: options.ping_period,
            timer: Box::pin(sleep(options.ping_period)),
            silence: Silence::default(),
        }
    }

    /// Queues a text message.
    pub fn push(&mut self, text: &[u8]) {
        self.outgoing.push(OpCode::Data(Data::Text), text);
    }

    /// Queues the end: what is queued is sent before it.
    pub fn close(&mut self) {
        self.outgoing.close(CloseCode::Normal);
    }

    /// Returns how many bytes wait to be sent.
    pub fn queued_bytes(&self) -> usize {
        self.outgoing.queued()
    }

    /// Returns how many bytes have come, as they travelled.
    pub fn received_bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns how many bytes were queued to be sent, frames included.
    pub fn sent_bytes(&self) -> u64 {
        self.outgoing.total
    }

    /// Waits until something has come or all that was queued has been sent, and gives every text
    /// message that came to `sink`, until that breaks; the rest is given at the next call.
    ///
    /// # Errors
    ///
    /// Why the websocket is over; it must not be used any more.
    pub async fn work(
        &mut self,
        reading: Reading,
        sink: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), ClientEnding> {
        poll_fn(|context| self.poll(context, reading, sink)).await
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        reading: Reading,
        sink: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Poll<Result<(), ClientEnding>> {
        if self.outgoing.is_over() {
            return Poll::Ready(Err(ClientEnding::SlowReader));
        }
        self.check_silence(context, reading)?;
        let has_sent = self.send(context)?;
        let has_read = match reading {
            Reading::Open => self.read(context, sink)?,
            Reading::Paused => false,
        };
        // Answers to what came go out with it.
        if has_read {
            self.send(context)?;
        }
        if has_read || has_sent { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn check_silence(
        &mut self,
        context: &mut Context<'_>,
        reading: Reading,
    ) -> Result<(), ClientEnding> {
        while self.timer.as_mut().poll(context).is_ready() {
            match self.silence.period_over(reading == Reading::Open) {
                Remedy::Nothing => {}
                Remedy::Ping => self.outgoing.push(OpCode::Control(Control::Ping), &[]),
                Remedy::GiveUp => return Err(ClientEnding::Silent),
            }
            self.timer.as_mut().reset(Instant::now() + self.ping_period);
        }
        Ok(())
    }

    /// Sends what is queued; returns whether that was something, and is all on its way.
    fn send(&mut self, context: &mut Context<'_>) -> Result<bool, ClientEnding> {
        let mut has_sent = false;
        while self.outgoing.queued() > 0 {
            let waiting = &self.outgoing.bytes[self.outgoing.sent..];
            match Pin::new(&mut self.transport).poll_write(context, waiting) {
                Poll::Ready(Ok(0)) => return Err(lost(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.outgoing.advance(count),
                Poll::Ready(Err(error)) => return Err(lost(error)),
                Poll::Pending => return Ok(false),
            }
            has_sent = true;
        }
        match Pin::new(&mut self.transport).poll_flush(context) {
            Poll::Ready(Err(error)) => Err(lost(error)),
            _ => Ok(has_sent),
        }
    }

    /// Reads what there is, up to a few times; returns whether anything came.
    fn read(
        &mut self,
        context: &mut Context<'_>,
        sink: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<bool, ClientEnding> {
        if self.decoder.is_stopped() {
            self.take(0, sink)?;
            return Ok(true);
        }
        for count in 0..READS_PER_POLL {
            let mut buffer = ReadBuf::new(&mut self.scratch);
            match Pin::new(&mut self.transport).poll_read(context, &mut buffer) {
                Poll::Pending => return Ok(count > 0),
                Poll::Ready(Err(error)) => return Err(lost(error)),
                Poll::Ready(Ok(())) => {}
            }
            let filled = buffer.filled().len();
            if filled == 0 {
                return Err(ClientEnding::Closed(None));
            }
            self.silence.is_heard = true;
            self.bytes += filled as u64;
            self.take(filled, sink)?;
            if self.decoder.is_stopped() {
                break;
            }
        }
        Ok(true)
    }

    /// Hands over the messages that bytes of the scratch buffer complete.
    fn take(
        &mut self,
        filled: usize,
        sink: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), ClientEnding> {
        let outgoing = &mut self.outgoing;
        let mut closed = None;
        let fed = self.decoder.feed(&mut self.scratch[..filled], &mut self.inflater, &mut |item| {
            match item {
                Item::Text(text) if closed.is_none() => {
                    if sink(text).is_break() {
                        return Then::Stop;
                    }
                }
                Item::Close(code) => {
                    closed.get_or_insert(code.map(u16::from));
                }
                Item::Ping(payload) => outgoing.push(OpCode::Control(Control::Pong), payload),
                Item::Text(_) | Item::Binary | Item::Pong => {}
            }
            Then::Next
        });
        match (closed, fed) {
            (Some(code), _) => Err(ClientEnding::Closed(code)),
            (None, Err(Fault::TooLong)) => Err(ClientEnding::TooLong),
            (None, Err(fault)) => Err(ClientEnding::Violation(fault.reason())),
            (None, Ok(())) => Ok(()),
        }
    }
}

fn lost(error: io::Error) -> ClientEnding {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ClientEnding::Closed(None),
        // Hung up without the farewell of TLS.
        io::ErrorKind::UnexpectedEof => ClientEnding::Closed(None),
        _ => ClientEnding::Lost(error),
    }
}

impl Outgoing {
    fn push(&mut self, opcode: OpCode, payload: &[u8]) {
        if self.is_closing || self.is_over() {
            return;
        }
        let before = self.bytes.len();
        let frame_bytes = payload.len() + HEADER_BYTES_MAX + MASK_BYTES;
        // A farewell and answers to pings always fit.
        if self.queued() + frame_bytes > self.bytes_max.saturating_add(CONTROL_BYTES_MAX) {
            self.sent = OVER;
            return;
        }
        frame::write_masked_frame(&mut self.bytes, opcode, payload, self.masks.next());
        self.total += (self.bytes.len() - before) as u64;
    }

    fn close(&mut self, code: CloseCode) {
        self.push(OpCode::Control(Control::Close), &u16::from(code).to_be_bytes());
        self.is_closing = true;
    }

    fn queued(&self) -> usize {
        self.bytes.len().saturating_sub(self.sent)
    }

    fn is_over(&self) -> bool {
        self.sent == OVER
    }

    fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(BYTES_KEPT);
            self.sent = 0;
        } else if self.sent >= self.bytes.len() / 2 && self.sent >= BYTES_KEPT {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// Masks nobody can foresee who did not see the ones before (RFC 6455 section 10.3).
struct Masks {
    hash: RandomState,
    count: u64,
}

impl Masks {
    fn random() -> Masks {
        Masks { hash: RandomState::new(), count: 0 }
    }

    fn next(&mut self) -> [u8; 4] {
        self.count += 1;
        let [a, b, c, d, ..] = self.hash.hash_one(self.count).to_ne_bytes();
        [a, b, c, d]
    }
}

/// What `sent` says once too much was to be sent.
const OVER: usize = usize::MAX;
const MASK_BYTES: usize = 4;
/// One read: large, because what comes in bulk is what matters.
const SCRATCH_BYTES: usize = 256 << 10;
/// Memory kept for what is to be sent.
const BYTES_KEPT: usize = 256 << 10;
/// Reads before the caller gets its turn.
const READS_PER_POLL: usize = 8;
