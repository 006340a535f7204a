//! Proof that an event is what its author signed: the only door to `secp256k1` and `sha2`.
//!
//! A [`Verified`] can only be made here. The id is the SHA-256 of the canonical serialisation; its
//! parts lie canonical in memory, so they are hashed as they are: only the short head is rendered
//! first.
//!
//! NIP-01 can be read as hashing control characters themselves instead of their `\u00xx` escapes.
//! Nearly nobody does, so that form is tried second, and only where it differs. Both forms are
//! injective: accepting either cannot give two events one id.
//!
//! Many signatures are checked at less than half the cost of each alone: see `many`, `batch` and
//! what they stand on.

mod batch;
mod integer;
mod many;
mod sum;

#[cfg(test)]
mod against_single;
#[cfg(test)]
mod vectors;

use secp256k1::{XOnlyPublicKey, schnorr};
use sha2::{Digest, Sha256};

use super::event::{Event, EventRef};
use super::id::{EventId, PublicKey, Signature};
use super::kind::Kind;
use super::{json, tag};
use crate::limits;

/// An event whose id is right, and whose signature is too unless it came through
/// [`Verifier::verify_id_only`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified(Event);

impl Verified {
    /// Returns the event.
    pub fn event(&self) -> &Event {
        &self.0
    }

    /// Gives the event back, and the proof up.
    pub fn into_event(self) -> Event {
        self.0
    }
}

/// What about an event is not true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The id is not the hash of the event.
    #[error("event id does not match")]
    Id,
    /// The signature is not the author's, or the author is no point of the curve.
    #[error("signature is wrong")]
    Signature,
}

/// Returns the SHA-256 of bytes that are no event.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What a signature is about, without the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Who is said to have signed.
    pub pubkey: PublicKey,
    /// What was signed.
    pub id: EventId,
    /// The signature.
    pub sig: Signature,
}

impl Signed {
    /// Returns what an event's signature is about.
    pub fn of(event: &EventRef<'_>) -> Signed {
        Signed { pubkey: *event.pubkey, id: *event.id, sig: *event.sig }
    }
}

/// Checks events; keeps buffers and the authors met lately, so each thread has its own.
pub struct Verifier {
    scratch: Vec<u8>,
    /// A table without chains: a key has one place, and the last one there stays. The points have
    /// even y.
    keys: Vec<Option<(PublicKey, secp256k1::PublicKey)>>,
    pace: many::Pace,
    /// Kept for its memory.
    sum: sum::Sum,
}

impl Verifier {
    /// Returns a verifier that has met nobody.
    pub fn new() -> Verifier {
        Verifier::with_keys(limits::VERIFIER_KEYS_MAX)
    }

    /// Returns a verifier that remembers up to `keys` authors, a power of two up to 65,536.
    ///
    /// An author takes about a hundred bytes, and to meet one anew costs about an eighth of a
    /// verification.
    ///
    /// # Panics
    ///
    /// If it is another number.
    pub fn with_keys(keys: usize) -> Verifier {
        assert!(keys.is_power_of_two(), "the slot is a mask of key bits");
        assert!(keys <= 1 << 16, "the slot is told by two bytes of the key");
        Verifier {
            scratch: Vec::new(),
            keys: vec![None; keys],
            pace: many::Pace::default(),
            sum: sum::Sum::default(),
        }
    }

    /// Checks the id, then the signature.
    #[expect(clippy::result_large_err, reason = "an event is moved either way")]
    pub fn verify(&mut self, event: Event) -> Result<Verified, (Event, Invalid)> {
        match self.check(&event.view()) {
            Ok(()) => Ok(Verified(event)),
            Err(invalid) => Err((event, invalid)),
        }
    }

    /// Checks the id alone, for events from a source whose signatures are trusted.
    #[expect(clippy::result_large_err, reason = "an event is moved either way")]
    pub fn verify_id_only(&mut self, event: Event) -> Result<Verified, (Event, Invalid)> {
        match self.check_id(&event.view()) {
            Ok(()) => Ok(Verified(event)),
            Err(invalid) => Err((event, invalid)),
        }
    }

    /// Checks id and signature of a borrowed event, for instance of a stored one.
    pub fn check(&mut self, event: &EventRef<'_>) -> Result<(), Invalid> {
        self.check_id(event)?;
        if self.is_right(&Signed::of(event)) { Ok(()) } else { Err(Invalid::Signature) }
    }

    /// Tells whether one signature is right.
    fn is_right(&mut self, signed: &Signed) -> bool {
        self.point(&signed.pubkey).is_some_and(|point| {
            let (key, _) = point.x_only_public_key();
            schnorr::Signature::from_byte_array(signed.sig.0).verify(&signed.id.0, &key).is_ok()
        })
    }

