//! One group: what is said about it, who is in it, and what the relay says of both.

use imbl::{OrdMap, OrdSet};

use super::action::{Pin, Roles, roles};
use super::id::GroupId;
use super::metadata::Metadata;
use crate::nostr::{EventId, EventRef, Kind, PublicKey, Value};

/// A group as it stands. Cloning shares what is large.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What is said about it.
    pub metadata: Metadata,
    /// Below which group it is.
    pub parent: Option<GroupId>,
    /// The groups below it, in order.
    pub children: Vec<GroupId>,
    /// Who is in it, with their roles.
    pub members: OrdMap<PublicKey, Roles>,
    /// Who was removed by others, and is not let in again on request.
    pub removed: OrdSet<PublicKey>,
    /// What lets people into it while it is closed.
    pub invites: Vec<Invite>,
    /// The pinned events, in order.
    pub pins: Vec<Pin>,
    /// Whether events were taken out of it.
    pub has_deletions: bool,
    /// Whether it is over: nothing of it is shown any more, and its id is not given again.
    pub is_over: bool,
    /// The newest `created_at` of what the relay says of it.
    pub stamp: u64,
}

/// A code that admits to a closed group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// What must be known.
    pub code: String,
    /// Up to when it admits, if it expires.
    pub expires_at: Option<u64>,
    /// The event that made it.
    pub event: EventId,
    /// Who made it.
    pub author: PublicKey,
}

/// What somebody may do in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Power {
    /// What members may.
    None,
    /// Admit and remove members without roles, take out events, invite, pin.
    Moderator,
    /// Everything.
    Admin,
}

/// An event that the relay is to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its kind.
    pub kind: Kind,
    /// Its tags.
    pub tags: Vec<Vec<String>>,
    /// Its content.
    pub content: &'static str,
}

/// What the relay says of a group, each in an event of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts(u8);

impl Parts {
    /// Kind 39000.
    pub const METADATA: Parts = Parts(1);
    /// Kind 39001.
    pub const ADMINS: Parts = Parts(1 << 1);
    /// Kind 39002.
    pub const MEMBERS: Parts = Parts(1 << 2);
    /// Kind 39003.
    pub const ROLES: Parts = Parts(1 << 3);
    /// Kind 39005.
    pub const PINS: Parts = Parts(1 << 5);
    /// Who is in it.
    pub const PEOPLE: Parts = Parts(Parts::ADMINS.0 | Parts::MEMBERS.0);
    /// All that each group has.
    pub const ALL: Parts = Parts(Parts::METADATA.0 | Parts::PEOPLE.0 | Parts::ROLES.0);

    /// Returns the part that a kind is.
    pub fn of(kind: Kind) -> Parts {
        let place = kind.0.checked_sub(*super::STATE_KINDS.start()).filter(|place| *place < 6);
        place.map_or(Parts::default(), |place| Parts(1 << place))
    }

    /// Returns these and those.
    pub fn and(self, other: Parts) -> Parts {
        Parts(self.0 | other.0)
    }

    /// Returns these without those.
    pub fn without(self, other: Parts) -> Parts {
        Parts(self.0 & !other.0)
    }

    /// Tells whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn kinds(self) -> impl Iterator<Item = u16> {
        let first = *super::STATE_KINDS.start();
        (0..6).filter(move |place| self.0 & 1 << place != 0).map(move |place| first + place)
    }
}

impl Group {
    /// Tells whether somebody is in it.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.members.contains_key(key)
    }

    /// Returns what somebody may do by their roles.
    pub fn power(&self, key: &PublicKey) -> Power {
        self.members.get(key).map_or(Power::None, power_of)
    }

    /// Returns how many admins it has.
    pub fn admin_count(&self) -> usize {
        self.members.iter().filter(|(_, roles)| power_of(roles) == Power::Admin).count()
    }

    /// Returns the events that say these parts.
    pub fn drafts(&self, id: &GroupId, parts: Parts) -> Vec<Draft> {
        parts.kinds().map(|kind| self.draft(id, kind)).collect()
    }

    fn draft(&self, id: &GroupId, kind: u16) -> Draft {
        let mut tags = vec![vec!["d".to_owned(), id.to_text()]];
        match kind {
            39_000 => {
                tags.extend(self.metadata.tags());
                let name = |name: &str, id: &GroupId| vec![name.to_owned(), id.to_text()];
                tags.extend(self.parent.iter().map(|id| name("parent", id)));
                tags.extend(self.children.iter().map(|id| name("child", id)));
            }
            39_001 => {
                let with_roles = self.members.iter().filter(|(_, roles)| !roles.is_empty());
                tags.extend(with_roles.map(|(key, roles)| {
                    let named = ["p".to_owned(), key.to_string()];
                    named.into_iter().chain(roles.iter().cloned()).collect()
                }));
            }
            39_002 => {
                let members = self.members.keys();
                tags.extend(members.map(|key| vec!["p".to_owned(), key.to_string()]));
            }
            39_003 => tags.extend(ROLES.iter().map(|(name, _, description)| {
                ["role", name, description].map(str::to_owned).to_vec()
            })),
            _ => tags.extend(self.pins.iter().map(|pin| match pin {
                Pin::Event(id) => vec!["e".to_owned(), id.to_string()],
                Pin::Address(address) => vec!["a".to_owned(), address.clone()],
            })),
        }
        Draft { kind: Kind(kind), tags, content: "" }
    }

    /// Takes over what an event says that the relay once made by [`Group::drafts`].
    pub fn recall(&mut self, event: &EventRef<'_>) {
        self.stamp = self.stamp.max(event.created_at);
        let keys = || {
            let tags = event.tags().filter(|tag| tag.letter() == Some(b'p'));
            tags.filter_map(|tag| Some((PublicKey(*tag.value()?.as_hex()?), tag)))
        };
        match event.kind.0 {
            39_000 => {
                self.metadata = Metadata::read(event).unwrap_or_default();
                let all = |name: &'static str| {
                    let tags = event.tags().filter(move |tag| tag.is_named(name));
                    tags.filter_map(|tag| tag.value()).map(GroupId::of)
                };
                self.parent = all("parent").next();
                self.children = all("child").collect();
            }
            39_001 => {
                for (key, tag) in keys() {
                    self.members.insert(key, roles(&tag).unwrap_or_default());
                }
            }
            39_002 => {
                for (key, _) in keys() {
                    self.members.entry(key).or_default();
                }
            }
            39_005 => {
                let pin = |letter: Option<u8>, value: Value<'_>| match (letter, value) {
                    (Some(b'e'), Value::Hex(id)) => Some(Pin::Event(EventId(*id))),
                    (Some(b'a'), text) => Some(Pin::Address(text.to_text().into_owned())),
                    _ => None,
                };
                let pins = event.tags().filter_map(|tag| pin(tag.letter(), tag.value()?));
                self.pins = pins.collect();
            }
            _ => {}
        }
    }
}

fn power_of(roles: &Roles) -> Power {
    let power = |role: &String| ROLES.iter().find(|(name, ..)| name == role).map(|it| it.1);
    roles.iter().filter_map(power).max().unwrap_or(Power::None)
}

/// The role of who makes a group.
pub(super) const ADMIN: &str = "admin";
/// The roles that mean something here, and what.
const ROLES: [(&str, Power, &str); 2] = [
    (ADMIN, Power::Admin, "does everything, and makes others admins or moderators"),
    (
        "moderator",
        Power::Moderator,
        "admits and removes members without roles, deletes events, invites, pins",
    ),
];
