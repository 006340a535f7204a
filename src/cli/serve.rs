//! `relay serve`: runs the relay.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::arguments::Common;
use super::certificate;
use super::exit::Failure;
use super::groups;
use super::names::own_names;
use super::network::client_options;
use super::open::open_or_create;
use super::output::{grouped, say};
use super::peering::{self, Peering};
use super::quotas;
use super::reload::Reloads;
use super::rules::{retention, write_rules};
use super::secret::own_keys;
use super::watchdog;
use crate::config::write::view;
use crate::config::{Flag, GroupMode, Settings};
use crate::nostr::delegation::Treatment;
use crate::nostr::{Keypair, PublicKey};
use crate::policy::groups::CREATE_INVITE;
use crate::policy::{Admin, Invites, MembershipRules, MembershipTerms};
use crate::query::{QueryLimits, ReconcileLimits};
use crate::server::{
    About, LiveSettings, Maintenance, ManagementSettings, MembershipSettings, NameSettings,
    PageSettings, PluginSettings, Server, ServerError, ServerSettings,
};
use crate::session::{
    Authentication, Commitment, EventLimits, NegentropyLimits, RestrictedKinds, SessionLimits,
    WorkLimits,
};
use crate::store::Store;
use crate::sys::{self, service};

/// Serve the relay (the default command)
///
/// Listens for websocket connections of Nostr clients and answers HTTP on the same port. The
/// store is created if there is none. Reads its configuration again when the file changes and on
/// SIGHUP; a file with a mistake changes nothing. Ends in good order on Ctrl-C or SIGTERM. Under
/// systemd it says when it is ready (Type=notify), answers the watchdog, and takes the sockets of
/// a relay.socket in place of --listen.
#[derive(Debug, Default, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Listen on this address and port (the key server.listen)
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  relay serve
  relay serve --listen 0.0.0.0:7777 --data /var/lib/relay
  relay serve --set relay.name='Our relay' --set limits.max_limit=1000";

/// Runs the command until the relay is told to stop.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let listen = arguments.listen.clone().map(|value| Flag {
        flag: "--listen",
        key: "server.listen".to_owned(),
        value,
    });
    sys::avoid_huge_pages();
    let sources = common.sources(listen.into_iter().collect())?;
    let mut reloads = Reloads::begin(sources)?;
    let store = open_or_create(reloads.current())?;
    let given = service::inherited_listeners().map_err(|error| {
        Failure::failed(format!("failed to take the sockets of the service manager: {error}"))
    })?;
    peering::check(reloads.current(), reloads.peers())?;
    let options = options(reloads.current())?;
    reloads.keep_certificate(options.live.certificate.clone());
    let server = Server::start(options, store.clone(), &given)?;
    let peering = Peering::new(reloads.current(), store.clone(), server.entrance());
    reloads.follow_peers(peering)?;
    introduce(&store, &server)?;
    service::notify_ready(&format!("listening on {}", addresses(&server).join(", ")));
    let watching = watchdog::start(server.pulse());
    server.run_until_signal(&mut reloads, || {
        service::notify_stopping();
        drop(watching);
    })?;
    say("the relay has stopped");
    Ok(())
}

/// Says what runs, where, and what to do next.
fn introduce(store: &Store, server: &Server) -> Result<(), Failure> {
    let events: u64 =
        store.snapshot()?.totals().fold(0, |sum, (_, count)| sum.saturating_add(count));
    say(&format!("Chappe {}, a Nostr relay", env!("CARGO_PKG_VERSION")));
    for address in addresses(server) {
        say(&format!("  listening on  {address}"));
    }
    say(&format!("  events        {} in {}", grouped(events), store.path().display()));
    if let Some(metrics) = server.metrics_addr() {
        say(&format!("  metrics       http://{metrics}/metrics"));
    }
    say("  fill it       relay import FILE.jsonl, also while it runs (relay help import)");
    say("  stop it       Ctrl-C");
    Ok(())
}

fn addresses(server: &Server) -> Vec<String> {
    let encrypted = server.encrypted_addrs().iter().map(|address| format!("wss://{address}"));
    std::iter::once(format!("ws://{}", server.local_addr())).chain(encrypted).collect()
}

