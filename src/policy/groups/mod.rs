//! Groups (NIP-29): who is in them, what is said about them, what may be written and read.
//!
//! Pure: events in, verdicts and drafts out. Who runs it keeps one [`Groups`], which is cheap to
//! clone. An event is [judged](Groups::judge); if it asks for something, that is
//! [done](Groups::apply), and what follows from it is collected in [`Changes`]: events for the
//! record and what the relay has to say anew about a group ([`Group::drafts`]).
//!
//! The state of a group is what the relay says of it: its own events 39000 to 39005 are read back
//! by [`Group::recall`], the rest from the record by [`Groups::recollect`]. A group of which there
//! is only the record, because it comes from elsewhere, is [replayed](Groups::replay).

mod action;
mod group;
mod id;
mod metadata;

mod judge;
mod replay;
mod sight;
mod state;

#[cfg(test)]
mod tests;

pub use self::action::{
    Action, CREATE_GROUP, CREATE_INVITE, DELETE_EVENT, DELETE_GROUP, JOIN, MANAGING_KINDS, Pin,
    Roles, STATE_KINDS,
};
pub use self::group::{Draft, Group, Invite, Parts, Power};
pub use self::id::{GroupId, GroupValue};
pub use self::judge::{Facts, Taking, may_be_taken_out};
pub use self::metadata::Metadata;
pub use self::state::{Changes, Creation, Groups, Rules, Scope};

/// The longest id of a group.
const ID_BYTES_MAX: usize = 256;
/// The longest code of an invite.
const CODE_BYTES_MAX: usize = 256;
/// The roles of one member.
const ROLES_MAX: usize = 16;
/// The longest name of a role.
const ROLE_BYTES_MAX: usize = 128;
/// What may be said about a group, its children included.
const CHANGE_BYTES_MAX: usize = 65_536;
/// What may be said about a group in words.
const TEXT_BYTES_MAX: usize = 8_192;
/// Groups below one other.
const CHILDREN_MAX: usize = 200;
/// Who was removed from a group and is remembered.
const REMOVED_MAX: usize = 100_000;
/// Groups that are over are remembered, too: so many times as there may be living ones.
const REMEMBERED_TIMES: usize = 8;
/// References to earlier events that one event may have.
const REFERENCES_MAX: usize = 50;
