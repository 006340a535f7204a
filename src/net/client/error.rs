//! Why a connection could not be opened, and what the operator can do about it.

use std::io;
use std::time::Duration;

use super::address::Network;

/// Failure to open a connection or to ask over it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("find {host}: {error}")]
    Name {
        /// The host.
        host: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Nobody answers there.
    #[error("connect to {to}: {error}")]
    Connect {
        /// Host and port, or those of the proxy.
        to: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The network can only be reached through a proxy, and none is set.
    #[error("connect to {host}: {network} is reached through a proxy alone")]
    NoProxy {
        /// The host.
        host: String,
        /// Its network.
        network: Network,
    },
    /// The proxy refused or does not speak SOCKS5.
    #[error("connect to {host} through the proxy {proxy}: {problem}")]
    Proxy {
        /// The host.
        host: String,
        /// Host and port of the proxy.
        proxy: String,
        /// What it said.
        problem: String,
    },
    /// The certificate is not trusted, or the other side does not speak TLS.
    #[error("agree on encryption with {host}: {error}")]
    Tls {
        /// The host.
        host: String,
        /// What is wrong.
        #[source]
        error: io::Error,
    },
    /// The system has no root certificates.
    #[error("read the system's root certificates: {0}")]
    Roots(String),
    /// It took too long.
    #[error("reach {host} within {} s: {stage} took longer", after.as_secs_f32())]
    TooSlow {
        /// The host.
        host: String,
        /// What was waited for.
        stage: &'static str,
        /// How long.
        after: Duration,
    },
    /// The other side does not speak HTTP, or hung up.
    #[error("talk to {host}: {problem}")]
    Http {
        /// The host.
        host: String,
        /// What went wrong.
        problem: String,
    },
    /// The other side answered something else than was asked for.
    #[error("open a websocket at {url}: it answered {problem}")]
    NoWebsocket {
        /// The address.
        url: String,
        /// Its status, or what is wrong with its answer.
        problem: String,
        /// The status.
        status: u16,
        /// Where it says that it can be found instead.
        location: Option<String>,
    },
}

impl ConnectError {
    /// Returns what the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConnectError::Name { .. } => {
                Some("check the name, and that this machine is online".to_owned())
            }
            ConnectError::NoProxy { network, .. } => {
                let (key, port) = match network {
                    Network::Clearnet => ("clearnet_proxy", 1080),
                    Network::Tor => ("tor_proxy", 9050),
                    Network::I2p => ("i2p_proxy", 4447),
                    Network::Lokinet => ("lokinet_proxy", 1080),
                };
                Some(format!("set its SOCKS5 proxy, such as network.{key}=127.0.0.1:{port}"))
            }
            ConnectError::Roots(_) => Some(
                "install the package ca-certificates, or name a file in SSL_CERT_FILE".to_owned(),
            ),
            ConnectError::NoWebsocket { location: Some(location), .. } => {
                Some(format!("it says that it is found at {location}"))
            }
            _ => None,
        }
    }

    /// Returns whether trying again later may help.
    pub fn is_passing(&self) -> bool {
        match self {
            ConnectError::Name { .. }
            | ConnectError::Connect { .. }
            | ConnectError::Proxy { .. }
            | ConnectError::TooSlow { .. }
            | ConnectError::Http { .. } => true,
            ConnectError::NoProxy { .. } | ConnectError::Tls { .. } | ConnectError::Roots(_) => {
                false
            }
            ConnectError::NoWebsocket { status, .. } => *status == 429 || *status >= 500,
        }
    }
}
