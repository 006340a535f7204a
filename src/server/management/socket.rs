//! The way in on this machine: a socket in the data folder, for `relay admin`.
//!
//! Nobody but the user of the relay, and root, can open the file; and who is at the other end is
//! asked of the system, in case somebody changes that. A call is one line of JSON, and so is what
//! comes back.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::call::{Caller, OfficeHandle, Who};
use super::door::Written;
use crate::sys;

/// Returns where the socket of a relay is that keeps its events in a folder.
pub fn socket_path(folder: &Path) -> PathBuf {
    folder.join("admin.sock")
}

/// The listening socket; the file goes with it.
pub(in crate::server) struct LocalDoor {
    listener: StdListener,
    path: PathBuf,
    /// Tells the file from that of a relay which was started later.
    inode: u64,
}

impl Drop for LocalDoor {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            // What cannot be removed is replaced by the next relay.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl LocalDoor {
    /// Opens the socket in a folder, as far as that is possible; what is not is told.
    pub(in crate::server) fn open(folder: &Path) -> Option<LocalDoor> {
        let opened = LocalDoor::listen(folder);
        opened
            .inspect_err(|error| {
                tracing::warn!(%error, "`relay admin` has no socket in the data folder");
            })
            .ok()
    }

    /// Opens the socket in a folder. One that is there already, of a relay that was killed or is
    /// about to stop, is replaced.
    fn listen(folder: &Path) -> io::Result<LocalDoor> {
        let path = socket_path(folder);
        // Nobody can connect before the file is our own user's alone.
        let making = path.with_extension("tmp");
        let _ = fs::remove_file(&making);
        let listener = StdListener::bind(&making)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&making, Permissions::from_mode(0o600))?;
        let inode = fs::metadata(&making)?.ino();
        fs::rename(&making, &path)?;
        Ok(LocalDoor { listener, path, inode })
    }

    /// Takes calls; never ends.
    pub(super) async fn serve(self, office: OfficeHandle) {
        let listener = self.listener.try_clone().and_then(UnixListener::from_std);
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => return tracing::warn!(%error, "cannot take calls of this machine"),
        };
        let places = Rc::new(());
        loop {
            match listener.accept().await {
                Ok((stream, _)) if Rc::strong_count(&places) <= CONNECTIONS_MAX => {
                    let (office, place) = (office.clone(), Rc::clone(&places));
                    spawn_local(async move {
                        // What went wrong with one connection is its other end's affair.
                        let _ = converse(stream, office, sys::user_number()).await;
                        drop(place);
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept calls of this machine");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Answers calls until the other end has no more; `own` is the relay's user.
async fn converse(stream: UnixStream, office: OfficeHandle, own: u32) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    if !is_heard(user, own) {
        let text = "the relay takes calls from its own user and from root alone";
        return write.write_all(line_of(&json!({ "error": text })).as_bytes()).await;
    }
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut lines).take(LINE_BYTES_MAX);
        let reading = limited.read_until(b'\n', &mut line);
        match timeout(IDLE_MAX, reading).await {
            Ok(Ok(1..)) if line.ends_with(b"\n") => {}
            _ => return Ok(()),
        }
        let said = match serde_json::from_slice::<Written>(&line) {
            Err(_) => json!({ "error": "expected {\"method\": \"...\", \"params\": [...]}" }),
            Ok(Written { method, params }) => {
                let caller =
                    Caller { who: Who::Local(user), from: "local".to_owned(), authorization: None };
                match office.call(caller, method, params).await {
                    Ok(result) => json!({ "result": result }),
                    Err(refusal) => json!({ "result": null, "error": refusal.text() }),
                }
            }
        };
        write.write_all(line_of(&said).as_bytes()).await?;
    }
}

/// Returns whether a user is listened to.
fn is_heard(user: u32, own: u32) -> bool {
    user == own || user == ROOT
}

fn line_of(said: &Value) -> String {
    format!("{said}\n")
}

const ROOT: u32 = 0;
/// Connections at a time; people have few.
const CONNECTIONS_MAX: usize = 16;
/// The longest call.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// How long a connection may say nothing.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// As long as the machine is out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::super::office_channel;
    use super::*;

    #[test]
    fn the_relays_own_user_and_root_are_heard_and_nobody_else() {
        let rows = [(1000, 1000, true), (0, 1000, true), (0, 0, true)];
        let others = [(1001, 1000, false), (1000, 0, false), (u32::MAX, 0, false)];
        for (user, own, expected) in rows.into_iter().chain(others) {
            assert_eq!(is_heard(user, own), expected, "{user} at the relay of {own}");
        }
    }

    /// What the other end of a socket is told by a relay of this user.
    fn said_by_a_relay_of(own: u32) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be had").block_on(async {
            let (here, there) = UnixStream::pair().expect("sockets can be had");
            let (office, calls) = office_channel();
            drop(calls);
            let (read, mut write) = there.into_split();
            write.write_all(b"no call\n").await.expect("there is room");
            write.shutdown().await.expect("it is open");
            let (mut said, mut lines) = (String::new(), BufReader::new(read));
            let (ended, heard) =
                tokio::join!(converse(here, office, own), lines.read_line(&mut said));
            assert!(ended.is_ok() && heard.is_ok(), "{ended:?} {heard:?}");
            said
        })
    }

    /// The user at the other end is this process's. Root is heard everywhere: that another user is
    /// refused is seen by `tests/chappe/commands/admin.rs` then, which can become one.
    #[test]
    fn who_is_at_the_other_end_is_asked_of_the_system() {
        let user = sys::user_number();
        assert!(said_by_a_relay_of(user).contains("expected"));
        let of_another = said_by_a_relay_of(user + 1);
        let expected = if user == ROOT { "expected" } else { "its own user" };
        assert!(of_another.contains(expected), "{of_another}");
    }
}
