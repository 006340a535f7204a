//! `relay completions`: what a shell completes after `relay`.

use clap::Args;
use clap_complete::Shell;

use super::arguments::command;
use super::exit::Failure;
use super::output::print;

/// Print completions for a shell
///
/// What is printed goes where the shell looks for it; packages have done so already.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  relay completions bash > ~/.local/share/bash-completion/completions/relay
  relay completions zsh > ~/.zfunc/_relay
  relay completions fish > ~/.config/fish/completions/relay.fish";

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command(), "relay", &mut script);
    print(&String::from_utf8_lossy(&script))
}
