//! What the events of a dataset share: its authors, its relays, its past.

use std::sync::Arc;

use fastrand::Rng;

use super::random::{BECH32, Zipf, chance, derive_seed};
use super::seal::{Sealed, Signer};
use super::text::{Script, Text};

/// Everything a draft may look at.
pub(crate) struct World {
    pub(crate) text: Text,
    pub(crate) authors: Vec<Author>,
    pub(crate) past: Past,
    popularity: Zipf,
    hashtags: Zipf,
    relays: Zipf,
}

/// Somebody who signs.
pub(crate) struct Author {
    pub(crate) signer: Signer,
    pub(crate) pubkey: String,
    pub(crate) script: Script,
}

impl World {
    /// Makes the authors from the seed, on all cores.
    pub(crate) fn new(
        seed: u64,
        authors: usize,
        signer: fn(&mut Rng) -> Signer,
        threads: usize,
    ) -> Self {
        let mut made: Vec<Option<Author>> = Vec::new();
        made.resize_with(SERVICES + authors.max(2), || None);
        let share = made.len().div_ceil(threads);
        std::thread::scope(|scope| {
            for (part, slots) in made.chunks_mut(share).enumerate() {
                scope.spawn(move || {
                    for (place, slot) in slots.iter_mut().enumerate() {
                        let number = (part * share + place) as u64;
                        let mut rng = Rng::with_seed(derive_seed(seed, AUTHOR_STREAM, number));
                        *slot = Some(Author::new(&mut rng, signer));
                    }
                });
            }
        });
        let authors: Vec<Author> = made.into_iter().flatten().collect();
        Self {
            text: Text::new(),
            popularity: Zipf::new(authors.len() - SERVICES, 12.0),
            authors,
            past: Past::default(),
            hashtags: Zipf::new(HASHTAGS, 4.0),
            relays: Zipf::new(RELAYS, 2.0),
        }
    }

    /// Picks an author by how much they write.
    pub(crate) fn busy_author(&self, rng: &mut Rng) -> usize {
        SERVICES + self.popularity.pick(rng)
    }

    /// Picks an author, each as likely as any other.
    pub(crate) fn any_author(&self, rng: &mut Rng) -> usize {
        rng.usize(SERVICES..self.authors.len())
    }

    /// Picks a wallet service, which signs zap receipts and nothing else.
    pub(crate) fn service(&self, rng: &mut Rng) -> usize {
        rng.usize(0..SERVICES).min(rng.usize(0..SERVICES))
    }

    /// Picks a relay's address, famous ones more often.
    pub(crate) fn relay(&self, rng: &mut Rng) -> String {
        let rank = self.relays.pick(rng);
        let word = self.text.word(Script::ENGLISH, 150 + rank);
        let slash = if rank.is_multiple_of(3) { "/" } else { "" };
        format!("wss://relay.{word}.example{slash}")
    }

    /// Picks a relay hint: often none.
    pub(crate) fn relay_hint(&self, rng: &mut Rng) -> String {
        if chance(rng, 450) { String::new() } else { self.relay(rng) }
    }

    /// Picks a hashtag, popular ones more often.
    pub(crate) fn hashtag(&self, rng: &mut Rng, script: Script) -> String {
        let rank = self.hashtags.pick(rng);
        let script = if chance(rng, 700) { Script::ENGLISH } else { script };
        let word = self.text.word(script, 60 + rank % 2_500);
        if rank < 2_500 { word.to_owned() } else { format!("{word}{}", rank / 2_500) }
    }

    /// The mention of an author as text has it (its checksum is not a real one).
    pub(crate) fn mention(&self, author: usize) -> String {
        let pubkey = self.authors[author].signer.public_key().0;
        let mut text = String::from("nostr:npub1");
        let (mut buffer, mut bits) = (0u32, 0);
        for byte in pubkey.iter().chain(&pubkey[..4]) {
            buffer = (buffer << 8 | u32::from(*byte)) & 0xfff;
            bits += 8;
            while bits >= 5 {
                bits -= 5;
                text.push(char::from(BECH32[(buffer >> bits & 31) as usize]));
            }
        }
        text.push('q');
        text
    }
}

