//! From a name to a stream of bytes: directly, or through the proxy of its network.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::address::{Address, Network};
use super::error::ConnectError;
use super::socks;

/// How a network is reached.
#[derive(Clone, Debug)]
pub struct Route {
    /// Host and port of a SOCKS5 proxy; directly without one.
    pub proxy: Option<String>,
    /// How long it may take until there is a connection.
    pub connect_deadline: Duration,
    /// How long the other side may take to answer a request, the handshake of TLS included.
    pub answer_deadline: Duration,
    /// Who may open a connection: each that is being opened takes a place until it is open.
    pub places: Arc<Semaphore>,
}

/// The routes of all networks.
#[derive(Clone, Debug)]
pub struct Routes {
    /// To the Internet.
    pub clearnet: Route,
    /// To Tor, only through a proxy.
    pub tor: Route,
    /// To I2P, only through a proxy.
    pub i2p: Route,
    /// To Lokinet, whose own resolver makes names known to the system where there is no proxy.
    pub lokinet: Route,
}

impl Routes {
    /// Returns the same routes, but all of them through one proxy.
    #[must_use]
    pub fn through(&self, proxy: &str) -> Routes {
        let through = |route: &Route| Route { proxy: Some(proxy.to_owned()), ..route.clone() };
        Routes {
            clearnet: through(&self.clearnet),
            tor: through(&self.tor),
            i2p: through(&self.i2p),
            lokinet: through(&self.lokinet),
        }
    }

    /// Returns the route to a network.
    pub fn to(&self, network: Network) -> &Route {
        match network {
            Network::Clearnet => &self.clearnet,
            Network::Tor => &self.tor,
            Network::I2p => &self.i2p,
            Network::Lokinet => &self.lokinet,
        }
    }
}

/// Opens a stream to the host and port of an address.
pub(super) async fn dial(address: &Address, routes: &Routes) -> Result<TcpStream, ConnectError> {
    let network = address.network();
    let route = routes.to(network);
    // Waiting for the others is no fault of the network; nobody closes the semaphore.
    let _place = route.places.acquire().await;
    let dialing = async {
        let (host, port) = (address.host(), address.port());
        match &route.proxy {
            Some(proxy) => {
                let stream = direct_to(proxy).await?;
                socks::ask(stream, host, port).await.map_err(|error| ConnectError::Proxy {
                    host: host.to_owned(),
                    proxy: proxy.clone(),
                    problem: error.to_string(),
                })
            }
            // Asking the system would give the name away to its name server.
            None if matches!(network, Network::Tor | Network::I2p) => {
                Err(ConnectError::NoProxy { host: host.to_owned(), network })
            }
            None => direct(&address.authority(), (host, port)).await,
        }
    };
    let after = route.connect_deadline;
    let stream = timeout(after, dialing).await.unwrap_or_else(|_| {
        Err(ConnectError::TooSlow { host: address.host().to_owned(), stage: "connecting", after })
    })?;
    // Small messages are put together by us; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn direct_to(proxy: &str) -> Result<TcpStream, ConnectError> {
    direct(proxy, proxy).await
}

async fn direct<T: tokio::net::ToSocketAddrs>(
    host: &str,
    to: T,
) -> Result<TcpStream, ConnectError> {
    let failed = |error| ConnectError::Name { host: host.to_owned(), error };
    let found: Vec<SocketAddr> = lookup_host(to).await.map_err(failed)?.collect();
    first_to_answer(interleaved(found))
        .await
        .map_err(|error| ConnectError::Connect { to: host.to_owned(), error })
}

/// Brings addresses of both versions into turns, the first as the system has it.
fn interleaved(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first_kind =
        |address: &SocketAddr| found.first().is_some_and(|it| it.is_ipv6() == address.is_ipv6());
    let (first, second): (Vec<_>, Vec<_>) = found.iter().copied().partition(is_first_kind);
    let longest = first.len().max(second.len());
    let turns = (0..longest).flat_map(|at| [first.get(at).copied(), second.get(at).copied()]);
    turns.flatten().take(ADDRESSES_MAX).collect()
}

/// Connects to whichever address answers first: another is tried when one fails, and beside one
/// that takes long (RFC 8305).
async fn first_to_answer(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut attempts = JoinSet::new();
    let mut left = addresses.into_iter();
    loop {
        let next = left.next();
        let is_last = next.is_none();
        if let Some(address) = next {
            attempts.spawn(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(error);
        }
        tokio::select! {
            Some(done) = attempts.join_next() => match done {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(failed)) => error = failed,
                Err(lost) => error = io::Error::other(lost),
            },
            () = sleep(ATTEMPT_DELAY), if !is_last => {}
        }
    }
}

/// As RFC 8305 recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_versions_take_turns() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let found = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let turns = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(interleaved(found), turns);
        assert_eq!(interleaved(Vec::new()), []);
    }
}
