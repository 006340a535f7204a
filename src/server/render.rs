//! One slice of a query, rendered into frames: the same on a core and in the work pool.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Instant;

use crate::deflate::Deflater;
use crate::net::{self, Encoding};
use crate::nostr::message::{self, EoseHint, SubscriptionId};
use crate::nostr::{EventRef, Prefix, Reject};
use crate::query::{Budget, Cursor, Hint, Step};
use crate::session::{self, Reader, Sight};
use crate::store::{Snapshot, StoreError};

/// How a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SliceEnd {
    /// There is more to send.
    More,
    /// EOSE is the last frame.
    Done,
    /// The store failed; CLOSED is the last frame.
    Failed,
}

/// Whom a query is for.
pub(super) struct Audience<'a> {
    pub(super) subscription: &'a SubscriptionId,
    pub(super) reader: &'a Reader,
    pub(super) encoding: Encoding,
}

/// Where the frames of one slice are written, and what compresses them.
#[derive(Default)]
pub(super) struct Page {
    pub(super) frames: Vec<u8>,
    pub(super) deflater: Deflater,
    /// The text of the message that is compressed.
    text: Vec<u8>,
}

/// How much one slice may do.
#[derive(Clone, Copy)]
pub(super) struct SliceSize {
    pub(super) budget: Budget,
    /// The slice ends with the event that reaches this many bytes.
    pub(super) chunk_bytes: usize,
}

/// What a slice did.
pub(super) struct Sliced {
    pub(super) end: SliceEnd,
    /// How many events it sent.
    pub(super) sent: u64,
    /// What it cost, in steps.
    pub(super) work: u64,
}

/// Runs one slice and appends its frames to the page.
pub(super) fn slice(
    snapshot: &Snapshot<'_>,
    cursor: &mut Cursor,
    audience: &Audience<'_>,
    size: SliceSize,
    now: u64,
    page: &mut Page,
) -> Sliced {
    let began = Instant::now();
    let Page { frames, deflater, text } = page;
    let (spent_before, mut sent) = (cursor.spent(), 0);
    let has_withheld = Cell::new(false);
    let is_visible = |event: &EventRef<'_>| {
        let sight = session::sight(event, audience.reader, now);
        has_withheld.set(has_withheld.get() || sight == Sight::Withheld);
        sight == Sight::Shown
    };
    let until = |bytes_max| move |len| if len < bytes_max { GO_ON } else { ControlFlow::Break(()) };
    let step = match audience.encoding {
        Encoding::Plain => {
            let go_on = until(size.chunk_bytes);
            cursor.step(snapshot, size.budget, &is_visible, &mut |event| {
                sent += 1;
                net::write_text_frame(frames, |out| write_event(out, audience, event));
                go_on(frames.len())
            })
        }
        Encoding::Deflate => {
            let go_on = until(size.chunk_bytes / DEFLATED_CHUNK_PART);
            cursor.step(snapshot, size.budget, &is_visible, &mut |event| {
                sent += 1;
                text.clear();
                write_event(text, audience, event);
                net::write_deflated_frame(frames, |out| deflater.append(&[text], out));
                go_on(frames.len())
            })
        }
    };
    if has_withheld.get() {
        cursor.note_withheld();
    }
    let end = match step {
        Ok(Step::More) => SliceEnd::More,
        Ok(Step::Done) => {
            let hint = hint_of(cursor);
            net::write_text_frame(frames, |out| {
                message::write_eose(out, audience.subscription, hint);
            });
            SliceEnd::Done
        }
        Err(error) => fail(audience, &error, frames),
    };
    let work = cursor.spent() - spent_before + frames.len() as u64 / BYTES_PER_STEP;
    cursor.add_busy(began.elapsed());
    Sliced { end, sent, work }
}

/// Bytes rendered, queued and written in the time of one step.
pub(super) const BYTES_PER_STEP: u64 = 32;

fn hint_of(cursor: &Cursor) -> Option<EoseHint> {
    match cursor.hint() {
        Hint::Finish => Some(EoseHint::Finish),
        Hint::More => Some(EoseHint::More),
        Hint::Nothing => None,
    }
}

fn write_event(out: &mut Vec<u8>, audience: &Audience<'_>, event: &EventRef<'_>) {
    message::write_event_prefix(out, audience.subscription);
    event.write_json(out);
    out.push(b']');
}

/// Appends the frame that ends a subscription whose events cannot be read.
pub(super) fn fail(audience: &Audience<'_>, error: &StoreError, chunk: &mut Vec<u8>) -> SliceEnd {
    let reject = refusal(error);
    net::write_text_frame(chunk, |out| message::write_closed(out, audience.subscription, &reject));
    SliceEnd::Failed
}

/// Logs a failure to read and returns what a client is told of it.
pub(super) fn refusal(error: &StoreError) -> Reject {
    tracing::error!(%error, "the store cannot be read");
    Reject::new(Prefix::Error, "the store cannot be read")
}

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());
/// Compressing takes more than ten times as long as all else that is done for an event.
const DEFLATED_CHUNK_PART: usize = 16;
