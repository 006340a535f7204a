//! All groups of the relay, and what each action makes of them.
//!
//! Whether an action is allowed was decided before, by [`judge`](super::judge); here it is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{HashMap, OrdSet};

use super::action::{Action, PUT_USER, REMOVE_USER, Roles};
use super::group::{ADMIN, Draft, Group, Invite, Parts, Power};
use super::id::{GroupId, with_text};
use super::{DELETE_GROUP, metadata::Metadata};
use crate::nostr::{EventId, EventRef, Kind, PublicKey, Value};

/// What groups are held to, and who has a say in all of them.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The key of the relay itself.
    pub own_key: PublicKey,
    /// Which events the rules of groups are for.
    pub scope: Scope,
    /// Who may make groups.
    pub creation: Creation,
    /// Who may make groups in any case, and has the power of an admin in each.
    pub operators: Box<[PublicKey]>,
    /// Kinds that an exclusive relay takes without a group.
    pub groupless_kinds: Box<[u16]>,
    /// How many groups there may be.
    pub groups_max: usize,
    /// How many members a group may have.
    pub members_max: usize,
    /// How many codes a group may have at a time.
    pub invites_max: usize,
    /// How many events may be pinned in a group.
    pub pins_max: usize,
    /// How many seconds old an event for a group may be; `None` for any.
    pub event_past_secs_max: Option<u64>,
    /// How many seconds old an event that manages a group may be; `None` for any.
    pub managing_past_secs_max: Option<u64>,
    /// To how many earlier events of its group an event must refer, if there are so many.
    pub references_min: usize,
}

/// Which events are subject to the rules of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that name a group of this relay; all others are as on any relay.
    Mixed,
    /// All: what belongs to no group of this relay is refused.
    Exclusive,
}

/// Who may make groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// Whoever asks.
    Anyone,
    /// Members of the relay (NIP-43), if it has some, and operators.
    Members,
    /// The operators and the relay itself.
    Operators,
}

/// The groups of a relay at one moment. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Groups {
    pub(super) rules: Arc<Rules>,
    all: HashMap<GroupId, Arc<Group>>,
    /// Those of which something is not for everybody.
    veiled: OrdSet<GroupId>,
    living: usize,
}

/// What follows from actions.
#[derive(Debug, Default)]
pub struct Changes {
    /// Events that the relay adds to the record, in order.
    pub drafts: Vec<Draft>,
    /// What the relay has to say anew.
    pub parts: BTreeMap<GroupId, Parts>,
    /// Events to be taken out of a group.
    pub taken_out: Vec<(GroupId, EventId)>,
    /// Groups that have ended.
    pub over: Vec<GroupId>,
}

impl Changes {
    fn say(&mut self, group: &GroupId, parts: Parts) {
        let before = self.parts.entry(group.clone()).or_default();
        *before = before.and(parts);
    }

    /// Adds an event to the record of a group.
    fn record(&mut self, group: &GroupId, kind: u16, rest: Vec<Vec<String>>) {
        let mut tags = vec![vec!["h".to_owned(), group.to_text()]];
        tags.extend(rest);
        self.drafts.push(Draft { kind: Kind(kind), tags, content: "" });
    }
}

impl Groups {
    /// Returns a relay without groups.
    pub fn new(rules: Rules) -> Groups {
        Groups { rules: Arc::new(rules), all: HashMap::new(), veiled: OrdSet::new(), living: 0 }
    }

    /// Returns what groups are held to.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns the group that the value of a tag names, over or not.
    pub fn find(&self, value: Value<'_>) -> Option<(&GroupId, &Arc<Group>)> {
        with_text(value, |text| self.all.get_key_value(text))
    }

    /// Returns a group, over or not.
    pub fn get(&self, id: &GroupId) -> Option<&Arc<Group>> {
        self.all.get(id)
    }

    /// Returns a group that is not over.
    pub fn living(&self, id: &GroupId) -> Option<&Arc<Group>> {
        self.get(id).filter(|group| !group.is_over)
    }

    /// Returns whether these are the same, without looking at them: if not, they may be equal.
    pub fn is_same(&self, other: &Groups) -> bool {
        self.all.ptr_eq(&other.all) && self.veiled.ptr_eq(&other.veiled)
    }

    /// Returns how many groups there are, those included that are over.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Returns how many groups are not over.
    pub fn living_count(&self) -> usize {
        self.living
    }

