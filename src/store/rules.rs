//! What becomes of an arriving event: the rules of replacement, deletion and expiry.
//!
//! They are answered from the events themselves, recent ones by name and older ones through the
//! same indexes as any query, inside the write transaction; there is no table of tombstones that
//! could disagree with the events.

use super::error::StoreError;
use super::fresh::{Known, address_name, id_name};
use super::key::Range;
use super::vanish::{find_covered, has_request as has_vanish_request, is_vanished};
use crate::hex;
use crate::nostr::{EventId, EventRef, Kind, KindClass, PublicKey, Value, delegation};
use crate::seq::Seq;

/// What became of an event that was given to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored, as this seq.
    Stored(Seq),
    /// It was stored before.
    Duplicate,
    /// A newer version of a replaceable or addressable event is stored (NIP-01).
    Superseded,
    /// Its author has asked for its deletion (NIP-09).
    Deleted,
    /// Its author, or one to whom it is wrapped, has asked to vanish (NIP-62).
    Vanished,
    /// Its expiration has passed (NIP-40).
    Expired,
    /// It is of an ephemeral kind, which is never stored (NIP-01).
    Ephemeral,
    /// Who guards the store has taken it up, and it is not kept.
    Unkept,
    /// Who guards the store has refused it.
    Refused,
}

/// What to do with an event.
#[derive(Debug)]
pub(super) enum Decision {
    Refuse(Outcome),
    /// Store it, and bury these events.
    Store {
        bury: Vec<Seq>,
    },
}

/// Decides about one event.
pub(super) fn decide(
    known: &Known<'_>,
    event: &EventRef<'_>,
    now: u64,
) -> Result<Decision, StoreError> {
    let class = event.kind.class();
    if class == KindClass::Ephemeral {
        return Ok(Decision::Refuse(Outcome::Ephemeral));
    }
    if known.by_id(event.id)?.is_some() {
        return Ok(Decision::Refuse(Outcome::Duplicate));
    }
    if is_expired(event, now) {
        return Ok(Decision::Refuse(Outcome::Expired));
    }
    if is_vanished(known, event)? {
        return Ok(Decision::Refuse(Outcome::Vanished));
    }
    if is_deleted(known, event)? {
        return Ok(Decision::Refuse(Outcome::Deleted));
    }
    let mut bury = Vec::new();
    if event.kind == Kind::VANISH {
        // A request that is covered by another one changes nothing (NIP-62.6).
        if has_vanish_request(known, event.pubkey, event.created_at)? {
            return Ok(Decision::Refuse(Outcome::Duplicate));
        }
        find_covered(&known.view, event, &mut bury)?;
    }
    if matches!(class, KindClass::Replaceable | KindClass::Addressable) {
        let is_superseded = find_versions(known, event, class, &mut bury)?;
        if is_superseded {
            return Ok(Decision::Refuse(Outcome::Superseded));
        }
    }
    if event.kind == Kind::DELETION {
        find_targets(known, event, &mut bury)?;
    }
    Ok(Decision::Store { bury })
}

/// Returns whether the event's time is over (NIP-40).
pub(super) fn is_expired(event: &EventRef<'_>, now: u64) -> bool {
    event.expiration().is_some_and(|expiration| expiration <= now)
}

/// Returns whether events of this kind stay when somebody asks for their deletion.
fn is_undeletable(kind: Kind) -> bool {
    // NIP-09: a deletion request against a deletion request has no effect; NIP-62: nor one
    // against a request to vanish.
    kind == Kind::DELETION || kind == Kind::VANISH
}

/// Returns whether `author` may delete `event`.
fn may_delete(known: &Known<'_>, author: &PublicKey, event: &EventRef<'_>) -> bool {
    // NIP-59: recipients may delete the gift wraps that were sent to them.
    author == event.pubkey
        || event.kind == Kind::GIFT_WRAP && has_tag(event, b'p', Value::Hex(&author.0))
        || is_delegator(known, author, event)
}

/// Returns whether an event speaks for `key`, which may delete it then (NIP-26).
fn is_delegator(known: &Known<'_>, key: &PublicKey, event: &EventRef<'_>) -> bool {
    known.delegation == delegation::Treatment::Honoured
        && delegation::delegator_of(event) == Some(key)
}

pub(super) fn has_tag(event: &EventRef<'_>, letter: u8, value: Value<'_>) -> bool {
    event.tags().any(|tag| tag.letter() == Some(letter) && tag.value() == Some(value))
}

/// Returns whether a stored deletion request names this event.
fn is_deleted(known: &Known<'_>, event: &EventRef<'_>) -> Result<bool, StoreError> {
    if is_undeletable(event.kind) {
        return Ok(false);
    }
    let id = Value::Hex(&event.id.0);
    if has_request(known, b'e', id, 0, |author| may_delete(known, author, event))? {
        return Ok(true);
    }
    if !event.has_address() {
        return Ok(false);
    }
    let mut address = Vec::new();
    event.write_address(&mut address);
    let address = Value::Text(&address);
    // NIP-09: a request by address covers the versions up to its own time.
    has_request(known, b'a', address, event.created_at, |author| may_delete(known, author, event))
}

