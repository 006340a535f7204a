//! Filters: what a client asks for, and whether an event is that (NIP-01, NIP-91).
//!
//! Lists are sorted and free of repetitions, so membership is a binary search and equal filters are
//! equal values. An empty list is kept: nothing is in it, so it matches nothing.

mod read;

use std::cmp::Ordering;

use super::delegation;
use super::event::EventRef;
use super::id::{EventId, PublicKey};
use super::json;
use super::reject::{Prefix, Reject};
use super::tag::Value;
use crate::hex;

/// One filter: all conditions that are present must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The event is one of these.
    pub ids: Option<Box<[EventId]>>,
    /// Its author is one of these.
    pub authors: Option<Box<[PublicKey]>>,
    /// It may also be made in the name of one of these authors (NIP-26). What clients send does not
    /// say so: it is up to the relay.
    pub by_delegation: bool,
    /// Its kind is one of these; numbers that are no kind were left out.
    pub kinds: Option<Box<[u16]>>,
    /// What its tags must hold, by letter and mode.
    pub tags: Box<[TagCondition]>,
    /// It is as new as this or newer.
    pub since: Option<u64>,
    /// It is as old as this or older.
    pub until: Option<u64>,
    /// How many stored events are wanted, the newest first.
    pub limit: Option<u64>,
    /// What to search for (NIP-50); never empty.
    pub search: Option<Box<str>>,
}

/// What the tags with a certain letter must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TagCondition {
    /// The name of the tags: one ASCII letter.
    pub letter: u8,
    /// How many of the values must be there.
    pub mode: TagMode,
    /// The values, sorted, without repetitions.
    pub values: Box<[TagValue]>,
}

/// How many values of a condition an event must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagMode {
    /// At least one: `#x`.
    Any,
    /// Every one: `&x` (NIP-91).
    All,
}

/// A value that a tag may have, owned; its order is that of [`Value`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagValue {
    /// The text of 64 lower-case hexadecimal digits that these bytes have.
    Hex([u8; 32]),
    /// Any other text, in canonical escaped form.
    Text(Box<[u8]>),
}

/// Why a JSON value is not a filter, or not one that can be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct FilterError {
    /// `Invalid` or `Unsupported`.
    pub prefix: Prefix,
    /// What people read.
    pub text: String,
}

impl From<FilterError> for Reject {
    fn from(error: FilterError) -> Reject {
        Reject::new(error.prefix, error.text)
    }
}

impl Filter {
    /// Parses a JSON text that is one filter object; whitespace around it is allowed.
    pub fn parse(json: &[u8]) -> Result<Filter, FilterError> {
        read::parse(json)
    }

    /// Tells whether all conditions hold for an event; limit and search are none.
    pub fn matches(&self, event: &EventRef<'_>) -> bool {
        self.matches_as(event, |event| {
            // Most claims name somebody else: only what would count is worth a verification.
            let claimed = delegation::claimed(event)?;
            is_among(self.authors.as_deref(), claimed).then(|| delegation::delegator_of(event))?
        })
    }

    /// Does the same where the caller knows in whose name events were made.
    #[inline]
    pub fn matches_as<'e>(
        &self,
        event: &EventRef<'e>,
        delegator: impl FnOnce(&EventRef<'e>) -> Option<&'e PublicKey>,
    ) -> bool {
        self.since.is_none_or(|since| since <= event.created_at)
            && self.until.is_none_or(|until| event.created_at <= until)
            && is_among(self.kinds.as_deref(), &event.kind.0)
            && (is_among(self.authors.as_deref(), event.pubkey)
                || self.is_in_name(event, delegator))
            && is_among(self.ids.as_deref(), event.id)
            && self.tags.iter().all(|condition| condition.matches(event))
    }

    /// Tells whether an event by somebody else was made in the name of one of the authors.
    #[inline]
    fn is_in_name<'e>(
        &self,
        event: &EventRef<'e>,
        delegator: impl FnOnce(&EventRef<'e>) -> Option<&'e PublicKey>,
    ) -> bool {
        self.by_delegation
            && delegator(event).is_some_and(|it| is_among(self.authors.as_deref(), it))
    }

