//! `relay invite`: makes codes by which people become members (NIP-43).

use clap::Args;
use serde::Serialize;

use super::arguments::Common;
use super::exit::Failure;
use super::open::now;
use super::output::{print, print_json, say};
use super::period::parse_period;
use super::secret;
use crate::policy::{InviteKey, InviteTerms};
use crate::sys;

/// Make invitations to the relay
///
/// Prints codes, one a line, by which people become members of a relay that has some (the key
/// membership.enabled): a client claims one when it joins (NIP-43). A code proves itself, so nothing
/// is stored until it is used, and it needs no running relay. It is good for one person and a week
/// unless said otherwise, and not to be taken back before.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    /// How many codes
    #[arg(long, value_name = "NUMBER", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,

    /// How many people may use each; 0 for any number
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    uses: u16,

    /// How long they are good, such as 30d (units s, m, h, d, w)
    #[arg(long, value_name = "PERIOD", value_parser = parse_period, default_value = "7d",
        conflicts_with = "forever")]
    expires: u64,

    /// Let them never expire
    #[arg(long)]
    forever: bool,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay invite
  relay invite --count 20 --expires 30d
  relay invite --uses 0 --forever";

#[derive(Serialize)]
struct Shown {
    code: String,
    /// Seconds since 1970.
    expires: Option<u32>,
    uses: Option<u16>,
}

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let settings = common.load(Vec::new())?.settings;
    let key = InviteKey::of(&secret::require_keys(&settings)?);
    let expires = match arguments.forever {
        true => None,
        false => Some(u32::try_from(now().saturating_add(arguments.expires)).map_err(|_| {
            Failure::usage("--expires: expected a time before the year 2106, found a later one")
                .hint("use --forever")
        })?),
    };
    let uses = (arguments.uses > 0).then_some(arguments.uses);
    let shown = |_| {
        let code = key.mint(InviteTerms { expires, uses }, sys::random_bytes());
        Shown { code, expires, uses }
    };
    let codes: Vec<Shown> = (0..arguments.count).map(shown).collect();
    if arguments.json {
        return print_json(&codes);
    }
    let lines: String = codes.iter().map(|it| format!("{}\n", it.code)).collect();
    print(&lines)?;
    if !settings.membership.enabled {
        say("nobody can use them yet: membership.enabled is false");
    }
    Ok(())
}
