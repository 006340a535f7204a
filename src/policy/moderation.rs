//! What administrators have decided while the relay runs (NIP-86): bans, allowances, and what the
//! relay calls itself.
//!
//! Each decision is one [`Subject`] and a note, which is a reason or a text. It has a name, under
//! which it is kept; what stands is the set of them. What the configuration says applies beside
//! it: what either refuses is refused, and whom either lets in is let in.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use imbl::OrdMap;

use crate::address::AddressRange;
use crate::nostr::{EventId, EventRef, Kind, Prefix, PublicKey, Reject};

/// What a decision is about, and which one it is. The order is that of lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Events of this author are not taken.
    BannedKey(PublicKey),
    /// Events of this author are taken where not everybody's are.
    AllowedKey(PublicKey),
    /// This event is not taken.
    BannedEvent(EventId),
    /// This event is well, whatever others report about it.
    AllowedEvent(EventId),
    /// Events of this kind are taken where not all kinds are.
    AllowedKind(Kind),
    /// Events of this kind are not taken.
    RefusedKind(Kind),
    /// This key may call this method of management, beside what the configuration says.
    AssignedMethod(PublicKey, Box<str>),
    /// Nobody is served at these addresses; in the form that [`Subject::address`] gives.
    BlockedAddress(Box<str>),
    /// The name of the relay is the note.
    Name,
    /// What the relay is for is the note.
    Description,
    /// The address of a picture of the relay is the note.
    Icon,
}

impl Subject {
    /// Returns the subject of blocking an address or a range; nothing if the text is neither.
    pub fn address(text: &str) -> Option<Subject> {
        let canonical = match text.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().to_string(),
            Err(_) => text.parse::<AddressRange>().ok()?.to_string(),
        };
        Some(Subject::BlockedAddress(canonical.into()))
    }
}

/// The name of the row that keeps the decision.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::BannedKey(key) => write!(f, "banned-key/{key}"),
            Subject::AllowedKey(key) => write!(f, "allowed-key/{key}"),
            Subject::BannedEvent(id) => write!(f, "banned-event/{id}"),
            Subject::AllowedEvent(id) => write!(f, "allowed-event/{id}"),
            Subject::AllowedKind(kind) => write!(f, "allowed-kind/{kind}"),
            Subject::RefusedKind(kind) => write!(f, "refused-kind/{kind}"),
            Subject::AssignedMethod(key, name) => write!(f, "assigned-method/{key}/{name}"),
            Subject::BlockedAddress(text) => write!(f, "blocked-address/{text}"),
            Subject::Name => f.write_str("relay/name"),
            Subject::Description => f.write_str("relay/description"),
            Subject::Icon => f.write_str("relay/icon"),
        }
    }
}

/// A text is not the name of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the name of a decision")]
pub struct SubjectError;

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(name: &str) -> Result<Subject, SubjectError> {
        let (list, item) = name.split_once('/').ok_or(SubjectError)?;
        let key = || PublicKey::from_hex(item.as_bytes());
        let id = || EventId::from_hex(item.as_bytes());
        let kind = || item.parse().ok().map(Kind);
        let subject = match list {
            "banned-key" => key().map(Subject::BannedKey),
            "allowed-key" => key().map(Subject::AllowedKey),
            "banned-event" => id().map(Subject::BannedEvent),
            "allowed-event" => id().map(Subject::AllowedEvent),
            "allowed-kind" => kind().map(Subject::AllowedKind),
            "refused-kind" => kind().map(Subject::RefusedKind),
            "assigned-method" => item.split_once('/').and_then(|(key, name)| {
                let key = PublicKey::from_hex(key.as_bytes())?;
                Some(Subject::AssignedMethod(key, name.into()))
            }),
            "blocked-address" => Subject::address(item),
            "relay" => match item {
                "name" => Some(Subject::Name),
                "description" => Some(Subject::Description),
                "icon" => Some(Subject::Icon),
                _ => None,
            },
            _ => None,
        };
        subject.ok_or(SubjectError)
    }
}

