//! What an event that manages a group asks for: read from its tags, before anything is known of the
//! group (NIP-29, moderation table).

use super::id::GroupId;
use super::metadata::Metadata;
use super::{CHANGE_BYTES_MAX, CODE_BYTES_MAX, ID_BYTES_MAX, ROLE_BYTES_MAX, ROLES_MAX};
use crate::nostr::{EventId, EventRef, PublicKey, Reject, Tag, Value};

/// Kinds that manage groups: moderation, requests to join and to leave.
pub const MANAGING_KINDS: std::ops::RangeInclusive<u16> = 9_000..=9_022;
/// Kinds that describe groups and that the relay alone makes.
pub const STATE_KINDS: std::ops::RangeInclusive<u16> = 39_000..=39_005;

pub(super) const PUT_USER: u16 = 9_000;
pub(super) const REMOVE_USER: u16 = 9_001;
const EDIT_METADATA: u16 = 9_002;
/// Takes events out of a group.
pub const DELETE_EVENT: u16 = 9_005;
/// Asks for a group.
pub const CREATE_GROUP: u16 = 9_007;
/// Ends a group.
pub const DELETE_GROUP: u16 = 9_008;
/// Makes a code that admits to a closed group.
pub const CREATE_INVITE: u16 = 9_009;
const UPDATE_PINS: u16 = 9_010;
/// Asks to be admitted.
pub const JOIN: u16 = 9_021;
const LEAVE: u16 = 9_022;

/// The roles of a member, in the order in which they were given; none for most.
pub type Roles = std::sync::Arc<[String]>;

/// What is done to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Admit members, or replace their roles.
    PutUsers(Vec<(PublicKey, Roles)>),
    /// Remove members.
    RemoveUsers(Vec<PublicKey>),
    /// Replace all that is said about the group.
    Edit {
        /// What is said.
        metadata: Box<Metadata>,
        /// Below which group it is.
        parent: Option<GroupId>,
        /// The groups below it, in order.
        children: Vec<GroupId>,
    },
    /// Take events out of the group.
    DeleteEvents(Vec<EventId>),
    /// Make the group.
    Create,
    /// End the group.
    Delete,
    /// Let in who knows one of these codes.
    Invite(Vec<String>),
    /// Replace the list of pinned events.
    Pin(Vec<Pin>),
    /// Let the author in.
    Join {
        /// What the author knows.
        codes: Vec<String>,
    },
    /// Let the author go.
    Leave,
}

/// A pinned event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// By its id.
    Event(EventId),
    /// By its address.
    Address(String),
}

impl Action {
    /// Reads what an event of a managing kind asks for, and of which group.
    ///
    /// # Errors
    ///
    /// If tags are missing or malformed, or the kind has no meaning.
    pub fn read(event: &EventRef<'_>) -> Result<(GroupId, Action), Reject> {
        let group = only_group(event)?;
        let action = match event.kind.0 {
            PUT_USER => Action::PutUsers(named(event, b'p', |tag| Ok((key(tag)?, roles(tag)?)))?),
            REMOVE_USER => Action::RemoveUsers(named(event, b'p', key)?),
            EDIT_METADATA => edit(event)?,
            DELETE_EVENT => Action::DeleteEvents(named(event, b'e', event_id)?),
            CREATE_GROUP => Action::Create,
            DELETE_GROUP => Action::Delete,
            CREATE_INVITE => match codes(event)? {
                codes if codes.is_empty() => {
                    return Err(Reject::invalid("an invite needs a `code` tag"));
                }
                codes => Action::Invite(codes),
            },
            UPDATE_PINS => Action::Pin(pins(event)?),
            JOIN => Action::Join { codes: codes(event)? },
            LEAVE => Action::Leave,
            other => return Err(Reject::invalid(format!("kind {other} does nothing to groups"))),
        };
        Ok((group, action))
    }
}

/// Returns the one group that an event names.
fn only_group(event: &EventRef<'_>) -> Result<GroupId, Reject> {
    let mut values = event.values_of(b'h');
    let Some(value) = values.next() else {
        return Err(Reject::invalid("missing group (`h`) tag"));
    };
    if values.next().is_some() {
        return Err(Reject::invalid("more than one group (`h`) tag"));
    }
    if value.is_empty() || value.canonical_len() > ID_BYTES_MAX {
        let text = format!("the id of a group has 1 to {ID_BYTES_MAX} bytes");
        return Err(Reject::invalid(text));
    }
    Ok(GroupId::of(value))
}

