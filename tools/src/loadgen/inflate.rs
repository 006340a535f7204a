//! The texts of compressed messages, each inflated once however often it arrives.
//!
//! A relay that compresses an event once sends the same bytes to every subscriber, and this client
//! has to be cheaper than the relay. Every message that differs is inflated, by another library than
//! the relay's, so what is counted has been understood.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use miniz_oxide::inflate::decompress_to_vec_with_limit;

use crate::Failure;

/// Messages that were inflated, by their length and last bytes.
#[derive(Default)]
pub(crate) struct Inflated {
    known: HashMap<(usize, [u8; KEY_BYTES]), Known>,
}

struct Known {
    message: Vec<u8>,
    text: Vec<u8>,
}

impl Inflated {
    /// Returns the text of a message, which refers to none before it.
    pub(crate) fn text(&mut self, message: &[u8]) -> Result<&[u8], Failure> {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        // The end of an event is its signature, which no other has.
        let last = message.last_chunk().copied().unwrap_or_default();
        let known = match self.known.entry((message.len(), last)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(Known::of(message)?),
        };
        if known.message != message {
            *known = Known::of(message)?;
        }
        Ok(&known.text)
    }
}

impl Known {
    fn of(message: &[u8]) -> Result<Self, Failure> {
        let whole = [message, &END].concat();
        let text = decompress_to_vec_with_limit(&whole, TEXT_BYTES_MAX)
            .map_err(|error| format!("a compressed message cannot be inflated: {error}"))?;
        Ok(Self { message: message.to_vec(), text })
    }
}

/// What a message goes without, and a block that says that it is the last.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
const KEY_BYTES: usize = 16;
const KNOWN_MAX: usize = 4_096;
const TEXT_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_same_length_and_end_are_told_apart() {
        let mut inflated = Inflated::default();
        let stored = |text: &[u8; 20]| [&[0, 20, 0, 0xeb, 0xff], &text[..], &[0]].concat();
        let texts = [b"a common end of these", b"b common end of these"].map(|it| &it[..20]);
        for _ in 0..2 {
            for text in texts {
                let message = stored(text.try_into().expect("20 bytes"));
                assert_eq!(inflated.text(&message).expect("valid"), text);
            }
        }
        assert!(inflated.text(b"not deflate").is_err());
    }
}
