//! Cuts a stream into chunks of whole lines, with a bound on the length of a line.
//!
//! A chunk is what one read of the stream gave, so that a slow pipe is passed on as it comes and a
//! file in large pieces. A line longer than the bound is dropped while it is read: memory stays
//! at about one read and one line however long the line is.

use std::io::{self, Read};

/// Sizes that a [`Chunks`] works with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes asked for in one read.
    pub(super) read_bytes: usize,
    /// Longest line, without its line end.
    pub(super) line_bytes_max: usize,
}

/// Some whole lines of a stream.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Number of the first line in `bytes`; the first line of a stream is 1.
    first_line: u64,
    /// The lines with their line ends; the last line of a stream may have none.
    pub(super) bytes: Vec<u8>,
    /// Numbers of lines before `bytes` that were too long to be kept.
    oversized: Vec<u64>,
}

/// One line of a [`Chunk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Number in its stream, the first being 1.
    pub(super) number: u64,
    /// What the line holds.
    pub(super) text: Text<'a>,
}

/// What a line holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text<'a> {
    /// The text without line end and surrounding white space; never empty.
    Whole(&'a [u8]),
    /// More than the bound.
    Oversized,
}

impl Chunk {
    /// Returns a chunk without lines that will use this buffer.
    pub(super) fn with_buffer(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Returns the lines that are not blank.
    pub(super) fn lines(&self, line_bytes_max: usize) -> impl Iterator<Item = Line<'_>> {
        let dropped =
            self.oversized.iter().map(|number| Line { number: *number, text: Text::Oversized });
        let kept = (self.first_line..).zip(Split { rest: &self.bytes });
        dropped.chain(kept.filter_map(move |(number, line)| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > line_bytes_max {
                return Some(Line { number, text: Text::Oversized });
            }
            let text = line.trim_ascii();
            (!text.is_empty()).then_some(Line { number, text: Text::Whole(text) })
        }))
    }
}

/// The pieces of a text between its newlines.
struct Split<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(line)
    }
}

/// A stream that is cut into chunks.
pub(super) struct Chunks<R> {
    input: R,
    bounds: Bounds,
    /// The beginning of a line whose end has not been read.
    carry: Vec<u8>,
    /// Number of the line that comes next.
    line: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// The rest of a line that was too long is being dropped.
    Skipping,
    Ended,
}

impl<R: Read> Chunks<R> {
    pub(super) fn new(input: R, bounds: Bounds) -> Self {
        Self { input, bounds, carry: Vec::new(), line: 1, state: State::Reading }
    }

    /// Puts the next lines into `chunk`, whose buffer is used again; `false` at the end.
    pub(super) fn fill(&mut self, chunk: &mut Chunk) -> io::Result<bool> {
        chunk.oversized.clear();
        chunk.bytes.clear();
        chunk.bytes.append(&mut self.carry);
        chunk.first_line = self.line;
        while self.state != State::Ended {
            let start = self.read(&mut chunk.bytes)?;
            if start == chunk.bytes.len() {
                self.state = State::Ended;
                break;
            }
            if self.state == State::Skipping && !self.resume(&mut chunk.bytes) {
                continue;
            }
            if let Some(last) = memchr::memrchr(b'\n', &chunk.bytes[start..]) {
                self.carry.extend_from_slice(&chunk.bytes[start + last + 1..]);
                chunk.bytes.truncate(start + last + 1);
                break;
            }
            if chunk.bytes.len() > self.bounds.line_bytes_max + LINE_END_BYTES {
                self.begin_skip(chunk);
            }
        }
        self.count(chunk);
        Ok(!chunk.bytes.is_empty() || !chunk.oversized.is_empty())
    }

    /// Reads once behind what is in `bytes`; returns where the new bytes begin.
    fn read(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let start = bytes.len();
        bytes.resize(start + self.bounds.read_bytes, 0);
        let count = loop {
            match self.input.read(&mut bytes[start..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    bytes.truncate(start);
                    return Err(error);
                }
                Ok(count) => break count,
            }
        };
        bytes.truncate(start + count);
        Ok(start)
    }

    fn begin_skip(&mut self, chunk: &mut Chunk) {
        chunk.oversized.push(self.line);
        chunk.bytes.clear();
        self.line += 1;
        chunk.first_line = self.line;
        self.state = State::Skipping;
    }

    /// Drops the rest of a skipped line from `bytes`, which holds nothing else than what was read
    /// last; `false` when nothing is left.
    fn resume(&mut self, bytes: &mut Vec<u8>) -> bool {
        match memchr::memchr(b'\n', bytes) {
            None => {
                bytes.clear();
                false
            }
            Some(end) => {
                bytes.drain(..=end);
                self.state = State::Reading;
                !bytes.is_empty()
            }
        }
    }

    /// Counts the lines of a chunk.
    fn count(&mut self, chunk: &Chunk) {
        let ends = memchr::memchr_iter(b'\n', &chunk.bytes).count() as u64;
        let has_open_end = chunk.bytes.last().is_some_and(|last| *last != b'\n');
        self.line += ends + u64::from(has_open_end);
    }
}

