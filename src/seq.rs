//! The commit order: every stored event has a sequence number, given by the writer.

use std::fmt;

/// A position in commit order; the first event of a store has number 1.
///
/// On disk it takes five bytes, big-endian, so that plain byte order is commit order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The position before the first event; no event has it.
    pub const ZERO: Seq = Seq(0);

    /// The largest position that fits in five bytes.
    pub const MAX: Seq = Seq((1 << 40) - 1);

    /// Returns the position that follows.
    #[must_use]
    pub fn next(self) -> Seq {
        assert!(self < Seq::MAX, "a store holds fewer than 2^40 commits");
        Seq(self.0 + 1)
    }

    /// Returns the five bytes that are stored, big-endian.
    pub fn to_be5(self) -> [u8; 5] {
        assert!(self <= Seq::MAX, "a position fits in five bytes");
        let [_, _, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    /// Returns the position that five stored bytes mean.
    pub fn from_be5(bytes: [u8; 5]) -> Seq {
        let [a, b, c, d, e] = bytes;
        Seq(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_bytes_keep_the_position_and_its_order() {
        let positions = [0, 1, 255, 256, 65_535, 1 << 32, (1 << 40) - 1];
        for pair in positions.windows(2) {
            assert!(Seq(pair[0]).to_be5() < Seq(pair[1]).to_be5());
        }
        for position in positions {
            assert_eq!(Seq::from_be5(Seq(position).to_be5()), Seq(position));
        }
    }

    #[test]
    fn the_first_position_follows_zero() {
        assert_eq!(Seq::ZERO.next(), Seq(1));
    }

    #[test]
    #[should_panic(expected = "fits in five bytes")]
    fn a_position_beyond_five_bytes_is_our_own_mistake() {
        Seq(1 << 40).to_be5();
    }
}
