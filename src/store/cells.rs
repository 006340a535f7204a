//! Cells: sums of ids by time, of the events up to the merge mark (schema/FORMAT.md,
//! "Fingerprints").
//!
//! Time is divided into sixteen parts, these into sixteen parts each, down to the second: nodes of
//! a tree. The row of a node has a cell for each of its parts in which there are events. A node has
//! a row once it has [`SPLIT`] events: so stores that are thin at a time keep little of it, and
//! those that are dense find any second by reading few records.
//!
//! Invariant: the cells are the sums of all records up to the merge mark that are not set aside,
//! the dead included. They change in one transaction with the merge mark, by what was added and
//! what died since the last one.

use std::collections::HashSet;

use heed::{RoTxn, RwTxn};

use super::env::{Store, damaged};
use super::error::StoreError;
use super::key::{Range, TIME_MAX};
use super::overlay::{Layers, Overlay};
use super::sums::{Runs, Span, Stretch, is_set_aside};
use crate::reconcile::Sum;
use crate::seq::Seq;

/// Parts of a node.
pub(super) const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 4;
const ROOT_SHIFT: u32 = 36;
/// Events from which on a node has a row.
pub(super) const SPLIT: u64 = 64;

const _: () = assert!(TIME_MAX == (1 << ROOT_SHIFT) - 1, "the root has room for every time");
const _: () = assert!(ROOT_SHIFT.is_multiple_of(PART_BITS), "the last parts are seconds");

/// A stretch of time that is divided evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    /// It is `2^shift` seconds long.
    shift: u32,
    /// How many nodes of the same length come before it.
    number: u64,
}

impl Node {
    /// All of time.
    pub(super) const ROOT: Node = Node { shift: ROOT_SHIFT, number: 0 };

    /// Returns a part of the node.
    pub(super) fn part(self, part: usize) -> Node {
        let number = self.number << PART_BITS | part as u64;
        Node { shift: self.shift - PART_BITS, number }
    }

    /// Returns the part that a time of the node lies in.
    pub(super) fn part_of(self, time: u64) -> usize {
        let part = (time.min(TIME_MAX) >> (self.shift - PART_BITS)) & (PARTS as u64 - 1);
        usize::try_from(part).expect("parts are few")
    }

    /// Returns whether the node is a single second, which has no parts.
    pub(super) fn is_second(self) -> bool {
        self.shift == 0
    }

    /// Returns its first and last time. Times that are too late for the order count as its last
    /// second, like in the indexes.
    pub(super) fn span(self) -> Span {
        let first = self.number << self.shift;
        let last = first | ((1 << self.shift) - 1);
        Span { first, last: if last == TIME_MAX { u64::MAX } else { last } }
    }

    fn key(self) -> [u8; 6] {
        let [_, _, _, a, b, c, d, e] = self.number.to_be_bytes();
        [self.shift as u8, a, b, c, d, e]
    }
}

/// The sums of a node's parts.
pub(super) type Cells = [Sum; PARTS];

/// Returns the row of a node, if it has one.
pub(super) fn read(
    store: &Store,
    txn: &RoTxn<'_>,
    node: Node,
) -> Result<Option<Cells>, StoreError> {
    let Some(bytes) = store.tables().fingerprints.get(txn, &node.key())? else { return Ok(None) };
    unpacked(bytes).map(Some)
}

/// Returns the keys of rows that are none.
pub(super) fn unreadable(store: &Store, txn: &RoTxn<'_>) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut keys = Vec::new();
    for row in store.tables().fingerprints.iter(txn)? {
        let (key, bytes) = row?;
        if unpacked(bytes).is_err() {
            keys.push(key.to_vec());
        }
    }
    Ok(keys)
}

/// Takes rows out that are none; what they told follows from the indexes.
pub(super) fn remove_unreadable(
    store: &Store,
    txn: &mut RwTxn<'_>,
    keys: &[Vec<u8>],
) -> Result<u64, StoreError> {
    let table = store.tables().fingerprints;
    let mut removed = 0;
    for key in keys {
        if table.get(txn, key)?.is_some_and(|bytes| unpacked(bytes).is_err()) {
            removed += u64::from(table.delete(txn, key).map_err(StoreError::of_write)?);
        }
    }
    Ok(removed)
}

fn unpacked(bytes: &[u8]) -> Result<Cells, StoreError> {
    let (rows, rest) = bytes.as_chunks::<CELL_BYTES>();
    let mut cells = [Sum::ZERO; PARTS];
    for row in rows {
        let [part, a, b, c, d, e, sum @ ..] = row;
        let count = u64::from_be_bytes([0, 0, 0, *a, *b, *c, *d, *e]);
        let cell = cells.get_mut(usize::from(*part)).ok_or_else(|| damaged("a fingerprint"))?;
        *cell = Sum::from_parts(sum, count);
    }
    if rest.is_empty() { Ok(cells) } else { Err(damaged("a fingerprint")) }
}

/// A cell: which part, how many events (5 bytes), their sum.
const CELL_BYTES: usize = 1 + 5 + 32;

