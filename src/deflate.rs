//! Compressed messages: raw DEFLATE (RFC 1951) in the form that websockets carry it (RFC 7692).
//!
//! A message is a chain of blocks that ends on a byte, so messages can be put together from pieces:
//! what [`Deflater`] appends refers to nothing before itself and may stand behind any other whole
//! blocks, such as those of [`stored_block`]. That is how one compressed event serves every
//! subscriber. No connection owns anything: both directions start with an empty window for each
//! message, so a thread needs one [`Deflater`] and one [`Inflater`], which take memory when they are
//! used first.
//!
//! Which connections compress is negotiated in `net`, which messages do is decided in `server`.

use std::io::Write;

use flate2::write::GzEncoder;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// The base-2 logarithm of the farthest that a compressed message refers back.
///
/// Clients may ask for any window from this on. Events take 0.1 to 0.3 % more bytes than with the
/// largest one.
pub const WINDOW_BITS: u8 = 12;

/// Compresses messages, one after the other.
#[derive(Default)]
pub struct Deflater {
    compress: Option<Compress>,
}

impl Deflater {
    /// Appends the blocks of one text, given in parts, without the last four bytes, as a message
    /// ends (RFC 7692 section 7.2.1).
    pub fn append(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) {
        let compress = self.compress.get_or_insert_with(|| {
            Compress::new_with_window_bits(Compression::new(LEVEL), false, WINDOW_BITS)
        });
        compress.reset();
        let len: usize = parts.iter().map(|part| part.len()).sum();
        out.reserve(len + len / 8 + BLOCKS_BYTES);
        for part in parts {
            feed(compress, part, FlushCompress::None, out);
        }
        feed(compress, &[], FlushCompress::Sync, out);
        assert!(out.ends_with(&FLUSHED), "a flush ends with an empty stored block");
        out.truncate(out.len() - FLUSHED.len());
    }
}

/// Compresses all of `input` and, with a flush, all that waited for more.
fn feed(compress: &mut Compress, mut input: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
    loop {
        let before = compress.total_in();
        compress.compress_vec(input, out, flush).expect("a stream that has not ended takes input");
        input = &input[(compress.total_in() - before) as usize..];
        if input.is_empty() && out.len() < out.capacity() {
            return;
        }
        out.reserve(input.len() + BLOCKS_BYTES);
    }
}

/// Returns a file of the gzip format (RFC 1952) with these bytes, as small as it gets.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes all that is written");
    encoder.finish().expect("memory takes all that is written")
}

/// Returns what to put in front of `len` plain bytes to make them a block of their own; nothing if
/// they are too many for one block.
pub fn stored_block(len: usize) -> Option<[u8; STORED_HEADER_BYTES]> {
    let len = u16::try_from(len).ok()?;
    let ([a, b], [c, d]) = (len.to_le_bytes(), (!len).to_le_bytes());
    Some([0, a, b, c, d])
}

/// Why a compressed message has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It is not DEFLATE, or its end is missing.
    Invalid,
    /// The text is longer than allowed.
    TooLong,
}

/// Decompresses messages, one after the other.
#[derive(Default)]
pub struct Inflater {
    decompress: Option<Decompress>,
    text: Vec<u8>,
}

impl Inflater {
    /// Returns the text of a message, of which the last four bytes are missing as they should.
    ///
    /// # Errors
    ///
    /// If it is not valid, or has more than `bytes_max` bytes; no more than these are written.
    pub fn inflate(&mut self, message: &[u8], bytes_max: usize) -> Result<&[u8], InflateError> {
        self.text.clear();
        if self.text.capacity() > TEXT_BYTES_KEPT {
            self.text = Vec::new();
        }
        let decompress = self.decompress.get_or_insert_with(|| Decompress::new(false));
        decompress.reset(false);
        if let Some(rest) = drain(decompress, message, &mut self.text, bytes_max)? {
            // The last block said so, and is followed by the empty block that a flush would have
            // left (RFC 7692 section 7.2.3.4).
            return if rest == [0] { Ok(&self.text) } else { Err(InflateError::Invalid) };
        }
        // Behind whole blocks a last, empty one is understood; inside of another it would be text.
        let len = self.text.len();
        let ended = drain(decompress, &END, &mut self.text, bytes_max)?;
        if ended == Some(&[]) && self.text.len() == len {
            return Ok(&self.text);
        }
        Err(InflateError::Invalid)
    }
}

