//! Whom a proxy speaks for: `X-Forwarded-For`, and the PROXY protocol in both its versions.
//!
//! Both are believed from trusted proxies alone; who those are, the [`Gate`] says. Of a list of
//! addresses the last one counts that is no trusted proxy itself: what stands before it was said by
//! the client. The PROXY protocol: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use std::any::Any;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Decides who comes in. All calls come from the core's thread, one or two for each connection.
pub trait Gate {
    /// Tells who is at the other end of a socket.
    fn trust(&self, peer: IpAddr) -> Trust;

    /// Lets a client in, or says why not.
    ///
    /// # Errors
    ///
    /// What it is told instead.
    fn enter(&self, client: IpAddr) -> Result<Pass, Refusal>;
}

/// What was given to a client at the gate; it goes along with its connection, to its end.
pub type Pass = Box<dyn Any>;

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The client itself.
    Client,
    /// A proxy that names its clients in `X-Forwarded-For`.
    Forwarding,
    /// A proxy that begins each connection with a header of the PROXY protocol.
    Prefixing,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// The line that says why.
    pub line: &'static str,
    /// After how many seconds it may be tried again, if that helps.
    pub wait_secs: Option<u64>,
}

/// Returns the client that a trusted proxy speaks for, by the elements of `X-Forwarded-For`.
pub fn forwarded<'a>(
    peer: SocketAddr,
    elements: impl DoubleEndedIterator<Item = &'a str>,
    gate: &dyn Gate,
) -> SocketAddr {
    let mut client = peer;
    for element in elements.rev() {
        let Some(address) = parse_element(element) else { break };
        client = address;
        if gate.trust(address.ip()) == Trust::Client {
            break;
        }
    }
    client
}

/// Reads an address, with or without a port.
fn parse_element(text: &str) -> Option<SocketAddr> {
    let bare = |ip: IpAddr| SocketAddr::new(ip, 0);
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = in_brackets.unwrap_or(text).parse::<IpAddr>();
    ip.map(bare).or_else(|_| text.parse()).ok()
}

/// Reads the header of the PROXY protocol; returns whom it names, or `peer` if it names nobody.
///
/// # Errors
///
/// If the connection ends, or does not begin with a header.
pub async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
    peer: SocketAddr,
) -> io::Result<SocketAddr> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    let named = if start == SIGNATURE {
        read_binary(stream).await?
    } else {
        read_line(stream, &start).await?
    };
    Ok(named.unwrap_or(peer))
}

/// Reads the rest of a header of version 1, byte by byte, because what follows is HTTP.
async fn read_line(
    stream: &mut (impl AsyncRead + Unpin),
    start: &[u8],
) -> io::Result<Option<SocketAddr>> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_BYTES_MAX || !line.starts_with(b"PROXY ") {
            return Err(malformed());
        }
        line.push(stream.read_u8().await?);
    }
    parse_line(&line)
}

fn parse_line(line: &[u8]) -> io::Result<Option<SocketAddr>> {
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    let text = text.strip_suffix("\r\n").ok_or_else(malformed)?;
    let text = text.strip_prefix("PROXY ").ok_or_else(malformed)?;
    let mut words = text.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let mut next = || words.next().ok_or_else(malformed);
    let (source, _, port) = (next()?, next()?, next()?);
    let ip: IpAddr = source.parse().map_err(|_| malformed())?;
    let is_right = match family {
        Some("TCP4") => ip.is_ipv4(),
        Some("TCP6") => ip.is_ipv6(),
        _ => false,
    };
    let port = port.parse().map_err(|_| malformed())?;
    if is_right { Ok(Some(SocketAddr::new(ip, port))) } else { Err(malformed()) }
}

/// Reads what follows the signature of version 2.
async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version_and_command, family, high, low] = head;
    let mut body = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    if body.len() > BODY_BYTES_MAX {
        return Err(malformed());
    }
    stream.read_exact(&mut body).await?;
    parse_binary(version_and_command, family, &body)
}

