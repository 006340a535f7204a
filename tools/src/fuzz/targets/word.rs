//! Small texts that people and headers hold: keys (NIP-19), base64 (NIP-98), rates, kinds, rules,
//! ranges of addresses. What is taken means what a plain reading says, and is said again the same.

use std::net::IpAddr;

use chappe::address::AddressRange;
use chappe::nostr::{Keypair, base64, bech32};
use chappe::policy::{
    self, Admin, KindRange, PluginAnswer, Rate, RetentionRule, Subject, Words, read_authorization,
};
use fastrand::Rng;

use super::{Target, damaged};
use crate::dataset::choose;
use crate::fuzz::grammar::word;

pub(super) struct Small {
    known: Vec<String>,
}

impl Small {
    pub(super) fn new() -> Self {
        let mut known: Vec<String> = KNOWN.iter().map(|it| (*it).to_owned()).collect();
        let mut rng = Rng::with_seed(19);
        for _ in 0..8 {
            let bytes: [u8; 32] = std::array::from_fn(|_| rng.u8(..));
            known.push(bech32::encode("npub", &bytes));
            known.push(format!("{}=read|banpubkey", bech32::encode("npub", &bytes)));
            known.push(format!("banned-key/{}", plain_hex(&bytes)));
        }
        let keys = Keypair::from_secret([1; 32]).expect("a key");
        let event = keys.sign_event(5, chappe::nostr::Kind(27_235), &[], "x");
        let mut json = Vec::new();
        event.view().write_json(&mut json);
        known.push(format!("Nostr {}", plain_base64(&json)));
        Self { known }
    }
}

impl Target for Small {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut text = choose(rng, &self.known).clone();
        if rng.u8(..4) == 0 {
            text += word(rng, &[" ", "/", "-", ",", "|", "="]);
            text += choose(rng, &self.known).as_str();
        }
        let other = choose(rng, &self.known).clone();
        damaged(text, other.as_bytes(), rng)
    }

    fn check(&mut self, input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        check_key(&text);
        check_base64(&text);
        check_words(&text);
        check_range(&text);
        // These have no other reading: they must not fail, and what they say stays what it is.
        let _ = read_authorization(&text);
        let _ = text.parse::<Admin>();
        let _ = text.parse::<RetentionRule>();
        let _ = PluginAnswer::read(&text);
        let _ = policy::parse_by_kind(&text, policy::amount);
        let _ = policy::parse_by_kind(&text, policy::period);
        if let Ok(subject) = text.parse::<Subject>() {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        // Operators write them, so that nothing bounds how long it takes to prepare a book of one word.
        if text.len() < 2_000
            && let Ok(Some(words)) = Words::new(text.split_whitespace())
        {
            words.are_in(text.as_bytes());
        }
    }
}

fn check_key(text: &str) {
    let found = bech32::decode("npub", text);
    let is_mixed = text.bytes().any(|it| it.is_ascii_uppercase())
        && text.bytes().any(|it| it.is_ascii_lowercase());
    let lower = text.to_ascii_lowercase();
    // The bits of the digits, five for each.
    let bits: Option<String> = lower.strip_prefix("npub1").and_then(|digits| {
        let value = |digit| DIGITS.find(digit).map(|it| format!("{it:05b}"));
        digits.chars().map(value).collect()
    });
    let bits = bits.filter(|bits| bits.len() == 58 * 5);
    let bytes = bits.map(|bits| -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&bits[at * 8..at * 8 + 8], 2);
        (0..32).map(|at| byte(at).expect("eight bits")).collect()
    });
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let expected = bytes.filter(|it| !is_mixed && bech32::encode("npub", it) == lower);
    assert_eq!(found, expected, "{text}");
}

fn check_base64(text: &str) {
    let digits = text.trim_end_matches('=');
    let value = |digit: char| {
        let digit = match digit {
            '-' => '+',
            '_' => '/',
            other => other,
        };
        BASE64.find(digit).map(|it| format!("{it:06b}"))
    };
    let is_padded = digits.len() < text.len();
    let bits: Option<String> = digits.chars().map(value).collect();
    let bits = bits.filter(|bits| {
        let rest = bits.len() % 8;
        rest < 6 && bits[bits.len() - rest..].bytes().all(|bit| bit == b'0')
    });
    let bits = bits.filter(|_| !is_padded || text.len().is_multiple_of(4));
    let expected = bits.map(|bits| -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&bits[at * 8..at * 8 + 8], 2);
        (0..bits.len() / 8).map(|at| byte(at).expect("eight bits")).collect()
    });
    assert_eq!(base64::decode(text), expected, "{text}");
}

fn check_words(text: &str) {
    if let Ok(rate) = text.parse::<Rate>() {
        assert_eq!(rate.to_string().parse(), Ok(rate), "{text}");
    }
    if let Ok(range) = text.parse::<KindRange>() {
        assert_eq!(range.to_string().parse(), Ok(range), "{text}");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let [first, last] = [first, last].map(|it| it.parse::<u16>().expect("a number"));
        for kind in [first, last, first.wrapping_sub(1), last.wrapping_add(1)] {
            let is_in = first <= kind && kind <= last;
            assert_eq!(range.has(chappe::nostr::Kind(kind)), is_in, "{text} {kind}");
        }
    }
}

fn check_range(text: &str) {
    let Ok(range) = text.parse::<AddressRange>() else { return };
    assert_eq!(range.to_string().parse(), Ok(range), "{text}");
    let (first, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
    let first: IpAddr = first.parse().expect("an address");
    let spell = |address: IpAddr| match address {
        IpAddr::V4(it) => format!("{:032b}", it.to_bits()),
        IpAddr::V6(it) => format!("{:0128b}", it.to_bits()),
    };
    let same: usize = bits.map_or(spell(first).len(), |bits| bits.parse().expect("a number"));
    for other in PROBES.map(|it| it.parse::<IpAddr>().expect("an address")) {
        let (a, b) = (spell(first), spell(other.to_canonical()));
        let is_in = a.len() == b.len() && a[..same] == b[..same];
        assert_eq!(range.has(other), is_in, "{text} {other}");
    }
    assert!(first.to_canonical() != first || range.has(first), "{text}");
}

fn plain_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn plain_base64(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let group = |at: usize| {
        let bits = format!("{:0<6}", &bits[at..(at + 6).min(bits.len())]);
        let value = usize::from_str_radix(&bits, 2).expect("six bits");
        char::from(BASE64.as_bytes()[value])
    };
    (0..bits.len()).step_by(6).map(group).collect()
}

const DIGITS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PROBES: [&str; 8] = [
    "10.0.0.1",
    "10.255.0.1",
    "192.0.2.128",
    "::1",
    "2001:db8::1",
    "2001:db8:0:1::",
    "::ffff:10.0.0.1",
    "255.255.255.255",
];
const KNOWN: [&str; 16] = [
    "10/second",
    "5k/minute burst 20k",
    "1G/day",
    "1000-1999",
    "1",
    "65535",
    "1,1000-1999",
    "30023=100k",
    "kinds=1,1000-1999 except_kinds=0 age=30d per_author=100 size=80%",
    "10.0.0.0/8",
    "192.0.2.1",
    "2001:db8::/32",
    "::ffff:10.0.0.1/104",
    "blocked-address/10.0.0.0/8",
    "relay/name",
    "{\"id\":\"00\",\"action\":\"accept\",\"msg\":\"\"}",
];
