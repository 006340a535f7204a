//! The HTTP stage of a connection: plain requests are answered, a websocket upgrade leaves the stage.
//!
//! hyper reads and answers; after an upgrade the socket is taken back out of it, so nothing of hyper
//! stays with a connection. What plain requests are answered with is the [`Site`]'s business. The
//! relay itself lives at one address: an upgrade on any other path than `/` gets 404 (NIP-01, "one
//! endpoint"); the query string is ignored. Bodies are read for those requests alone whose site wants that.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tungstenite::handshake::derive_accept_key;

use super::extension::{self, Encoding};
use super::proxy::{self, Gate, Pass, Refusal};
use super::stream::Stream;

/// What answers requests that do not ask for a websocket.
pub trait Site {
    /// Answers one request; called on the core's thread, so it must not take long.
    fn respond(&self, request: &RequestHead) -> Response;

    /// Returns how many bytes the body of a request may have that is to be read and answered by
    /// [`Site::receive`]; nothing for all that [`Site::respond`] answers.
    fn receives(&self, _request: &RequestHead) -> Option<usize> {
        None
    }

    /// Answers a request with its body, in as much time as it takes.
    fn receive(&self, request: RequestHead, _body: Bytes) -> LaterResponse {
        let response = self.respond(&request);
        Box::pin(async move { response })
    }
}

/// An answer that takes a while.
pub type LaterResponse = Pin<Box<dyn Future<Output = Response>>>;

/// The head of a request, with the address it came from.
pub struct RequestHead {
    peer: SocketAddr,
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

/// An answer to a plain request.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code, such as 200.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body; its length header is added by the transport.
    pub body: Bytes,
}

impl RequestHead {
    pub(crate) fn of(peer: SocketAddr, head: hyper::http::request::Parts) -> RequestHead {
        let hyper::http::request::Parts { method, uri, version, headers, .. } = head;
        RequestHead { peer, method, uri, version, headers }
    }

    /// Returns the address of the client: the other end of the socket, or whom a trusted proxy
    /// there speaks for.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns the method in upper case, such as `GET`.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// Returns the path without the query.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Returns what follows the first `?`.
    pub fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// Returns the first value of a header if it is readable text; `name` in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns whether `Accept` names this media type itself; wildcards do not count, a quality of
    /// zero takes it back.
    pub fn accepts(&self, media_type: &str) -> bool {
        self.list_wants("accept", media_type)
    }

    /// Returns whether `Accept-Encoding` names this coding; a quality of zero takes it back.
    pub fn accepts_coding(&self, coding: &str) -> bool {
        self.list_wants("accept-encoding", coding)
    }

    /// Returns whether the client has what this entity tag names (`If-None-Match`).
    pub fn knows(&self, tag: &str) -> bool {
        self.list("if-none-match").any(|known| known == tag)
    }

    fn list_wants(&self, name: &str, wanted: &str) -> bool {
        self.list(name).any(|element| {
            let mut parts = element.split(';').map(str::trim);
            let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
            is_named && !parts.any(is_quality_zero)
        })
    }

    /// Returns the elements of a comma-separated header, over all its lines.
    fn list<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.lines(name).flat_map(|line| line.split(',')).map(str::trim)
    }

    /// Returns the values of a header that are readable text, line by line.
    fn lines<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok())
    }

    fn list_names(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token))
    }

    fn asks_for_websocket(&self) -> bool {
        self.list_names("connection", "upgrade") && self.list_names("upgrade", "websocket")
    }
}

fn is_quality_zero(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0_f32)
}

impl Response {
    /// Creates an answer of one line of plain text.
    pub fn text(status: u16, line: &str) -> Self {
        let headers = vec![("content-type", "text/plain; charset=utf-8".to_owned())];
        Response { status, headers, body: Bytes::from(format!("{line}\n")) }
    }

    fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn into_hyper(self) -> hyper::Response<Full<Bytes>> {
        let mut builder = hyper::Response::builder().status(self.status);
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        builder.body(Full::new(self.body)).unwrap_or_else(|error| {
            tracing::warn!(%error, "an answer has an impossible header or status");
            let mut failed = hyper::Response::new(Full::new(Bytes::new()));
            *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            failed
        })
    }
}

