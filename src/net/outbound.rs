//! What waits to be written to one connection, and the orders given to it from elsewhere on its core.
//!
//! Every answer is appended to the last open chunk, so the many small answers of a burst leave in one
//! write; larger ready-made frames are queued as they are and leave by a vectored write. Nothing here
//! touches a socket: whoever pushes stirs the connection's task, which writes once for all that was
//! pushed. The queue is bounded twice: past the high-water mark the connection counts as congested and
//! producers should park until [`Conversation::drained`](super::Conversation::drained); past the
//! maximum it is dropped as a slow reader, and so it is when all queues together hold too much, or
//! when nothing was written of it for long. An empty queue owns no memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hyper::body::{Buf, Bytes};
use tokio::io::AsyncWrite;
use tungstenite::protocol::frame::coding::{CloseCode, Control};

use super::backlog::{Backlog, Room, Share};
use super::extension::Encoding;
use super::frame;

/// The bounds of one connection's outbound queue.
#[derive(Clone, Copy, Debug)]
pub struct OutboundLimits {
    /// From this many queued bytes on the connection is congested.
    pub bytes_high: usize,
    /// A congested connection is drained when no more than this many bytes are left.
    pub bytes_low: usize,
    /// A connection with more queued bytes than this is dropped.
    pub bytes_max: usize,
}

/// The way to one connection: queue messages, close it, let it read again.
///
/// Cheap to clone, bound to its core. After the connection is gone every call is without effect.
#[derive(Clone)]
pub struct Outbound(Rc<RefCell<Queue>>);

struct Queue {
    limits: OutboundLimits,
    encoding: Encoding,
    /// Full chunks, oldest first; the first may be partly written.
    chunks: VecDeque<Bytes>,
    /// The chunk that frames are appended to; it follows all of `chunks`.
    open: Vec<u8>,
    queued_bytes: usize,
    standing: Standing,
    is_congested: bool,
    is_reading: bool,
    /// Periods in a row at whose end something waited, and nothing was written in between.
    still_periods: u8,
    /// What it holds beyond the high-water mark, as a part of what all queues hold.
    share: Share,
    /// Something was asked for since the task last looked.
    is_stirred: bool,
    /// Set while the task sleeps, so that a burst of pushes wakes it once.
    waker: Option<Waker>,
}

/// How far the life of a connection has come, seen from its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Open,
    /// A close frame is the last thing in the queue.
    Closing,
    /// More than the maximum was queued; the queue was thrown away.
    Overflowed,
    /// Ended without a farewell, or over.
    Gone,
}

impl Outbound {
    #[cfg(test)]
    pub(crate) fn new(limits: OutboundLimits, encoding: Encoding) -> Self {
        Outbound::with_share(limits, encoding, Share::default())
    }

    /// Returns the way to a connection whose queue is one of many.
    pub(crate) fn sharing(
        limits: OutboundLimits,
        encoding: Encoding,
        backlog: &Arc<Backlog>,
    ) -> Self {
        Outbound::with_share(limits, encoding, Share::of(backlog))
    }

    fn with_share(limits: OutboundLimits, encoding: Encoding, share: Share) -> Self {
        Outbound(Rc::new(RefCell::new(Queue {
            limits,
            encoding,
            chunks: VecDeque::new(),
            open: Vec::new(),
            queued_bytes: 0,
            standing: Standing::Open,
            is_congested: false,
            is_reading: true,
            still_periods: 0,
            share,
            is_stirred: false,
            waker: None,
        })))
    }

    /// Returns how messages may be encoded; every connection takes plain ones.
    pub fn encoding(&self) -> Encoding {
        self.0.borrow().encoding
    }

    /// Queues one text message.
    pub fn push_text(&self, payload: &[u8]) {
        self.push_text_parts(&[payload]);
    }

    /// Queues one text message whose text is the parts, one after the other.
    pub fn push_text_parts(&self, parts: &[&[u8]]) {
        let payload_len: usize = parts.iter().map(|part| part.len()).sum();
        self.append(|open| {
            make_room(open, payload_len + frame::HEADER_BYTES_MAX);
            frame::write_text_frame_header(open, payload_len);
            for part in parts {
                open.extend_from_slice(part);
            }
        });
    }

    /// Queues one compressed text message whose blocks are the parts, one after the other; only for
    /// a connection whose encoding is [`Encoding::Deflate`].
    pub fn push_deflated_parts(&self, parts: &[&[u8]]) {
        let payload_len = parts.iter().map(|part| part.len()).sum();
        self.append(|open| {
            frame::write_deflated_frame_header(open, payload_len);
            for part in parts {
                open.extend_from_slice(part);
            }
        });
    }

