//! Chappe: a Nostr relay on its own memory-mapped event store.
//!
//! This page is the map of the house. Imports only go down; `tests/chappe/tidy.rs` holds that, and
//! which module may name which dependency (its *door*).
//!
//! | floor | rooms |
//! |---|---|
//! | 6 settings and commands | [`cli`] [`config`]: the only readers of files, environment and terminal |
//! | 5 the running relay; its peers | [`server`]: one core a CPU, the work pool, the keeper, start and stop; [`peer`]: this relay as a client of others |
//! | 4 one conversation; transport | [`session`]: a state machine without I/O; [`net`]: sockets without Nostr |
//! | 3 work that joins the halls | [`query`]: filters to events; [`ingest`]: verified events to committed ones |
//! | 2 halls | [`store`]: log, overlay, blocks; [`policy`]: quotas, who may write and read what; [`fanout`]: the ring, subscriptions by what they ask for |
//! | 1 the protocol's nouns | [`nostr`]: events, filters, messages; [`reconcile`]: NIP-77; both pure |
//! | 0 ground | [`limits`] [`address`] [`clock`] [`deflate`] [`hex`] [`seq`] [`mailbox`] [`metrics`] [`sys`] |
//!
//! # Threads
//!
//! `core-N` (one a CPU) owns a listener, its connections and sessions, its subscription index and
//! its place in the ring. `work-N` verifies chunks of events and runs the slices of long queries.
//! `plugin` asks the programs of the operator about verified events, if there are any. `writer` is
//! the only one that writes to the store and to the ring. `keeper` notices what other
//! processes committed. Where there are peers, each has a thread `peer`; what they bring is verified
//! by `check-N`, led in by `usher`, and how it stands with them is noted by `peers`. The main thread
//! waits for signals and reads the configuration again. They talk through bounded mailboxes; a full
//! one makes its sender stop reading from the socket that fills it.
//!
//! # The life of an EVENT
//!
//! ```text
//!  socket -> frame -> parsed -> stored already? -> verified -> admitted -> writer's mailbox
//!                                                                             |
//!        OK to its client <- replies <- ring <- overlay <- COMMIT RETURNED <- batch
//!                                        |
//!        every core: candidates from its index -> filter -> may this session see it? -> frame
//! ```
//!
//! Where a plugin judges events it is asked between admitted and the writer's mailbox.
//!
//! The proof is in the types: `Event` -> `Verified` -> `Admitted` -> `Outcome`. A commit appends
//! records and nothing else; the index entries wait in memory until a merge moves them into the
//! blocks, sorted and in small steps (`schema/FORMAT.md`).
//!
//! # The life of a REQ
//!
//! ```text
//!  filters -> candidate plans race -> scans of blocks and overlay, merged newest first
//!          -> records checked -> rendered into one chunk of frames -> EOSE -> live
//! ```
//!
//! The first slice runs at once on the core that read the message; what is longer goes on in the
//! pool. A subscription has a horizon, the newest seq its snapshot shows: what is stored up to it
//! is found by the scan, everything behind it comes from the ring, so nothing is lost or doubled at
//! the seam.
//!
//! # Invariants
//!
//! Code cites them by number.
//!
//! - **I1** one writer thread per process.
//! - **I2** only an admitted event can be written on behalf of a client.
//! - **I3** nothing is acknowledged, queried or fanned out before its commit returned.
//! - **I4** records and index entries imply each other (`relay check`).
//! - **I5** results are `created_at` descending, id ascending.
//! - **I6** no read transaction outlives one slice or waits for a client.
//! - **I7** a subscription gets every matching event exactly once across scan and ring.
//! - **I8** every queue is bounded.
//! - **I9** no input bytes can panic the process; a failed commit poisons the writer, which then
//!   refuses instead of retrying.
//! - **I10** time and randomness are arguments.
//!
//! Failures have three channels: the client's doing is a [`nostr::Reject`] with a NIP-01 prefix;
//! the operator's or the machine's doing is the layer's error, with a hint, on stderr; our own doing
//! is an `assert!`.

pub mod address;
pub mod clock;
pub mod deflate;
pub mod hex;
pub mod limits;
pub mod mailbox;
pub mod metrics;
pub mod seq;
pub mod sys;

pub mod nostr;
pub mod reconcile;

pub mod fanout;
pub mod policy;
pub mod store;

pub mod ingest;
pub mod query;

pub mod net;
pub mod session;

pub mod peer;
pub mod server;

pub mod config;

pub mod cli;
