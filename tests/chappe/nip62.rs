//! NIP-62, requests to vanish: what goes, what stays, and what never comes back.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Key, Relay, command_with_input, key, now};

const AT: u64 = 1_700_000_000;

/// A request of K1 to this relay.
fn request(client: &Client, at: u64) -> Event {
    key(1).event(62, "please", &[&["relay", client.url()]], at)
}

fn wrap(recipient: &Key, content: &str, at: u64) -> Event {
    key(77).event(1059, content, &[&["p", recipient.public()]], at)
}

/// What K1 has published up to `at`, of every class.
fn life(at: u64) -> Vec<Event> {
    let note = key(1).note("note", at - 10);
    vec![
        key(1).event(5, "", &[&["e", &note.id]], at - 9),
        key(1).note("another", at - 8),
        key(1).event(0, "{}", &[], at - 7),
        key(1).event(3, "", &[&["p", key(2).public()]], at - 6),
        key(1).event(30_023, "article", &[&["d", "x"]], at - 5),
        key(1).event(9007, "", &[&["h", "group"]], at - 4),
        key(1).event(4, "letter", &[&["p", key(2).public()]], at - 3),
        key(1).note("at the same second", at),
    ]
}

/// A connection that may read what K1, K2 and K77 may.
fn insider(relay: &Relay) -> Client {
    let mut client = relay.connect();
    for number in [1, 2, 77] {
        client.authenticate(&key(number));
    }
    client
}

#[track_caller]
fn assert_only(client: &mut Client, filter: &Value, expected: &[&Event]) {
    let mut found = client.ids(std::slice::from_ref(filter));
    let mut wanted: Vec<&str> = expected.iter().map(|event| event.id.as_str()).collect();
    found.sort();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{filter}");
    let counted = client.counted(std::slice::from_ref(filter));
    assert_eq!(counted["count"], expected.len(), "COUNT {filter}");
}

#[test]
fn everything_of_the_author_up_to_the_request_is_gone() {
    // M01; NIP-62.2, NIP-62.4, NIP-62.9
    let relay = Relay::start();
    let mut client = insider(&relay);
    let foreign = key(2).event(1, "about K1", &[&["p", key(1).public()]], AT - 5);
    let later = key(1).note("later", AT + 1);
    let [to_one, to_two] = [wrap(&key(1), "a", AT - 2), wrap(&key(2), "b", AT - 2)];
    let late_wrap = wrap(&key(1), "c", AT + 1);
    client.publish_all(&life(AT));
    client.publish_all([&foreign, &later, &to_one, &to_two, &late_wrap]);
    let vanish = request(&client, AT);
    client.publish(&vanish).is_true("", "M01");
    assert_only(&mut client, &json!({"authors": [key(1).public()]}), &[&later, &vanish]);
    assert_only(&mut client, &json!({"kinds": [1059]}), &[&to_two, &late_wrap]);
    assert_only(&mut client, &json!({}), &[&foreign, &later, &to_two, &late_wrap, &vanish]);
    assert_only(&mut client, &json!({"#p": [key(1).public()]}), &[&foreign, &late_wrap]);
    for event in life(AT) {
        assert_only(&mut client, &json!({"ids": [event.id]}), &[]);
    }
    relay.command(&["check"]).code(0);
}

#[test]
fn what_has_vanished_does_not_come_back() {
    // M04, M05, M11; NIP-62.3, NIP-62.4
    let relay = Relay::start();
    let mut client = insider(&relay);
    let note = key(1).note("deleted before", AT - 20);
    client.publish_all([&note, &key(1).event(5, "", &[&["e", &note.id]], AT - 19)]);
    client.publish_all(&life(AT));
    let old_wrap = wrap(&key(1), "old", AT - 5);
    client.publish_all([&old_wrap]);
    client.publish(&request(&client, AT)).is_true("", "the request");
    for event in life(AT).iter().chain([&note, &old_wrap, &wrap(&key(1), "unseen", AT)]) {
        client.publish(event).is_false("blocked", event);
    }
    client.publish(&key(1).note("never seen before", AT - 1_000_000)).is_false("blocked", "M04");
    // What is newer is taken, and so is what only mentions the author.
    client.publish_all([&key(1).note("later", AT + 1), &wrap(&key(1), "later", AT + 1)]);
    client.publish_all([&key(2).event(1, "", &[&["p", key(1).public()]], AT - 5)]);
    client.publish_all([&wrap(&key(2), "to K2", AT - 5)]);
}

