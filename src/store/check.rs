//! Checking a store: that records and index entries imply each other (I4), and that fingerprints
//! are those of the records.

use serde::Serialize;

use super::block::Block;
use super::cells::Leaves;
use super::env::{META_MERGED, Store, Table, read_seq};
use super::error::StoreError;
use super::key::{Entry, Index, entries_of};
use super::snapshot::Snapshot;
use super::sums::is_set_aside;
use crate::nostr::Verifier;
use crate::seq::Seq;

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

    fn fault(&mut self, text: impl FnOnce() -> String) {
        self.faults += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

const EXAMPLES_MAX: usize = 20;

/// Reads every record, index entry and fingerprint and holds them against each other.
///
/// `progress` is called now and then with the rows done and the rows there are.
///
/// # Errors
///
/// If the store cannot be read at all; what is wrong in it goes into the report.
pub fn check(store: &Store, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, StoreError> {
    let snapshot = store.snapshot()?;
    let mut check = Check {
        store,
        snapshot: &snapshot,
        verifier: Verifier::new(),
        report: CheckReport::default(),
        expected: [0; Index::ALL.len()],
        done: 0,
        rows: 0,
    };
    check.rows = snapshot.seq().0;
    for table in &store.tables().indexes {
        check.rows += table.len(snapshot.txn())?;
    }
    let mut leaves = Leaves::read(store, snapshot.txn())?;
    check.records(&mut leaves, progress)?;
    check.fingerprints(&leaves);
    for index in Index::ALL {
        check.index(index, progress)?;
    }
    Ok(check.report)
}

struct Check<'c> {
    store: &'c Store,
    snapshot: &'c Snapshot<'c>,
    verifier: Verifier,
    report: CheckReport,
    /// Entries that stand in the blocks of each index as they should.
    expected: [u64; Index::ALL.len()],
    done: u64,
    rows: u64,
}

impl Check<'_> {
    /// From the records to their entries.
    fn records(
        &mut self,
        leaves: &mut Leaves,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), StoreError> {
        let merged = read_seq(self.store.tables(), self.snapshot.txn(), META_MERGED)?;
        let mut entries: Vec<(usize, Entry)> = Vec::new();
        let view = self.snapshot.view();
        for seq in (1..=self.snapshot.seq().0).map(Seq) {
            self.tick(progress);
            let event = match view.record(seq) {
                Ok(Some(event)) => event,
                Ok(None) => continue,
                Err(error) => {
                    self.report.fault(|| error.to_string());
                    continue;
                }
            };
            self.report.records += 1;
            if self.verifier.check_id(&event).is_err() {
                self.report.fault(|| format!("event {}: its id is not its hash", seq.0));
            }
            if seq <= merged && !is_set_aside(&event) && !self.is_uncounted(seq)? {
                leaves.take(event.created_at, &event.id.0);
            }
            entries.clear();
            entries_of(self.store.salt(), &event, seq, &mut |index, entry| {
                entries.push((index as usize, entry));
            });
            entries.sort_unstable();
            entries.dedup();
            // Entries behind the merge mark may be in the blocks already, entries of dead events
            // may be gone already.
            let layers = self.snapshot.layers();
            let must = seq <= layers.merged && !layers.is_dead(seq);
            for (index, entry) in &entries {
                if self.stands(Index::ALL[*index], entry)? {
                    self.expected[*index] += 1;
                } else if must {
                    let name = Index::ALL[*index].name();
                    self.report.fault(|| format!("event {}: not in {name}", seq.0));
                }
            }
        }
        Ok(())
    }

    /// Returns whether an event is dead and already out of totals and sums.
    fn is_uncounted(&self, seq: Seq) -> Result<bool, StoreError> {
        let row = self.store.tables().dead.get(self.snapshot.txn(), &seq.0.to_be_bytes())?;
        Ok(row.is_some())
    }

    /// What the records have left of the fingerprints.
    fn fingerprints(&mut self, leaves: &Leaves) {
        for first in leaves.unequal.iter().copied().chain(leaves.rest()) {
            self.report.fault(|| format!("fingerprints: wrong for events from second {first} on"));
        }
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
    fn index(
        &mut self,
        index: Index,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), StoreError> {
        let table = self.store.tables().indexes[index as usize];
        let mut entries = Vec::new();
        let mut last: Option<Entry> = None;
        let mut count = 0;
        for row in table.iter(self.snapshot.txn())? {
            self.tick(progress);
            let (key, bytes) = row?;
            let Some(block) = Block::new(bytes, index.width()) else {
                self.report.fault(|| format!("{}: a block has not its form", index.name()));
                continue;
            };
            entries.clear();
            block.unpack(&mut entries);
            if entries.first().is_none_or(|first| first.bytes()[..index.width()] != *key) {
                self.report
                    .fault(|| format!("{}: a block's key is not its first entry", index.name()));
            }
            for entry in &entries {
                if last.is_some_and(|last| last >= *entry) {
                    self.report.fault(|| format!("{}: entries are out of order", index.name()));
                }
                last = Some(*entry);
            }
            count += entries.len() as u64;
        }
        self.report.entries += count;
        if count != self.expected[index as usize] {
            self.find_strays(index, &table)?;
        }
        Ok(())
    }

    /// Names the entries that no record implies.
    fn find_strays(&mut self, index: Index, table: &Table) -> Result<(), StoreError> {
        let view = self.snapshot.view();
        for row in table.iter(self.snapshot.txn())? {
            let (_, bytes) = row?;
            let Some(block) = Block::new(bytes, index.width()) else { continue };
            for entry in (0..block.len()).map(|position| block.entry(position)) {
                let seq = index.seq(&entry);
                let mut is_implied = false;
                if let Some(event) = view.record(seq)? {
                    entries_of(self.store.salt(), &event, seq, &mut |of, implied| {
                        is_implied |= of == index && implied == entry;
                    });
                }
                if !is_implied {
                    let name = index.name();
                    self.report.fault(|| format!("{name}: an entry of event {} is a stray", seq.0));
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self, progress: &mut dyn FnMut(u64, u64)) {
        self.done += 1;
        if self.done.is_multiple_of(1024) {
            progress(self.done, self.rows);
        }
    }
}
