//! The events that a relay is filled with, and what is known about them: queries are made from it.

use std::collections::HashMap;
use std::num::NonZero;
use std::ops::Range;
use std::path::Path;

use chappe::nostr::{Event, EventId, EventRef, PublicKey};

use super::answer;
use crate::Failure;
use crate::dataset::{Generator, Options, Signatures};

/// Events as JSON, and facts about them.
#[derive(Default)]
pub(crate) struct Material {
    lines: Vec<u8>,
    places: Vec<Range<usize>>,
    numbers: Vec<u64>,
    pub(crate) facts: Facts,
}

/// What queries ask for. Lists with counts have the greatest first.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) ids: Vec<EventId>,
    /// The author of each event: who writes more is picked more often.
    pub(crate) writers: Vec<PublicKey>,
    pub(crate) authors: Vec<(PublicKey, u32)>,
    /// Authors of profiles.
    pub(crate) profiles: Vec<PublicKey>,
    /// Kind, author and `d` value (as JSON has it) of addressable events.
    pub(crate) addresses: Vec<(u16, PublicKey, String)>,
    pub(crate) kinds: Vec<(u16, u32)>,
    /// Hashtags as JSON has them.
    pub(crate) hashtags: Vec<(String, u32)>,
    /// Events that notes answer, by number of answers.
    pub(crate) threads: Vec<([u8; 32], u32)>,
    /// Events that have reactions.
    pub(crate) reacted: Vec<([u8; 32], u32)>,
    /// Who is named in notes, reposts, reactions and zaps.
    pub(crate) mentioned: Vec<([u8; 32], u32)>,
    /// Who gets private messages.
    pub(crate) messaged: Vec<([u8; 32], u32)>,
    /// When the busiest authors wrote their notes, latest first.
    pub(crate) diaries: Vec<(PublicKey, Vec<u64>)>,
    pub(crate) oldest: u64,
    pub(crate) newest: u64,
}

impl Material {
    /// Reads JSON lines.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let lines =
            std::fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))?;
        let mut material = Self { lines, ..Self::default() };
        let mut tallies = Tallies::default();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &material.lines).chain([material.lines.len()]) {
            let line = material.lines[start..end].trim_ascii();
            let offset = start + material.lines[start..end].len()
                - material.lines[start..end].trim_ascii_start().len();
            start = end + 1;
            if line.is_empty() {
                continue;
            }
            let event = Event::parse(line)
                .map_err(|error| format!("{}: byte {offset}: {error}", path.display()))?;
            material.places.push(offset..offset + line.len());
            tallies.add(&event.view());
        }
        material.finish(tallies)
    }

    /// Generates events with valid signatures.
    pub(crate) fn generate(events: u64, seed: u64) -> Result<Self, Failure> {
        let mut generator = Generator::new(Options {
            events,
            seed,
            created_at: 1_696_204_800..=1_759_276_800,
            signatures: Signatures::Valid,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
        });
        let mut material = Self::default();
        let mut tallies = Tallies::default();
        loop {
            let round = generator.next_round();
            if round.is_empty() {
                return material.finish(tallies);
            }
            for event in round {
                let start = material.lines.len();
                material.lines.extend_from_slice(&event.json);
                material.places.push(start..material.lines.len());
                tallies.add(&event.event.view());
            }
        }
    }

    fn finish(mut self, tallies: Tallies) -> Result<Self, Failure> {
        self.facts = tallies.into_facts();
        if self.facts.ids.len() < EVENTS_MIN {
            return Err(format!("expected at least {EVENTS_MIN} events").into());
        }
        let number = |id: &EventId| answer::number(id.to_string().as_bytes()).unwrap_or_default();
        self.numbers = self.facts.ids.iter().map(number).collect();
        Ok(self)
    }

    /// How many events there are.
    pub(crate) fn count(&self) -> usize {
        self.places.len()
    }

    /// The JSON of an event.
    pub(crate) fn json(&self, place: usize) -> &[u8] {
        &self.lines[self.places[place].clone()]
    }

    /// The first 16 digits of an event's id.
    pub(crate) fn number(&self, place: usize) -> u64 {
        self.numbers[place]
    }
}

/// Facts in the making.
#[derive(Default)]
struct Tallies {
    facts: Facts,
    authors: HashMap<PublicKey, u32>,
    kinds: HashMap<u16, u32>,
    hashtags: HashMap<String, u32>,
    threads: HashMap<[u8; 32], u32>,
    reacted: HashMap<[u8; 32], u32>,
    mentioned: HashMap<[u8; 32], u32>,
    messaged: HashMap<[u8; 32], u32>,
    diaries: HashMap<PublicKey, Vec<u64>>,
}

