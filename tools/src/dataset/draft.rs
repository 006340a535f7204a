//! Drafts: events before they are signed, and the mix of kinds they are drawn from.

use fastrand::Rng;

use super::random::choose_weighted;
use super::world::{Earlier, World};
use super::{lists, notes, zaps};

/// An event that lacks only its author's key.
pub(crate) struct Draft {
    /// Who signs; none means a key that is used once.
    pub(crate) author: Option<usize>,
    pub(crate) created_at: u64,
    pub(crate) kind: u16,
    pub(crate) tags: Vec<Vec<String>>,
    pub(crate) content: String,
}

impl Draft {
    /// Starts a draft without tags and content.
    pub(crate) fn new(author: usize, created_at: u64, kind: u16) -> Self {
        Self { author: Some(author), created_at, kind, tags: Vec::new(), content: String::new() }
    }

    /// Appends a tag.
    pub(crate) fn push<const N: usize>(&mut self, tag: [&str; N]) {
        self.tags.push(tag.iter().map(|&element| element.to_owned()).collect());
    }

    /// Moves the draft behind what it refers to.
    pub(crate) fn follow(&mut self, rng: &mut Rng, earlier: &Earlier) {
        if self.created_at <= earlier.created_at {
            self.created_at = earlier.created_at + rng.u64(1..600);
        }
    }

    /// The value of the first `d` tag, for addressable kinds.
    pub(crate) fn identifier(&self) -> Option<&str> {
        if !(30_000..40_000).contains(&self.kind) {
            return None;
        }
        let tag = self.tags.iter().find(|tag| tag[0] == "d")?;
        tag.get(1).map(String::as_str)
    }
}

/// Draws the kind of an event and drafts it.
///
/// What refers to earlier events becomes a plain note while there are none.
pub(crate) fn draft(world: &World, rng: &mut Rng, created_at: u64) -> Draft {
    let write = choose_weighted(rng, MIX);
    write(world, rng, created_at).unwrap_or_else(|| notes::post(world, rng, created_at))
}

/// Drafts one event of a kind; none when the world is too young for it.
type Write = fn(&World, &mut Rng, u64) -> Option<Draft>;

/// The mix of kinds of a public relay, in permille.
const MIX: &[(u32, Write)] = &[
    (444, notes::note),
    (250, notes::reaction),
    (50, notes::repost),
    (50, zaps::receipt),
    (40, lists::profile),
    (30, lists::follows),
    (35, lists::relays),
    (12, notes::deletion),
    (5, notes::article),
    (5, notes::report),
    (15, notes::message),
    (20, notes::gift_wrap),
    (15, notes::comment),
    (5, notes::picture),
    (10, lists::application_data),
    (6, lists::mutes),
    (8, lists::bookmarks),
];
