//! The client against the server of this house, against servers made by hand, over TLS and SOCKS5.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::super::testing::{TestRelay, options as server_options};
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/chappe/fixtures/tls/localhost.der");
const SECRET: &[u8] = include_bytes!("../../../tests/chappe/fixtures/tls/localhost.key.der");

fn options() -> ClientOptions {
    let direct = Route {
        proxy: None,
        connect_deadline: PATIENCE,
        answer_deadline: PATIENCE,
        places: Arc::new(tokio::sync::Semaphore::new(1)),
    };
    ClientOptions {
        message_bytes_max: 8 << 20,
        outbound_bytes_max: 8 << 20,
        routes: Arc::new(Routes {
            clearnet: direct.clone(),
            tor: direct.clone(),
            i2p: direct.clone(),
            lokinet: direct,
        }),
        roots: Roots::only(CertificateDer::from(CERTIFICATE)),
        ping_period: PATIENCE,
        encoding: Encoding::Deflate,
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

async fn texts(client: &mut Client, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        let mut sink = |text: &str| {
            found.push(text.to_owned());
            if found.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        client.work(Reading::Open, &mut sink).await.expect("the connection lasts");
    }
    found
}

#[test]
fn texts_of_every_size_come_back() {
    let relay = TestRelay::start(server_options());
    run(async {
        let url = address(&format!("ws://{}/", relay.address));
        let mut client = connect(&url, &options()).await.expect("a websocket");
        for len in [0, 1, 125, 126, 65_535, 65_536, 300_000, 1 << 20] {
            let text = "z".repeat(len);
            client.push(text.as_bytes());
            assert!(texts(&mut client, 1).await == [text], "{len} bytes");
        }
        for n in 0..3000 {
            client.push(format!("message {n}").as_bytes());
        }
        // Taken a few at a time, none is lost.
        for n in 0..1000 {
            let expected: Vec<String> =
                (3 * n..3 * n + 3).map(|n| format!("message {n}")).collect();
            assert_eq!(texts(&mut client, 3).await, expected);
        }
        client.close();
        let ended = loop {
            if let Err(ending) =
                client.work(Reading::Open, &mut |_| ControlFlow::Continue(())).await
            {
                break ending;
            }
        };
        assert!(matches!(ended, ClientEnding::Closed(Some(1000))), "{ended:?}");
    });
}

#[test]
fn documents_are_fetched_up_to_their_bound() {
    let relay = TestRelay::start(server_options());
    run(async {
        let url = address(&format!("ws://{}/info?x", relay.address));
        let found = fetch(&url, "application/nostr+json", 1000, &options()).await;
        assert_eq!(&found.expect("a document")[..], b"GET /info true\n");
        let found = fetch(&url, "application/nostr+json", 5, &options()).await;
        assert!(matches!(found, Err(ConnectError::Http { .. })), "{found:?}");
        let other = address(&format!("ws://{}/elsewhere", relay.address));
        let refused = connect(&other, &options()).await.err().expect("no websocket there");
        assert!(matches!(refused, ConnectError::NoWebsocket { status: 404, .. }), "{refused}");
    });
}

/// A server of one connection, made by hand.
fn serve_once(serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        serve(stream);
    });
    address
}

/// Passes bytes both ways until either side hangs up.
fn pass(mut client: TcpStream, to: SocketAddr) {
    let mut server = TcpStream::connect(to).expect("the relay listens");
    let mut back = (server.try_clone().expect("a handle"), client.try_clone().expect("a handle"));
    std::thread::spawn(move || drop(std::io::copy(&mut back.0, &mut back.1)));
    drop(std::io::copy(&mut client, &mut server));
}

fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("so many bytes");
    bytes
}

