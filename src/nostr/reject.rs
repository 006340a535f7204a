//! Why a client's request is refused, in the words that clients understand (NIP-01, NIP-42,
//! NIP-77).

use std::borrow::Cow;
use std::fmt;

use super::event::EventError;

/// The machine-readable word in front of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// It is there already, or something newer is.
    Duplicate,
    /// The id lacks proof of work (NIP-13).
    Pow,
    /// The operator or the author does not want it here.
    Blocked,
    /// Too much or too often.
    RateLimited,
    /// It is malformed or not true.
    Invalid,
    /// The client is known but not permitted.
    Restricted,
    /// The client has to say first who it is (NIP-42).
    AuthRequired,
    /// Nobody was there to receive it.
    Mute,
    /// Something failed here.
    Error,
    /// The relay does not know how.
    Unsupported,
    /// A reconciliation is not or no longer open (NIP-77).
    Closed,
}

impl Prefix {
    /// Returns the word itself.
    pub fn word(self) -> &'static str {
        match self {
            Prefix::Duplicate => "duplicate",
            Prefix::Pow => "pow",
            Prefix::Blocked => "blocked",
            Prefix::RateLimited => "rate-limited",
            Prefix::Invalid => "invalid",
            Prefix::Restricted => "restricted",
            Prefix::AuthRequired => "auth-required",
            Prefix::Mute => "mute",
            Prefix::Error => "error",
            Prefix::Unsupported => "unsupported",
            Prefix::Closed => "closed",
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A refusal: shown as `prefix: text`, as clients expect it with the space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// What clients act on.
    pub prefix: Prefix,
    /// What people read.
    pub text: Cow<'static, str>,
}

impl Reject {
    /// Returns a refusal.
    pub fn new(prefix: Prefix, text: impl Into<Cow<'static, str>>) -> Reject {
        Reject { prefix, text: text.into() }
    }

    /// Returns a refusal of something malformed or untrue.
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Reject {
        Reject::new(Prefix::Invalid, text)
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.prefix, self.text)
    }
}

impl From<EventError> for Reject {
    fn from(error: EventError) -> Reject {
        Reject::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_begins_with_its_prefix_a_colon_and_a_space() {
        let reject = Reject::new(Prefix::AuthRequired, "say who you are");
        assert_eq!(reject.to_string(), "auth-required: say who you are");
    }
}
