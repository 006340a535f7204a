//! `relay key`: makes and shows the key that the relay signs with itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::arguments::Common;
use super::exit::Failure;
use super::output::{print, print_json, say};
use super::secret;
use crate::nostr::{Keypair, bech32};
use crate::sys;

/// Make or show the key of the relay itself
///
/// A relay with members or groups signs what it has to say about them itself. It does so with a
/// secret key in a file of its own, which the key relay.secret_key_file names; the public key is
/// `self` in the relay's information document (NIP-11).
///
/// Whoever has the secret key can speak for the relay: nobody but the owner of the file may read
/// it, and a backup of it belongs to a backup of the relay.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key, and write it into a new file that only its owner can read
    Generate {
        /// The file [default: the one that relay.secret_key_file names]
        file: Option<PathBuf>,
    },
    /// Print the public key of the relay
    Show {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
}

const EXAMPLES: &str = "\
Examples:
  relay key generate /etc/relay/secret.key
  relay key show --set relay.secret_key_file=/etc/relay/secret.key
  relay serve --set relay.secret_key_file=/etc/relay/secret.key";

#[derive(Serialize)]
struct Shown {
    pubkey: String,
    npub: String,
}

/// Runs the command.
pub(super) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let settings = common.load(Vec::new())?.settings;
    match &arguments.action {
        Action::Generate { file } => {
            let Some(path) = file.as_ref().or(settings.relay.secret_key_file.as_ref()) else {
                return Err(Failure::usage("expected a file for the key, found none")
                    .hint("name one: relay key generate /etc/relay/secret.key"));
            };
            let (secret, keys) = random_keys();
            secret::write(path, &secret)?;
            print(&format!("{}\n", keys.public_key()))?;
            if settings.relay.secret_key_file.as_ref() != Some(path) {
                let path = path.display();
                say(&format!("the secret key is in {path}; to use it, set in config.toml:"));
                say(&format!("  [relay]\n  secret_key_file = \"{path}\""));
            }
            Ok(())
        }
        Action::Show { json } => {
            let pubkey = secret::require_keys(&settings)?.public_key();
            let shown =
                Shown { pubkey: pubkey.to_string(), npub: bech32::encode("npub", &pubkey.0) };
            if *json {
                return print_json(&shown);
            }
            print(&format!("{}\n{}\n", shown.pubkey, shown.npub))
        }
    }
}

fn random_keys() -> ([u8; 32], Keypair) {
    loop {
        let halves = [sys::random_bytes(), sys::random_bytes()].concat();
        let secret: [u8; 32] = halves.try_into().expect("two halves of 16 bytes are 32");
        // One in 2^128 is beyond the order of the curve.
        if let Some(keys) = Keypair::from_secret(secret) {
            return (secret, keys);
        }
    }
}
