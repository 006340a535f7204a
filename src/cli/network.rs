//! How commands reach other relays: what the settings say, in the words of the transport.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::exit::Failure;
use super::serve::size_of;
use crate::config::Settings;
use crate::net::{Address, ClientOptions, Encoding, Roots, Route, Routes};

/// Returns the ways to other relays.
pub(super) fn client_options(settings: &Settings) -> ClientOptions {
    let network = &settings.network;
    let route = |proxy: &Option<String>, connect: u64, answer: u64, opening: u64| Route {
        proxy: proxy.clone(),
        connect_deadline: Duration::from_secs(connect),
        answer_deadline: Duration::from_secs(answer),
        places: Arc::new(Semaphore::new(size_of(opening))),
    };
    ClientOptions {
        message_bytes_max: MESSAGE_BYTES_MAX,
        outbound_bytes_max: OUTBOUND_BYTES_MAX,
        routes: Arc::new(Routes {
            clearnet: route(
                &network.clearnet_proxy,
                network.clearnet_connect_secs,
                network.clearnet_answer_secs,
                network.clearnet_max_opening,
            ),
            tor: route(
                &network.tor_proxy,
                network.tor_connect_secs,
                network.tor_answer_secs,
                network.tor_max_opening,
            ),
            i2p: route(
                &network.i2p_proxy,
                network.i2p_connect_secs,
                network.i2p_answer_secs,
                network.i2p_max_opening,
            ),
            lokinet: route(
                &network.lokinet_proxy,
                network.lokinet_connect_secs,
                network.lokinet_answer_secs,
                network.lokinet_max_opening,
            ),
        }),
        roots: Roots::of_system(),
        ping_period: PING_PERIOD,
        encoding: Encoding::Deflate,
    }
}

/// Returns how many times as long as usual a relay at an address may be silent.
pub(super) fn patience(client: &ClientOptions, address: &Address) -> u64 {
    client.routes.to(address.network()).answer_deadline.as_secs().div_ceil(ANSWER_SECS).max(1)
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
/// What is usual for a relay that is reached directly.
const ANSWER_SECS: u64 = 30;
const PING_PERIOD: Duration = Duration::from_secs(30);
