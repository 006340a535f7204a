//! A web of trust: who is followed by whom the operator trusts, and by those, so many steps far.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::nostr::PublicKey;

/// How a web is woven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRules {
    /// Whom the operator trusts.
    pub roots: Box<[PublicKey]>,
    /// How many steps of following lead to somebody who is trusted.
    pub depth: u32,
    /// How many may be trusted; those who are nearer come first.
    pub keys_max: usize,
}

/// Who is trusted at this moment. Read by any thread, replaced whole.
#[derive(Debug)]
pub struct Web {
    rules: TrustRules,
    trusted: ArcSwap<Woven>,
}

/// Who is trusted.
#[derive(Debug, Default)]
struct Woven {
    keys: HashSet<PublicKey>,
    /// Whose follow lists decide.
    followed: HashSet<PublicKey>,
}

impl Web {
    /// Returns a web of its roots alone.
    pub fn new(rules: TrustRules) -> Web {
        let keys: HashSet<PublicKey> = rules.roots.iter().copied().collect();
        let woven = Woven { followed: keys.clone(), keys };
        Web { rules, trusted: ArcSwap::from(Arc::new(woven)) }
    }

    /// Returns how it is woven.
    pub fn rules(&self) -> &TrustRules {
        &self.rules
    }

    /// Returns whether somebody is trusted.
    pub fn has(&self, key: &PublicKey) -> bool {
        self.trusted.load().keys.contains(key)
    }

    /// Returns how many are trusted.
    pub fn count(&self) -> usize {
        self.trusted.load().keys.len()
    }

    /// Returns whether a new follow list of this author may change who is trusted.
    pub fn depends_on(&self, author: &PublicKey) -> bool {
        self.trusted.load().followed.contains(author)
    }

    /// Weaves it again; `follows` appends whom somebody follows.
    ///
    /// # Errors
    ///
    /// Those of `follows`; then nothing changes.
    pub fn weave<E>(
        &self,
        follows: impl FnMut(&PublicKey, &mut Vec<PublicKey>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.trusted.store(Arc::new(weave(&self.rules, follows)?));
        Ok(())
    }
}

fn weave<E>(
    rules: &TrustRules,
    mut follows: impl FnMut(&PublicKey, &mut Vec<PublicKey>) -> Result<(), E>,
) -> Result<Woven, E> {
    let mut woven = Woven::default();
    let mut circle: Vec<PublicKey> = Vec::new();
    for root in &rules.roots {
        if woven.keys.insert(*root) {
            circle.push(*root);
        }
    }
    for _ in 0..rules.depth {
        let mut next = Vec::new();
        let mut found = Vec::new();
        for key in &circle {
            woven.followed.insert(*key);
            found.clear();
            follows(key, &mut found)?;
            for followed in &found {
                if woven.keys.len() >= rules.keys_max {
                    return Ok(woven);
                }
                if woven.keys.insert(*followed) {
                    next.push(*followed);
                }
            }
        }
        circle = next;
    }
    Ok(woven)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn key(number: u8) -> PublicKey {
        PublicKey([number; 32])
    }

    /// Who follows whom.
    type Graph = Vec<(u8, Vec<u8>)>;

    fn web(graph: &Graph, roots: &[u8], depth: u32, keys_max: usize) -> Web {
        let roots = roots.iter().map(|it| key(*it)).collect();
        let web = Web::new(TrustRules { roots, depth, keys_max });
        web.weave::<Infallible>(|author, out| {
            let lists = graph.iter().filter(|(who, _)| key(*who) == *author);
            out.extend(lists.flat_map(|(_, list)| list.iter().map(|it| key(*it))));
            Ok(())
        })
        .unwrap_or_else(|never| match never {});
        web
    }

    #[test]
    fn trust_goes_as_many_steps_as_are_said() {
        let graph: Graph = vec![(1, vec![2, 3]), (2, vec![4, 1]), (4, vec![5]), (9, vec![1])];
        let rows: [(u32, &[u8]); 4] =
            [(0, &[1]), (1, &[1, 2, 3]), (2, &[1, 2, 3, 4]), (9, &[1, 2, 3, 4, 5])];
        for (depth, expected) in rows {
            let web = web(&graph, &[1], depth, 100);
            let found: Vec<u8> = (0..20).filter(|it| web.has(&key(*it))).collect();
            assert_eq!(found, expected, "depth {depth}");
        }
        let web = web(&graph, &[1], 2, 100);
        let depends: Vec<u8> = (0..20).filter(|it| web.depends_on(&key(*it))).collect();
        assert_eq!(depends, [1, 2, 3]);
    }

    #[test]
    fn a_web_is_bounded_and_those_who_are_nearer_come_first() {
        let graph: Graph = vec![(1, vec![2, 3]), (2, (10..200).collect())];
        let web = web(&graph, &[1], 5, 10);
        assert_eq!(web.count(), 10);
        assert!(web.has(&key(3)));
    }

    #[test]
    fn a_web_is_what_a_walk_step_by_step_finds() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let list = |random: &mut fastrand::Rng| {
                (0..random.usize(..4)).map(|_| random.u8(..30)).collect::<Vec<u8>>()
            };
            let graph: Graph = (0..30).map(|who| (who, list(&mut random))).collect();
            let depth = random.u32(..5);
            let web = web(&graph, &[0], depth, 1_000);
            let mut expected = HashSet::from([0]);
            for _ in 0..depth {
                let followed: Vec<u8> =
                    expected.iter().flat_map(|it| graph[*it as usize].1.clone()).collect();
                expected.extend(followed);
            }
            for who in 0..30 {
                assert_eq!(web.has(&key(who)), expected.contains(&who), "seed {seed}: {who}");
            }
        }
    }
}
