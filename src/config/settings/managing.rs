//! Who administers the relay while it runs.

use super::super::forms::ADMINS;
use super::super::key::{Key, Range, Reload, Section, section};
use super::super::value::Value;

section! {
    /// Who administers the relay while it runs: over HTTP (NIP-86, and the page /admin), and by
    /// `relay admin` on this machine. See docs/guarding.md.
    [management] ManagementSettings {
        /// Administrators: the public key of each, in hexadecimal or as npub1..., alone for all
        /// rights or with those that it has: KEY=read|moderate|people|relay|store, or names of
        /// methods. relay.url has to name the address that they use. Empty: nobody, and NIP-86 is
        /// off.
        #[key(unit = "", range = ADMINS, reload = Yes,
            example = "[\"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\"]")]
        admins: Vec<String> = Vec::new();

        /// Most acts of administrators that are kept to be read by `relay admin log`; of more, the
        /// oldest go.
        #[key(unit = "acts", range = Range::Integers(100, 1_000_000), reload = Yes)]
        max_log_entries: u64 = 10_000;
    }
}
