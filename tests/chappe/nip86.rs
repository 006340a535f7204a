//! NIP-86, management: what each method does, at once and after a restart, and who may call it.

use serde_json::{Value, json};

use crate::harness::{Call, Key, Relay, call, http, key, now};

fn relay() -> Relay {
    Relay::start_with(&[&format!("management.admins={}", key(1).public())])
}

#[track_caller]
fn done(relay: &Relay, method: &str, params: Value) {
    let said = call(relay.address(), &key(1), method, params);
    assert_eq!(said, Ok(json!(true)), "{method}");
}

#[track_caller]
fn list(relay: &Relay, method: &str) -> Value {
    call(relay.address(), &key(1), method, json!([])).expect("it is a list")
}

#[track_caller]
fn fails(relay: &Relay, method: &str, params: Value, part: &str) {
    let said = call(relay.address(), &key(1), method, params);
    let error = said.expect_err("it cannot be done");
    assert!(error.contains(part), "{method}: {error}");
}

fn document(relay: &Relay) -> Value {
    http(relay.address(), "GET", "/", &[("Accept", "application/nostr+json")]).json()
}

#[test]
fn the_document_says_so_where_there_are_administrators() {
    let nips = |relay: &Relay| document(relay)["supported_nips"].clone();
    assert!(nips(&relay()).as_array().expect("a list").contains(&json!(86)));
    assert!(!nips(&Relay::start()).as_array().expect("a list").contains(&json!(86)));
}

#[test]
fn methods_are_listed_and_others_are_unknown() {
    let relay = relay();
    let methods = list(&relay, "supportedmethods");
    let methods = methods.as_array().expect("a list");
    for name in METHODS {
        assert!(methods.contains(&json!(name)), "{name} in {methods:?}");
    }
    assert!(!methods.contains(&json!("supportedmethods")));
    fails(&relay, "banana", json!([]), "no method \"banana\"");
    let key = key(1);
    for body in ["", "[]", "{}", "{\"method\":1}", "{\"method\":\"x\",\"params\":{}}"] {
        let mut call = Call::new(relay.address(), &key, "x", &json!([]));
        call.body = body.to_owned();
        assert_eq!(call.send().status, 400, "{body}");
    }
}

#[test]
fn authors_are_banned_and_let_in_again() {
    let relay = relay();
    let author = key(2);
    let mut client = relay.connect();
    client.publish(&author.note("before", now())).is_true("", "not banned yet");
    done(&relay, "banpubkey", json!([author.public(), "spam"]));
    client.publish(&author.note("after", now())).is_false("blocked", "banned");
    client.publish(&key(3).note("another", now())).is_true("", "others are not");
    let expected = json!([{ "pubkey": author.public(), "reason": "spam" }]);
    assert_eq!(list(&relay, "listbannedpubkeys"), expected);
    done(&relay, "unbanpubkey", json!([author.public(), "sorry"]));
    assert_eq!(list(&relay, "listbannedpubkeys"), json!([]));
    client.publish(&author.note("again", now())).is_true("", "let in again");
    fails(&relay, "banpubkey", json!([key(1).public()]), "your own key");
    for wrong in [json!([]), json!(["x"]), json!([1]), json!([author.public(), 5])] {
        fails(&relay, "banpubkey", wrong, "expected");
    }
}

#[test]
fn a_banned_author_may_vanish() {
    // NIP-62.5 goes before everything.
    let relay = relay();
    let author = key(2);
    done(&relay, "banpubkey", json!([author.public()]));
    let request = author.event(62, "", &[&["relay", "ALL_RELAYS"]], now());
    relay.connect().publish(&request).is_true("", "a request to vanish is obeyed");
}

