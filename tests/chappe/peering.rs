//! The parts `[[peer]]` of the configuration: a relay that serves and keeps itself in agreement with
//! others, whatever happens to either side and to the line between them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::proxy::{Proxy, Trouble};
use crate::harness::{Event, PATIENCE, Relay, call, command, http, key, now, pick, seeded};

/// A relay that reads a file.
struct House {
    relay: Relay,
    file: PathBuf,
    folder: TempDir,
}

const OBSERVED: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n";

impl House {
    fn start(content: &str) -> House {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let file = folder.path().join("relay.toml");
        fs::write(&file, content).expect("files can be written");
        House { relay: Relay::start_on_file(&file), file, folder }
    }

    /// Replaces the file and has it read.
    fn write(&self, content: &str) {
        self.replace(content);
        self.relay.signal(libc::SIGHUP);
    }

    /// Replaces the file, which the relay notices.
    fn replace(&self, content: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, content).expect("files can be written");
        fs::rename(&next, &self.file).expect("files can be renamed");
    }

    fn metrics(&self) -> String {
        let said = self.relay.said();
        let rest = said.rsplit("metrics       http://").next().expect("it says where they are");
        let address = rest.split("/metrics").next().unwrap_or_default();
        String::from_utf8(http(address, "GET", "/metrics", &[]).body).expect("metrics are text")
    }

    /// The value of a metric of a peer.
    fn metric(&self, name: &str, peer: &str) -> Option<f64> {
        let start = format!("chappe_peer_{name}{{peer=\"{peer}\"}} ");
        self.metrics().lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
    }

    /// What `relay info` tells of the only peer.
    fn told(&self) -> Value {
        let told = self.relay.command(&["info", "--json"]).code(0).json();
        told["peers"][0].clone()
    }
}

fn url(relay: &Relay) -> String {
    format!("ws://{}", relay.address())
}

fn peer(url: &str, more: &str) -> String {
    format!("[[peer]]\nurl = \"{url}\"\nname = \"other\"\n{more}\n")
}

fn note(text: &str) -> Event {
    key(1).note(text, now())
}

fn export(relay: &Relay) -> BTreeSet<String> {
    let finished = relay.command(&["export"]).code(0);
    finished.text().lines().map(str::to_owned).collect()
}

/// The ids of what a relay has.
fn ids(relay: &Relay) -> BTreeSet<String> {
    relay.command(&["export"]).code(0).events().into_iter().map(|event| event.id).collect()
}

/// Asks again and again.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in the end {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_relay_keeps_itself_in_agreement_with_another_while_it_serves() {
    let there = Relay::start();
    let before = note("before, there");
    there.connect().publish(&before).is_true("", "before");
    let mut far = there.connect();
    far.stored("live", &[json!({"kinds": [1]})]);
    let here = House::start(&(OBSERVED.to_owned() + &peer(&url(&there), "direction = \"both\"")));
    let mut near = here.relay.connect();
    here.relay.await_said("in sync");
    until("it has come", || ids(&here.relay) == BTreeSet::from([before.id.clone()]));
    near.stored("live", &[json!({"kinds": [1]})]);
    let first = here.metric("received_events_total", "other").expect("it is counted");
    for n in 0..10 {
        let (down, up) = (note(&format!("down {n}")), note(&format!("up {n}")));
        far.publish(&down).is_true("", &down);
        assert_eq!(near.live("live").id, down.id);
        assert_eq!(far.live("live").id, down.id);
        near.publish(&up).is_true("", &up);
        assert_eq!(near.live("live").id, up.id);
        assert_eq!(far.live("live").id, up.id);
    }
    until("all is counted", || here.metric("sent_events_total", "other") == Some(10.0));
    // What goes up comes back, as to all subscribers. Of those that were there the newest may have
    // come twice: found by comparing, and with the subscription.
    let of = |name| here.metric(name, "other").expect("it is counted");
    until("all has come back", || of("received_events_total") - first >= 20.0);
    assert_eq!(of("received_events_total") - first, 20.0);
    until("all is known", || of("known_events_total") + 11.0 == of("received_events_total"));
    assert!((20.0..=21.0).contains(&of("live_events_total")));
    assert_eq!(here.metric("stored_events_total", "other"), Some(11.0));
    assert_eq!(here.metric("following", "other"), Some(1.0));
    assert_eq!(here.metric("lag_seconds", "other"), Some(0.0));
    assert_eq!(here.metric("errors_total", "other"), Some(0.0));
    let last = here.metric("last_event_timestamp_seconds", "other").expect("a time");
    assert!((last - now() as f64).abs() < 60.0, "{last}");
    until("the store knows", || here.told()["accepted"] == 10);
    let told = here.told();
    assert_eq!((&told["name"], &told["stage"]), (&json!("other"), &json!("following")));
    assert_eq!((&told["stored"], &told["lag_secs"]), (&json!(11), &json!(0)));
    here.relay.command(&["info"]).code(0).says("other").says("following");
}

