//! The events that are measured with: a thousand bytes of JSON on average, validly signed.

use std::collections::HashSet;
use std::path::Path;

use chappe::nostr::{Event, Keypair, Kind, PublicKey, Verified, Verifier};

use super::Failure;

/// Events of many authors, in order of time.
pub(crate) struct Events {
    pub(crate) verified: Vec<Verified>,
    pub(crate) json: Vec<Vec<u8>>,
    pub(crate) authors: Vec<PublicKey>,
}

impl Events {
    /// Makes `count` events, the same at every run.
    pub(crate) fn new(count: usize) -> Events {
        let mut rng = fastrand::Rng::with_seed(1);
        let keys: Vec<Keypair> = (0..AUTHORS).filter_map(|_| keypair(&mut rng)).collect();
        let authors: Vec<PublicKey> = keys.iter().map(Keypair::public_key).collect();
        let mut verifier = Verifier::new();
        let mut verified = Vec::with_capacity(count);
        let mut ids: Vec<String> = vec!["0".repeat(64)];
        for number in 0..count {
            // Squaring makes some authors busier than others.
            let share = rng.f64() * rng.f64();
            let author = (share * keys.len() as f64) as usize;
            let event = write(&mut rng, &keys[author], number, &ids, &authors);
            if number % 50 == 0 {
                ids.push(event.id.to_string());
            }
            verified.push(verifier.verify(event).expect("the event was signed"));
        }
        let render = |event: &Verified| {
            let mut json = Vec::new();
            event.event().view().write_json(&mut json);
            json
        };
        let json = verified.iter().map(render).collect();
        Events { verified, json, authors }
    }

    /// Reads what [`Events::write`] wrote; ids are checked, signatures are not.
    pub(crate) fn read(path: &Path) -> Result<Events, Failure> {
        let mut events = Events { verified: Vec::new(), json: Vec::new(), authors: Vec::new() };
        let mut known = HashSet::new();
        let mut verifier = Verifier::new();
        for line in std::fs::read(path)?.split(|byte| *byte == b'\n').filter(|it| !it.is_empty()) {
            let event = Event::parse(line)?;
            if known.insert(event.pubkey) {
                events.authors.push(event.pubkey);
            }
            let verified = verifier.verify_id_only(event);
            events.verified.push(verified.map_err(|(_, invalid)| invalid.to_string())?);
            events.json.push(line.to_vec());
        }
        Ok(events)
    }

    /// Writes the events as JSON lines.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        Ok(std::fs::write(path, self.json.join(&b'\n'))?)
    }

    /// An event by number, going round.
    pub(crate) fn event(&self, number: usize) -> &Event {
        self.verified[number % self.verified.len()].event()
    }

    /// Bytes of JSON of an event on average.
    pub(crate) fn bytes(&self) -> f64 {
        self.json.iter().map(Vec::len).sum::<usize>() as f64 / self.json.len() as f64
    }
}

fn keypair(rng: &mut fastrand::Rng) -> Option<Keypair> {
    let mut secret = [0; 32];
    rng.fill(&mut secret);
    Keypair::from_secret(secret)
}

fn write(
    rng: &mut fastrand::Rng,
    key: &Keypair,
    number: usize,
    ids: &[String],
    authors: &[PublicKey],
) -> Event {
    let mut tags: Vec<Vec<String>> = Vec::new();
    let mut tag = |name: &str, value: String| tags.push(vec![name.to_owned(), value]);
    let kind = match rng.u8(0..10) {
        0..5 => 1,
        5..9 => 7,
        _ => 6,
    };
    tag("e", ids[rng.usize(0..ids.len())].clone());
    tag("p", authors[rng.usize(0..authors.len())].to_string());
    let words = if kind == 1 { rng.usize(20..240) } else { 1 };
    if kind == 1 {
        tag("t", format!("hashtag{}", rng.usize(0..30) * rng.usize(0..30)));
    }
    let mut content = String::new();
    for _ in 0..words {
        let letters = rng.usize(2..9);
        content.extend((0..letters).map(|_| rng.lowercase()));
        content.push_str(if rng.u8(0..20) == 0 { " \"\u{e9}\u{4e16}\"\n" } else { " " });
    }
    key.sign_event(FIRST_SECOND + number as u64, Kind(kind), &tags, &content)
}

const AUTHORS: usize = 2_000;
/// The time of the first event; one follows each second.
pub(crate) const FIRST_SECOND: u64 = 1_700_000_000;
