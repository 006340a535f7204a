//! One websocket connection: its task, and the trait by which a session takes part.
//!
//! A connection is one future on its core. A poll of it reads into the core's scratch buffer, hands
//! over every whole message of that read, writes once for all answers, and repeats until the socket
//! has no more, or gives way to the others after a few reads. Between polls it owns a socket, a timer
//! and a few words; bytes are kept only for an incomplete message, a paused one, or a peer that reads
//! slowly.
//!
//! The end of a connection is a [`Phase`]: the closing handshake is given `close_deadline`, whoever
//! began it. After a violation the rest of the peer's bytes is read and thrown away until it hangs up,
//! because closing a socket with unread bytes would reset it and lose our close frame on the way.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tungstenite::protocol::frame::coding::{CloseCode, Control};

use super::frame::{Decoder, Fault, Item, Then};
use super::listener::Local;
use super::outbound::{Outbound, Standing};

/// One connection's listener to what its client says. All calls come from the core's thread.
///
/// Answers go through the [`Outbound`] that was given along with the connection.
pub trait Conversation {
    /// Takes one text message.
    fn text(&mut self, message: &str) -> Flow;

    /// Learns that a binary message came; its content is not kept.
    fn binary(&mut self) -> Flow;

    /// Learns that a message over the limit came; the connection is closed with 1009 after this.
    fn too_long(&mut self);

    /// Learns that all messages of one read were handed over, for work that is done in batches.
    fn burst_end(&mut self) -> Flow;

    /// Learns that the congested outbound queue has room again.
    fn drained(&mut self);

    /// Learns that the connection is over; the last call, and always made.
    fn closed(&mut self, ending: Ending);
}

/// What a conversation wants after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next message.
    Continue,
    /// Nothing until a later call of [`Outbound::resume_reading`]. What was read already is kept.
    Pause,
    /// The end: what is queued is written, then the connection closes with this code.
    Close(CloseCode),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client closed it or hung up.
    Client,
    /// This side closed it, or is shutting down.
    Relay,
    /// The client broke the websocket protocol or a limit of it.
    Violation,
    /// More bytes waited for the client than `bytes_max`.
    SlowReader,
    /// Nothing came from the client for three ping periods.
    Silent,
    /// The network failed.
    Lost,
}

/// The task of one connection; ready when it is over.
pub(crate) struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    outbound: Outbound,
    conversation: Box<dyn Conversation>,
    local: Rc<Local>,
    /// Under which the core lists the connection.
    number: u64,
    /// The next look at the peer's silence, or the end of the closing handshake.
    timer: Pin<Box<Sleep>>,
    phase: Phase,
    ending: Ending,
    is_heard: bool,
    silent_periods: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Our close frame is on its way; the peer's is awaited, other messages are ignored.
    Closing,
    /// The peer's close frame came; over when ours is written.
    Answering,
    /// The peer's bytes have no meaning; over when it hangs up.
    Discarding,
    /// The same, and our direction of the socket is shut.
    Lingering,
}

/// What a poll found at the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// Something was read, or could be.
    More,
    /// The task is woken when more comes.
    Waiting,
    /// Not asked: the conversation paused.
    Paused,
}

/// What one pass over received bytes led to.
struct Burst {
    flow: Flow,
    count: usize,
    peer_close: Option<Option<CloseCode>>,
}

impl Connection {
    pub(crate) fn new(
        local: Rc<Local>,
        stream: TcpStream,
        early: Vec<u8>,
        outbound: Outbound,
        conversation: Box<dyn Conversation>,
    ) -> Self {
        Connection {
            stream,
            decoder: Decoder::new(local.options.message_bytes_max, early),
            number: local.register(outbound.clone()),
            outbound,
            conversation,
            timer: Box::pin(sleep(local.options.ping_period)),
            local,
            phase: Phase::Open,
            ending: Ending::Relay,
            is_heard: false,
            silent_periods: 0,
        }
    }

