//! Event kinds and what a relay must do with them (NIP-01).

use std::fmt;

/// The number that says what an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u16);

/// How long events of a kind are kept, and which of them replace each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindClass {
    /// All events are stored.
    Regular,
    /// Only the newest event of an author and kind is kept.
    Replaceable,
    /// Events are delivered to open subscriptions and never stored.
    Ephemeral,
    /// Only the newest event of an author, kind and identifier is kept.
    Addressable,
}

impl Kind {
    /// Profile metadata (NIP-01).
    pub const METADATA: Kind = Kind(0);
    /// Short text note (NIP-10).
    pub const TEXT_NOTE: Kind = Kind(1);
    /// Follow list (NIP-02).
    pub const FOLLOW_LIST: Kind = Kind(3);
    /// Deletion request (NIP-09).
    pub const DELETION: Kind = Kind(5);
    /// Request to vanish (NIP-62).
    pub const VANISH: Kind = Kind(62);
    /// Gift wrap (NIP-59).
    pub const GIFT_WRAP: Kind = Kind(1059);
    /// A member was added (NIP-43).
    pub const MEMBER_ADDED: Kind = Kind(8_000);
    /// A member was removed (NIP-43).
    pub const MEMBER_REMOVED: Kind = Kind(8_001);
    /// The members of a relay (NIP-43).
    pub const MEMBER_LIST: Kind = Kind(13_534);
    /// Gift wrap that is not stored (NIP-59).
    pub const EPHEMERAL_GIFT_WRAP: Kind = Kind(21_059);
    /// Request to join a relay (NIP-43).
    pub const JOIN_REQUEST: Kind = Kind(28_934);
    /// Invitation to a relay, made for whoever asks for it (NIP-43).
    pub const INVITE: Kind = Kind(28_935);
    /// Request to leave a relay (NIP-43).
    pub const LEAVE_REQUEST: Kind = Kind(28_936);
    /// A role that members of a relay may have (NIP-43).
    pub const ROLE: Kind = Kind(33_534);
    /// Client authentication (NIP-42): never stored, never sent to anybody.
    pub const AUTHENTICATION: Kind = Kind(22_242);
    /// Authorization of an HTTP request (NIP-98).
    pub const HTTP_AUTHORIZATION: Kind = Kind(27_235);
    /// Report of something that should not be here (NIP-56).
    pub const REPORT: Kind = Kind(1_984);

    /// Returns the storage class; kinds that NIP-01 does not assign are regular.
    pub fn class(self) -> KindClass {
        match self.0 {
            0 | 3 | 10_000..=19_999 => KindClass::Replaceable,
            20_000..=29_999 => KindClass::Ephemeral,
            30_000..=39_999 => KindClass::Addressable,
            _ => KindClass::Regular,
        }
    }

    /// Tells whether every event of the kind is kept.
    pub fn is_regular(self) -> bool {
        self.class() == KindClass::Regular
    }

    /// Tells whether only the newest event of an author and this kind is kept.
    pub fn is_replaceable(self) -> bool {
        self.class() == KindClass::Replaceable
    }

    /// Tells whether events of the kind are never stored.
    pub fn is_ephemeral(self) -> bool {
        self.class() == KindClass::Ephemeral
    }

    /// Tells whether only the newest event of an author, this kind and an identifier is kept.
    pub fn is_addressable(self) -> bool {
        self.class() == KindClass::Addressable
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_begin_and_end_where_nip_01_says() {
        let rows = [
            (KindClass::Replaceable, &[0, 3, 10_000, 10_002, 19_999][..]),
            (KindClass::Ephemeral, &[20_000, 22_242, 29_999]),
            (KindClass::Addressable, &[30_000, 39_999]),
            (KindClass::Regular, &[1, 2, 4, 5, 41, 45, 62, 78, 1059, 9_999, 40_000, 65_535]),
        ];
        for (class, kinds) in rows {
            for kind in kinds {
                assert_eq!(Kind(*kind).class(), class, "kind {kind}");
            }
        }
    }
}
