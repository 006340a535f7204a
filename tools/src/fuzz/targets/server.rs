//! A running server and its sockets: sequences of messages on several connections, broken frames
//! and broken HTTP. Every message gets its documented answer, nothing else comes, nobody sees what
//! is not for them, and nothing stays behind when the connections are gone.
//!
//! An input is steps with the byte 0x1e between them: messages, and orders such as `!on 1`.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chappe::config::Settings;
use chappe::nostr::{ClientMessage, Event, Filter, Kind, MessageError};
use chappe::server::Server;
use chappe::store::{Durability, Store, StoreOptions};
use fastrand::Rng;
use tempfile::TempDir;

use super::{Target, damaged};
use crate::dataset::choose;
use crate::fuzz::grammar::{self, word};
use crate::fuzz::mutate::{WORDS, mutate};
use crate::fuzz::tree::Tree;

pub(super) struct Served {
    server: Option<Server>,
    address: String,
    known: Vec<Tree>,
    cases: u64,
    _folder: TempDir,
}

impl Served {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let mut settings = Settings::default();
        settings.server.listen = ([127, 0, 0, 1], 0).into();
        settings.server.threads = 2;
        settings.limits.max_subscriptions = 12;
        settings.limits.max_reconciliations = 2;
        let options =
            StoreOptions { map_bytes: Some(1 << 30), durability: Durability::Lazy, salt: [9; 16] };
        let store = Store::open(folder.path(), &options).expect("a store can be made");
        let server = Server::start(super::server_settings(&settings), store, &[]);
        let server = server.expect("a server can be started");
        let address = server.local_addr().to_string();
        let events = grammar::signed(300, "", &mut Rng::with_seed(6));
        let known = events.iter().map(grammar::tree_of).collect();
        Self { server: Some(server), address, known, cases: 0, _folder: folder }
    }

    /// Nothing is open when nobody is there.
    fn expect_nothing_left(&self) {
        let Some(server) = &self.server else { return };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let open: Vec<[u64; 2]> = server
                .metrics()
                .iter()
                .map(|it| {
                    let opened = it.connections_opened_total.total();
                    let subscribed = it.subscriptions_opened_total.total();
                    [
                        opened.wrapping_sub(it.connections_closed_total.total()),
                        subscribed.wrapping_sub(it.subscriptions_closed_total.total()),
                    ]
                })
                .collect();
            if open.iter().flatten().all(|count| *count == 0) {
                return;
            }
            assert!(Instant::now() < deadline, "connections and subscriptions left: {open:?}");
            std::thread::yield_now();
        }
    }

    fn send_http(&self, request: &[u8]) {
        let mut stream = connect(&self.address);
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let is_answer = answer.is_empty() || answer.starts_with(b"HTTP/1.");
        assert!(is_answer, "{}", String::from_utf8_lossy(&answer));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // A server that cannot stop was noticed by its panic.
            let _ = server.stop();
        }
    }
}

impl Target for Served {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut steps: Vec<Vec<u8>> = Vec::new();
        for _ in 0..rng.usize(1..24) {
            let (mut text, mut other) = (String::new(), String::new());
            grammar::message(&self.known, rng).spell(rng, &mut text);
            choose(rng, &self.known).spell(rng, &mut other);
            steps.push(match rng.u8(..12) {
                0 => format!("!on {}", rng.u8(..3)).into_bytes(),
                1 => format!("!auth {}", rng.u8(1..6)).into_bytes(),
                2 if rng.u8(..3) == 0 => [b"!http ".to_vec(), http_request(rng)].concat(),
                3 if rng.u8(..3) == 0 => [b"!raw ".to_vec(), raw_frames(rng)].concat(),
                4 => format!("!publish {} {}", rng.u8(1..6), rng.u32(..)).into_bytes(),
                5 | 6 => damaged(text, other.as_bytes(), rng),
                _ => text.into_bytes(),
            });
        }
        steps.join(&SEPARATOR)
    }

    fn check(&mut self, input: &[u8]) {
        let mut clients: BTreeMap<u8, Client> = BTreeMap::new();
        let mut current = 0;
        for step in input.split(|byte| *byte == SEPARATOR) {
            let client = clients.entry(current).or_insert_with(|| Client::open(&self.address));
            let text = String::from_utf8_lossy(step);
            let order = text.strip_prefix('!').and_then(|order| order.split_once(' '));
            match order {
                None => client.say(&text),
                Some(("on", number)) => current = number.parse().unwrap_or(0) % 3,
                Some(("auth", number)) => client.prove(number.parse().unwrap_or(1)),
                Some(("publish", number)) => {
                    let (author, salt) = number.split_once(' ').unwrap_or(("1", "0"));
                    client.publish(author.parse().unwrap_or(1), salt);
                }
                Some(("http", _)) => self.send_http(&step[b"!http ".len()..]),
                Some(("raw", _)) => Client::open(&self.address).abuse(&step[b"!raw ".len()..]),
                Some(_) => {}
            }
        }
        for client in clients.values_mut() {
            client.settle();
        }
        drop(clients);
        self.cases += 1;
        if self.cases % 64 == 1 {
            self.expect_nothing_left();
        }
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts connections");
    stream.set_nodelay(true).expect("TCP has no delay option");
    stream.set_read_timeout(Some(PATIENCE)).expect("time-outs are supported");
    stream
}

