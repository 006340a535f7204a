//! Management beyond the lists of NIP-86: reports, roles and members, search, figures, upkeep.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Event, Key, PATIENCE, Relay, call, key, now};

fn admins() -> String {
    format!("management.admins={}", key(1).public())
}

#[track_caller]
fn ask(relay: &Relay, method: &str, params: Value) -> Value {
    call(relay.address(), &key(1), method, params).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn fails(relay: &Relay, method: &str, params: Value, part: &str) {
    let error = call(relay.address(), &key(1), method, params).expect_err("it cannot be done");
    assert!(error.contains(part), "{method}: {error}");
}

fn report(by: &Key, about: &Event, kind: &str, text: &str) -> Event {
    by.event(1984, text, &[&["e", &about.id, kind], &["p", &about.pubkey]], now())
}

#[test]
fn what_people_report_waits_for_a_decision_and_nothing_happens_by_itself() {
    // NIP-56.1
    let relay = Relay::start_with(&[&admins()]);
    let mut client = relay.connect();
    let (bad, worse, fine) =
        (key(2).note("bad", now()), key(3).note("worse", now()), key(4).note("fine", now()));
    client.publish_all([&bad, &worse, &fine]);
    client.publish_all([
        &report(&key(5), &bad, "spam", "a \"quoted\" word"),
        &report(&key(6), &bad, "spam", ""),
        &report(&key(6), &bad, "illegal", "twice by the same"),
        &report(&key(7), &worse, "nudity", ""),
        &key(7).event(1984, "", &[&["p", key(8).public(), "impersonation"]], now()),
    ]);
    assert_eq!(client.ids(&[json!({ "ids": [bad.id, worse.id] })]).len(), 2, "reports do nothing");
    let listed = ask(&relay, "listeventsneedingmoderation", json!([]));
    let reason = |id: &str| {
        let rows = listed.as_array().expect("a list");
        rows.iter().find(|row| row["id"] == id).map(|row| row["reason"].clone())
    };
    assert_eq!(reason(&worse.id), Some(json!("nudity: 1")));
    let said = reason(&bad.id).expect("it was reported");
    assert!(said.as_str().is_some_and(|it| it.contains("spam: ")), "{said}");
    assert_eq!(reason(&fine.id), None);
    let queue = ask(&relay, "chappe.queue", json!([]));
    assert_eq!((&queue["events_total"], &queue["pubkeys_total"]), (&json!(2), &json!(1)));
    assert_eq!(queue["pubkeys"][0]["pubkey"], key(8).public());
    let rows = queue["events"].as_array().expect("a list");
    let row = rows.iter().find(|row| row["event"]["id"] == bad.id).expect("it is there");
    assert_eq!(row["event"]["content"], "bad");
    let reports = row["reports"].as_array().expect("a list");
    assert_eq!(reports.len(), 2, "whoever reports twice counts once");
    assert!(reports.iter().any(|it| it["text"] == "a \"quoted\" word"));

    ask(&relay, "allowevent", json!([bad.id, "harmless"]));
    ask(&relay, "banevent", json!([worse.id]));
    ask(&relay, "banpubkey", json!([key(8).public()]));
    let queue = ask(&relay, "chappe.queue", json!([]));
    assert_eq!((&queue["events_total"], &queue["pubkeys_total"]), (&json!(0), &json!(0)));
    assert_eq!(client.ids(&[json!({ "ids": [bad.id, worse.id] })]), [bad.id.clone()]);
}

#[test]
fn events_are_found_by_id_author_kind_and_filter_and_can_be_removed() {
    let relay = Relay::start_with(&[&admins()]);
    let mut client = relay.connect();
    let notes: Vec<Event> =
        (0..6).map(|number| key(2).note(&format!("{number}"), now() - 100 + number)).collect();
    let like = key(3).event(7, "+", &[], now());
    client.publish_all(&notes);
    client.publish(&like).is_true("", "stored");
    let ids = |found: &Value| -> Vec<String> {
        let events = found["events"].as_array().expect("a list");
        events.iter().map(|it| it["id"].as_str().expect("an id").to_owned()).collect()
    };
    let found = ask(&relay, "chappe.search", json!([notes[3].id]));
    assert_eq!((ids(&found), &found["more"]), (vec![notes[3].id.clone()], &json!(false)));
    Event::from_json(&found["events"][0]).assert_genuine();
    let found = ask(&relay, "chappe.search", json!([key(2).public(), 4]));
    let newest: Vec<String> = notes.iter().rev().take(4).map(|it| it.id.clone()).collect();
    assert_eq!((ids(&found), &found["more"]), (newest, &json!(true)));
    let last = found["events"][3]["created_at"].as_u64().expect("a time");
    let found = ask(&relay, "chappe.search", json!([key(2).public(), 4, last - 1]));
    assert_eq!(ids(&found), [notes[1].id.clone(), notes[0].id.clone()]);
    assert_eq!(ids(&ask(&relay, "chappe.search", json!(["kind:7"]))), [like.id.clone()]);
    let filter = json!({ "kinds": [1], "since": notes[5].created_at });
    assert_eq!(ids(&ask(&relay, "chappe.search", json!([filter]))), [notes[5].id.clone()]);
    assert_eq!(ids(&ask(&relay, "chappe.search", json!([""]))).len(), 7);
    for wrong in [json!(["banana"]), json!([]), json!([{ "kinds": "x" }]), json!([7])] {
        assert!(call(relay.address(), &key(1), "chappe.search", wrong).is_err());
    }

    let gone = ask(&relay, "chappe.removeevents", json!([{ "authors": [key(2).public()] }]));
    assert_eq!(gone, json!({ "removed": 6, "more": false }));
    assert_eq!(client.ids(&[json!({ "limit": 100 })]), [like.id.clone()]);
    client.publish(&notes[0]).is_true("", "removing is no ban");
    fails(&relay, "chappe.removeevents", json!([{}]), "names what is to go");
    fails(&relay, "chappe.removeevents", json!([""]), "names what is to go");
}

#[test]
fn figures_grow_with_what_happens() {
    let relay = Relay::start_with(&[&admins()]);
    let before = ask(&relay, "chappe.stats", json!([]));
    let mut client = relay.connect();
    client.publish(&key(2).note("x", now())).is_true("", "stored");
    client.publish(&key(2).event(14, "x", &[], now())).is_false("blocked", "a refused kind");
    client.stored("s", &[json!({ "limit": 1 })]);
    let after = ask(&relay, "chappe.stats", json!([]));
    let grown = |path: &str| {
        let number = |stats: &Value| stats.pointer(path).and_then(Value::as_u64);
        number(&after).unwrap_or_else(|| panic!("{path} in {after}"))
            - number(&before).expect("it was there before")
    };
    assert_eq!(grown("/events/verdicts_total/stored"), 1);
    assert_eq!(grown("/events/refused_total/blocked"), 1);
    assert_eq!(grown("/events/sent_stored_total"), 1);
    assert_eq!(grown("/store/events"), 1);
    assert_eq!(grown("/clients/connections"), 1);
    assert_eq!(grown("/clients/subscriptions"), 1);
    assert!(grown("/clients/received_bytes_total") > 0);
    assert_eq!(grown("/latency/commit_micros/count"), 1);
    assert!(after["process"]["resident_bytes"].as_u64().is_some_and(|it| it > 1_000_000));
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let codes = "membership.codes=[\"open sesame\"]";
    let relay = Relay::start_with(&[&admins(), codes, "relay.name=Shown"]);
    let rows = ask(&relay, "chappe.config", json!([]));
    assert!(!rows.to_string().contains("sesame"), "invite codes are secrets");
    let rows = rows.as_array().expect("a list");
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).expect("it is a key");
    assert_eq!(row("relay.name")["value"], "Shown");
    assert_eq!(row("relay.name")["is_default"], false);
    assert_eq!(row("membership.codes")["value"], "(hidden)");
    assert_eq!(row("limits.max_limit")["is_default"], true);
    assert!(row("relay.name")["doc"].as_str().is_some_and(|it| !it.is_empty()));
}

