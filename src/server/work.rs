//! The work pool: threads for whatever would keep a core from its sockets.
//!
//! Jobs are taken by turns of those who want them done (`pool`). A worker never waits for anybody:
//! verified events that the writer has no room for go back to the core they came from, which stops
//! reading the sockets that sent them.

use std::cell::Cell;
use std::sync::Arc;

use super::connection::ConnectionKey;
use super::core::{Inboxes, Message, Relay};
use super::guard::AuthorQuota;
use super::lane::{Lane, Turn};
use super::negentropy::ReconcileJob;
use super::plugin::{self, Asking, Question, QuestionSender, Source};
use super::pool::JobReceiver;
use super::publish::Returned;
use super::query::Chunk;
use super::render::{self, Audience, Page, Sliced};
use super::turn::VERIFY_STEPS;
use crate::ingest::{Admitted, Reply, ReplyTo, Submission, WriterHandle};
use crate::net::{Bytes, Encoding};
use crate::nostr::message::{self, Count, SubscriptionId};
use crate::nostr::{Event, EventRef, Filter, Invalid, Prefix, Reject, Verified, Verifier};
use crate::policy::Visitor;
use crate::query::{self, CountRules, Counted, Cursor, Registers};
use crate::session::{self, Reader};
use crate::store::StoreError;
use crate::sys;

/// Something to do away from the cores.
pub(super) enum Job {
    /// Verify events and hand them to the writer.
    Verify(VerifyJob),
    /// Render the next chunk of a query.
    Slice(SliceJob),
    /// Count.
    Count(CountJob),
    /// Answer a message of a reconciliation.
    Reconcile(ReconcileJob),
}

/// Some events of one burst.
pub(super) struct VerifyJob {
    pub(super) from: ReplyTo,
    pub(super) metered: Metered,
    /// What is known of the address they come from, if anything is measured of it.
    pub(super) visitor: Option<Arc<Visitor>>,
    /// Who sends them, if a plugin is to be asked.
    pub(super) source: Option<Source>,
    pub(super) events: Vec<Event>,
    /// What keeps the events of their connection in order.
    pub(super) lane: Arc<Lane>,
    /// The number of these in it.
    pub(super) chunk: u64,
}

/// Whether quotas hold for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metered {
    No,
    Yes,
}

/// A query to go on with.
pub(super) struct SliceJob {
    pub(super) core: u32,
    pub(super) connection: ConnectionKey,
    pub(super) subscription: u32,
    pub(super) id: SubscriptionId,
    pub(super) reader: Reader,
    pub(super) encoding: Encoding,
    pub(super) cursor: Cursor,
}

/// A COUNT to answer.
pub(super) struct CountJob {
    pub(super) core: u32,
    pub(super) connection: ConnectionKey,
    pub(super) query: SubscriptionId,
    pub(super) reader: Reader,
    pub(super) filters: Arc<[Filter]>,
}

/// What a worker keeps from job to job.
#[derive(Default)]
pub(super) struct Tools {
    verifier: Verifier,
    /// Where the frames of one slice are written.
    page: Page,
}

/// One thread of the pool.
pub(super) struct Worker {
    pub(super) relay: Arc<Relay>,
    pub(super) jobs: JobReceiver,
    pub(super) writer: WriterHandle,
    pub(super) questions: QuestionSender,
    pub(super) inboxes: Inboxes,
}

impl Job {
    /// Returns what it may cost at most, about, in steps.
    pub(super) fn steps(&self) -> u64 {
        match self {
            Job::Verify(job) => job.events.len() as u64 * VERIFY_STEPS,
            Job::Slice(_) | Job::Count(_) | Job::Reconcile(_) => SLICE_STEPS,
        }
    }
}

/// By how much the pool gives way to the cores and the writer: they get three times its time where
/// there is not enough for all.
const GIVES_WAY: i32 = 5;
/// What a slice costs at most, about: two milliseconds.
const SLICE_STEPS: u64 = 200_000;

impl Worker {
    /// Works until nobody can ask for anything any more, as one of so many workers.
    pub(super) fn run(self, workers: usize) {
        // Who waits for a core waits for little.
        sys::give_way(GIVES_WAY);
        let mut tools = Tools::default();
        while let Some(job) = self.jobs.recv() {
            match job {
                Job::Verify(job) => {
                    let mut jobs = vec![job];
                    self.jobs.take_more_to_verify(&mut jobs, workers);
                    self.verify(&mut tools.verifier, jobs);
                }
                job => self.work_on(job, &mut tools),
            }
        }
    }

