//! Every key of the configuration: the one table that parsing, checking, `relay config example`
//! and `relay config show` follow.
//!
//! A key has its doc, unit, range, whether it reloads, type and default here and nowhere else.
//! Relations between keys are in `conflict`. How a layer is read is not said here.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::forms::{
    ADDRESS_RANGES, AGE_BY_KIND, BYTES_BY_KIND, CIRCLE, CODES, KIND_RANGES, KINDS, LEVEL,
    LISTEN_ADDRESS, MODULE_LEVELS, PROXY, PUBLIC_KEY, PUBLIC_KEYS, RATE, RELAY_URLS, RETENTION,
    TAGS, WEB_ADDRESS, WORDS, WORK_BY_KIND,
};
use super::key::{Key, Range, Reload, Section, settings};
use super::value::{Level, LogFormat, RateLimit, Value, rate};
use super::words::GroupMode;
use crate::policy::Circle;
use crate::policy::groups::Creation;
use crate::server::{Compression, Naming, OnFailure};
use crate::store::Durability;

settings! {
    /// How the relay presents itself in its information document (NIP-11).
    [relay] RelaySettings {
        /// Name of the relay.
        #[key(unit = "", range = Range::Characters(1, 200), reload = Yes)]
        name: String = "A Chappe relay".to_owned();

        /// Public addresses of the relay: those that its clients connect to. A client proves who
        /// it is to one of them (NIP-42), and a request to vanish names one (NIP-62). Without any,
        /// only addresses of this machine itself (localhost, 127.0.0.1, ::1) and the address of
        /// server.listen are taken for the relay's own.
        #[key(unit = "", range = RELAY_URLS, reload = Yes,
            example = "[\"wss://relay.example.org\"]")]
        url: Vec<String> = Vec::new();

        /// What the relay is for, in a few sentences.
        #[key(unit = "", range = Range::Characters(0, 5_000), reload = Yes)]
        description: String = String::new();

        /// Public key of the operator. Absent: the document names none.
        #[key(unit = "", range = PUBLIC_KEY, reload = Yes,
            example = "\"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\"")]
        pubkey: Option<String> = None;

        /// File with the relay's own secret key, in hexadecimal or as nsec1..., which nobody but its
        /// owner can read; `relay key generate` makes one. The relay signs with it what it has to
        /// say itself; its public key is `self` in the document. Absent: the relay has no key.
        #[key(unit = "", range = Range::Characters(1, 4_096), reload = No,
            example = "\"/etc/relay/secret.key\"")]
        secret_key_file: Option<PathBuf> = None;

        /// How to reach the operator, such as a mailto: or https: address. Absent: not said.
        #[key(unit = "", range = Range::Characters(1, 500), reload = Yes,
            example = "\"mailto:operator@example.org\"")]
        contact: Option<String> = None;

        /// Address of a picture that stands for the relay. Absent: not said.
        #[key(unit = "", range = WEB_ADDRESS, reload = Yes,
            example = "\"https://example.org/relay.png\"")]
        icon: Option<String> = None;

        /// Address of a wide picture of the relay. Absent: not said.
        #[key(unit = "", range = WEB_ADDRESS, reload = Yes,
            example = "\"https://example.org/banner.png\"")]
        banner: Option<String> = None;
    }

    /// Who belongs to the relay (NIP-43). Members are let in by invitations (`relay invite`, or a
    /// member's client asks for one) and kept in a list that everybody can read.
    [membership] MembershipSettings {
        /// Whether the relay has members. It needs a key for that (relay.secret_key_file). Whoever
        /// relay.pubkey names is a member in any case.
        #[key(unit = "", range = Range::Truth, reload = No)]
        enabled: bool = false;

        /// Whose events are taken. "members": those of members, and gift wraps from or for them.
        #[key(unit = "", range = CIRCLE, reload = No)]
        writes: Circle = Circle::Members;

        /// Who may read. "members": only they, once they have proven who they are (NIP-42).
        #[key(unit = "", range = CIRCLE, reload = No)]
        reads: Circle = Circle::Everyone;

        /// Kinds that are taken from everybody, though only members may write.
        #[key(unit = "", range = KINDS, reload = No)]
        open_kinds: Vec<u64> = Vec::new();

        /// Codes by which anybody may join, any number of times, until they are removed here.
        #[key(unit = "", range = CODES, reload = No, example = "[\"friends of the house\"]")]
        codes: Vec<String> = Vec::new();

        /// Whether every member that asks gets invitations, each for one person. Otherwise they
        /// come from `relay invite` alone.
        #[key(unit = "", range = Range::Truth, reload = No)]
        members_invite: bool = true;

        /// How long an invitation is good that a member has asked for.
        #[key(unit = "seconds", range = Range::Integers(60, 315_360_000), reload = No)]
        invite_secs: u64 = 604_800;
    }

    /// Groups of this relay (NIP-29), see docs/groups.md. They need a key (relay.secret_key_file).
    [groups] GroupSettings {
        /// "mixed": what names a group of this relay is held to its rules, all else is as on any
        /// relay. "exclusive": nothing else is taken. "off": there are no groups.
        #[key(unit = "", range = Range::OneOf(&["off", "mixed", "exclusive"]), reload = No)]
        mode: GroupMode = GroupMode::Off;

        /// Who may make groups: anyone, members of the relay (membership), or groups.operators.
        #[key(unit = "", range = Range::OneOf(&["anyone", "members", "operators"]), reload = No)]
        creation: Creation = Creation::Anyone;

        /// Public keys of those who may make groups and manage all of them; relay.pubkey is one.
        #[key(unit = "", range = PUBLIC_KEYS, reload = No)]
        operators: Vec<String> = Vec::new();

        /// Kinds that an exclusive relay takes without a group, beside requests to delete.
        #[key(unit = "", range = KINDS, reload = No)]
        groupless_kinds: Vec<u64> = vec![0, 3, 10_002, 10_009, 10_050];

        /// Most groups of the relay.
        #[key(unit = "groups", range = Range::Integers(1, 1_000_000), reload = No)]
        max_groups: u64 = 10_000;

        /// Most members of a group. Their list is made anew whenever somebody comes or goes.
        #[key(unit = "members", range = Range::Integers(1, 50_000), reload = No)]
        max_members: u64 = 5_000;

        /// How old an event for a group may be. 0: any age. `relay import` is not held to it.
        #[key(unit = "seconds", range = Range::Integers(0, 4_294_967_295), reload = No)]
        event_past_secs: u64 = 3_600;

        /// How many earlier events of its group an event must refer to, where there are so many.
        #[key(unit = "references", range = Range::Integers(0, 50), reload = No)]
        min_references: u64 = 0;
    }

    /// Where events are kept.
    [store] StoreSettings {
        /// Directory of the store, created on first use. A relative path starts at the working
        /// directory of the process. The flag --data sets this key.
        #[key(unit = "", range = Range::Characters(1, 4_096), reload = No)]
        path: PathBuf = PathBuf::from("./data");

        /// Size of the memory map, which is the most that the store can ever hold. It takes
        /// address space, not memory or disk. Absent: chosen by the free space of the disk.
        #[key(unit = "bytes", range = Range::Integers(1 << 20, 1 << 46), reload = No,
            example = "1099511627776")]
        map_bytes: Option<u64> = None;

        /// When an event counts as stored. "sync": every batch is on the disk before its events
        /// are acknowledged. "lazy": the system writes a little later; a power failure can lose
        /// the last seconds, a crash of the relay alone loses nothing.
        #[key(unit = "", range = Range::OneOf(&["sync", "lazy"]), reload = No)]
        durability: Durability = Durability::Sync;

        /// What does not stay for good, as rules: the `[[retention]]` parts of the file say the same.
        /// A rule is about the events of its kinds, without those of except_kinds and
        /// except_authors. Of them go: those that are older than age (in s, min, h or d), those of
        /// an author beyond the newest per_author, and the oldest while the store is larger than
        /// size (in k, M or G bytes, or % of the disk). Requests to delete and to vanish stay.
        #[key(unit = "", range = RETENTION, reload = Yes,
            example = "[\"kinds=7 age=30d\", \"except_kinds=0|3|10000-19999 size=80%\"]")]
        retention: Vec<String> = Vec::new();

        /// How long after one look at all events, by the rules of retention, the next one begins.
        #[key(unit = "seconds", range = Range::Integers(1, 31_536_000), reload = Yes)]
        retention_period_secs: u64 = 600;
    }

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

    /// Which events are taken from clients, beyond their form. Requests to vanish (NIP-62) are
    /// obeyed in any case.
    [policy] PolicySettings {
        /// Leading zero bits that the id of an event needs: proof of work (NIP-13). 0: none.
        #[key(unit = "bits", range = Range::Integers(0, 256), reload = Yes)]
        min_pow_difficulty: u64 = 0;

        /// Whether the nonce tag has to name the difficulty that was aimed at. If it names one,
        /// that counts in any case where it is lower than the one reached.
        #[key(unit = "", range = Range::Truth, reload = Yes)]
        require_pow_commitment: bool = false;

        /// Kinds that are not taken. Those of the default are parts of private messages, which
        /// nobody publishes but by mistake (NIP-17, NIP-59).
        #[key(unit = "", range = KINDS, reload = Yes)]
        refused_kinds: Vec<u64> = vec![13, 14, 15, 444];

        /// Kinds that are taken, and no others: 1, or 1000-1999. Empty: all.
        #[key(unit = "", range = KIND_RANGES, reload = Yes, example = "[\"0-3\", \"5\"]")]
        allowed_kinds: Vec<String> = Vec::new();

        /// Whose events are taken, and nobody else's. Gift wraps to them are, too (NIP-59).
        /// Empty, without a file and without trust_roots: anybody's.
        #[key(unit = "", range = PUBLIC_KEYS, reload = Yes, example = "[]")]
        allowed_authors: Vec<String> = Vec::new();

        /// File with more of them, one public key a line; what follows a # is a comment.
        #[key(unit = "", range = Range::File, reload = Yes,
            example = "\"allowed.txt\"")]
        allowed_authors_file: Option<PathBuf> = None;

        /// Whose events are not taken.
        #[key(unit = "", range = PUBLIC_KEYS, reload = Yes, example = "[]")]
        refused_authors: Vec<String> = Vec::new();

        /// File with more of them, one public key a line; what follows a # is a comment.
        #[key(unit = "", range = Range::File, reload = Yes,
            example = "\"refused.txt\"")]
        refused_authors_file: Option<PathBuf> = None;

        /// A web of trust: events are taken from these keys, from those whom they follow by their
        /// lists in this relay (kind 3), from those whom these follow, and so on. Beside
        /// allowed_authors. Empty: there is none.
        #[key(unit = "", range = PUBLIC_KEYS, reload = Yes, example = "[]")]
        trust_roots: Vec<String> = Vec::new();

        /// How many steps of following the web of trust goes.
        #[key(unit = "steps", range = Range::Integers(0, 10), reload = Yes)]
        trust_depth: u64 = 2;

        /// Most keys that the web of trust has; those who are nearer come first.
        #[key(unit = "keys", range = Range::Integers(1, 10_000_000), reload = Yes)]
        trust_max_keys: u64 = 500_000;

        /// Kinds that are taken from anybody all the same, where not everybody may publish. Those
        /// of the default say where to find somebody (NIP-65, NIP-17).
        #[key(unit = "", range = KIND_RANGES, reload = Yes)]
        open_kinds: Vec<String> =
            ["0", "10002", "10050"].into_iter().map(str::to_owned).collect();

        /// Tags that no event may have: a name and a value, t=spam, or a name alone.
        #[key(unit = "", range = TAGS, reload = Yes, example = "[\"t=spam\"]")]
        refused_tags: Vec<String> = Vec::new();

        /// Words that no content may have, in upper or lower case.
        #[key(unit = "", range = WORDS, reload = Yes, example = "[\"casino\"]")]
        refused_words: Vec<String> = Vec::new();

        /// File with more of them, one a line.
        #[key(unit = "", range = Range::File, reload = Yes,
            example = "\"words.txt\"")]
        refused_words_file: Option<PathBuf> = None;

        /// Most bytes that content and tags of some kinds may have together: 1=64k.
        #[key(unit = "", range = BYTES_BY_KIND, reload = Yes,
            example = "[\"1=64k\", \"30000-39999=1M\"]")]
        max_bytes_by_kind: Vec<String> = Vec::new();

        /// How far in the past created_at of some kinds may be: 1=30d, in s, min, h or d.
        #[key(unit = "", range = AGE_BY_KIND, reload = Yes, example = "[\"20000-29999=10min\"]")]
        max_age_by_kind: Vec<String> = Vec::new();

        /// Leading zero bits that the ids of some kinds need, in place of min_pow_difficulty: 7=16.
        #[key(unit = "", range = WORK_BY_KIND, reload = Yes, example = "[\"7=16\"]")]
        min_pow_by_kind: Vec<String> = Vec::new();
    }

    /// A program of yours that judges the events of clients, by the protocol of strfry's plugins.
    [plugin] PluginKeys {
        /// Command that starts it, for the shell. If it has no space it is the path of a program,
        /// which is started again whenever its file changes. Empty: there is none.
        #[key(unit = "", range = Range::Characters(0, 4_096), reload = Yes)]
        command: String = String::new();

        /// How many of it run. With more than one, none of them sees all events.
        #[key(unit = "processes", range = Range::Integers(1, 256), reload = Yes)]
        processes: u64 = 1;

        /// Most events that one process is asked about before it has answered.
        #[key(unit = "events", range = Range::Integers(1, 100_000), reload = Yes)]
        max_pending: u64 = 1_000;

        /// How long the oldest of these may remain unanswered while it is the oldest; then the
        /// process is ended and started again.
        #[key(unit = "seconds", range = Range::Integers(1, 3_600), reload = Yes)]
        timeout_secs: u64 = 10;

        /// What becomes of events that it does not judge, because it hangs or has ended.
        #[key(unit = "", range = Range::OneOf(&["reject", "accept"]), reload = Yes)]
        on_failure: OnFailure = OnFailure::Reject;
    }

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

    /// How much may come from one address, or one network of IPv6 (/64): so much in a second (s),
    /// minute (min), hour (h) or day. As much may come at once; "20/s burst 100" says another number
    /// for that. What is too much is refused with `rate-limited:`.
    [rates_per_address] AddressRates {
        /// Connections that begin.
        #[key(unit = "", range = RATE, reload = Yes)]
        connections: RateLimit = rate("300/min");

        /// Messages EVENT and AUTH.
        #[key(unit = "", range = RATE, reload = Yes)]
        events: RateLimit = rate("3k/min");

        /// Messages REQ.
        #[key(unit = "", range = RATE, reload = Yes)]
        requests: RateLimit = rate("3k/min burst 1k");

        /// Messages COUNT.
        #[key(unit = "", range = RATE, reload = Yes)]
        counts: RateLimit = rate("600/min burst 300");

        /// Messages NEG-OPEN and NEG-MSG.
        #[key(unit = "", range = RATE, reload = Yes)]
        reconciliations: RateLimit = rate("1200/min");

        /// Bytes of messages. What comes faster is not refused: the client is not read meanwhile.
        #[key(unit = "", range = RATE, reload = Yes)]
        bytes: RateLimit = rate("600M/min");

        /// What answers cost, in steps of about 10 nanoseconds: 100M is a second of one CPU core.
        /// Whoever has caused more gets questions refused until that is made up for.
        #[key(unit = "", range = RATE, reload = Yes)]
        work: RateLimit = rate("2G/min burst 500M");
    }

    /// The same for each connection by itself.
    [rates_per_connection] ConnectionRates {
        /// Messages EVENT and AUTH.
        #[key(unit = "", range = RATE, reload = Yes)]
        events: RateLimit = RateLimit::Off;

        /// Messages REQ.
        #[key(unit = "", range = RATE, reload = Yes)]
        requests: RateLimit = RateLimit::Off;

        /// Messages COUNT.
        #[key(unit = "", range = RATE, reload = Yes)]
        counts: RateLimit = RateLimit::Off;

        /// Messages NEG-OPEN and NEG-MSG.
        #[key(unit = "", range = RATE, reload = Yes)]
        reconciliations: RateLimit = RateLimit::Off;

        /// Bytes of messages. What comes faster is not refused: the client is not read meanwhile.
        #[key(unit = "", range = RATE, reload = Yes)]
        bytes: RateLimit = RateLimit::Off;

        /// What answers cost, in steps of about 10 nanoseconds: 100M is a second of one CPU core.
        /// Whoever has caused more gets questions refused until that is made up for.
        #[key(unit = "", range = RATE, reload = Yes)]
        work: RateLimit = RateLimit::Off;
    }

    /// The same for each public key, from whatever address: for events their author, otherwise
    /// whom clients have proven to be (NIP-42).
    [rates_per_key] KeyRates {
        /// Messages EVENT, by the author of the event.
        #[key(unit = "", range = RATE, reload = Yes)]
        events: RateLimit = RateLimit::Off;

        /// Messages REQ.
        #[key(unit = "", range = RATE, reload = Yes)]
        requests: RateLimit = RateLimit::Off;

        /// Messages COUNT.
        #[key(unit = "", range = RATE, reload = Yes)]
        counts: RateLimit = RateLimit::Off;

        /// Messages NEG-OPEN and NEG-MSG.
        #[key(unit = "", range = RATE, reload = Yes)]
        reconciliations: RateLimit = RateLimit::Off;

        /// What answers cost, in steps of about 10 nanoseconds: 100M is a second of one CPU core.
        /// Whoever has caused more gets questions refused until that is made up for.
        #[key(unit = "", range = RATE, reload = Yes)]
        work: RateLimit = RateLimit::Off;
    }

    /// The same for all clients together.
    [rates_in_all] AllRates {
        /// Connections that begin.
        #[key(unit = "", range = RATE, reload = Yes)]
        connections: RateLimit = RateLimit::Off;

        /// Messages EVENT and AUTH.
        #[key(unit = "", range = RATE, reload = Yes)]
        events: RateLimit = RateLimit::Off;

        /// Messages REQ.
        #[key(unit = "", range = RATE, reload = Yes)]
        requests: RateLimit = RateLimit::Off;

        /// Messages COUNT.
        #[key(unit = "", range = RATE, reload = Yes)]
        counts: RateLimit = RateLimit::Off;

        /// Messages NEG-OPEN and NEG-MSG.
        #[key(unit = "", range = RATE, reload = Yes)]
        reconciliations: RateLimit = RateLimit::Off;

        /// Bytes of messages. What comes faster is not refused: the client is not read meanwhile.
        #[key(unit = "", range = RATE, reload = Yes)]
        bytes: RateLimit = RateLimit::Off;

        /// What answers cost, in steps of about 10 nanoseconds: 100M is a second of one CPU core.
        /// Whoever has caused more gets questions refused until that is made up for.
        #[key(unit = "", range = RATE, reload = Yes)]
        work: RateLimit = RateLimit::Off;
    }

    /// Who is kept out, and who is left alone.
    [guard] GuardSettings {
        /// Addresses, or ranges of them, that none of the rates and bans is meant for. By default
        /// programs on this machine; clients that a trusted proxy speaks for are not.
        #[key(unit = "", range = ADDRESS_RANGES, reload = Yes)]
        exempt: Vec<String> = vec!["127.0.0.0/8".to_owned(), "::1".to_owned()];

        /// Addresses, or ranges of them, that are not let in.
        #[key(unit = "", range = ADDRESS_RANGES, reload = Yes, example = "[\"192.0.2.0/24\"]")]
        denied: Vec<String> = Vec::new();

        /// Most connections of one address at a time. 0: any number.
        #[key(unit = "connections", range = Range::Integers(0, 10_000_000), reload = Yes)]
        max_connections_per_address: u64 = 200;

        /// Most work that one query may cause, in steps of about 10 nanoseconds. 0: any.
        #[key(unit = "steps", range = Range::Integers(0, 1_000_000_000_000), reload = Yes)]
        max_query_work: u64 = 200_000_000;

        /// How much misconduct is tolerated before an address is banned: a refusal because of a
        /// rate counts 1, a message that is none, or an event with a wrong signature, 20.
        #[key(unit = "", range = RATE, reload = Yes)]
        ban_tolerance: RateLimit = rate("5k/min");

        /// How long the first ban of an address lasts; each further one lasts twice as long.
        #[key(unit = "seconds", range = Range::Integers(1, 31_536_000), reload = Yes)]
        ban_secs: u64 = 600;

        /// How long a ban lasts at most. Who keeps the peace for as long starts again.
        #[key(unit = "seconds", range = Range::Integers(1, 31_536_000), reload = Yes)]
        max_ban_secs: u64 = 86_400;
    }

    /// How other relays are reached: by `relay sync` and whatever else asks them. The name of a host
    /// says which network it belongs to.
    [network] NetworkSettings {
        /// SOCKS5 proxy for the Internet, as host and port. Absent: reached directly.
        #[key(unit = "", range = PROXY, reload = No, example = "\"127.0.0.1:1080\"")]
        clearnet_proxy: Option<String> = None;

        /// SOCKS5 proxy for names that end in .onion. Absent: Tor is not reached.
        #[key(unit = "", range = PROXY, reload = No, example = "\"127.0.0.1:9050\"")]
        tor_proxy: Option<String> = None;

        /// SOCKS5 proxy for names that end in .i2p. Absent: I2P is not reached.
        #[key(unit = "", range = PROXY, reload = No, example = "\"127.0.0.1:4447\"")]
        i2p_proxy: Option<String> = None;

        /// SOCKS5 proxy for names that end in .loki. Absent: they are looked up like any other,
        /// which works where Lokinet is the resolver.
        #[key(unit = "", range = PROXY, reload = No, example = "\"127.0.0.1:1080\"")]
        lokinet_proxy: Option<String> = None;

        /// How long connecting may take on the Internet.
        #[key(unit = "seconds", range = Range::Integers(1, 600), reload = No)]
        clearnet_connect_secs: u64 = 10;

        /// How long connecting may take through Tor.
        #[key(unit = "seconds", range = Range::Integers(1, 600), reload = No)]
        tor_connect_secs: u64 = 60;

        /// How long connecting may take through I2P.
        #[key(unit = "seconds", range = Range::Integers(1, 600), reload = No)]
        i2p_connect_secs: u64 = 120;

        /// How long connecting may take through Lokinet.
        #[key(unit = "seconds", range = Range::Integers(1, 600), reload = No)]
        lokinet_connect_secs: u64 = 60;
    }

    /// Log lines on standard error. They have neither content of events nor keys, and no addresses.
    [log] LogSettings {
        /// Least important level that is written.
        #[key(unit = "", range = LEVEL, reload = Yes)]
        level: Level = Level::Info;

        /// Levels of single modules, where they differ: "net=debug", "server::guard=trace".
        #[key(unit = "", range = MODULE_LEVELS, reload = Yes, example = "[\"net=debug\"]")]
        modules: Vec<String> = Vec::new();

        /// How lines are written. "text": for people. "json": one object a line.
        #[key(unit = "", range = Range::OneOf(&["text", "json"]), reload = No)]
        format: LogFormat = LogFormat::Text;

        /// Warnings and errors of one kind in ten seconds; what is beyond is counted and told as
        /// one line. 0: all of them.
        #[key(unit = "lines", range = Range::Integers(0, 1_000_000), reload = Yes)]
        repeats_max: u64 = 20;

        /// Queries that take more work than this are told, with their plan and the form of their
        /// filters. 0: none.
        #[key(unit = "milliseconds", range = Range::Integers(0, 3_600_000), reload = Yes)]
        slow_query_millis: u64 = 500;
    }

    /// What the relay tells of itself to who runs it.
    [metrics] MetricsSettings {
        /// Address and port for /metrics (Prometheus), /health and /ready, without any access
        /// control: an address that only the operator reaches. Absent: nowhere.
        #[key(unit = "", range = LISTEN_ADDRESS, reload = No, example = "\"127.0.0.1:9777\"")]
        listen: Option<SocketAddr> = None;
    }
}
