//! The commands of `relay admin`, and the calls that each of them is.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::show;
use super::talk::Talk;
use super::target::Target;
use crate::cli::arguments::Common;
use crate::cli::exit::Failure;
use crate::cli::output::{print_json, say};

/// Manage the running relay
///
/// Bans, allows, looks into and renames the relay that serves the data folder, at once and for
/// good: what is decided is kept in the store and survives a restart. The relay is reached over a
/// socket in that folder, which its own user and root can open. Every act is kept in a journal
/// (`relay admin log`). What the configuration refuses or allows applies beside it.
///
/// Administrators at a distance do the same over HTTP (NIP-86), see management.admins.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    action: Action,

    /// Print what the relay says as JSON
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  relay admin ban npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6 --reason spam
  relay admin ban note1fntxtkcy9pjwucqwa9mddn7v03wwwsu9j330jj350nvhpky2tuaspk6nqc
  relay admin ban 192.0.2.0/24
  relay admin list
  relay admin queue
  relay admin search 'kind:1 author:npub180cvv07tjdrrgpa0j7j7tmnyl2yr6yr7l8j4s3evf6u64th6gkwsyjh6w6'
  relay admin name 'Our relay'
  relay admin log --count 20
  relay admin call createrole '\"king\"' '\"King\"' '\"rules\"' 37 1";

#[derive(Debug, Subcommand)]
enum Action {
    /// Refuse an author, an event (which is removed), an address or a kind
    Ban {
        /// npub1..., note1..., author:KEY, event:ID, kind:NUMBER, an address or a range
        target: Target,
        /// Why, for who reads the list later
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take a ban back
    Unban {
        /// As it was banned
        target: Target,
    },
    /// Let an author in where not everybody may write, or settle what was reported about an event
    Allow {
        /// npub1..., note1..., author:KEY, event:ID or kind:NUMBER
        target: Target,
        /// Why, for who reads the list later
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Take the allowance of an author or an event back
    Unallow {
        /// npub1..., note1..., author:KEY or event:ID
        target: Target,
    },
    /// Print everything that was decided
    List,
    /// Print what people have reported and nobody has decided about (NIP-56)
    Queue,
    /// Find events, by words such as npub1..., note1..., kind:1 and author:KEY, or by a filter
    Search {
        /// Words, or a filter of NIP-01 as JSON
        #[arg(default_value = "")]
        query: String,
        /// How many
        #[arg(long, default_value_t = 20)]
        count: u64,
    },
    /// Print what the relay does, as totals since its start
    Stats,
    /// Change the name of the relay; an empty one is that of the configuration
    Name {
        /// At most 200 characters
        text: String,
    },
    /// Change what the relay says that it is for; empty: what the configuration says
    Description {
        /// At most 5000 characters
        text: String,
    },
    /// Change the picture of the relay; empty: that of the configuration
    Icon {
        /// An address that starts with https:// or http://
        address: String,
    },
    /// Apply the rules of retention soon, though it is not time yet
    Sweep,
    /// Print the journal: who has done what
    Log {
        /// How many acts, from the newest back
        #[arg(long, default_value_t = 100)]
        count: u64,
        /// Only acts before the one of this number
        #[arg(long, value_name = "NUMBER")]
        before: Option<u64>,
    },
    /// Call any method of docs/admin-api.md and print its result as JSON
    Call {
        /// Its name, such as supportedmethods
        method: String,
        /// Its parameters, each as JSON
        #[arg(value_parser = parse_param)]
        params: Vec<Value>,
    },
}

fn parse_param(text: &str) -> Result<Value, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("expected JSON, such as '\"text\"': {error}"))
}

