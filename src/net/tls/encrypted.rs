//! The stream of a client over TLS.
//!
//! The protocol is rustls without its buffers: a core reads and writes all its encrypted streams
//! through one [`Scratch`], and a stream owns bytes only while a record is incomplete, was not taken
//! yet, or was not written to its end. So an idle one is as large as its keys. What is received is
//! decrypted where it lies; what is sent goes to the socket with a few records in one write.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Where the encrypted streams of one core read and write; owns no memory before the first does.
#[derive(Default)]
pub(in crate::net) struct Scratch(RefCell<Vec<u8>>);

/// One client's stream, after its handshake.
pub(in crate::net) struct Encrypted {
    socket: TcpStream,
    session: UnbufferedServerConnection,
    scratch: Rc<Scratch>,
    /// Received, and neither a whole record nor a whole message of the handshake.
    incoming: Vec<u8>,
    /// Decrypted, and not yet taken.
    ready: Waiting,
    /// Encrypted, and not yet written.
    outgoing: Waiting,
    /// Nothing comes from the peer any more: it said so, hung up, or what it sent cannot be read.
    is_ended: bool,
    /// The peer was told that nothing comes any more, or will not listen.
    is_closed: bool,
}

/// Why a socket did not become an encrypted stream.
pub(in crate::net) enum Unmet {
    /// What the peer says first is no TLS; it was not read yet.
    Plain(TcpStream),
    /// The peer hung up.
    Gone,
    /// The two do not come to terms.
    Failed(io::Error),
}

/// Leads a socket through the handshake, in as much time as the peer takes.
pub(in crate::net) async fn meet(
    socket: TcpStream,
    config: Arc<ServerConfig>,
    scratch: Rc<Scratch>,
) -> Result<Box<Encrypted>, Unmet> {
    let mut first = [0];
    // Who says nothing costs nothing but its socket.
    match socket.peek(&mut first).await {
        Ok(1) if first == [HANDSHAKE] => {}
        Ok(1) => return Err(Unmet::Plain(socket)),
        Ok(_) | Err(_) => return Err(Unmet::Gone),
    }
    let session =
        UnbufferedServerConnection::new(config).map_err(|it| Unmet::Failed(broken(it)))?;
    let mut stream = Box::new(Encrypted {
        socket,
        session,
        scratch,
        incoming: Vec::new(),
        ready: Waiting::default(),
        outgoing: Waiting::default(),
        is_ended: false,
        is_closed: false,
    });
    match poll_fn(|context| stream.poll_handshake(context)).await {
        Ok(()) => Ok(stream),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Unmet::Failed(error)),
        Err(_) => Err(Unmet::Gone),
    }
}