    /// Does all that can be done without waiting, then arranges to be woken.
    fn run(&mut self, context: &mut Context<'_>) -> ControlFlow<Ending> {
        self.outbound.calm();
        self.notice_orders()?;
        self.check_timer(context)?;
        let mut input = Input::More;
        let mut reads = 0;
        while input == Input::More && reads < READS_PER_POLL {
            input = self.read(context)?;
            self.write(context)?;
            reads += 1;
        }
        let could_read = input == Input::Paused && self.wants_bytes();
        if input == Input::More || could_read {
            context.waker().wake_by_ref();
        }
        self.outbound.watch(context.waker());
        ControlFlow::Continue(())
    }

    /// Follows what was asked of the outbound queue, by the conversation or by others on the core.
    fn notice_orders(&mut self) -> ControlFlow<Ending> {
        match self.outbound.standing() {
            Standing::Open => {}
            Standing::Closing if self.phase == Phase::Open => self.enter(Phase::Closing),
            Standing::Closing => {}
            Standing::Overflowed => return ControlFlow::Break(Ending::SlowReader),
            Standing::Gone => return ControlFlow::Break(Ending::Relay),
        }
        ControlFlow::Continue(())
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase == Phase::Open {
            self.timer.as_mut().reset(Instant::now() + self.local.options.close_deadline);
        }
        self.phase = phase;
    }

    fn check_timer(&mut self, context: &mut Context<'_>) -> ControlFlow<Ending> {
        while self.timer.as_mut().poll(context).is_ready() {
            if self.phase != Phase::Open {
                return ControlFlow::Break(self.ending);
            }
            self.period_over()?;
            self.timer.as_mut().reset(Instant::now() + self.local.options.ping_period);
        }
        ControlFlow::Continue(())
    }

    /// Pings a peer that was silent for a period, gives one up that stays silent.
    fn period_over(&mut self) -> ControlFlow<Ending> {
        if self.is_heard {
            self.is_heard = false;
            self.silent_periods = 0;
            return ControlFlow::Continue(());
        }
        // Nobody listened to a paused connection, so its silence proves nothing.
        if self.outbound.is_reading() {
            self.silent_periods += 1;
        }
        if self.silent_periods >= SILENT_PERIODS_MAX {
            return ControlFlow::Break(Ending::Silent);
        }
        self.outbound.push_control(Control::Ping, &[]);
        ControlFlow::Continue(())
    }

    /// A paused conversation leaves bytes in the socket, so that the client feels it.
    fn wants_bytes(&self) -> bool {
        self.phase != Phase::Open || self.outbound.is_reading()
    }

