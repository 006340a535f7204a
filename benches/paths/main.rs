//! Micro benchmarks of the hot paths, held against the limits of the machine they run on.
//!
//! `cargo bench` runs everything; `cargo bench -- NAME` what has NAME in its name; `--json` prints
//! for machines. `--instructions` counts instructions of a few paths instead, with valgrind.
//! `cargo bench --profile quick` builds in seconds instead of minutes.
//!
//! A figure is the time of one unit of work on one thread: the least and the median of several
//! rounds. Its ratio says how many times the limit it takes: 1.0 would be the machine itself. The
//! limit of most paths is not reachable; what matters is that a ratio does not grow.

mod events;
mod instructions;
mod limits;
mod live;
mod protocol;
mod storage;
mod timing;

use std::process::ExitCode;

use self::events::Events;
use self::limits::Limits;
use self::timing::Report;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why a benchmark could not be run.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let mut only = String::new();
    let mut is_json = false;
    let mut is_counted = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            // What cargo itself adds.
            "--bench" => {}
            "--json" => is_json = true,
            "--instructions" => is_counted = true,
            instructions::COUNTED => {
                let folder = arguments.next().ok_or("expected a folder")?;
                return instructions::run_below(folder.as_ref());
            }
            name if !name.starts_with('-') => only = argument,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    if is_counted {
        let rows = instructions::measure(folder.path())?;
        let text = if is_json {
            format!("{}\n", instructions::to_json(&rows))
        } else {
            instructions::table(&rows)
        };
        print!("{text}");
        return Ok(());
    }
    let mut report = Report::new(only);
    let events = Events::new(EVENTS);
    let limits = Limits::measure(&mut report, folder.path())?;
    protocol::measure(&mut report, &limits, &events)?;
    storage::measure(&mut report, &limits, &events, folder.path())?;
    live::measure(&mut report, &limits, &events);
    if is_json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    Ok(())
}

/// Enough for batches of 10,000 into a store that is not empty.
const EVENTS: usize = 40_000;
