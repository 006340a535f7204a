//! The parts `[[peer]]` of the configuration file: other relays, and what is done with each.
//!
//! There may be any number of them, so their keys are a table of their own, which parsing, checking
//! and the writers follow as they follow the table of sections. Environment and command line know
//! none of them.

use std::path::PathBuf;

use super::forms::PROXY;
use super::key::{Range, Raw};
use super::load::Origin;
use super::nearest::nearest;
use super::value::{Value, words};
use crate::ingest::EntryTerms;
use crate::net::Address;
use crate::nostr::Filter;
use crate::peer::Direction;
use crate::policy::{ANY_PEER, RetentionRule};

words! {
    Direction { "down" => Direction::Down, "up" => Direction::Up, "both" => Direction::Both }
}

words! { EntryTerms { "clients" => EntryTerms::AsClients, "none" => EntryTerms::Plain } }

/// One part `[[peer]]` and where it is.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What it says.
    pub settings: PeerSettings,
    /// Where it begins.
    pub origin: Origin,
}

/// One key of a part, as the table describes it.
pub(super) struct PeerKey {
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
    pub(super) unit: &'static str,
    pub(super) range: Range,
    pub(super) example: Option<&'static str>,
    set: fn(&mut PeerSettings, &Raw, &Range) -> bool,
    show: fn(&PeerSettings) -> Option<String>,
}

/// Turns the table into the struct of a part and its keys.
macro_rules! peer_keys {
    ($(
        $(#[doc = $doc:literal])+
        #[key(unit = $unit:literal, range = $range:expr $(, example = $example:literal)?)]
        $field:ident: $type:ty = $default:expr;
    )+) => {
        /// What a part `[[peer]]` says.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct PeerSettings {$(
            $(#[doc = $doc])+
            pub $field: $type,
        )+}

        impl Default for PeerSettings {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        /// The keys of a part in the order of the file.
        pub(super) static PEER_KEYS: &[PeerKey] = &[$(PeerKey {
            name: stringify!($field),
            doc: &[$($doc),+],
            unit: $unit,
            range: $range,
            example: peer_keys!(@example $($example)?),
            set: |settings, raw, range| match <$type as Value>::read(raw, range) {
                Some(value) => {
                    settings.$field = value;
                    true
                }
                None => false,
            },
            show: |settings| settings.$field.write(),
        }),+];
    };
    (@example) => { None };
    (@example $example:literal) => { Some($example) };
}

peer_keys! {
    /// Address of the other relay. Every part needs this key.
    #[key(unit = "", range = PEER_URL, example = "\"wss://relay.example.org\"")]
    url: String = String::new();

    /// What it is called in metrics, in the log and by `relay info`. Absent: its host, and its port
    /// where that is not the usual one.
    #[key(unit = "", range = NAME, example = "\"example\"")]
    name: Option<String> = None;

    /// Which way events go: "down" from the other relay, "up" to it, or "both".
    #[key(unit = "", range = Range::OneOf(&["down", "up", "both"]))]
    direction: Direction = Direction::Down;

    /// Which events, as a filter in JSON, without limit and search.
    #[key(unit = "", range = FILTER, example = "'{\"kinds\":[0,3,10002]}'")]
    filter: String = "{}".to_owned();

    /// How long after everything was compared it is compared again. By NIP-77 that is done at each
    /// new connection, too, because it costs next to nothing; without it everything that the other
    /// relay has is transferred for it. 0: never again.
    #[key(unit = "hours", range = Range::Integers(0, 87_600))]
    full_sync_hours: u64 = 168;

    /// What events have to be that come from there. "clients": all that is asked of events of
    /// clients (limits, policy, membership, plugin). "none": rightly signed and not banned by
    /// administrators, no more; for relays that are yours as well.
    #[key(unit = "", range = Range::OneOf(&["clients", "none"]))]
    rules: EntryTerms = EntryTerms::AsClients;

    /// Whether it is remembered which events came from there first, and when: for `relay scan --from`.
    /// It takes two or three bytes an event.
    #[key(unit = "", range = Range::Truth)]
    provenance: bool = false;

    /// Whether private messages (auth.restricted_kinds) are compared and sent, too; for relays that
    /// are yours as well.
    #[key(unit = "", range = Range::Truth)]
    private: bool = false;

    /// File with the secret key by which to prove who asks (NIP-42), as relay.secret_key_file;
    /// `relay key generate` makes one. Absent: nobody.
    #[key(unit = "", range = Range::File, example = "\"/etc/relay/peer.key\"")]
    key_file: Option<PathBuf> = None;

    /// SOCKS5 proxy for this relay alone, as host and port. Absent: that of its network.
    #[key(unit = "", range = PROXY, example = "\"127.0.0.1:9050\"")]
    proxy: Option<String> = None;
}

/// What the parts are for, as the example says it.
pub(super) const DOC: &[&str] = &[
    " Another relay that this one is brought into agreement with, and kept so while it serves; see",
    " docs/peers.md. There may be any number of such parts. All keys of all parts reload: a part that",
    " is new is begun with, one that is gone is left, one that has changed is begun anew.",
];

const PEER_URL: Range = Range::Form {
    described: "an address such as wss://relay.example.org",
    accepts: |text| Address::parse(text).is_ok(),
};

const NAME: Range = Range::Form {
    described: "a name of 1 to 100 letters, digits and the characters ._:[]-",
    accepts: |text| {
        let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"._:[]-".contains(&byte);
        (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_right)
    },
};

const FILTER: Range = Range::Form {
    described: "a filter as JSON such as {\"kinds\":[0,3]}, without limit and search",
    accepts: |text| {
        Filter::parse(text.as_bytes()).is_ok_and(|it| it.limit.is_none() && it.search.is_none())
    },
};

impl PeerSettings {
    /// Returns what the relay is called.
    pub fn shown_name(&self) -> String {
        let of_url = || {
            let rest = self.url.split_once("://").map_or(&*self.url, |(_, rest)| rest);
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            host.chars().take(NAME_BYTES_MAX).collect::<String>().to_ascii_lowercase()
        };
        self.name.clone().unwrap_or_else(of_url)
    }

    /// Returns the values of all keys as TOML, by name; nothing for those that are absent.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, Option<String>)> {
        PEER_KEYS.iter().map(|key| (key.name, (key.show)(self)))
    }

    /// Sets a key.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to do about it.
    pub(super) fn set(&mut self, name: &str, raw: &Raw) -> Result<(), (String, Option<String>)> {
        let Some(key) = PEER_KEYS.iter().find(|key| key.name == name) else {
            let hint = match nearest(name, PEER_KEYS.iter().map(|key| key.name)) {
                Some(known) => format!("the nearest known key is peer.{known}"),
                None => "`relay config example` lists every key".to_owned(),
            };
            let text = format!("peer.{name}: expected a known key, found none of this name");
            return Err((text, Some(hint)));
        };
        if (key.set)(self, raw, &key.range) {
            return Ok(());
        }
        let expected = key.expectation();
        Err((format!("peer.{name}: expected {expected}, found {}", raw.describe()), None))
    }

    /// Returns what is missing, if anything is.
    pub(super) fn lack(&self) -> Option<String> {
        self.url.is_empty().then(|| "[[peer]]: expected the key url, found none".to_owned())
    }
}

