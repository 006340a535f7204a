//! Reads the layers of the configuration, weakest first, and remembers where each value is from.
//!
//! The environment and the flags come in as arguments; the only thing read here is the file.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::de::{DeArray, DeTable, DeValue};

use super::conflict::conflicts;
use super::error::{ConfigError, Problem};
use super::key::{Key, Range, Raw};
use super::nearest::nearest;
use super::peers::{PEERS_MAX, Peer, PeerSettings, namesakes, strangers};
use super::settings::{SECTIONS, Settings, keys};
use crate::policy::ANY_PEER;

/// What the configuration is read from.
#[derive(Debug)]
pub struct Sources {
    /// The file that was asked for; it must exist.
    pub file: Option<PathBuf>,
    /// The file that is read when none was asked for and it exists.
    pub default_file: PathBuf,
    /// The environment; only names that start with `RELAY_` are looked at.
    pub environment: Vec<(String, String)>,
    /// Values of the command line, later ones winning.
    pub flags: Vec<Flag>,
}

/// One value of the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag as the user knows it, such as `--set` or `--data`.
    pub flag: &'static str,
    /// Full name of the key.
    pub key: String,
    /// The value as it was written.
    pub value: String,
}

/// The settings in effect and where each came from.
#[derive(Debug)]
pub struct Config {
    /// The values in effect.
    pub settings: Settings,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// The other relays that the file names, in its order.
    pub peers: Vec<Peer>,
    origins: Vec<Origin>,
}

impl Config {
    /// Returns where the value of a key of the table came from.
    pub fn origin(&self, key: &Key) -> &Origin {
        let (index, _) = find(&key.path()).expect("the key is one of the table's own");
        &self.origins[index]
    }
}

/// The layer that a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The table of keys.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path, line) => write!(formatter, "{}:{line}", path.display()),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag(flag) => write!(formatter, "flag {flag}"),
        }
    }
}

/// Reads every layer and returns the settings in effect, or everything that is wrong with them.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut loader = Loader {
        settings: Settings::default(),
        origins: vec![Origin::Default; keys().count()],
        peers: Vec::new(),
        problems: Vec::new(),
    };
    let file = loader.read_file(sources);
    loader.read_environment(&sources.environment);
    loader.read_flags(&sources.flags);
    if loader.problems.is_empty() {
        loader.find_conflicts();
    }
    if !loader.problems.is_empty() {
        return Err(ConfigError { problems: loader.problems });
    }
    let Loader { settings, origins, peers, .. } = loader;
    Ok(Config { settings, file, peers, origins })
}

/// The layers read so far.
struct Loader {
    settings: Settings,
    origins: Vec<Origin>,
    peers: Vec<Peer>,
    problems: Vec<Problem>,
}

impl Loader {
    /// Reads the file layer; returns the file that was read.
    fn read_file(&mut self, sources: &Sources) -> Option<PathBuf> {
        let path = match &sources.file {
            Some(path) => path.clone(),
            None if sources.default_file.exists() => sources.default_file.clone(),
            None => return None,
        };
        match read_text(&path) {
            Ok(text) => self.read_document(&path, &text),
            Err(reason) => self.problems.push(Problem {
                place: path.display().to_string(),
                text: format!("expected a readable configuration file, found: {reason}"),
                hint: Some("`relay config example > config.toml` writes one".to_owned()),
            }),
        }
        Some(path)
    }

