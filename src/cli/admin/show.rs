//! What the relay says, as people read it: one line a thing, the rest to standard error.

use serde_json::{Map, Value};

use crate::cli::exit::Failure;
use crate::cli::output::{grouped, print, say, utc};

/// Prints every decision, with what kind of decision it is.
pub(super) fn lists(lists: &Map<String, Value>) -> Result<(), Failure> {
    let mut lines = String::new();
    for (name, word) in WORDS {
        for row in rows(lists.get(name)) {
            let item = ["pubkey", "id", "ip"].iter().find_map(|field| row[*field].as_str());
            let item = item.map_or_else(|| row.to_string(), str::to_owned);
            let reason = one_line(row["reason"].as_str().unwrap_or_default());
            lines.push_str(format!("{word:<15} {item} {reason}").trim_end());
            lines.push('\n');
        }
    }
    print(&lines)
}

/// Prints what is reported.
pub(super) fn queue(queue: &Value) -> Result<(), Failure> {
    let mut lines = String::new();
    for row in rows(queue.get("events")) {
        let (event, reason) = (&row["event"], text(row, "reason"));
        let content = one_line(event["content"].as_str().unwrap_or_default());
        lines.push_str(&format!("event:{} [{reason}] {content}\n", text(event, "id")));
    }
    for row in rows(queue.get("pubkeys")) {
        lines.push_str(&format!("author:{} [{}]\n", text(row, "pubkey"), text(row, "reason")));
    }
    print(&lines)?;
    let count = |name: &str| grouped(queue[name].as_u64().unwrap_or(0));
    let (events, authors) = (count("events_total"), count("pubkeys_total"));
    say(&format!(
        "{events} events and {authors} authors are reported; `relay admin ban` or `allow`"
    ));
    Ok(())
}

/// Prints events, one a line, as `relay export` does.
pub(super) fn events(found: &Value) -> Result<(), Failure> {
    let lines: String = rows(found.get("events")).map(|event| format!("{event}\n")).collect();
    print(&lines)?;
    if found["more"] == true {
        say("there are more; --count shows more of them");
    }
    Ok(())
}

/// Prints acts, one a line.
pub(super) fn journal(entries: &Value) -> Result<(), Failure> {
    let line = |entry: &Value| {
        let at = utc(entry["at"].as_u64().unwrap_or(0));
        let (by, from, method) = (text(entry, "by"), text(entry, "from"), text(entry, "method"));
        let error = entry["error"].as_str().map(|error| format!(" FAILED: {}", one_line(error)));
        let (number, params) = (&entry["number"], one_line(&entry["params"].to_string()));
        format!("{number} {at} {by} {from} {method} {params}{}\n", error.unwrap_or_default())
    };
    let lines: String = rows(Some(entries)).map(line).collect();
    print(&lines)
}

fn rows(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

/// Returns the beginning of a text as one line that no terminal is upset by.
fn one_line(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(LINE_CHARACTERS_MAX).collect()
}

const LINE_CHARACTERS_MAX: usize = 200;
const WORDS: [(&str, &str); 7] = [
    ("listbannedpubkeys", "banned author"),
    ("listallowedpubkeys", "allowed author"),
    ("listbannedevents", "banned event"),
    ("listallowedevents", "allowed event"),
    ("listblockedips", "blocked address"),
    ("listallowedkinds", "allowed kind"),
    ("listdisallowedkinds", "refused kind"),
];
