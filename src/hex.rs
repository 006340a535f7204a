//! Hexadecimal text: the only door to `faster_hex`.
//!
//! Nostr knows lower-case digits only, and so do these functions, except [`decode_any_case`].

use std::fmt;

use faster_hex::CheckCase;

/// Appends the lower-case hexadecimal text of `bytes` to `out`.
pub fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len() * 2, 0);
    encode(bytes, &mut out[start..]);
}

/// Appends the 64 digits of an id or a key.
#[inline]
pub fn encode_32_into(bytes: &[u8; 32], out: &mut Vec<u8>) {
    let mut digits = [0; 64];
    encode(bytes, &mut digits);
    out.extend_from_slice(&digits);
}

/// Writes the lower-case hexadecimal text of `bytes` over `digits`, which has room for just that.
#[inline]
pub fn encode(bytes: &[u8], digits: &mut [u8]) {
    faster_hex::hex_encode(bytes, digits).expect("there is room for two digits per byte");
}

/// Returns the 32 bytes that exactly 64 lower-case hexadecimal digits mean.
pub fn decode_32(text: &[u8]) -> Option<[u8; 32]> {
    decode(text)
}

/// Returns the 64 bytes that exactly 128 lower-case hexadecimal digits mean.
pub fn decode_64(text: &[u8]) -> Option<[u8; 64]> {
    decode(text)
}

/// Returns the bytes that an even number of hexadecimal digits of either case mean.
pub fn decode_any_case(text: &[u8]) -> Option<Vec<u8>> {
    faster_hex::hex_decode_vec(text).ok()
}

/// Shows bytes as lower-case hexadecimal text.
#[derive(Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        for chunk in self.0.chunks(digits.len() / 2) {
            let text = faster_hex::hex_encode(chunk, &mut digits).map_err(|_| fmt::Error)?;
            f.write_str(text)?;
        }
        Ok(())
    }
}

fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != N * 2 {
        return None;
    }
    faster_hex::hex_decode_array_with_case(text, CheckCase::Lower).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_appends_and_decoding_inverts_it() {
        let bytes: [u8; 64] = std::array::from_fn(|index| (index * 37 + 200) as u8);
        let mut text = b"x".to_vec();
        encode_into(&bytes, &mut text);
        assert_eq!(text[0], b'x');
        let mut half = Vec::new();
        encode_32_into(bytes.first_chunk().unwrap(), &mut half);
        assert_eq!(half, text[1..65]);
        assert_eq!(decode_64(&text[1..]), Some(bytes));
        assert_eq!(decode_32(&text[1..65]).as_ref().map(|half| &half[..]), Some(&bytes[..32]));
        assert_eq!(Hex(&bytes).to_string().as_bytes(), &text[1..]);
        assert_eq!(Hex(&[]).to_string(), "");
    }

    #[test]
    fn only_lower_case_digits_of_the_exact_length_are_decoded() {
        let good = [b'a'; 64];
        assert!(decode_32(&good).is_some());
        assert!(decode_32(&good[..63]).is_none());
        assert!(decode_32(&good[..62]).is_none());
        assert!(decode_32(b"").is_none());
        for index in 0..64 {
            for wrong in 0..=255u8 {
                let mut text = good;
                text[index] = wrong;
                let legal = wrong.is_ascii_digit() || (b'a'..=b'f').contains(&wrong);
                assert_eq!(decode_32(&text).is_some(), legal, "byte {wrong} at {index}");
            }
        }
    }

    #[test]
    fn either_case_is_decoded_where_it_is_asked_for() {
        assert_eq!(decode_any_case(b"0aFF"), Some(vec![0x0a, 0xff]));
        assert_eq!(decode_any_case(b""), Some(Vec::new()));
        assert_eq!(decode_any_case(b"0a1"), None);
        assert_eq!(decode_any_case(b"zz"), None);
    }
}
