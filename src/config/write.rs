//! Writes the configuration: the example with every key, and the values in effect.

use super::key::{Key, Reload};
use super::load::Config;
use super::peers::{self, PEER_KEYS, PeerSettings};
use super::settings::{SECTIONS, Settings, keys};

/// Returns the example file: every key with its doc, range, default and whether it reloads.
///
/// Keys are commented out, so that a copy of the file does not pin today's defaults.
pub fn example() -> String {
    let defaults = Settings::default();
    let mut out = String::from(INTRODUCTION);
    for section in SECTIONS {
        out.push('\n');
        push_comment(&mut out, section.doc);
        out.push_str(&format!("[{}]\n", section.name));
        for key in section.keys {
            out.push('\n');
            push_comment(&mut out, key.doc);
            out.push_str(&format!("# {}\n", facts(key, &defaults)));
            let value = key.value(&defaults);
            let shown = match (value.as_deref(), key.example) {
                // An empty list shows what an item looks like.
                (None | Some("[]"), Some(example)) => example,
                (value, _) => value.unwrap_or("\"\""),
            };
            out.push_str(&format!("#{} = {shown}\n", key.name));
        }
    }
    push_peer_example(&mut out);
    out
}

/// Appends a part `[[peer]]` with every key.
fn push_peer_example(out: &mut String) {
    let defaults = PeerSettings::default();
    out.push('\n');
    push_comment(out, peers::DOC);
    out.push_str("#[[peer]]\n");
    for key in PEER_KEYS {
        out.push('\n');
        push_comment(out, key.doc);
        let default = match key.value(&defaults).as_deref() {
            None | Some("\"\"") => "absent".to_owned(),
            Some(value) => value.to_owned(),
        };
        out.push_str(&format!("# {}. Default: {default}.\n", sentence(&key.expectation())));
        let shown = key.example.unwrap_or(&default);
        out.push_str(&format!("#{} = {shown}\n", key.name));
    }
}

/// Returns the values in effect as a configuration file, each with where it came from.
pub fn show(config: &Config) -> String {
    let mut out = String::new();
    for section in SECTIONS {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&format!("[{}]\n", section.name));
        for key in section.keys {
            let assignment = match key.value(&config.settings) {
                Some(value) => format!("{} = {value}", key.name),
                None => format!("#{} is absent", key.name),
            };
            out.push_str(&format!("{assignment:<42} # {}\n", config.origin(key)));
        }
    }
    for peer in &config.peers {
        let header = "[[peer]]";
        out.push_str(&format!("\n{header:<42} # {}\n", peer.origin));
        for (name, value) in peer.settings.values() {
            match value {
                Some(value) => out.push_str(&format!("{name} = {value}\n")),
                None => out.push_str(&format!("#{name} is absent\n")),
            }
        }
    }
    out
}

/// Returns the values in effect and where each came from, by full key name.
pub fn show_json(config: &Config) -> serde_json::Value {
    let rows = keys().map(|key| {
        let value = key.value(&config.settings).map(json_of_toml);
        let origin = config.origin(key).to_string();
        (key.path(), serde_json::json!({ "value": value, "origin": origin }))
    });
    let mut all: serde_json::Map<String, serde_json::Value> = rows.collect();
    let peers = config.peers.iter().map(|peer| {
        let json = |value: Option<String>| value.map(json_of_toml).unwrap_or_default();
        let values = peer.settings.values().map(|(name, value)| (name.to_owned(), json(value)));
        let value: serde_json::Map<String, serde_json::Value> = values.collect();
        serde_json::json!({ "value": value, "origin": peer.origin.to_string() })
    });
    all.insert("peer".to_owned(), peers.collect());
    serde_json::Value::Object(all)
}

/// Returns every key as an administrator is shown it: its value unless it is a secret, whether that
/// is the default, and what it means.
pub fn view(settings: &Settings) -> serde_json::Value {
    let defaults = Settings::default();
    let row = |key: &'static Key| {
        let (value, default) = (key.value(settings), key.value(&defaults));
        let is_default = value == default;
        let shown = match value {
            Some(_) if is_secret(key) && !is_default => "(hidden)".into(),
            value => value.map_or(serde_json::Value::Null, json_of_toml),
        };
        serde_json::json!({
            "key": key.path(), "value": shown, "is_default": is_default,
            "reloads": key.reload == Reload::Yes, "doc": key.doc.join(" ").trim(),
        })
    };
    keys().map(row).collect()
}

/// Tells whether a value is nobody's business who can only look: invite codes, and whatever else
/// lets somebody in.
fn is_secret(key: &Key) -> bool {
    let words = ["secret", "password", "token", "codes", "credential"];
    words.iter().any(|word| key.name.contains(word))
}

/// Turns the TOML text of one value into JSON.
fn json_of_toml(text: String) -> serde_json::Value {
    match text.parse() {
        Ok(toml::Value::Integer(number)) => number.into(),
        Ok(toml::Value::String(text)) => text.into(),
        Ok(toml::Value::Boolean(value)) => value.into(),
        Ok(toml::Value::Array(items)) => {
            items.iter().map(|item| json_of_toml(item.to_string())).collect()
        }
        _ => text.into(),
    }
}

/// Says the expected values, the default and whether the key reloads, in one line.
fn facts(key: &Key, defaults: &Settings) -> String {
    let default = key.value(defaults).unwrap_or_else(|| "absent".to_owned());
    let reloads = match key.reload {
        Reload::Yes => "yes",
        Reload::No => "no",
    };
    let sentence = sentence(&key.expectation());
    format!("{sentence}. Default: {default}. Reloads: {reloads}.")
}

/// Returns what is expected with a large letter at its beginning.
fn sentence(expectation: &str) -> String {
    let mut characters = expectation.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn push_comment(out: &mut String, lines: &[&str]) {
    for line in lines {
        out.push_str(&format!("#{line}\n"));
    }
}

const INTRODUCTION: &str = "\
# Configuration of a Chappe relay, as `relay config example` prints it.
#
# Every key is optional and shown with its default. A stronger layer wins: command line
# (`--set section.key=value`), environment (`RELAY_SECTION_KEY`), this file, default.
# `relay config check` checks a file, `relay config show` prints what is in effect and why.
# A running relay looks at this file twice a second, and at once on SIGHUP, and goes by what has
# changed; a file with a mistake changes nothing, and the log says what is wrong with it.
# \"Reloads: no\" means that a changed value takes effect when the relay is started again.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_in_the_repository_is_what_the_command_prints() {
        let committed = include_str!("../../config.toml.example");
        assert!(
            committed == example(),
            "config.toml.example differs: run `relay config example > config.toml.example`"
        );
    }
}
