//! How much a process has in hand and how much more it is given: as many light questions as it works on
//! at once, and as many heavy ones as it works on of these.
//!
//! The two are told apart because each would say the wrong thing of the other: that light ones are
//! answered soon says nothing of how many heavy ones are worked on at once. A process that answers one
//! after the other has one heavy question in hand, however many light ones it gets, so who sends light
//! ones waits for one heavy one at most.

use std::time::{Duration, Instant};

use super::pace::Weight;
use super::window::Window;

/// What a process has in hand.
#[derive(Debug)]
pub(super) struct Load {
    light: Share,
    heavy: Share,
    /// When it answered last, and when it answered a heavy question last.
    answered: Instant,
    heavy_answered: Instant,
}

/// What it has in hand of one weight, and may have.
#[derive(Debug)]
struct Share {
    window: Window,
    pending: usize,
}

/// How it was when a question was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) at: Instant,
    weight: Weight,
    /// How many of its weight the process had to answer then, with this one.
    pending: usize,
}

/// What an answer says of the process and the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// How long it has kept the process busy: the time from the answer before it, or from the question
    /// if that came later. With a process that answers one after the other it is how long the event took
    /// by itself; with one that works on many at once it is a part of that.
    pub(super) cost: Duration,
    /// How long it took; if it is light, without the heavy ones that were in front of it.
    pub(super) took: Duration,
}

impl Load {
    /// Returns that of a process that was started `now`.
    pub(super) fn new(now: Instant) -> Load {
        let share = || Share { window: Window::new(now), pending: 0 };
        Load { light: share(), heavy: share(), answered: now, heavy_answered: now }
    }

    /// Returns whether it is given a question more of such a weight; it may have so many of each weight
    /// whatever it has shown, and so many in all.
    pub(super) fn has_room(&self, weight: Weight, least: usize, most: usize) -> bool {
        let share = match weight {
            Weight::Light => &self.light,
            Weight::Heavy => &self.heavy,
        };
        let pending = self.light.pending + self.heavy.pending;
        share.pending < share.window.size().max(least) && pending < most
    }

    /// Returns what tells who has less to do.
    pub(super) fn rank(&self) -> (usize, usize) {
        (self.heavy.pending, self.light.pending)
    }

    /// Notes that it is asked a question.
    pub(super) fn ask(&mut self, weight: Weight, now: Instant) -> Mark {
        let share = self.share(weight);
        share.pending += 1;
        Mark { at: now, weight, pending: share.pending }
    }

    /// Notes that it answers one.
    pub(super) fn answer(&mut self, mark: Mark, now: Instant) -> Finding {
        self.share(mark.weight).pending -= 1;
        let since = match mark.weight {
            Weight::Light => self.heavy_answered.max(mark.at),
            Weight::Heavy => {
                self.heavy_answered = now;
                mark.at
            }
        };
        let before = std::mem::replace(&mut self.answered, now);
        Finding { cost: now.duration_since(before.max(mark.at)), took: now.duration_since(since) }
    }

    /// Learns from an answer to a question whose party is taken for `weight` by it: one that was taken
    /// for something else says nothing of either.
    pub(super) fn learn(&mut self, mark: Mark, took: Duration, weight: Weight, now: Instant) {
        if mark.weight == weight {
            self.share(weight).window.note(now - took, now, mark.pending);
        }
    }

