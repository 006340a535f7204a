//! Whose turn it is: questions that wait are taken from each connection in turn, so that one that
//! sends many delays its own. The order of one connection's stays as it is.

use std::collections::{HashMap, VecDeque};

/// Something that belongs to a connection.
pub(super) trait Queued {
    /// Returns which one.
    fn line(&self) -> (u32, u64);
}

/// What waits, by connection.
#[derive(Debug)]
pub(super) struct Turns<T> {
    lines: HashMap<(u32, u64), VecDeque<T>>,
    /// Connections that have something waiting, each once; the next first.
    order: VecDeque<(u32, u64)>,
    count: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns { lines: HashMap::new(), order: VecDeque::new(), count: 0 }
    }
}

impl<T: Queued> Turns<T> {
    /// Returns how much waits.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Puts something behind all others of its connection.
    pub(super) fn push(&mut self, item: T) {
        let key = item.line();
        let line = self.lines.entry(key).or_default();
        if line.is_empty() {
            self.order.push_back(key);
        }
        line.push_back(item);
        self.count += 1;
    }

    /// Puts something back that is to be taken next.
    pub(super) fn put_back(&mut self, item: T) {
        let key = item.line();
        let line = self.lines.entry(key).or_default();
        if line.is_empty() {
            self.order.push_front(key);
        }
        line.push_front(item);
        self.count += 1;
    }

    /// Takes what is next.
    pub(super) fn pop(&mut self) -> Option<T> {
        let key = self.order.pop_front()?;
        let line = self.lines.get_mut(&key)?;
        let item = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&key);
        } else {
            self.order.push_back(key);
        }
        self.count -= usize::from(item.is_some());
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Item(u64, u32);

    impl Queued for Item {
        fn line(&self) -> (u32, u64) {
            (0, self.0)
        }
    }

    fn taken(turns: &mut Turns<Item>) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| turns.pop().map(|Item(line, number)| (line, number))).collect()
    }

    #[test]
    fn connections_take_turns_and_keep_their_order() {
        let mut turns = Turns::default();
        (0..4).for_each(|number| turns.push(Item(1, number)));
        (0..2).for_each(|number| turns.push(Item(2, number)));
        turns.push(Item(3, 0));
        assert_eq!(turns.count(), 7);
        let expected = [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2), (1, 3)];
        assert_eq!(taken(&mut turns), expected);
        assert_eq!((turns.count(), turns.lines.len()), (0, 0));
    }

    #[test]
    fn what_is_put_back_is_next() {
        let mut turns = Turns::default();
        (0..2).for_each(|number| turns.push(Item(1, number)));
        turns.push(Item(2, 0));
        let first = turns.pop().expect("there is one");
        turns.put_back(first);
        turns.put_back(Item(3, 0));
        assert_eq!(turns.count(), 4);
        let all = taken(&mut turns);
        assert_eq!(all[0], (3, 0));
        let place = |item| all.iter().position(|it| *it == item);
        assert!(place((1, 0)) < place((1, 1)));
    }
}
