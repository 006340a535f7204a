//! The proof that the relay works: real processes, real sockets, real files.
//!
//! Modules are in reading order: first the protocol by sentences of its NIPs, then what holds for
//! any input (the model, the seam, crashes), then the commands, bad input, real events, and the
//! rules of the house. The harness is what all of them stand on.

#![expect(
    clippy::cloned_ref_to_slice_refs,
    reason = "a filter in brackets reads as the REQ that it is, and a copy costs nothing here"
)]

mod harness;

mod nip01_transport;

mod nip01_events;

mod nip01_kinds;

mod nip01_filters;

mod nip01_subscriptions;
mod nip02;
mod nip04_17_59;
mod nip05;
mod nip09;
mod nip11;
mod nip13;
mod nip26;
mod nip29;
mod nip40;
mod nip42;
mod nip43;
mod nip45;
mod nip46_47;
mod nip62;
mod nip67;
mod nip70;
mod nip77;
mod nip86;
mod nip98;

mod deflate;

mod guard;
mod management;
mod plugins;
mod policy;
mod proxies;
mod retention;

mod model;

mod crash;
mod seam;

mod commands;
mod observe;
mod pages;
mod reload;

mod networks;
mod peering;
mod stream;
mod sync;
mod sync_hostile;

mod hostile;
mod real_events;
mod service;
mod tidy;
mod tls;
