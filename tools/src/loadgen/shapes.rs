//! The shapes of queries that clients send, each with many examples made from the stored events.

use std::fmt::Display;

use chappe::nostr::{EventId, PublicKey};
use fastrand::Rng;

use super::material::Facts;

/// A kind of query.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Examples: what follows the name in a REQ, COUNT or NEG-OPEN.
    pub(crate) examples: Vec<String>,
    /// Whether examples are about events that are stored.
    pub(crate) answer: Expected,
}

/// What a shape's answers must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Events, about one or more to each query.
    Events,
    /// Perhaps none.
    Anything,
}

/// Every shape of REQ, in the order of the report.
pub(crate) fn requests(facts: &Facts, seed: u64) -> Vec<Shape> {
    let mut ask = Ask { facts, rng: Rng::with_seed(seed) };
    let mut shapes = lookups(&mut ask);
    shapes.extend(feeds(&mut ask));
    shapes.extend(conversations(&mut ask));
    shapes.extend(pages(&mut ask));
    shapes.extend(hard(&mut ask));
    shapes
}

/// The three shapes of COUNT.
pub(crate) fn counts(facts: &Facts, seed: u64) -> Vec<Shape> {
    let mut ask = Ask { facts, rng: Rng::with_seed(seed) };
    vec![
        shape("COUNT everything", || "{}".to_owned()),
        shape("COUNT one kind", || r#"{"kinds":[1]}"#.to_owned()),
        shape("COUNT notes of 500 authors", || {
            format!(r#"{{"authors":{},"kinds":[1]}}"#, ask.readers_follows(500))
        }),
    ]
}

/// Reconciliations (NIP-77) by a client that has nothing, and by one that has something else.
pub(crate) fn reconciliations(facts: &Facts, seed: u64) -> Vec<Shape> {
    let mut ask = Ask { facts, rng: Rng::with_seed(seed) };
    let mut author = || {
        let place = ask.rng.usize(0..20.min(facts.authors.len()));
        format!(r#"{{"authors":["{}"]}}"#, facts.authors[place].0)
    };
    vec![
        shape("NEG-OPEN all, having nothing", || format!(r#"{{}},"{NOTHING}""#)),
        shape("NEG-OPEN all, having others", || format!(r#"{{}},"{OTHERS}""#)),
        shape("NEG-OPEN an author, having nothing", || format!(r#"{},"{NOTHING}""#, author())),
        shape("NEG-OPEN an author, having others", || format!(r#"{},"{OTHERS}""#, author())),
    ]
}

fn lookups(ask: &mut Ask<'_>) -> Vec<Shape> {
    let rare = ask.facts.kinds.last().map_or(1, |kind| kind.0);
    vec![
        shape("rare kind", || format!(r#"{{"kinds":[{rare}],"limit":1}}"#)),
        shape("one profile", || {
            let author = ask.one(&ask.facts.profiles).map_or_else(String::new, hex);
            format!(r#"{{"kinds":[0],"authors":["{author}"]}}"#)
        }),
        shape("one addressable", || match ask.one(&ask.facts.addresses) {
            Some((kind, author, d)) => {
                format!(r##"{{"kinds":[{kind}],"authors":["{author}"],"#d":["{d}"]}}"##)
            }
            None => r#"{"kinds":[30023],"limit":1}"#.to_owned(),
        }),
        shape("one id", || format!(r#"{{"ids":{}}}"#, ask.ids(1))),
        shape("100 ids", || format!(r#"{{"ids":{}}}"#, ask.ids(100))),
        shape("author's 20 newest", || format!(r#"{{"authors":["{}"],"limit":20}}"#, ask.writer())),
        shape("profiles of 300 authors", || {
            format!(r#"{{"kinds":[0],"authors":{}}}"#, ask.readers_follows(300))
        }),
    ]
}

fn feeds(ask: &mut Ask<'_>) -> Vec<Shape> {
    let day_ago = ask.facts.newest.saturating_sub(DAY);
    vec![
        shape("home feed 500 authors, limit 100", || {
            let authors = ask.readers_follows(500);
            format!(r#"{{"authors":{authors},"kinds":[1,6],"limit":100}}"#)
        }),
        shape("home feed 500 authors, one day", || {
            let authors = ask.readers_follows(500);
            format!(r#"{{"authors":{authors},"kinds":[1,6],"since":{day_ago}}}"#)
        }),
        shape("global 100", || r#"{"kinds":[1],"limit":100}"#.to_owned()),
        shape("hashtag 50", || {
            format!(r##"{{"#t":["{}"],"kinds":[1],"limit":50}}"##, ask.hashtag(60))
        }),
    ]
}

fn conversations(ask: &mut Ask<'_>) -> Vec<Shape> {
    vec![
        shape("thread replies", || {
            let note = ask.of_top(&ask.facts.threads, 2_000);
            format!(r##"{{"#e":["{note}"],"kinds":[1]}}"##)
        }),
        shape("reactions to 50 notes", || {
            let notes = ask.list(50, |ask| ask.of_top(&ask.facts.reacted, 10_000));
            format!(r##"{{"#e":{notes},"kinds":[7]}}"##)
        }),
        shape("notifications 100", || {
            let reader = ask.of_top(&ask.facts.mentioned, 500);
            format!(r##"{{"#p":["{reader}"],"kinds":[1,6,7,9735],"limit":100}}"##)
        }),
        shape("DM inbox 100", || {
            let reader = ask.of_top(&ask.facts.messaged, 100);
            format!(r##"{{"#p":["{reader}"],"kinds":[4,1059],"limit":100}}"##)
        }),
    ]
}

fn pages(ask: &mut Ask<'_>) -> Vec<Shape> {
    vec![
        shape("one day's 500", || {
            let since = ask.moment();
            format!(r#"{{"since":{since},"until":{},"limit":500}}"#, since + DAY)
        }),
        shape("one author's 500", || {
            let place = ask.rng.usize(0..20.min(ask.facts.authors.len()));
            format!(r#"{{"authors":["{}"],"limit":500}}"#, ask.facts.authors[place].0)
        }),
        shape("10 mixed filters", || ask.mixed()),
    ]
}

fn hard(ask: &mut Ask<'_>) -> Vec<Shape> {
    let rare = ask.facts.kinds.last().map_or(1, |kind| kind.0);
    vec![
        anything("quiet author + popular hashtag", || {
            let quiet = ask.facts.authors.len() / 2;
            let place = ask.rng.usize(quiet..ask.facts.authors.len());
            let (author, hashtag) = (ask.facts.authors[place].0, ask.hashtag(5));
            format!(r##"{{"authors":["{author}"],"#t":["{hashtag}"],"limit":50}}"##)
        }),
        anything("one tag + rare kind", || {
            let reader = ask.of_top(&ask.facts.mentioned, 50);
            format!(r##"{{"#p":["{reader}"],"kinds":[{rare}],"limit":50}}"##)
        }),
        shape("1,500 authors x 3 kinds", || {
            let authors = ask.readers_follows(1_500);
            format!(r#"{{"authors":{authors},"kinds":[0,3,10002],"limit":500}}"#)
        }),
        shape("deep until pages of an author", || {
            let place = ask.rng.usize(0..ask.facts.diaries.len());
            let (author, times) = &ask.facts.diaries[place];
            let until = times[ask.rng.usize(0..times.len())];
            format!(r#"{{"authors":["{author}"],"kinds":[1],"until":{until},"limit":50}}"#)
        }),
        shape("limit 5 of 2,000 authors", || {
            format!(r#"{{"authors":{},"kinds":[1],"limit":5}}"#, ask.readers_follows(2_000))
        }),
    ]
}

fn shape(name: &'static str, example: impl FnMut() -> String) -> Shape {
    let examples = std::iter::repeat_with(example).take(EXAMPLES).collect();
    Shape { name, examples, answer: Expected::Events }
}

fn anything(name: &'static str, example: impl FnMut() -> String) -> Shape {
    Shape { answer: Expected::Anything, ..shape(name, example) }
}

/// Picks what is asked for.
struct Ask<'a> {
    facts: &'a Facts,
    rng: Rng,
}

impl<'a> Ask<'a> {
    fn one<T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        if list.is_empty() { None } else { Some(&list[self.rng.usize(0..list.len())]) }
    }

    /// One of the first `most` of a ranked list, in hex.
    fn of_top(&mut self, list: &'a [([u8; 32], u32)], most: usize) -> String {
        let top = &list[..most.min(list.len())];
        self.one(top).map_or_else(|| "0".repeat(64), |item| EventId(item.0).to_string())
    }

    /// Who writes more is picked more often.
    fn writer(&mut self) -> PublicKey {
        self.facts.writers[self.rng.usize(0..self.facts.writers.len())]
    }

    /// Whom a reader follows: half of them busy, half of them anybody; as a JSON list.
    fn readers_follows(&mut self, count: usize) -> String {
        let count = count.min(self.facts.authors.len());
        let mut authors: Vec<PublicKey> = (0..count / 2).map(|_| self.writer()).collect();
        authors.sort_unstable();
        authors.dedup();
        let mut known: std::collections::HashSet<PublicKey> = authors.iter().copied().collect();
        while authors.len() < count {
            let author = self.facts.authors[self.rng.usize(0..self.facts.authors.len())].0;
            if known.insert(author) {
                authors.push(author);
            }
        }
        self.rng.shuffle(&mut authors);
        list_of(authors.iter())
    }

    fn ids(&mut self, count: usize) -> String {
        self.list(count, |ask| ask.facts.ids[ask.rng.usize(0..ask.facts.ids.len())].to_string())
    }

    fn hashtag(&mut self, most: usize) -> &'a str {
        let top = &self.facts.hashtags[..most.min(self.facts.hashtags.len())];
        self.one(top).map_or("nostr", |item| item.0.as_str())
    }

    fn moment(&mut self) -> u64 {
        let last = self.facts.newest.saturating_sub(DAY).max(self.facts.oldest);
        self.rng.u64(self.facts.oldest..=last)
    }

    fn list(&mut self, count: usize, mut pick: impl FnMut(&mut Self) -> String) -> String {
        let picked: Vec<String> = (0..count).map(|_| pick(self)).collect();
        list_of(picked.iter())
    }

    /// What a client asks for when it starts.
    fn mixed(&mut self) -> String {
        let author = self.writer();
        let follows = self.readers_follows(100);
        let reader = self.of_top(&self.facts.mentioned, 500);
        let note = self.of_top(&self.facts.threads, 2_000);
        let (ids, since) = (self.ids(10), self.moment());
        [
            format!(r#"{{"authors":["{author}"],"kinds":[0]}}"#),
            format!(r#"{{"authors":["{author}"],"kinds":[3]}}"#),
            format!(r#"{{"authors":["{author}"],"kinds":[10002]}}"#),
            format!(r#"{{"authors":{follows},"kinds":[1,6],"limit":20}}"#),
            format!(r##"{{"#p":["{reader}"],"kinds":[1,7],"limit":20}}"##),
            format!(r##"{{"#e":["{note}"],"kinds":[1,7],"limit":20}}"##),
            format!(r##"{{"#t":["{}"],"limit":10}}"##, self.hashtag(60)),
            format!(r#"{{"ids":{ids}}}"#),
            r#"{"kinds":[30023],"limit":5}"#.to_owned(),
            format!(r#"{{"since":{since},"until":{},"limit":20}}"#, since + DAY),
        ]
        .join(",")
    }
}

fn hex(key: &PublicKey) -> String {
    key.to_string()
}

fn list_of<T: Display>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", items.join(","))
}

/// Examples of each shape; a client goes round them.
const EXAMPLES: usize = 200;
const DAY: u64 = 86_400;
/// Version 1 of the protocol; up to infinity, a list of no ids. The answer lists the relay's.
const NOTHING: &str = "6100000200";
/// Version 1 of the protocol; up to infinity, a fingerprint that no set has. The answer has the
/// relay's fingerprints of some parts.
const OTHERS: &str = "61000001a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7";

#[cfg(test)]
mod tests {
    use chappe::nostr::Filter;

    use super::super::material::Material;
    use super::*;

    #[test]
    fn every_example_is_a_list_of_filters_and_the_same_seed_gives_the_same() {
        let material = Material::generate(3_000, 5).expect("a generator cannot fail");
        let shapes = requests(&material.facts, 1);
        assert_eq!(shapes.len(), 23);
        for shape in shapes.iter().chain(&counts(&material.facts, 1)) {
            assert_eq!(shape.examples.len(), EXAMPLES);
            for example in &shape.examples {
                let value: serde_json::Value =
                    serde_json::from_str(&format!("[{example}]")).expect("an example is JSON");
                for filter in value.as_array().expect("a list was written") {
                    let text = filter.to_string();
                    Filter::parse(text.as_bytes()).unwrap_or_else(|error| {
                        panic!("{}: {text}: {}", shape.name, error.text);
                    });
                }
            }
        }
        let again = requests(&material.facts, 1);
        assert!(shapes.iter().zip(&again).all(|(a, b)| a.examples == b.examples));
    }
}
