//! Many websockets on one thread: what is to be sent waits here, what arrives is handed out.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::inflate::Inflated;
use super::line::Line;
use super::wire::{self, Address, Frame};
use crate::Failure;

/// A set of connections to one relay.
pub(crate) struct Client {
    address: Address,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    /// What was read last, behind what was left of the read before.
    buffer: Vec<u8>,
    received_bytes: u64,
    inflated: Inflated,
}

struct Connection {
    line: Line,
    /// Frames to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The beginning of a frame whose end has not arrived.
    rest: Vec<u8>,
    /// The pieces of a message so far.
    pieces: Vec<u8>,
    is_deflated: bool,
}

/// What is told of the messages that arrive: the connection's number, and the text.
pub(crate) type Sink<'a> = dyn FnMut(usize, &[u8]) + 'a;

impl Client {
    /// Opens `count` connections, one after the other.
    pub(crate) fn connect(address: &Address, count: usize) -> Result<Self, Failure> {
        let mut client = Self {
            address: address.clone(),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            connections: Vec::with_capacity(count),
            buffer: vec![0; BUFFER_BYTES],
            received_bytes: 0,
            inflated: Inflated::default(),
        };
        client.open(count)?;
        Ok(client)
    }

    /// Opens more connections.
    pub(crate) fn open(&mut self, count: usize) -> Result<(), Failure> {
        for _ in 0..count {
            let (line, rest) = self.address.open()?;
            line.set_nonblocking()?;
            let token = Token(self.connections.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut SourceFd(&line.as_raw_fd()), token, interest)?;
            let (out, pieces) = (Vec::new(), Vec::new());
            let is_deflated = false;
            let connection = Connection { line, out, written: 0, rest, pieces, is_deflated };
            self.connections.push(connection);
        }
        Ok(())
    }

    /// Puts a message into a connection's line; [`Client::flush`] sends it.
    pub(crate) fn push(&mut self, connection: usize, parts: &[&[u8]]) {
        wire::write_text(&mut self.connections[connection].out, parts);
    }

    /// How many bytes wait to be written to a connection.
    pub(crate) fn waiting_bytes(&self, connection: usize) -> usize {
        let connection = &self.connections[connection];
        connection.out.len() - connection.written
    }

    /// How many bytes have arrived in whole frames.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Writes what waits, as far as the sockets take it.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        for connection in &mut self.connections {
            connection.flush()?;
        }
        Ok(())
    }

    /// Writes what waits for one connection, as far as its socket takes it.
    pub(crate) fn flush_one(&mut self, connection: usize) -> Result<(), Failure> {
        self.connections[connection].flush()
    }

    /// Waits until something arrives or the time is over, and hands out what arrived.
    ///
    /// The first connection is read before the others.
    pub(crate) fn turn(&mut self, wait: Duration, sink: &mut Sink<'_>) -> Result<(), Failure> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let is_first = |token: Token| token.0 == 0;
        for first in [true, false] {
            for event in self.events.iter().filter(|it| is_first(it.token()) == first) {
                let number = event.token().0;
                let connection = &mut self.connections[number];
                if event.is_readable() {
                    let inflated = &mut self.inflated;
                    let sink = &mut |text: &[u8]| sink(number, text);
                    self.received_bytes += connection.read(&mut self.buffer, inflated, sink)?;
                }
                connection.flush()?;
            }
        }
        Ok(())
    }
}

impl Connection {
    fn flush(&mut self) -> Result<(), Failure> {
        while self.written < self.out.len() {
            match self.line.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("write to the relay: {error}").into()),
            }
        }
        self.out.clear();
        self.written = 0;
        match self.line.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                Err(format!("write to the relay: {error}").into())
            }
            _ => Ok(()),
        }
    }

    /// Reads all that has arrived; returns how many bytes the whole frames had.
    fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        inflated: &mut Inflated,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, Failure> {
        let mut bytes = 0;
        loop {
            let kept = self.rest.len();
            if buffer.len() < kept + BUFFER_BYTES / 2 {
                buffer.resize(2 * (kept + BUFFER_BYTES), 0);
            }
            buffer[..kept].copy_from_slice(&self.rest);
            let count = match self.line.read(&mut buffer[kept..]) {
                Ok(0) => return Err("the relay closed a connection".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(bytes),
                Err(error) => return Err(format!("read from the relay: {error}").into()),
            };
            // TLS may have more that it has read already.
            let is_drained = kept + count < buffer.len() && matches!(self.line, Line::Plain(_));
            let taken = self.take(&buffer[..kept + count], inflated, sink)?;
            bytes += taken as u64;
            self.rest.clear();
            self.rest.extend_from_slice(&buffer[taken..kept + count]);
            if is_drained {
                return Ok(bytes);
            }
        }
    }

    /// Hands out the whole messages of `bytes`; returns how many bytes they took.
    fn take(
        &mut self,
        bytes: &[u8],
        inflated: &mut Inflated,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, Failure> {
        let mut taken = 0;
        while let Some((frame, length)) = wire::read_frame(&bytes[taken..]) {
            taken += length;
            match frame {
                Frame::Message { payload, is_deflated: false } => sink(payload),
                Frame::Message { payload, is_deflated: true } => sink(inflated.text(payload)?),
                Frame::Piece { payload, is_deflated, is_last } => {
                    self.is_deflated |= is_deflated;
                    self.pieces.extend_from_slice(payload);
                    if is_last {
                        let whole = std::mem::take(&mut self.pieces);
                        let is_deflated = std::mem::take(&mut self.is_deflated);
                        sink(if is_deflated { inflated.text(&whole)? } else { &whole });
                    }
                }
                Frame::Ping(payload) => wire::write_pong(&mut self.out, payload),
                Frame::Pong => {}
                Frame::Close => return Err("the relay closed a connection".into()),
            }
        }
        Ok(taken)
    }
}

const BUFFER_BYTES: usize = 256 * 1024;
