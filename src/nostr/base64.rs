//! Base64, as it is written in `Authorization` headers (NIP-98): either alphabet, padded or not.

/// Returns the bytes that a text means; nothing if it is none, or is not the one text of its bytes.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let is_padded = digits.len() != text.len();
    if is_padded && !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0;
        for digit in group {
            bits = bits << 6 | value_of(*digit)?;
        }
        // A lone digit means less than a byte; bits that mean nothing must be zero.
        let (count, rest_bits) = match group.len() {
            4 => (3, 0),
            3 => (2, 2),
            2 => (1, 4),
            _ => return None,
        };
        if bits & ((1 << rest_bits) - 1) != 0 {
            return None;
        }
        bytes.extend_from_slice(&(bits >> rest_bits).to_be_bytes()[4 - count..]);
    }
    Some(bytes)
}

fn value_of(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_has_its_bytes() {
        let rows: [(&str, Option<&[u8]>); 16] = [
            ("", Some(b"")),
            ("Zg==", Some(b"f")),
            ("Zg", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm8", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYmE=", Some(b"fooba")),
            ("Zm9vYmFy", Some(b"foobar")),
            ("-_+/", Some(&[0xfb, 0xff, 0xbf])),
            ("Zg=", None),
            ("Zm9v=", None),
            ("Z", None),
            ("Zm9vZ", None),
            ("Zh", None),
            ("Zm9", None),
            ("Zm 9", None),
        ];
        for (text, expected) in rows {
            assert_eq!(decode(text).as_deref(), expected, "{text:?}");
        }
    }
}
