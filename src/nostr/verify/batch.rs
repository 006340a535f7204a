//! Many signatures by one equation (BIP-340, "Batch Verification").
//!
//! A signature (r, s) of an author P under a challenge e is right if `s G = R + e P`, where R and P
//! are the points with even y of their coordinates. If each equation is taken times a factor that
//! whoever signed could not foresee, their sum holds by chance in one of 2^128 cases unless each of
//! them holds. What is saved is the doublings, which the whole sum shares, and the authors, each of
//! whom is multiplied once.
//!
//! The factors are drawn in the form that is cheap to multiply by: in each window a digit that is
//! not zero, times one, lambda or its square (see [`integer`]). No two forms are one factor: digits
//! to 2^width that come in three directions differ modulo 2^width, so the pair of numbers in `one +
//! lambda * other` is told by them, and both are far shorter than the shortest pair that makes a
//! multiple of the order, which has 127 bits.
//!
//! A batch tells only that all are right. Which one is wrong, and whatever is unusual about a
//! signature, is found by checking it alone.

use std::collections::HashMap;

use secp256k1::{PublicKey, Scalar, SecretKey};
use sha2::{Digest, Sha256};

use super::Signed;
use super::integer::{self, Half, LAMBDA};
use super::sum::Sum;

/// Signatures that are checked together.
pub(super) struct Batch {
    sum: Sum,
    shape: Shape,
    draws: Draws,
    lambda: Scalar,
    /// What each challenge is hashed behind.
    tagged: Sha256,
    /// The sum of all s.
    signed: Residue,
    /// How often each author is in the sum.
    authors: HashMap<[u8; 32], (PublicKey, Residue)>,
}

/// Something about a signature that a batch cannot hold. Most such signatures are wrong.
#[derive(Debug)]
pub(super) struct Unusual;

impl Batch {
    /// Returns an empty batch for so many signatures, in the memory of a sum.
    pub(super) fn new(count: usize, seed: [u8; 16], sum: Sum) -> Batch {
        let fitting = SHAPES.iter().find(|(most, _)| count <= *most);
        Batch::shaped(fitting.map_or(WIDEST, |(_, shape)| *shape), seed, sum)
    }

    pub(super) fn shaped(shape: Shape, seed: [u8; 16], mut sum: Sum) -> Batch {
        sum.begin(shape.width);
        let tag: [u8; 32] = Sha256::digest(b"BIP0340/challenge").into();
        Batch {
            sum,
            shape,
            draws: Draws::new(seed),
            lambda: Scalar::from_be_bytes(LAMBDA).expect("lambda is below the order"),
            tagged: Sha256::new().chain_update(tag).chain_update(tag),
            signed: Residue::ZERO,
            authors: HashMap::new(),
        }
    }

    /// Adds a signature; the author's point is given.
    pub(super) fn add(&mut self, signed: &Signed, author: &PublicKey) -> Result<(), Unusual> {
        let (r, s) = signed.sig.0.split_first_chunk::<32>().ok_or(Unusual)?;
        let s = s.first_chunk().ok_or(Unusual)?;
        let s = Scalar::from_be_bytes(*s).map_err(|_| Unusual)?;
        let nonce = with_even_y(r).ok_or(Unusual)?;
        let hash = self.tagged.clone().chain_update(r).chain_update(signed.pubkey.0);
        let challenge = hash.chain_update(signed.id.0).finalize();
        let challenge = Scalar::from_be_bytes(challenge.into()).map_err(|_| Unusual)?;
        let factor = self.add_nonce(nonce)?;
        self.signed = self.signed.plus(factor.times(&s));
        let (_, often) = self.authors.entry(signed.pubkey.0).or_insert((*author, Residue::ZERO));
        *often = often.plus(factor.times(&challenge));
        Ok(())
    }

    /// Draws a factor and adds so many times the point to the sum; returns the factor.
    fn add_nonce(&mut self, nonce: PublicKey) -> Result<Residue, Unusual> {
        let [turned, turned_twice] = turned(&nonce)?;
        let turns = [nonce, turned, turned_twice].map(|point| self.sum.point(point));
        let digit_max = self.sum.digit_max();
        let (mut one, mut lambda) = (0_i128, 0_i128);
        for window in 0..self.shape.digits {
            let draw = self.draws.below(self.shape.choices());
            let (turn, draw) = ((draw % 3) as usize, draw / 3);
            // From 1 to the largest, and from -1 to the smallest but one.
            let is_positive = draw < digit_max;
            let digit = if is_positive { draw + 1 } else { draw - digit_max + 1 };
            let pair = turns[turn];
            let (pair, sign) = if is_positive { (pair, 1) } else { (pair.opposite(), -1) };
            self.sum.add_digit(window, digit, pair);
            let part = sign * (i128::from(digit) << (self.shape.width as usize * window));
            match turn {
                0 => one += part,
                1 => lambda += part,
                // The square of lambda is -1 - lambda.
                _ => (one, lambda) = (one - part, lambda - part),
            }
        }
        Ok(Residue::of(one).plus(Residue::of(lambda).times(&self.lambda)))
    }

