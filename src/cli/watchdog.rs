//! The watchdog of the service manager: told that the relay is alive as long as its threads answer.

use std::time::Duration;

use crate::mailbox::{Received, Receiver, Sender, mailbox};
use crate::server::Pulse;
use crate::sys::service;

/// Keeps the service manager told, if it wants to be, until what is returned is dropped.
pub(super) fn start(pulse: Pulse) -> Option<Sender<()>> {
    let period = service::watchdog_period()?;
    let (watching, stop) = mailbox(1);
    let run = move || run(&pulse, period, &stop);
    match std::thread::Builder::new().name("watchdog".to_owned()).spawn(run) {
        Ok(_) => Some(watching),
        Err(error) => {
            tracing::error!(%error, "the watchdog cannot be answered");
            None
        }
    }
}

fn run(pulse: &Pulse, period: Duration, stop: &Receiver<()>) {
    // Two answers fit into each period, so that one that comes late does no harm.
    let pause = period / 4;
    loop {
        let missing = pulse.missing(pause);
        if missing.is_empty() {
            service::notify_alive();
        }
        if stop.recv_timeout(pause) != Received::Nothing {
            return;
        }
        if !missing.is_empty() {
            tracing::error!(threads = missing.join(" "), "threads of the relay do not answer");
        }
    }
}
