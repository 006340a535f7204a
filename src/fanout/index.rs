//! The subscription index of one core: which subscriptions does this event match?
//!
//! Every filter is filed under the values of its most selective list (`subscription.rs`). An event
//! looks up its id, its author, the values of its tags, its kind and the filters without any list;
//! each candidate is then matched in full, so the index decides only what is tried, never what
//! matches.
//!
//! Sketch: a posting is a slot and a filter number (8 bytes). All conditions share one table from
//! the keyed 64-bit hash of the condition to its postings, one of which is kept in place: 25 bytes
//! an entry. A subscription adds its key (12 bytes in a table) and its slot (32 bytes). The filters
//! themselves are shared with the query and dominate.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::subscription::{Condition, Filing, SubKey};
use crate::nostr::{EventRef, Filter, PublicKey, Value, delegation};

/// The subscriptions of one core, found by the events they match.
pub struct SubscriptionIndex {
    /// Keyed, so that nobody can choose filters that collide.
    state: FixedState,
    postings: HashMap<u64, Posting, BuildHasherDefault<Hashed>>,
    /// The filters that name no list.
    everything: Vec<Target>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: HashMap<SubKey, u32, FixedState>,
    /// How many filters are also about what is made in their authors' names (NIP-26).
    by_delegation: u32,
    /// How many postings there are of each group, so that an event skips what nobody asks for.
    groups: [u32; GROUP_COUNT],
    /// The number of the event being matched; a slot that carries it has matched already.
    stamp: u32,
}

impl SubscriptionIndex {
    /// Creates an empty index; `seed` should not be known to clients.
    pub fn new(seed: u64) -> SubscriptionIndex {
        let state = FixedState::with_seed(seed);
        SubscriptionIndex {
            state: state.clone(),
            postings: HashMap::default(),
            everything: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::with_hasher(state),
            by_delegation: 0,
            groups: [0; GROUP_COUNT],
            stamp: 0,
        }
    }

    /// Adds a subscription, in place of any that had its key.
    pub fn insert(&mut self, key: SubKey, filters: Arc<[Filter]>) {
        self.remove(key);
        let slot = self.take_slot(key, Arc::clone(&filters));
        self.by_key.insert(key, slot);
        for (number, filter) in (0..).zip(filters.iter()) {
            let target = Target { slot, filter: number };
            self.by_delegation += u32::from(filter.by_delegation);
            let filing = Filing::of(filter);
            if let Filing::Everything = filing {
                self.everything.push(target);
            }
            filing.conditions(|condition| {
                self.groups[group(&condition)] += 1;
                match self.postings.entry(condition.hash(&self.state)) {
                    Entry::Occupied(mut entry) => entry.get_mut().add(target),
                    Entry::Vacant(entry) => {
                        entry.insert(Posting::One(target));
                    }
                }
            });
        }
    }

    /// Removes a subscription, if there is one of this key.
    pub fn remove(&mut self, key: SubKey) {
        let Some(slot) = self.by_key.remove(&key) else { return };
        let filters = std::mem::take(&mut self.slots[slot as usize].filters);
        self.free.push(slot);
        for (number, filter) in (0..).zip(filters.iter()) {
            let target = Target { slot, filter: number };
            self.by_delegation -= u32::from(filter.by_delegation);
            let filing = Filing::of(filter);
            if let Filing::Everything = filing {
                remove_target(&mut self.everything, target);
            }
            filing.conditions(|condition| {
                self.groups[group(&condition)] -= 1;
                let Entry::Occupied(mut entry) = self.postings.entry(condition.hash(&self.state))
                else {
                    return;
                };
                if entry.get_mut().remove(target) == Left::Nothing {
                    entry.remove();
                }
            });
        }
        self.give_back();
    }

    /// Returns what a subscription asks for, if there is one of this key.
    pub fn filters(&self, key: SubKey) -> Option<&Arc<[Filter]>> {
        self.by_key.get(&key).map(|slot| &self.slots[*slot as usize].filters)
    }

