//! `relay admin`: what is managed on the machine itself, while the relay runs.

use std::fs::{Permissions, copy, metadata, set_permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{Finished, Relay, http, key, now};

fn admin(relay: &Relay, arguments: &[&str]) -> Finished {
    relay.command(&[&["admin"], arguments].concat())
}

fn done(relay: &Relay, arguments: &[&str]) {
    admin(relay, arguments).code(0);
}

#[test]
fn bans_and_allowances_are_told_apart_by_how_they_are_written() {
    let relay = Relay::start_with(&["policy.allowed_kinds=0-3"]);
    let author = format!("author:{}", key(2).public());
    let event = key(3).note("x", now());
    let mut client = relay.connect();
    client.publish(&event).is_true("", "stored");
    admin(&relay, &["ban", &author, "--reason", "spam"]).code(0).says("is banned");
    done(&relay, &["ban", &format!("event:{}", event.id)]);
    done(&relay, &["ban", "192.0.2.0/24"]);
    done(&relay, &["ban", "kind:3"]);
    done(&relay, &["allow", "kind:7"]);
    client.publish(&key(2).note("x", now())).is_false("blocked", "the author");
    client.publish(&event).is_false("blocked", "the event");
    client.publish(&key(4).event(3, "", &[], now())).is_false("blocked", "the kind");
    client.publish(&key(4).event(7, "+", &[], now())).is_true("", "another kind");
    let list = admin(&relay, &["list"]).code(0);
    for line in [
        format!("banned author   {} spam", key(2).public()),
        format!("banned event    {}", event.id),
        "blocked address 192.0.2.0/24".to_owned(),
        "refused kind    3".to_owned(),
        "allowed kind    7".to_owned(),
    ] {
        assert!(list.text().lines().any(|it| it == line), "{line:?} in {}", list.text());
    }
    let lists = admin(&relay, &["list", "--json"]).code(0).json();
    assert_eq!(lists["listblockedips"], json!([{ "ip": "192.0.2.0/24" }]));
    for target in [&author, &format!("event:{}", event.id), "192.0.2.0/24", "kind:3"] {
        done(&relay, &["unban", target]);
    }
    client.publish(&key(2).note("y", now())).is_true("", "the author again");
    client.publish(&event).is_true("", "the event again");
    for (arguments, part) in [
        (&["ban", "banana"][..], "npub1..."),
        (&["ban", &event.id], "author:... or event:..."),
        (&["allow", "192.0.2.1"], "guard.exempt"),
        (&["ban"], "required"),
    ] {
        admin(&relay, arguments).code(2).says(part);
    }
    let refused = admin(&relay, &["allow", "kind:13"]).code(1);
    assert!(refused.describe().contains("policy.refused_kinds"), "{}", refused.describe());
}

#[test]
fn the_relay_is_renamed_searched_and_told_of() {
    let relay = Relay::start();
    let event = key(2).note("hello", now());
    relay.connect().publish(&event).is_true("", "stored");
    done(&relay, &["name", "Ours"]);
    let accept = [("Accept", "application/nostr+json")];
    assert_eq!(http(relay.address(), "GET", "/", &accept).json()["name"], "Ours");
    let found = admin(&relay, &["search", &format!("author:{}", key(2).public())]).code(0);
    assert_eq!(found.events(), [event.clone()]);
    let filter = json!({ "kinds": [1] }).to_string();
    assert_eq!(admin(&relay, &["search", &filter]).code(0).events(), [event.clone()]);
    let report = key(3).event(1984, "", &[&["e", &event.id, "spam"]], now());
    relay.connect().publish(&report).is_true("", "stored");
    let queue = admin(&relay, &["queue"]).code(0);
    assert_eq!(queue.text(), format!("event:{} [spam: 1] hello\n", event.id));
    let stats = admin(&relay, &["stats"]).code(0).json();
    assert_eq!(stats["events"]["verdicts_total"]["stored"], 2);
    let methods = admin(&relay, &["call", "supportedmethods"]).code(0).json();
    assert!(methods.as_array().is_some_and(|it| it.contains(&Value::from("banpubkey"))));
    let key_text = json!(key(4).public()).to_string();
    done(&relay, &["call", "banpubkey", &key_text, "\"why\""]);
    admin(&relay, &["call", "banpubkey", "no json"]).code(2);
    admin(&relay, &["call", "banana"]).code(1);
    let log = admin(&relay, &["log", "--count", "2"]).code(0);
    let lines: Vec<&str> = log.text().lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("banpubkey") && lines[0].contains(" local "), "{}", lines[0]);
    assert!(lines[1].contains("changerelayname [\"Ours\"]"), "{}", lines[1]);
}

#[test]
fn without_a_running_relay_it_is_said_what_to_do() {
    let mut relay = Relay::start();
    let socket = Path::new(relay.data()).join("admin.sock");
    let about = metadata(&socket).expect("there is a socket");
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600, "nobody else opens it");
    relay.stop(libc::SIGTERM);
    assert!(!socket.exists(), "it goes with the relay");
    admin(&relay, &["list"]).code(1).says("relay serve");
    relay.restart();
    relay.kill();
    assert!(socket.exists());
    admin(&relay, &["list"]).code(1).says("relay serve");
    relay.restart();
    done(&relay, &["list"]);
}

/// Bans somebody by `relay admin` as another user, from a copy of the program which that can run.
fn ban_as(user: u32, relay: &Relay, author: &str) -> Output {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let program = folder.path().join("relay");
    copy(env!("CARGO_BIN_EXE_relay"), &program).expect("the program can be copied");
    set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let arguments = ["admin", "ban", author, "--data", relay.data()];
    let mut command = Command::new(program);
    command.args(arguments).uid(user).gid(user).current_dir("/");
    command.output().expect("root can start programs as anybody")
}

/// Where this process cannot become another user, what decides is seen in
/// `server::management::socket` alone.
#[test]
fn a_user_who_can_open_the_socket_but_is_not_the_relays_own_is_refused() {
    let relay = Relay::start();
    let socket = Path::new(relay.data()).join("admin.sock");
    // Somebody has let everybody in.
    set_permissions(relay.data(), Permissions::from_mode(0o755)).expect("it is ours");
    set_permissions(&socket, Permissions::from_mode(0o666)).expect("it is ours");
    let author = format!("author:{}", key(2).public());
    if metadata("/proc/self").expect("this is Linux").uid() == 0 {
        let refused = ban_as(65_534, &relay, &author);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("from its own user and from root alone"), "{said}");
    }
    let mut client = relay.connect();
    client.publish(&key(2).note("x", now())).is_true("", "nothing was done");
    done(&relay, &["ban", &author]);
    client.publish(&key(2).note("y", now())).is_false("blocked", "our own user is heard");
}
