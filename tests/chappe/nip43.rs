//! NIP-43, membership: the list, requests to join and to leave, invitations, and what only members
//! may do.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::client::{Client, Verdict};
use crate::harness::{Event, Finished, Key, Relay, http, key, now};

const OPERATOR: u32 = 1;

/// A relay with a key of its own and members.
struct House {
    relay: Relay,
    settings: Vec<String>,
    _folder: TempDir,
}

impl House {
    fn start(settings: &[&str]) -> House {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let path = folder.path().join("secret.key");
        std::fs::write(&path, format!("{:064x}\n", 77)).expect("a file can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .expect("it is our own file");
        let file = format!("relay.secret_key_file={}", path.display());
        let operator = format!("relay.pubkey={}", key(OPERATOR).public());
        let mut all = vec![file.as_str(), operator.as_str(), "membership.enabled=true"];
        // The kind of the harness's fences.
        all.push("membership.open_kinds=20999");
        all.extend(settings);
        let store = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
        let settings = all.iter().map(|setting| (*setting).to_owned()).collect();
        House { relay: Relay::start_on(store, &all), settings, _folder: folder }
    }

    /// Runs a command with the settings and the store of this relay.
    fn command(&self, arguments: &[&str]) -> Finished {
        let settings = self.settings.iter().flat_map(|it| ["--set", it.as_str()]);
        self.relay.command(&arguments.iter().copied().chain(settings).collect::<Vec<_>>())
    }

    /// A client that has proven to be the owner of a key.
    fn client(&self, key: &Key) -> Client {
        let mut client = self.relay.connect();
        client.authenticate(key);
        client
    }

    /// Waits until the newest list has exactly these members.
    #[track_caller]
    fn wait_for_list(&self, client: &mut Client, members: &[&Key]) -> Event {
        let mut expected: Vec<&str> = members.iter().map(|key| key.public()).collect();
        expected.sort_unstable();
        let filter = json!({"kinds": [13_534], "authors": [own().public()]});
        let mut list = client.stored("list", &[filter]).pop();
        loop {
            if let Some(list) = &list
                && listed(list) == expected
            {
                let list = list.clone();
                client.close("list");
                return list;
            }
            list = Some(client.live("list"));
        }
    }
}

/// The relay's own key.
fn own() -> Key {
    key(77)
}

fn listed(list: &Event) -> Vec<&str> {
    let tags = list.tags.iter().filter(|tag| tag[0] == "member");
    let mut members: Vec<&str> = tags.map(|tag| tag[1].as_str()).collect();
    members.sort_unstable();
    members
}

fn join(client: &mut Client, who: &Key, code: &str) -> Verdict {
    client.publish(&who.event(28_934, "", &[&["-"], &["claim", code]], now()))
}

fn leave(client: &mut Client, who: &Key) -> Verdict {
    client.publish(&who.event(28_936, "", &[&["-"]], now()))
}

/// Asks for an invitation and returns its event.
fn invitation(client: &mut Client) -> Event {
    let mut found = client.stored("invite", &[json!({"kinds": [28_935]})]);
    client.close("invite");
    assert_eq!(found.len(), 1, "one invitation, then EOSE");
    found.remove(0)
}

fn code(client: &mut Client) -> String {
    invitation(client).first("claim").expect("an invitation has a code").to_owned()
}

fn document(relay: &Relay) -> Value {
    http(relay.address(), "GET", "/", &[("Accept", "application/nostr+json")]).json()
}

fn nips(document: &Value) -> Vec<u64> {
    let nips = document["supported_nips"].as_array().expect("a list of NIPs");
    nips.iter().filter_map(Value::as_u64).collect()
}

#[test]
fn members_are_advertised_only_where_there_are_any() {
    // NIP-43.10, NIP-11.7
    let with = document(&House::start(&[]).relay);
    assert!(nips(&with).contains(&43));
    assert_eq!(with["self"], own().public());
    assert_eq!(with["limitation"]["restricted_writes"], true);
    let open = document(&House::start(&["membership.writes=everyone"]).relay);
    assert_eq!(open["limitation"]["restricted_writes"], false);
    let without = document(&Relay::start());
    assert!(!nips(&without).contains(&43));
    assert!(without["self"].is_null());
}

#[test]
fn the_operator_is_a_member_from_the_start() {
    let house = House::start(&[]);
    let mut client = house.relay.connect();
    let list = house.wait_for_list(&mut client, &[&key(OPERATOR)]);
    list.assert_genuine();
    client.publish(&key(OPERATOR).note("mine", now())).is_true("", "the operator");
    client.authenticate(&key(OPERATOR));
    leave(&mut client, &key(OPERATOR)).is_false("restricted", "the operator stays");
}

#[test]
fn an_invitation_is_made_for_each_member_that_asks() {
    // Q01; NIP-43.8
    let house = House::start(&[]);
    let filter = [json!({"kinds": [28_935]})];
    house.relay.connect().refused(&filter, "auth-required");
    house.client(&key(8)).refused(&filter, "restricted");
    let mut member = house.client(&key(OPERATOR));
    let first = invitation(&mut member);
    first.assert_genuine();
    assert_eq!((first.pubkey.as_str(), first.kind), (own().public(), 28_935));
    assert!(first.tags.contains(&vec!["-".to_owned()]));
    let second = code(&mut member);
    assert_ne!(first.first("claim"), Some(second.as_str()), "a code for each");
    assert_eq!(member.count(&filter), 0, "none is kept");
    let by_operator = House::start(&["membership.members_invite=false"]);
    by_operator.client(&key(OPERATOR)).refused(&filter, "restricted");
}

#[test]
fn whoever_claims_an_invitation_is_welcome_and_listed() {
    // Q02, Q03, Q11; NIP-43.2, NIP-43.3, NIP-43.6, NIP-43.7
    let house = House::start(&[]);
    let (mut operator, mut guest) = (house.client(&key(OPERATOR)), house.client(&key(8)));
    let before = house.wait_for_list(&mut operator, &[&key(OPERATOR)]);
    operator.stored("changes", &[json!({"kinds": [8_000, 8_001], "#p": [key(8).public()]})]);
    guest.publish(&key(8).note("early", now())).is_false("restricted", "a stranger");
    let claim = code(&mut operator);
    join(&mut guest, &key(8), &claim).is_true("info", "a good code");
    // What follows is there when the OK is.
    let lists = guest.stored("now", &[json!({"kinds": [13_534]})]);
    assert_eq!(lists.len(), 1);
    let mut expected = [key(OPERATOR).public().to_owned(), key(8).public().to_owned()];
    expected.sort();
    assert_eq!(listed(&lists[0]), expected);
    assert!(lists[0].created_at > before.created_at);
    let added = operator.live("changes");
    assert_eq!((added.kind, added.first("p")), (8_000, Some(key(8).public())));
    for event in [&lists[0], &added] {
        event.assert_genuine();
        assert_eq!(event.pubkey, own().public());
        assert!(event.tags.contains(&vec!["-".to_owned()]), "{event:?}");
    }
    guest.publish(&key(8).note("hello", now())).is_true("", "a member");
    join(&mut guest, &key(8), &claim).is_true("duplicate", "a member already");
    join(&mut guest, &key(8), "whatever").is_true("duplicate", "a member already");
}

#[test]
fn a_code_that_is_wrong_used_up_or_expired_lets_nobody_in() {
    // Q04, Q05, Q06, Q07; NIP-43.5, NIP-43.6
    let house = House::start(&[]);
    let mut operator = house.client(&key(OPERATOR));
    let good = code(&mut operator);
    let mut guest = house.client(&key(8));
    for wrong in ["", "welcome", &good.replace(&good[40..], "0000"), &"0".repeat(44)] {
        join(&mut guest, &key(8), wrong).is_false("restricted", wrong);
    }
    let bare = key(8).event(28_934, "", &[&["-"]], now());
    guest.publish(&bare).is_false("invalid", "no claim");
    for at in [now() - 3_600, now() + 800] {
        let stale = key(8).event(28_934, "", &[&["-"], &["claim", &good]], at);
        guest.publish(&stale).is_false("invalid", "stale");
    }
    let mut stranger = house.relay.connect();
    join(&mut stranger, &key(8), &good).is_false("auth-required", "not known");
    let unprotected = key(8).event(28_934, "", &[&["claim", &good]], now());
    stranger.publish(&unprotected).is_false("auth-required", "not known");
    guest
        .publish(&key(9).event(28_934, "", &[&["-"], &["claim", &good]], now()))
        .is_false("restricted", "somebody else's");
    let mut forged = key(8).event(28_934, "", &[&["-"], &["claim", &good]], now());
    forged.sig = forged.sig.replace(['0', '1', '2'], "3");
    guest.publish(&forged).is_false("invalid", "forged");
    join(&mut guest, &key(8), &good).is_true("info", "the code was good all the time");
    join(&mut house.client(&key(7)), &key(7), &good).is_false("restricted", "used up");
}

#[test]
fn one_code_lets_in_one_however_many_come_at_once() {
    let house = House::start(&[]);
    let claim = code(&mut house.client(&key(OPERATOR)));
    let mut guests: Vec<(Key, Client, Event)> = (20..40)
        .map(|number| {
            let key = key(number);
            let event = key.event(28_934, "", &[&["-"], &["claim", &claim]], now());
            (key.clone(), house.client(&key), event)
        })
        .collect();
    for (_, client, event) in &mut guests {
        client.send(&json!(["EVENT", event.json()]));
    }
    let verdicts: Vec<Verdict> =
        guests.iter_mut().map(|(_, client, event)| client.verdict(&event.id)).collect();
    assert_eq!(verdicts.iter().filter(|it| it.accepted).count(), 1, "{verdicts:?}");
}

#[test]
fn codes_of_the_settings_let_in_anybody() {
    let house = House::start(&["membership.codes=open sesame,second"]);
    for number in [5, 6] {
        let mut guest = house.client(&key(number));
        join(&mut guest, &key(number), "open sesame").is_true("info", number);
    }
    join(&mut house.client(&key(7)), &key(7), "second").is_true("info", 7);
}

#[test]
fn the_operator_makes_invitations_and_members_by_commands_while_the_relay_serves() {
    let house = House::start(&["membership.members_invite=false"]);
    let [code, many] = ["--uses=1", "--uses=2"].map(|uses| {
        let made = house.command(&["invite", uses, "--expires", "1h"]).code(0);
        made.text().trim().to_owned()
    });
    for (number, code, is_good) in
        [(5, &code, true), (6, &code, false), (6, &many, true), (7, &many, true), (8, &many, false)]
    {
        let verdict = join(&mut house.client(&key(number)), &key(number), code);
        assert_eq!(verdict.accepted, is_good, "{number}: {verdict:?}");
    }
    let made = house.command(&["invite", "--count", "3", "--json"]).code(0).json();
    assert_eq!(made.as_array().map(Vec::len), Some(3));
    house.command(&["member", "add", key(9).public(), "--role", "king"]).code(0).says("a member");
    let mut client = house.client(&key(9));
    let members = [OPERATOR, 5, 6, 7, 9].map(key);
    let list = house.wait_for_list(&mut client, &members.each_ref());
    let tag = list.tags.iter().find(|tag| tag.get(1).is_some_and(|it| it == key(9).public()));
    assert_eq!(tag.and_then(|tag| tag.get(2)).map(String::as_str), Some("king"));
    client.publish(&key(9).note("by command", now())).is_true("", "a member");
    house.command(&["member", "remove", key(9).public()]).code(0);
    house.wait_for_list(&mut client, &[OPERATOR, 5, 6, 7].map(key).each_ref());
    client.publish(&key(9).note("later", now())).is_false("restricted", "removed by command");
    let listed = house.command(&["member", "list", "--json"]).code(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(4));
    house.command(&["member", "remove", key(9).public()]).refused().says("no member");
    house.command(&["member", "remove", key(OPERATOR).public()]).refused().says("operator");
    house.command(&["member", "add", "nobody"]).code(2);
}

#[test]
fn a_code_of_a_command_expires() {
    let house = House::start(&[]);
    let code = house.command(&["invite", "--expires", "0s"]).code(0).text().trim().to_owned();
    let verdict = join(&mut house.client(&key(5)), &key(5), &code);
    verdict.is_false("restricted", "expired");
    assert!(verdict.text.contains("expired"), "{verdict:?}");
}

#[test]
fn a_member_leaves_and_is_a_stranger_again() {
    // Q09; NIP-43.9
    let house = House::start(&["membership.codes=open sesame"]);
    let mut guest = house.client(&key(8));
    leave(&mut guest, &key(8)).is_true("duplicate", "nobody yet");
    join(&mut guest, &key(8), "open sesame").is_true("info", "in");
    guest.stored("changes", &[json!({"kinds": [8_001], "limit": 0})]);
    let bare = key(8).event(28_936, "", &[], now());
    guest.publish(&bare).is_false("invalid", "it is not protected");
    let stale = key(8).event(28_936, "", &[&["-"]], now() - 3_600);
    guest.publish(&stale).is_false("invalid", "stale");
    let mut other = house.client(&key(7));
    let foreign = key(8).event(28_936, "", &[&["-"]], now());
    other.publish(&foreign).is_false("restricted", "somebody else's");
    leave(&mut guest, &key(8)).is_true("info", "out");
    let removed = guest.live("changes");
    assert_eq!(removed.first("p"), Some(key(8).public()));
    house.wait_for_list(&mut guest, &[&key(OPERATOR)]);
    guest.publish(&key(8).note("still here?", now())).is_false("restricted", "out");
    join(&mut guest, &key(8), "open sesame").is_true("info", "and in again");
    leave(&mut guest, &key(8)).is_true("info", "and out again");
    house.wait_for_list(&mut guest, &[&key(OPERATOR)]);
}

#[test]
fn a_member_who_vanishes_is_on_no_list_any_more() {
    // NIP-62.8
    let house = House::start(&["membership.codes=open sesame"]);
    let mut guest = house.client(&key(8));
    join(&mut guest, &key(8), "open sesame").is_true("info", "in");
    house.wait_for_list(&mut guest, &[&key(OPERATOR), &key(8)]);
    let all: &[&[&str]] = &[&["relay", "ALL_RELAYS"]];
    guest.publish(&key(8).event(62, "", all, now() - 3_600)).is_true("", "a request");
    house.wait_for_list(&mut guest, &[&key(OPERATOR)]);
    guest.publish(&key(8).note("still here?", now())).is_false("restricted", "out");
    let listed = house.command(&["member", "list"]).code(0);
    assert_eq!(listed.text().trim_end(), key(OPERATOR).public(), "as it is read back");
    guest.publish(&key(OPERATOR).event(62, "", all, now())).is_true("", "obeyed");
    house.command(&["member", "add", key(8).public()]).code(0);
    house.wait_for_list(&mut guest, &[&key(OPERATOR), &key(8)]);
}

#[test]
fn only_the_relay_itself_says_who_is_a_member() {
    // Q10; NIP-43.4
    let house = House::start(&["membership.writes=everyone"]);
    let mut client = house.client(&key(OPERATOR));
    let guest = key(8);
    let tags: [&[&str]; 3] = [&["-"], &["p", guest.public()], &["d", "king"]];
    for kind in [8_000, 8_001, 13_534, 28_935, 33_534] {
        let forged = key(OPERATOR).event(kind, "", &tags, now());
        client.publish(&forged).is_false("restricted", kind);
    }
    client.publish(&key(8).note("open to all", now())).is_true("", "writes=everyone");
}

#[test]
fn requests_and_invitations_are_never_shown_or_counted() {
    // NIP-43.5, NIP-43.11
    let house = House::start(&["membership.codes=open sesame"]);
    let mut watcher = house.client(&key(OPERATOR));
    watcher.stored("all", &[json!({"kinds": [28_934, 28_935, 28_936]})]);
    let mut guest = house.client(&key(8));
    join(&mut guest, &key(8), "open sesame").is_true("info", "in");
    code(&mut guest);
    leave(&mut guest, &key(8)).is_true("info", "out");
    assert_eq!(watcher.count(&[json!({"kinds": [28_934, 28_935, 28_936]})]), 0);
    let seen = watcher.fence();
    assert!(!seen.iter().any(|message| message[0] == "EVENT"), "{seen:?}");
}

#[test]
fn where_only_members_read_others_get_nothing_by_any_way() {
    let house = House::start(&["membership.reads=members", "membership.codes=open sesame"]);
    let mut operator = house.client(&key(OPERATOR));
    operator.publish(&key(OPERATOR).note("inside", now())).is_true("", "a member");
    let (mut stranger, mut guest) = (house.relay.connect(), house.client(&key(8)));
    for (client, prefix) in [(&mut stranger, "auth-required"), (&mut guest, "restricted")] {
        client.refused(&[json!({"kinds": [1]})], prefix);
        client.refused(&[json!({})], prefix);
        client.count_refused(&[json!({"kinds": [1]})], prefix);
        client.send(&json!(["NEG-OPEN", "n", {}, "6100000200"]));
        let refusal = client.wait_for_json("NEG-ERR", |message| {
            (message[0] == "NEG-ERR").then(|| message[2].as_str().unwrap_or_default().to_owned())
        });
        assert!(refusal.starts_with(&format!("{prefix}: ")), "{refusal}");
    }
    join(&mut guest, &key(8), "open sesame").is_true("info", "in");
    assert_eq!(guest.stored("in", &[json!({"kinds": [1]})]).len(), 1);
    operator.publish(&key(OPERATOR).note("live", now())).is_true("", "a member");
    assert_eq!(guest.live("in").content, "live");
    // Who leaves gets nothing more by it, and is told that it is over.
    leave(&mut guest, &key(8)).is_true("info", "out");
    assert!(guest.closed("in").starts_with("restricted: "));
    operator.publish(&key(OPERATOR).note("later", now())).is_true("", "a member");
    operator.ids(&[json!({"kinds": [1]})]);
    guest.refused(&[json!({"kinds": [1]})], "restricted");
    let rest = guest.unused();
    assert!(!rest.iter().any(|message| message[0] == "EVENT"), "{rest:?}");
}

#[test]
fn whoever_loses_membership_is_told_that_subscriptions_are_over() {
    let house = House::start(&["membership.reads=members", "membership.codes=open sesame"]);
    let (mut operator, mut guest) = (house.client(&key(OPERATOR)), house.client(&key(8)));
    join(&mut guest, &key(8), "open sesame").is_true("info", "in");
    for (name, client) in [("a", &mut guest), ("b", &mut operator)] {
        client.stored(name, &[json!({"kinds": [1]})]);
    }
    house.command(&["member", "remove", key(8).public()]).code(0);
    assert!(guest.closed("a").starts_with("restricted: "));
    operator.publish(&key(OPERATOR).note("still here", now())).is_true("", "a member");
    assert_eq!(operator.live("b").content, "still here");
}

#[test]
fn requests_to_join_and_to_leave_pass_lists_of_who_may_write_but_not_bans() {
    let allowed = format!("policy.allowed_authors={}", key(OPERATOR).public());
    let refused = format!("policy.refused_authors={}", key(9).public());
    let house = House::start(&[
        &allowed,
        &refused,
        "policy.allowed_kinds=0-9",
        "policy.min_pow_difficulty=30",
        "membership.codes=open sesame",
    ]);
    let mut guest = house.client(&key(8));
    join(&mut guest, &key(8), "open sesame").is_true("info", "on no list");
    leave(&mut guest, &key(8)).is_true("info", "and out");
    let mut banned = house.client(&key(9));
    join(&mut banned, &key(9), "open sesame").is_false("blocked", "banned");
}

#[test]
fn what_members_may_and_how_they_come_changes_without_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let secret = folder.path().join("secret.key");
    std::fs::write(&secret, format!("{:064x}\n", 77)).expect("a file can be written");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("ours");
    let file = folder.path().join("relay.toml");
    let write = |membership: &str| {
        let relay = format!("[relay]\nsecret_key_file = {secret:?}\n");
        let text = format!("{relay}[membership]\nenabled = true\n{membership}\n");
        std::fs::write(&file, text).expect("a file can be written");
    };
    write("codes = [\"old code\"]");
    let relay = Relay::start_on_file(&file);
    let [mut guest, mut late] = [8, 7].map(|number| {
        let mut client = relay.connect();
        client.authenticate(&key(number));
        client
    });
    guest.publish(&key(8).note("early", now())).is_false("restricted", "members write");
    join(&mut guest, &key(8), "old code").is_true("info", "the old code");
    late.stored("open", &[json!({"kinds": [1]})]);
    write("codes = [\"new code\"]\nwrites = \"everyone\"\nreads = \"members\"");
    relay.signal(libc::SIGHUP);
    assert!(late.closed("open").starts_with("restricted: "), "members read");
    late.publish(&key(7).note("hello", now())).is_true("", "everyone writes");
    join(&mut late, &key(7), "old code").is_false("restricted", "the old code");
    join(&mut late, &key(7), "new code").is_true("info", "the new code");
    assert_eq!(late.ids(&[json!({"kinds": [1]})]).len(), 1);
}

