//! Plugins that judge events: programs that speak strfry's protocol, run unchanged.
//!
//! The plugins are scripts that `/bin/sh` runs. What they wait for are files, so nothing depends on
//! how fast they are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Event, PATIENCE, Relay, Verdict, http, key, now};

/// A folder with a plugin in it.
struct Plugin(TempDir);

impl Plugin {
    /// Writes a script whose loop has `body` for each request: `line` is all of it, `id` the id of
    /// its event, and `content` what the event says; `$0.` begins the paths of its files.
    fn new(body: &str) -> Plugin {
        let plugin = Plugin(tempfile::tempdir().expect("a temporary directory can be made"));
        plugin.write(body);
        plugin
    }

    fn write(&self, body: &str) {
        let script = format!(
            "#!/bin/sh\nsay() {{ printf '{{\"id\":\"%s\",\"action\":\"%s\",\"msg\":\"%s\"}}\\n' \
             \"$@\"; }}\necho $$ >> \"$0.starts\"\nwhile IFS= read -r line; do\n\
             id=${{line#*'\"id\":\"'}}\nid=${{id%%'\"'*}}\n\
             content=${{line#*'\"content\":\"'}}\ncontent=${{content%%'\"'*}}\n{body}\ndone\n"
        );
        // Another file in its place: one that runs cannot be written.
        let next = self.file("next");
        fs::write(&next, script).expect("files can be written");
        fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).expect("it is our own file");
        fs::rename(&next, self.path()).expect("files can be renamed");
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("plugin")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("plugin.{name}"))
    }

    fn touch(&self, name: &str) {
        fs::write(self.file(name), "").expect("files can be written");
    }

    fn start(&self, settings: &[&str]) -> Relay {
        let command = format!("plugin.command={}", self.path().display());
        Relay::start_with(&[&[&*command], settings].concat())
    }

    /// The processes that have been started.
    fn starts(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.file("starts")).unwrap_or_default();
        text.lines().map(|line| line.parse().expect("a process id")).collect()
    }

    fn await_starts(&self, count: usize) {
        until(&format!("{count} processes were started"), || self.starts().len() >= count);
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in the end {what}");
        std::thread::yield_now();
    }
}

fn note(content: &str) -> Event {
    key(1).event(1, content, &[], now())
}

/// Judges by what the event says.
const BY_CONTENT: &str = r#"case $content in
    bad*) say "$id" reject "blocked: no $content" ;;
    bare*) say "$id" reject "without a prefix" ;;
    mute*) say "$id" reject "" ;;
    shadow*) say "$id" shadowReject "" ;;
    odd*) say "$id" maybe "" ;;
    *) say "$id" accept "" ;;
esac"#;

#[test]
fn a_plugin_accepts_rejects_and_pretends() {
    let plugin = Plugin::new(BY_CONTENT);
    let relay = plugin.start(&[]);
    let mut client = relay.connect();
    let mut reader = relay.connect();
    reader.stored("all", &[json!({"kinds": [1, 20_001]})]);
    let rows = [
        ("good", true, ""),
        ("bad thing", false, "blocked: no bad thing"),
        ("bare", false, "blocked: without a prefix"),
        ("mute", false, "blocked: not taken by the policy of this relay"),
        ("shadow", true, ""),
        ("odd", false, "error: the policy of this relay does not answer, try again later"),
        ("good again", true, ""),
    ];
    for (content, accepted, text) in rows {
        let expected = Verdict { accepted, text: text.to_owned() };
        assert_eq!(client.publish(&note(content)), expected, "{content}");
    }
    // Ephemeral events are judged as well, and dropped events reach nobody.
    client.publish(&key(1).event(20_001, "bad", &[], now())).is_false("blocked", "ephemeral");
    client.publish(&key(1).event(20_001, "shadow", &[], now())).is_true("", "ephemeral");
    client.publish(&key(1).event(20_001, "good", &[], now())).is_true("", "ephemeral");
    for expected in ["good", "good again", "good"] {
        assert_eq!(reader.live("all").content, expected);
    }
    reader.assert_quiet();
    assert_eq!(client.stored("stored", &[json!({"kinds": [1]})]).len(), 2);
    let headers = [("Accept", "application/nostr+json")];
    let document = http(relay.address(), "GET", "/", &headers).json();
    assert_eq!(document["limitation"]["restricted_writes"], true);
}

