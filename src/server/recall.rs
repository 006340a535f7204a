//! What stands when the relay starts: read back from the events in the store.

use super::settings::MembershipSettings;
use crate::nostr::{Filter, Keypair, Kind, PublicKey};
use crate::policy::{Membership, Standing, Standings};
use crate::query;
use crate::store::{Store, StoreError};

/// Returns what stands by these settings and the store.
///
/// # Errors
///
/// If the store cannot be read.
pub(super) fn standings(
    keys: Option<&Keypair>,
    membership: Option<&MembershipSettings>,
    store: &Store,
) -> Result<Standings, StoreError> {
    let mut standing = Standing::default();
    if let (Some(keys), Some(membership)) = (keys, membership) {
        standing.members = Some(Membership::new(membership.rules.clone()));
        recall_members(&mut standing, keys.public_key(), store)?;
    }
    Ok(Standings::new(standing))
}

/// Brings a standing up to date with what the relay of this key has said about members.
fn recall_members(
    standing: &mut Standing,
    own_key: PublicKey,
    store: &Store,
) -> Result<(), StoreError> {
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
                standing.note(&event);
            }
        }
    }
    Ok(())
}
