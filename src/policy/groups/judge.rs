//! Whether an event is taken, as far as groups are concerned (NIP-29).

use super::action::{Action, Pin, Roles};
use super::group::{Group, Power};
use super::id::GroupId;
use super::state::{Creation, Groups, Scope};
use super::{
    CHILDREN_MAX, MANAGING_KINDS, REFERENCES_MAX, REMEMBERED_TIMES, REMOVED_MAX, STATE_KINDS,
};
use crate::hex;
use crate::nostr::{EventId, EventRef, Kind, Prefix, PublicKey, Reject, Value};

/// How an event is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taking {
    /// As any other.
    Plainly,
    /// It is stored, and something is done.
    Acting(GroupId, Action),
    /// Something is done; it is neither stored nor shown, because it has a secret.
    Secretly(GroupId, Action),
}

/// What only the store knows.
pub trait Facts {
    /// Returns whether events for this group are stored that somebody else has written.
    fn is_in_use(&self, group: &GroupId, author: &PublicKey) -> bool;
    /// Returns whether an event was taken out of this group.
    fn is_taken_out(&self, group: &GroupId, event: &EventId) -> bool;
    /// Returns whether an event for this group is stored whose id begins like this.
    fn has_event(&self, group: &GroupId, prefix: &[u8]) -> bool;
    /// Returns whether at least so many events for this group are stored that somebody else has
    /// written.
    fn has_events(&self, group: &GroupId, author: &PublicKey, count: usize) -> bool;
    /// Returns whether somebody is a member of the relay itself; everybody is if it has none.
    fn is_member_of_relay(&self, key: &PublicKey) -> bool;
    /// Returns author and kind of a stored event for this group.
    fn author_of(&self, group: &GroupId, event: &EventId) -> Option<(PublicKey, Kind)>;
}

