//! `tools fuzz`: which targets, for how long, and what came of it.

use std::path::PathBuf;
use std::time::Duration;

use super::engine::{self, Effort, Plan};
use super::targets::{ALL, Entry};
use crate::Failure;

/// The arguments of `tools fuzz`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What to fuzz; can be repeated [default: everything]
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// The seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long to go on, all targets together
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Run so many cases of each target, however long that takes
    #[arg(long, value_name = "N")]
    cases: Option<u64>,
    /// The number of the first case
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// How many threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    jobs: u64,
    /// Where failing inputs are written to
    #[arg(long, value_name = "DIRECTORY", default_value = "fuzz-failures")]
    folder: PathBuf,
    /// Check one saved input instead; needs --target
    #[arg(long, value_name = "FILE", requires = "target")]
    replay: Option<PathBuf>,
    /// List the targets
    #[arg(long)]
    list: bool,
}

const EXAMPLES: &str = "\
Examples:
  cargo run --profile quick -p tools -- fuzz --list
  cargo run --profile quick -p tools -- fuzz --seconds 3600 --jobs 2
  cargo run --profile quick -p tools -- fuzz --target event --seed 7 --cases 1000000
  cargo run --profile quick -p tools -- fuzz --target event --replay fuzz-failures/event-7-123";

/// Runs the targets; fails if any case does.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.list {
        for entry in ALL {
            println!("{:<12} {}", entry.name, entry.about);
        }
        return Ok(());
    }
    let entries = chosen(&arguments.target)?;
    if let Some(path) = &arguments.replay {
        for entry in &entries {
            if let Some(fault) = engine::replay(entry, path)? {
                return Err(
                    format!("{} fails at {}: {}", entry.name, fault.place, fault.text).into()
                );
            }
            println!("{:<12} passes", entry.name);
        }
        return Ok(());
    }
    let time = Effort::Time(Duration::from_secs(arguments.seconds));
    let plan = Plan {
        seed: arguments.seed,
        first: arguments.first,
        effort: arguments.cases.map_or(time, Effort::Cases),
        jobs: arguments.jobs.max(1),
        folder: arguments.folder.clone(),
    };
    eprintln!("seed {}", plan.seed);
    let tallies = engine::run(&entries, &plan);
    let mut failures = 0;
    println!("{:<12} {:>12} {:>10} {:>9}", "target", "cases", "cases/s", "failures");
    for (entry, tally) in entries.iter().zip(tallies) {
        let rate = tally.cases as f64 / tally.spent.as_secs_f64().max(0.001);
        let failed: u64 = tally.failures.values().map(|(_, count)| count).sum();
        println!("{:<12} {:>12} {rate:>10.0} {failed:>9}", entry.name, tally.cases);
        failures += failed;
    }
    if let Some(peak) = peak_memory() {
        eprintln!("memory at its most: {peak}");
    }
    if failures > 0 {
        return Err(format!("{failures} cases failed; what they were is said above").into());
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<Entry>, Failure> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    let find = |name: &String| {
        let found = ALL.iter().find(|entry| entry.name == name).copied();
        found.ok_or_else(|| format!("no target {name}; --list names them").into())
    };
    names.iter().map(find).collect()
}

/// The most memory that this process had, in the system's words.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
