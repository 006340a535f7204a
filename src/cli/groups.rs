//! The settings of groups (NIP-29) in the words of those that keep them.

use crate::config::{GroupMode, Settings};
use crate::nostr::{Keypair, PublicKey};
use crate::policy::groups::{Rules, Scope};

/// Returns what groups are held to, if there are any.
pub(super) fn rules(settings: &Settings, keys: &Keypair) -> Option<Rules> {
    let groups = &settings.groups;
    let scope = match groups.mode {
        GroupMode::Off => return None,
        GroupMode::Mixed => Scope::Mixed,
        GroupMode::Exclusive => Scope::Exclusive,
    };
    let operators = groups.operators.iter().chain(&settings.relay.pubkey);
    let some = |secs: u64| (secs > 0).then_some(secs);
    Some(Rules {
        own_key: keys.public_key(),
        scope,
        creation: groups.creation,
        operators: operators.filter_map(|text| PublicKey::from_hex(text.as_bytes())).collect(),
        groupless_kinds: super::serve::kinds(&groups.groupless_kinds).collect(),
        groups_max: super::serve::size_of(groups.max_groups),
        members_max: super::serve::size_of(groups.max_members),
        invites_max: INVITES_MAX,
        pins_max: PINS_MAX,
        event_past_secs_max: some(groups.event_past_secs),
        managing_past_secs_max: Some(MANAGING_PAST_SECS_MAX),
        references_min: super::serve::size_of(groups.min_references),
    })
}

/// As on other relays: nobody is to use again what an admin once said.
const MANAGING_PAST_SECS_MAX: u64 = 60;
/// Codes of one group at a time.
const INVITES_MAX: usize = 1_000;
/// Events pinned in one group.
const PINS_MAX: usize = 100;
