//! How long events are kept: rules by kind about their age, how many an author has, and how large
//! the store is.
//!
//! A [`Survey`] is told of every living event once, in any order, and says which of them are to go.
//! What it remembers is bounded; what does not fit one survey is left to the next.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::str::FromStr;

use super::kinds::{KindRange, amount, period};
use crate::nostr::{Kind, PublicKey};

/// One rule of retention. Any value is legal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionRule {
    /// The kinds that it is about; empty for all.
    pub kinds: Box<[KindRange]>,
    /// Kinds that it is not about.
    pub except_kinds: Box<[KindRange]>,
    /// Authors whose events it is not about.
    pub except_authors: HashSet<PublicKey>,
    /// It is only about events that came first from one of these peers: by their addresses, or
    /// [`ANY_PEER`]; empty for all events, wherever they came from.
    pub from: Box<[Box<str>]>,
    /// Events that are so many seconds old go.
    pub age_max: Option<u64>,
    /// Of each author so many events stay, the newest ones.
    pub per_author_max: Option<u64>,
    /// If the store is larger, events go, oldest first.
    pub size_max: Option<SizeLimit>,
}

/// How large the store may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeLimit {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the disk that it is on.
    Percent(u8),
}

/// What is to be known of an event to decide.
#[derive(Clone, Copy, Debug)]
pub struct Resident<'a> {
    /// Its number in the store.
    pub number: u64,
    /// Its kind.
    pub kind: Kind,
    /// Its author.
    pub author: &'a PublicKey,
    /// Its time.
    pub created_at: u64,
}

impl RetentionRule {
    /// Returns whether the rule is about an event, if its origin fits. None is about requests to delete or to vanish:
    /// without them what they removed could come back.
    pub fn is_about(&self, kind: Kind, author: &PublicKey) -> bool {
        let has = |ranges: &[KindRange]| ranges.iter().any(|range| range.has(kind));
        !matches!(kind, Kind::DELETION | Kind::VANISH)
            && (self.kinds.is_empty() || has(&self.kinds))
            && !has(&self.except_kinds)
            && !self.except_authors.contains(author)
    }
}

/// A text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no part of a rule")]
pub struct RuleError(String);

/// Words such as `kinds=1,1000-1999 except_kinds=0 except_authors=KEY from=peers age=30d
/// per_author=100 size=80%`; lists are separated by `,` or `|`.
impl FromStr for RetentionRule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<RetentionRule, RuleError> {
        let mut rule = RetentionRule::default();
        for word in text.split_whitespace() {
            rule.read(word).ok_or_else(|| RuleError(word.to_owned()))?;
        }
        match (rule.age_max, rule.per_author_max, rule.size_max) {
            (None, None, None) => Err(RuleError(text.to_owned())),
            _ => Ok(rule),
        }
    }
}

impl RetentionRule {
    fn read(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=')?;
        let items = || value.split([',', '|']);
        let ranges = || items().map(|item| item.parse().ok()).collect::<Option<Box<[KindRange]>>>();
        match name {
            "kinds" => self.kinds = ranges()?,
            "except_kinds" => self.except_kinds = ranges()?,
            "except_authors" => {
                let keys = items().map(|item| PublicKey::from_hex(item.as_bytes()));
                self.except_authors = keys.collect::<Option<_>>()?;
            }
            "from" => {
                let is_name = |name: &str| !name.is_empty();
                self.from =
                    items().map(|it| is_name(it).then(|| it.into())).collect::<Option<_>>()?;
            }
            "age" => self.age_max = Some(number(value, period)?),
            "per_author" => self.per_author_max = Some(number(value, amount)?),
            "size" => self.size_max = Some(size(value)?),
            _ => return None,
        }
        Some(())
    }
}

fn number(text: &str, unit: fn(&str) -> Option<u64>) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, letters) = text.split_at(digits);
    number.parse::<u64>().ok()?.checked_mul(unit(letters)?)
}

fn size(text: &str) -> Option<SizeLimit> {
    if let Some(percent) = text.strip_suffix('%') {
        let percent = percent.parse().ok().filter(|it| (1..=100).contains(it))?;
        return Some(SizeLimit::Percent(percent));
    }
    let gigabytes = |unit: &str| if unit == "G" { Some(1_000_000_000) } else { amount(unit) };
    number(text, gigabytes).map(SizeLimit::Bytes)
}

