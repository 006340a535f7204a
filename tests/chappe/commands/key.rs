//! `relay key`: a key is made once, read by its owner alone, and shown as `self`.

use std::os::unix::fs::PermissionsExt;

use crate::harness::command;

#[test]
fn a_key_is_made_once_and_only_its_owner_can_read_it() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let path = folder.path().join("secret.key");
    let file = path.to_str().expect("test paths are UTF-8");
    let setting = format!("relay.secret_key_file={file}");
    let made = command(&["key", "generate", file]).code(0).says("secret_key_file");
    let pubkey = made.text().trim().to_owned();
    assert_eq!(pubkey.len(), 64);
    let mode = std::fs::metadata(&path).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = std::fs::read_to_string(&path).expect("it is our own");
    assert!(!made.stderr.contains(secret.trim()), "the secret is said nowhere");
    command(&["key", "generate", file]).refused().says("never written over");
    assert_eq!(std::fs::read_to_string(&path).expect("it is our own"), secret);
    let shown = command(&["key", "show", "--json", "--set", &setting]).code(0).json();
    assert_eq!(shown["pubkey"], pubkey);
    assert!(shown["npub"].as_str().is_some_and(|npub| npub.starts_with("npub1")));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("our own");
    for arguments in [&["key", "show"][..], &["invite"], &["serve", "--listen", "127.0.0.1:0"]] {
        let data = folder.path().join("data");
        let data = data.to_str().expect("test paths are UTF-8");
        let all = [arguments, &["--set", &setting, "--data", data]].concat();
        command(&all).refused().says("chmod 600");
    }
    command(&["key", "show"]).code(2).says("relay.secret_key_file");
    command(&["config", "check", "--set", "membership.enabled=true"]).code(2).says("relay key");
}
