//! What the main thread waits for: signals, threads that end, and the time to look at the settings.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::settings::LiveSettings;

/// Who knows the settings, and is asked for them while the server runs.
pub trait Steward {
    /// Returns settings to go by from here on; nothing to go on as before.
    fn settings(&mut self, occasion: Occasion) -> Option<LiveSettings>;

    /// Ends what depends on the server, which stops next.
    fn stopping(&mut self) {}
}

/// Why a [`Steward`] is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody wants the settings read again (SIGHUP).
    Signal,
    /// It is time to look whether they have changed, twice a second.
    Look,
}

/// What the main thread waits for.
///
/// Listened for before the relay says that it serves: a signal that nobody listens for ends it.
pub(super) struct Signals {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    looks: Interval,
}

/// What the main thread has to do.
pub(super) enum Sign {
    /// Stop the server.
    Stop,
    /// A thread of this name has ended.
    Ended(String),
    /// The steward is to be asked.
    Ask(Occasion),
}

impl Signals {
    /// Listens from here on.
    pub(super) fn listen() -> std::io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _context = runtime.enter();
        let mut looks = tokio::time::interval(LOOK_PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            looks,
            runtime,
        })
    }

    /// Waits for the next thing to do.
    pub(super) fn next(&mut self, ended: &mut mpsc::UnboundedReceiver<String>) -> Sign {
        let Signals { runtime, interrupt, terminate, hang_up, looks } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => Sign::Stop,
                _ = terminate.recv() => Sign::Stop,
                name = ended.recv() => name.map_or(Sign::Stop, Sign::Ended),
                _ = hang_up.recv() => Sign::Ask(Occasion::Signal),
                _ = looks.tick() => Sign::Ask(Occasion::Look),
            }
        })
    }
}

/// How often the steward looks.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
