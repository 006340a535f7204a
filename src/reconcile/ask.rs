//! Asking: the part of the side that begins, and learns what either lacks.
//!
//! The first message says one fingerprint for each of a few ranges; every answer is gone through
//! against the own items. Ranges that are equal are done with, ranges that the other side lists are
//! compared id by id, and of the others finer fingerprints are sent. That comes to an end because
//! each round splits what differs; a peer that answers otherwise is stopped by whoever counts the
//! rounds.

use super::items::{Item, Items};
use super::message::{Bound, INFINITY, Malformed, Mode, Reader, VERSION, Writer};
use super::respond::{Failure, Frame, PARTS, RESERVED_BYTES, write_split};
use super::sum::FINGERPRINT_BYTES;

/// Ids that one side has and the other has not, as far as one message told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// What this side has alone.
    pub have: Vec<[u8; 32]>,
    /// What the other side has alone.
    pub need: Vec<[u8; 32]>,
    /// How many ids the message listed.
    pub listed: u64,
}

/// Returns the first message about these items.
///
/// # Errors
///
/// If the items cannot be read.
pub fn begin<I: Items>(items: &mut I) -> Result<Vec<u8>, I::Error> {
    let mut writer = Writer::new();
    let count = items.count()?;
    write_split(items, &mut writer, (0, count), &Bound::INFINITE, FIRST_PARTS)?;
    Ok(writer.finish())
}

/// Goes through an answer; returns the next message, nothing if all is known.
///
/// The message is at most `bytes_max` long, which must be 4,096 at least.
///
/// # Errors
///
/// If the answer is malformed or the items cannot be read.
pub fn go_on<I: Items>(
    items: &mut I,
    answer: &[u8],
    bytes_max: usize,
    differences: &mut Differences,
) -> Result<Option<Vec<u8>>, Failure<I::Error>> {
    assert!(bytes_max >= 4096, "a frame holds one split range and more");
    let (version, rest) = answer.split_first().ok_or(Malformed::Truncated)?;
    if *version != VERSION {
        return Err(Malformed::Version.into());
    }
    let asker = Asker {
        items,
        reader: Reader::new(rest),
        writer: Writer::new(),
        previous: Bound { item: Item::at(0), id_bytes: 0 },
        has_skipped: false,
        bytes_full: bytes_max - RESERVED_BYTES,
        differences,
    };
    asker.run()
}

/// Ranges of the first message: few, because most often all is equal, and then it is the only one.
const FIRST_PARTS: usize = 4;

struct Asker<'a, 'm, I> {
    items: &'a mut I,
    reader: Reader<'m>,
    writer: Writer,
    /// Where the next range begins.
    previous: Bound,
    /// Whether ranges before `previous` are done with and this was not said yet.
    has_skipped: bool,
    bytes_full: usize,
    differences: &'a mut Differences,
}

impl<I: Items> Asker<'_, '_, I> {
    fn run(mut self) -> Result<Option<Vec<u8>>, Failure<I::Error>> {
        let mut frame = Frame::Open;
        while frame == Frame::Open && !self.reader.is_at_end() {
            let bound = self.reader.bound()?;
            if bound.item < self.previous.item {
                return Err(Malformed::Order.into());
            }
            frame = match self.reader.mode()? {
                Mode::Skip => {
                    self.has_skipped = true;
                    Frame::Open
                }
                Mode::Fingerprint => self.compare(&bound)?,
                Mode::IdList => self.take_list(&bound)?,
            };
            self.previous = bound;
        }
        Ok(self.writer.has_ranges().then(|| self.writer.finish()))
    }

    /// Compares a fingerprint; the range is sent in parts if it is not ours too.
    fn compare(&mut self, bound: &Bound) -> Result<Frame, Failure<I::Error>> {
        let theirs = self.reader.bytes(FINGERPRINT_BYTES)?;
        let (lower, upper) = self.range(bound).map_err(Failure::Items)?;
        let ours = self.items.sum(lower, upper).map_err(Failure::Items)?;
        if ours.fingerprint() == theirs {
            self.has_skipped = true;
            return Ok(Frame::Open);
        }
        let mark = self.writer.mark();
        let had_skipped = self.has_skipped;
        self.write_skip();
        write_split(self.items, &mut self.writer, (lower, upper), bound, PARTS)
            .map_err(Failure::Items)?;
        if self.writer.len() <= self.bytes_full {
            return Ok(Frame::Open);
        }
        // Of the rest only one fingerprint is said, so that the other side says it in parts.
        self.writer.go_back(&mark);
        self.has_skipped = had_skipped;
        self.write_skip();
        let count = self.items.count().map_err(Failure::Items)?;
        let sum = self.items.sum(lower, count).map_err(Failure::Items)?;
        self.writer.fingerprint(&Bound::INFINITE, &sum.fingerprint());
        Ok(Frame::Full)
    }

    /// Compares a list of ids with our own; the range is done with.
    fn take_list(&mut self, bound: &Bound) -> Result<Frame, Failure<I::Error>> {
        let ids = self.reader.ids()?;
        let mut theirs = ids.to_vec();
        theirs.sort_unstable();
        theirs.dedup();
        let (lower, upper) = self.range(bound).map_err(Failure::Items)?;
        let mut ours = Vec::with_capacity(upper - lower);
        let mut add = |items: &[Item]| ours.extend(items.iter().map(|item| item.id));
        self.items.visit(lower, upper, &mut add).map_err(Failure::Items)?;
        ours.sort_unstable();
        let is_alone = |id: &&[u8; 32], others: &[[u8; 32]]| others.binary_search(id).is_err();
        let differences = &mut self.differences;
        differences.listed += theirs.len() as u64;
        differences.have.extend(ours.iter().filter(|id| is_alone(id, &theirs)));
        differences.need.extend(theirs.iter().filter(|id| is_alone(id, &ours)));
        self.has_skipped = true;
        Ok(Frame::Open)
    }

    /// Returns the places of the items from the previous bound to this one.
    fn range(&mut self, bound: &Bound) -> Result<(usize, usize), I::Error> {
        let lower = self.items.lower_bound(&self.previous.item)?;
        let upper = match bound.item.timestamp {
            INFINITY => self.items.count()?,
            _ => self.items.lower_bound(&bound.item)?,
        };
        Ok((lower, upper.max(lower)))
    }

    fn write_skip(&mut self) {
        if std::mem::take(&mut self.has_skipped) {
            self.writer.skip(&self.previous);
        }
    }
}
