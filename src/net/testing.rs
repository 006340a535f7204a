//! A relay for the tests of this folder that echoes, and clients made by hand.
//!
//! The server runs on a thread of its own; clients are blocking, and every read of them has a
//! deadline, so a hanging test fails instead.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{
    Backlog, CloseCode, Conversation, Encoding, Ending, Flow, Gate, Listening, NetOptions,
    Outbound, OutboundLimits, Pass, Places, Refusal, RequestHead, Response, Site, Trust, Wire,
};

/// Returns the seed of a random test: `SEED` of the environment, or a random one.
pub(super) fn print_seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}

/// Builds a client's frame byte by byte.
pub(super) fn client_frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
    frame
}

pub(super) fn text_frame(text: &str) -> Vec<u8> {
    client_frame(0x81, [0x37, 0xfa, 0x21, 0x3d], text.as_bytes())
}

pub(super) fn options() -> NetOptions {
    NetOptions {
        message_bytes_max: 1 << 20,
        outbound: OutboundLimits { bytes_high: 1 << 21, bytes_low: 1 << 18, bytes_max: 32 << 20 },
        header_deadline: DEADLINE,
        ping_period: DEADLINE,
        close_deadline: DEADLINE,
        encoding: Encoding::Deflate,
        certificate: None,
        places: Arc::new(Places::new(100)),
        backlog: Arc::new(Backlog::new(usize::MAX)),
        traffic: Arc::default(),
    }
}

/// What the test relay tells the test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Paused,
    LeftWaiting,
    TooLong,
    BurstEnd(usize),
    Drained,
    Closed(Ending),
}

/// What the test asks of all connections of the test relay.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Resume,
    PushMebibyte,
    Abort,
}

/// A gate that everybody passes.
struct Open;

impl Gate for Open {
    fn trust(&self, _: std::net::IpAddr) -> Trust {
        Trust::Client
    }

    fn enter(&self, _: std::net::IpAddr) -> Result<Pass, Refusal> {
        Ok(Box::new(()))
    }
}

pub(super) struct TestRelay {
    pub(super) address: SocketAddr,
    pub(super) told: mpsc::Receiver<Told>,
    orders: tokio::sync::mpsc::UnboundedSender<Order>,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl TestRelay {
    pub(super) fn start(options: NetOptions) -> Self {
        TestRelay::start_speaking(Wire::Plain, options)
    }

    pub(super) fn start_speaking(wire: Wire, options: NetOptions) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = super::listen(address, 1).expect("a free port").remove(0);
        let address = listener.local_addr().expect("bound");
        let (tell, told) = mpsc::channel();
        let (orders, order_inbox) = tokio::sync::mpsc::unbounded_channel();
        let (shutdown, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
            let outbounds = Rc::new(RefCell::new(Vec::new()));
            let accept_outbounds = Rc::clone(&outbounds);
            let accept = move |_, outbound: Outbound| -> Box<dyn Conversation> {
                accept_outbounds.borrow_mut().push(outbound.clone());
                Box::new(Echo { outbound, tell: tell.clone(), burst: 0, must_wait: false })
            };
            let relay = async move {
                tokio::task::spawn_local(obey(order_inbox, outbounds));
                let stopped = async { drop(stopped.await) };
                let options = Rc::new(RefCell::new(options));
                let listeners = vec![Listening { socket: listener, wire }];
                let site = Rc::new(Page);
                super::serve(listeners, site, Rc::new(Open), accept, options, stopped).await
            };
            tokio::task::LocalSet::new().block_on(&runtime, relay).expect("served");
        });
        TestRelay { address, told, orders, shutdown: Some(shutdown), thread: Some(thread) }
    }

    pub(super) fn order(&self, order: Order) {
        self.orders.send(order).expect("the relay runs");
    }

    /// Waits for the next thing told that is not a burst's end.
    pub(super) fn next_told(&self) -> Told {
        loop {
            match self.told.recv_timeout(DEADLINE).expect("something told in time") {
                Told::BurstEnd(_) => {}
                told => return told,
            }
        }
    }

    /// Asks for the end without waiting for it.
    pub(super) fn begin_shutdown(&mut self) {
        drop(self.shutdown.take());
    }

    pub(super) fn client(&self) -> Client {
        let mut client = Client::connect(self.address);
        client.upgrade("/");
        client
    }

    pub(super) fn tungstenite(&self) -> tungstenite::WebSocket<TcpStream> {
        let stream = Client::connect(self.address).stream;
        tungstenite::client(format!("ws://{}/", self.address), stream).expect("a handshake").0
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        self.begin_shutdown();
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the relay panicked");
        }
    }
}

