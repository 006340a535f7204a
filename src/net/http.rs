//! The HTTP stage of a connection: plain requests are answered, a websocket upgrade leaves the stage.
//!
//! hyper reads and answers; after an upgrade the socket is taken back out of it, so nothing of hyper
//! stays with a connection. What plain requests are answered with is the [`Site`]'s business. The
//! relay itself lives at one address: an upgrade on any other path than `/` gets 404 (NIP-01, "one
//! endpoint"); the query string is ignored. Bodies of requests are never read.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;

/// What answers requests that do not ask for a websocket.
pub trait Site {
    /// Answers one request; called on the core's thread, so it must not take long.
    fn respond(&self, request: &RequestHead) -> Response;
}

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
    /// Returns the address of the other end of the socket.
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
        self.list("accept").any(|element| {
            let mut parts = element.split(';').map(str::trim);
            let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
            is_named && !parts.any(is_quality_zero)
        })
    }

    /// Returns the elements of a comma-separated header, over all its lines.
    fn list<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let lines = self.headers.get_all(name).into_iter();
        lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
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

    fn into_hyper(self) -> hyper::Response<Full<Bytes>> {
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
    pub(crate) stream: TcpStream,
    /// Bytes the client sent right behind its request.
    pub(crate) early: Vec<u8>,
    pub(crate) request: RequestHead,
}

/// Whether there is room for this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// Every request is answered 503, and the connection ends.
    Full,
}

/// Serves requests until one of them upgrades (`Some`) or the connection ends.
pub(crate) async fn serve_stage(
    stream: TcpStream,
    peer: SocketAddr,
    site: Rc<dyn Site>,
    room: Room,
    header_deadline: Duration,
) -> Option<Upgraded> {
    let stage = Stage { site, peer, room, upgraded: RefCell::new(None) };
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
    let request = parts.service.upgraded.into_inner()?;
    Some(Upgraded { stream: parts.io.into_inner(), early: parts.read_buf.to_vec(), request })
}

struct Stage {
    site: Rc<dyn Site>,
    peer: SocketAddr,
    room: Room,
    /// The request that was answered with 101.
    upgraded: RefCell<Option<RequestHead>>,
}

impl Service<Request<Incoming>> for Stage {
    type Response = hyper::Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (head, _body) = request.into_parts();
        let request = RequestHead {
            peer: self.peer,
            method: head.method,
            uri: head.uri,
            version: head.version,
            headers: head.headers,
        };
        ready(Ok(self.answer(request).into_hyper()))
    }
}

impl Stage {
    fn answer(&self, request: RequestHead) -> Response {
        if self.room == Room::Full {
            return Response::text(503, "too many connections").with_header("connection", "close");
        }
        if !request.asks_for_websocket() {
            return self.site.respond(&request);
        }
        match accept_key(&request) {
            Ok(key) => {
                self.upgraded.replace(Some(request));
                switching_protocols(key)
            }
            Err(refusal) => refusal,
        }
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
/// Sixteen bytes in base64.
const KEY_LEN: usize = 24;
