//! Runs one `relay` command to its end and keeps what it said.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::event::Event;

/// How long a command may run.
const COMMAND_PATIENCE: Duration = Duration::from_secs(120);

/// A command that ended.
pub(crate) struct Finished {
    pub(crate) line: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    /// Panics unless the command ended with this exit code.
    pub(crate) fn code(self, expected: i32) -> Finished {
        let described = self.describe();
        assert_eq!(self.status.code(), Some(expected), "exit code of {described}");
        self
    }

    /// Panics unless the command failed with an ordinary exit code and said why on stderr.
    pub(crate) fn refused(self) -> Finished {
        let described = self.describe();
        let code = self.status.code();
        assert!(code.is_some_and(|code| code != 0 && code != 101), "a refusal: {described}");
        assert!(!self.stderr.trim().is_empty(), "a refusal says why: {described}");
        assert!(!self.stderr.contains("panicked"), "no panic: {described}");
        self
    }

    /// stdout as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout)
            .unwrap_or_else(|_| panic!("stdout is not UTF-8: {}", self.describe()))
    }

    /// stdout as one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not JSON ({error}): {}", self.describe()))
    }

    /// stdout as one event a line.
    pub(crate) fn events(&self) -> Vec<Event> {
        let parse = |line: &str| {
            let value = serde_json::from_str(line);
            Event::from_json(&value.unwrap_or_else(|_| panic!("not an event: {line:?}")))
        };
        self.text().lines().map(parse).collect()
    }

    /// Panics unless stderr or stdout has this text, whatever its case.
    pub(crate) fn says(self, part: &str) -> Finished {
        let all = format!("{}\n{}", self.text(), self.stderr).to_lowercase();
        assert!(all.contains(&part.to_lowercase()), "{part:?} is said by {}", self.describe());
        self
    }

    /// The number that stands next to a word of the report, as in `stored 5` or `5 stored`.
    ///
    /// Thousands separators inside numbers are skipped. A word that is not there counts 0.
    pub(crate) fn count(&self, word: &str) -> u64 {
        let all = format!("{}\n{}", self.text(), self.stderr).to_lowercase();
        let tidy: String = all.chars().filter(|c| !matches!(c, ',' | '_' | '\'')).collect();
        let is_space = |c: char| !c.is_alphanumeric() && c != '\n';
        for line in tidy.lines().rev() {
            let words: Vec<&str> = line.split(is_space).filter(|w| !w.is_empty()).collect();
            let Some(at) = words.iter().position(|w| *w == word) else { continue };
            let after = words.get(at + 1).and_then(|w| w.parse().ok());
            let before = at.checked_sub(1).and_then(|at| words[at].parse().ok());
            if let Some(number) = before.or(after) {
                return number;
            }
        }
        0
    }

    /// Everything about this run, for failure messages.
    pub(crate) fn describe(&self) -> String {
        let stdout = String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(4000)]);
        format!(
            "`{}` ({})\n--- stdout\n{stdout}\n--- stderr\n{}\n---",
            self.line, self.status, self.stderr
        )
    }
}

/// Runs `relay ARGUMENTS` with an empty standard input.
pub(crate) fn command(arguments: &[&str]) -> Finished {
    command_with_input(arguments, b"")
}

/// Runs `relay ARGUMENTS` with this standard input.
pub(crate) fn command_with_input(arguments: &[&str], input: &[u8]) -> Finished {
    let running = start(arguments);
    running.feed(input).wait()
}

/// Starts `relay ARGUMENTS`, its output being collected in the background.
pub(crate) fn start(arguments: &[&str]) -> Running {
    start_with(arguments, &[])
}

/// Starts `relay ARGUMENTS` with these environment variables.
pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Running {
    let mut child = relay_command(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the relay binary starts");
    let stdout = collect(child.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.stderr.take().expect("stderr is piped"));
    Running { line: format!("relay {}", arguments.join(" ")), child, stdout, stderr }
}

/// The relay binary with arguments, free of settings that this test process inherited.
pub(crate) fn relay_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RELAY_") {
            command.env_remove(name);
        }
    }
    let quiet = std::env::temp_dir();
    command.current_dir(quiet).env("NO_COLOR", "1").env_remove("RUST_LOG").args(arguments);
    command
}

/// Has a shell set limits before it becomes the command.
pub(crate) fn limited(command: Command, limits: &str) -> Command {
    if limits.is_empty() {
        return command;
    }
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\"")).arg(command.get_program());
    shell.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

/// A command that may still run.
pub(crate) struct Running {
    line: String,
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

impl Running {
    /// Writes the whole standard input and closes it.
    pub(crate) fn feed(mut self, input: &[u8]) -> Running {
        let mut stdin = self.child.stdin.take().expect("stdin is piped and not yet taken");
        match stdin.write_all(input) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                panic!("`{}` takes its input: {error}", self.line)
            }
            _ => self,
        }
    }

    /// Writes a part of the standard input and leaves it open.
    pub(crate) fn feed_part(&mut self, input: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped and not yet taken");
        stdin.write_all(input).and_then(|()| stdin.flush()).expect("the command takes its input");
    }

    /// Sends a signal such as `libc::SIGINT`.
    pub(crate) fn signal(&self, signal: i32) {
        send_signal(&self.child, signal);
    }

    /// Waits for the end; kills the command and panics when it takes too long. A standard input
    /// that was not fed to its end stays open.
    pub(crate) fn wait(mut self) -> Finished {
        // Both ends of output together mean the end of the process.
        let deadline = Instant::now() + COMMAND_PATIENCE;
        let mut rest = |source: &Receiver<Vec<u8>>| {
            let left = deadline.saturating_duration_since(Instant::now());
            source.recv_timeout(left).unwrap_or_else(|_| {
                let _ = self.child.kill();
                panic!("`{}` did not end within {COMMAND_PATIENCE:?}", self.line)
            })
        };
        let stdout = rest(&self.stdout);
        let stderr = String::from_utf8_lossy(&rest(&self.stderr)).into_owned();
        let status = self.child.wait().expect("our own child can be waited for");
        Finished { line: self.line, status, stdout, stderr }
    }
}

/// Sends a signal to a child of ours that was not yet waited for.
pub(crate) fn send_signal(child: &Child, signal: i32) {
    let process = i32::try_from(child.id()).expect("process ids are small");
    // SAFETY: kill has no memory effects; the id is our own unreaped child, so it cannot have
    // been given to another process.
    let sent = unsafe { libc::kill(process, signal) };
    assert_eq!(sent, 0, "signal {signal} reaches process {process}");
}

/// Returns the path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

fn collect(mut source: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends the output like its end does; what came is what counts.
        let _ = source.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}
