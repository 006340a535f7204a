//! The ring of `src/fanout/ring.rs`, the very file, compiled with loom's atomics in place of the
//! standard library's.
//!
//! `std`, `arc_swap` and `crate` mean what this file says: atomics are loom's, a slot is one atomic
//! word, and an event is as little as the ring asks of one. Reference counts stay the standard
//! library's: they are not the ring's protocol.

// The ring's own tests are for real threads.
#![cfg(not(test))]

extern crate self as arc_swap;
extern crate self as std;
extern crate std as real;

#[path = "../../src/fanout/ring.rs"]
mod ring;

pub use published::Published;
pub use ring::{Consumer, Next, Producer, Ring, RingLimits, Waker, ring};
pub use slot::ArcSwapOption;

/// What the ring takes from `std::sync`.
pub mod sync {
    pub use real::sync::Arc;

    /// What the ring takes from `std::sync::atomic`.
    pub mod atomic {
        pub use loom::sync::atomic::{AtomicU64, Ordering};
    }
}

/// What the ring takes from `std::collections`.
pub mod collections {
    pub use real::collections::VecDeque;
}

mod published {
    /// An event of which the ring asks nothing but its size.
    #[derive(Debug)]
    pub struct Published {
        /// What tells it from others.
        pub seq: u64,
    }

    impl Published {
        /// Returns its size.
        pub fn memory_bytes(&self) -> usize {
            size_of::<Published>()
        }
    }
}

mod slot {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use real::sync::{Arc, Mutex, PoisonError};

    /// Stands for `arc_swap::ArcSwapOption`: a pointer that is replaced and read as one word.
    ///
    /// The word is loom's and says which of the values ever stored is meant; the lock around the
    /// values is real, so that loom sees no order that `arc_swap` would not give: a load acquires,
    /// a store releases, and nothing more.
    pub struct ArcSwapOption<T> {
        place: AtomicUsize,
        values: Mutex<Vec<Option<Arc<T>>>>,
    }

    impl<T> ArcSwapOption<T> {
        /// Returns a slot without a value.
        pub fn empty() -> ArcSwapOption<T> {
            ArcSwapOption { place: AtomicUsize::new(0), values: Mutex::new(vec![None]) }
        }

        /// Replaces the value.
        pub fn store(&self, value: Option<Arc<T>>) {
            let place = {
                let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
                values.push(value);
                values.len() - 1
            };
            self.place.swap(place, Ordering::AcqRel);
        }

        /// Returns the value.
        pub fn load(&self) -> Option<Arc<T>> {
            let place = self.place.load(Ordering::Acquire);
            self.values.lock().unwrap_or_else(PoisonError::into_inner)[place].clone()
        }
    }
}