#[test]
fn an_onion_is_reached_by_name_through_its_proxy() {
    let relay = TestRelay::start(server_options());
    let to = relay.address;
    let proxy = serve_once(move |mut stream| {
        assert_eq!(read(&mut stream, 4), [5, 2, 0, 2]);
        stream.write_all(&[5, 2]).expect("sent");
        assert_eq!(read(&mut stream, 13), b"\x01\x09abc.onion\x01x");
        stream.write_all(&[1, 0]).expect("sent");
        assert_eq!(read(&mut stream, 16), b"\x05\x01\x00\x03\x09abc.onion\x00\x50");
        stream.write_all(b"\x05\x00\x00\x01\0\0\0\0\0\0").expect("sent");
        pass(stream, to);
    });
    run(async {
        let mut options = options();
        let routes = Arc::make_mut(&mut options.routes);
        routes.tor.proxy = Some(proxy.to_string());
        let mut client = connect(&address("ws://abc.onion"), &options).await.expect("a websocket");
        client.push(b"hello");
        assert_eq!(texts(&mut client, 1).await, ["hello"]);
    });
}

#[test]
fn what_a_proxy_refuses_is_said() {
    for (answer, expected) in [
        (&b"\x05\x00\x05\x05\x00\x01"[..], "refused"),
        (b"\x05\xff", "authentication"),
        (b"HTTP/1.1 400", "SOCKS5"),
        (b"", "connect to"),
    ] {
        let proxy = serve_once(move |mut stream| {
            read(&mut stream, 4);
            stream.write_all(answer).expect("sent");
        });
        let mut options = options();
        Arc::make_mut(&mut options.routes).clearnet.proxy = Some(proxy.to_string());
        let error = run(connect(&address("ws://example.org"), &options)).err().expect("refused");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.is_passing());
    }
}

#[test]
fn names_of_hidden_networks_never_reach_the_resolver() {
    for (url, key) in [("ws://abc.onion", "tor_proxy"), ("wss://abc.i2p", "i2p_proxy")] {
        let error = run(connect(&address(url), &options())).err().expect("no proxy");
        assert!(matches!(error, ConnectError::NoProxy { .. }), "{error}");
        assert!(error.hint().expect("a hint").contains(key));
    }
}

/// A TLS server in front of a plain one.
fn encrypted(ip: &str, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((ip, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(SECRET));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], secret)
        .expect("a certificate");
    std::thread::spawn(move || {
        run(async {
            let (stream, _) = {
                listener.set_nonblocking(true).expect("an option");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                listener.accept().await.expect("a connection")
            };
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut server = tokio::net::TcpStream::connect(to).await.expect("the relay listens");
            drop(tokio::io::copy_bidirectional(&mut stream, &mut server).await);
        });
    });
    address
}

#[test]
fn an_encrypted_websocket_needs_a_certificate_that_is_trusted_and_fits() {
    let relay = TestRelay::start(server_options());
    let url = |host: &str| {
        let ip = if host == "localhost" { "127.0.0.1" } else { host };
        address(&format!("wss://{host}:{}", encrypted(ip, relay.address).port()))
    };
    run(async {
        for host in ["localhost", "127.0.0.1"] {
            let mut client = connect(&url(host), &options()).await.expect("a websocket");
            let long = "y".repeat(1 << 20);
            client.push(long.as_bytes());
            assert!(texts(&mut client, 1).await == [long]);
        }
        let error = connect(&url("127.0.0.2"), &options()).await.err().expect("another name");
        assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
        assert!(!error.is_passing());
    });
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: ";

/// Answers an upgrade, then sends these bytes and waits until the client hangs up.
fn upgraded(then: Vec<u8>) -> SocketAddr {
    serve_once(move |mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(read(&mut stream, 1));
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let at = head.find("sec-websocket-key: ").expect("a key") + 19;
        let key = head[at..].lines().next().expect("a line").len();
        assert_eq!(key, 24);
        drop(stream.write_all(&then));
        drop(stream.read_to_end(&mut Vec::new()));
    })
}