#[test]
fn authors_are_let_in_where_not_everybody_may_publish() {
    let admins = format!("management.admins={}", key(1).public());
    let allowed = format!("policy.allowed_authors={}", key(5).public());
    let relay = Relay::start_with(&[&admins, &allowed]);
    let author = key(2);
    let mut client = relay.connect();
    client.publish(&author.note("before", now())).is_false("restricted", "not let in yet");
    done(&relay, "allowpubkey", json!([author.public(), "a friend"]));
    client.publish(&author.note("after", now())).is_true("", "let in");
    client.publish(&key(5).note("listed", now())).is_true("", "so is who is configured");
    let expected = json!([{ "pubkey": author.public(), "reason": "a friend" }]);
    assert_eq!(list(&relay, "listallowedpubkeys"), expected);
    done(&relay, "unallowpubkey", json!([author.public()]));
    client.publish(&author.note("later", now())).is_false("restricted", "not any more");
    done(&relay, "banpubkey", json!([key(5).public()]));
    client.publish(&key(5).note("banned", now())).is_false("blocked", "a ban goes before that");
}

#[test]
fn events_are_removed_and_stay_away_until_they_are_allowed() {
    let relay = relay();
    let event = key(2).note("something bad", now());
    let mut client = relay.connect();
    client.publish(&event).is_true("", "not banned yet");
    done(&relay, "banevent", json!([event.id, "illegal"]));
    assert_eq!(client.ids(&[json!({ "ids": [event.id] })]), [""; 0]);
    client.publish(&event).is_false("blocked", "it does not come back");
    let expected = json!([{ "id": event.id, "reason": "illegal" }]);
    assert_eq!(list(&relay, "listbannedevents"), expected);
    done(&relay, "allowevent", json!([event.id]));
    assert_eq!(list(&relay, "listbannedevents"), json!([]));
    assert_eq!(list(&relay, "listallowedevents"), json!([{ "id": event.id }]));
    client.publish(&event).is_true("", "it may come back");
    assert_eq!(client.ids(&[json!({ "ids": [event.id] })]), [event.id.clone()]);
    // What is taken back is not turned into its contrary.
    done(&relay, "unallowevent", json!([event.id, "no more than others"]));
    assert_eq!(list(&relay, "listallowedevents"), json!([]));
    assert_eq!(list(&relay, "listbannedevents"), json!([]));
    done(&relay, "banevent", json!([event.id]));
    done(&relay, "unbanevent", json!([event.id, "a mistake"]));
    assert_eq!(list(&relay, "listbannedevents"), json!([]));
    assert_eq!(list(&relay, "listallowedevents"), json!([]));
    client.publish(&event).is_true("", "it may come back");
    for method in ["unallowevent", "unbanevent"] {
        fails(&relay, method, json!(["x"]), "expected the id of an event");
    }
}

#[test]
fn kinds_are_taken_or_not() {
    let admins = format!("management.admins={}", key(1).public());
    let relay = Relay::start_with(&[&admins, "policy.allowed_kinds=0-3"]);
    let mut client = relay.connect();
    client.publish(&key(2).event(7, "+", &[], now())).is_false("blocked", "not one of the list");
    done(&relay, "allowkind", json!([7]));
    client.publish(&key(2).event(7, "+", &[], now())).is_true("", "allowed beside the list");
    assert_eq!(list(&relay, "listallowedkinds"), json!([0, 1, 2, 3, 7]));
    done(&relay, "disallowkind", json!(["1"]));
    client.publish(&key(2).note("x", now())).is_false("blocked", "refused in spite of the list");
    assert_eq!(list(&relay, "listallowedkinds"), json!([0, 2, 3, 7]));
    assert_eq!(list(&relay, "listdisallowedkinds"), json!([1, 13, 14, 15, 444]));
    done(&relay, "allowkind", json!([1]));
    client.publish(&key(2).note("x", now())).is_true("", "taken again");
    fails(&relay, "allowkind", json!([13]), "policy.refused_kinds");
    fails(&relay, "disallowkind", json!([70_000]), "expected a kind");
}

