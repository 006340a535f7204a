//! The peers of the relay that serves: what the configuration says of each, in the words of the
//! rooms below.

use std::sync::Arc;

use super::exit::Failure;
use super::network::{client_options, patience};
use super::peers::{provenance_of, reader_of};
use super::secret;
use crate::clock::Clock;
use crate::config::{Peer, PeerSettings, Settings};
use crate::ingest::Entrance;
use crate::net::{Address, ClientOptions};
use crate::nostr::Filter;
use crate::peer::{Plan, Roster};
use crate::store::Store;

/// The peers, and how they are reached.
pub(super) struct Peering {
    roster: Roster,
    /// One for all, because connections that are opened at a time are counted there.
    client: ClientOptions,
}

impl Peering {
    /// Returns the peers of a relay that serves; none is followed yet.
    pub(super) fn new(settings: &Settings, store: Store, entrance: Arc<dyn Entrance>) -> Peering {
        let roster = Roster::new(store, entrance, Clock::system());
        Peering { roster, client: client_options(settings) }
    }

    /// Returns what is to be done with the peers; reads the keys that they name.
    pub(super) fn plans(&self, settings: &Settings, peers: &[Peer]) -> Result<Vec<Plan>, Failure> {
        plans(&self.client, settings, peers)
    }

    /// Follows these and no others.
    pub(super) fn follow(&mut self, plans: Vec<Plan>) -> Result<(), Failure> {
        self.roster
            .follow(plans)
            .map_err(|error| Failure::failed(format!("failed to start a thread: {error}")))
    }

    /// Leaves all of them.
    pub(super) fn stop(self) {
        self.roster.stop();
    }
}

/// Checks what the parts say as far as it takes a look at files.
pub(super) fn check(settings: &Settings, peers: &[Peer]) -> Result<(), Failure> {
    plans(&client_options(settings), settings, peers).map(drop)
}

fn plans(
    client: &ClientOptions,
    settings: &Settings,
    peers: &[Peer],
) -> Result<Vec<Plan>, Failure> {
    peers.iter().map(|peer| plan(client, settings, &peer.settings)).collect()
}

fn plan(client: &ClientOptions, settings: &Settings, peer: &PeerSettings) -> Result<Plan, Failure> {
    let wrong = |what: &str| Failure::usage(format!("peer.{what}: not as it was checked"));
    let address = Address::parse(&peer.url).map_err(|_| wrong("url"))?;
    let filter = Filter::parse(peer.filter.as_bytes()).map_err(|_| wrong("filter"))?;
    let key = peer.key_file.as_deref().map(secret::read).transpose()?;
    let mut client = client.clone();
    if let Some(proxy) = &peer.proxy {
        client.routes = Arc::new(client.routes.through(proxy));
    }
    let restricted = &settings.auth.restricted_kinds;
    let owner = key.as_ref().map(|key| key.public_key());
    Ok(Plan {
        name: peer.shown_name(),
        print: format!("{peer:?} {restricted:?} {owner:?}"),
        patience: patience(&client, &address),
        address,
        direction: peer.direction,
        filter,
        full_secs: (peer.full_sync_hours > 0).then_some(peer.full_sync_hours * SECS_PER_HOUR),
        terms: peer.rules,
        provenance: provenance_of(peer.provenance),
        key: key.map(Arc::new),
        reader: reader_of(settings, peer.private)?,
        is_private: peer.private,
        client,
    })
}

const SECS_PER_HOUR: u64 = 3_600;
