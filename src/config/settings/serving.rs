//! The listening side, who has to say who they are, and what one client may ask for.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::super::forms::{ADDRESS_RANGES, KINDS, LISTEN_ADDRESS};
use super::super::key::{Key, Range, Reload, Section, section};
use super::super::value::Value;
use crate::server::{Compression, Naming};

section! {
    /// The listening side.
    [server] ServerSettings {
        /// Address and port for websocket and HTTP; port 0 takes a free one.
        /// The flag --listen sets this key.
        #[key(unit = "", range = LISTEN_ADDRESS, reload = No)]
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7777));

        /// Core threads, each with its own listener and connections. 0: one per CPU core.
        #[key(unit = "threads", range = Range::Integers(0, 1_024), reload = No)]
        threads: u64 = 0;

        /// Most connections at a time; further ones are turned away. As far as the system's limit
        /// of open files allows.
        #[key(unit = "connections", range = Range::Integers(1, 10_000_000), reload = Yes)]
        max_connections: u64 = 10_000;

        /// Proxies whose word about their clients is taken: addresses, or ranges of them. Without
        /// that all their clients are one address.
        #[key(unit = "", range = ADDRESS_RANGES, reload = Yes)]
        trusted_proxies: Vec<String> = vec!["127.0.0.0/8".to_owned(), "::1".to_owned()];

        /// How trusted proxies name their clients. "forwarded": in the header X-Forwarded-For;
        /// without that header the proxy itself is the client. "protocol": each connection of a
        /// trusted proxy begins with a header of the PROXY protocol, version 1 or 2.
        #[key(unit = "", range = Range::OneOf(&["forwarded", "protocol"]), reload = Yes)]
        proxy_naming: Naming = Naming::Header;

        /// What is compressed for clients that offer it, as browsers do (permessage-deflate).
        /// "live": new events that go to many, each once for all of them, which costs next to
        /// nothing. "all": every event, stored ones too, which makes a query cost ten times as much
        /// CPU and more. "off": nothing, and no compressed messages are taken either. Clients that
        /// are connected keep what was agreed on with them.
        #[key(unit = "", range = Range::OneOf(&["off", "live", "all"]), reload = Yes)]
        compression: Compression = Compression::Live;
    }
}

section! {
    /// TLS of the relay's own, for clients that connect to wss:// without a proxy in between. Off as
    /// long as there is no certificate.
    [tls] TlsSettings {
        /// Where TLS is spoken; what is at server.listen is there, too, and server.listen stays.
        /// `[::]` is every address of this machine, those of IPv4 too. A socket of the service
        /// manager that has one of these ports is taken for it.
        #[key(unit = "", range = Range::ListOf(&LISTEN_ADDRESS), reload = No)]
        listen: Vec<SocketAddr> = vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 443))];

        /// File in PEM with the certificate, and behind it those that vouch for it; certbot calls it
        /// fullchain.pem. What is in the file is read again when it changes: a renewed certificate
        /// needs no restart, and no connection ends for it. Absent: no TLS.
        #[key(unit = "", range = Range::File, reload = No,
            example = "\"/etc/relay/tls/fullchain.pem\"")]
        certificate_file: Option<PathBuf> = None;

        /// File in PEM with its private key, without a pass phrase; certbot calls it privkey.pem.
        #[key(unit = "", range = Range::File, reload = No,
            example = "\"/etc/relay/tls/privkey.pem\"")]
        key_file: Option<PathBuf> = None;
    }
}

section! {
    /// Who has to say who they are (NIP-42), and what only they may read.
    [auth] AuthSettings {
        /// Whether nothing but requests to vanish is taken from clients before they have proven
        /// who they are.
        #[key(unit = "", range = Range::Truth, reload = Yes)]
        required: bool = false;

        /// Kinds that are shown only to their author and to those tagged with p, once these have
        /// proven who they are: private messages (NIP-04, NIP-17, NIP-59). Empty: none.
        #[key(unit = "", range = KINDS, reload = Yes)]
        restricted_kinds: Vec<u64> = vec![4, 1_059, 21_059];
    }
}

section! {
    /// What one client may ask for, and which events are accepted from clients.
    /// Import and export are the operator's own acts and are not held to these limits.
    [limits] LimitSettings {
        /// Longest message of a client; a change holds for connections that are opened later.
        #[key(unit = "bytes", range = Range::Integers(1_024, 134_217_728), reload = Yes)]
        max_message_bytes: u64 = 2_097_152;

        /// Most subscriptions of one connection.
        #[key(unit = "subscriptions", range = Range::Integers(1, 100_000), reload = Yes)]
        max_subscriptions: u64 = 300;

        /// Most filters of one subscription.
        #[key(unit = "filters", range = Range::Integers(1, 10_000), reload = Yes)]
        max_filters: u64 = 200;

        /// Most reconciliations (NIP-77, negentropy) of one connection at a time. 0: none.
        #[key(unit = "reconciliations", range = Range::Integers(0, 1_000), reload = Yes)]
        max_reconciliations: u64 = 16;

        /// Most events that one reconciliation is about. One about everything, or about everything
        /// between two times, is about as many as there are.
        #[key(unit = "events", range = Range::Integers(1, 5_000_000), reload = Yes)]
        max_reconciled_events: u64 = 1_000_000;

        /// How long a reconciliation is kept for a client that says nothing.
        #[key(unit = "seconds", range = Range::Integers(1, 86_400), reload = Yes)]
        reconciliation_idle_secs: u64 = 60;

        /// Most stored events that one filter returns, whatever limit it asks for.
        #[key(unit = "events", range = Range::Integers(1, 1_000_000), reload = Yes)]
        max_limit: u64 = 5_000;

        /// Stored events that a filter without a limit returns.
        #[key(unit = "events", range = Range::Integers(1, 1_000_000), reload = Yes)]
        default_limit: u64 = 500;

        /// Most events that COUNT looks at one by one; beyond that it says that its answer is
        /// approximate. What the indexes know by themselves is counted to the end.
        #[key(unit = "events", range = Range::Integers(1, 1_000_000_000), reload = Yes)]
        max_count: u64 = 1_000_000;

        /// Most tags of an event.
        #[key(unit = "tags", range = Range::Integers(0, 1_000_000), reload = Yes)]
        max_event_tags: u64 = 20_000;

        /// Longest content of an event.
        #[key(unit = "characters", range = Range::Integers(0, 134_217_728), reload = Yes)]
        max_content_length: u64 = 1_000_000;

        /// How far in the past an event's created_at may be. 0: any time. Gift wraps may be three
        /// days old in any case: they are dated back at random (NIP-59).
        #[key(unit = "seconds", range = Range::Integers(0, 4_294_967_295), reload = Yes)]
        created_at_past_secs: u64 = 0;

        /// How far in the future an event's created_at may be. 0: any time.
        #[key(unit = "seconds", range = Range::Integers(0, 4_294_967_295), reload = Yes)]
        created_at_future_secs: u64 = 900;

        /// Most bytes that wait for a client that does not read; beyond that it is disconnected. A
        /// change holds for connections that are opened later.
        #[key(unit = "bytes", range = Range::Integers(65_536, 4_294_967_296), reload = Yes)]
        outbound_bytes_max: u64 = 33_554_432;

        /// About how many bytes wait for all slow readers together, beside half a megabyte for
        /// each; beyond that those who have most are disconnected.
        #[key(unit = "bytes", range = Range::Integers(1_048_576, 1_099_511_627_776), reload = Yes)]
        outbound_total_bytes_max: u64 = 1_073_741_824;
    }
}
