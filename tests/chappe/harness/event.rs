//! Events as the tests make them: signed here, by code that shares nothing with the relay's own.
//!
//! The canonical text comes from `serde_json`, whose string escapes are those of `JSON.stringify`;
//! signatures are deterministic, so a failure can be repeated byte by byte.

use std::fmt;
use std::sync::OnceLock;

use secp256k1::schnorr::{self, Signature};
use secp256k1::{Keypair, XOnlyPublicKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One signed event, in the words of NIP-01.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) pubkey: String,
    pub(crate) created_at: u64,
    pub(crate) kind: u16,
    pub(crate) tags: Vec<Vec<String>>,
    pub(crate) content: String,
    pub(crate) sig: String,
}

impl Event {
    /// Reads an event out of JSON that a relay or a fixture file gave.
    pub(crate) fn from_json(value: &Value) -> Event {
        let text = |name: &str| {
            value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
        };
        let tags: Vec<Vec<String>> = serde_json::from_value(value["tags"].clone())
            .unwrap_or_else(|_| panic!("tags are not arrays of strings in {value}"));
        Event {
            id: text("id"),
            pubkey: text("pubkey"),
            created_at: value["created_at"].as_u64().expect("created_at is an integer"),
            kind: value["kind"]
                .as_u64()
                .and_then(|k| k.try_into().ok())
                .expect("kind fits 16 bits"),
            tags,
            content: text("content"),
            sig: text("sig"),
        }
    }

    /// The event as a JSON object.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "pubkey": self.pubkey, "created_at": self.created_at,
            "kind": self.kind, "tags": self.tags, "content": self.content, "sig": self.sig,
        })
    }

    /// The event as one line of compact JSON, as import files carry it.
    pub(crate) fn line(&self) -> String {
        self.json().to_string()
    }

    /// The address that addressable and replaceable events share: `kind:pubkey:d`.
    pub(crate) fn address(&self) -> String {
        let identifier = match self.kind {
            30_000..=39_999 => self.first("d").unwrap_or_default(),
            _ => "",
        };
        format!("{}:{}:{identifier}", self.kind, self.pubkey)
    }

    /// The value of the first tag with this name; empty text when that tag has no value.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        let tag = self.tags.iter().find(|tag| tag[0] == name)?;
        Some(tag.get(1).map_or("", String::as_str))
    }

    /// Panics unless id and signature prove this event.
    pub(crate) fn assert_genuine(&self) {
        let hash = event_hash(&self.pubkey, self.created_at, self.kind, &self.tags, &self.content);
        assert_eq!(hex(&hash), self.id, "the id is not the hash of {self:?}");
        let public = unhex(&self.pubkey).try_into().expect("32 bytes");
        let public = XOnlyPublicKey::from_byte_array(public).expect("a point of the curve");
        let signature = Signature::from_byte_array(unhex(&self.sig).try_into().expect("64 bytes"));
        let proof = signature.verify(&hash, &public);
        assert_eq!(proof, Ok(()), "the signature does not prove {self:?}");
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content: String = self.content.chars().take(24).collect();
        let tags = format!("{:?}", &self.tags[..self.tags.len().min(6)]);
        write!(
            out,
            "event {}.. by {}.. kind {} at {} tags {tags} content {content:?}",
            &self.id[..self.id.len().min(8)],
            &self.pubkey[..self.pubkey.len().min(6)],
            self.kind,
            self.created_at
        )
    }
}

/// A signing key. `key(1)` to `key(8)` are the K1 to K8 of the written cases.
#[derive(Clone)]
pub(crate) struct Key {
    pair: Keypair,
    public: String,
}

/// Returns the key whose secret is this small number.
pub(crate) fn key(number: u32) -> Key {
    let mut secret = [0; 32];
    secret[28..].copy_from_slice(&number.to_be_bytes());
    let pair = Keypair::from_secret_bytes(secret).expect("a small number is a valid secret");
    let public = hex(&pair.x_only_public_key().0.to_byte_array());
    Key { pair, public }
}

