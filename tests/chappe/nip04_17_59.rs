//! NIP-04, NIP-17 and NIP-59, private messages: who gets to see them, on every way out.

use serde_json::{Value, json};

use crate::harness::{Client, Event, Key, Relay, key, now};

/// A gift wrap for one recipient.
fn wrap(recipient: &Key, kind: u16, at: u64) -> Event {
    key(77).event(kind, "sealed", &[&["p", recipient.public()]], at)
}

fn authenticated(relay: &Relay, who: &Key) -> Client {
    let mut client = relay.connect();
    client.authenticate(who);
    client
}

/// Waits for a live event among others.
#[track_caller]
fn assert_delivered(client: &mut Client, subscription: &str, event: &Event) {
    let found = client.wait_for_json(&format!("{event:?}"), |message| {
        let is_it = message[1] == subscription && message[2]["id"] == event.id.as_str();
        (message[0] == "EVENT" && is_it).then(|| Event::from_json(&message[2]))
    });
    assert_eq!(found, *event);
}

#[test]
fn a_stranger_who_asks_for_private_messages_alone_is_asked_to_authenticate() {
    // J01; NIP-59.2
    let relay = Relay::start();
    let mut client = relay.connect();
    let filters = [
        json!({"kinds": [1059]}),
        json!({"kinds": [4]}),
        json!({"kinds": [21_059], "limit": 0}),
        json!({"kinds": [4, 1059], "#p": [key(2).public()]}),
        json!({"kinds": [4], "authors": [key(1).public()]}),
    ];
    for filter in &filters {
        client.refused(std::slice::from_ref(filter), "auth-required");
        client.count_refused(std::slice::from_ref(filter), "auth-required");
    }
    client.refused(&filters, "auth-required");
    client.assert_quiet();
}

#[test]
fn a_stranger_gets_the_public_part_of_a_mixed_filter_without_a_word() {
    // J02; NIP-59.1, NIP-59.2
    let relay = Relay::start();
    let mut client = relay.connect();
    let wrap = wrap(&key(2), 1059, now());
    let letter = key(1).event(4, "secret", &[&["p", key(2).public()]], now());
    let note = key(1).event(1, "open", &[&["p", key(2).public()]], now());
    client.publish_all([&wrap, &letter, &note]);
    let rows: [(Value, &[&Event]); 8] = [
        (json!({}), &[&note]),
        (json!({"ids": [wrap.id, letter.id, note.id]}), &[&note]),
        (json!({"ids": [wrap.id]}), &[]),
        (json!({"authors": [key(77).public()]}), &[]),
        (json!({"authors": [key(1).public()]}), &[&note]),
        (json!({"kinds": [1, 4, 1059]}), &[&note]),
        (json!({"#p": [key(2).public()]}), &[&note]),
        (json!({"#p": [key(2).public()], "authors": [key(1).public()]}), &[&note]),
    ];
    for (filter, expected) in rows {
        let found = client.stored("mixed", std::slice::from_ref(&filter));
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter}");
        let counted = client.counted(std::slice::from_ref(&filter));
        assert_eq!(counted["count"], expected.len(), "COUNT {filter}");
    }
    // One filter that can find nothing does not close the others.
    let both = [json!({"kinds": [1059]}), json!({"kinds": [1]})];
    assert_eq!(client.ids(&both), [note.id.as_str()]);
    assert_eq!(client.counted(&both)["count"], 1);
    client.assert_quiet();
}

#[test]
fn the_recipient_and_the_author_read_and_third_parties_do_not() {
    // J03, J05, J09; NIP-04.1, NIP-59.1, NIP-59.3
    let relay = Relay::start();
    let mut client = relay.connect();
    let wraps: Vec<Event> = (0..3).map(|n| wrap(&key(2), 1059, now() - n)).collect();
    let letter = key(1).event(4, "secret", &[&["p", key(2).public()]], now());
    client.publish_all(wraps.iter().chain([&letter]));

    let mut recipient = authenticated(&relay, &key(2));
    let to_two = |kind: u16| json!({"kinds": [kind], "#p": [key(2).public()]});
    assert_eq!(recipient.ids(&[to_two(1059)]).len(), 3);
    assert_eq!(recipient.ids(&[json!({"kinds": [1059]})]).len(), 3);
    assert_eq!(recipient.ids(&[json!({"ids": [wraps[0].id]})]), [wraps[0].id.as_str()]);
    assert_eq!(recipient.ids(&[json!({})]).len(), 4);
    assert_eq!(recipient.ids(&[to_two(4)]), [letter.id.as_str()], "J09");
    assert_eq!(recipient.counted(&[to_two(1059)])["count"], 3, "J05");
    assert_eq!(recipient.counted(&[json!({})])["count"], 4);
    assert_eq!(recipient.counted(&[json!({"kinds": [1, 4]})])["count"], 1);

    let mut author = authenticated(&relay, &key(1));
    let sent = json!({"kinds": [4], "#p": [key(2).public()], "authors": [key(1).public()]});
    assert_eq!(author.ids(&[sent]), [letter.id.as_str()], "J09");
    assert_eq!(author.ids(&[json!({"kinds": [4]})]), [letter.id.as_str()]);
    let mut sender = authenticated(&relay, &key(77));
    assert_eq!(sender.ids(&[json!({"kinds": [1059]})]).len(), 3);

    let mut third = authenticated(&relay, &key(3));
    third.refused(&[to_two(1059)], "restricted");
    third.count_refused(&[to_two(1059)], "restricted");
    third.refused(&[to_two(4)], "restricted");
    for filter in [json!({"kinds": [1059]}), json!({}), json!({"ids": [wraps[0].id, letter.id]})] {
        assert_eq!(third.ids(std::slice::from_ref(&filter)).len(), 0, "{filter}");
        assert_eq!(third.counted(std::slice::from_ref(&filter))["count"], 0, "COUNT {filter}");
    }
}

