//! Sums of ids: what a fingerprint is made of.

use std::ops::{Add, AddAssign, Sub, SubAssign};

use sha2::{Digest, Sha256};

use super::message::write_varint;

/// Bytes of a fingerprint.
pub const FINGERPRINT_BYTES: usize = 16;

/// How many ids were added, and their sum as little-endian numbers modulo 2^256.
///
/// Sums are added and subtracted like numbers, so the sum of a range is the difference of two
/// sums from the beginning. It does not depend on the order of the ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    limbs: [u64; 4],
    count: u64,
}

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Sum = Sum { limbs: [0; 4], count: 0 };

    /// Returns the sum of one id.
    #[inline]
    pub fn of(id: &[u8; 32]) -> Sum {
        Sum::from_parts(id, 1)
    }

    /// Returns the sum with these bytes and this count.
    #[inline]
    pub fn from_parts(bytes: &[u8; 32], count: u64) -> Sum {
        let (chunks, _) = bytes.as_chunks::<8>();
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().zip(chunks) {
            *limb = u64::from_le_bytes(*chunk);
        }
        Sum { limbs, count }
    }

    /// Returns the bytes of the sum: those of the id itself, if the count is one.
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.limbs) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    /// Returns how many ids were added.
    #[inline]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the fingerprint of a range with this sum.
    pub fn fingerprint(&self) -> [u8; FINGERPRINT_BYTES] {
        let mut text = Vec::with_capacity(42);
        text.extend_from_slice(&self.bytes());
        write_varint(self.count, &mut text);
        let hash: [u8; 32] = Sha256::digest(&text).into();
        *hash.first_chunk().expect("a hash has 32 bytes")
    }
}

impl AddAssign for Sum {
    #[inline]
    fn add_assign(&mut self, other: Sum) {
        let mut carry = false;
        for (limb, other) in self.limbs.iter_mut().zip(other.limbs) {
            (*limb, carry) = limb.carrying_add(other, carry);
        }
        self.count = self.count.wrapping_add(other.count);
    }
}

impl SubAssign for Sum {
    #[inline]
    fn sub_assign(&mut self, other: Sum) {
        let mut borrow = false;
        for (limb, other) in self.limbs.iter_mut().zip(other.limbs) {
            (*limb, borrow) = limb.borrowing_sub(other, borrow);
        }
        self.count = self.count.wrapping_sub(other.count);
    }
}

impl Add for Sum {
    type Output = Sum;

    #[inline]
    fn add(mut self, other: Sum) -> Sum {
        self += other;
        self
    }
}

impl Sub for Sum {
    type Output = Sum;

    #[inline]
    fn sub(mut self, other: Sum) -> Sum {
        self -= other;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::Hex;

    fn check(ids: &[[u8; 32]], expected: &str) {
        let sum = ids.iter().fold(Sum::ZERO, |sum, id| sum + Sum::of(id));
        assert_eq!(Hex(&sum.fingerprint()).to_string(), expected);
        assert_eq!(sum.count(), ids.len() as u64);
    }

    #[test]
    fn nip_77_27_fingerprints_are_those_of_the_reference() {
        let mut one = [0; 32];
        one[0] = 1;
        check(&[], "7f9c9e31ac8256ca2f258583df262dbc");
        check(&[[0xee; 32]], "d5530eded759c1cb5749aacb9bc66bb2");
        check(&[[0xff; 32], one], "58cc2f44d3a27866874701fbad573da9");
    }

    #[test]
    fn what_was_added_can_be_subtracted_in_any_order() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut ids = Vec::new();
        for _ in 0..100 {
            let mut id = [0; 32];
            random.fill(&mut id);
            ids.push(id);
        }
        let sum = ids.iter().fold(Sum::ZERO, |sum, id| sum + Sum::of(id));
        random.shuffle(&mut ids);
        assert_eq!(ids.iter().fold(Sum::ZERO, |sum, id| sum + Sum::of(id)), sum);
        let rest = ids[1..].iter().fold(sum, |sum, id| sum - Sum::of(id));
        assert_eq!((rest.bytes(), rest.count()), (ids[0], 1));
        assert_eq!(Sum::from_parts(&sum.bytes(), sum.count()), sum);
    }
}
