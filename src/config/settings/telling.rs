//! What the relay tells of itself: log lines, metrics, and pages for people.

use std::net::SocketAddr;

use super::super::forms::{LEVEL, LISTEN_ADDRESS, MODULE_LEVELS};
use super::super::key::{Key, Range, Reload, Section, section};
use super::super::value::{Level, LogFormat, Value};
use crate::address::ClientNaming;

section! {
    /// Log lines on standard error. They have neither content of events nor keys.
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

        /// How lines name clients. "hashed": by an alias that holds for a day and leads back to no
        /// address. "plain": by their address.
        #[key(unit = "", range = Range::OneOf(&["hashed", "plain"]), reload = Yes)]
        client_addresses: ClientNaming = ClientNaming::Hashed;

        /// Queries that take more work than this are told, with their plan and the form of their
        /// filters. 0: none.
        #[key(unit = "milliseconds", range = Range::Integers(0, 3_600_000), reload = Yes)]
        slow_query_millis: u64 = 500;
    }
}

section! {
    /// What the relay tells of itself to who runs it.
    [metrics] MetricsSettings {
        /// Address and port for /metrics (Prometheus), /health and /ready, without any access
        /// control: an address that only the operator reaches. Absent: nowhere.
        #[key(unit = "", range = LISTEN_ADDRESS, reload = No, example = "\"127.0.0.1:9777\"")]
        listen: Option<SocketAddr> = None;
    }
}

section! {
    /// Pages for people with a browser, on the address that clients connect to.
    [pages] PageSettings {
        /// Whether there is a page at / that says what this relay is and takes. Without it browsers
        /// get a line of text; programs get the information document (NIP-11) in any case.
        #[key(unit = "", range = Range::Truth, reload = Yes)]
        front: bool = true;

        /// Whether that page shows how many events, connections and subscriptions there are.
        #[key(unit = "", range = Range::Truth, reload = Yes)]
        counters: bool = true;

        /// Whether there is a page at /admin, on which administrators do what they may do
        /// (management.admins).
        #[key(unit = "", range = Range::Truth, reload = Yes)]
        admin: bool = true;
    }
}
