//! Decimal text of integers, without the formatting machinery.

/// Appends the decimal digits of `value`.
pub fn write_integer(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Returns how many digits [`write_integer`] appends.
pub fn integer_len(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |power| power as usize + 1)
}

/// The digits of `u64::MAX`.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_formatter() {
        for value in [0, 1, 9, 10, 99, 100, 65_535, 1_700_000_000, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            write_integer(value, &mut out);
            assert_eq!(out, value.to_string().as_bytes());
            assert_eq!(integer_len(value), out.len());
        }
    }
}
