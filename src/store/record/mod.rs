//! Records: an event as it lies in the log (schema/event.fbs, schema/FORMAT.md).
//!
//! A record is written from an event's packed parts and read in place from the map.

mod generated;

use flatbuffers::{FlatBufferBuilder, WIPOffset};

use self::generated::{Head, Record, RecordArgs};
use super::env::damaged;
use super::error::StoreError;
use super::frame::WORD_BYTES;
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
    read(bytes).ok_or_else(|| damaged(&format!("the record of event {}", seq.0)))
}

/// Reads a record in place: every offset is followed only as far as the bytes go.
///
/// It is what the generated accessors do after the verifier of flatbuffers has looked at
/// everything; to look at each part once, when it is read, takes a fifth of the time, and the time
/// is spent for every event of every query.
fn read(bytes: &[u8]) -> Option<EventRef<'_>> {
    let table = usize::try_from(u32::from_le_bytes(array_at(bytes, 0)?)).ok()?;
    let back = i32::from_le_bytes(array_at(bytes, table)?);
    let fields = usize::try_from(i64::try_from(table).ok()? - i64::from(back)).ok()?;
    let fields_len = usize::from(u16::from_le_bytes(array_at(bytes, fields)?));
    let field = |at: u16| {
        let at = usize::from(at);
        if at + 2 > fields_len {
            return Some(None);
        }
        let offset = u16::from_le_bytes(array_at(bytes, fields.checked_add(at)?)?);
        Some((offset != 0).then(|| table + usize::from(offset)))
    };
    let head: &[u8; HEAD_BYTES] = chunk_at(bytes, field(Record::VT_HEAD)??)?;
    let (id, rest) = head.split_first_chunk::<32>()?;
    let (pubkey, rest) = rest.split_first_chunk::<32>()?;
    let (sig, rest) = rest.split_first_chunk::<64>()?;
    Some(EventRef {
        id: EventId::from_bytes(id),
        pubkey: PublicKey::from_bytes(pubkey),
        sig: Signature::from_bytes(sig),
        created_at: u64::from_le_bytes(array_at(rest, 0)?),
        kind: Kind(u16::from_le_bytes(array_at(rest, 8)?)),
        tags_packed: bytes_at(bytes, field(Record::VT_TAGS)?)?,
        content: bytes_at(bytes, field(Record::VT_CONTENT)?)?,
    })
}

/// Returns the byte vector that the field at `at` points to; an absent one is empty.
fn bytes_at(bytes: &[u8], at: Option<usize>) -> Option<&[u8]> {
    let Some(at) = at else { return Some(&[]) };
    let offset = usize::try_from(u32::from_le_bytes(array_at(bytes, at)?)).ok()?;
    let start = at.checked_add(offset)?;
    let len = usize::try_from(u32::from_le_bytes(array_at(bytes, start)?)).ok()?;
    bytes.get(start + size_of::<u32>()..)?.get(..len)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    chunk_at(bytes, at).copied()
}

fn chunk_at<const N: usize>(bytes: &[u8], at: usize) -> Option<&[u8; N]> {
    bytes.get(at..)?.first_chunk()
}

const HEAD_BYTES: usize = size_of::<Head>();

/// Returns what a record of these bytes takes: itself, its prefix in the log, and its place.
pub(super) fn stored_bytes(bytes: &[u8]) -> u64 {
    bytes.len().next_multiple_of(WORD_BYTES) as u64 + 2 * WORD_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Keypair;

    /// The slow way: the verifier of flatbuffers and the generated accessors.
    fn decode_generated(bytes: &[u8]) -> Option<EventRef<'_>> {
        let record = flatbuffers::root::<Record<'_>>(bytes).ok()?;
        let head = record.head();
        let (id, rest) = head.0.split_first_chunk::<32>()?;
        let (pubkey, rest) = rest.split_first_chunk::<32>()?;
        let (sig, _) = rest.split_first_chunk::<64>()?;
        Some(EventRef {
            id: EventId::from_bytes(id),
            pubkey: PublicKey::from_bytes(pubkey),
            sig: Signature::from_bytes(sig),
            created_at: head.created_at(),
            kind: Kind(head.kind()),
            tags_packed: record.tags().map_or(&[], |tags| tags.bytes()),
            content: record.content().map_or(&[], |content| content.bytes()),
        })
    }

    fn records() -> Vec<Vec<u8>> {
        let keypair = Keypair::from_secret([3; 32]).expect("the secret is in range");
        let tag = |value: &str| vec!["t".to_owned(), value.to_owned()];
        let mut encoder = Encoder::default();
        let mut record = |tags: &[Vec<String>], content: &str| {
            let event = keypair.sign_event(1 << 40 | 7, Kind(30_023), tags, content);
            encoder.encode(&event.view()).to_vec()
        };
        let tags = [tag("x"), tag("y")];
        vec![record(&[], ""), record(&tags, ""), record(&[], "hello"), record(&tags, "z")]
    }

    #[test]
    fn what_was_encoded_is_read_as_the_generated_accessors_read_it() {
        for record in records() {
            let event = decode(&record, Seq(1)).expect("it was just encoded");
            assert_eq!(Some(event), decode_generated(&record));
            assert_eq!((event.created_at, event.kind), (1 << 40 | 7, Kind(30_023)));
        }
    }

    #[test]
    fn damaged_records_are_refused_or_read_within_their_bytes() {
        let mut random = fastrand::Rng::with_seed(11);
        for record in records() {
            for len in 0..record.len() {
                let _ = decode(&record[..len], Seq(1));
            }
            for _ in 0..20_000 {
                let mut bytes = record.clone();
                for _ in 0..random.usize(1..4) {
                    // The offsets, which are what matters, are at the beginning.
                    let at = random.usize(0..bytes.len().min(32));
                    let any = random.u8(..);
                    bytes[at] = [0, 1, 4, 0x7f, 0x80, 0xff, any][random.usize(..7)];
                }
                let event = decode(&bytes, Seq(1)).ok();
                // What the verifier accepts is read alike; it also refuses what is not aligned.
                if let Some(expected) = decode_generated(&bytes) {
                    assert_eq!(event, Some(expected));
                }
            }
        }
    }
}
