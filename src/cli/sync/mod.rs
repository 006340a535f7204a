//! `relay sync`: brings the own store and another relay into agreement, once.

mod command;
mod summary;

pub(super) use command::{Arguments, run};
