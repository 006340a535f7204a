//! Walks the events that match filters, for commands: no read transaction is held while a command
//! writes its output or waits for anything (I6).

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::exit::Failure;
use super::open::now;
use crate::nostr::{EventRef, Filter};
use crate::query::{Budget, Cursor, QueryLimits, Step};
use crate::seq::Seq;
use crate::store::Store;

/// Reads a filter of the command line.
pub(super) fn parse_filter(text: &str) -> Result<Filter, String> {
    Filter::parse(text.as_bytes()).map_err(|error| error.text)
}

/// Returns the filter that every event matches.
pub(super) fn everything() -> Filter {
    Filter::default()
}

/// Limits of a command that is the operator's own: none.
pub(super) const UNLIMITED: QueryLimits =
    QueryLimits { default_limit: u64::MAX, max_limit: u64::MAX };

/// A walk over matching events, newest first, in steps.
pub(super) struct Walk<'s> {
    store: &'s Store,
    cursor: Cursor,
    now: u64,
}

impl<'s> Walk<'s> {
    /// Begins a walk over the events up to `seq_max`.
    pub(super) fn new(
        store: &'s Store,
        filters: Vec<Filter>,
        limits: QueryLimits,
        seq_max: Seq,
    ) -> Self {
        let filters: Arc<[Filter]> = filters.into();
        Self { store, cursor: Cursor::new(filters, limits, seq_max), now: now() }
    }

    /// Gives the next events to `sink` until it breaks or the slice is over; `false` when there
    /// are no more.
    pub(super) fn step(
        &mut self,
        sink: &mut dyn FnMut(&EventRef<'_>) -> ControlFlow<()>,
    ) -> Result<bool, Failure> {
        let snapshot = self.store.snapshot()?;
        let step = self.cursor.step(&snapshot, BUDGET, &unexpired(self.now), sink)?;
        Ok(step == Step::More)
    }

    /// Appends the next events to `lines` until those have grown by about [`LINES_BYTES`]; `false`
    /// when there are no more.
    pub(super) fn lines(&mut self, lines: &mut Lines) -> Result<bool, Failure> {
        let full = lines.bytes.len() + LINES_BYTES;
        self.step(&mut |event| {
            event.write_json(&mut lines.bytes);
            lines.bytes.push(b'\n');
            lines.ends.push((lines.bytes.len(), event.created_at));
            if lines.bytes.len() < full {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
    }
}

/// Events as JSON lines, kept apart so that they can be written in either order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where each line ends in `bytes`, and the `created_at` of its event.
    ends: Vec<(usize, u64)>,
}

impl Lines {
    /// Returns how many lines there are.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Returns how many bytes they have.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the `created_at` of the last event.
    pub(super) fn last_time(&self) -> Option<u64> {
        self.ends.last().map(|(_, time)| *time)
    }

    /// Drops the events at the end that were created at `time`.
    pub(super) fn drop_last_of(&mut self, time: u64) {
        while self.last_time() == Some(time) {
            self.ends.pop();
        }
        self.bytes.truncate(self.ends.last().map_or(0, |(end, _)| *end));
    }

    /// Forgets the lines and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Writes the lines in the order in which they came.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.bytes)
    }

    /// Writes the last line first.
    pub(super) fn write_reversed(&self, out: &mut dyn Write) -> io::Result<()> {
        for index in (0..self.ends.len()).rev() {
            let start = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
            out.write_all(&self.bytes[start..self.ends[index].0])?;
        }
        Ok(())
    }
}

/// Bytes of JSON that are made in one step.
const LINES_BYTES: usize = 1 << 18;

/// Returns what the operator may see: everything that has not expired (NIP-40).
pub(super) fn unexpired(now: u64) -> impl Fn(&EventRef<'_>) -> bool {
    move |event| event.expiration().is_none_or(|at| at > now)
}

/// About a tenth of a second, after which the read transaction is let go.
const BUDGET: Budget = Budget { steps: 10_000_000 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_in_both_orders() {
        let mut lines = Lines::default();
        for (text, time) in [("a\n", 9), ("bb\n", 7), ("c\n", 7)] {
            lines.bytes.extend_from_slice(text.as_bytes());
            lines.ends.push((lines.bytes.len(), time));
        }
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        lines.write(&mut forward).expect("memory does not fail");
        lines.write_reversed(&mut backward).expect("memory does not fail");
        assert_eq!(forward, b"a\nbb\nc\n");
        assert_eq!(backward, b"c\nbb\na\n");
        lines.drop_last_of(8);
        assert_eq!(lines.count(), 3);
        lines.drop_last_of(7);
        assert_eq!((lines.count(), lines.size(), lines.last_time()), (1, 2, Some(9)));
        lines.clear();
        assert_eq!((lines.count(), lines.size()), (0, 0));
    }
}