#[test]
fn peers_are_begun_and_left_as_the_file_says_without_a_restart() {
    let (first, second) = (Relay::start(), Relay::start());
    let here = House::start("");
    let mut near = here.relay.connect();
    near.stored("live", &[json!({"kinds": [1]})]);
    here.write(&peer(&url(&first), ""));
    here.relay.await_said("in sync");
    let event = note("one");
    first.connect().publish(&event).is_true("", "one");
    assert_eq!(near.live("live").id, event.id);
    // The name stays, the peer is another one.
    here.write(&peer(&url(&second), ""));
    here.relay.await_said("left");
    let event = note("two");
    second.connect().publish(&event).is_true("", "two");
    assert_eq!(near.live("live").id, event.id);
    let unheard = note("unheard");
    first.connect().publish(&unheard).is_true("", "unheard");
    // What is wrong changes nothing.
    here.write(&peer(&url(&first), "direction = \"sideways\""));
    here.relay.await_said("sideways");
    let event = note("three");
    second.connect().publish(&event).is_true("", "three");
    assert_eq!(near.live("live").id, event.id);
    here.replace("");
    until("it is left, too", || here.relay.said().matches("left").count() == 2);
    assert!(!export(&here.relay).iter().any(|line| line.contains(&unheard.id)));
}

#[test]
fn what_comes_is_held_to_the_rules_for_clients_or_to_none() {
    for (rules, count) in [("clients", 1), ("none", 4)] {
        let there = Relay::start_with(&["relay.url=wss://other.example"]);
        let author = key(1);
        let plain = author.note("plain", now());
        for event in [
            &plain,
            &author.event(9_999, "a kind that is refused here", &[], now()),
            &author.note("word: casino", now()),
            &author.note("too long ago", now() - 500_000),
            &author.event(62, "", &[&["relay", "wss://other.example"]], now() - 900_000),
        ] {
            there.connect().publish(event).is_true("", event);
        }
        let here = House::start(&format!(
            "{OBSERVED}[policy]\nrefused_kinds = [9999]\nrefused_words = [\"casino\"]\n\
             [limits]\ncreated_at_past_secs = 100000\n{}",
            peer(&url(&there), &format!("rules = \"{rules}\"")),
        ));
        here.relay.await_said("in sync");
        until("all is decided", || {
            let sum = |name| here.metric(name, "other").unwrap_or_default();
            let decided = ["stored_events_total", "refused_events_total", "known_events_total"];
            decided.map(sum).iter().sum::<f64>() == sum("received_events_total")
        });
        let found = ids(&here.relay);
        assert_eq!(found.len(), count, "{rules}: {found:?}");
        assert!(found.contains(&plain.id), "{rules}");
    }
}

