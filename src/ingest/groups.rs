//! Groups where events are stored (NIP-29): what is judged, and what the relay itself adds.
//!
//! `policy::groups` decides; here its questions about the store are answered, and what follows from
//! an event is signed with the relay's key and stored in the event's own transaction: the record,
//! what is taken out, and, once for the whole batch, what the relay says of each group that has
//! changed. So there is no moment, and no crash, between a request and what came of it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::recall::{Recalled, recall};
use crate::nostr::{EventId, EventRef, Keypair, Kind, PublicKey, Value, Verified, Verifier};
use crate::policy::Standings;
use crate::policy::groups::{
    Action, CREATE_GROUP, Changes, DELETE_EVENT, DELETE_GROUP, Draft, Facts, Group, GroupId,
    Groups, MANAGING_KINDS, Parts, Rules, STATE_KINDS, Scope, Taking, may_be_taken_out,
};
use crate::seq::Seq;
use crate::store::{Guard, Pass, Range, Sequel, Store, StoreError, View};

/// Keeps the groups in step with the store. The writer thread owns it.
pub struct GroupKeeping {
    keys: Arc<Keypair>,
    verifier: Verifier,
    standings: Standings,
    /// As they stand after the last commit.
    settled: Groups,
    /// As they will stand if this one returns.
    groups: Groups,
    changes: Changes,
    /// What the event asks for that is being stored.
    judged: Option<(GroupId, Action)>,
    now: u64,
    /// When somebody was last put on or off record, of those of this second or later.
    recorded: HashMap<Subject, u64>,
    /// Groups that are over and still have events in the store.
    ended: Vec<GroupId>,
}