/// A connection that left the HTTP stage by an upgrade which has been answered.
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    /// Bytes the client sent right behind its request.
    pub(crate) early: Vec<u8>,
    pub(crate) request: RequestHead,
    /// What was agreed on.
    pub(crate) encoding: Encoding,
    /// What the gate gave.
    pub(crate) pass: Pass,
}

/// How the client of a connection is met.
pub(crate) enum Guest {
    /// The gate has let it in.
    Known(Pass),
    /// A proxy says with each request for whom it is.
    Forwarded,
    /// Every request is answered so, and the connection ends.
    Refused(Refusal),
}

/// What the HTTP stage of a connection goes by.
pub(crate) struct StageOptions {
    pub(crate) site: Rc<dyn Site>,
    pub(crate) gate: Rc<dyn Gate>,
    pub(crate) guest: Guest,
    pub(crate) header_deadline: Duration,
    /// The most that is agreed on with a client that offers it.
    pub(crate) encoding: Encoding,
}

/// Serves requests until one of them upgrades (`Some`) or the connection ends.
pub(crate) async fn serve_stage(
    stream: Stream,
    peer: SocketAddr,
    options: StageOptions,
) -> Option<Upgraded> {
    let StageOptions { site, gate, guest, header_deadline, encoding } = options;
    let guest = RefCell::new(Some(guest));
    let stage = Stage { site, gate, guest, encoding, peer, upgraded: RefCell::new(None) };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_deadline)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), stage)
        .without_shutdown();
    // A peer that never reads its answers would otherwise stay for good.
    let parts = match tokio::time::timeout(STAGE_DURATION_MAX, connection).await {
        Ok(Ok(parts)) => parts,
        Ok(Err(error)) => {
            tracing::trace!(%error, "http stage ended");
            return None;
        }
        Err(_) => return None,
    };
    let (request, encoding, pass) = parts.service.upgraded.into_inner()?;
    let (stream, early) = (parts.io.into_inner(), parts.read_buf.to_vec());
    Some(Upgraded { stream, early, request, encoding, pass })
}

struct Stage {
    site: Rc<dyn Site>,
    gate: Rc<dyn Gate>,
    /// Gone with the upgrade.
    guest: RefCell<Option<Guest>>,
    encoding: Encoding,
    peer: SocketAddr,
    /// The request that was answered with 101, what was agreed on, and the client's pass.
    upgraded: RefCell<Option<(RequestHead, Encoding, Pass)>>,
}

impl Service<Request<Incoming>> for Stage {
    type Response = hyper::Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (head, body) = request.into_parts();
        self.answer(RequestHead::of(self.peer, head), body)
    }
}

/// The answer to a request, on its way.
pub(crate) enum Answering {
    /// It is there; nothing once it was taken.
    Ready(Option<Response>),
    /// It depends on the body.
    Later(LaterResponse),
}

impl Answering {
    fn of(response: Response) -> Answering {
        Answering::Ready(Some(response))
    }
}

impl Future for Answering {
    type Output = Result<hyper::Response<Full<Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match self.get_mut() {
            Answering::Ready(response) => Poll::Ready(response.take()),
            Answering::Later(response) => response.as_mut().poll(context).map(Some),
        };
        response.map(|it| Ok(it.map(Response::into_hyper).unwrap_or_default()))
    }
}

/// Reads the body of a request and has the site answer.
async fn answer_later(
    site: Rc<dyn Site>,
    request: RequestHead,
    body: Incoming,
    bytes_max: usize,
) -> Response {
    let reading = Limited::new(body, bytes_max).collect();
    let failed = |status, line| Response::text(status, line).with_header("connection", "close");
    match tokio::time::timeout(BODY_DEADLINE, reading).await {
        Ok(Ok(body)) => site.receive(request, body.to_bytes()).await,
        Ok(Err(_)) => failed(413, "the body is too long, or was cut off"),
        Err(_) => failed(408, "the body takes too long"),
    }
}

