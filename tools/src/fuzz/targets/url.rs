//! Addresses of relays: what passes for the address of a relay names its host.

use chappe::nostr::RelayUrl;
use fastrand::Rng;

use super::{Target, damaged};
use crate::fuzz::grammar::word;

pub(super) struct Urls;

impl Target for Urls {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut text = String::new();
        for _ in 0..rng.usize(1..3) {
            text += word(rng, &["wss", "ws", "http", "https", "WSS", "ftp", ""]);
            text += word(rng, &["://", "://", "://", ":", "//"]);
            text += word(rng, &["", "", "", "user@", "a:b@", "relay.example.org@"]);
            text +=
                word(rng, &[HOST, HOST, "RELAY.example.ORG", "evil.example", "[::1]", "10.0.0.1"]);
            text += word(rng, &["", ".", "..", ".evil.example", "\u{3002}", "%2e", "\\", "\t"]);
            text += word(rng, &["", "", ":80", ":443", ":", ":+80", ":0443", ":65536", ":7777"]);
            text += word(rng, &["", "/", "//", "/?", "?", "#", "/a", "/../", "/?a=wss://x#y"]);
        }
        damaged(text, b"wss://relay.example.org@evil.example:443/path?query#fragment", rng)
    }

    fn check(&mut self, input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        let Some(url) = RelayUrl::parse(&text) else { return };
        let ours = RelayUrl::parse("wss://relay.example.org").expect("it is an address");
        let (host, port) = plain_authority(&text);
        let is_default = matches!(&*port, "" | "80" | "443");
        if url == ours {
            assert_eq!(host.trim_end_matches('.'), HOST, "{text} passes for our address");
            assert!(is_default || port.parse::<u16>().is_ok_and(|it| it == 80 || it == 443));
        }
        let is_named = ["localhost", "[::1]"].contains(&host.trim_end_matches('.'));
        let is_loopback = is_named || host.starts_with("127.") || host.starts_with("[");
        assert!(!url.is_loopback() || is_loopback, "{text} passes for this machine");
        // Spellings that do not matter.
        let plain = text.trim();
        if !plain.contains(['?', '#']) {
            assert_eq!(RelayUrl::parse(&format!("  {plain}/?a=b#c ")), Some(url.clone()));
        }
        let (scheme, rest) = plain.split_once("://").expect("an address has a scheme");
        let shouted = format!("{}://{rest}", scheme.to_uppercase());
        assert_eq!(RelayUrl::parse(&shouted), Some(url));
    }
}

/// The host in lower case and the port of an address, read as a browser does: the host stands
/// behind the last `@` in front of the path.
fn plain_authority(text: &str) -> (String, String) {
    let rest = text.trim().split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().to_lowercase();
    let end = host.find(']').map_or(0, |bracket| bracket + 1);
    match host[end..].find(':') {
        Some(colon) => (host[..end + colon].to_owned(), host[end + colon + 1..].to_owned()),
        None => (host, String::new()),
    }
}

const HOST: &str = "relay.example.org";
