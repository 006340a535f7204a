//! The forms that values of the table have: what is said of them, and what has them.

use std::net::SocketAddr;

use super::key::Range;
use super::value::RateLimit;
use crate::address::AddressRange;
use crate::nostr::RelayUrl;
use crate::policy::{self, Admin, KindRange, Rate, RetentionRule};

pub(super) const PUBLIC_KEY: Range = Range::Form {
    described: "a public key of 64 lower-case hex characters",
    accepts: |text| {
        text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    },
};

pub(super) const RELAY_URLS: Range = Range::ListOf(&Range::Form {
    described: "an address such as wss://relay.example.org",
    accepts: |text| RelayUrl::parse(text).is_some(),
});

pub(super) const ADDRESS_RANGES: Range = Range::ListOf(&Range::Form {
    described: "an address or a range such as 192.0.2.0/24 or 2001:db8::/32",
    accepts: |text| text.parse::<AddressRange>().is_ok(),
});

pub(super) const RATE: Range = Range::Form {
    described: "a rate such as \"600/min\", \"20/s burst 100\" or \"5M/s\", or \"off\"",
    accepts: |text| text == RateLimit::OFF || text.parse::<Rate>().is_ok(),
};

pub(super) const PROXY: Range = Range::Form {
    described: "host and port such as 127.0.0.1:9050",
    accepts: |text| {
        text.rsplit_once(':').is_some_and(|(host, port)| {
            let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
            is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    },
};

pub(super) const PUBLIC_KEYS: Range = Range::ListOf(&PUBLIC_KEY);

pub(super) const DOMAINS: Range = Range::ListOf(&Range::Form {
    described: "a domain such as example.org",
    accepts: |text| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        (1..=300).contains(&text.len()) && text.bytes().all(is_letter)
    },
});

pub(super) const ADMINS: Range = Range::ListOf(&Range::Form {
    described: "a public key, alone or with rights such as KEY=read|moderate",
    accepts: |text| text.parse::<Admin>().is_ok(),
});

pub(super) const KIND_RANGES: Range = Range::ListOf(&Range::Form {
    described: "a kind such as 1 or a range of kinds such as 1000-1999",
    accepts: |text| text.parse::<KindRange>().is_ok(),
});

pub(super) const TAGS: Range = Range::ListOf(&Range::Form {
    described: "a tag such as t=spam, or the name of one",
    accepts: |text| !text.is_empty() && !text.starts_with('='),
});

pub(super) const CIRCLE: Range = Range::OneOf(&["everyone", "members"]);

pub(super) const CODES: Range = Range::ListOf(&Range::Characters(4, 200));

pub(super) const WORDS: Range = Range::ListOf(&Range::Characters(1, 200));

pub(super) const BYTES_BY_KIND: Range = Range::ListOf(&Range::Form {
    described: "kinds and a number of bytes such as 1=64k or 30000-39999=1M",
    accepts: |text| policy::parse_by_kind(text, policy::amount).is_some(),
});

pub(super) const AGE_BY_KIND: Range = Range::ListOf(&Range::Form {
    described: "kinds and a time such as 1=30d or 20000-29999=10min",
    accepts: |text| policy::parse_by_kind(text, policy::period).is_some(),
});

pub(super) const WORK_BY_KIND: Range = Range::ListOf(&Range::Form {
    described: "kinds and a number of bits from 0 to 256 such as 7=16",
    accepts: |text| policy::parse_by_kind(text, policy::plain).is_some_and(|it| it.1 <= 256),
});

pub(super) const RETENTION: Range = Range::ListOf(&Range::Form {
    described: "a rule such as \"kinds=1|1000-1999 age=30d\" or \"per_author=1000\" or \"size=80%\"",
    accepts: |text| text.parse::<RetentionRule>().is_ok(),
});

/// Levels of the log, the most important first.
pub(super) const LEVEL: Range = Range::OneOf(LEVELS);
const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];

/// Levels of single modules.
pub(super) const MODULE_LEVELS: Range = Range::ListOf(&Range::Form {
    described: "a module and its level, such as net=debug",
    accepts: |text| {
        let is_path = |module: &str| {
            let is_letter = |byte: u8| byte.is_ascii_lowercase() || b"_:".contains(&byte);
            !module.is_empty() && module.bytes().all(is_letter)
        };
        text.split_once('=').is_some_and(|(it, level)| is_path(it) && LEVELS.contains(&level))
    },
});

pub(super) const KINDS: Range = Range::ListOf(&Range::Integers(0, 65_535));

pub(super) const WEB_ADDRESS: Range = Range::Form {
    described: "an address that starts with https:// or http://",
    accepts: |text| text.starts_with("https://") || text.starts_with("http://"),
};

pub(super) const LISTEN_ADDRESS: Range = Range::Form {
    described: "an address and port such as 127.0.0.1:7777 or [::]:7777",
    accepts: |text| text.parse::<SocketAddr>().is_ok(),
};
