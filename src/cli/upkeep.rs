//! Maintenance that the running relay does itself: asked for over its socket, watched until it is done.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::admin::Talk;
use super::exit::{Exit, Failure};
use super::interrupt;
use super::output::{Progress, say};

/// Has the relay do something, shows how far it is, and returns its report. Ctrl-C has it stop.
///
/// # Errors
///
/// If it cannot be done, or was stopped.
pub(super) fn have_done(talk: &mut Talk, care: &str) -> Result<Value, Failure> {
    let begun = talk.call(&format!("chappe.{care}"), &json!([]))?;
    let run = begun["run"].as_u64().unwrap_or(0);
    let (interrupted, signals) = channel();
    interrupt::watch(move || {
        // Who is interrupted twice does not wait for the relay.
        let _ = interrupted.send(());
    })?;
    let progress = Progress::of_count(0);
    let done = watch(talk, (care, run), &progress, &signals);
    progress.clear();
    done
}

fn watch(
    talk: &mut Talk,
    (care, run): (&str, u64),
    progress: &Progress,
    signals: &Receiver<()>,
) -> Result<Value, Failure> {
    loop {
        let upkeep = talk.call("chappe.upkeep", &json!([]))?;
        let last = &upkeep[care];
        if last["run"].as_u64().is_some_and(|last| last >= run) {
            return match last["error"].as_str() {
                None => Ok(last["report"].clone()),
                Some("stopped") => Err(Failure::silent(Exit::Interrupted)),
                Some(error) => Err(Failure::failed(error)),
            };
        }
        let on = &upkeep["on"];
        let is_ours = on["care"] == care && on["run"] == run;
        if is_ours {
            progress.set_of(on["done"].as_u64().unwrap_or(0), on["of"].as_u64().unwrap_or(0));
        }
        let stage = on["stage"].as_str().filter(|_| is_ours).unwrap_or("waiting for its turn");
        progress.describe(|| stage.to_owned());
        match signals.recv_timeout(POLL_PERIOD) {
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            Ok(()) => {
                talk.call("chappe.stopupkeep", &json!([]))?;
                say("stopped; what was done until here stays");
            }
        }
    }
}

const POLL_PERIOD: Duration = Duration::from_millis(100);
