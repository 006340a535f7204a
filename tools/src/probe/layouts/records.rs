//! The encodings of a record: what they take, what they cost to write and to render.
//!
//! All keep the content in canonical form; they differ in the tags and in the struct's padding.

use std::path::Path;

use chappe::nostr::{Event, EventId, EventRef, Kind, PublicKey, Signature, json};
use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Table, Vector, WIPOffset};
use heed::types::Bytes;
use heed::{CommitOrAbort, EnvFlags, EnvOpenOptions, PutFlags};

use super::generated::{Head, Record, RecordArgs, root_as_record, root_as_record_unchecked};
use crate::Failure;
use crate::probe::effort::Effort;

/// What was measured of one encoding; times are per event.
pub(crate) struct RecordFigures {
    pub(crate) name: &'static str,
    pub(crate) bytes: f64,
    pub(crate) file_bytes: f64,
    pub(crate) encode_ns: f64,
    pub(crate) render_ns: f64,
}

/// Measures all encodings on the same events.
pub(crate) fn measure(events: &[Event], folder: &Path) -> Result<Vec<RecordFigures>, Failure> {
    ENCODINGS.iter().map(|encoding| measure_one(events, encoding, folder)).collect()
}

struct Encoding {
    name: &'static str,
    encode: fn(&EventRef<'_>, &mut FlatBufferBuilder<'static>, &mut Vec<u8>),
    render: fn(&[u8], &mut Vec<u8>),
}

const ENCODINGS: &[Encoding] = &[
    Encoding { name: "packed tags", encode: encode_packed, render: render_packed },
    Encoding { name: "packed tags, verified", encode: encode_packed, render: render_verified },
    Encoding { name: "packed tags, head of 138 bytes", encode: encode_tight, render: render_tight },
    Encoding { name: "nested vectors of strings", encode: encode_nested, render: render_nested },
    Encoding { name: "tags as JSON text", encode: encode_text, render: render_text },
    Encoding { name: "the whole event as JSON", encode: encode_json, render: render_json },
];

fn measure_one(
    events: &[Event],
    encoding: &Encoding,
    folder: &Path,
) -> Result<RecordFigures, Failure> {
    let mut builder = FlatBufferBuilder::new();
    let mut out = Vec::new();
    let mut records: Vec<Box<[u8]>> = Vec::with_capacity(events.len());
    for event in events {
        out.clear();
        (encoding.encode)(&event.view(), &mut builder, &mut out);
        records.push(out.as_slice().into());
    }
    let effort = Effort::start()?;
    for event in events.iter().cycle().take(ROUNDS * events.len()) {
        out.clear();
        (encoding.encode)(&event.view(), &mut builder, &mut out);
        std::hint::black_box(&out);
    }
    let encode = effort.spent()?;
    let mut rendered = Vec::new();
    let effort = Effort::start()?;
    for record in records.iter().cycle().take(ROUNDS * events.len()) {
        rendered.clear();
        (encoding.render)(record, &mut rendered);
        std::hint::black_box(&rendered);
    }
    let render = effort.spent()?;
    for (event, record) in events.iter().zip(&records) {
        rendered.clear();
        (encoding.render)(record, &mut rendered);
        out.clear();
        event.view().write_json(&mut out);
        assert!(rendered == out, "the encoding {} changes an event", encoding.name);
    }
    let count = events.len() as f64;
    Ok(RecordFigures {
        name: encoding.name,
        bytes: records.iter().map(|record| record.len()).sum::<usize>() as f64 / count,
        file_bytes: file_bytes(&records, folder)? as f64 / count,
        encode_ns: encode.ns as f64 / count / ROUNDS as f64,
        render_ns: render.ns as f64 / count / ROUNDS as f64,
    })
}

/// What the records take in LMDB under growing numbers, appended.
fn file_bytes(records: &[Box<[u8]>], folder: &Path) -> Result<u64, Failure> {
    std::fs::create_dir_all(folder)?;
    // SAFETY: The folder is this probe's own; NO_SYNC risks only its measured data.
    let env = unsafe {
        EnvOpenOptions::new().map_size(16 << 30).max_dbs(1).flags(EnvFlags::NO_SYNC).open(folder)?
    };
    let database = env
        .create_databases_and_commit(env.write_txn()?, |opener, tx| {
            let database = opener.create_database::<Bytes, Bytes>(tx, Some("events"));
            database.map(CommitOrAbort::<_, ()>::Commit)
        })?
        .unwrap_commit();
    let mut tx = env.write_txn()?;
    for (seq, record) in (1u64..).zip(records) {
        database.put_with_flags(&mut tx, PutFlags::APPEND, &seq.to_be_bytes()[3..], record)?;
    }
    tx.commit()?;
    let tx = env.read_txn()?;
    let bytes = database.stat(&tx)?.non_free_page_size() as u64;
    drop(tx);
    env.prepare_for_closing().wait();
    std::fs::remove_dir_all(folder)?;
    Ok(bytes)
}