impl Stage {
    fn answer(&self, mut request: RequestHead, body: Incoming) -> Answering {
        match self.meet(&mut request) {
            Err(refusal) => Answering::of(refused(refusal)),
            Ok(_) if !request.asks_for_websocket() => match self.site.receives(&request) {
                None => Answering::of(self.site.respond(&request)),
                Some(bytes_max) => {
                    let site = Rc::clone(&self.site);
                    Answering::Later(Box::pin(answer_later(site, request, body, bytes_max)))
                }
            },
            Ok(pass) => Answering::of(match accept_key(&request) {
                Ok(key) => self.upgrade(request, key, pass),
                Err(refusal) => refusal,
            }),
        }
    }

    /// Finds out for whom a request is, and has the gate let in whom it has not yet met; returns
    /// the pass of those.
    fn meet(&self, request: &mut RequestHead) -> Result<Option<Pass>, Refusal> {
        match &*self.guest.borrow() {
            Some(Guest::Refused(refusal)) => Err(*refusal),
            Some(Guest::Forwarded) => {
                let lines: Vec<&str> = request.list("x-forwarded-for").collect();
                let client = proxy::forwarded(self.peer, lines.into_iter(), &*self.gate);
                request.peer = client;
                self.gate.enter(client.ip()).map(Some)
            }
            Some(Guest::Known(_)) | None => Ok(None),
        }
    }

    fn upgrade(&self, request: RequestHead, key: String, pass: Option<Pass>) -> Response {
        let pass = match (pass, self.guest.take()) {
            (Some(pass), _) | (None, Some(Guest::Known(pass))) => pass,
            // Nothing is asked for behind an upgrade.
            _ => return Response::text(400, "this connection was upgraded before"),
        };
        let answer = switching_protocols(key);
        let extension = match self.encoding {
            Encoding::Plain => None,
            Encoding::Deflate => extension::accept(request.lines("sec-websocket-extensions")),
        };
        let (encoding, answer) = match extension {
            None => (Encoding::Plain, answer),
            Some(terms) => {
                (Encoding::Deflate, answer.with_header("sec-websocket-extensions", terms))
            }
        };
        self.upgraded.replace(Some((request, encoding, pass)));
        answer
    }
}

fn refused(refusal: Refusal) -> Response {
    let answer = Response::text(refusal.status, refusal.line).with_header("connection", "close");
    match refusal.wait_secs {
        Some(secs) => answer.with_header("retry-after", secs.to_string()),
        None => answer,
    }
}

/// Returns the key that accepts this upgrade, or what to answer instead.
fn accept_key(request: &RequestHead) -> Result<String, Response> {
    if !matches!(request.path(), "/" | "") {
        return Err(Response::text(404, "no relay at this path; it is at /"));
    }
    if request.method != Method::GET {
        return Err(Response::text(405, "an upgrade must be a GET").with_header("allow", "GET"));
    }
    if request.version != Version::HTTP_11 {
        return Err(Response::text(400, "an upgrade needs HTTP/1.1"));
    }
    if !request.list_names("sec-websocket-version", "13") {
        let refusal = Response::text(426, "only websocket version 13 is spoken here");
        return Err(refusal.with_header("sec-websocket-version", "13"));
    }
    let key = request.header("sec-websocket-key").map(str::trim);
    match key {
        Some(key) if key.len() == KEY_LEN => Ok(derive_accept_key(key.as_bytes())),
        _ => Err(Response::text(400, "sec-websocket-key must be 16 bytes in base64")),
    }
}

fn switching_protocols(key: String) -> Response {
    let headers = vec![
        ("connection", "upgrade".to_owned()),
        ("upgrade", "websocket".to_owned()),
        ("sec-websocket-accept", key),
    ];
    Response { status: 101, headers, body: Bytes::new() }
}

/// Request line and headers together; hyper answers 431 above it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The longest a connection stays in the HTTP stage, however it spends the time.
const STAGE_DURATION_MAX: Duration = Duration::from_secs(120);
/// How long a client may take for the body of a request.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Sixteen bytes in base64.
const KEY_LEN: usize = 24;

#[cfg(test)]
mod tests {
    use super::super::testing::{Client, TestRelay, options, upgrade_request};
    use super::super::{Encoding, NetOptions};

