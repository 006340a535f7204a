//! The configuration: what can be set, where a value came from, and what is wrong with it.
//!
//! [`settings`] holds the one table of keys; everything else follows from it: the reader
//! ([`mod@load`]), the checks and the writers of `relay config example` and `relay config show`
//! ([`mod@write`]). What a later reading changes is
//! told by [`mod@change`]. The parts `[[peer]]` have a table of their own. A key's value is taken from the strongest layer that names it: command line,
//! `RELAY_SECTION_KEY` in the environment, the file, the default.
//!
//! Nothing below this floor sees these types: commands hand each room its own options.

pub mod settings;

pub mod change;
pub mod error;
pub mod key;
pub mod load;
pub mod write;

mod conflict;
mod forms;
mod nearest;
mod peers;
mod value;
mod words;

pub use change::{Change, ChangedKey};
pub use error::{ConfigError, Problem};
pub use load::{Config, Flag, Origin, Sources, load};
pub use peers::{Peer, PeerSettings};
pub use settings::Settings;
pub use value::{Level, LogFormat, RateLimit};
pub use words::GroupMode;
