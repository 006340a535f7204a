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
use tokio::time::{Instant, Sleep, sleep};
use tungstenite::protocol::frame::coding::{CloseCode, Control};

use super::frame::{Decoder, Fault, Item, Sender, Then};
use super::listener::{Local, NetOptions};
use super::outbound::{Outbound, Standing};
use super::stream::Stream;

/// One connection's listener to what its client says. All calls come from the core's thread.
///
/// Answers go through the [`Outbound`] that was given along with the connection.
pub trait Conversation {
    /// Returns whether others come first: what the client has sent is better read later, and much that
    /// is to be sent to it better written later.
    fn must_wait(&self) -> bool;

    /// Learns that it was left to wait for that, until a later call of [`Outbound::resume_reading`] or
    /// [`Outbound::resume_writing`].
    fn left_waiting(&mut self);

    /// Learns that so many bytes were written, which took its time.
    fn written(&mut self, bytes: usize);

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
    /// The same without waiting for the client's part in it: what it still sends is not read.
    Leave(CloseCode),
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
    /// More bytes waited for the client than `bytes_max`, or too many for all clients together, or
    /// it took nothing of what waited for a ping period.
    SlowReader,
    /// Nothing came from the client for three ping periods.
    Silent,
    /// The network failed.
    Lost,
}

/// The task of one connection; ready when it is over.
pub(crate) struct Connection {
    stream: Stream,
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
    silence: Silence,
}

/// How long the peer has been silent, in ping periods.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    pub(super) is_heard: bool,
    periods: u8,
}

