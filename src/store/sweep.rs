//! Sweeping: where most of a stretch of the log is dead, its living records move to the end of the
//! log, and the stretch is given back to the disk.
//!
//! A record keeps its seq, so nothing but its place changes. What the frames there buried is said
//! again at the end: a backup may hold those records. Moved records are on the disk before
//! their places change, and these before the stretch is cleared. The table of segments, a megabyte
//! each, knows how much of each is dead and where its first frame begins; a stretch is made of whole
//! frames.

use std::collections::BTreeMap;
use std::ops::Range;

use heed::{RoTxn, RwTxn};

use super::change::Change;
use super::env::{Store, damaged, read_tail};
use super::erase::{Cleared, Erasing};
use super::error::StoreError;
use super::frame::{Gap, HEADER_BYTES, WORD_BYTES};
use crate::seq::Seq;

/// A sweep under way.
#[derive(Debug)]
pub(super) struct Sweep {
    stretches: Vec<Cleared>,
    /// How many of them were looked at.
    looked_at: usize,
    /// What lies there and is to be kept.
    records: Vec<(Seq, u64)>,
    /// What lies there and is about to be erased.
    gone: Vec<Seq>,
    /// What was buried there.
    buried: Vec<Seq>,
}

/// How much of a segment must be dead for it to be swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// So much that it pays by itself: half of it.
    Half,
    /// So much that moving the rest is not quite in vain.
    Any,
}

impl Share {
    fn percent(self) -> u64 {
        match self {
            Share::Half => 50,
            Share::Any => 5,
        }
    }

    fn is_reached(self, dead: u64, words: u64) -> bool {
        dead * 100 >= words * self.percent()
    }
}

/// The row of a segment.
#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    /// Words of records that are dead.
    dead: u64,
    /// The word at which the first frame in it begins; zero if none does.
    first: u64,
}

impl Segment {
    fn read(store: &Store, txn: &RoTxn<'_>, number: u32) -> Result<Segment, StoreError> {
        let row = store.tables().segments.get(txn, &number.to_be_bytes())?;
        row.map_or(Ok(Segment::default()), Segment::of)
    }

    fn of(row: &[u8]) -> Result<Segment, StoreError> {
        let ([dead, first], []) = row.as_chunks::<8>() else { return Err(damaged("a segment")) };
        Ok(Segment { dead: u64::from_be_bytes(*dead), first: u64::from_be_bytes(*first) })
    }

    fn write(self, store: &Store, txn: &mut RwTxn<'_>, number: u32) -> Result<(), StoreError> {
        let row = [self.dead.to_be_bytes(), self.first.to_be_bytes()];
        let table = store.tables().segments;
        table.put(txn, &number.to_be_bytes(), row.as_flattened()).map_err(StoreError::of_write)
    }
}

fn number_of(place: u64) -> u32 {
    u32::try_from(place / SEGMENT_WORDS).unwrap_or(u32::MAX)
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
            *words.entry(number_of(place)).or_default() += (bytes.len() / WORD_BYTES + 1) as u64;
        }
    }
    for (number, words) in words {
        let segment = Segment::read(store, txn, number)?;
        Segment { dead: segment.dead + words, ..segment }.write(store, txn, number)?;
    }
    Ok(())
}

/// Notes where frames begin in a part of the log that begins and ends with whole frames.
pub(super) fn note_frames(
    store: &Store,
    txn: &mut RwTxn<'_>,
    part: Range<u64>,
) -> Result<(), StoreError> {
    let mut at = part.start;
    while at < part.end {
        let segment = Segment::read(store, txn, number_of(at))?;
        if segment.first == 0 {
            Segment { first: at, ..segment }.write(store, txn, number_of(at))?;
        }
        // The next frame that may be the first of a segment.
        let end = (u64::from(number_of(at)) + 1) * SEGMENT_WORDS;
        while at < end.min(part.end) {
            at += store.log().head(at).ok_or_else(|| damaged("the log"))?.0;
        }
    }
    Ok(())
}

/// Forgets what the segments of a stretch had that is a gap from now on.
pub(super) fn forget_segments(
    store: &Store,
    txn: &mut RwTxn<'_>,
    cleared: &Cleared,
) -> Result<(), StoreError> {
    let end = cleared.at + cleared.gap.words;
    for number in number_of(cleared.at)..number_of(end) {
        let key = number.to_be_bytes();
        store.tables().segments.delete(txn, &key).map_err(StoreError::of_write)?;
    }
    let segment = Segment::read(store, txn, number_of(end))?;
    if cleared.dead_at_end > 0 && segment.dead > 0 {
        let dead = segment.dead.saturating_sub(cleared.dead_at_end);
        Segment { dead, ..segment }.write(store, txn, number_of(end))?;
    }
    Ok(())
}

/// Returns how many bytes of the log are those of the dead, and not given back yet.
pub(super) fn dead_bytes(store: &Store, txn: &RoTxn<'_>) -> Result<u64, StoreError> {
    let mut words = 0;
    for row in store.tables().segments.iter(txn)? {
        words += Segment::of(row?.1)?.dead;
    }
    Ok(words * WORD_BYTES as u64)
}

/// Returns how many bytes of the log are those of the dead where their share is large enough.
pub(super) fn dead_bytes_of(
    store: &Store,
    txn: &RoTxn<'_>,
    share: Share,
) -> Result<u64, StoreError> {
    let mark = read_tail(store.tables(), txn)?.at;
    let mut words = 0;
    for row in store.tables().segments.iter(txn)? {
        let (key, value) = row?;
        let (segment, end) = (Segment::of(value)?, end_of(key));
        if segment.first > 0 && end < mark && share.is_reached(segment.dead, SEGMENT_WORDS) {
            words += segment.dead;
        }
    }
    Ok(words * WORD_BYTES as u64)
}

