//! NIP-09, deletion requests: what they remove, what they keep out, and what they never touch.

use serde_json::json;

use crate::harness::{Client, Event, Relay, key, now, wait_until};

const AT: u64 = 1_700_000_000;

/// A deletion request of K1.
fn delete(tags: &[&[&str]], at: u64) -> Event {
    key(1).event(5, "", tags, at)
}

#[track_caller]
fn assert_gone(client: &mut Client, event: &Event) {
    let rows = [
        json!({"ids": [event.id]}),
        json!({"authors": [event.pubkey], "kinds": [event.kind], "since": event.created_at,
               "until": event.created_at}),
        json!({"kinds": [event.kind], "limit": 500}),
    ];
    for filter in rows {
        let found = client.ids(&[filter.clone()]);
        assert!(!found.contains(&event.id), "{event:?} is gone from {filter}");
    }
}

#[track_caller]
fn assert_there(client: &mut Client, event: &Event) {
    let found = client.ids(&[json!({"ids": [event.id]})]);
    assert_eq!(found, [event.id.as_str()], "{event:?} is there");
}

#[test]
fn an_author_deletes_an_event_by_its_id() {
    // E01, E03; NIP-09.1, NIP-09.3, NIP-09.4; no comparison of created_at for e
    let relay = Relay::start();
    let [mut client, mut listener] = [relay.connect(), relay.connect()];
    listener.stored("live", &[json!({"kinds": [5]})]);
    for (number, deleted_at) in [AT + 10, AT - 10, 0].into_iter().enumerate() {
        let note = key(1).event(1, &format!("{number}"), &[&["t", "x"]], AT);
        client.publish_all([&note]);
        let request = delete(&[&["e", &note.id], &["k", "1"]], deleted_at);
        client.publish_all([&request]);
        assert_gone(&mut client, &note);
        assert_eq!(client.ids(&[json!({"#t": ["x"]})]).len(), 0);
        assert_eq!(client.count(&[json!({"kinds": [1]})]), 0, "E01 COUNT");
        assert_there(&mut client, &request);
        assert_eq!(listener.live("live"), request, "the request was broadcast");
        client.publish(&note).is_false("blocked", "E03");
        assert_gone(&mut client, &note);
        client.publish(&request).is_true("duplicate", "the request again");
    }
    listener.assert_quiet();
}

#[test]
fn every_class_of_event_can_be_deleted_by_id() {
    let relay = Relay::start();
    let mut client = relay.connect();
    client.authenticate(&key(1));
    for (kind, tags) in [(0, vec![]), (3, vec![]), (10_002, vec![]), (7, vec![]), (40_000, vec![])]
        .into_iter()
        .chain([(30_023, vec![&["d", "x"] as &[&str]]), (1059, vec![&["p", "x"]])])
    {
        let event = key(1).event(kind, "", &tags, AT);
        client.publish_all([&event]);
        client.publish_all([&delete(&[&["e", &event.id]], AT)]);
        assert_gone(&mut client, &event);
        client.publish(&event).is_false("blocked", kind);
    }
}

#[test]
fn another_author_deletes_nothing() {
    // E02, E05; NIP-09.6
    let relay = Relay::start();
    let mut client = relay.connect();
    let [own, foreign] = [key(1).note("own", AT), key(2).note("foreign", AT)];
    client.publish_all([&own, &foreign]);
    client.publish_all([&delete(&[&["e", &foreign.id]], AT + 1)]);
    assert_there(&mut client, &foreign);
    client.publish_all([&delete(&[&["e", &foreign.id], &["e", &own.id]], AT + 2)]);
    assert_gone(&mut client, &own);
    assert_there(&mut client, &foreign);
    let later = key(2).note("published after a foreign request", AT);
    client.publish_all([&delete(&[&["e", &later.id]], AT + 3), &later]);
    assert_there(&mut client, &later);
}

#[test]
fn a_request_that_comes_first_keeps_its_target_out() {
    // E04; NIP-09.5
    let relay = Relay::start();
    let mut client = relay.connect();
    client.stored("live", &[json!({"kinds": [1, 30_023, 10_002]})]);
    let note = key(1).note("late", AT);
    let article = key(1).event(30_023, "", &[&["d", "late"]], AT);
    let list = key(1).event(10_002, "", &[], AT);
    let [article_address, list_address] = [article.address(), list.address()];
    client.publish_all([&delete(&[&["e", &note.id]], AT - 100)]);
    client.publish_all([&delete(&[&["a", &article_address], &["a", &list_address]], AT)]);
    for event in [&note, &article, &list] {
        client.publish(event).is_false("blocked", event);
        assert_gone(&mut client, event);
    }
    client.assert_quiet();
}