    fn read(&mut self, context: &mut Context<'_>) -> ControlFlow<Ending, Input> {
        if !self.wants_bytes() {
            return ControlFlow::Continue(Input::Paused);
        }
        if self.decoder.is_stopped() {
            self.take(&mut [])?;
            return ControlFlow::Continue(Input::More);
        }
        let local = Rc::clone(&self.local);
        let mut scratch = local.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => return ControlFlow::Continue(Input::Waiting),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return ControlFlow::Break(self.ending_or(Ending::Lost)),
        }
        let received = buffer.filled_mut();
        if received.is_empty() {
            return ControlFlow::Break(self.ending_or(Ending::Client));
        }
        self.is_heard = true;
        self.take(received)?;
        ControlFlow::Continue(Input::More)
    }

    /// Returns why a connection ended that the peer has left: what began its end, if anything.
    fn ending_or(&self, otherwise: Ending) -> Ending {
        if self.phase == Phase::Open { otherwise } else { self.ending }
    }

    /// Decodes received bytes and hands the messages over.
    fn take(&mut self, received: &mut [u8]) -> ControlFlow<Ending> {
        if !matches!(self.phase, Phase::Open | Phase::Closing) {
            return ControlFlow::Continue(());
        }
        let mut burst = Burst { flow: Flow::Continue, count: 0, peer_close: None };
        let mut is_heeded = self.phase == Phase::Open;
        let (conversation, outbound) = (&mut *self.conversation, &self.outbound);
        let decoded = self.decoder.feed(received, &mut |item| {
            let flow = match item {
                Item::Close(code) => {
                    burst.peer_close.get_or_insert(code);
                    is_heeded = false;
                    return Then::Next;
                }
                _ if !is_heeded => return Then::Next,
                Item::Text(message) => conversation.text(message),
                Item::Binary => conversation.binary(),
                Item::Ping(payload) => {
                    outbound.push_control(Control::Pong, payload);
                    return Then::Next;
                }
                Item::Pong => return Then::Next,
            };
            burst.count += 1;
            burst.flow = flow;
            is_heeded = flow == Flow::Continue && outbound.is_open();
            if flow == Flow::Pause { Then::Stop } else { Then::Next }
        });
        self.conclude(burst, decoded);
        self.notice_orders()
    }

    fn conclude(&mut self, burst: Burst, decoded: Result<(), Fault>) {
        if burst.count > 0 {
            self.follow(burst.flow);
            let flow = self.conversation.burst_end();
            self.follow(flow);
        }
        if let Some(code) = burst.peer_close {
            if self.phase == Phase::Open && self.outbound.is_open() {
                self.ending = Ending::Client;
            }
            self.outbound.push_close(code, "");
            return self.enter(Phase::Answering);
        }
        if let Err(fault) = decoded {
            self.violated(fault);
        }
    }

    fn follow(&mut self, flow: Flow) {
        match flow {
            Flow::Continue => {}
            Flow::Pause => self.outbound.pause_reading(),
            Flow::Close(code) => self.outbound.close(code, ""),
        }
    }

    fn violated(&mut self, fault: Fault) {
        if self.phase == Phase::Open && self.outbound.is_open() {
            self.ending = Ending::Violation;
            if fault == Fault::TooLong {
                self.conversation.too_long();
            }
        }
        self.outbound.push_close(Some(fault.close_code()), fault.reason());
        self.enter(Phase::Discarding);
    }

    /// Writes what is queued, and lets the conversation go on when a congested queue drained.
    fn write(&mut self, context: &mut Context<'_>) -> ControlFlow<Ending> {
        for _ in 0..WRITES_PER_READ {
            self.outbound.calm();
            match self.outbound.poll_write(&mut self.stream, context) {
                Poll::Ready(Ok(())) => self.written(context)?,
                Poll::Ready(Err(_)) => return ControlFlow::Break(self.ending_or(Ending::Lost)),
                Poll::Pending => {}
            }
            if self.phase == Phase::Open && self.outbound.take_drained() {
                self.conversation.drained();
            }
            self.notice_orders()?;
            if !self.outbound.is_stirred() {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    /// Takes the step that the closing handshake makes when all is written.
    fn written(&mut self, context: &mut Context<'_>) -> ControlFlow<Ending> {
        match self.phase {
            Phase::Open | Phase::Closing | Phase::Lingering => {}
            Phase::Answering => {
                let _ = Pin::new(&mut self.stream).poll_shutdown(context);
                return ControlFlow::Break(self.ending);
            }
            Phase::Discarding => {
                let _ = Pin::new(&mut self.stream).poll_shutdown(context);
                self.phase = Phase::Lingering;
            }
        }
        ControlFlow::Continue(())
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let connection = self.get_mut();
        match connection.run(context) {
            ControlFlow::Continue(()) => Poll::Pending,
            ControlFlow::Break(ending) => {
                connection.ending = ending;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.outbound.finish();
        self.local.forget(self.number);
        self.conversation.closed(self.ending);
    }
}

/// Reads of one connection before the others of its core get their turn.
const READS_PER_POLL: usize = 4;
/// Rounds of writing and refilling before reading goes on.
const WRITES_PER_READ: usize = 4;
/// Ping periods without a byte from the peer after which it counts as gone.
const SILENT_PERIODS_MAX: u8 = 3;
