//! Set reconciliation (NIP-77, negentropy protocol V1), pure: messages, fingerprints, answers.
//!
//! Two sides find out what each has and the other has not, by comparing fingerprints of ranges of
//! items ordered by time and id. The side that is asked answers from any ordered set that knows
//! ranks and sums of ranges ([`Items`]); it keeps nothing between messages, and neither does the side
//! that asks.
//!
//! The `negentropy` crate is what the tests reconcile with, not what answers: its storage trait
//! returns a fingerprint type that it does not export, so that a set which knows its sums could
//! only be read item by item, its lower bound cannot fail, and it takes messages that are cut off
//! within a number.
//!
//! Reading order: [`Sum`], [`Items`], `message`, [`respond`], [`begin`] and [`go_on`].

mod sum;

mod items;

mod message;

mod respond;

mod ask;

#[cfg(test)]
mod tests;

pub use self::ask::{Differences, begin, go_on};
pub use self::items::{Item, Items, SortedItems};
pub use self::message::Malformed;
pub use self::respond::{Failure, respond};
pub use self::sum::{FINGERPRINT_BYTES, Sum};
