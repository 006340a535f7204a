//! The plugin stage: events that were verified are judged by programs of the operator's before they
//! go to the writer, if there are any.
//!
//! ```text
//!  core, work pool -- questions --> stage <-- lines --> processes
//!       ^                             |
//!       +--- inbox: what is refused --+-- submissions --> writer
//! ```
//!
//! The stage is one thread with a runtime of its own; nobody waits for it. Where it has no room,
//! questions stand in line on their core as submissions do (`publish`). The words of the protocol
//! are `policy`'s.

mod chatter;
mod congestion;
mod process;
mod question;
mod stage;
mod window;

pub use self::stage::{OnFailure, PluginSettings};

pub(super) use self::question::{
    Asking, Judged, Question, QuestionSender, Source, hand_in, is_judged, question_channel,
};
pub(super) use self::stage::{Stage, StageParts};
