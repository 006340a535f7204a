//! What every command prints with: buffered data, JSON, numbers for people, progress.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::exit::Failure;

/// Returns standard output with a buffer that holds many lines.
pub(super) fn stdout() -> BufWriter<io::StdoutLock<'static>> {
    BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, io::stdout().lock())
}

/// Writes data to standard output at once.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::of_output(&error))
}

/// Writes a value as indented JSON to standard output.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("failed to write the JSON: {error}")))?;
    text.push('\n');
    print(&text)
}

/// Says something on standard error; that nobody listens there is no failure of the command.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a size in the largest decimal unit that leaves a whole part.
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        // 999.95 would be printed as 1000.0.
        if value < 999.95 {
            break;
        }
        value /= 1_000.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// Writes how long something took.
pub(super) fn elapsed(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = duration.as_secs();
    if whole < 3_600 {
        return format!("{} min {} s", whole / 60, whole % 60);
    }
    format!("{} h {} min", whole / 3_600, whole % 3_600 / 60)
}

/// Returns how many a second, rounded.
pub(super) fn rate(count: u64, duration: Duration) -> u64 {
    (count as f64 / duration.as_secs_f64().max(0.001)).round() as u64
}

/// Writes a time in seconds since 1970 as date and time in UTC.
///
/// The date by Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html>.
pub(super) fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second % 3_600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}

/// A progress bar on standard error; it draws nothing where that is not a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar over a known number of bytes.
    pub(super) fn of_bytes(total: u64) -> Self {
        Self::styled(ProgressBar::new(total), "{bar:16} {bytes}/{total_bytes}, {eta} left, {msg}")
    }

    /// A bar over a known number of things.
    pub(super) fn of_count(total: u64) -> Self {
        Self::styled(ProgressBar::new(total), "{bar:16} {human_pos}/{human_len}, {eta} left {msg}")
    }

    /// A bar over rows whose number comes with the first [`Progress::set_of`].
    pub(super) fn rows() -> Self {
        Self::of_count(0)
    }

    /// A running figure of something whose end is unknown.
    pub(super) fn open_ended() -> Self {
        Self::styled(ProgressBar::new_spinner(), "{elapsed_precise} {spinner} {msg}")
    }

    /// Nothing, where the data itself goes to the terminal.
    pub(super) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Sets how far the work is.
    pub(super) fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Sets how far the work is and how far it goes.
    pub(super) fn set_of(&self, position: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(position);
    }

    /// Sets what stands beside the bar; the text is only made where somebody sees it.
    pub(super) fn describe(&self, text: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(text());
        }
    }

    /// Removes the bar, so that what follows stands alone.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn styled(bar: ProgressBar, template: &str) -> Self {
        let style = ProgressStyle::with_template(template)
            .expect("the templates of this file are valid")
            .progress_chars("=> ");
        bar.set_style(style);
        Self { bar }
    }
}

const OUTPUT_BUFFER_BYTES: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (11_900_000, "11.9 MB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in
            [(0.04, "0.0 s"), (59.9, "59.9 s"), (61.0, "1 min 1 s"), (7_260.0, "2 h 1 min")]
        {
            assert_eq!(elapsed(Duration::from_secs_f64(seconds)), text);
        }
        assert_eq!(rate(1_000, Duration::from_millis(500)), 2_000);
    }

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (1_700_000_000, "2023-11-14 22:13:20 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
        }
        assert!(utc(u64::MAX).ends_with(" UTC"));
    }

    #[test]
    fn the_progress_templates_are_valid() {
        Progress::of_bytes(10).clear();
        Progress::of_count(10).clear();
        Progress::open_ended().clear();
    }
}