/// Returns where the segment of a key ends.
fn end_of(key: &[u8]) -> u64 {
    let number = key.try_into().map_or(u32::MAX, u32::from_be_bytes);
    (u64::from(number) + 1) * SEGMENT_WORDS
}

impl Sweep {
    /// Chooses what to sweep, if enough is dead anywhere.
    pub(super) fn start(store: &Store, share: Share) -> Result<Option<Sweep>, StoreError> {
        let txn = store.env().read_txn()?;
        // What lies behind the mark is needed as it is, to open the store.
        let mark = read_tail(store.tables(), &txn)?.at;
        let mut stretches: Vec<Cleared> = Vec::new();
        let (mut behind, mut words) = (0, 0);
        for row in store.tables().segments.iter(&txn)? {
            let (key, value) = row?;
            let (segment, end) = (Segment::of(value)?, end_of(key));
            let is_worth = share.is_reached(segment.dead, SEGMENT_WORDS);
            if !is_worth || segment.first < behind.max(1) || end >= mark {
                continue;
            }
            let Some(stretch) = stretch(store, segment.first, end) else { continue };
            behind = stretch.at + stretch.gap.words;
            // A long frame takes several segments with it.
            let mut dead = 0;
            for number in number_of(stretch.at)..number_of(behind) {
                dead += Segment::read(store, &txn, number)?.dead;
            }
            if behind <= mark && share.is_reached(dead, stretch.gap.words / 2) {
                words += stretch.gap.words;
                stretches.push(stretch);
            }
            if words >= WORDS_MAX {
                break;
            }
        }
        let (records, gone, buried) = (Vec::new(), Vec::new(), Vec::new());
        let sweep = Sweep { stretches, looked_at: 0, records, gone, buried };
        Ok((!sweep.stretches.is_empty()).then_some(sweep))
    }

    /// Does the next step; returns whether that was the last.
    pub(super) fn step(
        &mut self,
        store: &Store,
        erasing: &mut Erasing,
        change: &mut Change<'_>,
    ) -> Result<bool, StoreError> {
        if let Some(stretch) = self.stretches.get(self.looked_at) {
            let stretch = *stretch;
            self.looked_at += 1;
            let dead_at_end = self.look(store, change, stretch);
            self.stretches[self.looked_at - 1] = Cleared { dead_at_end, ..stretch };
            return Ok(false);
        }
        if !self.records.is_empty() {
            self.move_some(change)?;
            return Ok(false);
        }
        if !self.buried.is_empty() {
            let most = self.buried.len().saturating_sub(BYTES_PER_STEP / WORD_BYTES);
            self.buried.split_off(most).into_iter().for_each(|seq| change.bury_again(seq));
            return Ok(false);
        }
        store.log().sync_all()?;
        let (gone, cleared) = (std::mem::take(&mut self.gone), std::mem::take(&mut self.stretches));
        erasing.push_cleared(change.end_era(), gone, cleared);
        Ok(true)
    }

    /// Looks what lies in a stretch; returns how many words of the dead in its last segment.
    fn look(&mut self, store: &Store, change: &Change<'_>, stretch: Cleared) -> u64 {
        let log = store.log();
        let (mut at, end) = (stretch.at, stretch.at + stretch.gap.words);
        let mut dead_at_end = 0;
        while at < end {
            let Some((words, _, is_frame)) = log.head(at) else { break };
            let mut item = at + (HEADER_BYTES / WORD_BYTES) as u64;
            at += words;
            while is_frame && item < at {
                let Some(prefix) = log.prefix(item) else { break };
                if prefix.words == 0 {
                    break;
                }
                let next = item + prefix.words as u64;
                if prefix.seq == Seq::ZERO {
                    self.buried.extend((item + 1..next.min(at)).filter_map(|at| log.seq_at(at)));
                    break;
                }
                let is_here = log.places().of(prefix.seq) == Some(item);
                let is_gone = change.layers.gone.contains(&prefix.seq.0);
                if is_here && !is_gone {
                    self.records.push((prefix.seq, item));
                } else if number_of(item) == number_of(end) {
                    dead_at_end += prefix.words as u64;
                }
                if is_here && is_gone {
                    // It is erased where it lies, before the stretch is cleared.
                    self.gone.push(prefix.seq);
                }
                item = next;
            }
        }
        dead_at_end
    }

    /// Moves some of the records.
    fn move_some(&mut self, change: &mut Change<'_>) -> Result<(), StoreError> {
        let mut bytes = 0;
        while bytes < BYTES_PER_STEP {
            let Some((seq, place)) = self.records.pop() else { break };
            // It may have been erased since, or be about to be.
            if change.store.log().places().of(seq) == Some(place)
                && !change.layers.gone.contains(&seq.0)
                && let Some(record) = change.store.log().record(seq)?
            {
                bytes += record.len();
                change.move_record(seq, record);
            }
        }
        Ok(())
    }
}

/// Returns the frames from one on to the first that begins at `end` or behind it.
fn stretch(store: &Store, first: u64, end: u64) -> Option<Cleared> {
    let (mut at, mut chain) = (first, 0);
    while at < end {
        let (words, next, _) = store.log().head(at)?;
        (at, chain) = (at + words, next);
    }
    let gap = Gap { words: at - first, chain };
    (at > first).then_some(Cleared { at: first, gap, dead_at_end: 0 })
}

/// Words of a segment: a megabyte.
const SEGMENT_WORDS: u64 = if cfg!(test) { 256 } else { 1 << 17 };
/// Words swept at once; bounds the memory for what lies there.
const WORDS_MAX: u64 = 32 << 17;
/// Bytes moved in one step.
const BYTES_PER_STEP: usize = 512 << 10;
