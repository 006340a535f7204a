//! JSON as this protocol needs it: a forward scanner and the canonical escaped form of text.
//!
//! There is no document tree: readers of events, filters and messages drive the scanner over the
//! bytes of a frame and take what they need on the way.

mod integer;
mod scanner;
mod text;

pub use integer::{integer_len, write_integer};
pub use scanner::{JsonError, Scanner};
pub use text::{RawText, character_count, escape_into, escaped, unescape, unescape_controls_into};
