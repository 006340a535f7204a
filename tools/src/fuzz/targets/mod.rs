//! What is fuzzed: one file a target, or a few that share their oracle.

mod client;
mod config;
mod deflate;
mod delegation;
mod event;
mod filter;
mod frame;
mod json;
mod lines;
mod message;
mod negentropy;
mod peer;
mod proxy;
mod server;
mod session;
mod store;
mod url;
mod word;

use chappe::config::Settings;
use chappe::server::ServerSettings;
use fastrand::Rng;

use super::mutate::{WORDS, mutate};

/// Something that reads bytes from outside.
pub(super) trait Target {
    /// Makes an input; the same random numbers make the same one.
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8>;

    /// Reads an input, and panics if anything about that is wrong.
    fn check(&mut self, input: &[u8]);
}

/// A target by its name.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// What `--target` takes.
    pub(super) name: &'static str,
    /// What is read, and what that is held against.
    pub(super) about: &'static str,
    /// Makes one; every thread has its own.
    pub(super) make: fn() -> Box<dyn Target>,
}

/// All targets.
pub(super) const ALL: [Entry; 18] = [
    Entry {
        name: "json",
        about: "the scanner and the escaped form of text, against serde_json",
        make: || Box::new(json::Json),
    },
    Entry {
        name: "event",
        about: "events and packed tags, against a plain reading, serde_json and SHA-256",
        make: || Box::new(event::Events::new()),
    },
    Entry {
        name: "filter",
        about: "filters, matching and the index of subscriptions, against a plain reading",
        make: || Box::new(filter::Filters::new()),
    },
    Entry {
        name: "message",
        about: "messages and what answers those that are none, against a plain reading",
        make: || Box::new(message::Messages::new()),
    },
    Entry {
        name: "url",
        about: "addresses of relays: what passes for ours names our host",
        make: || Box::new(url::Urls),
    },
    Entry {
        name: "frame",
        about: "websocket frames and offers of extensions, against a plain reading and tungstenite",
        make: || Box::new(frame::Frames::new()),
    },
    Entry {
        name: "deflate",
        about: "compressed messages, against miniz_oxide",
        make: || Box::new(deflate::Deflated::new()),
    },
    Entry {
        name: "negentropy",
        about: "messages of reconciliations (NIP-77), against the negentropy crate",
        make: || Box::new(negentropy::Reconciled::new()),
    },
    Entry {
        name: "delegation",
        about: "words by which one key speaks for another (NIP-26), against a plain reading",
        make: || Box::new(delegation::Delegations),
    },
    Entry {
        name: "word",
        about: "keys, base64, rates, kinds, rules and ranges of addresses, against plain readings",
        make: || Box::new(word::Small::new()),
    },
    Entry {
        name: "proxy",
        about: "whom proxies speak for: PROXY headers and X-Forwarded-For, against a plain reading",
        make: || Box::new(proxy::Proxies),
    },
    Entry {
        name: "peer",
        about: "the engine that follows other relays, against peers that say anything",
        make: || Box::new(peer::Peers::new()),
    },
    Entry {
        name: "client",
        about: "connections to servers that say anything: every one ends with a reason",
        make: || Box::new(client::Clients::new()),
    },
    Entry {
        name: "config",
        about: "configuration files, the environment and flags: what is shown is read again",
        make: || Box::new(config::Configured::new()),
    },
    Entry {
        name: "lines",
        about: "the lines of an import, however they arrive, against a plain split",
        make: || Box::new(lines::Imported),
    },
    Entry {
        name: "store",
        about: "a store whose rows are garbled: it is read, queried and checked",
        make: || Box::new(store::Garbled::new()),
    },
    Entry {
        name: "session",
        about: "sequences of messages to one session, against a plain account of what is open",
        make: || Box::new(session::Sessions::new()),
    },
    Entry {
        name: "server",
        about: "the same and broken HTTP to a running server over sockets: nothing is left unanswered",
        make: || Box::new(server::Served::new()),
    },
];

/// What the settings of the configuration mean to a server.
fn server_settings(settings: &Settings) -> ServerSettings {
    match chappe::cli::server_settings(settings) {
        Ok(settings) => settings,
        Err(failure) => panic!("the settings name no file: {failure}"),
    }
}

/// Damages a text in three of four cases.
fn damaged(text: String, other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    if rng.u8(..4) > 0 {
        mutate(&mut bytes, other, &WORDS, rng);
    }
    if rng.u16(..5_000) == 0 {
        let byte = [b'[', b'{', b'"'][rng.usize(..3)];
        let at = rng.usize(..=bytes.len());
        drop(bytes.splice(at..at, std::iter::repeat_n(byte, 100_000)));
    }
    bytes
}
