//! The living events of a snapshot as an ordered set with sums, for reconciling (NIP-77).
//!
//! It is read from the cells of merged events and the sums of the others, part of time by part of
//! time, and only as deep as it is asked for; what was read is kept until another part is needed.
//! Questions come in order of time, so the next answer mostly lies where the last one did. Events
//! that are set aside are not in it, but for those it is given as [`Extra`].

use super::cells::{self, Cells, Node, PARTS, SPLIT};
use super::error::StoreError;
use super::key::{Range, TIME_MAX};
use super::overlay::Layers;
use super::snapshot::{Snapshot, View};
use super::sums::{Extra, Span, Stretch, is_set_aside_kind};
use crate::nostr::Kind;
use crate::reconcile::{Item, Items, Sum};
use crate::seq::Seq;

/// Why a set cannot be read.
#[derive(Debug)]
pub(crate) enum TreeError {
    /// The snapshot was taken while a merge ended; another one is needed.
    Moved,
    /// The store cannot be read.
    Store(StoreError),
}

impl From<StoreError> for TreeError {
    fn from(error: StoreError) -> TreeError {
        TreeError::Store(error)
    }
}

/// The events of a snapshot in order of time and id.
pub(crate) struct TimeTree<'t> {
    view: View<'t>,
    /// The layers of the blocks alone.
    base: Layers,
    extra: &'t Extra,
    /// The nodes that are open, each a part of the one before.
    path: Vec<Open>,
    leaf: Option<Leaf>,
}

/// A node with the sums of its parts.
struct Open {
    node: Node,
    /// The cells of merged events.
    merged: Cells,
    /// The sum of all that lies before each part, and behind the last one.
    before: [Sum; PARTS + 1],
}

/// A stretch of time with its events.
struct Leaf {
    node: Node,
    items: Vec<Item>,
    /// The sum of all that lies before each item, and behind the last one.
    before: Vec<Sum>,
}

/// What is looked for.
#[derive(Clone, Copy)]
enum Target {
    /// What lies before so many items.
    Rank(u64),
    /// The item with so many before it.
    Item(u64),
    /// What lies below this item.
    Bound(Item),
}

/// Whether records are asked if their events expire, so that they are set aside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Records {
    /// They need not be: those that do are extra.
    Trusted,
    Asked,
}

/// Where it is.
enum Place {
    /// Between two nodes, with this before it.
    Edge(Sum),
    /// In the leaf that was read last.
    Leaf,
}