#[test]
fn a_plugin_is_told_what_strfry_tells_and_who_the_client_has_proven_to_be() {
    let plugin = Plugin::new("printf '%s\\n' \"$line\" >> \"$0.seen\"\nsay \"$id\" accept");
    let relay = plugin.start(&[]);
    let mut client = relay.connect();
    let begun = now();
    let event = key(1).event(1, "tab\t\"quote\"\u{e9}\n", &[&["t", "x"]], now());
    client.publish(&event).is_true("", "anything");
    client.authenticate(&key(2));
    client.publish(&note("by somebody else")).is_true("", "anything");
    client.authenticate(&key(1));
    client.publish(&note("by the client")).is_true("", "anything");
    let seen = fs::read_to_string(plugin.file("seen")).expect("the plugin writes it");
    let seen: Vec<Value> =
        seen.lines().map(|line| serde_json::from_str(line).expect("JSON in one line")).collect();
    let authed = [json!(null), json!(key(2).public()), json!(key(1).public())];
    assert_eq!(seen.iter().map(|it| it["authed"].clone()).collect::<Vec<Value>>(), authed);
    let at = seen[0]["receivedAt"].as_u64().expect("a number");
    assert!((begun..=now()).contains(&at));
    let expected = json!({
        "type": "new", "event": event.json(), "receivedAt": at, "sourceType": "IP4",
        "sourceInfo": "127.0.0.1", "authed": null,
    });
    assert_eq!(seen[0], expected);
}

#[test]
fn requests_to_vanish_known_events_and_forged_ones_are_not_judged() {
    let plugin = Plugin::new("echo \"$content\" >> \"$0.seen\"\nsay \"$id\" reject no");
    let relay = plugin.start(&[]);
    let mut client = relay.connect();
    let vanish = key(9).event(62, "vanish", &[&["relay", "ALL_RELAYS"]], now());
    client.publish(&vanish).is_true("", "a request to vanish");
    client.publish(&vanish).is_true("duplicate", "the same again");
    let mut forged = note("forged");
    forged.sig = note("other").sig;
    client.publish(&forged).is_false("invalid", "a forged event");
    client.publish(&note("judged")).is_false("blocked", "what is judged");
    let seen = fs::read_to_string(plugin.file("seen")).expect("the plugin writes it");
    assert_eq!(seen, "judged\n");
}

#[test]
fn answers_come_in_any_order_with_anything_between_them() {
    // Nothing is said until three have come, then the last first.
    let plugin = Plugin::new(
        "ids=\"$id $ids\"\nset -- $ids\n[ $# -lt 3 ] && continue\n\
         echo 'starting up...'; echo; echo '{\"id\":\"'; echo '{\"id\":7,\"action\":\"accept\"}'\n\
         say 0000000000000000000000000000000000000000000000000000000000000000 reject\n\
         say $1 accept; say $2 reject 'pow: second'; say $3 accept; ids=",
    );
    let relay = plugin.start(&[]);
    let mut client = relay.connect();
    let notes = ["first", "second", "third"].map(note);
    for note in &notes {
        client.send(&json!(["EVENT", note.json()]));
    }
    client.verdict(&notes[2].id).is_true("", "third");
    client.verdict(&notes[1].id).is_false("pow", "second");
    client.verdict(&notes[0].id).is_true("", "first");
    // The line may repeat an event, so it is not told itself.
    relay.await_said("bytes=14");
    assert!(!relay.said().contains("starting up..."), "{}", relay.said());
    assert_eq!(plugin.starts().len(), 1, "garbage is no reason to start again");
}

