//! The addresses that mean the relay that the settings describe.

use crate::config::Settings;
use crate::nostr::RelayUrl;
use crate::session::OwnNames;

/// Returns by which addresses the relay goes (NIP-42, NIP-62).
pub(super) fn own_names(settings: &Settings) -> OwnNames {
    let urls: Box<[RelayUrl]> =
        settings.relay.url.iter().filter_map(|text| RelayUrl::parse(text)).collect();
    if urls.is_empty() { OwnNames::Local(settings.server.listen) } else { OwnNames::Public(urls) }
}
