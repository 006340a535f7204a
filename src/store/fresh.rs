//! Which events of a batch surely concern nothing that is stored.
//!
//! Most events that arrive are new, replace nothing and were not asked to be deleted. To see that
//! for a whole batch is much cheaper than to look up each event by itself: what the blocks say is
//! probed in sorted order, one block after the other, and what is younger than the blocks is in a
//! set of eight-byte names. An event that may concern anything is left to `rules`, which look
//! closely; so a collision costs a little time and never changes an outcome.

use std::collections::HashSet;

use heed::RoTxn;

use super::block::Block;
use super::env::{Store, Table, damaged};
use super::error::StoreError;
use super::key::{Entry, Index, Range};
use super::overlay::Layers;
use super::vanish::{recipients, requests};
use crate::nostr::{EventRef, Kind, KindClass, PublicKey, Value, Verified};
use crate::seq::Seq;

/// A short name of something that events are about: an id or an address.
type Name = [u8; 8];
type Names = HashSet<Name, foldhash::fast::RandomState>;

/// What the events that are not in the blocks yet are, and what they ask to delete.
#[derive(Default)]
pub(super) struct Recent {
    young: Names,
    frozen: Names,
    of_event: Vec<Name>,
    /// Who has asked to vanish, as far as the blocks do not know yet; they may know some.
    vanished: Names,
    of_request: Option<Name>,
    /// The LMDB transaction that the names belong to.
    transaction: usize,
    /// The names are those of the events behind the merge mark `merged`, up to `last`.
    merged: Seq,
    last: Seq,
}

impl Recent {
    /// Makes the names those of the layers, if another process has changed the layers.
    pub(super) fn follow(
        &mut self,
        store: &Store,
        txn: &RoTxn<'_>,
        layers: &Layers,
    ) -> Result<(), StoreError> {
        if self.transaction == layers.transaction {
            return Ok(());
        }
        if self.transaction == 0 || self.merged != layers.merged {
            *self = Recent { merged: layers.merged, last: layers.merged, ..Recent::default() };
        }
        let view = store.view(txn, layers);
        for seq in (self.last.0 + 1..=layers.last.0).map(Seq) {
            if let Some(event) = view.record(seq)? {
                self.learn_names(store, &event);
                self.remember(seq);
            }
        }
        self.last = layers.last;
        self.transaction = layers.transaction;
        Ok(())
    }

    /// Notes that our own commit made this transaction.
    pub(super) fn committed(&mut self, transaction: usize) {
        self.transaction = transaction;
    }

    /// Forgets everything, so that the next batch reads it anew.
    pub(super) fn forget(&mut self) {
        *self = Recent::default();
    }

    /// Follows the layers when a merge begins.
    pub(super) fn freeze(&mut self) {
        let young = std::mem::take(&mut self.young);
        self.frozen.extend(young);
    }

    /// Follows the layers when a merge is over.
    pub(super) fn thaw(&mut self) {
        self.frozen = Names::default();
    }

    /// Returns whether what becomes of `event` may depend on a recent event.
    pub(super) fn may_concern(&mut self, store: &Store, event: &EventRef<'_>) -> bool {
        self.learn_names(store, event);
        let is_recent = |name: &Name| self.young.contains(name) || self.frozen.contains(name);
        self.of_event.iter().any(is_recent) || self.may_be_vanished(event)
    }

    fn may_be_vanished(&self, event: &EventRef<'_>) -> bool {
        let has_vanished = |key: &PublicKey| self.vanished.contains(&head(&key.0));
        !self.vanished.is_empty()
            && (has_vanished(event.pubkey) || recipients(event).any(has_vanished))
    }

    /// Adds the event that was asked about last.
    pub(super) fn remember(&mut self, seq: Seq) {
        self.last = seq;
        self.vanished.extend(self.of_request.take());
        self.young.extend(self.of_event.drain(..));
    }

    /// Names what an event is, and what it asks to delete.
    fn learn_names(&mut self, store: &Store, event: &EventRef<'_>) {
        let names = &mut self.of_event;
        names.clear();
        names.push(head(&event.id.0));
        self.of_request = (event.kind == Kind::VANISH).then(|| head(&event.pubkey.0));
        if event.has_address() {
            let mut address = Vec::new();
            event.write_address(&mut address);
            names.push(store.salt().tag(b'a', Value::Text(&address)));
        }
        if event.kind == Kind::DELETION {
            for tag in event.tags() {
                match (tag.letter(), tag.value()) {
                    (Some(b'e'), Some(Value::Hex(id))) => names.push(head(id)),
                    (Some(b'a'), Some(address)) => names.push(store.salt().tag(b'a', address)),
                    _ => {}
                }
            }
        }
    }
}

fn head(id: &[u8; 32]) -> Name {
    *id.first_chunk().expect("an id has 32 bytes")
}

/// Returns for each event of a batch whether what becomes of it may depend on the blocks.
pub(super) fn concern_blocks(
    store: &Store,
    txn: &RoTxn<'_>,
    layers: &Layers,
    batch: &[Verified],
) -> Result<Vec<bool>, StoreError> {
    let mut concerned = vec![false; batch.len()];
    if layers.merged == Seq::ZERO {
        return Ok(concerned);
    }
    // Without any deletion request nothing can have been deleted by one.
    let has_requests = layers.totals.contains_key(&Kind::DELETION.0);
    let has_vanished = layers.totals.contains_key(&Kind::VANISH.0);
    let mut probes: [Vec<(Entry, Entry, usize)>; Index::ALL.len()] = Default::default();
    for (place, verified) in batch.iter().enumerate() {
        let event = verified.event().view();
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