    /// Does one job.
    pub(super) fn work_on(&self, job: Job, tools: &mut Tools) {
        match job {
            Job::Verify(job) => self.verify(&mut tools.verifier, vec![job]),
            Job::Slice(job) => self.slice(&mut tools.page, job),
            Job::Count(job) => self.count(&job),
            Job::Reconcile(job) => self.reconcile(job),
        }
    }

    /// Verifies the events of jobs, all at once, and hands them on job by job.
    fn verify(&self, verifier: &mut Verifier, mut jobs: Vec<VerifyJob>) {
        let now = self.relay.clock.now_secs();
        let mut counts = Vec::with_capacity(jobs.len());
        let mut events = Vec::with_capacity(jobs.iter().map(|job| job.events.len()).sum());
        for job in &mut jobs {
            // Others of its party may have brought a ban about since it was sent.
            if job.visitor.as_ref().and_then(|visitor| visitor.ban_left(now)).is_some() {
                self.turn_away(job);
            }
            counts.push(job.events.len());
            events.append(&mut job.events);
        }
        let mut results = verifier.verify_all(events, sys::random_bytes).into_iter();
        for (job, count) in jobs.into_iter().zip(counts) {
            self.admit(job, results.by_ref().take(count));
        }
    }

    /// Refuses the events of a job whose address is banned.
    #[cold]
    fn turn_away(&self, job: &mut VerifyJob) {
        let refuse = |event: Event| {
            let reject = Reject::new(Prefix::RateLimited, "this address is banned");
            Reply { to: job.from, id: event.id, outcome: Err(reject) }
        };
        let replies: Vec<Reply> = job.events.drain(..).map(refuse).collect();
        if !replies.is_empty() {
            self.inboxes.put(job.from.core, Message::Replies(replies));
        }
    }

    /// Hands on those events of a job that are right.
    fn admit(
        &self,
        job: VerifyJob,
        results: impl ExactSizeIterator<Item = Result<Verified, (Event, Invalid)>>,
    ) {
        let (mut admitted, mut replies) = (Vec::with_capacity(results.len()), Vec::new());
        let settings = self.relay.in_force.load();
        let quotas = &settings.session.quotas;
        let quota = AuthorQuota::of(&self.relay, quotas, job.metered);
        for result in results {
            match admit(result, job.from, quota.as_ref()) {
                Ok(event) => admitted.push(event),
                Err(reply) => replies.push(reply),
            }
        }
        if !replies.is_empty() {
            self.inboxes.put(job.from.core, Message::Replies(replies));
        }
        let asking = job.source.as_ref().map(|source| Asking {
            questions: &self.questions,
            source,
            now: self.relay.clock.now_secs(),
        });
        let onward = Onward { writer: &self.writer, asking };
        if let Some(turn) = job.lane.release(job.chunk, admitted) {
            self.hand_on(turn, &onward, job.from, &job.lane);
        }
    }

    /// Hands on the events of a connection whose turn it is. What finds no room goes back to the
    /// core while the turn is held, so that it arrives there in order.
    fn hand_on(&self, mut turn: Turn<'_>, onward: &Onward<'_>, from: ReplyTo, lane: &Arc<Lane>) {
        let mut returned = Vec::new();
        while let Some(events) = turn.next_chunk() {
            for event in events {
                let parcel = onward.parcel(Submission { event, reply: from });
                let sent = if turn.is_behind() { Err(parcel) } else { onward.send(parcel) };
                if let Err(parcel) = sent {
                    turn.note_returned();
                    returned.push(parcel);
                }
            }
        }
        if !returned.is_empty() {
            let lane = Some(Arc::clone(lane));
            self.inboxes.put(from.core, Message::Returned(Returned { parcels: returned, lane }));
        }
    }

    fn slice(&self, page: &mut Page, mut job: SliceJob) {
        let (now, size) = (self.relay.clock.now_secs(), self.relay.slice_pooled);
        page.frames.clear();
        let audience =
            Audience { subscription: &job.id, reader: &job.reader, encoding: job.encoding };
        let Sliced { end, sent, work } = match self.relay.store.snapshot() {
            Ok(snapshot) => render::slice(&snapshot, &mut job.cursor, &audience, size, now, page),
            Err(error) => {
                let end = render::fail(&audience, &error, &mut page.frames);
                Sliced { end, sent: 0, work: 0 }
            }
        };
        let chunk = Chunk {
            connection: job.connection,
            subscription: job.subscription,
            cursor: job.cursor,
            frames: Bytes::copy_from_slice(&page.frames),
            end,
            sent,
            work,
        };
        self.inboxes.put(job.core, Message::Chunk(Box::new(chunk)));
    }