    fn read_document(&mut self, path: &Path, text: &str) {
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let line = line_of(text, error.span().map_or(text.len(), |span| span.start));
                return self.problem(
                    &Origin::File(path.to_owned(), line),
                    format!("expected TOML, found: {}", error.message().replace('\n', " ")),
                    None,
                );
            }
        };
        // The parser sorts keys by name; problems are reported in the order of the file.
        let mut entries: Vec<_> = document.get_ref().iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let origin = Origin::File(path.to_owned(), line_of(text, name.span().start));
            let name = name.get_ref().as_ref();
            let is_section = SECTIONS.iter().any(|section| section.name == name);
            match value.get_ref() {
                DeValue::Table(table) if is_section => self.read_section(path, text, name, table),
                DeValue::Table(_) if name == PEERS_SECTION => {
                    let text = "[peer]: expected parts [[peer]], found a section".to_owned();
                    self.problem(&origin, text, Some("write [[peer]]".to_owned()));
                }
                DeValue::Table(_) => self.unknown_section(&origin, name),
                DeValue::Array(parts) if name == PEERS_SECTION => {
                    self.read_peers(path, text, parts);
                }
                DeValue::Array(rules) if name == RULES_SECTION => {
                    self.read_rules(path, text, origin, rules);
                }
                other if is_section => {
                    let found = raw_of(other).describe();
                    let text = format!("{name}: expected a section [{name}], found {found}");
                    self.problem(&origin, text, None);
                }
                _ => self.unknown_key(&origin, name),
            }
        }
    }

    fn read_section(&mut self, path: &Path, text: &str, section: &str, table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let origin = Origin::File(path.to_owned(), line_of(text, name.span().start));
            let key = format!("{section}.{}", name.get_ref());
            self.set(origin, &key, &raw_of(value.get_ref()));
        }
    }

    /// Reads the parts `[[retention]]`, each a rule of the key that lists them.
    fn read_rules(&mut self, path: &Path, text: &str, origin: Origin, rules: &DeArray<'_>) {
        let mut texts = Vec::new();
        for rule in rules {
            let line = line_of(text, rule.span().start);
            let DeValue::Table(table) = rule.get_ref() else {
                let text = format!("{RULES_SECTION}: expected parts [[{RULES_SECTION}]]");
                return self.problem(&Origin::File(path.to_owned(), line), text, None);
            };
            let words = table.iter().map(|(name, value)| {
                format!("{}={}", name.get_ref(), raw_of(value.get_ref()).in_one_word())
            });
            let rule = words.collect::<Vec<String>>().join(" ");
            let (_, key) = find(RULES_KEY).expect("it is a key of the table");
            let is_right = matches!(&key.range, Range::ListOf(it) if it.accepts_text(&rule));
            if !is_right {
                let expected = key.range.describe();
                let text = format!("[[{RULES_SECTION}]]: expected {expected}, found {rule:?}");
                return self.problem(&Origin::File(path.to_owned(), line), text, None);
            }
            texts.push(Raw::Text(rule));
        }
        self.set(origin, RULES_KEY, &Raw::List(texts));
    }

    /// Reads the parts `[[peer]]`.
    fn read_peers(&mut self, path: &Path, text: &str, parts: &DeArray<'_>) {
        let at = |start: usize| Origin::File(path.to_owned(), line_of(text, start));
        if parts.len() > PEERS_MAX {
            let found = parts.len();
            let text = format!("[[peer]]: expected at most {PEERS_MAX} parts, found {found}");
            let start = parts[PEERS_MAX].span().start;
            return self.problem(&at(start), text, None);
        }
        for part in parts {
            let origin = at(part.span().start);
            let DeValue::Table(table) = part.get_ref() else {
                let text = "peer: expected parts [[peer]]".to_owned();
                return self.problem(&origin, text, None);
            };
            let mut settings = PeerSettings::default();
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(name, _)| name.span().start);
            let mut is_whole = true;
            for (name, value) in entries {
                let raw = raw_of(value.get_ref());
                if let Err((text, hint)) = settings.set(name.get_ref(), &raw) {
                    self.problem(&at(name.span().start), text, hint);
                    // Then it is known what is wrong with it.
                    is_whole &= name.get_ref() != "url";
                }
            }
            if let Some(text) = settings.lack().filter(|_| is_whole) {
                let hint = "url = \"wss://relay.example.org\"".to_owned();
                self.problem(&origin, text, Some(hint));
            }
            self.peers.push(Peer { settings, origin });
        }
        let said: Vec<(Origin, String)> = namesakes(&self.peers)
            .into_iter()
            .map(|(peer, other)| {
                let name = peer.settings.shown_name();
                let text = format!("peer.name: expected another than at {other}, found {name:?}");
                (peer.origin.clone(), text)
            })
            .collect();
        for (origin, text) in said {
            self.problem(&origin, text, Some("give each part a name of its own".to_owned()));
        }
    }

    /// Reads the environment layer, in the order of the names so that errors are the same each run.
    fn read_environment(&mut self, environment: &[(String, String)]) {
        let mut ours: Vec<&(String, String)> =
            environment.iter().filter(|(name, _)| is_ours(name)).collect();
        ours.sort();
        for (name, value) in ours {
            let origin = Origin::Environment(name.clone());
            match keys().find(|key| key.variable() == *name) {
                Some(key) => self.set(origin, &key.path(), &Raw::Bare(value.clone())),
                None => self.unknown_variable(&origin, name),
            }
        }
    }

    fn read_flags(&mut self, flags: &[Flag]) {
        for flag in flags {
            self.set(Origin::Flag(flag.flag), &flag.key, &Raw::Bare(flag.value.clone()));
        }
    }

    fn set(&mut self, origin: Origin, path: &str, raw: &Raw) {
        let Some((index, key)) = find(path) else {
            return self.unknown_key(&origin, path);
        };
        if (key.set)(&mut self.settings, raw, &key.range) {
            self.origins[index] = origin;
            return;
        }
        let text = format!("{path}: expected {}, found {}", key.expectation(), raw.describe());
        self.problem(&origin, text, None);
    }

    fn find_conflicts(&mut self) {
        for conflict in conflicts(&self.settings) {
            let origin = match self.origin_of(conflict.key) {
                Origin::Default => self.origin_of(conflict.other),
                origin => origin,
            };
            let text = format!("{}: {}", conflict.key, conflict.text);
            self.problem(&origin.clone(), text, None);
        }
        for name in strangers(&self.settings.store.retention, &self.peers) {
            let origin = self.origin_of(RULES_KEY).clone();
            let text = format!(
                "{RULES_KEY}: expected after from= {ANY_PEER}, addresses, or names of parts \
                 [[{PEERS_SECTION}]], found {name:?}"
            );
            let hint = "a peer of this name needs provenance = true".to_owned();
            self.problem(&origin, text, Some(hint));
        }
    }

    fn origin_of(&self, path: &str) -> &Origin {
        let (index, _) = find(path).expect("a conflict names keys of the table");
        &self.origins[index]
    }

    fn unknown_key(&mut self, origin: &Origin, path: &str) {
        let paths: Vec<String> = keys().map(Key::path).collect();
        let hint = match nearest(path, paths.iter().map(String::as_str)) {
            Some(known) => format!("the nearest known key is {known}"),
            None => "`relay config example` lists every key".to_owned(),
        };
        self.problem(
            origin,
            format!("{}: expected a known key, found none of this name", path.escape_debug()),
            Some(hint),
        );
    }

    fn unknown_section(&mut self, origin: &Origin, section: &str) {
        let hint = match nearest(section, SECTIONS.iter().map(|known| known.name)) {
            Some(known) => format!("the nearest known section is [{known}]"),
            None => "`relay config example` lists every section".to_owned(),
        };
        self.problem(
            origin,
            format!("[{section}]: expected a known section, found none of this name"),
            Some(hint),
        );
    }

    fn unknown_variable(&mut self, origin: &Origin, name: &str) {
        let variables: Vec<String> = keys().map(Key::variable).collect();
        let hint = match nearest(name, variables.iter().map(String::as_str)) {
            Some(known) => format!("the nearest known variable is {known}"),
            None => "a variable is named RELAY_SECTION_KEY; `relay config example` lists every key"
                .to_owned(),
        };
        self.problem(
            origin,
            "expected a known key, found none of this name".to_owned(),
            Some(hint),
        );
    }

    fn problem(&mut self, origin: &Origin, text: String, hint: Option<String>) {
        self.problems.push(Problem { place: origin.to_string(), text, hint });
    }
}

