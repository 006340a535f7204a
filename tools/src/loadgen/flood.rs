//! A flood from many addresses, and what a well-behaved client notices of it.
//!
//! The flood comes from 127.0.1.1, 127.0.1.2 and so on, so the relay must measure clients of its own
//! machine (`guard.exempt` and `server.trusted_proxies` empty). Each address does what a [`Means`]
//! says, faster than any rate of the defaults allows. The flood is made by one thread, which takes a
//! part of the same machine. The well-behaved client has a machine of its own in the world; where it
//! has none it waits for this one's processors, and how late it sends for that is told. Under
//! `chrt --reset-on-fork --fifo 1` its thread comes before all others, and that one's does not.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::answer::{self, Answer};
use super::client::Client;
use super::command::Target;
use super::fresh::Author;
use super::pace::{Latencies, Pace};
use super::report::Row;
use super::wire;
use crate::Failure;

/// What a flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Means {
    /// Forged events and questions by turns
    Mixed,
    /// Events with a wrong signature
    Forging,
    /// Questions with long answers
    Asking,
    /// Valid events, each another one
    Publishing,
    /// Connections that are left again at once
    Connecting,
}

/// How to flood, and what meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Flooding {
    /// By what.
    pub(crate) means: Means,
    /// How many addresses flood.
    pub(crate) addresses: u16,
    /// Messages that each of them sends in a second.
    pub(crate) each: u32,
    /// Messages of the well-behaved client in a second.
    pub(crate) rate: f64,
    /// How long each part takes.
    pub(crate) period: Duration,
}

/// Measures a well-behaved client in calm, and in the flood.
pub(crate) fn flood(target: &Target, flooding: &Flooding) -> Result<Vec<Row>, Failure> {
    let mut good = Good::connect(target)?;
    let calm = good.measure(target, flooding, "a good client, calm")?;
    let to = target.address.socket()?;
    let stop = Arc::<AtomicBool>::default();
    let flood = Flood {
        flooding: *flooding,
        to,
        rounds: rounds(flooding),
        next: 0,
        stop: Arc::clone(&stop),
    };
    let thread: JoinHandle<Flooded> = std::thread::spawn(move || flood.run());
    let row = good.measure(target, flooding, "a good client, in the flood");
    stop.store(true, Ordering::Relaxed);
    let flooded = thread.join().map_err(|_| "the flood ended by a panic")?;
    let mut row = row?;
    row.notes.push(format!(
        "{} addresses: {} connections, {} refused, {} messages",
        flooding.addresses, flooded.connected, flooded.refused, flooded.messages
    ));
    Ok(vec![calm, row])
}

/// A well-behaved client: publishes and asks in turns.
struct Good {
    client: Client,
    author: Author,
    sent: u64,
}

impl Good {
    fn connect(target: &Target) -> Result<Good, Failure> {
        let client = Client::connect(&target.address, 1)?;
        let author = Author::several(1).remove(0);
        Ok(Good { client, author, sent: 0 })
    }

    fn measure(
        &mut self,
        target: &Target,
        flooding: &Flooding,
        work: &str,
    ) -> Result<Row, Failure> {
        let mut pace = Pace::start(Some(flooding.rate));
        let mut latencies = Latencies::new(Some(flooding.rate))?;
        let mut lateness = Latencies::new(Some(flooding.rate))?;
        let mut refused = 0;
        let mut waiting: HashMap<u64, Instant> = HashMap::new();
        let meter = target.meter()?;
        let start = Instant::now();
        let mut answered_at = start;
        while start.elapsed() < flooding.period || !waiting.is_empty() {
            while start.elapsed() < flooding.period
                && let Some(due) = pace.due(Instant::now())
            {
                pace.advance();
                self.sent += 1;
                waiting.insert(self.send(), due);
                lateness.add(due.elapsed());
            }
            self.client.flush()?;
            let (mut ended, mut over) = (Vec::new(), Vec::new());
            self.client.turn(pace.wait(Instant::now()), &mut |_, text| match Answer::of(text) {
                Answer::Ok { id, is_accepted, .. } => {
                    refused += u64::from(!is_accepted);
                    ended.extend(answer::number(id));
                }
                Answer::Eose(name) => {
                    ended.extend(number_of(name));
                    over.push(name.to_vec());
                }
                Answer::Closed { subscription, .. } => {
                    refused += 1;
                    ended.extend(number_of(subscription));
                }
                _ => {}
            })?;
            for name in over {
                self.client.push(0, &[b"[\"CLOSE\",\"", &name, b"\"]"]);
            }
            for number in ended {
                if let Some(due) = waiting.remove(&number) {
                    latencies.add(due.elapsed());
                    answered_at = Instant::now();
                }
            }
            if !waiting.is_empty() && answered_at.elapsed() > target.patience {
                return Err(format!("{work}: no answer").into());
            }
        }
        let mut row = meter.row(work, latencies.count())?;
        row.latencies = latencies.quantiles();
        if let Some(late) = lateness.quantiles() {
            row.notes.push(format!("sent late: p99 {:.1} ms", late.p99.as_secs_f64() * 1e3));
        }
        if refused > 0 {
            row.faults.push(format!("{refused} refusals of what a good client does"));
        }
        Ok(row)
    }

