//! New events, signed while the program runs: for live delivery, where no relay may have seen them.

use std::time::{SystemTime, UNIX_EPOCH};

use chappe::nostr::{Event, Keypair, Kind};
use fastrand::Rng;

use super::answer;

/// Somebody who writes new events of about a thousand bytes.
pub(crate) struct Author {
    keypair: Keypair,
    rng: Rng,
}

/// A new event.
pub(crate) struct Fresh {
    /// Its JSON.
    pub(crate) json: Vec<u8>,
    /// The first 16 digits of its id.
    pub(crate) number: u64,
}

impl Author {
    /// Makes `count` authors whom nobody has met.
    pub(crate) fn several(count: usize) -> Vec<Self> {
        let mut rng = Rng::new();
        let mut authors = Vec::with_capacity(count);
        while authors.len() < count {
            let mut secret = [0; 32];
            rng.fill(&mut secret);
            // One number in 2^128 is no secret key.
            if let Some(keypair) = Keypair::from_secret(secret) {
                authors.push(Self { keypair, rng: rng.fork() });
            }
        }
        authors
    }

    /// The author's public key in hex.
    pub(crate) fn pubkey(&self) -> String {
        self.keypair.public_key().to_string()
    }

    /// Writes a note.
    pub(crate) fn note(&mut self) -> Fresh {
        let letter = |rng: &mut Rng| if rng.u8(0..6) == 0 { ' ' } else { rng.lowercase() };
        let content: String = (0..CONTENT_BYTES).map(|_| letter(&mut self.rng)).collect();
        let event: Event = self.keypair.sign_event(now_secs(), Kind(1), &[], &content);
        let mut json = Vec::new();
        event.view().write_json(&mut json);
        let number = answer::number(event.id.to_string().as_bytes()).unwrap_or_default();
        Fresh { json, number }
    }
}

/// The time in seconds since 1970.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// With it an event has about a thousand bytes of JSON.
const CONTENT_BYTES: usize = 660;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_new_valid_and_of_the_usual_length() {
        let mut authors = Author::several(2);
        assert_ne!(authors[0].pubkey(), authors[1].pubkey());
        let notes = [authors[0].note(), authors[0].note()];
        assert_ne!(notes[0].number, notes[1].number);
        for note in notes {
            assert!((900..1_100).contains(&note.json.len()), "{} bytes", note.json.len());
            let event = Event::parse(&note.json).expect("it is an event");
            chappe::nostr::Verifier::new().verify(event).expect("it is valid");
            assert_eq!(answer::event_number(&note.json), Some(note.number));
        }
    }
}
