//! Filters from JSON.
//!
//! What cannot be understood is refused, never ignored: an ignored condition would widen the
//! filter.

use super::{Filter, FilterError, TagCondition, TagMode, TagValue};
use crate::nostr::id::{EventId, PublicKey};
use crate::nostr::json::{JsonError, Scanner};
use crate::nostr::reject::Prefix;

/// Parses a whole text.
pub(super) fn parse(json: &[u8]) -> Result<Filter, FilterError> {
    let text = simdutf8::basic::from_utf8(json).map_err(|_| invalid("text is not UTF-8"))?;
    let mut scanner = Scanner::new(text);
    let filter = Filter::read(&mut scanner)?;
    scanner.finish()?;
    Ok(filter)
}

impl Filter {
    /// Reads a filter object from the scanner.
    pub(in crate::nostr) fn read(scanner: &mut Scanner<'_>) -> Result<Filter, FilterError> {
        if scanner.peek() != Some(b'{') {
            return Err(wrong_value("filter is not an object", scanner));
        }
        let mut members = Members::default();
        let mut has_member = scanner.open(b'{', b'}')?;
        while has_member {
            let key = scanner.key()?;
            members.read(&key.canonical(), scanner)?;
            has_member = scanner.another(b'}')?;
        }
        Ok(members.finish())
    }
}

impl From<JsonError> for FilterError {
    fn from(error: JsonError) -> FilterError {
        invalid(&error.to_string())
    }
}

/// What was found so far of a filter object.
#[derive(Default)]
struct Members {
    filter: Filter,
    tags: Vec<TagCondition>,
    has_search: bool,
}

impl Members {
    fn read(&mut self, key: &[u8], scanner: &mut Scanner<'_>) -> Result<(), FilterError> {
        let filter = &mut self.filter;
        match key {
            b"ids" => {
                let ids = read_list(scanner, IDS, |scanner| Some(EventId(scanner.hex_32()?)))?;
                once("ids", &mut filter.ids, ids.into_boxed_slice())
            }
            b"authors" => {
                let authors =
                    read_list(scanner, AUTHORS, |scanner| Some(PublicKey(scanner.hex_32()?)))?;
                once("authors", &mut filter.authors, authors.into_boxed_slice())
            }
            b"kinds" => {
                let numbers = read_list(scanner, KINDS, Scanner::integer)?;
                let kinds = numbers.into_iter().filter_map(|number| u16::try_from(number).ok());
                once("kinds", &mut filter.kinds, kinds.collect())
            }
            b"since" => once("since", &mut filter.since, read_integer("since", scanner)?),
            b"until" => once("until", &mut filter.until, read_integer("until", scanner)?),
            b"limit" => once("limit", &mut filter.limit, read_integer("limit", scanner)?),
            b"search" => self.read_search(scanner),
            [b'#', name @ ..] => self.read_tag(name, TagMode::Any, scanner),
            [b'&', name @ ..] => self.read_tag(name, TagMode::All, scanner),
            _ => Err(unsupported("filter contains unknown elements")),
        }
    }

    fn read_search(&mut self, scanner: &mut Scanner<'_>) -> Result<(), FilterError> {
        if scanner.peek() != Some(b'"') {
            return Err(wrong_value("`search` is not a string", scanner));
        }
        let search = scanner.text()?.to_text();
        if self.has_search {
            return Err(repeated("search"));
        }
        self.has_search = true;
        if !search.is_empty() {
            self.filter.search = Some(search.into_boxed_str());
        }
        Ok(())
    }

    fn read_tag(
        &mut self,
        name: &[u8],
        mode: TagMode,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), FilterError> {
        let [letter @ (b'a'..=b'z' | b'A'..=b'Z')] = *name else {
            return Err(unsupported("only tags named by a single letter can be filtered"));
        };
        let is_known = |known: &TagCondition| known.letter == letter && known.mode == mode;
        if self.tags.iter().any(is_known) {
            return Err(repeated("tag condition"));
        }
        let values = match letter {
            b'e' | b'p' => {
                read_list(scanner, NAMES, |scanner| scanner.hex_32().map(TagValue::Hex))?
            }
            _ => read_list(scanner, TEXTS, read_value)?,
        };
        self.tags.push(TagCondition { letter, mode, values: values.into_boxed_slice() });
        Ok(())
    }

