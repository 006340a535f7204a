//! `relay export`: writes events as JSON lines.
//!
//! Everything, oldest first, is rendered by all cores (`dump`). A query for something finds newest
//! first and holds what it found, so the time is cut: newest first into pages of so many events,
//! oldest first into windows that are each turned around in memory and sized by how full the one
//! before was. So memory is bounded wherever events are dense or sparse.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::arguments::Common;
use super::dump::Dump;
use super::exit::Failure;
use super::matching::{Lines, UNLIMITED, Walk, everything, parse_filter, unexpired};
use super::open::{now, open_existing};
use super::output::{Progress, grouped, say, stdout};
use crate::nostr::Filter;
use crate::query::{self, Stretch};
use crate::seq::Seq;
use crate::store::Store;

/// Write events as JSON lines
///
/// Writes to standard output, or to a file that appears under its name only when it is complete.
/// Events are ordered by their created_at, oldest first. What is committed while the export runs
/// is left out. `relay import` reads the result.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Write only events that match this filter
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    filter: Option<Filter>,

    /// Write only events created at this time or later
    #[arg(long, value_name = "UNIX SECONDS")]
    since: Option<u64>,

    /// Write only events created at this time or earlier
    #[arg(long, value_name = "UNIX SECONDS")]
    until: Option<u64>,

    /// Write the newest events first
    #[arg(long)]
    reverse: bool,

    /// Write to FILE, compressed if its name ends in .zst or .gz
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  relay export -o events.jsonl.zst
  relay export --filter '{\"kinds\":[0,3]}' --reverse | head
  relay export --since 1700000000 | ssh other relay import -";

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let store = open_existing(&config.settings)?;
    let filter = filter_of(arguments);
    let Some(path) = arguments.output.as_deref().filter(|path| path.as_os_str() != "-") else {
        let mut out = stdout();
        let is_seen = io::stdout().is_terminal();
        let progress = if is_seen { Progress::hidden() } else { Progress::open_ended() };
        Export::new(&store, filter, progress, &mut out).run(arguments.reverse)?;
        return out.flush().map_err(|error| Failure::of_output(&error));
    };
    let now = now();
    let filters = std::slice::from_ref(&filter);
    let total = query::count(&store.snapshot()?, filters, now, &unexpired(now))?;
    let total = filter.limit.map_or(total, |limit| limit.min(total));
    let mut target = Target::create(path)?;
    let mut export = Export::new(&store, filter, Progress::of_count(total), &mut target);
    let written = match export.run(arguments.reverse) {
        Ok(written) => written,
        Err(failure) => {
            target.abandon();
            return Err(failure);
        }
    };
    target.finish()?;
    say(&format!("{} events written to {}", grouped(written), path.display()));
    Ok(())
}

/// Joins the flags to one filter.
fn filter_of(arguments: &Arguments) -> Filter {
    let mut filter = arguments.filter.clone().unwrap_or_else(everything);
    if let Some(since) = arguments.since {
        filter.since = Some(filter.since.map_or(since, |given| given.max(since)));
    }
    if let Some(until) = arguments.until {
        filter.until = Some(filter.until.map_or(until, |given| given.min(until)));
    }
    filter
}

/// Returns whether a filter asks for nothing but a time.
fn is_everything(filter: &Filter) -> bool {
    Filter { since: None, until: None, ..filter.clone() } == everything()
}

/// An export under way.
struct Export<'e> {
    store: &'e Store,
    filter: Filter,
    /// What is committed later is left out, also between windows.
    seq_max: Seq,
    lines: Lines,
    written: u64,
    progress: Progress,
    out: &'e mut dyn Write,
}

impl<'e> Export<'e> {
    fn new(store: &'e Store, filter: Filter, progress: Progress, out: &'e mut dyn Write) -> Self {
        let seq_max = store.last_seq();
        Self { store, filter, seq_max, lines: Lines::default(), written: 0, progress, out }
    }

