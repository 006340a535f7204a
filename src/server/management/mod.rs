//! Management: what administrators ask for while the relay runs (NIP-86).
//!
//! ```text
//!  core: POST / -- door: proof (NIP-98), administrator? --+
//!                                                         +-- calls --> office -- facts --> writer
//!  socket in the data folder: who of this machine? -------+               |
//!                                                                         +--> standings, cores
//! ```
//!
//! There is one list of methods (`method`) for both ways in. The office is one thread, which does
//! one call after the other and may wait for the writer; nobody but who has called waits for it. A
//! decision and the entry of the journal about it are one transaction; what stands follows after
//! that, so that no decision is in force which a crash could undo.

mod call;
mod journal;
mod method;
mod office;
mod params;

mod assign;
mod decide;
mod figures;
mod look;
mod people;
mod queue;
mod search;
mod upkeep;

mod door;
mod socket;

pub(super) use self::call::{Calls, OfficeHandle, office_channel};
pub(super) use self::door::{METHODS_OF_HTTP, ask, is_call, refuse_call};
pub(super) use self::office::{Office, OfficeParts};
pub(super) use self::socket::LocalDoor;
pub use self::socket::socket_path;

/// Names of facts that are decisions begin so.
pub(super) const DECISIONS: &str = "decision/";
/// Names of facts that are entries of the journal begin so.
const JOURNAL: &str = "journal/";