fn head(event: &EventRef<'_>) -> Head {
    Head::new(&event.id.0, &event.pubkey.0, &event.sig.0, event.created_at, event.kind.0)
}

fn encode_packed(
    event: &EventRef<'_>,
    builder: &mut FlatBufferBuilder<'static>,
    out: &mut Vec<u8>,
) {
    encode_record(event, event.tags_packed, builder, out);
}

fn encode_text(event: &EventRef<'_>, builder: &mut FlatBufferBuilder<'static>, out: &mut Vec<u8>) {
    let mut tags = Vec::with_capacity(event.tags_packed.len() * 2);
    write_tags(event, &mut tags);
    encode_record(event, &tags, builder, out);
}

fn encode_record(
    event: &EventRef<'_>,
    tags: &[u8],
    builder: &mut FlatBufferBuilder<'static>,
    out: &mut Vec<u8>,
) {
    builder.reset();
    let content = (!event.content.is_empty()).then(|| builder.create_vector(event.content));
    let tags = (!tags.is_empty()).then(|| builder.create_vector(tags));
    let head = head(event);
    let record = Record::create(builder, &RecordArgs { head: Some(&head), tags, content });
    builder.finish(record, None);
    out.extend_from_slice(builder.finished_data());
}

fn render_packed(record: &[u8], out: &mut Vec<u8>) {
    // SAFETY: Only encode_record made these bytes.
    let record = unsafe { root_as_record_unchecked(record) };
    view(&record).write_json(out);
}

fn render_verified(record: &[u8], out: &mut Vec<u8>) {
    let record = root_as_record(record).expect("encode_record made these bytes");
    view(&record).write_json(out);
}

fn view<'a>(record: &Record<'a>) -> EventRef<'a> {
    let head = record.head();
    let (id, rest) = head.0.split_first_chunk().expect("a head begins with 32 bytes");
    let (pubkey, rest) = rest.split_first_chunk().expect("32 bytes follow the id");
    let sig = rest.first_chunk().expect("64 bytes follow the public key");
    EventRef {
        id: EventId::from_bytes(id),
        pubkey: PublicKey::from_bytes(pubkey),
        sig: Signature::from_bytes(sig),
        created_at: head.created_at(),
        kind: Kind(head.kind()),
        tags_packed: record.tags().map_or(&[], |tags| tags.bytes()),
        content: record.content().map_or(&[], |content| content.bytes()),
    }
}

fn render_text(record: &[u8], out: &mut Vec<u8>) {
    // SAFETY: Only encode_record made these bytes.
    let record = unsafe { root_as_record_unchecked(record) };
    let event = EventRef { tags_packed: &[], ..view(&record) };
    write_around(&event, out, |out| {
        out.extend_from_slice(record.tags().map_or(b"[]", |tags| tags.bytes()));
    });
}

/// A vector of tags, each a vector of strings, each text in canonical form.
fn encode_nested(
    event: &EventRef<'_>,
    builder: &mut FlatBufferBuilder<'static>,
    out: &mut Vec<u8>,
) {
    builder.reset();
    let mut text = Vec::new();
    let mut tags = Vec::new();
    for tag in event.tags() {
        let mut elements = Vec::new();
        for element in tag.elements() {
            text.clear();
            element.write_canonical(&mut text);
            elements.push(builder.create_vector(&text));
        }
        tags.push(builder.create_vector(&elements));
    }
    let tags = builder.create_vector(&tags);
    let content = builder.create_vector(event.content);
    let head = head(event);
    let table = builder.start_table();
    builder.push_slot_always(Record::VT_CONTENT, content);
    builder.push_slot_always(Record::VT_TAGS, tags);
    builder.push_slot_always(Record::VT_HEAD, head);
    let table = builder.end_table(table);
    builder.finish_minimal(WIPOffset::<Record<'_>>::new(table.value()));
    out.extend_from_slice(builder.finished_data());
}

type Nested<'a> = Vector<'a, ForwardsUOffset<Vector<'a, ForwardsUOffset<Vector<'a, u8>>>>>;

fn render_nested(record: &[u8], out: &mut Vec<u8>) {
    // SAFETY: Only encode_nested made these bytes; the vector of tags has the type it wrote.
    let (record, tags) = unsafe {
        let record = root_as_record_unchecked(record);
        (record, record._tab.get::<ForwardsUOffset<Nested<'_>>>(Record::VT_TAGS, None))
    };
    let event = EventRef { tags_packed: &[], ..view_without_tags(&record) };
    write_around(&event, out, |out| {
        out.push(b'[');
        for (place, tag) in tags.iter().flat_map(Vector::iter).enumerate() {
            out.extend_from_slice(if place == 0 { b"[" } else { b",[" });
            for (place, element) in tag.iter().enumerate() {
                out.extend_from_slice(if place == 0 { b"\"" } else { b",\"" });
                out.extend_from_slice(element.bytes());
                out.push(b'"');
            }
            out.push(b']');
        }
        out.push(b']');
    });
}

/// As [`view`], for records whose slot of tags is no vector of bytes.
fn view_without_tags<'a>(record: &Record<'a>) -> EventRef<'a> {
    let event = view(record);
    EventRef { tags_packed: &[], ..event }
}

