//! What is asked over HTTP: the upgrade to a websocket, and documents.

use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use super::super::extension::{self, Encoding};
use super::address::Address;
use super::connection::Client;
use super::error::ConnectError;
use super::{ClientOptions, dial, tls};

/// Bytes both ways, encrypted or not.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

/// Opens a websocket.
///
/// # Errors
///
/// If the host cannot be reached, or does not take websockets there.
pub async fn connect(address: &Address, options: &ClientOptions) -> Result<Client, ConnectError> {
    let stream = dial::dial(address, &options.routes).await?;
    in_time(address, options.routes.to(address.network()).answer_deadline, async {
        upgrade(address, options, encrypted(address, options, stream).await?).await
    })
    .await
}

/// Asks for the document of a media type at an address, at most `bytes_max` of it.
///
/// # Errors
///
/// If the host cannot be reached or has no such document.
pub async fn fetch(
    address: &Address,
    media_type: &str,
    bytes_max: usize,
    options: &ClientOptions,
) -> Result<Bytes, ConnectError> {
    let stream = dial::dial(address, &options.routes).await?;
    in_time(address, options.routes.to(address.network()).answer_deadline, async {
        let request = request(address)
            .header(header::ACCEPT, media_type)
            .header(header::CONNECTION, "close")
            .body(Empty::new());
        let asked = ask(address, encrypted(address, options, stream).await?, request);
        let failed =
            |problem: String| ConnectError::Http { host: address.host().to_owned(), problem };
        asked
            .await?
            .answer(async |response: Response<Incoming>| {
                if response.status() != StatusCode::OK {
                    return Err(failed(response.status().to_string()));
                }
                let body = Limited::new(response.into_body(), bytes_max).collect().await;
                body.map(|body| body.to_bytes()).map_err(|error| failed(error.to_string()))
            })
            .await
    })
    .await
}

async fn in_time<T>(
    address: &Address,
    after: Duration,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let too_slow =
        || ConnectError::TooSlow { host: address.host().to_owned(), stage: "the answer", after };
    timeout(after, work).await.unwrap_or_else(|_| Err(too_slow()))
}

async fn encrypted(
    address: &Address,
    options: &ClientOptions,
    stream: tokio::net::TcpStream,
) -> Result<Box<dyn Transport>, ConnectError> {
    if !address.is_secure() {
        return Ok(Box::new(stream));
    }
    Ok(Box::new(tls::encrypt(stream, address.host(), &options.roots).await?))
}

fn request(address: &Address) -> hyper::http::request::Builder {
    Request::get(address.path())
        .header(header::HOST, address.authority())
        .header(header::USER_AGENT, USER_AGENT)
}

async fn upgrade(
    address: &Address,
    options: &ClientOptions,
    transport: Box<dyn Transport>,
) -> Result<Client, ConnectError> {
    let key = generate_key();
    let mut request = request(address)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key);
    if options.encoding == Encoding::Deflate {
        request = request.header(header::SEC_WEBSOCKET_EXTENSIONS, extension::OFFER);
    }
    let asked = ask(address, transport, request.body(Empty::new())).await?;
    let failed = |problem: String| ConnectError::Http { host: address.host().to_owned(), problem };
    let (upgraded, encoding) = asked
        .answer(async |mut response: Response<Incoming>| {
            let encoding = check_upgrade(address, options, &response, &key)?;
            let upgraded = hyper::upgrade::on(&mut response).await;
            upgraded.map(|it| (it, encoding)).map_err(|error| failed(error.to_string()))
        })
        .await?;
    let parts = upgraded
        .downcast::<TokioIo<Box<dyn Transport>>>()
        .map_err(|_| failed("the connection cannot be taken over".to_owned()))?;
    Ok(Client::new(parts.io.into_inner(), parts.read_buf.to_vec(), encoding, options))
}

fn check_upgrade(
    address: &Address,
    options: &ClientOptions,
    response: &Response<Incoming>,
    key: &str,
) -> Result<Encoding, ConnectError> {
    let (status, headers) = (response.status(), response.headers());
    let refused = |problem: String| ConnectError::NoWebsocket {
        url: address.to_string(),
        problem,
        status: status.as_u16(),
        location: text_of(headers, "location").map(str::to_owned),
    };
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(status.to_string()));
    }
    let expected = derive_accept_key(key.as_bytes());
    if text_of(headers, "sec-websocket-accept") != Some(&expected) {
        return Err(refused("another request".to_owned()));
    }
    let answer = text_of(headers, "sec-websocket-extensions");
    match (extension::agreed(answer), options.encoding) {
        (Some(Encoding::Plain), _) => Ok(Encoding::Plain),
        (Some(Encoding::Deflate), Encoding::Deflate) => Ok(Encoding::Deflate),
        _ => Err(refused(format!("with extensions that were not asked for: {answer:?}"))),
    }
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// A connection on which one request was sent.
struct Asked<'a> {
    address: &'a Address,
    connection: http1::Connection<TokioIo<Box<dyn Transport>>, Empty<Bytes>>,
    sender: http1::SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
}

async fn ask<'a>(
    address: &'a Address,
    transport: Box<dyn Transport>,
    request: Result<Request<Empty<Bytes>>, hyper::http::Error>,
) -> Result<Asked<'a>, ConnectError> {
    let host = || address.host().to_owned();
    let request =
        request.map_err(|error| ConnectError::Http { host: host(), problem: error.to_string() })?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(transport))
        .await
        .map_err(|error| ConnectError::Http { host: host(), problem: error.to_string() })?;
    Ok(Asked { address, connection, sender, request })
}

impl Asked<'_> {
    /// Sends the request and has the answer read, while the connection is looked after.
    async fn answer<T>(
        self,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, ConnectError>,
    ) -> Result<T, ConnectError> {
        let Asked { address, connection, mut sender, request } = self;
        let host = || address.host().to_owned();
        let failed = |error: hyper::Error| {
            let problem = match std::error::Error::source(&error) {
                Some(source) => source.to_string(),
                None => error.to_string(),
            };
            ConnectError::Http { host: host(), problem }
        };
        let asking = async move {
            let response = sender.send_request(request).await.map_err(failed)?;
            read(response).await
        };
        let (mut asking, mut serving) = (pin!(asking), pin!(connection.with_upgrades()));
        tokio::select! {
            answer = &mut asking => answer,
            // What the connection ended with is what the request ends with.
            _ = &mut serving => asking.await,
        }
    }
}

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
const USER_AGENT: &str = concat!("chappe/", env!("CARGO_PKG_VERSION"));
