//! From a chunk of lines to verified events; runs on all cores.

use std::io;

use super::lines::{Chunk, Text};
use crate::nostr::{Event, Verified, Verifier};
use crate::store::{Store, StoreError};

/// Whether signatures are checked; ids always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signatures {
    /// Each is checked.
    Checked,
    /// The source is trusted.
    Trusted,
}

/// Whether the text of invalid lines is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejected {
    /// For a file of rejected lines.
    Kept,
    /// Only counted.
    Dropped,
}

/// A chunk of one source on its way to being checked.
#[derive(Debug)]
pub(super) struct Work {
    /// Place in the order of the import, counted over all sources.
    pub(super) order: u64,
    /// Which source it is from.
    pub(super) source: usize,
    /// Its lines.
    pub(super) chunk: Chunk,
    /// Set where the source could not be read further.
    pub(super) broken: Option<io::Error>,
}

/// What a chunk turned out to hold.
#[derive(Debug)]
pub(super) struct Checked {
    /// The chunk, whose buffer is used again.
    pub(super) work: Work,
    /// Lines that were not blank.
    pub(super) read: u64,
    /// Events that are valid and not known to be stored.
    pub(super) events: Vec<Verified>,
    /// Events whose id is in the store.
    pub(super) duplicate: u64,
    /// Lines that hold no valid event.
    pub(super) faults: Vec<Fault>,
    /// The text of those lines, if it is kept.
    pub(super) rejected: Vec<u8>,
}

/// What is wrong with one line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Its number.
    pub(super) line: u64,
    /// The reason.
    pub(super) reason: String,
}

/// Checks chunks; each thread has its own.
pub(super) struct Checker {
    store: Store,
    verifier: Verifier,
    signatures: Signatures,
    rejected: Rejected,
    line_bytes_max: usize,
}

impl Checker {
    pub(super) fn new(
        store: Store,
        signatures: Signatures,
        rejected: Rejected,
        line_bytes_max: usize,
    ) -> Self {
        Self { store, verifier: Verifier::new(), signatures, rejected, line_bytes_max }
    }

    /// Parses and verifies the lines of a chunk.
    pub(super) fn check(&mut self, work: Work) -> Result<Checked, StoreError> {
        let mut read = 0;
        let mut parsed: Vec<(u64, &[u8], Event)> = Vec::new();
        let mut invalid: Vec<(u64, &[u8], String)> = Vec::new();
        for line in work.chunk.lines(self.line_bytes_max) {
            read += 1;
            match line.text {
                Text::Oversized => {
                    let reason = format!("line is longer than {} bytes", self.line_bytes_max);
                    invalid.push((line.number, &[], reason));
                }
                Text::Whole(text) => match Event::parse(text) {
                    Ok(event) => parsed.push((line.number, text, event)),
                    Err(error) => invalid.push((line.number, text, error.to_string())),
                },
            }
        }
        let before = parsed.len();
        self.drop_stored(&mut parsed)?;
        let duplicate = (before - parsed.len()) as u64;
        let mut events = Vec::with_capacity(parsed.len());
        for (line, text, event) in parsed {
            let result = match self.signatures {
                Signatures::Checked => self.verifier.verify(event),
                Signatures::Trusted => self.verifier.verify_id_only(event),
            };
            match result {
                Ok(event) => events.push(event),
                Err((_, error)) => invalid.push((line, text, error.to_string())),
            }
        }
        invalid.sort_by_key(|(line, _, _)| *line);
        let mut rejected = Vec::new();
        if self.rejected == Rejected::Kept {
            for (_, text, _) in invalid.iter().filter(|(_, text, _)| !text.is_empty()) {
                rejected.extend_from_slice(text);
                rejected.push(b'\n');
            }
        }
        let faults = invalid.into_iter().map(|(line, _, reason)| Fault { line, reason }).collect();
        Ok(Checked { read, events, duplicate, faults, rejected, work })
    }

    /// Drops events that are stored: they were verified when they came, and verifying them again
    /// is what an import that is run a second time would spend its time on.
    fn drop_stored(&self, parsed: &mut Vec<(u64, &[u8], Event)>) -> Result<(), StoreError> {
        let snapshot = self.store.snapshot()?;
        let mut failed = None;
        parsed.retain(|(_, _, event)| match snapshot.by_id(&event.id) {
            Ok(found) => found.is_none(),
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        failed.map_or(Ok(()), Err)
    }
}
