//! Who is next where all that is asked for is done by one thread: those first who have taken less than
//! their share.
//!
//! Each party has a time of its own that runs on by what it takes, and the common clock shows the mean of
//! all times: an equal share. Who takes more than others runs ahead of the clock and comes after them; who
//! takes less falls behind it, by a bounded credit. While nobody waits there is enough for all, and nobody
//! gets ahead.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::turns::Party;

/// What waits, by parties, and what each of them has taken.
#[derive(Debug)]
pub struct Line<T> {
    members: HashMap<Party, Member<T>>,
    /// The times of all of them, added up.
    times: u64,
    /// The first of each party that has something waiting.
    heads: BTreeMap<Place, Party>,
    /// Keeps the order of those of one time.
    serial: u64,
    count: usize,
}

/// A time, and what tells apart those of one time.
type Place = (u64, u64);

#[derive(Debug)]
struct Member<T> {
    time: u64,
    /// It has taken something since those were last forgotten who had not.
    is_recent: bool,
    waiting: VecDeque<T>,
}

/// Whether somebody has to wait for what is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contention {
    /// There is enough for all.
    None,
    /// Others come later for it.
    Some,
}

impl<T> Default for Line<T> {
    fn default() -> Line<T> {
        Line { members: HashMap::new(), times: 0, heads: BTreeMap::new(), serial: 0, count: 0 }
    }
}

impl<T> Line<T> {
    /// Returns how much waits.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Lets a party begin, behind those who have taken their share and no more.
    pub fn begin(&mut self, party: Party) {
        let first = self.clock() + BEGINNING_STEPS;
        self.set_time(party, |time| time.max(first));
    }

    /// Notes that a party has taken so many steps.
    pub fn charge(&mut self, party: Party, steps: u64, contention: Contention) {
        let clock = self.clock();
        let most = match contention {
            Contention::None => clock,
            Contention::Some => clock + LEAD_STEPS_MAX,
        };
        self.set_time(party, |time| {
            let before = time.max(clock.saturating_sub(CREDIT_STEPS));
            before.saturating_add(steps).min(most)
        });
    }

    /// Returns whether somebody waits before whom a party has already had a turn.
    pub fn is_ahead(&self, party: Party) -> bool {
        let Some(((least, _), _)) = self.heads.first_key_value() else { return false };
        self.members.get(&party).is_some_and(|it| it.time > least + TURN_STEPS)
    }

    /// Returns whether a party has taken clearly less than its share.
    pub fn is_modest(&self, party: Party) -> bool {
        self.members.get(&party).is_some_and(|it| it.time + CREDIT_STEPS / 2 <= self.clock())
    }

    /// Puts something behind all else of its party.
    pub fn push(&mut self, party: Party, item: T) {
        let member = self.member(party);
        member.waiting.push_back(item);
        let is_head = member.waiting.len() == 1;
        self.count += 1;
        if is_head {
            self.insert_head(party);
        }
    }

    /// Takes what is next: the first of who has taken least.
    pub fn pop(&mut self) -> Option<T> {
        loop {
            let ((time, _), party) = self.heads.pop_first()?;
            let Some(member) = self.members.get_mut(&party) else { continue };
            if time < member.time {
                // It has taken something since it stood there.
                self.insert_head(party);
                continue;
            }
            let item = member.waiting.pop_front();
            if !member.waiting.is_empty() {
                self.insert_head(party);
            }
            self.count -= 1;
            return item;
        }
    }

    /// Forgets those who have taken nothing since the last time and wait for nothing; while nobody
    /// waits, also who is ahead.
    pub fn forget(&mut self) {
        let most = if self.count == 0 { self.clock() } else { u64::MAX };
        self.retain(|it| {
            let is_recent = std::mem::take(&mut it.is_recent) && it.time <= most;
            is_recent || !it.waiting.is_empty()
        });
    }

    /// Returns the mean time of all.
    fn clock(&self) -> u64 {
        self.times.checked_div(self.members.len() as u64).unwrap_or(FIRST_TIME)
    }

    fn set_time(&mut self, party: Party, change: impl FnOnce(u64) -> u64) {
        let member = self.member(party);
        let before = member.time;
        member.time = change(before);
        member.is_recent = true;
        let after = member.time;
        self.times = self.times - before + after;
    }

    fn insert_head(&mut self, party: Party) {
        self.serial += 1;
        let serial = self.serial;
        let time = self.member(party).time;
        self.heads.insert((time, serial), party);
    }

    /// Returns a party, which has taken its share and no more if it was not known.
    fn member(&mut self, party: Party) -> &mut Member<T> {
        if self.members.len() >= PARTIES_MAX && !self.members.contains_key(&party) {
            self.retain(|it| !it.waiting.is_empty());
        }
        let time = self.clock();
        self.members.entry(party).or_insert_with(|| {
            self.times += time;
            Member { time, is_recent: false, waiting: VecDeque::new() }
        })
    }

    fn retain(&mut self, mut keep: impl FnMut(&mut Member<T>) -> bool) {
        self.members.retain(|_, it| keep(it));
        self.times = self.members.values().map(|it| it.time).sum();
    }
}