    /// Checks the id of a borrowed event.
    pub fn check_id(&mut self, event: &EventRef<'_>) -> Result<(), Invalid> {
        if canonical_hash(event, &mut self.scratch) == *event.id {
            return Ok(());
        }
        match literal_hash(event, &mut self.scratch) {
            Some(hash) if hash == *event.id => Ok(()),
            _ => Err(Invalid::Id),
        }
    }

    /// Returns the point of an author, if there is one.
    fn point(&mut self, pubkey: &PublicKey) -> Option<secp256k1::PublicKey> {
        let [a, b, ..] = pubkey.0;
        let place = usize::from(u16::from_be_bytes([a, b])) & (self.keys.len() - 1);
        match &mut self.keys[place] {
            Some((known, point)) if known == pubkey => Some(*point),
            slot => {
                let point = batch::with_even_y(&pubkey.0)?;
                *slot = Some((*pubkey, point));
                Some(point)
            }
        }
    }
}

impl Default for Verifier {
    fn default() -> Verifier {
        Verifier::new()
    }
}

/// Tells whether a signature is that of a key under some digest.
pub fn is_signed(key: &PublicKey, digest: &[u8; 32], signature: &Signature) -> bool {
    XOnlyPublicKey::from_byte_array(key.0).is_ok_and(|key| {
        schnorr::Signature::from_byte_array(signature.0).verify(digest, &key).is_ok()
    })
}

/// Returns the id that an event should have.
pub fn event_id(event: &EventRef<'_>) -> EventId {
    canonical_hash(event, &mut Vec::new())
}

/// Returns the SHA-256 of some bytes.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Returns the HMAC-SHA256 of a message (RFC 2104).
pub fn keyed_digest(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(padded, byte)| *padded ^= byte);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

/// A secret key with its public one.
pub struct Keypair(secp256k1::Keypair);

impl Keypair {
    /// Returns the pair of a secret key; nothing if it is zero or not below the order of the curve.
    pub fn from_secret(secret: [u8; 32]) -> Option<Keypair> {
        secp256k1::Keypair::from_secret_bytes(secret).ok().map(Keypair)
    }

    /// Returns a secret for another purpose, from which nothing is learned about this one.
    pub fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        keyed_digest(&self.0.to_secret_bytes(), purpose)
    }

    /// Returns the public key, the author of what the pair signs.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.x_only_public_key().0.to_byte_array())
    }

    /// Makes an event. The same arguments give the same event: no randomness goes into the
    /// signature.
    ///
    /// Each tag must have at least one element.
    pub fn sign_event(
        &self,
        created_at: u64,
        kind: Kind,
        tags: &[Vec<String>],
        content: &str,
    ) -> Event {
        let mut packed = Vec::new();
        tag::pack(tags, &mut packed);
        let mut canonical = Vec::with_capacity(content.len());
        json::escape_into(content, &mut canonical);
        let (id, sig) = (EventId([0; 32]), Signature([0; 64]));
        let mut event =
            Event::from_parts(id, self.public_key(), sig, created_at, kind, &packed, &canonical);
        event.id = event_id(&event.view());
        event.sig = self.sign_id(&event.id);
        event
    }

    /// Signs an id, without randomness.
    pub fn sign_id(&self, id: &EventId) -> Signature {
        Signature(self.0.sign_schnorr_no_aux_rand(&id.0).to_byte_array())
    }
}

impl std::fmt::Debug for Keypair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keypair({}, ..)", self.public_key())
    }
}

/// Hashes the canonical serialisation.
fn canonical_hash(event: &EventRef<'_>, scratch: &mut Vec<u8>) -> EventId {
    scratch.clear();
    event.write_canonical_head(scratch);
    let mut hash = Sha256::new();
    hash.update(&scratch[..]);
    hash.update(event.content);
    hash.update(b"\"]");
    EventId(hash.finalize().into())
}

