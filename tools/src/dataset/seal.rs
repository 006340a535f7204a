//! Turns drafts into events: the id, the signature, the line of JSON.

use fastrand::Rng;
use secp256k1::Keypair;
use sha2::{Digest, Sha256};

use super::draft::Draft;

/// A finished event.
pub(crate) struct Sealed {
    pub(crate) id: [u8; 32],
    pub(crate) pubkey: [u8; 32],
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests read it"))]
    pub(crate) sig: [u8; 64],
    pub(crate) draft: Draft,
    /// The event as compact JSON, without a line break.
    pub(crate) json: Vec<u8>,
}

/// Whoever signs an event.
#[derive(Clone)]
pub(crate) enum Signer {
    /// Signs as BIP-340 has it, without auxiliary randomness.
    Key(Box<Keypair>),
    /// Pretends to: a public key that is no point, signatures that are noise.
    Noise([u8; 32]),
}

impl Signer {
    /// Makes one that signs.
    pub(crate) fn key(rng: &mut Rng) -> Self {
        loop {
            // One number in 2^128 is no secret key.
            if let Ok(keypair) = Keypair::from_secret_bytes(random_bytes(rng)) {
                return Self::Key(Box::new(keypair));
            }
        }
    }

    /// Makes one that pretends.
    pub(crate) fn noise(rng: &mut Rng) -> Self {
        Self::Noise(random_bytes(rng))
    }

    /// The x-only public key.
    pub(crate) fn public_key(&self) -> [u8; 32] {
        match self {
            Self::Key(keypair) => keypair.x_only_public_key().0.to_byte_array(),
            Self::Noise(pubkey) => *pubkey,
        }
    }

    fn sign(&self, id: &[u8; 32]) -> [u8; 64] {
        match self {
            Self::Key(keypair) => keypair.sign_schnorr_no_aux_rand(id).to_byte_array(),
            Self::Noise(pubkey) => {
                let first = Sha256::new().chain_update(pubkey).chain_update(id).finalize();
                let second = Sha256::digest(first);
                let mut sig = [0; 64];
                sig[..32].copy_from_slice(&first);
                sig[32..].copy_from_slice(&second);
                sig
            }
        }
    }
}

/// Hashes, signs and writes a draft.
pub(crate) fn seal(draft: Draft, signer: &Signer) -> Sealed {
    let pubkey = signer.public_key();
    let pubkey_hex = faster_hex::hex_string(&pubkey);
    let mut tags = Vec::with_capacity(128 * draft.tags.len() + 2);
    write_tags(&mut tags, &draft.tags);
    let mut content = Vec::with_capacity(draft.content.len() + 32);
    write_string(&mut content, &draft.content);

    let mut hasher = Sha256::new();
    hasher.update(format!("[0,\"{pubkey_hex}\",{},{},", draft.created_at, draft.kind));
    hasher.update(&tags);
    hasher.update(b",");
    hasher.update(&content);
    hasher.update(b"]");
    let id: [u8; 32] = hasher.finalize().into();
    let sig = signer.sign(&id);

    let mut json = Vec::with_capacity(tags.len() + content.len() + 400);
    let id_hex = faster_hex::hex_string(&id);
    json.extend_from_slice(
        format!(
            "{{\"id\":\"{id_hex}\",\"pubkey\":\"{pubkey_hex}\",\"created_at\":{},\"kind\":{},\"tags\":",
            draft.created_at, draft.kind
        )
        .as_bytes(),
    );
    json.extend_from_slice(&tags);
    json.extend_from_slice(b",\"content\":");
    json.extend_from_slice(&content);
    json.extend_from_slice(b",\"sig\":\"");
    json.extend_from_slice(faster_hex::hex_string(&sig).as_bytes());
    json.extend_from_slice(b"\"}");
    Sealed { id, pubkey, sig, draft, json }
}

fn random_bytes(rng: &mut Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill(&mut bytes);
    bytes
}

/// Writes tags as compact JSON.
fn write_tags(out: &mut Vec<u8>, tags: &[Vec<String>]) {
    out.push(b'[');
    for (place, tag) in tags.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.push(b'[');
        for (place, element) in tag.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            write_string(out, element);
        }
        out.push(b']');
    }
    out.push(b']');
}

/// Writes a string as `JSON.stringify` does, which is also what ids are hashed over.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
