//! The scribe: sees every commit first, and keeps what stands in line with it.

use super::herald::HeraldHandle;
use crate::ingest::{Witness, Witnessed};
use crate::policy::{Follower, Standings};

/// The writer's witness.
pub(super) struct Scribe {
    standings: Standings,
    standing: Follower,
    herald: HeraldHandle,
}

impl Scribe {
    /// Keeps `standings` in line, and calls the herald when it has.
    pub(super) fn new(standings: Standings, herald: HeraldHandle) -> Scribe {
        Scribe { standing: standings.follow(), standings, herald }
    }
}

impl Witness for Scribe {
    fn witness(&mut self, commit: &Witnessed<'_>) {
        let standing = self.standing.current();
        let mut events = commit.published.iter().map(|it| it.event.view());
        if !events.any(|event| standing.follows_from(&event)) {
            return;
        }
        // A part takes up what is its own and nothing else.
        self.standings.update(|standing| {
            commit.published.iter().for_each(|it| standing.note(&it.event.view()));
        });
        self.herald.call();
    }
}