#[test]
fn gift_wraps_and_open_kinds_are_taken_from_strangers() {
    let house = House::start(&["membership.open_kinds=0,10002"]);
    let mut client = house.relay.connect();
    client.publish(&key(8).event(10_002, "", &[], now())).is_true("", "an open kind");
    client.publish(&key(8).event(10_003, "", &[], now())).is_false("restricted", "another");
    let to = |who: &Key| key(50).event(1_059, "", &[&["p", who.public()]], now());
    client.publish(&to(&key(OPERATOR))).is_true("", "for a member");
    client.publish(&to(&key(8))).is_false("restricted", "for nobody here");
    client.authenticate(&key(OPERATOR));
    client.publish(&to(&key(8))).is_true("", "from a member");
}

#[test]
fn members_and_used_codes_survive_a_restart_and_a_kill() {
    let mut house = House::start(&[]);
    let mut operator = house.client(&key(OPERATOR));
    let codes: Vec<String> = (0..5).map(|_| code(&mut operator)).collect();
    for (number, claim) in (10..).zip(&codes[..4]) {
        let mut guest = house.client(&key(number));
        join(&mut guest, &key(number), claim).is_true("info", number);
    }
    leave(&mut house.client(&key(10)), &key(10)).is_true("info", 10);
    for round in 0..2 {
        if round == 0 {
            house.relay.kill();
        } else {
            house.relay.stop(libc::SIGTERM);
        }
        house.relay.restart();
        let mut client = house.client(&key(11));
        house.wait_for_list(&mut client, &[&key(OPERATOR), &key(11), &key(12), &key(13)]);
        client.publish(&key(11).note(&format!("{round}"), now())).is_true("", "a member");
        let mut former = house.client(&key(10));
        former.publish(&key(10).note("x", now())).is_false("restricted", "who left");
        for claim in &codes[..4] {
            join(&mut former, &key(10), claim).is_false("restricted", "a used code");
        }
    }
    join(&mut house.client(&key(10)), &key(10), &codes[4]).is_true("info", "the last code");
}

