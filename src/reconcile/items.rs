//! Ordered sets of items, as far as reconciling needs to know them.

use std::convert::Infallible;

use super::sum::Sum;

/// What is reconciled: ordered by time, then by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// `created_at` of the event.
    pub timestamp: u64,
    /// Its id.
    pub id: [u8; 32],
}

impl Item {
    /// Returns the lowest item of a second: a bound, most likely no event.
    pub fn at(timestamp: u64) -> Item {
        Item { timestamp, id: [0; 32] }
    }
}

/// An ordered set of items that does not change while a message is answered.
pub trait Items {
    /// Why it cannot be read.
    type Error;

    /// Returns how many items there are.
    fn count(&mut self) -> Result<usize, Self::Error>;

    /// Returns the item at `index`, which is below the count.
    fn item(&mut self, index: usize) -> Result<Item, Self::Error>;

    /// Gives the items from `begin` up to, but without, `end`, in order.
    fn visit(
        &mut self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(&[Item]),
    ) -> Result<(), Self::Error>;

    /// Returns how many items are below `bound`.
    fn lower_bound(&mut self, bound: &Item) -> Result<usize, Self::Error>;

    /// Returns the sum of the items from `begin` up to, but without, `end`.
    fn sum(&mut self, begin: usize, end: usize) -> Result<Sum, Self::Error>;
}

/// A set of items in memory.
///
/// It costs 41 bytes an item: with each run of items goes the sum of all before it, so that any
/// range is summed up in the same short time.
#[derive(Clone, Debug, Default)]
pub struct SortedItems {
    items: Box<[Item]>,
    sums: Box<[Sum]>,
}

/// Items for which one sum is kept.
const RUN: usize = 32;

impl SortedItems {
    /// Returns the set of these items, which may come in any order and more than once.
    pub fn new(mut items: Vec<Item>) -> SortedItems {
        items.sort_unstable();
        items.dedup();
        let mut sums = Vec::with_capacity(items.len() / RUN + 1);
        let mut sum = Sum::ZERO;
        for run in items.chunks(RUN) {
            sums.push(sum);
            sum += sum_of(run);
        }
        sums.push(sum);
        SortedItems { items: items.into_boxed_slice(), sums: sums.into_boxed_slice() }
    }

    /// Returns the items.
    pub fn as_slice(&self) -> &[Item] {
        &self.items
    }

    /// Returns the sum of the first `end` items.
    fn up_to(&self, end: usize) -> Sum {
        let run = end / RUN;
        self.sums[run] + sum_of(&self.items[run * RUN..end])
    }
}

fn sum_of(items: &[Item]) -> Sum {
    items.iter().fold(Sum::ZERO, |sum, item| sum + Sum::of(&item.id))
}

impl Items for SortedItems {
    type Error = Infallible;

    fn count(&mut self) -> Result<usize, Infallible> {
        Ok(self.items.len())
    }

    fn item(&mut self, index: usize) -> Result<Item, Infallible> {
        Ok(self.items[index])
    }

    fn visit(
        &mut self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(&[Item]),
    ) -> Result<(), Infallible> {
        each(&self.items[begin..end]);
        Ok(())
    }

    fn lower_bound(&mut self, bound: &Item) -> Result<usize, Infallible> {
        Ok(self.items.partition_point(|item| item < bound))
    }

    fn sum(&mut self, begin: usize, end: usize) -> Result<Sum, Infallible> {
        Ok(self.up_to(end) - self.up_to(begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_has_the_sum_of_its_items() {
        for count in [0, 1, 31, 32, 33, 64, 100] {
            let items: Vec<Item> =
                (0..count).map(|n| Item { timestamp: n, id: [n as u8; 32] }).collect();
            let mut set = SortedItems::new(items.iter().rev().copied().collect());
            assert_eq!(set.as_slice(), items);
            for begin in 0..=items.len() {
                for end in begin..=items.len() {
                    let Ok(sum) = set.sum(begin, end);
                    assert_eq!(sum, sum_of(&items[begin..end]), "{count}: {begin}..{end}");
                }
            }
        }
    }
}