    /// Sends the next message; returns the number that its answer will have.
    fn send(&mut self) -> u64 {
        if self.sent.is_multiple_of(2) {
            let note = self.author.note();
            self.client.push(0, &[b"[\"EVENT\",", &note.json, b"]"]);
            return note.number;
        }
        let name = format!("g{:015x}", self.sent);
        self.client
            .push(0, &[b"[\"REQ\",\"", name.as_bytes(), b"\",{\"kinds\":[1],\"limit\":20}]"]);
        number_of(name.as_bytes()).unwrap_or_default()
    }
}

/// The number of a subscription of the good client; those of events are as good as never so small.
fn number_of(name: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(name.strip_prefix(b"g")?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

/// Messages that one address sends at a time.
const ROUND_MESSAGES: u32 = 2;
/// Events that are signed before the flood begins; then they are sent again.
const SIGNED_MAX: usize = 40_000;

/// Returns what is sent at a time, one after the other; nothing if there are connections alone.
fn rounds(flooding: &Flooding) -> Vec<Vec<u8>> {
    let mut author = Author::several(1).remove(0);
    let mut frames = Vec::new();
    let mut event = |frames: &mut Vec<u8>, is_forged: bool| {
        let mut json = author.note().json;
        let signature = memchr::memmem::find(&json, b"\"sig\":\"").filter(|_| is_forged);
        if let Some(at) = signature {
            // Any other digit makes it wrong.
            json[at + 7] = if json[at + 7] == b'0' { b'1' } else { b'0' };
        }
        wire::write_text(frames, &[b"[\"EVENT\",", &json, b"]"]);
    };
    let ask = |frames: &mut Vec<u8>| {
        wire::write_text(frames, &[b"[\"REQ\",\"f\",{\"limit\":500}]"]);
    };
    match flooding.means {
        Means::Mixed => {
            event(&mut frames, true);
            ask(&mut frames);
        }
        Means::Forging => (0..ROUND_MESSAGES).for_each(|_| event(&mut frames, true)),
        Means::Asking => (0..ROUND_MESSAGES).for_each(|_| ask(&mut frames)),
        Means::Publishing => {
            let count = flooding.period.as_secs_f64()
                * f64::from(flooding.each)
                * f64::from(flooding.addresses);
            let round = |_| {
                let mut frames = Vec::new();
                (0..ROUND_MESSAGES).for_each(|_| event(&mut frames, false));
                frames
            };
            return (0..(count as usize).min(SIGNED_MAX)).map(round).collect();
        }
        Means::Connecting => return Vec::new(),
    }
    vec![frames]
}

/// The thread that floods.
struct Flood {
    flooding: Flooding,
    to: SocketAddr,
    /// What is sent at a time, and which comes next.
    rounds: Vec<Vec<u8>>,
    next: usize,
    stop: Arc<AtomicBool>,
}

/// What the flood came to.
#[derive(Default)]
struct Flooded {
    connected: u64,
    refused: u64,
    messages: u64,
}

impl Flood {
    fn run(mut self) -> Flooded {
        let mut flooded = Flooded::default();
        let count = usize::from(self.flooding.addresses);
        let mut sockets: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
        let each = f64::from(self.flooding.each.max(1));
        let round = Duration::from_secs_f64(f64::from(ROUND_MESSAGES) / each);
        let mut due = Instant::now();
        let mut buffer = vec![0; 1 << 16];
        while !self.stop.load(Ordering::Relaxed) {
            for (place, slot) in sockets.iter_mut().enumerate() {
                let Some(socket) = slot else {
                    *slot = self.connect(place);
                    flooded.connected += u64::from(slot.is_some());
                    flooded.refused += u64::from(slot.is_none());
                    continue;
                };
                if !self.send(socket, &mut flooded) || is_over(socket, &mut buffer) {
                    *slot = None;
                }
            }
            due += round;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due = due.max(Instant::now() - round);
        }
        flooded
    }

    /// Sends what comes next; returns whether the connection is still good for more.
    fn send(&mut self, socket: &mut TcpStream, flooded: &mut Flooded) -> bool {
        if self.rounds.is_empty() {
            return false;
        }
        let frames = &self.rounds[self.next % self.rounds.len()];
        match socket.write(frames) {
            Ok(written) if written == frames.len() => {
                flooded.messages += u64::from(ROUND_MESSAGES);
                self.next += 1;
                true
            }
            // A part of a frame would be something else: the rest follows when it can.
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Opens a websocket from one of the addresses, without waiting for the answer.
    fn connect(&self, place: usize) -> Option<TcpStream> {
        let number = u32::try_from(place).ok()? + 1;
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 1, 0)) + number);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
        socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into()).ok()?;
        socket.connect_timeout(&self.to.into(), Duration::from_millis(50)).ok()?;
        let mut stream = TcpStream::from(socket);
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.to
        );
        stream.write_all(request.as_bytes()).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(stream)
    }
}

/// Reads what there is; returns whether the connection is over.
fn is_over(socket: &mut TcpStream, buffer: &mut [u8]) -> bool {
    match socket.read(buffer) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}