/// All decisions that stand; cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Moderation {
    decisions: OrdMap<Subject, Arc<str>>,
    /// The blocked addresses among them.
    blocked: Arc<[AddressRange]>,
}

impl Moderation {
    /// Decides, with a note; a decision about the same subject is replaced.
    pub fn decide(&mut self, subject: Subject, note: &str) {
        let is_address = matches!(subject, Subject::BlockedAddress(_));
        self.decisions.insert(subject, note.into());
        if is_address {
            self.collect_blocked();
        }
    }

    /// Takes a decision back.
    pub fn revoke(&mut self, subject: &Subject) {
        self.decisions.remove(subject);
        if matches!(subject, Subject::BlockedAddress(_)) {
            self.collect_blocked();
        }
    }

    fn collect_blocked(&mut self) {
        let range = |(subject, _): (&Subject, &Arc<str>)| match subject {
            Subject::BlockedAddress(text) => text.parse().ok(),
            _ => None,
        };
        self.blocked = self.decisions.iter().filter_map(range).collect();
    }

    /// Returns the note of a decision, if it stands.
    pub fn note(&self, subject: &Subject) -> Option<&str> {
        self.decisions.get(subject).map(|note| &**note)
    }

    /// Returns every decision and its note, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Subject, &str)> {
        self.decisions.iter().map(|(subject, note)| (subject, &**note))
    }

    /// Returns how many decisions stand.
    pub fn count(&self) -> usize {
        self.decisions.len()
    }

    /// Judges an event.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn judge(&self, event: &EventRef<'_>) -> Result<(), Reject> {
        let blocked = |text: &'static str| Err(Reject::new(Prefix::Blocked, text));
        if self.decisions.contains_key(&Subject::BannedKey(*event.pubkey)) {
            return blocked("events of this author are not taken here");
        }
        if self.decisions.contains_key(&Subject::BannedEvent(*event.id)) {
            return blocked("this event is not taken here");
        }
        if self.decisions.contains_key(&Subject::RefusedKind(event.kind)) {
            let text = format!("kind {} is not taken here", event.kind);
            return Err(Reject::new(Prefix::Blocked, text));
        }
        Ok(())
    }

    /// Returns whether events of an author are taken where not everybody's are.
    pub fn allows_key(&self, key: &PublicKey) -> bool {
        self.decisions.contains_key(&Subject::AllowedKey(*key))
    }

    /// Returns whether events of a kind are taken where not all kinds are.
    pub fn allows_kind(&self, kind: Kind) -> bool {
        self.decisions.contains_key(&Subject::AllowedKind(kind))
    }

    /// Returns the methods that administrators let a key call; a banned one calls none of them.
    pub fn methods_of<'a>(&'a self, key: &'a PublicKey) -> impl Iterator<Item = &'a str> {
        let is_banned = self.decisions.contains_key(&Subject::BannedKey(*key));
        let first = Subject::AssignedMethod(*key, Box::default());
        let following =
            self.decisions.range(first..).map_while(move |(subject, _)| match subject {
                Subject::AssignedMethod(whose, name) if whose == key => Some(&**name),
                _ => None,
            });
        following.filter(move |_| !is_banned)
    }

    /// Returns the keys that administrators let call methods, in order, each once per method.
    pub fn assignees(&self) -> impl Iterator<Item = &PublicKey> {
        self.decisions.keys().filter_map(|subject| match subject {
            Subject::AssignedMethod(key, _) => Some(key),
            _ => None,
        })
    }

    /// Returns whether somebody at this address is not served.
    pub fn blocks(&self, address: IpAddr) -> bool {
        self.blocked.iter().any(|range| range.has(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Keypair;

    fn keys(number: u8) -> Keypair {
        Keypair::from_secret([number; 32]).expect("the secret is in range")
    }

    #[test]
    fn a_decision_is_read_back_from_its_name() {
        let key = keys(1).public_key();
        let all = [
            Subject::BannedKey(key),
            Subject::AllowedKey(key),
            Subject::BannedEvent(EventId([7; 32])),
            Subject::AllowedEvent(EventId([8; 32])),
            Subject::AllowedKind(Kind(65_535)),
            Subject::RefusedKind(Kind(0)),
            Subject::AssignedMethod(key, "banevent".into()),
            Subject::address("192.0.2.7").expect("an address"),
            Subject::address("2001:DB8::/32").expect("a range"),
            Subject::Name,
            Subject::Description,
            Subject::Icon,
        ];
        for subject in all {
            assert_eq!(subject.to_string().parse(), Ok(subject.clone()), "{subject}");
        }
        for name in ["", "x", "x/y", "banned-key/x", "allowed-kind/65536", "relay/x"] {
            assert_eq!(name.parse::<Subject>(), Err(SubjectError), "{name}");
        }
    }

    #[test]
    fn what_is_banned_is_refused_until_that_is_taken_back() {
        let event = keys(1).sign_event(1, Kind(7), &[], "");
        let subjects = [
            Subject::BannedKey(event.pubkey),
            Subject::BannedEvent(event.id),
            Subject::RefusedKind(event.kind),
        ];
        for subject in subjects {
            let mut moderation = Moderation::default();
            assert_eq!(moderation.judge(&event.view()), Ok(()));
            moderation.decide(subject.clone(), "spam");
            let refused = moderation.judge(&event.view()).map_err(|it| it.prefix);
            assert_eq!(refused, Err(Prefix::Blocked), "{subject}");
            assert_eq!(moderation.note(&subject), Some("spam"));
            let other = keys(2).sign_event(1, Kind(8), &[], "");
            assert_eq!(moderation.judge(&other.view()), Ok(()));
            moderation.revoke(&subject);
            assert_eq!(moderation.judge(&event.view()), Ok(()));
        }
    }

    #[test]
    fn a_key_calls_the_methods_that_it_was_given_unless_it_is_banned() {
        let keys: Vec<PublicKey> = (1..4).map(|it| keys(it).public_key()).collect();
        let mut moderation = Moderation::default();
        for (key, name) in [(0, "banevent"), (0, "allowevent"), (1, "blockip")] {
            moderation.decide(Subject::AssignedMethod(keys[key], name.into()), "");
        }
        moderation.decide(Subject::AllowedKey(keys[2]), "");
        moderation.decide(Subject::address("192.0.2.7").expect("an address"), "");
        let of = |moderation: &Moderation, at: usize| -> Vec<String> {
            moderation.methods_of(&keys[at]).map(str::to_owned).collect()
        };
        assert_eq!(of(&moderation, 0), ["allowevent", "banevent"]);
        assert_eq!(of(&moderation, 1), ["blockip"]);
        assert!(of(&moderation, 2).is_empty());
        assert_eq!(moderation.assignees().count(), 3);
        moderation.decide(Subject::BannedKey(keys[0]), "");
        assert!(of(&moderation, 0).is_empty());
        moderation.revoke(&Subject::AssignedMethod(keys[1], "blockip".into()));
        assert!(of(&moderation, 1).is_empty());
    }

    #[test]
    fn addresses_are_blocked_alone_or_as_ranges() {
        let mut moderation = Moderation::default();
        for text in ["192.0.2.7", "2001:db8::/32", "::ffff:198.51.100.1"] {
            moderation.decide(Subject::address(text).expect("an address"), "");
        }
        let rows = [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::5", true),
            ("198.51.100.1", true),
        ];
        for (address, expected) in rows {
            assert_eq!(moderation.blocks(address.parse().expect("it is one")), expected);
        }
        moderation.revoke(&Subject::address("192.0.2.7").expect("an address"));
        assert!(!moderation.blocks("192.0.2.7".parse().expect("it is one")));
        assert_eq!(Subject::address("example.org"), None);
    }
}