impl PeerKey {
    /// Says in words which values are possible, with the unit.
    pub(super) fn expectation(&self) -> String {
        let range = self.range.describe();
        if self.unit.is_empty() { range } else { format!("{range} ({})", self.unit) }
    }

    /// Returns the value of this key as TOML text, `None` when it is absent.
    pub(super) fn value(&self, settings: &PeerSettings) -> Option<String> {
        (self.show)(settings)
    }
}

/// Returns the parts that have the name of another, each with where that other is.
pub(super) fn namesakes(peers: &[Peer]) -> Vec<(&Peer, &Origin)> {
    let is_namesake =
        |peer: &&Peer, other: &Peer| peer.settings.shown_name() == other.settings.shown_name();
    let of = |(place, peer): (usize, &'_ Peer)| {
        peers[..place].iter().position(|other| is_namesake(&peer, other)).map(|at| (place, at))
    };
    let found = peers.iter().enumerate().filter_map(of);
    found.map(|(place, at)| (&peers[place], &peers[at].origin)).collect()
}

/// Returns the names in rules of retention that are those of no part whose events are remembered.
pub(super) fn strangers(rules: &[String], peers: &[Peer]) -> Vec<String> {
    let rules = rules.iter().filter_map(|text| text.parse::<RetentionRule>().ok());
    let mut names: Vec<String> = rules
        .flat_map(|rule| rule.from.iter().map(ToString::to_string).collect::<Vec<_>>())
        .collect();
    let is_known = |name: &str| {
        let is_peer = |it: &Peer| it.settings.provenance && it.settings.shown_name() == name;
        name == ANY_PEER || Address::parse(name).is_ok() || peers.iter().any(is_peer)
    };
    names.retain(|name| !is_known(name));
    names
}

const NAME_BYTES_MAX: usize = 100;
/// The most parts there may be: each is a thread and a connection.
pub(super) const PEERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_without_a_name_is_called_by_its_host() {
        for (url, name) in [
            ("wss://relay.example.org", "relay.example.org"),
            ("wss://Relay.example.org/path?x=1", "relay.example.org"),
            ("ws://127.0.0.1:7777", "127.0.0.1:7777"),
            ("ws://[::1]:7777/", "[::1]:7777"),
        ] {
            let settings = PeerSettings { url: url.to_owned(), ..PeerSettings::default() };
            assert_eq!(settings.shown_name(), name);
            assert!(NAME.accepts_text(name), "{name}");
        }
    }

    #[test]
    fn rules_of_retention_name_peers_whose_events_are_remembered() {
        let peer = |name: &str, provenance: bool| {
            let name = Some(name.to_owned());
            let settings = PeerSettings { name, provenance, ..PeerSettings::default() };
            Peer { settings, origin: Origin::Default }
        };
        let peers = [peer("a", true), peer("b", false)];
        let rule = "from=peers|a|b|c|wss://relay.example.org age=1d".to_owned();
        assert_eq!(strangers(&[rule, "age=1d".to_owned()], &peers), ["b", "c"]);
    }

    #[test]
    fn every_key_is_written_as_it_is_read() {
        for key in PEER_KEYS {
            let Some(text) = key.example else { continue };
            let toml: toml::Value = text.parse().expect("an example is TOML");
            let mut settings = PeerSettings::default();
            let raw = Raw::Text(toml.as_str().expect("text").to_owned());
            settings.set(key.name, &raw).unwrap_or_else(|(text, _)| panic!("{text}"));
            let written = key.value(&settings).expect("it is there");
            assert_eq!(written.parse::<toml::Value>().expect("TOML"), toml, "{}", key.name);
        }
    }
}
