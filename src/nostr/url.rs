//! Addresses of relays, as far as it matters to whether two texts mean the same relay (NIP-42,
//! NIP-62).
//!
//! The scheme, default ports, the case of the host, a trailing slash, the query and the fragment do
//! not matter. Everything else does: an address that only looks like ours must not pass for it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The address of a relay, in the one form in which equal relays are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayUrl {
    host: Box<str>,
    /// `None` for the ports that the schemes imply.
    port: Option<u16>,
    /// Without a trailing slash.
    path: Box<str>,
}

impl RelayUrl {
    /// Reads an address such as `wss://relay.example.org/`; nothing if the text is none.
    pub fn parse(text: &str) -> Option<RelayUrl> {
        let (scheme, rest) = text.trim().split_once("://")?;
        if !SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_end);
        let path_end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (host, port) = split_authority(authority)?;
        Some(RelayUrl {
            host: canonical_host(host)?,
            port: port.filter(|port| !DEFAULT_PORTS.contains(port)),
            path: rest[..path_end].trim_end_matches('/').into(),
        })
    }

    /// Returns the host: a name in lower case, or an address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Tells whether the host is this machine itself, whatever the port.
    pub fn is_loopback(&self) -> bool {
        &*self.host == "localhost" || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// Tells whether the address is that of a socket.
    pub fn is_socket(&self, address: SocketAddr) -> bool {
        let port = Some(address.port()).filter(|port| !DEFAULT_PORTS.contains(port));
        self.ip() == Some(address.ip()) && self.port == port
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Splits into host and port; nothing if there is anything else, such as a user's name, which
/// could make a foreign address look like ours.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let port_at = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(port_at);
    match port.strip_prefix(':') {
        None => port.is_empty().then_some((host, None)),
        // An empty port is the default one.
        Some("") => Some((host, None)),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        Some(_) => None,
    }
}

fn canonical_host(host: &str) -> Option<Box<str>> {
    if let Some(inside) = host.strip_prefix('[') {
        let ip: Ipv6Addr = inside.strip_suffix(']')?.parse().ok()?;
        return Some(ip.to_string().into());
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_lowercase();
    let is_legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    (!host.is_empty() && host.chars().all(is_legal)).then(|| host.into())
}

const SCHEMES: [&str; 4] = ["wss", "ws", "https", "http"];
const DEFAULT_PORTS: [u16; 2] = [80, 443];

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> RelayUrl {
        RelayUrl::parse(text).unwrap_or_else(|| panic!("{text} is an address"))
    }

    #[test]
    fn nip_42_7_spellings_of_one_relay_are_equal() {
        let ours = url("wss://relay.example.org");
        for same in [
            "wss://relay.example.org/",
            "wss://relay.example.org//",
            "ws://relay.example.org",
            "WSS://Relay.EXAMPLE.org:443/",
            "http://relay.example.org:80",
            "https://relay.example.org:/?x=y",
            "wss://relay.example.org.#top",
            " wss://relay.example.org ",
        ] {
            assert_eq!(url(same), ours, "{same}");
        }
        assert_eq!(url("wss://[::1]:7777"), url("ws://[0:0::1]:7777/"));
        assert_eq!(url("wss://a.b/nostr/"), url("ws://A.b/nostr"));
    }

    #[test]
    fn other_relays_are_not_equal() {
        let ours = url("wss://relay.example.org");
        for other in [
            "wss://evil.example",
            "wss://relay.example.org.evil.example",
            "wss://evil.example/relay.example.org",
            "wss://evil.example/?wss://relay.example.org",
            "wss://evil.example#wss://relay.example.org",
            "wss://relay.example.org:8080",
            "wss://relay.example.org/other",
        ] {
            assert_ne!(url(other), ours, "{other}");
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in [
            "",
            "relay.example.org",
            "ftp://relay.example.org",
            "wss://",
            "wss:///path",
            "wss://relay.example.org@evil.example",
            "wss://user:word@relay.example.org",
            "wss://relay.example.org:99999",
            "wss://relay.example.org:+80",
            "wss://relay example.org",
            "wss://[::1",
            "wss://[::1]x",
            "wss://[evil.example]",
            "ALL_RELAYS",
        ] {
            assert_eq!(RelayUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn this_machine_is_known_by_name_and_number() {
        for text in ["ws://localhost:7777", "wss://LOCALHOST/", "ws://127.0.0.1:1", "ws://[::1]"] {
            assert!(url(text).is_loopback(), "{text}");
        }
        for text in ["wss://localhost.evil.example", "ws://10.0.0.1", "ws://0.0.0.0"] {
            assert!(!url(text).is_loopback(), "{text}");
        }
        let listen = "10.0.0.1:7777".parse().expect("it is a socket's address");
        assert!(url("ws://10.0.0.1:7777/").is_socket(listen));
        assert!(!url("ws://10.0.0.1/").is_socket(listen));
        assert!(!url("ws://10.0.0.2:7777/").is_socket(listen));
    }
}
