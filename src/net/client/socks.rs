//! SOCKS5 (RFC 1928): asks a proxy for a connection, by the name of the host.
//!
//! The proxy resolves the name, so that names of other networks never reach the system's resolver.
//! The name goes along as user, too (RFC 1929), where the proxy takes one: Tor then keeps the
//! connections to different hosts apart.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks for a connection; returns the stream, which then leads there.
pub(super) async fn ask(mut stream: TcpStream, host: &str, port: u16) -> io::Result<TcpStream> {
    let length = u8::try_from(host.len()).map_err(|_| problem("the host's name is too long"))?;
    stream.write_all(&[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD]).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    match chosen {
        [VERSION, NO_AUTHENTICATION] => {}
        [VERSION, USER_AND_PASSWORD] => {
            let head = [1, length];
            stream.write_all(&[&head, host.as_bytes(), &[1, b'x']].concat()).await?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await?;
            if answer[1] != 0 {
                return Err(problem("it wants another user and password"));
            }
        }
        [VERSION, _] => return Err(problem("it wants another kind of authentication")),
        _ => return Err(problem("it does not speak SOCKS5")),
    }
    let head = [VERSION, CONNECT, 0, HOST_NAME, length];
    stream.write_all(&[&head, host.as_bytes(), &port.to_be_bytes()].concat()).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    let [version, reply, _, kind] = answer;
    if version != VERSION {
        return Err(problem("it does not speak SOCKS5"));
    }
    if reply != 0 {
        return Err(problem(reason(reply)));
    }
    let bound = match kind {
        1 => 4,
        4 => 16,
        HOST_NAME => usize::from(stream.read_u8().await?),
        _ => return Err(problem("it does not speak SOCKS5")),
    };
    // Where the proxy connects from does not matter.
    let mut rest = vec![0; bound + 2];
    stream.read_exact(&mut rest).await?;
    Ok(stream)
}

fn problem(text: &'static str) -> io::Error {
    io::Error::other(text)
}

fn reason(reply: u8) -> &'static str {
    match reply {
        1 => "it failed",
        2 => "its rules do not allow it",
        3 => "the network is unreachable",
        4 => "the host is unreachable",
        5 => "the connection was refused",
        6 => "the connection timed out",
        7 => "it does not make connections",
        8 => "it does not take host names",
        _ => "it refused",
    }
}

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;
const HOST_NAME: u8 = 3;
