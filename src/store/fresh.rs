//! What the rules look at: events that are younger than the blocks by name, older ones in the blocks.
//!
//! Most events that arrive are new, replace nothing and were not asked to be deleted. To see that
//! for a whole batch is much cheaper than to look up each event by itself: what the blocks say is
//! probed in sorted order, one block after the other, and what is younger than the blocks is in a
//! table of eight-byte names. An event that may concern anything is left to `rules`, which look
//! closely at the events that have its names; so a collision costs a little time and never changes
//! an outcome.

use std::collections::HashMap;

use heed::RoTxn;

use super::block::Block;
use super::env::{Store, Table, damaged};
use super::error::StoreError;
use super::frame::Tail;
use super::key::{Entry, Index, Range, Salt};
use super::overlay::Layers;
use super::prepared::{Draft, Prepared};
use super::snapshot::View;
use super::vanish::{recipients, requests};
use crate::nostr::delegation::Treatment;
use crate::nostr::{EventId, EventRef, Kind, KindClass, PublicKey, Value};
use crate::seq::Seq;

/// A short name of something that events are about: an id or an address.
pub(super) type Name = [u8; 8];

/// Events by what they are about.
#[derive(Default)]
struct Names {
    first: HashMap<Name, Seq, foldhash::fast::RandomState>,
    /// Those after the first; few names have any.
    more: HashMap<Name, Vec<Seq>, foldhash::fast::RandomState>,
}

impl Names {
    fn contains(&self, name: &Name) -> bool {
        self.first.contains_key(name)
    }

    fn seqs(&self, name: &Name) -> impl Iterator<Item = Seq> {
        let first = self.first.get(name).copied();
        let more = first.and_then(|_| self.more.get(name));
        first.into_iter().chain(more.into_iter().flatten().copied())
    }

    /// Adds an event; from time to time those of its name are forgotten that have died.
    fn add(&mut self, name: Name, seq: Seq, is_dead: impl Fn(Seq) -> bool) {
        if *self.first.entry(name).or_insert(seq) == seq {
            return;
        }
        let more = self.more.entry(name).or_default();
        if more.len() >= 8 && more.len().is_power_of_two() {
            more.retain(|seq| !is_dead(*seq));
        }
        more.push(seq);
    }

    fn append(&mut self, other: Names) {
        if self.first.is_empty() {
            *self = other;
            return;
        }
        let Names { first, more } = other;
        let all = first.into_iter().map(|(name, seq)| (name, vec![seq])).chain(more);
        for (name, seqs) in all {
            for seq in seqs {
                self.add(name, seq, |_| false);
            }
        }
    }
}

/// What the events that are not in the blocks yet are, and what they ask to delete.
#[derive(Default)]
pub(super) struct Recent {
    young: Names,
    frozen: Names,
    /// Requests to vanish by who made them, as far as the blocks do not know yet; they may know
    /// some.
    vanished: Names,
    /// The names are those of the events behind the merge mark `merged`, up to `last`, where the log
    /// ended at `tail`.
    merged: Seq,
    last: Seq,
    tail: Tail,
}

impl Recent {
    /// Makes the names those of the layers, if another process has changed the layers.
    pub(super) fn follow(&mut self, view: &View<'_>) -> Result<(), StoreError> {
        let layers = view.layers;
        if self.merged == layers.merged && self.tail == layers.tail {
            return Ok(());
        }
        if self.tail == Tail::default() || self.merged != layers.merged {
            *self = Recent { merged: layers.merged, last: layers.merged, ..Recent::default() };
        }
        let mut names = Vec::new();
        for seq in (self.last.0 + 1..=layers.last.0).map(Seq) {
            let Some(event) = view.record(seq)? else { continue };
            names.clear();
            names_of(view.salt(), &event, &mut |name| names.push(name));
            self.remember(&names, seq, layers);
            if event.kind == Kind::VANISH {
                self.remember_request(event.pubkey, seq);
            }
        }
        self.last = layers.last;
        self.tail = layers.tail;
        Ok(())
    }

    /// Notes that the log ends here after our own commit.
    pub(super) fn committed(&mut self, tail: Tail) {
        self.tail = tail;
    }

    /// Forgets everything, so that the next batch reads it anew.
    pub(super) fn forget(&mut self) {
        *self = Recent::default();
    }

    /// Follows the layers when a merge begins.
    pub(super) fn freeze(&mut self) {
        let young = std::mem::take(&mut self.young);
        self.frozen.append(young);
    }

