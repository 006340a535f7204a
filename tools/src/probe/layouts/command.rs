//! Gathers the events, runs both comparisons and prints them.

use std::io::BufRead as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use chappe::nostr::Event;

use super::entries::{Index, Indexes};
use super::indexes::{Built, LayoutKind};
use super::records;
use super::report::{IndexFigures, Report};
use crate::Failure;
use crate::dataset::{Generator, Options, Signatures};

/// The arguments of `tools probe layouts`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Read events from a file of JSON lines instead of generating them
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// How many events to generate
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    generated: u64,
    /// Where to put the LMDB files while measuring [default: the folder for temporary files]
    #[arg(long, value_name = "DIRECTORY")]
    folder: Option<PathBuf>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs the comparison.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let parent = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = parent.join(format!("chappe-layouts-{}", std::process::id()));
    let outcome = compare(arguments, &folder);
    // Whatever happened, gigabytes must not stay behind; there may be nothing to remove.
    let _ = std::fs::remove_dir_all(&folder);
    let report = outcome?;
    if arguments.json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    Ok(())
}

fn compare(arguments: &Arguments, folder: &Path) -> Result<Report, Failure> {
    let mut material = Material { indexes: Indexes::new(), sample: Vec::new() };
    match &arguments.events {
        Some(path) => material.read(path)?,
        None => material.generate(arguments.generated),
    }
    let events = material.indexes.events();
    if events < 10 {
        return Err("too few events to compare anything".into());
    }
    let mut report = Report::new(events, SMALL_BATCH);
    eprintln!("{events} events; comparing records");
    report.records = records::measure(&material.sample, &folder.join("records"))?;
    for (number, index) in material.indexes.indexes.iter().enumerate() {
        let mut answers = None;
        for kind in LayoutKind::ALL {
            eprintln!("{} as {}", index.shape.name, kind.name());
            let figures = measure(index, kind, &folder.join(format!("{number}-{}", kind.name())))?;
            let expected = *answers.get_or_insert(figures.answers);
            if figures.answers != expected {
                return Err(
                    format!("{} answers differently as {}", index.shape.name, kind.name()).into()
                );
            }
            report.indexes.push(figures);
        }
    }
    Ok(report)
}

/// Measures one index in one layout.
///
/// The last events are kept for small batches, which are inserted into the index that large ones
/// have built.
fn measure(index: &Index, kind: LayoutKind, folder: &Path) -> Result<IndexFigures, Failure> {
    let events = index.events();
    let tail = (events / 10).min(SMALL_BATCH_EVENTS);
    let bulk = 0..events - tail;

    let mut middle = Built::create(&folder.join("middle"), kind, index.shape)?;
    let middle_spent = middle.insert(index, bulk.clone(), MIDDLE_BATCH)?;
    let middle_bytes = (middle.live_bytes()?, middle.file_bytes());
    middle.remove()?;

    let mut large = Built::create(&folder.join("large"), kind, index.shape)?;
    let large_spent = large.insert(index, bulk.clone(), LARGE_BATCH)?;
    let large_bytes = (large.live_bytes()?, large.file_bytes());
    let small_spent = large.insert(index, bulk.end..events, SMALL_BATCH)?;
    let (asked, newest) = large.ask(index, QUESTIONS)?;
    let (walked, all) = large.walk()?;
    large.remove()?;

    let mut loaded = Built::create(&folder.join("loaded"), kind, index.shape)?;
    let load_spent = loaded.load(index, bulk.clone())?;
    let loaded_bytes = loaded.live_bytes()?;
    loaded.remove()?;

    Ok(IndexFigures {
        index: index.shape.name,
        layout: kind,
        bulk_events: bulk.len(),
        small_events: tail,
        entries: index.of(bulk).len(),
        middle: middle_spent,
        middle_bytes,
        large: large_spent,
        large_bytes,
        small: small_spent,
        load: load_spent,
        loaded_bytes,
        question_ns: asked.ns as f64 / QUESTIONS as f64,
        taken: newest.entries as f64 / QUESTIONS as f64,
        walk_ns: walked.ns as f64 / all.entries.max(1) as f64,
        answers: (newest, all),
    })
}

/// What is measured on: the entries of all events, and a sample of whole ones.
struct Material {
    indexes: Indexes,
    sample: Vec<Event>,
}

impl Material {
    fn add(&mut self, event: Event) {
        self.indexes.add(&event.view());
        if self.sample.len() < SAMPLE {
            self.sample.push(event);
        }
    }

    fn read(&mut self, path: &Path) -> Result<(), Failure> {
        let file = std::fs::File::open(path)
            .map_err(|error| format!("open {}: {error}", path.display()))?;
        for (number, line) in std::io::BufReader::new(file).lines().enumerate() {
            let event = Event::parse(line?.as_bytes())
                .map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))?;
            self.add(event);
        }
        Ok(())
    }

    fn generate(&mut self, events: u64) {
        let mut generator = Generator::new(Options {
            events,
            seed: 1,
            created_at: 1_696_204_800..=1_759_276_800,
            signatures: Signatures::Noise,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
        });
        loop {
            let round = generator.next_round();
            if round.is_empty() {
                return;
            }
            for event in round {
                self.add(event.event.clone());
            }
        }
    }
}

pub(crate) const MIDDLE_BATCH: usize = 10_000;
pub(crate) const LARGE_BATCH: usize = 64_000;
pub(crate) const SMALL_BATCH: usize = 100;
/// How many events are inserted in small batches.
const SMALL_BATCH_EVENTS: usize = 20_000;
/// How many records are encoded and rendered.
const SAMPLE: usize = 100_000;
const QUESTIONS: usize = 200_000;
