//! Addresses of websockets: where to connect to, and over which network.

use std::fmt;
use std::net::Ipv6Addr;

/// The address of a websocket, such as `wss://relay.example.org/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    is_secure: bool,
    /// Lower case; a number of version 6 without its brackets.
    host: String,
    port: u16,
    /// Begins with a slash; with the query.
    path: String,
}

/// A network by the names of its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// The Internet.
    Clearnet,
    /// Names that end in `.onion`.
    Tor,
    /// Names that end in `.i2p`.
    I2p,
    /// Names that end in `.loki`.
    Lokinet,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// What was expected and what was found.
    pub fn parse(text: &str) -> Result<Address, String> {
        let expected = |what: &str| format!("expected {what}, found {text:?}");
        let Some((scheme, rest)) = text.trim().split_once("://") else {
            return Err(expected("an address such as wss://relay.example.org"));
        };
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "wss" => true,
            "ws" => false,
            _ => return Err(expected("an address that begins with wss:// or ws://")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let path = rest.split('#').next().unwrap_or_default();
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain(path) {
            return Err(expected("a path without blanks and with letters of ASCII alone"));
        }
        let (host, port) = split_authority(authority).ok_or_else(|| expected("a host name"))?;
        let default_port = if is_secure { 443 } else { 80 };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Address {
            is_secure,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(default_port),
            path: format!("{slash}{path}"),
        })
    }

    /// Returns whether the connection is encrypted.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Returns the host, a number of version 6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path with the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the network that the host belongs to.
    pub fn network(&self) -> Network {
        let host = self.host.strip_suffix('.').unwrap_or(&self.host);
        match host.rsplit('.').next() {
            Some("onion") => Network::Tor,
            Some("i2p") => Network::I2p,
            Some("loki") => Network::Lokinet,
            _ => Network::Clearnet,
        }
    }

    /// Returns host and port as in the header `Host`: the port where it is not the usual one.
    pub(super) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.is_secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        let path = if self.path == "/" { "" } else { &self.path };
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Clearnet => "clearnet",
            Network::Tor => "Tor",
            Network::I2p => "I2P",
            Network::Lokinet => "Lokinet",
        })
    }
}

/// Splits into host and port; nothing if there is anything else, such as a user's name.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return Some((host, port_of(port.strip_prefix(':').or(port.is_empty().then_some(""))?)?));
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_host = !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(is_legal);
    is_host.then_some((host, port_of(port)?))
}

/// Reads a port; nothing within nothing for an empty one.
fn port_of(digits: &str) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok())?.filter(|port| *port > 0).map(Some)
}

/// As long as a name may be, and as SOCKS5 can say.
const HOST_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_a_port_and_a_path() {
        for (text, host, port, path, authority) in [
            ("wss://relay.example.org", "relay.example.org", 443, "/", "relay.example.org"),
            ("WS://Relay.Example.org/", "relay.example.org", 80, "/", "relay.example.org"),
            ("ws://a:7777/x/y?z=1#top", "a", 7777, "/x/y?z=1", "a:7777"),
            ("wss://a?b", "a", 443, "/?b", "a"),
            ("wss://a:443/", "a", 443, "/", "a"),
            ("ws://[::1]:7777", "::1", 7777, "/", "[::1]:7777"),
            ("wss://[2001:db8::1]", "2001:db8::1", 443, "/", "[2001:db8::1]"),
            ("ws://127.0.0.1:", "127.0.0.1", 80, "/", "127.0.0.1"),
        ] {
            let address = Address::parse(text).unwrap_or_else(|error| panic!("{error}"));
            let found = (address.host(), address.port(), address.path());
            assert_eq!(found, (host, port, path), "{text}");
            assert_eq!(address.authority(), authority, "{text}");
            assert_eq!(Address::parse(&address.to_string()), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_was_expected() {
        for text in [
            "",
            "relay.example.org",
            "https://relay.example.org",
            "wss://",
            "wss:///path",
            "wss://user@host",
            "wss://user:word@host",
            "wss://host:99999",
            "wss://host:0",
            "wss://host:+80",
            "wss://ho st",
            "wss://host/a b",
            "wss://[::1",
            "wss://[::1]x",
            "wss://[host]",
            "ws://h\u{f6}st",
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(error.starts_with("expected ") && error.contains("found"), "{error}");
        }
    }

    #[test]
    fn the_network_is_told_by_the_name() {
        for (host, network) in [
            ("relay.example.org", Network::Clearnet),
            ("onion", Network::Tor),
            ("abc.ONION", Network::Tor),
            ("abc.onion.", Network::Tor),
            ("abc.onion.example.org", Network::Clearnet),
            ("abc.b32.i2p", Network::I2p),
            ("abc.loki", Network::Lokinet),
            ("10.0.0.1", Network::Clearnet),
        ] {
            let address = Address::parse(&format!("ws://{host}")).expect("an address");
            assert_eq!(address.network(), network, "{host}");
        }
    }
}
