//! What the relay presents itself as, who belongs to it, and its groups.

use std::path::PathBuf;

use super::super::forms::{CIRCLE, CODES, KINDS, PUBLIC_KEY, PUBLIC_KEYS, RELAY_URLS, WEB_ADDRESS};
use super::super::key::{Key, Range, Reload, Section, section};
use super::super::value::Value;
use super::super::words::GroupMode;
use crate::policy::Circle;
use crate::policy::groups::Creation;

section! {
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
}

section! {
    /// Who belongs to the relay (NIP-43). Members are let in by invitations (`relay invite`, or a
    /// member's client asks for one) and kept in a list that everybody can read.
    [membership] MembershipSettings {
        /// Whether the relay has members. It needs a key for that (relay.secret_key_file). Whoever
        /// relay.pubkey names is a member in any case.
        #[key(unit = "", range = Range::Truth, reload = No)]
        enabled: bool = false;

        /// Whose events are taken. "members": those of members, and gift wraps from or for them.
        #[key(unit = "", range = CIRCLE, reload = Yes)]
        writes: Circle = Circle::Members;

        /// Who may read. "members": only they, once they have proven who they are (NIP-42).
        #[key(unit = "", range = CIRCLE, reload = Yes)]
        reads: Circle = Circle::Everyone;

        /// Kinds that are taken from everybody, though only members may write.
        #[key(unit = "", range = KINDS, reload = Yes)]
        open_kinds: Vec<u64> = Vec::new();

        /// Codes by which anybody may join, any number of times, until they are removed here.
        #[key(unit = "", range = CODES, reload = Yes, example = "[\"friends of the house\"]")]
        codes: Vec<String> = Vec::new();

        /// Whether every member that asks gets invitations, each for one person. Otherwise they
        /// come from `relay invite` alone.
        #[key(unit = "", range = Range::Truth, reload = Yes)]
        members_invite: bool = true;

        /// How long an invitation is good that a member has asked for.
        #[key(unit = "seconds", range = Range::Integers(60, 315_360_000), reload = Yes)]
        invite_secs: u64 = 604_800;
    }
}

section! {
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
}

section! {
    /// Whether people may let other keys speak for them (NIP-26), which hardly anybody does any
    /// more.
    [delegation] DelegationSettings {
        /// Whether filters find an event by the key in whose name it was made, too, and that key
        /// may delete it.
        #[key(unit = "", range = Range::Truth, reload = No)]
        enabled: bool = false;
    }
}