    /// Follows the layers when a merge has moved the mark.
    pub(super) fn thaw(&mut self, merged: Seq) {
        self.frozen = Names::default();
        self.merged = merged;
    }

    /// Returns whether what becomes of an event may depend on a recent event.
    pub(super) fn may_concern(&self, draft: &Draft<'_>) -> Result<bool, StoreError> {
        let is_recent = |name: &Name| self.young.contains(name) || self.frozen.contains(name);
        if draft.names.iter().any(is_recent) {
            return Ok(true);
        }
        if self.vanished.first.is_empty() {
            return Ok(false);
        }
        let event = draft.event()?;
        let has_vanished = |key: &PublicKey| self.vanished.contains(&head(&key.0));
        Ok(has_vanished(event.pubkey) || recipients(&event).any(has_vanished))
    }

    /// Adds an event by its names.
    pub(super) fn remember(&mut self, names: &[Name], seq: Seq, layers: &Layers) {
        self.last = seq;
        for name in names {
            self.young.add(*name, seq, |seq| layers.is_dead(seq));
        }
    }

    /// Adds a request to vanish.
    pub(super) fn remember_request(&mut self, author: &PublicKey, seq: Seq) {
        self.vanished.add(head(&author.0), seq, |_| false);
    }

    /// Returns the events that have a name, the dead included.
    fn seqs(&self, name: &Name) -> impl Iterator<Item = Seq> {
        let names = [&self.young, &self.frozen, &self.vanished];
        names.into_iter().flat_map(move |names| names.seqs(name))
    }
}

/// Calls `add` with the names of what an event is, and of what it asks to delete.
pub(super) fn names_of(salt: &Salt, event: &EventRef<'_>, add: &mut impl FnMut(Name)) {
    add(id_name(event.id));
    if event.has_address() {
        let mut address = Vec::new();
        event.write_address(&mut address);
        add(address_name(salt, Value::Text(&address)));
    }
    if event.kind == Kind::DELETION {
        for tag in event.tags() {
            match (tag.letter(), tag.value()) {
                (Some(b'e'), Some(Value::Hex(id))) => add(head(id)),
                (Some(b'a'), Some(address)) => add(address_name(salt, address)),
                _ => {}
            }
        }
    }
}

/// Returns the name of an event, which those that ask for its deletion share.
pub(super) fn id_name(id: &EventId) -> Name {
    head(&id.0)
}

/// Returns the name of all versions of an address, which those that ask for its deletion share.
pub(super) fn address_name(salt: &Salt, address: Value<'_>) -> Name {
    salt.tag(b'a', address)
}

/// Returns the name of an author's requests to vanish.
pub(super) fn request_name(author: &PublicKey) -> Name {
    head(&author.0)
}

fn head(id: &[u8; 32]) -> Name {
    *id.first_chunk().expect("an id has 32 bytes")
}

/// Where the rules look: at recent events by name, and in the blocks.
#[derive(Clone, Copy)]
pub(super) struct Known<'k> {
    pub(super) view: View<'k>,
    pub(super) recent: &'k Recent,
    /// Whether the blocks may have anything that is looked for; if not they are not read.
    pub(super) has_blocks: bool,
    /// Who else may delete an event.
    pub(super) delegation: Treatment,
}