#[test]
fn addresses_are_shut_out_with_the_connections_that_they_have() {
    let relay = relay();
    let mut client = relay.connect();
    client.publish(&key(2).note("x", now())).is_true("", "not blocked yet");
    done(&relay, "blockip", json!(["127.0.0.9", "scanning"]));
    let expected = json!([{ "ip": "127.0.0.9", "reason": "scanning" }]);
    assert_eq!(list(&relay, "listblockedips"), expected);
    client.publish(&key(2).note("y", now())).is_true("", "another address");
    done(&relay, "blockip", json!(["127.0.0.0/24"]));
    assert_eq!(client.end(), Some(1008), "the connection is closed");
    assert_eq!(http(relay.address(), "GET", "/", &[]).status, 403, "and no other is let in");
    for wrong in [json!([]), json!(["x"]), json!(["127.0.0.1/33"])] {
        // The door is closed for us too, but not the socket of this machine.
        let said = local(&relay, "blockip", &wrong);
        assert!(said["error"].as_str().is_some_and(|it| it.contains("expected an address")));
    }
    assert_eq!(local(&relay, "unblockip", &json!(["127.0.0.0/24"]))["result"], true);
    relay.connect().publish(&key(2).note("z", now())).is_true("", "let in again");
    done(&relay, "unblockip", json!(["127.0.0.9"]));
    assert_eq!(list(&relay, "listblockedips"), json!([]));
}

#[test]
fn what_the_relay_calls_itself_changes_at_once_and_goes_back() {
    // NIP-11.8
    let admins = format!("management.admins={}", key(1).public());
    let relay = Relay::start_with(&[&admins, "relay.name=Before"]);
    assert_eq!(document(&relay)["name"], "Before");
    done(&relay, "changerelayname", json!(["After"]));
    done(&relay, "changerelaydescription", json!(["For friends"]));
    done(&relay, "changerelayicon", json!(["https://example.org/i.png"]));
    let said = document(&relay);
    assert_eq!(said["name"], "After");
    assert_eq!(said["description"], "For friends");
    assert_eq!(said["icon"], "https://example.org/i.png");
    let page = http(relay.address(), "GET", "/", &[("Accept", "text/html")]);
    assert!(String::from_utf8_lossy(&page.body).contains("After"));
    done(&relay, "changerelayname", json!([""]));
    assert_eq!(document(&relay)["name"], "Before", "the configuration has the word again");
    fails(&relay, "changerelayicon", json!(["javascript:x"]), "https://");
    fails(&relay, "changerelayname", json!(["x".repeat(201)]), "200 characters");
}

#[test]
fn decisions_survive_a_restart_and_a_crash() {
    let mut relay = relay();
    let (banned, event) = (key(2), key(3).note("x", now()));
    relay.connect().publish(&event).is_true("", "stored");
    done(&relay, "banpubkey", json!([banned.public(), "why"]));
    done(&relay, "banevent", json!([event.id]));
    done(&relay, "disallowkind", json!([7]));
    done(&relay, "changerelayname", json!(["Kept"]));
    done(&relay, "blockip", json!(["192.0.2.1"]));
    for _ in 0..2 {
        relay.kill();
        relay.restart();
        let mut client = relay.connect();
        client.publish(&banned.note("x", now())).is_false("blocked", "still banned");
        client.publish(&event).is_false("blocked", "still away");
        client.publish(&key(4).event(7, "+", &[], now())).is_false("blocked", "still refused");
        assert_eq!(document(&relay)["name"], "Kept");
        assert_eq!(list(&relay, "listblockedips"), json!([{ "ip": "192.0.2.1" }]));
    }
    assert_eq!(relay.stop(libc::SIGTERM).code(), Some(0));
    relay.command(&["compact"]).code(0);
    relay.restart();
    let expected = json!([{ "pubkey": banned.public(), "reason": "why" }]);
    assert_eq!(list(&relay, "listbannedpubkeys"), expected);
}