#[test]
fn one_process_that_is_stuck_does_not_hold_up_the_others() {
    let plugin = Plugin::new(
        "case $content in\nstuck*) echo > \"$0.stuck\"; while ! [ -e \"$0.go\" ]; do sleep 0.05; \
         done ;;\nesac\nsay \"$id\" accept",
    );
    let relay = plugin.start(&["plugin.processes=3", "plugin.max_pending=1"]);
    plugin.await_starts(3);
    let (mut slow, mut quick) = (relay.connect(), relay.connect());
    let stuck = note("stuck");
    slow.send(&json!(["EVENT", stuck.json()]));
    until("the process is stuck", || plugin.file("stuck").exists());
    let notes: Vec<Event> = (0..50).map(|number| note(&number.to_string())).collect();
    quick.publish_all(&notes);
    plugin.touch("go");
    slow.verdict(&stuck.id).is_true("", "the one that took long");
    assert_eq!(plugin.starts().len(), 3);
}

#[test]
fn a_plugin_that_dies_is_started_again_and_what_it_had_is_asked_again() {
    let plugin = Plugin::new(
        "case $content in\nonce) [ -e \"$0.once\" ] || { echo > \"$0.once\"; exit 3; } ;;\n\
         always) echo 'going down' >&2; exit 4 ;;\nesac\nsay \"$id\" accept",
    );
    let relay = plugin.start(&[]);
    let mut client = relay.connect();
    let notes = ["before", "once", "after", "later"].map(note);
    client.publish_all(&notes);
    assert_eq!(plugin.starts().len(), 2, "it was started again once");
    // An event that kills it whenever it is asked about is given up.
    client.publish(&note("always")).is_false("error", "what it dies of");
    relay.await_said("going down");
    relay.await_said("exit status: 4");
    let mut tries = 0;
    until("it judges again", || {
        tries += 1;
        client.publish(&note(&format!("again {tries}"))).accepted
    });
}

#[test]
fn whoever_floods_a_slow_plugin_delays_its_own_events() {
    let plugin = Plugin::new("sleep 0.02\nsay \"$id\" accept \"\"");
    let relay = plugin.start(&[]);
    let flood: Vec<Event> =
        (0..200).map(|number| key(2).note(&number.to_string(), now())).collect();
    let mut flooder = relay.connect();
    for event in &flood {
        flooder.send(&json!(["EVENT", event.json()]));
    }
    // It has begun, and there is far more of it than the plugin can be through with.
    flooder.verdict(&flood[0].id).is_true("", "the first of many");
    let mut good = relay.connect();
    for number in 0..5 {
        good.publish(&key(3).note(&number.to_string(), now())).is_true("", "in its turn");
    }
    let judged = good.ids(&[json!({ "authors": [key(2).public()], "limit": 400 })]).len();
    assert!(judged < 120, "five events have waited for {judged} of the flood");
    for event in &flood[1..] {
        flooder.verdict(&event.id).is_true("", "nothing is lost");
    }
}

#[test]
fn a_plugin_that_hangs_costs_its_time_out_once() {
    for (on_failure, accepted) in [("reject", false), ("accept", true)] {
        let plugin = Plugin::new("[ -e \"$0.well\" ] && say \"$id\" accept");
        let on_failure = format!("plugin.on_failure={on_failure}");
        let relay = plugin.start(&["plugin.timeout_secs=1", &on_failure]);
        let mut client = relay.connect();
        let notes: Vec<Event> = (0..100).map(|number| note(&format!("hung {number}"))).collect();
        for note in &notes {
            client.send(&json!(["EVENT", note.json()]));
        }
        for note in &notes {
            assert_eq!(client.verdict(&note.id).accepted, accepted, "{on_failure}");
        }
        relay.await_said("does not answer");
        // Each start of the process cost one time-out, and at most one event waited for it: there
        // were far fewer of them than events.
        assert!(plugin.starts().len() < 10, "{:?}", plugin.starts());
        plugin.touch("well");
        let mut tries = 0;
        let mut other = relay.connect();
        until("it judges again", || {
            tries += 1;
            other.publish(&note(&format!("again {tries}"))).accepted
        });
    }
}