#[test]
fn a_request_must_name_this_relay_or_all() {
    // M02, M03; NIP-62.1
    let relay = Relay::start_with(&["relay.url=wss://relay.example.org"]);
    let mut client = relay.connect();
    client.publish_all([&key(1).note("here", AT - 1)]);
    let with = |tags: &[&[&str]]| key(1).event(62, "", tags, AT);
    let rows: [&[&[&str]]; 6] = [
        &[],
        &[&["relay"]],
        &[&["relay", "all_relays"]],
        &[&["relay", "wss://other.example"]],
        &[&["relay", "wss://relay.example.org.other.example"]],
        &[&["r", "ALL_RELAYS"]],
    ];
    for tags in rows {
        client.publish(&with(tags)).is_false("invalid", tags);
    }
    assert_only(&mut client, &json!({"kinds": [62]}), &[]);
    assert_eq!(client.ids(&[json!({"kinds": [1]})]).len(), 1, "nothing was deleted");
    let named = with(&[&["relay", "wss://other.example"], &["relay", "WSS://Relay.example.org/"]]);
    client.publish(&named).is_true("", "M01 by a public address");
    assert_only(&mut client, &json!({"kinds": [1]}), &[]);
    let all = key(2).event(62, "", &[&["relay", "ALL_RELAYS"]], AT);
    client.publish_all([&key(2).note("here", AT - 1)]);
    client.publish(&all).is_true("", "M02");
    assert_only(&mut client, &json!({"kinds": [1]}), &[]);
}

#[test]
fn a_deletion_request_has_no_effect_on_it() {
    // M06; NIP-62.7, NIP-09.7
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all(&life(AT));
    let vanish = request(&client, AT);
    client.publish_all([&vanish]);
    client.publish_all([&key(1).event(5, "", &[&["e", &vanish.id]], AT + 5)]);
    assert_only(&mut client, &json!({"kinds": [62]}), &[&vanish]);
    client.publish(&key(1).note("another", AT - 8)).is_false("blocked", "M06");
    client.publish(&vanish).is_true("duplicate", "the request again");
}

#[test]
fn it_is_obeyed_whatever_else_is_asked_of_events() {
    // M07; NIP-62.5, NIP-42.11
    let relay = Relay::start_with(&[
        "auth.required=true",
        "policy.min_pow_difficulty=30",
        "policy.refused_kinds=62",
        "limits.created_at_past_secs=60",
    ]);
    let mut client = relay.connect();
    client.publish(&key(1).note("refused", now())).is_false("auth-required", "anything else");
    client.publish(&request(&client, AT)).is_true("", "M07");
    let mut forged = request(&client, AT + 1);
    forged.sig = forged.sig.replace(['0', '1', '2'], "3");
    client.publish(&forged).is_false("invalid", "a wrong signature");
}

#[test]
fn the_newest_request_counts_whatever_the_order() {
    // M08; NIP-62.6, NIP-62.7
    let relay = Relay::start();
    let mut client = relay.connect();
    let [newer, older, newest] = [AT, AT - 100, AT + 100].map(|at| request(&client, at));
    client.publish(&newer).is_true("", "the first");
    client.publish(&older).is_true("duplicate", "an older one changes nothing");
    client.publish(&key(1).note("between", AT - 50)).is_false("blocked", "M08");
    client.publish_all([&key(1).note("after", AT + 50)]);
    client.publish(&newest).is_true("", "a newer one");
    client.publish(&key(1).note("after", AT + 50)).is_false("blocked", "M08");
    client.publish_all([&key(1).note("long after", AT + 150)]);
    assert_only(&mut client, &json!({"kinds": [62]}), &[&newer, &newest]);
}

