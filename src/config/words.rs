//! The words that some keys take, and what they mean.

use super::key::{Range, Raw};
use super::value::{Value, words};
use crate::address::ClientNaming;
use crate::policy::Circle;
use crate::policy::groups::Creation;
use crate::server::{Compression, Naming, OnFailure};
use crate::store::Durability;

words! { Durability { "sync" => Durability::Sync, "lazy" => Durability::Lazy } }

words! {
    Compression { "off" => Compression::Off, "live" => Compression::Live, "all" => Compression::All }
}

words! { OnFailure { "reject" => OnFailure::Reject, "accept" => OnFailure::Accept } }

words! {
    ClientNaming { "hashed" => ClientNaming::Hashed, "plain" => ClientNaming::Plain }
}

words! { Circle { "everyone" => Circle::Everyone, "members" => Circle::Members } }

words! { Naming { "forwarded" => Naming::Header, "protocol" => Naming::Protocol } }

words! {
    GroupMode {
        "off" => GroupMode::Off, "mixed" => GroupMode::Mixed, "exclusive" => GroupMode::Exclusive
    }
}

words! {
    Creation {
        "anyone" => Creation::Anyone,
        "members" => Creation::Members,
        "operators" => Creation::Operators,
    }
}

/// What groups are to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupMode {
    /// There are none.
    Off,
    /// They are beside everything else.
    Mixed,
    /// There is nothing else.
    Exclusive,
}
