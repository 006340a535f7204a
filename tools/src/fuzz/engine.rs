//! The loop: make a case, check it, remember what failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::failure::{self, Fault};
use super::targets::{Entry, Target};
use crate::dataset::derive_seed;

/// What is to be run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    /// The number of the first case.
    pub(super) first: u64,
    pub(super) effort: Effort,
    pub(super) jobs: u64,
    /// Where failing inputs go.
    pub(super) folder: PathBuf,
}

/// When enough was tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effort {
    /// After so long, divided among the targets.
    Time(Duration),
    /// After so many cases of each target.
    Cases(u64),
}

/// What became of one target.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) cases: u64,
    pub(super) spent: Duration,
    /// By place: the first failure there, and how many there were.
    pub(super) failures: BTreeMap<String, (Finding, u64)>,
}

/// A failing case.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) fault: Fault,
    pub(super) case: u64,
    /// Where the smallest failing input is.
    pub(super) saved: Option<PathBuf>,
}

/// Runs targets in turns on all jobs; returns a tally for each.
pub(super) fn run(entries: &[Entry], plan: &Plan) -> Vec<Tally> {
    failure::catch_panics();
    let tallies = std::thread::scope(|scope| {
        let jobs: Vec<_> =
            (0..plan.jobs).map(|job| scope.spawn(move || run_job(entries, plan, job))).collect();
        jobs.into_iter().map(|job| job.join().expect("cases are caught")).collect::<Vec<_>>()
    });
    drop(std::panic::take_hook());
    let mut sums: Vec<Tally> = entries.iter().map(|_| Tally::default()).collect();
    for job in tallies {
        sums.iter_mut().zip(job).for_each(|(sum, tally)| sum.add(tally));
    }
    sums
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.cases += other.cases;
        self.spent = self.spent.max(other.spent);
        for (place, (finding, count)) in other.failures {
            self.failures.entry(place).or_insert((finding, 0)).1 += count;
        }
    }
}

/// A target with its place in its sequence of cases.
struct Lane<'e> {
    entry: &'e Entry,
    target: Box<dyn Target>,
    next: u64,
    tally: Tally,
}

fn run_job(entries: &[Entry], plan: &Plan, job: u64) -> Vec<Tally> {
    let begin = Instant::now();
    let lane = |entry| Lane {
        entry,
        target: (entry.make)(),
        next: plan.first + job,
        tally: Tally::default(),
    };
    let mut lanes: Vec<Lane<'_>> = entries.iter().map(lane).collect();
    loop {
        let mut has_more = false;
        for lane in &mut lanes {
            has_more |= lane.run_turn(plan);
        }
        let is_over = matches!(plan.effort, Effort::Time(time) if begin.elapsed() >= time);
        if !has_more || is_over {
            return lanes.into_iter().map(|lane| lane.tally).collect();
        }
    }
}

impl Lane<'_> {
    /// Runs cases for a short time; tells whether there are more.
    fn run_turn(&mut self, plan: &Plan) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < TURN {
            if matches!(plan.effort, Effort::Cases(count) if self.next >= plan.first + count) {
                self.tally.spent += begin.elapsed();
                return false;
            }
            self.run_case(plan);
            self.next += plan.jobs;
        }
        self.tally.spent += begin.elapsed();
        true
    }

    fn run_case(&mut self, plan: &Plan) {
        let mut rng = rng_of(plan.seed, self.entry.name, self.next);
        let target = &mut *self.target;
        let outcome = failure::caught(|| target.generate(&mut rng));
        let (input, fault) = match outcome {
            Ok(input) => {
                let fault = failure::fault_of(target, &input);
                (input, fault)
            }
            Err(fault) => (Vec::new(), Some(fault)),
        };
        self.tally.cases += 1;
        let Some(fault) = fault else { return };
        if let Some((_, count)) = self.tally.failures.get_mut(&fault.place) {
            *count += 1;
            return;
        }
        let smallest = failure::minimise(target, &input, &fault);
        // The state of the target may be part of the failure, or damaged by it.
        self.target = (self.entry.make)();
        let name = format!("{}-{}-{}", self.entry.name, plan.seed, self.next);
        let saved = failure::save(&plan.folder, &name, &smallest).ok();
        let finding = Finding { fault: fault.clone(), case: self.next, saved };
        eprintln!("{}", describe(self.entry.name, plan.seed, &finding));
        self.tally.failures.insert(fault.place, (finding, 1));
    }
}

/// Says what failed, and how to see it again.
pub(super) fn describe(name: &str, seed: u64, finding: &Finding) -> String {
    let Finding { fault, case, saved } = finding;
    let text: String = fault.text.chars().take(2_000).collect();
    let again = match saved {
        Some(path) => format!("tools fuzz --target {name} --replay {}", path.display()),
        None => format!("tools fuzz --target {name} --seed {seed} --first {case} --cases 1"),
    };
    format!("{name}: case {case} fails at {}\n{text}\nagain: {again}", fault.place)
}

/// Checks one input that was saved.
pub(super) fn replay(entry: &Entry, path: &Path) -> std::io::Result<Option<Fault>> {
    let input = std::fs::read(path)?;
    failure::catch_panics();
    let fault = failure::fault_of(&mut *(entry.make)(), &input);
    drop(std::panic::take_hook());
    Ok(fault)
}

/// The random numbers of one case.
fn rng_of(seed: u64, name: &str, case: u64) -> Rng {
    let stream =
        name.bytes().fold(0, |stream: u64, byte| stream << 8 ^ stream >> 56 ^ u64::from(byte));
    Rng::with_seed(derive_seed(seed, stream, case))
}

/// How long one target has its turn.
const TURN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::super::targets::ALL;
    use super::*;

    #[test]
    fn a_little_of_every_target_finds_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        for entry in ALL {
            let cases = match entry.name {
                "store" => 20,
                "server" => 60,
                "client" => 200,
                "config" => 200,
                "session" => 500,
                _ => 1_500,
            };
            let effort = Effort::Cases(cases);
            let folder = folder.path().to_owned();
            let plan = Plan { seed: 1, first: 0, effort, jobs: 1, folder };
            for tally in run(&[entry], &plan) {
                assert_eq!(tally.cases, cases);
                let failures: Vec<String> = tally
                    .failures
                    .values()
                    .map(|(finding, _)| describe(entry.name, plan.seed, finding))
                    .collect();
                assert!(failures.is_empty(), "{}", failures.join("\n"));
            }
        }
    }

    #[test]
    fn a_case_follows_from_seed_target_and_number() {
        for entry in ALL.iter().filter(|entry| entry.name != "server") {
            let make = |case| (entry.make)().generate(&mut rng_of(3, entry.name, case));
            assert_eq!(make(5), make(5), "{}", entry.name);
        }
    }
}
