//! Plans: the ways in which the indexes could answer one filter.

use super::cursor::PlanName;
use crate::nostr::{Filter, Kind, KindClass, PublicKey, TagCondition, TagMode, Value};
use crate::store::{Index, Range, StoreError, View};

/// One way to answer a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    /// Look each id up.
    Ids,
    /// Read each author's kinds; without kinds in the filter, those that the author has. With them
    /// what was made in the author's name, if the filter is about that, too.
    Authors,
    /// Read the addresses that authors, kinds and `d` values make (the condition's place).
    Addresses(usize),
    /// Read the values of one tag condition: all of them, or just the one at a place.
    Tag {
        /// The condition's place in the filter.
        condition: usize,
        /// Which value is read; `None` reads all and joins them.
        value: Option<usize>,
    },
    /// Read the kinds.
    Kinds,
    /// Read everything by time.
    Time,
}

/// Beyond this many ranges a plan is not tried: opening them would cost more than it could save.
const RANGES_MAX: usize = 200_000;
/// Reading an author's one event costs about as much as stepping over this many entries of others,
/// block by block.
const ENTRIES_PER_RANGE: usize = 250;
/// Addresses are only tried while they are few.
const ADDRESSES_MAX: usize = 2_000;

/// Returns the plans that could answer a filter, the likeliest first: few ranges before many, and
/// plans that must read the record of every entry last.
///
/// `total` tells how many living events there are of a kind.
pub(super) fn candidates(filter: &Filter, total: impl Fn(u16) -> u64) -> Vec<Plan> {
    if filter.ids.is_some() {
        // Nothing else can touch less than the ids themselves.
        return vec![Plan::Ids];
    }
    let kinds = filter.kinds.as_ref().map_or(1, |kinds| kinds.len());
    let mut plans = Vec::new();
    if let Some(authors) = &filter.authors {
        if authors.len().saturating_mul(kinds) <= RANGES_MAX {
            plans.push((authors.len().saturating_mul(kinds), Plan::Authors));
        }
        for (place, condition) in filter.tags.iter().enumerate() {
            let count = authors.len().saturating_mul(kinds).saturating_mul(condition.values.len());
            let is_address = is_address(filter, condition) && !filter.by_delegation;
            if is_address && count <= ADDRESSES_MAX {
                // Nearly every range holds one event at most: nothing can be cheaper.
                return vec![Plan::Addresses(place)];
            }
        }
    }
    for (condition, tag) in filter.tags.iter().enumerate() {
        match tag.mode {
            TagMode::Any => {
                let count = tag.values.len().saturating_mul(kinds);
                if count <= RANGES_MAX {
                    plans.push((count, Plan::Tag { condition, value: None }));
                }
            }
            TagMode::All => {
                for value in 0..tag.values.len().min(3) {
                    plans.push((kinds, Plan::Tag { condition, value: Some(value) }));
                }
            }
        }
    }
    // Their entries tell the author and the kind, but nothing of tags.
    let is_blind = !filter.tags.is_empty() || filter.by_delegation;
    let last = if is_blind { usize::MAX } else { 0 };
    match &filter.kinds {
        Some(kinds) => {
            // Of replaceable kinds each author has one event, so that few of many fit: there the
            // kinds would be read to their end.
            let is_scarce = kinds.iter().all(|kind| Kind(*kind).is_replaceable());
            let entries = usize::try_from(kinds.iter().map(|kind| total(*kind)).sum::<u64>());
            let first =
                if is_scarce { entries.unwrap_or(usize::MAX) / ENTRIES_PER_RANGE } else { 0 };
            plans.push((kinds.len().max(first).max(last), Plan::Kinds));
        }
        None => plans.push((1.max(last), Plan::Time)),
    }
    plans.sort_by_key(|(ranges, _)| *ranges);
    plans.into_iter().map(|(_, plan)| plan).collect()
}

fn is_address(filter: &Filter, condition: &TagCondition) -> bool {
    let is_addressable = |kind: &u16| Kind(*kind).class() == KindClass::Addressable;
    condition.letter == b'd'
        && condition.mode == TagMode::Any
        && filter.kinds.as_ref().is_some_and(|kinds| kinds.iter().all(is_addressable))
}

impl Plan {
    /// Returns the name of this way.
    pub(super) fn name(&self) -> PlanName {
        match self {
            Plan::Ids => PlanName::Ids,
            Plan::Authors => PlanName::Authors,
            Plan::Addresses(_) => PlanName::Addresses,
            Plan::Tag { .. } => PlanName::Tag,
            Plan::Kinds => PlanName::Kinds,
            Plan::Time => PlanName::Time,
        }
    }

    /// Returns the index that the plan reads.
    pub(super) fn index(&self) -> Index {
        match self {
            Plan::Ids => Index::ById,
            Plan::Authors => Index::ByAuthorKind,
            Plan::Addresses(_) | Plan::Tag { .. } => Index::ByTag,
            Plan::Kinds => Index::ByKind,
            Plan::Time => Index::ByTime,
        }
    }