/// Returns the row of these cells.
fn packed(cells: &Cells) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PARTS * CELL_BYTES);
    for (part, cell) in (0..).zip(cells) {
        if *cell != Sum::ZERO {
            let [_, _, _, count @ ..] = cell.count().to_be_bytes();
            bytes.push(part);
            bytes.extend_from_slice(&count);
            bytes.extend_from_slice(&cell.bytes());
        }
    }
    bytes
}

fn write(store: &Store, txn: &mut RwTxn<'_>, node: Node, cells: &Cells) -> Result<(), StoreError> {
    let bytes = packed(cells);
    let table = &store.tables().fingerprints;
    if bytes.is_empty() {
        table.delete(txn, &node.key()).map_err(StoreError::of_write)?;
        return Ok(());
    }
    table.put(txn, &node.key(), &bytes).map_err(StoreError::of_write)
}

/// Brings the cells up to a merge mark: the part of a merge's last step that is done before the
/// dead records are removed.
pub(super) struct Update<'u> {
    pub(super) store: &'u Store,
    /// What is merged.
    pub(super) frozen: &'u Overlay,
    /// The layers of the blocks alone, as they are after the merge.
    pub(super) base: &'u Layers,
    /// What died since the merge began; those of them that are merged are in the cells.
    pub(super) died_since: &'u Runs,
}

impl Update<'_> {
    /// Updates all cells.
    pub(super) fn run(&self, txn: &mut RwTxn<'_>) -> Result<(), StoreError> {
        let all = Node::ROOT.span();
        let added: Vec<Stretch<'_>> = self.frozen.added().within(all).collect();
        let removed: Vec<Stretch<'_>> = self.frozen.removed().within(all).collect();
        // Without a row there is nothing below it: everything is new.
        let count = (sum(&added) - sum(&removed)).count();
        self.update(txn, Node::ROOT, count.max(SPLIT), &added, &removed)
    }

    /// Updates the row of a node that will have `count` events.
    fn update(
        &self,
        txn: &mut RwTxn<'_>,
        node: Node,
        count: u64,
        added: &[Stretch<'_>],
        removed: &[Stretch<'_>],
    ) -> Result<(), StoreError> {
        if node.is_second() {
            return Ok(());
        }
        let Some(mut cells) = read(self.store, txn, node)? else {
            return if count < SPLIT {
                Ok(())
            } else {
                self.build(txn, node, count, added, removed)
            };
        };
        for (part, cell) in cells.iter_mut().enumerate() {
            let span = node.part(part).span();
            let added = narrowed(added, span);
            let removed = narrowed(removed, span);
            if added.is_empty() && removed.is_empty() {
                continue;
            }
            *cell += sum(&added);
            *cell -= sum(&removed);
            self.update(txn, node.part(part), cell.count(), &added, &removed)?;
        }
        write(self.store, txn, node, &cells)
    }

    /// Writes the row of a node that had none, and those of its parts.
    fn build(
        &self,
        txn: &mut RwTxn<'_>,
        node: Node,
        count: u64,
        added: &[Stretch<'_>],
        removed: &[Stretch<'_>],
    ) -> Result<(), StoreError> {
        let is_all_new = (sum(added) - sum(removed)).count() == count;
        let items =
            if is_all_new { items_of(added, removed) } else { self.merged_in(txn, node.span())? };
        each_built(node, &items, &mut |node, cells| write(self.store, txn, node, cells))
    }

    /// Returns times and ids of what is merged in a stretch of time, the dead included.
    fn merged_in(&self, txn: &RoTxn<'_>, span: Span) -> Result<Vec<(u64, Sum)>, StoreError> {
        let mut items = Vec::new();
        let view = self.store.view(txn, self.base);
        let mut scan = view.scan(Range::time(span.first, span.last))?;
        while let Some(found) = scan.next()? {
            if let Some(event) = view.by_seq(found.seq())?
                && !is_set_aside(&event)
            {
                items.push((event.created_at, Sum::of(&event.id.0)));
            }
        }
        let died = self.died_since.within(span).flat_map(|stretch| stretch.items());
        let merged = died.filter(|(seq, _)| *seq <= self.base.last);
        items.extend(merged.map(|(_, item)| (item.timestamp, Sum::of(&item.id))));
        items.sort_unstable_by_key(|(time, _)| *time);
        Ok(items)
    }
}

/// Returns times and ids of what was added and not removed again.
fn items_of(added: &[Stretch<'_>], removed: &[Stretch<'_>]) -> Vec<(u64, Sum)> {
    let removed: HashSet<Seq> =
        removed.iter().flat_map(Stretch::items).map(|(seq, _)| seq).collect();
    let added = added.iter().flat_map(Stretch::items);
    let mut items: Vec<(u64, Sum)> = added
        .filter(|(seq, _)| !removed.contains(seq))
        .map(|(_, item)| (item.timestamp, Sum::of(&item.id)))
        .collect();
    items.sort_unstable_by_key(|(time, _)| *time);
    items
}

/// A row of the table, or that there is none of this key.
pub(super) type Row = (Vec<u8>, Option<Vec<u8>>);

/// Returns the rows that are not what they were if they were built of these items, in order of time:
/// all that are merged and in sums.
pub(super) fn unlike(
    store: &Store,
    txn: &RoTxn<'_>,
    items: Vec<(u64, Sum)>,
) -> Result<Vec<Row>, StoreError> {
    let table = store.tables().fingerprints;
    let (mut unlike, mut seen) = (Vec::new(), HashSet::new());
    // Without an event the root may be there or not.
    if !items.is_empty() {
        each_built(Node::ROOT, &items, &mut |node, cells| {
            let (key, value) = (node.key().to_vec(), packed(cells));
            if table.get(txn, &key)? != Some(&value) {
                unlike.push((key.clone(), Some(value)));
            }
            seen.insert(key);
            Ok(())
        })?;
    }
    for row in table.iter(txn)? {
        let (key, _) = row?;
        if !seen.contains(key) {
            unlike.push((key.to_vec(), None));
        }
    }
    Ok(unlike)
}

/// Gives the node of these items and the nodes below it that have rows.
fn each_built(
    node: Node,
    items: &[(u64, Sum)],
    emit: &mut dyn FnMut(Node, &Cells) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut cells = [Sum::ZERO; PARTS];
    let mut rest = items;
    for (part, cell) in cells.iter_mut().enumerate() {
        let part = node.part(part);
        let count = rest.partition_point(|(time, _)| *time <= part.span().last);
        let (of_part, later) = rest.split_at(count);
        rest = later;
        *cell = of_part.iter().fold(Sum::ZERO, |sum, (_, id)| sum + *id);
        if cell.count() >= SPLIT && !part.is_second() {
            each_built(part, of_part, emit)?;
        }
    }
    emit(node, &cells)
}

fn narrowed<'r>(stretches: &[Stretch<'r>], span: Span) -> Vec<Stretch<'r>> {
    stretches.iter().map(|it| it.within(span)).filter(|it| !it.is_empty()).collect()
}

