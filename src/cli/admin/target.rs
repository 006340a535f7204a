//! What is banned or allowed: authors, events, addresses and kinds, told apart by how they are
//! written.

use std::net::IpAddr;
use std::str::FromStr;

use crate::address::AddressRange;
use crate::nostr::{EventId, PublicKey, bech32};

/// Something that can be banned or allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Author(PublicKey),
    Event(EventId),
    Address(String),
    Kind(u16),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let (name, rest) = text.split_once(':').unwrap_or(("", text));
        let hex = |text: &str| PublicKey::from_hex(text.as_bytes()).map(|key| key.0);
        let found = match name {
            "author" => hex(rest).or_else(|| bech32::decode("npub", rest)).map(author),
            "event" => hex(rest).or_else(|| bech32::decode("note", rest)).map(event),
            "kind" => rest.parse().ok().map(Target::Kind),
            _ if hex(text).is_some() => {
                return Err(
                    "64 digits may be an author or an event: write author:... or event:..."
                        .to_owned(),
                );
            }
            _ => bech32::decode("npub", text)
                .map(author)
                .or_else(|| bech32::decode("note", text).map(event))
                .or_else(|| is_address(text).then(|| Target::Address(text.to_owned()))),
        };
        found.ok_or_else(|| {
            "expected npub1..., note1..., author:KEY, event:ID, kind:NUMBER, an address such as \
             192.0.2.7, or a range such as 192.0.2.0/24"
                .to_owned()
        })
    }
}

fn author(bytes: [u8; 32]) -> Target {
    Target::Author(PublicKey(bytes))
}

fn event(bytes: [u8; 32]) -> Target {
    Target::Event(EventId(bytes))
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<AddressRange>().is_ok()
}

impl Target {
    /// Returns it as a parameter of a call.
    pub(super) fn param(&self) -> String {
        match self {
            Target::Author(key) => key.to_string(),
            Target::Event(id) => id.to_string(),
            Target::Address(text) => text.clone(),
            Target::Kind(kind) => kind.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_told_by_how_it_is_written() {
        let hex = "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d";
        let npub = "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6";
        let bytes = PublicKey::from_hex(hex.as_bytes()).expect("a key").0;
        let address = |text: &str| Some(Target::Address(text.to_owned()));
        let rows = [
            (npub.to_owned(), Some(author(bytes))),
            (format!("author:{npub}"), Some(author(bytes))),
            (format!("author:{hex}"), Some(author(bytes))),
            (format!("event:{hex}"), Some(event(bytes))),
            (bech32::encode("note", &bytes), Some(event(bytes))),
            (hex.to_owned(), None),
            ("kind:7".to_owned(), Some(Target::Kind(7))),
            ("kind:70000".to_owned(), None),
            ("192.0.2.7".to_owned(), address("192.0.2.7")),
            ("2001:db8::/32".to_owned(), address("2001:db8::/32")),
            ("::1".to_owned(), address("::1")),
            ("example.org".to_owned(), None),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<Target>().ok(), expected, "{text}");
        }
    }
}