    /// Returns all groups, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupId, &Arc<Group>)> {
        self.all.iter()
    }

    /// Returns the groups of which something is not for everybody.
    pub(super) fn veiled(&self) -> &OrdSet<GroupId> {
        &self.veiled
    }

    /// Puts a group into its place.
    pub fn put(&mut self, id: &GroupId, group: Group) {
        if group.is_over || group.metadata.is_veiled() {
            self.veiled.insert(id.clone());
        } else {
            self.veiled.remove(id);
        }
        let is_living = !group.is_over;
        let before = self.all.insert(id.clone(), Arc::new(group));
        let was_living = before.is_some_and(|before| !before.is_over);
        self.living = self.living + usize::from(is_living) - usize::from(was_living);
    }

    /// Notes that nothing of an ended group is stored any more: who was in it does not matter.
    pub fn forget_members(&mut self, id: &GroupId) {
        if let Some(group) = self.get(id).filter(|group| group.is_over) {
            let metadata = group.metadata.clone();
            self.put(id, Group { metadata, is_over: true, ..Group::default() });
        }
        self.veiled.remove(id);
    }

    /// Does what an event asks for; it was judged before.
    pub fn apply(
        &mut self,
        id: &GroupId,
        action: Action,
        event: &EventRef<'_>,
        changes: &mut Changes,
    ) {
        if action == Action::Create {
            return self.create(id, event.pubkey, changes);
        }
        let Some(group) = self.living(id) else { return };
        let mut group = Group::clone(group);
        match action {
            Action::Create => {}
            Action::PutUsers(users) => {
                for (key, roles) in users {
                    admit(&mut group, key, roles);
                }
                changes.say(id, Parts::PEOPLE);
            }
            Action::RemoveUsers(keys) => {
                for key in keys {
                    group.members.remove(&key);
                    group.removed.insert(key);
                }
                changes.say(id, Parts::PEOPLE);
            }
            Action::Edit { metadata, parent, children } => {
                self.edit(id, &mut group, *metadata, parent, children, changes);
            }
            Action::DeleteEvents(ids) => {
                group.has_deletions = true;
                changes.taken_out.extend(ids.into_iter().map(|event| (id.clone(), event)));
            }
            Action::Delete => self.delete(id, &mut group, changes),
            Action::Invite(codes) => self.invite(&mut group, codes, event),
            Action::Pin(pins) => {
                group.pins = pins;
                changes.say(id, Parts::PINS);
            }
            Action::Join { .. } => {
                admit(&mut group, *event.pubkey, Roles::default());
                let named = vec!["p".to_owned(), event.pubkey.to_string()];
                changes.record(id, PUT_USER, vec![named]);
                changes.say(id, Parts::PEOPLE);
            }
            Action::Leave => {
                group.members.remove(event.pubkey);
                let named = vec!["p".to_owned(), event.pubkey.to_string()];
                changes.record(id, REMOVE_USER, vec![named, vec![SELF_REMOVAL.to_owned()]]);
                changes.say(id, Parts::PEOPLE);
            }
        }
        self.put(id, group);
    }

    /// Takes somebody out of everything who has asked to vanish.
    pub fn forget(&mut self, key: &PublicKey, changes: &mut Changes) {
        let is_concerned = |group: &Group| {
            group.has(key)
                || group.removed.contains(key)
                || group.invites.iter().any(|it| it.author == *key)
        };
        let concerned = self.all.iter().filter(|(_, group)| is_concerned(group));
        let concerned: Vec<GroupId> = concerned.map(|(id, _)| id.clone()).collect();
        for id in concerned {
            let Some(mut group) = self.get(&id).map(|group| Group::clone(group)) else { continue };
            group.removed.remove(key);
            group.invites.retain(|it| it.author != *key);
            if group.members.remove(key).is_some() && !group.is_over {
                changes.say(&id, Parts::PEOPLE);
            }
            self.put(&id, group);
        }
    }

    /// Notes that events were deleted by their author: with its event a code goes, too.
    pub fn revoke(&mut self, author: &PublicKey, is_deleted: impl Fn(&EventId) -> bool) {
        let is_revoked = |it: &Invite| it.author == *author && is_deleted(&it.event);
        let concerned = self.all.iter().filter(|(_, group)| group.invites.iter().any(is_revoked));
        let concerned: Vec<GroupId> = concerned.map(|(id, _)| id.clone()).collect();
        for id in concerned {
            let Some(mut group) = self.get(&id).map(|group| Group::clone(group)) else { continue };
            group.invites.retain(|it| !is_revoked(it));
            self.put(&id, group);
        }
    }

    /// Takes over what an event of the record says, about a group whose state is known otherwise:
    /// who was removed, and what admits.
    pub fn recollect(&mut self, id: &GroupId, action: &Action, event: &EventRef<'_>) {
        let Some(group) = self.living(id) else { return };
        // Peers may have brought what nobody has judged.
        let may_remove =
            self.has_say(event.pubkey) || group.power(event.pubkey) >= Power::Moderator;
        let mut group = Group::clone(group);
        match action {
            Action::PutUsers(users) => {
                for (key, _) in users {
                    group.removed.remove(key);
                }
            }
            Action::RemoveUsers(keys) if may_remove && !is_self_removal(event) => {
                let gone = keys.iter().filter(|key| !group.has(key)).copied();
                group.removed = gone.fold(group.removed.clone(), |all, key| all.update(key));
            }
            Action::Invite(codes) => self.invite(&mut group, codes.clone(), event),
            Action::DeleteEvents(_) => group.has_deletions = true,
            _ => return,
        }
        self.put(id, group);
    }

    fn create(&mut self, id: &GroupId, creator: &PublicKey, changes: &mut Changes) {
        let mut group = Group::default();
        if *creator != self.rules.own_key {
            group.members.insert(*creator, [ADMIN.to_owned()].into());
            let named = ["p", &creator.to_string(), ADMIN].map(str::to_owned).to_vec();
            changes.record(id, PUT_USER, vec![named]);
        }
        changes.say(id, Parts::ALL);
        self.put(id, group);
    }

    fn edit(
        &mut self,
        id: &GroupId,
        group: &mut Group,
        metadata: Metadata,
        parent: Option<GroupId>,
        children: Vec<GroupId>,
        changes: &mut Changes,
    ) {
        let had_veil = group.metadata.is_veiled();
        group.metadata = metadata;
        group.children = children;
        if group.parent != parent {
            if let Some(before) = &group.parent {
                self.adopt(before, changes, |children| children.retain(|child| child != id));
            }
            if let Some(after) = &parent {
                self.adopt(after, changes, |children| children.push(id.clone()));
            }
            group.parent = parent;
        }
        changes.say(id, Parts::METADATA);
        if had_veil && !group.metadata.is_veiled() {
            // Who may see them from here on has never been sent them.
            changes.say(id, Parts::ALL);
        }
    }

    fn adopt(
        &mut self,
        parent: &GroupId,
        changes: &mut Changes,
        change: impl FnOnce(&mut Vec<GroupId>),
    ) {
        let Some(group) = self.living(parent) else { return };
        let mut group = Group::clone(group);
        change(&mut group.children);
        changes.say(parent, Parts::METADATA);
        self.put(parent, group);
    }

    fn delete(&mut self, id: &GroupId, group: &mut Group, changes: &mut Changes) {
        if let Some(parent) = group.parent.take() {
            self.adopt(&parent, changes, |children| children.retain(|child| child != id));
        }
        for child in std::mem::take(&mut group.children) {
            let Some(below) = self.living(&child) else { continue };
            self.put(&child, Group { parent: None, ..Group::clone(below) });
            changes.say(&child, Parts::METADATA);
        }
        group.is_over = true;
        group.invites.clear();
        group.pins.clear();
        changes.parts.remove(id);
        // The end is on record whatever becomes of the event that asked for it.
        changes.record(id, DELETE_GROUP, Vec::new());
        changes.over.push(id.clone());
    }

    fn invite(&self, group: &mut Group, codes: Vec<String>, event: &EventRef<'_>) {
        let room = self.rules.invites_max.saturating_sub(group.invites.len());
        let invite = |code| Invite {
            code,
            expires_at: event.expiration(),
            event: *event.id,
            author: *event.pubkey,
        };
        group.invites.extend(codes.into_iter().take(room).map(invite));
    }
}

/// Tells whether an event says that somebody has left by themselves.
pub(super) fn is_self_removal(event: &EventRef<'_>) -> bool {
    event.tags().any(|tag| tag.is_named(SELF_REMOVAL))
}

fn admit(group: &mut Group, key: PublicKey, roles: Roles) {
    group.removed.remove(&key);
    group.members.insert(key, roles);
}

/// The tag by which a removal is told apart that somebody has asked for.
const SELF_REMOVAL: &str = "self-removal";