    fn count(&self, job: &CountJob) {
        let mut answer = Vec::new();
        let spent = Cell::new(0);
        match self.counted(job, &spent) {
            Ok(counted) => {
                let count = Count {
                    count: counted.count,
                    is_approximate: counted.is_capped,
                    registers: counted.registers.as_ref().map(Registers::bytes),
                };
                message::write_count(&mut answer, &job.query, &count);
            }
            Err(error) => {
                message::write_closed(&mut answer, &job.query, &render::refusal(&error));
            }
        }
        let (connection, work) = (job.connection, spent.get());
        self.inboxes.put(job.core, Message::Counted { connection, work, answer });
    }

    fn counted(&self, job: &CountJob, spent: &Cell<u64>) -> Result<Counted, StoreError> {
        let now = self.relay.clock.now_secs();
        let rules = CountRules {
            now,
            is_visible: &|event: &EventRef<'_>| session::visible(event, &job.reader, now),
            hidden_kinds: job.reader.hidden().map_or(&[], |kinds| kinds),
            partly_visible_kinds: job.reader.partly_visible(),
            is_any_partly_visible: job.reader.is_partial(),
            count_max: self.relay.in_force.load().count_max,
            spent,
        };
        let snapshot = self.relay.store.snapshot()?;
        match job.reader.narrowed(&job.filters) {
            Some(filters) => query::answer_count(&snapshot, &filters, &rules),
            None => query::answer_count(&snapshot, &job.filters, &rules),
        }
    }
}

/// A verified event, packed for where it goes next.
#[derive(Debug)]
pub(super) enum Parcel {
    /// It goes to the writer.
    Submission(Submission),
    /// A plugin is asked about it first.
    Question(Box<Question>),
}

impl Parcel {
    /// Returns the event with who sent it.
    pub(super) fn submission(&self) -> &Submission {
        match self {
            Parcel::Submission(submission) => submission,
            Parcel::Question(question) => &question.submission,
        }
    }
}

/// Where events go that were verified.
pub(super) struct Onward<'a> {
    pub(super) writer: &'a WriterHandle,
    /// How a plugin is asked first, if there is one.
    pub(super) asking: Option<Asking<'a>>,
}

impl Onward<'_> {
    /// Packs an event.
    pub(super) fn parcel(&self, submission: Submission) -> Parcel {
        match &self.asking {
            Some(asking) if plugin::is_judged(submission.event.event().kind) => {
                Parcel::Question(Box::new(asking.question(submission)))
            }
            _ => Parcel::Submission(submission),
        }
    }

    /// Sends a parcel; without room it comes back.
    #[expect(clippy::result_large_err, reason = "a parcel is moved either way")]
    pub(super) fn send(&self, parcel: Parcel) -> Result<(), Parcel> {
        match (parcel, &self.asking) {
            (Parcel::Question(question), Some(asking)) => {
                plugin::hand_in(asking.questions, *question).map_err(Parcel::Question)
            }
            (parcel @ Parcel::Question(_), None) => Err(parcel),
            (Parcel::Submission(submission), _) => {
                self.writer.submit(submission).map_err(|full| Parcel::Submission(full.0))
            }
        }
    }
}

/// Admits an event that was verified, if its author has not sent too many.
///
/// # Errors
///
/// The answer to whoever sent it.
pub(super) fn admit(
    result: Result<Verified, (Event, Invalid)>,
    from: ReplyTo,
    quota: Option<&AuthorQuota<'_>>,
) -> Result<Admitted, Reply> {
    let (id, verified) = match result {
        Ok(verified) => (verified.event().id, Ok(verified)),
        Err((event, invalid)) => (event.id, Err(Reject::invalid(invalid.to_string()))),
    };
    let admitted = verified
        .and_then(|event| match quota {
            Some(quota) => quota.take(event),
            None => Ok(event),
        })
        .and_then(Admitted::new);
    admitted.map_err(|reject| Reply { to: from, id, outcome: Err(reject) })
}
