//! `tools probe layouts`: how a record is encoded, and how index entries lie in LMDB.
//!
//! Records: packed tags, nested vectors and JSON text inside a flatbuffer. Indexes: one LMDB key an
//! entry, duplicates of fixed size, and blocks of sorted entries; each index in an environment of
//! its own, so that its bytes are its own. All layouts must give the same answers.

mod blocks;
mod command;
mod composite;
mod duplicates;
mod entries;
#[path = "../../../../src/store/record/generated.rs"]
mod generated;
mod indexes;
mod records;
mod report;

pub(crate) use command::{Arguments, run};
