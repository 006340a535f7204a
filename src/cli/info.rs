//! `relay info`: what is in the store and how large it is.

use std::fmt::Write;

use clap::Args;
use serde::Serialize;

use super::arguments::Common;
use super::exit::Failure;
use super::open::open_existing;
use super::output::{grouped, print, print_json, size, utc};
use crate::store::{self, StoreInfo};

/// Print what is in the store
///
/// Counts events by kind and authors, and shows the size of every table and of the file.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print as JSON
    #[arg(long)]
    json: bool,

    /// Print every kind, not only the most frequent
    #[arg(long)]
    all_kinds: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay info
  relay info --json --data /var/lib/relay";

/// The description as JSON.
#[derive(Serialize)]
struct Report<'i> {
    version: &'static str,
    path: String,
    #[serde(flatten)]
    store: &'i StoreInfo,
}

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let opened = open_existing(&config.settings)?;
    let info = store::info(&opened)?;
    let path = opened.path().display().to_string();
    if arguments.json {
        return print_json(&Report { version: VERSION, path, store: &info });
    }
    let kinds_max = if arguments.all_kinds { usize::MAX } else { KINDS_SHOWN };
    print(&render(&info, &path, kinds_max))
}

fn render(info: &StoreInfo, path: &str, kinds_max: usize) -> String {
    let mut out = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<9} {value}");
    };
    row("version", &format!("{VERSION} (store format {})", info.format));
    row("store", path);
    row("events", &grouped(info.events));
    row("authors", &grouped(info.authors));
    if let (Some(oldest), Some(newest)) = (info.oldest, info.newest) {
        row("created", &format!("{} to {}", utc(oldest), utc(newest)));
    }
    row("removed", &format!("{} waiting for their space to be used again", grouped(info.dead)));
    row("unmerged", &format!("{} in memory until the indexes take them", grouped(info.unmerged)));
    row("file", &format!("{} ({} free)", size(info.file_bytes), size(info.free_bytes)));
    row("map", &format!("{}, the most it can grow to", size(info.map_bytes)));
    push_kinds(&mut out, &info.kinds, kinds_max);
    out.push_str("\ntable                      rows        size\n");
    for table in &info.tables {
        let _ = writeln!(
            out,
            "{:<16} {:>14} {:>11}",
            table.name,
            grouped(table.rows),
            size(table.bytes)
        );
    }
    out
}

/// Writes the most frequent kinds first.
fn push_kinds(out: &mut String, kinds: &[(u16, u64)], kinds_max: usize) {
    let mut kinds: Vec<(u16, u64)> =
        kinds.iter().copied().filter(|(_, count)| *count > 0).collect();
    kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
    if kinds.is_empty() {
        return;
    }
    out.push_str("\nkind                     events\n");
    for (kind, count) in kinds.iter().take(kinds_max) {
        let _ = writeln!(out, "{kind:<16} {:>14}", grouped(*count));
    }
    if kinds.len() > kinds_max {
        let rest = &kinds[kinds_max..];
        let events: u64 = rest.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count));
        let name = format!("{} others", rest.len());
        let _ = writeln!(out, "{name:<16} {:>14}  (--all-kinds)", grouped(events));
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const KINDS_SHOWN: usize = 12;