    /// Writes all events; returns how many.
    fn run(&mut self, newest_first: bool) -> Result<u64, Failure> {
        if newest_first {
            self.newest_first()?;
        } else if self.filter.limit.is_some() {
            // A limit means the newest ones, and says how many there are to hold.
            self.read(&self.filter.clone(), usize::MAX)?;
            self.write_reversed()?;
        } else if is_everything(&self.filter) {
            self.dump()?;
        } else {
            self.oldest_first()?;
        }
        self.progress.clear();
        Ok(self.written)
    }

    fn dump(&mut self) -> Result<(), Failure> {
        let stretch = Stretch {
            since: self.filter.since.unwrap_or(0),
            until: self.filter.until.unwrap_or(u64::MAX),
        };
        let dump = Dump { store: self.store, stretch, seq_max: self.seq_max, now: now() };
        let Self { progress, written, .. } = self;
        dump.run(self.out, &mut |lines| {
            *written = lines;
            progress.set(lines);
            progress.describe(|| format!("{} events", grouped(lines)));
        })
    }

    fn newest_first(&mut self) -> Result<(), Failure> {
        let mut page = self.filter.clone();
        loop {
            let left = self.filter.limit.unwrap_or(u64::MAX) - self.written;
            let want = left.min(PAGE_EVENTS_MAX);
            page.limit = Some(want);
            self.read(&page, usize::MAX)?;
            let is_last = (self.lines.count() as u64) < want || want == left;
            let Some(time) = self.lines.last_time() else {
                return Ok(());
            };
            if is_last {
                return self.write();
            }
            // The page may end amid events of one second: that second begins the next page.
            self.lines.drop_last_of(time);
            page.until = Some(time);
            if self.lines.count() > 0 {
                self.write()?;
                continue;
            }
            let second = Filter { since: Some(time), limit: Some(left), ..page.clone() };
            self.read(&second, usize::MAX)?;
            self.write()?;
            let Some(before) = time.checked_sub(1) else {
                return Ok(());
            };
            page.until = Some(before);
        }
    }

    fn oldest_first(&mut self) -> Result<(), Failure> {
        let Some(newest) = self.newest()? else {
            return Ok(());
        };
        let mut start = self.filter.since.unwrap_or(0);
        let mut seconds = newest.saturating_sub(start).saturating_add(1);
        while start <= newest {
            let end = start.saturating_add(seconds - 1).min(newest);
            // One second cannot be cut: it is held whole, however full.
            let is_second = start == end;
            let (limit, bytes_max) = if is_second {
                (None, usize::MAX)
            } else {
                (Some(PAGE_EVENTS_MAX), WINDOW_BYTES_MAX)
            };
            let window =
                Filter { since: Some(start), until: Some(end), limit, ..self.filter.clone() };
            self.read(&window, bytes_max)?;
            let is_full =
                self.lines.count() as u64 == PAGE_EVENTS_MAX || self.lines.size() > bytes_max;
            if is_full && !is_second {
                self.lines.clear();
                seconds = (end - start).div_ceil(SHRINK).max(1);
                continue;
            }
            if self.lines.size() < WINDOW_BYTES_MAX / 4 {
                seconds = seconds.saturating_mul(2);
            }
            self.write_reversed()?;
            start = end.saturating_add(1);
        }
        Ok(())
    }

    /// Returns the `created_at` of the newest event to export.
    fn newest(&self) -> Result<Option<u64>, Failure> {
        let filter = Filter { limit: Some(1), ..self.filter.clone() };
        let mut walk = Walk::new(self.store, vec![filter], UNLIMITED, self.seq_max);
        let mut newest = None;
        while walk.step(&mut |event| {
            newest = Some(event.created_at);
            std::ops::ControlFlow::Continue(())
        })? {}
        Ok(newest)
    }

    /// Reads what matches, until there are more than so many bytes.
    fn read(&mut self, filter: &Filter, bytes_max: usize) -> Result<(), Failure> {
        let mut walk = Walk::new(self.store, vec![filter.clone()], UNLIMITED, self.seq_max);
        while walk.lines(&mut self.lines)? && self.lines.size() <= bytes_max {}
        Ok(())
    }

