//! The queries of a core: the first slice at once, the rest in the work pool, chunk by chunk.
//!
//! A chunk is asked for only when the one before has been queued to the client and the client
//! reads: at most one chunk of a query is under way, and a query whose client does not read is
//! parked, without a transaction (I6, I8). What a closed subscription still has under way is dropped
//! when it arrives: numbers of subscriptions are never used twice.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::connection::{Connection, ConnectionKey};
use super::core::Core;
use super::render::{self, Audience, BYTES_PER_STEP, SliceEnd, Sliced};
use super::turn::SENT_STEPS;
use super::work::{CountJob, Job, SliceJob};
use crate::address::ClientName;
use crate::fanout::SubKey;
use crate::net::Bytes;
use crate::nostr::message::{self, SubscriptionId};
use crate::nostr::{Filter, Prefix, Reject};
use crate::query::Cursor;
use crate::seq::Seq;
use crate::store::Snapshot;

/// The queries of one connection that are not done.
#[derive(Default)]
pub(super) struct Queries {
    /// How many are in the work pool or on their way there and back.
    running: usize,
    /// Those that wait for the client to read.
    parked: Vec<(u32, Cursor)>,
    /// Those that wait for others of the same connection.
    waiting: VecDeque<Waiting>,
}

enum Waiting {
    Query { subscription: u32, cursor: Cursor },
    Count { query: SubscriptionId, filters: Arc<[Filter]> },
}

impl Queries {
    fn is_busy(&self) -> bool {
        self.running + self.parked.len() >= RUNNING_MAX
    }

    fn forget(&mut self, subscription: u32) {
        self.parked.retain(|(number, _)| *number != subscription);
        self.waiting.retain(
            |it| !matches!(it, Waiting::Query { subscription: it, .. } if *it == subscription),
        );
    }
}

/// A chunk that the work pool rendered.
pub(super) struct Chunk {
    pub(super) connection: ConnectionKey,
    pub(super) subscription: u32,
    pub(super) cursor: Cursor,
    pub(super) frames: Bytes,
    pub(super) end: SliceEnd,
    pub(super) sent: u64,
    /// What it cost, in steps.
    pub(super) work: u64,
}

