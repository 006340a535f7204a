//! Log lines on standard error: which are written, and how.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level as TracingLevel, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::settings::LogSettings;
use crate::config::{Level, LogFormat};

/// The log of this process, whose settings may change.
pub(super) struct Log {
    levels: reload::Handle<Targets, Registry>,
    repeats_max: Arc<AtomicU64>,
}

impl Log {
    /// Writes log lines to standard error from here on, coloured only where that is a terminal.
    pub(super) fn start(settings: &LogSettings) -> Log {
        let is_coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let (levels, handle) = reload::Layer::new(levels(settings));
        let repeats_max = Arc::new(AtomicU64::new(settings.repeats_max));
        let repeats = Repeats { max: Arc::clone(&repeats_max), seen: Mutex::default() };
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        let lines = match settings.format {
            LogFormat::Text => lines.with_ansi(is_coloured).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(levels).with(repeats).with(lines).init();
        Log { levels: handle, repeats_max }
    }

    /// Goes by other settings from here on.
    pub(super) fn set(&self, settings: &LogSettings) {
        self.repeats_max.store(settings.repeats_max, Ordering::Relaxed);
        if let Err(error) = self.levels.reload(levels(settings)) {
            tracing::error!(%error, "the levels of the log stay as they were");
        }
    }
}

fn levels(settings: &LogSettings) -> Targets {
    let modules = settings.modules.iter().filter_map(|text| {
        let (module, level) = text.split_once('=')?;
        Some((format!("{CRATE}::{module}"), level.parse::<LevelFilter>().ok()?))
    });
    Targets::new().with_default(filter(settings.level)).with_targets(modules)
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

/// Leaves out warnings and errors that come again and again.
struct Repeats {
    /// Lines of one kind in a window; 0 for all.
    max: Arc<AtomicU64>,
    seen: Mutex<HashMap<Identifier, Window>>,
}

/// The lines of one place of the code since a moment.
struct Window {
    began: Instant,
    count: u64,
}

impl Repeats {
    /// Counts a line of this place; returns whether it is written, and how many were left out
    /// since the last that was.
    fn take(&self, place: Identifier, now: Instant) -> (bool, u64) {
        let max = self.max.load(Ordering::Relaxed);
        // As many entries as the code has places that warn.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let window = seen.entry(place).or_insert(Window { began: now, count: 0 });
        let mut left_out = 0;
        if now.duration_since(window.began) >= WINDOW {
            left_out = if max == 0 { 0 } else { window.count.saturating_sub(max) };
            *window = Window { began: now, count: 0 };
        }
        window.count += 1;
        (max == 0 || window.count <= max, left_out)
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let is_alarm = *metadata.level() <= TracingLevel::WARN;
        // What a command says to its operator is said once, and all of it.
        if !is_alarm || metadata.target().starts_with(COMMANDS) {
            return true;
        }
        let (is_written, left_out) = self.take(metadata.callsite(), Instant::now());
        if left_out > 0 {
            let (module, lines) = (metadata.target(), left_out);
            tracing::info!(module, lines, "lines like the next were left out");
        }
        is_written
    }
}

const CRATE: &str = "chappe";
const COMMANDS: &str = "chappe::cli";
const WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_most_are_left_out_and_counted() {
        let repeats = Repeats { max: Arc::new(AtomicU64::new(2)), seen: Mutex::default() };
        let place = tracing::callsite!(name: "a", kind: tracing::metadata::Kind::EVENT, fields: a);
        let place = tracing::callsite::Callsite::metadata(place).callsite();
        let began = Instant::now();
        let taken = |secs| repeats.take(place.clone(), began + Duration::from_secs(secs));
        assert_eq!([0, 1, 2, 9].map(taken), [(true, 0), (true, 0), (false, 0), (false, 0)]);
        assert_eq!([10, 11, 12].map(taken), [(true, 2), (true, 0), (false, 0)]);
        repeats.max.store(0, Ordering::Relaxed);
        assert_eq!([13, 30].map(taken), [(true, 0), (true, 0)]);
    }
}
