//! Records: an event as the value of the `events` table (schema/event.fbs, schema/FORMAT.md).
//!
//! A record is written from an event's packed parts and read in place from the map.

mod generated;

use flatbuffers::{FlatBufferBuilder, WIPOffset};
use heed::RoTxn;

use self::generated::{Head, Record, RecordArgs};
use super::env::{Tables, damaged};
use super::error::StoreError;
use crate::nostr::{EventId, EventRef, Kind, PublicKey, Signature};
use crate::seq::Seq;

/// Writes records; keeps its buffer between them.
#[derive(Default)]
pub(super) struct Encoder {
    builder: FlatBufferBuilder<'static>,
}

impl Encoder {
    /// Returns the record of an event; it is valid until the next call.
    pub(super) fn encode(&mut self, event: &EventRef<'_>) -> &[u8] {
        let head =
            Head::new(&event.id.0, &event.pubkey.0, &event.sig.0, event.created_at, event.kind.0);
        let builder = &mut self.builder;
        builder.reset();
        let mut bytes = |bytes: &[u8]| {
            // A byte string is a vector of bytes with a zero behind it, and is copied at once;
            // `create_vector` pushes byte by byte.
            let written = (!bytes.is_empty()).then(|| builder.create_byte_string(bytes));
            written.map(|offset| WIPOffset::new(offset.value()))
        };
        let content = bytes(event.content);
        let tags = bytes(event.tags_packed);
        let root = Record::create(builder, &RecordArgs { head: Some(&head), tags, content });
        builder.finish_minimal(root);
        builder.finished_data()
    }
}

/// Reads a record.
///
/// # Errors
///
/// If the bytes are not a record.
pub(super) fn decode(bytes: &[u8], seq: Seq) -> Result<EventRef<'_>, StoreError> {
    let record = flatbuffers::root::<Record<'_>>(bytes)
        .map_err(|_| damaged(&format!("the record of event {}", seq.0)))?;
    let head = record.head();
    let (id, rest) = head.0.split_first_chunk::<32>().expect("a head has 144 bytes");
    let (pubkey, rest) = rest.split_first_chunk::<32>().expect("a head has 144 bytes");
    let (sig, _) = rest.split_first_chunk::<64>().expect("a head has 144 bytes");
    Ok(EventRef {
        id: EventId::from_bytes(id),
        pubkey: PublicKey::from_bytes(pubkey),
        sig: Signature::from_bytes(sig),
        created_at: head.created_at(),
        kind: Kind(head.kind()),
        tags_packed: record.tags().map_or(&[], |tags| tags.bytes()),
        content: record.content().map_or(&[], |content| content.bytes()),
    })
}

/// Returns an event that is marked dead; its record is removed together with the mark.
pub(super) fn dead_at<'t>(
    tables: &Tables,
    txn: &'t RoTxn<'_>,
    seq: Seq,
) -> Result<EventRef<'t>, StoreError> {
    let bytes = tables
        .events
        .get(txn, &seq.0)?
        .ok_or_else(|| damaged(&format!("event {}, which is marked dead", seq.0)))?;
    decode(bytes, seq)
}
