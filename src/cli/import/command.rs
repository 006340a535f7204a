//! The command line of `relay import` and what it says at the end.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::super::arguments::Common;
use super::super::exit::{Exit, Failure};
use super::super::names::own_names;
use super::super::open::open_or_create;
use super::super::output::{Progress, print_json, say};
use super::check::{Rejected, Signatures};
use super::pipeline::{self, Options};
use super::source::Source;

/// Read events from JSON lines, or from the database of nostr-rs-relay, into the store
///
/// Reads one event a line, plain or compressed (zstd and gzip are told by their content), verifies
/// ids and signatures on all cores, and stores what the store does not have yet by the same rules
/// as a published event. Lines written by `strfry export --fried` are read too, and so is the SQLite
/// file of nostr-rs-relay, also while that runs; docs/coming-from.md tells how to move here.
///
/// A line that holds no valid event is counted and reported with its number, and the run goes on.
/// Ctrl-C finishes what has been read and prints the count; running the import again is harmless.
/// A relay that serves the same store sends what is imported to its live subscribers.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(in super::super) struct Arguments {
    /// Files to read, - for standard input [default: -]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Do not check signatures, only ids: for files whose source is trusted
    #[arg(long)]
    no_verify: bool,

    /// Write the lines that hold no valid event to FILE; oversized lines are only counted
    #[arg(long, value_name = "FILE")]
    reject: Option<PathBuf>,

    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay import events.jsonl.zst
  relay import --reject bad.jsonl --json *.jsonl.gz
  strfry export | relay import -
  relay import /var/lib/nostr-rs-relay/nostr.db

Exit code 0 also when some lines were invalid; 1 when a file could not be read to its end.";

/// Runs the command.
pub(in super::super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let sources = sources_of(arguments);
    let total = total_size(&sources)?;
    if sources.contains(&Source::Stdin) && std::io::stdin().is_terminal() {
        say("reading events from standard input; end with Ctrl-D");
    }
    let reject = arguments.reject.as_deref();
    let mut reject = reject.map(|path| create_reject(path, &sources)).transpose()?;
    let store = open_or_create(&config.settings)?;
    let options = Options {
        sources: &sources,
        signatures: if arguments.no_verify { Signatures::Trusted } else { Signatures::Checked },
        rejected: if reject.is_some() { Rejected::Kept } else { Rejected::Dropped },
        names: own_names(&config.settings),
        progress: total.map_or_else(Progress::open_ended, Progress::of_bytes),
    };
    let started = Instant::now();
    let mut ignored = std::io::sink();
    let out: &mut dyn Write = match &mut reject {
        Some(file) => file,
        None => &mut ignored,
    };
    let (mut summary, result) = pipeline::run(&store, &options, out);
    options.progress.clear();
    summary.seconds = started.elapsed().as_secs_f64();
    if arguments.json {
        print_json(&summary)?;
    } else {
        say(summary.render(sources.len()).trim_end());
    }
    if let Some(mut file) = reject {
        file.flush()
            .map_err(|error| Failure::failed(format!("failed to write --reject: {error}")))?;
    }
    result?;
    if summary.interrupted {
        return Err(Failure::silent(Exit::Interrupted));
    }
    unread_failure(&summary.unread).map_or(Ok(()), Err)
}

fn sources_of(arguments: &Arguments) -> Vec<Source> {
    if arguments.files.is_empty() {
        return vec![Source::Stdin];
    }
    arguments.files.iter().cloned().map(Source::of_argument).collect()
}

/// Returns the bytes of all sources together, `None` if one's is unknown. A file that cannot be
/// opened fails the run before anything is read.
fn total_size(sources: &[Source]) -> Result<Option<u64>, Failure> {
    let mut total = Some(0);
    for source in sources {
        let size = source
            .size()
            .map_err(|error| Failure::failed(format!("failed to read {source}: {error}")))?;
        total = total.zip(size).map(|(total, size): (u64, u64)| total.saturating_add(size));
    }
    Ok(total)
}

/// Says which sources could not be read to their end, if any.
fn unread_failure(unread: &[String]) -> Option<Failure> {
    let mut errors = unread.iter().map(|source| format!("failed to read {source}"));
    let first = Failure::failed(errors.next()?);
    Some(errors.fold(first, Failure::and))
}

/// Creates the file of rejected lines, which must not be one that is about to be read.
fn create_reject(path: &Path, sources: &[Source]) -> Result<BufWriter<File>, Failure> {
    if sources.iter().any(|source| source.is_file(path)) {
        let error = format!("--reject: expected another file, found {}", path.display());
        return Err(Failure::usage(error).hint("it is one of the files to import"));
    }
    let file = File::create(path)
        .map_err(|error| Failure::failed(format!("failed to write {}: {error}", path.display())))?;
    Ok(BufWriter::new(file))
}