impl Groups {
    /// Decides about an event at the second `now`.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn judge(
        &self,
        event: &EventRef<'_>,
        now: u64,
        facts: &dyn Facts,
    ) -> Result<Taking, Reject> {
        if MANAGING_KINDS.contains(&event.kind.0) {
            return self.judge_managing(event, now, facts);
        }
        if STATE_KINDS.contains(&event.kind.0) {
            return Err(restricted("only the relay itself says what its groups are"));
        }
        self.judge_ordinary(event, now, facts)?;
        Ok(Taking::Plainly)
    }

    fn judge_ordinary(
        &self,
        event: &EventRef<'_>,
        now: u64,
        facts: &dyn Facts,
    ) -> Result<(), Reject> {
        let is_exclusive = self.rules.scope == Scope::Exclusive;
        let mut has_group = false;
        for value in event.values_of(b'h') {
            match self.find(value) {
                Some((id, group)) => self.judge_for(event, id, group, now, facts)?,
                None if is_exclusive => return Err(no_group()),
                None => {}
            }
            has_group = true;
        }
        let is_groupless = |kind: Kind| {
            GROUPLESS_KINDS.contains(&kind.0) || self.rules.groupless_kinds.contains(&kind.0)
        };
        if is_exclusive && !has_group && !is_groupless(event.kind) && !self.is_own(event.pubkey) {
            return Err(Reject::invalid("missing group (`h`) tag"));
        }
        Ok(())
    }

    /// Decides about an ordinary event for one group.
    fn judge_for(
        &self,
        event: &EventRef<'_>,
        id: &GroupId,
        group: &Group,
        now: u64,
        facts: &dyn Facts,
    ) -> Result<(), Reject> {
        if group.is_over {
            return Err(Reject::new(Prefix::Blocked, "this group was deleted"));
        }
        // People delete what they have written whatever has become of them in the group.
        if self.is_own(event.pubkey) || event.kind == Kind::DELETION {
            return Ok(());
        }
        if group.removed.contains(event.pubkey) {
            return Err(Reject::new(Prefix::Blocked, "you were removed from this group"));
        }
        if group.metadata.is_restricted && !group.has(event.pubkey) {
            return Err(restricted("only members write to this group"));
        }
        if !group.metadata.takes(event.kind) {
            let text = format!("this group does not take kind {}", event.kind);
            return Err(Reject::invalid(text));
        }
        check_age(event, self.rules.event_past_secs_max, now)?;
        if group.has_deletions && facts.is_taken_out(id, event.id) {
            return Err(Reject::new(Prefix::Blocked, "a moderator has deleted this event"));
        }
        self.check_references(event, id, facts)
    }

    fn judge_managing(
        &self,
        event: &EventRef<'_>,
        now: u64,
        facts: &dyn Facts,
    ) -> Result<Taking, Reject> {
        let (id, action) = Action::read(event)?;
        check_age(event, self.rules.managing_past_secs_max, now)?;
        if action == Action::Create {
            self.judge_creation(&id)?;
            self.judge_creator(event.pubkey, facts)?;
            if !self.has_say(event.pubkey) && facts.is_in_use(&id, event.pubkey) {
                return Err(restricted("others have written under this id before"));
            }
            return Ok(Taking::Acting(id, action));
        }
        let group = match self.get(&id) {
            None => return Err(no_group()),
            Some(group) if group.is_over => {
                return Err(Reject::new(Prefix::Blocked, "this group was deleted"));
            }
            Some(group) => group,
        };
        self.check_references(event, &id, facts)?;
        self.authorise(&id, group, &action, event.pubkey)?;
        match &action {
            Action::Join { codes } => {
                self.judge_joining(group, codes, event.pubkey, now)?;
                if !codes.is_empty() {
                    return Ok(Taking::Secretly(id, action));
                }
            }
            Action::DeleteEvents(events) => {
                self.judge_deletion(&id, group, events, event.pubkey, facts)?;
            }
            _ => {}
        }
        Ok(Taking::Acting(id, action))
    }

    /// Decides about the making of a group, as far as groups alone tell.
    pub(super) fn judge_creation(&self, id: &GroupId) -> Result<(), Reject> {
        match self.get(id) {
            Some(group) if group.is_over => {
                return Err(Reject::new(Prefix::Blocked, "this group was deleted"));
            }
            Some(_) => return Err(Reject::new(Prefix::Duplicate, "this group exists already")),
            None => {}
        }
        if self.count() >= self.rules.groups_max.saturating_mul(REMEMBERED_TIMES) {
            let text = "too many groups were made and deleted here";
            return Err(Reject::new(Prefix::RateLimited, text));
        }
        if self.living_count() >= self.rules.groups_max {
            let text = format!("this relay has its {} groups", self.rules.groups_max);
            return Err(Reject::new(Prefix::RateLimited, text));
        }
        Ok(())
    }

    fn judge_creator(&self, creator: &PublicKey, facts: &dyn Facts) -> Result<(), Reject> {
        if self.has_say(creator) {
            return Ok(());
        }
        match self.rules.creation {
            Creation::Anyone => Ok(()),
            Creation::Members if facts.is_member_of_relay(creator) => Ok(()),
            Creation::Members => Err(restricted("only members of this relay make groups here")),
            Creation::Operators => {
                Err(restricted("only those who run this relay make groups here"))
            }
        }
    }

    /// Decides whether somebody may do this, as far as groups alone tell.
    pub(super) fn authorise(
        &self,
        id: &GroupId,
        group: &Group,
        action: &Action,
        author: &PublicKey,
    ) -> Result<(), Reject> {
        let power = if self.has_say(author) { Power::Admin } else { group.power(author) };
        let needed = match action {
            Action::Join { .. } => return Ok(()),
            Action::Leave if group.has(author) => return Ok(()),
            Action::Leave => {
                return Err(Reject::new(Prefix::Duplicate, "you are no member of this group"));
            }
            Action::Create | Action::Edit { .. } | Action::Delete => Power::Admin,
            Action::PutUsers(users) if users.iter().any(|(_, roles)| !roles.is_empty()) => {
                Power::Admin
            }
            _ => Power::Moderator,
        };
        if power < needed {
            return Err(restricted("your role in this group does not allow this"));
        }
        match action {
            Action::PutUsers(users) => self.judge_putting(group, users, power),
            Action::RemoveUsers(keys) => judge_removal(group, keys, power),
            Action::Edit { parent, children, .. } => {
                judge_children(group, children)?;
                parent.as_ref().map_or(Ok(()), |parent| self.judge_parent(id, parent, author))
            }
            Action::Invite(codes) => {
                let max = self.rules.invites_max;
                check_count(group.invites.len() + codes.len(), max, "codes")
            }
            Action::Pin(pins) => {
                let is_known = |pin: &Pin| !matches!(pin, Pin::Address(text) if text.is_empty());
                assert!(pins.iter().all(is_known), "an address was read");
                check_count(pins.len(), self.rules.pins_max, "pinned events")
            }
            _ => Ok(()),
        }
    }

    fn judge_putting(
        &self,
        group: &Group,
        users: &[(PublicKey, Roles)],
        power: Power,
    ) -> Result<(), Reject> {
        let outranks = |(key, _): &(PublicKey, Roles)| {
            group.members.get(key).is_some_and(|roles| !roles.is_empty())
        };
        if power < Power::Admin && users.iter().any(outranks) {
            return Err(restricted("only admins change roles"));
        }
        let fresh = users.iter().filter(|(key, _)| !group.has(key)).count();
        check_count(group.members.len() + fresh, self.rules.members_max, "members")?;
        let mut after = group.clone();
        for (key, roles) in users {
            after.members.insert(*key, roles.clone());
        }
        check_admins(group, &after)
    }

    fn judge_parent(
        &self,
        id: &GroupId,
        parent: &GroupId,
        author: &PublicKey,
    ) -> Result<(), Reject> {
        let Some(above) = self.living(parent) else {
            return Err(Reject::invalid("there is no group of the `parent`'s id here"));
        };
        if !above.children.contains(id) {
            check_count(above.children.len() + 1, CHILDREN_MAX, "groups below it")?;
        }
        let mut next = Some(parent);
        let mut steps = 0;
        while let Some(ancestor) = next {
            if ancestor == id || steps > self.living_count() {
                return Err(Reject::invalid("a group cannot be below itself"));
            }
            next = self.living(ancestor).and_then(|group| group.parent.as_ref());
            steps += 1;
        }
        if !self.has_say(author) && above.power(author) < Power::Admin {
            return Err(restricted("only an admin of the `parent` puts groups below it"));
        }
        Ok(())
    }

    fn judge_joining(
        &self,
        group: &Group,
        codes: &[String],
        author: &PublicKey,
        now: u64,
    ) -> Result<(), Reject> {
        if group.has(author) {
            return Err(Reject::new(Prefix::Duplicate, "you are a member of this group"));
        }
        if group.removed.contains(author) {
            return Err(Reject::new(
                Prefix::Blocked,
                "you were removed from this group; only its admins can let you in again",
            ));
        }
        let admits = |code: &String| {
            group.invites.iter().any(|invite| {
                invite.code == *code
                    && invite.expires_at.is_none_or(|at| at > now)
                    && (self.has_say(&invite.author)
                        || group.power(&invite.author) >= Power::Moderator)
            })
        };
        if group.metadata.is_closed && !codes.iter().any(admits) {
            let text = if codes.is_empty() {
                "this group is closed: ask an admin to add you, or for an invite code"
            } else {
                "this invite code does not admit to the group, or no longer"
            };
            return Err(restricted(text));
        }
        check_count(group.members.len() + 1, self.rules.members_max, "members")
    }

    fn judge_deletion(
        &self,
        id: &GroupId,
        group: &Group,
        events: &[EventId],
        author: &PublicKey,
        facts: &dyn Facts,
    ) -> Result<(), Reject> {
        let found: Vec<PublicKey> = events
            .iter()
            .filter_map(|event| facts.author_of(id, event))
            .filter(|(_, kind)| may_be_taken_out(*kind))
            .map(|(key, _)| key)
            .collect();
        if found.is_empty() {
            return Err(Reject::invalid("none of these events is in this group"));
        }
        let is_admin = self.has_say(author) || group.power(author) == Power::Admin;
        let outranks = |key: &PublicKey| key != author && group.power(key) == Power::Admin;
        if !is_admin && found.iter().any(outranks) {
            return Err(restricted("only admins delete what admins have written"));
        }
        Ok(())
    }

    /// Checks the references to earlier events of the group.
    fn check_references(
        &self,
        event: &EventRef<'_>,
        id: &GroupId,
        facts: &dyn Facts,
    ) -> Result<(), Reject> {
        let tags = event.tags().filter(|tag| tag.is_named("previous"));
        let mut count = 0;
        for value in tags.flat_map(|tag| tag.elements().skip(1)) {
            count += 1;
            if count > REFERENCES_MAX {
                let text = format!("an event has at most {REFERENCES_MAX} references");
                return Err(Reject::invalid(text));
            }
            let Some(prefix) = prefix_of(value) else {
                return Err(Reject::invalid("`previous` holds the first 8 characters of ids"));
            };
            if !facts.has_event(id, &prefix) {
                return Err(Reject::invalid("`previous` names an event that this group has not"));
            }
        }
        let min = self.rules.references_min;
        if count < min && facts.has_events(id, event.pubkey, min) {
            let text =
                format!("`previous` names {count} earlier events, at least {min} are needed");
            return Err(Reject::invalid(text));
        }
        Ok(())
    }

    /// Tells whether somebody has a say in every group.
    pub fn has_say(&self, key: &PublicKey) -> bool {
        self.is_own(key) || self.rules.operators.contains(key)
    }

    fn is_own(&self, key: &PublicKey) -> bool {
        *key == self.rules.own_key
    }
}

