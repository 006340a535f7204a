//! The settings in force: everything that may change while the relay serves, behind one handle.
//!
//! [`LiveSettings`] is immutable and replaced whole. [`InForce`] holds the current one for every
//! thread; each core has an `Arc` of its own beside it, which a message in its inbox replaces
//! between two bursts, so that hot paths pay for no atomic.
//!
//! # How to add a setting that reloads
//!
//! 1. The key, in the table of `config::settings`, with `reload = Yes`. If it names a file, its
//!    range is `Range::File`: then the file is looked at as the configuration itself is.
//! 2. A field of [`LiveSettings`]: plain data, shared parts in an `Arc`.
//! 3. Filling it in, in `live` of `cli::serve`. That is called for each reload, so a file behind a
//!    key is read there, each time; an error there keeps all the old settings and is told.
//! 4. Using it: on a core `self.settings.borrow().field`, never kept over an `await`; in the pool
//!    `self.relay.in_force.load()`, once a job.
//! 5. What connections have copied before has to be replaced in [`Core::take_settings`], or the
//!    key's doc says "for connections that are opened from then on".

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::core::{Core, Inboxes, Message};
use super::settings::{Compression, LiveSettings};
use crate::metrics::CoreMetrics;
use crate::net::{Backlog, Encoding, NetOptions, OutboundLimits, Places};
use crate::session::OwnNames;
use crate::sys;

/// The handle of the settings in force.
pub(super) struct InForce {
    current: ArcSwap<LiveSettings>,
    changes: AtomicU64,
    /// Where the relay listens, which is one of its names.
    address: SocketAddr,
    places: Arc<Places>,
    backlog: Arc<Backlog>,
}

impl InForce {
    /// Puts the first settings into force.
    pub(super) fn new(settings: LiveSettings, address: SocketAddr) -> InForce {
        let places = Arc::new(Places::new(connections_max(settings.connections_max)));
        let backlog = Arc::new(Backlog::new(settings.outbound_total_bytes_max));
        let current = ArcSwap::from(settle(settings, address));
        InForce { current, changes: AtomicU64::new(0), address, places, backlog }
    }

    /// Returns the settings in force.
    pub(super) fn load(&self) -> Arc<LiveSettings> {
        self.current.load_full()
    }

    /// Returns how often other settings were put into force.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Puts other settings into force, and has every core told.
    pub(super) fn replace(&self, mut settings: LiveSettings, cores: &Inboxes) {
        self.places.resize(connections_max(settings.connections_max));
        self.backlog.resize(settings.outbound_total_bytes_max);
        keep_web(&self.load(), &mut settings);
        let settings = settle(settings, self.address);
        self.current.store(Arc::clone(&settings));
        self.changes.fetch_add(1, Ordering::AcqRel);
        for inbox in cores.0.iter() {
            inbox.put(Message::Settings(Arc::clone(&settings)));
        }
    }

    /// Returns what transport goes by under these settings.
    pub(super) fn net_options(&self, settings: &LiveSettings, core: &CoreMetrics) -> NetOptions {
        let bytes_max = settings.outbound_bytes_max;
        let bytes_high = OUTBOUND_BYTES_HIGH.min(bytes_max / 4);
        NetOptions {
            message_bytes_max: settings.message_bytes_max,
            outbound: OutboundLimits { bytes_high, bytes_low: bytes_high / 4, bytes_max },
            header_deadline: Duration::from_secs(10),
            ping_period: Duration::from_secs(55),
            close_deadline: Duration::from_secs(3),
            encoding: match settings.compression {
                Compression::Off => Encoding::Plain,
                Compression::Live | Compression::All => Encoding::Deflate,
            },
            certificate: settings.certificate.clone(),
            places: Arc::clone(&self.places),
            backlog: Arc::clone(&self.backlog),
            traffic: Arc::clone(&core.traffic),
        }
    }
}

impl Core {
    /// Goes by other settings from here on.
    pub(super) fn take_settings(&self, settings: Arc<LiveSettings>) {
        *self.net.borrow_mut() = self.relay.in_force.net_options(&settings, &self.metrics);
        for connection in self.connections.borrow().iter() {
            connection.session.borrow_mut().restrict(&settings.session.restricted);
        }
        *self.settings.borrow_mut() = settings;
    }
}

/// Lets the web of trust stay that is woven by the same rules: another one would have to be woven
/// first.
fn keep_web(before: &LiveSettings, settings: &mut LiveSettings) {
    let rules = settings.session.event.rules.as_mut().and_then(Arc::get_mut);
    if let (Some(rules), Some(before)) = (rules, &before.session.event.rules) {
        rules.keep_web(before);
    }
}

/// Completes settings with what only the running relay knows.
fn settle(mut settings: LiveSettings, address: SocketAddr) -> Arc<LiveSettings> {
    if let OwnNames::Local(listen) = &mut settings.session.names {
        // The port may have been left to the system.
        *listen = address;
    }
    Arc::new(settings)
}

/// Raises the limit of open files for `wanted` connections; returns how many fit.
fn connections_max(wanted: usize) -> usize {
    let files = (wanted as u64).saturating_add(OTHER_FILES);
    let allowed = sys::raise_open_file_limit(files).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot raise the limit of open files");
        OTHER_FILES * 4
    });
    let others = OTHER_FILES.min(allowed / 2);
    let possible = usize::try_from(allowed - others).unwrap_or(usize::MAX);
    if possible < wanted {
        tracing::warn!(wanted, possible, "the limit of open files allows fewer connections");
    }
    wanted.min(possible)
}

/// Above this many bytes in its queue a client gets no more chunks of its queries.
const OUTBOUND_BYTES_HIGH: usize = 512 * 1024;
/// Files that are not connections: the store, listeners, the runtimes' own.
const OTHER_FILES: u64 = 128;