#[test]
fn an_administrator_does_what_its_rights_are_for_and_nothing_else() {
    let (reader, moderator, single) = (key(2), key(3), key(4));
    let relay = Relay::start_with(&[&format!(
        "management.admins={},{}=read,{}=read|moderate,{}=banevent",
        key(1).public(),
        reader.public(),
        moderator.public(),
        single.public()
    )]);
    let victim = json!([key(9).public()]);
    let may = |who: &Key, method: &str, params: Value| {
        call(relay.address(), who, method, params).map_err(|error| {
            assert!(error.contains("needs the right"), "{error}");
        })
    };
    assert!(may(&reader, "listbannedpubkeys", json!([])).is_ok());
    assert!(may(&reader, "banpubkey", victim.clone()).is_err());
    assert!(may(&moderator, "banpubkey", victim.clone()).is_ok());
    assert!(may(&moderator, "changerelayname", json!(["x"])).is_err());
    assert!(may(&single, "banevent", json!(["7".repeat(64)])).is_ok());
    assert!(may(&single, "listbannedevents", json!([])).is_err());
    let who = may(&moderator, "chappe.whoami", json!([])).expect("it may look");
    assert_eq!(who["pubkey"], moderator.public());
    assert_eq!(who["rights"], json!(["read", "moderate"]));
    let methods = who["methods"].as_array().expect("a list");
    assert!(methods.contains(&json!("banpubkey")) && !methods.contains(&json!("changerelayname")));
    let status = Call::new(relay.address(), &reader, "banpubkey", &victim).send().status;
    assert_eq!(status, 403);
}

#[test]
fn methods_are_assigned_by_those_who_may_call_them_and_taken_back() {
    let (people, other) = (key(2), key(3));
    let mut relay = Relay::start_with(&[&format!(
        "management.admins={},{}=read|people",
        key(1).public(),
        people.public()
    )]);
    let ask = |relay: &Relay, who: &Key, method: &str, params: Value| {
        call(relay.address(), who, method, params)
    };
    let ban = json!(["7".repeat(64)]);
    let grant = json!([other.public(), "banevent"]);
    assert!(ask(&relay, &other, "banevent", ban.clone()).is_err(), "a stranger");
    let said = ask(&relay, &people, "assignmethod", grant.clone()).expect("it is answered");
    assert_eq!(said[0], false, "it may not call that itself: {said}");
    assert!(ask(&relay, &other, "banevent", ban.clone()).is_err(), "nothing was given");
    let said = ask(&relay, &key(1), "assignmethod", grant.clone()).expect("it is answered");
    assert_eq!(said[0], true, "{said}");
    assert_eq!(ask(&relay, &other, "banevent", ban.clone()), Ok(json!(true)));
    assert!(ask(&relay, &other, "banpubkey", json!([key(9).public()])).is_err(), "no other");
    let unknown = json!([other.public(), "banana"]);
    let said = ask(&relay, &key(1), "assignmethod", unknown).expect("it is answered");
    assert_eq!(said[0], false, "{said}");
    relay.kill();
    relay.restart();
    assert_eq!(ask(&relay, &other, "banevent", ban.clone()), Ok(json!(true)), "still");
    let listed = list(&relay, "listmethodassignees");
    let methods = |who: &Key| {
        let rows = listed.as_array().expect("a list").iter();
        let row = rows.filter(|row| row["pubkey"] == who.public()).collect::<Vec<_>>();
        assert_eq!(row.len(), 1, "{listed}");
        row[0]["methods"].as_array().expect("a list").clone()
    };
    assert_eq!(methods(&other), [json!("banevent")]);
    assert!(methods(&key(1)).len() > 40, "an administrator of the configuration is one, too");
    let who = ask(&relay, &other, "chappe.whoami", json!([])).expect("it may look");
    assert_eq!(who["rights"], json!(["banevent"]));
    done(&relay, "banpubkey", json!([other.public()]));
    assert!(ask(&relay, &other, "banevent", ban.clone()).is_err(), "banned");
    done(&relay, "unbanpubkey", json!([other.public()]));
    let said = ask(&relay, &people, "unassignmethod", grant.clone()).expect("it is answered");
    assert_eq!(said[0], false, "who may not give may not take: {said}");
    let said = ask(&relay, &key(1), "unassignmethod", grant).expect("it is answered");
    assert_eq!(said[0], true, "{said}");
    assert!(ask(&relay, &other, "banevent", ban).is_err(), "taken back");
    let configured = json!([people.public(), "chappe.log"]);
    let said = ask(&relay, &people, "unassignmethod", configured).expect("it is answered");
    assert!(said[1].as_str().is_some_and(|it| it.contains("management.admins")), "{said}");
    let entries = list(&relay, "chappe.log");
    assert!(entries[0]["error"].as_str().is_some_and(|it| it.contains("management.admins")));
}

