//! A relay for clients to be tried against: in this process, with an empty store and the settings
//! of a new relay.
//!
//! `nostr_sdk.rs` is what a Rust program does, `nostr-tools.mjs` what a web page does; the latter is
//! run by hand, for it needs Node.js.

use chappe::config::Settings;
use chappe::server::Server;
use chappe::store::{Durability, Store, StoreOptions};
use tempfile::TempDir;

/// A running relay; it stops when it is dropped.
pub struct Relay {
    server: Option<Server>,
    url: String,
    _folder: TempDir,
}

impl Relay {
    /// Starts a relay on a free port.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start() -> Relay {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let mut settings = Settings::default();
        settings.server.listen = ([127, 0, 0, 1], 0).into();
        settings.server.threads = 2;
        let options =
            StoreOptions { map_bytes: Some(1 << 30), durability: Durability::Lazy, salt: [1; 16] };
        let store = Store::open(folder.path(), &options).expect("a store can be made");
        let settings = match chappe::cli::server_settings(&settings) {
            Ok(settings) => settings,
            Err(failure) => panic!("the settings name no file: {failure}"),
        };
        // Tests run in a runtime of their own, in which no other may end.
        let start = move || Server::start(settings, store, &[]);
        let server = std::thread::spawn(start).join().expect("starting does not panic");
        let server = server.expect("a server can be started");
        let url = format!("ws://{}", server.local_addr());
        Relay { server: Some(server), url, _folder: folder }
    }

    /// Returns the address for clients.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // A test that has failed already says why.
            let _ = std::thread::spawn(move || server.stop()).join();
        }
    }
}
