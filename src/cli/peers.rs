//! What the commands that talk to other relays have in common.

use std::sync::Arc;

use clap::ValueEnum;

use super::exit::Failure;
use super::groups;
use super::secret::own_keys;
use super::serve::restricted;
use crate::clock::Clock;
use crate::config::{GroupMode, Settings};
use crate::net::Address;
use crate::nostr::{Event, Filter, Kind};
use crate::peer::{Direction, Ended, Intake, IntakeThreads, Judge, Onlooker, Provenance};
use crate::session::{self, OwnNames, Reader, RestrictedKinds};
use crate::store::Store;

/// Which way events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// From the other relay into the store.
    Down,
    /// From the store to the other relay.
    Up,
    /// Both.
    Both,
}

impl From<Way> for Direction {
    fn from(way: Way) -> Direction {
        match way {
            Way::Down => Direction::Down,
            Way::Up => Direction::Up,
            Way::Both => Direction::Both,
        }
    }
}

/// Reads the address of another relay.
pub(super) fn parse_url(text: &str) -> Result<Address, String> {
    Address::parse(text)
}

/// Returns a filter that names events alone, not how many of them.
pub(super) fn without_limits(filter: Filter) -> Result<Filter, Failure> {
    if filter.limit.is_some() {
        return Err(Failure::usage("expected a filter without limit, found one with a limit")
            .hint("narrow the filter by since and until instead"));
    }
    if filter.search.is_some() {
        return Err(Failure::usage("expected a filter without search, found one with a search"));
    }
    Ok(filter)
}

/// Returns whether it is to be remembered where events came from.
pub(super) fn provenance_of(is_wanted: bool) -> Provenance {
    if is_wanted { Provenance::Remembered } else { Provenance::Forgotten }
}

/// Returns as whom the store is read for other relays.
///
/// # Errors
///
/// If the relay has groups, and its key cannot be read.
pub(super) fn reader_of(settings: &Settings, is_private: bool) -> Result<Onlooker, Failure> {
    if is_private {
        return Ok(Onlooker { reader: Reader::stranger(RestrictedKinds::default()), groups: None });
    }
    let keys = match settings.groups.mode {
        GroupMode::Off => None,
        _ => own_keys(settings)?,
    };
    let groups = keys.as_ref().and_then(|keys| groups::rules(settings, keys));
    Ok(Onlooker { reader: Reader::stranger(restricted(settings)), groups })
}

/// Returns what to say about an end that is none anybody wanted.
pub(super) fn failure_of(ended: Ended, url: &Address) -> Option<Failure> {
    let with_hint = |failure: Failure, hint: Option<String>| match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    };
    match ended {
        Ended::InSync | Ended::Stopped => None,
        Ended::Fault(fault) => {
            let failure = Failure::failed(format!("failed to sync with {url}: {fault}"));
            Some(with_hint(failure, fault.hint().map(str::to_owned)))
        }
        Ended::Unreachable(error) => {
            Some(with_hint(Failure::failed(format!("failed to {error}")), error.hint()))
        }
        Ended::Lost(why) => Some(
            Failure::failed(format!("failed to sync with {url}: {why}"))
                .hint("run it again: what has come is stored"),
        ),
        Ended::Store(error) => Some(error.into()),
    }
}

/// Starts what verifies and stores events of other relays.
pub(super) fn start_intake(
    store: &Store,
    names: OwnNames,
    clock: &Clock,
) -> Result<(Intake, IntakeThreads), Failure> {
    // In the store a request to vanish would be obeyed (NIP-62).
    let judge: Judge = Arc::new(move |event: &Event| {
        let is_foreign =
            event.kind == Kind::VANISH && !session::is_addressed(&event.view(), &names);
        match is_foreign {
            true => Err("request to vanish from another relay".to_owned()),
            false => Ok(()),
        }
    });
    Intake::start(store, judge, *clock)
        .map_err(|error| Failure::failed(format!("failed to start a thread: {error}")))
}
