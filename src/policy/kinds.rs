//! Kinds as settings name them: `1`, `1000-1999`, and something said of some of them.

use std::fmt;
use std::str::FromStr;

use crate::nostr::Kind;

/// All kinds from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindRange {
    first: u16,
    last: u16,
}

/// A text names no kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a kind such as 1, or a range of kinds such as 1000-1999")]
pub struct KindsError;

impl KindRange {
    /// Returns whether a kind is one of them.
    pub fn has(&self, kind: Kind) -> bool {
        (self.first..=self.last).contains(&kind.0)
    }
}

impl fmt::Display for KindRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(out, "{}", self.first),
            false => write!(out, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for KindRange {
    type Err = KindsError;

    fn from_str(text: &str) -> Result<KindRange, KindsError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
            if is_number { text.parse::<u16>().ok() } else { None }
        };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(KindRange { first, last }),
            _ => Err(KindsError),
        }
    }
}

/// What is said of some kinds: the first range that has a kind decides.
#[derive(Clone, Debug, Default)]
pub struct ByKind(Box<[(KindRange, u64)]>);

impl ByKind {
    /// Returns whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns everything that is said, the first that has a kind first.
    pub fn rows(&self) -> &[(KindRange, u64)] {
        &self.0
    }

    /// Returns what is said of a kind, if anything is.
    pub fn of(&self, kind: Kind) -> Option<u64> {
        self.0.iter().find(|(range, _)| range.has(kind)).map(|(_, value)| *value)
    }
}

impl FromIterator<(KindRange, u64)> for ByKind {
    fn from_iter<I: IntoIterator<Item = (KindRange, u64)>>(said: I) -> ByKind {
        ByKind(said.into_iter().collect())
    }
}

/// Reads `KINDS=NUMBER`; the number may end with a unit of which `unit` knows the size.
pub fn parse_by_kind(text: &str, unit: fn(&str) -> Option<u64>) -> Option<(KindRange, u64)> {
    let (kinds, value) = text.split_once('=')?;
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, letters) = value.split_at(digits);
    let number = number.parse::<u64>().ok()?.checked_mul(unit(letters)?)?;
    Some((kinds.parse().ok()?, number))
}

/// Knows the size of numbers without a unit.
pub fn plain(unit: &str) -> Option<u64> {
    unit.is_empty().then_some(1)
}

/// Knows thousands (k) and millions (M), as of bytes.
pub fn amount(unit: &str) -> Option<u64> {
    match unit {
        "" => Some(1),
        "k" => Some(1_000),
        "M" => Some(1_000_000),
        _ => None,
    }
}

/// Knows how many seconds a unit of time has.
pub fn period(unit: &str) -> Option<u64> {
    match unit {
        "" | "s" => Some(1),
        "min" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_kinds_and_both_ends() {
        let range: KindRange = "1000-1999".parse().expect("a range");
        for (kind, expected) in [(999, false), (1_000, true), (1_999, true), (2_000, false)] {
            assert_eq!(range.has(Kind(kind)), expected, "{kind}");
        }
        assert_eq!(range.to_string(), "1000-1999");
        assert!("7".parse::<KindRange>().expect("a kind").has(Kind(7)));
        for text in ["", "-", "1-", "-1", "2-1", "65536", "+1", "1-2-3", "a"] {
            assert_eq!(text.parse::<KindRange>(), Err(KindsError), "{text}");
        }
    }

    #[test]
    fn the_first_that_names_a_kind_decides() {
        let read = |text: &str| parse_by_kind(text, amount).expect("it says something");
        let said: ByKind = ["1=5", "0-9=2k", "30000-39999=1M"].into_iter().map(read).collect();
        let rows = [(1, Some(5)), (0, Some(2_000)), (30_023, Some(1_000_000)), (10, None)];
        for (kind, expected) in rows {
            assert_eq!(said.of(Kind(kind)), expected, "{kind}");
        }
        for text in ["", "1", "1=", "=1", "1=k", "1=1x", "1=99999999999999999999", "1=-1"] {
            assert_eq!(parse_by_kind(text, amount), None, "{text}");
        }
        assert_eq!(parse_by_kind("1=30d", period).map(|it| it.1), Some(2_592_000));
    }
}