impl<'t> TimeTree<'t> {
    /// Returns the events of a snapshot and those of `extra`.
    ///
    /// # Errors
    ///
    /// If the snapshot was taken while a merge ended, or the store cannot be read.
    pub(crate) fn new(
        snapshot: &'t Snapshot<'_>,
        extra: &'t Extra,
    ) -> Result<TimeTree<'t>, TreeError> {
        let view = snapshot.view();
        if !snapshot.is_at_merge_mark()? {
            return Err(TreeError::Moved);
        }
        Ok(TimeTree { view, base: view.layers.base(), extra, path: Vec::new(), leaf: None })
    }

    /// Finds a target; opens what is needed to.
    fn find(&mut self, target: Target) -> Result<Place, TreeError> {
        if self.path.is_empty() && self.leaf.is_none() {
            match self.open_root()? {
                Some(root) => self.path.push(root),
                None => {
                    let items = self.read(Node::ROOT.span(), Records::Asked)?;
                    self.leaf = Some(Leaf::new(Node::ROOT, items, Sum::ZERO));
                }
            }
        }
        let mut depth = 0;
        while let Some(open) = self.path.get(depth) {
            let part = open.part_of(target);
            if let Some(sum) = open.edge(part, target) {
                return Ok(Place::Edge(sum));
            }
            let node = open.node.part(part);
            depth += 1;
            if self.path.get(depth).is_some_and(|next| next.node == node) {
                continue;
            }
            if self.leaf.as_ref().is_some_and(|leaf| leaf.node == node) {
                return Ok(Place::Leaf);
            }
            let (merged, begin, end) =
                (open.merged[part], open.before[part], open.before[part + 1]);
            self.path.truncate(depth);
            if let Some(next) = self.open_part(node, merged, begin, end)? {
                self.path.push(next);
                continue;
            }
            let items = self.read_known(node.span(), end - begin)?;
            self.leaf = Some(Leaf::new(node, items, begin));
        }
        Ok(Place::Leaf)
    }

    fn leaf(&self) -> &Leaf {
        self.leaf.as_ref().expect("whoever finds a leaf has read it")
    }

    fn open_root(&self) -> Result<Option<Open>, TreeError> {
        let row = cells::read(self.view.store, self.view.txn, Node::ROOT)?;
        let is_unmerged = self.base.last == Seq::ZERO;
        let merged = row.or(is_unmerged.then_some([Sum::ZERO; PARTS]));
        Ok(merged.map(|merged| self.open(Node::ROOT, merged, Sum::ZERO)))
    }

    /// Opens a part of a node if that is better than reading its events.
    fn open_part(
        &self,
        node: Node,
        merged: Sum,
        begin: Sum,
        end: Sum,
    ) -> Result<Option<Open>, TreeError> {
        if node.is_second() {
            return Ok(None);
        }
        if merged.count() >= SPLIT
            && let Some(cells) = cells::read(self.view.store, self.view.txn, node)?
        {
            return Ok(Some(self.open(node, cells, begin)));
        }
        let is_divisible = merged == Sum::ZERO && end.count() - begin.count() >= SPLIT;
        Ok(is_divisible.then(|| self.open(node, [Sum::ZERO; PARTS], begin)))
    }

    fn open(&self, node: Node, merged: Cells, begin: Sum) -> Open {
        let added: Vec<Stretch<'_>> = self.added(node.span()).collect();
        let removed: Vec<Stretch<'_>> = self.removed(node.span()).collect();
        let mut before = [begin; PARTS + 1];
        let mut sum = begin;
        for part in 0..PARTS {
            let span = node.part(part).span();
            sum += merged[part];
            for stretch in &added {
                sum += stretch.within(span).sum();
            }
            for stretch in &removed {
                sum -= stretch.within(span).sum();
            }
            before[part + 1] = sum;
        }
        Open { node, merged, before }
    }

    /// Returns what the cells do not have.
    fn added(&self, span: Span) -> impl Iterator<Item = Stretch<'_>> {
        let recent = self.view.layers.overlays().flat_map(move |it| it.added().within(span));
        recent.chain([self.extra.all().within(span)])
    }

    /// Returns what cells and additions have, but is dead.
    fn removed(&self, span: Span) -> impl Iterator<Item = Stretch<'_>> {
        self.view.layers.overlays().flat_map(move |it| it.removed().within(span))
    }

    /// Reads the items of a stretch of time of which the sum is known.
    fn read_known(&self, span: Span, sum: Sum) -> Result<Vec<Item>, TreeError> {
        // Of those that expire all that may be seen are extra, mostly; the sum tells.
        for records in [Records::Trusted, Records::Asked] {
            let items = self.read(span, records)?;
            if items.iter().fold(Sum::ZERO, |sum, item| sum + Sum::of(&item.id)) == sum {
                return Ok(items);
            }
        }
        // Blocks that a merge has changed since the layers were taken.
        Err(TreeError::Moved)
    }

    /// Reads the items of a stretch of time.
    fn read(&self, span: Span, records: Records) -> Result<Vec<Item>, TreeError> {
        let merged = View::new(self.view.store, self.view.txn, &self.base);
        let mut scan = merged.scan(Range::time(span.first, span.last))?;
        let mut found = Vec::new();
        while let Some(entry) = scan.next()? {
            if !entry.kind().is_some_and(|kind| is_set_aside_kind(Kind(kind))) {
                found.push(entry.seq());
            }
        }
        let mut items = Vec::with_capacity(found.len());
        for (at, seq) in found.iter().enumerate() {
            // The processor fetches the next records while it reads this one.
            found.get(at + APPROACHED).inspect(|seq| merged.approach(**seq));
            found.get(at + EXPECTED).inspect(|seq| merged.expect_head(**seq));
            if let Some(event) = merged.record(*seq)?
                && (records == Records::Trusted || event.expiration().is_none())
            {
                items.push(Item { timestamp: event.created_at, id: event.id.0 });
            }
        }
        // They were found from the newest on, and those of a second nearly in order.
        items.reverse();
        let seconds = items.chunk_by_mut(|a, b| a.timestamp == b.timestamp);
        seconds.for_each(<[Item]>::sort_unstable);
        let added = self.added(span).flat_map(|stretch| stretch.items());
        let living = added.filter(|(seq, _)| !self.view.layers.is_dead(*seq));
        items.extend(living.map(|(_, item)| item));
        // A few sorted runs, which this sort takes as they are.
        items.sort();
        // Who expires may have been given as an extra, too.
        items.dedup();
        Ok(items)
    }

    /// Gives many items, which are read at once.
    fn visit_many(
        &mut self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(&[Item]),
    ) -> Result<(), TreeError> {
        let first = self.item(begin)?.timestamp.min(TIME_MAX);
        let last = self.item(end - 1)?.timestamp;
        let last = if last < TIME_MAX { last } else { u64::MAX };
        let from = self.lower_bound(&Item::at(first))?;
        let to = match last.checked_add(1) {
            Some(after) => self.lower_bound(&Item::at(after))?,
            None => self.count()?,
        };
        let sum = self.sum(from, to)?;
        let items = self.read_known(Span { first, last }, sum)?;
        each(items.get(begin - from..end - from).ok_or(TreeError::Moved)?);
        Ok(())
    }

    /// Returns the sum of the first `rank` items.
    fn up_to(&mut self, rank: usize) -> Result<Sum, TreeError> {
        Ok(match self.find(Target::Rank(rank as u64))? {
            Place::Edge(sum) => sum,
            Place::Leaf => self.leaf().at(rank).map_or(Sum::ZERO, |at| self.leaf().before[at]),
        })
    }
}

