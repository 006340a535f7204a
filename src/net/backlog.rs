//! What waits for slow readers, over all connections of all cores.
//!
//! Each queue is bounded by itself; this bounds them together, or ten thousand clients that do not
//! read could fill the memory with what each of them may have. Only what a queue holds beyond its
//! high-water mark counts, so that connections which are read pay for nothing here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What may wait and does, beyond what each queue may have anyway.
#[derive(Debug)]
pub struct Backlog {
    bytes_max: AtomicUsize,
    bytes: AtomicUsize,
    /// How many queues these bytes are in.
    queues: AtomicUsize,
}

impl Backlog {
    /// Makes room for so many bytes.
    pub fn new(bytes_max: usize) -> Backlog {
        Backlog {
            bytes_max: AtomicUsize::new(bytes_max),
            bytes: AtomicUsize::new(0),
            queues: AtomicUsize::new(0),
        }
    }

    /// Makes room for so many bytes; what waits already stays.
    pub fn resize(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Returns how many bytes wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The part of one queue; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Share {
    backlog: Option<Arc<Backlog>>,
    bytes: usize,
}

/// Whether a queue may hold what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Enough,
    /// There is none, and this queue has more than most.
    None,
}

impl Share {
    pub(crate) fn of(backlog: &Arc<Backlog>) -> Share {
        Share { backlog: Some(Arc::clone(backlog)), bytes: 0 }
    }

    /// Makes this part as large as the queue is beyond its mark.
    pub(crate) fn resize(&mut self, bytes: usize) -> Room {
        let Some(backlog) = &self.backlog else { return Room::Enough };
        let before = std::mem::replace(&mut self.bytes, bytes);
        match (before, bytes) {
            (0, 0) => return Room::Enough,
            (0, _) => drop(backlog.queues.fetch_add(1, Ordering::Relaxed)),
            (_, 0) => drop(backlog.queues.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        let all = if bytes >= before {
            let more = bytes - before;
            backlog.bytes.fetch_add(more, Ordering::Relaxed) + more
        } else {
            let less = before - bytes;
            backlog.bytes.fetch_sub(less, Ordering::Relaxed) - less
        };
        let is_full = all > backlog.bytes_max.load(Ordering::Relaxed) && bytes > before;
        // Whoever has little beyond the mark is not to go for those who have much.
        let usual = all / backlog.queues.load(Ordering::Relaxed).max(1);
        if is_full && bytes >= usual { Room::None } else { Room::Enough }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_the_sum_of_its_shares() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let backlog = Arc::new(Backlog::new(usize::MAX));
            let mut shares: Vec<(Share, usize)> = Vec::new();
            for _ in 0..200 {
                match random.u32(..4) {
                    0 => shares.push((Share::of(&backlog), 0)),
                    1 if !shares.is_empty() => {
                        drop(shares.swap_remove(random.usize(..shares.len())));
                    }
                    _ => {
                        if let Some((share, bytes)) = random.choice(&mut shares) {
                            *bytes = fastrand::usize(..100);
                            assert_eq!(share.resize(*bytes), Room::Enough);
                        }
                    }
                }
                let expected: usize = shares.iter().map(|(_, bytes)| bytes).sum();
                assert_eq!(backlog.bytes(), expected, "seed {seed}");
            }
            drop(shares);
            assert_eq!((backlog.bytes(), backlog.queues.load(Ordering::Relaxed)), (0, 0));
        }
    }

    #[test]
    fn when_it_is_full_those_go_who_have_more_than_most() {
        let backlog = Arc::new(Backlog::new(100));
        let [mut large, mut small] = [Share::of(&backlog), Share::of(&backlog)];
        assert_eq!(large.resize(90), Room::Enough);
        assert_eq!(small.resize(20), Room::Enough, "it has little");
        assert_eq!(large.resize(91), Room::None);
        drop(large);
        assert_eq!(small.resize(99), Room::Enough);
        backlog.resize(50);
        assert_eq!(small.resize(98), Room::Enough, "it gets less");
        assert_eq!(small.resize(99), Room::None);
        assert_eq!(Share::default().resize(usize::MAX), Room::Enough);
    }
}
