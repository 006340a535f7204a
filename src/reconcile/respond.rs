//! Answering a message: the part of the side that is asked.
//!
//! An answer is byte by byte that of the reference implementation, with one exception: where a
//! frame is full in the middle of splitting a range, the reference gives the fingerprint of what
//! lies behind that range, which the receiver takes for that of the range and all behind it. Here
//! the range is part of the fingerprint.

use super::items::{Item, Items};
use super::message::{Bound, Malformed, Mode, Reader, VERSION, VERSIONS, Writer};
use super::sum::FINGERPRINT_BYTES;

/// Why a message was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure<E> {
    /// It is not a message.
    Malformed(Malformed),
    /// The items cannot be read.
    Items(E),
}

impl<E> From<Malformed> for Failure<E> {
    fn from(malformed: Malformed) -> Failure<E> {
        Failure::Malformed(malformed)
    }
}

/// Returns the answer to a message, at most `bytes_max` long, which must be 4,096 at least.
///
/// # Errors
///
/// If the message is malformed or the items cannot be read.
pub fn respond<I: Items>(
    items: &mut I,
    message: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, Failure<I::Error>> {
    assert!(bytes_max >= 4096, "a frame holds one split range and more");
    let (version, rest) = message.split_first().ok_or(Malformed::Truncated)?;
    if *version != VERSION {
        let is_known = VERSIONS.contains(version);
        return if is_known { Ok(vec![VERSION]) } else { Err(Malformed::Version.into()) };
    }
    let responder = Responder {
        items,
        reader: Reader::new(rest),
        writer: Writer::new(),
        previous: Bound { item: Item::at(0), id_bytes: 0 },
        position: Some(0),
        has_skipped: false,
        bytes_full: bytes_max - RESERVED_BYTES,
    };
    responder.run()
}

/// Room for what ends a frame that is full.
pub(super) const RESERVED_BYTES: usize = 200;
/// Into how many ranges a range is split.
pub(super) const PARTS: usize = 16;

struct Responder<'r, 'm, I> {
    items: &'r mut I,
    reader: Reader<'m>,
    writer: Writer,
    /// Where the next range begins.
    previous: Bound,
    /// How many items are below `previous`, if that was needed.
    position: Option<usize>,
    /// Whether ranges before `previous` are equal and this was not said yet.
    has_skipped: bool,
    bytes_full: usize,
}

/// Whether there is room for more in a frame.
#[derive(PartialEq, Eq)]
pub(super) enum Frame {
    Open,
    Full,
}

impl<I: Items> Responder<'_, '_, I> {
    fn run(mut self) -> Result<Vec<u8>, Failure<I::Error>> {
        while !self.reader.is_at_end() {
            let bound = self.reader.bound()?;
            if bound.item < self.previous.item {
                return Err(Malformed::Order.into());
            }
            let frame = match self.reader.mode()? {
                Mode::Skip => self.skip(),
                Mode::Fingerprint => self.compare(&bound)?,
                Mode::IdList => self.list(&bound)?,
            };
            if frame == Frame::Full {
                break;
            }
            self.previous = bound;
        }
        Ok(self.writer.finish())
    }

    fn skip(&mut self) -> Frame {
        self.has_skipped = true;
        self.position = None;
        Frame::Open
    }

    /// Answers a fingerprint: nothing if it is ours too, else the range in parts.
    fn compare(&mut self, bound: &Bound) -> Result<Frame, Failure<I::Error>> {
        let theirs = self.reader.bytes(FINGERPRINT_BYTES)?;
        let (lower, upper) = self.range(bound)?;
        let ours = self.items.sum(lower, upper).map_err(Failure::Items)?;
        self.position = Some(upper);
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
        self.writer.go_back(&mark);
        self.has_skipped = had_skipped;
        self.write_skip();
        self.end_frame(lower)
    }

    /// Answers a list of ids by our own, as far as there is room.
    fn list(&mut self, bound: &Bound) -> Result<Frame, Failure<I::Error>> {
        self.reader.ids()?;
        let (lower, mut upper) = self.range(bound)?;
        let room = (self.bytes_full - self.writer.len()) / size_of::<[u8; 32]>() + 1;
        self.write_skip();
        let mut end = *bound;
        if upper - lower > room {
            upper = lower + room;
            end = Bound::whole(self.items.item(upper).map_err(Failure::Items)?);
        }
        self.writer.id_list(&end, self.items, (lower, upper)).map_err(Failure::Items)?;
        self.position = Some(upper);
        if self.writer.len() > self.bytes_full { self.end_frame(upper) } else { Ok(Frame::Open) }
    }

    /// Returns the places of the items from the previous bound to this one.
    fn range(&mut self, bound: &Bound) -> Result<(usize, usize), Failure<I::Error>> {
        let lower = match self.position {
            Some(position) => position,
            None => self.items.lower_bound(&self.previous.item).map_err(Failure::Items)?,
        };
        let upper = self.items.lower_bound(&bound.item).map_err(Failure::Items)?;
        Ok((lower, upper.max(lower)))
    }

    /// Says that everything up to the previous bound is equal, if it was not said yet.
    fn write_skip(&mut self) {
        if std::mem::take(&mut self.has_skipped) {
            self.writer.skip(&self.previous);
        }
    }

    /// Ends a frame that is full with one fingerprint of everything from `from` on.
    fn end_frame(&mut self, from: usize) -> Result<Frame, Failure<I::Error>> {
        let count = self.items.count().map_err(Failure::Items)?;
        let sum = self.items.sum(from, count).map_err(Failure::Items)?;
        self.writer.fingerprint(&Bound::INFINITE, &sum.fingerprint());
        Ok(Frame::Full)
    }
}

/// Writes a range of items as a list if it is short, else as fingerprints of its parts.
pub(super) fn write_split<I: Items>(
    items: &mut I,
    writer: &mut Writer,
    (lower, upper): (usize, usize),
    bound: &Bound,
    parts: usize,
) -> Result<(), I::Error> {
    let count = upper - lower;
    if count < 2 * PARTS {
        return writer.id_list(bound, items, (lower, upper));
    }
    let mut begin = lower;
    for part in 0..parts {
        let end = begin + count / parts + usize::from(part < count % parts);
        let sum = items.sum(begin, end)?;
        let part_bound = if end == upper {
            *bound
        } else {
            Bound::between(&items.item(end - 1)?, &items.item(end)?)
        };
        writer.fingerprint(&part_bound, &sum.fingerprint());
        begin = end;
    }
    Ok(())
}
