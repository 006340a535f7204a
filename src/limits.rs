//! Bounds that are part of the code and not of the settings: everything has one, and it has a name.
//!
//! A limit that an operator may change lives in the settings instead.

/// How many arrays and objects may be nested in a JSON value that is skipped.
///
/// The skipper keeps one bit per level in a `u64`, so this cannot be larger than 64.
pub const JSON_DEPTH_MAX: u32 = 64;

/// How many characters a subscription id may have (NIP-01).
pub const SUBSCRIPTION_ID_CHARACTERS_MAX: usize = 64;

/// How many packed tag bytes or content bytes one event may have: their lengths are stored as
/// `u32`.
pub const EVENT_BODY_BYTES_MAX: usize = u32::MAX as usize;

/// How many filters one message may have: a filter takes much more memory than its text `{}`.
///
/// The limit of the settings is not above this one.
pub const MESSAGE_FILTERS_MAX: usize = 1024;

/// How many keys one connection may prove to own (NIP-42).
pub const SESSION_KEYS_MAX: usize = 64;

/// How many public keys a verifier keeps in their parsed form; a power of two.
pub const VERIFIER_KEYS_MAX: usize = 8192;

/// How many events all reconciliations of a server may keep in memory, 41 bytes each. One that
/// would need more is refused.
pub const RECONCILED_ITEMS_MAX: u64 = 8_000_000;

/// How many addresses, and how many public keys, are remembered to measure what they do; about 200
/// bytes each.
pub const CROWD_MAX: usize = 100_000;

const _: () = assert!(JSON_DEPTH_MAX <= u64::BITS, "one bit of a u64 per level");
const _: () = assert!(VERIFIER_KEYS_MAX.is_power_of_two(), "the slot is a mask of key bits");