/// Runs the command.
pub(in crate::cli) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let settings = common.load(Vec::new())?.settings;
    let is_json = arguments.json;
    let (method, params, done) = match &arguments.action {
        Action::List => return list(&mut Talk::begin(&settings.store.path)?, is_json),
        Action::Ban { target, reason } => {
            let method = match target {
                Target::Author(_) => "banpubkey",
                Target::Event(_) => "banevent",
                Target::Address(_) => "blockip",
                Target::Kind(_) => "disallowkind",
            };
            (method, json!([target.param(), reason]), Some("is banned"))
        }
        Action::Unban { target } => {
            let method = match target {
                Target::Author(_) => "unbanpubkey",
                Target::Event(_) => "unbanevent",
                Target::Address(_) => "unblockip",
                Target::Kind(_) => "allowkind",
            };
            (method, json!([target.param()]), Some("is not banned any more"))
        }
        Action::Allow { target, reason } => {
            let method = match target {
                Target::Author(_) => "allowpubkey",
                Target::Event(_) => "allowevent",
                Target::Kind(_) => "allowkind",
                Target::Address(_) => return Err(no_allowance()),
            };
            (method, json!([target.param(), reason]), Some("is allowed"))
        }
        Action::Unallow { target } => match target {
            Target::Author(_) => {
                ("unallowpubkey", json!([target.param()]), Some("is not allowed any more"))
            }
            Target::Event(_) => {
                ("unallowevent", json!([target.param()]), Some("is not allowed any more"))
            }
            _ => return Err(Failure::usage("expected an author or an event, found another thing")),
        },
        Action::Queue => ("chappe.queue", json!([]), None),
        Action::Search { query, count } => {
            let query = serde_json::from_str::<Value>(query)
                .ok()
                .filter(Value::is_object)
                .unwrap_or_else(|| query.as_str().into());
            ("chappe.search", json!([query, count]), None)
        }
        Action::Stats => ("chappe.stats", json!([]), None),
        Action::Name { text } => ("changerelayname", json!([text]), Some("is changed")),
        Action::Description { text } => {
            ("changerelaydescription", json!([text]), Some("is changed"))
        }
        Action::Icon { address } => ("changerelayicon", json!([address]), Some("is changed")),
        Action::Sweep => ("chappe.sweep", json!([]), Some("begins")),
        Action::Log { count, before } => ("chappe.log", json!([count, before]), None),
        Action::Call { method, params } => (method.as_str(), params.clone().into(), None),
    };
    let result = Talk::begin(&settings.store.path)?.call(method, &params)?;
    match (&arguments.action, done) {
        _ if is_json => print_json(&result),
        (action, Some(done)) => {
            say(&format!("{} {done}", subject_of(action)));
            Ok(())
        }
        (Action::Queue, _) => show::queue(&result),
        (Action::Search { .. }, _) => show::events(&result),
        (Action::Log { .. }, _) => show::journal(&result),
        _ => print_json(&result),
    }
}

fn subject_of(action: &Action) -> String {
    match action {
        Action::Ban { target, .. }
        | Action::Unban { target }
        | Action::Allow { target, .. }
        | Action::Unallow { target } => target.param(),
        Action::Name { .. } => "the name".to_owned(),
        Action::Description { .. } => "the description".to_owned(),
        Action::Icon { .. } => "the picture".to_owned(),
        _ => "a look at all events".to_owned(),
    }
}

fn no_allowance() -> Failure {
    Failure::usage("expected an author, an event or a kind, found an address")
        .hint("guard.exempt of the configuration exempts addresses; `unban` takes a ban back")
}

/// Prints all lists as one.
fn list(talk: &mut Talk, is_json: bool) -> Result<(), Failure> {
    let mut lists = serde_json::Map::new();
    for method in LISTS {
        lists.insert(method.to_owned(), talk.call(method, &json!([]))?);
    }
    if is_json {
        return print_json(&lists);
    }
    show::lists(&lists)
}

const LISTS: [&str; 7] = [
    "listbannedpubkeys",
    "listallowedpubkeys",
    "listbannedevents",
    "listallowedevents",
    "listblockedips",
    "listallowedkinds",
    "listdisallowedkinds",
];