    /// Queues one text message that `render` appends to the queue's own memory.
    ///
    /// `render` must only append, and must not use this connection.
    pub fn push_text_with(&self, render: impl FnOnce(&mut Vec<u8>)) {
        self.append(|open| frame::write_text_frame(open, render));
    }

    /// Queues frames that were written with [`write_text_frame`](super::write_text_frame) or its
    /// header alone; must be whole frames.
    pub fn push_frames(&self, frames: impl Into<Bytes>) {
        let frames = frames.into();
        if frames.len() < SHARE_BYTES_MIN {
            return self.append(|open| open.extend_from_slice(&frames));
        }
        let mut queue = self.0.borrow_mut();
        if queue.standing != Standing::Open {
            return;
        }
        queue.seal();
        queue.queued_bytes += frames.len();
        queue.chunks.push_back(frames);
        queue.grown();
    }

    /// Returns how many bytes wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.0.borrow().queued_bytes
    }

    /// Returns whether producers should wait for
    /// [`Conversation::drained`](super::Conversation::drained).
    pub fn is_congested(&self) -> bool {
        self.0.borrow().is_congested
    }

    /// Returns whether a message pushed here has a chance to arrive.
    pub fn is_open(&self) -> bool {
        self.0.borrow().standing == Standing::Open
    }

    /// Writes out what is queued, then closes the connection with this code and reason.
    ///
    /// Later messages are ignored. A peer that does not take part within the deadline is cut off.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.push_close(Some(code), reason);
    }

    /// Ends the connection at once and without a close frame.
    pub fn abort(&self) {
        self.0.borrow_mut().end(Standing::Gone);
    }

    /// Goes on reading after a [`Flow::Pause`](super::Flow::Pause).
    pub fn resume_reading(&self) {
        let mut queue = self.0.borrow_mut();
        queue.is_reading = true;
        queue.stir();
    }

    /// Goes on writing what was left for later.
    pub fn resume_writing(&self) {
        self.0.borrow_mut().stir();
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut queue = self.0.borrow_mut();
        if queue.standing == Standing::Open {
            queue.append(write);
        }
    }

    pub(crate) fn push_close(&self, code: Option<CloseCode>, reason: &str) {
        let mut queue = self.0.borrow_mut();
        if queue.standing == Standing::Open {
            queue.append(|open| frame::write_close_frame(open, code, reason));
        }
        if queue.standing == Standing::Open {
            queue.standing = Standing::Closing;
        }
    }

    pub(crate) fn push_control(&self, control: Control, payload: &[u8]) {
        self.append(|open| frame::write_control_frame(open, control, payload));
    }

    pub(crate) fn pause_reading(&self) {
        self.0.borrow_mut().is_reading = false;
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.0.borrow().is_reading
    }

    pub(crate) fn standing(&self) -> Standing {
        self.0.borrow().standing
    }

    /// Notes that everything asked for so far is about to be looked at.
    pub(crate) fn calm(&self) {
        let mut queue = self.0.borrow_mut();
        queue.is_stirred = false;
        queue.waker = None;
    }

    /// Returns whether anything was asked for since [`calm`](Outbound::calm).
    pub(crate) fn is_stirred(&self) -> bool {
        self.0.borrow().is_stirred
    }

    /// Has the task woken by the next request, at once if there already was one.
    pub(crate) fn watch(&self, waker: &Waker) {
        let mut queue = self.0.borrow_mut();
        queue.waker = Some(waker.clone());
        if queue.is_stirred {
            queue.stir();
        }
    }

    /// Returns once after each fall from above the high-water mark to the low-water mark.
    pub(crate) fn take_drained(&self) -> bool {
        let mut queue = self.0.borrow_mut();
        let is_drained = queue.is_congested && queue.queued_bytes <= queue.limits.bytes_low;
        if is_drained {
            queue.is_congested = false;
        }
        is_drained
    }

    /// Ends a period; returns whether something has waited for a whole one and nothing was written.
    pub(crate) fn is_stuck(&self) -> bool {
        let mut queue = self.0.borrow_mut();
        // What waits at the end of the first may have come this very moment.
        let is_waiting = queue.queued_bytes > 0;
        queue.still_periods = if is_waiting { queue.still_periods.saturating_add(1) } else { 0 };
        queue.still_periods > 1
    }

    /// Writes until the queue is empty and the stream keeps nothing back (ready) or takes no more
    /// (pending).
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut queue = self.0.borrow_mut();
        while queue.queued_bytes > 0 {
            let written = match queue.poll_write_once(stream, context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            queue.advance(written);
        }
        Pin::new(stream).poll_flush(context)
    }

    /// Marks the connection as over, which frees the queue.
    pub(crate) fn finish(&self) {
        let mut queue = self.0.borrow_mut();
        queue.end(Standing::Gone);
        queue.waker = None;
    }
}