#[test]
fn retention_is_told_of_and_done_when_asked_for() {
    let none = Relay::start_with(&[&admins()]);
    assert_eq!(ask(&none, "chappe.retention", json!([]))["rules"], json!([]));
    fails(&none, "chappe.sweep", json!([]), "no rules of retention");
    let relay = Relay::start_with(&[
        &admins(),
        "store.retention=kinds=7 age=1h",
        "store.retention_period_secs=86400",
    ]);
    // The first look at a store is right at the start.
    let wait = |is_over: &dyn Fn(&Value) -> bool| {
        let patience = Instant::now() + PATIENCE;
        loop {
            let told = ask(&relay, "chappe.retention", json!([]));
            if is_over(&told) {
                return told;
            }
            assert!(Instant::now() < patience, "{told}");
        }
    };
    let first = wait(&|told| !told["last"].is_null());
    assert_eq!(first["rules"], json!(["kinds=7 age=1h"]));
    relay.connect().publish(&key(2).event(7, "+", &[], now() - 7_200)).is_true("", "stored");
    assert_eq!(ask(&relay, "chappe.sweep", json!([])), true);
    let told = wait(&|told| told["is_sweeping"] == false && told["last"]["removed"] == 1);
    assert_eq!(told["period_secs"], 86_400);
}