/// Tells whether moderators can take events of a kind out of a group: the record stays.
pub fn may_be_taken_out(kind: Kind) -> bool {
    !MANAGING_KINDS.contains(&kind.0) || kind.0 == super::CREATE_INVITE || kind.0 == super::JOIN
}

fn judge_removal(group: &Group, keys: &[PublicKey], power: Power) -> Result<(), Reject> {
    let has_role = |key: &PublicKey| group.members.get(key).is_some_and(|it| !it.is_empty());
    if power < Power::Admin && keys.iter().any(has_role) {
        return Err(restricted("only admins remove members with roles"));
    }
    check_count(group.removed.len() + keys.len(), REMOVED_MAX, "keys that were removed")?;
    let mut after = group.clone();
    for key in keys {
        after.members.remove(key);
    }
    check_admins(group, &after)
}

/// A group that has an admin keeps one: nobody could manage it otherwise.
fn check_admins(before: &Group, after: &Group) -> Result<(), Reject> {
    if before.admin_count() > 0 && after.admin_count() == 0 {
        return Err(restricted("a group keeps at least one admin; delete it if it is over"));
    }
    Ok(())
}

/// A new order of the children is taken only if it has all of them and no others.
fn judge_children(group: &Group, children: &[GroupId]) -> Result<(), Reject> {
    let sorted = |ids: &[GroupId]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    if sorted(&group.children) != sorted(children) {
        let text = "`child` tags must name each group below this one once, and no other";
        return Err(Reject::invalid(text));
    }
    Ok(())
}

