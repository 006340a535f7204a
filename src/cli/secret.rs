//! The relay's own secret key: where it is, and who may read it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::exit::Failure;
use crate::config::Settings;
use crate::hex::{self, Hex};
use crate::nostr::{Keypair, bech32};

/// Reads the key that the settings name, if they name one.
pub(super) fn own_keys(settings: &Settings) -> Result<Option<Keypair>, Failure> {
    settings.relay.secret_key_file.as_deref().map(read).transpose()
}

/// Reads the key that the settings must name.
pub(super) fn require_keys(settings: &Settings) -> Result<Keypair, Failure> {
    own_keys(settings)?.ok_or_else(|| {
        Failure::usage("relay.secret_key_file: expected the file with the relay's key, found none")
            .hint("`relay key generate` makes one and says what to set")
    })
}

/// Reads a secret key from a file that nobody but its owner can read.
pub(super) fn read(path: &Path) -> Result<Keypair, Failure> {
    let shown = path.display();
    let fail = |error: std::io::Error| {
        Failure::failed(format!("failed to read the secret key {shown}: {error}"))
            .hint("relay.secret_key_file names the file; `relay key generate` makes one")
    };
    let file = File::open(path).map_err(fail)?;
    let mode = file.metadata().map_err(fail)?.permissions().mode();
    if mode & OTHERS != 0 {
        let mode = mode & 0o777;
        let text = format!(
            "failed to read the secret key {shown}: others than its owner can read it (mode {mode:o})"
        );
        return Err(Failure::failed(text).hint(format!("run `chmod 600 {shown}`")));
    }
    let mut text = String::new();
    file.take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(fail)?;
    parse(text.trim()).ok_or_else(|| {
        let text = format!(
            "failed to read the secret key {shown}: expected 64 hexadecimal digits or nsec1..., \
             found neither"
        );
        Failure::failed(text).hint("`relay key generate` makes one")
    })
}

/// Writes a secret key into a new file that only its owner can read.
pub(super) fn write(path: &Path, secret: &[u8; 32]) -> Result<(), Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            writeln!(file, "{}", Hex(secret))?;
            file.sync_all()
        })
        .map_err(|error| {
            Failure::failed(format!("failed to write {}: {error}", path.display()))
                .hint("a key is never written over another one; name a file that does not exist")
        })
}

fn parse(text: &str) -> Option<Keypair> {
    let bytes = hex::decode_any_case(text.as_bytes()).and_then(|bytes| bytes.try_into().ok());
    bytes.or_else(|| bech32::decode("nsec", text)).and_then(Keypair::from_secret)
}

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// More than any form of a key takes.
const KEY_BYTES_MAX: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_either_form_and_by_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        write(&path, &[3; 32]).expect("it is new");
        let public = Keypair::from_secret([3; 32]).expect("in range").public_key();
        assert_eq!(read(&path).expect("it is a key").public_key(), public);
        assert!(write(&path, &[4; 32]).is_err(), "nothing is overwritten");
        let text = bech32::encode("nsec", &[3; 32]);
        std::fs::write(&path, format!("  {text}\n")).expect("a file");
        assert_eq!(read(&path).expect("it is a key").public_key(), public);
        for wrong in ["", "00", "nsec1", &"0".repeat(64), &"f".repeat(64), &"g".repeat(64)] {
            std::fs::write(&path, wrong).expect("a file");
            let failure = read(&path).expect_err(wrong).to_string();
            assert!(failure.contains("expected 64 hexadecimal digits"), "{failure}");
        }
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(&path, open).expect("it is our own");
        let failure = read(&path).expect_err("others can read it").to_string();
        assert!(failure.contains("mode 640") && failure.contains("chmod 600"), "{failure}");
    }
}
