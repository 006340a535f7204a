//! `tools pages`: the manual pages and completions that packages install, written from the command
//! line's own description, so that they say what `relay --help` says.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::Failure;

/// What to write, and where.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder, made if need be
    folder: PathBuf,
}

/// Writes one page for `relay` and one for each of its commands, and a file for each shell.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = &arguments.folder;
    fs::create_dir_all(folder)?;
    let mut relay = chappe::cli::command().disable_help_subcommand(true);
    relay.build();
    write_pages(&relay, folder)?;
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut chappe::cli::command(), "relay", folder)?;
    }
    Ok(())
}

fn write_pages(command: &Command, folder: &Path) -> Result<(), Failure> {
    // A built command goes by its whole name: `relay-config-check`.
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let mut page = Vec::new();
    Man::new(command.clone()).title(name.to_uppercase()).render(&mut page)?;
    fs::write(folder.join(format!("{name}.1")), page)?;
    command.get_subcommands().try_for_each(|it| write_pages(it, folder))
}
