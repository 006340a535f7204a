//! The configuration of a running relay: read again at SIGHUP and when its file changes, taken up by
//! clients that are connected already, and kept as it was when the new one has a mistake.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::client::Received;
use crate::harness::process::text;
use crate::harness::{PATIENCE, Relay, http, key, now};

/// A relay that reads this file.
struct Configured {
    relay: Relay,
    folder: TempDir,
}

impl Configured {
    fn start(content: &str) -> Configured {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let path = folder.path().join("relay.toml");
        fs::write(&path, content).expect("files can be written");
        Configured { relay: Relay::start_on_file(&path), folder }
    }

    /// Replaces the file as editors do: whole, by a new one of the same name.
    fn write(&self, content: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, content).expect("files can be written");
        fs::rename(&next, self.folder.path().join("relay.toml")).expect("files can be renamed");
    }

    /// Waits until the information document says this.
    fn await_document(&self, path: &str, expected: &Value) {
        let headers = [("Accept", "application/nostr+json")];
        until(&format!("{path} is {expected}"), || {
            let document = http(self.relay.address(), "GET", "/", &headers).json();
            document.pointer(path) == Some(expected)
        });
    }
}

/// Asks again and again, each time of the relay.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in the end {what}");
    }
}

#[test]
fn a_signal_has_the_file_read_at_once() {
    let it = Configured::start("[relay]\nname = \"One\"\n");
    it.await_document("/name", &json!("One"));
    it.write("[relay]\nname = \"Two\"\n[limits]\nmax_subscriptions = 7\n");
    it.relay.signal(libc::SIGHUP);
    it.relay.await_said("relay.name is \"Two\", was \"One\"");
    it.relay.await_said("limits.max_subscriptions is 7, was 300");
    it.await_document("/name", &json!("Two"));
    it.await_document("/limitation/max_subscriptions", &json!(7));
}