impl<'k> Known<'k> {
    /// Visits the living events of this name, and those of this range in the blocks, until `visit`
    /// returns true; returns whether it did. An event may be visited twice, and others with it that
    /// only look alike.
    pub(super) fn any(
        &self,
        name: &Name,
        range: Range,
        mut visit: impl FnMut(Seq, &EventRef<'k>) -> bool,
    ) -> Result<bool, StoreError> {
        for seq in self.recent.seqs(name) {
            if let Some(event) = self.view.by_seq(seq)?
                && visit(seq, &event)
            {
                return Ok(true);
            }
        }
        if !self.has_blocks {
            return Ok(false);
        }
        let mut scan = self.view.scan_blocks(range)?;
        while let Some(found) = scan.next()? {
            if let Some(event) = self.view.by_seq(found.seq())?
                && visit(found.seq(), &event)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the living event with this id.
    pub(super) fn by_id(&self, id: &EventId) -> Result<Option<(Seq, EventRef<'k>)>, StoreError> {
        let mut found = None;
        self.any(&id_name(id), Range::id(id), |seq, event| {
            found = (event.id == id).then_some((seq, *event));
            found.is_some()
        })?;
        Ok(found)
    }
}

/// Returns for each event of a batch whether what becomes of it may depend on the blocks.
pub(super) fn concern_blocks(view: &View<'_>, batch: &[Prepared]) -> Result<Vec<bool>, StoreError> {
    let View { store, txn, layers, .. } = *view;
    let mut concerned = vec![false; batch.iter().map(Prepared::len).sum()];
    if layers.merged == Seq::ZERO {
        return Ok(concerned);
    }
    // Without any deletion request nothing can have been deleted by one.
    let has_requests = layers.totals.contains_key(&Kind::DELETION.0);
    let has_vanished = layers.totals.contains_key(&Kind::VANISH.0);
    let mut probes: [Vec<(Entry, Entry, usize)>; Index::ALL.len()] = Default::default();
    for (place, draft) in batch.iter().flat_map(Prepared::drafts).enumerate() {
        let event = draft.event()?;
        let mut add = |range: Range| {
            probes[range.index as usize].push((range.low, range.high, place));
        };
        add(Range::id(event.id));
        add_versions(store, &event, &mut add);
        if has_requests {
            add_requests(store, &event, &mut add);
        }
        if has_vanished {
            add(requests(event.pubkey, event.created_at));
            recipients(&event).for_each(|key| add(requests(key, event.created_at)));
        }
    }
    for index in Index::ALL {
        let probes = &mut probes[index as usize];
        probes.sort_unstable();
        let table = store.tables().indexes[index as usize];
        let mut prober = Prober { txn, table, width: index.width(), block: None };
        for (low, high, place) in probes.iter() {
            if !concerned[*place] && prober.has_any(low, high)? {
                concerned[*place] = true;
            }
        }
    }
    Ok(concerned)
}

/// Probes for the versions of the event's address.
fn add_versions(store: &Store, event: &EventRef<'_>, add: &mut impl FnMut(Range)) {
    match event.kind.class() {
        KindClass::Replaceable => {
            add(Range::author_kind(event.pubkey, event.kind.0, 0, u64::MAX));
        }
        KindClass::Addressable => {
            let hash = store.salt().address(event.kind.0, event.pubkey, event.identifier());
            add(Range::tag_kind(hash, event.kind.0, 0, u64::MAX));
        }
        KindClass::Regular | KindClass::Ephemeral => {}
    }
}

/// Probes for deletion requests that name the event.
fn add_requests(store: &Store, event: &EventRef<'_>, add: &mut impl FnMut(Range)) {
    let hash = store.salt().tag(b'e', Value::Hex(&event.id.0));
    add(Range::tag_kind(hash, Kind::DELETION.0, 0, u64::MAX));
    if event.has_address() {
        let mut address = Vec::new();
        event.write_address(&mut address);
        let hash = store.salt().tag(b'a', Value::Text(&address));
        add(Range::tag_kind(hash, Kind::DELETION.0, 0, u64::MAX));
    }
}

/// Looks ranges up in the blocks of one index; ranges in ascending order share their blocks.
struct Prober<'t> {
    txn: &'t RoTxn<'t>,
    table: Table,
    width: usize,
    block: Option<Block<'t>>,
}

impl Prober<'_> {
    /// Returns whether any entry lies in the range.
    fn has_any(&mut self, low: &Entry, high: &Entry) -> Result<bool, StoreError> {
        let is_inside =
            |block: &Block<'_>| block.entry(0) <= *low && *low <= block.entry(block.len() - 1);
        if !self.block.as_ref().is_some_and(is_inside) {
            let bytes = low.bytes();
            let row = self.table.get_lower_than_or_equal_to(self.txn, &bytes[..self.width])?;
            self.block = match row {
                Some((_, bytes)) => Some(
                    Block::new(bytes, self.width)
                        .filter(|block| block.len() > 0)
                        .ok_or_else(|| damaged("an index block"))?,
                ),
                None => None,
            };
        }
        if let Some(block) = &self.block {
            let below = block.count_below(low);
            if below < block.len() {
                return Ok(block.entry(below) <= *high);
            }
        }
        // Between two blocks: the next one starts with its key.
        let bytes = low.bytes();
        let next = self.table.get_greater_than(self.txn, &bytes[..self.width])?;
        Ok(next.is_some_and(|(key, _)| Entry::padded(key) <= *high))
    }
}
