//! Many events at once: in batches while all is well, alone where something is wrong.
//!
//! What does not even have the form of a signature is left out of a batch and checked alone. Of any
//! other wrong signature a batch tells only that there is one. So what fails is tried again in an
//! eighth of the size; what fails at a small size is checked one by one, and so are the next ones,
//! twice as many after each failure. Whoever sends wrong signatures to make work gains little by
//! it: the worst row of them costs about a fifth more than checking each alone.

use super::batch::Batch;
use super::{Event, Invalid, Signed, Verified, Verifier};

impl Verifier {
    /// Checks ids, then the signatures together; the results are in the order of the events.
    ///
    /// For the seed see [`Verifier::wrong_signatures`].
    pub fn verify_all(
        &mut self,
        events: Vec<Event>,
        seed: impl Fn() -> [u8; 16],
    ) -> Vec<Result<Verified, (Event, Invalid)>> {
        let mut results = Vec::with_capacity(events.len());
        let mut signed = Vec::with_capacity(events.len());
        for event in events {
            let result = self.verify_id_only(event);
            signed.extend(result.as_ref().map(|event| Signed::of(&event.event().view())));
            results.push(result);
        }
        let wrong = self.wrong_signatures(&signed, seed);
        let (mut wrong, mut number) = (wrong.into_iter().peekable(), 0);
        for result in &mut results {
            let Ok(event) = result else { continue };
            if wrong.next_if_eq(&number).is_some() {
                *result = Err((event.event().clone(), Invalid::Signature));
            }
            number += 1;
        }
        results
    }

    /// Returns which signatures are wrong, by their places, in order.
    ///
    /// A seed is asked for before each batch. It must be one that whoever made the signatures could
    /// not foresee: nothing else here is random.
    pub fn wrong_signatures(
        &mut self,
        signed: &[Signed],
        seed: impl Fn() -> [u8; 16],
    ) -> Vec<usize> {
        let (mut wrong, mut done) = (Vec::new(), 0);
        while done < signed.len() {
            let left = &signed[done..];
            match self.pace.next(left.len()) {
                Step::Together(count) => {
                    let found = self.wrong_together(&left[..count], seed());
                    self.pace.note(count, found.is_some());
                    // Otherwise they are checked once more, at another pace.
                    if let Some(found) = found {
                        wrong.extend(found.into_iter().map(|place| done + place));
                        done += count;
                    }
                }
                Step::Alone(count) => {
                    let places = done..done + count;
                    wrong.extend(places.filter(|place| !self.is_right(&signed[*place])));
                    done += count;
                }
            }
        }
        wrong
    }

    /// Checks a batch; nothing if something is wrong that only the equation has noticed.
    fn wrong_together(&mut self, signed: &[Signed], seed: [u8; 16]) -> Option<Vec<usize>> {
        let mut batch = Batch::new(signed.len(), seed, std::mem::take(&mut self.sum));
        let mut unusual = Vec::new();
        for (place, signed) in signed.iter().enumerate() {
            let author = self.point(&signed.pubkey);
            if author.is_none_or(|author| batch.add(signed, &author).is_err()) {
                unusual.push(place);
            }
        }
        let holds = batch.holds();
        self.sum = batch.into_sum();
        if holds {
            unusual.retain(|place| !self.is_right(&signed[*place]));
        }
        holds.then_some(unusual)
    }
}

/// What is done next.
enum Step {
    Together(usize),
    Alone(usize),
}

/// How many are checked at once, as the last ones turned out.
pub(super) struct Pace {
    /// The largest batch.
    together: usize,
    /// How many are checked alone before the next batch.
    alone: usize,
    /// Small batches that failed, less those that held.
    failures: u32,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { together: TOGETHER_MAX, alone: 0, failures: 0 }
    }
}

impl Pace {
    fn next(&mut self, left: usize) -> Step {
        if self.alone > 0 {
            let count = left.min(self.alone);
            self.alone -= count;
            return Step::Alone(count);
        }
        match left {
            0..TOGETHER_MIN => Step::Alone(left),
            _ => Step::Together(left.min(self.together)),
        }
    }

    fn note(&mut self, count: usize, holds: bool) {
        if holds {
            self.together = (self.together * 2).min(TOGETHER_MAX);
            self.failures = self.failures.saturating_sub(1);
        } else if count >= 8 * TOGETHER_MIN {
            self.together = count / 8;
        } else {
            self.alone = count + (count << self.failures);
            self.failures = (self.failures + 1).min(FAILURES_MAX);
        }
    }
}

/// Fewer are checked alone: that is about as fast.
const TOGETHER_MIN: usize = 192;

/// A batch of so many takes two megabytes; a larger one would save little more.
const TOGETHER_MAX: usize = 4_096;

/// After so many failures no more are checked alone than after these.
const FAILURES_MAX: u32 = 6;
