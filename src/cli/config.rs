//! `relay config`: the example file, a check of a file, the values in effect.

use clap::{Args, Subcommand};

use super::arguments::Common;
use super::certificate;
use super::exit::Failure;
use super::output::{print, print_json, say};
use super::peering;
use super::serve::live;
use crate::clock::Clock;
use crate::config::write;

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
        Action::Show { json: true } => print_json(&write::show_json(&common.load(Vec::new())?)),
        Action::Show { json: false } => print(&write::show(&common.load(Vec::new())?)),
    }
}

fn check(common: &Common) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    // What the relay reads when it starts, too: the files that keys name.
    live(&config.settings)?;
    if let Some(certificate) = certificate::read(&config.settings)? {
        let now = Clock::system().now_secs();
        for remark in certificate::remarks(&config.settings, &certificate, now) {
            say(&format!("warning: {remark}"));
        }
    }
    peering::check(&config.settings, &config.peers)?;
    match &config.file {
        Some(file) => say(&format!("{} is valid", file.display())),
        None => say("no configuration file; environment, flags and defaults are valid"),
    }
    Ok(())
}
