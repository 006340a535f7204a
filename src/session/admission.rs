//! What an event must be to be taken at all, as far as the event itself, the settings and the time
//! can tell. Proofs come later; what the store knows comes last.

use std::sync::Arc;

use super::conversation::Authentication;
use super::identity::OwnNames;
use super::repost;
use super::visible::{Reader, is_expired};
use crate::nostr::{EventRef, Kind, Prefix, Reject, Value};
use crate::policy::{Standing, WriteRules};

/// What an event may be. Any value is legal.
#[derive(Clone, Debug)]
pub struct EventLimits {
    /// How many tags.
    pub tags_max: usize,
    /// How many characters of content.
    pub content_characters_max: usize,
    /// How many seconds `created_at` may lie behind; `None` for any.
    pub past_secs_max: Option<u64>,
    /// How many seconds `created_at` may lie ahead; `None` for any.
    pub future_secs_max: Option<u64>,
    /// The work that went into the id.
    pub work: WorkLimits,
    /// Kinds that are not taken.
    pub refused_kinds: Box<[u16]>,
    /// What is taken from whom, if the operator says anything about that.
    pub rules: Option<Arc<WriteRules>>,
}

/// What proof of work an event needs (NIP-13).
#[derive(Clone, Copy, Debug)]
pub struct WorkLimits {
    /// How many leading zero bits; 0 for none.
    pub bits_min: u32,
    /// Whether an event may leave open for how many bits it was worked on.
    pub commitment: Commitment,
}

/// Whether an event has to name the difficulty it was worked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commitment {
    /// If it names none, its id counts as it is.
    Optional,
    /// If it names none, it shows no work.
    Required,
}

/// Who sends an event, and to whom.
pub(super) struct Parties<'a> {
    pub(super) reader: &'a Reader,
    pub(super) authentication: Authentication,
    pub(super) names: &'a OwnNames,
    pub(super) standing: &'a Standing,
}

/// Returns why the event cannot be taken, if so.
pub(super) fn check(
    event: &EventRef<'_>,
    limits: &EventLimits,
    parties: &Parties<'_>,
    now: u64,
) -> Result<(), Reject> {
    if event.kind == Kind::AUTHENTICATION {
        return Err(Reject::invalid("kind 22242 belongs into an AUTH message"));
    }
    check_size(event, limits)?;
    check_future(event, limits, now)?;
    if is_expired(event, now) {
        return Err(Reject::invalid("event expired"));
    }
    if event.kind == Kind::VANISH {
        // It is obeyed whoever sends it, and whatever else is asked of events (NIP-62.5).
        return check_vanish(event, parties.names);
    }
    parties.authentication.check(parties.reader)?;
    check_past(event, limits, now)?;
    if limits.refused_kinds.contains(&event.kind.0) {
        return Err(Reject::new(Prefix::Blocked, format!("kind {} is not taken here", event.kind)));
    }
    if parties.standing.members.is_some() && is_petition(event.kind) {
        // Whoever wants to join is on no list yet; but who is banned is not heard.
        if limits.rules.as_ref().is_some_and(|rules| rules.refuses(event.pubkey)) {
            return Err(Reject::new(Prefix::Blocked, "events of this author are not taken here"));
        }
        parties.standing.judge(event, parties.reader.keys())?;
        return check_petition(event, parties.reader, now);
    }
    check_work(event, limits)?;
    if let Some(rules) = &limits.rules {
        let allowances = parties.standing.moderation.as_ref();
        rules.judge(event, parties.reader.keys(), allowances, now)?;
    }
    check_protection(event, parties.reader)?;
    parties.standing.judge(event, parties.reader.keys())
}

/// What an event is held to that comes from another relay.
pub struct ForeignRules<'a> {
    /// What clients are held to, if it is to be as if a client had sent it.
    pub limits: Option<&'a EventLimits>,
    /// The names of this relay.
    pub names: &'a OwnNames,
    /// What stands.
    pub standing: &'a Standing,
}

