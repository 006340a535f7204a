//! Generates a dataset round by round on all cores.
//!
//! A round may refer to events of earlier rounds only, so its events can be made in any order and
//! by any thread: each draws its random numbers from a seed of its own.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use fastrand::Rng;

use super::draft::draft;
use super::random::derive_seed;
use super::seal::{Sealed, Signer, seal};
use super::world::World;

/// What determines a dataset.
#[derive(Clone)]
pub(crate) struct Options {
    /// How many events to make.
    pub(crate) events: u64,
    /// The seed of all random choices.
    pub(crate) seed: u64,
    /// The bounds of `created_at`; events spread over them in order, with jitter.
    pub(crate) created_at: RangeInclusive<u64>,
    /// What stands in `sig`.
    pub(crate) signatures: Signatures,
    /// How many threads to use; the events do not depend on it.
    pub(crate) threads: usize,
}

/// What stands in `sig`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signatures {
    /// Signatures that verify.
    Valid,
    /// Noise of the right length under public keys that are noise, too: many times faster to make.
    Noise,
}

/// Makes the events of a dataset in order, a round at a time.
pub(crate) struct Generator {
    options: Options,
    world: World,
    made: u64,
}

impl Generator {
    /// Makes the authors.
    pub(crate) fn new(options: Options) -> Self {
        let authors = (options.events / EVENTS_PER_AUTHOR).max(AUTHORS_MIN) as usize;
        let world = World::new(options.seed, authors, options.new_signer(), options.threads);
        Self { options, world, made: 0 }
    }

    /// Makes the next round; empty when the dataset is complete.
    pub(crate) fn next_round(&mut self) -> Vec<Arc<Sealed>> {
        let rest = self.options.events - self.made;
        let size = (self.made / 8).clamp(ROUND_MIN, ROUND_MAX).min(rest);
        let mut slots: Vec<Option<Arc<Sealed>>> = vec![None; size as usize];
        let shares = Mutex::new(slots.chunks_mut(SHARE).enumerate());
        std::thread::scope(|scope| {
            for _ in 0..self.options.threads {
                scope.spawn(|| {
                    loop {
                        let share =
                            shares.lock().expect("no thread panics while it holds the lock").next();
                        let Some((number, share)) = share else { break };
                        let first = self.made + (number * SHARE) as u64;
                        for (index, slot) in (first..).zip(share) {
                            *slot = Some(Arc::new(self.make(index)));
                        }
                    }
                });
            }
        });
        let round: Vec<Arc<Sealed>> = slots.into_iter().flatten().collect();
        assert_eq!(round.len() as u64, size, "every slot of a round is filled");
        for event in &round {
            self.world.past.remember(event);
        }
        self.world.past.end_round();
        self.made += size;
        round
    }

    /// Makes one event, given the past.
    fn make(&self, index: u64) -> Sealed {
        let mut rng = Rng::with_seed(derive_seed(self.options.seed, EVENT_STREAM, index));
        let created_at = self.created_at(&mut rng, index);
        let mut draft = draft(&self.world, &mut rng, created_at);
        draft.created_at = draft.created_at.min(*self.options.created_at.end());
        match draft.author {
            Some(author) => seal(&draft, &self.world.authors[author].signer),
            None => seal(&draft, &self.options.new_signer()(&mut rng)),
        }
    }

    /// The time of an event: its share of the range, moved a little.
    fn created_at(&self, rng: &mut Rng, index: u64) -> u64 {
        let (first, last) = (*self.options.created_at.start(), *self.options.created_at.end());
        let group = index / BURST;
        let is_burst = derive_seed(self.options.seed, BURST_STREAM, group).is_multiple_of(40);
        let index = if is_burst { group * BURST } else { index };
        let span = u128::from(last - first);
        let even = first + (span * u128::from(index) / u128::from(self.options.events)) as u64;
        let moved = match rng.u32(0..100) {
            // A burst has one second for all its events.
            _ if is_burst => even,
            // What bots post at the full hour.
            0..4 => even - even % 3_600,
            // What a client kept for a while before it was sent.
            4..18 => even.saturating_sub(rng.u64(0..21_600)),
            _ => even.saturating_sub(30) + rng.u64(0..60),
        };
        moved.clamp(first, last)
    }
}

