//! How it stands with a peer: what the operator is shown, and what a later run goes on from. It is
//! kept in a row of the store, so `relay info` can tell it beside a relay that serves.

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::intake::IntakeCounts;
use super::terms::{Agreement, Counts, Direction, Stage};
use crate::hex::Hex;
use crate::nostr::{Filter, verify};
use crate::seq::Seq;
use crate::store::{FactChange, Store, StoreError};

/// How it stands with a peer. Times are in seconds since 1970, zero for never; counts are those
/// since the run began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerStatus {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Which way events go: down, up or both.
    pub direction: String,
    /// Which events, as a filter in JSON.
    pub filter: String,
    /// What is being done: away, syncing or following.
    pub stage: String,
    /// When this was noted.
    pub noted_at: u64,
    /// Up to where in the own log everything that matches was given to the peer, as far as that is
    /// known.
    pub given: Option<u64>,
    /// When both sides agreed the last time.
    pub agreed_at: u64,
    /// When everything was compared the last time, not only what is dated lately.
    pub compared_at: u64,
    /// Whether there was a long cut since then.
    pub has_gap: bool,
    /// When an event came from the peer the last time.
    pub last_received_at: u64,
    /// By when that event is dated.
    pub last_created_at: u64,
    /// Events that came.
    pub received: u64,
    /// Of those, events that came by themselves, live.
    pub live: u64,
    /// Of those that came, events that were stored.
    pub stored: u64,
    /// Of those that came, events that were there before.
    pub duplicate: u64,
    /// Of those that came, events that are not what their author signed.
    pub invalid: u64,
    /// Of those that came, events that the rules of this relay refuse.
    pub refused: u64,
    /// Events that the peer took.
    pub accepted: u64,
    /// Events that were offered to the peer and that it had.
    pub known_there: u64,
    /// Events that the peer refused.
    pub refused_there: u64,
    /// Events that are to be sent or not answered.
    pub waiting: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Connections that failed or broke.
    pub errors: u64,
    /// What went wrong last.
    pub last_error: String,
    /// When that was.
    pub last_error_at: u64,
}

/// What is done with a peer: the same words find the same row.
pub struct Scope<'s> {
    /// Where it is.
    pub url: &'s str,
    /// Which way events go.
    pub direction: Direction,
    /// Which events.
    pub filter: &'s Filter,
    /// Whether private messages go, too.
    pub is_private: bool,
}

impl Scope<'_> {
    /// Returns the name of the row.
    fn row_name(&self) -> String {
        let private = if self.is_private { "private" } else { "" };
        let direction = direction_word(self.direction);
        let words = [self.url, direction, private, &filter_text(self.filter)].join("\n");
        let digest = verify::digest(words.as_bytes());
        format!("{OWNER}{}", Hex(&digest[..8]))
    }

    /// Returns how it stood when it was noted last; nothing is known of a peer that is new.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn recall(&self, name: &str, store: &Store) -> Result<PeerStatus, StoreError> {
        let rows = store.snapshot()?.facts(&self.row_name())?;
        let found = rows.first().and_then(|(_, text)| PeerStatus::parse(text));
        let known = found.unwrap_or_default();
        // A store that has lost its end goes on with places that were given before.
        let last = store.last_seq();
        Ok(PeerStatus {
            name: name.to_owned(),
            url: self.url.to_owned(),
            direction: direction_word(self.direction).to_owned(),
            filter: filter_text(self.filter),
            given: known.given.filter(|given| Seq(*given) <= last),
            agreed_at: known.agreed_at,
            compared_at: known.compared_at,
            has_gap: known.has_gap,
            last_received_at: known.last_received_at,
            last_created_at: known.last_created_at,
            ..PeerStatus::default()
        })
    }
}

/// The row of a peer, written only when it says something new.
#[derive(Clone, Debug)]
pub struct PeerNote {
    name: String,
    written: Option<PeerStatus>,
}

impl PeerNote {
    /// Returns the row in which it is noted what is done with a peer.
    pub fn of(scope: &Scope<'_>) -> PeerNote {
        PeerNote { name: scope.row_name(), written: None }
    }

