//! Delegation (NIP-26): an event may carry the word of another key that it was made in its name.
//!
//! All of it can be told from the event alone, so the index of delegators follows from the records
//! like every other. A word that does not hold takes nothing from the event: it is its author's,
//! and nobody else's.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::event::EventRef;
use super::id::{PublicKey, Signature};
use super::tag::{Tag, Value};
use super::verify;
use crate::hex;

/// What is done about delegation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Treatment {
    /// An event is its author's alone.
    #[default]
    Ignored,
    /// Filters find it by whom it was delegated from, too, and that key may delete it.
    Honoured,
}

/// What the first `delegation` tag of an event says; nothing of it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delegation<'a> {
    /// In whose name the event is said to be made.
    pub delegator: &'a PublicKey,
    /// What it must be like, as it was signed: `kind=1&created_at<1675721813`.
    pub conditions: &'a [u8],
    /// The delegator's signature of author and conditions.
    pub token: Signature,
}

impl<'a> Delegation<'a> {
    /// Reads the tag; nothing if it has another name or form.
    pub fn of(tag: &Tag<'a>) -> Option<Delegation<'a>> {
        let mut elements = tag.elements();
        if elements.next()? != Value::Text(NAME) {
            return None;
        }
        let Value::Hex(delegator) = elements.next()? else { return None };
        let Value::Text(conditions) = elements.next()? else { return None };
        let Value::Text(token) = elements.next()? else { return None };
        let token = Signature(hex::decode_64(token)?);
        Some(Delegation { delegator: PublicKey::from_bytes(delegator), conditions, token })
    }

    /// Tells whether the event is what the conditions allow.
    ///
    /// Of several kinds one must fit, and each time must; whatever is no condition fits nothing.
    pub fn allows(&self, event: &EventRef<'_>) -> bool {
        let (mut is_kind_named, mut is_kind_fitting) = (false, false);
        for condition in self.conditions.split(|byte| *byte == b'&') {
            if let Some(kind) = condition.strip_prefix(b"kind=") {
                let Some(kind) = number(kind) else { return false };
                is_kind_named = true;
                is_kind_fitting |= kind == u64::from(event.kind.0);
                continue;
            }
            let Some(time) = condition.strip_prefix(b"created_at") else { return false };
            let is_fitting = match time.split_first() {
                Some((b'<', end)) => number(end).is_some_and(|end| event.created_at < end),
                Some((b'>', start)) => number(start).is_some_and(|start| event.created_at > start),
                _ => false,
            };
            if !is_fitting {
                return false;
            }
        }
        is_kind_fitting || !is_kind_named
    }

    /// Tells whether the delegator has signed these conditions for this author.
    pub fn is_signed_for(&self, author: &PublicKey) -> bool {
        let mut text = Vec::with_capacity(PREFIX.len() + 65 + self.conditions.len());
        text.extend_from_slice(PREFIX);
        hex::encode_into(&author.0, &mut text);
        text.push(b':');
        text.extend_from_slice(self.conditions);
        verify::is_signed(self.delegator, &verify::digest(&text), &self.token)
    }
}

/// Returns in whose name an event claims to be made.
pub fn claimed<'a>(event: &EventRef<'a>) -> Option<&'a PublicKey> {
    claim(event).map(|delegation| delegation.delegator)
}

/// Returns in whose name an event was made, if its author was allowed to; the author's own name is
/// none.
///
/// An event without the tag costs a look for its name in the bytes, one with it a verification.
pub fn delegator_of<'a>(event: &EventRef<'a>) -> Option<&'a PublicKey> {
    let delegation = claim(event)?;
    let is_proven = delegation.delegator != event.pubkey
        && delegation.allows(event)
        && delegation.is_signed_for(event.pubkey);
    is_proven.then_some(delegation.delegator)
}

fn claim<'a>(event: &EventRef<'a>) -> Option<Delegation<'a>> {
    FINDER.find(event.tags_packed)?;
    let tag = event.tags().find(|tag| tag.name() == Value::Text(NAME))?;
    Delegation::of(&tag)
}