/// One websocket, and what it still has to hear.
struct Client {
    stream: TcpStream,
    address: String,
    challenge: String,
    received: Vec<u8>,
    /// How often an OK about this id is due.
    verdicts: BTreeMap<String, i64>,
    notices: i64,
    /// By the verb's family and the name: what may come, and how much of it must.
    answers: BTreeMap<(Family, String), Due>,
    asked: Vec<(String, Vec<Filter>)>,
    keys: HashSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    /// REQ and COUNT: EOSE, COUNT, CLOSED.
    Question,
    /// NEG-MSG, NEG-ERR.
    Reconciliation,
}

/// How many answers to questions of one name are due.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    most: i64,
    /// Those that come in any case.
    least: i64,
    /// Whether the last question may be ended without an answer by what follows.
    is_open: bool,
    came: i64,
}

impl Due {
    /// A question that a later one of the same name silences.
    fn ask(&mut self) {
        self.end();
        self.most += 1;
        self.is_open = true;
    }

    /// A question that is answered in any case.
    fn ask_surely(&mut self) {
        self.most += 1;
        self.least += 1;
    }

    /// Whatever is open under the name is over.
    fn end(&mut self) {
        self.is_open = false;
    }

    fn is_settled(&self) -> bool {
        self.came >= self.least + i64::from(self.is_open)
    }
}

