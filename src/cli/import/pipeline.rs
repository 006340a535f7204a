//! The threads of an import, and the one that commits what they give, in order.
//!
//! A reader takes an empty buffer, fills it with lines and passes it to the checkers; the caller
//! takes checked chunks in order, commits their events in batches, and gives the buffers back. So
//! the buffers bound everything that is under way: a slow disk holds up the reader, and nothing
//! piles up between. They are so many that the checkers have work while a batch is written.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::exit::Failure;
use super::super::interrupt;
use super::super::open::now;
use super::super::output::{Progress, grouped, rate};
use super::check::{Checked, Checker, Rejected, Signatures, Work};
use super::lines::{Bounds, Chunk, Chunks};
use super::source::Source;
use super::summary::{Place, Summary};
use crate::mailbox::{Received, Receiver, Sender, mailbox};
use crate::session::OwnNames;
use crate::store::{Outcome, Prepared, Store, StoreError, Writer};
use crate::sys;

/// What an import works with.
pub(super) struct Options<'o> {
    /// What is read, one after the other.
    pub(super) sources: &'o [Source],
    /// Whether signatures are checked.
    pub(super) signatures: Signatures,
    /// Whether rejected lines are kept.
    pub(super) rejected: Rejected,
    /// The addresses of the relay that the store belongs to.
    pub(super) names: OwnNames,
    /// Shows how far it is.
    pub(super) progress: Progress,
}

/// Imports; returns the counts, which hold also when the import failed on the way.
pub(super) fn run(
    store: &Store,
    options: &Options<'_>,
    reject: &mut dyn Write,
) -> (Summary, Result<(), Failure>) {
    let mut import = Import {
        options,
        writer: Writer::for_load(store.clone()),
        batch: Vec::new(),
        batch_events: 0,
        batch_bytes: 0,
        batch_since: Instant::now(),
        summary: Summary {
            verified: options.signatures == Signatures::Checked,
            ..Summary::default()
        },
        reject,
        started: Instant::now(),
    };
    let line = match Line::start(store, options) {
        Ok(line) => line,
        Err(failure) => return (import.summary, Err(failure)),
    };
    let result = import.drain(&line);
    line.stop.store(true, Ordering::Relaxed);
    import.summary.bytes = line.taken.load(Ordering::Relaxed);
    (import.summary, result)
}

/// The running threads, seen from their end. They are not waited for: a reader may hang in a
/// read that never returns, and ends with the process.
struct Line {
    reports: Receiver<Report>,
    empty: Sender<Vec<u8>>,
    /// Takes back events that are committed.
    used: Sender<Prepared>,
    /// Chunks that the reader has passed on.
    sent: Arc<AtomicU64>,
    /// Bytes taken from the sources.
    taken: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// What the threads tell the one that commits.
enum Report {
    Checked(Box<Checked>),
    /// The store could not be read.
    Failed(StoreError),
    /// All sources are read, in so many chunks.
    End(u64),
    /// The import should end early.
    Interrupted,
    /// A thread panicked; its chunk is lost and nobody may wait for it.
    Panicked,
}

impl Line {
    fn start(store: &Store, options: &Options<'_>) -> Result<Self, Failure> {
        let checkers = sys::core_count();
        let together = match options.signatures {
            Signatures::Checked => (CHUNKS_TOGETHER_ALL / checkers).clamp(4, CHUNKS_TOGETHER_MAX),
            Signatures::Trusted => 1,
        };
        let per_checker = BUFFERS_PER_CHECKER.max(2 * together);
        let buffers = checkers * per_checker + BUFFERS_EXTRA;
        let (empty, empty_taker) = mailbox(buffers);
        for _ in 0..buffers {
            // Room for what a read leaves over, too.
            let _ = empty.send(Vec::with_capacity(READ_BYTES * 3 / 2));
        }
        let (used, used_taker) = mailbox(buffers);
        let (work_sender, work) = mailbox(buffers);
        let (reporter, reports) = mailbox(buffers);
        let line = Self {
            reports,
            empty,
            used,
            sent: Arc::default(),
            taken: Arc::default(),
            stop: Arc::default(),
        };
        let reader = Reader {
            sources: options.sources.to_vec(),
            empty: empty_taker,
            work: work_sender,
            sent: Arc::clone(&line.sent),
            taken: Arc::clone(&line.taken),
            stop: Arc::clone(&line.stop),
            reporter: Alarm(reporter.clone()),
        };
        spawn("reader", move || reader.run())?;
        for number in 0..checkers {
            let mut checker = Checker::new(
                store.clone(),
                options.signatures,
                options.rejected,
                options.names.clone(),
                LINE_BYTES_MAX,
                used_taker.clone(),
            );
            let (work, alarm) = (work.clone(), Alarm(reporter.clone()));
            spawn(&format!("check-{number}"), move || {
                check_all(&mut checker, together, &work, &alarm);
            })?;
        }
        interrupt::watch(move || drop(reporter.send(Report::Interrupted)))?;
        Ok(line)
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(drop)
        .map_err(|error| Failure::failed(format!("failed to start a thread: {error}")))
}

/// The reader thread.
struct Reader {
    sources: Vec<Source>,
    empty: Receiver<Vec<u8>>,
    work: Sender<Work>,
    sent: Arc<AtomicU64>,
    taken: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    reporter: Alarm,
}

impl Reader {
    fn run(self) {
        for (source, opened) in self.sources.iter().enumerate() {
            if self.read(source, opened).is_none() {
                return;
            }
        }
        let _ = self.reporter.0.send(Report::End(self.sent.load(Ordering::Relaxed)));
    }