    /// Tells whether all signatures are right; never if one is not.
    pub(super) fn holds(&mut self) -> bool {
        for (author, often) in std::mem::take(&mut self.authors).into_values() {
            if self.add_author(author, often).is_err() {
                return false;
            }
        }
        let signed = self.signed.0.map(|number| PublicKey::from_secret_key(&number));
        self.sum.total() == signed
    }

    /// Gives the sum back for its memory.
    pub(super) fn into_sum(self) -> Sum {
        self.sum
    }

    fn add_author(&mut self, author: PublicKey, often: Residue) -> Result<(), Unusual> {
        let Some(often) = often.0 else { return Ok(()) };
        let [one, lambda] = integer::split(&often.to_secret_bytes()).ok_or(Unusual)?;
        let [turned, _] = turned(&author)?;
        for (Half { is_negative, size }, point) in [(one, author), (lambda, turned)] {
            let pair = self.sum.point(point);
            self.sum.add_multiple(size, if is_negative { pair.opposite() } else { pair });
        }
        Ok(())
    }
}

/// Returns the point with even y of a coordinate, if there is one.
pub(super) fn with_even_y(x: &[u8; 32]) -> Option<PublicKey> {
    let mut bytes = [2; 33];
    bytes[1..].copy_from_slice(x);
    PublicKey::from_byte_array_compressed(bytes).ok()
}

/// Returns a point times lambda, and times its square.
fn turned(point: &PublicKey) -> Result<[PublicKey; 2], Unusual> {
    let bytes = point.serialize_uncompressed();
    let x = bytes[1..].first_chunk().ok_or(Unusual)?;
    let [once, twice] = integer::other_coordinates(x).map(|x| {
        let mut turned = bytes;
        turned[1..33].copy_from_slice(&x);
        // The library sees to it that the point is on the curve.
        PublicKey::from_byte_array_uncompressed(turned).map_err(|_| Unusual)
    });
    Ok([once?, twice?])
}

/// A number modulo the order; nothing for zero, which the library has no form for.
#[derive(Clone, Copy)]
struct Residue(Option<SecretKey>);

impl Residue {
    const ZERO: Residue = Residue(None);

    fn of(number: i128) -> Residue {
        let mut bytes = [0; 32];
        bytes[16..].copy_from_slice(&number.unsigned_abs().to_be_bytes());
        let size = SecretKey::from_secret_bytes(bytes).ok();
        Residue(if number < 0 { size.map(SecretKey::negate) } else { size })
    }

    /// The library fails at a sum of zero only.
    fn plus(self, other: Residue) -> Residue {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Residue(a.add_tweak(&Scalar::from(b)).ok()),
            (a, b) => Residue(a.or(b)),
        }
    }

    /// The library fails at a factor of zero only.
    fn times(self, factor: &Scalar) -> Residue {
        Residue(self.0.and_then(|number| number.mul_tweak(factor).ok()))
    }
}

/// Numbers that are as hard to foresee as their seed.
struct Draws {
    seed: [u8; 16],
    blocks: u64,
    block: [u8; 32],
    used: usize,
}

impl Draws {
    fn new(seed: [u8; 16]) -> Draws {
        Draws { seed, blocks: 0, block: [0; 32], used: 32 }
    }

    /// Returns a number below a bound. None is likelier than another by more than the bound's part
    /// of 2^32.
    fn below(&mut self, bound: u32) -> u32 {
        if self.used == self.block.len() {
            let input = Sha256::new().chain_update(self.seed);
            self.block = input.chain_update(self.blocks.to_le_bytes()).finalize().into();
            (self.blocks, self.used) = (self.blocks + 1, 0);
        }
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.block[self.used..self.used + 4]);
        self.used += 4;
        ((u64::from(u32::from_le_bytes(bytes)) * u64::from(bound)) >> 32) as u32
    }
}

/// How factors are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Bits of a digit.
    width: u32,
    /// Digits of a factor.
    digits: usize,
}

impl Shape {
    /// How many digits there are to choose from.
    const fn choices(self) -> u32 {
        3 * ((1 << self.width) - 1)
    }

    /// Whether its factors are no fewer than 2^128, and none is as long as the argument in this
    /// file's header allows.
    const fn is_safe(self) -> bool {
        let factors = (self.choices() as u128).checked_pow(self.digits as u32);
        factors.is_none() && self.width as usize * self.digits <= 120
    }
}

/// The shape that is the fastest up to so many signatures, as measured: wide digits are few, and
/// cost more buckets.
pub(super) const SHAPES: [(usize, Shape); 4] = [
    (256, Shape { width: 4, digits: 24 }),
    (768, Shape { width: 5, digits: 20 }),
    (1_536, Shape { width: 6, digits: 17 }),
    (6_000, Shape { width: 7, digits: 15 }),
];

pub(super) const WIDEST: Shape = Shape { width: 8, digits: 14 };

const _: () = {
    let [(_, a), (_, b), (_, c), (_, d)] = SHAPES;
    assert!(a.is_safe() && b.is_safe() && c.is_safe() && d.is_safe() && WIDEST.is_safe());
};
