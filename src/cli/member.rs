//! `relay member`: who belongs to the relay (NIP-43), and how the operator changes that.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::arguments::Common;
use super::exit::Failure;
use super::open::{now, open_existing, open_or_create};
use super::output::{grouped, print, print_json, say};
use super::secret;
use super::serve::membership_rules;
use crate::nostr::{Keypair, Kind, PublicKey, Verifier, bech32};
use crate::policy::Membership;
use crate::server;
use crate::store::{Store, Writer};

/// List, add and remove members of the relay
///
/// What changes is signed by the relay and stored like any event, so a relay that is serving goes
/// by it at once. The list of members that clients read follows when the relay serves.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the public keys of all members, with their roles
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a member, or change the roles of one
    Add {
        /// Public key, as 64 hexadecimal digits or npub1...
        #[arg(value_parser = parse_key)]
        key: PublicKey,
        /// A role that the member has from then on; may be repeated, an empty one takes all away
        #[arg(long, value_name = "ID")]
        role: Vec<String>,
    },
    /// Remove a member
    Remove {
        /// Public key, as 64 hexadecimal digits or npub1...
        #[arg(value_parser = parse_key)]
        key: PublicKey,
    },
}

const EXAMPLES: &str = "\
Examples:
  relay member list
  relay member add npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6 --role king
  relay member remove 3bf0c63fcb93463407af97a5e5ee64fa883d107ef9e558472c4eb9aaaefa459d";

#[derive(Serialize)]
struct Shown {
    pubkey: String,
    roles: Vec<String>,
}

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let settings = common.load(Vec::new())?.settings;
    let keys = secret::require_keys(&settings)?;
    let rules = membership_rules(&settings, &keys);
    match &arguments.action {
        Action::List { json } => {
            let members = server::read_members(rules, &open_existing(&settings)?)?;
            list(&members, *json)
        }
        Action::Add { key, role } => {
            let store = open_or_create(&settings)?;
            let members = server::read_members(rules, &store)?;
            if members.is_added(key) && role.is_empty() {
                say(&format!("{key} is a member already"));
                return Ok(());
            }
            let roles = role.iter().map(|role| vec!["role".to_owned(), role.clone()]);
            say_change(&store, &keys, &members, (Kind::MEMBER_ADDED, key), roles.collect())
        }
        Action::Remove { key } => {
            let store = open_existing(&settings)?;
            let members = server::read_members(rules, &store)?;
            if members.rules().operator == Some(*key) {
                return Err(Failure::failed(
                    "failed to remove the operator: it is a member always",
                )
                .hint("change relay.pubkey first"));
            }
            if !members.is_added(key) {
                return Err(Failure::failed(format!("failed to remove {key}: it is no member"))
                    .hint("`relay member list` shows all of them"));
            }
            say_change(&store, &keys, &members, (Kind::MEMBER_REMOVED, key), Vec::new())
        }
    }
}

fn list(members: &Membership, is_json: bool) -> Result<(), Failure> {
    let shown = members.iter().map(|(key, roles)| Shown {
        pubkey: key.to_string(),
        roles: roles.iter().map(|role| role.to_string()).collect(),
    });
    if is_json {
        return print_json(&shown.collect::<Vec<_>>());
    }
    let line = |it: Shown| format!("{} {}", it.pubkey, it.roles.join(",")).trim_end().to_owned();
    let lines: String = shown.map(|it| line(it) + "\n").collect();
    print(&lines)?;
    say(&format!("{} members", grouped(members.count() as u64)));
    Ok(())
}

/// Has the relay say what changed.
fn say_change(
    store: &Store,
    keys: &Keypair,
    members: &Membership,
    (kind, key): (Kind, &PublicKey),
    more: Vec<Vec<String>>,
) -> Result<(), Failure> {
    let mut tags = vec![vec!["-".to_owned()], vec!["p".to_owned(), key.to_string()]];
    tags.extend(more);
    let at = now().max(members.changed_at() + 1);
    let event = Verifier::default()
        .verify(keys.sign_event(at, kind, &tags, ""))
        .map_err(|(_, invalid)| Failure::failed(format!("failed to sign: {invalid}")))?;
    Writer::new(store.clone()).commit(&[event], now())?;
    let what = if kind == Kind::MEMBER_ADDED { "a member" } else { "no longer a member" };
    say(&format!("{key} is {what}"));
    Ok(())
}

fn parse_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_hex(text.as_bytes())
        .or_else(|| bech32::decode("npub", text).map(PublicKey))
        .ok_or_else(|| "expected 64 lower-case hexadecimal digits or npub1...".to_owned())
}
