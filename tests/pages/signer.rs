//! An extension that signs (NIP-07), as far as a page can tell: what it is asked goes to the test.

use chappe::nostr::{Keypair, Kind};
use serde_json::{Value, json};

/// What the script calls in the browser to reach the test.
pub const BINDING: &str = "askTest";

/// Somebody with a key.
#[derive(Clone, Debug)]
pub struct Signer {
    keys: std::sync::Arc<Keypair>,
    mood: Mood,
}

/// What a person says to the question whether to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Yes.
    Willing,
    /// No.
    Unwilling,
}

impl Signer {
    /// Returns the signer whose secret is this small number.
    ///
    /// # Panics
    ///
    /// If the number is zero.
    pub fn new(number: u8) -> Signer {
        let mut secret = [0; 32];
        secret[31] = number;
        let keys = Keypair::from_secret(secret).expect("a small number is a valid secret");
        Signer { keys: keys.into(), mood: Mood::Willing }
    }

    /// Returns the signer as one who refuses.
    pub fn unwilling(self) -> Signer {
        Signer { mood: Mood::Unwilling, ..self }
    }

    /// Returns the public key, in hexadecimal.
    pub fn public(&self) -> String {
        self.keys.public_key().to_string()
    }

    /// Signs an event.
    pub fn event(&self, created_at: u64, kind: u16, tags: &[Vec<String>], content: &str) -> Value {
        let event = self.keys.sign_event(created_at, Kind(kind), tags, content);
        let mut json = Vec::new();
        event.view().write_json(&mut json);
        serde_json::from_slice(&json).expect("events are written as JSON")
    }

    /// Signs what a page asks for; nothing if this is no event, or the person does not want to.
    pub fn sign(&self, event: &Value) -> Value {
        let tags: Result<Vec<Vec<String>>, _> = serde_json::from_value(event["tags"].clone());
        let (Some(at), Some(kind), Ok(tags), Some(content), Mood::Willing) = (
            event["created_at"].as_u64(),
            event["kind"].as_u64().and_then(|kind| u16::try_from(kind).ok()),
            tags,
            event["content"].as_str(),
            self.mood,
        ) else {
            return Value::Null;
        };
        self.event(at, kind, &tags, content)
    }

    /// Returns what an extension puts into each page.
    pub(crate) fn script(&self) -> String {
        let key = json!(self.public());
        format!(
            "{{ const wishes = new Map(); let number = 0;
               window.answerWish = (number, event) => {{
                 const [done, failed] = wishes.get(number);
                 wishes.delete(number);
                 if (event) done(event); else failed(new Error('User rejected'));
               }};
               window.nostr = {{
                 getPublicKey: async () => {key},
                 signEvent: (event) => new Promise((done, failed) => {{
                   wishes.set(++number, [done, failed]);
                   window.{BINDING}(JSON.stringify({{ number, event }}));
                 }}),
               }}; }}"
        )
    }
}
