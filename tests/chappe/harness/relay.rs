//! A real relay process on a store of its own, listening on a port that the system chose.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

use tempfile::TempDir;

use super::PATIENCE;
use super::client::Client;
use super::process::{Finished, command, limited, relay_command, send_signal, text};

/// A serving relay. Dropping it kills the process; its store goes with the last owner.
pub(crate) struct Relay {
    process: Process,
    /// Flags behind those of every test.
    flags: Vec<String>,
    /// What a shell does before it becomes the relay.
    limits: &'static str,
    store: Arc<TempDir>,
}

/// What a relay wrote to stderr so far, and the bell that rings for each line.
#[derive(Default)]
struct Said {
    text: Mutex<String>,
    bell: Condvar,
}

/// One run of the relay.
struct Process {
    child: Child,
    address: String,
    said: Arc<Said>,
    /// Disconnected once the process has ended and all it said was read.
    end: Mutex<Receiver<String>>,
}

impl Relay {
    /// Starts a relay on an empty store.
    pub(crate) fn start() -> Relay {
        Relay::start_with(&[])
    }

    /// Starts a relay on an empty store with `section.key=value` settings.
    pub(crate) fn start_with(settings: &[&str]) -> Relay {
        let store = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
        Relay::start_on(store, settings)
    }

    /// Starts a relay on a store that may have events.
    pub(crate) fn start_on(store: Arc<TempDir>, settings: &[&str]) -> Relay {
        let flag = |setting: &&str| ["--set".to_owned(), (*setting).to_owned()];
        Relay::start_flagged(store, settings.iter().flat_map(flag).collect(), "")
    }

    /// Starts a relay on an empty store that reads this configuration.
    pub(crate) fn start_on_file(file: &Path) -> Relay {
        let store = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
        Relay::start_flagged(store, vec!["--config".to_owned(), text(file).to_owned()], "")
    }

    /// Starts a relay on an empty store after a shell has set limits, such as `ulimit -n 64`.
    pub(crate) fn start_within(limits: &'static str) -> Relay {
        let store = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
        Relay::start_flagged(store, Vec::new(), limits)
    }

    fn start_flagged(store: Arc<TempDir>, flags: Vec<String>, limits: &'static str) -> Relay {
        Relay { process: spawn(&store, &flags, limits), flags, limits, store }
    }

    /// The address as `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.process.address
    }

    /// The address that speaks TLS, as `127.0.0.1:PORT`.
    pub(crate) fn encrypted_address(&self) -> String {
        self.await_said("  stop it ");
        let said = self.said();
        let (_, rest) = said.split_once("wss://").expect("the relay speaks TLS");
        rest.lines().next().expect("a line has an end").trim().to_owned()
    }

    /// The store's directory as text, for `--data`.
    pub(crate) fn data(&self) -> &str {
        text(self.store.path())
    }

    /// Opens a websocket.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.process.address)
    }

    /// Runs another command on this relay's store.
    pub(crate) fn command(&self, arguments: &[&str]) -> Finished {
        command(&[arguments, &["--data", self.data()]].concat())
    }

    /// Everything the relay wrote to stderr so far.
    pub(crate) fn said(&self) -> String {
        self.process.said.text.lock().expect("the reader of stderr does not panic").clone()
    }

    /// Waits until the relay has written this to stderr.
    #[track_caller]
    pub(crate) fn await_said(&self, part: &str) {
        let said = &self.process.said;
        let text = said.text.lock().expect("the reader of stderr does not panic");
        let waited = said.bell.wait_timeout_while(text, PATIENCE, |text| !text.contains(part));
        let text = waited.expect("the reader of stderr does not panic").0.clone();
        assert!(text.contains(part), "the relay says {part:?}; it said:\n{text}");
    }

    /// Sends a signal such as `libc::SIGHUP`.
    pub(crate) fn signal(&self, signal: i32) {
        send_signal(&self.process.child, signal);
    }

    /// Ends the process at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.child.kill().expect("a running relay can be killed");
        self.process.child.wait().expect("a killed relay ends");
    }

    /// Starts again on the same store, on another port.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.store, &self.flags, self.limits);
    }

    /// Sends a signal such as `libc::SIGTERM` and waits for the end.
    pub(crate) fn stop(&mut self, signal: i32) -> ExitStatus {
        send_signal(&self.process.child, signal);
        let end = self.process.end.get_mut().expect("nobody panicked with the lock");
        let ended = end.recv_timeout(PATIENCE);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "signal {signal} ends the relay");
        self.process.child.wait().expect("our own child can be waited for")
    }

    /// Panics unless the process is alive and answers a new client.
    pub(crate) fn assert_serving(&mut self) {
        let ended = self.process.child.try_wait().expect("our own child can be waited for");
        assert_eq!(ended, None, "the relay runs; it said:\n{}", self.said());
        assert!(!self.said().contains("panicked"), "no thread panicked:\n{}", self.said());
        let mut client = self.connect();
        client.stored("alive", &[serde_json::json!({"limit": 0})]);
    }

    /// Bytes of memory that the process holds.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.process.child.id());
        let text = std::fs::read_to_string(path).expect("the relay runs on Linux");
        let pages = text.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
        pages.expect("statm has a second number") * 4096
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Both fail only for a relay that has already ended.
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
        if std::thread::panicking() {
            println!("--- the relay's stderr\n{}---", self.said());
        }
    }
}

fn spawn(store: &TempDir, flags: &[String], limits: &str) -> Process {
    let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--data", text(store.path())];
    // Two cores are enough to have messages between threads, and keep many relays cheap.
    arguments.extend(["--set", "server.threads=2"]);
    arguments.extend(flags.iter().map(String::as_str));
    let mut child = limited(relay_command(&arguments), limits)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the relay binary starts");
    let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let said = Arc::new(Said::default());
    let (sender, receiver) = channel();
    let shared = Arc::clone(&said);
    std::thread::spawn(move || listen_to_stderr(stderr, &shared, &sender));
    let address = receiver.recv_timeout(PATIENCE).unwrap_or_else(|error| {
        let _ = child.kill();
        let said = said.text.lock().expect("the reader of stderr does not panic");
        let why = match error {
            RecvTimeoutError::Timeout => "did not say where it listens",
            RecvTimeoutError::Disconnected => "ended before it listened",
        };
        panic!("the relay {why}; it said:\n{said}")
    });
    Process { child, address, said, end: Mutex::new(receiver) }
}

/// Keeps every line of stderr; sends the address of the first line that has one.
fn listen_to_stderr(stderr: impl BufRead, said: &Said, address: &Sender<String>) {
    let mut found = false;
    for line in stderr.lines() {
        let Ok(line) = line else { return };
        if !found && let Some(rest) = line.split("ws://127.0.0.1:").nth(1) {
            let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
            found = true;
            let _ = address.send(format!("127.0.0.1:{port}"));
        }
        let mut text = said.text.lock().expect("readers of stderr do not panic");
        text.push_str(&line);
        text.push('\n');
        said.bell.notify_all();
    }
}
