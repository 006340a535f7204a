//! What the server is told when it starts, and why it may not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::caretaker::Maintenance;
use super::plugin::PluginSettings;
use super::registrar::NameSettings;
use super::warden::Retention;
use crate::address::{AddressRanges, ClientNaming};
use crate::net::{Certificate, ListenError};
use crate::nostr::{Keypair, PublicKey};
use crate::policy::{Admins, MembershipRules, MembershipTerms, groups};
use crate::query::{QueryLimits, ReconcileLimits};
use crate::session::SessionLimits;
use crate::store::StoreError;

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where to listen for TLS, besides; nothing without a certificate.
    pub encrypted: Vec<SocketAddr>,
    /// How many cores, and as many workers; `None` for as many as this machine has.
    pub cores: Option<usize>,
    /// What the relay signs its own events with.
    pub keys: Option<Arc<Keypair>>,
    /// What its groups are held to, if it has any (NIP-29); it needs keys for that.
    pub groups: Option<groups::Rules>,
    /// Whether the relay has members (NIP-43); it needs keys for that.
    pub membership: Option<MembershipRules>,
    /// Where `/metrics` is answered; nowhere if `None`.
    pub metrics: Option<SocketAddr>,
    /// What may change later.
    pub live: LiveSettings,
}

/// The settings that may change while the relay serves; how is said in `in_force`.
#[derive(Clone, Debug)]
pub struct LiveSettings {
    /// What the relay proves its name with, if it speaks TLS itself.
    pub certificate: Option<Arc<Certificate>>,
    /// How many connections there may be at once.
    pub connections_max: usize,
    /// How long a message from a client may be.
    pub message_bytes_max: usize,
    /// How many bytes may wait for one client before it is dropped as a slow reader.
    pub outbound_bytes_max: usize,
    /// About how many bytes may wait for all slow readers together.
    pub outbound_total_bytes_max: usize,
    /// Which messages are compressed for clients that offer it.
    pub compression: Compression,
    /// What a session is held to.
    pub session: SessionLimits,
    /// How many events a query may give.
    pub query: QueryLimits,
    /// Where COUNT ends to look at events one by one.
    pub count_max: u64,
    /// Queries that take longer are told in the log.
    pub slow_query: Option<Duration>,
    /// What log lines call clients.
    pub client_naming: ClientNaming,
    /// What reconciliations may hold and say.
    pub reconcile: ReconcileLimits,
    /// What the relay says of itself.
    pub about: About,
    /// What people with a browser find.
    pub pages: PageSettings,
    /// Whose word about clients is taken.
    pub proxies: Proxies,
    /// What is kept for how long.
    pub retention: Retention,
    /// What is done with the store by the clock.
    pub maintenance: Maintenance,
    /// Which program judges events, if one does.
    pub plugin: Option<Arc<PluginSettings>>,
    /// How domains are asked whom they name, if that matters.
    pub names: Option<Arc<NameSettings>>,
    /// Who administers the relay.
    pub management: ManagementSettings,
    /// How one gets in, if there are members, and what that is good for.
    pub membership: MembershipSettings,
}

/// Who administers the relay while it runs (NIP-86).
#[derive(Clone, Debug, Default)]
pub struct ManagementSettings {
    /// Administrators over the network.
    pub admins: Arc<Admins>,
    /// How many of their acts are kept.
    pub log_entries_max: u64,
    /// The configuration as they are shown it, without secrets.
    pub shown: Arc<serde_json::Value>,
    /// The rules of retention in their own words.
    pub rules: Vec<String>,
}

/// How one becomes a member of the relay, and what that is good for (NIP-43).
#[derive(Clone, Debug)]
pub struct MembershipSettings {
    /// What it is good for.
    pub terms: MembershipTerms,
    /// Codes by which anybody may join, any number of times.
    pub codes: Box<[String]>,
    /// How many seconds an invitation is good that the relay makes on request.
    pub invite_secs: u64,
}

/// Proxies between the relay and its clients.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// Where they are.
    pub trusted: AddressRanges,
    /// How they name a client.
    pub naming: Naming,
}

/// How a trusted proxy names its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// By `X-Forwarded-For`, in each request.
    #[default]
    Header,
    /// By the PROXY protocol, at the beginning of each connection.
    Protocol,
}

/// Which messages are compressed, if the client understands that.
///
/// Short messages such as OK and EOSE never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None, not even from clients.
    Off,
    /// Live events that go to many: each is compressed once for all.
    Live,
    /// Every event, stored ones for each answer again.
    All,
}

/// What the relay says of itself (NIP-11); nothing has to be said.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// An image that stands for it.
    pub icon: Option<String>,
    /// A wide image.
    pub banner: Option<String>,
    /// Who runs it.
    pub pubkey: Option<PublicKey>,
    /// How to reach who runs it, as a URI.
    pub contact: Option<String>,
    /// The first of its addresses, as clients are to be told.
    pub url: Option<String>,
}

/// Which pages there are for people with a browser.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageSettings {
    /// The one at `/`.
    pub front: bool,
    /// Numbers on it.
    pub counters: bool,
    /// The one at `/admin`.
    pub admin: bool,
}

/// Where a server is reached.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Over plain sockets: the first address, if there are several.
    pub plain: SocketAddr,
    /// Over TLS.
    pub encrypted: Vec<SocketAddr>,
}

/// Why the server did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The listening sockets cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The sockets that were given to this process cannot be shared among its threads.
    #[error("share the sockets of the service manager: {0}")]
    Sockets(std::io::Error),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no thread.
    #[error("start thread {name}: {source}")]
    Thread {
        /// Which one.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system does not tell signals.
    #[error("listen for signals: {0}")]
    Signals(std::io::Error),
    /// A core could not go on.
    #[error("run {name}: {source}")]
    Core {
        /// Which one.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread ended that should not have: a mistake of this program.
    #[error("keep thread {0} running: it ended unexpectedly")]
    Ended(String),
}

impl ServerError {
    /// Returns what the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ServerError::Listen(error) => error.hint(),
            ServerError::Store(error) => error.hint(),
            ServerError::Thread { .. } => {
                Some("raise the limit of processes, or set server.threads lower".to_owned())
            }
            ServerError::Ended(_) => {
                Some("the log tells where; please report it with that line".to_owned())
            }
            ServerError::Signals(_) | ServerError::Sockets(_) | ServerError::Core { .. } => None,
        }
    }
}
