//! The few numbers that the library keeps to itself: multiples of a coordinate, and halves of a
//! factor, for the curve's endomorphism.
//!
//! On secp256k1 a point (x, y) times lambda is (beta x, y), where lambda is a cube root of one
//! modulo the order and beta one modulo the field's prime (Gallant, Lambert, Vanstone: "Faster
//! Point Multiplication on Elliptic Curves with Efficient Endomorphisms"). Nothing here is secret,
//! so nothing takes constant time.

/// 256 bits, the lowest first.
type Limbs = [u64; 4];

/// The cube root of one modulo the order, big-endian.
pub(super) const LAMBDA: [u8; 32] = [
    0x53, 0x63, 0xad, 0x4c, 0xc0, 0x5c, 0x30, 0xe0, 0xa5, 0x26, 0x1c, 0x02, 0x88, 0x12, 0x64, 0x5a,
    0x12, 0x2e, 0x22, 0xea, 0x20, 0x81, 0x66, 0x78, 0xdf, 0x02, 0x96, 0x7c, 0x1b, 0x23, 0xbd, 0x72,
];

/// Returns beta x and beta^2 x of a coordinate, big-endian as it is.
pub(super) fn other_coordinates(x: &[u8; 32]) -> [[u8; 32]; 2] {
    let x = from_bytes(x);
    let first = reduce(multiply(&x, &BETA));
    // The three cube roots of one add up to nothing, so these three coordinates do.
    let second = negative(&sum(&x, &first));
    [to_bytes(&first), to_bytes(&second)]
}

/// A whole number of at most 128 bits and its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Half {
    /// Whether it is below zero.
    pub(super) is_negative: bool,
    /// How far from zero it is.
    pub(super) size: u128,
}

/// Splits a factor below the order into `a + lambda b`, each of half its length; nothing if one
/// is longer, which does not happen.
pub(super) fn split(factor: &[u8; 32]) -> Option<[Half; 2]> {
    let factor = from_bytes(factor);
    // How often the two short vectors of the lattice of zeros are in it, rounded.
    let (first, second) = (rounded(&factor, &SHARE_1), rounded(&factor, &SHARE_2));
    // The vectors are (A1, -B1) and (A2, A1): what is left of (factor, 0) is short.
    let a = difference(&factor, &plus(&low(&first, A1), &low(&second, A2)));
    let b = difference(&low(&first, B1), &low(&second, A1));
    Some([half(&a)?, half(&b)?])
}

fn from_bytes(bytes: &[u8; 32]) -> Limbs {
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().rev().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_be_bytes(*bytes);
    }
    limbs
}

fn to_bytes(limbs: &Limbs) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, limb) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(limbs.iter().rev()) {
        *bytes = limb.to_be_bytes();
    }
    bytes
}

/// The whole product.
fn multiply(a: &Limbs, b: &Limbs) -> [u64; 8] {
    let mut product = [0; 8];
    for (i, x) in a.iter().enumerate() {
        let mut carry = 0;
        for (j, y) in b.iter().enumerate() {
            let sum = u128::from(*x) * u128::from(*y) + u128::from(product[i + j]) + carry;
            (product[i + j], carry) = (sum as u64, sum >> 64);
        }
        product[i + 4] = carry as u64;
    }
    product
}

/// Returns what a product leaves modulo the field's prime, which is 2^256 - [`SHORT`].
fn reduce(product: [u64; 8]) -> Limbs {
    let [a, b, c, d, high @ ..] = product;
    let mut limbs = [a, b, c, d];
    let mut over = fold(&mut limbs, &high);
    // At most twice: the first fold leaves 34 bits over, and the second one at most.
    while over != 0 {
        over = fold(&mut limbs, &[over, 0, 0, 0]);
    }
    below_prime(limbs)
}

/// Adds [`SHORT`] times a number; returns what is over 256 bits.
fn fold(limbs: &mut Limbs, number: &Limbs) -> u64 {
    let mut carry = 0;
    for (limb, high) in limbs.iter_mut().zip(number) {
        let sum = u128::from(*high) * u128::from(SHORT) + u128::from(*limb) + carry;
        (*limb, carry) = (sum as u64, sum >> 64);
    }
    carry as u64
}

/// Takes the prime off a number that is not below it.
fn below_prime(limbs: Limbs) -> Limbs {
    let (reduced, over) = added(&limbs, &[SHORT, 0, 0, 0]);
    if over { reduced } else { limbs }
}

/// The sum modulo the field's prime.
fn sum(a: &Limbs, b: &Limbs) -> Limbs {
    let (mut limbs, over) = added(a, b);
    if over {
        fold(&mut limbs, &[1, 0, 0, 0]);
    }
    below_prime(limbs)
}

/// The number that added to this one gives nothing modulo the field's prime.
fn negative(a: &Limbs) -> Limbs {
    if *a == [0; 4] { *a } else { difference(&PRIME, a) }
}

fn added(a: &Limbs, b: &Limbs) -> (Limbs, bool) {
    let (mut limbs, mut carry) = ([0; 4], false);
    for (limb, (a, b)) in limbs.iter_mut().zip(a.iter().zip(b)) {
        let (sum, first) = a.overflowing_add(*b);
        let (sum, second) = sum.overflowing_add(u64::from(carry));
        (*limb, carry) = (sum, first || second);
    }
    (limbs, carry)
}

/// The sum modulo 2^256.
fn plus(a: &Limbs, b: &Limbs) -> Limbs {
    added(a, b).0
}

