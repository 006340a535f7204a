//! Keys as people see them: `npub1...` and `nsec1...` (NIP-19), which are bech32 (BIP-173).

/// Returns the bech32 text of 32 bytes with this prefix, such as `npub`.
pub fn encode(prefix: &str, bytes: &[u8; 32]) -> String {
    let mut groups = Vec::with_capacity(GROUPS + CHECK_GROUPS);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            groups.push((bits >> count & 31) as u8);
        }
    }
    groups.push((bits << (5 - count) & 31) as u8);
    let check = checksum(prefix, &[&groups[..], &[0; CHECK_GROUPS]].concat()) ^ 1;
    groups.extend((0..CHECK_GROUPS).rev().map(|place| (check >> (5 * place) & 31) as u8));
    let digits = groups.iter().map(|group| char::from(ALPHABET[usize::from(*group)]));
    prefix.chars().chain(['1']).chain(digits).collect()
}

/// Returns the 32 bytes that a bech32 text with this prefix stands for.
pub fn decode(prefix: &str, text: &str) -> Option<[u8; 32]> {
    let has_upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    if has_upper && text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let digits = text.strip_prefix(prefix)?.strip_prefix('1')?;
    let group = |byte: u8| ALPHABET.iter().position(|digit| *digit == byte);
    let groups: Option<Vec<u8>> =
        digits.bytes().map(|byte| group(byte).and_then(|it| u8::try_from(it).ok())).collect();
    let groups = groups.filter(|groups| groups.len() == GROUPS + CHECK_GROUPS)?;
    if checksum(prefix, &groups) != 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(32);
    let (mut bits, mut count) = (0_u32, 0);
    for group in &groups[..GROUPS] {
        bits = bits << 5 | u32::from(*group);
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 255) as u8);
        }
    }
    // What is left over of the last group is zero, or two texts would stand for the same bytes.
    let is_clean = bits & ((1 << count) - 1) == 0;
    bytes.try_into().ok().filter(|_| is_clean)
}

/// Returns the remainder of prefix and groups as BIP-173 defines it: 1 if the last six are right.
fn checksum(prefix: &str, groups: &[u8]) -> u32 {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    let all = high.chain([0]).chain(low).chain(groups.iter().copied());
    all.fold(1, |sum: u32, group| {
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(group);
        let terms = GENERATOR.iter().enumerate().filter(|(place, _)| top >> place & 1 == 1);
        terms.fold(next, |sum, (_, term)| sum ^ term)
    })
}

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
/// Groups of five bits that 32 bytes take.
const GROUPS: usize = 52;
const CHECK_GROUPS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// The examples of NIP-19.
    const ROWS: [(&str, &str, &str); 3] = [
        (
            "npub",
            "3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d",
            "npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6",
        ),
        (
            "npub",
            "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e",
            "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg",
        ),
        (
            "nsec",
            "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa",
            "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5",
        ),
    ];

    #[test]
    fn nip_19_examples_are_read_and_written() {
        for (prefix, digits, text) in ROWS {
            let bytes = hex::decode_32(digits.as_bytes()).expect("it is hexadecimal");
            assert_eq!(encode(prefix, &bytes), text);
            assert_eq!(decode(prefix, text), Some(bytes));
            assert_eq!(decode(prefix, &text.to_uppercase()), Some(bytes));
        }
    }

    #[test]
    fn any_bytes_come_back_and_any_slip_is_noticed() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..50 {
            let bytes: [u8; 32] = std::array::from_fn(|_| random.u8(..));
            let text = encode("npub", &bytes);
            assert_eq!(decode("npub", &text), Some(bytes));
            assert_eq!(decode("nsec", &text), None);
            let place = random.usize(5..text.len());
            let mut other = text.clone().into_bytes();
            other[place] = if other[place] == b'q' { b'p' } else { b'q' };
            let other = String::from_utf8(other).expect("it is ASCII");
            assert_eq!(decode("npub", &other), None, "{text} {place}");
        }
        for other in ["", "npub", "npub1", "npub1q", &format!("Npub{}", &ROWS[0].2[4..])] {
            assert_eq!(decode("npub", other), None, "{other}");
        }
    }
}
