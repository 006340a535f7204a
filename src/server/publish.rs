//! The way of an EVENT through its core: known already? really signed? then to the writer, or to
//! the plugin stage before, in the order in which its connection has sent it.
//!
//! Nothing is dropped and nothing waits: where the stage or the writer is full, what is left stands
//! in line here and the sockets it came from are not read until the line is gone; while the pool has
//! much to do for a client, nor is that one (I8). So a line is never longer than what these sockets
//! had sent before they were paused.

use std::collections::VecDeque;
use std::sync::Arc;

use super::connection::{Connection, ConnectionKey, Hold};
use super::core::Core;
use super::guard::AuthorQuota;
use super::lane::Lane;
use super::plugin::{self, Asking, Judged, QuestionSender, Source};
use super::render;
use super::turn::{LOOKUP_STEPS, VERIFY_STEPS};
use super::work::{self, Job, Metered, Onward, Parcel, VerifyJob};
use crate::ingest::{Reply, ReplyTo, Submission, WriterHandle};
use crate::net::Flow;
use crate::nostr::{Event, EventId, EventRef, Reject, message};
use crate::session;
use crate::store::{Outcome, Snapshot};

/// What stands in line, and who is not read meanwhile.
#[derive(Default)]
pub(super) struct Stalled {
    /// For the writer.
    submissions: VecDeque<Waiting>,
    /// For the plugin stage.
    questions: VecDeque<Waiting>,
    /// Where so much is verified that no more is read.
    crowded: Vec<(ConnectionKey, Arc<Lane>)>,
    paused: Vec<ConnectionKey>,
}

/// Verified events for which there was no room, in order.
pub(super) struct Returned {
    pub(super) parcels: Vec<Parcel>,
    /// What holds back the events behind them.
    pub(super) lane: Option<Arc<Lane>>,
}

/// One of them.
struct Waiting {
    parcel: Parcel,
    lane: Option<Arc<Lane>>,
}

impl Stalled {
    /// Returns whether nothing stands in line.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_parcels() && self.crowded.is_empty()
    }

    fn has_parcels(&self) -> bool {
        !(self.submissions.is_empty() && self.questions.is_empty())
    }

    /// Puts an event in line for which there was no room.
    fn add(&mut self, parcel: Parcel, lane: Option<Arc<Lane>>) {
        self.pause(ConnectionKey::from_number(parcel.submission().reply.connection));
        let line = match &parcel {
            Parcel::Submission(_) => &mut self.submissions,
            Parcel::Question(_) => &mut self.questions,
        };
        line.push_back(Waiting { parcel, lane });
    }

    fn pause(&mut self, key: ConnectionKey) {
        if !self.paused.contains(&key) {
            self.paused.push(key);
        }
    }

    fn retry_parcels(&mut self, writer: &WriterHandle, questions: &QuestionSender) {
        for line in [&mut self.submissions, &mut self.questions] {
            while let Some(Waiting { parcel, lane }) = line.pop_front() {
                let sent = match parcel {
                    Parcel::Submission(submission) => {
                        writer.submit(submission).map_err(|full| Parcel::Submission(full.0))
                    }
                    Parcel::Question(question) => {
                        plugin::hand_in(questions, *question).map_err(Parcel::Question)
                    }
                };
                if let Err(parcel) = sent {
                    line.push_front(Waiting { parcel, lane });
                    break;
                }
                if let Some(lane) = lane {
                    lane.note_left();
                }
            }
        }
    }
}

impl Core {
    /// Takes the events of one burst: duplicates are answered, a few events are verified at once,
    /// more are shared among the work pool.
    pub(super) fn publish(&self, connection: &Connection, mut events: Vec<Event>) -> Flow {
        self.metrics.events_total.add(events.len() as u64);
        self.spend(connection, events.len() as u64 * LOOKUP_STEPS);
        self.answer_duplicates(connection, &mut events);
        let from = ReplyTo { core: self.number, connection: connection.key.to_number() };
        let metered = connection.metered();
        let source = self.source_of(connection);
        let is_judged = source.is_some();
        // Few events are verified here, unless earlier ones are still on their way, or others come
        // first.
        let is_inline = events.len() <= VERIFIED_INLINE_MAX
            && !connection.has_lane_in_use()
            && (events.is_empty() || !self.must_wait(connection));
        if is_inline {
            self.spend(connection, events.len() as u64 * VERIFY_STEPS);
            let settings = self.settings.borrow();
            let quotas = &settings.session.quotas;
            let quota = AuthorQuota::of(&self.relay, quotas, metered);
            let asking = source.as_ref().map(|source| Asking {
                questions: &self.questions,
                source,
                now: self.relay.clock.now_secs(),
            });
            let onward = Onward { writer: &self.writer, asking };
            for event in events {
                self.verify_inline(connection, &onward, from, event, quota.as_ref());
            }
        } else {
            self.share_out(connection, from, metered, source, events);
        }
        let stalled = self.stalled.borrow();
        let why = if stalled.paused.contains(&connection.key) {
            Hold::Room
        } else if stalled.crowded.iter().any(|(key, _)| *key == connection.key) {
            Hold::Pool
        } else {
            return if is_judged { self.hold(connection) } else { Flow::Continue };
        };
        self.metrics.paused_total.add(1);
        // Who attends to the line may be asleep.
        self.inbox.ring();
        connection.hold(why)
    }

