//! Random events and filters of a small universe, where everything collides.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::harness::event::Key;
use crate::harness::{Event, key, pick};

/// The first second of the universe; it has [`SECONDS`] of them.
pub(super) const AT: u64 = 1_700_000_000;
const SECONDS: u64 = 12;

const KINDS: [u16; 17] =
    [0, 1, 1, 1, 1, 3, 5, 5, 7, 41, 1059, 1059, 10_002, 20_001, 30_000, 30_023, 40_000];
const WORDS: [&str; 7] = ["a", "b", "c", "", "A", "a ", "\u{e9}\"\\\n"];

/// What random events are made of, and which of them exist.
pub(super) struct Universe {
    keys: Vec<Key>,
    /// Every event that was made, stored or not.
    pub(super) made: Vec<Event>,
    /// Seconds at which an `expiration` may be set.
    pub(super) expiries: Vec<u64>,
    long: String,
    count: u64,
}

impl Universe {
    /// A universe of a few authors.
    pub(super) fn new(expiries: &[u64]) -> Universe {
        Universe {
            keys: (1..=4).map(key).collect(),
            made: Vec::new(),
            expiries: expiries.to_vec(),
            long: "l".repeat(300),
            count: 0,
        }
    }

    /// Makes an event, sometimes one that was made before.
    pub(super) fn event(&mut self, random: &mut Rng) -> Event {
        if !self.made.is_empty() && random.u8(..12) == 0 {
            return pick(random, &self.made).clone();
        }
        let author = random.usize(..self.keys.len());
        if random.u8(..40) == 0 {
            // Early mostly, so that something is left.
            let at = AT + random.u64(..SECONDS / 3);
            let tags = vec![vec!["relay".to_owned(), "ALL_RELAYS".to_owned()]];
            let event = self.keys[author].event_owned(62, "", tags, at);
            self.made.push(event.clone());
            return event;
        }
        let kind = *pick(random, &KINDS);
        let mut tags = if kind == 5 { self.targets(random, author) } else { self.tags(random) };
        if matches!(kind, 30_000 | 30_023) && random.u8(..4) > 0 {
            tags.push(vec!["d".to_owned(), self.word(random)]);
        }
        // Only events without address expire: when a version of an address expires, it is the
        // relay's choice how long it keeps older versions out.
        let lasts = matches!(kind, 0 | 3 | 10_002 | 30_000 | 30_023);
        if !lasts && !self.expiries.is_empty() && random.u8(..6) == 0 {
            let junk = ["", "soon", "-5", "1e3"].map(str::to_owned);
            let value = match random.u8(..5) {
                0 => pick(random, &junk).clone(),
                _ => pick(random, &self.expiries).to_string(),
            };
            tags.push(vec!["expiration".to_owned(), value]);
        }
        random.shuffle(&mut tags);
        self.count += 1;
        let at = AT + random.u64(..SECONDS);
        // Few contents and many numbers: some events of one second differ in nothing else.
        let event = self.keys[author].event_owned(kind, &(self.count % 97).to_string(), tags, at);
        self.made.push(event.clone());
        event
    }

    /// Makes the filters of one REQ.
    pub(super) fn filters(&self, random: &mut Rng) -> Vec<Value> {
        let count = *pick(random, &[1, 1, 1, 2, 2, 3, 5]);
        (0..count).map(|_| self.filter(random)).collect()
    }

