//! Fixed-size names: event ids, public keys and signatures. Text form: lower-case hexadecimal.

use std::cmp::Ordering;
use std::fmt;

use crate::hex::{self, Hex};

/// The SHA-256 of an event's canonical serialisation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct EventId(pub [u8; 32]);

/// An author: the x coordinate of a point of secp256k1, not known to lie on the curve.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PublicKey(pub [u8; 32]);

/// A BIP-340 signature, not known to be valid.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Signature(pub [u8; 64]);

macro_rules! fixed_bytes {
    ($name:ident, $size:literal, $decode:path) => {
        impl $name {
            /// Returns the value that strict lower-case hexadecimal text names.
            pub fn from_hex(text: &[u8]) -> Option<Self> {
                $decode(text).map(Self)
            }

            /// Views bytes, for instance of a stored record, as this type without copying them.
            pub fn from_bytes(bytes: &[u8; $size]) -> &Self {
                // SAFETY: the type is `repr(transparent)` over exactly this array, every bit
                // pattern of it is legal, and the returned reference borrows from the argument.
                unsafe { &*std::ptr::from_ref(bytes).cast::<Self>() }
            }
        }

        impl Ord for $name {
            /// The order of the bytes. Mostly the first ones decide, and comparing them takes no
            /// call.
            #[inline]
            fn cmp(&self, other: &Self) -> Ordering {
                let head =
                    |bytes: &[u8; $size]| bytes.first_chunk().copied().map(u64::from_be_bytes);
                head(&self.0).cmp(&head(&other.0)).then_with(|| self.0.cmp(&other.0))
            }
        }

        impl PartialOrd for $name {
            #[inline]
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&Hex(&self.0), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

fixed_bytes!(EventId, 32, hex::decode_32);
fixed_bytes!(PublicKey, 32, hex::decode_32);
fixed_bytes!(Signature, 64, hex::decode_64);

impl EventId {
    /// Returns how many bits from the front are zero: the work that may have gone into it
    /// (NIP-13).
    pub fn leading_zero_bits(&self) -> u32 {
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        let rest = self.0.get(zeros).map_or(0, |byte| byte.leading_zeros());
        u32::try_from(zeros * 8).expect("an id has 256 bits") + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nip_13_1_difficulty_counts_bits_not_digits() {
        let id = |text: &str| {
            let text = format!("{text:0<64}");
            EventId::from_hex(text.as_bytes()).expect("it is well formed").leading_zero_bits()
        };
        let rows = [("f", 0), ("7", 1), ("1", 3), ("0f", 4), ("01", 7), ("00f", 8), ("002f", 10)];
        for (text, bits) in rows {
            assert_eq!(id(text), bits, "{text}");
        }
        assert_eq!(id("000000000e9d97a1ab09fc381030b346cdd7a142ad57e6df0b46dc9bef6c7e2d"), 36);
        assert_eq!(id(""), 256);
    }

    #[test]
    fn text_is_lower_case_hexadecimal_both_ways() {
        let text = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let key = PublicKey::from_hex(text.as_bytes()).expect("it is well formed");
        assert_eq!(key.to_string(), text);
        assert_eq!(format!("{key:?}"), format!("PublicKey({text})"));
        assert_eq!(EventId::from_hex(text.to_uppercase().as_bytes()), None);
        assert_eq!(Signature::from_hex(text.as_bytes()), None);
    }

    #[test]
    fn the_order_is_that_of_the_bytes() {
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..1000 {
            let mut one = [7; 32];
            random.fill(&mut one);
            let mut other = one;
            other[random.usize(..32)] = random.u8(..);
            assert_eq!(EventId(one).cmp(&EventId(other)), one.cmp(&other));
        }
    }

    #[test]
    fn a_borrowed_view_has_the_same_bytes() {
        let bytes: [u8; 64] = std::array::from_fn(|index| index as u8);
        assert_eq!(Signature::from_bytes(&bytes), &Signature(bytes));
        let half: [u8; 32] = std::array::from_fn(|index| index as u8);
        assert_eq!(EventId::from_bytes(&half), &EventId(half));
        assert_eq!(PublicKey::from_bytes(&half), &PublicKey(half));
    }
}
