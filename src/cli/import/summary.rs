//! What an import did, counted, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::super::output::{elapsed, grouped, rate, size};

/// Counts of an import.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    /// Lines that were not blank.
    pub(super) read: u64,
    /// Bytes taken from the sources, before unpacking.
    pub(super) bytes: u64,
    /// Events stored.
    pub(super) stored: u64,
    /// Events that the store had, or that came twice.
    pub(super) duplicate: u64,
    /// Replaceable and addressable events of which the store has a later version.
    pub(super) replaced: u64,
    /// Events that their author has asked to delete.
    pub(super) deleted: u64,
    /// Events of those who have asked to vanish.
    pub(super) vanished: u64,
    /// Events whose expiration has passed.
    pub(super) expired: u64,
    /// Ephemeral events, which are not stored.
    pub(super) ephemeral: u64,
    /// Lines that hold no valid event.
    pub(super) invalid: u64,
    /// The invalid lines by what is wrong with them.
    pub(super) invalid_by_reason: BTreeMap<String, Reason>,
    /// Whether signatures were checked.
    pub(super) verified: bool,
    /// Whether the import was ended early by an interrupt.
    pub(super) interrupted: bool,
    /// Sources that could not be read to their end.
    pub(super) unread: Vec<String>,
    /// How long it took.
    pub(super) seconds: f64,
}

/// Invalid lines of one reason.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Reason {
    /// How many.
    pub(super) count: u64,
    /// Where the first of them are.
    pub(super) first: Vec<Place>,
}

/// One line of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    /// The file, or standard input.
    pub(super) source: String,
    /// The line, the first being 1.
    pub(super) line: u64,
}

impl Summary {
    /// Counts an invalid line; `place` is made only for the first few of a reason.
    pub(super) fn add_invalid(&mut self, reason: &str, place: impl FnOnce() -> Place) {
        self.invalid += 1;
        let is_known = self.invalid_by_reason.contains_key(reason);
        let has_room = self.invalid_by_reason.len() < REASONS_MAX;
        let name = if is_known || has_room { reason } else { OTHER_REASONS };
        let entry = self.invalid_by_reason.entry(name.to_owned()).or_default();
        entry.count += 1;
        if entry.first.len() < PLACES_MAX {
            entry.first.push(place());
        }
    }

    /// Writes the counts for people; `sources` is how many there were.
    pub(super) fn render(&self, sources: usize) -> String {
        let took = Duration::from_secs_f64(self.seconds);
        let mut out = format!(
            "read {} lines ({}) in {}, {} a second\n",
            grouped(self.read),
            size(self.bytes),
            elapsed(took),
            grouped(rate(self.read, took)),
        );
        for (name, count, remark) in self.rows() {
            let row = format!("  {name:<10} {:>12}  {remark}", grouped(count));
            out.push_str(row.trim_end());
            out.push('\n');
        }
        for (reason, entry) in &self.invalid_by_reason {
            let places = render_places(&entry.first, entry.count, sources);
            let _ = writeln!(out, "    {:>12}  {reason}: {places}", grouped(entry.count));
        }
        if !self.verified {
            out.push_str("signatures were not checked (--no-verify)\n");
        }
        if self.interrupted {
            out.push_str(
                "interrupted: what is counted is stored; running the import again goes on safely\n",
            );
        }
        out
    }

    /// The counts in order; those that are nothing to speak of only where they are not zero.
    fn rows(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> {
        [
            ("stored", self.stored, "", true),
            ("duplicate", self.duplicate, "already in the store", true),
            ("replaced", self.replaced, "the store has a later version", true),
            ("deleted", self.deleted, "deleted by their author", true),
            ("vanished", self.vanished, "who they are by or for asked to vanish", false),
            ("expired", self.expired, "past their expiration", false),
            ("ephemeral", self.ephemeral, "never stored", false),
            ("invalid", self.invalid, "", true),
        ]
        .into_iter()
        .filter(|(_, count, _, always)| *always || *count > 0)
        .map(|(name, count, remark, _)| (name, count, remark))
    }
}

fn render_places(first: &[Place], count: u64, sources: usize) -> String {
    let word = if count == 1 && sources == 1 { "line " } else { "lines " };
    let mut out = if sources == 1 { word.to_owned() } else { String::new() };
    for (index, place) in first.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        if sources > 1 {
            let _ = write!(out, "{}:", place.source);
        }
        let _ = write!(out, "{}", place.line);
    }
    if count > first.len() as u64 {
        out.push_str(", ...");
    }
    out
}

/// Most reasons that are told apart; errors that quote their input could be without number.
const REASONS_MAX: usize = 100;

/// Most lines that are named for one reason.
const PLACES_MAX: usize = 5;

const OTHER_REASONS: &str = "other reasons";

#[cfg(test)]
mod tests {
    use super::*;

    fn place(source: &str, line: u64) -> Place {
        Place { source: source.to_owned(), line }
    }

    fn summary() -> Summary {
        let mut summary = Summary {
            read: 12_345,
            bytes: 11_900_000,
            stored: 12_000,
            duplicate: 300,
            replaced: 30,
            deleted: 5,
            verified: true,
            seconds: 2.0,
            ..Summary::default()
        };
        for line in [3, 17, 20, 21, 22, 23] {
            summary.add_invalid("the signature is wrong", || place("a.jsonl", line));
        }
        summary.add_invalid("not JSON", || place("b.jsonl", 9));
        summary
    }

    #[test]
    fn the_summary_is_rendered_for_people() {
        let expected = "\
read 12,345 lines (11.9 MB) in 2.0 s, 6,173 a second
  stored           12,000
  duplicate           300  already in the store
  replaced             30  the store has a later version
  deleted               5  deleted by their author
  invalid               7
               1  not JSON: line 9
               6  the signature is wrong: lines 3, 17, 20, 21, 22, ...
";
        assert_eq!(summary().render(1), expected);
        let of_two = summary().render(2);
        assert!(of_two.contains("not JSON: b.jsonl:9\n"));
        assert!(of_two.contains("wrong: a.jsonl:3, a.jsonl:17, "));
    }

    #[test]
    fn what_was_left_out_is_said() {
        let summary =
            Summary { verified: false, interrupted: true, expired: 1, ephemeral: 2, ..summary() };
        let text = summary.render(1);
        for part in [
            "  expired               1  past their expiration\n",
            "  ephemeral             2  never stored\n",
            "signatures were not checked (--no-verify)\n",
            "interrupted: ",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn reasons_without_number_are_bounded() {
        let mut summary = Summary::default();
        for number in 0..1_000 {
            summary.add_invalid(&format!("found {number}"), || place("a", number));
        }
        assert_eq!(summary.invalid, 1_000);
        assert_eq!(summary.invalid_by_reason.len(), REASONS_MAX + 1);
        let counted: u64 = summary.invalid_by_reason.values().map(|reason| reason.count).sum();
        assert_eq!(counted, 1_000);
    }
}
