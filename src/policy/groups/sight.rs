//! What of the groups a reader may see (NIP-29: `private`, `hidden`).
//!
//! Codes of invites are not here: their kind is one of those that only the involved may read, and
//! requests to join that have a code are not kept at all.

use super::group::Group;
use super::state::Groups;
use super::{DELETE_GROUP, STATE_KINDS};
use crate::nostr::{EventRef, Filter, Kind, PublicKey, TagMode, TagValue};

/// What is for members alone even if the group is seen by all: who is in it, what is pinned.
const PRIVATE_STATE_KINDS: [u16; 4] = [39_001, 39_002, 39_004, 39_005];

impl Groups {
    /// Tells whether anything is kept from anybody.
    #[inline]
    pub fn keeps_any(&self) -> bool {
        !self.veiled().is_empty()
    }

    /// Tells whether an event may be kept from anybody.
    #[inline]
    pub fn concerns(&self, event: &EventRef<'_>) -> bool {
        self.keeps_any()
            && (STATE_KINDS.contains(&event.kind.0)
                || event.values_of(b'h').any(|value| {
                    self.find(value).is_some_and(|(_, it)| it.is_over || it.metadata.is_veiled())
                }))
    }

    /// Returns whether anything is kept from somebody who has proven to own these keys.
    pub fn keeps_from(&self, keys: &[PublicKey]) -> bool {
        let is_open = |id| {
            let group = self.get(id);
            group.is_some_and(|group| !group.is_over && is_member(group, keys))
        };
        !self.veiled().iter().all(is_open)
    }

    /// Returns whether somebody who has proven to own these keys may read an event.
    pub fn may_read(&self, event: &EventRef<'_>, keys: &[PublicKey]) -> bool {
        if STATE_KINDS.contains(&event.kind.0) && *event.pubkey == self.rules.own_key {
            return self.may_read_state(event, keys);
        }
        event.values_of(b'h').all(|value| {
            let group = self.find(value);
            group.is_none_or(|(_, group)| may_read_within(group, event.kind, keys))
        })
    }

    /// Returns whether a filter asks for groups alone whose events are kept from somebody.
    pub fn is_out_of_reach(&self, filter: &Filter, keys: &[PublicKey]) -> bool {
        let is_kept = |value: &TagValue| {
            let group = self.find(value.as_value());
            group.is_some_and(|(_, group)| {
                group.metadata.is_private && !group.is_over && !is_member(group, keys)
            })
        };
        filter.tags.iter().filter(|it| it.letter == b'h').any(|condition| {
            !condition.values.is_empty()
                && match condition.mode {
                    TagMode::Any => condition.values.iter().all(is_kept),
                    TagMode::All => condition.values.iter().any(is_kept),
                }
        })
    }

    fn may_read_state(&self, event: &EventRef<'_>, keys: &[PublicKey]) -> bool {
        let Some((_, group)) = self.find(event.identifier()) else { return true };
        if group.is_over {
            return false;
        }
        let is_private = PRIVATE_STATE_KINDS.contains(&event.kind.0) && group.metadata.is_private;
        !(is_private || group.metadata.is_hidden) || is_member(group, keys)
    }
}

fn may_read_within(group: &Group, kind: Kind, keys: &[PublicKey]) -> bool {
    // That a group is over is told to those who could read it.
    let is_shown = !group.is_over || kind.0 == DELETE_GROUP;
    let is_open = !group.metadata.is_private && (!group.is_over || !group.metadata.is_hidden);
    is_shown && (is_open || is_member(group, keys))
}

fn is_member(group: &Group, keys: &[PublicKey]) -> bool {
    keys.iter().any(|key| group.has(key))
}