/// The difference modulo 2^256.
fn difference(a: &Limbs, b: &Limbs) -> Limbs {
    plus(&plus(a, &b.map(|limb| !limb)), &[1, 0, 0, 0])
}

/// The product modulo 2^256.
fn low(a: &Limbs, b: Limbs) -> Limbs {
    let [a, b, c, d, ..] = multiply(a, &b);
    [a, b, c, d]
}

/// Returns `factor * share / 2^384`, rounded to the nearest.
fn rounded(factor: &Limbs, share: &Limbs) -> Limbs {
    let [.., e, f, g] = multiply(factor, share);
    plus(&[f, g, 0, 0], &[e >> 63, 0, 0, 0])
}

/// Reads the two's complement.
fn half(limbs: &Limbs) -> Option<Half> {
    let is_negative = limbs[3] >> 63 == 1;
    let [a, b, c, d] = if is_negative { difference(&[0; 4], limbs) } else { *limbs };
    let size = u128::from(b) << 64 | u128::from(a);
    (c == 0 && d == 0).then_some(Half { is_negative, size })
}

/// What the field's prime lacks to 2^256.
const SHORT: u64 = 0x1_0000_03d1;

const PRIME: Limbs = [SHORT.wrapping_neg(), u64::MAX, u64::MAX, u64::MAX];

/// The cube root of one modulo the field's prime that goes with [`LAMBDA`].
const BETA: Limbs =
    [0xc139_6c28_7195_01ee, 0x9cf0_4975_12f5_8995, 0x6e64_479e_ac34_34e9, 0x7ae9_6a2b_657c_0710];

/// With [`B1`] and [`A2`] the two short vectors (a, b) for which a + lambda b is a multiple of the
/// order: (A1, -B1) and (A2, A1).
const A1: Limbs = [0xe86c_90e4_9284_eb15, 0x3086_d221_a7d4_6bcd, 0, 0];
const B1: Limbs = [0x6f54_7fa9_0abf_e4c3, 0xe443_7ed6_010e_8828, 0, 0];
const A2: Limbs = [0x57c1_108d_9d44_cfd8, 0x14ca_50f7_a8e2_f3f6, 1, 0];

/// A1 and B1 over the order, times 2^384 and rounded.
const SHARE_1: Limbs =
    [0xe893_209a_45db_b031, 0x3daa_8a14_71e8_ca7f, 0xe86c_90e4_9284_eb15, 0x3086_d221_a7d4_6bcd];
const SHARE_2: Limbs =
    [0x1571_b4ae_8ac4_7f71, 0x2212_08ac_9df5_06c6, 0x6f54_7fa9_0abf_e4c4, 0xe443_7ed6_010e_8828];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::verify::digest;
    use secp256k1::{PublicKey, Scalar, SecretKey};

    fn secret(bytes: [u8; 32]) -> SecretKey {
        SecretKey::from_secret_bytes(bytes).expect("below the order and not zero")
    }

    fn lambda() -> Scalar {
        Scalar::from_be_bytes(LAMBDA).expect("below the order")
    }

    /// Factors of all lengths and near all edges.
    fn factors() -> impl Iterator<Item = [u8; 32]> {
        let below = secret(small(1)).negate().to_secret_bytes();
        let random = (0_u64..2_000).map(|number| {
            let mut bytes = digest(&number.to_be_bytes());
            bytes[..(number % 32) as usize].fill(0);
            bytes[31] |= 1;
            bytes
        });
        let near_lambda = secret(LAMBDA).negate().to_secret_bytes();
        random.chain([small(1), small(2), below, LAMBDA, near_lambda])
    }

    fn small(number: u8) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[31] = number;
        bytes
    }

    #[test]
    fn halves_make_up_their_factor() {
        for factor in factors() {
            let halves = split(&factor).expect("halves are short");
            let [one, other] = halves.map(|half| {
                let mut bytes = [0; 32];
                bytes[16..].copy_from_slice(&half.size.to_be_bytes());
                let size = SecretKey::from_secret_bytes(bytes).ok();
                if half.is_negative { size.map(SecretKey::negate) } else { size }
            });
            let other = other.map(|other| other.mul_tweak(&lambda()).expect("not zero"));
            let sum = match (one, other) {
                (Some(a), Some(b)) => a.add_tweak(&Scalar::from(b)).expect("not zero"),
                (a, b) => a.or(b).expect("a factor is not zero"),
            };
            assert_eq!(sum.to_secret_bytes(), factor);
        }
    }

    #[test]
    fn coordinates_are_those_of_the_point_times_lambda_and_its_square() {
        for number in factors().take(300) {
            let point = PublicKey::from_secret_key(&secret(number));
            let x = |point: PublicKey| point.x_only_public_key().0.to_byte_array();
            let once = point.mul_tweak(&lambda()).expect("not zero");
            let twice = once.mul_tweak(&lambda()).expect("not zero");
            assert_eq!(other_coordinates(&x(point)), [x(once), x(twice)]);
        }
    }

    #[test]
    fn coordinates_at_the_edges_are_below_the_prime() {
        let prime = to_bytes(&PRIME);
        let mut largest = prime;
        largest[31] -= 1;
        for x in [[0; 32], small(1), largest] {
            let [first, second] = other_coordinates(&x);
            assert!(first < prime);
            assert!(second < prime);
            let all = sum(&sum(&from_bytes(&x), &from_bytes(&first)), &from_bytes(&second));
            assert_eq!(all, [0; 4]);
        }
    }
}