/// Reads a plain decimal number.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// The name of the tag.
const NAME: &[u8] = b"delegation";
const PREFIX: &[u8] = b"nostr:delegation:";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{Event, Keypair, Kind};

    const DELEGATOR: &str = "8e0d3d3eb2881ec137a11debe736a9086715a8c8beeeda615780064d68bc25dd";
    const CONDITIONS: &str = "kind=1&created_at>1674834236&created_at<1677426236";
    const TOKEN: &str = "6f44d7fe4f1c09f3954640fb58bd12bae8bb8ff4120853c4693106c82e920e2b\
        898f1f9ba9bd65449a987c39c0423426ab7b53910c0c6abfb41b30bc16e5f524";

    /// An event of the delegatee of NIP-26's example.
    fn event(kind: u16, created_at: u64, tag: &[&str]) -> Event {
        let secret = "777e4f60b4aa87937e13acc84f7abcc3c93cc035cb4c1e9f7a9086dd78fffce1";
        let secret = hex::decode_32(secret.as_bytes()).expect("64 digits");
        let keypair = Keypair::from_secret(secret).expect("a secret key");
        let tag = tag.iter().map(|text| (*text).to_owned()).collect();
        keypair.sign_event(created_at, Kind(kind), &[vec!["t".to_owned()], tag], "")
    }

    fn delegator(event: &Event) -> Option<String> {
        delegator_of(&event.view()).map(|key| hex::Hex(&key.0).to_string())
    }

    fn example(kind: u16, created_at: u64) -> Event {
        event(kind, created_at, &["delegation", DELEGATOR, CONDITIONS, TOKEN])
    }

    #[test]
    fn the_token_of_the_nip_is_proof_within_its_conditions() {
        for (kind, time, is_allowed) in [
            (1, 1_674_834_237, true),
            (1, 1_677_426_235, true),
            (1, 1_674_834_236, false),
            (1, 1_677_426_236, false),
            (7, 1_675_000_000, false),
        ] {
            let expected = is_allowed.then(|| DELEGATOR.to_owned());
            assert_eq!(delegator(&example(kind, time)), expected, "kind {kind} at {time}");
        }
    }

    #[test]
    fn a_changed_word_is_none() {
        let forged = TOKEN.replacen('6', "7", 1);
        let wider = CONDITIONS.replace("kind=1", "kind=1&kind=7");
        let other = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let off_curve = "0000000000000000000000000000000000000000000000000000000000000005";
        let rows: [&[&str]; 12] = [
            &["delegation", DELEGATOR, CONDITIONS, &forged],
            &["delegation", DELEGATOR, &wider, TOKEN],
            &["delegation", other, CONDITIONS, TOKEN],
            &["delegation", off_curve, CONDITIONS, TOKEN],
            &["delegation", DELEGATOR, CONDITIONS, &TOKEN[2..]],
            &["delegation", DELEGATOR, CONDITIONS, &TOKEN.to_uppercase()],
            &["delegation", DELEGATOR, CONDITIONS, ""],
            &["delegation", DELEGATOR, CONDITIONS],
            &["delegation", DELEGATOR],
            &["delegation", "x", CONDITIONS, TOKEN],
            &["delegation", DELEGATOR, DELEGATOR, DELEGATOR],
            &["delegations", DELEGATOR, CONDITIONS, TOKEN],
        ];
        for tag in rows {
            assert_eq!(delegator(&event(1, 1_675_000_000, tag)), None, "{tag:?}");
        }
        // Nor does the word for one author serve another.
        let keypair = Keypair::from_secret([7; 32]).expect("a secret key");
        let tag = ["delegation", DELEGATOR, CONDITIONS, TOKEN].map(str::to_owned).to_vec();
        let taken = keypair.sign_event(1_675_000_000, Kind(1), &[tag], "");
        assert_eq!(delegator(&taken), None);
    }

    #[test]
    fn conditions_are_alternatives_of_kinds_and_bounds_of_time() {
        let allows = |conditions: &str| {
            let event = event(1, 100, &["delegation", DELEGATOR, conditions, TOKEN]);
            let view = event.view();
            let tag = view.tags().nth(1).expect("it was given one");
            Delegation::of(&tag).is_some_and(|delegation| delegation.allows(&view))
        };
        for conditions in [
            "kind=1",
            "kind=0&kind=1",
            "created_at>99",
            "created_at<101",
            "created_at<101&kind=1&created_at>99&kind=7",
            "created_at>0099",
            "created_at<18446744073709551615",
        ] {
            assert!(allows(conditions), "{conditions}");
        }
        for conditions in [
            "",
            "&",
            "kind=",
            "kind=0&kind=2",
            "kind=1&",
            "kind=1&kind",
            "kind=1&kind=x",
            "kind=+1",
            "kind=65537",
            "kind=18446744073709551617",
            "kind>0",
            "kind=1&created_at",
            "kind=1&created_at=100",
            "kind=1&created_at<100",
            "kind=1&created_at>100",
            "kind=1&created_at<=100",
            "kind=1&created_at<-1",
            "kind=1&created_at<1e9",
            "kind=1&pubkey=1",
            "kind=1&created_at<18446744073709551616",
            "kind=1&created_at<101 ",
            "kind=1&created_at<101\n",
        ] {
            assert!(!allows(conditions), "{conditions}");
        }
    }

    #[test]
    fn the_first_tag_counts_and_nobody_delegates_to_himself() {
        let tags = |first: &str| {
            let word = |token: &str| {
                ["delegation", DELEGATOR, CONDITIONS, token].map(str::to_owned).to_vec()
            };
            vec![word(first), word(TOKEN)]
        };
        let secret = "777e4f60b4aa87937e13acc84f7abcc3c93cc035cb4c1e9f7a9086dd78fffce1";
        let keypair = hex::decode_32(secret.as_bytes()).and_then(Keypair::from_secret);
        let keypair = keypair.expect("a secret key");
        let event = keypair.sign_event(1_675_000_000, Kind(1), &tags("00"), "");
        assert_eq!(delegator(&event), None);
        let author = hex::Hex(&keypair.public_key().0).to_string();
        let text = format!("nostr:delegation:{author}:kind=1");
        let token = keypair.sign_id(&crate::nostr::EventId(verify::digest(text.as_bytes())));
        let mut digits = Vec::new();
        hex::encode_into(&token.0, &mut digits);
        let token = String::from_utf8(digits).expect("digits");
        let tag = vec!["delegation".to_owned(), author, "kind=1".to_owned(), token];
        let own = keypair.sign_event(5, Kind(1), std::slice::from_ref(&tag), "");
        let delegation = Delegation::of(&own.view().tags().next().expect("a tag"));
        assert!(delegation.is_some_and(|word| word.is_signed_for(&keypair.public_key())));
        assert_eq!(delegator(&own), None);
    }
}