/// Reads a file of bounded size.
fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("more than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

fn raw_of(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(integer) => {
            let value = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
            Raw::Integer(value, integer.to_string())
        }
        DeValue::Float(float) => Raw::Other(float.to_string()),
        DeValue::Boolean(boolean) => Raw::Truth(*boolean),
        DeValue::Datetime(datetime) => Raw::Other(datetime.to_string()),
        DeValue::Array(items) => {
            Raw::List(items.iter().map(|item| raw_of(item.get_ref())).collect())
        }
        DeValue::Table(_) => Raw::Other("a table".to_owned()),
    }
}

/// Returns the number of the line that holds a byte, the first being 1.
fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Returns the key of a full name, and which one in the table it is.
fn find(path: &str) -> Option<(usize, &'static Key)> {
    keys().enumerate().find(|(_, key)| {
        path.strip_prefix(key.section).and_then(|rest| rest.strip_prefix('.')) == Some(key.name)
    })
}

/// Returns whether a variable is meant for the relay.
///
/// Container systems define variables for a service that happens to be named `relay`; stopping at
/// those would keep it from starting there at all.
fn is_ours(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("RELAY_") else {
        return false;
    };
    let is_injected = rest == "NAME"
        || rest == "PORT"
        || ["PORT_", "SERVICE_", "ENV_"].iter().any(|prefix| rest.starts_with(prefix));
    !is_injected && name != CONFIG_VARIABLE
}

