//! What waits for the work pool, and whose turn it is: jobs are taken by turns of the parties that
//! want them done, so one that wants much delays itself.
//!
//! Nothing is refused. What a party has waiting is bounded by what may be under way for each of its
//! connections, and no more is read from them while it has too much (I8).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::work::Job;
use crate::policy::{Party, Turns};

/// Creates the line before a pool.
pub(super) fn pool(party_jobs_max: usize) -> (JobSender, JobReceiver) {
    let state = Mutex::new(State { turns: Turns::default(), sleeping: 0, is_closed: false });
    let shared = Arc::new(Shared { state, bell: Condvar::new(), party_jobs_max });
    let open = Arc::new(Open(Arc::clone(&shared)));
    (JobSender { shared: Arc::clone(&shared), _open: open }, JobReceiver { shared })
}

/// Where jobs are handed in.
#[derive(Clone)]
pub(super) struct JobSender {
    shared: Arc<Shared>,
    _open: Arc<Open>,
}

/// Where workers take them.
#[derive(Clone)]
pub(super) struct JobReceiver {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    bell: Condvar,
    /// Jobs of one party that may wait before no more is read from it.
    party_jobs_max: usize,
}

struct State {
    turns: Turns<Job>,
    /// Workers that wait for the bell.
    sleeping: usize,
    is_closed: bool,
}

/// Lets the workers end when nobody can hand in jobs any more.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state().is_closed = true;
        self.0.bell.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can leave the line half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JobSender {
    /// Hands in a job.
    pub(super) fn send(&self, party: Party, job: Job) {
        let cost = job.steps();
        let mut state = self.shared.state();
        state.turns.push(party, cost, job);
        let is_anybody_asleep = state.sleeping > 0;
        drop(state);
        if is_anybody_asleep {
            self.shared.bell.notify_one();
        }
    }

    /// Returns whether so much of a party waits that no more is to be read from it.
    pub(super) fn is_crowded_by(&self, party: Party) -> bool {
        let state = self.shared.state();
        // Many parties together have less each.
        let share = (JOBS_MAX / state.turns.parties().max(1)).max(1);
        state.turns.count_of(party) > self.shared.party_jobs_max.min(share)
    }

    /// Returns how many jobs wait.
    pub(super) fn count(&self) -> usize {
        self.shared.state().turns.count()
    }
}

impl JobReceiver {
    /// Waits for a job; `None` once nobody can hand in any and all are done.
    pub(super) fn recv(&self) -> Option<Job> {
        let mut state = self.shared.state();
        loop {
            if let Some((_, job)) = state.turns.pop() {
                return Some(job);
            }
            state.turns.forget();
            if state.is_closed {
                return None;
            }
            state.sleeping += 1;
            state = self.shared.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping -= 1;
        }
    }

    /// Takes a job if there is one.
    #[cfg(test)]
    pub(super) fn try_recv(&self) -> Option<Job> {
        self.shared.state().turns.pop().map(|(_, job)| job)
    }

    /// Returns how many jobs wait.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.shared.state().turns.count()
    }
}

/// Jobs of one party that may wait, in a running relay: some milliseconds of work for a few workers.
pub(super) const PARTY_JOBS_MAX: usize = 32;
/// Jobs of all parties that may wait, about: each may have one.
const JOBS_MAX: usize = 1_024;