/// Hands the settings on in the server's own words.
///
/// # Errors
///
/// If a file that a key names cannot be used.
pub fn options(settings: &Settings) -> Result<ServerSettings, Failure> {
    let keys = own_keys(settings)?.map(Arc::new);
    let certificate = certificate::read(settings)?;
    Ok(ServerSettings {
        listen: settings.server.listen,
        encrypted: certificate.iter().flat_map(|_| settings.tls.listen.clone()).collect(),
        cores: (settings.server.threads > 0).then(|| size_of(settings.server.threads)),
        groups: keys.as_deref().and_then(|keys| groups::rules(settings, keys)),
        membership: keys.as_deref().and_then(|keys| membership_of(settings, keys)),
        keys,
        metrics: settings.metrics.listen,
        live: LiveSettings { certificate, ..live(settings)? },
    })
}

/// Hands on what may change while the relay serves; reads the files that keys name, each time, but
/// for the certificate: a broken one must not keep other settings from being taken.
pub(super) fn live(settings: &Settings) -> Result<LiveSettings, Failure> {
    let limits = &settings.limits;
    Ok(LiveSettings {
        certificate: None,
        connections_max: size_of(settings.server.max_connections),
        message_bytes_max: size_of(limits.max_message_bytes),
        outbound_bytes_max: size_of(limits.outbound_bytes_max),
        outbound_total_bytes_max: size_of(limits.outbound_total_bytes_max),
        compression: settings.server.compression,
        session: session(settings)?,
        query: QueryLimits { default_limit: limits.default_limit, max_limit: limits.max_limit },
        count_max: limits.max_count,
        slow_query: Some(settings.log.slow_query_millis)
            .filter(|millis| *millis > 0)
            .map(Duration::from_millis),
        client_naming: settings.log.client_addresses,
        reconcile: reconcile(settings),
        about: about(settings),
        pages: pages(settings),
        proxies: quotas::proxies(settings),
        retention: retention(settings),
        maintenance: maintenance(settings),
        plugin: plugin(settings),
        names: names(settings),
        management: management(settings),
        membership: membership(settings),
    })
}

fn names(settings: &Settings) -> Option<Arc<NameSettings>> {
    let is_wanted = !settings.policy.nip05_domains.is_empty();
    is_wanted.then(|| Arc::new(NameSettings { client: client_options(settings) }))
}

fn management(settings: &Settings) -> ManagementSettings {
    let management = &settings.management;
    let admins = management.admins.iter().filter_map(|text| text.parse::<Admin>().ok());
    ManagementSettings {
        admins: Arc::new(admins.collect()),
        log_entries_max: management.max_log_entries,
        shown: Arc::new(view(settings)),
        rules: settings.store.retention.clone(),
    }
}

fn membership_of(settings: &Settings, keys: &Keypair) -> Option<MembershipRules> {
    settings.membership.enabled.then(|| membership_rules(settings, keys))
}

fn membership(settings: &Settings) -> MembershipSettings {
    let membership = &settings.membership;
    MembershipSettings {
        terms: membership_terms(settings),
        codes: membership.codes.clone().into(),
        invite_secs: membership.invite_secs,
    }
}

/// Returns what membership is good for by these settings.
pub(super) fn membership_rules(settings: &Settings, keys: &Keypair) -> MembershipRules {
    MembershipRules {
        own_key: keys.public_key(),
        operator: operator(settings),
        terms: membership_terms(settings),
    }
}

fn membership_terms(settings: &Settings) -> MembershipTerms {
    let membership = &settings.membership;
    MembershipTerms {
        writes: membership.writes,
        reads: membership.reads,
        invites: if membership.members_invite { Invites::OnRequest } else { Invites::ByOperator },
        open_kinds: kinds(&membership.open_kinds).collect(),
    }
}

fn operator(settings: &Settings) -> Option<PublicKey> {
    settings.relay.pubkey.as_deref().and_then(|text| PublicKey::from_hex(text.as_bytes()))
}

fn session(settings: &Settings) -> Result<SessionLimits, Failure> {
    let limits = &settings.limits;
    let required = settings.auth.required;
    Ok(SessionLimits {
        subscriptions_max: size_of(limits.max_subscriptions),
        filters_max: size_of(limits.max_filters),
        negentropy: NegentropyLimits {
            open_max: size_of(limits.max_reconciliations),
            idle_secs_max: limits.reconciliation_idle_secs,
        },
        event: event(settings)?,
        authentication: if required { Authentication::Required } else { Authentication::Optional },
        restricted: restricted(settings),
        delegation: delegation(settings),
        names: own_names(settings),
        quotas: quotas::quotas(settings),
    })
}