    /// Passes on one source; `None` when nobody takes any more.
    fn read(&self, source: usize, opened: &Source) -> Option<()> {
        let bounds = Bounds { read_bytes: READ_BYTES, line_bytes_max: LINE_BYTES_MAX };
        let input = match opened.open(Arc::clone(&self.taken)) {
            Ok(input) => input,
            Err(error) => return self.send(source, Chunk::default(), Some(error)),
        };
        let mut chunks = Chunks::new(input, bounds);
        loop {
            let mut chunk = Chunk::with_buffer(self.empty.recv()?);
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            match chunks.fill(&mut chunk) {
                Ok(true) => self.pass(source, chunk, None)?,
                Ok(false) => return self.pass(source, chunk, None),
                Err(error) => return self.pass(source, Chunk::default(), Some(error)),
            }
        }
    }

    /// Takes a buffer for a chunk that has nothing to hold.
    fn send(&self, source: usize, chunk: Chunk, broken: Option<std::io::Error>) -> Option<()> {
        self.empty.recv()?;
        self.pass(source, chunk, broken)
    }

    fn pass(&self, source: usize, chunk: Chunk, broken: Option<std::io::Error>) -> Option<()> {
        let order = self.sent.load(Ordering::Relaxed);
        self.work.send(Work { order, source, chunk, broken }).ok()?;
        self.sent.store(order + 1, Ordering::Release);
        Some(())
    }
}

/// The sender of a thread, which reports if the thread panics.
struct Alarm(Sender<Report>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(Report::Panicked);
        }
    }
}

/// A checker thread: takes what is there, up to so many chunks, and checks it together.
fn check_all(checker: &mut Checker, together: usize, work: &Receiver<Work>, alarm: &Alarm) {
    while let Some(first) = work.recv() {
        match check(checker, together, first, work) {
            Ok(finished) => {
                for checked in finished {
                    if alarm.0.send(Report::Checked(Box::new(checked))).is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                let _ = alarm.0.send(Report::Failed(error));
                return;
            }
        }
    }
}

fn check(
    checker: &mut Checker,
    together: usize,
    first: Work,
    work: &Receiver<Work>,
) -> Result<Vec<Checked>, StoreError> {
    checker.take(first)?;
    while !checker.is_full(together) {
        // A slow source is not waited for.
        let Received::Message(next) = work.try_recv() else { break };
        checker.take(next)?;
    }
    checker.finish()
}

/// The end of the line: commits and counts.
struct Import<'i> {
    options: &'i Options<'i>,
    writer: Writer,
    batch: Vec<Prepared>,
    batch_events: usize,
    batch_bytes: usize,
    /// When the first event came into the batch.
    batch_since: Instant,
    summary: Summary,
    reject: &'i mut dyn Write,
    started: Instant,
}