impl Key {
    /// The public key in hex.
    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// Signs an event.
    pub(crate) fn event(&self, kind: u16, content: &str, tags: &[&[&str]], at: u64) -> Event {
        let tags = tags.iter().map(|tag| tag.iter().map(|text| (*text).to_owned()).collect());
        self.event_owned(kind, content, tags.collect(), at)
    }

    /// Signs an event whose tags were computed.
    pub(crate) fn event_owned(
        &self,
        kind: u16,
        content: &str,
        tags: Vec<Vec<String>>,
        created_at: u64,
    ) -> Event {
        let hash = event_hash(&self.public, created_at, kind, &tags, content);
        Event {
            id: hex(&hash),
            pubkey: self.public.clone(),
            created_at,
            kind,
            tags,
            content: content.to_owned(),
            sig: hex(&schnorr::sign_no_aux_rand(&hash, &self.pair).to_byte_array()),
        }
    }

    /// The signature of a text's SHA-256, in hex.
    pub(crate) fn sign_text(&self, text: &str) -> String {
        let hash: [u8; 32] = Sha256::digest(text).into();
        hex(&schnorr::sign_no_aux_rand(&hash, &self.pair).to_byte_array())
    }

    /// Signs a kind 1 event without tags.
    pub(crate) fn note(&self, content: &str, at: u64) -> Event {
        self.event(1, content, &[], at)
    }

    /// Signs whatever the JSON object says about kind, tags, created_at and content, valid or not.
    pub(crate) fn sign_json(&self, mut event: Value) -> Value {
        event["pubkey"] = json!(self.public);
        let parts = [&event["pubkey"], &event["created_at"], &event["kind"], &event["tags"]];
        let [pubkey, created_at, kind, tags] = parts;
        let text = format!("[0,{pubkey},{created_at},{kind},{tags},{}]", event["content"]);
        let hash: [u8; 32] = Sha256::digest(text).into();
        event["id"] = json!(hex(&hash));
        let signature = schnorr::sign_no_aux_rand(&hash, &self.pair);
        event["sig"] = json!(hex(&signature.to_byte_array()));
        event
    }
}

/// Returns the event of `fixtures/events.jsonl` with this name.
pub(crate) fn fixture(name: &str) -> Event {
    static LINES: OnceLock<Vec<Value>> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let text = include_str!("../fixtures/events.jsonl");
        text.lines().map(|line| serde_json::from_str(line).expect("fixtures are JSON")).collect()
    });
    let line = lines.iter().find(|line| line["name"] == name);
    Event::from_json(&line.unwrap_or_else(|| panic!("no fixture {name}"))["event"])
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.expect("the clock is after 1970").as_secs()
}

/// Waits until this second of the clock has begun: expiry is the one thing that only time does.
pub(crate) fn wait_until(second: u64) {
    let end = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
    if let Ok(left) = end.duration_since(std::time::SystemTime::now()) {
        std::thread::sleep(left + std::time::Duration::from_millis(20));
    }
}

/// Lower-case hex of some bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of an id.
pub(crate) fn id_bytes(text: &str) -> [u8; 32] {
    unhex(text).try_into().expect("an id has 64 digits")
}

/// The bytes of hex text.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("text is hex");
    (0..text.len() / 2).map(|index| pair(index * 2)).collect()
}

fn event_hash(
    pubkey: &str,
    created_at: u64,
    kind: u16,
    tags: &[Vec<String>],
    content: &str,
) -> [u8; 32] {
    let text = json!([0, pubkey, created_at, kind, tags, content]).to_string();
    Sha256::digest(text).into()
}

#[test]
fn signing_gives_the_fixture_ids_and_signatures() {
    for name in ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "RL", "RH", "PR"] {
        let expected = fixture(name);
        let signed = key(1).event_owned(
            expected.kind,
            &expected.content,
            expected.tags.clone(),
            expected.created_at,
        );
        assert_eq!(signed.id, expected.id, "{name}");
        assert_eq!(signed.sig, expected.sig, "{name}");
    }
}
