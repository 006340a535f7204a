//! From chunks of lines to verified events; runs on all cores.
//!
//! Signatures are checked together, those of some thousands of events at once. Until then events
//! are prepared as if they were right: a chunk that holds a wrong one is read again.

use std::io;

use super::lines::{Chunk, Text};
use crate::mailbox::{Received, Receiver};
use crate::nostr::{Event, Invalid, Kind, Signed, Verified, Verifier};
use crate::seq::Seq;
use crate::session::{self, OwnNames};
use crate::store::{Prepared, Preparer, Store, StoreError};
use crate::sys;

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
    /// Chunks whose signatures are still to be checked.
    held: Vec<Held>,
    /// The signatures of their events.
    signed: Vec<Signed>,
}

/// A chunk that is checked but for its signatures.
struct Held {
    checked: Checked,
    /// The lines whose signatures are to be checked.
    lines: Vec<u64>,
}

/// How an event's signature is judged.
enum Proof<'p> {
    /// It is not.
    Trusted,
    /// Later: the line and the signature are noted.
    Noted(&'p mut Vec<u64>, &'p mut Vec<Signed>),
    /// It was, on these lines, in order; any other is checked.
    Known(&'p [(u64, Result<(), Invalid>)]),
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
            held: Vec::new(),
            signed: Vec::new(),
        }
    }

    /// Tells whether it holds enough: for so many signatures to be checked at once, or for as much
    /// as they wait.
    pub(super) fn is_full(&self, chunks_max: usize) -> bool {
        self.held.len() >= chunks_max || self.signed.len() >= SIGNATURES_ENOUGH
    }

    /// Parses the lines of a chunk and checks all but the signatures.
    pub(super) fn take(&mut self, work: Work) -> Result<(), StoreError> {
        let mut lines = Vec::new();
        let mut signed = std::mem::take(&mut self.signed);
        let proof = match self.signatures {
            Signatures::Checked => Proof::Noted(&mut lines, &mut signed),
            Signatures::Trusted => Proof::Trusted,
        };
        let checked = self.read(work, proof);
        self.signed = signed;
        self.held.push(Held { checked: checked?, lines });
        Ok(())
    }

    /// Checks the signatures and gives the chunks back, in order.
    pub(super) fn finish(&mut self) -> Result<Vec<Checked>, StoreError> {
        let wrong = self.verifier.wrong_signatures(&self.signed, sys::random_bytes);
        self.signed.clear();
        let mut wrong = wrong.into_iter().peekable();
        let mut number = 0;
        let mut finished = Vec::with_capacity(self.held.len());
        for Held { checked, lines } in std::mem::take(&mut self.held) {
            let next = number + lines.len();
            if wrong.peek().is_none_or(|wrong| *wrong >= next) {
                number = next;
                finished.push(checked);
                continue;
            }
            let known: Vec<_> = lines
                .into_iter()
                .map(|line| {
                    let is_wrong = wrong.next_if_eq(&number).is_some();
                    number += 1;
                    (line, if is_wrong { Err(Invalid::Signature) } else { Ok(()) })
                })
                .collect();
            finished.push(self.read(checked.work, Proof::Known(&known))?);
        }
        Ok(finished)
    }

    fn read(&mut self, work: Work, mut proof: Proof<'_>) -> Result<Checked, StoreError> {
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
            match self.verify(event, line, &proof) {
                // In the store it would be obeyed (NIP-62).
                Ok(event) if self.is_foreign_request(event.event()) => {
                    invalid.push((line, text, FOREIGN_REQUEST.to_owned()));
                }
                Ok(event) => {
                    if let Proof::Noted(lines, signed) = &mut proof {
                        lines.push(line);
                        signed.push(Signed::of(&event.event().view()));
                    }
                    self.preparer.add(&mut events, &event);
                }
                Err(error) => invalid.push((line, text, error.to_string())),
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

    fn verify(&mut self, event: Event, line: u64, proof: &Proof<'_>) -> Result<Verified, Invalid> {
        let result = match proof {
            Proof::Trusted | Proof::Noted(..) => self.verifier.verify_id_only(event),
            Proof::Known(known) => match known.binary_search_by_key(&line, |(line, _)| *line) {
                Ok(place) => {
                    known[place].1?;
                    self.verifier.verify_id_only(event)
                }
                // It was stored when the chunk was read first.
                Err(_) => self.verifier.verify(event),
            },
        };
        result.map_err(|(_, invalid)| invalid)
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

/// More signatures at once would save little more.
const SIGNATURES_ENOUGH: usize = 3_072;

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
        checker.take(work).expect("the store can be read");
        checker.finish().expect("the store can be read").remove(0)
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

    #[test]
    fn what_is_wrong_among_chunks_checked_together_is_found_in_its_chunk() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options =
            StoreOptions { map_bytes: Some(1 << 26), durability: Durability::Lazy, salt: [1; 16] };
        let store = Store::open(directory.path(), &options).expect("a store");
        let mut text: Vec<String> = (0..900).map(line).collect();
        // Of a right id, and another signature; and an id that is none.
        let sig = |line: &str| line[line.len() - 130..].to_owned();
        for (place, other) in [(0, 1), (399, 400), (898, 899)] {
            text[place] = text[place].replace(&sig(&text[place]), &sig(&text[other]));
        }
        text[500] = text[500].replace("hello", "jello");
        let bounds = Bounds { read_bytes: 1 << 16, line_bytes_max: 1_000 };
        let text = text.join("\n");
        let mut chunks = Chunks::new(text.as_bytes(), bounds);
        let names = OwnNames::Local(([127, 0, 0, 1], 7777).into());
        let (_, used) = mailbox(1);
        let mut checker =
            Checker::new(store, Signatures::Checked, Rejected::Kept, names, 1_000, used);
        for order in 0.. {
            let mut chunk = Chunk::default();
            let more = chunks.fill(&mut chunk).expect("memory does not fail");
            checker.take(Work { order, source: 0, chunk, broken: None }).expect("it can be read");
            if !more {
                break;
            }
        }
        assert!(checker.is_full(2));
        let all = checker.finish().expect("the store can be read");
        let orders: Vec<u64> = all.iter().map(|checked| checked.work.order).collect();
        assert_eq!(orders, (0..all.len() as u64).collect::<Vec<_>>());
        let faults: Vec<_> = all.iter().flat_map(|checked| &checked.faults).collect();
        let faults: Vec<_> =
            faults.iter().map(|fault| (fault.line, fault.reason.as_str())).collect();
        let (id, signature) = ("event id does not match", "signature is wrong");
        assert_eq!(faults, [(1, signature), (400, signature), (501, id), (899, signature)]);
        assert_eq!(all.iter().map(|checked| checked.events.len()).sum::<usize>(), 896);
        assert_eq!(all.iter().map(|checked| checked.read).sum::<u64>(), 900);
        assert!(checker.finish().expect("there is nothing").is_empty());
    }
}
