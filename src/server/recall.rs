//! What stands when the relay starts: read back from the events in the store.

use super::management::DECISIONS;
use crate::nostr::{Filter, Keypair, Kind};
use crate::policy::{Membership, MembershipRules, Moderation, Standing, Standings, Subject};
use crate::query;
use crate::store::{Store, StoreError};

/// Returns what stands by these settings and the store.
///
/// # Errors
///
/// If the store cannot be read.
pub(super) fn standings(
    keys: Option<&Keypair>,
    membership: Option<&MembershipRules>,
    store: &Store,
) -> Result<Standings, StoreError> {
    let mut standing = Standing::default();
    if let (Some(_), Some(membership)) = (keys, membership) {
        standing.members = Some(read_members(membership.clone(), store)?);
    }
    standing.moderation = read_moderation(store)?;
    Ok(Standings::new(standing))
}

/// Returns what administrators have decided, if anything.
fn read_moderation(store: &Store) -> Result<Option<Moderation>, StoreError> {
    let mut moderation = Moderation::default();
    for (name, note) in store.snapshot()?.facts(DECISIONS)? {
        // What another version has decided may mean nothing to this one.
        if let Ok(subject) = name[DECISIONS.len()..].parse::<Subject>() {
            moderation.decide(subject, &String::from_utf8_lossy(&note));
        }
    }
    Ok((moderation.count() > 0).then_some(moderation))
}

/// Returns who belongs to the relay, by what it has said itself.
///
/// # Errors
///
/// If the store cannot be read.
pub fn read_members(rules: MembershipRules, store: &Store) -> Result<Membership, StoreError> {
    let own_key = rules.own_key;
    let mut members = Membership::new(rules);
    // What changed is read behind the list that it changes.
    for kinds in [&[Kind::MEMBER_LIST][..], &[Kind::MEMBER_ADDED, Kind::MEMBER_REMOVED]] {
        let filter = Filter {
            authors: Some([own_key].into()),
            kinds: Some(kinds.iter().map(|kind| kind.0).collect()),
            ..Filter::default()
        };
        let snapshot = store.snapshot()?;
        let mut found = Vec::new();
        for seq in query::find_all(&snapshot, &filter, &|_| true)? {
            if let Some(event) = snapshot.by_seq(seq)? {
                found.push((event.created_at, seq));
            }
        }
        found.sort_unstable();
        for (_, seq) in found {
            if let Some(event) = snapshot.by_seq(seq)? {
                members.note(&event);
            }
        }
    }
    Ok(members)
}
