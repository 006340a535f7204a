//! The command line: what is common to all commands, and the way from arguments to an exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use super::exit::{Exit, Failure};
use super::{
    admin, backup, check, compact, completions, config, delete, export, import, info, invite, key,
    member, restore, scan, serve, stream, sync, upgrade,
};
use crate::config::load::CONFIG_VARIABLE;
use crate::config::{Config, Flag, Sources, load};

/// Runs the command that the process was called with and returns its exit code.
pub fn run() -> ExitCode {
    // clap prints help, version and usage errors itself, and ends the process with 0 or 2.
    let arguments = Arguments::parse();
    match arguments.run() {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            let _ = write!(io::stderr().lock(), "{failure}");
            failure.exit().into()
        }
    }
}

/// Returns the command line as it is described to shells and manuals.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// A Nostr relay on its own event store
///
/// Without a command the relay is served: on ws://127.0.0.1:7777, with its events in ./data. No
/// configuration is needed; `relay config example` prints all there is.
///
/// Commands work while the relay is being served from the same store, but for `upgrade`, which brings
/// a store to the format that can be served, and `restore`, which makes a new one.
#[derive(Debug, Parser)]
#[command(name = "relay", version, max_term_width = 100, after_long_help = EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    common: Common,

    #[command(subcommand)]
    command: Option<Command>,
}

impl Arguments {
    fn run(self) -> Result<(), Failure> {
        let common = &self.common;
        match self.command.unwrap_or_default() {
            Command::Serve(arguments) => serve::run(common, &arguments),
            Command::Import(arguments) => import::run(common, &arguments),
            Command::Export(arguments) => export::run(common, &arguments),
            Command::Sync(arguments) => sync::run(common, &arguments),
            Command::Stream(arguments) => stream::run(common, &arguments),
            Command::Info(arguments) => info::run(common, &arguments),
            Command::Scan(arguments) => scan::run(common, &arguments),
            Command::Delete(arguments) => delete::run(common, &arguments),
            Command::Backup(arguments) => backup::run(common, &arguments),
            Command::Restore(arguments) => restore::run(common, &arguments),
            Command::Compact(arguments) => compact::run(common, &arguments),
            Command::Check(arguments) => check::run(common, &arguments),
            Command::Upgrade(arguments) => upgrade::run(common, &arguments),
            Command::Config(arguments) => config::run(common, &arguments),
            Command::Admin(arguments) => admin::run(common, &arguments),
            Command::Key(arguments) => key::run(common, &arguments),
            Command::Invite(arguments) => invite::run(common, &arguments),
            Command::Member(arguments) => member::run(common, &arguments),
            Command::Completions(arguments) => completions::run(&arguments),
        }
    }
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Common {
    /// Read the configuration from FILE [default: config.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    config: Option<PathBuf>,

    /// Keep the events in DIR (the key store.path)
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Set one key of the configuration, such as limits.max_limit=1000; may be repeated
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE", value_parser = parse_assignment)]
    set: Vec<Assignment>,
}

impl Common {
    /// Reads every layer of the configuration; `more` holds the flags of the command itself.
    pub(super) fn load(&self, more: Vec<Flag>) -> Result<Config, Failure> {
        Ok(load(&self.sources(more)?)?)
    }

    /// Returns what the configuration is read from.
    pub(super) fn sources(&self, more: Vec<Flag>) -> Result<Sources, Failure> {
        let mut flags: Vec<Flag> = self.set.iter().map(Assignment::to_flag).collect();
        if let Some(directory) = &self.data {
            let value = directory.to_str().ok_or_else(|| {
                Failure::usage(format!("--data: expected UTF-8, found {}", directory.display()))
            })?;
            let key = "store.path".to_owned();
            flags.push(Flag { flag: "--data", key, value: value.to_owned() });
        }
        flags.extend(more);
        Ok(Sources {
            file: self.config.clone(),
            default_file: PathBuf::from(DEFAULT_FILE),
            environment: environment(std::env::vars_os())?,
            flags,
        })
    }
}

/// One `section.key=value`.
#[derive(Debug, Clone)]
struct Assignment {
    key: String,
    value: String,
}

impl Assignment {
    fn to_flag(&self) -> Flag {
        Flag { flag: "--set", key: self.key.clone(), value: self.value.clone() }
    }
}

fn parse_assignment(text: &str) -> Result<Assignment, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "expected section.key=value, found no equals sign".to_owned())?;
    Ok(Assignment { key: key.trim().to_owned(), value: value.to_owned() })
}

/// Returns the variables that may be the relay's; those must be UTF-8, others may be anything.
fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, Failure> {
    let mut found = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with("RELAY_")) else {
            continue;
        };
        let value = value.into_string().map_err(|value| {
            let shown = value.to_string_lossy().into_owned();
            Failure::usage(format!("environment {name}: expected UTF-8, found {shown:?}"))
        })?;
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

/// The commands, in the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Import(import::Arguments),
    Export(export::Arguments),
    Sync(sync::Arguments),
    Stream(stream::Arguments),
    Info(info::Arguments),
    Scan(scan::Arguments),
    Delete(delete::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
    Compact(compact::Arguments),
    Check(check::Arguments),
    Upgrade(upgrade::Arguments),
    Config(config::Arguments),
    Admin(admin::Arguments),
    Key(key::Arguments),
    Invite(invite::Arguments),
    Member(member::Arguments),
    Completions(completions::Arguments),
}

impl Default for Command {
    fn default() -> Self {
        Self::Serve(serve::Arguments::default())
    }
}

const DEFAULT_FILE: &str = "config.toml";

const EXIT_CODES: &str = "\
Exit codes:
  0    done (also when the reader of standard output went away)
  1    the command could not do its work
  2    the command line, the environment or the configuration is not valid
  3    the work was done and found damage, or data that is refused
  130  interrupted; what was reported as stored is stored

Data goes to standard output, everything else to standard error.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_command_serves() {
        let arguments = Arguments::try_parse_from(["relay"]).expect("no argument is needed");
        assert!(matches!(arguments.command.unwrap_or_default(), Command::Serve(_)));
    }

    #[test]
    fn common_flags_stand_before_or_behind_the_command() {
        for line in [
            ["relay", "--data", "x", "--set", "a.b=c=d", "info"],
            ["relay", "info", "--data", "x", "--set", "a.b=c=d"],
        ] {
            let arguments = Arguments::try_parse_from(line).expect("a valid line");
            assert_eq!(arguments.common.data, Some(PathBuf::from("x")));
            assert_eq!(arguments.common.set[0].key, "a.b");
            assert_eq!(arguments.common.set[0].value, "c=d");
        }
        assert!(Arguments::try_parse_from(["relay", "--set", "nothing"]).is_err());
    }

    #[test]
    fn only_variables_of_the_relay_must_be_utf8() {
        use std::os::unix::ffi::OsStringExt;
        let bad = OsString::from_vec(vec![0xff]);
        let pair = |name: &str, value: &OsString| (OsString::from(name), value.clone());
        let read = environment([pair("OTHER", &bad)].into_iter()).expect("not ours");
        assert!(read.is_empty());
        assert!(environment([pair("RELAY_RELAY_NAME", &bad)].into_iter()).is_err());
    }

    #[test]
    fn every_help_line_is_an_imperative_without_a_period() {
        for command in Arguments::command().get_subcommands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && !about.ends_with('.'), "{}", command.get_name());
            assert!(!about.contains('\n'), "{}", command.get_name());
            let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            let after = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(!long.is_empty(), "{} has no long help", command.get_name());
            assert!(after.contains("relay"), "{} has no example", command.get_name());
        }
    }
}
