//! The lines of an import, in reads of any size, against a plain split.

use std::io::{self, Read};

use fastrand::Rng;

use super::{Target, damaged};
use crate::dataset::choose;
use crate::fuzz::grammar::{self, word};

#[path = "../../../../src/cli/import/lines.rs"]
mod reader;

pub(super) struct Imported;

impl Target for Imported {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut text = String::new();
        for _ in 0..rng.usize(1..6) {
            match rng.u8(..4) {
                0 => grammar::event(rng).spell(rng, &mut text),
                1 => text += word(rng, &["", " ", "\r", "\t\r", "\u{feff}"]),
                2 => text += &"x".repeat(*choose(rng, &[58, 59, 60, 61, 62, 63, 64, 65, 200])),
                _ => text += &grammar::text(rng),
            }
            text += word(rng, &["\n", "\r\n", "\n\n", "\n\r", ""]);
        }
        damaged(text, b"\n\r\n \n", rng)
    }

    fn check(&mut self, input: &[u8]) {
        let expected = plain_lines(input);
        for read_bytes in [1, 2, 7, 64, 4_096] {
            let bounds = reader::Bounds { read_bytes, line_bytes_max: LINE_BYTES_MAX };
            let mut rng = Rng::with_seed(input.len() as u64);
            let input = Drops { rest: input, most: rng.usize(1..=read_bytes) };
            let mut chunks = reader::Chunks::new(input, bounds);
            let mut chunk = reader::Chunk::with_buffer(Vec::new());
            let mut found = Vec::new();
            while chunks.fill(&mut chunk).expect("memory can be read") {
                let most = 2 * (LINE_BYTES_MAX + read_bytes + 2);
                assert!(chunk.bytes.len() <= most, "memory is bounded");
                found.extend(chunk.lines(LINE_BYTES_MAX).map(|line| match line.text {
                    reader::Text::Whole(text) => (line.number, Some(text.to_vec())),
                    reader::Text::Oversized => (line.number, None),
                }));
            }
            found.sort_by_key(|(number, _)| *number);
            assert_eq!(found, expected, "in reads of {read_bytes}");
        }
    }
}

/// Numbers and texts of the lines that are not blank; no text where a line is too long.
fn plain_lines(input: &[u8]) -> Vec<(u64, Option<Vec<u8>>)> {
    let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    let line_of = |(number, line): (u64, &[u8])| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LINE_BYTES_MAX {
            return Some((number, None));
        }
        let text = line.trim_ascii();
        (!text.is_empty()).then(|| (number, Some(text.to_vec())))
    };
    (1..).zip(lines).filter_map(line_of).collect()
}

/// Gives its bytes by drops.
struct Drops<'a> {
    rest: &'a [u8],
    most: usize,
}

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.most.min(buffer.len()).min(self.rest.len());
        let (now, later) = self.rest.split_at(len);
        buffer[..len].copy_from_slice(now);
        self.rest = later;
        Ok(len)
    }
}

const LINE_BYTES_MAX: usize = 60;
