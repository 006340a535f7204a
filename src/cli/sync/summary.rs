//! What a sync did, counted, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::super::output::{elapsed, grouped, rate};
use crate::net::Address;
use crate::peer::{Counts, IntakeCounts};

/// Counts of a sync.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    /// The other relay.
    pub(super) url: String,
    /// Whether both sides agree, as far as each shows and takes events.
    pub(super) in_sync: bool,
    /// Whether it was ended early by an interrupt.
    pub(super) interrupted: bool,
    /// Whether nothing was transferred.
    pub(super) dry_run: bool,
    /// How it was found out what differs.
    pub(super) method: &'static str,
    /// Events that the other relay has and the store has not.
    pub(super) needed: u64,
    /// Events that the store has and the other relay has not.
    pub(super) had: u64,
    /// What came.
    pub(super) received: Received,
    /// What was sent.
    pub(super) sent: Sent,
    /// Seconds with more events than the other relay shows at once.
    pub(super) crowded_seconds: u64,
    /// Connections that were made.
    pub(super) connections: u64,
    /// What else is to be known.
    pub(super) notes: Vec<String>,
    /// How long it took.
    pub(super) seconds: f64,
}

/// What came from another relay.
#[derive(Debug, Default, Serialize)]
pub(in super::super) struct Received {
    /// Events that came.
    pub(in super::super) events: u64,
    /// Of those, stored ones.
    pub(in super::super) stored: u64,
    /// Those that were there.
    pub(in super::super) duplicate: u64,
    /// Those of which the store has a later version.
    pub(in super::super) replaced: u64,
    /// Those that were deleted, or whose author has vanished.
    pub(in super::super) deleted: u64,
    /// Expired and ephemeral ones.
    pub(in super::super) passing: u64,
    /// Those that are not valid.
    pub(in super::super) invalid: u64,
    /// Events that were listed and not given.
    pub(in super::super) missing: u64,
}

/// What was sent to another relay.
#[derive(Debug, Default, Serialize)]
pub(in super::super) struct Sent {
    /// Events that were sent.
    pub(in super::super) events: u64,
    /// Those that were taken.
    pub(in super::super) accepted: u64,
    /// Those that were there.
    pub(in super::super) duplicate: u64,
    /// Those that were refused, by the reason.
    pub(in super::super) refused: BTreeMap<String, u64>,
}

impl Received {
    /// Puts together what the peer's side and the store's side counted.
    pub(in super::super) fn new(counts: &Counts, found: &IntakeCounts) -> Received {
        Received {
            events: counts.received,
            stored: found.stored,
            duplicate: found.duplicate,
            replaced: found.replaced,
            deleted: found.deleted,
            passing: found.passing,
            invalid: found.invalid + counts.malformed,
            missing: counts.missing,
        }
    }

    /// Writes the rows that are worth a line.
    pub(in super::super) fn render(&self, out: &mut String) {
        for (name, count, remark) in [
            ("stored", self.stored, ""),
            ("duplicate", self.duplicate, "came in between or twice"),
            ("replaced", self.replaced, "the store has a later version"),
            ("deleted", self.deleted, "deleted by their author, or vanished with them"),
            ("passing", self.passing, "expired or ephemeral"),
            ("invalid", self.invalid, "not valid, or not asked for"),
            ("missing", self.missing, "listed by the other relay, but not given"),
        ] {
            row(out, name, count, remark, name == "stored" || count > 0);
        }
    }
}

impl Sent {
    pub(in super::super) fn new(counts: &Counts) -> Sent {
        Sent {
            events: counts.sent,
            accepted: counts.accepted,
            duplicate: counts.duplicate,
            refused: counts.refused.clone(),
        }
    }

    /// Writes the rows that are worth a line.
    pub(in super::super) fn render(&self, out: &mut String) {
        row(out, "accepted", self.accepted, "", true);
        row(out, "duplicate", self.duplicate, "already there", self.duplicate > 0);
        for (reason, count) in &self.refused {
            row(out, "refused", *count, reason, true);
        }
    }
}

fn row(out: &mut String, name: &str, count: u64, remark: &str, is_shown: bool) {
    if is_shown {
        let line = format!("  {name:<10} {:>12}  {remark}", grouped(count));
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

impl Summary {
    pub(super) fn new(
        url: &Address,
        counts: &Counts,
        found: &IntakeCounts,
        dry_run: bool,
    ) -> Summary {
        Summary {
            url: url.to_string(),
            dry_run,
            method: if counts.pages > 0 { "pages" } else { "negentropy" },
            needed: counts.needed.max(if dry_run { 0 } else { found.stored }),
            had: counts.had,
            received: Received::new(counts, found),
            sent: Sent::new(counts),
            crowded_seconds: counts.crowded_seconds,
            connections: counts.connections,
            notes: counts.notes.clone(),
            ..Summary::default()
        }
    }

    /// Returns whether either side refused anything.
    pub(super) fn is_refused(&self) -> bool {
        self.received.invalid > 0 || !self.sent.refused.is_empty()
    }

    /// Writes the counts for people.
    pub(super) fn render(&self) -> String {
        let took = Duration::from_secs_f64(self.seconds);
        let mut out = String::new();
        if self.dry_run {
            let _ = writeln!(out, "compared with {} in {}", self.url, elapsed(took));
            row(&mut out, "to get", self.needed, "events that only the other relay has", true);
            row(&mut out, "to send", self.had, "events that only this store has", true);
        } else {
            let count = self.received.events + self.sent.events;
            let _ = writeln!(
                out,
                "exchanged {} events with {} in {}, {} a second",
                grouped(count),
                self.url,
                elapsed(took),
                grouped(rate(count, took)),
            );
            if self.received.events > 0 || self.sent.events == 0 {
                self.received.render(&mut out);
            }
            if self.sent.events > 0 {
                self.sent.render(&mut out);
            }
        }
        if self.crowded_seconds > 0 {
            let _ = writeln!(
                out,
                "{} seconds have more events than the other relay shows at once: some may be missing",
                grouped(self.crowded_seconds)
            );
        }
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        match (self.in_sync, self.interrupted) {
            (true, _) if self.dry_run => {}
            (true, _) => out.push_str("in sync\n"),
            (_, true) => {
                out.push_str("interrupted: what has come is stored; running it again goes on\n")
            }
            _ => {}
        }
        out
    }
}