/// What to do about a peer at the end of a ping period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    Nothing,
    Ping,
    GiveUp,
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
        stream: Stream,
        early: Vec<u8>,
        outbound: Outbound,
        conversation: Box<dyn Conversation>,
    ) -> Self {
        let NetOptions { message_bytes_max, ping_period, .. } = *local.options.borrow();
        Connection {
            stream,
            decoder: Decoder::new(Sender::Client, message_bytes_max, outbound.encoding(), early),
            number: local.register(outbound.clone()),
            outbound,
            conversation,
            timer: Box::pin(sleep(ping_period)),
            local,
            phase: Phase::Open,
            ending: Ending::Relay,
            silence: Silence::default(),
        }
    }

    /// Does all that can be done without waiting, then arranges to be woken.
    fn run(&mut self, context: &mut Context<'_>) -> ControlFlow<Ending> {
        self.outbound.calm();
        self.notice_orders()?;
        self.check_timer(context)?;
        let mut input = self.wait_for_others();
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

    /// Leaves much that is to be written for later while others come first.
    fn wait_for_others(&mut self) -> Input {
        let has_much = self.outbound.queued_bytes() > WRITTEN_AT_ONCE_BYTES;
        if has_much && self.phase == Phase::Open && self.conversation.must_wait() {
            self.conversation.left_waiting();
            return Input::Paused;
        }
        Input::More
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
            self.timer.as_mut().reset(Instant::now() + self.local.options.borrow().close_deadline);
        }
        self.phase = phase;
    }

    fn check_timer(&mut self, context: &mut Context<'_>) -> ControlFlow<Ending> {
        while self.timer.as_mut().poll(context).is_ready() {
            if self.phase != Phase::Open {
                return ControlFlow::Break(self.ending);
            }
            self.period_over()?;
            self.timer.as_mut().reset(Instant::now() + self.local.options.borrow().ping_period);
        }
        ControlFlow::Continue(())
    }

    /// Gives up a peer that takes nothing, pings one that was silent for a period, gives one up that stays silent.
    fn period_over(&mut self) -> ControlFlow<Ending> {
        if self.outbound.is_stuck() {
            return ControlFlow::Break(Ending::SlowReader);
        }
        match self.silence.period_over(self.outbound.is_reading()) {
            Remedy::Nothing => {}
            Remedy::Ping => self.outbound.push_control(Control::Ping, &[]),
            Remedy::GiveUp => return ControlFlow::Break(Ending::Silent),
        }
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
        if self.phase == Phase::Open
            && self.conversation.must_wait()
            && self.stream.is_readable(context)
        {
            self.conversation.left_waiting();
            return ControlFlow::Continue(Input::Paused);
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
        self.silence.is_heard = true;
        local.traffic.received_bytes_total.add(received.len() as u64);
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
        let mut inflater = self.local.inflater.borrow_mut();
        let decoded = self.decoder.feed(received, &mut inflater, &mut |item| {
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
        drop(inflater);
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
            Flow::Leave(code) => {
                self.outbound.close(code, "");
                self.enter(Phase::Answering);
            }
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
            let before = self.outbound.queued_bytes();
            let wrote = self.outbound.poll_write(&mut self.stream, context);
            let written = before - self.outbound.queued_bytes();
            if written > 0 {
                self.local.traffic.sent_bytes_total.add(written as u64);
                self.conversation.written(written);
            }
            match wrote {
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

impl Silence {
    pub(super) fn period_over(&mut self, is_reading: bool) -> Remedy {
        if self.is_heard {
            *self = Silence::default();
            return Remedy::Nothing;
        }
        // Nobody listened to a paused connection, so its silence proves nothing.
        if is_reading {
            self.periods += 1;
        }
        if self.periods >= SILENT_PERIODS_MAX { Remedy::GiveUp } else { Remedy::Ping }
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
/// As much is written at once though others come first: it takes less than to wait.
const WRITTEN_AT_ONCE_BYTES: usize = 16 * 1024;
/// Rounds of writing and refilling before reading goes on.
const WRITES_PER_READ: usize = 4;
/// Ping periods without a byte from the peer after which it counts as gone.
const SILENT_PERIODS_MAX: u8 = 3;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;
    use std::time::Duration;

    use tungstenite::Message;

    use super::super::testing::{
        Client, Order, TestRelay, Told, client_frame, options, text_frame, upgrade_request,
    };
    use super::super::{Backlog, OutboundLimits};
    use super::*;

    const MASK: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];

    fn relay() -> TestRelay {
        TestRelay::start(options())
    }

    #[test]
    fn texts_of_every_size_are_echoed_to_an_ordinary_client() {
        let relay = relay();
        let mut client = relay.tungstenite();
        for len in [0, 1, 125, 126, 65_535, 65_536, 300_000, 1 << 20] {
            let text = "z".repeat(len);
            client.send(Message::text(text.clone())).expect("sent");
            assert!(client.read().expect("echoed") == Message::text(text), "{len} bytes");
        }
        client.close(None).expect("sent");
        assert!(client.read().expect("a close frame").is_close());
        assert_eq!(relay.next_told(), Told::Closed(Ending::Client));
    }

    #[test]
    fn a_pipeline_of_messages_is_answered_in_order() {
        let (_relay, mut client) = relay_client();
        let burst: Vec<u8> = (0..5000).flat_map(|n| text_frame(&format!("message {n}"))).collect();
        let mut sender = client.stream.try_clone().expect("a second handle");
        let sending = std::thread::spawn(move || {
            std::io::Write::write_all(&mut sender, &burst).expect("the relay reads")
        });
        for n in 0..5000 {
            assert_eq!(client.text(), format!("message {n}"));
        }
        sending.join().expect("sent");
    }

    fn relay_client() -> (TestRelay, Client) {
        let relay = relay();
        let client = relay.client();
        (relay, client)
    }

    #[test]
    fn a_message_in_single_bytes_is_one_message() {
        let (_relay, mut client) = relay_client();
        for byte in text_frame("hello") {
            client.send([byte]);
        }
        assert_eq!(client.text(), "hello");
    }

    #[test]
    fn frames_that_came_with_the_handshake_are_not_lost() {
        let relay = relay();
        let mut client = Client::connect(relay.address);
        let mut all = upgrade_request("/").into_bytes();
        all.extend(text_frame("early"));
        all.extend(&text_frame("half")[..5]);
        client.send(all);
        client.head();
        assert_eq!(client.text(), "early");
        client.send(&text_frame("half")[5..]);
        assert_eq!(client.text(), "half");
    }

    #[test]
    fn fragments_are_joined_and_a_ping_between_them_is_answered_first() {
        let (_relay, mut client) = relay_client();
        client.send(client_frame(0x01, MASK, b"one "));
        client.send(client_frame(0x89, MASK, b"are you there"));
        client.send(client_frame(0x00, MASK, b"two "));
        client.send(client_frame(0x8a, MASK, b"unasked"));
        client.send(client_frame(0x80, MASK, b"three"));
        assert_eq!(client.frame(), (0x8a, b"are you there".to_vec()));
        assert_eq!(client.text(), "one two three");
    }

    #[test]
    fn all_messages_of_one_read_are_one_burst() {
        let (relay, mut client) = relay_client();
        // The kernel hands over a segment of loopback whole.
        client.send(["a", "b", "c"].map(text_frame).concat());
        for expected in ["a", "b", "c"] {
            assert_eq!(client.text(), expected);
        }
        assert_eq!(relay.told.recv(), Ok(Told::BurstEnd(3)));
    }

    #[test]
    fn binary_is_told_and_the_connection_stays() {
        let (_relay, mut client) = relay_client();
        client.send(client_frame(0x82, MASK, &[0xff; 10]));
        assert_eq!(client.text(), "binary");
        client.send(text_frame("on"));
        assert_eq!(client.text(), "on");
    }

    #[test]
    fn a_violation_is_answered_with_its_close_code_and_then_the_end() {
        let check = |bytes: &[u8], code| {
            let (relay, mut client) = relay_client();
            client.send(text_frame("before"));
            client.send(bytes);
            assert_eq!(client.text(), "before");
            assert_eq!(client.close_code(), code);
            client.end();
            drop(client);
            assert_eq!(relay.next_told(), Told::Closed(Ending::Violation));
        };
        check(b"\x81\x02hi", 1002);
        check(&client_frame(0xc1, MASK, b"hi"), 1002);
        check(&client_frame(0x80, MASK, b"hi"), 1002);
        check(&client_frame(0x89, MASK, &[0; 126]), 1002);
        check(&client_frame(0x88, MASK, &[1]), 1002);
        check(&client_frame(0x81, MASK, b"\xed\xa0\x80"), 1007);
        check(&[client_frame(0x01, MASK, b"\xc3"), client_frame(0x80, MASK, b"x")].concat(), 1007);
    }

    #[test]
    fn a_character_split_between_fragments_is_whole() {
        let (_relay, mut client) = relay_client();
        client.send(client_frame(0x01, MASK, b"\xc3"));
        client.send(client_frame(0x80, MASK, b"\xa9"));
        assert_eq!(client.text(), "\u{e9}");
    }

    #[test]
    fn too_long_a_message_is_told_and_closed_with_1009_while_others_go_on() {
        let options = NetOptions { message_bytes_max: 1000, ..options() };
        let relay = TestRelay::start(options);
        let mut other = relay.client();
        let mut client = relay.client();
        // Far more than the sockets buffer: the client still sends when the answer is written.
        let huge = text_frame(&"x".repeat(20 << 20));
        let mut sender = client.stream.try_clone().expect("a second handle");
        let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &huge));
        assert_eq!(client.text(), "too long");
        assert_eq!(client.close_code(), 1009);
        client.end();
        assert!(sending.join().expect("no panic").is_ok(), "the rest was read and thrown away");
        drop(client);
        assert_eq!(relay.next_told(), Told::TooLong);
        assert_eq!(relay.next_told(), Told::Closed(Ending::Violation));
        other.send(text_frame(&"x".repeat(1000)));
        assert_eq!(other.text().len(), 1000);
    }

    #[test]
    fn a_close_is_echoed_with_its_code_after_the_answers() {
        for (payload, code) in [(&b"\x03\xe8bye"[..], 1000), (&b"\x0f\xa0"[..], 4000), (b"", 0)] {
            let (relay, mut client) = relay_client();
            client.send([text_frame("last"), client_frame(0x88, MASK, payload)].concat());
            assert_eq!(client.text(), "last");
            assert_eq!(client.close_code(), code);
            client.end();
            assert_eq!(relay.next_told(), Told::Closed(Ending::Client));
        }
    }

    #[test]
    fn a_conversation_can_close_and_later_messages_are_ignored() {
        for command in ["close", "close with reason"] {
            let (relay, mut client) = relay_client();
            client.send(["answer", command, "ignored"].map(text_frame).concat());
            assert_eq!(client.text(), "answer");
            assert_eq!(client.close_code(), 1008);
            client.send([text_frame("ignored"), client_frame(0x88, MASK, b"\x03\xf0")].concat());
            client.end();
            assert_eq!(relay.next_told(), Told::Closed(Ending::Relay));
        }
    }

    #[test]
    fn who_is_left_is_told_and_not_waited_for() {
        let (relay, mut client) = relay_client();
        client.send(["answer", "leave", "ignored"].map(text_frame).concat());
        assert_eq!(client.text(), "answer");
        assert_eq!(client.close_code(), 1008);
        client.end();
        assert_eq!(relay.next_told(), Told::Closed(Ending::Relay));
    }

    #[test]
    fn a_closing_handshake_ends_at_its_deadline() {
        let options = NetOptions { close_deadline: Duration::from_millis(20), ..options() };
        let relay = TestRelay::start(options);
        let mut client = relay.client();
        client.send(text_frame("close"));
        assert_eq!(client.close_code(), 1008);
        client.end();
        assert_eq!(relay.next_told(), Told::Closed(Ending::Relay));
    }

    #[test]
    fn silence_is_counted_from_the_last_byte_and_only_while_reading() {
        let mut silence = Silence::default();
        let check = |silence: &mut Silence, is_reading, expected: &[Remedy]| {
            for remedy in expected {
                assert_eq!(silence.period_over(is_reading), *remedy);
            }
        };
        check(&mut silence, true, &[Remedy::Ping, Remedy::Ping]);
        silence.is_heard = true;
        check(&mut silence, true, &[Remedy::Nothing, Remedy::Ping]);
        check(&mut silence, false, &[Remedy::Ping; 10]);
        check(&mut silence, true, &[Remedy::Ping, Remedy::GiveUp]);
    }

    #[test]
    fn a_silent_client_is_given_up() {
        let options = NetOptions { ping_period: Duration::from_millis(20), ..options() };
        let relay = TestRelay::start(options);
        let mut client = relay.client();
        let mut rest = Vec::new();
        client.stream.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(rest, [0x89, 0, 0x89, 0], "two pings before the end");
        assert_eq!(relay.next_told(), Told::Closed(Ending::Silent));
    }

    #[test]
    fn a_client_that_hangs_up_is_told_as_such() {
        let (relay, client) = relay_client();
        drop(client);
        assert_eq!(relay.next_told(), Told::Closed(Ending::Client));
    }

    #[test]
    fn an_aborted_connection_ends_at_once() {
        let (relay, mut client) = relay_client();
        relay.order(Order::Abort);
        client.end();
        assert_eq!(relay.next_told(), Told::Closed(Ending::Relay));
    }

    #[test]
    fn a_slow_reader_is_dropped_at_the_maximum_and_others_stay_fast() {
        let outbound = OutboundLimits { bytes_high: 8 << 20, bytes_low: 0, bytes_max: 8 << 20 };
        let relay = TestRelay::start(NetOptions { outbound, ..options() });
        let _slow = relay.client();
        let mut fast = relay.client();
        // The kernel buffers some megabytes for the slow one; the queue then grows to its bound.
        let mut pushed = 0;
        let ending = loop {
            relay.order(Order::PushMebibyte);
            pushed += 1;
            assert_eq!(fast.frame().1.len(), 1 << 20);
            fast.send(text_frame("still fast"));
            assert_eq!(fast.text(), "still fast");
            let told = relay.told.try_iter().find(|told| matches!(told, Told::Closed(_)));
            if let Some(ending) = told {
                break ending;
            }
            assert!(pushed < 200, "the slow reader was never dropped");
        };
        assert!(pushed > 8, "dropped below the maximum");
        assert_eq!(ending, Told::Closed(Ending::SlowReader));
        fast.send(text_frame("unharmed"));
        assert_eq!(fast.text(), "unharmed");
    }

    #[test]
    fn who_takes_nothing_of_what_waits_is_given_up_after_a_while() {
        let outbound = OutboundLimits { bytes_high: 1 << 20, bytes_low: 0, bytes_max: 1 << 30 };
        let ping_period = Duration::from_millis(300);
        let relay = TestRelay::start(NetOptions { outbound, ping_period, ..options() });
        let mut slow = relay.client();
        for _ in 0..64 {
            relay.order(Order::PushMebibyte);
        }
        // It is not silent; it only does not read.
        let ending = loop {
            slow.send(text_frame("x"));
            let told = relay.told.recv_timeout(Duration::from_millis(50));
            if let Ok(Told::Closed(ending)) = told {
                break ending;
            }
        };
        assert_eq!(ending, Ending::SlowReader);
    }

    #[test]
    fn when_all_have_too_much_waiting_the_one_who_grows_is_dropped() {
        let outbound = OutboundLimits { bytes_high: 1 << 20, bytes_low: 0, bytes_max: 1 << 30 };
        let backlog = Arc::new(Backlog::new(16 << 20));
        let relay =
            TestRelay::start(NetOptions { outbound, backlog: Arc::clone(&backlog), ..options() });
        let _slow = relay.client();
        for _ in 0..64 {
            relay.order(Order::PushMebibyte);
        }
        let ending = loop {
            // The kernel takes the first megabytes.
            match relay.next_told() {
                Told::Closed(ending) => break ending,
                told => assert_eq!(told, Told::Drained),
            }
        };
        assert_eq!(ending, Ending::SlowReader);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn a_congested_conversation_is_told_when_it_drained() {
        let (relay, mut client) = relay_client();
        client.send(text_frame("pour"));
        assert_eq!(client.text().len(), 1 << 22);
        assert_eq!(relay.next_told(), Told::Drained);
        assert_eq!(client.text(), "drained");
        client.send(text_frame("once"));
        assert_eq!(client.text(), "once");
    }

    #[test]
    fn a_paused_conversation_keeps_what_was_read_and_goes_on_in_order() {
        let (relay, mut client) = relay_client();
        let burst = ["before", "pause", "kept", "pause", "kept too"].map(text_frame).concat();
        let (now, later) = burst.split_at(burst.len() - 3);
        client.send(now);
        assert_eq!(client.text(), "before");
        assert_eq!(relay.next_told(), Told::Paused);
        client.send([later, &text_frame("unread")].concat());
        relay.order(Order::Resume);
        assert_eq!(client.text(), "kept");
        assert_eq!(relay.next_told(), Told::Paused);
        relay.order(Order::Resume);
        assert_eq!(client.text(), "kept too");
        assert_eq!(client.text(), "unread");
    }

    #[test]
    fn who_must_wait_is_left_unread_once_there_is_something_to_read() {
        let (relay, mut client) = relay_client();
        client.send(["wait", "read with it"].map(text_frame).concat());
        assert_eq!(client.text(), "read with it");
        relay.order(Order::PushMebibyte);
        assert_eq!(client.text().len(), 1 << 20, "it is written to meanwhile");
        client.send(text_frame("later"));
        assert_eq!(relay.next_told(), Told::LeftWaiting, "and not before");
        relay.order(Order::PushMebibyte);
        assert_eq!(client.text().len(), 1 << 20);
        relay.order(Order::Resume);
        assert_eq!(client.text(), "later");
    }

    #[test]
    fn a_paused_client_is_not_given_up_and_can_be_closed() {
        let options = NetOptions { ping_period: Duration::from_millis(10), ..options() };
        let mut relay = TestRelay::start(options);
        let mut client = relay.client();
        client.send(["pause", "never read"].map(text_frame).concat());
        for _ in 0..6 {
            assert_eq!(client.frame(), (0x89, Vec::new()));
        }
        relay.begin_shutdown();
        let close = loop {
            let frame = client.frame();
            if frame.0 != 0x89 {
                break frame;
            }
        };
        assert_eq!((close.0, &close.1[..2]), (0x88, &[0x03, 0xe9][..]));
        client.send(client_frame(0x88, MASK, b""));
        client.end();
        assert_eq!(relay.next_told(), Told::Paused);
        assert_eq!(relay.next_told(), Told::Closed(Ending::Relay));
    }

    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Connection>() <= 200, "{} bytes", size_of::<Connection>());
    }
}
