//! Fanout: from one committed batch to every subscription it matches.
//!
//! [`ring`] carries committed batches from the writer to every core without a lock;
//! [`SubscriptionIndex`] is one core's answer to "who wants this event?". Neither knows sockets,
//! sessions or the store: what a match leads to is decided above.

mod index;
mod published;
mod ring;
mod subscription;

pub use index::SubscriptionIndex;
pub use published::Published;
pub use ring::{Consumer, Next, Producer, Ring, RingLimits, Waker, ring};
pub use subscription::SubKey;