#[test]
fn a_plugin_that_cannot_run_leaves_it_to_the_settings() {
    let rows = [("reject", false), ("accept", true)];
    for (on_failure, accepted) in rows {
        let on_failure = format!("plugin.on_failure={on_failure}");
        let relay = Relay::start_with(&["plugin.command=/no/such/plugin --flag", &on_failure]);
        let mut client = relay.connect();
        for number in 0..5 {
            let verdict = client.publish(&note(&format!("{number}")));
            assert_eq!(verdict.accepted, accepted, "{verdict:?}");
        }
        relay.await_said("/no/such/plugin");
        relay.await_said("exit status: 127");
    }
}

#[test]
fn a_plugin_whose_file_changes_is_started_again_before_the_next_event() {
    let plugin = Plugin::new("say \"$id\" reject 'blocked: the old one'");
    let relay = plugin.start(&[]);
    let mut client = relay.connect();
    client.publish(&note("one")).is_false("blocked", "by the first plugin");
    plugin.write("say \"$id\" accept");
    client.publish(&note("two")).is_true("", "by the second plugin");
    relay.await_said("the plugin has changed");
    let first = plugin.starts()[0];
    until("the first has ended", || !is_running(first));
}

#[test]
fn a_plugin_is_set_and_taken_away_while_the_relay_runs_and_ends_with_it() {
    let plugin = Plugin::new("say \"$id\" reject 'blocked: by the plugin'");
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let path = folder.path().join("relay.toml");
    let write = |text: &str| fs::write(&path, text).expect("files can be written");
    let with = format!("[plugin]\ncommand = \"{}\"\n", plugin.path().display());
    write("");
    let mut relay = Relay::start_on_file(&path);
    let mut client = relay.connect();
    client.publish(&note("one")).is_true("", "nobody judges");
    let mut count = 0;
    let mut until_accepted = |is_expected: bool| {
        until(&format!("accepted is {is_expected}"), || {
            count += 1;
            client.publish(&note(&format!("note {count}"))).accepted == is_expected
        });
    };
    write(&with);
    relay.signal(libc::SIGHUP);
    until_accepted(false);
    write("[plugin]\ncommand = \"\"\n");
    relay.signal(libc::SIGHUP);
    until_accepted(true);
    until("the plugin has ended", || plugin.starts().iter().all(|id| !is_running(*id)));
    write(&with);
    relay.signal(libc::SIGHUP);
    until_accepted(false);
    relay.assert_serving();
    assert!(relay.stop(libc::SIGTERM).success());
    assert!(plugin.starts().iter().all(|id| !is_running(*id)), "no process outlives the relay");
}

#[test]
fn a_plugin_judges_what_comes_from_a_peer_and_is_told_where_it_is_from() {
    let there = Relay::start();
    let notes = ["fine", "spam", "hidden"].map(note);
    there.connect().publish_all(&notes);
    let plugin = Plugin::new(
        "echo \"$line\" >> \"$0.lines\"\ncase \"$content\" in\n\
         spam) say \"$id\" reject 'blocked: spam';;\nhidden) say \"$id\" shadowReject;;\n\
         *) say \"$id\" accept;;\nesac",
    );
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let path = folder.path().join("relay.toml");
    let (command, url) = (plugin.path().display().to_string(), format!("ws://{}", there.address()));
    let text = format!("[plugin]\ncommand = \"{command}\"\n[[peer]]\nurl = \"{url}\"\n");
    fs::write(&path, text).expect("files can be written");
    let relay = Relay::start_on_file(&path);
    let mut client = relay.connect();
    let mut have = || client.stored("all", &[json!({})]);
    until("what the plugin accepts is stored", || !have().is_empty());
    let asked = || fs::read_to_string(plugin.file("lines")).unwrap_or_default();
    until("it was asked about all", || asked().lines().count() >= 3);
    for line in asked().lines() {
        let line: Value = serde_json::from_str(line).expect("one object a line");
        assert_eq!((&line["sourceType"], &line["sourceInfo"]), (&json!("Stream"), &json!(url)));
    }
    assert_eq!(have().iter().map(|event| &*event.content).collect::<Vec<_>>(), ["fine"]);
}

fn is_running(process: i32) -> bool {
    fs::exists(format!("/proc/{process}")).unwrap_or(false)
}