/// Returns the sum of several stretches.
pub(super) fn sum(stretches: &[Stretch<'_>]) -> Sum {
    stretches.iter().fold(Sum::ZERO, |sum, stretch| sum + stretch.sum())
}

/// The cells that are not divided, in order of time, to hold records against.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    cells: Vec<(u64, Sum)>,
    rows: u64,
    /// Nodes whose parts do not add up to them.
    pub(super) unequal: Vec<u64>,
}

impl Leaves {
    /// Reads all rows.
    pub(super) fn read(store: &Store, txn: &RoTxn<'_>) -> Result<Leaves, StoreError> {
        let mut leaves = Leaves::default();
        match read(store, txn, Node::ROOT)? {
            Some(cells) => leaves.descend(store, txn, Node::ROOT, &cells)?,
            None => leaves.cells.push((0, Sum::ZERO)),
        }
        if leaves.rows != store.tables().fingerprints.len(txn)? {
            leaves.unequal.push(0);
        }
        Ok(leaves)
    }

    fn descend(
        &mut self,
        store: &Store,
        txn: &RoTxn<'_>,
        node: Node,
        cells: &Cells,
    ) -> Result<(), StoreError> {
        self.rows += 1;
        for (part, cell) in cells.iter().enumerate() {
            let part = node.part(part);
            let row = if part.is_second() { None } else { read(store, txn, part)? };
            match row {
                Some(parts) => {
                    if parts.iter().fold(Sum::ZERO, |sum, part| sum + *part) != *cell {
                        self.unequal.push(part.span().first);
                    }
                    self.descend(store, txn, part, &parts)?;
                }
                None => self.cells.push((part.span().first, *cell)),
            }
        }
        Ok(())
    }

    /// Takes a record's id out of the cell of its time.
    pub(super) fn take(&mut self, time: u64, id: &[u8; 32]) {
        let time = time.min(TIME_MAX);
        let after = self.cells.partition_point(|(first, _)| *first <= time);
        self.cells[after.saturating_sub(1)].1 -= Sum::of(id);
    }

    /// Returns the times of the cells that have more or less than was taken.
    pub(super) fn rest(&self) -> impl Iterator<Item = u64> {
        self.cells.iter().filter(|(_, sum)| *sum != Sum::ZERO).map(|(first, _)| *first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_divide_their_node_evenly_and_the_last_takes_what_is_later() {
        let mut node = Node::ROOT;
        assert_eq!(node.span(), Span { first: 0, last: u64::MAX });
        let time = 1_700_000_123;
        while !node.is_second() {
            let parts: Vec<Span> = (0..PARTS).map(|part| node.part(part).span()).collect();
            assert_eq!(parts[0].first, node.span().first);
            assert_eq!(parts[PARTS - 1].last, node.span().last);
            for pair in parts.windows(2) {
                assert_eq!(pair[0].last + 1, pair[1].first);
            }
            node = node.part(node.part_of(time));
            assert!((node.span().first..=node.span().last).contains(&time));
        }
        assert_eq!(node.span(), Span { first: time, last: time });
        assert_eq!(Node::ROOT.part_of(u64::MAX), PARTS - 1);
    }
}
