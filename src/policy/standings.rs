//! What stands now: replaced whole, followed by many threads without a lock.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use super::standing::Standing;

/// Where the present [`Standing`] is; cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Standings(Arc<ArcSwap<Standing>>);

/// The present standing as one thread follows it: looking costs one load while nothing changes.
#[derive(Debug)]
pub struct Follower(Cache<Arc<ArcSwap<Standing>>, Arc<Standing>>);

impl Standings {
    /// Begins with this.
    pub fn new(standing: Standing) -> Standings {
        Standings(Arc::new(ArcSwap::from_pointee(standing)))
    }

    /// Returns what stands.
    pub fn current(&self) -> Arc<Standing> {
        self.0.load_full()
    }

    /// Replaces what stands by a changed copy; everybody who looks from then on sees it. The change
    /// is made again on the newer standing if somebody else was faster.
    pub fn update(&self, change: impl Fn(&mut Standing)) {
        self.0.rcu(|standing| {
            let mut next = Standing::clone(standing);
            change(&mut next);
            next.version = standing.version + 1;
            next
        });
    }

    /// Returns what follows it for one thread.
    pub fn follow(&self) -> Follower {
        Follower(Cache::new(Arc::clone(&self.0)))
    }
}

impl Follower {
    /// Returns what stands.
    #[inline]
    pub fn current(&mut self) -> &Arc<Standing> {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_sees_every_change_and_none_is_lost() {
        let standings = Standings::default();
        let mut follower = standings.follow();
        assert_eq!(follower.current().version(), 0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| standings.update(|_| {})));
            }
        });
        assert_eq!(follower.current().version(), 400);
        assert_eq!(standings.current().version(), 400);
    }
}
