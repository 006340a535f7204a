//! From a chunk of lines to verified events; runs on all cores.

use std::io;

use super::lines::{Chunk, Text};
use crate::mailbox::{Received, Receiver};
use crate::nostr::{Event, Kind, Verifier};
use crate::seq::Seq;
use crate::session::{self, OwnNames};
use crate::store::{Prepared, Preparer, Store, StoreError};

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
    /// Events that are valid and not known to be stored, ready to be stored.
    pub(super) events: Prepared,
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
    /// Whether the store had nothing when the import began: then there is nothing to look up.
    is_first: bool,
    verifier: Verifier,
    preparer: Preparer,
    /// Where used [`Checked::events`] come back for their memory.
    used: Receiver<Prepared>,
    signatures: Signatures,
    rejected: Rejected,
    names: OwnNames,
    line_bytes_max: usize,
}

impl Checker {
    pub(super) fn new(
        store: Store,
        signatures: Signatures,
        rejected: Rejected,
        names: OwnNames,
        line_bytes_max: usize,
        used: Receiver<Prepared>,
    ) -> Self {
        let is_first = store.last_seq() == Seq::ZERO;
        let keys = if signatures == Signatures::Checked { KEYS_MAX } else { 1 };
        let (verifier, preparer) = (Verifier::with_keys(keys), Preparer::new(&store));
        Self {
            store,
            is_first,
            verifier,
            preparer,
            used,
            signatures,
            rejected,
            names,
            line_bytes_max,
        }
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
        if !self.is_first {
            self.drop_stored(&mut parsed)?;
        }
        let duplicate = (before - parsed.len()) as u64;
        let mut events = match self.used.try_recv() {
            Received::Message(events) => events,
            Received::Nothing | Received::Closed => Prepared::default(),
        };
        // A record is shorter than its line.
        events.reserve(work.chunk.bytes.len(), parsed.len());
        for (line, text, event) in parsed {
            let result = match self.signatures {
                Signatures::Checked => self.verifier.verify(event),
                Signatures::Trusted => self.verifier.verify_id_only(event),
            };
            match result {
                // In the store it would be obeyed (NIP-62).
                Ok(event) if self.is_foreign_request(event.event()) => {
                    invalid.push((line, text, FOREIGN_REQUEST.to_owned()));
                }
                Ok(event) => self.preparer.add(&mut events, &event),
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

    fn is_foreign_request(&self, event: &Event) -> bool {
        event.kind == Kind::VANISH && !session::is_addressed(&event.view(), &self.names)
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

/// Authors that a checker remembers: a file holds events of many.
const KEYS_MAX: usize = 1 << 16;

const FOREIGN_REQUEST: &str = "request to vanish from another relay (see relay.url)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::import::lines::{Bounds, Chunks};
    use crate::mailbox::mailbox;
    use crate::nostr::Keypair;
    use crate::store::{Durability, StoreOptions, Writer};

    fn check(store: &Store, signatures: Signatures, text: &str) -> Checked {
        let bounds = Bounds { read_bytes: 1 << 20, line_bytes_max: 1_000 };
        let mut chunk = Chunk::default();
        Chunks::new(text.as_bytes(), bounds).fill(&mut chunk).expect("memory does not fail");
        let work = Work { order: 0, source: 0, chunk, broken: None };
        let names = OwnNames::Local(([127, 0, 0, 1], 7777).into());
        let (_, used) = mailbox(1);
        let mut checker =
            Checker::new(store.clone(), signatures, Rejected::Kept, names, 1_000, used);
        checker.check(work).expect("the store can be read")
    }

    fn line(created_at: u64) -> String {
        let keypair = Keypair::from_secret([7; 32]).expect("a secret key");
        let mut json = Vec::new();
        keypair.sign_event(created_at, Kind(1), &[], "hello").view().write_json(&mut json);
        String::from_utf8(json).expect("JSON is text")
    }

    #[test]
    fn lines_become_verified_events_or_faults() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options =
            StoreOptions { map_bytes: Some(1 << 26), durability: Durability::Lazy, salt: [1; 16] };
        let store = Store::open(directory.path(), &options).expect("a store");
        let fried = line(2).replace("\"}", "\",\"fried\":\"00ff\"}");
        let short_sig = line(3).replace("\"sig\":\"", "\"sig\":\"00");
        let valid = line(4);
        let (head, tail) = valid.split_at(valid.len() - 3);
        let wrong_sig = format!("{head}{}", if tail.starts_with('0') { "1\"}" } else { "0\"}" });
        let wrong_id = line(5).replace("hello", "jello");
        let long = "x".repeat(2_000);
        let text = [&line(1), &fried, "", "{}", &short_sig, &wrong_sig, &wrong_id, &long]
            .map(|line| format!("{line}\n"))
            .concat();

        let checked = check(&store, Signatures::Checked, &text);
        let lines: Vec<u64> = checked.faults.iter().map(|fault| fault.line).collect();
        assert_eq!((checked.read, checked.events.len(), checked.duplicate), (7, 2, 0));
        assert_eq!(lines, [4, 5, 6, 7, 8]);
        assert_eq!(
            checked.rejected,
            format!("{{}}\n{short_sig}\n{wrong_sig}\n{wrong_id}\n").as_bytes()
        );

        let trusted = check(&store, Signatures::Trusted, &text);
        let lines: Vec<u64> = trusted.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [4, 5, 7, 8], "only the wrong signature passes");

        let mut writer = Writer::new(store.clone());
        writer.commit_prepared(&[checked.events], 10).expect("a commit");
        let again = check(&store, Signatures::Checked, &text);
        assert_eq!((again.read, again.events.len(), again.duplicate), (7, 0, 2));
    }
}
