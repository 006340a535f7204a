//! Ingest: from verified events to committed ones, and on to everybody who waits for them.
//!
//! The proof is in the types: `Event` (parsed) -> [`Verified`](crate::nostr::Verified) ->
//! [`Admitted`] -> [`Outcome`](crate::store::Outcome), one constructor each (I2).

mod admit;
mod entrance;
mod groups;
mod handle;
mod recall;
mod sight;
mod witness;
mod writer;

pub use self::admit::Admitted;
pub use self::entrance::{Answers, Entrance, Entry, EntryTerms, Turned};
pub use self::groups::GroupKeeping;
pub use self::handle::{Full, Replies, Reply, ReplyTo, Submission, WriterHandle};
pub use self::sight::GroupSight;
pub use self::witness::{Witness, Witnessed};
pub use self::writer::{WriterThread, spawn};