    fn write(&mut self) -> Result<(), Failure> {
        self.lines.write(self.out).map_err(|error| Failure::of_output(&error))?;
        self.note_written();
        Ok(())
    }

    fn write_reversed(&mut self) -> Result<(), Failure> {
        self.lines.write_reversed(self.out).map_err(|error| Failure::of_output(&error))?;
        self.note_written();
        Ok(())
    }

    fn note_written(&mut self) {
        self.written += self.lines.count() as u64;
        self.lines.clear();
        self.progress.set(self.written);
        self.progress.describe(|| format!("{} events", grouped(self.written)));
    }
}

/// A file that gets its name when it is complete.
struct Target {
    path: PathBuf,
    partial: PathBuf,
    writer: Packing,
}

/// The compression of a file.
enum Packing {
    None(BufWriter<File>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
    Gzip(GzEncoder<BufWriter<File>>),
}

impl Target {
    fn create(path: &Path) -> Result<Self, Failure> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(|error| write_failure(&partial, &error))?;
        let file = BufWriter::with_capacity(FILE_BUFFER_BYTES, file);
        let extension = path.extension().and_then(|extension| extension.to_str());
        let writer = match extension {
            Some("zst") => {
                let encoder = zstd::stream::write::Encoder::new(file, ZSTD_LEVEL)
                    .and_then(|mut encoder| encoder.include_checksum(true).map(|()| encoder));
                Packing::Zstd(encoder.map_err(|error| write_failure(&partial, &error))?)
            }
            Some("gz") => Packing::Gzip(GzEncoder::new(file, Compression::default())),
            _ => Packing::None(file),
        };
        Ok(Self { path: path.to_owned(), partial, writer })
    }

    /// Completes the file on the disk and gives it its name.
    fn finish(self) -> Result<(), Failure> {
        let file = match self.writer {
            Packing::None(file) => Ok(file),
            Packing::Zstd(encoder) => encoder.finish(),
            Packing::Gzip(encoder) => encoder.finish(),
        };
        file.and_then(|file| file.into_inner().map_err(io::IntoInnerError::into_error))
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.partial, &self.path))
            .map_err(|error| write_failure(&self.path, &error))
    }

    /// Removes what was written; that it cannot be removed is no second error.
    fn abandon(self) {
        let _ = fs::remove_file(&self.partial);
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Packing::None(file) => file.write(bytes),
            Packing::Zstd(encoder) => encoder.write(bytes),
            Packing::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.writer {
            Packing::None(file) => file.flush(),
            Packing::Zstd(encoder) => encoder.flush(),
            Packing::Gzip(encoder) => encoder.flush(),
        }
    }
}

fn write_failure(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("failed to write {}: {error}", path.display()))
}

/// Events of one page or window, which bounds what a query holds.
const PAGE_EVENTS_MAX: u64 = if cfg!(test) { 10 } else { 50_000 };

/// JSON of one window that is held in memory.
const WINDOW_BYTES_MAX: usize = 16 << 20;

/// A window that was too full is tried again in this many parts.
const SHRINK: u64 = 4;

