//! Turns drafts into events: the id, the signature, the line of JSON.

use chappe::nostr::{Event, EventId, Keypair, Kind, PublicKey, Signature, json, tag, verify};
use fastrand::Rng;
use sha2::{Digest, Sha256};

use super::draft::Draft;

/// A finished event.
pub(crate) struct Sealed {
    pub(crate) event: Event,
    /// Who signed it; none means a key that is used once.
    pub(crate) author: Option<usize>,
    /// The value of its first `d` tag, for addressable kinds.
    pub(crate) identifier: Option<Box<str>>,
    /// The event as compact JSON, without a line break.
    pub(crate) json: Vec<u8>,
}

/// Whoever signs an event.
pub(crate) enum Signer {
    /// Signs as BIP-340 has it, without auxiliary randomness.
    Key(Keypair),
    /// Pretends to: a public key that is no point, signatures that are noise.
    Noise(PublicKey),
}

impl Signer {
    /// Makes one that signs.
    pub(crate) fn key(rng: &mut Rng) -> Self {
        loop {
            // One number in 2^128 is no secret key.
            if let Some(keypair) = Keypair::from_secret(random_bytes(rng)) {
                return Self::Key(keypair);
            }
        }
    }

    /// Makes one that pretends.
    pub(crate) fn noise(rng: &mut Rng) -> Self {
        Self::Noise(PublicKey(random_bytes(rng)))
    }

    /// The x-only public key.
    pub(crate) fn public_key(&self) -> PublicKey {
        match self {
            Self::Key(keypair) => keypair.public_key(),
            Self::Noise(pubkey) => *pubkey,
        }
    }

    fn sign(&self, id: &EventId) -> Signature {
        match self {
            Self::Key(keypair) => keypair.sign_id(id),
            Self::Noise(pubkey) => {
                let first = Sha256::new().chain_update(pubkey.0).chain_update(id.0).finalize();
                let mut sig = [0; 64];
                sig[..32].copy_from_slice(&first);
                sig[32..].copy_from_slice(&Sha256::digest(first));
                Signature(sig)
            }
        }
    }
}

/// Hashes, signs and writes a draft.
pub(crate) fn seal(draft: &Draft, signer: &Signer) -> Sealed {
    let mut tags = Vec::with_capacity(64 * draft.tags.len());
    tag::pack(&draft.tags, &mut tags);
    let mut content = Vec::with_capacity(draft.content.len() + 32);
    json::escape_into(&draft.content, &mut content);
    let mut event = Event::from_parts(
        EventId([0; 32]),
        signer.public_key(),
        Signature([0; 64]),
        draft.created_at,
        Kind(draft.kind),
        &tags,
        &content,
    );
    event.id = verify::event_id(&event.view());
    event.sig = signer.sign(&event.id);
    let mut line = Vec::new();
    event.view().write_json(&mut line);
    let identifier = draft.identifier().map(Box::from);
    Sealed { event, author: draft.author, identifier, json: line }
}

fn random_bytes(rng: &mut Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill(&mut bytes);
    bytes
}
