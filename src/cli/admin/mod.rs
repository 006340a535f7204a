//! `relay admin`: what administrators do, on the machine of the relay and while it runs.
//!
//! `command` says what there is to do, `target` what it is done to, `talk` is the conversation with
//! the running relay over the socket in its data folder, `show` prints what it says.

mod command;
mod show;
mod talk;
mod target;

pub(super) use command::{Arguments, run};
pub(super) use talk::Talk;
