//! Filters and what they match, against a plain reading; the index of subscriptions against trying
//! each.
//!
//! An input is a filter, and events behind it, with the byte 0x1e between them.

use std::sync::Arc;

use chappe::fanout::{SubKey, SubscriptionIndex};
use chappe::nostr::{Event, Filter};
use fastrand::Rng;

use super::{Target, damaged};
use crate::fuzz::grammar;
use crate::fuzz::reading;
use crate::fuzz::tree::{NoTree, Tree};

pub(super) struct Filters {
    /// Filters of earlier cases, the latest last; all are in the index, too.
    others: Vec<Arc<[Filter]>>,
    index: SubscriptionIndex,
    next: u32,
}

/// Subscriptions in the index at a time.
const OTHERS: usize = 24;

impl Filters {
    pub(super) fn new() -> Self {
        Self { others: Vec::new(), index: SubscriptionIndex::new(7), next: 0 }
    }

    /// Subscribes to a filter together with another, in place of the oldest subscription.
    fn subscribe(&mut self, filter: &Filter) {
        let mut filters = vec![filter.clone()];
        if let Some(last) = self.others.last().filter(|_| self.next.is_multiple_of(3)) {
            filters.push(last[0].clone());
        }
        let filters: Arc<[Filter]> = filters.into();
        self.index.insert(key(self.next), Arc::clone(&filters));
        self.next += 1;
        self.others.push(filters);
        if self.others.len() > OTHERS {
            self.others.remove(0);
            self.index.remove(key(self.next - 1 - OTHERS as u32));
        }
        assert_eq!(self.index.count(), self.others.len());
    }

    fn compare_index(&mut self, event: &Event) {
        let mut found = Vec::new();
        self.index.matches(&event.view(), &mut found);
        found.sort_unstable();
        let first = self.next - self.others.len() as u32;
        let mut expected: Vec<SubKey> = (first..)
            .zip(&self.others)
            .filter(|(_, filters)| filters.iter().any(|filter| filter.matches(&event.view())))
            .map(|(number, _)| key(number))
            .collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "subscriptions that match");
    }
}

fn key(number: u32) -> SubKey {
    SubKey { connection: number % 3, subscription: number }
}

impl Target for Filters {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let (mut first, mut second) = (String::new(), String::new());
        let filter = grammar::filter(rng);
        filter.spell(rng, &mut first);
        grammar::filter(rng).spell(rng, &mut second);
        let mut input =
            if rng.bool() { first.into_bytes() } else { damaged(first, second.as_bytes(), rng) };
        for _ in 0..rng.usize(1..4) {
            let mut event = String::new();
            grammar::event(rng).spell(rng, &mut event);
            input.push(SEPARATOR);
            input.extend_from_slice(event.as_bytes());
        }
        input
    }

    fn check(&mut self, input: &[u8]) {
        let mut parts = input.split(|byte| *byte == SEPARATOR);
        let text = parts.next().unwrap_or_default();
        let (filter, tree) = match (Filter::parse(text), Tree::parse(text)) {
            (_, Err(NoTree::Beyond)) => return,
            (Ok(filter), Ok(tree)) if reading::is_filter(&tree) => (filter, tree),
            (Err(_), Err(NoTree::Wrong)) => return,
            (Err(_), Ok(tree)) if !reading::is_filter(&tree) => return,
            (ours, theirs) => panic!("read as {ours:?}\nmeant as {theirs:?}"),
        };
        check_form(&filter);
        self.subscribe(&filter);
        for text in parts {
            let (Ok(event), Ok(event_tree)) = (Event::parse(text), Tree::parse(text)) else {
                continue;
            };
            let plain = reading::event(&event_tree).expect("both read an event");
            let expected = reading::matches(&tree, &plain);
            assert_eq!(filter.matches(&event.view()), expected, "{filter:?}\n{plain:?}");
            assert!(!expected || !filter.matches_nothing());
            self.compare_index(&event);
        }
    }
}

fn check_form(filter: &Filter) {
    let mut json = Vec::new();
    filter.write_json(&mut json);
    assert_eq!(Filter::parse(&json).as_ref(), Ok(filter), "written and read again");
    let tree = Tree::parse(&json).expect("filters are written as JSON");
    assert!(reading::is_filter(&tree));
    assert!(filter.memory_bytes() <= 1_000 + 60 * json.len(), "memory is bounded");
}

const SEPARATOR: u8 = 0x1e;