impl Options {
    fn new_signer(&self) -> fn(&mut Rng) -> Signer {
        match self.signatures {
            Signatures::Valid => Signer::key,
            Signatures::Noise => Signer::noise,
        }
    }
}

const EVENTS_PER_AUTHOR: u64 = 10;
const AUTHORS_MIN: u64 = 100;
/// Rounds start small, so that there soon is a past to refer to.
const ROUND_MIN: u64 = 64;
const ROUND_MAX: u64 = 4_096;
/// How many events a thread takes at a time.
const SHARE: usize = 32;
/// How many events of equal time stand together.
const BURST: u64 = 4;
const BURST_STREAM: u64 = 0x6275_7273;
const EVENT_STREAM: u64 = 0x6576_656e;

#[cfg(test)]
mod tests {
    use chappe::nostr::{Event, Verifier};

    use super::*;

    fn options(events: u64, seed: u64) -> Options {
        let created_at = 1_600_000_000..=1_660_000_000;
        Options { events, seed, created_at, signatures: Signatures::Noise, threads: 2 }
    }

    fn lines(options: Options) -> Vec<Vec<u8>> {
        let mut generator = Generator::new(options);
        let mut lines = Vec::new();
        loop {
            let round = generator.next_round();
            if round.is_empty() {
                return lines;
            }
            lines.extend(round.iter().map(|event| event.json.clone()));
        }
    }

    #[test]
    fn the_same_seed_yields_the_same_bytes_on_any_number_of_threads() {
        let one = lines(Options { threads: 1, ..options(700, 7) });
        let three = lines(Options { threads: 3, ..options(700, 7) });
        assert!(one == three, "the number of threads changed the events");
        let other = lines(options(700, 8));
        assert!(one != other, "another seed yields other events");
        assert_eq!(one.len(), 700);
    }

    #[test]
    fn an_event_has_about_a_thousand_bytes() {
        let lines = lines(options(8_000, 1));
        let average = lines.iter().map(Vec::len).sum::<usize>() / lines.len();
        assert!((850..=1_150).contains(&average), "average is {average} bytes");
    }

    #[test]
    fn a_line_is_one_json_object_with_the_seven_members() {
        for line in lines(options(500, 3)) {
            let value: serde_json::Value = serde_json::from_slice(&line).expect("a line is JSON");
            let object = value.as_object().expect("a line is an object");
            assert_eq!(object.len(), 7);
            assert!(!line.contains(&b'\n'));
            let tags = value["tags"].as_array().expect("tags are an array");
            assert!(tags.iter().all(|tag| !tag.as_array().expect("a tag is an array").is_empty()));
        }
    }

    #[test]
    fn times_stay_within_their_bounds_and_some_are_equal() {
        let mut generator = Generator::new(options(3_000, 5));
        let mut times = Vec::new();
        loop {
            let round = generator.next_round();
            if round.is_empty() {
                break;
            }
            times.extend(round.iter().map(|event| event.event.created_at));
        }
        assert!(times.iter().all(|time| (1_600_000_000..=1_660_000_000).contains(time)));
        times.sort_unstable();
        assert!(times.windows(2).any(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn every_event_verifies() {
        let mut generator =
            Generator::new(Options { signatures: Signatures::Valid, ..options(1_000, 2) });
        let mut verifier = Verifier::new();
        let mut verified = 0;
        loop {
            let round = generator.next_round();
            if round.is_empty() {
                break;
            }
            for event in round {
                let parsed = Event::parse(&event.json).expect("a line is an event");
                assert!(parsed == event.event, "a line is the event that was signed");
                assert!(verifier.verify(parsed).is_ok(), "the event verifies");
                verified += 1;
            }
        }
        assert_eq!(verified, 1_000);
    }
}
