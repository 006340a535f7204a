//! What a scenario found: one row each, as a table and as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::pace::Quantiles;
use super::process::Spent;

/// The figures of one scenario.
#[derive(Default)]
pub(crate) struct Row {
    /// What was done.
    pub(crate) work: String,
    /// How often: the unit that the other figures are per.
    pub(crate) count: u64,
    /// In how much time.
    pub(crate) elapsed: Duration,
    /// What the relay used meanwhile.
    pub(crate) spent: Option<Spent>,
    /// The same, with what it had left to do afterwards.
    pub(crate) settled: Option<Spent>,
    /// What this program used meanwhile.
    pub(crate) own: Option<Spent>,
    pub(crate) latencies: Option<Quantiles>,
    /// Events received.
    pub(crate) events: Option<u64>,
    /// Bytes of answers that are no events, or of a file.
    pub(crate) output_bytes: Option<u64>,
    /// What a store takes on the disk.
    pub(crate) stored_bytes: Option<u64>,
    /// What this machine could do at best.
    pub(crate) limit_per_second: Option<f64>,
    /// Memory of the relay's own.
    pub(crate) memory_bytes: Option<u64>,
    /// What one unit has added to it.
    pub(crate) memory_bytes_each: Option<f64>,
    /// What else has to be said.
    pub(crate) notes: Vec<String>,
    /// Why the figures must not be believed.
    pub(crate) faults: Vec<String>,
}

impl Row {
    /// Starts a row.
    pub(crate) fn new(work: impl Into<String>) -> Self {
        Self { work: work.into(), ..Self::default() }
    }

    fn per_unit(&self, amount: f64) -> f64 {
        amount / self.count.max(1) as f64
    }

    fn cpu_us(&self, spent: Option<Spent>) -> Option<f64> {
        spent.map(|spent| self.per_unit(spent.cpu.as_secs_f64() * 1e6))
    }

    /// Units per second.
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    fn written_bytes(&self) -> Option<f64> {
        let spent = self.settled.or(self.spent)?;
        Some(self.per_unit(spent.written_bytes as f64))
    }

    /// The figures for a machine.
    pub(crate) fn to_json(&self) -> Value {
        let seconds = |pick: fn(&Quantiles) -> Duration| {
            self.latencies.as_ref().map(|it| pick(it).as_secs_f64())
        };
        json!({
            "work": self.work,
            "count": self.count,
            "elapsed_secs": self.elapsed.as_secs_f64(),
            "per_second": self.rate(),
            "cpu_us": self.cpu_us(self.spent),
            "cpu_us_settled": self.cpu_us(self.settled),
            "own_cpu_us": self.cpu_us(self.own),
            "latency_p50_secs": seconds(|it| it.p50),
            "latency_p99_secs": seconds(|it| it.p99),
            "latency_max_secs": seconds(|it| it.most),
            "events": self.events,
            "output_bytes": self.output_bytes.map(|it| self.per_unit(it as f64)),
            "stored_bytes": self.stored_bytes.map(|it| self.per_unit(it as f64)),
            "limit_per_second": self.limit_per_second,
            "disk_bytes": self.written_bytes(),
            "memory_bytes": self.memory_bytes,
            "memory_bytes_each": self.memory_bytes_each,
            "notes": self.notes,
            "faults": self.faults,
        })
    }
}

/// The head of the table; everything per unit of the row's count.
pub(crate) struct Head;

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<36}{:>9}{:>10}{:>9}{:>9}", "work", "count", "per s", "cpu us", "settled")?;
        write!(f, "{:>8}{:>9}{:>9}{:>9}", "own us", "p50 ms", "p99 ms", "max ms")?;
        write!(f, "{:>8}{:>9}{:>9}", "events", "disk KB", "mem MB")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |pick: fn(&Quantiles) -> Duration| {
            self.latencies.as_ref().map(|it| pick(it).as_secs_f64() * 1e3)
        };
        write!(f, "{:<36}{:>9}{:>10.0}", self.work, self.count, self.rate())?;
        write!(f, "{:>9}", cell(self.cpu_us(self.spent), 1))?;
        write!(f, "{:>9}", cell(self.cpu_us(self.settled), 1))?;
        write!(f, "{:>8}", cell(self.cpu_us(self.own), 1))?;
        for value in [ms(|it| it.p50), ms(|it| it.p99), ms(|it| it.most)] {
            write!(f, "{:>9}", cell(value, 3))?;
        }
        write!(f, "{:>8}", cell(self.events.map(|it| self.per_unit(it as f64)), 1))?;
        write!(f, "{:>9}", cell(self.written_bytes().map(|it| it / 1024.0), 1))?;
        write!(f, "{:>9}", cell(self.memory_bytes.map(|it| it as f64 / 1_048_576.0), 1))?;
        if let Some(bytes) = self.output_bytes {
            write!(f, "  {:.1} KB out", self.per_unit(bytes as f64) / 1024.0)?;
        }
        if let Some(bytes) = self.stored_bytes {
            write!(f, "  {:.0} B stored", self.per_unit(bytes as f64))?;
        }
        for note in &self.notes {
            write!(f, "  {note}")?;
        }
        for fault in &self.faults {
            write!(f, "  FAULT: {fault}")?;
        }
        Ok(())
    }
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_unit_and_unknown_ones_are_left_open() {
        let cpu = Duration::from_millis(20);
        let row = Row {
            count: 1_000,
            elapsed: Duration::from_secs(2),
            spent: Some(Spent { cpu, written_bytes: 4_096_000 }),
            events: Some(3_000),
            ..Row::new("publish")
        };
        let json = row.to_json();
        assert_eq!(json["cpu_us"], 20.0);
        assert_eq!(json["per_second"], 500.0);
        assert_eq!(json["disk_bytes"], 4096.0);
        assert!(json["cpu_us_settled"].is_null());
        let line = row.to_string();
        assert!(line.contains("  20.0  "), "{line}");
        assert!(line.contains("  3.0  "), "{line}");
    }
}
