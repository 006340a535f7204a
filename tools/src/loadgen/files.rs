//! Import and export: the relay's own commands, run on a file and a store that nobody else uses.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use secp256k1::schnorr;
use serde_json::Value;

use super::material::Material;
use super::process::{Process, Usage};
use super::report::Row;
use crate::Failure;

/// What is run on what.
pub(crate) struct Files {
    /// The relay's binary.
    relay: PathBuf,
    /// A file of events, as `relay import` reads them.
    events: PathBuf,
    /// Where the stores are made.
    folder: PathBuf,
    own: Process,
}

impl Files {
    /// Works below `folder`, which must be empty; without a file `material` is written to one.
    pub(crate) fn new(
        relay: &Path,
        events: Option<&Path>,
        material: &Material,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let own = Process::watch(std::process::id())?;
        let events = match events {
            Some(path) => path.to_owned(),
            None => write(material, folder)?,
        };
        Ok(Self { relay: relay.to_owned(), events, folder: folder.to_owned(), own })
    }

    /// Imports the events into an empty store.
    pub(crate) fn import(&self, check: Check) -> Result<Row, Failure> {
        let limit = match check {
            Check::Verified => Some(verifications_per_second()?),
            Check::Unverified => None,
        };
        let store = self.folder.join(check.name());
        let mut command = self.command("import", &store);
        command.arg("--json").args(check.arguments()).arg(&self.events);
        let (mut row, output) = self.run(&format!("import, {}", check.name()), &mut command)?;
        let summary: Value = serde_json::from_slice(&output)
            .map_err(|error| format!("expected the summary of an import: {error}"))?;
        let number = |name: &str| summary[name].as_u64().unwrap_or_default();
        row.count = number("read");
        row.stored_bytes = Some(allocated_bytes(&store)?);
        row.notes.push(format!("{} stored", number("stored")));
        if let Some(limit) = limit {
            let ratio = row.rate() / limit;
            row.limit_per_second = Some(limit);
            row.notes.push(format!("{ratio:.2} x {limit:.0} verifications/s on all cores"));
        }
        if number("invalid") > 0 || number("stored") == 0 {
            row.faults.push(format!("{} invalid", number("invalid")));
        }
        Ok(row)
    }

    /// Exports what was imported to a file.
    pub(crate) fn export(&self, check: Check) -> Result<Row, Failure> {
        let target = self.folder.join("exported.jsonl");
        let mut command = self.command("export", &self.folder.join(check.name()));
        command.arg("-o").arg(&target);
        let (mut row, _) = self.run("export to a file", &mut command)?;
        let lines = std::fs::read(&target)?;
        row.count = memchr::memchr_iter(b'\n', &lines).count() as u64;
        row.output_bytes = Some(lines.len() as u64);
        let rate = lines.len() as f64 / 1e6 / row.elapsed.as_secs_f64();
        row.notes.push(format!("{rate:.0} MB/s"));
        Ok(row)
    }

    fn command(&self, name: &str, store: &Path) -> Command {
        let mut command = Command::new(&self.relay);
        // The settings of whoever measures are not those of the measured.
        command.current_dir(&self.folder).arg(name).arg("--data").arg(store);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end; returns what it took and what it said.
    fn run(&self, work: &str, command: &mut Command) -> Result<(Row, Vec<u8>), Failure> {
        let before = self.own.children_usage()?;
        let start = Instant::now();
        let output =
            command.output().map_err(|error| format!("start {}: {error}", self.relay.display()))?;
        let elapsed = start.elapsed();
        let after: Usage = self.own.children_usage()?;
        if !output.status.success() {
            let talk = String::from_utf8_lossy(&output.stderr);
            let last = talk.lines().last().unwrap_or("it said nothing").to_owned();
            return Err(format!("{work}: {}: {last}", output.status).into());
        }
        let row = Row { elapsed, spent: Some(after.since(&before)), ..Row::new(work) };
        Ok((row, output.stdout))
    }
}

/// Whether signatures are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// They are.
    Verified,
    /// Only ids are.
    Unverified,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::Verified => "verified",
            Check::Unverified => "unverified",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Check::Verified => &[],
            Check::Unverified => &["--no-verify"],
        }
    }
}

fn write(material: &Material, folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join("events.jsonl");
    let mut file = BufWriter::new(File::create(&path)?);
    for place in 0..material.count() {
        file.write_all(material.json(place))?;
        file.write_all(b"\n")?;
    }
    file.into_inner()?.sync_all()?;
    Ok(path)
}

/// What the files of a folder take on the disk.
fn allocated_bytes(folder: &Path) -> Result<u64, Failure> {
    let mut blocks = 0;
    for entry in std::fs::read_dir(folder)? {
        blocks += entry?.metadata()?.blocks();
    }
    Ok(blocks * BLOCK_BYTES)
}

/// How many Schnorr signatures all cores of this machine verify in a second, with nothing around.
fn verifications_per_second() -> Result<f64, Failure> {
    let keypair = secp256k1::Keypair::from_secret_bytes([7; 32])?;
    let message = [9; 32];
    let signature: schnorr::Signature = keypair.sign_schnorr_no_aux_rand(&message);
    let (key, _) = keypair.x_only_public_key();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let start = Instant::now();
    let work = || {
        let mut count = 0_u64;
        while start.elapsed() < LIMIT_PERIOD {
            for _ in 0..64 {
                count += u64::from(signature.verify(black_box(&message), &key).is_ok());
            }
        }
        count
    };
    let count: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

const LIMIT_PERIOD: Duration = Duration::from_secs(2);
/// Blocks of files are counted in these, whatever the file system has.
const BLOCK_BYTES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_told_and_one_that_works_has_its_time() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let material = Material::generate(200, 5).expect("a generator cannot fail");
        let files = |relay: &str| {
            Files::new(Path::new(relay), None, &material, folder.path()).expect("it can be written")
        };
        let error = files("/nonexistent/relay").export(Check::Verified).err();
        assert!(error.is_some_and(|error| error.to_string().starts_with("start /nonexistent")));
        let error = files("false").export(Check::Verified).err();
        assert!(error.is_some_and(|error| error.to_string().contains("it said nothing")));
        let (row, output) = files("echo")
            .run("say", Command::new("echo").arg("word").stdout(Stdio::piped()))
            .expect("echo works");
        assert_eq!((output.as_slice(), row.work.as_str()), (&b"word\n"[..], "say"));
        assert!(row.spent.is_some());
        let lines = std::fs::read(folder.path().join("events.jsonl")).expect("it was written");
        assert_eq!(memchr::memchr_iter(b'\n', &lines).count(), 200);
        assert!(allocated_bytes(folder.path()).expect("it is a folder") >= lines.len() as u64);
    }
}
