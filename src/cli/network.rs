//! How commands reach other relays: what the settings say, in the words of the transport.

use std::sync::Arc;
use std::time::Duration;

use super::exit::Failure;
use crate::config::Settings;
use crate::net::{ClientOptions, Encoding, Roots, Route, Routes};

/// Returns the ways to other relays.
pub(super) fn client_options(settings: &Settings) -> ClientOptions {
    let network = &settings.network;
    let route = |proxy: &Option<String>, secs: u64| Route {
        proxy: proxy.clone(),
        connect_deadline: Duration::from_secs(secs),
    };
    ClientOptions {
        message_bytes_max: MESSAGE_BYTES_MAX,
        outbound_bytes_max: OUTBOUND_BYTES_MAX,
        routes: Arc::new(Routes {
            clearnet: route(&network.clearnet_proxy, network.clearnet_connect_secs),
            tor: route(&network.tor_proxy, network.tor_connect_secs),
            i2p: route(&network.i2p_proxy, network.i2p_connect_secs),
            lokinet: route(&network.lokinet_proxy, network.lokinet_connect_secs),
        }),
        roots: Roots::of_system(),
        answer_deadline: ANSWER_DEADLINE,
        ping_period: PING_PERIOD,
        encoding: Encoding::Deflate,
    }
}

/// Runs what waits for the network and for time, on this thread.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::failed(format!("failed to wait for the network: {error}")))?;
    Ok(runtime.block_on(work))
}

/// A message of a peer: an event as long as relays take, or a list of ids.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Far more than is sent ahead; who reaches it does not read.
const OUTBOUND_BYTES_MAX: usize = 256 << 20;
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
const PING_PERIOD: Duration = Duration::from_secs(30);