    /// Returns what is to be written, if anything is.
    pub fn take(&mut self, status: &PeerStatus, now: u64) -> Option<FactChange> {
        let mut rough = status.clone();
        if status.lag_secs(now) == 0 {
            // That time goes on alone is no reason to write at once.
            rough.agreed_at -= status.agreed_at % AGREED_SECS;
        }
        if self.written.as_ref() == Some(&rough) {
            return None;
        }
        self.written = Some(rough);
        let status = PeerStatus { noted_at: now, ..status.clone() };
        Some(status.row(self.name.clone()))
    }
}

impl PeerStatus {
    /// Returns all that is noted in a store.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn all(store: &Store) -> Result<Vec<PeerStatus>, StoreError> {
        let rows = store.snapshot()?.facts(OWNER)?;
        let mut all: Vec<PeerStatus> =
            rows.iter().filter_map(|(_, text)| PeerStatus::parse(text)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Returns the rows of peers that nothing was noted of since a time, to be removed.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn stale(store: &Store, since: u64) -> Result<Vec<FactChange>, StoreError> {
        let is_stale = |text: &[u8]| PeerStatus::parse(text).is_none_or(|it| it.noted_at < since);
        let rows = store.snapshot()?.facts(OWNER)?.into_iter().filter(|(_, text)| is_stale(text));
        Ok(rows.map(|(name, _)| FactChange::remove(name)).collect())
    }

    /// Returns the row that says this.
    fn row(&self, name: String) -> FactChange {
        FactChange::put(name, serde_json::to_vec(self).expect("numbers and texts are JSON"))
    }

    /// Returns what earlier runs have come to.
    pub fn agreement(&self) -> Agreement {
        // What was given is not known: then everything has to be compared.
        if self.given.is_none() && self.direction != direction_word(Direction::Down) {
            return Agreement::default();
        }
        let (agreed, compared) = (self.agreed_at, self.compared_at);
        Agreement { agreed, compared, has_gap: self.has_gap }
    }

    /// Returns up to where everything was given to the peer.
    pub fn given(&self) -> Option<Seq> {
        self.given.map(Seq)
    }

    /// Notes what a later run can go on from.
    pub fn remember(&mut self, agreement: Agreement, given: Option<Seq>) {
        (self.agreed_at, self.compared_at) = (agreement.agreed, agreement.compared);
        self.has_gap = agreement.has_gap;
        self.given = given.map(|seq| seq.0);
    }

    /// Notes how far an engine is. What was counted `before` it began is added.
    pub fn look(&mut self, engine: &Engine, before: &PeerStatus, taken: &IntakeCounts) {
        let counts: &Counts = engine.counts();
        self.stage = stage_word(engine.stage()).to_owned();
        self.waiting = engine.outbound() as u64;
        self.received = before.received + counts.received;
        self.live = before.live + counts.live;
        self.accepted = before.accepted + counts.accepted;
        self.known_there = before.known_there + counts.duplicate;
        self.refused_there = before.refused_there + counts.refused_total();
        self.connections = before.connections + counts.connections;
        self.last_received_at = self.last_received_at.max(counts.last_received_at);
        if counts.last_received_at > 0 {
            self.last_created_at = counts.last_created_at;
        }
        self.stored = taken.stored;
        self.duplicate = taken.duplicate + taken.replaced + taken.deleted + taken.passing;
        self.invalid = taken.invalid + counts.malformed;
        self.refused = taken.refused;
    }

    /// Notes that something went wrong.
    pub fn note_error(&mut self, why: &str, now: u64) {
        self.stage = stage_word(Stage::Away).to_owned();
        self.errors += 1;
        let end = why.floor_char_boundary(ERROR_BYTES_MAX);
        self.last_error = why[..end].to_owned();
        self.last_error_at = now;
    }

    /// Returns for how many seconds the two sides may differ; zero while both agree.
    pub fn lag_secs(&self, now: u64) -> u64 {
        // While both agree that is noted again and again; what was noted long ago tells nothing.
        let is_fresh = self.noted_at == 0 || now.saturating_sub(self.noted_at) <= 2 * AGREED_SECS;
        let is_following = self.stage == stage_word(Stage::Following);
        let is_level = is_following && self.waiting == 0 && is_fresh;
        if is_level { 0 } else { now.saturating_sub(self.agreed_at) }
    }

    fn parse(text: &[u8]) -> Option<PeerStatus> {
        serde_json::from_slice(text).ok()
    }
}

fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Away => "away",
        Stage::Syncing => "syncing",
        Stage::Following => "following",
    }
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Down => "down",
        Direction::Up => "up",
        Direction::Both => "both",
    }
}