    /// Tells whether no event at all can match, so that there is nothing to look for.
    pub fn matches_nothing(&self) -> bool {
        let is_never =
            matches!((self.since, self.until), (Some(since), Some(until)) if since > until);
        is_never
            || self.ids.as_ref().is_some_and(|list| list.is_empty())
            || self.authors.as_ref().is_some_and(|list| list.is_empty())
            || self.kinds.as_ref().is_some_and(|list| list.is_empty())
            || self.tags.iter().any(|condition| condition.values.is_empty())
    }

    /// Returns how many values it has of each condition, without the values.
    pub fn form(&self) -> String {
        let mut parts = Vec::new();
        let mut add = |name: &str, count: Option<usize>| {
            parts.extend(count.map(|count| format!("{name}:{count}")));
        };
        add("ids", self.ids.as_deref().map(<[_]>::len));
        add("authors", self.authors.as_deref().map(<[_]>::len));
        add("kinds", self.kinds.as_deref().map(<[_]>::len));
        for condition in &self.tags {
            let mark = if condition.mode == TagMode::All { '&' } else { '#' };
            let name = format!("{mark}{}", char::from(condition.letter));
            add(&name, Some(condition.values.len()));
        }
        let mut times = String::new();
        times.push_str(if self.since.is_some() { " since" } else { "" });
        times.push_str(if self.until.is_some() { " until" } else { "" });
        let limit = self.limit.map(|limit| format!(" limit={limit}")).unwrap_or_default();
        format!("{}{times}{limit}", parts.join(" "))
    }

    /// Returns how many bytes of memory the filter takes, its own size included.
    pub fn memory_bytes(&self) -> usize {
        let values = self.tags.iter().flat_map(|condition| &condition.values);
        let texts: usize = values.map(TagValue::memory_bytes).sum();
        size_of::<Filter>()
            + self.ids.as_deref().map_or(0, size_of_val)
            + self.authors.as_deref().map_or(0, size_of_val)
            + self.kinds.as_deref().map_or(0, size_of_val)
            + size_of_val(&self.tags[..])
            + texts
            + self.search.as_deref().map_or(0, str::len)
    }

    /// Appends the filter as compact JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let start = out.len();
        if let Some(ids) = &self.ids {
            write_list("ids", ids, out, |id, out| {
                write_quoted(out, |out| hex::encode_into(&id.0, out))
            });
        }
        if let Some(authors) = &self.authors {
            write_list("authors", authors, out, |author, out| {
                write_quoted(out, |out| hex::encode_into(&author.0, out));
            });
        }
        if let Some(kinds) = &self.kinds {
            write_list("kinds", kinds, out, |kind, out| json::write_integer(u64::from(*kind), out));
        }
        for condition in &self.tags {
            let mark = match condition.mode {
                TagMode::Any => '#',
                TagMode::All => '&',
            };
            let name = format!("{mark}{}", char::from(condition.letter));
            write_list(&name, &condition.values, out, |value, out| {
                write_quoted(out, |out| value.as_value().write_canonical(out));
            });
        }
        let numbers = [("since", self.since), ("until", self.until), ("limit", self.limit)];
        for (name, number) in numbers {
            if let Some(number) = number {
                write_name(name, out);
                json::write_integer(number, out);
                out.push(b',');
            }
        }
        if let Some(search) = &self.search {
            write_name("search", out);
            write_quoted(out, |out| json::escape_into(search, out));
            out.push(b',');
        }
        if out.len() > start {
            out.pop();
        }
        out.push(b'}');
    }
}

impl TagCondition {
    /// Tells whether the event's values for the letter are as the mode wants them.
    pub fn matches(&self, event: &EventRef<'_>) -> bool {
        match self.mode {
            TagMode::Any => {
                event.values_of(self.letter).any(|value| self.position(value).is_some())
            }
            TagMode::All => self.all_are_in(event),
        }
    }

    fn position(&self, value: Value<'_>) -> Option<usize> {
        let Value::Hex(value) = value else {
            return self.values.binary_search_by(|known| known.as_value().cmp(&value)).ok();
        };
        // Mostly the first bytes decide, and comparing them takes no call.
        let head = head_of(value);
        let search = self.values.binary_search_by(|known| match known {
            TagValue::Hex(known) => head_of(known).cmp(&head).then_with(|| known.cmp(value)),
            TagValue::Text(_) => Ordering::Greater,
        });
        search.ok()
    }

