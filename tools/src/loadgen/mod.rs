//! An open-loop client that puts a relay under load and measures what it costs: any relay, by URL.
//!
//! ```text
//!  material -> shapes, fresh     what is sent: stored events, filters about them, new events
//!  wire -> client -> answer      frames over plain sockets, one thread, byte search, no JSON
//!            inflate             compressed messages, each different one once
//!  pace -> publish query fanout idle
//!                                scenarios: who sends what when, and what must come back
//!  flood                         a well-behaved client while many addresses flood
//!  files                         import and export, by the relay's own commands
//!  process -> report             what it cost the relay's process; a table or JSON
//! ```
//!
//! It must be cheap, so that on a small machine the relay is the bottleneck: nothing is parsed and
//! little is copied. Latencies count from the moment a message was due, so a relay that stalls
//! cannot hide it by receiving less.

mod answer;
mod client;
mod command;
mod fanout;
mod files;
mod flood;
mod fresh;
mod idle;
mod inflate;
mod line;
mod material;
mod pace;
mod process;
mod publish;
mod query;
mod report;
mod shapes;
mod wire;

pub(crate) use command::{Arguments, run};