/// One look at all events by the rules.
#[derive(Debug)]
pub struct Survey<'a> {
    rules: &'a [RetentionRule],
    now: u64,
    /// How many events of each author a rule is about, by the rule's place.
    counts: Vec<HashMap<PublicKey, u64>>,
    /// The oldest events that a rule is about and how many of them go because of the size.
    oldest: Vec<Oldest>,
}

#[derive(Debug)]
struct Oldest {
    /// Time and number; the newest on top.
    found: BinaryHeap<(u64, u64)>,
    count_max: usize,
}

impl<'a> Survey<'a> {
    /// Begins a survey at the second `now`; `excess` says of each size by how many events the store
    /// is too large.
    pub fn new(
        rules: &'a [RetentionRule],
        now: u64,
        excess: impl Fn(SizeLimit) -> u64,
    ) -> Survey<'a> {
        let oldest = |rule: &RetentionRule| {
            let count = rule.size_max.map_or(0, &excess);
            let count_max = usize::try_from(count).unwrap_or(usize::MAX).min(OLDEST_MAX);
            Oldest { found: BinaryHeap::new(), count_max }
        };
        Survey {
            rules,
            now,
            counts: rules.iter().map(|_| HashMap::new()).collect(),
            oldest: rules.iter().map(oldest).collect(),
        }
    }

    /// Looks at an event; returns whether it is to go because of its age. `comes_from` says whether
    /// it came from a peer that the rule at this place names.
    pub fn look_at(&mut self, event: &Resident<'_>, comes_from: impl Fn(usize) -> bool) -> bool {
        let mut is_too_old = false;
        for (place, rule) in self.rules.iter().enumerate() {
            if !rule.is_about(event.kind, event.author) {
                continue;
            }
            if !rule.from.is_empty() && !comes_from(place) {
                continue;
            }
            let past = |age: u64| event.created_at < self.now.saturating_sub(age);
            if rule.age_max.is_some_and(past) {
                is_too_old = true;
                continue;
            }
            if rule.per_author_max.is_some() {
                count(&mut self.counts[place], event.author);
            }
            self.oldest[place].offer(event);
        }
        is_too_old
    }

    /// Returns the authors who have more events than a rule lets them, with its place.
    pub fn prolific(&self) -> impl Iterator<Item = (usize, PublicKey)> {
        self.rules.iter().zip(&self.counts).enumerate().flat_map(|(place, (rule, counts))| {
            let max = rule.per_author_max.unwrap_or(u64::MAX);
            let many = counts.iter().filter(move |(_, count)| **count > max);
            many.map(move |(author, _)| (place, *author))
        })
    }

    /// Returns the numbers of the events that are to go because of the size.
    pub fn oldest(self) -> Vec<u64> {
        let found = self.oldest.into_iter().flat_map(|oldest| oldest.found.into_vec());
        let mut numbers: Vec<u64> = found.map(|(_, number)| number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

impl Oldest {
    fn offer(&mut self, event: &Resident<'_>) {
        if self.count_max == 0 {
            return;
        }
        self.found.push((event.created_at, event.number));
        if self.found.len() > self.count_max {
            self.found.pop();
        }
    }
}

fn count(counts: &mut HashMap<PublicKey, u64>, author: &PublicKey) {
    if let Some(count) = counts.get_mut(author) {
        *count += 1;
    } else if counts.len() < AUTHORS_MAX {
        counts.insert(*author, 1);
    }
}

/// In place of the address of a peer: any of those of whose events that is remembered.
pub const ANY_PEER: &str = "peers";
/// Authors counted in one survey, 48 bytes each.
const AUTHORS_MAX: usize = 2_000_000;
/// Events that go because of the size after one survey.
const OLDEST_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_its_words() {
        let key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let text =
            format!("kinds=1,1000-1999 except_kinds=7 except_authors={key} age=2d per_author=1k");
        let rule: RetentionRule = text.parse().expect("a rule");
        let author = PublicKey([1; 32]);
        assert!(rule.is_about(Kind(1), &author) && rule.is_about(Kind(1_999), &author));
        assert!(!rule.is_about(Kind(2), &author) && !rule.is_about(Kind(7), &author));
        let own = PublicKey::from_hex(key.as_bytes()).expect("a key");
        assert!(!rule.is_about(Kind(1), &own));
        assert_eq!((rule.age_max, rule.per_author_max), (Some(172_800), Some(1_000)));
        assert!(rule.from.is_empty());
        let rule: RetentionRule = "from=peers|ws://a:1 age=1d".parse().expect("a rule");
        assert_eq!(&*rule.from, [Box::from(ANY_PEER), Box::from("ws://a:1")]);
        let size = |text: &str| text.parse::<RetentionRule>().map(|rule| rule.size_max);
        assert_eq!(size("size=80%"), Ok(Some(SizeLimit::Percent(80))));
        assert_eq!(size("size=10G"), Ok(Some(SizeLimit::Bytes(10_000_000_000))));
        for text in [
            "",
            "kinds=1",
            "age",
            "age=",
            "age=1y",
            "size=0%",
            "size=101%",
            "kind=1 age=1d",
            "kinds= age=1d",
            "from= age=1d",
            "from=a| age=1d",
            "from=peers",
            "except_authors=x age=1d",
            "per_author=-1",
        ] {
            assert!(text.parse::<RetentionRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn requests_to_delete_and_to_vanish_stay_whatever_is_said() {
        let rule: RetentionRule = "age=0 kinds=0-65535".parse().expect("a rule");
        for (kind, expected) in [(5, false), (62, false), (1, true), (30_023, true)] {
            assert_eq!(rule.is_about(Kind(kind), &PublicKey([1; 32])), expected, "{kind}");
        }
    }

    /// Number, kind, author and time.
    type Row = (u64, Kind, PublicKey, u64);

    #[test]
    fn a_survey_finds_what_a_simple_look_finds() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let events: Vec<Row> = (0..random.u64(0..80))
                .map(|number| {
                    let kind = Kind(*random.choice(&[1, 5, 7, 62, 1_000]).expect("some"));
                    (number, kind, PublicKey([random.u8(..4); 32]), random.u64(..100))
                })
                .collect();
            let (age, per, excess) = (random.u64(..100), random.u64(..20), random.u64(..30));
            let text = format!("kinds=1,7 age={age}");
            let rules: Vec<RetentionRule> =
                [&text, &*format!("kinds=1 per_author={per}"), "from=peers except_kinds=7 size=1"]
                    .map(|text| text.parse().expect("a rule"))
                    .to_vec();
            let mut survey = Survey::new(&rules, 100, |_| excess);
            let mut too_old = Vec::new();
            for (number, kind, author, created_at) in &events {
                let (number, kind, created_at) = (*number, *kind, *created_at);
                let resident = Resident { number, kind, author, created_at };
                if survey.look_at(&resident, |rule| rule == 2 && number % 3 > 0) {
                    too_old.push(number);
                }
            }
            let mut prolific: Vec<(usize, PublicKey)> = survey.prolific().collect();
            prolific.sort_unstable();
            let oldest = survey.oldest();

            let numbers = |keep: &dyn Fn(&Row) -> bool| {
                events.iter().filter(|it| keep(it)).map(|it| it.0).collect::<Vec<u64>>()
            };
            let is_old = |it: &Row| matches!(it.1.0, 1 | 7) && it.3 < 100 - age;
            assert_eq!(too_old, numbers(&is_old), "seed {seed}");
            let mut expected: Vec<(usize, PublicKey)> = (0..4)
                .map(|author| PublicKey([author; 32]))
                .filter(|author| {
                    numbers(&|it| it.1 == Kind(1) && it.2 == *author).len() as u64 > per
                })
                .map(|author| (1, author))
                .collect();
            expected.sort_unstable();
            assert_eq!(prolific, expected, "seed {seed}");
            let mut expected: Vec<(u64, u64)> = events
                .iter()
                .filter(|it| !matches!(it.1.0, 5 | 7 | 62) && it.0 % 3 > 0)
                .map(|it| (it.3, it.0))
                .collect();
            expected.sort_unstable();
            expected.truncate(excess as usize);
            let mut expected: Vec<u64> = expected.into_iter().map(|it| it.1).collect();
            expected.sort_unstable();
            assert_eq!(oldest, expected, "seed {seed}");
        }
    }
}