/// The parts of the file that are rules, and the key that lists them.
const RULES_SECTION: &str = "retention";
const RULES_KEY: &str = "store.retention";

/// The parts of the file that are other relays.
const PEERS_SECTION: &str = "peer";

/// The variable that names the configuration file, read by the command line itself.
pub const CONFIG_VARIABLE: &str = "RELAY_CONFIG";

/// Largest configuration file that is read; the example has a few thousand bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::write;

    /// Loads from a file text, an environment and `--set` flags.
    fn load_text(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("config.toml");
        std::fs::write(&path, file).expect("a writable file");
        let owned = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
        let result = load(&Sources {
            file: None,
            default_file: path.clone(),
            environment: environment.iter().map(owned).collect(),
            flags: flags
                .iter()
                .map(|(key, value)| Flag {
                    flag: "--set",
                    key: (*key).to_owned(),
                    value: (*value).to_owned(),
                })
                .collect(),
        });
        // The directory's name differs from run to run; the tests see the file's name alone.
        let prefix = format!("{}/", directory.path().display());
        result.map_err(|error| ConfigError {
            problems: error
                .problems
                .into_iter()
                .map(|problem| Problem { place: problem.place.replace(&prefix, ""), ..problem })
                .collect(),
        })
    }

    fn key(path: &str) -> &'static Key {
        find(path).expect("a key of the table").1
    }

    #[test]
    fn without_any_layer_the_defaults_hold() {
        let config = load_text("", &[], &[]).expect("an empty file is valid");
        assert_eq!(config.settings, Settings::default());
        assert!(keys().all(|key| *config.origin(key) == Origin::Default));
    }

    #[test]
    fn a_stronger_layer_wins_and_is_remembered() {
        let file = "[limits]\n\nmax_limit = 1_000\n";
        let path = "limits.max_limit";
        let variable = ("RELAY_LIMITS_MAX_LIMIT", "2000");
        let layers = [
            (load_text(file, &[], &[]), 1_000, ":3"),
            (load_text(file, &[variable], &[]), 2_000, "environment RELAY_LIMITS_MAX_LIMIT"),
            (load_text(file, &[variable], &[(path, "3000")]), 3_000, "flag --set"),
            (load_text(file, &[variable], &[(path, "1"), (path, "3_000")]), 3_000, "flag --set"),
            (load_text("", &[], &[]), 5_000, "default"),
        ];
        for (config, value, origin) in layers {
            let config = config.expect("the layers are valid");
            assert_eq!(config.settings.limits.max_limit, value, "{origin}");
            assert!(config.origin(key(path)).to_string().ends_with(origin), "{origin}");
        }
    }

    #[test]
    fn every_problem_names_place_key_expectation_and_remedy() {
        let rows = [
            (
                "[limits]\n\"zzz\\nqqqqqqqqqqq\" = 5\n",
                "config.toml:2: limits.zzz\\nqqqqqqqqqqq: expected a known key, found none of this name",
                Some("`relay config example` lists every key"),
            ),
            (
                "[limits]\nmax_limt = 5\n",
                "config.toml:2: limits.max_limt: expected a known key, found none of this name",
                Some("the nearest known key is limits.max_limit"),
            ),
            (
                "[server]\nmax_limit = 5\n",
                "config.toml:2: server.max_limit: expected a known key, found none of this name",
                Some("the nearest known key is limits.max_limit"),
            ),
            (
                "name = \"x\"\n",
                "config.toml:1: name: expected a known key, found none of this name",
                Some("the nearest known key is relay.name"),
            ),
            (
                "\n[limit]\nmax_limit = 5\n",
                "config.toml:2: [limit]: expected a known section, found none of this name",
                Some("the nearest known section is [limits]"),
            ),
            (
                "[relay.unheard]\nx = 1\n",
                "config.toml:1: relay.unheard: expected a known key, found none of this name",
                Some("`relay config example` lists every key"),
            ),
            (
                "[limits]\nmax_limit = 0\n",
                "config.toml:2: limits.max_limit: \
                 expected a whole number from 1 to 1000000 (events), found 0",
                None,
            ),
            (
                "[limits]\nmax_limit = -1\n",
                "config.toml:2: limits.max_limit: \
                 expected a whole number from 1 to 1000000 (events), found -1",
                None,
            ),
            (
                "[limits]\nmax_limit = \"many\"\n",
                "config.toml:2: limits.max_limit: \
                 expected a whole number from 1 to 1000000 (events), found \"many\"",
                None,
            ),
            ("limits = 3\n", "config.toml:1: limits: expected a section [limits], found 3", None),
            (
                "[store]\ndurability = \"fast\"\n",
                "config.toml:2: store.durability: \
                 expected one of \"sync\", \"lazy\", found \"fast\"",
                None,
            ),
            (
                "[server]\nlisten = \"localhost\"\n",
                "config.toml:2: server.listen: expected an address and port such as \
                 127.0.0.1:7777 or [::]:7777, found \"localhost\"",
                None,
            ),
            (
                "[relay]\npubkey = \"npub1xyz\"\n",
                "config.toml:2: relay.pubkey: expected a public key of 64 lower-case hex \
                 characters, found \"npub1xyz\"",
                None,
            ),
            (
                "[relay]\nname = true\n",
                "config.toml:2: relay.name: expected text of 1 to 200 characters, found true",
                None,
            ),
            (
                "[limits]\nmax_limit = 100\n",
                "config.toml:2: limits.default_limit: \
                 expected at most limits.max_limit (100), found 500",
                None,
            ),
        ];
        for (file, problem, hint) in rows {
            let error = load_text(file, &[], &[]).expect_err(file);
            assert_eq!(error.to_string(), problem, "{file}");
            assert_eq!(error.problems[0].hint.as_deref(), hint, "{file}");
        }
    }

    #[test]
    fn text_that_is_not_toml_is_placed() {
        for (file, place) in [
            ("[relay\n", "config.toml:1"),
            ("[relay]\nname = \"a\"\nname = \"b\"\n", "config.toml:3"),
            ("[relay]\n\nname == 1\n", "config.toml:3"),
        ] {
            let error = load_text(file, &[], &[]).expect_err(file);
            assert_eq!(error.problems.len(), 1, "{file}");
            assert_eq!(error.problems[0].place, place, "{file}");
        }
    }

    #[test]
    fn all_problems_are_reported_in_order() {
        let file = "[server]\nthreads = -1\nlisten = 5\n[limits]\na = 1\n";
        let flags = [("log.level", "loud"), ("log.lvel", "info")];
        let error = load_text(file, &[("RELAY_LOG_LEVL", "info")], &flags).expect_err("5 mistakes");
        let places: Vec<&str> =
            error.problems.iter().map(|problem| problem.place.as_str()).collect();
        let expected = [
            "config.toml:2",
            "config.toml:3",
            "config.toml:5",
            "environment RELAY_LOG_LEVL",
            "flag --set",
            "flag --set",
        ];
        assert_eq!(places, expected);
        assert_eq!(
            error.problems[3].hint.as_deref(),
            Some("the nearest known variable is RELAY_LOG_LEVEL")
        );
        assert_eq!(error.problems[5].hint.as_deref(), Some("the nearest known key is log.level"));
    }

    #[test]
    fn variables_that_containers_inject_are_left_alone() {
        let environment = [
            ("RELAY_PORT", "tcp://10.0.0.1:7777"),
            ("RELAY_PORT_7777_TCP_ADDR", "10.0.0.1"),
            ("RELAY_SERVICE_HOST", "10.0.0.1"),
            (CONFIG_VARIABLE, "config.toml"),
            ("RELAYS", "wss://example.org"),
            ("PATH", "/bin"),
        ];
        assert!(load_text("", &environment, &[]).is_ok());
        assert!(load_text("", &[("RELAY_NONSENSE", "1")], &[]).is_err());
    }

    #[test]
    fn an_empty_value_makes_an_optional_key_absent() {
        let file = "[store]\nmap_bytes = 1_073_741_824\n";
        let config = load_text(file, &[], &[]).expect("a valid file");
        assert_eq!(config.settings.store.map_bytes, Some(1 << 30));
        let config = load_text(file, &[], &[("store.map_bytes", "")]).expect("a valid flag");
        assert_eq!(config.settings.store.map_bytes, None);
        assert!(load_text(file, &[], &[("limits.max_limit", "")]).is_err());
    }

    #[test]
    fn the_bounds_of_every_integer_are_held_on_both_sides() {
        for key in keys() {
            let super::super::key::Range::Integers(min, max) = key.range else {
                continue;
            };
            let accepts = |value: u64| {
                (key.set)(&mut Settings::default(), &Raw::Bare(value.to_string()), &key.range)
            };
            assert!(accepts(min) && accepts(max), "{}", key.path());
            assert!(!accepts(max + 1), "{}", key.path());
            assert!(min == 0 || !accepts(min - 1), "{}", key.path());
        }
    }

    #[test]
    fn a_file_that_was_asked_for_must_exist() {
        let sources = Sources {
            file: Some(PathBuf::from("/nonexistent/config.toml")),
            default_file: PathBuf::from("/nonexistent/default.toml"),
            environment: Vec::new(),
            flags: Vec::new(),
        };
        assert!(load(&sources).is_err());
        assert!(load(&Sources { file: None, ..sources }).is_ok());
    }

    #[test]
    fn the_example_is_valid_and_holds_the_defaults_and_every_key() {
        let example = write::example();
        let config = load_text(&example, &[], &[]).expect("the example is valid");
        assert_eq!(config.settings, Settings::default());
        let uncommented: String = example
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with([' ', '#']) => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let config = load_text(&uncommented, &[], &[]).expect("the commented keys are valid");
        for key in keys() {
            assert!(matches!(config.origin(key), Origin::File(..)), "{}", key.path());
            // Where nothing is the default, an example of something is shown.
            if let Some(default) = key.value(&Settings::default()).filter(|value| value != "[]") {
                assert_eq!(key.value(&config.settings), Some(default), "{}", key.path());
            }
        }
    }

    #[test]
    fn what_show_prints_reads_back_to_the_same_settings() {
        let flags = [
            ("relay.name", "a \"quoted\" name"),
            ("server.threads", "3"),
            ("auth.required", "true"),
            ("auth.restricted_kinds", ""),
            ("relay.url", "wss://a.example,ws://b.onion"),
        ];
        let config = load_text("", &[], &flags).expect("valid flags");
        let again = load_text(&write::show(&config), &[], &[]).expect("show prints a valid file");
        assert_eq!(again.settings, config.settings);
    }

    #[test]
    fn lists_and_truth_are_read_from_every_layer() {
        let read = |file: &str, flags: &[(&str, &str)]| {
            let settings = load_text(file, &[], flags).expect("the layers are valid").settings;
            (settings.auth.required, settings.auth.restricted_kinds, settings.relay.url)
        };
        let url = || vec!["wss://a.example".to_owned()];
        let file = "[auth]\nrequired = true\nrestricted_kinds = [1, 2]\n[relay]\n";
        let one = format!("{file}url = \"wss://a.example\"");
        assert_eq!(read(&one, &[]), (true, vec![1, 2], url()));
        let listed = format!("{file}url = [\"wss://a.example\"]");
        assert_eq!(
            read(&listed, &[("auth.restricted_kinds", " 3 , 4")]),
            (true, vec![3, 4], url())
        );
        assert_eq!(read(&listed, &[("relay.url", ""), ("auth.required", "false")]).2.len(), 0);
        for wrong in [
            "[auth]\nrequired = 1",
            "[auth]\nrequired = \"true\"",
            "[auth]\nrestricted_kinds = [70000]",
            "[auth]\nrestricted_kinds = [\"1\"]",
            "[auth]\nrestricted_kinds = [[1]]",
            "[relay]\nurl = [\"relay.example.org\"]",
            "[relay]\nurl = []\nname = [\"x\"]",
        ] {
            let error = load_text(wrong, &[], &[]).expect_err(wrong).to_string();
            assert!(error.contains("expected "), "{wrong}: {error}");
        }
    }

    #[test]
    fn peers_are_read_in_the_order_of_the_file_and_shown_as_they_are() {
        let file = "[relay]\nname = \"x\"\n\n[[peer]]\nurl = \"wss://b.example\"\n\n[[peer]]\n\
                    url = \"ws://a.onion\"\ndirection = \"both\"\nfull_sync_hours = 24\n\
                    filter = '{\"kinds\":[1]}'\nrules = \"none\"\nprivate = true\n\
                    proxy = \"127.0.0.1:9050\"\nkey_file = \"key\"\nname = \"tor\"\n";
        let config = load_text(file, &[], &[]).expect("a valid file");
        let names: Vec<String> = config.peers.iter().map(|it| it.settings.shown_name()).collect();
        assert_eq!(names, ["b.example", "tor"]);
        assert!(config.peers[1].origin.to_string().ends_with("config.toml:7"));
        let again = load_text(&write::show(&config), &[], &[]).expect("show prints a valid file");
        let settings = |config: &Config| -> Vec<PeerSettings> {
            config.peers.iter().map(|it| it.settings.clone()).collect()
        };
        assert_eq!(settings(&again), settings(&config));
        let json = write::show_json(&config);
        assert_eq!(json["peer"][1]["value"]["direction"], "both");
        assert_eq!(json["peer"][0]["value"]["key_file"], serde_json::Value::Null);
    }

    #[test]
    fn mistakes_in_peers_are_told_with_line_key_and_remedy() {
        let url = "url = \"wss://a.example\"\n";
        let rows = [
            (format!("[[peer]]\n{url}dirction = \"up\"\n"), 3, "peer.dirction: ", "peer.direction"),
            (format!("[[peer]]\n{url}direction = \"in\"\n"), 3, "peer.direction: ", ""),
            (format!("[[peer]]\n{url}filter = '{{\"limit\":5}}'\n"), 3, "peer.filter: ", ""),
            (format!("[[peer]]\n{url}filter = 'kinds'\n"), 3, "peer.filter: ", ""),
            (format!("[[peer]]\n{url}proxy = \"9050\"\n"), 3, "peer.proxy: ", ""),
            (format!("[[peer]]\n{url}name = \"a b\"\n"), 3, "peer.name: ", ""),
            (
                "\n[[peer]]\nname = \"x\"\n".to_owned(),
                2,
                "[[peer]]: expected the key url",
                "wss://",
            ),
            ("[[peer]]\nurl = \"https://a\"\n".to_owned(), 2, "peer.url: ", ""),
            (format!("[peer]\n{url}"), 1, "[peer]: expected parts [[peer]]", "[[peer]]"),
            (format!("[[peer]]\n{url}\n[[peer]]\n{url}"), 4, "peer.name: expected another", "name"),
            ("peer = [1]\n".to_owned(), 1, "peer: expected parts", ""),
        ];
        for (file, line, text, hint) in rows {
            let error = load_text(&file, &[], &[]).expect_err(&file);
            let [problem] = &error.problems[..] else { panic!("{file}: {error}") };
            assert_eq!(problem.place, format!("config.toml:{line}"), "{file}: {problem}");
            assert!(problem.text.starts_with(text), "{file}: {problem}");
            assert!(problem.text.contains("expected "), "{file}: {problem}");
            let said = problem.hint.as_deref().unwrap_or_default();
            assert!(said.contains(hint) && said.is_empty() == hint.is_empty(), "{file}: {said}");
        }
    }
}
