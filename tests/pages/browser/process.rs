//! The process of a browser: a new one for each test, with a profile of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A running Chromium; it ends when this is dropped.
pub(super) struct Process {
    child: Child,
    address: String,
    _profile: TempDir,
}

impl Process {
    /// Starts one, with the extension in a folder if one is named; nothing if there is no browser on
    /// this machine, which is said.
    ///
    /// # Panics
    ///
    /// If there is none and `CI` is set, or if it does not start.
    pub(super) fn start(extension: Option<&Path>) -> Option<Process> {
        let Some(program) = program() else {
            assert!(std::env::var_os("CI").is_none(), "{MISSING}");
            // Past the test's own output, which nobody sees when it succeeds.
            let _ = writeln!(std::io::stderr(), "NOT TESTED: {MISSING}");
            return None;
        };
        let profile = tempfile::tempdir().expect("there is a folder for temporary files");
        let extending = match extension {
            Some(folder) => format!("--load-extension={}", folder.display()),
            None => "--disable-extensions".to_owned(),
        };
        let mut child = Command::new(program)
            .args(FLAGS)
            .arg(extending)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the browser starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let mut said = String::new();
        let address = loop {
            let line = lines.next().and_then(Result::ok);
            let line = line.unwrap_or_else(|| panic!("the browser ended; it said:\n{said}"));
            if let Some((_, address)) = line.split_once("DevTools listening on ") {
                break address.trim().to_owned();
            }
            said.push_str(&line);
            said.push('\n');
        };
        // Somebody has to read on, or the browser would wait for room at some point.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Process { child, address, _profile: profile })
    }

    /// Returns the address of its DevTools protocol.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = NAMES.iter().find_map(|name| {
        std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
    });
    named.or(found)
}

const MISSING: &str =
    "the pages need a browser to be tested: run tests/pages/install as root, or set CHROMIUM";
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// No sandbox, because tests may run as root; nothing that the browser does by itself.
const FLAGS: [&str; 13] = [
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-sandbox",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-features=DisableLoadExtensionCommandLineSwitch",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
];
