//! Live delivery: from the ring to the subscriptions of this core.
//!
//! An event at or below a subscription's horizon belongs to its stored phase and is not sent here;
//! so whatever the order in which a query and a commit meet, each event is sent once (I7). A core
//! that the ring has lapped reads what it missed from the store's log, in bounded steps.
//!
//! An event that goes to many is compressed once, for all whose clients take that
//! (`Published::deflated`): only the few bytes before it are the subscriber's own. What comes from the
//! log goes out plain, because a core that is behind has other cares.

use std::rc::Rc;

use super::core::{Core, More};
use super::settings::Compression;
use crate::deflate;
use crate::fanout::{Consumer, Next, Published, SubKey};
use crate::net::{Encoding, Outbound};
use crate::nostr::EventRef;
use crate::seq::Seq;
use crate::session;
use crate::store::StoreError;

/// How far this core has come.
pub(super) struct Live {
    consumer: Consumer,
    /// Everything stored up to here has been delivered.
    last: Seq,
    pace: Pace,
    /// The batch being delivered, and how many of its events are done.
    batch: Option<(std::sync::Arc<[Published]>, usize)>,
    found: Vec<SubKey>,
    json: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    InStep,
    /// The ring lapped this core: the log has what is missing.
    Behind,
}

impl Live {
    /// Starts at `last`, up to which nothing is to be delivered.
    pub(super) fn new(consumer: Consumer, last: Seq) -> Live {
        let (found, json) = (Vec::new(), Vec::new());
        Live { consumer, last, pace: Pace::InStep, batch: None, found, json }
    }

    /// Returns the position of the batch that will be published next.
    pub(super) fn ring_head(&self) -> u64 {
        self.consumer.head()
    }
}

/// An event on its way to whom it matches.
struct Parcel<'a> {
    origin: Origin,
    event: EventRef<'a>,
    json: &'a [u8],
    /// Where it is kept compressed, if it comes from the ring.
    published: Option<&'a Published>,
}

/// Where an event came from, for subscriptions to judge whether they were open then.
#[derive(Clone, Copy)]
enum Origin {
    /// It is stored; a subscription's stored phase answers up to its horizon.
    Stored(Seq),
    /// It is ephemeral, from the batch at this position of the ring.
    Ephemeral(u64),
}

impl Core {
    /// Delivers some of what was published; returns whether there is more.
    pub(super) fn deliver_some(&self) -> More {
        let more = self.deliver_batches();
        self.metrics.ring_position.set(self.live.borrow().consumer.position());
        more
    }

    fn deliver_batches(&self) -> More {
        let mut live = self.live.borrow_mut();
        let now = self.relay.clock.now_secs();
        if live.pace == Pace::Behind {
            return self.catch_up(&mut live, now);
        }
        let mut left = DELIVERIES_MAX;
        loop {
            let (batch, done) = match live.batch.take() {
                Some(begun) => begun,
                None => match live.consumer.next() {
                    Next::Batch(batch) => (batch, 0),
                    Next::Empty => return More::No,
                    Next::Lapped => {
                        self.metrics.lapped_total.add(1);
                        live.pace = Pace::Behind;
                        return More::Yes;
                    }
                },
            };
            for (place, published) in batch.iter().enumerate().skip(done) {
                if left == 0 {
                    live.batch = Some((batch, place));
                    return More::Yes;
                }
                self.deliver_published(&mut live, published, now);
                left = left.saturating_sub(live.found.len() + SEARCH);
            }
        }
    }

    fn deliver_published(&self, live: &mut Live, published: &Published, now: u64) {
        let seq = published.seq;
        let origin = if seq == Seq::ZERO {
            Origin::Ephemeral(live.consumer.position() - 1)
        } else if seq <= live.last {
            return live.found.clear();
        } else {
            live.last = seq;
            Origin::Stored(seq)
        };
        let (event, json) = (published.event.view(), &published.json);
        let parcel = Parcel { origin, event, json, published: Some(published) };
        self.deliver(&mut live.found, &parcel, now);
    }

    /// Delivers some of the log; in step again once its end is reached.
    fn catch_up(&self, live: &mut Live, now: u64) -> More {
        match self.deliver_log(live, now) {
            Ok(More::Yes) => {}
            Ok(More::No) => live.pace = Pace::InStep,
            Err(error) => {
                tracing::error!(%error, "live events were lost: the log cannot be read");
                live.last = self.relay.store.last_seq();
                live.pace = Pace::InStep;
            }
        }
        More::Yes
    }

