//! What another reading of the configuration changes, and what of it waits for a restart.

use std::path::PathBuf;

use super::conflict::conflicts;
use super::error::{ConfigError, Problem};
use super::key::{Key, Range, Reload};
use super::load::{Config, Origin};
use super::peers::{Peer, PeerSettings};
use super::settings::{Settings, keys};

/// One key whose value changed.
#[derive(Debug)]
pub struct ChangedKey {
    /// Which one.
    pub key: &'static Key,
    /// The value it had, as TOML; nothing if it was absent.
    pub before: Option<String>,
    /// The value that was read.
    pub after: Option<String>,
    /// Where that comes from.
    pub origin: Origin,
}

/// What a running relay makes of another reading.
#[derive(Debug)]
pub struct Change {
    /// What is in effect afterwards: keys that do not reload keep their values.
    pub config: Config,
    /// Keys that took effect.
    pub taken: Vec<ChangedKey>,
    /// Keys that take effect when the relay is started again.
    pub waiting: Vec<ChangedKey>,
    /// Whether the parts `[[peer]]` are others.
    pub has_other_peers: bool,
}

impl Change {
    /// Compares what is in effect with what was read.
    ///
    /// # Errors
    ///
    /// If a changed value cannot hold together with one that has to stay.
    pub fn between(current: &Config, read: Config) -> Result<Change, ConfigError> {
        let (mut taken, mut waiting) = (Vec::new(), Vec::new());
        let mut config = read;
        for key in keys() {
            let (before, after) = (key.value(&current.settings), key.value(&config.settings));
            if before == after {
                continue;
            }
            let changed = ChangedKey { key, before, after, origin: config.origin(key).clone() };
            match key.reload {
                Reload::Yes => taken.push(changed),
                Reload::No => {
                    (key.copy)(&current.settings, &mut config.settings);
                    waiting.push(changed);
                }
            }
        }
        let problems: Vec<Problem> = conflicts(&config.settings)
            .into_iter()
            .map(|conflict| Problem {
                place: conflict.key.to_owned(),
                text: conflict.text,
                hint: Some("it holds after a restart, which changes both".to_owned()),
            })
            .collect();
        if problems.is_empty() {
            let what = |config: &Config| -> Vec<PeerSettings> {
                config.peers.iter().map(|peer| peer.settings.clone()).collect()
            };
            let has_other_peers = what(current) != what(&config);
            Ok(Change { config, taken, waiting, has_other_peers })
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// Returns the files that keys name, each once: they belong to the configuration.
pub fn files(settings: &Settings, peers: &[Peer]) -> Vec<PathBuf> {
    let is_file =
        |key: &&'static Key| matches!(key.range, Range::File | Range::ListOf(Range::File));
    let mut found = Vec::new();
    for text in keys().filter(is_file).filter_map(|key| key.value(settings)) {
        match text.parse() {
            Ok(toml::Value::String(path)) => found.push(PathBuf::from(path)),
            Ok(toml::Value::Array(paths)) => {
                found.extend(paths.iter().filter_map(|path| path.as_str()).map(PathBuf::from));
            }
            _ => {}
        }
    }
    found.extend(peers.iter().filter_map(|peer| peer.settings.key_file.clone()));
    found.sort();
    found.dedup();
    found
}

/// Returns a value of a [`ChangedKey`] as it may stand in a log line: lists may be of people or secrets, and no key of
/// anybody is told.
pub fn loggable(value: &Option<String>) -> String {
    let Some(text) = value else { return "absent".to_owned() };
    let is_key = |text: &str| text.len() == 64 && text.bytes().all(|it| it.is_ascii_hexdigit());
    match text.parse() {
        Ok(toml::Value::Array(items)) => format!("a list of {}", items.len()),
        Ok(toml::Value::String(text)) if is_key(&text) => "a key".to_owned(),
        _ => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flag, Sources, load};

    fn read(flags: &[(&str, &str)]) -> Config {
        let flag = |(key, value): &(&str, &str)| Flag {
            flag: "--set",
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        load(&Sources {
            file: None,
            default_file: PathBuf::from("/nonexistent/config.toml"),
            environment: Vec::new(),
            flags: flags.iter().map(flag).collect(),
        })
        .expect("the flags are valid")
    }

    fn names(changed: &[ChangedKey]) -> Vec<String> {
        changed.iter().map(|it| it.key.path()).collect()
    }

    #[test]
    fn keys_that_reload_are_taken_and_the_others_wait_with_their_old_values() {
        let current = read(&[("limits.max_limit", "700"), ("server.threads", "2")]);
        let next = [("limits.max_limit", "800"), ("server.threads", "3"), ("relay.name", "x")];
        let change = Change::between(&current, read(&next)).expect("nothing conflicts");
        assert_eq!(names(&change.taken), ["relay.name", "limits.max_limit"]);
        assert_eq!(names(&change.waiting), ["server.threads"]);
        assert_eq!(change.taken[1].before.as_deref(), Some("700"));
        assert_eq!(change.taken[1].after.as_deref(), Some("800"));
        assert_eq!(change.config.settings.limits.max_limit, 800);
        assert_eq!(change.config.settings.server.threads, 2);
        // What waits is told again each time, until the relay is started again.
        let again = Change::between(&change.config, read(&next)).expect("nothing conflicts");
        assert_eq!((names(&again.taken).len(), names(&again.waiting).len()), (0, 1));
        let same = Change::between(&current, read(&[])).expect("nothing conflicts");
        assert_eq!(names(&same.taken), ["limits.max_limit"]);
    }

    #[test]
    fn log_lines_have_neither_keys_nor_what_is_in_lists() {
        let key = format!("{:?}", "ab".repeat(32));
        let rows = [
            (None, "absent"),
            (Some("7"), "7"),
            (Some("\"a relay\""), "\"a relay\""),
            (Some(&key), "a key"),
            (Some("[\"secret code\", \"another\"]"), "a list of 2"),
        ];
        for (value, expected) in rows {
            assert_eq!(loggable(&value.map(str::to_owned)), expected);
        }
    }

    #[test]
    fn every_key_is_copied_by_itself() {
        let everything = read(&[]);
        for key in keys() {
            let mut settings = Settings::default();
            (key.copy)(&everything.settings, &mut settings);
            assert_eq!(settings, Settings::default(), "{}", key.path());
        }
    }
}
