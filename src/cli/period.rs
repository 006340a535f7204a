//! Periods as people write them on a command line: `30d`, `12h`.

/// Reads a period of whole seconds (`s`), minutes (`m`), hours (`h`), days (`d`) or weeks (`w`).
pub(super) fn parse_period(text: &str) -> Result<u64, String> {
    let expected = || {
        format!(
            "expected a whole number and a unit of s, m, h, d or w, such as 30d, found {text:?}"
        )
    };
    let unit = text.chars().next_back().ok_or_else(expected)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(expected()),
    };
    let number = &text[..text.len() - unit.len_utf8()];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(expected());
    }
    let count: u64 = number.parse().map_err(|_| expected())?;
    count.checked_mul(seconds).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_number_and_a_unit() {
        for (text, seconds) in [
            ("0s", Some(0)),
            ("45s", Some(45)),
            ("90m", Some(5_400)),
            ("12h", Some(43_200)),
            ("30d", Some(2_592_000)),
            ("2w", Some(1_209_600)),
            ("007d", Some(604_800)),
            ("", None),
            ("d", None),
            ("30", None),
            ("30 d", None),
            ("-3d", None),
            ("+3d", None),
            ("3.5d", None),
            ("30D", None),
            ("30y", None),
            ("30\u{e9}", None),
            ("18446744073709551615s", Some(u64::MAX)),
            ("18446744073709551615m", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse_period(text).ok(), seconds, "{text:?}");
        }
    }
}
