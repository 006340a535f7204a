//! The protocol read plainly from JSON values, without regard to speed: what an event, a filter and
//! a message are, and whether a filter matches.

use super::tree::Tree;

/// An event as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlainEvent {
    pub(super) id: String,
    pub(super) pubkey: String,
    pub(super) created_at: u64,
    pub(super) kind: u64,
    pub(super) tags: Vec<Vec<String>>,
    pub(super) content: String,
    pub(super) sig: String,
}

/// Reads an event (NIP-01): seven members, each once, each of its type; others do not matter.
pub(super) fn event(tree: &Tree) -> Option<PlainEvent> {
    let members = tree.object()?;
    let once = |name: &str| {
        let mut found = members.iter().filter(|(key, _)| key == name);
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    };
    let hex = |name, len| once(name)?.text().filter(|text| is_hex(text, len)).map(str::to_owned);
    let tag = |tag: &Tree| {
        let elements: Option<Vec<String>> =
            tag.list()?.iter().map(|it| it.text().map(str::to_owned)).collect();
        elements.filter(|elements| !elements.is_empty())
    };
    Some(PlainEvent {
        id: hex("id", 64)?,
        pubkey: hex("pubkey", 64)?,
        created_at: once("created_at")?.integer()?,
        kind: once("kind")?.integer().filter(|kind| *kind <= 65_535)?,
        tags: once("tags")?.list()?.iter().map(tag).collect::<Option<_>>()?,
        content: once("content")?.text()?.to_owned(),
        sig: hex("sig", 128)?,
    })
}

/// Tells whether a value is a filter that can be answered.
pub(super) fn is_filter(tree: &Tree) -> bool {
    let Some(members) = tree.object() else { return false };
    let is_known = |(index, (name, value)): (usize, &(String, Tree))| {
        let is_first = members[..index].iter().all(|(other, _)| other != name);
        let all = |is_right: &dyn Fn(&Tree) -> bool| {
            value.list().is_some_and(|items| items.iter().all(is_right))
        };
        let is_name = |item: &Tree| item.text().is_some_and(|text| is_hex(text, 64));
        is_first
            && match name.as_bytes() {
                b"ids" | b"authors" | b"#e" | b"#p" | b"&e" | b"&p" => all(&is_name),
                b"kinds" => all(&|item| item.integer().is_some()),
                b"since" | b"until" | b"limit" => value.integer().is_some(),
                b"search" => value.text().is_some(),
                [b'#' | b'&', letter] if letter.is_ascii_alphabetic() => {
                    all(&|item| item.text().is_some())
                }
                _ => false,
            }
    };
    members.iter().enumerate().all(is_known)
}

/// Tells whether a filter matches an event (NIP-01, NIP-91).
pub(super) fn matches(filter: &Tree, event: &PlainEvent) -> bool {
    let members = filter.object().unwrap_or_default();
    let member = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, it)| it);
    let texts = |value: &Tree| -> Vec<String> {
        let items = value.list().unwrap_or_default();
        items.iter().filter_map(|item| item.text().map(str::to_owned)).collect()
    };
    members.iter().all(|(name, wanted)| match name.as_str() {
        "ids" => texts(wanted).contains(&event.id),
        "authors" => texts(wanted).contains(&event.pubkey),
        "kinds" => {
            let kinds = wanted.list().unwrap_or_default();
            kinds.iter().any(|kind| kind.integer() == Some(event.kind))
        }
        "since" => wanted.integer() <= Some(event.created_at),
        "until" => wanted.integer() >= Some(event.created_at),
        "limit" | "search" => true,
        tag => {
            let letter = &tag[1..];
            let values = values_of(event, letter);
            let mut wanted = texts(wanted);
            if tag.starts_with('&') {
                return !wanted.is_empty() && wanted.iter().all(|it| values.contains(it));
            }
            // What `&x` requires anyway does not count in `#x`.
            if let Some(required) = member(&format!("&{letter}")).map(texts) {
                let had_some = !wanted.is_empty();
                wanted.retain(|value| !required.contains(value));
                if had_some && wanted.is_empty() {
                    return true;
                }
            }
            wanted.iter().any(|value| values.contains(value))
        }
    })
}

/// The values that an event has for a letter; an addressable one always has an identifier.
fn values_of(event: &PlainEvent, letter: &str) -> Vec<String> {
    let named: Vec<&Vec<String>> = event.tags.iter().filter(|tag| tag[0] == letter).collect();
    let mut values: Vec<String> = named.iter().filter_map(|tag| tag.get(1).cloned()).collect();
    let is_addressable = (30_000..40_000).contains(&event.kind);
    let lacks_value = named.first().is_none_or(|tag| tag.len() < 2);
    if letter == "d" && is_addressable && lacks_value {
        values.push(String::new());
    }
    values
}

/// What a message has to be taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is legal, with this verb; `Event` and `Auth` carry an event.
    Taken,
    /// It is answered by NOTICE.
    Notice,
    /// By OK, with the id that was given, or `?`.
    Ok(String),
    /// By CLOSED under this name.
    Closed(String),
    /// By NEG-ERR under this name.
    NegErr(String),
}

/// Reads a message.
pub(super) fn message(tree: &Tree) -> Outcome {
    let Some([verb, rest @ ..]) = tree.list() else { return Outcome::Notice };
    let name = rest.first().and_then(Tree::text);
    let is_name = name.is_some_and(|name| (1..=64).contains(&name.chars().count()));
    match (verb.text(), name) {
        (Some("EVENT" | "AUTH"), _) => submission(rest),
        (Some("REQ" | "COUNT"), Some(name)) => {
            let filters = &rest[1..];
            let is_right = is_name && !filters.is_empty() && filters.len() <= 1024;
            if is_right && filters.iter().all(is_filter) {
                return Outcome::Taken;
            }
            Outcome::Closed(name.to_owned())
        }
        (Some("CLOSE" | "NEG-CLOSE"), Some(_)) if is_name => Outcome::Taken,
        (Some("NEG-OPEN"), Some(name)) => match rest {
            [_, filter, Tree::Text(_), ..] if is_name && is_filter(filter) => Outcome::Taken,
            _ => Outcome::NegErr(name.to_owned()),
        },
        (Some("NEG-MSG"), Some(name)) => match rest {
            [_, Tree::Text(_), ..] if is_name => Outcome::Taken,
            _ => Outcome::NegErr(name.to_owned()),
        },
        _ => Outcome::Notice,
    }
}

fn submission(rest: &[Tree]) -> Outcome {
    let Some(Tree::Object(members)) = rest.first() else { return Outcome::Notice };
    if event(&rest[0]).is_some() {
        return Outcome::Taken;
    }
    let id = members.iter().find(|(key, _)| key == "id").and_then(|(_, value)| value.text());
    Outcome::Ok(id.unwrap_or("?").to_owned())
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
