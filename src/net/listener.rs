//! Listening sockets, and the accept loop of one core.
//!
//! Every core has a listener of its own on the same port (SO_REUSEPORT), so the kernel spreads
//! connections over the cores and no connection ever changes its thread. [`serve`] runs on a
//! current-thread runtime inside a `LocalSet`; each connection is one local task.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tungstenite::protocol::frame::coding::CloseCode;

use super::backlog::Backlog;
use super::extension::Encoding;
use super::http::{self, Guest, RequestHead, Site, StageOptions, Upgraded};
use super::outbound::{Outbound, OutboundLimits};
use super::proxy::{self, Gate, Pass, Refusal, Trust};
use super::stream::Stream;
use super::tls::{self, Certificate, Scratch, Unmet};
use super::websocket::{Connection, Conversation};
use crate::deflate::Inflater;
use crate::metrics::{HANDSHAKE_FAILURES, Traffic, place_of};

/// Failure to open a listening socket.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}: {error}")]
pub struct ListenError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub error: io::Error,
}

impl ListenError {
    /// Returns what the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        let port = self.address.port();
        match self.error.kind() {
            io::ErrorKind::AddrInUse => {
                Some(format!("another process listens on port {port}; stop it or choose another"))
            }
            io::ErrorKind::PermissionDenied => Some(format!(
                "port {port} needs a privilege; have systemd listen there (relay.socket), or \
                     choose one above 1023"
            )),
            io::ErrorKind::AddrNotAvailable => {
                Some(format!("no interface of this machine has the address {}", self.address.ip()))
            }
            _ if self.address.is_ipv6() => Some(format!(
                "if this machine has no IPv6, name an address of IPv4 such as 0.0.0.0:{port}"
            )),
            _ => None,
        }
    }
}

/// A listening socket, and what is spoken there.
pub struct Listening {
    /// The socket.
    pub socket: StdListener,
    /// What is spoken.
    pub wire: Wire,
}

/// What the bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// HTTP and websockets as they are.
    Plain,
    /// The same over TLS.
    Encrypted,
}

