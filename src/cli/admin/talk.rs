//! Calls to the running relay, over the socket in its data folder.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::exit::Failure;
use crate::server::socket_path;

/// An open conversation.
pub(in crate::cli) struct Talk {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Talk {
    /// Connects to the relay that serves the store in a folder, if one does.
    ///
    /// # Errors
    ///
    /// If one does that cannot be talked to.
    pub(in crate::cli) fn begin_if_served(folder: &Path) -> Result<Option<Talk>, Failure> {
        match UnixStream::connect(socket_path(folder)) {
            Err(error) if is_nobody(&error) => Ok(None),
            _ => Talk::begin(folder).map(Some),
        }
    }

    /// Connects to the relay that serves the store in a folder.
    pub(in crate::cli) fn begin(folder: &Path) -> Result<Talk, Failure> {
        Talk::begin_with(folder, PATIENCE)
    }

    fn begin_with(folder: &Path, patience: Duration) -> Result<Talk, Failure> {
        let path = socket_path(folder);
        let stream = UnixStream::connect(&path).map_err(|error| {
            let shown = path.display();
            let failure = Failure::failed(format!("failed to reach the relay at {shown}: {error}"));
            match error.kind() {
                _ if is_nobody(&error) => failure.hint(
                    "a relay has to serve this data folder (relay serve); --data names another one",
                ),
                ErrorKind::PermissionDenied => {
                    failure.hint("run this as the user of the relay, or as root (sudo)")
                }
                _ => failure,
            }
        })?;
        let set = stream
            .set_read_timeout(Some(patience))
            .and_then(|()| stream.set_write_timeout(Some(patience)));
        set.map_err(|error| Failure::failed(format!("failed to set up the socket: {error}")))?;
        Ok(Talk { stream: BufReader::new(stream), path })
    }

    /// Calls a method and returns its result.
    pub(in crate::cli) fn call(&mut self, method: &str, params: &Value) -> Result<Value, Failure> {
        let call = json!({ "method": method, "params": params }).to_string() + "\n";
        let mut line = String::new();
        let talked = match self.stream.get_mut().write_all(call.as_bytes()) {
            // Who is refused may be told so, and hung up on, before anything was said.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => self.stream.read_line(&mut line),
        };
        let shown = self.path.display();
        match talked {
            Ok(1..) => {}
            Ok(0) => {
                return Err(Failure::failed(format!("the relay at {shown} hung up")));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let text = format!("failed to get an answer of the relay at {shown} in time");
                return Err(Failure::failed(text).hint(
                    "it is busy or hangs, and may do it yet; `relay admin log` tells what was done",
                ));
            }
            Err(error) => {
                let text = format!("failed to talk to the relay at {shown}: {error}");
                return Err(Failure::failed(text));
            }
        }
        let said: Value = serde_json::from_str(&line)
            .map_err(|_| Failure::failed(format!("the relay at {shown} says what is no answer")))?;
        match said["error"].as_str() {
            Some(error) => Err(Failure::failed(format!("failed to do that: {error}"))),
            None => Ok(said["result"].clone()),
        }
    }
}

/// Returns whether nobody listens there.
fn is_nobody(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// How long the relay may take for one call.
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_relay_that_takes_calls_and_never_answers_is_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let _listener = UnixListener::bind(socket_path(folder.path())).expect("a socket");
        let mut talk = Talk::begin_with(folder.path(), Duration::from_millis(20)).expect("a talk");
        let failure = talk.call("supportedmethods", &json!([])).expect_err("nobody answers");
        let text = format!("{failure:?}");
        assert!(text.contains("in time") && text.contains("relay admin log"), "{text}");
    }
}
