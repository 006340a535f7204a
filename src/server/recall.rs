//! What stands when the relay starts: read back from the events in the store.

use super::management::DECISIONS;
use crate::nostr::{Filter, Keypair, Kind};
use crate::policy::{Membership, MembershipRules, Moderation, Standing, Standings, Subject};
use crate::query;
use crate::seq::Seq;
use crate::store::{Snapshot, Store, StoreError};

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

/// Returns who belongs to the relay, by what it has said itself, and who of them has vanished.
///
/// # Errors
///
/// If the store cannot be read.
pub fn read_members(rules: MembershipRules, store: &Store) -> Result<Membership, StoreError> {
    let own_key = rules.own_key;
    let mut members = Membership::new(rules);
    let by_relay = |kinds: &[Kind]| Filter {
        authors: Some([own_key].into()),
        kinds: Some(kinds.iter().map(|kind| kind.0).collect()),
        ..Filter::default()
    };
    let snapshot = store.snapshot()?;
    let lists = dated(&snapshot, &by_relay(&[Kind::MEMBER_LIST]))?;
    // What changed is read behind the list that it changes.
    let mut changes = dated(&snapshot, &by_relay(&[Kind::MEMBER_ADDED, Kind::MEMBER_REMOVED]))?;
    // A request to vanish comes after all that was said until it was stored, however old it is.
    let mut said: Vec<(Seq, u64)> = lists.iter().chain(&changes).map(|it| (it.1, it.0)).collect();
    said.sort_unstable();
    let mut latest = 0;
    said.iter_mut().for_each(|(_, at)| {
        latest = latest.max(*at);
        *at = latest;
    });
    let requests = Filter { kinds: Some([Kind::VANISH.0].into()), ..Filter::default() };
    for (at, seq) in dated(&snapshot, &requests)? {
        let before = said.partition_point(|(other, _)| *other < seq);
        let changed_at = said[..before].last().map_or(0, |(_, changed_at)| *changed_at);
        changes.push((at.max(changed_at), seq));
    }
    changes.sort_unstable();
    for (at, seq) in lists.into_iter().chain(changes) {
        match snapshot.by_seq(seq)? {
            Some(event) if event.kind == Kind::VANISH => members.forget(event.pubkey, at),
            Some(event) => members.note(&event),
            None => {}
        }
    }
    Ok(members)
}

/// Returns the events that match, by their time.
fn dated(snapshot: &Snapshot<'_>, filter: &Filter) -> Result<Vec<(u64, Seq)>, StoreError> {
    let mut found = Vec::new();
    for seq in query::find_all(snapshot, filter, &|_| true)? {
        if let Some(event) = snapshot.by_seq(seq)? {
            found.push((event.created_at, seq));
        }
    }
    found.sort_unstable();
    Ok(found)
}