    /// Verifies a proof of identity at once: what the client sends right behind it may depend on
    /// it.
    pub(super) fn authenticate(&self, connection: &Connection, event: Event) {
        let mut verifier = self.verifier.borrow_mut();
        connection.outbound.push_text_with(|out| match verifier.verify(event) {
            Ok(proof) => {
                let now = self.relay.clock.now_secs();
                connection.session.borrow_mut().authenticate(&proof, now, out);
            }
            Err((event, invalid)) => {
                self.note_forgery(connection);
                let reject = Reject::invalid(invalid.to_string());
                message::write_refusal(out, &event.id, &reject);
            }
        });
    }

    /// Answers the events of `to` connections that the writer or the pool has decided on.
    pub(super) fn take_replies(&self, replies: &[Reply]) {
        let connections = self.connections.borrow();
        for reply in replies {
            let key = ConnectionKey::from_number(reply.to.connection);
            if let Some(connection) = connections.of(key) {
                self.note_judged(connection);
                self.note_outcome(connection, &reply.outcome);
                answer(connection, &reply.id, &reply.outcome);
                if reply.outcome.is_err() {
                    self.expel_banned(connection);
                }
            }
        }
    }

    /// Takes back events for which there was no room.
    pub(super) fn take_returned(&self, returned: Returned) {
        let mut stalled = self.stalled.borrow_mut();
        let connections = self.connections.borrow();
        for parcel in returned.parcels {
            let key = ConnectionKey::from_number(parcel.submission().reply.connection);
            if let Some(connection) = connections.of(key) {
                connection.hold(Hold::Room);
            }
            stalled.add(parcel, returned.lane.clone());
        }
    }

    /// Answers events that the plugin has refused. What it says of them is not held against their
    /// senders: it may be wrong about what is a forgery.
    pub(super) fn take_judged(&self, judged: &[Judged]) {
        let connections = self.connections.borrow();
        for judged in judged {
            let Some(connection) = connections.of(ConnectionKey::from_number(judged.to.connection))
            else {
                continue;
            };
            self.note_judged(connection);
            connection.outbound.push_text_with(|out| match &judged.refusal {
                Some(reject) => message::write_refusal(out, &judged.id, reject),
                None => message::write_ok(out, &judged.id, true, ""),
            });
        }
    }

    /// Does not read on from a client that has more events with the plugins than its share.
    fn hold(&self, connection: &Connection) -> Flow {
        if connection.unjudged.get() <= UNJUDGED_MAX {
            return Flow::Continue;
        }
        self.metrics.paused_total.add(1);
        connection.hold(Hold::Judges)
    }

    /// Notes that the fate of an event is known; reads on from its sender when few are left.
    #[inline]
    fn note_judged(&self, connection: &Connection) {
        let unjudged = connection.unjudged.get();
        if unjudged == 0 {
            return;
        }
        connection.unjudged.set(unjudged - 1);
        if unjudged <= UNJUDGED_MAX / 2 {
            connection.release(Hold::Judges);
        }
    }

    /// Returns who a plugin is to be told of, if one is to be asked.
    fn source_of(&self, connection: &Connection) -> Option<Source> {
        self.settings.borrow().plugin.as_ref()?;
        let reader = connection.session.borrow().reader().clone();
        Some(Source { client: connection.client, party: connection.party, reader })
    }

    /// Hands over what stands in line as far as there is room; reads on once the line is gone.
    pub(super) fn retry_stalled(&self) {
        let mut stalled = self.stalled.borrow_mut();
        if stalled.is_empty() {
            return;
        }
        let connections = self.connections.borrow();
        stalled.retry_parcels(&self.writer, &self.questions);
        stalled.crowded.retain(|(key, lane)| {
            let Some(connection) = connections.of(*key) else { return false };
            let is_crowded = lane.is_crowded() || self.work.is_crowded_by(connection.party);
            if !is_crowded {
                connection.release(Hold::Pool);
            }
            is_crowded
        });
        if !stalled.has_parcels() {
            for key in stalled.paused.drain(..) {
                if let Some(connection) = connections.of(key) {
                    connection.release(Hold::Room);
                }
            }
        }
    }