/// Judges an event that comes from another relay, where nobody has proven to be its author.
///
/// # Errors
///
/// Why it is not taken.
pub fn check_foreign(
    event: &EventRef<'_>,
    rules: &ForeignRules<'_>,
    now: u64,
) -> Result<(), Reject> {
    if rules.standing.members.is_some() && is_petition(event.kind) {
        return Err(Reject::new(Prefix::Blocked, "requests to join and to leave are made here"));
    }
    let Some(limits) = rules.limits else {
        // In the store a request to vanish would be obeyed (NIP-62).
        if event.kind == Kind::VANISH {
            return check_vanish(event, rules.names);
        }
        // What administrators have banned does not come back by another way.
        return rules.standing.moderation.as_ref().map_or(Ok(()), |it| it.judge(event));
    };
    let parties = Parties {
        reader: &Reader::default(),
        authentication: Authentication::Optional,
        names: rules.names,
        standing: rules.standing,
    };
    check(event, limits, &parties, now)
}

/// Tells whether a kind is that of requests to join or to leave (NIP-43), which the relay answers
/// itself if it has members.
pub(super) fn is_petition(kind: Kind) -> bool {
    PETITION_KINDS.contains(&kind)
}

/// Returns why a request to join or to leave is not even considered, if so.
fn check_petition(event: &EventRef<'_>, reader: &Reader, now: u64) -> Result<(), Reject> {
    if event.created_at.abs_diff(now) > PETITION_SECS_MAX {
        return Err(Reject::invalid("created_at is more than ten minutes away from now"));
    }
    // Whether it says so or not: nobody else is to send a code or a farewell in its author's name.
    check_author(event, reader)?;
    let is_joining = event.kind == Kind::JOIN_REQUEST;
    if is_joining && !event.tags().any(|tag| tag.is_named("claim") && tag.value().is_some()) {
        return Err(Reject::invalid("there is no claim tag with an invite code"));
    }
    if !is_joining && !event.is_protected() {
        return Err(Reject::invalid("a request to leave needs the tag [\"-\"]"));
    }
    Ok(())
}

fn check_size(event: &EventRef<'_>, limits: &EventLimits) -> Result<(), Reject> {
    // Each tag takes two packed bytes or more: most events need no counting.
    if event.tags_packed.len() / 2 > limits.tags_max {
        let count = event.tags().count();
        if count > limits.tags_max {
            let max = limits.tags_max;
            return Err(Reject::invalid(format!("event has {count} tags, this relay takes {max}")));
        }
    }
    if event.content.len() > limits.content_characters_max {
        let count = characters(event.content);
        if count > limits.content_characters_max {
            let max = limits.content_characters_max;
            let text = format!("content has {count} characters, this relay takes {max}");
            return Err(Reject::invalid(text));
        }
    }
    Ok(())
}

fn check_future(event: &EventRef<'_>, limits: &EventLimits, now: u64) -> Result<(), Reject> {
    if let Some(max) = limits.future_secs_max
        && event.created_at > now.saturating_add(max)
    {
        let ahead = event.created_at - now;
        let text = format!("created_at is {ahead} seconds ahead, this relay takes {max}");
        return Err(Reject::invalid(text));
    }
    Ok(())
}

fn check_past(event: &EventRef<'_>, limits: &EventLimits, now: u64) -> Result<(), Reject> {
    let Some(mut max) = limits.past_secs_max else { return Ok(()) };
    if event.kind == Kind::GIFT_WRAP {
        max = max.max(WRAP_PAST_SECS);
    }
    if event.created_at < now.saturating_sub(max) {
        let behind = now - event.created_at;
        let text = format!("created_at is {behind} seconds ago, this relay takes {max}");
        return Err(Reject::invalid(text));
    }
    Ok(())
}

fn check_vanish(event: &EventRef<'_>, names: &OwnNames) -> Result<(), Reject> {
    if is_addressed(event, names) {
        return Ok(());
    }
    Err(Reject::invalid("the request to vanish is not addressed to this relay"))
}