    fn filter(&self, random: &mut Rng) -> Value {
        let mut filter = Map::new();
        let one_in = |random: &mut Rng, n: u8| random.u8(..n) == 0;
        if one_in(random, 8) {
            filter.insert("ids".to_owned(), self.some(random, 12, Self::id));
        }
        if one_in(random, 3) {
            filter.insert("authors".to_owned(), self.some(random, 3, Self::author));
        }
        if one_in(random, 3) {
            let kind = |_: &Universe, random: &mut Rng| json!(*pick(random, &KINDS));
            filter.insert("kinds".to_owned(), self.some(random, 4, kind));
        }
        for name in ["#t", "#x", "#d", "#T"] {
            if one_in(random, 7) {
                filter.insert(name.to_owned(), self.some(random, 3, |s, r| json!(s.word(r))));
            }
        }
        if one_in(random, 8) {
            filter.insert("#e".to_owned(), self.some(random, 12, Self::id));
        }
        if one_in(random, 8) {
            filter.insert("#p".to_owned(), self.some(random, 3, Self::author));
        }
        if one_in(random, 12) {
            filter.insert("#a".to_owned(), self.some(random, 3, |s, r| json!(s.address(r))));
        }
        if one_in(random, 4) {
            filter.insert("since".to_owned(), json!(AT + random.u64(..SECONDS)));
        }
        if one_in(random, 4) {
            filter.insert("until".to_owned(), json!(AT + random.u64(..SECONDS)));
        }
        if one_in(random, 2) {
            let limits = [0, 1, 2, 3, 5, 8, 20, 400];
            filter.insert("limit".to_owned(), json!(*pick(random, &limits)));
        }
        Value::Object(filter)
    }

    fn some(
        &self,
        random: &mut Rng,
        most: usize,
        make: impl Fn(&Universe, &mut Rng) -> Value,
    ) -> Value {
        // An empty list is rare and matches nothing.
        let count = if random.u8(..20) == 0 { 0 } else { random.usize(1..=most) };
        Value::Array((0..count).map(|_| make(self, random)).collect())
    }

    fn id(&self, random: &mut Rng) -> Value {
        match self.made.len() {
            0 => json!("0".repeat(64)),
            _ => json!(pick(random, &self.made).id),
        }
    }

    fn author(&self, random: &mut Rng) -> Value {
        json!(pick(random, &self.keys).public())
    }

    fn word(&self, random: &mut Rng) -> String {
        match random.u8(..10) {
            0 => self.long.clone(),
            1 => pick(random, &self.keys).public().to_owned(),
            _ => (*pick(random, &WORDS)).to_owned(),
        }
    }

    fn address(&self, random: &mut Rng) -> String {
        if self.made.is_empty() || random.u8(..8) == 0 {
            return format!("30000:{}", pick(random, &self.keys).public());
        }
        // An event without address gives an address that stands for nothing.
        pick(random, &self.made).address()
    }

    fn tags(&self, random: &mut Rng) -> Vec<Vec<String>> {
        let count = *pick(random, &[0, 0, 1, 1, 2, 3, 6]);
        let tag = |random: &mut Rng| match random.u8(..10) {
            0..=2 => vec!["t".to_owned(), self.word(random)],
            3 => vec!["x".to_owned(), self.word(random), self.word(random)],
            4 => vec!["T".to_owned(), self.word(random)],
            5 => vec!["e".to_owned(), text(self.id(random)), "wss://example.com".to_owned()],
            6 | 7 => vec!["p".to_owned(), text(self.author(random))],
            8 => vec!["t".to_owned()],
            _ => vec![self.word(random)],
        };
        (0..count).map(|_| tag(random)).collect()
    }

    fn targets(&self, random: &mut Rng, author: usize) -> Vec<Vec<String>> {
        let own: Vec<&Event> =
            self.made.iter().filter(|event| event.pubkey == self.keys[author].public()).collect();
        let count = random.usize(..4);
        let target = |random: &mut Rng| {
            let event = match random.u8(..4) {
                0 => self.made.last(),
                1 => (!self.made.is_empty()).then(|| pick(random, &self.made)),
                _ => (!own.is_empty()).then(|| *pick(random, &own)),
            };
            let Some(event) = event else { return vec!["k".to_owned(), "1".to_owned()] };
            match random.u8(..3) {
                0 => vec!["a".to_owned(), event.address()],
                _ => vec!["e".to_owned(), event.id.clone()],
            }
        };
        (0..count).map(|_| target(random)).collect()
    }
}

fn text(value: Value) -> String {
    value.as_str().expect("ids and authors are text").to_owned()
}