/// Returns what is done about delegation (NIP-26).
pub(super) fn delegation(settings: &Settings) -> Treatment {
    if settings.delegation.enabled { Treatment::Honoured } else { Treatment::Ignored }
}

/// Where there are groups, codes that admit to them are nobody else's.
pub(super) fn restricted(settings: &Settings) -> RestrictedKinds {
    let is_on = settings.groups.mode != GroupMode::Off;
    let kinds = kinds(&settings.auth.restricted_kinds);
    RestrictedKinds::new(kinds.chain(is_on.then_some(CREATE_INVITE)))
}

fn event(settings: &Settings) -> Result<EventLimits, Failure> {
    let (limits, policy) = (&settings.limits, &settings.policy);
    let is_needed = policy.require_pow_commitment;
    Ok(EventLimits {
        tags_max: size_of(limits.max_event_tags),
        content_characters_max: size_of(limits.max_content_length),
        past_secs_max: (limits.created_at_past_secs > 0).then_some(limits.created_at_past_secs),
        future_secs_max: (limits.created_at_future_secs > 0)
            .then_some(limits.created_at_future_secs),
        work: WorkLimits {
            bits_min: u32::try_from(policy.min_pow_difficulty).unwrap_or(u32::MAX),
            commitment: if is_needed { Commitment::Required } else { Commitment::Optional },
        },
        refused_kinds: kinds(&policy.refused_kinds).collect(),
        rules: write_rules(settings)?,
    })
}

fn maintenance(settings: &Settings) -> Maintenance {
    let keys = &settings.maintenance;
    let period = |secs: u64| (secs > 0).then(|| Duration::from_secs(secs));
    Maintenance {
        backup: keys.backup_folder.clone().zip(period(keys.backup_period_secs)),
        check: period(keys.check_period_secs),
        check_mends: keys.check_repairs,
        compact: period(keys.compact_period_secs),
        compact_hint_percent: keys.compact_hint_percent,
    }
}

fn plugin(settings: &Settings) -> Option<Arc<PluginSettings>> {
    let plugin = &settings.plugin;
    (!plugin.command.trim().is_empty()).then(|| {
        Arc::new(PluginSettings {
            command: plugin.command.clone(),
            processes: size_of(plugin.processes),
            pending_max: size_of(plugin.max_pending),
            timeout: Duration::from_secs(plugin.timeout_secs),
            on_failure: plugin.on_failure,
        })
    })
}

fn reconcile(settings: &Settings) -> ReconcileLimits {
    let limits = &settings.limits;
    // An answer is twice as long in hexadecimal, and others may wait for the same client.
    let answer_bytes_max = limits.outbound_bytes_max / 8;
    ReconcileLimits {
        items_max: limits.max_reconciled_events,
        answer_bytes_max: size_of(answer_bytes_max).clamp(4096, ANSWER_BYTES_MAX),
    }
}

/// As long as the answers of other relays are (NIP-77): a million digits.
const ANSWER_BYTES_MAX: usize = 500_000;

/// Narrows numbers that the settings table bounds to kinds.
pub(super) fn kinds(numbers: &[u64]) -> impl Iterator<Item = u16> {
    numbers.iter().filter_map(|number| u16::try_from(*number).ok())
}

fn pages(settings: &Settings) -> PageSettings {
    let pages = &settings.pages;
    PageSettings { front: pages.front, counters: pages.counters, admin: pages.admin }
}

fn about(settings: &Settings) -> About {
    let relay = &settings.relay;
    About {
        name: Some(relay.name.clone()),
        description: Some(relay.description.clone()).filter(|text| !text.is_empty()),
        icon: relay.icon.clone(),
        banner: relay.banner.clone(),
        pubkey: operator(settings),
        contact: relay.contact.clone(),
        url: relay.url.first().cloned(),
    }
}

/// Narrows a number that the settings table bounds; on a small machine the most is meant.
pub(super) fn size_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let failure = Self::failed(format!("failed to {error}"));
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