    /// Answers and removes the events that are stored exactly as they came.
    ///
    /// What is stored was verified, so neither hash nor signature has to be looked at. An event
    /// that only claims a known id, or has it by another signature, is verified as any other.
    fn answer_duplicates(&self, connection: &Connection, events: &mut Vec<Event>) {
        let before = events.len();
        let mut standing = self.standing.borrow_mut();
        let standing = standing.current();
        match self.relay.store.snapshot() {
            Ok(snapshot) => events.retain(|event| match is_stored(&snapshot, &event.view()) {
                Ok(true) if standing.answers_anew(&event.view()) => true,
                Ok(false) => true,
                Ok(true) => {
                    answer(connection, &event.id, &Ok(Outcome::Duplicate));
                    false
                }
                Err(reject) => {
                    answer(connection, &event.id, &Err(reject));
                    false
                }
            }),
            Err(error) => {
                let reject = render::refusal(&error);
                for event in events.drain(..) {
                    answer(connection, &event.id, &Err(reject.clone()));
                }
            }
        }
        self.metrics.events_duplicate_total.add((before - events.len()) as u64);
    }

    fn verify_inline(
        &self,
        connection: &Connection,
        onward: &Onward<'_>,
        from: ReplyTo,
        event: Event,
        quota: Option<&AuthorQuota<'_>>,
    ) {
        let verified = self.verifier.borrow_mut().verify(event);
        match work::admit(verified, from, quota) {
            Ok(event) => {
                if onward.asking.is_some() {
                    connection.unjudged.set(connection.unjudged.get() + 1);
                }
                let parcel = onward.parcel(Submission { event, reply: from });
                // Behind an event without room nothing is handed on.
                let is_behind = connection.lane.borrow().is_some();
                let sent = if is_behind { Err(parcel) } else { onward.send(parcel) };
                if let Err(parcel) = sent {
                    let lane = connection.lane();
                    lane.note_returned();
                    self.stalled.borrow_mut().add(parcel, Some(lane));
                }
            }
            Err(reply) => {
                self.note_outcome(connection, &reply.outcome);
                answer(connection, &reply.id, &reply.outcome);
            }
        }
    }

    fn share_out(
        &self,
        connection: &Connection,
        from: ReplyTo,
        metered: Metered,
        source: Option<Source>,
        events: Vec<Event>,
    ) {
        let lane = connection.lane();
        if source.is_some() {
            let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
            connection.unjudged.set(connection.unjudged.get().saturating_add(count));
        }
        let visitor = connection.session.borrow().allowance().visitor();
        let mut rest = events.into_iter();
        while rest.len() > 0 {
            let job = VerifyJob {
                from,
                metered,
                visitor: visitor.clone(),
                source: source.clone(),
                events: rest.by_ref().take(VERIFY_CHUNK_EVENTS).collect(),
                lane: Arc::clone(&lane),
                chunk: lane.begin_chunk(),
            };
            self.work.send(connection.party, Job::Verify(job));
        }
        if lane.is_crowded() || self.work.is_crowded_by(connection.party) {
            self.stalled.borrow_mut().crowded.push((connection.key, lane));
        }
    }
}

impl Connection {
    /// Returns the lane of its events, which may be without any.
    fn lane(&self) -> Arc<Lane> {
        Arc::clone(self.lane.borrow_mut().get_or_insert_default())
    }

    /// Returns whether events are under way in the lane; one without any is given up.
    fn has_lane_in_use(&self) -> bool {
        let mut lane = self.lane.borrow_mut();
        if lane.as_ref().is_some_and(|lane| lane.is_empty()) {
            *lane = None;
        }
        lane.is_some()
    }
}

/// Returns whether exactly this event is stored.
fn is_stored(snapshot: &Snapshot<'_>, event: &EventRef<'_>) -> Result<bool, Reject> {
    match snapshot.by_id(event.id) {
        Ok(found) => Ok(found.is_some_and(|(_, stored)| is_same(&stored, event))),
        Err(error) => Err(render::refusal(&error)),
    }
}

/// Returns whether two events are the same in every part; both are in canonical form.
fn is_same(a: &EventRef<'_>, b: &EventRef<'_>) -> bool {
    a.id == b.id
        && a.sig == b.sig
        && a.pubkey == b.pubkey
        && a.created_at == b.created_at
        && a.kind == b.kind
        && a.content == b.content
        && a.tags_packed == b.tags_packed
}

fn answer(connection: &Connection, id: &EventId, outcome: &Result<Outcome, Reject>) {
    connection.outbound.push_text_with(|out| session::write_outcome(out, id, outcome));
}

/// Events of one connection that plugins may have to judge before it is not read: enough for them
/// to have something to do, and few enough for those of many connections to wait side by side.
const UNJUDGED_MAX: u32 = 64;
/// Up to here a burst is verified on its core: asking another thread costs a third of a
/// verification, and the client that sends one event waits for both.
const VERIFIED_INLINE_MAX: usize = 2;
/// Events of a burst that go to the pool together: half a millisecond of work.
const VERIFY_CHUNK_EVENTS: usize = 16;
