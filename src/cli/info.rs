//! `relay info`: what is in the store and how large it is.

use std::fmt::Write;

use clap::Args;
use serde::Serialize;

use super::arguments::Common;
use super::exit::Failure;
use super::open::{now, open_existing};
use super::output::{grouped, print, print_json, size, utc};
use crate::peer::PeerStatus;
use crate::store::{self, StoreInfo};

/// Print what is in the store
///
/// Counts events by kind and authors, and shows the size of every table and of the file. Tells how
/// it stood with each peer when that was noted last, which a running relay does every few seconds.
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
    peers: &'i [PeerReport],
}

/// How it stands with a peer.
#[derive(Serialize)]
struct PeerReport {
    #[serde(flatten)]
    status: PeerStatus,
    /// For how many seconds the two sides may differ.
    lag_secs: u64,
}

impl PeerReport {
    fn of(status: PeerStatus, now: u64) -> PeerReport {
        PeerReport { lag_secs: status.lag_secs(now), status }
    }
}

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let config = common.load(Vec::new())?;
    let opened = open_existing(&config.settings)?;
    let info = store::info(&opened)?;
    let path = opened.path().display().to_string();
    let peers: Vec<PeerReport> =
        PeerStatus::all(&opened)?.into_iter().map(|status| PeerReport::of(status, now())).collect();
    if arguments.json {
        return print_json(&Report { version: VERSION, path, store: &info, peers: &peers });
    }
    let kinds_max = if arguments.all_kinds { usize::MAX } else { KINDS_SHOWN };
    let mut text = render(&info, &path, kinds_max);
    push_peers(&mut text, &peers, now());
    print(&text)
}

fn render(info: &StoreInfo, path: &str, kinds_max: usize) -> String {
    let all = &info.size;
    let mut out = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<9} {value}");
    };
    row("version", &format!("{VERSION} (store format {})", info.format));
    row("store", path);
    row("events", &grouped(all.events));
    row("authors", &grouped(info.authors));
    if let (Some(oldest), Some(newest)) = (info.oldest, info.newest) {
        row("created", &format!("{} to {}", utc(oldest), utc(newest)));
    }
    row("removed", &format!("{} waiting for their space to be used again", grouped(all.dead)));
    row("unmerged", &format!("{} in memory until the indexes take them", grouped(all.unmerged)));
    row("file", &format!("{} ({} free)", size(all.file_bytes), size(all.free_bytes)));
    row("map", &format!("{}, the most it can grow to", size(all.map_bytes)));
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

/// Writes how it stood with each peer when that was noted last.
fn push_peers(out: &mut String, peers: &[PeerReport], now: u64) {
    if peers.is_empty() {
        return;
    }
    out.push_str(
        "\npeer                                stage     last event    lag       down         up\n",
    );
    let ago = |at: u64| match at {
        0 => "never".to_owned(),
        at => format!("{} ago", short(now.saturating_sub(at))),
    };
    for PeerReport { status, lag_secs } in peers {
        let lag = match *lag_secs {
            0 => "none".to_owned(),
            // Both have never agreed.
            _ if status.agreed_at == 0 => "-".to_owned(),
            secs => short(secs),
        };
        let _ = writeln!(
            out,
            "{:<32} {:>8} {:>14} {lag:>6} {:>10} {:>10}",
            status.name,
            status.stage,
            ago(status.last_received_at),
            grouped(status.received),
            grouped(status.accepted + status.known_there),
        );
        let mut more = vec![format!("noted {}", ago(status.noted_at))];
        if status.waiting > 0 {
            more.push(format!("{} waiting to be sent", grouped(status.waiting)));
        }
        if status.refused + status.invalid > 0 {
            more.push(format!("{} not taken", grouped(status.refused + status.invalid)));
        }
        if status.refused_there > 0 {
            more.push(format!("{} not taken there", grouped(status.refused_there)));
        }
        if status.errors > 0 {
            let (count, when) = (grouped(status.errors), ago(status.last_error_at));
            more.push(format!("{count} errors, the last {when}: {}", status.last_error));
        }
        let _ = writeln!(out, "  {}", more.join("; "));
    }
}

/// Shows a length of time in its largest unit.
fn short(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} d", secs / 86_400),
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const KINDS_SHOWN: usize = 12;