#[test]
fn whoever_was_welcomed_is_a_member_after_a_kill_at_any_moment() {
    let mut house = House::start(&["membership.codes=open sesame"]);
    let mut welcomed: Vec<u32> = Vec::new();
    for round in 0..4 {
        let numbers = 100 + round * 50..100 + (round + 1) * 50;
        let mut clients: Vec<(u32, Client, Event)> = numbers
            .map(|number| {
                let tags: [&[&str]; 2] = [&["-"], &["claim", "open sesame"]];
                (number, house.client(&key(number)), key(number).event(28_934, "", &tags, now()))
            })
            .collect();
        for (_, client, event) in &mut clients {
            client.send(&json!(["EVENT", event.json()]));
        }
        // Some have their answer, others may be on their way.
        for (number, client, event) in clients.iter_mut().take(5 + 10 * round as usize) {
            client.verdict(&event.id).is_true("info", *number);
            welcomed.push(*number);
        }
        house.relay.kill();
        house.relay.restart();
        let mut client = house.relay.connect();
        for number in &welcomed {
            let note = key(*number).note(&format!("{round}"), now());
            client.publish(&note).is_true("", number);
        }
    }
}

#[test]
fn many_changes_at_once_end_in_a_list_that_is_true() {
    // Lists of the same second have to be newer than one another.
    let house = House::start(&["membership.codes=open sesame"]);
    let mut guests: Vec<(Key, Client)> =
        (200..215).map(|number| (key(number), house.client(&key(number)))).collect();
    for (key, client) in &mut guests {
        join(client, key, "open sesame").is_true("info", key.public());
    }
    for (key, client) in guests.iter_mut().take(10) {
        leave(client, key).is_true("info", key.public());
    }
    let mut members: Vec<Key> = guests.iter().skip(10).map(|(key, _)| key.clone()).collect();
    members.push(key(OPERATOR));
    house.wait_for_list(&mut guests[0].1, &members.iter().collect::<Vec<_>>());
}

#[test]
fn a_relay_without_members_treats_these_kinds_as_any_others() {
    let relay = Relay::start();
    let mut client = relay.connect();
    client.stored("watch", &[json!({"kinds": [28_934, 28_935, 28_936, 8_000, 13_534]})]);
    for kind in [28_934, 28_935, 28_936, 8_000, 13_534] {
        client.publish(&key(8).event(kind, "", &[&["claim", "x"]], now())).is_true("", kind);
    }
    let seen: Vec<u64> = client
        .fence()
        .iter()
        .filter(|message| message[0] == "EVENT")
        .map(|message| message[2]["kind"].as_u64().expect("a kind"))
        .collect();
    // Requests carry codes: whatever the relay is, they are not shown to others.
    assert_eq!(seen, [28_935, 8_000, 13_534]);
}
