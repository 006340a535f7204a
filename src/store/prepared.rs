//! Events made ready to be stored: records, index entries and names, made ahead by any thread.
//!
//! What can be made of an event without the store is made here, so that whoever loads many events
//! leaves little to the one who writes: to decide, to append, and to put the seq into the entries.
//! Everything lies in four vectors, whose memory is used again.

use super::env::Store;
use super::error::StoreError;
use super::fresh::{Name, names_of};
use super::key::{Entry, Index, Salt, entries_of};
use super::record::{self, Encoder};
use super::sums::{Mark, is_set_aside_kind};
use crate::nostr::{EventRef, Kind, Verified};
use crate::seq::Seq;

/// Events in the form in which a [`super::Writer`] stores them.
#[derive(Debug, Default)]
pub struct Prepared {
    records: Vec<u8>,
    /// Without a seq, in the order of [`entries_of`].
    entries: Vec<Entry>,
    names: Vec<Name>,
    heads: Vec<Head>,
}

/// What is known of an event without its record, and where the rest of it ends.
#[derive(Debug)]
struct Head {
    kind: Kind,
    expiration: Option<u64>,
    mark: Option<Mark>,
    records_end: usize,
    entries_end: usize,
    names_end: usize,
}

impl Prepared {
    /// Returns how many events there are.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Returns about how many bytes the events take in the store.
    pub fn size(&self) -> usize {
        self.records.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Returns about how many bytes the events take in the log.
    pub(super) fn record_bytes(&self) -> usize {
        // A prefix each, and on average half a word behind it.
        self.records.len() + self.heads.len() * 12
    }

    /// Forgets the events; keeps up to `bytes` of memory for records, and as much for the rest.
    pub fn clear(&mut self, bytes: usize) {
        self.records.clear();
        self.records.shrink_to(bytes);
        self.entries.clear();
        self.entries.shrink_to(bytes / size_of::<Entry>());
        self.names.clear();
        self.names.shrink_to(bytes / size_of::<Name>());
        self.heads.clear();
        self.heads.shrink_to(bytes / size_of::<Head>());
    }

    /// Makes room for `events` whose records have `bytes`, so that they are added without copying.
    pub fn reserve(&mut self, bytes: usize, events: usize) {
        self.records.reserve(bytes);
        self.entries.reserve(events * ENTRIES_PER_EVENT);
        self.names.reserve(events * 2);
        self.heads.reserve(events);
    }

    /// Returns the events in order.
    pub(super) fn drafts(&self) -> impl Iterator<Item = Draft<'_>> {
        let (mut record, mut entry, mut name) = (0, 0, 0);
        self.heads.iter().map(move |head| {
            let draft = Draft {
                kind: head.kind,
                expiration: head.expiration,
                mark: head.mark,
                record: &self.records[record..head.records_end],
                entries: &self.entries[entry..head.entries_end],
                names: &self.names[name..head.names_end],
            };
            (record, entry, name) = (head.records_end, head.entries_end, head.names_end);
            draft
        })
    }
}

/// More than most events have.
const ENTRIES_PER_EVENT: usize = 10;

/// One event of a [`Prepared`].
#[derive(Clone, Copy)]
pub(super) struct Draft<'p> {
    pub(super) kind: Kind,
    pub(super) expiration: Option<u64>,
    /// Its part in the sums, unless it is set aside.
    mark: Option<Mark>,
    pub(super) record: &'p [u8],
    entries: &'p [Entry],
    /// What it is, and what it asks to delete.
    pub(super) names: &'p [Name],
}

impl<'p> Draft<'p> {
    /// Returns the event.
    pub(super) fn event(&self) -> Result<EventRef<'p>, StoreError> {
        record::decode(self.record, Seq::ZERO)
    }

    /// Returns its part in the sums under a seq.
    pub(super) fn mark(&self, seq: Seq) -> Option<Mark> {
        self.mark.map(|mark| Mark { seq, ..mark })
    }

    /// Calls `add` with every index entry under a seq.
    pub(super) fn entries(&self, seq: Seq, add: &mut impl FnMut(Index, Entry)) {
        const FIRST: [Index; 4] = [Index::ById, Index::ByAuthorKind, Index::ByKind, Index::ByTime];
        let (first, rest) = self.entries.split_at(FIRST.len());
        for (index, entry) in FIRST.into_iter().zip(first) {
            add(index, index.with_seq(entry, seq));
        }
        let tagged = rest.len() - usize::from(self.expiration.is_some());
        let (tagged, expiry) = rest.split_at(tagged);
        for entry in tagged {
            add(Index::ByTag, Index::ByTag.with_seq(entry, seq));
        }
        for entry in expiry {
            add(Index::ByExpiry, Index::ByExpiry.with_seq(entry, seq));
        }
    }
}

/// Prepares events for one store; each thread has its own.
pub struct Preparer {
    salt: Salt,
    encoder: Encoder,
}

impl Preparer {
    /// Returns one for a store.
    pub fn new(store: &Store) -> Preparer {
        Preparer { salt: *store.salt(), encoder: Encoder::default() }
    }

    /// Adds an event.
    pub fn add(&mut self, prepared: &mut Prepared, event: &Verified) {
        let event = event.event().view();
        let Prepared { records, entries, names, heads } = prepared;
        records.extend_from_slice(self.encoder.encode(&event));
        entries_of(&self.salt, &event, Seq::ZERO, &mut |_, entry| entries.push(entry));
        names_of(&self.salt, &event, &mut |name| names.push(name));
        let expiration = event.expiration();
        let is_aside = expiration.is_some() || is_set_aside_kind(event.kind);
        heads.push(Head {
            kind: event.kind,
            expiration,
            mark: (!is_aside).then(|| Mark::new(&event, Seq::ZERO)),
            records_end: records.len(),
            entries_end: entries.len(),
            names_end: names.len(),
        });
    }
}
