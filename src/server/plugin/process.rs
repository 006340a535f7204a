//! One process of the plugin: what it is sent, what it says, and how it ends.
//!
//! It is started through the shell in a process group of its own, so that Ctrl-C at the relay's
//! terminal is the relay's alone and whatever the command starts ends with it.

use std::cell::RefCell;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::chatter::{Hearing, Lines, Patience};
use crate::metrics::PluginMetrics;
use crate::policy::{PluginAnswer, PluginRequest};
use crate::sys::{self, GroupSignal};

/// Names one run of a process, past its end: what it said may be heard late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The place in the stage's list.
    pub(super) slot: usize,
    /// Tells apart those who had the place one after the other.
    pub(super) serial: u64,
}

/// What the stage hears of a process.
#[derive(Debug)]
pub(super) enum Heard {
    /// Answers, in the order of the lines.
    Answers(Name, Vec<PluginAnswer>),
    /// It will say nothing more.
    End(Name),
}

/// A running process; [`Process::end`] ends it.
pub(super) struct Process {
    name: Name,
    child: Child,
    outgoing: Rc<Outgoing>,
    writing: JoinHandle<()>,
    reading: JoinHandle<()>,
    listening: JoinHandle<()>,
}

/// Requests that the process has not taken yet.
#[derive(Default)]
struct Outgoing {
    bytes: RefCell<Vec<u8>>,
    bell: Notify,
}

impl Process {
    /// Starts a shell command; what it says goes to `stage`.
    ///
    /// # Errors
    ///
    /// If the system starts no process.
    pub(super) fn start(
        command: &str,
        name: Name,
        stage: mpsc::Sender<Heard>,
        metrics: Arc<PluginMetrics>,
    ) -> std::io::Result<Process> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let outgoing = Rc::<Outgoing>::default();
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let said = Said { name, stage, metrics };
        Ok(Process {
            name,
            child,
            outgoing: Rc::clone(&outgoing),
            writing: spawn_local(write(stdin.expect("it is piped"), outgoing)),
            reading: spawn_local(said.read(stdout.expect("it is piped"))),
            listening: spawn_local(listen(stderr.expect("it is piped"), name)),
        })
    }

    /// Returns which one this is.
    pub(super) fn name(&self) -> Name {
        self.name
    }

    /// Returns whether it can be sent more.
    pub(super) fn has_room(&self) -> bool {
        self.outgoing.bytes.borrow().len() < OUTGOING_BYTES_MAX
    }

    /// Sends a request, without waiting.
    pub(super) fn ask(&self, request: &PluginRequest<'_>) {
        request.write(&mut self.outgoing.bytes.borrow_mut());
        self.outgoing.bell.notify_one();
    }

    /// Ends it: it is asked to, and after a while it has no choice.
    pub(super) async fn end(mut self) {
        self.writing.abort();
        self.reading.abort();
        self.signal(GroupSignal::Terminate);
        let status = match timeout(END_DEADLINE, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.signal(GroupSignal::Kill);
                self.child.wait().await
            }
        };
        // Its last words may still be on their way; somebody else may keep the pipe open.
        let _ = timeout(LAST_WORDS, &mut self.listening).await;
        self.listening.abort();
        let process = self.name.slot;
        match status {
            Ok(status) => tracing::info!(process, %status, "a plugin process has ended"),
            Err(error) => tracing::warn!(process, %error, "a plugin process cannot be waited for"),
        }
    }

    fn signal(&self, signal: GroupSignal) {
        // Without an id it was waited for already, and another process may have that number.
        if let Some(id) = self.child.id()
            && let Err(error) = sys::signal_group(id, signal)
        {
            tracing::debug!(process = self.name.slot, %error, "a plugin process takes no signal");
        }
    }
}

/// Sends what is outgoing until the process takes no more.
async fn write(mut stdin: ChildStdin, outgoing: Rc<Outgoing>) {
    let mut sending = Vec::new();
    loop {
        std::mem::swap(&mut *outgoing.bytes.borrow_mut(), &mut sending);
        if sending.is_empty() {
            outgoing.bell.notified().await;
            continue;
        }
        // That it reads no more is seen when it says no more.
        if stdin.write_all(&sending).await.is_err() {
            return;
        }
        sending.clear();
        sending.shrink_to(OUTGOING_BYTES_MAX);
    }
}

/// What a process says to the relay.
struct Said {
    name: Name,
    stage: mpsc::Sender<Heard>,
    metrics: Arc<PluginMetrics>,
}

impl Said {
    async fn read(self, mut stdout: ChildStdout) {
        let mut lines = Lines::new(ANSWER_BYTES_MAX);
        let mut patience = Patience::default();
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count @ 1..) = stdout.read(&mut buffer).await {
            let mut answers = Vec::new();
            lines.feed(&buffer[..count], |line| match PluginAnswer::read(line) {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    self.metrics.lines_unread_total.add(1);
                    // The line may repeat what the event says.
                    let bytes = line.len();
                    log(&mut patience, self.name, |process| {
                        tracing::warn!(process, bytes, "failed to {error}");
                    });
                }
            });
            let is_heard = match answers.is_empty() {
                true => Ok(()),
                false => self.stage.send(Heard::Answers(self.name, answers)).await,
            };
            if is_heard.is_err() {
                return;
            }
        }
        // An error means that nobody minds any more.
        let _ = self.stage.send(Heard::End(self.name)).await;
    }
}

/// Logs what a process says to its operator.
async fn listen(mut stderr: ChildStderr, name: Name) {
    let mut lines = Lines::new(SHOWN_BYTES_MAX);
    let mut patience = Patience::default();
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        lines.feed(&buffer[..count], |line| {
            log(&mut patience, name, |process| tracing::info!(process, ?line, "the plugin says"));
        });
    }
}

fn log(patience: &mut Patience, name: Name, line: impl FnOnce(usize)) {
    let process = name.slot;
    match patience.take(Instant::now()) {
        Hearing::LeaveOut => {}
        Hearing::Log(left_out) => {
            if left_out > 0 {
                tracing::warn!(process, left_out, "the plugin said too much to be logged");
            }
            line(process);
        }
    }
}

/// Requests are no longer put behind others when these have so many bytes.
const OUTGOING_BYTES_MAX: usize = 256 * 1024;
/// An answer has an id, an action and a message.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// As much of a line as is logged.
const SHOWN_BYTES_MAX: usize = 1_000;
const READ_BYTES: usize = 16 * 1024;
/// How long a process has to end after it was asked to.
const END_DEADLINE: Duration = Duration::from_secs(2);
const LAST_WORDS: Duration = Duration::from_millis(200);