#[test]
fn servers_that_do_not_take_websockets_are_told_apart() {
    let forged = format!("{SWITCH}AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n");
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200"),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "503"),
        ("HTTP/1.1 301 Moved\r\nLocation: wss://b\r\nContent-Length: 0\r\n\r\n", "301"),
        (&forged, "another request"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "talk to"),
    ] {
        let server = upgraded(answer.as_bytes().to_vec());
        let error = run(connect(&address(&format!("ws://{server}")), &options()));
        let error = error.err().expect("no websocket");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.hint().is_some(), expected == "301");
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let server = upgraded(Vec::new());
    let mut options = options();
    let mut routes = Routes::clone(&options.routes);
    routes.clearnet.answer_deadline = Duration::from_millis(50);
    options.routes = Arc::new(routes);
    let error = run(connect(&address(&format!("ws://{server}")), &options)).err().expect("silent");
    assert!(matches!(error, ConnectError::TooSlow { .. }), "{error}");
}

/// What becomes of a websocket whose server sends these bytes.
fn ending_after(bytes: &[u8]) -> ClientEnding {
    let bytes = bytes.to_vec();
    run(async {
        let (mut server, transport) = tokio::io::duplex(1 << 20);
        let limits = ClientOptions { message_bytes_max: 1000, ..options() };
        let limits = ClientOptions { ping_period: Duration::from_millis(20), ..limits };
        let mut client = Client::new(Box::new(transport), Vec::new(), Encoding::Plain, &limits);
        tokio::io::AsyncWriteExt::write_all(&mut server, &bytes).await.expect("room");
        loop {
            let sink = &mut |_: &str| ControlFlow::Continue(());
            if let Err(ending) = client.work(Reading::Open, sink).await {
                return ending;
            }
        }
    })
}

#[test]
fn what_is_no_websocket_ends_with_what_is_wrong() {
    let huge = [&[0x81, 127][..], &u64::MAX.to_be_bytes()].concat();
    assert!(matches!(ending_after(&huge), ClientEnding::TooLong | ClientEnding::Violation(_)));
    assert!(matches!(ending_after(&[0x81, 126, 0x03, 0xe9]), ClientEnding::TooLong));
    for bytes in [&[0x81, 0x81, 0, 0, 0, 0, b'x'][..], &[0xc1, 1, 0], &[0x83, 0], &[0x80, 0]] {
        assert!(matches!(ending_after(bytes), ClientEnding::Violation(_)), "{bytes:?}");
    }
    assert!(matches!(ending_after(b"\x88\x02\x0f\xa0"), ClientEnding::Closed(Some(4000))));
    assert!(matches!(ending_after(b"\x81\x01x"), ClientEnding::Silent));
}

#[test]
fn pings_are_answered_and_masked() {
    run(async {
        let (mut server, transport) = tokio::io::duplex(1 << 20);
        let mut client =
            Client::new(Box::new(transport), b"\x89\x02hi".to_vec(), Encoding::Plain, &options());
        let sink = &mut |_: &str| ControlFlow::Continue(());
        client.work(Reading::Open, sink).await.expect("it lasts");
        let mut frame = [0; 8];
        tokio::io::AsyncReadExt::read_exact(&mut server, &mut frame).await.expect("a pong");
        let [head, length, a, b, _, _, x, y] = frame;
        assert_eq!((head, length, x ^ a, y ^ b), (0x8a, 0x82, b'h', b'i'));
    });
}

#[test]
fn what_waits_to_be_sent_is_bounded() {
    run(async {
        let (_server, transport) = tokio::io::duplex(10);
        let limits = ClientOptions { outbound_bytes_max: 10_000, ..options() };
        let mut client = Client::new(Box::new(transport), Vec::new(), Encoding::Plain, &limits);
        for _ in 0..11 {
            client.push(&[b'x'; 1000]);
        }
        let sink = &mut |_: &str| ControlFlow::Continue(());
        let ending = client.work(Reading::Open, sink).await.expect_err("too much");
        assert!(matches!(ending, ClientEnding::SlowReader), "{ending}");
    });
}
