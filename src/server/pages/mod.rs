//! Pages for people with a browser: `/`, `/admin`, and the files that these are made of.
//!
//! Everything is in the binary and comes from this relay alone. A page runs no script and applies no
//! style but those of its own files, and may ask nobody but this relay: [`file`](self::file) says so
//! to the browser with each answer. `front` writes the page at `/` for the settings in force, in
//! the words of `terms`; `counters` are the numbers that it shows; `library` has the files that are
//! the same for every relay, among them the page at `/admin`. What is at which path is said in `routes`.

mod counters;
mod file;
mod front;
mod library;
mod terms;

pub(super) use counters::{Audience, Counters};
pub(super) use file::File;
pub(super) use front::{Subject, front};
pub(super) use library::{ADMIN, find};