/// Tells whether a request to vanish (NIP-62) is meant for the relay that goes by these names.
pub fn is_addressed(request: &EventRef<'_>, names: &OwnNames) -> bool {
    let mut relays = request.tags().filter(|tag| tag.is_named("relay")).filter_map(|it| it.value());
    relays.any(|value| value == Value::Text(ALL_RELAYS) || names.has(&value.to_text()))
}

fn check_work(event: &EventRef<'_>, limits: &EventLimits) -> Result<(), Reject> {
    let said = limits.rules.as_ref().and_then(|rules| rules.work_bits_min.of(event.kind));
    let said = said.map(|bits| u32::try_from(bits).unwrap_or(u32::MAX));
    let bits_min = said.unwrap_or(limits.work.bits_min);
    if bits_min == 0 || is_petition(event.kind) {
        return Ok(());
    }
    // An id that has more zeros than its author worked for has them by luck.
    let found = event.id.leading_zero_bits();
    let bits = match (committed_bits(event), limits.work.commitment) {
        (Some(target), _) => found.min(target),
        (None, Commitment::Optional) => found,
        (None, Commitment::Required) => {
            return Err(Reject::new(Prefix::Pow, "the nonce tag names no target difficulty"));
        }
    };
    if bits < bits_min {
        let text = format!("difficulty {bits} is less than {bits_min}");
        return Err(Reject::new(Prefix::Pow, text));
    }
    Ok(())
}

/// Returns the difficulty that the nonce tag says was aimed at.
fn committed_bits(event: &EventRef<'_>) -> Option<u32> {
    let nonce = event.tags().find(|tag| tag.is_named("nonce"))?;
    nonce.elements().nth(2)?.to_text().parse().ok()
}

fn check_protection(event: &EventRef<'_>, reader: &Reader) -> Result<(), Reject> {
    if event.is_protected() {
        check_author(event, reader)?;
    }
    if REPOST_KINDS.contains(&event.kind) && repost::embeds_protected(event.content) {
        return Err(Reject::new(Prefix::Blocked, "the event that it repeats is protected"));
    }
    Ok(())
}

fn check_author(event: &EventRef<'_>, reader: &Reader) -> Result<(), Reject> {
    if reader.is(event.pubkey) {
        return Ok(());
    }
    let is_known = reader.is_authenticated();
    let prefix = if is_known { Prefix::Restricted } else { Prefix::AuthRequired };
    Err(Reject::new(prefix, "a protected event is taken from its author alone"))
}

/// How far the time of a request to join or to leave may be off.
const PETITION_SECS_MAX: u64 = 600;
/// Gift wraps are dated up to two days back at random (NIP-59), and take a while to arrive.
const WRAP_PAST_SECS: u64 = 3 * 24 * 60 * 60;
/// Names every relay in a request to vanish.
const ALL_RELAYS: &[u8] = b"ALL_RELAYS";
/// Requests to join and to leave (NIP-43): ephemeral, and answered by the relay itself.
const PETITION_KINDS: [Kind; 2] = [Kind::JOIN_REQUEST, Kind::LEAVE_REQUEST];
/// Events whose content may be another event (NIP-18).
const REPOST_KINDS: [Kind; 2] = [Kind(6), Kind(16)];

/// Counts the characters that canonical escaped text stands for.
fn characters(escaped: &[u8]) -> usize {
    let mut count = 0;
    let mut rest = escaped;
    while let [first, tail @ ..] = rest {
        // An escape is two bytes, or six when it is `\u00xx`; canonical text is never cut in one.
        let skipped = match (first, tail.first()) {
            (b'\\', Some(b'u')) => 5,
            (b'\\', _) => 1,
            _ => 0,
        };
        // Bytes 0b10xx_xxxx go on with a character that was counted.
        count += usize::from(first & 0xc0 != 0x80);
        rest = tail.get(skipped..).unwrap_or_default();
    }
    count
}