fn filter_text(filter: &Filter) -> String {
    let mut text = Vec::new();
    filter.write_json(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Whose rows they are.
const OWNER: &str = "peer/";
/// How exactly it is noted when both sides agreed while they do.
const AGREED_SECS: u64 = 300;
const ERROR_BYTES_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_with_a_peer_has_a_row_of_its_own() {
        let all = Filter::default();
        let notes = Filter { kinds: Some([1].into()), ..Filter::default() };
        let scope =
            |url, direction, filter, is_private| Scope { url, direction, filter, is_private };
        let names = [
            scope("ws://a", Direction::Down, &all, false),
            scope("ws://a", Direction::Up, &all, false),
            scope("ws://a", Direction::Down, &notes, false),
            scope("ws://a", Direction::Down, &all, true),
            scope("ws://b", Direction::Down, &all, false),
        ]
        .map(|scope| scope.row_name());
        for (place, name) in names.iter().enumerate() {
            assert!(!names[..place].contains(name), "{name}");
            assert_eq!(name.len(), OWNER.len() + 16);
        }
    }

    #[test]
    fn a_status_is_read_as_it_was_written_and_one_of_another_version_as_far_as_it_goes() {
        let mut status = PeerStatus { name: "a".to_owned(), given: Some(7), ..Default::default() };
        status.note_error(&"\u{e4}".repeat(400), 9);
        let row = status.row("peer/x".to_owned());
        assert_eq!(PeerStatus::parse(&row.value.expect("a text")), Some(status));
        let other = PeerStatus::parse(b"{\"given\":5,\"colour\":\"blue\"}").expect("JSON");
        assert_eq!(other.given, Some(5));
        assert_eq!(PeerStatus::parse(b"nonsense"), None);
    }

    #[test]
    fn a_row_is_written_when_it_says_something_new() {
        let all = Filter::default();
        let (url, direction) = ("ws://a", Direction::Down);
        let mut note = PeerNote::of(&Scope { url, direction, filter: &all, is_private: false });
        let mut status =
            PeerStatus { stage: "following".to_owned(), agreed_at: 600, ..Default::default() };
        assert!(note.take(&status, 600).is_some());
        status.agreed_at = 899;
        assert_eq!(note.take(&status, 899), None);
        status.received += 1;
        assert!(note.take(&status, 899).is_some());
        status.agreed_at = 900;
        assert!(note.take(&status, 900).is_some());
    }

    #[test]
    fn an_agreement_holds_only_as_long_as_it_is_known_what_was_given() {
        let status = |direction: &str, given| PeerStatus {
            direction: direction.to_owned(),
            given,
            agreed_at: 9,
            ..PeerStatus::default()
        };
        assert_eq!(status("up", Some(4)).agreement().agreed, 9);
        assert_eq!(status("down", None).agreement().agreed, 9);
        for direction in ["up", "both"] {
            assert_eq!(status(direction, None).agreement(), Agreement::default());
        }
    }

    #[test]
    fn who_follows_and_has_nothing_to_send_lags_by_nothing() {
        let mut status =
            PeerStatus { stage: "following".to_owned(), agreed_at: 100, ..Default::default() };
        assert_eq!(status.lag_secs(160), 0);
        let noted = PeerStatus { noted_at: 130, ..status.clone() };
        assert_eq!((noted.lag_secs(160), noted.lag_secs(1_000)), (0, 900), "nobody notes any more");
        status.waiting = 1;
        assert_eq!(status.lag_secs(160), 60);
        status.note_error("gone", 160);
        assert_eq!((status.lag_secs(170), status.errors), (70, 1));
    }
}
