//! Which events are taken from clients: rules, and programs of the operator.

use std::path::PathBuf;

use super::super::forms::{
    AGE_BY_KIND, BYTES_BY_KIND, DOMAINS, KIND_RANGES, KINDS, PUBLIC_KEYS, TAGS, WORDS, WORK_BY_KIND,
};
use super::super::key::{Key, Range, Reload, Section, section};
use super::super::value::Value;
use crate::server::OnFailure;

section! {
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

        /// Domains whose people may publish: those whose profile (kind 0) has a nip05 address there
        /// that the domain confirms, beside allowed_authors. The domain is asked over HTTPS, on the
        /// way that the section network says, soon after a profile has come; so 0 has to be one of open_kinds.
        /// Empty: no domain is asked.
        #[key(unit = "", range = DOMAINS, reload = Yes, example = "[\"example.org\"]")]
        nip05_domains: Vec<String> = Vec::new();

        /// After how long a domain is asked again about somebody.
        #[key(unit = "seconds", range = Range::Integers(10, 31_536_000), reload = Yes)]
        nip05_refresh_secs: u64 = 86_400;

        /// How long what a domain has confirmed counts if it cannot be asked again.
        #[key(unit = "seconds", range = Range::Integers(10, 31_536_000), reload = Yes)]
        nip05_expiry_secs: u64 = 604_800;

        /// Most authors for whom domains are asked.
        #[key(unit = "keys", range = Range::Integers(1, 10_000_000), reload = Yes)]
        nip05_max_keys: u64 = 100_000;

        /// Kinds that are taken from anybody all the same, where not everybody may publish, and
        /// whatever they are about. Those of the default are profiles, which other rules may
        /// depend on (NIP-05), and say where to find somebody (NIP-65, NIP-17).
        #[key(unit = "", range = KIND_RANGES, reload = Yes)]
        open_kinds: Vec<String> =
            ["0", "10002", "10050"].into_iter().map(str::to_owned).collect();

        /// Tags of which an event needs one: a name and a value, t=chess, or a name alone. Kinds of
        /// open_kinds and requests to delete do not. Empty: it needs none.
        #[key(unit = "", range = TAGS, reload = Yes, example = "[\"t=chess\"]")]
        allowed_tags: Vec<String> = Vec::new();

        /// Words of which a content needs one, in upper or lower case; the same kinds do not.
        /// Empty: it needs none.
        #[key(unit = "", range = WORDS, reload = Yes, example = "[\"chess\"]")]
        allowed_words: Vec<String> = Vec::new();

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
}

section! {
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
}