    fn head_of(relay: &TestRelay, request: &str) -> String {
        let mut client = Client::connect(relay.address);
        client.send(request);
        client.head()
    }

    #[test]
    fn an_upgrade_is_accepted_at_the_root_in_every_form() {
        let relay = TestRelay::start(options());
        for target in ["/", "/?x=1", "http://relay", "http://relay/", "http://relay?x=/y"] {
            let head = head_of(&relay, &upgrade_request(target));
            assert!(head.starts_with("HTTP/1.1 101 "), "{target}: {head}");
            assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
            assert!(!head.contains("content-length"), "{head}");
        }
    }

    #[test]
    fn compression_is_agreed_on_with_who_offers_it() {
        let offering = upgrade_request("/").replace(
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: x-other\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
        );
        let terms = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; \
                     client_no_context_takeover\r\n";
        let relay = TestRelay::start(options());
        assert!(head_of(&relay, &offering).contains(terms));
        assert!(!head_of(&relay, &upgrade_request("/")).contains("extensions"));
        let plain = TestRelay::start(NetOptions { encoding: Encoding::Plain, ..options() });
        assert!(!head_of(&plain, &offering).contains("extensions"));
    }

    #[test]
    fn an_upgrade_is_404_on_every_other_path() {
        let relay = TestRelay::start(options());
        for target in ["/x", "//", "/./", "/x?y=/", "http://relay/x"] {
            let head = head_of(&relay, &upgrade_request(target));
            assert!(head.starts_with("HTTP/1.1 404 "), "{target}: {head}");
        }
    }

    #[test]
    fn a_wrong_upgrade_is_told_what_is_wrong() {
        let relay = TestRelay::start(options());
        let good = upgrade_request("/");
        let check = |from: &str, to: &str, status: &str| {
            assert!(good.contains(from), "{from}");
            let head = head_of(&relay, &good.replace(from, to));
            assert!(head.starts_with(status), "{to}: {head}");
        };
        check("Version: 13", "Version: 8", "HTTP/1.1 426 ");
        check("Sec-WebSocket-Version: 13\r\n", "", "HTTP/1.1 426 ");
        check("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "HTTP/1.1 400 ");
        check("dGhlIHNhbXBsZSBub25jZQ==", "short", "HTTP/1.1 400 ");
        check("GET / ", "POST / ", "HTTP/1.1 405 ");
        check("HTTP/1.1", "HTTP/1.0", "HTTP/1.0 400 ");
    }

    #[test]
    fn other_requests_are_answered_by_the_site() {
        let relay = TestRelay::start(options());
        let mut client = Client::connect(relay.address);
        let accept_and_answer = [
            ("application/nostr+json", true),
            ("application/nostr+json, */*", true),
            ("text/html;q=0.9, Application/Nostr+JSON ; q=0.5", true),
            ("application/nostr+json;q=0", false),
            ("application/nostr+json;q=0.0, text/html", false),
            ("text/html, */*", false),
            ("application/nostr+jsonx", false),
        ];
        for (accept, expected) in accept_and_answer {
            client.send(format!("GET /a?b HTTP/1.1\r\nHost: r\r\nAccept: {accept}\r\n\r\n"));
            let head = client.head();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let mut body = vec![0; format!("GET /a {expected}\n").len()];
            std::io::Read::read_exact(&mut client.stream, &mut body).expect("a body");
            assert_eq!(String::from_utf8_lossy(&body), format!("GET /a {expected}\n"), "{accept}");
        }
    }

    #[test]
    fn an_upgrade_to_something_else_is_a_plain_request() {
        let relay = TestRelay::start(options());
        let head = head_of(&relay, &upgrade_request("/").replace("WebSocket\r\n", "h2c\r\n"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let relay = TestRelay::start(options());
        let mut client = Client::connect(relay.address);
        client.send(format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(super::HEAD_BYTES_MAX)));
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    }

    #[test]
    fn a_client_that_does_not_ask_is_hung_up_on() {
        let mut options = options();
        options.header_deadline = std::time::Duration::from_millis(20);
        let relay = TestRelay::start(options);
        let mut client = Client::connect(relay.address);
        client.end();
    }
}
