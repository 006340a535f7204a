//! Events that a peer has and that are not taken here: deleted, replaced, or refused by the rules.
//! They differ at each comparison, so they are remembered for a while and not asked for again.

use std::collections::HashSet;

use crate::nostr::EventId;

/// Why an event is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// By what is stored.
    Store,
    /// By rules that may be other ones later: their version.
    Rules(u64),
}

/// The ids of events of one peer.
#[derive(Debug, Default)]
pub(super) struct Refused {
    store: Generations,
    rules: Generations,
    /// The version of the rules that refused them.
    version: u64,
}

/// Ids in two sets, so that the older half can be forgotten at once.
#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Name>,
    old: HashSet<Name>,
    /// The second in which the young one began.
    since: u64,
}

/// Enough of an id: whoever finds two that share it has found no more than a way to hide one of
/// its own events from its own peer.
type Name = [u8; 16];

impl Refused {
    /// Notes that an event is not taken, at the second `now`.
    pub(super) fn note(&mut self, id: &EventId, why: Why, now: u64) {
        match why {
            Why::Store => self.store.add(id, now),
            Why::Rules(version) => {
                self.follow(version);
                self.rules.add(id, now);
            }
        }
    }

    /// Keeps those ids that are to be asked for; `version` is that of the rules.
    pub(super) fn keep_others(&mut self, ids: &mut Vec<[u8; 32]>, version: u64, now: u64) {
        self.follow(version);
        self.store.age(now);
        self.rules.age(now);
        if !(self.store.is_empty() && self.rules.is_empty()) {
            ids.retain(|id| !self.store.has(&EventId(*id)) && !self.rules.has(&EventId(*id)));
        }
    }

    fn follow(&mut self, version: u64) {
        if self.version != version {
            (self.rules, self.version) = (Generations::default(), version);
        }
    }
}

impl Generations {
    fn add(&mut self, id: &EventId, now: u64) {
        self.age(now);
        self.young.insert(name(id));
        if self.young.len() >= IDS_MAX {
            self.turn(now);
        }
    }

    fn has(&self, id: &EventId) -> bool {
        let name = name(id);
        self.young.contains(&name) || self.old.contains(&name)
    }

    fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    fn age(&mut self, now: u64) {
        let age = now.saturating_sub(self.since);
        if age >= 2 * GENERATION_SECS {
            *self = Generations { since: now, ..Generations::default() };
        } else if age >= GENERATION_SECS {
            self.turn(self.since + GENERATION_SECS);
        }
    }

    fn turn(&mut self, since: u64) {
        (self.old, self.since) = (std::mem::take(&mut self.young), since);
    }
}

fn name(id: &EventId) -> Name {
    std::array::from_fn(|place| id.0[place])
}

/// Ids of a generation: with both, and for both reasons, some ten megabytes a peer.
const IDS_MAX: usize = 100_000;
/// After twice that an event is asked for again: plugins and the web of trust have no version.
const GENERATION_SECS: u64 = 12 * 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_not_asked_for_until_a_day_has_passed() {
        let mut refused = Refused::default();
        let ids = || [1, 2, 3].map(|number| [number; 32]).to_vec();
        let left = |refused: &mut Refused, version, now| {
            let mut ids = ids();
            refused.keep_others(&mut ids, version, now);
            ids.iter().map(|id| id[0]).collect::<Vec<u8>>()
        };
        let begin = 1_000_000;
        assert_eq!(left(&mut refused, 7, begin), [1, 2, 3]);
        refused.note(&EventId([1; 32]), Why::Store, begin);
        refused.note(&EventId([2; 32]), Why::Rules(7), begin + 1);
        assert_eq!(left(&mut refused, 7, begin + 2), [3]);
        assert_eq!(left(&mut refused, 7, begin + GENERATION_SECS + 5), [3]);
        assert_eq!(left(&mut refused, 7, begin + 2 * GENERATION_SECS + 5), [1, 2, 3]);
        refused.note(&EventId([1; 32]), Why::Store, begin);
        assert_eq!(left(&mut refused, 7, u64::MAX), [1, 2, 3]);
    }

    #[test]
    fn other_rules_forget_what_rules_refused_and_not_what_the_store_did() {
        let mut refused = Refused::default();
        refused.note(&EventId([1; 32]), Why::Store, 5);
        refused.note(&EventId([2; 32]), Why::Rules(1), 5);
        let mut ids = vec![[1; 32], [2; 32]];
        refused.keep_others(&mut ids, 2, 6);
        assert_eq!(ids, [[2; 32]]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut refused = Refused::default();
        let id =
            |number: usize| EventId(std::array::from_fn(|at| (number >> (8 * (at % 4))) as u8));
        for number in 0..3 * IDS_MAX {
            refused.note(&id(number), Why::Store, 5);
        }
        let count = refused.store.young.len() + refused.store.old.len();
        assert!(count <= 2 * IDS_MAX, "{count}");
        assert!(refused.store.has(&id(3 * IDS_MAX - 1)) && !refused.store.has(&id(0)));
    }
}