/// Opens `count` listeners on one address. Port 0 is chosen by the first, the others follow it.
pub fn listen(address: SocketAddr, count: usize) -> Result<Vec<StdListener>, ListenError> {
    let failed = |error| ListenError { address, error };
    // Two relays on one port would both succeed and share its clients, so an occupied port is
    // looked for without SO_REUSEPORT first.
    if address.port() != 0 {
        bound_socket(address, Sharing::Exclusive).map_err(failed)?;
    }
    let mut listeners = Vec::with_capacity(count);
    let mut chosen = address;
    for _ in 0..count {
        let listener = listen_shared(chosen).map_err(failed)?;
        chosen = listener.local_addr().map_err(failed)?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Makes sockets that this process was given ready for `count` cores: each gets all of them.
///
/// # Errors
///
/// If the system has no room for the copies.
pub fn share(given: &[&StdListener], count: usize) -> io::Result<Vec<Vec<StdListener>>> {
    let copy = |listener: &&StdListener| {
        let copy = listener.try_clone()?;
        copy.set_nonblocking(true)?;
        Ok(copy)
    };
    (0..count).map(|_| given.iter().map(copy).collect()).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    AmongCores,
}

fn listen_shared(address: SocketAddr) -> io::Result<StdListener> {
    let socket = bound_socket(address, Sharing::AmongCores)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bound_socket(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if sharing == Sharing::AmongCores {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Bounds and periods of the connections of one core.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// The longest message taken from a client.
    pub message_bytes_max: usize,
    /// The bounds of each outbound queue.
    pub outbound: OutboundLimits,
    /// How long a client may take for the head of a request.
    pub header_deadline: Duration,
    /// A peer that was silent this long is pinged; after three it is given up.
    pub ping_period: Duration,
    /// How long a closing handshake, with the writing before it, may take.
    pub close_deadline: Duration,
    /// What is agreed on with a client that offers compression.
    pub encoding: Encoding,
    /// What the relay proves its name with where it speaks TLS.
    pub certificate: Option<Arc<Certificate>>,
    /// The connections there is room for, shared by all cores.
    pub places: Arc<Places>,
    /// What may wait for slow readers, shared by all cores.
    pub backlog: Arc<Backlog>,
    /// Where the bytes are counted, of the core's own.
    pub traffic: Arc<Traffic>,
}

/// How many connections there may be and are, over all cores.
#[derive(Debug)]
pub struct Places {
    max: AtomicUsize,
    taken: AtomicUsize,
}

impl Places {
    /// Makes room for `max` connections.
    pub fn new(max: usize) -> Self {
        Places { max: AtomicUsize::new(max), taken: AtomicUsize::new(0) }
    }

    /// Makes room for `max` connections; those above it that there are already stay.
    pub fn resize(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Returns how many connections there are.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn take(self: &Arc<Self>) -> Option<Place> {
        let max = self.max.load(Ordering::Relaxed);
        let one_more = |taken| (taken < max).then_some(taken + 1);
        self.taken.try_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Place(Arc::clone(self)))
    }
}

/// One taken place; free again when dropped.
struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who connected, and with which request.
pub struct ConnectionInfo {
    /// The upgrade request, which knows the client's address; its headers are freed with it.
    pub request: RequestHead,
    /// What the gate gave.
    pub pass: Pass,
}

type Accept = dyn Fn(ConnectionInfo, Outbound) -> Box<dyn Conversation>;

/// What the connections of one core share.
pub(crate) struct Local {
    pub(crate) options: Rc<RefCell<NetOptions>>,
    pub(crate) traffic: Arc<Traffic>,
    /// Every read of the core goes here first.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// Every compressed message of the core passes through here.
    pub(crate) inflater: RefCell<Inflater>,
    /// What is encrypted passes through here.
    tls: Rc<Scratch>,
    site: Rc<dyn Site>,
    gate: Rc<dyn Gate>,
    accept: Box<Accept>,
    open: RefCell<HashMap<u64, Outbound>>,
    opened_total: Cell<u64>,
    refusals: Cell<usize>,
    is_stopping: Cell<bool>,
    emptied: Notify,
}

/// Accepts connections until `shutdown`, then closes all with 1001 and waits for them, no longer
/// than the close deadline. Must run inside a `LocalSet`. The options may change meanwhile; bounds of
/// messages and queues, and what is agreed on, hold for connections that are opened afterwards.
pub async fn serve<A>(
    listeners: Vec<Listening>,
    site: Rc<dyn Site>,
    gate: Rc<dyn Gate>,
    accept: A,
    options: Rc<RefCell<NetOptions>>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    A: Fn(ConnectionInfo, Outbound) -> Box<dyn Conversation> + 'static,
{
    let take = |it: Listening| Ok((TcpListener::from_std(it.socket)?, it.wire));
    let listeners: Vec<(TcpListener, Wire)> =
        listeners.into_iter().map(take).collect::<io::Result<_>>()?;
    let traffic = Arc::clone(&options.borrow().traffic);
    let local = Rc::new(Local {
        options,
        traffic,
        scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
        inflater: RefCell::default(),
        tls: Rc::default(),
        site,
        gate,
        accept: Box::new(accept),
        open: RefCell::new(HashMap::new()),
        opened_total: Cell::new(0),
        refusals: Cell::new(0),
        is_stopping: Cell::new(false),
        emptied: Notify::new(),
    });
    let mut shutdown = pin!(shutdown);
    let mut accepted_in_turn = 0;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept_next(&listeners) => match accepted {
                Ok((socket, peer, wire)) => admit(&local, socket, peer, wire),
                Err(error) => accept_failed(error).await,
            },
        }
        accepted_in_turn += 1;
        if accepted_in_turn == ACCEPTED_PER_TURN {
            accepted_in_turn = 0;
            tokio::task::yield_now().await;
        }
    }
    drop(listeners);
    close_all(&local).await;
    Ok(())
}

/// Accepts the next connection of any of the listeners.
async fn accept_next(
    listeners: &[(TcpListener, Wire)],
) -> io::Result<(TcpStream, SocketAddr, Wire)> {
    poll_fn(|context| {
        for (listener, wire) in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(accepted.map(|(socket, peer)| (socket, peer, *wire)));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits a little when the machine is out of something; the backlog holds the clients meanwhile.
async fn accept_failed(error: io::Error) {
    if is_of_one_connection(&error) {
        return;
    }
    tracing::warn!(%error, "cannot accept connections");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn admit(local: &Rc<Local>, socket: TcpStream, peer: SocketAddr, wire: Wire) {
    // A failure means that the socket is gone, which its first read will tell.
    let _ = socket.set_nodelay(true);
    let trust = local.gate.trust(peer.ip());
    // For whom a proxy speaks is known when it has said so.
    let guest = match trust {
        Trust::Client => match local.gate.enter(peer.ip()) {
            Ok(pass) => Guest::Known(pass),
            Err(refusal) => return turn_away(local, (socket, wire), peer, refusal),
        },
        Trust::Forwarding | Trust::Prefixing => Guest::Forwarded,
    };
    let place = local.options.borrow().places.take();
    match place {
        Some(place) => {
            let arrival = Arrival { socket, peer, wire, trust, guest };
            tokio::task::spawn_local(connect(Rc::clone(local), arrival, place));
        }
        None => turn_away(local, (socket, wire), peer, FULL),
    }
}

/// Tells a client that is not let in so, in HTTP, unless many are being told already. Over TLS it
/// is not: the handshake would be the most that a connection costs.
fn turn_away(
    local: &Rc<Local>,
    (socket, wire): (TcpStream, Wire),
    peer: SocketAddr,
    refusal: Refusal,
) {
    if wire == Wire::Plain
        && let Some(told) = Told::take(local)
    {
        tokio::task::spawn_local(tell(told, socket, peer, refusal));
    }
}

/// A socket that was accepted.
struct Arrival {
    socket: TcpStream,
    peer: SocketAddr,
    wire: Wire,
    trust: Trust,
    guest: Guest,
}

/// The life of one connection. Boxing the HTTP stage keeps the task as small as a websocket needs.
async fn connect(local: Rc<Local>, arrival: Arrival, _place: Place) {
    let stage = Box::pin(receive(Rc::clone(&local), arrival));
    if let Some(upgraded) = stage.await {
        converse(local, upgraded).await;
    }
}

/// Serves HTTP until a request upgrades, having found out who speaks.
async fn receive(local: Rc<Local>, arrival: Arrival) -> Option<Upgraded> {
    let Arrival { mut socket, mut peer, wire, trust, mut guest } = arrival;
    if trust == Trust::Prefixing {
        let reading = proxy::read_header(&mut socket, peer);
        let deadline = local.options.borrow().header_deadline;
        match tokio::time::timeout(deadline, reading).await {
            Ok(Ok(client)) => peer = client,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a trusted proxy did not name its client");
                return None;
            }
            Err(_) => return None,
        }
        guest = match local.gate.enter(peer.ip()) {
            Ok(pass) => Guest::Known(pass),
            Err(refusal) => Guest::Refused(refusal),
        };
    }
    let stream = match wire {
        Wire::Plain => Stream::Plain(socket),
        // As before a handshake that nobody has announced.
        Wire::Encrypted if matches!(guest, Guest::Refused(_)) => return None,
        Wire::Encrypted => {
            let stream = encrypt(&local, socket).await?;
            if let Stream::Plain(_) = stream {
                guest = Guest::Refused(NOT_ENCRYPTED);
            }
            stream
        }
    };
    http::serve_stage(stream, peer, local.stage_options(guest)).await
}

/// Leads a socket through the handshake of TLS; it stays plain if the client speaks plainly.
async fn encrypt(local: &Local, socket: TcpStream) -> Option<Stream> {
    let (certificate, deadline) = {
        let options = local.options.borrow();
        (options.certificate.clone()?, options.header_deadline)
    };
    let meeting = tls::meet(socket, Arc::clone(certificate.config()), Rc::clone(&local.tls));
    let failed = |reason| {
        local.traffic.handshakes_failed_total[place_of(&HANDSHAKE_FAILURES, reason)].add(1);
    };
    match tokio::time::timeout(deadline, meeting).await {
        Ok(Ok(stream)) => {
            local.traffic.handshakes_total.add(1);
            return Some(Stream::Encrypted(stream));
        }
        Ok(Err(Unmet::Plain(socket))) => {
            failed("plain");
            return Some(Stream::Plain(socket));
        }
        Ok(Err(Unmet::Failed(error))) => {
            tracing::debug!(%error, "a handshake of TLS has failed");
            failed("refused");
        }
        Ok(Err(Unmet::Gone)) => failed("gone"),
        Err(_) => failed("timeout"),
    }
    None
}

fn converse(local: Rc<Local>, upgraded: Upgraded) -> Connection {
    let outbound = {
        let options = local.options.borrow();
        Outbound::sharing(options.outbound, upgraded.encoding, &options.backlog)
    };
    let info = ConnectionInfo { request: upgraded.request, pass: upgraded.pass };
    let conversation = (local.accept)(info, outbound.clone());
    if local.is_stopping.get() {
        outbound.close(CloseCode::Away, SHUTDOWN_REASON);
    }
    Connection::new(local, upgraded.stream, upgraded.early, outbound, conversation)
}

async fn tell(told: Told, socket: TcpStream, peer: SocketAddr, refusal: Refusal) {
    let options = told.0.stage_options(Guest::Refused(refusal));
    http::serve_stage(Stream::Plain(socket), peer, options).await;
}

/// One of the few connections that are told why; beyond them sockets are closed in silence.
struct Told(Rc<Local>);

impl Told {
    fn take(local: &Rc<Local>) -> Option<Self> {
        let count = local.refusals.get();
        if count >= REFUSALS_MAX {
            return None;
        }
        local.refusals.set(count + 1);
        Some(Told(Rc::clone(local)))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.refusals.set(self.0.refusals.get() - 1);
    }
}

impl Local {
    fn stage_options(&self, guest: Guest) -> StageOptions {
        let NetOptions { header_deadline, encoding, .. } = *self.options.borrow();
        let (site, gate) = (Rc::clone(&self.site), Rc::clone(&self.gate));
        StageOptions { site, gate, guest, header_deadline, encoding }
    }

    /// Lists a connection, so that a shutdown reaches it; returns its number.
    pub(crate) fn register(&self, outbound: Outbound) -> u64 {
        let number = self.opened_total.get();
        self.opened_total.set(number + 1);
        self.open.borrow_mut().insert(number, outbound);
        number
    }

    /// Takes a connection that is over off the list.
    pub(crate) fn forget(&self, number: u64) {
        let mut open = self.open.borrow_mut();
        open.remove(&number);
        if open.is_empty() {
            self.emptied.notify_one();
        }
    }

    async fn emptied(&self) {
        while !self.open.borrow().is_empty() {
            self.emptied.notified().await;
        }
    }
}

async fn close_all(local: &Local) {
    local.is_stopping.set(true);
    for outbound in local.open.borrow().values() {
        outbound.close(CloseCode::Away, SHUTDOWN_REASON);
    }
    let deadline = local.options.borrow().close_deadline;
    if tokio::time::timeout(deadline, local.emptied()).await.is_err() {
        for outbound in local.open.borrow().values() {
            outbound.abort();
        }
        local.emptied().await;
    }
}

/// Connections accepted before those that there are get their turn.
const ACCEPTED_PER_TURN: u32 = 8;
/// Connections the kernel holds for us while a core is busy.
const BACKLOG: i32 = 4096;
/// The read buffer of a core: many small messages, or a good part of a large one, in one system call.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Long enough to let connections end, short enough that nobody gives up waiting.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// What is said in plain HTTP where TLS is spoken.
const NOT_ENCRYPTED: Refusal = Refusal {
    status: 400,
    line: "TLS is spoken here: the address begins with wss:// or https://",
    wait_secs: None,
};
const FULL: Refusal = Refusal { status: 503, line: "too many connections", wait_secs: None };
/// Connections of one core that may be busy being told why they are not let in.
const REFUSALS_MAX: usize = 256;
const SHUTDOWN_REASON: &str = "relay is shutting down";

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::super::testing::{Client, TestRelay, Told, options, text_frame, upgrade_request};
    use super::super::websocket::Ending;
    use super::*;

    #[test]
    fn all_listeners_share_the_port_the_first_one_got() {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let listeners = match listen(SocketAddr::new(ip, 0), 3) {
                Ok(listeners) => listeners,
                // Not every machine that runs tests has IPv6.
                Err(error) if ip.is_ipv6() => {
                    println!("skipped: {error}");
                    continue;
                }
                Err(error) => panic!("no free port: {error}"),
            };
            let address = listeners[0].local_addr().expect("bound");
            assert_ne!(address.port(), 0);
            assert_eq!(listeners.len(), 3);
            for listener in &listeners {
                assert_eq!(listener.local_addr().expect("bound"), address);
            }
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_with_a_hint() {
        let first = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 2).expect("a free port");
        let address = first[0].local_addr().expect("bound");
        let error = listen(address, 1).expect_err("the port is taken");
        assert!(error.to_string().starts_with(&format!("listen on {address}: ")), "{error}");
        assert!(error.hint().expect("a hint").contains("another process"));
    }

    #[test]
    fn above_the_limit_connections_get_503_until_a_place_is_free() {
        let mut options = options();
        options.places = Arc::new(Places::new(1));
        let places = Arc::clone(&options.places);
        let relay = TestRelay::start(options);
        let mut first = relay.client();
        assert_eq!(places.taken(), 1);
        let mut second = Client::connect(relay.address);
        second.send(upgrade_request("/"));
        let head = second.head();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("connection: close"), "{head}");
        first.send(text_frame("still there"));
        assert_eq!(first.text(), "still there");
        drop(first);
        assert_eq!(relay.next_told(), Told::Closed(Ending::Client));
        // The place is given back with the task, shortly after the conversation's end.
        while places.taken() > 0 {
            std::thread::yield_now();
        }
        relay.client();
    }

    #[test]
    fn a_shutdown_closes_every_connection_with_1001() {
        let mut relay = TestRelay::start(options());
        let mut clients = [relay.client(), relay.client(), relay.client()];
        relay.begin_shutdown();
        for client in &mut clients {
            assert_eq!(client.close_code(), 1001);
            client.send([0x88, 0x80, 0, 0, 0, 0]);
            client.end();
            assert_eq!(relay.next_told(), Told::Closed(Ending::Relay));
        }
    }

    #[test]
    fn a_shutdown_does_not_wait_for_a_client_that_says_nothing() {
        let mut options = options();
        options.close_deadline = Duration::from_millis(20);
        let mut relay = TestRelay::start(options);
        let _silent = relay.client();
        relay.begin_shutdown();
        assert_eq!(relay.next_told(), Told::Closed(Ending::Relay));
    }

    #[test]
    fn only_errors_of_one_connection_go_on_at_once() {
        assert!(is_of_one_connection(&io::ErrorKind::ConnectionAborted.into()));
        let too_many_files = io::Error::from_raw_os_error(24);
        assert!(!is_of_one_connection(&too_many_files), "{too_many_files}");
    }
}
