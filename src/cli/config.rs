//! `relay config`: the example file, a check of a file, the values in effect.

use clap::{Args, Subcommand};

use super::arguments::Common;
use super::exit::Failure;
use super::output::{print, print_json, say};
use crate::config::settings::KEYS;
use crate::config::{Config, write};

/// Show and check the configuration
///
/// A value is taken from the strongest layer that names its key: a flag of the command line, the
/// environment variable RELAY_SECTION_KEY, the file (config.toml, or --config FILE), the default.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a configuration file with every key, its meaning and its default
    Example,
    /// Check the configuration and say what is wrong with it (exit code 2)
    Check,
    /// Print the values in effect and where each came from
    Show {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
}

const EXAMPLES: &str = "\
Examples:
  relay config example > config.toml
  relay config check --config /etc/relay/config.toml
  relay config show --set limits.max_limit=1000";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::Example => print(&write::example()),
        Action::Check => check(common),
        Action::Show { json: true } => show_json(&common.load(Vec::new())?),
        Action::Show { json: false } => print(&write::show(&common.load(Vec::new())?)),
    }
}

fn check(common: &Common) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    match &config.file {
        Some(file) => say(&format!("{} is valid", file.display())),
        None => say("no configuration file; environment, flags and defaults are valid"),
    }
    Ok(())
}

fn show_json(config: &Config) -> Result<(), Failure> {
    let rows = KEYS.iter().map(|key| {
        let value = key.value(&config.settings).map_or(serde_json::Value::Null, json_of_toml);
        let origin = config.origin(key).to_string();
        (key.path(), serde_json::json!({ "value": value, "origin": origin }))
    });
    print_json(&rows.collect::<serde_json::Map<_, _>>())
}

/// Turns the TOML text of one value into JSON.
fn json_of_toml(text: String) -> serde_json::Value {
    match text.parse::<toml::Value>() {
        Ok(toml::Value::Integer(number)) => number.into(),
        Ok(toml::Value::Boolean(boolean)) => boolean.into(),
        Ok(toml::Value::String(text)) => text.into(),
        _ => text.into(),
    }
}
