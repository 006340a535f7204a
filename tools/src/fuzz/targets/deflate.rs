//! Compressed messages, against `miniz_oxide`: the same text or none, and never more than allowed.

use chappe::deflate::{Deflater, InflateError, Inflater, stored_block};
use fastrand::Rng;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::Target;
use crate::fuzz::grammar;
use crate::fuzz::mutate::{WORDS, mutate};

pub(super) struct Deflated {
    deflater: Deflater,
    inflater: Inflater,
}

impl Deflated {
    pub(super) fn new() -> Self {
        Self { deflater: Deflater::default(), inflater: Inflater::default() }
    }
}

/// Why a message has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Invalid,
    TooLong,
}

impl Target for Deflated {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut message = Vec::new();
        for _ in 0..rng.usize(1..4) {
            let mut text = String::new();
            match rng.u8(..3) {
                0 => grammar::event(rng).spell(rng, &mut text),
                1 => text = grammar::text(rng).repeat(rng.usize(1..200)),
                _ => text = grammar::text(rng),
            }
            match stored_block(text.len()) {
                Some(header) if rng.u8(..4) == 0 => {
                    message.extend_from_slice(&header);
                    message.extend_from_slice(text.as_bytes());
                }
                _ => self.deflater.append(&[text.as_bytes()], &mut message),
            }
        }
        match rng.u8(..8) {
            0 => message.extend_from_slice(&[1, 0, 0, 0xff, 0xff, 0]),
            1 => message = miniz_oxide::deflate::compress_to_vec(&message, rng.u8(..10)),
            _ => {}
        }
        if rng.u8(..4) > 0 {
            let other = message.clone();
            mutate(&mut message, &other, &WORDS, rng);
        }
        message
    }

    fn check(&mut self, input: &[u8]) {
        let theirs = plain_inflate(input, TEXT_BYTES_MAX);
        let ours = self.inflater.inflate(input, TEXT_BYTES_MAX);
        let len = match (ours, &theirs) {
            (Ok(text), Ok(expected)) => {
                assert!(text == expected, "{} and {} bytes", text.len(), expected.len());
                text.len()
            }
            (Err(InflateError::Invalid), Err(Wrong::Invalid)) => return,
            // Which of two faults is met first is not promised.
            (Err(_), Err(_)) => return,
            (ours, theirs) => panic!("{:?}, but {:?}", ours.map(<[u8]>::len), theirs.is_ok()),
        };
        assert!(self.inflater.inflate(input, len).is_ok(), "just enough room");
        if len > 0 {
            let refused = self.inflater.inflate(input, len - 1);
            assert_eq!(refused, Err(InflateError::TooLong), "no room for the last byte");
        }
    }
}

/// Inflates a message of which the last four bytes are missing (RFC 7692 section 7.2.2).
pub(super) fn plain_inflate(message: &[u8], bytes_max: usize) -> Result<Vec<u8>, Wrong> {
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    // What follows the message is read by the same decoder, so that a byte more is seen.
    let whole = [message, &END].concat();
    let mut out = vec![0; bytes_max + 1];
    let mut decoder = Box::<DecompressorOxide>::default();
    let (status, used, len) = decompress(&mut decoder, &whole, &mut out, 0, flags);
    match status {
        TINFLStatus::Done => {}
        TINFLStatus::HasMoreOutput => return Err(Wrong::TooLong),
        _ => return Err(Wrong::Invalid),
    }
    if len > bytes_max {
        return Err(Wrong::TooLong);
    }
    out.truncate(len);
    let is_ended_within = used + 1 == message.len() && message.last() == Some(&0);
    if is_ended_within {
        return Ok(out);
    }
    // All was read, and what was put behind is no part of the text.
    let mut decoder = Box::<DecompressorOxide>::default();
    let has_more = inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
    let mut before = vec![0; bytes_max + 1];
    let (_, _, len) = decompress(&mut decoder, message, &mut before, 0, flags | has_more);
    let is_whole = used == whole.len() && len == out.len();
    if is_whole { Ok(out) } else { Err(Wrong::Invalid) }
}

const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
const TEXT_BYTES_MAX: usize = 100_000;
