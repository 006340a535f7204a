//! Sums of many multiples of points, by buckets (Pippenger), from the library's own sum of points.
//!
//! Factors are written in digits to a base of 2^width. In each window, the place of one digit, the
//! points of equal digits are added first: so each costs one addition, and the doublings are shared
//! by all. A call of the library costs an inversion beside its additions, which is about ten of
//! them; so the width must fit the number of points.

use secp256k1::PublicKey;

/// A point, or nothing for the neutral element, which the library has no form for.
pub(super) type Point = Option<PublicKey>;

/// Collects multiples of points.
#[derive(Default)]
pub(super) struct Sum {
    points: Vec<PublicKey>,
    windows: Vec<Vec<Term>>,
    width: u32,
}

/// A point and its opposite, by their numbers.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    point: u32,
    opposite: u32,
}

impl Pair {
    /// Returns the pair of the opposite.
    pub(super) fn opposite(self) -> Pair {
        Pair { point: self.opposite, opposite: self.point }
    }
}

/// A point in a bucket.
#[derive(Clone, Copy)]
struct Term {
    bucket: u32,
    point: u32,
}

impl Sum {
    /// Begins anew with digits of `width` bits, of 2 to 16; keeps the memory.
    pub(super) fn begin(&mut self, width: u32) {
        self.points.clear();
        self.windows.iter_mut().for_each(Vec::clear);
        self.width = width;
    }

    /// Returns the largest digit.
    pub(super) fn digit_max(&self) -> u32 {
        1 << (self.width - 1)
    }

    /// Takes in a point, of which multiples will be added.
    pub(super) fn point(&mut self, point: PublicKey) -> Pair {
        let number = self.points.len() as u32;
        self.points.extend([point, point.negate()]);
        Pair { point: number, opposite: number + 1 }
    }

    /// Adds `digit * 2^(width * window)` times the point of a pair.
    ///
    /// # Panics
    ///
    /// If the digit is not one of 1 to [`Sum::digit_max`].
    pub(super) fn add_digit(&mut self, window: usize, digit: u32, of: Pair) {
        assert!(digit.wrapping_sub(1) < self.digit_max(), "there is a bucket for each digit");
        if self.windows.len() <= window {
            self.windows.resize_with(window + 1, Vec::new);
        }
        self.windows[window].push(Term { bucket: digit - 1, point: of.point });
    }

    /// Adds `factor` times the point of a pair.
    pub(super) fn add_multiple(&mut self, mut factor: u128, of: Pair) {
        let base = 1_u32 << self.width;
        let mut window = 0;
        while factor != 0 {
            let digit = factor as u32 & (base - 1);
            factor >>= self.width;
            if digit > self.digit_max() {
                self.add_digit(window, base - digit, of.opposite());
                factor += 1;
            } else if digit != 0 {
                self.add_digit(window, digit, of);
            }
            window += 1;
        }
    }

    /// Returns the sum.
    pub(super) fn total(&self) -> Point {
        let mut buckets = Buckets::new(self.digit_max() as usize);
        let mut total = None;
        for window in self.windows.iter().rev() {
            buckets.fill(window, &self.points);
            for bit in (0..self.width).rev() {
                let of_bit = buckets.of_bit(bit);
                let parts = [&total, &total, &of_bit].into_iter().flatten();
                total = combine(&parts.collect::<Vec<_>>());
            }
        }
        total
    }
}

/// The points of one window by their digits, and their sums.
struct Buckets<'p> {
    ends: Vec<u32>,
    sorted: Vec<&'p PublicKey>,
    sums: Vec<Point>,
}

impl<'p> Buckets<'p> {
    fn new(count: usize) -> Self {
        Buckets { ends: vec![0; count], sorted: Vec::new(), sums: vec![None; count] }
    }

    fn fill(&mut self, terms: &[Term], points: &'p [PublicKey]) {
        let Some(any) = points.first() else { return };
        self.ends.fill(0);
        for term in terms {
            self.ends[term.bucket as usize] += 1;
        }
        let mut start = 0;
        for end in &mut self.ends {
            (*end, start) = (start, start + *end);
        }
        self.sorted.clear();
        self.sorted.resize(terms.len(), any);
        for term in terms {
            // What is the start of a bucket becomes its end.
            let place = &mut self.ends[term.bucket as usize];
            self.sorted[*place as usize] = &points[term.point as usize];
            *place += 1;
        }
        let mut start = 0;
        for (sum, end) in self.sums.iter_mut().zip(&self.ends) {
            *sum = combine(&self.sorted[start..*end as usize]);
            start = *end as usize;
        }
    }

    /// The sum of the buckets whose digit has a bit.
    fn of_bit(&self, bit: u32) -> Point {
        let with_bit = (1_u32..).zip(&self.sums).filter(|(digit, _)| digit >> bit & 1 == 1);
        combine(&with_bit.filter_map(|(_, sum)| sum.as_ref()).collect::<Vec<_>>())
    }
}

/// The library tells of one failure only: that the sum is the neutral element.
fn combine(points: &[&PublicKey]) -> Point {
    match points {
        [] => None,
        [only] => Some(**only),
        many => PublicKey::combine_keys(many).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::verify::digest;
    use secp256k1::{Scalar, SecretKey};

    fn point(number: u64) -> PublicKey {
        let secret = SecretKey::from_secret_bytes(digest(&number.to_be_bytes()));
        PublicKey::from_secret_key(&secret.expect("a secret key"))
    }

    fn times(point: PublicKey, factor: u128) -> Point {
        let mut bytes = [0; 32];
        bytes[16..].copy_from_slice(&factor.to_be_bytes());
        point.mul_tweak(&Scalar::from_be_bytes(bytes).expect("it is short")).ok()
    }

    /// Adds one by one.
    fn dumb(terms: &[(u128, PublicKey)]) -> Point {
        terms.iter().fold(None, |total, (factor, point)| match (total, times(*point, *factor)) {
            (Some(a), Some(b)) => a.combine(&b).ok(),
            (a, b) => a.or(b),
        })
    }

    fn clever(width: u32, terms: &[(u128, PublicKey)]) -> Point {
        let mut sum = Sum::default();
        sum.begin(width);
        for (factor, point) in terms {
            let pair = sum.point(*point);
            sum.add_multiple(*factor, pair);
        }
        sum.total()
    }

    #[test]
    fn sums_are_those_of_adding_one_by_one() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for width in 2..=9 {
            for count in [0, 1, 2, 30] {
                let mut terms: Vec<_> = (0..count)
                    .map(|number| (random.u128(..) >> random.u32(..128), point(number / 2)))
                    .collect();
                terms.extend([0, 1, u128::MAX, 1 << 127].map(|factor| (factor, point(99))));
                assert_eq!(clever(width, &terms), dumb(&terms), "seed {seed}, width {width}");
            }
        }
    }

    #[test]
    fn what_cancels_out_is_the_neutral_element_and_no_failure() {
        let (a, b) = (point(1), point(2));
        for width in 2..=9 {
            assert_eq!(clever(width, &[]), None);
            assert_eq!(clever(width, &[(0, a)]), None);
            for factor in [1, 77, u128::MAX] {
                assert_eq!(clever(width, &[(factor, a), (factor, a.negate())]), None);
                let rest = [(factor, a), (5, b), (factor, a.negate()), (5, b)];
                assert_eq!(clever(width, &rest), times(b, 10));
            }
        }
    }
}
