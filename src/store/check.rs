//! Checking a store: that records and index entries imply each other (I4), and that counts and
//! fingerprints are those of the records.

use std::fmt;

use serde::Serialize;

use super::block::Block;
use super::cells::Leaves;
use super::env::{META_BYTES, META_MERGED, Store, Table, read_count, read_seq, read_totals};
use super::error::StoreError;
use super::key::{Entry, Index, entries_of};
use super::record::{self, stored_bytes};
use super::snapshot::Snapshot;
use super::sums::is_set_aside;
use crate::nostr::{EventRef, Verifier};
use crate::seq::Seq;

/// Something that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// A record is not that of an event.
    Record(Seq, String),
    /// A row of an index is no block, or its entries are not in order.
    Row { index: Index, key: Vec<u8>, why: &'static str },
    /// An entry that a record implies stands nowhere.
    Missing { index: Index, entry: Entry },
    /// An entry that no record implies.
    Stray { index: Index, entry: Entry },
    /// Events by kind, or the bytes that they take, are not what they were counted to be.
    Counts(&'static str),
    /// The sums of ids are not those of the records, from a second on.
    Fingerprints(u64),
    /// A record is in the log, and no place leads there.
    Place(Seq),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Record(seq, why) => write!(f, "event {}: {why}", seq.0),
            Fault::Row { index, why, .. } => write!(f, "{}: {why}", index.name()),
            Fault::Missing { index, entry } => {
                write!(f, "event {}: not in {}", index.seq(entry).0, index.name())
            }
            Fault::Stray { index, entry } => {
                let (name, seq) = (index.name(), index.seq(entry).0);
                write!(f, "{name}: an entry of event {seq} is a stray")
            }
            Fault::Counts(what) => write!(f, "counts: {what} are not what the records say"),
            Fault::Fingerprints(first) => {
                write!(f, "fingerprints: wrong for events from second {first} on")
            }
            Fault::Place(seq) => write!(f, "event {}: in the log, but its place is lost", seq.0),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckReport {
    /// Records read.
    pub records: u64,
    /// Index entries read.
    pub entries: u64,
    /// How many things were wrong.
    pub faults: u64,
    /// The first of them, in words.
    pub examples: Vec<String>,
}

impl CheckReport {
    /// Returns whether nothing was wrong.
    pub fn is_whole(&self) -> bool {
        self.faults == 0
    }

    /// Adds a fault.
    pub(super) fn note(&mut self, fault: &Fault) {
        self.faults += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(fault.to_string());
        }
    }
}

const EXAMPLES_MAX: usize = 20;
/// Rows between two looks at whether to go on.
pub(super) const ROWS_PER_TICK: u64 = if cfg!(test) { 16 } else { 1_024 };

/// Reads every record, index entry and fingerprint and holds them against each other.
///
/// `progress` is called now and then with the rows done and the rows there are.
///
/// # Errors
///
/// If the store cannot be read at all; what is wrong in it goes into the report.
pub fn check(store: &Store, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, StoreError> {
    check_watched(store, &mut |done, of| {
        progress(done, of);
        Ok(())
    })
}

/// Does the same, until it is stopped.
pub(super) fn check_watched(
    store: &Store,
    progress: &mut Progress<'_>,
) -> Result<CheckReport, StoreError> {
    let mut report = CheckReport::default();
    let mut sink = |fault: Fault| {
        report.note(&fault);
        Ok(())
    };
    let (records, entries) = survey(&store.snapshot()?, &mut sink, progress)?;
    Ok(CheckReport { records, entries, ..report })
}

/// Takes what is wrong.
pub(super) type Sink<'s> = dyn FnMut(Fault) -> Result<(), StoreError> + 's;
/// Is told the rows done and the rows there are; an error ends it.
pub(super) type Progress<'p> = dyn FnMut(u64, u64) -> Result<(), StoreError> + 'p;

/// Checks what a snapshot shows; returns how many records and index entries were read.
pub(super) fn survey(
    snapshot: &Snapshot<'_>,
    sink: &mut Sink<'_>,
    progress: &mut Progress<'_>,
) -> Result<(u64, u64), StoreError> {
    let store = snapshot.store();
    let mut rows = snapshot.seq().0;
    for table in &store.tables().indexes {
        rows += table.len(snapshot.txn())?;
    }
    let verifier = Verifier::new();
    let expected = [0; Index::ALL.len()];
    let (records, entries, done) = (0, 0, 0);
    let mut check =
        Check { store, snapshot, verifier, sink, progress, records, entries, expected, done, rows };
    check.all_records()?;
    for index in Index::ALL {
        check.index(index)?;
    }
    Ok((check.records, check.entries))
}

/// Living events by kind, and the bytes that their records take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) kinds: imbl::OrdMap<u16, u64>,
    pub(super) bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, event: &EventRef<'_>, record: &[u8]) {
        *self.kinds.entry(event.kind.0).or_insert(0) += 1;
        self.bytes += stored_bytes(record);
    }
}

