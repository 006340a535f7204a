//! Who has taken less than the others: what each party took beside an equal share of all that was
//! taken.
//!
//! The common clock shows an equal share of everything: it runs on by what is taken, divided by those
//! who take. Each party has a time of its own that runs on by what it takes itself. One who takes less
//! than others falls behind the clock, by a bounded credit at most, and so does who takes nothing; that
//! is also how somebody begins who was not met before.

use std::collections::HashMap;

use super::turns::Party;

/// What each party has taken, beside its share.
#[derive(Debug, Default)]
pub struct Shares {
    clock: u64,
    /// What was taken and is not on the clock yet.
    undivided: u64,
    times: HashMap<Party, u64>,
}

impl Shares {
    /// Notes that a party has taken so much.
    pub fn charge(&mut self, party: Party, cost: u64) {
        if self.times.len() >= PARTIES_MAX && !self.times.contains_key(&party) {
            self.forget();
            if self.times.len() >= PARTIES_MAX {
                // Nobody is modest where so many take more than their credit.
                self.times.clear();
            }
        }
        let least = self.clock.saturating_sub(CREDIT_STEPS);
        let time = self.times.entry(party).or_insert(least);
        *time = (*time).max(least).saturating_add(cost);
        self.undivided += cost;
        let parties = self.times.len() as u64;
        self.clock = self.clock.saturating_add(self.undivided / parties);
        self.undivided %= parties;
    }

    /// Returns whether a party has taken clearly less than its share of late.
    pub fn is_modest(&self, party: Party) -> bool {
        self.times.get(&party).is_none_or(|time| time + CREDIT_STEPS / 2 <= self.clock)
    }

    /// Forgets those who have taken nothing worth telling of late.
    pub fn forget(&mut self) {
        let clock = self.clock;
        self.times.retain(|_, time| *time + CREDIT_STEPS > clock);
    }
}

/// How far one may fall behind the clock.
const CREDIT_STEPS: u64 = 40_000;
/// Parties that are known at most.
const PARTIES_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn party(number: u64) -> Party {
        Party::Address(number)
    }

    #[test]
    fn who_takes_less_than_the_others_is_modest_and_they_are_not() {
        let mut shares = Shares::default();
        for _ in 0..200 {
            (0..100).for_each(|number| shares.charge(party(number), 6_000));
            shares.charge(party(1_000), 3_000);
        }
        assert!(shares.is_modest(party(1_000)));
        assert!((0..100).all(|number| !shares.is_modest(party(number))));
        shares.charge(party(1_000), CREDIT_STEPS);
        assert!(!shares.is_modest(party(1_000)), "it has used up its credit");
    }

    #[test]
    fn who_was_not_met_is_modest_until_it_has_taken_something() {
        let mut shares = Shares::default();
        assert!(shares.is_modest(party(1)));
        shares.charge(party(1), CREDIT_STEPS);
        assert!(!shares.is_modest(party(1)));
        (0..10).for_each(|_| shares.charge(party(2), 1_000_000));
        assert!(shares.is_modest(party(1)) && !shares.is_modest(party(2)));
        // Half of it is the share of the other one.
        shares.charge(party(1), 2 * CREDIT_STEPS);
        assert!(!shares.is_modest(party(1)), "no more credit is saved up than one");
    }

    #[test]
    fn what_is_forgotten_makes_no_difference() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut shares, mut forgetful) = (Shares::default(), Shares::default());
            for _ in 0..500 {
                let (number, cost) = (random.u64(..6), random.u64(..30_000));
                shares.charge(party(number), cost);
                forgetful.charge(party(number), cost);
                if random.u8(..10) == 0 {
                    let before: Vec<bool> =
                        (0..6).map(|number| forgetful.is_modest(party(number))).collect();
                    forgetful.forget();
                    let after: Vec<bool> =
                        (0..6).map(|number| forgetful.is_modest(party(number))).collect();
                    assert_eq!(before, after, "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn it_knows_so_many_and_no_more() {
        let mut shares = Shares::default();
        for number in 0..2 * PARTIES_MAX as u64 {
            shares.charge(party(number), 1_000_000);
        }
        assert!(shares.times.len() <= PARTIES_MAX);
    }
}
