//! Requests to vanish (NIP-62): what they bury, and what they keep out for good.
//!
//! A stored request is all that is needed: it is never buried itself, not even by a later one, and
//! what it covers is looked up in the events as for deletions. Whoever gives a request to the store
//! has made sure that it is meant for this relay.

use super::error::StoreError;
use super::fresh::{Known, request_name};
use super::key::Range;
use super::rules::has_tag;
use super::snapshot::View;
use crate::nostr::{EventRef, Kind, PublicKey, Value};
use crate::seq::Seq;

/// Returns whether somebody has asked that this event is never stored again: its author, or one to
/// whom it is wrapped.
pub(super) fn is_vanished(known: &Known<'_>, event: &EventRef<'_>) -> Result<bool, StoreError> {
    if !has_any_request(&known.view) || event.kind == Kind::VANISH {
        return Ok(false);
    }
    if has_request(known, event.pubkey, event.created_at)? {
        return Ok(true);
    }
    for recipient in recipients(event) {
        if has_request(known, recipient, event.created_at)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether a request that covers `created_at` is stored for this key.
pub(super) fn has_request(
    known: &Known<'_>,
    key: &PublicKey,
    created_at: u64,
) -> Result<bool, StoreError> {
    known.any(&request_name(key), requests(key, created_at), |_, request| {
        request.kind == Kind::VANISH && request.pubkey == key && request.created_at >= created_at
    })
}

/// Returns where requests of a key stand that cover `created_at`.
pub(super) fn requests(key: &PublicKey, created_at: u64) -> Range {
    Range::author_kind(key, Kind::VANISH.0, created_at, u64::MAX)
}

/// Returns whose requests cover an event beside its author's: for gift wraps, those they are for.
pub(super) fn recipients<'e>(event: &EventRef<'e>) -> impl Iterator<Item = &'e PublicKey> {
    let is_wrap = event.kind == Kind::GIFT_WRAP;
    let tagged = is_wrap.then(|| event.values_of(b'p').filter_map(|value| value.as_hex()));
    tagged.into_iter().flatten().map(PublicKey::from_bytes)
}

/// Adds everything that a request covers, in the order of the log.
pub(super) fn find_covered(
    view: &View<'_>,
    request: &EventRef<'_>,
    bury: &mut Vec<Seq>,
) -> Result<(), StoreError> {
    let until = request.created_at;
    let mut scan = view.scan(Range::author_to_kind(request.pubkey, u16::MAX))?;
    while let Some(found) = scan.next()? {
        if found.time() > until || found.kind() == Some(Kind::VANISH.0) {
            continue;
        }
        if let Some(event) = view.by_seq(found.seq())?
            && event.pubkey == request.pubkey
            && event.created_at <= until
        {
            bury.push(found.seq());
        }
    }
    let recipient = Value::Hex(&request.pubkey.0);
    let hash = view.salt().tag(b'p', recipient);
    let mut scan = view.scan(Range::tag_kind(hash, Kind::GIFT_WRAP.0, 0, until))?;
    while let Some(found) = scan.next()? {
        if let Some(wrap) = view.by_seq(found.seq())?
            && wrap.created_at <= until
            && has_tag(&wrap, b'p', recipient)
        {
            bury.push(found.seq());
        }
    }
    bury.sort_unstable();
    Ok(())
}

/// Tells whether anybody has ever asked: if not, nothing has to be looked up.
fn has_any_request(view: &View<'_>) -> bool {
    view.layers.totals.contains_key(&Kind::VANISH.0)
}
