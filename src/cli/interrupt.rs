//! Ctrl-C and requests to terminate, for commands that finish what they have begun.
//!
//! The first signal is a message to the command, which ends soon and in good order; the second
//! ends the process at once.

use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{Exit, Failure};

/// Watches for signals on a thread of its own; the receiver gets one message at the first.
pub(super) fn watch() -> Result<Receiver<()>, Failure> {
    let (sender, receiver) = bounded(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|error| Failure::failed(format!("failed to watch for signals: {error}")))?;
    let signals = runtime.block_on(async { signals() });
    let (mut interrupt, mut terminate) = signals
        .map_err(|error| Failure::failed(format!("failed to watch for signals: {error}")))?;
    let watching = move || {
        runtime.block_on(async {
            next(&mut interrupt, &mut terminate).await;
            announce(&sender);
            next(&mut interrupt, &mut terminate).await;
        });
        std::process::exit(Exit::Interrupted as i32);
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watching)
        .map_err(|error| Failure::failed(format!("failed to start a thread: {error}")))?;
    Ok(receiver)
}

fn signals() -> std::io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Tells the command, which may have ended already.
fn announce(sender: &Sender<()>) {
    let _ = sender.send(());
}