#[test]
fn live_private_messages_reach_those_they_concern_alone() {
    // J04, J08, J10; NIP-59.5, NIP-42.10
    let relay = Relay::start();
    let [mut publisher, mut stranger, mut late] = std::array::from_fn(|_| relay.connect());
    let mut recipient = authenticated(&relay, &key(2));
    let mut third = authenticated(&relay, &key(3));
    for client in [&mut stranger, &mut late, &mut recipient, &mut third] {
        client.stored("all", &[json!({"limit": 0})]);
        client.stored("some", &[json!({"kinds": [1, 4, 1059, 21_059], "limit": 0})]);
    }
    for kind in [1059, 4, 21_059] {
        let first = wrap(&key(2), kind, now());
        publisher.publish(&first).is_true("", kind);
        for subscription in ["all", "some"] {
            assert_delivered(&mut recipient, subscription, &first);
        }
    }
    late.assert_quiet();
    late.authenticate(&key(2));
    let second = wrap(&key(2), 1059, now() - 10);
    publisher.publish_all([&second]);
    for subscription in ["all", "some"] {
        assert_delivered(&mut late, subscription, &second);
        assert_delivered(&mut recipient, subscription, &second);
    }
    for client in [&mut stranger, &mut third, &mut late, &mut recipient] {
        client.assert_quiet();
    }
    // J08: ephemeral wraps are not kept.
    assert!(recipient.ids(&[json!({"kinds": [21_059]})]).is_empty());
    assert_eq!(recipient.counted(&[json!({"kinds": [21_059]})])["count"], 0);
}

#[test]
fn a_gift_wrap_may_be_dated_two_days_back() {
    // J07; NIP-59.6
    for settings in [&[] as &[&str], &["limits.created_at_past_secs=3600"]] {
        let relay = Relay::start_with(settings);
        let mut client = relay.connect();
        client.publish(&wrap(&key(2), 1059, now() - 47 * 3600)).is_true("", settings);
    }
}

#[test]
fn which_kinds_are_private_is_the_operator_s_choice() {
    let relay = Relay::start_with(&["auth.restricted_kinds=1059, 31234"]);
    let mut client = relay.connect();
    let draft = key(1).event(31_234, "draft", &[&["d", "x"]], now());
    let letter = key(1).event(4, "open here", &[], now());
    client.publish_all([&draft, &letter]);
    assert_eq!(client.ids(&[json!({})]), [letter.id.as_str()]);
    client.refused(&[json!({"kinds": [31_234]})], "auth-required");
    client.authenticate(&key(1));
    assert_eq!(client.ids(&[json!({"kinds": [31_234]})]), [draft.id.as_str()]);
    let relay = Relay::start_with(&["auth.restricted_kinds="]);
    let mut client = relay.connect();
    client.publish_all([&wrap(&key(2), 1059, now())]);
    assert_eq!(client.ids(&[json!({"kinds": [1059]})]).len(), 1);
}

#[test]
fn parts_of_private_messages_are_not_taken_bare() {
    // S12; NIP-17.2, NIP-EE.2
    let relay = Relay::start();
    let [mut client, mut listener] = [relay.connect(), relay.connect()];
    listener.stored("all", &[json!({"limit": 0})]);
    for kind in [13, 14, 15, 444] {
        client.publish(&key(1).event(kind, "plain", &[], now())).is_false("blocked", kind);
    }
    listener.assert_quiet();
    let relay = Relay::start_with(&["policy.refused_kinds=9734"]);
    let mut client = relay.connect();
    client.publish(&key(1).event(13, "sealed", &[], now())).is_true("", 13);
    client.publish(&key(1).event(9734, "", &[], now())).is_false("blocked", 9734);
}

#[test]
fn tokens_that_prove_something_are_not_passed_on() {
    // S11
    let relay = Relay::start();
    let [mut client, mut listener] = [relay.connect(), relay.connect()];
    listener.stored("all", &[json!({"limit": 0}), json!({"kinds": [27_235, 24_242]})]);
    for kind in [27_235, 24_242] {
        client.publish(&key(1).event(kind, "", &[], now()));
    }
    listener.assert_quiet();
}