#[test]
fn an_address_is_deleted_up_to_the_time_of_the_request() {
    // E06, E07, E08; NIP-09.2, NIP-09.4
    let relay = Relay::start();
    let mut client = relay.connect();
    let version = |at: u64| key(1).event(30_023, &format!("{at}"), &[&["d", "a:b"]], at);
    let address = version(0).address();
    let request = delete(&[&["a", &address], &["k", "30023"]], 20);
    client.publish_all([&version(30), &request]);
    assert_there(&mut client, &version(30));
    client.publish(&version(20)).is_false("blocked", "E06 at the request's second");
    client.publish_all([&delete(&[&["a", &address]], 30)]);
    assert_gone(&mut client, &version(30));
    for at in [10, 20, 30] {
        client.publish(&version(at)).is_false("blocked", at);
    }
    client.publish_all([&version(31)]);
    assert_there(&mut client, &version(31));
    // The longest-lasting request counts, whichever came last.
    client.publish_all([&delete(&[&["a", &address]], 50), &delete(&[&["a", &address]], 40)]);
    assert_gone(&mut client, &version(31));
    client.publish(&version(50)).is_false("blocked", "an older request after a newer");
    client.publish_all([&version(51)]);
}

#[test]
fn replaceable_events_have_addresses_too() {
    // NIP-09.2: with a trailing colon.
    let relay = Relay::start();
    let mut client = relay.connect();
    for kind in [0, 3, 10_002] {
        let [old, new] = [AT, AT + 2].map(|at| key(1).event(kind, "", &[&["d", "ignored"]], at));
        client.publish_all([&old]);
        let address = format!("{kind}:{}:", key(1).public());
        client.publish_all([&delete(&[&["a", &address]], AT + 1)]);
        assert_gone(&mut client, &old);
        client.publish(&old).is_false("blocked", kind);
        client.publish_all([&new]);
        assert_there(&mut client, &new);
    }
}

#[test]
fn addresses_that_are_not_the_authors_or_no_addresses_delete_nothing() {
    // E10, E14; NIP-09.6, NIP-09.10
    let relay = Relay::start();
    let mut client = relay.connect();
    let article = key(2).event(30_023, "", &[&["d", "x"]], AT);
    let own = key(1).event(30_023, "", &[&["d", "x"]], AT);
    let profile = key(1).event(0, "", &[], AT);
    let note = key(1).note("regular", AT);
    let everything = [&article, &own, &profile, &note];
    client.publish_all(everything);
    let foreign = article.address();
    let [public, upper] = [key(1).public().to_owned(), key(1).public().to_uppercase()];
    let junk = [
        format!("30023:{public}:y"),
        format!("30023:{public}:X"),
        format!("30023:{public}:x:"),
        format!("30023:{public}"),
        format!("030023:{public}:x"),
        format!("+30023:{public}:x"),
        format!(" 30023:{public}:x"),
        format!("30023:{upper}:x"),
        format!("30024:{public}:x"),
        format!("95559:{public}:x"),
        format!("1:{public}:"),
        format!("1:{public}:{}", note.id),
        format!("0:{public}"),
        format!("0:{public}:x"),
        "x".to_owned(),
        ":".to_owned(),
        "::".to_owned(),
        String::new(),
    ];
    client.publish_all([&delete(&[&["a", &foreign]], AT + 1)]);
    for address in &junk {
        client.publish_all([&delete(&[&["a", address]], AT + 1)]);
    }
    let id = note.id.as_str();
    let upper = note.id.to_uppercase();
    let rows: [&[&[&str]]; 12] = [
        &[],
        &[&["e"]],
        &[&["e", ""]],
        &[&["e", "x"]],
        &[&["e", &upper]],
        &[&["e", &id[..63]]],
        &[&["e", "x", id]],
        &[&["E", id]],
        &[&["p", id]],
        &[&["q", id]],
        &[&["a"]],
        &[&["k", "1"], &["p", &public]],
    ];
    for tags in rows {
        client.publish_all([&delete(tags, AT + 1)]);
    }
    for event in everything {
        assert_there(&mut client, event);
    }
    assert_eq!(client.ids(&[json!({"kinds": [5]})]).len(), 1 + junk.len() + rows.len());
}

#[test]
fn a_deletion_request_cannot_be_deleted() {
    // E09; NIP-09.7
    let relay = Relay::start();
    let mut client = relay.connect();
    let note = key(1).note("gone for good", AT);
    let request = delete(&[&["e", &note.id]], AT + 1);
    client.publish_all([&note, &request]);
    let undo = delete(&[&["e", &request.id], &["k", "5"]], AT + 2);
    client.publish_all([&undo]);
    assert_there(&mut client, &request);
    assert_there(&mut client, &undo);
    client.publish(&note).is_false("blocked", "E09");
    // Not even by a request that came before it.
    let later = delete(&[&["e", &"0".repeat(64)]], AT + 4);
    client.publish_all([&delete(&[&["e", &later.id]], AT + 3), &later]);
    assert_there(&mut client, &later);
}