/// What one takes in a turn: about as long as everybody else may wait for it.
const TURN_STEPS: u64 = 40_000;
/// How far one may fall behind the clock.
const CREDIT_STEPS: u64 = TURN_STEPS;
/// How far ahead one begins. It is more than a turn: where somebody waits, those who have just come wait
/// too.
const BEGINNING_STEPS: u64 = 2 * TURN_STEPS;
/// How far ahead one may get: so long ago it counts no more what somebody has taken.
const LEAD_STEPS_MAX: u64 = 100 * TURN_STEPS;
/// What the clock shows before anybody was met.
const FIRST_TIME: u64 = CREDIT_STEPS;
/// Parties that are known before those are forgotten that have nothing waiting.
const PARTIES_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn party(number: u64) -> Party {
        Party::Address(number)
    }

    fn all(line: &mut Line<u32>) -> Vec<u32> {
        std::iter::from_fn(|| line.pop()).collect()
    }

    #[test]
    fn who_takes_less_than_the_others_is_modest_and_they_are_not() {
        let mut line = Line::<u32>::default();
        assert!(!line.is_modest(party(1_000)), "nobody knows it");
        (0..100).for_each(|number| line.charge(party(number), 1, Contention::Some));
        for _ in 0..200 {
            (0..100).for_each(|number| line.charge(party(number), 6_000, Contention::Some));
            line.charge(party(1_000), 3_000, Contention::Some);
        }
        assert!(line.is_modest(party(1_000)));
        assert!((0..100).all(|number| !line.is_modest(party(number))));
        line.charge(party(1_000), CREDIT_STEPS, Contention::Some);
        assert!(!line.is_modest(party(1_000)), "no more credit is saved up than one");
    }

    #[test]
    fn who_has_taken_most_comes_last_with_all_that_it_has_waiting() {
        let mut line = Line::default();
        (10..13).for_each(|item| line.push(party(1), item));
        (20..22).for_each(|item| line.push(party(2), item));
        line.push(party(3), 30);
        assert_eq!(line.count(), 6);
        line.charge(party(1), 500, Contention::Some);
        line.charge(party(2), 300, Contention::Some);
        assert_eq!(line.pop(), Some(30));
        assert_eq!(line.pop(), Some(20));
        line.charge(party(2), 300, Contention::Some);
        assert_eq!(all(&mut line), [10, 11, 12, 21]);
        assert_eq!((line.count(), line.pop()), (0, None));
    }

    #[test]
    fn nobody_gets_ahead_while_there_is_enough_and_who_begins_comes_after_those_who_are_there() {
        let mut line = Line::default();
        (0..50).for_each(|number| line.charge(party(number), 1, Contention::None));
        line.charge(party(1), 10_000_000, Contention::None);
        line.begin(party(2));
        assert!(!line.is_ahead(party(1)) && !line.is_ahead(party(2)), "nobody waits");
        line.push(party(1), 1);
        assert!(line.is_ahead(party(2)) && !line.is_ahead(party(3)), "it has just come");
        line.push(party(2), 2);
        assert_eq!(all(&mut line), [1, 2]);
        line.charge(party(1), 10_000_000, Contention::Some);
        line.push(party(2), 2);
        assert!(line.is_ahead(party(1)));
        line.push(party(1), 1);
        assert_eq!(all(&mut line), [2, 1]);
        assert!(!line.is_ahead(party(1)), "nobody waits any more");
    }

    #[test]
    fn those_who_take_nothing_have_no_share_after_a_while() {
        let mut line = Line::<u32>::default();
        (0..1_000).for_each(|number| line.charge(party(number), 1, Contention::None));
        line.push(party(7), 7);
        line.forget();
        line.charge(party(1_000), 1, Contention::None);
        line.forget();
        assert_eq!(line.members.len(), 2, "who waits, and who has just taken something");
        line.forget();
        assert_eq!((line.members.len(), line.pop()), (1, Some(7)));
    }

    #[test]
    fn it_knows_so_many_and_no_more_and_loses_nothing_that_waits() {
        let mut line = Line::default();
        line.push(party(1), 1);
        for number in 0..2 * PARTIES_MAX as u64 {
            line.charge(party(number), 1_000_000, Contention::Some);
        }
        assert!(line.members.len() <= PARTIES_MAX);
        assert_eq!(all(&mut line), [1]);
    }

    /// All that waits, in a list that is searched for who has taken least.
    #[derive(Default)]
    struct Model {
        times: Vec<u64>,
        waiting: Vec<(usize, u32)>,
    }

    impl Model {
        fn charge(&mut self, number: usize, steps: u64) {
            let least = self.times.iter().sum::<u64>() / self.times.len() as u64;
            let before = self.times[number].max(least.saturating_sub(CREDIT_STEPS));
            self.times[number] = before + steps;
        }

        /// Takes the first of a party.
        fn take(&mut self, number: usize) -> Option<u32> {
            let at = self.waiting.iter().position(|(it, _)| *it == number)?;
            Some(self.waiting.remove(at).1)
        }
    }

    #[test]
    fn turns_are_those_of_a_list_that_is_searched() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut line, mut model) = (Line::default(), Model::default());
            for number in 0..6 {
                line.begin(party(number));
                model.times.push(line.members[&party(number)].time);
            }
            for item in 0..500 {
                let number = random.usize(..6);
                match random.u8(..5) {
                    0 | 1 => {
                        line.push(party(number as u64), item);
                        model.waiting.push((number, item));
                    }
                    2 | 3 => {
                        let steps = random.u64(1..30_000);
                        line.charge(party(number as u64), steps, Contention::Some);
                        model.charge(number, steps);
                    }
                    _ => {
                        let least = model.waiting.iter().map(|it| model.times[it.0]).min();
                        let firsts: Vec<usize> =
                            (0..6).filter(|it| Some(model.times[*it]) == least).collect();
                        let expected = match firsts[..] {
                            // Of those of one time, which hardly happens, either may be next.
                            [_, _, ..] => break,
                            [first] => model.take(first),
                            [] => None,
                        };
                        assert_eq!(line.pop(), expected, "seed {seed}, step {item}");
                    }
                }
            }
        }
    }
}