    /// One bit per value, so that long lists on both sides cost no more than their lengths.
    fn all_are_in(&self, event: &EventRef<'_>) -> bool {
        let positions = event.values_of(self.letter).filter_map(|value| self.position(value));
        let count = self.values.len();
        if count == 0 {
            return false;
        }
        if count <= u64::BITS as usize {
            let found = positions.fold(0_u64, |found, position| found | 1 << position);
            return found.count_ones() as usize == count;
        }
        let mut found = vec![false; count];
        positions.for_each(|position| found[position] = true);
        found.into_iter().all(|is_found| is_found)
    }
}

/// Returns the first bytes of a value as a number, so that it is in the order of the values.
fn head_of(value: &[u8; 32]) -> u64 {
    u64::from_be_bytes(*value.first_chunk().expect("a value has 32 bytes"))
}

impl TagValue {
    /// Returns the value that canonical escaped text has.
    pub fn from_canonical(text: &[u8]) -> TagValue {
        match hex::decode_32(text) {
            Some(bytes) => TagValue::Hex(bytes),
            None => TagValue::Text(text.into()),
        }
    }

    /// Borrows the value.
    #[inline]
    pub fn as_value(&self) -> Value<'_> {
        match self {
            TagValue::Hex(bytes) => Value::Hex(bytes),
            TagValue::Text(text) => Value::Text(text),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            TagValue::Hex(_) => size_of::<TagValue>(),
            TagValue::Text(text) => size_of::<TagValue>() + text.len(),
        }
    }
}

impl From<Value<'_>> for TagValue {
    fn from(value: Value<'_>) -> TagValue {
        match value {
            Value::Hex(bytes) => TagValue::Hex(*bytes),
            Value::Text(text) => TagValue::Text(text.into()),
        }
    }
}

#[inline]
fn is_among<T: Ord>(list: Option<&[T]>, item: &T) -> bool {
    list.is_none_or(|list| list.binary_search(item).is_ok())
}

fn write_list<T>(name: &str, list: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    write_name(name, out);
    out.push(b'[');
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.extend_from_slice(b"],");
}

fn write_name(name: &str, out: &mut Vec<u8>) {
    write_quoted(out, |out| out.extend_from_slice(name.as_bytes()));
    out.push(b':');
}

