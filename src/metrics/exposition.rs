//! The text in which metrics are told: the exposition format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write};

use super::{BUCKETS, Histogram};

/// A page of metrics that is being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// Something that tells of itself on the page of a relay.
pub trait Tells: Send + Sync {
    /// Adds its metrics.
    fn tell(&self, page: &mut Exposition);
}

/// What to divide the numbers of a histogram by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// They are told as they are.
    One,
    /// They are microseconds and told as seconds.
    Micros,
}

impl Unit {
    fn tell(self, number: u64) -> String {
        match self {
            Unit::One => number.to_string(),
            Unit::Micros => seconds(number),
        }
    }
}

impl Exposition {
    /// Begins a metric that only grows; its samples follow.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Samples<'_> {
        self.begin(name, help, "counter")
    }

    /// Begins a metric that goes up and down; its samples follow.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Samples<'_> {
        self.begin(name, help, "gauge")
    }

    /// Begins a metric of magnitudes; its samples follow.
    pub fn histogram(&mut self, name: &'static str, help: &str) -> Samples<'_> {
        self.begin(name, help, "histogram")
    }

    /// Returns the page.
    pub fn into_text(self) -> String {
        self.text
    }

    fn begin(&mut self, name: &'static str, help: &str, kind: &str) -> Samples<'_> {
        // Writing into a text cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Samples { text: &mut self.text, name }
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Samples<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Samples<'_> {
    /// Adds the only sample.
    pub fn value(self, value: impl Display) {
        let _ = writeln!(self.text, "{} {value}", self.name);
    }

    /// Adds a sample with these labels, such as `core="0"`; values of labels need no escapes.
    pub fn labelled(&mut self, labels: &str, value: impl Display) -> &mut Self {
        let _ = writeln!(self.text, "{}{{{labels}}} {value}", self.name);
        self
    }

    /// Adds the buckets, the sum and the count of the sum of some histograms.
    pub fn magnitudes<'h>(
        &mut self,
        labels: &str,
        unit: Unit,
        histograms: impl Iterator<Item = &'h Histogram>,
    ) -> &mut Self {
        let (mut counts, mut sum) = ([0; BUCKETS], 0);
        for histogram in histograms {
            let more = histogram.cumulative();
            counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
            sum += histogram.sum();
        }
        let comma = if labels.is_empty() { "" } else { "," };
        for (place, count) in counts[..BUCKETS - 1].iter().enumerate() {
            let bound = unit.tell(1 << place);
            let _ = writeln!(
                self.text,
                "{}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}",
                self.name
            );
        }
        let all = counts[BUCKETS - 1];
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(
            self.text,
            "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {all}\n{name}_sum{braced} {sum}\n\
             {name}_count{braced} {all}",
            name = self.name,
            sum = unit.tell(sum),
        );
        self
    }
}

/// Returns microseconds as seconds.
pub fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_help_type_and_samples_of_each_metric() {
        let mut page = Exposition::default();
        page.gauge("a_bytes", "Bytes of a.").value(7);
        page.counter("b_total", "Things.").labelled("core=\"0\"", 1).labelled("core=\"1\"", 2);
        let histogram = Histogram::default();
        histogram.add(3);
        histogram.add(1_500_000);
        let both = [&histogram, &histogram];
        page.histogram("c_seconds", "Time.").magnitudes("", Unit::Micros, both.into_iter());
        let text = page.into_text();
        let head = "# HELP a_bytes Bytes of a.\n# TYPE a_bytes gauge\na_bytes 7\n";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("b_total{core=\"1\"} 2\n"), "{text}");
        for line in [
            "c_seconds_bucket{le=\"0.000002\"} 0",
            "c_seconds_bucket{le=\"0.000004\"} 2",
            "c_seconds_bucket{le=\"1.048576\"} 2",
            "c_seconds_bucket{le=\"2.097152\"} 4",
            "c_seconds_bucket{le=\"+Inf\"} 4",
            "c_seconds_sum 3.000006",
            "c_seconds_count 4",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
    }
}
