//! Chromium: its process, the protocol that it is driven by, and one tab as a person uses it.

mod devtools;
mod process;
mod tab;

pub use devtools::Seen;
pub use tab::{Look, Tab};