impl GroupKeeping {
    /// Reads the groups back from the store at the second `now`; from here on `standings` has them.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn new(
        rules: Rules,
        keys: Arc<Keypair>,
        standings: Standings,
        store: &Store,
        now: u64,
    ) -> Result<GroupKeeping, StoreError> {
        let mut keeping = GroupKeeping {
            keys,
            verifier: Verifier::default(),
            standings,
            settled: Groups::new(rules.clone()),
            groups: Groups::new(rules),
            changes: Changes::default(),
            judged: None,
            now,
            recorded: HashMap::new(),
            ended: Vec::new(),
        };
        keeping.recall(store)?;
        keeping.put_up();
        Ok(keeping)
    }

    /// Reads everything again: another process may have changed it.
    pub(super) fn recall(&mut self, store: &Store) -> Result<(), StoreError> {
        let rules = self.settled.rules().clone();
        let Recalled { groups, missing, recorded } = recall(rules, &store.snapshot()?, self.now)?;
        self.recorded = recorded;
        let over = groups.iter().filter(|(_, group)| group.is_over);
        self.ended = over.map(|(id, _)| id.clone()).collect();
        self.changes = Changes { parts: missing, ..Changes::default() };
        self.groups = groups;
        self.settle();
        Ok(())
    }

    /// Returns whether the relay has something to say that nobody has asked for.
    pub(super) fn is_due(&self) -> bool {
        !self.changes.parts.is_empty()
    }

    /// Begins a batch at the second `now`.
    pub(super) fn begin(&mut self, now: u64) {
        self.now = now;
        self.recorded.retain(|_, at| *at >= now);
    }

    /// Takes back what a batch has brought about that was not stored.
    pub(super) fn give_up(&mut self) {
        self.groups = self.settled.clone();
        self.changes = Changes::default();
    }

    /// Puts up what a batch has brought about: it is stored.
    pub(super) fn settle(&mut self) {
        if self.groups.is_same(&self.settled) {
            return;
        }
        self.settled = self.groups.clone();
        self.put_up();
    }

    fn put_up(&self) {
        self.standings.update(|standing| standing.groups = Some(self.settled.clone()));
    }

    /// Tells whether an event of another process may have changed something here.
    pub(super) fn follows_from(event: &EventRef<'_>) -> bool {
        let kind = event.kind;
        MANAGING_KINDS.contains(&kind.0)
            || STATE_KINDS.contains(&kind.0)
            || matches!(kind, Kind::DELETION | Kind::VANISH)
    }

    /// Returns some events of groups that are over; they are to be buried.
    pub(super) fn ended(&mut self, store: &Store) -> Result<Vec<Seq>, StoreError> {
        let Some(id) = self.ended.last().cloned() else { return Ok(Vec::new()) };
        let snapshot = store.snapshot()?;
        let view = snapshot.view();
        let value = id.value();
        let range = Range::tag_to_kind(view.salt().tag(b'h', value.as_value()), u16::MAX);
        let mut scan = view.scan(range)?;
        let mut seqs = Vec::new();
        while seqs.len() < BURIED_MAX
            && let Some(found) = scan.next()?
        {
            let Some(event) = view.by_seq(found.seq())? else { continue };
            let is_record = matches!(event.kind.0, CREATE_GROUP | DELETE_GROUP);
            if !is_record && names(&event, value.as_value()) {
                seqs.push(found.seq());
            }
        }
        if seqs.is_empty() {
            self.ended.pop();
            self.groups.forget_members(&id);
            self.settle();
        }
        Ok(seqs)
    }

    fn sign(&mut self, draft: &Draft, created_at: u64) -> Verified {
        let event = self.keys.sign_event(created_at, draft.kind, &draft.tags, draft.content);
        self.verifier.verify_id_only(event).expect("an event has the id that it was signed with")
    }

    /// Signs what is put on record: later than what the record says about the same before.
    fn sign_record(&mut self, draft: &Draft) -> Verified {
        let subject: Subject = draft.tags.iter().take(SUBJECT_TAGS).cloned().collect();
        let before = self.recorded.get(&subject).copied();
        let at = before.map_or(self.now, |before| self.now.max(before + 1));
        self.recorded.insert(subject, at);
        self.sign(draft, at)
    }

    /// Does what events ask of the store.
    fn follow_up(&mut self, view: &View<'_>) -> Result<Sequel, StoreError> {
        let mut sequel = Sequel::default();
        for (group, id) in std::mem::take(&mut self.changes.taken_out) {
            let value = group.value();
            if let Some((seq, event)) = view.by_id(&id)?
                && names(&event, value.as_value())
                && may_be_taken_out(event.kind)
            {
                if event.kind.0 == crate::policy::groups::CREATE_INVITE {
                    self.groups.revoke(event.pubkey, |it| *it == id);
                }
                sequel.buried.push(seq);
            }
        }
        for group in std::mem::take(&mut self.changes.over) {
            self.find_state(view, &group, &mut sequel.buried)?;
            self.ended.push(group);
        }
        for draft in std::mem::take(&mut self.changes.drafts) {
            sequel.events.push(self.sign_record(&draft));
        }
        Ok(sequel)
    }

    /// Finds what the relay says of a group.
    fn find_state(
        &self,
        view: &View<'_>,
        id: &GroupId,
        found: &mut Vec<Seq>,
    ) -> Result<(), StoreError> {
        let own = self.keys.public_key();
        let value = id.value();
        for kind in STATE_KINDS {
            let hash = view.salt().address(kind, &own, value.as_value());
            let mut scan = view.scan(Range::tag_kind(hash, kind, 0, u64::MAX))?;
            while let Some(entry) = scan.next()? {
                if let Some(event) = view.by_seq(entry.seq())?
                    && *event.pubkey == own
                    && event.identifier() == value.as_value()
                {
                    found.push(entry.seq());
                }
            }
        }
        Ok(())
    }

    /// Signs what the relay says of a group, later than all that it has said before.
    fn say(&mut self, id: &GroupId, parts: Parts, sequel: &mut Sequel) {
        let Some(group) = self.groups.living(id) else { return };
        let stamp = self.now.max(group.stamp + 1);
        let group = Group { stamp, ..Group::clone(group) };
        for draft in group.drafts(id, parts) {
            let event = self.sign(&draft, stamp);
            sequel.events.push(event);
        }
        self.groups.put(id, group);
    }
}

impl Guard for GroupKeeping {
    #[inline]
    fn concerns(&self, event: &EventRef<'_>) -> bool {
        Self::follows_from(event)
            || self.groups.rules().scope == Scope::Exclusive
            || event.values_of(b'h').next().is_some()
    }

    fn check(&mut self, view: &View<'_>, event: &EventRef<'_>) -> Result<Pass, StoreError> {
        let facts = StoredFacts { view, standings: &self.standings, failure: RefCell::new(None) };
        let taking = self.groups.judge(event, self.now, &facts);
        if let Some(error) = facts.failure.into_inner() {
            return Err(error);
        }
        Ok(match taking {
            Err(reject) => Pass::Refused(reject),
            Ok(Taking::Plainly) if matches!(event.kind, Kind::DELETION | Kind::VANISH) => {
                Pass::Noted
            }
            Ok(Taking::Plainly) => Pass::Plainly,
            Ok(Taking::Acting(id, action)) => {
                self.judged = Some((id, action));
                Pass::Noted
            }
            Ok(Taking::Secretly(id, action)) => {
                self.judged = Some((id, action));
                Pass::Unkept
            }
        })
    }

