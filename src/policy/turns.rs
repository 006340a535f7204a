//! Whose turn it is where many want more than there is: fair queueing by what was taken before.
//!
//! Each party has a time of its own that runs on by what it takes, and who is earliest is next. The
//! common clock shows the time of who was served last, so nobody saves turns up: who comes back after
//! a pause starts at the clock, before all those who kept coming (self-clocked fair queueing, S. J.
//! Golestani, INFOCOM 1994). One who wants little hardly waits, whatever the others want.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Who takes turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// All of one address, or of one network of IPv6, by its number.
    Address(u64),
    /// One connection by itself, by the number of its core and its own: of an address that is not
    /// measured there may be many who have nothing to do with each other.
    Connection(u32, u64),
}

/// What waits, and for whom.
#[derive(Debug)]
pub struct Turns<T> {
    /// The time of who was served last.
    clock: u64,
    parties: HashMap<Party, Line<T>>,
    /// The first of each party that has something waiting.
    heads: BTreeMap<Place, Party>,
    /// Makes places distinct, and keeps the order of those of one time.
    serial: u64,
    count: usize,
}

/// A time, and what tells apart those of one time.
type Place = (u64, u64);

#[derive(Debug)]
struct Line<T> {
    time: u64,
    items: VecDeque<(Place, T)>,
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns { clock: 0, parties: HashMap::new(), heads: BTreeMap::new(), serial: 0, count: 0 }
    }
}

impl<T> Turns<T> {
    /// Returns how much waits.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns how much of one party waits.
    pub fn count_of(&self, party: Party) -> usize {
        self.parties.get(&party).map_or(0, |line| line.items.len())
    }

    /// Returns how many parties have something waiting.
    pub fn parties(&self) -> usize {
        self.heads.len()
    }

    /// Returns how far the time of a party is ahead of who was served last.
    #[cfg(test)]
    fn ahead(&self, party: Party) -> u64 {
        self.parties.get(&party).map_or(0, |line| line.time.saturating_sub(self.clock))
    }

    /// Notes that a party has taken so much; returns how far it is ahead then.
    pub fn charge(&mut self, party: Party, cost: u64) -> u64 {
        let clock = self.clock;
        let line = self.line(party);
        line.time = line.time.max(clock).saturating_add(cost);
        line.time - clock
    }

    /// Puts something behind all else of its party, which will have taken so much with it.
    pub fn push(&mut self, party: Party, cost: u64, item: T) {
        self.charge(party, cost);
        self.serial += 1;
        let serial = self.serial;
        let line = self.line(party);
        let place = (line.time, serial);
        line.items.push_back((place, item));
        if line.items.len() == 1 {
            self.heads.insert(place, party);
        }
        self.count += 1;
    }

    /// Puts something back that is to be taken next.
    pub fn put_back(&mut self, party: Party, item: T) {
        self.serial += 1;
        // Before all others, and before what was put back earlier.
        let place = (0, u64::MAX - self.serial);
        let line = self.line(party);
        let head = line.items.front().map(|(place, _)| *place);
        line.items.push_front((place, item));
        if let Some(head) = head {
            self.heads.remove(&head);
        }
        self.heads.insert(place, party);
        self.count += 1;
    }

    /// Returns what is next.
    pub fn next(&self) -> Option<&T> {
        let party = self.heads.values().next()?;
        self.parties.get(party)?.items.front().map(|(_, item)| item)
    }

    /// Takes what is next.
    pub fn pop(&mut self) -> Option<(Party, T)> {
        self.pop_of(|_| true)
    }

    /// Takes what is next of the parties that may have a turn.
    pub fn pop_of(&mut self, mut may: impl FnMut(Party) -> bool) -> Option<(Party, T)> {
        let (&place, &party) = self.heads.iter().find(|(_, party)| may(**party))?;
        self.heads.remove(&place);
        self.clock = self.clock.max(place.0);
        self.count -= 1;
        let Entry::Occupied(mut entry) = self.parties.entry(party) else { return None };
        let line = entry.get_mut();
        let (_, item) = line.items.pop_front()?;
        match line.items.front() {
            Some((next, _)) => {
                self.heads.insert(*next, party);
            }
            None if line.time <= self.clock => {
                entry.remove();
            }
            None => {}
        }
        Some((party, item))
    }

    /// Forgets who has taken what, if nobody waits: then there is enough for all.
    pub fn forget(&mut self) {
        if self.count == 0 {
            self.parties.clear();
        }
    }

    fn line(&mut self, party: Party) -> &mut Line<T> {
        if self.parties.len() >= PARTIES_MAX && !self.parties.contains_key(&party) {
            // Those who are ahead and want nothing more: the one that matters will come again.
            self.parties.retain(|_, line| !line.items.is_empty());
        }
        let empty = || Line { time: 0, items: VecDeque::new() };
        self.parties.entry(party).or_insert_with(empty)
    }
}