/// A carriage return may stand before the newline.
const LINE_END_BYTES: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A stream whose reads return the given pieces.
    struct Pieces(VecDeque<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let Some(mut piece) = self.0.pop_front() else {
                return Ok(0);
            };
            let count = piece.len().min(out.len());
            out[..count].copy_from_slice(&piece[..count]);
            if count < piece.len() {
                self.0.push_front(piece.split_off(count));
            }
            Ok(count)
        }
    }

    /// Returns what `lines` gives over all chunks; an oversized line is shown as `!`.
    fn read_all(pieces: &[&[u8]], bounds: Bounds) -> Vec<(u64, String)> {
        let pieces = pieces.iter().filter(|piece| !piece.is_empty());
        let input = Pieces(pieces.map(|piece| piece.to_vec()).collect());
        let mut chunks = Chunks::new(input, bounds);
        let mut chunk = Chunk::default();
        let mut lines = Vec::new();
        while chunks.fill(&mut chunk).expect("the stream has no errors") {
            let open_line_max = (bounds.line_bytes_max + LINE_END_BYTES).max(bounds.read_bytes);
            assert!(chunk.bytes.len() <= open_line_max + bounds.read_bytes);
            lines.extend(chunk.lines(bounds.line_bytes_max).map(|line| match line.text {
                Text::Whole(text) => (line.number, String::from_utf8_lossy(text).into_owned()),
                Text::Oversized => (line.number, "!".to_owned()),
            }));
        }
        assert!(!chunks.fill(&mut chunk).expect("the end stays the end"));
        lines
    }

    /// Numbers and texts of lines.
    type Expected = &'static [(u64, &'static str)];

    const ROWS: [(&[u8], Expected); 14] = [
        (b"", &[]),
        (b"\n", &[]),
        (b"a", &[(1, "a")]),
        (b"a\n", &[(1, "a")]),
        (b"a\nb", &[(1, "a"), (2, "b")]),
        (b"a\r\nb\r\n", &[(1, "a"), (2, "b")]),
        (b"a\n\n  \n\r\nb\n", &[(1, "a"), (5, "b")]),
        (b" a \n\tb", &[(1, "a"), (2, "b")]),
        (b"12345678\n12345678\r\n12345678", &[(1, "12345678"), (2, "12345678"), (3, "12345678")]),
        (b"123456789\na\n", &[(1, "!"), (2, "a")]),
        (b"a\n123456789", &[(1, "a"), (2, "!")]),
        (b"a\n1234567890123456789012345\n\nb\n", &[(1, "a"), (2, "!"), (4, "b")]),
        (b"123456789\r\n123456789\nb", &[(1, "!"), (2, "!"), (3, "b")]),
        (
            b"1234567890123\n12345678901234567\n12345678901234567890\nb",
            &[(1, "!"), (2, "!"), (3, "!"), (4, "b")],
        ),
    ];

    fn check(pieces: &[&[u8]], read_bytes: usize, expected: &[(u64, &str)]) {
        let lines = read_all(pieces, Bounds { read_bytes, line_bytes_max: 8 });
        let lines: Vec<(u64, &str)> =
            lines.iter().map(|(number, text)| (*number, text.as_str())).collect();
        assert_eq!(lines, expected, "{pieces:?} {read_bytes}");
    }

    #[test]
    fn lines_are_the_same_wherever_the_stream_is_split() {
        for (text, expected) in ROWS {
            for at in 0..=text.len() {
                let (head, tail) = text.split_at(at);
                for read_bytes in [1, 2, 3, 7, 8, 9, 10, 16, 64] {
                    check(&[head, tail], read_bytes, expected);
                }
                let single: Vec<&[u8]> = text.chunks(1).collect();
                check(&single, 64, expected);
            }
        }
    }

    #[test]
    fn a_line_without_end_is_skipped_in_bounded_memory() {
        let long = vec![b'x'; 1 << 20];
        let bounds = Bounds { read_bytes: 4_096, line_bytes_max: 10_000 };
        let lines = read_all(&[b"a\n", &long, &long, b"\nb"], bounds);
        let expected = [(1, "a"), (2, "!"), (3, "b")];
        assert_eq!(lines, expected.map(|(number, text)| (number, text.to_owned())));
    }

    #[test]
    fn what_came_before_an_error_is_kept() {
        struct Failing(bool);
        impl Read for Failing {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                out[..4].copy_from_slice(b"a\nbb");
                Ok(4)
            }
        }
        let bounds = Bounds { read_bytes: 16, line_bytes_max: 8 };
        let mut chunks = Chunks::new(Failing(false), bounds);
        let mut chunk = Chunk::default();
        assert!(chunks.fill(&mut chunk).expect("the first read is good"));
        assert_eq!(chunk.bytes, b"a\n");
        assert!(chunks.fill(&mut chunk).is_err());
    }
}