    fn note(&mut self, view: &View<'_>, event: &EventRef<'_>) -> Result<Sequel, StoreError> {
        if event.kind == Kind::VANISH {
            self.groups.forget(event.pubkey, &mut self.changes);
        } else if event.kind == Kind::DELETION {
            let named: Vec<&[u8; 32]> =
                event.values_of(b'e').filter_map(|value| value.as_hex()).collect();
            self.groups.revoke(event.pubkey, |it| named.contains(&&it.0));
        } else if let Some((id, action)) = self.judged.take() {
            self.groups.apply(&id, action, event, &mut self.changes);
        }
        self.follow_up(view)
    }

    fn finish(&mut self, _view: &View<'_>) -> Result<Sequel, StoreError> {
        let mut sequel = Sequel::default();
        for (id, parts) in std::mem::take(&mut self.changes.parts) {
            self.say(&id, parts, &mut sequel);
        }
        Ok(sequel)
    }
}

/// The store as far as groups ask about it.
struct StoredFacts<'a, 'v> {
    view: &'a View<'v>,
    standings: &'a Standings,
    /// Why the store could not answer; the answer was a guess.
    failure: RefCell<Option<StoreError>>,
}

impl StoredFacts<'_, '_> {
    fn answer<T: Default>(&self, found: Result<T, StoreError>) -> T {
        found.unwrap_or_else(|error| {
            *self.failure.borrow_mut() = Some(error);
            T::default()
        })
    }

    /// Counts the events of a group by others, up to `most`.
    fn count_others(
        &self,
        group: &GroupId,
        author: &PublicKey,
        most: usize,
    ) -> Result<usize, StoreError> {
        let value = group.value();
        let hash = self.view.salt().tag(b'h', value.as_value());
        let mut scan = self.view.scan(Range::tag_to_kind(hash, u16::MAX))?;
        let (mut count, mut steps) = (0, 0);
        while count < most
            && steps < STEPS_MAX
            && let Some(found) = scan.next()?
        {
            steps += 1;
            let event = self.view.by_seq(found.seq())?;
            let is_other =
                |event: EventRef<'_>| event.pubkey != author && names(&event, value.as_value());
            count += usize::from(event.is_some_and(is_other));
        }
        Ok(count)
    }

    fn find_taken_out(&self, group: &GroupId, event: &EventId) -> Result<bool, StoreError> {
        let value = group.value();
        let hash = self.view.salt().tag(b'e', Value::Hex(&event.0));
        let mut scan = self.view.scan(Range::tag_kind(hash, DELETE_EVENT, 0, u64::MAX))?;
        while let Some(found) = scan.next()? {
            if let Some(deletion) = self.view.by_seq(found.seq())?
                && names(&deletion, value.as_value())
                && deletion.values_of(b'e').any(|id| id.as_hex() == Some(&event.0))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn find_prefix(&self, group: &GroupId, prefix: &[u8]) -> Result<bool, StoreError> {
        let value = group.value();
        let mut scan = self.view.scan(Range::id_prefix(prefix))?;
        while let Some(found) = scan.next()? {
            if let Some(event) = self.view.by_seq(found.seq())?
                && event.id.0.starts_with(prefix)
                && names(&event, value.as_value())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Facts for StoredFacts<'_, '_> {
    fn is_in_use(&self, group: &GroupId, author: &PublicKey) -> bool {
        self.answer(self.count_others(group, author, 1)) > 0
    }

    fn is_taken_out(&self, group: &GroupId, event: &EventId) -> bool {
        self.answer(self.find_taken_out(group, event))
    }

    fn has_event(&self, group: &GroupId, prefix: &[u8]) -> bool {
        self.answer(self.find_prefix(group, prefix))
    }

    fn has_events(&self, group: &GroupId, author: &PublicKey, count: usize) -> bool {
        self.answer(self.count_others(group, author, count)) >= count
    }

    fn is_member_of_relay(&self, key: &PublicKey) -> bool {
        self.standings.current().members.as_ref().is_none_or(|members| members.has(key))
    }

    fn author_of(&self, group: &GroupId, event: &EventId) -> Option<(PublicKey, Kind)> {
        let value = group.value();
        let found = self.answer(self.view.by_id(event));
        let (_, event) = found.filter(|(_, event)| names(event, value.as_value()))?;
        Some((*event.pubkey, event.kind))
    }
}

fn names(event: &EventRef<'_>, group: Value<'_>) -> bool {
    event.values_of(b'h').any(|value| value == group)
}

/// Group and member that an event of the record is about: its first tags.
pub(super) type Subject = Vec<Vec<String>>;
/// How many tags these are.
pub(super) const SUBJECT_TAGS: usize = 2;
/// Events of an ended group that are buried at once.
const BURIED_MAX: usize = 1_000;
/// Events that one question looks at.
const STEPS_MAX: usize = 1_000;