/// Decompresses all of `input` (nothing) or up to the stream's end (what comes behind it).
fn drain<'a>(
    decompress: &mut Decompress,
    mut input: &'a [u8],
    text: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<Option<&'a [u8]>, InflateError> {
    loop {
        if text.len() == text.capacity() {
            let wanted = (2 * text.len()).max(3 * input.len()).max(TEXT_BYTES_MIN);
            // One byte more than allowed tells a text that fits from one that does not.
            let room = (bytes_max + 1).saturating_sub(text.len());
            text.reserve_exact((wanted - text.len()).min(room));
        }
        let before = (decompress.total_in(), text.len());
        let status = decompress
            .decompress_vec(input, text, FlushDecompress::None)
            .map_err(|_| InflateError::Invalid)?;
        input = &input[(decompress.total_in() - before.0) as usize..];
        if text.len() > bytes_max {
            return Err(InflateError::TooLong);
        }
        if status == Status::StreamEnd {
            return Ok(Some(input));
        }
        if text.len() < text.capacity() {
            // There was room for more, so more input is what is missing.
            return if input.is_empty() { Ok(None) } else { Err(InflateError::Invalid) };
        }
    }
}

/// How much longer a block gets by [`stored_block`].
pub const STORED_HEADER_BYTES: usize = 5;
/// The least that describes the letters of an event by themselves: below it hexadecimal digits take
/// a byte each. Above it, half a percent fewer bytes cost a tenth more time.
const LEVEL: u32 = 2;
/// What a flush leaves at the end; a message goes without (RFC 7692 section 7.2.1).
const FLUSHED: [u8; 4] = [0, 0, 0xff, 0xff];
/// What was taken from the end of a message, and a block that says that it is the last.
const END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];
/// More than the headers of the few blocks of a message.
const BLOCKS_BYTES: usize = 64;
/// The first allocation for a text.
const TEXT_BYTES_MIN: usize = 4 * 1024;
/// The memory of a longer text is given back before the next message.
const TEXT_BYTES_KEPT: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 1 << 24;

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Deflater::default().append(&[text], &mut out);
        out
    }

    /// A text as compressible as JSON is.
    fn text_of(random: &mut fastrand::Rng, len: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < len {
            match random.u8(0..3) {
                0 => text.extend_from_slice(b"\",\"content\":\""),
                1 => text.extend((0..random.usize(1..64)).map(|_| random.alphanumeric() as u8)),
                _ => text.extend((0..64).map(|_| b"0123456789abcdef"[random.usize(0..16)])),
            }
        }
        text.truncate(len);
        text
    }

    #[test]
    fn what_is_deflated_inflates_to_itself_at_every_length_and_in_any_parts() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        for len in (0..300).chain([4_095, 4_096, 4_097, 70_000, 1_000_000]) {
            let text = text_of(&mut random, len);
            let (a, b) = text.split_at(random.usize(0..=len));
            let mut message = Vec::new();
            deflater.append(&[a, b], &mut message);
            assert_eq!(inflater.inflate(&message, ROOM), Ok(&text[..]), "{len} bytes");
            assert_eq!(inflater.inflate(&message, len), Ok(&text[..]), "{len} bytes");
        }
    }

    #[test]
    fn random_bytes_survive_too() {
        let mut random = fastrand::Rng::with_seed(8);
        for len in [1, 500, 5_000, 200_000] {
            let bytes: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            assert_eq!(Inflater::default().inflate(&deflated(&bytes), ROOM), Ok(&bytes[..]));
        }
    }

    #[test]
    fn a_message_can_be_put_together_of_a_stored_and_a_compressed_part() {
        let mut random = fastrand::Rng::with_seed(9);
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        for len in [1, 16, 100, 255, 256, 10_000, 65_535] {
            let text = text_of(&mut random, len);
            // The compressed part is about the same text, which it must not refer to.
            let mut message = stored_block(len).expect("fits a block").to_vec();
            message.extend_from_slice(&text);
            deflater.append(&[&text, b"]"], &mut message);
            let whole = [&text[..], &text, b"]"].concat();
            assert_eq!(inflater.inflate(&message, ROOM), Ok(&whole[..]), "{len} bytes");
        }
        assert_eq!(stored_block(65_536), None);
    }

    #[test]
    fn a_message_never_refers_farther_back_than_its_window() {
        let mut random = fastrand::Rng::with_seed(10);
        let once = text_of(&mut random, (1 << WINDOW_BITS) + 2_000);
        let message = deflated(&[&once[..], &once].concat());
        let mut narrow = Decompress::new_with_window_bits(false, WINDOW_BITS);
        // In small steps, so that the inflater has nothing but its window to refer to.
        let (mut inflated, mut step) = (Vec::new(), [0; 100]);
        loop {
            let (read, written) = (narrow.total_in() as usize, narrow.total_out());
            let status = narrow.decompress(&message[read..], &mut step, FlushDecompress::None);
            status.expect("a window of this size is enough");
            let count = (narrow.total_out() - written) as usize;
            inflated.extend_from_slice(&step[..count]);
            if count < step.len() {
                break;
            }
        }
        assert!(inflated == [&once[..], &once].concat(), "the texts differ");
    }

    /// The examples of RFC 7692 section 7.2.3, all of which say "Hello".
    #[test]
    fn the_examples_of_the_standard_inflate() {
        let examples: [&[u8]; 4] = [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ];
        let mut inflater = Inflater::default();
        for example in examples {
            assert_eq!(inflater.inflate(example, 5), Ok(&b"Hello"[..]), "{example:x?}");
            assert_eq!(inflater.inflate(example, 4), Err(InflateError::TooLong), "{example:x?}");
        }
        assert_eq!(inflater.inflate(&[0], 0), Ok(&b""[..]));
    }

    #[test]
    fn what_is_not_whole_and_valid_is_refused_and_does_not_spoil_the_next() {
        let mut inflater = Inflater::default();
        let good = deflated(b"a text that is long enough to be cut at many places, many places");
        for cut in 0..good.len() {
            assert!(inflater.inflate(&good[..cut], ROOM).is_err(), "cut at {cut}");
            assert!(inflater.inflate(&good, ROOM).is_ok());
        }
        let invalid: [&[u8]; 5] = [
            // A reserved block, a stored block of two lengths, one that is cut off.
            &[0x07, 0, 0],
            &[0x00, 0x05, 0x00, 0x00, 0x00, 0x48],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48],
            // A last block that more follows.
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00],
            // A match that begins before the text does.
            &[0x4a, 0x04, 0x02, 0x00],
        ];
        for message in invalid {
            let found = inflater.inflate(message, ROOM);
            assert_eq!(found, Err(InflateError::Invalid), "{message:x?}");
        }
    }

    #[test]
    fn random_bytes_and_damaged_messages_never_exceed_their_bound() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut inflater = Inflater::default();
        for round in 0..20_000 {
            let mut message = match round % 2 {
                0 => (0..random.usize(0..60)).map(|_| random.u8(..)).collect(),
                _ => {
                    let len = random.usize(1..2_000);
                    deflated(&text_of(&mut random, len))
                }
            };
            if let Some(at) = random.choice(0..message.len()) {
                message[at] ^= 1 << random.u8(0..8);
            }
            if let Ok(text) = inflater.inflate(&message, 500) {
                assert!(text.len() <= 500);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_without_being_unpacked() {
        let bomb = deflated(&vec![b' '; 8 << 20]);
        assert!(bomb.len() < 64 << 10);
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(&bomb, 1 << 20), Err(InflateError::TooLong));
        assert!(inflater.text.capacity() <= (1 << 20) + 1);
        inflater.inflate(&deflated(b"small"), 1 << 20).expect("whole");
        assert!(inflater.text.capacity() <= TEXT_BYTES_KEPT);
    }
}