#[test]
fn deleting_the_current_version_does_not_bring_back_an_older_one() {
    // E11; NIP-09.11
    let relay = Relay::start();
    let mut client = relay.connect();
    for (kind, tags) in [(0, vec![]), (30_023, vec![&["d", "x"] as &[&str]])] {
        let [old, new] = [AT, AT + 1].map(|at| key(1).event(kind, "", &tags, at));
        client.publish_all([&old, &new]);
        client.publish_all([&delete(&[&["e", &new.id]], AT + 2)]);
        assert_eq!(client.ids(&[json!({"kinds": [kind]})]).len(), 0, "E11 kind {kind}");
        client.publish(&new).is_false("blocked", kind);
        let newer = key(1).event(kind, "", &tags, AT + 3);
        client.publish_all([&newer]);
        assert_eq!(client.ids(&[json!({"kinds": [kind]})]), [newer.id.as_str()]);
    }
}

#[test]
fn the_recipient_deletes_a_gift_wrap() {
    // E15; NIP-09.8, NIP-59.4
    let relay = Relay::start();
    let mut client = relay.connect();
    client.authenticate(&key(2));
    let recipient = key(2).public().to_owned();
    let wrap = |content: &str| key(77).event(1059, content, &[&["p", &recipient]], AT);
    let [wanted, unwanted] = [wrap("wanted"), wrap("unwanted")];
    let note = key(77).event(1, "to K2", &[&["p", &recipient]], AT);
    client.publish_all([&wanted, &unwanted, &note]);
    client.publish_all([&key(3).event(5, "", &[&["e", &wanted.id]], AT + 1)]);
    let request = key(2).event(5, "", &[&["e", &unwanted.id], &["e", &note.id]], AT + 1);
    client.publish_all([&request]);
    assert_there(&mut client, &wanted);
    assert_there(&mut client, &note);
    assert_gone(&mut client, &unwanted);
    client.publish(&unwanted).is_false("blocked", "E15");
    // Order does not matter here either.
    let late = wrap("late");
    client.publish_all([&key(3).event(5, "", &[&["e", &late.id]], AT), &late]);
    let later = wrap("later");
    client.publish_all([&key(2).event(5, "", &[&["e", &later.id]], AT)]);
    client.publish(&later).is_false("blocked", "E15, the request first");
    assert_there(&mut client, &late);
}

#[test]
fn an_expired_request_still_keeps_its_target_out() {
    // E17; NIP-40.7
    let relay = Relay::start();
    let mut client = relay.connect();
    let [note, second] = [key(1).note("one", AT), key(1).note("two", AT)];
    client.publish_all([&note]);
    let expiry = now() + 2;
    let tags: &[&[&str]] =
        &[&["e", &note.id], &["e", &second.id], &["expiration", &expiry.to_string()]];
    let request = delete(tags, AT + 1);
    client.publish_all([&request]);
    wait_until(expiry);
    assert_gone(&mut client, &request);
    for event in [&note, &second] {
        assert_gone(&mut client, event);
        client.publish(event).is_false("blocked", "E17");
    }
}

#[test]
fn deletions_hold_after_a_restart() {
    let mut relay = Relay::start();
    let mut client = relay.connect();
    let [note, early] = [key(1).note("one", AT), key(1).note("two", AT)];
    let article = key(1).event(30_023, "", &[&["d", "x"]], AT);
    let address = article.address();
    let tags: &[&[&str]] = &[&["e", &note.id], &["e", &early.id], &["a", &address]];
    let request = delete(tags, AT + 1);
    client.publish_all([&note, &article, &request]);
    relay.kill();
    relay.restart();
    let mut client = relay.connect();
    for event in [&note, &early, &article] {
        assert_gone(&mut client, event);
        client.publish(event).is_false("blocked", event);
    }
    assert_there(&mut client, &request);
}

#[test]
fn a_request_with_thousands_of_targets_works() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let notes: Vec<Event> = (0..300).map(|n| key(1).note("bulk", AT + n)).collect();
    client.publish_all(&notes);
    let mut tags: Vec<Vec<String>> = Vec::new();
    for number in 0..2000_u32 {
        tags.push(vec!["e".to_owned(), format!("{number:064x}")]);
    }
    tags.extend(notes.iter().map(|note| vec!["e".to_owned(), note.id.clone()]));
    client.publish_all([&key(1).event_owned(5, "", tags, AT)]);
    assert_eq!(client.ids(&[json!({"kinds": [1]})]).len(), 0);
    client.publish(&notes[150]).is_false("blocked", "one of them");
}
