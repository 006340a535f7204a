//! `tools`: what the development of Chappe needs and a relay does not.
//!
//! One file (or folder) per subcommand; nothing here is shipped. Data goes to stdout, talk to
//! stderr, and an exit status of 1 means "failed" or, for checks, "differs".

mod codegen;
mod dataset;
mod fuzz;
mod loadgen;
mod pages;
mod probe;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Codegen(arguments) => codegen::run(&arguments),
        Command::Dataset(arguments) => dataset::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Loadgen(arguments) => loadgen::run(&arguments),
        Command::Pages(arguments) => pages::run(&arguments),
        Command::Probe { probe } => probe::run(&probe),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Develop Chappe: generate code and data, measure designs
#[derive(Parser)]
#[command(name = "tools", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate the record format's code from schema/event.fbs
    Codegen(codegen::Arguments),
    /// Write realistic, validly signed events as JSON lines
    Dataset(dataset::Arguments),
    /// Feed the relay's code random and damaged input and hold it against oracles
    Fuzz(fuzz::Arguments),
    /// Put a relay under load and measure what it costs
    Loadgen(loadgen::Arguments),
    /// Write the manual pages and completions that packages install
    Pages(pages::Arguments),
    /// Measure designs against each other
    Probe {
        #[command(subcommand)]
        probe: probe::Probe,
    },
}

/// Why a tool failed: a sentence for the developer that fits after "error: ".
type Failure = Box<dyn std::error::Error + Send + Sync>;
