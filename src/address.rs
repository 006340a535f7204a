//! Ranges of internet addresses, as people write them: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`;
//! and what log lines call a client.

use std::fmt;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    prefix_bits: u32,
}

/// A text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as 192.0.2.7 or a range such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct RangeError;

impl AddressRange {
    /// Returns whether the address is one of the range. IPv4 inside IPv6 counts as IPv4.
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(other)) => {
                let shift = u32::BITS - self.prefix_bits;
                (first.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(other)) => {
                let shift = u128::BITS - self.prefix_bits;
                (first.to_bits() ^ other.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<AddressRange, RangeError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| RangeError)?;
        let bits_max = if first.is_ipv4() { u32::BITS } else { u128::BITS };
        let is_number = |bits: &str| !bits.is_empty() && bits.bytes().all(|it| it.is_ascii_digit());
        let prefix_bits = match bits {
            None => bits_max,
            Some(bits) if is_number(bits) => bits.parse().map_err(|_| RangeError)?,
            Some(_) => return Err(RangeError),
        };
        if prefix_bits > bits_max {
            return Err(RangeError);
        }
        Ok(AddressRange { first, prefix_bits })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

/// Some ranges, few enough to look at each; cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct AddressRanges(Arc<[AddressRange]>);

impl AddressRanges {
    /// Returns whether the address is in one of the ranges.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.has(address))
    }

    /// Returns whether there is no range.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<AddressRange> for AddressRanges {
    fn from_iter<I: IntoIterator<Item = AddressRange>>(ranges: I) -> AddressRanges {
        AddressRanges(ranges.into_iter().collect())
    }
}

/// Returns the number under which a client is known: its address, or of an IPv6 address the first
/// 64 bits, because whoever has one address there has them all.
pub fn client_number(address: IpAddr) -> u64 {
    match address.to_canonical() {
        // No network begins with 32 zero bits, so these numbers belong to IPv4 alone.
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => first_half(address),
    }
}

/// How log lines name clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientNaming {
    /// By an alias.
    Hashed,
    /// By their address.
    Plain,
}

/// What clients are called in log lines where their addresses are nobody's business: the same name
/// all day (UTC), another one on the next, and none that leads back to the address without the
/// secret, which is never written anywhere.
#[derive(Clone, Copy)]
pub struct Aliases {
    secret: [u8; 16],
}

impl Aliases {
    /// Returns the aliases that follow from a secret.
    pub fn new(secret: [u8; 16]) -> Aliases {
        Aliases { secret }
    }

    /// Returns what a client is called at this time.
    pub fn name(&self, client: IpAddr, naming: ClientNaming, now_secs: u64) -> ClientName {
        match naming {
            ClientNaming::Plain => ClientName(Named::Plain(client.to_canonical())),
            ClientNaming::Hashed => {
                let mut hasher = SipHasher13::new_with_key(&self.secret);
                hasher.write_u64(now_secs / DAY_SECS);
                hasher.write_u64(client_number(client));
                ClientName(Named::Hashed(hasher.finish() >> (u64::BITS - ALIAS_BITS)))
            }
        }
    }
}

/// What a log line calls a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientName(Named);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Plain(IpAddr),
    Hashed(u64),
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Named::Plain(address) => write!(f, "{address}"),
            Named::Hashed(alias) => write!(f, "{alias:012x}"),
        }
    }
}

/// Enough that two clients of one day seldom share an alias.
const ALIAS_BITS: u32 = 48;
const DAY_SECS: u64 = 86_400;

fn first_half(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = address.octets();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_range_has_what_begins_with_its_bits() {
        let rows = [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.9/24", "192.0.3.0", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db8::1", true),
            ("::1", "::1", true),
            ("::1", "::2", false),
        ];
        for (range, address, expected) in rows {
            let found = range.parse::<AddressRange>().expect("a range").has(ip(address));
            assert_eq!(found, expected, "{range} {address}");
        }
    }

    #[test]
    fn an_alias_holds_for_a_day_and_for_who_knows_the_secret() {
        let alias = |secret: u8, address: &str, now: u64| {
            let aliases = Aliases::new([secret; 16]);
            aliases.name(ip(address), ClientNaming::Hashed, now).to_string()
        };
        let day = 86_400 * 20_000;
        let name = alias(1, "192.0.2.1", day);
        assert_eq!(name.len(), 12, "{name}");
        assert_eq!(alias(1, "::ffff:192.0.2.1", day + 86_399), name);
        for other in [
            alias(1, "192.0.2.1", day + 86_400),
            alias(1, "192.0.2.2", day),
            alias(2, "192.0.2.1", day),
        ] {
            assert_ne!(other, name);
        }
        assert_eq!(alias(1, "2001:db8::1", day), alias(1, "2001:db8::2", day), "one client");
        let plain = Aliases::new([1; 16]).name(ip("192.0.2.1"), ClientNaming::Plain, day);
        assert_eq!(plain.to_string(), "192.0.2.1");
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "1.2.3", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/+8", "a", "/8"] {
            assert_eq!(text.parse::<AddressRange>(), Err(RangeError), "{text}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_an_address_of_ipv4_is() {
        let rows = [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ];
        for (a, b, expected) in rows {
            assert_eq!(client_number(ip(a)) == client_number(ip(b)), expected, "{a} {b}");
        }
    }
}