/// Returns whether a deletion request not older than `since` has this tag and a fitting author.
fn has_request(
    known: &Known<'_>,
    letter: u8,
    value: Value<'_>,
    since: u64,
    is_fitting: impl Fn(&PublicKey) -> bool,
) -> Result<bool, StoreError> {
    let salt = known.view.salt();
    let name = match value {
        Value::Hex(id) if letter == b'e' => id_name(EventId::from_bytes(id)),
        _ => address_name(salt, value),
    };
    let hash = salt.tag(letter, value);
    let range = Range::tag_kind(hash, Kind::DELETION.0, since, u64::MAX);
    known.any(&name, range, |_, request| {
        request.kind == Kind::DELETION
            && request.created_at >= since
            && is_fitting(request.pubkey)
            && has_tag(request, letter, value)
    })
}

/// Finds the stored versions of an event's address; returns whether one of them wins over `event`,
/// and adds the others.
fn find_versions(
    known: &Known<'_>,
    event: &EventRef<'_>,
    class: KindClass,
    bury: &mut Vec<Seq>,
) -> Result<bool, StoreError> {
    let mut address = Vec::new();
    event.write_address(&mut address);
    let name = address_name(known.view.salt(), Value::Text(&address));
    let range = address_range(known, event.kind, event.pubkey, event.identifier(), u64::MAX);
    known.any(&name, range, |seq, stored| {
        let is_same = stored.kind == event.kind
            && stored.pubkey == event.pubkey
            && (class == KindClass::Replaceable || stored.identifier() == event.identifier());
        if !is_same {
            return false;
        }
        bury.push(seq);
        // NIP-01: of two versions of the same second the lower id is kept.
        (stored.created_at, event.id) > (event.created_at, stored.id)
    })
}

fn address_range(
    known: &Known<'_>,
    kind: Kind,
    author: &PublicKey,
    identifier: Value<'_>,
    until: u64,
) -> Range {
    if kind.class() == KindClass::Addressable {
        let hash = known.view.salt().address(kind.0, author, identifier);
        Range::tag_kind(hash, kind.0, 0, until)
    } else {
        Range::author_kind(author, kind.0, 0, until)
    }
}

/// Adds the stored events that a deletion request names and may delete (NIP-09).
fn find_targets(
    known: &Known<'_>,
    request: &EventRef<'_>,
    bury: &mut Vec<Seq>,
) -> Result<(), StoreError> {
    for tag in request.tags() {
        match (tag.letter(), tag.value()) {
            (Some(b'e'), Some(Value::Hex(id))) => {
                let id = EventId::from_bytes(id);
                if let Some((seq, target)) = known.by_id(id)?
                    && !is_undeletable(target.kind)
                    && may_delete(known, request.pubkey, &target)
                {
                    bury.push(seq);
                }
            }
            (Some(b'a'), Some(Value::Text(address))) => {
                find_addressed(known, request, address, bury)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Adds the versions of an address that the request's author may delete, up to the request's time.
/// The address has the key of who signed them: of another's, those go that speak for the author.
fn find_addressed(
    known: &Known<'_>,
    request: &EventRef<'_>,
    address: &[u8],
    bury: &mut Vec<Seq>,
) -> Result<(), StoreError> {
    let Some((kind, owner, identifier)) = parse_address(address) else { return Ok(()) };
    let may_concern =
        owner == *request.pubkey || known.delegation == delegation::Treatment::Honoured;
    if !may_concern {
        return Ok(());
    }
    let hex_identifier = hex::decode_32(identifier);
    let value = hex_identifier.as_ref().map_or(Value::Text(identifier), Value::Hex);
    let name = address_name(known.view.salt(), Value::Text(address));
    let range = address_range(known, kind, &owner, value, request.created_at);
    let mut text = Vec::new();
    known.any(&name, range, |seq, target| {
        if target.has_address() && target.created_at <= request.created_at {
            text.clear();
            target.write_address(&mut text);
            if text == address && may_delete(known, request.pubkey, target) {
                bury.push(seq);
            }
        }
        false
    })?;
    Ok(())
}

/// Returns kind, owner and identifier of an address `kind:pubkey:d`.
fn parse_address(address: &[u8]) -> Option<(Kind, PublicKey, &[u8])> {
    // The identifier may contain colons, so only the first two separate.
    let mut parts = address.splitn(3, |byte| *byte == b':');
    let kind = std::str::from_utf8(parts.next()?).ok()?.parse().ok().map(Kind)?;
    let owner = hex::decode_32(parts.next()?).map(PublicKey)?;
    let identifier = parts.next()?;
    let has_address = matches!(kind.class(), KindClass::Replaceable | KindClass::Addressable);
    has_address.then_some((kind, owner, identifier))
}