/// Reads what each tag of a letter names; there must be one.
fn named<T>(
    event: &EventRef<'_>,
    letter: u8,
    read: impl Fn(&Tag<'_>) -> Result<T, Reject>,
) -> Result<Vec<T>, Reject> {
    let tags = event.tags().filter(|tag| tag.letter() == Some(letter));
    let found: Vec<T> = tags.map(|tag| read(&tag)).collect::<Result<_, _>>()?;
    if found.is_empty() {
        let text = format!("missing `{}` tag: nothing is named", char::from(letter));
        return Err(Reject::invalid(text));
    }
    Ok(found)
}

fn key(tag: &Tag<'_>) -> Result<PublicKey, Reject> {
    let bytes = tag.value().and_then(|value| value.as_hex());
    let key = bytes.map(|bytes| PublicKey(*bytes));
    key.ok_or_else(|| Reject::invalid("a `p` tag does not name a public key"))
}

fn event_id(tag: &Tag<'_>) -> Result<EventId, Reject> {
    let bytes = tag.value().and_then(|value| value.as_hex());
    let id = bytes.map(|bytes| EventId(*bytes));
    id.ok_or_else(|| Reject::invalid("an `e` tag does not name an event"))
}

/// Reads the roles behind the key of a `p` tag.
pub(super) fn roles(tag: &Tag<'_>) -> Result<Roles, Reject> {
    let given: Vec<Value<'_>> = tag.elements().skip(2).filter(|it| !it.is_empty()).collect();
    if given.len() > ROLES_MAX || given.iter().any(|it| it.canonical_len() > ROLE_BYTES_MAX) {
        let text = format!("a member has at most {ROLES_MAX} roles of {ROLE_BYTES_MAX} bytes");
        return Err(Reject::invalid(text));
    }
    Ok(given.iter().map(|value| value.to_text().into_owned()).collect())
}

/// Reads the codes that an event has.
fn codes(event: &EventRef<'_>) -> Result<Vec<String>, Reject> {
    let values = event.tags().filter(|tag| tag.is_named("code")).filter_map(|tag| tag.value());
    let codes: Vec<Value<'_>> = values.filter(|value| !value.is_empty()).collect();
    if codes.len() > CODES_MAX || codes.iter().any(|it| it.canonical_len() > CODE_BYTES_MAX) {
        let text = format!("at most {CODES_MAX} codes of {CODE_BYTES_MAX} bytes");
        return Err(Reject::invalid(text));
    }
    Ok(codes.iter().map(|value| value.to_text().into_owned()).collect())
}

fn pins(event: &EventRef<'_>) -> Result<Vec<Pin>, Reject> {
    let pin = |tag: Tag<'_>| match tag.letter() {
        Some(b'e') => Some(event_id(&tag).map(Pin::Event)),
        Some(b'a') => {
            let value = tag.value().filter(|value| value.canonical_len() <= ADDRESS_BYTES_MAX);
            let address = value.map(|value| Pin::Address(value.to_text().into_owned()));
            Some(address.ok_or_else(|| Reject::invalid("an `a` tag is empty or too long")))
        }
        _ => None,
    };
    event.tags().filter_map(pin).collect()
}

fn edit(event: &EventRef<'_>) -> Result<Action, Reject> {
    if event.tags_packed.len() > CHANGE_BYTES_MAX {
        let text = format!("what is said about a group has at most {CHANGE_BYTES_MAX} bytes");
        return Err(Reject::invalid(text));
    }
    let all = |name: &'static str| {
        let tags = event.tags().filter(move |tag| tag.is_named(name));
        tags.filter_map(|tag| tag.value()).filter(|it| !it.is_empty()).map(GroupId::of)
    };
    let mut parents = all("parent");
    let parent = parents.next();
    if parents.next().is_some() {
        return Err(Reject::invalid("a group has at most one `parent`"));
    }
    let children = all("child").collect();
    let metadata = Box::new(Metadata::read(event)?);
    Ok(Action::Edit { metadata, parent, children })
}

/// Codes that one event may have.
const CODES_MAX: usize = 32;
/// The longest address that can be pinned.
const ADDRESS_BYTES_MAX: usize = 1_024;