impl Tallies {
    fn add(&mut self, event: &EventRef<'_>) {
        let facts = &mut self.facts;
        let is_first = facts.ids.is_empty();
        facts.oldest = if is_first { event.created_at } else { facts.oldest.min(event.created_at) };
        facts.newest = facts.newest.max(event.created_at);
        facts.ids.push(*event.id);
        facts.writers.push(*event.pubkey);
        *self.authors.entry(*event.pubkey).or_default() += 1;
        *self.kinds.entry(event.kind.0).or_default() += 1;
        match event.kind.0 {
            0 => facts.profiles.push(*event.pubkey),
            1 => self.diaries.entry(*event.pubkey).or_default().push(event.created_at),
            30_000..40_000 => {
                let mut identifier = Vec::new();
                event.identifier().write_canonical(&mut identifier);
                let identifier = String::from_utf8_lossy(&identifier).into_owned();
                facts.addresses.push((event.kind.0, *event.pubkey, identifier));
            }
            _ => {}
        }
        self.add_tags(event);
    }

    fn add_tags(&mut self, event: &EventRef<'_>) {
        for (letter, value) in event.indexed_values() {
            let tally = match (letter, event.kind.0) {
                (b't', 1) => {
                    *self.hashtags.entry(canonical(&value)).or_default() += 1;
                    continue;
                }
                (b'e', 1) => &mut self.threads,
                (b'e', 7) => &mut self.reacted,
                (b'p', 1 | 6 | 7 | 9735) => &mut self.mentioned,
                (b'p', 4 | 1059) => &mut self.messaged,
                _ => continue,
            };
            if let Some(hex) = value.as_hex() {
                *tally.entry(*hex).or_default() += 1;
            }
        }
    }

    fn into_facts(self) -> Facts {
        let mut diaries: Vec<_> = self.diaries.into_iter().collect();
        diaries.sort_by_key(|(author, times)| (std::cmp::Reverse(times.len()), *author));
        diaries.truncate(DIARIES);
        for (_, times) in &mut diaries {
            times.sort_unstable_by(|a, b| b.cmp(a));
        }
        let mut facts = self.facts;
        facts.profiles.sort_unstable();
        facts.profiles.dedup();
        facts.addresses.sort_unstable();
        facts.addresses.dedup();
        Facts {
            authors: ranked(self.authors),
            kinds: ranked(self.kinds),
            hashtags: ranked(self.hashtags),
            threads: ranked(self.threads),
            reacted: ranked(self.reacted),
            mentioned: ranked(self.mentioned),
            messaged: ranked(self.messaged),
            diaries,
            ..facts
        }
    }
}

fn canonical(value: &chappe::nostr::Value<'_>) -> String {
    let mut text = Vec::new();
    value.write_canonical(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Sorts by count, the greatest first; equal counts by value, so that runs are alike.
fn ranked<T: Ord>(tally: HashMap<T, u32>) -> Vec<(T, u32)> {
    let mut list: Vec<_> = tally.into_iter().collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list
}

/// Fewer say nothing about a relay.
const EVENTS_MIN: usize = 100;
/// How many authors' times are kept.
const DIARIES: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_those_of_the_events_from_a_generator_or_a_file() {
        let generated = Material::generate(2_000, 5).expect("a generator cannot fail");
        assert_eq!(generated.count(), 2_000);
        assert_eq!(generated.facts.ids.len(), 2_000);
        assert!(generated.facts.authors.is_sorted_by(|a, b| a.1 >= b.1));
        assert!(generated.facts.hashtags[0].1 > 1);
        assert!(!generated.facts.messaged.is_empty() && !generated.facts.addresses.is_empty());
        let path = std::env::temp_dir().join(format!("material-{}", std::process::id()));
        let places = 0..generated.count();
        let text: Vec<_> = places.map(|place| [generated.json(place), b"\r\n"].concat()).collect();
        std::fs::write(&path, text.concat()).expect("a temporary file can be written");
        let read = Material::read(&path);
        std::fs::remove_file(&path).expect("it was written");
        let read = read.expect("the lines are events");
        assert_eq!(read.count(), 2_000);
        assert_eq!(read.json(1_999), generated.json(1_999));
        assert_eq!(read.number(7), generated.number(7));
        assert_eq!(read.facts.diaries, generated.facts.diaries);
    }
}