impl Core {
    /// Starts a subscription: from here on it is followed live, and what is stored is sent.
    pub(super) fn open_subscription(
        &self,
        connection: &Rc<Connection>,
        subscription: u32,
        filters: Arc<[Filter]>,
        now: u64,
    ) {
        self.metrics.subscriptions_opened_total.add(1);
        let snapshot = match self.relay.store.snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let reject = render::refusal(&error);
                return self.fail_subscription(connection, subscription, &reject);
            }
        };
        // All that this core has delivered was committed before, so the snapshot shows it: beyond
        // the horizon nothing was missed.
        let horizon = snapshot.seq();
        {
            let mut session = connection.session.borrow_mut();
            session.set_horizon(subscription, horizon);
            session.set_ring_position(subscription, self.live.borrow().ring_head());
        }
        let key = SubKey { connection: connection.key.slot, subscription };
        self.index.borrow_mut().insert(key, Arc::clone(&filters));
        let cursor = self.cursor(connection, filters, horizon);
        let must_wait = self.must_wait(connection);
        let mut queries = connection.queries.borrow_mut();
        if must_wait || queries.is_busy() || connection.outbound.is_congested() {
            queries.waiting.push_back(Waiting::Query { subscription, cursor });
            return;
        }
        drop(queries);
        self.run_first_slice(connection, subscription, cursor, &snapshot, now);
    }

    /// Returns the query for what is stored: it leaves out what the client, as it is known now, can
    /// see nothing of. The subscription itself does not: who authenticates later gets what comes
    /// then.
    fn cursor(&self, connection: &Connection, filters: Arc<[Filter]>, horizon: Seq) -> Cursor {
        let session = connection.session.borrow();
        let reader = session.reader();
        let narrowed = reader.narrowed(&filters);
        let is_narrowed = narrowed.is_some();
        let filters = narrowed.map_or(filters, Arc::from);
        let mut cursor = Cursor::new(filters, self.settings.borrow().query, horizon);
        if is_narrowed {
            cursor.note_withheld();
        }
        if let Some(kinds) = reader.hidden() {
            cursor.hide_kinds(Arc::clone(kinds));
        }
        cursor
    }

    /// Forgets a subscription that the session has closed.
    pub(super) fn close_subscription(&self, connection: &Rc<Connection>, subscription: u32) {
        self.metrics.subscriptions_closed_total.add(1);
        let key = SubKey { connection: connection.key.slot, subscription };
        self.index.borrow_mut().remove(key);
        connection.queries.borrow_mut().forget(subscription);
    }

    /// Counts in the work pool; counting may be long.
    pub(super) fn count(
        &self,
        connection: &Rc<Connection>,
        query: SubscriptionId,
        filters: Arc<[Filter]>,
    ) {
        let mut queries = connection.queries.borrow_mut();
        if queries.waiting.len() >= WAITING_MAX {
            let reject = Reject::new(Prefix::RateLimited, "too many questions at once");
            connection.outbound.push_text_with(|out| message::write_closed(out, &query, &reject));
            self.note_question_refused(reject.prefix);
            return;
        }
        queries.waiting.push_back(Waiting::Count { query, filters });
        drop(queries);
        self.start_waiting(connection);
    }

    /// Goes on with what waited for the client to read.
    pub(super) fn resume_queries(&self, connection: &Rc<Connection>) {
        let parked = std::mem::take(&mut connection.queries.borrow_mut().parked);
        for (subscription, cursor) in parked {
            self.proceed(connection, subscription, cursor);
        }
        self.start_waiting(connection);
    }

    /// Sends a chunk that the work pool rendered, and has the next one made.
    pub(super) fn take_chunk(&self, chunk: Chunk) {
        let Some(connection) = self.connections.borrow().of(chunk.connection).cloned() else {
            return;
        };
        connection.queries.borrow_mut().running -= 1;
        self.charge_work(&connection, chunk.work);
        self.spend(&connection, chunk.frames.len() as u64 / BYTES_PER_STEP);
        if connection.session.borrow().subscription(chunk.subscription).is_some() {
            self.metrics.events_sent_stored_total.add(chunk.sent);
            connection.outbound.push_frames(chunk.frames);
            self.go_on(&connection, chunk.subscription, chunk.cursor, chunk.end);
        }
        self.start_waiting(&connection);
    }

    /// Sends the answer of a COUNT.
    pub(super) fn take_count(&self, connection: ConnectionKey, work: u64, answer: &[u8]) {
        let Some(connection) = self.connections.borrow().of(connection).cloned() else { return };
        connection.queries.borrow_mut().running -= 1;
        self.charge_work(&connection, work);
        self.metrics.counts_total.add(1);
        connection.outbound.push_text(answer);
        self.start_waiting(&connection);
    }

    /// Starts what waited for its turn, as far as it is its turn.
    pub(super) fn start_waiting(&self, connection: &Rc<Connection>) {
        loop {
            let mut queries = connection.queries.borrow_mut();
            if queries.is_busy() || connection.outbound.is_congested() {
                return;
            }
            if !queries.waiting.is_empty() && self.must_wait(connection) {
                self.line_up(connection);
                return;
            }
            let next = queries.waiting.pop_front();
            drop(queries);
            match next {
                None => return,
                Some(Waiting::Count { query, filters }) => {
                    let job = CountJob {
                        core: self.number,
                        connection: connection.key,
                        query,
                        reader: self.reader_of(connection),
                        filters,
                    };
                    self.hand_over(connection, Job::Count(job));
                }
                Some(Waiting::Query { subscription, cursor }) => {
                    self.start_query(connection, subscription, cursor);
                }
            }
        }
    }

    fn start_query(&self, connection: &Rc<Connection>, subscription: u32, cursor: Cursor) {
        let now = self.relay.clock.now_secs();
        match self.relay.store.snapshot() {
            Ok(snapshot) => {
                self.run_first_slice(connection, subscription, cursor, &snapshot, now);
            }
            Err(error) => {
                let reject = render::refusal(&error);
                self.fail_subscription(connection, subscription, &reject);
            }
        }
    }

    /// Runs the first slice here: most queries end with it, and asking another thread would cost
    /// more than they do.
    fn run_first_slice(
        &self,
        connection: &Rc<Connection>,
        subscription: u32,
        mut cursor: Cursor,
        snapshot: &Snapshot<'_>,
        now: u64,
    ) {
        let mut page = self.page.borrow_mut();
        let size = self.relay.slice_inline;
        let Sliced { end, sent, work } = {
            let mut session = connection.session.borrow_mut();
            // It may have waited for its turn since its message came.
            session.reader_now(self.standing.borrow_mut().current());
            let Some(open) = session.subscription(subscription) else { return };
            let encoding = self.encoding_of_stored(&connection.outbound);
            let audience = Audience { subscription: &open.id, reader: session.reader(), encoding };
            render::slice(snapshot, &mut cursor, &audience, size, now, &mut page)
        };
        self.metrics.slices_inline_total.add(1);
        self.metrics.events_sent_stored_total.add(sent);
        Self::push_chunk(connection, &mut page.frames);
        drop(page);
        self.charge_work(connection, work);
        self.spend(connection, work + sent * SENT_STEPS);
        self.go_on(connection, subscription, cursor, end);
    }

    /// Queues a chunk; its memory goes along if the chunk fills it, and is kept otherwise.
    fn push_chunk(connection: &Connection, frames: &mut Vec<u8>) {
        if frames.len() > FRAMES_COPIED_MAX && frames.len() > frames.capacity() / 2 {
            // The next chunk is likely to be as large, and then need not grow.
            let next = Vec::with_capacity(frames.capacity());
            return connection.outbound.push_frames(std::mem::replace(frames, next));
        }
        connection.outbound.push_frames(Bytes::copy_from_slice(frames));
        frames.clear();
    }

    fn go_on(&self, connection: &Rc<Connection>, subscription: u32, cursor: Cursor, end: SliceEnd) {
        match end {
            SliceEnd::Done => self.note_query(&cursor, connection.client),
            SliceEnd::More => self.proceed(connection, subscription, cursor),
            SliceEnd::Failed => {
                connection.session.borrow_mut().end_subscription(subscription);
                self.close_subscription(connection, subscription);
            }
        }
    }

    /// Counts a query that was answered to its end, and tells of one that took long.
    fn note_query(&self, cursor: &Cursor, client: IpAddr) {
        let busy = cursor.busy();
        let metrics = &self.metrics.queries[cursor.plan() as usize];
        metrics.work_micros.add(u64::try_from(busy.as_micros()).unwrap_or(u64::MAX));
        metrics.steps_total.add(cursor.spent());
        metrics.rows_total.add(cursor.given() as u64);
        if self.settings.borrow().slow_query.is_some_and(|limit| busy >= limit) {
            tell_slow(cursor, self.name_of(client));
        }
    }

    /// Has the next chunk made, or parks the query while the client does not read.
    fn proceed(&self, connection: &Rc<Connection>, subscription: u32, cursor: Cursor) {
        if let Err(reject) = self.check_query(connection, &cursor) {
            return self.fail_subscription(connection, subscription, &reject);
        }
        if connection.outbound.is_congested() {
            connection.queries.borrow_mut().parked.push((subscription, cursor));
            return;
        }
        let reader = self.reader_of(connection);
        let job = {
            let session = connection.session.borrow();
            let Some(open) = session.subscription(subscription) else { return };
            SliceJob {
                core: self.number,
                connection: connection.key,
                subscription,
                id: open.id.clone(),
                reader,
                encoding: self.encoding_of_stored(&connection.outbound),
                cursor,
            }
        };
        self.metrics.slices_handed_total.add(1);
        self.hand_over(connection, Job::Slice(job));
    }

    fn hand_over(&self, connection: &Rc<Connection>, job: Job) {
        connection.queries.borrow_mut().running += 1;
        self.work.send(connection.party, job);
    }

    /// Ends a subscription from this side.
    pub(super) fn fail_subscription(
        &self,
        connection: &Rc<Connection>,
        subscription: u32,
        reject: &Reject,
    ) {
        let id = connection.session.borrow_mut().end_subscription(subscription);
        if let Some(id) = id {
            connection.outbound.push_text_with(|out| message::write_closed(out, &id, reject));
            self.note_question_refused(reject.prefix);
        }
        self.close_subscription(connection, subscription);
    }
}

/// Tells of a query by its form alone: what it asks for is its client's affair.
#[cold]
fn tell_slow(cursor: &Cursor, client: ClientName) {
    let form: Vec<String> = cursor.filters().iter().take(FORMS_MAX).map(Filter::form).collect();
    tracing::warn!(
        millis = u64::try_from(cursor.busy().as_millis()).unwrap_or(u64::MAX),
        plan = cursor.plan().word(),
        steps = cursor.spent(),
        rows = cursor.given(),
        filters = cursor.filters().len(),
        form = form.join("; "),
        %client,
        "slow query"
    );
}

/// Filters whose form is told.
const FORMS_MAX: usize = 4;
/// Queries of one connection that may be under way; the others wait for them.
const RUNNING_MAX: usize = 8;
/// COUNT is refused beyond this many waiting questions; subscriptions are bounded by the session.
const WAITING_MAX: usize = 512;
/// Frames up to this size are always copied.
const FRAMES_COPIED_MAX: usize = 16 * 1024;