const FILE_BUFFER_BYTES: usize = 1 << 18;
const ZSTD_LEVEL: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::{Keypair, Kind, Verified, Verifier};
    use crate::store::{Durability, StoreOptions, Writer};
    use std::io::Read;

    #[test]
    fn a_file_appears_only_when_it_is_complete() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["a.jsonl", "a.jsonl.zst", "a.jsonl.gz"] {
            let path = directory.path().join(name);
            let mut target = Target::create(&path).expect("a writable folder");
            target.write_all(b"one\ntwo\n").expect("a writable file");
            target.flush().expect("a writable file");
            assert!(!path.exists());
            target.finish().expect("a writable file");
            let bytes = fs::read(&path).expect("the file is there");
            let mut text = Vec::new();
            match name {
                "a.jsonl.zst" => zstd::stream::copy_decode(&bytes[..], &mut text).expect("zstd"),
                "a.jsonl.gz" => {
                    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).expect("gzip");
                }
                _ => text = bytes,
            }
            assert_eq!(text, b"one\ntwo\n", "{name}");
        }
        let target = Target::create(&directory.path().join("b")).expect("a writable folder");
        target.abandon();
        assert_eq!(fs::read_dir(directory.path()).expect("a folder").count(), 3);
    }

    /// Exports created_at values of a store whose events have these.
    fn export(times: &[u64], filter: &str, newest_first: bool) -> Vec<u64> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options =
            StoreOptions { map_bytes: Some(1 << 26), durability: Durability::Lazy, salt: [1; 16] };
        let store = Store::open(directory.path(), &options).expect("a store");
        let keypair = Keypair::from_secret([7; 32]).expect("a secret key");
        let mut verifier = Verifier::new();
        let events: Vec<Verified> = times
            .iter()
            .enumerate()
            .map(|(number, time)| {
                let event = keypair.sign_event(*time, Kind(1), &[], &number.to_string());
                verifier.verify(event).expect("an event of our own")
            })
            .collect();
        Writer::new(store.clone()).commit(&events, 0).expect("a commit");
        let filter = parse_filter(filter).expect("a valid filter");
        let mut out = Vec::new();
        let mut export = Export::new(&store, filter, Progress::hidden(), &mut out);
        let written = export.run(newest_first).expect("memory does not fail");
        let lines: Vec<serde_json::Value> = String::from_utf8(out)
            .expect("JSON is text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect();
        let ids: std::collections::HashSet<String> =
            lines.iter().map(|line| line["id"].to_string()).collect();
        assert_eq!(ids.len(), lines.len(), "no event twice");
        assert_eq!(written, lines.len() as u64);
        lines.iter().map(|line| line["created_at"].as_u64().expect("a number")).collect()
    }

    #[test]
    fn every_event_is_exported_once_in_either_order_however_dense() {
        let far = 1 << 39;
        let dense = vec![1_000; 35];
        let rows: [Vec<u64>; 7] = [
            vec![],
            vec![0],
            (0..100).map(|number| number * 3).collect(),
            dense.clone(),
            [dense.clone(), vec![999; 12], vec![1_001; 3], vec![0; 11], vec![far; 10]].concat(),
            (0..95).map(|number| 1_700_000_000 + number / 10).collect(),
            (0..40).map(|number| 1 << number.min(39)).collect(),
        ];
        for mut times in rows {
            let newest = export(&times, "{}", true);
            let oldest = export(&times, "{}", false);
            let oldest_notes = export(&times, "{\"kinds\":[1]}", false);
            times.sort_unstable();
            assert_eq!(oldest, times);
            assert_eq!(oldest_notes, times);
            times.reverse();
            assert_eq!(newest, times);
        }
    }

    #[test]
    fn a_limit_means_the_newest_in_either_order() {
        let times: Vec<u64> = (0..100).map(|number| number / 3).collect();
        for limit in [0, 1, 9, 10, 11, 25, 100, 500] {
            let filter = format!("{{\"limit\":{limit}}}");
            let mut newest = export(&times, &filter, true);
            let mut expected = times.clone();
            expected.reverse();
            expected.truncate(limit);
            assert_eq!(newest, expected, "{limit}");
            newest.reverse();
            assert_eq!(export(&times, &filter, false), newest, "{limit}");
        }
    }

    #[test]
    fn the_flags_narrow_the_filter() {
        let arguments = |filter: &str, since, until| Arguments {
            filter: Some(parse_filter(filter).expect("a valid filter")),
            since,
            until,
            reverse: false,
            output: None,
        };
        let filter = filter_of(&arguments("{\"since\":10,\"until\":20}", Some(5), Some(30)));
        assert_eq!((filter.since, filter.until), (Some(10), Some(20)));
        let filter = filter_of(&arguments("{\"since\":10,\"until\":20}", Some(12), Some(15)));
        assert_eq!((filter.since, filter.until), (Some(12), Some(15)));
        let filter = filter_of(&arguments("{}", Some(12), None));
        assert_eq!((filter.since, filter.until), (Some(12), None));
    }
}