fn check_age(event: &EventRef<'_>, max: Option<u64>, now: u64) -> Result<(), Reject> {
    if let Some(max) = max
        && event.created_at < now.saturating_sub(max)
    {
        let age = now - event.created_at;
        let text = format!("created_at is {age} seconds ago, groups take {max}");
        return Err(Reject::invalid(text));
    }
    Ok(())
}

fn check_count(count: usize, max: usize, what: &str) -> Result<(), Reject> {
    if count > max {
        let text = format!("a group has at most {max} {what}");
        return Err(Reject::new(Prefix::RateLimited, text));
    }
    Ok(())
}

/// Returns the bytes with which the id begins that a reference names.
fn prefix_of(value: Value<'_>) -> Option<Vec<u8>> {
    match value {
        Value::Hex(bytes) => Some(bytes.to_vec()),
        Value::Text(text) => {
            let is_prefix = (PREFIX_CHARACTERS..64).contains(&text.len());
            let whole = is_prefix.then(|| hex::decode_any_case(&text[..PREFIX_CHARACTERS]))?;
            // Half a byte more or less does not matter.
            hex::decode_any_case(&text[..text.len() / 2 * 2]).and(whole)
        }
    }
}

fn restricted(text: &'static str) -> Reject {
    Reject::new(Prefix::Restricted, text)
}

fn no_group() -> Reject {
    Reject::invalid("there is no group of this id here")
}

/// Kinds that belong to no group anywhere: deletion requests, requests to vanish, and to join or
/// leave the relay (NIP-43).
const GROUPLESS_KINDS: [u16; 4] = [5, 62, 28_934, 28_936];
/// How many characters of an id a reference has.
const PREFIX_CHARACTERS: usize = 8;
