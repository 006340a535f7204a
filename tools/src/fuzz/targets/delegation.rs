//! Words by which one key lets another speak for it (NIP-26), against a plain reading.

use chappe::nostr::{Event, EventId, Keypair, Kind, PublicKey, delegation, verify};
use fastrand::Rng;
use secp256k1::{XOnlyPublicKey, schnorr};
use sha2::{Digest, Sha256};

use super::Target;
use crate::fuzz::grammar::{keypair, word};
use crate::fuzz::mutate::{WORDS, mutate};

pub(super) struct Delegations;

impl Target for Delegations {
    /// Three lines: the kind and second of an event, the conditions, the token.
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut conditions = String::new();
        for _ in 0..rng.usize(..4) {
            if !conditions.is_empty() {
                conditions += word(rng, &["&", "&", "&", "", "&&", "|"]);
            }
            conditions += word(rng, &["kind", "created_at", "created_at", "Kind", "k"]);
            conditions += word(rng, &["=", "<", ">", "<", ">", "", "<="]);
            conditions += word(rng, &["1", "7", "99", "100", "101", "65537", "+1", "", "1e2"]);
        }
        let token = token_of(&keypair(2), &keypair(1).public_key(), &conditions);
        let event = format!("{} {}", word(rng, &["1", "7", "30023"]), rng.u64(98..103));
        let mut text = [event, conditions, token].join("\n").into_bytes();
        if rng.u8(..3) == 0 {
            mutate(&mut text, b"kind=1&created_at<101", &WORDS, rng);
        }
        text
    }

    fn check(&mut self, input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        let mut lines = text.splitn(3, '\n');
        let mut next = || lines.next().unwrap_or_default();
        let (head, conditions, token) = (next(), next(), next());
        let (kind, second) = head.split_once(' ').unwrap_or(("1", "100"));
        let (kind, second) = (kind.parse().unwrap_or(1), second.parse().unwrap_or(100));
        let [author, delegator] = [keypair(1), keypair(2)].map(|it| it.public_key().to_string());
        let tag = ["delegation", &delegator, conditions, token].map(str::to_owned).to_vec();
        let event = keypair(1).sign_event(second, Kind(kind), &[tag], "");
        let found = delegation::delegator_of(&event.view()).map(PublicKey::to_string);
        let is_allowed = conditions.split('&').all(|it| is_condition(it, second))
            && plain_kinds(conditions).is_none_or(|kinds| kinds.contains(&u64::from(kind)));
        let is_proven = is_allowed && is_signed(&delegator, &author, conditions, token);
        assert_eq!(found, is_proven.then(|| delegator.clone()), "{conditions:?}");
        assert!(found.is_none() || delegation::claimed(&event.view()).is_some());
        check_elsewhere(&event, found.is_some());
    }
}

/// The word for one author serves no other.
fn check_elsewhere(event: &Event, is_proven: bool) {
    let tags: Vec<Vec<String>> = event
        .view()
        .tags()
        .map(|tag| tag.elements().map(|it| it.to_text().into_owned()).collect())
        .collect();
    let stolen = keypair(3).sign_event(event.created_at, event.kind, &tags, "");
    assert!(!is_proven || delegation::delegator_of(&stolen.view()).is_none());
}

fn is_condition(text: &str, second: u64) -> bool {
    if let Some(kind) = text.strip_prefix("kind=") {
        return number(kind).is_some();
    }
    let before = text.strip_prefix("created_at<").and_then(number);
    let after = text.strip_prefix("created_at>").and_then(number);
    before.is_some_and(|it| second < it) || after.is_some_and(|it| second > it)
}

fn plain_kinds(conditions: &str) -> Option<Vec<u64>> {
    let kinds: Vec<u64> =
        conditions.split('&').filter_map(|it| number(it.strip_prefix("kind=")?)).collect();
    (!kinds.is_empty()).then_some(kinds)
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.chars().all(|it| it.is_ascii_digit()))
}

fn token_of(delegator: &Keypair, author: &PublicKey, conditions: &str) -> String {
    let text = format!("nostr:delegation:{author}:{conditions}");
    let token = delegator.sign_id(&EventId(verify::digest(text.as_bytes())));
    token.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_signed(delegator: &str, author: &str, conditions: &str, token: &str) -> bool {
    let bytes = |text: &str| -> Option<Vec<u8>> {
        let digits = text.as_bytes().chunks(2);
        let is_plain =
            text.len().is_multiple_of(2) && !text.chars().any(|it| it.is_ascii_uppercase());
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.map(byte).collect::<Option<Vec<u8>>>().filter(|_| is_plain)
    };
    let key = bytes(delegator).and_then(|it| <[u8; 32]>::try_from(it).ok());
    let token = bytes(token).and_then(|it| <[u8; 64]>::try_from(it).ok());
    let (Some(key), Some(token)) = (key, token) else { return false };
    let text = format!("nostr:delegation:{author}:{conditions}");
    let digest: [u8; 32] = Sha256::digest(text).into();
    let key = XOnlyPublicKey::from_byte_array(key).expect("a key of the tests");
    schnorr::Signature::from_byte_array(token).verify(&digest, &key).is_ok()
}
