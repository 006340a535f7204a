//! What stands before a relay on other networks: an end of TLS, and a SOCKS5 proxy.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio_rustls::TlsAcceptor;

const CERTIFICATE: &[u8] = include_bytes!("../fixtures/tls/relay.der");
const SECRET: &[u8] = include_bytes!("../fixtures/tls/relay.key.der");

/// Ends TLS before an address, as `relay.test`, `localhost`, `hidden.onion` and this machine, by a
/// certificate that `fixtures/tls/ca.pem` vouches for; returns the port.
pub(crate) fn encrypted(to: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("it is our own");
    let port = listener.local_addr().expect("bound").port();
    let key = PrivateKeyDer::try_from(SECRET).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions are known")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key)
        .expect("they belong together");
    let (acceptor, to) = (TlsAcceptor::from(Arc::new(config)), to.to_owned());
    spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, to) = (acceptor.clone(), to.clone());
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let server = tokio::net::TcpStream::connect(to).await;
                    let mut server = server.expect("the relay listens");
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    });
    port
}

/// A SOCKS5 proxy that leads everywhere to one address. It ends with the process.
pub(crate) struct Socks {
    /// Host and port.
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<String>>>,
    most: Arc<AtomicUsize>,
}

/// What a proxy does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Lead,
    Refuse,
    Hang,
}

impl Socks {
    /// Starts a proxy that leads to this address.
    pub(crate) fn start(to: &str, manner: Manner) -> Socks {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (most, under_way) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let socks = Socks { address, asked: Arc::clone(&asked), most: Arc::clone(&most) };
        let to = to.to_owned();
        spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let (asked, to) = (Arc::clone(&asked), to.clone());
                let (most, under_way) = (Arc::clone(&most), Arc::clone(&under_way));
                spawn(move || {
                    let count = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(count, Ordering::SeqCst);
                    if lead(&client, &asked, &under_way, manner).is_some() {
                        pass(&client, &to);
                    }
                });
            }
        });
        socks
    }

    /// Hosts and ports that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics with the lock").clone()
    }

    /// The most connections that were being opened at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Answers greeting and request (RFC 1928); nothing if nothing is to follow.
fn lead(
    mut client: &TcpStream,
    asked: &Mutex<Vec<String>>,
    under_way: &AtomicUsize,
    manner: Manner,
) -> Option<()> {
    let mut head = [0; 2];
    client.read_exact(&mut head).ok()?;
    let mut methods = vec![0; usize::from(head[1])];
    client.read_exact(&mut methods).ok()?;
    assert!(head[0] == 5 && methods.contains(&0), "a greeting of SOCKS5 without a password");
    client.write_all(&[5, 0]).ok()?;
    let mut request = [0; 5];
    client.read_exact(&mut request).ok()?;
    assert_eq!(request[..4], [5, 1, 0, 3], "a name is given to the proxy, not an address");
    let mut rest = vec![0; usize::from(request[4]) + 2];
    client.read_exact(&mut rest).ok()?;
    let (name, port) = rest.split_at(usize::from(request[4]));
    let port = u16::from_be_bytes([port[0], port[1]]);
    let name = String::from_utf8(name.to_vec()).expect("a name is text");
    asked.lock().expect("nobody panics with the lock").push(format!("{name}:{port}"));
    match manner {
        Manner::Lead => {
            // Long enough for others to come, if they are let.
            std::thread::sleep(std::time::Duration::from_millis(30));
            // Once it is answered the next one may come.
            under_way.fetch_sub(1, Ordering::SeqCst);
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()
        }
        Manner::Refuse => client.write_all(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]).ok().and(None),
        Manner::Hang => {
            let _ = client.read(&mut [0]);
            None
        }
    }
}

/// Carries bytes both ways until either side hangs up.
pub(crate) fn pass(client: &TcpStream, to: &str) {
    let Ok(server) = TcpStream::connect(to) else { return };
    let (mut from, mut back) = (client, server.try_clone().expect("a handle"));
    let mut toward = client.try_clone().expect("a handle");
    let copying = spawn(move || {
        let _ = std::io::copy(&mut back, &mut toward);
        let _ = toward.shutdown(std::net::Shutdown::Both);
    });
    let mut server_end = &server;
    let _ = std::io::copy(&mut from, &mut server_end);
    let _ = server.shutdown(std::net::Shutdown::Both);
    let _ = copying.join();
}
