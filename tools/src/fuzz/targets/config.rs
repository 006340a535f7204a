//! Configuration: whatever is in the file, the environment and the flags, either everything that is
//! wrong is said in words, or what is shown of the settings gives the same settings again.

use std::path::PathBuf;

use chappe::config::{self, Flag, Sources, load, write};
use fastrand::Rng;
use tempfile::TempDir;

use super::{Target, damaged};
use crate::dataset::chance;
use crate::fuzz::grammar::word;
use crate::fuzz::mutate::NUMBERS;

pub(super) struct Configured {
    folder: TempDir,
    lines: Vec<String>,
}

impl Configured {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let example = write::example();
        let lines = example.lines().map(|line| {
            line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned()
        });
        Self { folder, lines: lines.filter(|line| !line.starts_with('#')).collect() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    fn load(&self, text: &[u8], layers: &[&str]) -> Result<config::Config, config::ConfigError> {
        std::fs::write(self.file(), text).expect("the folder can be written to");
        let (mut environment, mut flags) = (Vec::new(), Vec::new());
        for (index, layer) in layers.iter().enumerate() {
            let Some((name, value)) = layer.split_once('=') else { continue };
            if index % 2 == 0 {
                environment.push((name.to_owned(), value.to_owned()));
            } else {
                flags.push(Flag { flag: "--set", key: name.to_owned(), value: value.to_owned() });
            }
        }
        let default_file = PathBuf::from("/nonexistent/config.toml");
        load::load(&Sources { file: Some(self.file()), default_file, environment, flags })
    }
}

impl Target for Configured {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut text = String::new();
        for line in &self.lines {
            if line.starts_with('[') || chance(rng, 150) {
                text += &changed(line, rng);
                text.push('\n');
            }
        }
        let mut input = damaged(text, self.lines.join("\n").as_bytes(), rng);
        for _ in 0..rng.usize(..3) {
            let line = changed(&self.lines[rng.usize(..self.lines.len())], rng).replace(" = ", "=");
            let section = word(rng, &["server", "relay", "limits", "store", "auth"]);
            let name = word(rng, &["RELAY_", ""]);
            let name = format!("{name}{section}{}{line}", word(rng, &["_", "."]));
            input.push(SEPARATOR);
            input.extend_from_slice(if rng.bool() { name } else { name.to_uppercase() }.as_bytes());
        }
        input
    }

    fn check(&mut self, input: &[u8]) {
        let mut parts = input.split(|byte| *byte == SEPARATOR);
        let file = parts.next().unwrap_or_default();
        let layers: Vec<&str> = parts.filter_map(|part| std::str::from_utf8(part).ok()).collect();
        match self.load(file, &layers) {
            Ok(config) => {
                let shown = write::show(&config);
                let again = self.load(shown.as_bytes(), &[]);
                let again = again.unwrap_or_else(|error| panic!("{error}\n{shown}"));
                assert_eq!(again.settings, config.settings, "{shown}");
                assert!(write::show_json(&config).is_object());
            }
            Err(error) => {
                assert!(!error.problems.is_empty());
                for problem in &error.problems {
                    assert!(!problem.place.is_empty() && !problem.text.is_empty(), "{problem}");
                    assert!(!problem.text.contains('\n'), "one line a problem: {problem}");
                }
            }
        }
    }
}

/// Puts another value in the place of a line's own, at times.
fn changed(line: &str, rng: &mut Rng) -> String {
    let Some((name, value)) = line.split_once(" = ") else { return line.to_owned() };
    let value = match rng.u8(..6) {
        0 => word(rng, &NUMBERS).to_owned(),
        1 => word(rng, &VALUES).to_owned(),
        2 => format!("[{value}, {value}]"),
        3 => format!("\"{}\"", word(rng, &NUMBERS)),
        _ => value.to_owned(),
    };
    format!("{name} = {value}")
}

const SEPARATOR: u8 = 0x1e;
const VALUES: [&str; 12] = [
    "\"\"",
    "true",
    "[]",
    "[1, 1, 70000]",
    "{}",
    "\"\\u0000\"",
    "\"wss://\"",
    "1979-05-27",
    "nan",
    "'''a\nb'''",
    "\"\u{e9}\u{1f600}\"",
    "0x7fffffffffffffff",
];
