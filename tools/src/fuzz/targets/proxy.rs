//! Whom proxies speak for: the header of the PROXY protocol in both versions and the elements of
//! `X-Forwarded-For`, against a plain reading. What follows a header is left for HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use chappe::net::{Gate, Pass, Refusal, Trust, forwarded, read_proxy_header};
use fastrand::Rng;

use super::Target;
use crate::fuzz::grammar::word;
use crate::fuzz::mutate::mutate;

pub(super) struct Proxies;

/// Trusts whose address is even.
struct Even;

impl Gate for Even {
    fn trust(&self, peer: IpAddr) -> Trust {
        let last = match peer {
            IpAddr::V4(it) => it.octets()[3],
            IpAddr::V6(it) => it.octets()[15],
        };
        if last % 2 == 0 { Trust::Forwarding } else { Trust::Client }
    }

    fn enter(&self, _: IpAddr) -> Result<Pass, Refusal> {
        Ok(Box::new(()))
    }
}

impl Target for Proxies {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = match rng.u8(..3) {
            0 => line(rng),
            1 => binary(rng),
            _ => {
                let items = (0..rng.usize(..5)).map(|_| word(rng, &ADDRESSES));
                [&b"!"[..], items.collect::<Vec<_>>().join(",").as_bytes()].concat()
            }
        };
        bytes.extend_from_slice(word(rng, &["", "GET / HTTP/1.1\r\n", "\r\n", "x"]).as_bytes());
        if rng.u8(..3) > 0 {
            let other = if rng.bool() { line(rng) } else { binary(rng) };
            mutate(&mut bytes, &other, &PIECES, rng);
        }
        bytes
    }

    fn check(&mut self, input: &[u8]) {
        match input.strip_prefix(b"!") {
            Some(list) => check_list(&String::from_utf8_lossy(list)),
            None => check_header(input),
        }
    }
}

fn check_header(input: &[u8]) {
    let mut rest = input;
    let mut context = Context::from_waker(Waker::noop());
    let found = {
        let mut reading = pin!(read_proxy_header(&mut rest, PEER));
        match reading.as_mut().poll(&mut context) {
            Poll::Ready(found) => found.ok(),
            Poll::Pending => panic!("bytes in memory are there"),
        }
    };
    let plain = if input.starts_with(SIGNATURE) { plain_binary(input) } else { plain_line(input) };
    match (found, plain) {
        (Some(found), Some((named, length))) => {
            assert_eq!(found, named.unwrap_or(PEER));
            assert_eq!(input.len() - rest.len(), length, "what follows is not the header's");
        }
        (None, None) => {}
        (found, plain) => panic!("{found:?}, plainly {plain:?}"),
    }
}

type Named = (Option<SocketAddr>, usize);

fn plain_line(input: &[u8]) -> Option<Named> {
    let end = input.windows(2).position(|it| it == b"\r\n")?;
    let length = end + 2;
    // The shortest is as long as the signature of the other version.
    if !(12..=107).contains(&length) {
        return None;
    }
    let text = std::str::from_utf8(&input[..end]).ok()?;
    let words: Vec<&str> = text.split(' ').collect();
    if words.first() != Some(&"PROXY") || words.len() < 2 {
        return None;
    }
    if words[1] == "UNKNOWN" {
        return Some((None, length));
    }
    let [source, _, port] = [2, 3, 4].map(|place| words.get(place).copied());
    let port = port?.parse::<u16>().ok()?;
    let ip = match words[1] {
        "TCP4" => IpAddr::V4(source?.parse().ok()?),
        "TCP6" => IpAddr::V6(source?.parse().ok()?),
        _ => return None,
    };
    Some((Some(SocketAddr::new(ip, port)), length))
}

fn plain_binary(input: &[u8]) -> Option<Named> {
    let length = usize::from(u16::from_be_bytes([*input.get(14)?, *input.get(15)?]));
    let body = input.get(16..16 + length).filter(|_| length <= 4_096)?;
    let number = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    let named = match (input[12], input[13]) {
        (0x20, _) => None,
        (0x21, 0x11) => {
            let ip = <[u8; 4]>::try_from(body.get(..4)?).ok()?;
            body.get(..10)?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), number(8)?))
        }
        (0x21, 0x21) => {
            let ip = <[u8; 16]>::try_from(body.get(..16)?).ok()?;
            body.get(..34)?;
            Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)), number(32)?))
        }
        (0x21, _) => None,
        _ => return None,
    };
    Some((named, 16 + length))
}

fn check_list(text: &str) {
    let elements: Vec<&str> = text.split(',').collect();
    let found = forwarded(PEER, elements.iter().copied(), &Even);
    let mut expected = PEER;
    for element in elements.iter().rev() {
        let bare = element.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        let address = match (bare.unwrap_or(element).parse::<IpAddr>(), element.parse()) {
            (Ok(ip), _) => SocketAddr::new(ip, 0),
            (_, Ok(address)) => address,
            _ => break,
        };
        expected = address;
        if Even.trust(address.ip()) == Trust::Client {
            break;
        }
    }
    assert_eq!(found, expected, "{text}");
}

fn line(rng: &mut Rng) -> Vec<u8> {
    let family = word(rng, &["TCP4", "TCP6", "UNKNOWN", "TCP5", ""]);
    let mut words = vec![word(rng, &["PROXY", "PROXY", "PROXY", "XX", "proxy"]), family];
    for _ in 0..2 {
        words.push(word(rng, &ADDRESSES));
    }
    for _ in 0..2 {
        words.push(word(rng, &["0", "443", "65535", "65536", "-1", ""]));
    }
    format!("{}\r\n", words.join(" ")).into_bytes()
}

fn binary(rng: &mut Rng) -> Vec<u8> {
    let length = [0, 9, 10, 12, 33, 34, 36, 4_097][rng.usize(..8)];
    let body: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
    let mut bytes = SIGNATURE.to_vec();
    bytes.push([0x20, 0x21, 0x21, 0x21, 0x22, 0x11][rng.usize(..6)]);
    bytes.push([0x11, 0x21, 0x12, 0x31, 0][rng.usize(..5)]);
    bytes.extend_from_slice(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const ADDRESSES: [&str; 10] = [
    "10.0.0.2",
    "192.0.2.1",
    "2001:db8::1",
    "[2001:db8::2]",
    "10.0.0.4:80",
    "[::1]:80",
    "::ffff:10.0.0.1",
    "unknown",
    "",
    "256.0.0.1",
];
const PIECES: [&[u8]; 8] =
    [b"\r\n", b"\r", b" ", b"PROXY ", b"TCP4 ", SIGNATURE, b"\x21\x11\x00\x0c", b"\xff\xff"];