    /// Appends the key of every subscription that `event` matches to `found`, each once.
    pub fn matches(&mut self, event: &EventRef<'_>, found: &mut Vec<SubKey>) {
        if self.by_key.is_empty() {
            return;
        }
        self.advance_stamp();
        let delegator = if self.by_delegation > 0 { delegation::delegator_of(event) } else { None };
        let slots = &mut self.slots;
        let mut search = Search { event, delegator, slots, stamp: self.stamp, found };
        search.try_all(&self.everything);
        let (state, postings, groups) = (&self.state, &self.postings, &self.groups);
        let mut look_up = |condition: Condition<'_>| {
            if groups[group(&condition)] == 0 {
                return;
            }
            if let Some(posting) = postings.get(&condition.hash(state)) {
                search.try_all(posting.targets());
            }
        };
        look_up(Condition::Id(event.id));
        look_up(Condition::Author(event.pubkey));
        if let Some(delegator) = delegator {
            look_up(Condition::Author(delegator));
        }
        look_up(Condition::Kind(event.kind.0));
        for tag in event.tags() {
            if let (Some(letter), Some(value)) = (tag.letter(), tag.value()) {
                look_up(Condition::Tag(letter, value));
            }
        }
        // NIP-01.39: an addressable event without a `d` tag has the identifier "".
        if event.has_address() {
            look_up(Condition::Tag(b'd', Value::Text(b"")));
        }
    }

    /// Returns how many subscriptions there are.
    pub fn count(&self) -> usize {
        self.by_key.len()
    }

    fn take_slot(&mut self, key: SubKey, filters: Arc<[Filter]>) -> u32 {
        let entry = Slot { key, filters, stamp: self.stamp };
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = entry;
                slot
            }
            None => {
                let slot = u32::try_from(self.slots.len())
                    .expect("fewer subscriptions than 2^32 fit into memory");
                self.slots.push(entry);
                slot
            }
        }
    }

    /// Returns memory to the allocator once most of it is unused.
    fn give_back(&mut self) {
        if self.by_key.is_empty() {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.everything = Vec::new();
        }
        if self.postings.capacity() > SHRINK_ABOVE.max(self.postings.len() * 8) {
            self.postings.shrink_to(self.postings.len() * 2);
        }
        if self.by_key.capacity() > SHRINK_ABOVE.max(self.by_key.len() * 8) {
            self.by_key.shrink_to(self.by_key.len() * 2);
        }
    }

    fn advance_stamp(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            // After 2^32 events a slot could still carry its old stamp.
            self.slots.iter_mut().for_each(|slot| slot.stamp = 0);
            self.stamp = 1;
        }
    }
}

/// One event on its way through the candidates.
struct Search<'a> {
    event: &'a EventRef<'a>,
    /// In whose name it was made.
    delegator: Option<&'a PublicKey>,
    slots: &'a mut [Slot],
    stamp: u32,
    found: &'a mut Vec<SubKey>,
}

impl Search<'_> {
    fn try_all(&mut self, targets: &[Target]) {
        for target in targets {
            let slot = &mut self.slots[target.slot as usize];
            if slot.stamp == self.stamp {
                continue;
            }
            if slot.filters[target.filter as usize].matches_as(self.event, |_| self.delegator) {
                slot.stamp = self.stamp;
                self.found.push(slot.key);
            }
        }
    }
}

/// One subscription.
struct Slot {
    key: SubKey,
    /// Empty in a free slot.
    filters: Arc<[Filter]>,
    stamp: u32,
}

/// One filter of one subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Target {
    slot: u32,
    filter: u32,
}

/// The filters filed under one condition.
#[derive(Debug)]
enum Posting {
    One(Target),
    #[expect(clippy::box_collection, reason = "most postings hold one target; 16 bytes, not 24")]
    Many(Box<Vec<Target>>),
}

#[derive(PartialEq, Eq, Debug)]
enum Left {
    Nothing,
    Some,
}

impl Posting {
    fn targets(&self) -> &[Target] {
        match self {
            Posting::One(target) => std::slice::from_ref(target),
            Posting::Many(targets) => targets,
        }
    }

    fn add(&mut self, target: Target) {
        match self {
            Posting::One(first) => *self = Posting::Many(Box::new(vec![*first, target])),
            Posting::Many(targets) => targets.push(target),
        }
    }

    fn remove(&mut self, target: Target) -> Left {
        match self {
            Posting::One(only) if *only == target => Left::Nothing,
            Posting::One(_) => Left::Some,
            Posting::Many(targets) => {
                remove_target(targets, target);
                if let [only] = targets.as_slice() {
                    *self = Posting::One(*only);
                }
                Left::Some
            }
        }
    }
}

/// Removes `target` where it stands; the order of a list means nothing.
fn remove_target(targets: &mut Vec<Target>, target: Target) {
    if let Some(at) = targets.iter().position(|it| *it == target) {
        targets.swap_remove(at);
    }
    if targets.capacity() > SHRINK_ABOVE.max(targets.len() * 8) {
        targets.shrink_to(targets.len() * 2);
    }
}

/// The group a condition is counted in.
fn group(condition: &Condition<'_>) -> usize {
    match condition {
        Condition::Id(_) => 0,
        Condition::Author(_) => 1,
        Condition::Kind(_) => 2,
        // A letter is ASCII; the mask only keeps the compiler from having to believe it.
        Condition::Tag(letter, _) => 3 + usize::from(letter & 0x3f),
    }
}