#[test]
fn a_file_that_changes_is_read_whichever_way_it_changes() {
    let it = Configured::start("[relay]\nname = \"One\"\n");
    let path = it.folder.path().join("relay.toml");
    it.write("[relay]\nname = \"Renamed over\"\n");
    it.await_document("/name", &json!("Renamed over"));
    fs::write(&path, "[relay]\nname = \"In place\"\n").expect("files can be written");
    it.await_document("/name", &json!("In place"));
    // As container systems mount files: a chain of links, one of which is replaced.
    let version = |number: &str| {
        let folder = it.folder.path().join(number);
        fs::create_dir(&folder).expect("folders can be made");
        let content = format!("[relay]\nname = \"Mounted {number}\"\n");
        fs::write(folder.join("relay.toml"), content).expect("files can be written");
    };
    let link = |to: &str, at: &Path| {
        let next = it.folder.path().join("next");
        symlink(to, &next).expect("links can be made");
        fs::rename(&next, at).expect("links can be renamed");
    };
    version("1");
    version("2");
    link("1", &it.folder.path().join("..data"));
    link("..data/relay.toml", &path);
    it.await_document("/name", &json!("Mounted 1"));
    link("2", &it.folder.path().join("..data"));
    it.await_document("/name", &json!("Mounted 2"));
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_says_where_it_is() {
    let it = Configured::start("[relay]\nname = \"Good\"\n[log]\nlevel = \"error\"\n");
    it.write("[relay]\nname = \"Bad\"\n\n[limits]\nmax_limt = 5\nmax_filters = 0\n");
    let file = it.folder.path().join("relay.toml");
    let place = |line: u32| format!("{}:{line}: limits.", text(&file));
    it.relay.await_said(&(place(5) + "max_limt: expected a known key"));
    it.relay.await_said("the nearest known key is limits.max_limit");
    it.relay.await_said(&(place(6) + "max_filters: expected a whole number from 1 to 10000"));
    it.await_document("/name", &json!("Good"));
    it.write("[relay\n");
    it.relay.signal(libc::SIGHUP);
    it.relay.await_said("relay.toml:1: expected TOML");
    fs::remove_file(&file).expect("files can be removed");
    it.relay.signal(libc::SIGHUP);
    it.relay.await_said("expected a readable configuration file");
    it.await_document("/name", &json!("Good"));
    // The log's own level is among what is taken up, before the first line is written by it.
    it.write("[relay]\nname = \"Mended\"\n");
    it.relay.await_said("relay.name is \"Mended\", was \"Good\"");
    it.await_document("/name", &json!("Mended"));
}

#[test]
fn keys_that_need_a_restart_are_named_and_the_others_are_taken() {
    let it = Configured::start("");
    it.write("[store]\ndurability = \"lazy\"\n[relay]\nname = \"Other\"\n");
    it.relay.signal(libc::SIGHUP);
    it.relay.await_said("store.durability stays \"sync\" until the relay is restarted");
    it.await_document("/name", &json!("Other"));
    // A flag of the command line is stronger than the file, then as before.
    it.write("[server]\nthreads = 7\n");
    it.relay.signal(libc::SIGHUP);
    it.relay.await_said("relay.name is \"A Chappe relay\", was \"Other\"");
    assert!(!it.relay.said().contains("server.threads"), "{}", it.relay.said());
}

#[test]
fn clients_that_are_connected_are_held_to_the_new_limits() {
    let it = Configured::start("");
    let mut client = it.relay.connect();
    client.request("first", &[json!({"kinds": [1]})]);
    client.until_eose("first");
    it.write(
        "[limits]\nmax_subscriptions = 1\nmax_content_length = 3\n[policy]\nrefused_kinds = [7]\n",
    );
    it.relay.signal(libc::SIGHUP);
    until("a second subscription is refused", || {
        // One that was opened in time would stay.
        client.close("second");
        client.request("second", &[json!({"kinds": [1]})]);
        client.wait_for("an answer", |received| match received {
            Received::Json(_, answer) if answer[1] == "second" => Some(answer[0] == "CLOSED"),
            _ => None,
        })
    });
    client.publish(&key(1).note("long", now())).is_false("invalid", "a long note");
    client.publish(&key(1).event(7, "+", &[], now())).is_false("blocked", "kind 7");
    client.publish(&key(1).note("abc", now())).is_true("", "a short note");
    assert_eq!(client.live("first").content, "abc", "what is open stays open");
}

#[test]
fn what_is_private_from_here_on_is_kept_from_clients_that_listen_already() {
    let it = Configured::start("[auth]\nrestricted_kinds = []\n");
    let mut reader = it.relay.connect();
    let mut author = it.relay.connect();
    reader.request("all", &[json!({"kinds": [30]})]);
    reader.until_eose("all");
    author.publish(&key(1).event(30, "open", &[], now())).is_true("", "kind 30");
    assert_eq!(reader.live("all").content, "open");
    it.write("[auth]\nrestricted_kinds = [30]\n");
    it.relay.signal(libc::SIGHUP);
    // Each core hears of it by itself; a refused question tells that the reader's has.
    until("kind 30 is restricted", || {
        reader.request("probe", &[json!({"kinds": [30], "limit": 0})]);
        reader.wait_for("an answer", |received| match received {
            Received::Json(_, answer) if answer[1] == "probe" => Some(answer[0] == "CLOSED"),
            _ => None,
        })
    });
    author.publish(&key(1).event(30, "closed", &[], now())).is_true("", "kind 30");
    reader.assert_quiet();
}

#[test]
fn rates_and_lists_change_for_clients_that_are_connected() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let list = folder.path().join("refused.txt");
    fs::write(&list, "# nobody\n").expect("files can be written");
    let config = |rate: &str| {
        let list = text(&list);
        format!(
            "[guard]\nexempt = []\n[policy]\nrefused_authors_file = {list:?}\n\
             [rates_per_connection]\nrequests = {rate:?}\n"
        )
    };
    let it = Configured::start(&config("1k/day"));
    let mut client = it.relay.connect();
    client.publish(&key(1).event(1, "a", &[], now())).is_true("", "nobody is refused");
    fs::write(&list, key(1).public()).expect("files can be written");
    until("the author is refused", || {
        let content = fastrand::u64(..).to_string();
        !client.publish(&key(1).event(1, &content, &[], now())).accepted
    });
    assert!(!client.ids(&[json!({"limit": 1})]).is_empty());
    it.write(&config("1/day"));
    it.relay.await_said("rates_per_connection.requests is \"1/day\"");
    client.request("too many", &[json!({})]);
    let mut asked = 0;
    until("requests are refused", || {
        asked += 1;
        client.request("more", &[json!({"limit": 0})]);
        let answer = client.wait_for_json("an answer", |it| {
            (it[1] == "more" && it[0] != "EVENT").then(|| it.clone())
        });
        answer[0] == "CLOSED"
    });
    assert!(asked < 1_000, "by the new rate");
}