#[test]
fn what_was_published_while_the_peer_was_away_is_given_once_it_is_back() {
    // With and without NIP-77.
    for settings in ["", "limits.max_reconciliations=0"] {
        let settings: &[&str] = if settings.is_empty() { &[] } else { &[settings] };
        let mut there = Relay::start_with(settings);
        let proxy = Proxy::start(there.address(), vec![Trouble::default()]);
        let config = OBSERVED.to_owned() + &peer(&proxy.url(), "direction = \"up\"");
        let mut here = House::start(&config);
        here.relay.await_said("in sync");
        let mut client = here.relay.connect();
        let first = note("while it is there");
        client.publish(&first).is_true("", &first);
        until("it is given", || here.metric("sent_events_total", "other") == Some(1.0));
        // Dated long ago: no look at what is dated lately would show it.
        let old = key(1).note("old, while it is away", now() - 40_000_000);
        there.kill();
        client.publish(&old).is_true("", &old);
        // How far it was is known after a crash, too.
        until("it is noted", || here.told()["accepted"] == 1);
        here.relay.kill();
        here.relay.restart();
        let new = note("new, while it is away");
        here.relay.connect().publish(&new).is_true("", &new);
        there.restart();
        proxy.lead_to(there.address());
        let mut far = there.connect();
        until("all is given", || far.stored("all", &[json!({})]).len() == 3);
        until("it is in sync", || here.relay.said().contains("in sync"));
        let sent = || here.metric("sent_events_total", "other");
        until("all is answered", || sent() >= Some(2.0));
        assert_eq!(sent(), Some(2.0), "nothing goes twice");
        assert!(export(&here.relay) == export(&there));
    }
}

#[test]
fn two_relays_agree_whoever_is_killed_and_wherever_the_line_breaks() {
    let mut random = seeded("peering");
    let mut there = Relay::start();
    let cut = |bytes| Trouble { cut_after: Some(bytes), ..Trouble::default() };
    let troubles = (0..30).map(|_| cut(random.usize(300..60_000))).collect::<Vec<_>>();
    let proxy = Proxy::start(there.address(), [troubles, vec![Trouble::default()]].concat());
    let mut here =
        House::start(&(OBSERVED.to_owned() + &peer(&proxy.url(), "direction = \"both\"")));
    let mut taken = 0;
    for round in 0..8 {
        for n in 0..random.usize(5..60) {
            let at = if random.bool() { now() } else { now() - random.u64(0..50_000_000) };
            let event = key(random.u32(1..5)).note(&format!("{round} {n}"), at);
            let side = if random.bool() { &here.relay } else { &there };
            side.connect().publish(&event).is_true("", &event);
            taken += 1;
        }
        match *pick(&mut random, &[0, 1, 2]) {
            0 => {
                there.kill();
                there.restart();
                proxy.lead_to(there.address());
            }
            1 => {
                here.relay.kill();
                here.relay.restart();
            }
            _ => {}
        }
    }
    let is_equal = || {
        let (mine, theirs) = (export(&here.relay), export(&there));
        mine.len() == taken && mine == theirs
    };
    until("both have everything", is_equal);
    command(&["check", "--data", here.relay.data()]).code(0);
    here.relay.assert_serving();
    there.assert_serving();
}

#[test]
fn three_relays_in_a_row_have_everything_and_send_nothing_around() {
    let last = Relay::start();
    let middle = House::start(&(OBSERVED.to_owned() + &peer(&url(&last), "direction = \"both\"")));
    let first =
        House::start(&(OBSERVED.to_owned() + &peer(&url(&middle.relay), "direction = \"both\"")));
    first.relay.await_said("in sync");
    middle.relay.await_said("in sync");
    let relays = [&first.relay, &middle.relay, &last];
    let mut events = BTreeSet::new();
    for n in 0..30 {
        let event = key(2).note(&format!("note {n}"), now() - n * 500_000);
        relays[n as usize % 3].connect().publish(&event).is_true("", &event);
        events.insert(event.id.clone());
    }
    for relay in relays {
        until("everybody has everything", || ids(relay) == events);
    }
    // Upwards each event crosses each line once. A relay sends to all its subscribers, also to the
    // one that an event is from.
    let sent = |house: &House| house.metric("sent_events_total", "other");
    until("all is answered", || sent(&first) >= Some(10.0) && sent(&middle) >= Some(20.0));
    assert_eq!((sent(&first), sent(&middle)), (Some(10.0), Some(20.0)));
}