fn parse_binary(
    version_and_command: u8,
    family: u8,
    body: &[u8],
) -> io::Result<Option<SocketAddr>> {
    match (version_and_command, family) {
        // The proxy itself, to see whether we live.
        (0x20, _) => Ok(None),
        (0x21, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, ..] = *body else { return Err(malformed()) };
            let port = u16::from_be_bytes([high, low]);
            Ok(Some((Ipv4Addr::new(a, b, c, d), port).into()))
        }
        (0x21, 0x21) => {
            let ip = body.first_chunk::<16>().ok_or_else(malformed)?;
            let port = body.get(32..34).ok_or_else(malformed)?;
            let port = u16::from_be_bytes([port[0], port[1]]);
            Ok(Some((Ipv6Addr::from(*ip), port).into()))
        }
        // Families that have no address of the internet.
        (0x21, _) => Ok(None),
        _ => Err(malformed()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a header of the PROXY protocol")
}

/// How version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1.
const LINE_BYTES_MAX: usize = 107;
/// Addresses, and whatever a proxy adds: certificates' names and the like.
const BODY_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    struct Trusting;

    impl Gate for Trusting {
        fn trust(&self, peer: IpAddr) -> Trust {
            let is_proxy = peer.is_loopback() || peer == IpAddr::from([10, 0, 0, 1]);
            if is_proxy { Trust::Forwarding } else { Trust::Client }
        }

        fn enter(&self, _: IpAddr) -> Result<Pass, Refusal> {
            Ok(Box::new(()))
        }
    }

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9))
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let rows: [(&[&str], &str); 10] = [
            (&[], "127.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.9", "192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.9", "192.0.2.1", "10.0.0.1"], "192.0.2.1"),
            (&["10.0.0.1"], "10.0.0.1"),
            (&["nonsense", "10.0.0.1"], "10.0.0.1"),
            (&["192.0.2.1", "nonsense"], "127.0.0.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["192.0.2.1:4711", "[::1]:80"], "192.0.2.1"),
        ];
        for (elements, expected) in rows {
            let found = forwarded(peer(), elements.iter().copied(), &Trusting);
            assert_eq!(found.ip().to_string(), expected, "{elements:?}");
        }
    }

    #[test]
    fn a_line_of_version_1_names_the_client() {
        let rows = [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 5 443\r\n", Ok(Some("192.0.2.1:5"))),
            ("PROXY TCP6 2001:db8::1 ::1 5 443\r\n", Ok(Some("[2001:db8::1]:5"))),
            ("PROXY UNKNOWN\r\n", Ok(None)),
            ("PROXY UNKNOWN ff:: ff:: 1 2\r\n", Ok(None)),
            ("PROXY TCP4 2001:db8::1 ::1 5 443\r\n", Err(())),
            ("PROXY TCP4 192.0.2.1\r\n", Err(())),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 70000 443\r\n", Err(())),
            ("PROXY UDP4 192.0.2.1 192.0.2.2 5 443\r\n", Err(())),
            ("PROXY \r\n", Err(())),
            ("XX UNKNOWN\r\n", Err(())),
        ];
        for (line, expected) in rows {
            let found = parse_line(line.as_bytes()).map_err(drop);
            let found = found.map(|it| it.map(|it| it.to_string()));
            assert_eq!(found, expected.map(|it| it.map(str::to_owned)), "{line}");
        }
    }

    #[test]
    fn a_header_of_version_2_names_the_client() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 0, 80, 9, 9, 9];
        let mut six = [0; 36];
        (six[0], six[1], six[15], six[32], six[33]) = (0x20, 0x01, 1, 1, 2);
        type Row<'a> = (u8, u8, &'a [u8], Result<Option<&'a str>, ()>);
        let rows: [Row<'_>; 9] = [
            (0x21, 0x11, &four, Ok(Some("192.0.2.1:258"))),
            (0x21, 0x11, &four[..12], Ok(Some("192.0.2.1:258"))),
            (0x21, 0x11, &four[..9], Err(())),
            (0x21, 0x21, &six, Ok(Some("[2001::1]:258"))),
            (0x21, 0x21, &six[..33], Err(())),
            (0x21, 0x00, &[], Ok(None)),
            (0x20, 0x11, &four, Ok(None)),
            (0x22, 0x11, &four, Err(())),
            (0x11, 0x11, &four, Err(())),
        ];
        for (command, family, body, expected) in rows {
            let found = parse_binary(command, family, body).map_err(drop);
            let found = found.map(|it| it.map(|it| it.to_string()));
            assert_eq!(found, expected.map(|it| it.map(str::to_owned)), "{command} {family}");
        }
    }
}