async fn obey(
    mut orders: tokio::sync::mpsc::UnboundedReceiver<Order>,
    outbounds: Rc<RefCell<Vec<Outbound>>>,
) {
    let mebibyte = super::Bytes::from({
        let mut frame = Vec::new();
        super::write_text_frame(&mut frame, |out| out.resize(out.len() + (1 << 20), b'x'));
        frame
    });
    while let Some(order) = orders.recv().await {
        for outbound in outbounds.borrow().iter() {
            match order {
                Order::Resume => outbound.resume_reading(),
                Order::PushMebibyte => outbound.push_frames(mebibyte.clone()),
                Order::Abort => outbound.abort(),
            }
        }
    }
}

/// Echoes text; some texts are commands.
struct Echo {
    outbound: Outbound,
    tell: mpsc::Sender<Told>,
    burst: usize,
    must_wait: bool,
}

impl Echo {
    fn tell(&self, told: Told) {
        // The test may be over already.
        let _ = self.tell.send(told);
    }
}

impl Conversation for Echo {
    fn must_wait(&self) -> bool {
        self.must_wait
    }

    fn left_waiting(&mut self) {
        self.must_wait = false;
        self.outbound.pause_reading();
        self.tell(Told::LeftWaiting);
    }

    fn written(&mut self, _: usize) {}

    fn text(&mut self, message: &str) -> Flow {
        self.burst += 1;
        match message {
            "pause" => {
                self.tell(Told::Paused);
                return Flow::Pause;
            }
            "wait" => self.must_wait = true,
            "close" => return Flow::Close(CloseCode::Policy),
            "leave" => return Flow::Leave(CloseCode::Policy),
            "close with reason" => self.outbound.close(CloseCode::Policy, "because"),
            "pour" => self.outbound.push_text_with(|out| out.resize(out.len() + (1 << 22), b'y')),
            echoed => self.outbound.push_text(echoed.as_bytes()),
        }
        Flow::Continue
    }

    fn binary(&mut self) -> Flow {
        self.outbound.push_text(b"binary");
        Flow::Continue
    }

    fn too_long(&mut self) {
        self.outbound.push_text(b"too long");
        self.tell(Told::TooLong);
    }

    fn burst_end(&mut self) -> Flow {
        self.tell(Told::BurstEnd(self.burst));
        self.burst = 0;
        Flow::Continue
    }

    fn drained(&mut self) {
        self.outbound.push_text(b"drained");
        self.tell(Told::Drained);
    }

    fn closed(&mut self, ending: Ending) {
        self.tell(Told::Closed(ending));
    }
}

/// Answers with what it saw.
struct Page;

impl Site for Page {
    fn respond(&self, request: &RequestHead) -> Response {
        let is_info = request.accepts("application/nostr+json");
        let seen = format!("{} {} {is_info}", request.method(), request.path());
        Response::text(200, &seen)
    }
}

/// A client made by hand, byte by byte.
pub(super) struct Client {
    pub(super) stream: TcpStream,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the relay listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream.set_write_timeout(Some(DEADLINE)).expect("a deadline");
        stream.set_nodelay(true).expect("no delay");
        Client { stream }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the relay reads");
    }

    /// Reads one HTTP answer's head, to the empty line.
    pub(super) fn head(&mut self) -> String {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && self.stream.read(&mut byte).expect("a head") == 1 {
            head.push(byte[0]);
        }
        String::from_utf8(head).expect("text")
    }

    pub(super) fn upgrade(&mut self, target: &str) {
        self.send(upgrade_request(target));
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    /// Reads one frame of the server: its first byte and its payload.
    pub(super) fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).expect("a frame");
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len).expect("a length");
                usize::from(u16::from_be_bytes(len))
            }
            127 => {
                let mut len = [0; 8];
                self.stream.read_exact(&mut len).expect("a length");
                u64::from_be_bytes(len) as usize
            }
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).expect("a payload");
        (head[0], payload)
    }

    pub(super) fn text(&mut self) -> String {
        let (first, payload) = self.frame();
        assert_eq!(first, 0x81, "{payload:?}");
        String::from_utf8(payload).expect("text")
    }

    /// Reads a close frame and returns its code, 0 without one.
    pub(super) fn close_code(&mut self) -> u16 {
        let (first, payload) = self.frame();
        assert_eq!(first, 0x88, "{payload:?}");
        payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code))
    }

    /// Reads to the end of the stream; the relay must have hung up in order.
    pub(super) fn end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(rest, b"", "bytes before the end");
    }
}

pub(super) fn upgrade_request(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: relay\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Long enough for a busy machine; only a failing test waits it out.
const DEADLINE: Duration = Duration::from_secs(20);
