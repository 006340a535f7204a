//! Invitations (NIP-43): codes that prove themselves, so that nothing is kept of one until it is
//! used.
//!
//! A code is the hexadecimal text of 22 bytes: when it expires, how often it may be used, a random
//! part, and the first bytes of the keyed hash of all that. Only who has the key can make one. What
//! stands before the hash is no secret and is the code's name in public, where its uses are counted.

use crate::hex::{self, Hex};
use crate::nostr::Keypair;
use crate::nostr::verify::keyed_digest;

/// What signs and checks invitations.
#[derive(Clone)]
pub struct InviteKey([u8; 32]);

/// How long an invitation is good, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteTerms {
    /// The second from which on it is worthless, since 1970; nothing if it never expires.
    pub expires: Option<u32>,
    /// How many may use it; nothing for any number.
    pub uses: Option<u16>,
}

/// The public part of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InviteId([u8; ID_BYTES]);

impl InviteKey {
    /// Returns the key that belongs to a relay's own.
    pub fn of(keys: &Keypair) -> InviteKey {
        InviteKey(keys.derive(b"chappe invitations"))
    }

    /// Returns a code; `random` must be unpredictable.
    pub fn mint(&self, terms: InviteTerms, random: [u8; 16]) -> String {
        let mut code = Vec::with_capacity(CODE_BYTES);
        code.extend_from_slice(&terms.expires.unwrap_or(0).to_be_bytes());
        code.extend_from_slice(&terms.uses.unwrap_or(0).to_be_bytes());
        code.extend_from_slice(&random[..RANDOM_BYTES]);
        let proof = keyed_digest(&self.0, &code);
        code.extend_from_slice(&proof[..PROOF_BYTES]);
        Hex(&code).to_string()
    }

    /// Returns the name and the terms of a code that was made with this key.
    pub fn read(&self, code: &str) -> Option<(InviteId, InviteTerms)> {
        if code.len() != CODE_BYTES * 2 {
            return None;
        }
        let bytes = hex::decode_any_case(code.as_bytes())?;
        let (name, proof) = bytes.split_first_chunk::<ID_BYTES>()?;
        let expected = keyed_digest(&self.0, name);
        // Every byte is looked at, so that the time it takes says nothing about how many are right.
        let differences = expected.iter().zip(proof).fold(0, |all, (a, b)| all | (a ^ b));
        let id = InviteId(*name);
        (differences == 0).then(|| (id, id.terms()))
    }
}

impl InviteId {
    /// Returns the name that a text is.
    pub fn parse(text: &str) -> Option<InviteId> {
        hex::decode_any_case(text.as_bytes())?.try_into().ok().map(InviteId)
    }

    fn terms(self) -> InviteTerms {
        let [a, b, c, d, e, f, ..] = self.0;
        let expires = u32::from_be_bytes([a, b, c, d]);
        let uses = u16::from_be_bytes([e, f]);
        InviteTerms { expires: (expires > 0).then_some(expires), uses: (uses > 0).then_some(uses) }
    }
}

impl std::fmt::Display for InviteId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl std::fmt::Debug for InviteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InviteKey(..)")
    }
}

const RANDOM_BYTES: usize = 6;
const ID_BYTES: usize = 4 + 2 + RANDOM_BYTES;
/// Nobody guesses one of 2^80 over a network.
const PROOF_BYTES: usize = 10;
const CODE_BYTES: usize = ID_BYTES + PROOF_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_its_terms_to_who_has_the_key_and_nothing_to_others() {
        let terms = [
            InviteTerms { expires: None, uses: None },
            InviteTerms { expires: Some(1_700_000_000), uses: Some(1) },
            InviteTerms { expires: Some(u32::MAX), uses: Some(u16::MAX) },
        ];
        for terms in terms {
            let code = key(1).mint(terms, [7; 16]);
            let (id, read) = key(1).read(&code).expect("it is our own");
            assert_eq!(read, terms);
            assert_eq!(InviteId::parse(&id.to_string()), Some(id));
            assert!(code.starts_with(&id.to_string()));
            assert_eq!(key(1).read(&code.to_uppercase()), Some((id, terms)));
            assert_eq!(key(2).read(&code), None);
            for place in 0..code.len() {
                let mut other = code.clone().into_bytes();
                other[place] = if other[place] == b'0' { b'1' } else { b'0' };
                let other = String::from_utf8(other).expect("it is ASCII");
                assert_eq!(key(1).read(&other), None, "{place}");
            }
            assert_eq!(key(1).read(&code[2..]), None);
            assert_eq!(key(1).read(&format!("{code}00")), None);
        }
        for other in ["", "zz", &"z".repeat(44), &"\u{e9}".repeat(22)] {
            assert_eq!(key(1).read(other), None);
        }
    }

    fn key(number: u8) -> InviteKey {
        InviteKey::of(&Keypair::from_secret([number; 32]).expect("the secret is in range"))
    }
}
