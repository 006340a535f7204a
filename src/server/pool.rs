//! What waits for the work pool, and whose turn it is: jobs are taken by turns of the parties that
//! want them done, so one that wants much delays itself.
//!
//! Nothing is refused. What a party has waiting is bounded by what may be under way for each of its
//! connections, and no more is read from them while it has too much (I8).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::work::{Job, VerifyJob};
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

    /// Takes as many of the jobs whose turn is next as make verifying together worth its while,
    /// if so many wait: each of the workers a share.
    pub(super) fn take_more_to_verify(&self, jobs: &mut Vec<VerifyJob>, workers: usize) {
        let mut state = self.shared.state();
        let share = (state.turns.count() / workers.max(1)).min(MORE_TOGETHER);
        if share < ENOUGH_TOGETHER {
            return;
        }
        for _ in 0..share {
            if !matches!(state.turns.next(), Some(Job::Verify(_))) {
                return;
            }
            if let Some((_, Job::Verify(job))) = state.turns.pop() {
                jobs.push(job);
            }
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
/// Jobs of verifying that one worker takes beside the first: with it some hundred events, and ten
/// milliseconds for which others may have to wait.
const MORE_TOGETHER: usize = 31;
/// Fewer are done one by one, half a millisecond each: little would be saved.
const ENOUGH_TOGETHER: usize = 15;

#[cfg(test)]
mod tests {
    use super::super::connection::ConnectionKey;
    use super::super::lane::Lane;
    use super::super::work::{CountJob, Metered};
    use super::*;
    use crate::ingest::ReplyTo;
    use crate::nostr::message::SubscriptionId;
    use crate::nostr::{Event, Keypair, Kind};
    use crate::session::Reader;

    fn event() -> Event {
        let keypair = Keypair::from_secret([7; 32]).expect("a secret key");
        keypair.sign_event(1, Kind(1), &[], "")
    }

    fn verify(chunk: u64) -> Job {
        Job::Verify(VerifyJob {
            from: ReplyTo { core: 0, connection: 1 },
            metered: Metered::No,
            visitor: None,
            source: None,
            events: vec![event(); 8],
            lane: Arc::new(Lane::default()),
            chunk,
        })
    }

    fn count() -> Job {
        Job::Count(CountJob {
            core: 0,
            connection: ConnectionKey { slot: 0, serial: 0 },
            query: SubscriptionId::new("a").expect("it is not empty"),
            reader: Reader::default(),
            filters: Arc::from([]),
        })
    }

    fn taken(receiver: &JobReceiver, workers: usize) -> Vec<u64> {
        let mut jobs = Vec::new();
        receiver.take_more_to_verify(&mut jobs, workers);
        jobs.iter().map(|job| job.chunk).collect()
    }

    #[test]
    fn a_worker_takes_its_share_of_a_backlog_in_turn_and_nothing_of_little() {
        let (sender, receiver) = pool(1_000);
        let party = Party::Address(1);
        (0..29).for_each(|chunk| sender.send(party, verify(chunk)));
        assert!(taken(&receiver, 2).is_empty(), "each worker has less than enough");
        sender.send(party, verify(29));
        assert_eq!(taken(&receiver, 2), (0..15).collect::<Vec<_>>());
        assert_eq!(taken(&receiver, 1), (15..30).collect::<Vec<_>>());
        (0..100).for_each(|chunk| sender.send(party, verify(chunk)));
        assert_eq!(taken(&receiver, 2), (0..31).collect::<Vec<_>>(), "and never more than that");
    }

    #[test]
    fn whoever_wants_something_else_comes_in_turn() {
        let (sender, receiver) = pool(1_000);
        (0..10).for_each(|chunk| sender.send(Party::Address(1), verify(chunk)));
        sender.send(Party::Address(2), count());
        (10..40).for_each(|chunk| sender.send(Party::Address(1), verify(chunk)));
        let before = taken(&receiver, 1).len() as u64;
        assert!((1..30).contains(&before), "{before}");
        assert!(matches!(receiver.try_recv(), Some(Job::Count(_))));
        assert_eq!(taken(&receiver, 1), (before..before + 31).collect::<Vec<_>>());
    }
}