    /// Returns about how many ranges the plan opens.
    pub(super) fn range_count(&self, filter: &Filter) -> usize {
        let kinds = filter.kinds.as_ref().map_or(4, |kinds| kinds.len());
        let authors = filter.authors.as_ref().map_or(1, |authors| authors.len());
        match self {
            Plan::Ids => filter.ids.as_ref().map_or(0, |ids| ids.len()),
            Plan::Authors => authors * kinds * (1 + usize::from(filter.by_delegation)),
            Plan::Addresses(place) => authors * kinds * filter.tags[*place].values.len(),
            Plan::Tag { condition, value: None } => filter.tags[*condition].values.len() * kinds,
            Plan::Tag { value: Some(_), .. } | Plan::Kinds => kinds,
            Plan::Time => 1,
        }
    }

    /// Returns whether a hit of this plan needs no look at its record: the key proves the match.
    pub(super) fn is_proof(&self, filter: &Filter) -> bool {
        match self {
            Plan::Ids | Plan::Addresses(_) => false,
            Plan::Authors => filter.tags.is_empty() && !filter.by_delegation,
            Plan::Tag { condition, .. } => {
                let is_single = filter.tags[*condition].values.len() == 1;
                is_single && filter.tags.len() == 1 && filter.authors.is_none()
            }
            Plan::Kinds | Plan::Time => filter.tags.is_empty() && filter.authors.is_none(),
        }
    }

    /// Returns the ranges to read, from `since` to `until`.
    ///
    /// # Errors
    ///
    /// If the kinds of an author or a tag value have to be found and cannot be read.
    pub(super) fn ranges(
        &self,
        view: &View<'_>,
        filter: &Filter,
        since: u64,
        until: u64,
    ) -> Result<Vec<Range>, StoreError> {
        let mut ranges = Vec::new();
        match self {
            Plan::Ids => {
                ranges.extend(filter.ids.iter().flatten().map(Range::id));
            }
            Plan::Authors => {
                for author in filter.authors.iter().flatten() {
                    author_ranges(view, filter, author, since, until, &mut ranges)?;
                    if filter.by_delegation {
                        let hash = view.salt().delegator(author);
                        tag_ranges(view, filter, hash, since, until, &mut ranges)?;
                    }
                }
            }
            Plan::Addresses(place) => {
                address_ranges(view, filter, &filter.tags[*place], until, &mut ranges);
            }
            Plan::Tag { condition, value } => {
                let condition = &filter.tags[*condition];
                for (place, tag) in condition.values.iter().enumerate() {
                    if value.is_none_or(|chosen| chosen == place) {
                        let hash = view.salt().tag(condition.letter, tag.as_value());
                        tag_ranges(view, filter, hash, since, until, &mut ranges)?;
                    }
                }
            }
            Plan::Kinds => {
                let kinds = filter.kinds.iter().flatten();
                ranges.extend(kinds.map(|kind| Range::kind(*kind, since, until)));
            }
            Plan::Time => ranges.push(Range::time(since, until)),
        }
        Ok(ranges)
    }
}

fn author_ranges(
    view: &View<'_>,
    filter: &Filter,
    author: &PublicKey,
    since: u64,
    until: u64,
    ranges: &mut Vec<Range>,
) -> Result<(), StoreError> {
    if let Some(kinds) = &filter.kinds {
        ranges.extend(kinds.iter().map(|kind| Range::author_kind(author, *kind, since, until)));
        return Ok(());
    }
    each_kind(
        view,
        |kind| Range::author_to_kind(author, kind),
        |kind| {
            ranges.push(Range::author_kind(author, kind, since, until));
        },
    )
}

fn tag_ranges(
    view: &View<'_>,
    filter: &Filter,
    hash: [u8; 8],
    since: u64,
    until: u64,
    ranges: &mut Vec<Range>,
) -> Result<(), StoreError> {
    if let Some(kinds) = &filter.kinds {
        ranges.extend(kinds.iter().map(|kind| Range::tag_kind(hash, *kind, since, until)));
        return Ok(());
    }
    each_kind(
        view,
        |kind| Range::tag_to_kind(hash, kind),
        |kind| {
            ranges.push(Range::tag_kind(hash, kind, since, until));
        },
    )
}

/// Finds the kinds that stand in an index under one prefix: one seek for each.
fn each_kind(
    view: &View<'_>,
    up_to: impl Fn(u16) -> Range,
    mut found: impl FnMut(u16),
) -> Result<(), StoreError> {
    let mut highest = u16::MAX;
    while let Some(kind) = view.scan(up_to(highest))?.next()?.and_then(|entry| entry.kind()) {
        if kind > highest {
            // Only a damaged index gives what was not asked for; it would do so for ever.
            break;
        }
        found(kind);
        match kind.checked_sub(1) {
            Some(below) => highest = below,
            None => break,
        }
    }
    Ok(())
}

fn address_ranges(
    view: &View<'_>,
    filter: &Filter,
    condition: &TagCondition,
    until: u64,
    ranges: &mut Vec<Range>,
) {
    for author in filter.authors.iter().flatten() {
        for kind in filter.kinds.iter().flatten() {
            for value in &condition.values {
                let identifier: Value<'_> = value.as_value();
                let hash = view.salt().address(*kind, author, identifier);
                ranges.push(Range::tag_kind(hash, *kind, 0, until));
            }
        }
    }
}
