//! Who a client proves to be, and by which names this relay goes (NIP-42).
//!
//! What a proof must say is checked here; that it was really signed is checked by whoever calls,
//! because it takes a while.

use std::fmt;
use std::net::SocketAddr;

use crate::hex::Hex;
use crate::nostr::{EventRef, Kind, Reject, RelayUrl, Value};

/// The addresses that mean this relay.
#[derive(Clone, Debug)]
pub enum OwnNames {
    /// Those that its operator has configured.
    Public(Box<[RelayUrl]>),
    /// None are configured: this machine's own names, and the address it listens on. Nobody can
    /// take a proof for one of these to another relay of the network.
    Local(SocketAddr),
}

impl OwnNames {
    /// Tells whether a text is an address of this relay.
    pub fn has(&self, text: &str) -> bool {
        RelayUrl::parse(text).is_some_and(|url| match self {
            OwnNames::Public(names) => names.contains(&url),
            OwnNames::Local(listen) => url.is_loopback() || url.is_socket(*listen),
        })
    }

    /// Returns what is wrong with an address that is not this relay's.
    fn explain(&self) -> &'static str {
        match self {
            OwnNames::Public(_) => "the relay tag names another relay",
            // So that an operator who sees it knows what to do.
            OwnNames::Local(_) => {
                "the relay tag names another relay; the public address of this one is not configured"
            }
        }
    }
}

/// What a client has to sign to prove who it is: unpredictable, and another for each connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; 16]);

impl Challenge {
    /// Returns the challenge of random bytes.
    pub fn new(random: [u8; 16]) -> Challenge {
        Challenge(random)
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is as good as a secret until it is used.
        f.write_str("Challenge(..)")
    }
}

/// Returns what is wrong with a proof of identity, its signature aside.
pub(super) fn check_proof(
    event: &EventRef<'_>,
    challenge: &Challenge,
    names: &OwnNames,
    now: u64,
) -> Result<(), Reject> {
    if event.kind != Kind::AUTHENTICATION {
        return Err(Reject::invalid("an AUTH message takes an event of kind 22242"));
    }
    if event.created_at.abs_diff(now) > PROOF_SECS_MAX {
        return Err(Reject::invalid("created_at is more than ten minutes away from now"));
    }
    // Each is looked for by itself: a second tag must not make up for a missing one.
    let first = |name: &str| event.tags().find(|tag| tag.is_named(name)).and_then(|it| it.value());
    if first("challenge") != Some(Value::Text(challenge.to_string().as_bytes())) {
        return Err(Reject::invalid("the challenge tag is not the challenge of this connection"));
    }
    match first("relay") {
        None => Err(Reject::invalid("there is no relay tag")),
        Some(url) if !names.has(&url.to_text()) => Err(Reject::invalid(names.explain())),
        Some(_) => Ok(()),
    }
}

/// How far the client's clock may be off.
const PROOF_SECS_MAX: u64 = 600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Keypair;

    const NOW: u64 = 1_700_000_000;

    fn names() -> OwnNames {
        let urls = ["wss://relay.example.org", "ws://hidden.onion"];
        OwnNames::Public(urls.into_iter().filter_map(RelayUrl::parse).collect())
    }

    #[test]
    fn nip_42_6_every_part_of_a_proof_is_checked_by_itself() {
        let challenge = Challenge::new([0xab; 16]);
        let right = challenge.to_string();
        assert_eq!(right, "ab".repeat(16));
        let ours = ("relay", "wss://relay.example.org/");
        let answered = ("challenge", right.as_str());
        let foreign = ("relay", "wss://evil.example");
        type Row<'a> = (u16, u64, &'a [(&'a str, &'a str)], Option<&'a str>);
        let rows: &[Row<'_>] = &[
            (22_242, NOW, &[ours, answered], None),
            (22_242, NOW, &[answered, ("relay", "WS://HIDDEN.onion:80")], None),
            (22_242, NOW - 600, &[ours, answered], None),
            (22_242, NOW + 600, &[ours, answered], None),
            (22_242, NOW - 601, &[ours, answered], Some("created_at")),
            (22_242, NOW + 601, &[ours, answered], Some("created_at")),
            (1, NOW, &[ours, answered], Some("22242")),
            (22_242, NOW, &[ours], Some("challenge")),
            (22_242, NOW, &[ours, ours], Some("challenge")),
            (22_242, NOW, &[answered], Some("relay")),
            (22_242, NOW, &[ours, ("challenge", "x")], Some("challenge")),
            (22_242, NOW, &[ours, ("challenge", "x"), answered], Some("challenge")),
            (22_242, NOW, &[foreign, answered], Some("another relay")),
            (22_242, NOW, &[foreign, ours, answered], Some("another relay")),
        ];
        let keys = Keypair::from_secret([1; 32]).expect("the secret is in range");
        for (kind, created_at, tags, expected) in rows {
            let tag = |(name, value): &(&str, &str)| vec![(*name).to_owned(), (*value).to_owned()];
            let tags: Vec<Vec<String>> = tags.iter().map(tag).collect();
            let event = keys.sign_event(*created_at, Kind(*kind), &tags, "");
            let found = check_proof(&event.view(), &challenge, &names(), NOW);
            match expected {
                None => assert_eq!(found, Ok(()), "{tags:?}"),
                Some(word) => {
                    let text = found.expect_err("it is wrong").to_string();
                    assert!(text.starts_with("invalid: ") && text.contains(word), "{text}");
                }
            }
        }
    }

    #[test]
    fn without_a_public_address_only_this_machine_itself_is_meant() {
        let names = OwnNames::Local("10.1.2.3:7777".parse().expect("a socket's address"));
        for own in ["ws://localhost:7777", "wss://127.0.0.1/", "ws://[::1]:1", "ws://10.1.2.3:7777"]
        {
            assert!(names.has(own), "{own}");
        }
        for other in ["wss://relay.example.org", "ws://10.1.2.3:80", "ALL_RELAYS", ""] {
            assert!(!names.has(other), "{other}");
        }
    }
}