#[test]
fn it_holds_after_a_restart_and_a_compaction() {
    // M09
    let mut relay = Relay::start();
    let mut client = relay.connect();
    let secret = "a very particular sentence nobody else would write";
    client.publish_all([&key(1).note(secret, AT - 1)]);
    client.publish_all(&life(AT));
    client.publish(&request(&client, AT)).is_true("", "the request");
    let check = |relay: &Relay| {
        let mut client = relay.connect();
        client.publish(&key(1).note("another", AT - 8)).is_false("blocked", "M09");
        let wrap = wrap(&key(1), "late", AT - 8);
        client.publish(&wrap).is_false("blocked", "M09");
        assert_eq!(client.ids(&[json!({"authors": [key(1).public()]})]).len(), 1);
    };
    relay.kill();
    relay.restart();
    check(&relay);
    relay.stop(libc::SIGTERM);
    relay.command(&["compact"]).code(0);
    // Erased for good: the files never held it.
    let files = std::fs::read_dir(relay.data()).expect("the store is a folder");
    let files: Vec<Vec<u8>> =
        files.map(|file| std::fs::read(file.expect("a file").path()).expect("readable")).collect();
    let has = |file: &[u8], text: &str| file.windows(text.len()).any(|it| it == text.as_bytes());
    let holds = |text: &str| files.iter().any(|file| has(file, text));
    assert!(holds("please"), "the request itself is there");
    assert!(!holds(secret), "what vanished is not");
    relay.restart();
    check(&relay);
}

#[test]
fn a_request_of_the_future_is_invalid() {
    // M10; NIP-62.5
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish_all([&key(1).note("here", now())]);
    let vanish = request(&client, now() + 365 * 24 * 3600);
    client.publish(&vanish).is_false("invalid", "M10");
    assert_eq!(client.ids(&[json!({"kinds": [1]})]).len(), 1);
}

#[test]
fn many_events_vanish_at_once() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let notes: Vec<Event> = (0..3_000).map(|n| key(1).note(&format!("{n}"), AT - n)).collect();
    let lines: String = notes.iter().map(|event| event.line() + "\n").collect();
    let import = ["import", "-", "--no-verify", "--data", relay.data()];
    command_with_input(&import, lines.as_bytes()).code(0);
    client.publish_all([&key(2).note("stays", AT)]);
    client.publish(&request(&client, AT - 1_000)).is_true("", "the request");
    assert_eq!(client.counted(&[json!({"kinds": [1]})])["count"], 1_001);
    client.publish(&request(&client, AT)).is_true("", "the next request");
    assert_eq!(client.counted(&[json!({"kinds": [1]})])["count"], 1);
    client.publish(&notes[0]).is_false("blocked", "again");
    relay.command(&["check"]).code(0);
}

#[test]
fn an_import_obeys_requests_to_this_relay_alone() {
    let relay = Relay::start_with(&["relay.url=wss://relay.example.org"]);
    let mut client = relay.connect();
    let [one, two] = [1, 2].map(|number| key(number).note("here", AT - 1));
    client.publish_all([&one, &two]);
    let foreign = key(1).event(62, "", &[&["relay", "wss://other.example"]], AT);
    let ours = key(2).event(62, "", &[&["relay", "wss://relay.example.org"]], AT);
    let lines = format!("{}\n{}\n", foreign.line(), ours.line());
    let url = ["--set", "relay.url=wss://relay.example.org"];
    let import = [&["import", "-", "--data", relay.data()] as &[&str], &url].concat();
    let run = command_with_input(&import, lines.as_bytes());
    assert_eq!((run.count("stored"), run.count("invalid")), (1, 1), "{}", run.describe());
    run.says("another relay");
    // The relay looks for what others commit now and then.
    let patience = std::time::Instant::now() + crate::harness::PATIENCE;
    while client.ids(&[json!({"kinds": [1]})]).len() > 1 {
        assert!(std::time::Instant::now() < patience, "what has vanished is seen no more");
    }
    assert_only(&mut client, &json!({"kinds": [1]}), &[&one]);
    client.publish(&two).is_false("blocked", "vanished by an import");
}