impl Author {
    fn new(rng: &mut Rng, signer: fn(&mut Rng) -> Signer) -> Self {
        let signer = signer(rng);
        let pubkey = faster_hex::hex_string(&signer.public_key().0);
        Self { signer, pubkey, script: Text::choose_script(rng) }
    }
}

/// The events of earlier rounds, as far as later ones refer to them.
#[derive(Default)]
pub(crate) struct Past {
    events: Vec<Earlier>,
    /// Places in `events` that are answered, liked and zapped.
    notes: Vec<u32>,
    /// Places in `events`, by author.
    by_author: Vec<Vec<u32>>,
    /// The latest notes in full, for reposts.
    latest: Vec<Arc<Sealed>>,
}

/// What is remembered of an event.
pub(crate) struct Earlier {
    pub(crate) id: [u8; 32],
    pub(crate) author: usize,
    pub(crate) kind: u16,
    pub(crate) created_at: u64,
    pub(crate) identifier: Option<Box<str>>,
}

impl Earlier {
    /// The event's id as text.
    pub(crate) fn id_hex(&self) -> String {
        faster_hex::hex_string(&self.id)
    }

    /// The value of an `a` tag that names this event, if it is addressable.
    pub(crate) fn address(&self, world: &World) -> Option<String> {
        let identifier = self.identifier.as_deref()?;
        Some(format!("{}:{}:{identifier}", self.kind, world.authors[self.author].pubkey))
    }
}

impl Past {
    /// Remembers an event of the round that ends.
    pub(crate) fn remember(&mut self, event: &Arc<Sealed>) {
        // Gift wraps come from keys used once: nobody refers to them.
        let Some(author) = event.author else { return };
        let place = self.events.len() as u32;
        let kind = event.event.kind.0;
        self.events.push(Earlier {
            id: event.event.id.0,
            author,
            kind,
            created_at: event.event.created_at,
            identifier: event.identifier.clone(),
        });
        if matches!(kind, 1 | 20 | 1111 | 30023) {
            self.notes.push(place);
        }
        if kind == 1 {
            self.latest.push(Arc::clone(event));
        }
        if self.by_author.len() <= author {
            self.by_author.resize_with(author + 1, Vec::new);
        }
        self.by_author[author].push(place);
    }

    /// Forgets the notes in full that are too old to be reposted.
    pub(crate) fn end_round(&mut self) {
        let excess = self.latest.len().saturating_sub(LATEST);
        self.latest.drain(..excess);
    }

    /// Picks a note, recent and popular ones more often.
    pub(crate) fn note(&self, rng: &mut Rng) -> Option<&Earlier> {
        let last = self.notes.len().checked_sub(1)?;
        let uniform = rng.f64();
        let age = (uniform * uniform * uniform * WINDOW.min(last + 1) as f64) as usize;
        let mut place = last - age.min(last);
        if chance(rng, 550) {
            // The popular note of its neighbourhood.
            place -= place % NEIGHBOURHOOD;
        }
        Some(&self.events[self.notes[place] as usize])
    }

    /// Picks any event but a deletion, recent ones more often.
    pub(crate) fn any(&self, rng: &mut Rng) -> Option<&Earlier> {
        let last = self.events.len().checked_sub(1)?;
        let uniform = rng.f64();
        let age = (uniform * uniform * last as f64) as usize;
        let event = &self.events[last - age];
        (event.kind != 5).then_some(event)
    }

    /// Picks one of an author's events.
    pub(crate) fn own(&self, rng: &mut Rng, author: usize) -> Option<&Earlier> {
        let places = self.by_author.get(author)?;
        let last = places.len().checked_sub(1)?;
        Some(&self.events[places[rng.usize(0..=last)] as usize])
    }

    /// Picks a recent note in full.
    pub(crate) fn whole_note(&self, rng: &mut Rng) -> Option<&Sealed> {
        let last = self.latest.len().checked_sub(1)?;
        Some(&self.latest[rng.usize(0..=last)])
    }
}

/// Wallet services stand before the ordinary authors.
const SERVICES: usize = 12;
const HASHTAGS: usize = 10_000;
const RELAYS: usize = 400;
/// How many notes back answers reach.
const WINDOW: usize = 30_000;
const NEIGHBOURHOOD: usize = 40;
const LATEST: usize = 4_096;
const AUTHOR_STREAM: u64 = 0x6175_7468;
