//! How much may come from whom, and who is kept out.

use super::super::forms::{ADDRESS_RANGES, RATE};
use super::super::key::{Key, Range, Reload, Section, section};
use super::super::value::{RateLimit, Value, rate};

section! {
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
        work: RateLimit = rate("2G/min burst 100M");
    }
}

section! {
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
}

section! {
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

        /// Bytes of messages. What comes faster is not refused: the client is not read meanwhile.
        #[key(unit = "", range = RATE, reload = Yes)]
        bytes: RateLimit = RateLimit::Off;

        /// What answers cost, in steps of about 10 nanoseconds: 100M is a second of one CPU core.
        /// Whoever has caused more gets questions refused until that is made up for.
        #[key(unit = "", range = RATE, reload = Yes)]
        work: RateLimit = RateLimit::Off;
    }
}

section! {
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
}

section! {
    /// Who is kept out, and who is left alone.
    [guard] GuardSettings {
        /// Addresses, or ranges of them, that none of the rates and bans is meant for. By default
        /// programs on this machine; clients that a trusted proxy speaks for are not.
        #[key(unit = "", range = ADDRESS_RANGES, reload = Yes)]
        exempt: Vec<String> = vec!["127.0.0.0/8".to_owned(), "::1".to_owned()];

        /// Addresses, or ranges of them, that are let in, and no others but those of exempt. Empty:
        /// all.
        #[key(unit = "", range = ADDRESS_RANGES, reload = Yes, example = "[\"192.0.2.0/24\"]")]
        allowed: Vec<String> = Vec::new();

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
        /// rate counts 1, a message that is none 20, an event with a wrong id or signature 500.
        #[key(unit = "", range = RATE, reload = Yes)]
        ban_tolerance: RateLimit = rate("5k/min");

        /// How long the first ban of an address lasts; each further one lasts twice as long.
        #[key(unit = "seconds", range = Range::Integers(1, 31_536_000), reload = Yes)]
        ban_secs: u64 = 600;

        /// How long a ban lasts at most. Who keeps the peace for as long starts again.
        #[key(unit = "seconds", range = Range::Integers(1, 31_536_000), reload = Yes)]
        max_ban_secs: u64 = 86_400;
    }
}
