//! Groups read back from the store when the relay starts (NIP-29).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::groups::{SUBJECT_TAGS, Subject};
use crate::nostr::{EventRef, PublicKey, Tag};
use crate::policy::groups::{
    Action, Group, GroupId, Groups, MANAGING_KINDS, Parts, Rules, STATE_KINDS,
};
use crate::seq::Seq;
use crate::store::{Range, Snapshot, StoreError, View};

/// The groups as the store has them.
pub(super) struct Recalled {
    pub(super) groups: Groups,
    /// What the relay has to say of them that the store does not have.
    pub(super) missing: BTreeMap<GroupId, Parts>,
    /// What the relay has put on record with a time that has not passed.
    pub(super) recorded: HashMap<Subject, u64>,
}

/// Reads the groups back at the second `now`.
///
/// A group is as the relay has last said. One of which the relay has said nothing comes from
/// elsewhere: it is what its record makes of it.
pub(super) fn recall(
    rules: Rules,
    snapshot: &Snapshot<'_>,
    now: u64,
) -> Result<Recalled, StoreError> {
    let view = snapshot.view();
    let (said, parts) = recall_state(&view, &rules.own_key)?;
    let own_key = rules.own_key;
    let mut recorded = HashMap::new();
    let mut groups = Groups::new(rules);
    for (id, group) in said {
        groups.put(&id, group);
    }
    let seqs = seqs_of(&view, MANAGING_KINDS)?;
    let ours = find_ours(&view, &groups, &seqs)?;
    for seq in seqs {
        let Some(event) = view.by_seq(seq)? else { continue };
        if *event.pubkey == own_key && event.created_at >= now {
            let subject = subject_of(&event);
            let at: &mut u64 = recorded.entry(subject).or_default();
            *at = event.created_at.max(*at);
        }
        // What is malformed was stored before there were groups here.
        let Ok((id, action)) = Action::read(&event) else { continue };
        if parts.contains_key(&id) {
            groups.recollect(&id, &action, &event);
        } else if ours.contains(&id) {
            groups.replay(&id, action, &event);
        }
    }
    let missing = |(id, group): (&GroupId, &std::sync::Arc<Group>)| {
        let said = parts.get(id).copied().unwrap_or_default();
        let due = if group.pins.is_empty() { Parts::ALL } else { Parts::ALL.and(Parts::PINS) };
        let missing = due.without(said);
        (!group.is_over && !missing.is_empty()).then(|| (id.clone(), missing))
    };
    let missing = groups.iter().filter_map(missing).collect();
    Ok(Recalled { groups, missing, recorded })
}

fn subject_of(event: &EventRef<'_>) -> Subject {
    let texts = |tag: Tag<'_>| tag.elements().map(|it| it.to_text().into_owned()).collect();
    event.tags().take(SUBJECT_TAGS).map(texts).collect()
}

type Said = (BTreeMap<GroupId, Group>, BTreeMap<GroupId, Parts>);

/// Reads what the relay of this key has said of its groups.
fn recall_state(view: &View<'_>, own_key: &PublicKey) -> Result<Said, StoreError> {
    let mut said: BTreeMap<GroupId, Group> = BTreeMap::new();
    let mut parts: BTreeMap<GroupId, Parts> = BTreeMap::new();
    for seq in seqs_of(view, STATE_KINDS)? {
        let Some(event) = view.by_seq(seq)?.filter(|event| event.pubkey == own_key) else {
            continue;
        };
        let id = GroupId::of(event.identifier());
        said.entry(id.clone()).or_default().recall(&event);
        let before = parts.entry(id).or_default();
        *before = before.and(Parts::of(event.kind));
    }
    // Without a list of its members, what is left of a group is worth nothing.
    let is_whole = |id: &GroupId, _: &mut Group| {
        let needed = Parts::METADATA.and(Parts::PEOPLE);
        needed.without(parts.get(id).copied().unwrap_or_default()).is_empty()
    };
    said.retain(is_whole);
    parts.retain(|id, _| said.contains_key(id));
    Ok((said, parts))
}

/// Finds the groups that belong here by their record: the relay or an operator has a part in it.
/// The record of any other relay's group may be in the store, too.
fn find_ours(
    view: &View<'_>,
    groups: &Groups,
    seqs: &[Seq],
) -> Result<BTreeSet<GroupId>, StoreError> {
    let mut ours = BTreeSet::new();
    for seq in seqs {
        let event = view.by_seq(*seq)?.filter(|event| groups.has_say(event.pubkey));
        ours.extend(event.and_then(|event| Action::read(&event).ok()).map(|(id, _)| id));
    }
    Ok(ours)
}

/// Returns the living events of some kinds, in the order of the log.
fn seqs_of(view: &View<'_>, kinds: std::ops::RangeInclusive<u16>) -> Result<Vec<Seq>, StoreError> {
    let mut seqs = Vec::new();
    for kind in kinds {
        let mut scan = view.scan(Range::kind(kind, 0, u64::MAX))?;
        while let Some(found) = scan.next()? {
            seqs.push(found.seq());
        }
    }
    seqs.sort_unstable();
    Ok(seqs)
}
