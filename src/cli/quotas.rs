//! Hands on what clients are held to, in the words of `policy`.

use std::time::Duration;

use crate::address::{AddressRange, AddressRanges};
use crate::config::{RateLimit, Settings};
use crate::policy::{Activity, BanRules, Quotas, Rates};
use crate::server::Proxies;

/// Returns whose word about clients is taken.
pub(super) fn proxies(settings: &Settings) -> Proxies {
    let server = &settings.server;
    Proxies { trusted: ranges(&server.trusted_proxies), naming: server.proxy_naming }
}

/// Returns what clients are held to.
pub(super) fn quotas(settings: &Settings) -> Quotas {
    let guard = &settings.guard;
    let connections_max = guard.max_connections_per_address;
    Quotas {
        connection: per_connection(settings),
        address: per_address(settings),
        key: per_key(settings),
        everybody: in_all(settings),
        connections_max: (connections_max > 0)
            .then(|| u32::try_from(connections_max).unwrap_or(u32::MAX)),
        bans: guard.ban_tolerance.rate().map(|tolerated| BanRules {
            tolerated,
            duration: Duration::from_secs(guard.ban_secs),
            duration_max: Duration::from_secs(guard.max_ban_secs),
        }),
        exempt: ranges(&guard.exempt),
        allowed: ranges(&guard.allowed),
        denied: ranges(&guard.denied),
        query_work_max: (guard.max_query_work > 0).then_some(guard.max_query_work),
    }
}

fn per_address(settings: &Settings) -> Rates {
    let rates = &settings.rates_per_address;
    Rates::new(|activity| {
        let limit = match activity {
            Activity::Connect => rates.connections,
            Activity::Event => rates.events,
            Activity::Request => rates.requests,
            Activity::Count => rates.counts,
            Activity::Reconcile => rates.reconciliations,
            Activity::Bytes => rates.bytes,
            Activity::Work => rates.work,
        };
        limit.rate()
    })
}

fn per_connection(settings: &Settings) -> Rates {
    let rates = &settings.rates_per_connection;
    Rates::new(|activity| {
        let limit = match activity {
            Activity::Connect => RateLimit::Off,
            Activity::Event => rates.events,
            Activity::Request => rates.requests,
            Activity::Count => rates.counts,
            Activity::Reconcile => rates.reconciliations,
            Activity::Bytes => rates.bytes,
            Activity::Work => rates.work,
        };
        limit.rate()
    })
}

fn per_key(settings: &Settings) -> Rates {
    let rates = &settings.rates_per_key;
    Rates::new(|activity| {
        let limit = match activity {
            Activity::Connect => RateLimit::Off,
            Activity::Event => rates.events,
            Activity::Request => rates.requests,
            Activity::Count => rates.counts,
            Activity::Reconcile => rates.reconciliations,
            Activity::Bytes => rates.bytes,
            Activity::Work => rates.work,
        };
        limit.rate()
    })
}

fn in_all(settings: &Settings) -> Rates {
    let rates = &settings.rates_in_all;
    Rates::new(|activity| {
        let limit = match activity {
            Activity::Connect => rates.connections,
            Activity::Event => rates.events,
            Activity::Request => rates.requests,
            Activity::Count => rates.counts,
            Activity::Reconcile => rates.reconciliations,
            Activity::Bytes => rates.bytes,
            Activity::Work => rates.work,
        };
        limit.rate()
    })
}

/// Reads ranges that the settings table has checked.
fn ranges(texts: &[String]) -> AddressRanges {
    texts.iter().filter_map(|text| text.parse::<AddressRange>().ok()).collect()
}