const GROUP_COUNT: usize = 3 + 64;

/// Tables and lists below this capacity are not worth shrinking.
const SHRINK_ABOVE: usize = 64;

/// Takes a number that is a hash already as its own hash.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the table's keys are u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Event;

    #[test]
    fn the_index_finds_what_trying_every_filter_finds() {
        for seed in 0..300 {
            println!("seed {seed}");
            check_against_model(&mut fastrand::Rng::with_seed(seed));
        }
    }

    #[test]
    fn a_subscription_is_found_once_though_several_filters_match() {
        let mut index = SubscriptionIndex::new(1);
        let filters = [r#"{"kinds":[1]}"#, r#"{}"#, r#"{"authors":["AA"]}"#, r##"{"#t":["x"]}"##];
        index.insert(key(7, 9), filters_of(&filters.map(String::from)));
        let event = event(1, 'A', 'B', &[r#"["t","x"]"#, r#"["t","x"]"#]);
        assert_eq!(found(&mut index, &event), [key(7, 9)]);
    }

    #[test]
    fn an_inserted_key_takes_the_place_of_the_former_subscription() {
        let mut index = SubscriptionIndex::new(1);
        index.insert(key(1, 1), filters_of(&[r#"{"kinds":[1]}"#.into()]));
        index.insert(key(1, 1), filters_of(&[r#"{"kinds":[2]}"#.into()]));
        assert_eq!(index.count(), 1);
        assert_eq!(found(&mut index, &event(1, 'A', 'B', &[])), []);
        assert_eq!(found(&mut index, &event(2, 'A', 'B', &[])), [key(1, 1)]);
    }

    #[test]
    fn a_filter_with_an_empty_list_is_filed_nowhere() {
        let mut index = SubscriptionIndex::new(1);
        index.insert(key(1, 1), filters_of(&[r#"{"ids":[]}"#.into()]));
        assert!(index.postings.is_empty());
        assert!(index.everything.is_empty());
        assert_eq!(found(&mut index, &event(1, 'A', 'B', &[])), []);
    }

    #[test]
    fn one_value_is_enough_where_an_event_must_carry_all() {
        let mut index = SubscriptionIndex::new(1);
        index.insert(key(1, 1), filters_of(&[r#"{"&t":["a","b"]}"#.into()]));
        assert_eq!(index.postings.len(), 1);
        assert_eq!(found(&mut index, &event(1, 'A', 'B', &[r#"["t","a"]"#])), []);
        let both = event(1, 'A', 'B', &[r#"["t","b"]"#, r#"["t","a"]"#]);
        assert_eq!(found(&mut index, &both), [key(1, 1)]);
    }

    #[test]
    fn an_addressable_event_without_d_is_found_by_the_empty_identifier() {
        let mut index = SubscriptionIndex::new(1);
        index.insert(key(1, 1), filters_of(&[r##"{"#d":[""]}"##.into()]));
        assert_eq!(found(&mut index, &event(30_000, 'A', 'B', &[])), [key(1, 1)]);
        assert_eq!(found(&mut index, &event(1, 'A', 'B', &[])), []);
    }

    #[test]
    fn the_stamp_survives_its_own_overflow() {
        let mut index = SubscriptionIndex::new(1);
        index.stamp = u32::MAX - 1;
        index.insert(key(1, 1), filters_of(&["{}".into()]));
        for _ in 0..4 {
            assert_eq!(found(&mut index, &event(1, 'A', 'B', &[])), [key(1, 1)]);
        }
    }

    #[test]
    fn inserting_and_removing_leaves_nothing_behind() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut index = SubscriptionIndex::new(5);
        for round in 0..20_u32 {
            for number in 0..500 {
                let filters = filters_of(&random_filters(&mut random));
                index.insert(key(number, round), filters);
            }
            for number in 0..500 {
                index.remove(key(number, round));
            }
            assert_empty(&index);
        }
    }

    fn check_against_model(random: &mut fastrand::Rng) {
        let mut index = SubscriptionIndex::new(random.u64(..));
        let mut model: Vec<(SubKey, Arc<[Filter]>)> = Vec::new();
        for _ in 0..200 {
            match random.u32(..10) {
                0..4 => {
                    let key = key(random.u32(..4), random.u32(..8));
                    let filters = filters_of(&random_filters(random));
                    model.retain(|(it, _)| *it != key);
                    model.push((key, Arc::clone(&filters)));
                    index.insert(key, filters);
                }
                4..6 => {
                    let key = key(random.u32(..4), random.u32(..8));
                    model.retain(|(it, _)| *it != key);
                    index.remove(key);
                }
                _ => {
                    let event = random_event(random);
                    let mut expected: Vec<SubKey> = model
                        .iter()
                        .filter(|(_, filters)| filters.iter().any(|it| it.matches(&event.view())))
                        .map(|(key, _)| *key)
                        .collect();
                    expected.sort_unstable();
                    assert_eq!(found(&mut index, &event), expected);
                }
            }
            assert_eq!(index.count(), model.len());
        }
        for (key, _) in model {
            index.remove(key);
        }
        assert_empty(&index);
    }

    fn assert_empty(index: &SubscriptionIndex) {
        assert!(index.postings.is_empty());
        assert!(index.postings.capacity() <= 2 * SHRINK_ABOVE);
        assert!(index.everything.is_empty());
        assert!(index.slots.is_empty());
        assert!(index.by_key.is_empty());
        assert_eq!(index.groups, [0; GROUP_COUNT]);
    }

    fn found(index: &mut SubscriptionIndex, event: &Event) -> Vec<SubKey> {
        let mut found = Vec::new();
        index.matches(&event.view(), &mut found);
        found.sort_unstable();
        found
    }

    fn key(connection: u32, subscription: u32) -> SubKey {
        SubKey { connection, subscription }
    }

    /// A key, id or tag value: 64 hex digits, of which only `letter` is chosen.
    fn hex(letter: char) -> String {
        letter.to_ascii_lowercase().to_string().repeat(64)
    }

    fn filters_of(json: &[String]) -> Arc<[Filter]> {
        json.iter()
            .map(|it| it.replace("AA", &hex('a')))
            .map(|it| Filter::parse(it.as_bytes()).expect("the test's filter is valid"))
            .collect()
    }

    fn event(kind: u16, id: char, author: char, tags: &[&str]) -> Event {
        let json = format!(
            r#"{{"id":"{}","pubkey":"{}","created_at":100,"kind":{kind},"tags":[{}],"content":"","sig":"{}"}}"#,
            hex(id),
            hex(author),
            tags.join(","),
            hex('0').repeat(2),
        );
        Event::parse(json.as_bytes()).expect("the test's event is valid")
    }

    fn random_event(random: &mut fastrand::Rng) -> Event {
        let tags: Vec<String> = (0..random.usize(..4)).map(|_| random_tag(random)).collect();
        let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
        let kind = [0, 1, 2, 3, 30_000][random.usize(..5)];
        event(kind, letter(random), letter(random), &tags)
    }

    fn random_tag(random: &mut fastrand::Rng) -> String {
        match random.u32(..4) {
            0 => format!(r#"["e","{}"]"#, hex(letter(random))),
            1 => format!(r#"["p","{}","x"]"#, hex(letter(random))),
            2 => format!(r#"["{}","{}"]"#, ["t", "d", "T"][random.usize(..3)], text(random)),
            _ => ["[\"t\"]", "[\"d\"]", "[\"long\",\"a\"]"][random.usize(..3)].into(),
        }
    }

    fn random_filters(random: &mut fastrand::Rng) -> Vec<String> {
        (0..random.usize(1..4)).map(|_| random_filter(random)).collect()
    }

    fn random_filter(random: &mut fastrand::Rng) -> String {
        let mut members = Vec::new();
        let mut hex_list = |name: &str, random: &mut fastrand::Rng| {
            let values: Vec<String> =
                (0..random.usize(..3)).map(|_| format!("\"{}\"", hex(letter(random)))).collect();
            members.push(format!("\"{name}\":[{}]", values.join(",")));
        };
        for name in ["ids", "authors", "#e", "#p"] {
            if random.u32(..5) == 0 {
                hex_list(name, random);
            }
        }
        for name in ["#t", "#d", "#T", "&t"] {
            if random.u32(..6) == 0 {
                let values: Vec<String> =
                    (0..random.usize(1..3)).map(|_| format!("\"{}\"", text(random))).collect();
                members.push(format!("\"{name}\":[{}]", values.join(",")));
            }
        }
        if random.u32(..3) == 0 {
            members.push(format!("\"kinds\":[{},{}]", random.u32(..4), random.u32(..40_000)));
        }
        if random.u32(..6) == 0 {
            members.push(format!("\"since\":{}", random.u32(99..102)));
        }
        format!("{{{}}}", members.join(","))
    }

    fn letter(random: &mut fastrand::Rng) -> char {
        ['a', 'b', 'c', 'd'][random.usize(..4)]
    }

    fn text(random: &mut fastrand::Rng) -> &'static str {
        ["", "x", "y"][random.usize(..3)]
    }
}
