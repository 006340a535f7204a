//! Events, against a plain reading of the same text.

use chappe::nostr::{Event, EventId, EventRef, Kind, PublicKey, Signature, Verifier, verify};
use fastrand::Rng;
use sha2::{Digest, Sha256};

use super::{Target, damaged};
use crate::dataset::choose;
use crate::fuzz::grammar;
use crate::fuzz::reading::{self, PlainEvent};
use crate::fuzz::tree::{NoTree, Tree};

pub(super) struct Events {
    fixtures: Vec<String>,
    verifier: Verifier,
}

impl Events {
    pub(super) fn new() -> Self {
        Self { fixtures: grammar::fixtures(), verifier: Verifier::new() }
    }
}

impl Target for Events {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let other = choose(rng, &self.fixtures).as_bytes();
        let text = match rng.u8(..4) {
            0 => choose(rng, &self.fixtures).clone(),
            1 => {
                let tree = Tree::parse(choose(rng, &self.fixtures).as_bytes());
                let mut text = String::new();
                tree.expect("fixtures are JSON").spell(rng, &mut text);
                text
            }
            _ => {
                let mut text = String::new();
                grammar::event(rng).spell(rng, &mut text);
                text
            }
        };
        damaged(text, other, rng)
    }

    fn check(&mut self, input: &[u8]) {
        check_packed(input);
        let theirs = match Tree::parse(input) {
            Err(NoTree::Beyond) => return drop(Event::parse(input)),
            tree => tree.ok().and_then(|tree| reading::event(&tree)),
        };
        match (Event::parse(input), theirs) {
            (Ok(event), Some(plain)) => self.compare(&event, &plain),
            (Err(_), None) => {}
            (ours, theirs) => panic!("read as {ours:?}\nmeant as {theirs:?}"),
        }
    }
}

impl Events {
    fn compare(&mut self, event: &Event, plain: &PlainEvent) {
        assert_eq!(plain_of(event), *plain);
        let mut json = Vec::new();
        event.view().write_json(&mut json);
        assert_eq!(json.len(), event.view().json_len());
        assert_eq!(Event::parse(&json).as_ref(), Ok(event), "written and read again");
        let tree = Tree::parse(&json).expect("events are written as JSON");
        assert_eq!(reading::event(&tree).as_ref(), Some(plain));
        let canonical = serde_json::json!([
            0,
            plain.pubkey,
            plain.created_at,
            plain.kind,
            plain.tags,
            plain.content
        ]);
        let hash: [u8; 32] = Sha256::digest(canonical.to_string().as_bytes()).into();
        assert_eq!(verify::event_id(&event.view()).0, hash);
        let is_right = self.verifier.check_id(&event.view()).is_ok();
        assert!(is_right || hash != event.id.0);
        self.compare_looks(event, plain);
    }

    /// What other rooms ask of events.
    fn compare_looks(&mut self, event: &Event, plain: &PlainEvent) {
        let view = event.view();
        let first = |name: &str| plain.tags.iter().find(|tag| tag[0] == name);
        let expiration = first("expiration").and_then(|tag| tag.get(1)).and_then(|text| {
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // Sixty-four digits are no time, but a name in hexadecimal.
            text.parse().ok().filter(|_| is_plain && text.len() != 64)
        });
        assert_eq!(view.expiration(), expiration);
        assert_eq!(view.is_protected(), first("-").is_some());
        let identifier = first("d").and_then(|tag| tag.get(1)).cloned().unwrap_or_default();
        assert_eq!(view.identifier().to_text(), identifier);
        let mut address = Vec::new();
        view.write_address(&mut address);
        let identifier = if event.kind.is_addressable() { identifier } else { String::new() };
        let expected = format!("{}:{}:{identifier}", plain.kind, plain.pubkey);
        assert_eq!(chappe::nostr::json::unescape(&address), expected);
        assert!(event.memory_bytes() < 2 * view.json_len() + 1_024, "memory is bounded");
    }
}

fn plain_of(event: &Event) -> PlainEvent {
    let tags = event.view().tags().map(|tag| {
        let elements = tag.elements().map(|value| value.to_text().into_owned());
        elements.collect()
    });
    PlainEvent {
        id: event.id.to_string(),
        pubkey: event.pubkey.to_string(),
        created_at: event.created_at,
        kind: u64::from(event.kind.0),
        tags: tags.collect(),
        content: chappe::nostr::json::unescape(event.view().content).into_owned(),
        sig: event.sig.to_string(),
    }
}

/// Takes any bytes for the packed tags of a stored event.
fn check_packed(bytes: &[u8]) {
    let (id, pubkey, sig) = (EventId([1; 32]), PublicKey([2; 32]), Signature([3; 64]));
    let view = EventRef {
        id: &id,
        pubkey: &pubkey,
        sig: &sig,
        created_at: 1,
        kind: Kind(30_000),
        tags_packed: bytes,
        content: b"",
    };
    let mut json = Vec::new();
    view.write_json(&mut json);
    assert_eq!(json.len(), view.json_len(), "of damaged tags too");
    let _ = (view.expiration(), view.identifier(), view.is_protected());
    assert!(view.indexed_values().count() <= bytes.len() + 1);
    assert!(view.values_of(b'd').count() <= bytes.len() + 1);
}