impl Queue {
    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.open.len();
        if before == 0 {
            self.open.reserve(OPEN_BYTES_MIN);
        }
        write(&mut self.open);
        self.queued_bytes += self.open.len() - before;
        if self.open.len() >= OPEN_BYTES_MAX {
            self.seal();
        }
        self.grown();
    }

    /// Moves the open chunk behind the full ones.
    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.chunks.push_back(Bytes::from(mem::take(&mut self.open)));
        }
    }

    fn grown(&mut self) {
        self.is_congested |= self.queued_bytes >= self.limits.bytes_high;
        if self.queued_bytes > self.limits.bytes_max {
            return self.end(Standing::Overflowed);
        }
        if self.is_congested && self.follow_share() == Room::None {
            return self.end(Standing::Overflowed);
        }
        self.stir();
    }

    fn follow_share(&mut self) -> Room {
        self.share.resize(self.queued_bytes.saturating_sub(self.limits.bytes_high))
    }

    fn end(&mut self, standing: Standing) {
        if self.standing != Standing::Overflowed {
            self.standing = standing;
        }
        self.chunks = VecDeque::new();
        self.open = Vec::new();
        self.queued_bytes = 0;
        self.follow_share();
        self.stir();
    }

    fn stir(&mut self) {
        self.is_stirred = true;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_write_once<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.chunks.is_empty() {
            return Pin::new(stream).poll_write(context, &self.open);
        }
        let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
        let waiting = self.chunks.iter().map(|chunk| &chunk[..]).chain([&self.open[..]]);
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        Pin::new(stream).poll_write_vectored(context, &slices[..count])
    }

    fn advance(&mut self, written: usize) {
        self.queued_bytes -= written;
        self.still_periods = 0;
        if self.is_congested {
            self.follow_share();
        }
        if self.queued_bytes == 0 {
            self.chunks = VecDeque::new();
            self.open = Vec::new();
            return;
        }
        let mut left = written;
        while let Some(chunk) = self.chunks.front_mut() {
            if left < chunk.len() {
                return chunk.advance(left);
            }
            left -= chunk.len();
            self.chunks.pop_front();
        }
        if left > 0 {
            // The rest becomes a chunk of its own: what was written is never moved over.
            self.seal();
            self.advance_sealed(left);
        }
    }

    fn advance_sealed(&mut self, written: usize) {
        if let Some(chunk) = self.chunks.front_mut() {
            chunk.advance(written);
        }
    }
}

/// Makes room for `more` bytes: where messages follow each other, soon for a whole chunk of them.
fn make_room(open: &mut Vec<u8>, more: usize) {
    if open.capacity() - open.len() < more && open.len() >= OPEN_BYTES_MIN {
        let roomy = (4 * open.capacity()).min(OPEN_BYTES_MAX);
        open.reserve(more.max(roomy.saturating_sub(open.len())));
    } else {
        open.reserve(more);
    }
}

/// The first allocation of an open chunk: a handful of OK or EOSE messages.
const OPEN_BYTES_MIN: usize = 512;
/// From here on the next message begins another chunk; bounds how much one growth has to copy.
const OPEN_BYTES_MAX: usize = 32 * 1024;
/// Ready-made frames of this size are queued without copying; below it a copy is cheaper than an
/// entry of their own in the vectored write.
const SHARE_BYTES_MIN: usize = 2 * 1024;
/// Chunks handed to one vectored write: about a megabyte of full chunks, more than a socket takes.
const WRITE_SLICES_MAX: usize = 32;

