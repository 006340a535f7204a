//! Who asks over HTTP (NIP-98): what an authorization must say, and that each is good once.
//!
//! The signature is checked by whoever calls, because that takes a while; so what is refused here
//! costs little.

use std::collections::HashMap;

use crate::nostr::{Event, EventId, EventRef, Kind, Value, base64};

/// A request over HTTP, as far as an authorization speaks of it.
#[derive(Clone, Copy)]
pub struct HttpRequest<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// What follows the `?` of its address, if anything does.
    pub query: Option<&'a str>,
    /// Tells whether an address is that of the resource. What the request says itself about the
    /// host is not asked: whoever sends it chooses that.
    pub is_own: &'a dyn Fn(&str) -> bool,
    /// The SHA-256 of the body.
    pub payload: [u8; 32],
}

/// Why an authorization is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// There is no header.
    #[error("the header `Authorization: Nostr ...` of NIP-98 is missing")]
    Missing,
    /// It is not an event in base64.
    #[error("expected an event in base64 behind `Nostr`")]
    Malformed,
    /// It is another kind of event.
    #[error("expected an event of kind 27235")]
    Kind,
    /// It is too old, or from the future.
    #[error("created_at is more than {WINDOW_SECS} seconds away from this relay's clock")]
    Clock,
    /// It is for another address.
    #[error("the u tag is not the address of this relay (relay.url of its configuration)")]
    Url,
    /// It is for another method.
    #[error("the method tag is not the method of this request")]
    Method,
    /// It is for another body.
    #[error("the payload tag is not the SHA-256 of the body in lower-case hexadecimal")]
    Payload,
    /// Its id or signature is wrong.
    #[error("the id or the signature is wrong")]
    Signature,
    /// It was used before.
    #[error("this authorization was used before; sign another one")]
    Replayed,
    /// So many came that those that were used cannot be told any more.
    #[error("too many requests at once; wait a minute")]
    TooMany,
}

/// Reads the event of a header's value.
///
/// # Errors
///
/// [`Unauthorized::Malformed`].
pub fn read_authorization(value: &str) -> Result<Event, Unauthorized> {
    let (scheme, text) = value.trim().split_once(' ').ok_or(Unauthorized::Malformed)?;
    if !scheme.eq_ignore_ascii_case("nostr") {
        return Err(Unauthorized::Malformed);
    }
    let json = base64::decode(text.trim()).ok_or(Unauthorized::Malformed)?;
    Event::parse(&json).map_err(|_| Unauthorized::Malformed)
}

/// Checks all that an authorization says at the second `now`, its signature aside.
///
/// # Errors
///
/// What is wrong.
pub fn check_authorization(
    event: &EventRef<'_>,
    request: &HttpRequest<'_>,
    now: u64,
) -> Result<(), Unauthorized> {
    if event.kind != Kind::HTTP_AUTHORIZATION {
        return Err(Unauthorized::Kind);
    }
    if event.created_at.abs_diff(now) > WINDOW_SECS {
        return Err(Unauthorized::Clock);
    }
    // Each is looked for by itself, and once: a second tag must not make up for a wrong one.
    let first = |name: &str| event.tags().find(|tag| tag.is_named(name)).and_then(|it| it.value());
    let url = first("u").map(|value| value.to_text()).ok_or(Unauthorized::Url)?;
    let query = url.split('#').next().and_then(|url| url.split_once('?')).map(|(_, query)| query);
    if query != request.query || !(request.is_own)(&url) {
        return Err(Unauthorized::Url);
    }
    if first("method") != Some(Value::Text(request.method.as_bytes())) {
        return Err(Unauthorized::Method);
    }
    if first("payload") != Some(Value::Hex(&request.payload)) {
        return Err(Unauthorized::Payload);
    }
    Ok(())
}

/// The authorizations that were used and could be used again by their time.
#[derive(Debug, Default)]
pub struct Replays {
    /// With the second from which on its time is over.
    used: HashMap<EventId, u64>,
}

impl Replays {
    /// Notes that an authorization, whose signature is right, is used at the second `now`.
    ///
    /// # Errors
    ///
    /// If it was used before, or there are too many to remember.
    pub fn use_up(&mut self, event: &EventRef<'_>, now: u64) -> Result<(), Unauthorized> {
        if self.used.contains_key(event.id) {
            return Err(Unauthorized::Replayed);
        }
        if self.used.len() >= REPLAYS_MAX {
            self.used.retain(|_, over| *over > now);
            // To forget one would let it be used again.
            if self.used.len() >= REPLAYS_MAX {
                return Err(Unauthorized::TooMany);
            }
        }
        self.used.insert(*event.id, event.created_at + WINDOW_SECS + 1);
        Ok(())
    }

    /// Remembers an authorization that was used at the second `at`, before this process began.
    pub fn recall(&mut self, id: EventId, at: u64) {
        // Its clock may have been ahead by the whole window.
        self.used.insert(id, at.saturating_add(2 * WINDOW_SECS + 1));
    }
}