#[test]
fn a_peer_that_cannot_be_dealt_with_is_told_of_and_the_others_go_on() {
    let (guarded, open) = (Relay::start_with(&["auth.required=true"]), Relay::start());
    let here = House::start(&format!(
        "{OBSERVED}{}[[peer]]\nurl = \"{}\"\nname = \"open\"\n",
        peer(&url(&guarded), ""),
        url(&open),
    ));
    here.relay.await_said("NIP-42");
    let event = note("hello");
    open.connect().publish(&event).is_true("", &event);
    until("it came", || here.metric("stored_events_total", "open") == Some(1.0));
    assert_eq!(here.metric("connected", "other"), Some(0.0));
    assert_eq!(here.metric("errors_total", "other"), Some(1.0));
    // With a key it works.
    let file = here.folder.path().join("key");
    command(&["key", "generate", file.to_str().expect("UTF-8")]).code(0);
    let with_key = format!("key_file = \"{}\"", file.display());
    here.write(&(OBSERVED.to_owned() + &peer(&url(&guarded), &with_key)));
    here.relay.await_said("in sync");
    until("it is followed", || here.metric("following", "other") == Some(1.0));
    assert_eq!(here.metric("following", "open"), None, "it is left");
}

#[test]
fn administrators_are_told_how_it_stands_with_peers() {
    let there = Relay::start();
    let event = note("hello");
    there.connect().publish(&event).is_true("", &event);
    let admins = format!("[management]\nadmins = [\"{}\"]\n", key(1).public());
    let here = House::start(&(admins + &peer(&url(&there), "")));
    let ask = |method| {
        call(here.relay.address(), &key(1), method, json!([])).expect("an administrator asks")
    };
    until("it is followed", || {
        let told = &ask("chappe.peers")[0];
        told["stage"] == "following" && told["stored"] == 1
    });
    let told = &ask("chappe.peers")[0];
    assert_eq!((&told["name"], &told["url"]), (&json!("other"), &json!(url(&there))));
    let figures = &ask("chappe.stats")["peers"];
    assert_eq!(figures["following"], 1);
    assert!(figures["received_total"].as_u64() >= Some(1), "{figures}");
}

#[test]
fn it_is_remembered_which_events_came_from_which_peer_first() {
    let (first, second) = (Relay::start(), Relay::start());
    let [shared, one, two, own] = ["shared", "one", "two", "own"].map(note);
    first.connect().publish_all(&[shared.clone(), one.clone()]);
    let config = |url: &str| OBSERVED.to_owned() + &peer(url, "provenance = true");
    let here = House::start(&config(&url(&first)));
    here.relay.connect().publish(&own).is_true("", "own");
    let from = |arguments: &[&str]| {
        let run = here.relay.command(&[&["scan", "--from"], arguments].concat()).code(0);
        run.events().into_iter().map(|event| event.id).collect::<BTreeSet<_>>()
    };
    let set = |events: &[&Event]| events.iter().map(|it| it.id.clone()).collect::<BTreeSet<_>>();
    until("it is noted", || from(&[&url(&first)]) == set(&[&shared, &one]));
    assert_eq!(from(&["other"]), set(&[&shared, &one]));
    assert_eq!(from(&["other", "{\"kinds\":[0]}"]), set(&[]));
    assert_eq!(from(&["other", "{\"limit\":1}"]).len(), 1);
    // By the other peer, beside the relay.
    second.connect().publish_all(&[shared.clone(), two.clone()]);
    here.relay.command(&["sync", &url(&second), "--provenance"]).code(0);
    assert_eq!(from(&[&url(&second)]), set(&[&two]), "what was there came not from there");
    let counted = here.relay.command(&["scan", "--from", &url(&first), "--count"]).code(0);
    assert_eq!(counted.text(), "2\n");
    here.relay.command(&["scan", "--from", "nobody"]).refused().says("nobody").says("other");
    let forgotten = here.relay.command(&["sync", &url(&first), "--dir", "up"]);
    forgotten.code(0);
    assert_eq!(from(&["other"]), set(&[&shared, &one]));
}