impl Encrypted {
    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(context))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.is_ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_receive(context, &mut ReadBuf::new(&mut [])))?;
        }
    }

    /// Returns whether the socket has bytes that were not read; has its task woken when it does.
    pub(crate) fn is_readable(&self, context: &mut Context<'_>) -> bool {
        self.socket.poll_read_ready(context).is_ready()
    }

    /// Reads once from the socket; what can be decrypted goes to `buffer` as far as there is room.
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let scratch = Rc::clone(&self.scratch);
        let mut scratch = scratch.0.borrow_mut();
        scratch.resize(SCRATCH_BYTES, 0);
        let kept = self.incoming.len();
        scratch[..kept].copy_from_slice(&self.incoming);
        let room = buffer.remaining().clamp(RECORD_BYTES_MAX, SCRATCH_BYTES - KEPT_BYTES_MAX);
        let mut read = ReadBuf::new(&mut scratch[kept..kept + room]);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut read))?;
        let end = kept + read.filled().len();
        if end == kept {
            self.is_ended = true;
            return Poll::Ready(Ok(()));
        }
        let received = &mut scratch[..end];
        // What a client says before anybody knows it fits one record.
        let kept_max =
            if self.session.is_handshaking() { RECORD_BYTES_MAX } else { KEPT_BYTES_MAX };
        let used = match self.decrypt(received, buffer) {
            Ok(used) if end - used <= kept_max => used,
            Ok(_) => return Poll::Ready(Err(self.fail(TOO_LONG))),
            Err(error) => return Poll::Ready(Err(self.fail(error))),
        };
        if used == end {
            self.incoming = Vec::new();
        } else {
            self.incoming.clear();
            self.incoming.extend_from_slice(&received[used..]);
        }
        if !self.outgoing.is_empty() {
            // What is left of it goes with the next write; an error shows there, too.
            let _ = self.poll_send(context)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Decrypts all whole records at the start of `received`; returns how many bytes they were.
    fn decrypt(
        &mut self,
        received: &mut [u8],
        buffer: &mut ReadBuf<'_>,
    ) -> Result<usize, rustls::Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.session.process_tls_records(&mut received[used..]);
            let is_through = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        self.ready.hand_over(record.payload, buffer);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut data, &mut self.outgoing)?;
                    false
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.is_ended = true;
                    // What comes behind its end has no meaning.
                    return Ok(received.len());
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => true,
                Ok(_) => return Err(UNASKED),
                Err(error) => {
                    self.encode_alert(&mut received[used + discard..]);
                    return Err(error);
                }
            };
            used += discard;
            if is_through {
                return Ok(used);
            }
        }
    }

    /// Takes the alert that follows an error, so that the peer learns what is wrong.
    fn encode_alert(&mut self, received: &mut [u8]) {
        let UnbufferedStatus { state, .. } = self.session.process_tls_records(received);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = state {
            let _ = encode(&mut data, &mut self.outgoing);
        }
    }

    /// Gives the stream up, with a last word to the peer if it takes that.
    fn fail(&mut self, error: rustls::Error) -> io::Error {
        if !self.outgoing.is_empty() {
            let _ = self.socket.try_write(self.outgoing.rest());
        }
        self.incoming = Vec::new();
        (self.is_ended, self.is_closed) = (true, true);
        broken(error)
    }

    /// Writes what is encrypted already.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = Pin::new(&mut self.socket).poll_write(context, self.outgoing.rest());
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.outgoing.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts a part of what is to be sent, and writes what of that the socket takes.
    fn poll_encrypt(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(context))?;
        let scratch = Rc::clone(&self.scratch);
        let mut scratch = scratch.0.borrow_mut();
        scratch.resize(SCRATCH_BYTES, 0);
        let mut taken = 0;
        let write = |traffic: &mut WriteTraffic<'_, ServerConnectionData>, out: &mut [u8]| {
            let (count, end) = seal(traffic, slices, out)?;
            taken = count;
            Ok(end)
        };
        let end = self.with_traffic(&mut scratch, write)?;
        let written = match Pin::new(&mut self.socket).poll_write(context, &scratch[..end]) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.outgoing.push(&scratch[written..end]);
        Poll::Ready(Ok(taken))
    }

    /// Has `write` encrypt into `out`, behind what the protocol itself has to say; returns how many
    /// bytes there are then.
    fn with_traffic(
        &mut self,
        out: &mut [u8],
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut end = 0;
        loop {
            let UnbufferedStatus { discard, state } =
                self.session.process_tls_records(&mut self.incoming);
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return Ok(end + write(&mut traffic, &mut out[end..])?);
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    end += data.encode(&mut out[end..]).map_err(io::Error::other)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => return Err(broken(error)),
            }
            self.incoming.drain(..discard);
        }
    }

    /// Encrypts the word that nothing comes any more, once.
    fn say_closed(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_closed, true) {
            return Ok(());
        }
        let mut out = [0; CLOSING_BYTES_MAX];
        let end = self.with_traffic(&mut out, |traffic, out| {
            traffic.queue_close_notify(out).map_err(io::Error::other)
        })?;
        self.outgoing.push(&out[..end]);
        Ok(())
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        for _ in 0..RECEIVES_PER_READ {
            if !self.ready.is_empty() {
                let count = self.ready.rest().len().min(buffer.remaining());
                buffer.put_slice(&self.ready.rest()[..count]);
                self.ready.advance(count);
            }
            if buffer.filled().len() > before || self.is_ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(context, buffer))?;
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        // Whatever this is, others have their turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_encrypt(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_encrypt(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.say_closed()?;
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// Whoever ends a stream without more ado still tells the peer that this was all, if that can be
/// done at once: otherwise it could not tell the end from a line that was cut.
impl Drop for Encrypted {
    fn drop(&mut self) {
        let is_unsaid = !self.is_closed && !self.session.is_handshaking();
        if is_unsaid && self.outgoing.is_empty() && self.say_closed().is_ok() {
            let _ = self.socket.try_write(self.outgoing.rest());
        }
    }
}

