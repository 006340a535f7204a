//! Point lookups: a range that holds one entry at most, nearly always.
//!
//! A scan carries what it needs to go on. To look up an id is to look into one block, and to know
//! that nothing else can be meant.

use super::block::Block;
use super::env::damaged;
use super::error::StoreError;
use super::key::Range;
use super::scan::{Found, Opened, between};

/// What there is in a range.
pub(crate) enum Located {
    /// No entry of a living event.
    Nothing,
    /// One.
    One(Found),
    /// Perhaps several, which a scan tells.
    Several,
}

impl Opened<'_> {
    /// Looks into the range.
    pub(crate) fn locate(&self) -> Result<Located, StoreError> {
        let Range { index, low, high } = self.range;
        let mut only = None;
        if let Some((_, bytes)) = self.first {
            let block =
                Block::new(bytes, index.width()).ok_or_else(|| damaged("an index block"))?;
            let mut below = (0..block.count_up_to(&high)).rev().map(|place| block.entry(place));
            only = below.next().filter(|entry| *entry >= low);
            // What is lower may lie in the block before.
            if only.is_some() && below.next().is_none_or(|entry| entry >= low) {
                return Ok(Located::Several);
            }
        }
        for run in self.view.layers.overlays().flat_map(|overlay| overlay.runs(index)) {
            match between(run, &self.range) {
                [] => {}
                [entry] if only.is_none_or(|only| only == *entry) => only = Some(*entry),
                _ => return Ok(Located::Several),
            }
        }
        let layers = self.view.layers;
        let is_living = |found: &Found| found.seq() <= layers.last && !layers.is_dead(found.seq());
        let found = only.map(|entry| Found::new(index, entry)).filter(is_living);
        Ok(found.map_or(Located::Nothing, Located::One))
    }
}