impl Import<'_> {
    /// Takes checked chunks in order until there are no more, or those under way at an interrupt.
    fn drain(&mut self, line: &Line) -> Result<(), Failure> {
        let mut waiting: BTreeMap<u64, Box<Checked>> = BTreeMap::new();
        let mut next = 0;
        let mut last = u64::MAX;
        while next < last {
            match line.reports.recv_timeout(BATCH_WAIT) {
                Received::Message(Report::Checked(checked)) => {
                    waiting.insert(checked.work.order, checked);
                }
                Received::Message(Report::End(chunks)) => last = last.min(chunks),
                Received::Message(Report::Interrupted) => {
                    line.stop.store(true, Ordering::Relaxed);
                    self.summary.interrupted = true;
                    last = last.min(line.sent.load(Ordering::Acquire));
                }
                Received::Message(Report::Failed(error)) => return Err(error.into()),
                Received::Message(Report::Panicked) | Received::Closed => {
                    return Err(Failure::failed("a thread of the import panicked"));
                }
                // A slow source: what has come is stored without waiting for a full batch.
                Received::Nothing => self.commit(line)?,
            }
            while let Some(checked) = waiting.remove(&next) {
                next += 1;
                let buffer = self.take(*checked, line)?;
                let _ = line.empty.send(buffer);
                self.show(line);
            }
        }
        self.commit(line)?;
        while self.writer.maintain(true)? {}
        self.notice_late_interrupt(line);
        Ok(())
    }

    /// Ctrl-C ends all programs of a pipeline: the end of the input may arrive before the signal,
    /// and an input that was cut short must not pass for a whole one.
    fn notice_late_interrupt(&mut self, line: &Line) {
        let is_piped = self.options.sources.contains(&Source::Stdin);
        let wait = if is_piped { SIGNAL_WAIT } else { Duration::ZERO };
        // Nothing else is under way.
        if let Received::Message(Report::Interrupted) = line.reports.recv_timeout(wait) {
            self.summary.interrupted = true;
        }
    }

    /// Counts a chunk and puts its events into the batch; returns its buffer.
    fn take(&mut self, checked: Checked, line: &Line) -> Result<Vec<u8>, Failure> {
        let source = &self.options.sources[checked.work.source];
        let summary = &mut self.summary;
        summary.read += checked.read;
        summary.duplicate += checked.duplicate;
        for fault in checked.faults {
            let place = || Place { source: source.to_string(), line: fault.line };
            summary.add_invalid(&fault.reason, place);
        }
        if let Some(error) = checked.work.broken {
            summary.unread.push(format!("{source}: {error}"));
        }
        self.reject
            .write_all(&checked.rejected)
            .map_err(|error| Failure::failed(format!("failed to write --reject: {error}")))?;
        if self.batch.is_empty() {
            self.batch_since = Instant::now();
        }
        self.batch_events += checked.events.len();
        self.batch_bytes += checked.events.size();
        self.batch.push(checked.events);
        let is_full = self.batch_events >= BATCH_EVENTS_MAX || self.batch_bytes >= BATCH_BYTES_MAX;
        if is_full || self.batch_since.elapsed() >= BATCH_AGE_MAX {
            self.commit(line)?;
        }
        let mut buffer = checked.work.chunk.bytes;
        buffer.clear();
        // A single long line must not make every buffer large for good.
        buffer.shrink_to(BUFFER_KEPT_BYTES);
        Ok(buffer)
    }

    /// Commits the batch and counts what became of it.
    fn commit(&mut self, line: &Line) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let committed = self.writer.commit_prepared(&self.batch, now())?;
        for outcome in committed.outcomes {
            let summary = &mut self.summary;
            *match outcome {
                Outcome::Stored(_) => &mut summary.stored,
                Outcome::Duplicate => &mut summary.duplicate,
                Outcome::Superseded => &mut summary.replaced,
                Outcome::Deleted => &mut summary.deleted,
                Outcome::Vanished => &mut summary.vanished,
                Outcome::Expired => &mut summary.expired,
                // An import has no guard.
                Outcome::Ephemeral | Outcome::Unkept | Outcome::Refused => &mut summary.ephemeral,
            } += 1;
        }
        for mut events in self.batch.drain(..) {
            events.clear(BUFFER_KEPT_BYTES);
            // Those that nobody will need are dropped.
            let _ = line.used.try_send(events);
        }
        (self.batch_events, self.batch_bytes) = (0, 0);
        while self.writer.maintain(false)? {}
        Ok(())
    }

    fn show(&self, line: &Line) {
        self.options.progress.set(line.taken.load(Ordering::Relaxed));
        self.options.progress.describe(|| {
            let read = self.summary.read;
            let per_second = rate(read, self.started.elapsed());
            format!("{} events, {}/s", grouped(read), grouped(per_second))
        });
    }
}

/// Longest line that is read. A fried line is more than twice as long as its event.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Bytes of one read, and so about of one chunk: a few hundred events.
const READ_BYTES: usize = 256 << 10;

const BUFFER_KEPT_BYTES: usize = 1 << 20;

/// Chunks under way for each checker, so that none waits while another chunk takes long.
const BUFFERS_PER_CHECKER: usize = 4;

/// Chunks whose signatures a checker checks together, for each of many checkers as few as make
/// [`CHUNKS_TOGETHER_ALL`]: they all are in memory.
const CHUNKS_TOGETHER_MAX: usize = 12;

const CHUNKS_TOGETHER_ALL: usize = 96;

/// Chunks in the hands of the reader and of the commit, and those that wait for the commit to be
/// written: some megabytes.
const BUFFERS_EXTRA: usize = 28;

/// Events of one commit: enough to make a sync cheap, little enough to lose at a crash.
const BATCH_EVENTS_MAX: usize = 32_768;

/// Bytes of records and entries of one commit: so little that its memory is soon used again, which
/// costs less than memory that the system has to clear first.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// A source that is silent for so long is not waited for to fill a batch.
const BATCH_WAIT: Duration = Duration::from_millis(200);

/// Longest that an event of a slow source waits for its batch to fill.
const BATCH_AGE_MAX: Duration = Duration::from_secs(1);

/// How long the signal of an interrupted pipeline may take.
const SIGNAL_WAIT: Duration = Duration::from_millis(50);
