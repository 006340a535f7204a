//! Plain HTTP on a listener of its own, for what is not for clients: no websockets, no compression.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::http::{RequestHead, Site};

/// Answers requests by the site until `shutdown`. Must run inside a `LocalSet`.
///
/// # Errors
///
/// If the listener cannot be used.
pub async fn serve_plain(
    listener: StdListener,
    site: Rc<dyn Site>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let open = Rc::new(Cell::new(0));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) if open.get() < CONNECTIONS_MAX => {
                open.set(open.get() + 1);
                let answers = Answers { site: Rc::clone(&site), peer, open: Rc::clone(&open) };
                tokio::task::spawn_local(serve_one(stream, answers));
            }
            // Closed in silence: whoever holds so many has no need of another.
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(stream: TcpStream, answers: Answers) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answers);
    // What went wrong with one connection is its other end's affair.
    let _ = tokio::time::timeout(CONNECTION_DURATION_MAX, connection).await;
}

/// The answers on one connection.
struct Answers {
    site: Rc<dyn Site>,
    peer: SocketAddr,
    open: Rc<Cell<usize>>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl Service<Request<Incoming>> for Answers {
    type Response = hyper::Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (head, _body) = request.into_parts();
        ready(Ok(self.site.respond(&RequestHead::of(self.peer, head)).into_hyper()))
    }
}

/// Connections at a time; whoever asks now and then needs one.
const CONNECTIONS_MAX: usize = 32;
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A connection that is kept for the next question is closed after this, however it is used.
const CONNECTION_DURATION_MAX: Duration = Duration::from_secs(600);
/// As long as the machine is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