impl Client {
    fn open(address: &str) -> Client {
        let mut stream = connect(address);
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("the server reads");
        let mut client = Client {
            stream,
            address: address.to_owned(),
            challenge: String::new(),
            received: Vec::new(),
            verdicts: BTreeMap::new(),
            notices: 0,
            answers: BTreeMap::new(),
            asked: Vec::new(),
            keys: HashSet::new(),
        };
        let end = loop {
            if let Some(at) = memchr::memmem::find(&client.received, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(client.read_more(), "the upgrade is answered");
        };
        assert!(client.received.starts_with(b"HTTP/1.1 101"));
        client.received.drain(..end);
        let Tree::List(greeting) = client.next() else { panic!("a message is a list") };
        assert_eq!(greeting[0].text(), Some("AUTH"));
        client.challenge = greeting[1].text().expect("a challenge is text").to_owned();
        client
    }

    fn say(&mut self, text: &str) {
        let name = |id: &chappe::nostr::SubscriptionId| id.to_text().into_owned();
        match ClientMessage::parse(text) {
            Ok(ClientMessage::Event(event) | ClientMessage::Auth(event)) => {
                *self.verdicts.entry(event.id.to_string()).or_default() += 1;
            }
            Ok(ClientMessage::Req { subscription, filters }) => {
                self.due(Family::Question, &name(&subscription)).ask();
                self.asked.push((name(&subscription), filters));
            }
            Ok(ClientMessage::Count { query, .. }) => {
                let due = self.due(Family::Question, &name(&query));
                due.ask_surely();
                // A refused one ends the subscription of its name.
                due.end();
            }
            Ok(ClientMessage::Close { subscription }) => {
                self.due(Family::Question, &name(&subscription)).end();
            }
            Ok(ClientMessage::NegOpen { subscription, .. }) => {
                self.due(Family::Reconciliation, &name(&subscription)).ask();
            }
            Ok(ClientMessage::NegMsg { subscription, .. }) => {
                self.due(Family::Reconciliation, &name(&subscription)).ask();
            }
            Ok(ClientMessage::NegClose { subscription }) => {
                self.due(Family::Reconciliation, &name(&subscription)).end();
            }
            Err(MessageError::Notice(_)) => self.notices += 1,
            Err(MessageError::Ok { id, .. }) => *self.verdicts.entry(id).or_default() += 1,
            Err(MessageError::Closed { subscription, .. }) => {
                let due = self.due(Family::Question, &subscription);
                due.ask_surely();
                due.end();
            }
            Err(MessageError::NegErr { subscription, .. }) => {
                let due = self.due(Family::Reconciliation, &subscription);
                due.ask_surely();
                due.end();
            }
        }
        self.send(0x81, text.as_bytes());
    }

    fn due(&mut self, family: Family, name: &str) -> &mut Due {
        self.answers.entry((family, name.to_owned())).or_default()
    }

    fn prove(&mut self, number: u8) {
        let pair = grammar::keypair(number);
        let tag = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
        let url = format!("ws://{}/", self.address);
        let tags = [tag("relay", &url), tag("challenge", &self.challenge)];
        let proof = pair.sign_event(now(), Kind(22_242), &tags, "");
        self.keys.insert(pair.public_key().to_string());
        self.say(&message_of("AUTH", &proof));
    }

    /// Publishes something nobody has seen.
    fn publish(&mut self, number: u8, salt: &str) {
        let other = grammar::keypair(number % 5 + 1).public_key().to_string();
        let kinds = [1, 4, 1_059, 5, 0, 20_001];
        let kind = kinds[salt.len() * 7 % kinds.len()];
        let tags = [vec!["p".to_owned(), other], vec!["t".to_owned(), "a".to_owned()]];
        let event = grammar::keypair(number).sign_event(now(), Kind(kind), &tags, salt);
        self.say(&message_of("EVENT", &event));
    }

    /// Sends bytes that may mean anything, and hangs up.
    fn abuse(mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        while self.read_more() {
            self.received.clear();
        }
    }

    /// Waits until every answer has come, then makes sure that nothing else does.
    fn settle(&mut self) {
        loop {
            let is_settled = self.notices == 0
                && self.verdicts.values().all(|due| *due == 0)
                && self.answers.values().all(Due::is_settled);
            if is_settled {
                break;
            }
            self.take_next();
        }
        let fence = r#"["CLOSE","fence"]"#;
        self.say(fence);
        self.say(r#"["NEG-MSG","fence","61"]"#);
        while !self.answers[&(Family::Reconciliation, "fence".to_owned())].is_settled() {
            self.take_next();
        }
    }

    fn take_next(&mut self) {
        let message = self.next();
        let items = message.list().expect("a message is a list");
        let text = |place: usize| items.get(place).and_then(Tree::text);
        let name = text(1).unwrap_or_default().to_owned();
        let came = |due: Option<&mut Due>| {
            let due = due.unwrap_or_else(|| panic!("nobody asked for {message:?}"));
            due.came += 1;
            assert!(due.came <= due.most, "one answer too many: {message:?}");
        };
        match text(0).expect("a message has a verb") {
            "NOTICE" => {
                self.notices -= 1;
                assert!(self.notices >= 0, "nobody asked for {message:?}");
            }
            "OK" => {
                let due = self.verdicts.get_mut(&name);
                let due = due.unwrap_or_else(|| panic!("nobody asked for {message:?}"));
                *due -= 1;
                assert!(*due >= 0, "one answer too many: {message:?}");
                assert_eq!(items.len(), 4);
            }
            "EOSE" | "CLOSED" | "COUNT" => {
                came(self.answers.get_mut(&(Family::Question, name)));
            }
            "NEG-MSG" | "NEG-ERR" => {
                came(self.answers.get_mut(&(Family::Reconciliation, name)));
            }
            "EVENT" => self.expect_right(&name, &items[2]),
            other => panic!("a message begins with {other}"),
        }
    }

    /// An event that is delivered was asked for, and is for this client.
    fn expect_right(&self, name: &str, event: &Tree) {
        let mut json = String::new();
        event.spell(&mut Rng::with_seed(0), &mut json);
        let event = Event::parse(json.as_bytes()).expect("what is delivered is an event");
        let is_wanted = |filter: &Filter| filter.matches(&event.view());
        let mut asked = self.asked.iter().filter(|(known, _)| known == name);
        assert!(asked.any(|(_, filters)| filters.iter().any(is_wanted)), "{name}: {event:?}");
        if [4, 1_059, 21_059].contains(&event.kind.0) {
            let is_own = |key: &String| *key == event.pubkey.to_string();
            let has = |value: chappe::nostr::Value<'_>| self.keys.contains(&*value.to_text());
            let is_addressed = event.view().values_of(b'p').any(has);
            assert!(is_addressed || self.keys.iter().any(is_own), "not for this one: {event:?}");
        }
    }

    /// Returns the next message.
    fn next(&mut self) -> Tree {
        loop {
            if let Some((head, payload)) = take_frame(&mut self.received) {
                assert_eq!(head, 0x81, "a text, whole, not compressed");
                return Tree::parse(&payload).expect("messages are JSON");
            }
            assert!(self.read_more(), "unanswered: {:?} {:?}", self.verdicts, self.answers);
        }
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                count > 0
            }
            Err(_) => false,
        }
    }

