//! The server's threads: how one is started, and how it is noticed that one has ended.

use std::io;
use std::thread::{Builder, JoinHandle};

use tokio::sync::mpsc;

use super::settings::ServerError;
use crate::mailbox::Sender;

/// Starts threads, and has the main thread hear when one ends.
#[derive(Clone)]
pub(super) struct Spawner {
    says_ended: mpsc::UnboundedSender<String>,
}

impl Spawner {
    /// Returns a spawner, and where the names of threads that ended come out.
    pub(super) fn new() -> (Spawner, mpsc::UnboundedReceiver<String>) {
        let (says_ended, ended) = mpsc::unbounded_channel();
        (Spawner { says_ended }, ended)
    }

    /// Starts a thread.
    ///
    /// # Errors
    ///
    /// If the system gives none.
    pub(super) fn spawn(
        &self,
        name: impl Into<String>,
        body: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<Thread, ServerError> {
        let name = name.into();
        let sentinel = self.sentinel(&name);
        let body = move || {
            let _sentinel = sentinel;
            body()
        };
        match Builder::new().name(name.clone()).spawn(body) {
            Ok(handle) => Ok(Thread { name, handle }),
            Err(source) => Err(ServerError::Thread { name, source }),
        }
    }

    /// Starts a thread that ends once its leash is gone.
    ///
    /// # Errors
    ///
    /// If the system gives none.
    pub(super) fn spawn_leashed(
        &self,
        name: &str,
        leash: Sender<()>,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<Leashed, ServerError> {
        let run = move || {
            body();
            Ok(())
        };
        Ok(Leashed { leash, thread: self.spawn(name, run)? })
    }

    /// Returns what says, when it is dropped, that a thread of this name has ended.
    pub(super) fn sentinel(&self, name: &str) -> Sentinel {
        Sentinel { name: name.to_owned(), says_ended: self.says_ended.clone() }
    }
}

/// A thread of the server.
pub(super) struct Thread {
    name: String,
    handle: JoinHandle<io::Result<()>>,
}

impl Thread {
    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// If it could not go on, or panicked.
    pub(super) fn join(self) -> Result<(), ServerError> {
        let Thread { name, handle } = self;
        match handle.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(ServerError::Core { name, source }),
            Err(_) => Err(ServerError::Ended(name)),
        }
    }
}

/// A thread that ends once its leash is gone.
pub(super) struct Leashed {
    leash: Sender<()>,
    thread: Thread,
}

impl Leashed {
    /// Lets it end, and waits for that.
    ///
    /// # Errors
    ///
    /// If it panicked.
    pub(super) fn stop(self) -> Result<(), ServerError> {
        drop(self.leash);
        self.thread.join()
    }
}

/// Says which thread ended when it is dropped at that thread's end, whatever the reason.
pub(super) struct Sentinel {
    name: String,
    says_ended: mpsc::UnboundedSender<String>,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // Nobody listens while the server stops.
        let _ = self.says_ended.send(std::mem::take(&mut self.name));
    }
}