const _: () = assert!(SHARE_BYTES_MIN <= OPEN_BYTES_MAX, "a shared chunk may be a full chunk");

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::super::testing::print_seed;
    use super::*;

    const LIMITS: OutboundLimits =
        OutboundLimits { bytes_high: 1000, bytes_low: 200, bytes_max: 100_000 };

    /// Takes up to `room` bytes, then is pending.
    #[derive(Default)]
    struct Sink {
        room: usize,
        taken: Vec<u8>,
        calls: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.calls += 1;
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let flat: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.as_mut().poll_write(context, &flat)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write_to(outbound: &Outbound, sink: &mut Sink, room: usize) -> bool {
        sink.room = room;
        let mut context = Context::from_waker(Waker::noop());
        outbound.poll_write(sink, &mut context).is_ready()
    }

    fn frame_of(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame::write_text_frame_header(&mut frame, payload.len());
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_leave_in_order_however_they_are_pushed_and_written() {
        let mut random = fastrand::Rng::with_seed(print_seed());
        for _ in 0..300 {
            let limits = OutboundLimits { bytes_max: usize::MAX, ..LIMITS };
            let (outbound, mut sink) = (Outbound::new(limits, Encoding::Plain), Sink::default());
            let mut expected = Vec::new();
            for _ in 0..random.usize(1..60) {
                let len = random.choice([0, 3, 100, 130, 3000, 40_000]).expect("not empty");
                let payload: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
                expected.extend(frame_of(&payload));
                match random.u8(0..4) {
                    0 => outbound.push_text(&payload),
                    1 => {
                        let (a, b) = payload.split_at(random.usize(0..=len));
                        outbound.push_text_parts(&[a, b]);
                    }
                    2 => outbound.push_text_with(|out| out.extend_from_slice(&payload)),
                    _ => outbound.push_frames(frame_of(&payload)),
                }
                if random.bool() {
                    write_to(&outbound, &mut sink, random.usize(0..50_000));
                }
                assert_eq!(outbound.queued_bytes(), expected.len() - sink.taken.len());
            }
            assert!(write_to(&outbound, &mut sink, usize::MAX));
            assert!(sink.taken == expected, "the bytes differ");
            let queue = outbound.0.borrow();
            assert_eq!((queue.chunks.capacity(), queue.open.capacity()), (0, 0));
        }
    }

    #[test]
    fn a_burst_of_small_answers_is_one_write() {
        let (outbound, mut sink) = (Outbound::new(LIMITS, Encoding::Plain), Sink::default());
        for _ in 0..50 {
            outbound.push_text(b"[\"OK\"]");
        }
        assert!(write_to(&outbound, &mut sink, usize::MAX));
        assert_eq!(sink.calls, 1);
    }

    #[test]
    fn congestion_begins_at_high_water_and_ends_once_at_low_water() {
        let (outbound, mut sink) = (Outbound::new(LIMITS, Encoding::Plain), Sink::default());
        outbound.push_text(&[b'x'; 995]);
        assert!(!outbound.is_congested());
        outbound.push_text(&[b'x'; 1]);
        assert!(outbound.is_congested());
        assert!(!write_to(&outbound, &mut sink, 1002 - 201));
        assert!(!outbound.take_drained());
        assert!(outbound.is_congested());
        assert!(!write_to(&outbound, &mut sink, 1));
        assert!(outbound.take_drained());
        assert!(!outbound.is_congested());
        assert!(!outbound.take_drained());
    }

    #[test]
    fn more_than_the_maximum_throws_the_queue_away() {
        let outbound = Outbound::new(LIMITS, Encoding::Plain);
        outbound.push_frames(vec![0; LIMITS.bytes_max]);
        assert_eq!(outbound.standing(), Standing::Open);
        outbound.push_text(b"");
        assert_eq!(outbound.standing(), Standing::Overflowed);
        outbound.push_text(b"ignored");
        outbound.close(CloseCode::Normal, "");
        outbound.abort();
        assert_eq!(outbound.standing(), Standing::Overflowed);
        assert_eq!(outbound.queued_bytes(), 0);
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let (outbound, mut sink) = (Outbound::new(LIMITS, Encoding::Plain), Sink::default());
        outbound.push_text(b"last");
        outbound.close(CloseCode::Away, "bye");
        outbound.close(CloseCode::Normal, "");
        outbound.push_text(b"ignored");
        outbound.push_frames(vec![0; 5000]);
        outbound.push_control(Control::Pong, b"ignored");
        assert!(!outbound.is_open());
        assert!(write_to(&outbound, &mut sink, usize::MAX));
        assert_eq!(sink.taken, b"\x81\x04last\x88\x05\x03\xe9bye");
    }

    #[test]
    fn a_sleeping_task_is_woken_once_for_many_pushes() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let outbound = Outbound::new(LIMITS, Encoding::Plain);
        let woken = || count.0.load(Ordering::Relaxed);
        outbound.calm();
        outbound.watch(&waker);
        outbound.push_text(b"1");
        outbound.push_text(b"2");
        assert_eq!(woken(), 1);
        outbound.calm();
        outbound.push_text(b"3");
        assert_eq!(woken(), 1);
        // What came between the last look and falling asleep is not slept over.
        outbound.watch(&waker);
        assert_eq!(woken(), 2);
    }
}
