//! What a certificate says of itself before its extensions: who vouches for whom, from when until
//! when (RFC 5280, section 4.1), read out of its DER. Its signature is nothing to us: it is clients
//! who check that.

use std::ops::Range;

/// The names and times of a certificate.
pub(super) struct Claims<'a> {
    /// Who vouches, as DER.
    pub(super) issuer: &'a [u8],
    /// For whom, as DER.
    pub(super) subject: &'a [u8],
    /// From when until when, in seconds since 1970.
    pub(super) valid: Range<u64>,
}

/// Reads the claims of a certificate; nothing if it is none.
pub(super) fn claims(certificate: &[u8]) -> Option<Claims<'_>> {
    let (SEQUENCE, certificate, _) = element(certificate)? else { return None };
    let (SEQUENCE, body, _) = element(certificate)? else { return None };
    let rest = match element(body)? {
        (VERSION, _, rest) => rest,
        // Of version 1, which does not say so.
        _ => body,
    };
    let (_serial, rest) = take(rest, INTEGER)?;
    let (_algorithm, rest) = take(rest, SEQUENCE)?;
    let (issuer, rest) = take(rest, SEQUENCE)?;
    let (times, rest) = take(rest, SEQUENCE)?;
    let (subject, _) = take(rest, SEQUENCE)?;
    let (from, begin, times) = element(times)?;
    let (until, end, _) = element(times)?;
    Some(Claims { issuer, subject, valid: time(from, begin)?..time(until, end)? })
}

/// Takes an element that must be of a kind; returns its content and what follows it.
fn take(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == kind).then_some((content, rest))
}

/// Takes the first element: its kind, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // Four digits are more than a certificate may be long.
        let digits = usize::from(first & 0x7f);
        if !(1..=4).contains(&digits) {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(digits)?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((kind, content, rest))
}

/// Reads a time; RFC 5280 allows no form but that of whole seconds in UTC.
fn time(kind: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |sum, it| sum * 10 + u64::from(it - b'0'));
    let (year, rest) = match (kind, digits.len()) {
        (UTC_TIME, 12) => {
            let (year, rest) = digits.split_at(2);
            let year = number(year);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, 14) => {
            let (year, rest) = digits.split_at(4);
            (number(year), rest)
        }
        _ => return None,
    };
    let pair = |place: usize| number(&rest[2 * place..2 * place + 2]);
    let days = days_since_1970(year, pair(0), pair(1))?;
    Some(days * 86_400 + pair(2) * 3_600 + pair(3) * 60 + pair(4))
}

/// Counts the days of the Gregorian calendar; a time before 1970 is as good as its beginning.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The year begins in March, so that a leap day is its last.
    let year = if month > 2 { year } else { year.checked_sub(1)? };
    let month = (month + 9) % 12;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some(days.saturating_sub(DAYS_TO_1970))
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
/// From the first of March of the year 0.
const DAYS_TO_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        let rows: [(u8, &str, Option<u64>); 14] = [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229235959Z", Some(951_868_799)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "20261121200413Z", Some(1_795_291_453)),
            (GENERALIZED_TIME, "21000301000000Z", Some(4_107_542_400)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "20500101000000Z", None),
            (GENERALIZED_TIME, "500101000000Z", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "700100000000Z", None),
            (UTC_TIME, "70010100000+Z", None),
            (UTC_TIME, "", None),
        ];
        for (kind, text, expected) in rows {
            assert_eq!(time(kind, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_certificate_that_is_cut_off_or_garbled_has_no_claims_and_harms_nobody() {
        let whole = include_bytes!("../../../tests/chappe/fixtures/tls/relay.der");
        let claims_of = |bytes: &[u8]| claims(bytes).is_some();
        assert!(claims_of(whole));
        for end in 0..whole.len() {
            assert!(!claims_of(&whole[..end]), "{end} bytes");
        }
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut garbled = whole.to_vec();
                garbled[at] = value;
                claims_of(&garbled);
            }
        }
    }
}
