//! HyperLogLog registers of a COUNT: what clients add up the counts of several relays by (NIP-45).
//!
//! Each author is one observation; where in its key it is looked at depends on the question, so
//! that nobody can make a key that counts for much everywhere. The registers are made anew for each
//! question from the events that are there: so what is deleted or expired does not linger.

use crate::nostr::verify::digest;
use crate::nostr::{Filter, PublicKey, TagMode, TagValue, json};

/// Collects authors for one question.
#[derive(Debug, Clone)]
pub struct Registers {
    offset: usize,
    registers: Box<[u8; 256]>,
}

impl Registers {
    /// Returns empty registers for a question, if the NIP defines them for it: one tag value,
    /// kinds, and nothing else.
    pub(super) fn for_question(filters: &[Filter]) -> Option<Registers> {
        let [filter] = filters else { return None };
        let [condition] = &filter.tags[..] else { return None };
        let [value] = &condition.values[..] else { return None };
        let is_plain = condition.mode == TagMode::Any
            && filter.ids.is_none()
            && filter.authors.is_none()
            && filter.since.is_none()
            && filter.until.is_none()
            && filter.limit.is_none()
            && filter.search.is_none();
        is_plain.then(|| Registers { offset: offset(value), registers: Box::new([0; 256]) })
    }

    /// Adds the author of an event.
    pub(super) fn add(&mut self, author: &PublicKey) {
        let place = usize::from(author.0[self.offset]);
        let observed = &author.0[self.offset + 1..=self.offset + OBSERVED_BYTES];
        // The NIP lets the run go on to the key's end; the clients there are look at seven bytes.
        let mut zeros = 0;
        for byte in observed {
            zeros += u8::try_from(byte.leading_zeros()).expect("a byte has eight bits");
            if *byte != 0 {
                break;
            }
        }
        self.registers[place] = self.registers[place].max(zeros + 1);
    }

    /// Returns the registers.
    pub fn bytes(&self) -> &[u8; 256] {
        &self.registers
    }
}

/// Returns which byte of a key names its register: 8 and the hexadecimal digit in the middle of the
/// id or key that the question is about, or of the hash of whatever else it is about.
fn offset(value: &TagValue) -> usize {
    let bytes = match value {
        TagValue::Hex(bytes) => *bytes,
        TagValue::Text(text) => match author_of_address(text) {
            Some(author) => author.0,
            None => digest(json::unescape(text).as_bytes()),
        },
    };
    8 + usize::from(bytes[16] >> 4)
}

/// Returns the author in an address `kind:author:identifier`.
fn author_of_address(text: &[u8]) -> Option<PublicKey> {
    let mut parts = text.splitn(3, |byte| *byte == b':');
    let kind = parts.next()?;
    let author = PublicKey::from_hex(parts.next()?)?;
    parts.next()?;
    (!kind.is_empty() && kind.iter().all(u8::is_ascii_digit)).then_some(author)
}

const OBSERVED_BYTES: usize = 7;
const OFFSET_MAX: usize = 8 + 15;
const _: () = assert!(OFFSET_MAX + OBSERVED_BYTES < 32, "the seven bytes lie within a key");

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(filter: &str) -> Option<Registers> {
        Registers::for_question(&[Filter::parse(filter.as_bytes()).expect("it is a filter")])
    }

    fn offset_of(letter: char, value: &str) -> usize {
        registers(&format!("{{\"#{letter}\":[\"{value}\"]}}")).expect("it is defined").offset
    }

    fn key(text: &str) -> PublicKey {
        PublicKey::from_hex(format!("{text:0<64}").as_bytes()).expect("it is a key")
    }

    #[test]
    fn nip_45_7_the_offset_depends_on_what_is_asked_about() {
        // K08
        let zeros = "0".repeat(32);
        assert_eq!(offset_of('e', &format!("{zeros}f{}", "0".repeat(31))), 23);
        let address = format!("30023:{zeros}a{}", "0".repeat(31));
        assert_eq!(offset_of('a', &format!("{address}:test")), 18);
        assert_eq!(offset_of('a', &format!("{address}:with:colons")), 18);
        assert_eq!(offset_of('t', "bitcoin"), 12);
        let one = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        assert_eq!(offset_of('p', one), 8);
    }

    #[test]
    fn nip_45_8_a_register_keeps_the_longest_run_of_zeros() {
        // K07
        let mut found = registers(r##"{"#t":["x"]}"##).expect("it is defined");
        found.offset = 8;
        for text in [
            "0".repeat(64),
            "f".repeat(64),
            "0123456789abcdef".repeat(4),
            "abcdef0123456789".repeat(4),
            "000000000000000001".to_owned(),
            "000000000000000002".to_owned() + "8",
            "000000000000000002".to_owned() + "4",
        ] {
            found.add(&key(&text));
        }
        let set: Vec<(usize, u8)> =
            found.bytes().iter().copied().enumerate().filter(|(_, value)| *value > 0).collect();
        assert_eq!(set, [(0, 57), (1, 57), (2, 2), (171, 1), (255, 1)]);
    }

    #[test]
    fn nip_45_10_registers_are_for_questions_about_one_tag_value_alone() {
        let id = "ab".repeat(32);
        for filter in [
            format!(r##"{{"#e":["{id}"],"kinds":[7]}}"##),
            format!(r##"{{"#p":["{id}"],"kinds":[3]}}"##),
            format!(r##"{{"#E":["{id}"],"kinds":[1111]}}"##),
            format!(r##"{{"#q":["{id}"],"kinds":[1,1111]}}"##),
            r##"{"#t":["x"]}"##.to_owned(),
        ] {
            assert!(registers(&filter).is_some(), "{filter}");
        }
        for filter in [
            "{}",
            r#"{"kinds":[3]}"#,
            r##"{"#t":["x","y"]}"##,
            r##"{"#t":[]}"##,
            r##"{"&t":["x"]}"##,
            r##"{"#t":["x"],"#d":["y"]}"##,
            r##"{"#t":["x"],"since":1}"##,
            r##"{"#t":["x"],"until":1}"##,
            r##"{"#t":["x"],"limit":1}"##,
            r##"{"#t":["x"],"authors":[]}"##,
            r##"{"#t":["x"],"ids":[]}"##,
        ] {
            assert!(registers(filter).is_none(), "{filter}");
        }
        let one = Filter::parse(br##"{"#t":["x"]}"##).expect("it is a filter");
        assert!(Registers::for_question(&[one.clone(), one]).is_none());
    }
}