struct Check<'c> {
    store: &'c Store,
    snapshot: &'c Snapshot<'c>,
    verifier: Verifier,
    sink: &'c mut Sink<'c>,
    progress: &'c mut Progress<'c>,
    records: u64,
    entries: u64,
    /// Entries that stand in the blocks of each index as they should.
    expected: [u64; Index::ALL.len()],
    done: u64,
    rows: u64,
}

impl Check<'_> {
    fn fault(&mut self, fault: Fault) -> Result<(), StoreError> {
        (self.sink)(fault)
    }

    /// From the records to what follows from them.
    fn all_records(&mut self) -> Result<(), StoreError> {
        let (snapshot, tables) = (self.snapshot, self.store.tables());
        let mut leaves = match Leaves::read(self.store, snapshot.txn()) {
            Err(StoreError::Damaged { .. }) => None,
            read => Some(read?),
        };
        let merged = read_seq(tables, snapshot.txn(), META_MERGED)?;
        let (mut living, mut merged_count) = (Count::default(), Count::default());
        let view = snapshot.view();
        for seq in (1..=snapshot.seq().0).map(Seq) {
            self.tick()?;
            let read = view.bytes(seq).and_then(|bytes| {
                bytes.map(|bytes| Ok((record::decode(bytes, seq)?, bytes))).transpose()
            });
            let (event, bytes) = match read {
                Ok(Some(read)) => read,
                Ok(None) => continue,
                Err(error) => {
                    self.fault(Fault::Record(seq, error.to_string()))?;
                    continue;
                }
            };
            self.records += 1;
            if !snapshot.layers().is_dead(seq) {
                living.add(&event, bytes);
            }
            if seq <= merged && !self.is_uncounted(seq)? {
                merged_count.add(&event, bytes);
                if let Some(leaves) = leaves.as_mut().filter(|_| !is_set_aside(&event)) {
                    leaves.take(event.created_at, &event.id.0);
                }
            }
            self.entries_of_record(seq, &event)?;
        }
        let layers = snapshot.layers();
        if (&living.kinds, living.bytes) != (&layers.totals, layers.record_bytes) {
            self.fault(Fault::Counts("those in memory"))?;
        }
        let stored = read_totals(tables, snapshot.txn()).ok();
        let stored = stored.zip(read_count(tables, snapshot.txn(), META_BYTES).ok());
        if stored.is_none_or(|(kinds, bytes)| Count { kinds, bytes } != merged_count) {
            self.fault(Fault::Counts("those of the tables"))?;
        }
        let Some(leaves) = leaves else { return self.fault(Fault::Fingerprints(0)) };
        for first in leaves.unequal.iter().copied().chain(leaves.rest()) {
            self.fault(Fault::Fingerprints(first))?;
        }
        Ok(())
    }

    /// From a record to its entries.
    fn entries_of_record(&mut self, seq: Seq, event: &EventRef<'_>) -> Result<(), StoreError> {
        let is_event = self.verifier.check_id(event).is_ok();
        if !is_event {
            self.fault(Fault::Record(seq, "its id is not its hash".to_owned()))?;
        }
        let mut entries: Vec<(Index, Entry)> = Vec::new();
        entries_of(self.store.salt(), event, seq, &mut |index, entry| entries.push((index, entry)));
        entries.sort_unstable_by_key(|(index, entry)| (*index as usize, *entry));
        entries.dedup();
        // Entries behind the merge mark may be in the blocks already, entries of dead events may be
        // gone already. What a damaged record implies is nothing to go by.
        let layers = self.snapshot.layers();
        let must = is_event && seq <= layers.merged && !layers.is_dead(seq);
        for (index, entry) in entries {
            if self.stands(index, &entry)? {
                self.expected[index as usize] += 1;
            } else if must {
                self.fault(Fault::Missing { index, entry })?;
            }
        }
        Ok(())
    }

    /// Returns whether an event is dead and already out of totals and sums.
    fn is_uncounted(&self, seq: Seq) -> Result<bool, StoreError> {
        let row = self.store.tables().dead.get(self.snapshot.txn(), &seq.0.to_be_bytes())?;
        Ok(row.is_some())
    }

    /// Returns whether an entry stands in the blocks.
    fn stands(&self, index: Index, entry: &Entry) -> Result<bool, StoreError> {
        let table = self.store.tables().indexes[index as usize];
        let width = index.width();
        let row = table.get_lower_than_or_equal_to(self.snapshot.txn(), &entry.bytes()[..width])?;
        let Some((_, bytes)) = row else { return Ok(false) };
        let Some(block) = Block::new(bytes, width) else { return Ok(false) };
        let count = block.count_up_to(entry);
        Ok(count > 0 && block.entry(count - 1) == *entry)
    }

    /// From the entries of one index to their records.
    fn index(&mut self, index: Index) -> Result<(), StoreError> {
        let mut count = 0;
        let mut rows = Rows::of(index);
        for row in self.store.tables().indexes[index as usize].iter(self.snapshot.txn())? {
            self.tick()?;
            let (key, bytes) = row?;
            count += rows.next(key, bytes, self.sink)?;
        }
        self.entries += count;
        if count != self.expected[index as usize] {
            self.find_strays(index)?;
        }
        Ok(())
    }

    /// Names the entries that no record implies.
    fn find_strays(&mut self, index: Index) -> Result<(), StoreError> {
        let table: &Table = &self.store.tables().indexes[index as usize];
        let view = self.snapshot.view();
        for row in table.iter(self.snapshot.txn())? {
            let (_, bytes) = row?;
            let Some(block) = Block::new(bytes, index.width()) else { continue };
            for entry in (0..block.len()).map(|position| block.entry(position)) {
                let seq = index.seq(&entry);
                // What cannot be read is named already.
                let Ok(event) = view.record(seq) else { continue };
                let implies = |event| implies(self.store, &event, seq, (index, entry));
                if !event.is_some_and(implies) {
                    self.fault(Fault::Stray { index, entry })?;
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), StoreError> {
        self.done += 1;
        if self.done.is_multiple_of(ROWS_PER_TICK) {
            (self.progress)(self.done, self.rows)
        } else {
            Ok(())
        }
    }
}

/// Returns whether an entry follows from an event.
pub(super) fn implies(
    store: &Store,
    event: &EventRef<'_>,
    seq: Seq,
    wanted: (Index, Entry),
) -> bool {
    let mut is_implied = false;
    entries_of(store.salt(), event, seq, &mut |index, entry| {
        is_implied |= (index, entry) == wanted;
    });
    is_implied
}

/// The rows of an index, one after the other.
pub(super) struct Rows {
    index: Index,
    entries: Vec<Entry>,
    last: Option<(Entry, Vec<u8>)>,
}

impl Rows {
    pub(super) fn of(index: Index) -> Rows {
        Rows { index, entries: Vec::new(), last: None }
    }

    /// Looks at the next row; returns how many entries it has.
    pub(super) fn next(
        &mut self,
        key: &[u8],
        bytes: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<u64, StoreError> {
        let index = self.index;
        let fault = |key: &[u8], why| Fault::Row { index, key: key.to_vec(), why };
        if let Some(why) = fault_of(index, key, bytes, &mut self.entries) {
            sink(fault(key, why))?;
        }
        let (Some(first), Some(end)) = (self.entries.first(), self.entries.last()) else {
            return Ok(0);
        };
        if let Some((last, before)) = self.last.take()
            && last >= *first
        {
            sink(fault(&before, "entries are out of order"))?;
            sink(fault(key, "entries are out of order"))?;
        }
        self.last = Some((*end, key.to_vec()));
        Ok(self.entries.len() as u64)
    }
}

/// Returns what is wrong with a row by itself, and its entries.
pub(super) fn fault_of(
    index: Index,
    key: &[u8],
    bytes: &[u8],
    entries: &mut Vec<Entry>,
) -> Option<&'static str> {
    entries.clear();
    let Some(block) = Block::new(bytes, index.width()) else {
        return Some("a block has not its form");
    };
    block.unpack(entries);
    if entries.first().is_none_or(|first| first.bytes()[..index.width()] != *key) {
        return Some("a block's key is not its first entry");
    }
    let is_sorted = entries.windows(2).all(|pair| pair[0] < pair[1]);
    (!is_sorted).then_some("entries are out of order")
}