/// Hashes the serialisation with control characters as they are; nothing if that is the canonical
/// one.
#[cold]
fn literal_hash(event: &EventRef<'_>, scratch: &mut Vec<u8>) -> Option<EventId> {
    scratch.clear();
    event.write_canonical_head(scratch);
    let mut literal = Vec::with_capacity(scratch.len() + event.content.len() + 2);
    let in_tags = json::unescape_controls_into(scratch, &mut literal);
    let in_content = json::unescape_controls_into(event.content, &mut literal);
    if !in_tags && !in_content {
        return None;
    }
    literal.extend_from_slice(b"\"]");
    Some(EventId(Sha256::digest(&literal).into()))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn parse(json: &str) -> Event {
        Event::parse(json.as_bytes()).expect("the fixture is an event")
    }

    fn pair(secret: u8) -> Keypair {
        let mut bytes = [0; 32];
        bytes[31] = secret;
        Keypair::from_secret(bytes).expect("small integers are secret keys")
    }

    fn outcome(event: Event) -> Result<(), Invalid> {
        let mut verifier = Verifier::new();
        let id_only =
            verifier.verify_id_only(event.clone()).map(drop).map_err(|(_, invalid)| invalid);
        let whole = verifier.verify(event.clone()).map(drop).map_err(|(_, invalid)| invalid);
        assert_eq!(id_only == Err(Invalid::Id), whole == Err(Invalid::Id));
        // The second time the author's key is a known one.
        let again = verifier.verify(event).map(drop).map_err(|(_, invalid)| invalid);
        assert_eq!(whole, again);
        whole
    }

    #[test]
    fn events_of_another_implementation_verify() {
        for text in fixtures::VALID {
            assert_eq!(outcome(parse(text)), Ok(()), "{text}");
        }
    }

    #[test]
    fn both_readings_of_control_characters_verify_but_not_escaped_del() {
        assert_eq!(outcome(parse(fixtures::S4)), Ok(()));
        assert_eq!(outcome(parse(fixtures::S4V)), Ok(()));
        assert_eq!(outcome(parse(fixtures::S5)), Ok(()));
        assert_eq!(outcome(parse(fixtures::S5T)), Err(Invalid::Id));
    }

    #[test]
    fn a_changed_event_or_signature_is_noticed() {
        let changed = fixtures::S1.replace("hello", "hellO");
        assert_eq!(outcome(parse(&changed)), Err(Invalid::Id));
        let changed = fixtures::S1.replace("1700000000", "1700000001");
        assert_eq!(outcome(parse(&changed)), Err(Invalid::Id));
        let mut event = parse(fixtures::S1);
        event.sig.0[63] ^= 1;
        assert_eq!(outcome(event), Err(Invalid::Signature));
        let mut event = parse(fixtures::S1);
        event.sig.0 = [0xff; 64];
        assert_eq!(outcome(event), Err(Invalid::Signature));
    }

    #[test]
    fn an_author_off_the_curve_is_invalid_and_not_an_error() {
        let mut event = parse(fixtures::S1);
        event.pubkey = PublicKey([0; 32]);
        event.pubkey.0[31] = 5;
        event.id = event_id(&event.view());
        assert_eq!(outcome(event), Err(Invalid::Signature));
    }

    #[test]
    fn authors_who_share_a_place_are_not_confused() {
        let mut verifier = Verifier::new();
        for round in 0..2 {
            for text in [fixtures::S1, fixtures::FOL2] {
                verifier.check(&parse(text).view()).expect("both are valid");
            }
            let mut forged = pair(2).sign_event(round, Kind(1), &[], "x");
            forged.pubkey = pair(1).public_key();
            forged.id = event_id(&forged.view());
            assert_eq!(verifier.check(&forged.view()), Err(Invalid::Signature));
        }
    }

    #[test]
    fn signing_is_deterministic_and_agrees_with_another_implementation() {
        let tags =
            [vec!["t".to_owned(), "a\"b\\c\n".to_owned()], vec!["x".to_owned(), String::new()]];
        let event = pair(1).sign_event(1_700_000_000, Kind(1), &tags, "t");
        let expected = parse(fixtures::S7);
        assert_eq!(event.id, expected.id);
        assert_eq!(event.pubkey, expected.pubkey);
        assert_eq!(event, pair(1).sign_event(1_700_000_000, Kind(1), &tags, "t"));
        assert_eq!(outcome(event), Ok(()));
        let text = "lf\n dq\" bs\\ cr\r tab\t bsp\u{8} ff\u{c} end";
        assert_eq!(
            pair(1).sign_event(1_700_000_000, Kind(1), &[], text).id,
            parse(fixtures::S2).id
        );
        assert_eq!(
            pair(1).sign_event(1_700_000_000, Kind(1), &[], "nul\0end").id,
            parse(fixtures::S6).id
        );
    }

    #[test]
    fn keyed_digests_are_those_of_rfc_4231() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        let found = keyed_digest(&key, b"Hi There");
        assert_eq!(crate::hex::Hex(&found).to_string(), expected);
        assert_ne!(pair(1).derive(b"a"), pair(1).derive(b"b"));
        assert_ne!(pair(1).derive(b"a"), pair(2).derive(b"a"));
    }

    #[test]
    fn zero_is_no_secret_key() {
        assert!(Keypair::from_secret([0; 32]).is_none());
        assert!(Keypair::from_secret([0xff; 32]).is_none());
    }
}
