//! How other relays are reached.

use super::super::forms::PROXY;
use super::super::key::{Key, Range, Reload, Section, section};
use super::super::value::Value;

section! {
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

        /// How long another relay may be silent on the Internet when it has been asked something.
        #[key(unit = "seconds", range = Range::Integers(5, 600), reload = No)]
        clearnet_answer_secs: u64 = 30;

        /// How long another relay may be silent through Tor when it has been asked something.
        #[key(unit = "seconds", range = Range::Integers(5, 600), reload = No)]
        tor_answer_secs: u64 = 60;

        /// How long another relay may be silent through I2P when it has been asked something.
        #[key(unit = "seconds", range = Range::Integers(5, 600), reload = No)]
        i2p_answer_secs: u64 = 120;

        /// How long another relay may be silent through Lokinet when it has been asked something.
        #[key(unit = "seconds", range = Range::Integers(5, 600), reload = No)]
        lokinet_answer_secs: u64 = 60;

        /// How many connections may be under way to being opened at a time on the Internet.
        #[key(unit = "connections", range = Range::Integers(1, 1_000), reload = No)]
        clearnet_max_opening: u64 = 32;

        /// How many connections may be under way to being opened at a time through Tor.
        #[key(unit = "connections", range = Range::Integers(1, 1_000), reload = No)]
        tor_max_opening: u64 = 8;

        /// How many connections may be under way to being opened at a time through I2P.
        #[key(unit = "connections", range = Range::Integers(1, 1_000), reload = No)]
        i2p_max_opening: u64 = 4;

        /// How many connections may be under way to being opened at a time through Lokinet.
        #[key(unit = "connections", range = Range::Integers(1, 1_000), reload = No)]
        lokinet_max_opening: u64 = 8;
    }
}
