//! Damage: bytes changed, moved, doubled, spliced, numbers at their bounds, brackets by the
//! thousand.

use fastrand::Rng;

/// Changes `bytes` in one to four ways; `other` is what pieces may come from.
pub(super) fn mutate(bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]], rng: &mut Rng) {
    for _ in 0..rng.usize(1..5) {
        mutate_once(bytes, other, words, rng);
    }
}

fn mutate_once(bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]], rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    let end = (at + reach(rng)).min(bytes.len());
    match rng.u8(..16) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
        1 if at < bytes.len() => bytes[at] = rng.u8(..),
        2 if at < bytes.len() => bytes[at] = rng.u8(0x20..0x7f),
        3 => drop(bytes.drain(at..end)),
        4 => bytes.truncate(at),
        5 | 6 => {
            let copied = bytes[at..end].to_vec();
            let to = if rng.bool() { at } else { rng.usize(..=bytes.len()) };
            insert(bytes, to, &copied);
        }
        7 => {
            let from = rng.usize(..=other.len());
            let to = (from + reach(rng)).min(other.len());
            drop(bytes.splice(at..end, other[from..to].iter().copied()));
        }
        8 => {
            // The head of one and the tail of the other.
            bytes.truncate(at);
            bytes.extend_from_slice(&other[rng.usize(..=other.len())..]);
        }
        9..12 => insert(bytes, at, words[rng.usize(..words.len())]),
        12 => {
            let word = words[rng.usize(..words.len())];
            drop(bytes.splice(at..end, word.iter().copied()));
        }
        13 => replace_number(bytes, at, rng),
        14 => {
            let byte = [b'[', b'{', b' ', b'"', b'\\', 0, 0xff][rng.usize(..7)];
            let count = [5, 60, 64, 65, 70, 300][rng.usize(..6)];
            insert(bytes, at, &vec![byte; count]);
        }
        _ => {
            let run: Vec<u8> = (0..rng.usize(1..9)).map(|_| rng.u8(..)).collect();
            insert(bytes, at, &run);
        }
    }
}

/// Mostly a few bytes, sometimes many.
fn reach(rng: &mut Rng) -> usize {
    1 << rng.u32(..10) >> rng.u32(..4)
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    drop(bytes.splice(at..at, piece.iter().copied()));
}

/// Puts a number at some bound in the place of the first digits from `at` on.
fn replace_number(bytes: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|found| at + found)
    else {
        return;
    };
    let len = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = NUMBERS[rng.usize(..NUMBERS.len())];
    drop(bytes.splice(start..start + len, number.bytes()));
}

/// Numbers at which something ends or begins, and texts that are nearly numbers.
pub(super) const NUMBERS: [&str; 26] = [
    "0",
    "1",
    "-1",
    "-0",
    "00",
    "01",
    "1.0",
    "1e3",
    "1E+3",
    "1e999",
    "0.5",
    "65535",
    "65536",
    "19999",
    "20000",
    "30000",
    "39999",
    "40000",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999",
];

/// Pieces of JSON and of this protocol in which readers have gone wrong.
pub(super) const WORDS: [&[u8]; 62] = [
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\\udc00",
    b"\\ud83d\\ude00",
    b"\\uD83D\\uDE00",
    b"\\ud83d\\u0041",
    b"\\u0000",
    b"\\u001F",
    b"\\u001f",
    b"\\u000a",
    b"\\u0061",
    b"\\u007f",
    b"\\/",
    b"\\b\\f\\n\\r\\t",
    b"\\x41",
    b"\x7f",
    b"\0",
    b"\x1f",
    b"\n",
    b"\r\n",
    b"\t",
    b"\x0b",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\x98\x80",
    b",",
    b":",
    b"{",
    b"}",
    b"[",
    b"]",
    b"{}",
    b"[]",
    b"[[]]",
    b"null",
    b"true",
    b"false",
    b"nul",
    b"-",
    b".0",
    b"e1",
    b"1e999",
    b"18446744073709551616",
    b"\"id\":",
    b"\"id\":null,",
    b"\"tags\":[[]],",
    b"\"tags\":[],",
    b"[\"-\"],",
    b"[\"expiration\",\"1\"],",
    b"\"#e\":[],",
    b"\"&t\":[\"a\"],",
    b"\"#t\":[\"a\"],",
    b"\"limit\":0,",
    b"\"search\":\"x\",",
    b"\"\\u0069d\":\"x\",",
    b"79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
];