/// A head without padding: `created_at` as bytes, so that nothing asks for an alignment above 2.
#[derive(Clone, Copy)]
struct TightHead([u8; 138]);

impl flatbuffers::Push for TightHead {
    type Output = TightHead;

    unsafe fn push(&self, into: &mut [u8], _written: usize) {
        into.copy_from_slice(&self.0);
    }

    fn size() -> usize {
        138
    }

    fn alignment() -> flatbuffers::PushAlignment {
        flatbuffers::PushAlignment::new(2)
    }
}

fn encode_tight(event: &EventRef<'_>, builder: &mut FlatBufferBuilder<'static>, out: &mut Vec<u8>) {
    builder.reset();
    let mut head = TightHead([0; 138]);
    head.0[..136].copy_from_slice(&self::head(event).0[..136]);
    head.0[136..].copy_from_slice(&event.kind.0.to_le_bytes());
    let content = (!event.content.is_empty()).then(|| builder.create_vector(event.content));
    let tags = (!event.tags_packed.is_empty()).then(|| builder.create_vector(event.tags_packed));
    let table = builder.start_table();
    if let Some(content) = content {
        builder.push_slot_always(Record::VT_CONTENT, content);
    }
    if let Some(tags) = tags {
        builder.push_slot_always(Record::VT_TAGS, tags);
    }
    builder.push_slot_always(Record::VT_HEAD, head);
    let table = builder.end_table(table);
    builder.finish_minimal(WIPOffset::<Record<'_>>::new(table.value()));
    out.extend_from_slice(builder.finished_data());
}

fn render_tight(record: &[u8], out: &mut Vec<u8>) {
    // SAFETY: Only encode_tight made these bytes. Its head is shorter than a Head, but only bytes
    // that both have are read through it, and the table's own fields follow it in the buffer.
    let table: Table<'_> = unsafe { root_as_record_unchecked(record) }._tab;
    let at = usize::from(table.vtable().get(Record::VT_HEAD)) + table.loc();
    let head = &record[at..at + 138];
    let (id, rest) = head.split_first_chunk().expect("a head begins with 32 bytes");
    let (pubkey, rest) = rest.split_first_chunk().expect("32 bytes follow the id");
    let (sig, rest) = rest.split_first_chunk().expect("64 bytes follow the public key");
    let (created_at, rest) = rest.split_first_chunk().expect("8 bytes follow the signature");
    let kind = rest.first_chunk().expect("2 bytes end a head");
    // SAFETY: encode_tight wrote vectors of bytes into these slots.
    let (tags, content) = unsafe {
        (
            table.get::<ForwardsUOffset<Vector<'_, u8>>>(Record::VT_TAGS, None),
            table.get::<ForwardsUOffset<Vector<'_, u8>>>(Record::VT_CONTENT, None),
        )
    };
    let event = EventRef {
        id: EventId::from_bytes(id),
        pubkey: PublicKey::from_bytes(pubkey),
        sig: Signature::from_bytes(sig),
        created_at: u64::from_le_bytes(*created_at),
        kind: Kind(u16::from_le_bytes(*kind)),
        tags_packed: tags.map_or(&[], |tags| tags.bytes()),
        content: content.map_or(&[], |content| content.bytes()),
    };
    event.write_json(out);
}

fn encode_json(event: &EventRef<'_>, _: &mut FlatBufferBuilder<'static>, out: &mut Vec<u8>) {
    event.write_json(out);
}

fn render_json(record: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(record);
}

/// Writes tags as JSON text.
fn write_tags(event: &EventRef<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (place, tag) in event.tags().enumerate() {
        out.extend_from_slice(if place == 0 { b"[" } else { b",[" });
        for (place, element) in tag.elements().enumerate() {
            out.extend_from_slice(if place == 0 { b"\"" } else { b",\"" });
            element.write_canonical(out);
            out.push(b'"');
        }
        out.push(b']');
    }
    out.push(b']');
}

/// Writes an event whose tags something else writes.
fn write_around(event: &EventRef<'_>, out: &mut Vec<u8>, tags: impl FnOnce(&mut Vec<u8>)) {
    use chappe::hex::encode_into;
    out.extend_from_slice(b"{\"id\":\"");
    encode_into(&event.id.0, out);
    out.extend_from_slice(b"\",\"pubkey\":\"");
    encode_into(&event.pubkey.0, out);
    out.extend_from_slice(b"\",\"created_at\":");
    json::write_integer(event.created_at, out);
    out.extend_from_slice(b",\"kind\":");
    json::write_integer(u64::from(event.kind.0), out);
    out.extend_from_slice(b",\"tags\":");
    tags(out);
    out.extend_from_slice(b",\"content\":\"");
    out.extend_from_slice(event.content);
    out.extend_from_slice(b"\",\"sig\":\"");
    encode_into(&event.sig.0, out);
    out.extend_from_slice(b"\"}");
}

const ROUNDS: usize = 3;