/// How far the clock of a client may be off, and how long an authorization is good (NIP-98).
const WINDOW_SECS: u64 = 60;
/// Authorizations that are remembered: some for each second of the window. Only those of
/// administrators are.
const REPLAYS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{Keypair, sha256};

    const NOW: u64 = 1_700_000_000;
    const URL: &str = "https://relay.example.org/";

    fn keys() -> Keypair {
        Keypair::from_secret([1; 32]).expect("the secret is in range")
    }

    fn sign(kind: u16, at: u64, tags: &[(&str, &str)]) -> Event {
        let tag = |(name, value): &(&str, &str)| vec![(*name).to_owned(), (*value).to_owned()];
        let tags: Vec<Vec<String>> = tags.iter().map(tag).collect();
        keys().sign_event(at, Kind(kind), &tags, "")
    }

    #[test]
    fn nip_98_1_every_part_is_checked_by_itself() {
        let body = crate::hex::Hex(&sha256(b"{}")).to_string();
        let (url, method, payload) = (("u", URL), ("method", "POST"), ("payload", body.as_str()));
        let right = [url, method, payload];
        let without = |name: &str| {
            right.iter().copied().filter(|tag| tag.0 != name).collect::<Vec<(&str, &str)>>()
        };
        let with = |name, value| [&[(name, value)][..], &without(name)].concat();
        let other = "00".repeat(32);
        let upper = body.to_uppercase();
        let rows = [
            (27_235, NOW, right.to_vec(), Ok(())),
            (27_235, NOW - 60, right.to_vec(), Ok(())),
            (27_235, NOW + 60, right.to_vec(), Ok(())),
            (27_235, NOW - 61, right.to_vec(), Err(Unauthorized::Clock)),
            (27_235, NOW + 61, right.to_vec(), Err(Unauthorized::Clock)),
            (27_236, NOW, right.to_vec(), Err(Unauthorized::Kind)),
            (27_235, NOW, without("u"), Err(Unauthorized::Url)),
            (27_235, NOW, with("u", "https://evil.example/"), Err(Unauthorized::Url)),
            (27_235, NOW, with("u", "https://relay.example.org/?x"), Err(Unauthorized::Url)),
            (
                27_235,
                NOW,
                [&[("u", "https://evil.example/")][..], &right].concat(),
                Err(Unauthorized::Url),
            ),
            (27_235, NOW, without("method"), Err(Unauthorized::Method)),
            (27_235, NOW, with("method", "GET"), Err(Unauthorized::Method)),
            (27_235, NOW, with("method", "post"), Err(Unauthorized::Method)),
            (27_235, NOW, without("payload"), Err(Unauthorized::Payload)),
            (27_235, NOW, with("payload", &other), Err(Unauthorized::Payload)),
            (27_235, NOW, with("payload", &upper), Err(Unauthorized::Payload)),
            (27_235, NOW, with("payload", ""), Err(Unauthorized::Payload)),
        ];
        let is_own = |url: &str| url.starts_with(URL);
        let request =
            HttpRequest { method: "POST", query: None, is_own: &is_own, payload: sha256(b"{}") };
        for (kind, at, tags, expected) in rows {
            let event = sign(kind, at, &tags);
            let found = check_authorization(&event.view(), &request, NOW);
            assert_eq!(found, expected, "{kind} {at} {tags:?}");
        }
        let asked = sign(27_235, NOW, &with("u", "https://relay.example.org/?a=b#c"));
        let request = HttpRequest { query: Some("a=b"), ..request };
        assert_eq!(check_authorization(&asked.view(), &request, NOW), Ok(()));
    }

    #[test]
    fn an_authorization_is_good_once() {
        let mut replays = Replays::default();
        let event = sign(27_235, NOW, &[]);
        assert_eq!(replays.use_up(&event.view(), NOW), Ok(()));
        assert_eq!(replays.use_up(&event.view(), NOW), Err(Unauthorized::Replayed));
        assert_eq!(replays.use_up(&event.view(), NOW + 61), Err(Unauthorized::Replayed));
    }

    #[test]
    fn what_was_used_is_forgotten_when_its_time_is_over_and_not_before() {
        let mut replays = Replays::default();
        let event = sign(27_235, NOW, &[]);
        assert_eq!(replays.use_up(&event.view(), NOW), Ok(()));
        for number in 1..REPLAYS_MAX as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            replays.used.insert(EventId(id), NOW + 61);
        }
        let next = sign(27_235, NOW + 1, &[]);
        assert_eq!(replays.use_up(&next.view(), NOW + 60), Err(Unauthorized::TooMany));
        assert_eq!(replays.use_up(&next.view(), NOW + 61), Ok(()));
        assert_eq!(replays.used.len(), 1);
    }

    #[test]
    fn nip_98_4_a_header_is_read_in_every_spelling() {
        let event = sign(27_235, NOW, &[]);
        let mut json = Vec::new();
        event.view().write_json(&mut json);
        let text = testing::encode(&json);
        let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
        for value in [
            format!("Nostr {text}"),
            format!("nostr {padded}"),
            format!("Nostr  {} ", text.replace('+', "-").replace('/', "_")),
        ] {
            assert_eq!(read_authorization(&value).as_ref(), Ok(&event), "{value}");
        }
        for value in ["", "Nostr", "Nostr ", "Bearer e30", "Nostr e30", "Nostr !", &text] {
            assert_eq!(read_authorization(value), Err(Unauthorized::Malformed), "{value}");
        }
    }

    mod testing {
        /// Returns the text without padding.
        pub(super) fn encode(bytes: &[u8]) -> String {
            const DIGITS: &[u8; 64] =
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let mut text = String::new();
            for group in bytes.chunks(3) {
                let mut padded = [0; 4];
                padded[1..=group.len()].copy_from_slice(group);
                let bits = u32::from_be_bytes(padded);
                for place in 0..=group.len() {
                    let digit = bits >> (18 - 6 * place) & 63;
                    text.push(char::from(DIGITS[digit as usize]));
                }
            }
            text
        }
    }
}
