//! Random choices that are the same on every machine.
//!
//! Floats are only added, multiplied and divided, which IEEE 754 fixes to the bit.

use std::fmt::Write as _;

use fastrand::Rng;

/// Picks ranks with the weights `1 / (rank + flatness)`: Zipf's law with a flattened head.
pub(crate) struct Zipf {
    cumulative: Box<[f64]>,
}

impl Zipf {
    /// Prepares ranks `0..count`; a greater flatness gives the first ranks a smaller share.
    pub(crate) fn new(count: usize, flatness: f64) -> Self {
        assert!(count > 0, "a Zipf distribution needs a rank");
        let mut sum = 0.0;
        let cumulative = (0..count)
            .map(|rank| {
                sum += 1.0 / (rank as f64 + flatness);
                sum
            })
            .collect();
        Self { cumulative }
    }

    /// Picks a rank.
    pub(crate) fn pick(&self, rng: &mut Rng) -> usize {
        let total = self.cumulative[self.cumulative.len() - 1];
        let target = rng.f64() * total;
        self.cumulative.partition_point(|&sum| sum <= target).min(self.cumulative.len() - 1)
    }
}

/// Answers yes in `permille` of 1,000 cases.
pub(crate) fn chance(rng: &mut Rng, permille: u32) -> bool {
    rng.u32(0..1000) < permille
}

/// Picks one item of a list that is not empty.
pub(crate) fn choose<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[rng.usize(0..items.len())]
}

/// Picks one item by its weight.
pub(crate) fn choose_weighted<T: Copy>(rng: &mut Rng, items: &[(u32, T)]) -> T {
    let total = items.iter().map(|item| item.0).sum();
    let mut rest = rng.u32(0..total);
    for &(weight, item) in items {
        if rest < weight {
            return item;
        }
        rest -= weight;
    }
    items[items.len() - 1].1
}

/// Picks a length between the bounds, small ones far more often than large ones.
pub(crate) fn choose_skewed(rng: &mut Rng, least: usize, most: usize) -> usize {
    let uniform = rng.f64();
    least + ((most - least) as f64 * uniform * uniform * uniform) as usize
}

/// Draws `count` random bytes as lower-case hex.
pub(crate) fn random_hex(rng: &mut Rng, count: usize) -> String {
    let mut text = String::with_capacity(2 * count);
    for _ in 0..count {
        // Writing to a String cannot fail.
        let _ = write!(text, "{:02x}", rng.u8(..));
    }
    text
}

/// Draws `count` characters of an alphabet.
pub(crate) fn random_text(rng: &mut Rng, alphabet: &[u8], count: usize) -> String {
    (0..count).map(|_| char::from(*choose(rng, alphabet))).collect()
}

/// Derives the seed of one stream of random numbers (SplitMix64).
pub(crate) fn derive_seed(seed: u64, stream: u64, index: u64) -> u64 {
    let mut mixed = seed;
    for part in [stream, index] {
        mixed = mixed.wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}

/// The characters of bech32 data, as in npub1 and lnbc invoices.
pub(crate) const BECH32: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// The characters of base64 without its padding.
pub(crate) const BASE64: &[u8] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
