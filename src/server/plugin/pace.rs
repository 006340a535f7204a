//! Whose events take long: they are told from the others', so that these do not wait for many of them.

use std::collections::HashMap;
use std::time::Duration;

use crate::policy::Party;

/// How long an event takes, as far as it can be told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Nobody minds waiting for it.
    Light,
    /// It takes long.
    Heavy,
}

/// How long the events of each party took of late.
#[derive(Debug)]
pub(super) struct Paces {
    /// How many in a row took long.
    slow: HashMap<Party, u32>,
    /// What the last turned out to be of whom nothing was known.
    newcomers: Weight,
}

impl Paces {
    /// Knows of nobody; whoever comes first is taken for heavy.
    pub(super) fn new() -> Paces {
        Paces { slow: HashMap::new(), newcomers: Weight::Heavy }
    }

    /// Notes how long an event took; returns what the next of its party is taken for.
    pub(super) fn note(&mut self, party: Party, took: Duration) -> Weight {
        let is_slow = took >= HEAVY;
        if let Some(slow) = self.slow.get_mut(&party) {
            *slow = if is_slow { slow.saturating_add(1) } else { 0 };
            return self.weight(party);
        }
        if self.slow.len() >= PARTIES_MAX {
            self.slow.clear();
        }
        self.slow.insert(party, if is_slow { SLOW_MAX } else { 0 });
        self.newcomers = self.weight(party);
        self.newcomers
    }

    /// Returns what an event of a party is taken for.
    pub(super) fn weight(&self, party: Party) -> Weight {
        match self.slow.get(&party) {
            Some(slow) if *slow >= SLOW_MAX => Weight::Heavy,
            Some(_) => Weight::Light,
            None => self.newcomers,
        }
    }
}

/// From so much on others would notice.
const HEAVY: Duration = Duration::from_millis(10);
/// So many in a row have to take long: the machine may have been busy for one of them.
const SLOW_MAX: u32 = 4;
/// Parties that are known before all are forgotten.
const PARTIES_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(200);
    const LONG: Duration = Duration::from_millis(50);

    fn party(number: u64) -> Party {
        Party::Address(number)
    }

    #[test]
    fn one_short_event_makes_a_party_light_and_some_long_ones_in_a_row_make_it_heavy() {
        let mut paces = Paces::new();
        assert_eq!(paces.note(party(1), LONG), Weight::Heavy);
        assert_eq!(paces.note(party(1), LONG), Weight::Heavy);
        assert_eq!(paces.note(party(1), SHORT), Weight::Light);
        for _ in 1..SLOW_MAX {
            assert_eq!(paces.note(party(1), LONG), Weight::Light);
        }
        assert_eq!(paces.note(party(1), LONG), Weight::Heavy);
    }

    #[test]
    fn newcomers_are_taken_for_what_the_last_of_them_was() {
        let mut paces = Paces::new();
        assert_eq!(paces.weight(party(1)), Weight::Heavy);
        paces.note(party(1), SHORT);
        assert_eq!(paces.weight(party(2)), Weight::Light);
        paces.note(party(2), LONG);
        assert_eq!(paces.weight(party(3)), Weight::Heavy);
        assert_eq!(paces.weight(party(1)), Weight::Light);
    }

    #[test]
    fn it_knows_so_many_and_no_more() {
        let mut paces = Paces::new();
        for number in 0..2 * PARTIES_MAX as u64 {
            paces.note(party(number), Duration::ZERO);
        }
        assert!(paces.slow.len() <= PARTIES_MAX);
    }
}