#[test]
fn the_journal_tells_who_did_what_and_is_bounded() {
    let reader = key(2);
    let admins = format!("management.admins={},{}=read", key(1).public(), reader.public());
    let mut relay = Relay::start_with(&[&admins, "management.max_log_entries=100"]);
    done(&relay, "banpubkey", json!([key(3).public(), "spam"]));
    fails(&relay, "banpubkey", json!(["x"]), "expected");
    let refused = call(relay.address(), &reader, "changerelayname", json!(["mine"]));
    assert!(refused.is_err());
    list(&relay, "listbannedpubkeys");
    relay.kill();
    relay.restart();
    let entries = list(&relay, "chappe.log");
    let entries = entries.as_array().expect("a list");
    assert_eq!(entries.len(), 3, "looking is no act: {entries:?}");
    assert_eq!(entries[0]["method"], "changerelayname");
    assert_eq!(entries[0]["by"], reader.public());
    assert!(entries[0]["error"].as_str().is_some_and(|it| it.contains("right")));
    assert!(entries[1]["error"].is_string());
    assert_eq!(entries[2]["params"], json!([key(3).public(), "spam"]));
    assert_eq!(entries[2]["from"], "127.0.0.1");
    assert!(entries[2]["error"].is_null());
    for number in 0..110 {
        let name = format!("Relay {number}");
        assert_eq!(local(&relay, "changerelayname", &json!([name]))["result"], true);
    }
    let said = call(relay.address(), &key(1), "chappe.log", json!([1_000])).expect("a list");
    let entries = said.as_array().expect("a list");
    assert_eq!(entries.len(), 100);
    assert_eq!(entries[0]["params"], json!(["Relay 109"]));
    let before = entries[10]["number"].clone();
    let older = call(relay.address(), &key(1), "chappe.log", json!([5, before])).expect("a list");
    assert_eq!(older[0], entries[11]);
}

/// Calls a method over the socket of this machine.
fn local(relay: &Relay, method: &str, params: &Value) -> Value {
    use std::io::{BufRead, BufReader, Write};
    let path = std::path::Path::new(relay.data()).join("admin.sock");
    let stream = std::os::unix::net::UnixStream::connect(path).expect("there is a socket");
    let line = json!({ "method": method, "params": params }).to_string() + "\n";
    (&stream).write_all(line.as_bytes()).expect("the relay reads");
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).expect("the relay answers");
    serde_json::from_str(&answer).expect("a line of JSON")
}

/// Those of the NIP.
const METHODS: [&str; 31] = [
    "assignmethod",
    "unassignmethod",
    "listmethodassignees",
    "unallowevent",
    "unbanevent",
    "listallowedevents",
    "listdisallowedkinds",
    "createrole",
    "editrole",
    "deleterole",
    "assignrole",
    "unassignrole",
    "listeventsneedingmoderation",
    "banpubkey",
    "unbanpubkey",
    "listbannedpubkeys",
    "allowpubkey",
    "unallowpubkey",
    "listallowedpubkeys",
    "allowevent",
    "banevent",
    "listbannedevents",
    "changerelayname",
    "changerelaydescription",
    "changerelayicon",
    "allowkind",
    "disallowkind",
    "listallowedkinds",
    "blockip",
    "unblockip",
    "listblockedips",
];