impl Open {
    /// Returns the part in which a target is to be looked for.
    fn part_of(&self, target: Target) -> usize {
        match target {
            Target::Rank(rank) | Target::Item(rank) => {
                let ends = &self.before[1..];
                ends.partition_point(|sum| sum.count() <= rank).min(PARTS - 1)
            }
            Target::Bound(item) => self.node.part_of(item.timestamp),
        }
    }

    /// Returns what lies before the target, if one need not look into its part to see that.
    fn edge(&self, part: usize, target: Target) -> Option<Sum> {
        let (begin, end) = (self.before[part], self.before[part + 1]);
        let first = self.node.part(part).span().first;
        match target {
            Target::Rank(rank) | Target::Item(rank) if rank >= end.count() => Some(end),
            Target::Rank(rank) if rank <= begin.count() => Some(begin),
            Target::Bound(item) if item <= Item::at(first) || begin == end => Some(begin),
            _ => None,
        }
    }
}

impl Leaf {
    fn new(node: Node, items: Vec<Item>, begin: Sum) -> Leaf {
        let mut before = Vec::with_capacity(items.len() + 1);
        let mut sum = begin;
        before.push(sum);
        for item in &items {
            sum += Sum::of(&item.id);
            before.push(sum);
        }
        Leaf { node, items, before }
    }

    /// Returns which of its items has so many before it, itself included.
    fn at(&self, rank: usize) -> Option<usize> {
        let at = rank.checked_sub(usize::try_from(self.before[0].count()).ok()?)?;
        Some(at.min(self.items.len()))
    }
}

impl Items for TimeTree<'_> {
    type Error = TreeError;

    fn count(&mut self) -> Result<usize, TreeError> {
        Ok(count(self.up_to(usize::MAX)?))
    }

    fn item(&mut self, index: usize) -> Result<Item, TreeError> {
        match self.find(Target::Item(index as u64))? {
            Place::Edge(_) => Err(TreeError::Moved),
            Place::Leaf => {
                let item = self.leaf().at(index).and_then(|at| self.leaf().items.get(at));
                item.copied().ok_or(TreeError::Moved)
            }
        }
    }

    fn visit(
        &mut self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(&[Item]),
    ) -> Result<(), TreeError> {
        let mut index = begin;
        while end - index >= MANY {
            let next = end.min(index + READ_MAX);
            self.visit_many(index, next, each)?;
            index = next;
        }
        while index < end {
            let Place::Leaf = self.find(Target::Item(index as u64))? else {
                return Err(TreeError::Moved);
            };
            let leaf = self.leaf();
            let items = leaf.at(index).map_or(&[][..], |at| &leaf.items[at..]);
            let items = &items[..items.len().min(end - index)];
            if items.is_empty() {
                return Err(TreeError::Moved);
            }
            each(items);
            index += items.len();
        }
        Ok(())
    }

    fn lower_bound(&mut self, bound: &Item) -> Result<usize, TreeError> {
        Ok(match self.find(Target::Bound(*bound))? {
            Place::Edge(sum) => count(sum),
            Place::Leaf => {
                let leaf = self.leaf();
                count(leaf.before[leaf.items.partition_point(|item| item < bound)])
            }
        })
    }

    fn sum(&mut self, begin: usize, end: usize) -> Result<Sum, TreeError> {
        // In this order what is read for the end serves the range that begins there.
        let before = self.up_to(begin)?;
        Ok(self.up_to(end)? - before)
    }
}

/// Items that are better read at once than part of time by part of time: some parts. Tests have few.
const MANY: usize = if cfg!(test) { 8 } else { 4 * SPLIT as usize };
/// Items that are read at once, of those that are wanted.
const READ_MAX: usize = 1 << 14;
/// How far ahead of a record its place is fetched, and how far the record itself.
const APPROACHED: usize = 32;
const EXPECTED: usize = 16;

fn count(sum: Sum) -> usize {
    usize::try_from(sum.count()).expect("events are fewer than addresses")
}
