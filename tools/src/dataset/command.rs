//! `tools dataset`: writes a dataset as JSON lines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::path::PathBuf;

use super::generator::{Generator, Options, Signatures};
use crate::Failure;

/// The arguments of `tools dataset`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many events to write
    #[arg(long)]
    events: u64,
    /// The seed: the same options yield the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The earliest created_at [default: two years before the latest]
    #[arg(long, value_name = "SECONDS")]
    min_created_at: Option<u64>,
    /// The latest created_at
    #[arg(long, value_name = "SECONDS", default_value_t = CREATED_AT_MAX)]
    max_created_at: u64,
    /// Write noise instead of signatures: faster, and only good where nothing verifies
    #[arg(long, alias = "unsigned-reuse")]
    unsigned: bool,
    /// Where to write; - is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

/// Writes the dataset and says on stderr what it is like.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let last = arguments.max_created_at;
    let first = arguments.min_created_at.unwrap_or(last.saturating_sub(SPAN));
    if first > last {
        return Err(format!("the earliest created_at {first} is after the latest {last}").into());
    }
    let mut output = open(&arguments.output)?;
    let mut generator = Generator::new(Options {
        events: arguments.events,
        seed: arguments.seed,
        created_at: first..=last,
        signatures: if arguments.unsigned { Signatures::Noise } else { Signatures::Valid },
        threads: std::thread::available_parallelism().map_or(1, NonZero::get),
    });
    let start = std::time::Instant::now();
    let (mut events, mut bytes, mut largest) = (0u64, 0u64, 0);
    loop {
        let round = generator.next_round();
        if round.is_empty() {
            break;
        }
        for event in round {
            output.write_all(&event.json)?;
            output.write_all(b"\n")?;
            events += 1;
            bytes += event.json.len() as u64;
            largest = largest.max(event.json.len());
        }
    }
    output.flush()?;
    let average = bytes / events.max(1);
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{events} events in {seconds:.1} s, {average} bytes on average, largest {largest}");
    if events >= JUDGED_EVENTS && !AVERAGE.contains(&average) {
        return Err(format!("the average of {average} bytes is outside {AVERAGE:?}").into());
    }
    Ok(())
}

fn open(path: &PathBuf) -> Result<Box<dyn Write>, Failure> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufWriter::new(std::io::stdout().lock())));
    }
    let file = File::create(path).map_err(|error| format!("create {}: {error}", path.display()))?;
    Ok(Box::new(BufWriter::with_capacity(1 << 20, file)))
}

/// What an event of a public relay has on average, in bytes of JSON.
const AVERAGE: std::ops::RangeInclusive<u64> = 850..=1_150;
/// Fewer events than this have no meaningful average.
const JUDGED_EVENTS: u64 = 5_000;
/// Two years.
const SPAN: u64 = 2 * 365 * 86_400;
/// A fixed time, so that a dataset does not depend on the day it is made: 1 October 2025.
const CREATED_AT_MAX: u64 = 1_759_276_800;
