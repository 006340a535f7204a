//! Sweeping: the log is cut into segments; where most of one is dead, its living records move to the
//! end of the log, and the segment is given back to the disk.
//!
//! A record keeps its seq, so nothing but its place changes. Moved records are on the disk before
//! their places change, and these before the segment is cleared.

use std::collections::BTreeMap;

use heed::RwTxn;

use super::change::Change;
use super::env::{Store, read_tail};
use super::erase::{Cleared, Erasing};
use super::error::StoreError;
use super::frame::WORD_BYTES;
use super::log::FIRST_FRAME;
use crate::seq::Seq;

/// A sweep under way.
#[derive(Debug)]
pub(super) struct Sweep {
    /// What is swept, and the last place before it that is kept.
    segments: BTreeMap<u32, Option<(Seq, u64)>>,
    /// For each segment which of those swept comes after it.
    next: Vec<u32>,
    /// The seq up to which the places were looked at.
    looked_at: Seq,
    /// What lies in the segments and is to be kept.
    records: Vec<(Seq, u64)>,
    /// What lies there and is about to be erased.
    gone: Vec<Seq>,
}

/// Notes how much of each segment the records of these events leave dead.
pub(super) fn note_dead(
    store: &Store,
    txn: &mut RwTxn<'_>,
    dead: impl Iterator<Item = Seq>,
) -> Result<(), StoreError> {
    let mut words: BTreeMap<u32, u64> = BTreeMap::new();
    for seq in dead {
        if let Some(place) = store.log().places().of(seq)
            && let Some(bytes) = store.log().record(seq)?
        {
            *words.entry(segment_of(place)).or_default() += (bytes.len() / WORD_BYTES + 1) as u64;
        }
    }
    let table = store.tables().segments;
    for (segment, words) in words {
        let key = segment.to_be_bytes();
        let before = dead_words(table.get(txn, &key)?.unwrap_or_default());
        let row = (before + words).to_be_bytes();
        table.put(txn, &key, &row).map_err(StoreError::of_write)?;
    }
    Ok(())
}

/// Returns how many bytes of the log are those of the dead, and not given back yet.
pub(super) fn dead_bytes(store: &Store, txn: &heed::RoTxn<'_>) -> Result<u64, StoreError> {
    let mut words = 0;
    for row in store.tables().segments.iter(txn)? {
        words += dead_words(row?.1);
    }
    Ok(words * WORD_BYTES as u64)
}

fn dead_words(row: &[u8]) -> u64 {
    row.try_into().map_or(0, u64::from_be_bytes)
}

fn segment_of(place: u64) -> u32 {
    u32::try_from(place / SEGMENT_WORDS).unwrap_or(u32::MAX)
}

impl Sweep {
    /// Chooses what to sweep, if enough is dead.
    pub(super) fn start(store: &Store) -> Result<Option<Sweep>, StoreError> {
        let txn = store.env().read_txn()?;
        // What lies behind the mark is needed as it is, to open the store.
        let end = segment_of(read_tail(store.tables(), &txn)?.at);
        let mut segments = BTreeMap::new();
        for row in store.tables().segments.iter(&txn)? {
            let (key, value) = row?;
            let segment = key.try_into().map_or(u32::MAX, u32::from_be_bytes);
            let is_worth = dead_words(value) * 100 >= SEGMENT_WORDS * DEAD_PERCENT_MIN;
            if segment < end && is_worth && segments.len() < SEGMENTS_MAX {
                segments.insert(segment, None);
            }
        }
        // To look at all places is paid for by several segments.
        let looked_at_bytes = store.last_seq().0 * WORD_BYTES as u64;
        let swept_bytes = segments.len() as u64 * SEGMENT_WORDS * WORD_BYTES as u64;
        if segments.is_empty() || swept_bytes < looked_at_bytes {
            return Ok(None);
        }
        let next = (0..end)
            .map(|segment| segments.range(segment + 1..).next().map_or(u32::MAX, |(next, _)| *next))
            .collect();
        Ok(Some(Sweep {
            segments,
            next,
            looked_at: Seq::ZERO,
            records: Vec::new(),
            gone: Vec::new(),
        }))
    }

    /// Does the next step; returns whether that was the last.
    pub(super) fn step(
        &mut self,
        store: &Store,
        erasing: &mut Erasing,
        change: &mut Change<'_>,
    ) -> Result<bool, StoreError> {
        if self.looked_at < store.last_seq() {
            self.look(store);
            return Ok(false);
        }
        if !self.records.is_empty() {
            self.move_some(change)?;
            return Ok(false);
        }
        store.log().places().sync()?;
        let cleared = self.segments.iter().filter_map(|(segment, kept)| {
            let begin = u64::from(*segment) * SEGMENT_WORDS;
            let end = begin + SEGMENT_WORDS;
            let kept = kept.map_or(FIRST_FRAME, |(seq, place)| store.log().end_of(seq, place));
            let from = kept.max(begin);
            let bytes = |words: u64| words * WORD_BYTES as u64;
            (from < end).then(|| Cleared { segment: *segment, from: bytes(from), to: bytes(end) })
        });
        let gone = std::mem::take(&mut self.gone);
        erasing.push_cleared(change.end_era(), gone, cleared.collect());
        Ok(true)
    }

    /// Looks where some of the records lie.
    fn look(&mut self, store: &Store) {
        let layers = store.layers();
        let last = Seq(layers.last.0.min(self.looked_at.0 + PLACES_PER_STEP));
        for seq in (self.looked_at.0 + 1..=last.0).map(Seq) {
            let Some(place) = store.log().places().of(seq) else { continue };
            let segment = segment_of(place);
            if self.segments.contains_key(&segment) {
                if layers.gone.contains(&seq.0) {
                    // It is erased where it lies, before the segment is cleared.
                    self.gone.push(seq);
                } else {
                    self.records.push((seq, place));
                }
            } else if let Some(next) = self.next.get(segment as usize)
                && let Some(kept) = self.segments.get_mut(next)
                && kept.is_none_or(|(_, before)| before < place)
            {
                *kept = Some((seq, place));
            }
        }
        self.looked_at = last;
    }

    /// Moves some of the records.
    fn move_some(&mut self, change: &mut Change<'_>) -> Result<(), StoreError> {
        let mut bytes = 0;
        while bytes < BYTES_PER_STEP {
            let Some((seq, place)) = self.records.pop() else { break };
            // It may have died since.
            if change.store.log().places().of(seq) == Some(place)
                && let Some(record) = change.store.log().record(seq)?
            {
                bytes += record.len();
                change.move_record(seq, record);
            }
        }
        Ok(())
    }
}

/// Words of a segment: a megabyte.
const SEGMENT_WORDS: u64 = if cfg!(test) { 256 } else { 1 << 17 };
/// How much of a segment must be dead.
const DEAD_PERCENT_MIN: u64 = 50;
/// Segments swept at once; bounds the memory for what lies in them.
const SEGMENTS_MAX: usize = 256;
/// Places looked at in one step: some milliseconds.
const PLACES_PER_STEP: u64 = if cfg!(test) { 50 } else { 500_000 };
/// Bytes moved in one step.
const BYTES_PER_STEP: usize = 512 << 10;