fn write_quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Keypair, Kind, fixtures};
    use super::*;

    const K1: &str = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    const S1: &str = "bde202ea7642ff9910600c7edc948a1f4220f0cbf5e4fb2b7efafa681bbb5285";

    fn filter(json: &str) -> Filter {
        Filter::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    fn event(kind: u16, tags: &[&[&str]]) -> Event {
        let owned = |tag: &&[&str]| tag.iter().map(|text| (*text).to_owned()).collect();
        let tags: Vec<Vec<String>> = tags.iter().map(owned).collect();
        let mut secret = [0; 32];
        secret[31] = 1;
        let keypair = Keypair::from_secret(secret).expect("one is a secret key");
        keypair.sign_event(1_700_000_000, Kind(kind), &tags, "hello")
    }

    fn check(json: &str, event: &Event, expected: bool) {
        assert_eq!(filter(json).matches(&event.view()), expected, "{json}");
        assert!(!expected || !filter(json).matches_nothing(), "{json}");
    }

    fn refusal(json: &str) -> String {
        let error = Filter::parse(json.as_bytes()).expect_err(json);
        Reject::from(error).to_string()
    }

    #[test]
    fn every_present_condition_must_hold() {
        let note = Event::parse(fixtures::S1.as_bytes()).expect("the fixture is an event");
        check("{}", &note, true);
        check(" {\"limit\" : 0 , \"search\" : \"x\" } ", &note, true);
        check(&format!(r#"{{"ids":["{S1}"]}}"#), &note, true);
        check(&format!(r#"{{"ids":["{K1}"]}}"#), &note, false);
        check(&format!(r#"{{"authors":["{S1}","{K1}"],"kinds":[0,1]}}"#), &note, true);
        check(&format!(r#"{{"authors":["{S1}"],"kinds":[0,1]}}"#), &note, false);
        check(&format!(r#"{{"authors":["{K1}"],"kinds":[0,2]}}"#), &note, false);
    }

    #[test]
    fn times_are_inclusive_on_both_ends() {
        let note = event(1, &[]);
        check(r#"{"since":1700000000,"until":1700000000}"#, &note, true);
        check(r#"{"since":1700000001}"#, &note, false);
        check(r#"{"until":1699999999}"#, &note, false);
        check(r#"{"until":18446744073709551615}"#, &note, true);
        let reversed = filter(r#"{"since":2,"until":1}"#);
        assert!(reversed.matches_nothing());
        assert!(!filter(r#"{"since":1,"until":1}"#).matches_nothing());
    }

    #[test]
    fn empty_lists_and_numbers_that_are_no_kinds_match_nothing() {
        let note = event(1, &[&["t", "a"]]);
        let empty = [
            r#"{"ids":[]}"#,
            r#"{"authors":[ ]}"#,
            r#"{"kinds":[]}"#,
            r##"{"#t":[]}"##,
            r#"{"&t":[]}"#,
            r#"{"kinds":[65536,70000,18446744073709551615]}"#,
        ];
        for json in empty {
            check(json, &note, false);
            assert!(filter(json).matches_nothing(), "{json}");
        }
        check(r#"{"kinds":[65536,1]}"#, &note, true);
        assert!(!filter("{}").matches_nothing());
    }

    #[test]
    fn tags_match_by_letter_case_and_first_value_only() {
        let note =
            event(1, &[&["t", "a", "b"], &["t"], &["E", K1], &["x", ""], &["q", "a\"b\\c\n"]]);
        check(r##"{"#t":["a"]}"##, &note, true);
        check(r##"{"#t":["z","a"]}"##, &note, true);
        check(r##"{"#t":["b"]}"##, &note, false);
        check(r##"{"#T":["a"]}"##, &note, false);
        check(&format!(r##"{{"#e":["{K1}"]}}"##), &note, false);
        check(&format!(r##"{{"#E":["{K1}"]}}"##), &note, true);
        check(&format!(r##"{{"#E":["{}"]}}"##, K1.to_uppercase()), &note, false);
        check(r##"{"#t":[""]}"##, &note, false);
        check(r##"{"#x":[""]}"##, &note, true);
        check(r##"{"#q":["a\"b\\c\n"]}"##, &note, true);
        check(r##"{"#q":["\u0061\u0022b\u005cc\u000A"]}"##, &note, true);
        check(r##"{"#q":["a\"b\\c\\n"]}"##, &note, false);
        check(r##"{"#t":["a"],"#x":[""]}"##, &note, true);
        check(r##"{"#t":["a"],"#x":["y"]}"##, &note, false);
    }

    #[test]
    fn the_empty_identifier_is_found_whether_or_not_it_is_spelled_out() {
        let empty = r##"{"#d":[""]}"##;
        check(empty, &event(30_000, &[]), true);
        check(empty, &event(30_000, &[&["d"]]), true);
        check(empty, &event(30_000, &[&["d", ""]]), true);
        check(empty, &event(30_000, &[&["d", "x"]]), false);
        check(empty, &event(10_000, &[]), false);
        check(empty, &event(1, &[]), false);
        check(empty, &event(1, &[&["d", ""]]), true);
        check(r##"{"#d":["x"]}"##, &event(30_000, &[&["d", "x"]]), true);
    }

    #[test]
    fn all_values_of_an_ampersand_condition_are_needed_and_do_not_count_twice() {
        let json = r##"{"&t":["a","b"],"#t":["c","d","a"]}"##;
        check(json, &event(1, &[&["t", "a"], &["t", "b"], &["t", "c"]]), true);
        check(json, &event(1, &[&["t", "a"], &["t", "b"]]), false);
        check(json, &event(1, &[&["t", "a"], &["t", "c"]]), false);
        check(r#"{"&t":["a","a"]}"#, &event(1, &[&["t", "a"], &["t", "a"]]), true);
        check(r#"{"&t":["a","b"]}"#, &event(1, &[&["t", "a"], &["t", "a"]]), false);
        let only_required = filter(r##"{"#t":["a"],"&t":["a"]}"##);
        assert_eq!(only_required, filter(r#"{"&t":["a"]}"#));
        assert!(filter(r##"{"#t":[],"&t":["a"]}"##).matches_nothing());
        assert_eq!(filter(r##"{"#t":["a"],"&e":[]}"##).tags.len(), 2);
    }

    #[test]
    fn long_ampersand_conditions_count_each_value_once() {
        for count in [63, 64, 65, 200] {
            let texts: Vec<String> = (0..count).map(|index| format!("v{index}")).collect();
            let json = serde_json::json!({ "&t": texts }).to_string();
            let tags: Vec<[&str; 2]> = texts.iter().map(|text| ["t", text.as_str()]).collect();
            let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
            check(&json, &event(1, &tags), true);
            check(&json, &event(1, &tags[1..]), false);
        }
    }

    #[test]
    fn what_is_malformed_is_invalid() {
        let rows = [
            r#"{"ids":["bde202ea"]}"#,
            r#"{"authors":["79be66"]}"#,
            r#"{"ids":[1]}"#,
            r#"{"ids":"x"}"#,
            r#"{"ids":null}"#,
            r##"{"#e":["zz"]}"##,
            r##"{"#p":["abc"]}"##,
            r##"{"#p":[""]}"##,
            r#"{"&e":["x"]}"#,
            r##"{"#t":[1]}"##,
            r##"{"#t":"a"}"##,
            r##"{"#t":[null]}"##,
            r#"{"kinds":[-1]}"#,
            r#"{"kinds":[1.5]}"#,
            r#"{"kinds":["1"]}"#,
            r#"{"kinds":1}"#,
            r#"{"kinds":[1e2]}"#,
            r#"{"since":-1}"#,
            r#"{"until":1.5}"#,
            r#"{"limit":-1}"#,
            r#"{"since":"5"}"#,
            r#"{"limit":null}"#,
            r#"{"search":5}"#,
            r#"{"search":null}"#,
            r#"{"limit":1,"limit":1}"#,
            r#"{"kinds":[1],"kinds":[1]}"#,
            r##"{"#t":["a"],"#t":["b"]}"##,
            r#"{"search":"","search":"x"}"#,
            "[]",
            "null",
            "\"x\"",
            "5",
            "",
            "{",
            "{\"kinds\":[1}",
            "{}x",
            "{\"kinds\":[1,]}",
            r##"{"#t":["\ud800"]}"##,
        ];
        for json in rows {
            assert!(refusal(json).starts_with("invalid: "), "{json}: {}", refusal(json));
        }
        let upper = format!(r#"{{"authors":["{}"]}}"#, K1.to_uppercase());
        assert!(refusal(&upper).starts_with("invalid: `authors`"));
        assert!(Filter::parse(b"{\"search\":\"\xff\"}").is_err());
    }

    #[test]
    fn what_cannot_be_answered_is_unsupported() {
        assert_eq!(
            refusal(r#"{"kinds":[1],"foo":1}"#),
            "unsupported: filter contains unknown elements"
        );
        assert_eq!(refusal(r#"{"":1}"#), "unsupported: filter contains unknown elements");
        for name in ["#foo", "#1", "#-", "#", "#\u{e9}", "&tt", "&", "&1"] {
            let json = serde_json::json!({ name: ["x"] }).to_string();
            assert!(refusal(&json).starts_with("unsupported: "), "{json}");
        }
    }

    #[test]
    fn equal_filters_are_equal_values_and_survive_rendering() {
        let spelled = format!(
            r##"{{"#t":["b","a\n","a\u000a"],"&t":["z"],"#p":["{K1}"],"kinds":[2,1,2,70000],"ids":["{S1}","{K1}"],"authors":["{K1}"],
            "limit":7,"until":9,"since":8,"search":"say \u0022hi\u0022"}}"##
        );
        let parsed = filter(&spelled);
        let mut out = Vec::new();
        parsed.write_json(&mut out);
        let expected = format!(
            r##"{{"ids":["{K1}","{S1}"],"authors":["{K1}"],"kinds":[1,2],"#p":["{K1}"],"#t":["a\n","b"],"&t":["z"],"since":8,"until":9,"limit":7,"search":"say \"hi\""}}"##
        );
        assert_eq!(String::from_utf8_lossy(&out), expected);
        assert_eq!(Filter::parse(&out), Ok(parsed));
        for json in ["{}", r#"{"ids":[]}"#, r##"{"#d":[""]}"##, r#"{"limit":0}"#] {
            out.clear();
            filter(json).write_json(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), json);
        }
        assert_eq!(filter(r#"{"search":""}"#), filter("{}"));
    }

    #[test]
    fn thousands_of_names_fit() {
        let names: Vec<String> = (0..5_000).map(|index| format!("{index:064x}")).collect();
        let json = serde_json::json!({ "authors": names, "#e": names }).to_string();
        let parsed = filter(&json);
        assert_eq!(parsed.authors.as_ref().map(|list| list.len()), Some(5_000));
        assert!(parsed.memory_bytes() > 5_000 * 64);
        assert!(parsed.memory_bytes() < 5_000 * 80);
    }
}