    fn deliver_log(&self, live: &mut Live, now: u64) -> Result<More, StoreError> {
        let snapshot = self.relay.store.snapshot()?;
        let mut left = LOG_EVENTS_MAX;
        for item in snapshot.log(live.last)? {
            let (seq, event) = item?;
            live.json.clear();
            event.write_json(&mut live.json);
            let (origin, json) = (Origin::Stored(seq), &live.json);
            let parcel = Parcel { origin, event, json, published: None };
            self.deliver(&mut live.found, &parcel, now);
            live.last = seq;
            left -= 1;
            if left == 0 {
                return Ok(More::Yes);
            }
        }
        live.last = live.last.max(snapshot.seq());
        Ok(More::No)
    }

    /// Sends one event to every subscription of this core that it matches and that may see it.
    fn deliver(&self, found: &mut Vec<SubKey>, parcel: &Parcel<'_>, now: u64) {
        let event = &parcel.event;
        found.clear();
        self.index.borrow_mut().matches(event, found);
        if found.is_empty() || !session::is_shown(event, now) {
            return;
        }
        let connections = self.connections.borrow();
        let mut standing = self.standing.borrow_mut();
        let standing = standing.current();
        let is_restricted = standing.withholds_this(event)
            || self.settings.borrow().session.restricted.has(event.kind);
        let mut page = self.page.borrow_mut();
        let deflating = self.deflating(parcel, found.len());
        let mut sent = 0;
        for key in found.iter() {
            let Some(connection) = connections.in_slot(key.connection).map(Rc::as_ref) else {
                continue;
            };
            let mut session = connection.session.borrow_mut();
            // The reader is asked at this moment: rights come with authentication, not with REQ.
            let may_read = !is_restricted || session.reader_now(standing).may_read(event);
            let Some(subscription) = session.subscription(key.subscription) else { continue };
            let is_earlier = match parcel.origin {
                Origin::Stored(seq) => seq <= subscription.horizon,
                Origin::Ephemeral(position) => position < subscription.ring_position,
            };
            if is_earlier || !may_read {
                continue;
            }
            let id = subscription.id.as_canonical();
            let deflated = match (connection.outbound.encoding(), deflating) {
                (Encoding::Deflate, Some(published)) => published.deflated(&mut page.deflater),
                _ => None,
            };
            push_event(&connection.outbound, id, parcel.json, deflated);
            sent += 1;
        }
        self.metrics.events_sent_live_total.add(sent);
    }

    /// Returns where to have an event compressed, if that pays for so many subscriptions.
    fn deflating<'a>(&self, parcel: &Parcel<'a>, count: usize) -> Option<&'a Published> {
        let count_min = match self.settings.borrow().compression {
            Compression::Off => return None,
            Compression::Live => DEFLATED_COUNT_MIN,
            Compression::All => 1,
        };
        parcel.published.filter(|it| count >= count_min || it.is_deflated())
    }
}

/// Queues an EVENT message, made of the blocks that end it or of its JSON.
fn push_event(outbound: &Outbound, id: &[u8], json: &[u8], deflated: Option<&[u8]>) {
    let header = deflate::stored_block(BEFORE_ID.len() + id.len() + BEHIND_ID.len());
    match deflated.zip(header) {
        Some((blocks, header)) => {
            outbound.push_deflated_parts(&[&header, BEFORE_ID, id, BEHIND_ID, blocks]);
        }
        None => outbound.push_text_parts(&[BEFORE_ID, id, BEHIND_ID, json, b"]"]),
    }
}

const BEFORE_ID: &[u8] = b"[\"EVENT\",\"";
const BEHIND_ID: &[u8] = b"\",";
/// From so many subscriptions on an event is worth compressing: 20 microseconds, and twice that when
/// it is seldom done, by which each delivery saves a third of its bytes.
const DEFLATED_COUNT_MIN: usize = 8;
/// Deliveries before the connections of the core get their turn: what they then write fits into the
/// processor's cache, and its memory serves for what follows. Finding to whom an event goes counts
/// as some.
const DELIVERIES_MAX: usize = 8_192;
const SEARCH: usize = 128;
/// Events of the log delivered before a snapshot is given back (I6).
const LOG_EVENTS_MAX: usize = 256;
