//! Log lines on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::settings::{Level, LogSettings};

/// The log of this process, whose settings may change.
pub(super) struct Log(reload::Handle<LevelFilter, Registry>);

impl Log {
    /// Writes log lines to standard error from here on, coloured only where that is a terminal.
    pub(super) fn start(settings: &LogSettings) -> Log {
        let is_coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let (filter, handle) = reload::Layer::new(filter(settings));
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        tracing_subscriber::registry().with(filter).with(lines.with_ansi(is_coloured)).init();
        Log(handle)
    }

    /// Goes by other settings from here on.
    pub(super) fn set(&self, settings: &LogSettings) {
        if let Err(error) = self.0.reload(filter(settings)) {
            tracing::error!(%error, "the level of the log stays as it was");
        }
    }
}

fn filter(settings: &LogSettings) -> LevelFilter {
    match settings.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}
