//! The extension of the websocket that is spoken here: permessage-deflate (RFC 7692), negotiated.
//!
//! What is agreed on is always the same: both sides forget each message, so that a connection costs
//! no memory for it. Offers that cannot be met exactly are declined, which is never a failure: the
//! connection is plain then.

use std::fmt::Write as _;

use crate::deflate::WINDOW_BITS;

/// How the text messages of a connection may travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    #[default]
    Plain,
    /// Each compressed by itself, or as it is.
    Deflate,
}

/// Returns what to answer to the lines of `Sec-WebSocket-Extensions`: the terms of the first offer
/// that can be met, if there is one.
pub fn accept<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    lines.flat_map(|line| split(line, ',')).find_map(accept_offer)
}

/// What a client offers.
pub(super) const OFFER: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Returns what a server has agreed on when it answered [`OFFER`]; nothing if its answer is none to
/// that.
pub(super) fn agreed(answer: Option<&str>) -> Option<Encoding> {
    let Some(answer) = answer else { return Some(Encoding::Plain) };
    let mut parts = split(answer, ';');
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut forgets = false;
    for part in parts {
        let name = part.split('=').next().unwrap_or_default().trim();
        let place = PARAMETERS.iter().position(|known| name.eq_ignore_ascii_case(known))?;
        forgets |= place == SERVER_FORGETS;
    }
    forgets.then_some(Encoding::Deflate)
}

/// Parameters seen in an offer, by their place in [`PARAMETERS`].
type Seen = [bool; PARAMETERS.len()];

/// The parameters of RFC 7692 section 7.1.
const PARAMETERS: [&str; 4] = [
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
];
const SERVER_FORGETS: usize = 0;
const SERVER_BITS: usize = 2;
const CLIENT_BITS: usize = 3;

fn accept_offer(offer: &str) -> Option<String> {
    let mut parts = split(offer, ';');
    if !parts.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut seen: Seen = [false; PARAMETERS.len()];
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
            None => (part, None),
        };
        let place = PARAMETERS.iter().position(|known| name.eq_ignore_ascii_case(known))?;
        let is_first = !std::mem::replace(&mut seen[place], true);
        if !is_first || !is_acceptable(place, value) {
            return None;
        }
    }
    let mut answer = format!("{NAME}; {}; {}", PARAMETERS[0], PARAMETERS[1]);
    if seen[SERVER_BITS] {
        // Writing to a String cannot fail.
        let _ = write!(answer, "; {}={WINDOW_BITS}", PARAMETERS[SERVER_BITS]);
    }
    Some(answer)
}

fn is_acceptable(place: usize, value: Option<&str>) -> bool {
    match (place, value) {
        (SERVER_BITS, Some(value)) => window_bits(value).is_some_and(|bits| bits >= WINDOW_BITS),
        (SERVER_BITS, None) => false,
        // Whatever the client's window is, the largest one understands it.
        (CLIENT_BITS, Some(value)) => window_bits(value).is_some(),
        (_, value) => value.is_none(),
    }
}

fn window_bits(value: &str) -> Option<u8> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.starts_with('0');
    value.parse().ok().filter(|bits| is_plain && (8..=15).contains(bits))
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

/// Splits at a separator that stands outside of quotes, and trims the parts.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let at_separator = move |letter| {
        is_quoted ^= letter == '"';
        letter == separator && !is_quoted
    };
    text.split(at_separator).map(str::trim)
}

const NAME: &str = "permessage-deflate";

#[cfg(test)]
mod tests {
    use super::*;

    const AGREED: &str = "permessage-deflate; server_no_context_takeover; \
                          client_no_context_takeover";

    fn check(lines: &[&str], expected: Option<&str>) {
        assert_eq!(accept(lines.iter().copied()).as_deref(), expected, "{lines:?}");
    }

    #[test]
    fn what_clients_offer_is_accepted_without_context_takeover() {
        let with_bits = format!("{AGREED}; server_max_window_bits=12");
        // Firefox and OkHttp; Chromium, Node and Python; Go; whoever saves memory.
        check(&["permessage-deflate"], Some(AGREED));
        check(&["permessage-deflate; client_max_window_bits"], Some(AGREED));
        let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        check(&[both], Some(AGREED));
        let narrow = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12";
        check(&[narrow], Some(&with_bits));
        check(&["permessage-deflate;server_max_window_bits=\"15\""], Some(&with_bits));
        check(&["Permessage-Deflate ; Client_Max_Window_Bits = 8 "], Some(AGREED));
    }

    #[test]
    fn an_answer_is_taken_only_if_the_server_forgets_each_message() {
        let rows = [
            (None, Some(Encoding::Plain)),
            (Some(AGREED), Some(Encoding::Deflate)),
            (Some("permessage-deflate;server_no_context_takeover"), Some(Encoding::Deflate)),
            (
                Some("permessage-deflate; server_no_context_takeover; server_max_window_bits=10"),
                Some(Encoding::Deflate),
            ),
            (Some("permessage-deflate"), None),
            (Some("permessage-deflate; server_no_context_takeover; other"), None),
            (Some("x-other"), None),
            (Some(""), None),
        ];
        for (answer, expected) in rows {
            assert_eq!(agreed(answer), expected, "{answer:?}");
        }
        assert_eq!(accept([OFFER].into_iter()).as_deref(), Some(AGREED));
    }

    #[test]
    fn the_first_offer_that_can_be_met_is_taken() {
        let with_bits = format!("{AGREED}; server_max_window_bits=12");
        check(&["x-other; a=\"b, permessage-deflate\", permessage-deflate"], Some(AGREED));
        check(&["x-other", "permessage-deflate"], Some(AGREED));
        let fallback = "permessage-deflate; server_max_window_bits=9, permessage-deflate";
        check(&[fallback], Some(AGREED));
        let first = "permessage-deflate; server_max_window_bits=13, permessage-deflate";
        check(&[first], Some(&with_bits));
    }

    #[test]
    fn an_offer_that_is_wrong_unknown_or_impossible_is_declined() {
        check(&[], None);
        check(&[""], None);
        check(&["x-webkit-deflate-frame"], None);
        for parameter in [
            "",
            "unknown",
            "server_no_context_takeover=1",
            "client_no_context_takeover=\"\"",
            "server_no_context_takeover; server_no_context_takeover",
            "client_max_window_bits; client_max_window_bits=10",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=8",
            "server_max_window_bits=11",
            "server_max_window_bits=16",
            "server_max_window_bits=012",
            "server_max_window_bits=+12",
            "server_max_window_bits=12; server_max_window_bits=12",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=",
            "client_max_window_bits=\"15",
        ] {
            check(&[&format!("permessage-deflate; {parameter}")], None);
        }
    }
}
