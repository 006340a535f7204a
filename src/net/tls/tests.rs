//! The server of this house over TLS, against rustls as a client: in pieces of every size, slowly,
//! and not at all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::Message;

use super::super::testing::{Client, Order, TestRelay, Told, options};
use super::super::{Ending, NetOptions, OutboundLimits, Wire};
use super::Certificate;

const CERTIFICATE: &[u8] = include_bytes!("../../../tests/chappe/fixtures/tls/localhost.der");
const CHAIN: &[u8] = include_bytes!("../../../tests/chappe/fixtures/tls/localhost.pem");
const KEY: &[u8] = include_bytes!("../../../tests/chappe/fixtures/tls/localhost.key.pem");

fn certificate() -> Certificate {
    Certificate::from_pem(CHAIN, KEY).expect("they are a pair")
}

fn relay(options: NetOptions) -> TestRelay {
    let certificate = Some(Arc::new(certificate()));
    TestRelay::start_speaking(Wire::Encrypted, NetOptions { certificate, ..options })
}

fn session() -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(CERTIFICATE)).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions are known")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

fn connect(relay: &TestRelay) -> Encrypted {
    StreamOwned::new(session(), Client::connect(relay.address).stream)
}

fn websocket(stream: Encrypted) -> tungstenite::WebSocket<Encrypted> {
    tungstenite::client("wss://localhost/", stream).expect("a handshake").0
}

#[test]
fn a_certificate_knows_for_whom_and_until_when_it_is() {
    let certificate = certificate();
    assert!(certificate.ends_at() > certificate.begins_at() + 36_000 * 86_400);
    assert!(!certificate.is_alone(), "it vouches for itself");
    for (host, expected) in
        [("localhost", true), ("127.0.0.1", true), ("relay.test", false), ("", false), ("[", false)]
    {
        assert_eq!(certificate.is_for(host), expected, "{host}");
    }
}

#[test]
fn texts_of_every_size_are_echoed() {
    let relay = relay(options());
    let mut client = websocket(connect(&relay));
    for len in [0, 1, 125, 16_300, 16_384, 16_385, 40_000, 65_536, 300_000, 1 << 20] {
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
    let relay = relay(options());
    let mut client = websocket(connect(&relay));
    for round in 0..20 {
        for n in 0..200 {
            client.write(Message::text(format!("message {round} {n}"))).expect("queued");
        }
        client.flush().expect("sent");
        for n in 0..200 {
            let expected = Message::text(format!("message {round} {n}"));
            assert_eq!(client.read().expect("echoed"), expected);
        }
    }
}

/// A socket that hands on what is written byte by byte.
struct Dripping(TcpStream);

impl Read for Dripping {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Dripping {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn a_handshake_and_records_in_single_bytes_are_understood() {
    let relay = relay(options());
    let stream = Dripping(Client::connect(relay.address).stream);
    let stream = StreamOwned::new(session(), stream);
    let (mut client, _) = tungstenite::client("wss://localhost/", stream).expect("a handshake");
    for text in ["one", "two"] {
        client.send(Message::text(text)).expect("sent");
        assert_eq!(client.read().expect("echoed"), Message::text(text));
    }
}

#[test]
fn what_comes_with_the_last_message_of_the_handshake_is_not_lost() {
    let relay = relay(options());
    let mut stream = connect(&relay);
    // Queued before there is anything to encrypt it with, so it leaves together with that message.
    stream.conn.writer().write_all(b"GET /early HTTP/1.1\r\nHost: r\r\n\r\n").expect("queued");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn a_handshake_has_its_time_whether_it_was_begun_or_not() {
    let mut hello = Vec::new();
    session().write_tls(&mut hello).expect("memory takes all");
    let starts: [&[u8]; 3] = [b"", &hello[..1], &hello[..hello.len() - 1]];
    for start in starts {
        let header_deadline = Duration::from_millis(20);
        let relay = relay(NetOptions { header_deadline, ..options() });
        let mut client = Client::connect(relay.address);
        client.send(start);
        let mut rest = Vec::new();
        // What was not read of us may turn the end into a reset.
        let _ = client.stream.read_to_end(&mut rest);
        assert_eq!(rest, b"", "{} bytes", start.len());
    }
}

#[test]
fn a_client_that_says_more_than_a_record_before_its_handshake_is_hung_up_on() {
    let header_deadline = Duration::from_secs(3_600);
    let relay = relay(NetOptions { header_deadline, ..options() });
    let mut client = Client::connect(relay.address);
    let record = |start: &[u8]| {
        let mut record = [&b"\x16\x03\x01\x40\x00"[..], start].concat();
        record.resize(5 + 16_384, b'x');
        record
    };
    // A message of 64 kilobytes, in records that are whole.
    client.send([record(b"\x01\x00\xff\xfc"), record(b"")].concat());
    let mut rest = Vec::new();
    let ended = client.stream.read_to_end(&mut rest);
    let waited = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(!ended.is_err_and(waited), "it was read on");
}

#[test]
fn a_slow_reader_is_dropped_at_the_maximum_over_tls_too() {
    let outbound = OutboundLimits { bytes_high: 8 << 20, bytes_low: 0, bytes_max: 8 << 20 };
    let relay = relay(NetOptions { outbound, ..options() });
    let _slow = websocket(connect(&relay));
    let mut fast = websocket(connect(&relay));
    let ending = loop {
        relay.order(Order::PushMebibyte);
        assert_eq!(fast.read().expect("a megabyte").len(), 1 << 20);
        let told = relay.told.try_iter().find(|told| matches!(told, Told::Closed(_)));
        if let Some(ending) = told {
            break ending;
        }
    };
    assert_eq!(ending, Told::Closed(Ending::SlowReader));
    fast.send(Message::text("unharmed")).expect("sent");
    assert_eq!(fast.read().expect("echoed"), Message::text("unharmed"));
}

#[test]
fn a_record_that_was_changed_on_the_way_ends_the_connection() {
    let relay = relay(options());
    let mut client = websocket(connect(&relay));
    let stream = client.get_mut();
    stream.conn.writer().write_all(b"anything").expect("queued");
    let mut record = Vec::new();
    stream.conn.write_tls(&mut record).expect("memory takes all");
    *record.last_mut().expect("a record") ^= 1;
    stream.sock.write_all(&record).expect("sent");
    let error = client.read().expect_err("an alert");
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    assert_eq!(relay.next_told(), Told::Closed(Ending::Lost));
}