#[test]
fn members_and_their_roles_are_managed_and_the_relay_says_so() {
    // NIP-86.8, NIP-43
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let path = folder.path().join("secret.key");
    std::fs::write(&path, format!("{:064x}\n", 77)).expect("a file can be written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let file = format!("relay.secret_key_file={}", path.display());
    let store = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
    let open = "membership.open_kinds=20999";
    let settings = [&admins(), file.as_str(), "membership.enabled=true", open];
    let relay = Relay::start_on(store, &settings);
    let mut client = relay.connect();
    let own = key(77);
    let friend = key(5);
    client.publish(&friend.note("x", now())).is_false("restricted", "no member yet");
    ask(&relay, "createrole", json!(["king", "King", "Rules", 37, "1"]));
    fails(&relay, "createrole", json!(["king", "", "", 0, 0]), "already");
    fails(&relay, "createrole", json!(["fool", "", "", 361, 0]), "hue");
    fails(&relay, "editrole", json!(["fool", "", "", 1, 0]), "no role");
    fails(&relay, "assignrole", json!([friend.public(), "king"]), "no member");
    ask(&relay, "allowpubkey", json!([friend.public()]));
    client.publish(&friend.note("x", now())).is_true("", "a member");
    ask(&relay, "assignrole", json!([friend.public(), "king"]));
    let expected = json!([{ "pubkey": friend.public(), "roles": ["king"] }]);
    assert_eq!(ask(&relay, "chappe.listmembers", json!([])), expected);
    let roles = client.stored("roles", &[json!({ "kinds": [33_534], "authors": [own.public()] })]);
    assert_eq!(roles.len(), 1);
    assert_eq!(roles[0].first("label"), Some("King"));
    assert_eq!(roles[0].first("color"), Some("37"));
    assert_eq!(roles[0].first("order"), Some("1"));
    roles[0].assert_genuine();
    ask(&relay, "editrole", json!(["king", "Queen", "Rules", 38, 2]));
    let listed = ask(&relay, "chappe.listroles", json!([]));
    let queen = json!({
        "id": "king", "label": "Queen", "description": "Rules", "color": 38, "order": 2,
    });
    assert_eq!(listed, json!([queen]));
    ask(&relay, "createrole", json!(["fool"]));
    ask(&relay, "assignrole", json!([friend.public(), "fool"]));
    ask(&relay, "unassignrole", json!([friend.public(), "king"]));
    let members = ask(&relay, "chappe.listmembers", json!([]));
    assert_eq!(members[0]["roles"], json!(["fool"]));
    ask(&relay, "deleterole", json!(["fool"]));
    assert_eq!(ask(&relay, "chappe.listroles", json!([])).as_array().map(Vec::len), Some(1));
    let members = ask(&relay, "chappe.listmembers", json!([]));
    assert_eq!(members[0]["roles"], json!([]), "nobody has a role that is none");

    let invite = ask(&relay, "chappe.createinvite", json!([1, 3_600]));
    let code = invite["code"].as_str().expect("a code");
    let guest = key(6);
    let mut theirs = relay.connect();
    theirs.authenticate(&guest);
    let joining = guest.event(28_934, "", &[&["-"], &["claim", code]], now());
    theirs.publish(&joining).is_true("", "the code is good");
    ask(&relay, "banpubkey", json!([guest.public()]));
    theirs.publish(&guest.note("x", now())).is_false("blocked", "banned");
    let members = ask(&relay, "chappe.listmembers", json!([]));
    assert_eq!(members.as_array().map(Vec::len), Some(1), "and no member any more: {members}");
    ask(&relay, "unallowpubkey", json!([friend.public()]));
    client.publish(&friend.note("y", now())).is_false("restricted", "not any more");
    ask(&relay, "chappe.addmember", json!([friend.public()]));
    client.publish(&friend.note("z", now())).is_true("", "a member again");
    ask(&relay, "chappe.removemember", json!([friend.public()]));
    client.publish(&friend.note("a", now())).is_false("restricted", "not any more");
}

#[test]
fn without_members_there_are_no_roles() {
    let relay = Relay::start_with(&[&admins()]);
    for (method, params) in [
        ("createrole", json!(["king", "", "", 1, 1])),
        ("editrole", json!(["king", "", "", 1, 1])),
        ("deleterole", json!(["king"])),
        ("assignrole", json!([key(2).public(), "king"])),
        ("unassignrole", json!([key(2).public(), "king"])),
        ("chappe.listmembers", json!([])),
        ("chappe.createinvite", json!([])),
    ] {
        fails(&relay, method, params, "membership.enabled");
    }
}

#[test]
fn backups_are_told_of_and_made_when_somebody_wants_one() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let place = folder.path().join("backup");
    let place = place.to_str().expect("it is UTF-8");
    let setting = format!("maintenance.backup_folder={place}");
    let relay = Relay::start_with(&[&admins(), &setting]);
    let last = || {
        let told = ask(&relay, "chappe.backups", json!([]));
        assert_eq!((&told["folder"], &told["period_secs"]), (&json!(place), &json!(3_600)));
        told["last"]["bytes"].as_u64().filter(|_| told["is_on"] == false)
    };
    let deadline = Instant::now() + PATIENCE;
    let first = loop {
        match last() {
            Some(bytes) => break bytes,
            None => assert!(Instant::now() < deadline, "the first is made at once"),
        }
    };
    relay.connect().publish_all([&key(2).note("worth keeping", now())]);
    // It would be time again in an hour.
    assert_eq!(ask(&relay, "chappe.backup", json!([])), json!(true));
    while last().is_none_or(|bytes| bytes <= first) {
        assert!(Instant::now() < deadline, "another one is made because it is wanted");
    }
    relay.command(&["backup", "--verify", place]).code(0);
    let without = Relay::start_with(&[&admins()]);
    assert_eq!(ask(&without, "chappe.backups", json!([])), json!({ "folder": null }));
    fails(&without, "chappe.backup", json!([]), "maintenance.backup_folder");
}
