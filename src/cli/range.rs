//! Stretches of time as people write them on a command line: `30d..`, `2024-01-01..2024-07-01`.

use super::period::parse_period;

/// A stretch of time, both ends included, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeRange {
    /// The beginning; open without one.
    pub(super) since: Option<u64>,
    /// The end; open without one.
    pub(super) until: Option<u64>,
}

/// Reads `SINCE..UNTIL`, each of which may be empty, seconds since 1970, a date, or a period that
/// counts back from `now`.
pub(super) fn parse_range(text: &str, now: u64) -> Result<TimeRange, String> {
    let expected =
        || format!("expected SINCE..UNTIL such as 30d.. or 2024-01-01..2024-06-30, found {text:?}");
    let (since, until) = text.split_once("..").ok_or_else(expected)?;
    let read = |text: &str, end: u64| match text {
        "" => Ok(None),
        _ => parse_time(text, now, end).map(Some).ok_or_else(expected),
    };
    let range = TimeRange { since: read(since, 0)?, until: read(until, DAY - 1)? };
    match range {
        TimeRange { since: Some(since), until: Some(until) } if since > until => {
            Err(format!("expected a range that begins before it ends, found {text:?}"))
        }
        _ => Ok(range),
    }
}

/// Reads one end; a date means its first second, moved by `within_day`.
fn parse_time(text: &str, now: u64, within_day: u64) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    if let Ok(period) = parse_period(text) {
        return Some(now.saturating_sub(period));
    }
    let mut parts = text.split('-').map(|part| {
        let is_plain = part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u64>().ok().filter(|_| is_plain)
    });
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let is_date = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && parts.next().is_none();
    is_date.then(|| days_until(year, month, day) * DAY + within_day)
}

fn days_of(year: u64, month: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u64::from(is_leap),
        _ => 31,
    }
}

/// Returns the days from 1970 up to a date.
fn days_until(year: u64, month: u64, day: u64) -> u64 {
    let years = (1970..year).map(|year| (1..=12).map(|month| days_of(year, month)).sum::<u64>());
    years.sum::<u64>() + (1..month).map(|month| days_of(year, month)).sum::<u64>() + day - 1
}

const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_two_ends_that_may_be_open() {
        let now = 1_000_000;
        for (text, since, until) in [
            ("..", None, None),
            ("5..9", Some(5), Some(9)),
            ("5..5", Some(5), Some(5)),
            ("1d..", Some(913_600), None),
            ("..1h", None, Some(996_400)),
            ("2d..1d", Some(827_200), Some(913_600)),
            ("99w..", Some(0), None),
            ("1970-01-01..1970-01-01", Some(0), Some(86_399)),
            ("2024-02-29..2025-01-01", Some(1_709_164_800), Some(1_735_775_999)),
            ("2000-03-01..", Some(951_868_800), None),
        ] {
            assert_eq!(parse_range(text, now), Ok(TimeRange { since, until }), "{text}");
        }
        for text in
            ["", "5", "9..5", "a..b", "2024-02-30..", "2023-02-29..", "2024-13-01..", "-5.."]
        {
            assert!(parse_range(text, now).is_err(), "{text}");
        }
    }
}