    fn share(&mut self, weight: Weight) -> &mut Share {
        match weight {
            Weight::Light => &mut self.light,
            Weight::Heavy => &mut self.heavy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pace::Paces;
    use super::*;
    use crate::policy::Party;

    const FLOOD: Party = Party::Address(1);

    /// A process that works on so many questions at once, with a party that always has heavy ones, and
    /// others of which nobody knows, one light one every 10 milliseconds.
    struct Model {
        now: Instant,
        free: Vec<Instant>,
        load: Load,
        paces: Paces,
        /// Of each question when it will be answered, and of whom it is.
        asked: Vec<(Instant, Party, Mark)>,
        /// How long the slowest light question took of late, how many waited for more than a heavy one,
        /// and how many of these were in hand.
        slowest: Duration,
        late: u64,
        heavy_max: usize,
        /// How many others there were.
        others: u64,
    }

    impl Model {
        fn new(at_once: usize) -> Model {
            let now = Instant::now();
            Model {
                now,
                free: vec![now; at_once],
                load: Load::new(now),
                paces: Paces::new(),
                asked: Vec::new(),
                slowest: Duration::ZERO,
                late: 0,
                heavy_max: 0,
                others: 0,
            }
        }

        fn ask(&mut self, party: Party) -> bool {
            let weight = self.paces.weight(party);
            if !self.load.has_room(weight, 0, 1_000) {
                return false;
            }
            let each = Duration::from_micros(if party == FLOOD { 50_000 } else { 200 });
            let place = (0..self.free.len()).min_by_key(|it| self.free[*it]).expect("one");
            self.free[place] = self.free[place].max(self.now) + each;
            self.asked.push((self.free[place], party, self.load.ask(weight, self.now)));
            true
        }

        fn answer(&mut self, at: usize) {
            let (end, party, mark) = self.asked.swap_remove(at);
            self.now = self.now.max(end);
            let took = self.load.answer(mark, self.now).took;
            let weight = self.paces.note(party, took);
            self.load.learn(mark, took, weight, self.now);
            if party != FLOOD {
                let took = self.now.duration_since(mark.at);
                self.slowest = self.slowest.max(took);
                self.late += u64::from(took > Duration::from_millis(60));
            }
        }

        fn run(&mut self, secs: u64) {
            (self.slowest, self.heavy_max) = (Duration::ZERO, 0);
            let (end, mut waiting) = (self.now + Duration::from_secs(secs), 0);
            let mut next_good = self.now;
            while self.now < end {
                while next_good <= self.now {
                    (waiting, next_good) = (waiting + 1, next_good + Duration::from_millis(10));
                }
                while waiting > 0 && self.ask(Party::Address(2 + self.others)) {
                    (waiting, self.others) = (waiting - 1, self.others + 1);
                }
                while self.ask(FLOOD) {}
                let heavy = self.asked.iter().filter(|it| it.1 == FLOOD).count();
                self.heavy_max = self.heavy_max.max(heavy);
                let first = (0..self.asked.len()).min_by_key(|at| self.asked[*at].0);
                match first.filter(|at| self.asked[*at].0 <= next_good) {
                    Some(first) => self.answer(first),
                    None => self.now = next_good,
                }
            }
        }
    }

    #[test]
    fn who_answers_one_after_the_other_has_one_heavy_question_and_light_ones_wait_for_no_more() {
        let mut model = Model::new(1);
        model.run(3);
        model.late = 0;
        let before = model.others;
        model.run(60);
        // A second one is tried now and then.
        assert!(model.heavy_max <= 2, "{}", model.heavy_max);
        assert!(model.slowest < Duration::from_millis(110), "{:?}", model.slowest);
        let others = model.others - before;
        assert!(model.late * 10 < others, "{} of {others}", model.late);
    }

    #[test]
    fn who_works_on_many_at_once_gets_many_heavy_questions() {
        let mut model = Model::new(100);
        model.run(5);
        assert!(model.heavy_max >= 50, "{}", model.heavy_max);
    }

    #[test]
    fn there_is_room_for_the_least_whatever_was_shown_and_never_for_more_than_the_most() {
        let now = Instant::now();
        let mut load = Load::new(now);
        let marks: Vec<Mark> = (0..2).map(|_| load.ask(Weight::Heavy, now)).collect();
        assert_eq!(load.rank(), (2, 0));
        assert!(!load.has_room(Weight::Heavy, 0, 9) && load.has_room(Weight::Heavy, 3, 9));
        assert!(!load.has_room(Weight::Heavy, 3, 2) && !load.has_room(Weight::Light, 3, 2));
        assert!(load.has_room(Weight::Light, 0, 3));
        let light = load.ask(Weight::Light, now);
        let (millis, none) = (Duration::from_millis, Duration::ZERO);
        let (later, last) = (now + millis(7), now + millis(8));
        assert_eq!(load.answer(marks[0], later), Finding { cost: millis(7), took: millis(7) });
        // They were one piece of work.
        assert_eq!(load.answer(marks[1], later), Finding { cost: none, took: millis(7) });
        // What was in front of a light one is none of its own.
        assert_eq!(load.answer(light, last), Finding { cost: millis(1), took: millis(1) });
        assert_eq!(load.rank(), (0, 0));
    }
}