/// Bytes that wait; while there are none no memory is owned.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    taken: usize,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn advance(&mut self, count: usize) {
        self.taken += count;
        if self.taken >= self.bytes.len() {
            *self = Waiting::default();
        }
    }

    /// Gives bytes to whoever reads, as far as there is room and nothing waits before them.
    fn hand_over(&mut self, bytes: &[u8], buffer: &mut ReadBuf<'_>) {
        let count = if self.is_empty() { bytes.len().min(buffer.remaining()) } else { 0 };
        let (first, later) = bytes.split_at(count);
        buffer.put_slice(first);
        self.push(later);
    }
}

/// Encrypts the slices into `out`, as many records as fit; returns how many bytes were taken and how
/// many they have become.
fn seal(
    traffic: &mut WriteTraffic<'_, ServerConnectionData>,
    slices: &[IoSlice<'_>],
    out: &mut [u8],
) -> io::Result<(usize, usize)> {
    let (mut taken, mut end) = (0, 0);
    for piece in slices.iter().flat_map(|slice| slice.chunks(PIECE_BYTES_MAX)) {
        if out.len() - end < piece.len() + SEAL_BYTES_MAX {
            break;
        }
        end += traffic.encrypt(piece, &mut out[end..]).map_err(io::Error::other)?;
        taken += piece.len();
    }
    Ok((taken, end))
}

/// Takes what the protocol itself has to say.
fn encode(
    data: &mut EncodeTlsData<'_, ServerConnectionData>,
    outgoing: &mut Waiting,
) -> Result<(), rustls::Error> {
    let start = outgoing.bytes.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        data.encode(&mut [])
    {
        outgoing.bytes.resize(start + required_size, 0);
        let encoded = data.encode(&mut outgoing.bytes[start..]);
        encoded.map_err(|error| rustls::Error::General(error.to_string()))?;
    }
    Ok(())
}

/// An error that is the peer's doing, unlike one of the network.
fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The first byte of a record that carries a message of the handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// What a record holds at most (RFC 8446, section 5.1).
const PIECE_BYTES_MAX: usize = 16 * 1024;
/// The longest record, with what is allowed around its content (RFC 5246, section 6.2.3).
const RECORD_BYTES_MAX: usize = PIECE_BYTES_MAX + 2048 + 5;
/// More than a record is longer than its content, with a change of keys before it.
const SEAL_BYTES_MAX: usize = 512;
/// Received bytes that are kept because more has to come: a record, or a message of the handshake
/// that is spread over several.
const KEPT_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;
/// A good part of a large message at once, behind what was kept.
const SCRATCH_BYTES: usize = KEPT_BYTES_MAX + 64 * 1024;
/// The record of a closing alert, with all that may be waiting before it.
const CLOSING_BYTES_MAX: usize = 1024;
/// Reads that may bring nothing but the protocol's own messages before others get their turn.
const RECEIVES_PER_READ: usize = 4;

const TOO_LONG: rustls::Error =
    rustls::Error::InvalidMessage(rustls::InvalidMessage::HandshakePayloadTooLarge);
/// No client is offered to send data before the handshake is over.
const UNASKED: rustls::Error =
    rustls::Error::PeerMisbehaved(rustls::PeerMisbehaved::TooMuchEarlyDataReceived);
