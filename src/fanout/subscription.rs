//! A subscription as the index sees it: its key, and the condition each of its filters is filed
//! under.
//!
//! An event can only match a filter if it meets every condition, so filing the filter under one of
//! them is enough to find it; the fewer events meet that condition, the fewer candidates are tried
//! in vain.

use std::hash::{BuildHasher, Hasher};

use crate::nostr::{EventId, Filter, PublicKey, TagCondition, TagMode, TagValue, Value};

/// Names one subscription of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubKey {
    /// The connection's number on its core.
    pub connection: u32,
    /// The subscription's number on its connection.
    pub subscription: u32,
}

/// One value of one condition of a filter: what postings are filed and looked up under.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition<'a> {
    Id(&'a EventId),
    Author(&'a PublicKey),
    Tag(u8, Value<'a>),
    Kind(u16),
}

impl Condition<'_> {
    /// The number the postings of this condition are kept under. Two conditions may share one: that
    /// costs a filter match in vain and nothing else.
    pub(super) fn hash(&self, state: &impl BuildHasher) -> u64 {
        let mut hasher = state.build_hasher();
        match *self {
            Condition::Id(id) => {
                hasher.write_u8(0);
                hasher.write(&id.0);
            }
            Condition::Author(author) => {
                hasher.write_u8(1);
                hasher.write(&author.0);
            }
            Condition::Kind(kind) => {
                hasher.write_u8(2);
                hasher.write_u16(kind);
            }
            Condition::Tag(letter, Value::Hex(value)) => {
                hasher.write_u16(u16::from_be_bytes([3, letter]));
                hasher.write(value);
            }
            Condition::Tag(letter, Value::Text(value)) => {
                hasher.write_u16(u16::from_be_bytes([4, letter]));
                hasher.write(value);
            }
        }
        hasher.finish()
    }
}

/// The list of a filter that it is filed under.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filing<'a> {
    /// The filter matches nothing and is filed nowhere.
    Nowhere,
    /// Under each of its ids.
    Ids(&'a [EventId]),
    /// Under each of its authors.
    Authors(&'a [PublicKey]),
    /// Under each of these values of one tag.
    Tag(u8, &'a [TagValue]),
    /// Under each of its kinds.
    Kinds(&'a [u16]),
    /// The filter names no list: every event is a candidate.
    Everything,
}

impl<'a> Filing<'a> {
    /// Chooses the list of `filter` that the fewest events are expected to meet.
    pub(super) fn of(filter: &'a Filter) -> Filing<'a> {
        if filter.matches_nothing() {
            return Filing::Nowhere;
        }
        if let Some(ids) = &filter.ids {
            return Filing::Ids(ids);
        }
        let author_cost = filter.authors.as_ref().map(|authors| authors.len());
        let tag = filter
            .tags
            .iter()
            .filter_map(|condition| Some((tag_cost(condition)?, condition)))
            .min_by_key(|(cost, _)| *cost);
        match (author_cost, tag) {
            (author_cost, Some((cost, condition))) if author_cost.is_none_or(|it| cost < it) => {
                Filing::Tag(condition.letter, tag_values(condition))
            }
            (Some(_), _) => Filing::Authors(filter.authors.as_deref().unwrap_or_default()),
            (None, _) => match &filter.kinds {
                Some(kinds) => Filing::Kinds(kinds),
                None => Filing::Everything,
            },
        }
    }

    /// Calls `visit` with every condition the filter is filed under.
    pub(super) fn conditions(self, mut visit: impl FnMut(Condition<'a>)) {
        match self {
            Filing::Nowhere | Filing::Everything => {}
            Filing::Ids(ids) => ids.iter().for_each(|id| visit(Condition::Id(id))),
            Filing::Authors(authors) => authors.iter().for_each(|it| visit(Condition::Author(it))),
            Filing::Tag(letter, values) => {
                values.iter().for_each(|value| visit(Condition::Tag(letter, value.as_value())));
            }
            Filing::Kinds(kinds) => kinds.iter().for_each(|kind| visit(Condition::Kind(*kind))),
        }
    }
}

/// The values of a condition that have to be filed: one suffices when an event must carry all.
fn tag_values(condition: &TagCondition) -> &[TagValue] {
    match condition.mode {
        TagMode::Any => &condition.values,
        TagMode::All => &condition.values[..condition.values.len().min(1)],
    }
}

/// How many authors a tag condition is worth: a hex value names one event or key, a text may be a
/// hashtag that everybody uses. `None` when there is nothing to file it under.
fn tag_cost(condition: &TagCondition) -> Option<usize> {
    let values = tag_values(condition);
    let cost = |value: &TagValue| match value {
        TagValue::Hex(_) => 1,
        TagValue::Text(_) => TEXT_COST,
    };
    (!values.is_empty()).then(|| values.iter().map(cost).sum())
}

const TEXT_COST: usize = 8;
