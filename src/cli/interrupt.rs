//! Ctrl-C and requests to terminate, for commands that finish what they have begun.
//!
//! The first signal is a message to the command, which ends soon and in good order; the second
//! ends the process at once.

use std::io;
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{Exit, Failure};

/// Watches for signals on a thread of its own, which calls `announce` at the first.
pub(super) fn watch(announce: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::failed(format!("failed to watch for signals: {error}"));
    let runtime = Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let (mut interrupt, mut terminate) = runtime.block_on(async { signals() }).map_err(failed)?;
    let watching = move || {
        runtime.block_on(async {
            next(&mut interrupt, &mut terminate).await;
            announce();
            next(&mut interrupt, &mut terminate).await;
        });
        std::process::exit(Exit::Interrupted as i32);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watching).map(drop).map_err(failed)
}

fn signals() -> io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