    fn finish(mut self) -> Filter {
        self.tags.sort_unstable_by_key(|condition| (condition.letter, condition.mode));
        leave_out_required_values(&mut self.tags);
        Filter { tags: self.tags.into_boxed_slice(), ..self.filter }
    }
}

/// Takes the values that `&x` requires anyway out of `#x`, where they do not count (NIP-91).
///
/// A `#x` that named nothing else asks for nothing more, so it is dropped and not left empty.
fn leave_out_required_values(tags: &mut Vec<TagCondition>) {
    for index in (1..tags.len()).rev() {
        let (before, after) = tags.split_at_mut(index);
        let (Some(any), Some(all)) = (before.last_mut(), after.first()) else {
            continue;
        };
        if any.letter != all.letter || any.values.is_empty() {
            continue;
        }
        let is_further = |value: &&TagValue| all.values.binary_search(value).is_err();
        any.values = any.values.iter().filter(is_further).cloned().collect();
        if any.values.is_empty() {
            tags.remove(index - 1);
        }
    }
}

/// Reads an array, sorted and without repetitions; `expected` says what it should have been.
fn read_list<'a, T: Ord>(
    scanner: &mut Scanner<'a>,
    expected: &'static str,
    read_item: impl Fn(&mut Scanner<'a>) -> Option<T>,
) -> Result<Vec<T>, FilterError> {
    if scanner.peek() != Some(b'[') {
        return Err(wrong_value(expected, scanner));
    }
    let mut list = Vec::new();
    let mut has_item = scanner.open(b'[', b']')?;
    while has_item {
        list.push(read_item(scanner).ok_or_else(|| wrong_value(expected, scanner))?);
        has_item = scanner.another(b']')?;
    }
    list.sort_unstable();
    list.dedup();
    Ok(list)
}

fn read_value(scanner: &mut Scanner<'_>) -> Option<TagValue> {
    if let Some(bytes) = scanner.plain_hex_32() {
        return Some(TagValue::Hex(bytes));
    }
    let mut ahead = scanner.clone();
    let text = ahead.text().ok()?;
    *scanner = ahead;
    Some(TagValue::from_canonical(&text.canonical()))
}

fn read_integer(name: &str, scanner: &mut Scanner<'_>) -> Result<u64, FilterError> {
    let problem =
        |scanner| wrong_value(&format!("`{name}` is not a non-negative integer"), scanner);
    scanner.integer().ok_or_else(|| problem(scanner))
}

fn once<T>(member: &str, slot: &mut Option<T>, value: T) -> Result<(), FilterError> {
    if slot.is_some() {
        return Err(repeated(member));
    }
    *slot = Some(value);
    Ok(())
}

/// Returns the error about a value of the wrong shape, or the one about JSON if it is not even a
/// value.
#[cold]
fn wrong_value(problem: &str, scanner: &Scanner<'_>) -> FilterError {
    match scanner.clone().skip_value() {
        Ok(()) => invalid(problem),
        Err(error) => error.into(),
    }
}

#[cold]
fn repeated(member: &str) -> FilterError {
    invalid(&format!("filter has the same {member} twice"))
}

#[cold]
fn invalid(text: &str) -> FilterError {
    FilterError { prefix: Prefix::Invalid, text: text.to_owned() }
}

#[cold]
fn unsupported(text: &str) -> FilterError {
    FilterError { prefix: Prefix::Unsupported, text: text.to_owned() }
}

const IDS: &str = "`ids` is not an array of strings of 64 lower-case hexadecimal digits";
const AUTHORS: &str = "`authors` is not an array of strings of 64 lower-case hexadecimal digits";
const KINDS: &str = "`kinds` is not an array of non-negative integers";
const NAMES: &str =
    "`e` and `p` tags are filtered by arrays of strings of 64 lower-case hexadecimal digits";
const TEXTS: &str = "tags are filtered by arrays of strings";