/// Parties that are known before those are forgotten that have nothing waiting.
const PARTIES_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn party(number: u64) -> Party {
        Party::Address(number)
    }

    fn all(turns: &mut Turns<u32>) -> Vec<u32> {
        std::iter::from_fn(|| turns.pop().map(|(_, item)| item)).collect()
    }

    #[test]
    fn parties_take_turns_and_each_keeps_its_order() {
        let mut turns = Turns::default();
        (10..14).for_each(|item| turns.push(party(1), 1, item));
        (20..22).for_each(|item| turns.push(party(2), 1, item));
        turns.push(party(3), 1, 30);
        assert_eq!((turns.count(), turns.count_of(party(1)), turns.parties()), (7, 4, 3));
        assert_eq!(all(&mut turns), [10, 20, 30, 11, 21, 12, 13]);
        assert_eq!((turns.count(), turns.parties()), (0, 0));
    }

    #[test]
    fn who_takes_more_at_a_time_has_fewer_turns() {
        let mut turns = Turns::default();
        (0..30).for_each(|_| turns.push(party(1), 3, 1));
        (0..30).for_each(|_| turns.push(party(2), 1, 2));
        let first: Vec<u32> = (0..20).filter_map(|_| turns.pop()).map(|(_, item)| item).collect();
        assert_eq!(first.iter().filter(|item| **item == 1).count(), 5);
    }

    #[test]
    fn who_wants_little_waits_for_one_turn_of_the_others_at_most() {
        let mut turns = Turns::default();
        for other in 0..100 {
            (0..50).for_each(|_| turns.push(party(other), 10, 0));
        }
        for _ in 0..300 {
            turns.pop().expect("there is more");
        }
        turns.push(party(1_000), 1, 7);
        let place = all(&mut turns).iter().position(|item| *item == 7);
        assert!(place < Some(100), "{place:?}");
    }

    #[test]
    fn who_has_taken_much_is_ahead_until_the_others_have_too() {
        let mut turns = Turns::default();
        assert_eq!(turns.charge(party(1), 500), 500);
        turns.push(party(2), 100, 2);
        turns.push(party(1), 0, 1);
        assert_eq!(turns.pop(), Some((party(2), 2)));
        assert_eq!(turns.ahead(party(1)), 400);
        assert_eq!(turns.charge(party(3), 1), 1, "a newcomer starts at the clock");
        assert_eq!(turns.pop(), Some((party(1), 1)));
        assert_eq!(turns.ahead(party(1)), 0);
        turns.charge(party(1), 9);
        turns.forget();
        assert_eq!(turns.ahead(party(1)), 0, "nobody waits, so nobody is ahead");
    }

    #[test]
    fn what_is_put_back_is_next() {
        let mut turns = Turns::default();
        (10..12).for_each(|item| turns.push(party(1), 1, item));
        turns.push(party(2), 1, 20);
        let (first, item) = turns.pop().expect("there is one");
        turns.put_back(first, item);
        turns.put_back(party(3), 30);
        assert_eq!(turns.count(), 4);
        assert_eq!(all(&mut turns), [30, 10, 20, 11]);
    }

    #[test]
    fn those_without_a_turn_keep_their_place() {
        let mut turns = Turns::default();
        turns.push(party(1), 1, 10);
        turns.push(party(2), 2, 20);
        assert_eq!(turns.pop_of(|it| it != party(1)), Some((party(2), 20)));
        assert_eq!(turns.pop_of(|_| false), None);
        assert_eq!(all(&mut turns), [10]);
    }

    /// Everybody with something waiting, in a list that is searched for the earliest.
    #[derive(Default)]
    struct Model {
        clock: u64,
        times: HashMap<u64, u64>,
        waiting: Vec<(u64, u64, u32)>,
    }

    #[test]
    fn turns_are_those_of_a_list_that_is_searched() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut turns, mut model) = (Turns::default(), Model::default());
            for item in 0..500 {
                if random.u8(..5) < 3 {
                    let (number, cost) = (random.u64(..6), random.u64(1..20));
                    turns.push(party(number), cost, item);
                    let time = model.times.entry(number).or_default();
                    *time = model.clock.max(*time) + cost;
                    model.waiting.push((*time, number, item));
                    continue;
                }
                let first = (0..model.waiting.len()).min_by_key(|at| model.waiting[*at].0);
                let expected = first.map(|at| model.waiting.remove(at));
                model.clock = expected.map_or(model.clock, |(time, ..)| model.clock.max(time));
                let expected = expected.map(|(_, number, item)| (party(number), item));
                assert_eq!(turns.pop(), expected, "seed {seed}, step {item}");
            }
        }
    }
}
