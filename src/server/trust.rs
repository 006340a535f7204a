//! The web of trust, woven from the follow lists in the store: at the start, and again when a list
//! has come that it depends on. The keeper's work; only where the operator wants a web.

use std::sync::Arc;

use crate::nostr::{Filter, Kind, PublicKey};
use crate::policy::Web;
use crate::query;
use crate::seq::Seq;
use crate::store::{Store, StoreError};

/// Keeps one web up to date.
pub(super) struct Weaver {
    web: Arc<Web>,
    /// Up to here the log was looked through for follow lists.
    seen: Seq,
    /// When it was woven last, if it is not to be woven again.
    woven_at: Option<u64>,
}

impl Weaver {
    /// Returns who keeps this web up to date; it is woven at the first look.
    pub(super) fn of(web: &Arc<Web>) -> Weaver {
        Weaver { web: Arc::clone(web), seen: Seq::ZERO, woven_at: None }
    }

    /// Returns whether this is the web that is looked after.
    pub(super) fn is_of(&self, web: &Arc<Web>) -> bool {
        Arc::ptr_eq(&self.web, web)
    }

    /// Looks through what was stored since the last time; weaves the web again if that matters, but
    /// not every second.
    pub(super) fn look(&mut self, store: &Store, now: u64) -> Result<(), StoreError> {
        if let Some(at) = self.woven_at
            && now < at.saturating_add(PAUSE_SECS)
        {
            return Ok(());
        }
        let last = store.last_seq();
        let is_first = self.woven_at.is_none();
        if !is_first && !self.has_news(store, last)? {
            return Ok(());
        }
        self.seen = self.seen.max(last);
        self.web.weave(|author, out| follows(store, author, out))?;
        self.woven_at = Some(now);
        let keys = self.web.count();
        match is_first {
            true => tracing::info!(keys, "the web of trust was woven"),
            false => tracing::debug!(keys, "the web of trust was woven again"),
        }
        Ok(())
    }

    /// Returns whether a follow list came that the web depends on.
    fn has_news(&mut self, store: &Store, last: Seq) -> Result<bool, StoreError> {
        while self.seen < last {
            let snapshot = store.snapshot()?;
            let mut looked_at = 0;
            for item in snapshot.log(self.seen)? {
                let (seq, event) = item?;
                self.seen = seq;
                if event.kind == Kind::FOLLOW_LIST && self.web.depends_on(event.pubkey) {
                    return Ok(true);
                }
                looked_at += 1;
                if looked_at == EVENTS_PER_SLICE {
                    break;
                }
            }
            if looked_at < EVENTS_PER_SLICE {
                // What is left is dead.
                self.seen = self.seen.max(last);
            }
        }
        Ok(false)
    }
}

/// Appends whom somebody follows by the list in the store.
fn follows(store: &Store, author: &PublicKey, out: &mut Vec<PublicKey>) -> Result<(), StoreError> {
    let filter = Filter {
        authors: Some([*author].into()),
        kinds: Some([Kind::FOLLOW_LIST.0].into()),
        limit: Some(1),
        ..Filter::default()
    };
    let snapshot = store.snapshot()?;
    for seq in query::find_all(&snapshot, &filter, &|_| true)? {
        if let Some(list) = snapshot.by_seq(seq)? {
            out.extend(list.values_of(b'p').filter_map(|it| it.as_hex().copied().map(PublicKey)));
        }
    }
    Ok(())
}

/// A web of half a million keys takes seconds to weave; follow lists come all the time.
const PAUSE_SECS: u64 = 2;
/// Events of the log looked at with one snapshot (I6).
const EVENTS_PER_SLICE: usize = 10_000;