    fn send(&mut self, head: u8, payload: &[u8]) {
        let mut frame = Vec::new();
        push_frame(head, payload, &mut frame);
        self.stream.write_all(&frame).expect("the server reads");
    }
}

/// Appends a client's frame; a mask of zeros is legal.
fn push_frame(head: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(head);
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ ..65_536 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend_from_slice(payload);
}

/// Takes a server's whole frame from the front.
fn take_frame(received: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let [head, short, rest @ ..] = &received[..] else { return None };
    let (wide, len) = match short {
        126 => (2, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (8, u64::from_be_bytes(*rest.first_chunk()?)),
        short => (0, u64::from(*short)),
    };
    let end = 2 + wide + usize::try_from(len).ok()?;
    if received.len() < end {
        return None;
    }
    let (head, payload) = (*head, received[2 + wide..end].to_vec());
    received.drain(..end);
    Some((head, payload))
}

fn message_of(verb: &str, event: &Event) -> String {
    let mut message = format!("[\"{verb}\",").into_bytes();
    event.view().write_json(&mut message);
    message.push(b']');
    String::from_utf8(message).expect("events are text")
}

fn http_request(rng: &mut Rng) -> Vec<u8> {
    let method = word(rng, &["GET", "OPTIONS", "HEAD", "POST", "PUT", "get"]);
    let path =
        word(rng, &["/", "/?a=b", "/nostr", "*", "http://x/", "/.well-known/nostr.json", "//"]);
    let version = word(rng, &["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", ""]);
    let mut text = format!("{method} {path} {version}\r\n");
    for _ in 0..rng.usize(..6) {
        text += word(rng, &HEADERS);
        text += word(rng, &["\r\n", "\r\n", "\r\n", "\n"]);
    }
    text += "\r\n";
    damaged(text, HEADERS.join("\r\n").as_bytes(), rng)
        .into_iter()
        .map(|byte| if byte == SEPARATOR { b' ' } else { byte })
        .collect()
}

fn raw_frames(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(1..4) {
        let head = *choose(rng, &[0x81, 0x01, 0x80, 0x82, 0x88, 0x89, 0x8a, 0xc1, 0x8b]);
        push_frame(head, grammar::text(rng).as_bytes(), &mut bytes);
    }
    let other = bytes.clone();
    mutate(&mut bytes, &other, &WORDS, rng);
    bytes.retain(|byte| *byte != SEPARATOR);
    bytes
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const SEPARATOR: u8 = 0x1e;
/// How long an answer may take.
/// A run at the lowest priority may wait for its turn for long.
const PATIENCE: Duration = Duration::from_secs(60);
const HEADERS: [&str; 12] = [
    "Host: localhost",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Connection: keep-alive, upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Key: x",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Version: 12",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    "Accept: application/nostr+json",
    "Content-Length: 18446744073709551616",
    "Transfer-Encoding: chunked",
];