#[test]
fn rules_of_retention_may_be_about_what_came_from_peers_alone() {
    let there = Relay::start();
    let aged = |text: &str| key(1).note(text, now() - 7_200);
    let [old, young, own] = [aged("old"), note("young"), aged("own")];
    there.connect().publish_all(&[old, young.clone()]);
    let rule = |from: &str| format!("[[retention]]\nfrom = {from}\nage = \"1h\"\n");
    let start = |rule: &str| {
        let often = "[store]\nretention_period_secs = 1\n".to_owned();
        let here = House::start(&(often.clone() + rule));
        here.relay.connect().publish(&own).is_true("", "own");
        here.write(&(often + &peer(&url(&there), "provenance = true") + rule));
        here.relay.await_said("in sync");
        let left = BTreeSet::from([young.id.clone(), own.id.clone()]);
        until("what came from there is gone", || ids(&here.relay) == left);
    };
    start(&rule("\"peers\""));
    start(&rule(&format!("[\"ws://127.0.0.1:1\", \"{}\"]", url(&there))));
    let wrong = OBSERVED.to_owned() + &peer(&url(&there), "") + &rule("[\"other\"]");
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let file = folder.path().join("relay.toml");
    fs::write(&file, wrong).expect("files can be written");
    let file = file.display().to_string();
    let check = command(&["config", "check", "--config", &file]).code(2);
    check.says("\"other\"").says("provenance = true");
}

#[test]
fn what_is_not_taken_is_transferred_once_and_again_when_the_rules_change() {
    let mut there = Relay::start();
    let at = now() - 100;
    let (good, gone) = (note("good"), key(1).note("gone", at));
    let bad = key(2).event(7, "+", &[], at);
    there.connect().publish_all(&[good.clone(), gone.clone(), bad.clone()]);
    let rules = OBSERVED.to_owned() + "[policy]\nrefused_kinds = [7]\n";
    let here = House::start(&rules);
    let request = key(1).event(5, "", &[&["e", &gone.id]], now());
    here.relay.connect().publish(&request).is_true("", "a request to delete");
    let proxy = Proxy::start(there.address(), vec![Trouble::default()]);
    here.write(&(rules + &peer(&proxy.url(), "")));
    let count = |name: &str| here.metric(name, "other").unwrap_or_default();
    // A connection may bring the newest one once more by itself.
    let asked_for = || count("received_events_total") - count("live_events_total");
    let decided = || {
        let counts = ["stored", "known", "refused"].map(|it| count(&format!("{it}_events_total")));
        counts.iter().sum::<f64>()
    };
    until("all are decided on", || decided() >= 3.0 && decided() == count("received_events_total"));
    // The one that comes by itself may come before it is asked for.
    let first = asked_for();
    assert!((2.0..=3.0).contains(&first), "{first}");
    let compare = |there: &mut Relay| {
        let before = count("connections_total");
        there.kill();
        there.restart();
        proxy.lead_to(there.address());
        until("both sides have agreed again", || {
            count("connections_total") > before && count("following") == 1.0
        });
    };
    compare(&mut there);
    assert_eq!(asked_for(), first, "nothing comes twice");
    here.write(&(OBSERVED.to_owned() + &peer(&proxy.url(), "")));
    compare(&mut there);
    until("what may come has come", || ids(&here.relay).contains(&bad.id));
    assert_eq!(asked_for(), first + 1.0, "and what was deleted has not");
    assert_eq!(ids(&here.relay).len(), 3);
}

#[test]
fn what_administrators_have_banned_does_not_come_back_from_a_peer() {
    let there = Relay::start();
    let (good, bad) = (note("good"), key(2).note("bad", now()));
    let admin = key(1);
    let managed = format!("{OBSERVED}[management]\nadmins = [\"{}\"]\n", admin.public());
    let here = House::start(&managed);
    let banned = json!([key(2).public(), "spam"]);
    call(here.relay.address(), &admin, "banpubkey", banned).expect("it is an administrator");
    there.connect().publish_all(&[good.clone(), bad]);
    here.write(&(managed + &peer(&url(&there), "rules = \"none\"")));
    here.relay.await_said("in sync");
    until("it is refused", || here.metric("refused_events_total", "other") >= Some(1.0));
    until("the other is stored", || ids(&here.relay) == BTreeSet::from([good.id.clone()]));
}
