//! NIP-26, delegation: who is found by whose name, if the relay is told to honour it.

use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::{Event, Key, Relay, http, key};

const AT: u64 = 1_700_000_000;

fn honouring() -> Relay {
    Relay::start_with(&["delegation.enabled=true"])
}

/// The tag by which key 1 lets an author speak for it.
fn word(author: &Key, conditions: &str) -> Vec<String> {
    let text = format!("nostr:delegation:{}:{conditions}", author.public());
    let token = key(1).sign_text(&text);
    ["delegation", key(1).public(), conditions, &token].map(str::to_owned).to_vec()
}

/// A note of key 2 in the name of key 1.
fn delegated(content: &str, conditions: &str, at: u64) -> Event {
    let tags = vec![word(&key(2), conditions), ["t", "x"].map(str::to_owned).to_vec()];
    key(2).event_owned(1, content, tags, at)
}

fn of_key_1() -> Value {
    json!({"authors": [key(1).public()]})
}

/// The ids that a reconciliation gives out.
#[track_caller]
fn reconciled(client: &mut Client, filter: &Value) -> Vec<String> {
    client.send(&json!(["NEG-OPEN", "ids", filter, "6100000200"]));
    let answer = client.wait_for_json("an answer", |message| {
        let is_answer = message[0] == "NEG-MSG" && message[1] == "ids";
        is_answer.then(|| message[2].as_str().expect("a text is third").to_owned())
    });
    let Some(list) = answer.strip_prefix("61000002") else { return Vec::new() };
    let start = list.len() % 64;
    list.as_bytes()[start..].chunks(64).map(|id| String::from_utf8_lossy(id).into()).collect()
}

#[test]
fn the_document_names_26_only_where_it_is_honoured() {
    for (relay, expected) in [(Relay::start(), false), (honouring(), true)] {
        let accept = [("Accept", "application/nostr+json")];
        let document = http(relay.address(), "GET", "/", &accept).json();
        let nips = document["supported_nips"].as_array().expect("a list");
        assert_eq!(nips.contains(&json!(26)), expected);
    }
}

#[test]
fn relays_answer_requests_for_authors_by_the_delegation_tag_too() {
    // S04; NIP-26.1
    let relay = honouring();
    let [mut client, mut listener] = [relay.connect(), relay.connect()];
    listener.stored("live", &[of_key_1()]);
    let own = key(1).note("own", AT);
    let notes: Vec<Event> =
        (1..4).map(|number| delegated(&number.to_string(), "kind=1", AT + number)).collect();
    client.publish_all([&own, &notes[0], &notes[1], &notes[2]]);
    for event in [&own, &notes[0], &notes[1], &notes[2]] {
        assert_eq!(listener.live("live").id, event.id);
    }
    let all = [&notes[2].id, &notes[1].id, &notes[0].id, &own.id];
    let both = json!([key(1).public(), key(2).public()]);
    let rows: [(Value, &[&String]); 8] = [
        (of_key_1(), &all),
        (json!({"authors": [key(1).public()], "kinds": [1]}), &all),
        (json!({"authors": [key(1).public()], "limit": 2}), &all[..2]),
        (json!({"authors": [key(1).public()], "#t": ["x"]}), &all[..3]),
        (json!({"authors": [key(1).public()], "until": AT + 1}), &all[2..]),
        (json!({"authors": [key(1).public()], "ids": [notes[0].id]}), &all[2..3]),
        (json!({"authors": both}), &all),
        (json!({"authors": [key(2).public()]}), &all[..3]),
    ];
    for (filter, expected) in rows {
        let found = client.ids(&[filter.clone()]);
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filter}");
        if filter["limit"].is_null() {
            assert_eq!(client.count(&[filter.clone()]), expected.len() as u64, "COUNT {filter}");
        }
        let mut ids = reconciled(&mut client, &filter);
        ids.sort_unstable();
        let mut expected: Vec<String> = expected.iter().map(|id| (*id).clone()).collect();
        expected.sort_unstable();
        assert_eq!(ids, expected, "NEG-OPEN {filter}");
    }
}

#[test]
fn a_delegation_that_does_not_hold_is_no_delegation_and_the_event_is_its_authors() {
    // S04; NIP-26.3, NIP-26.4
    let relay = honouring();
    let mut client = relay.connect();
    client.stored("live", &[of_key_1()]);
    let within = format!("kind=1&created_at>{}&created_at<{}", AT - 1, AT + 1);
    let good = delegated("good", &within, AT);
    let stolen = key(3).event_owned(1, "", vec![word(&key(2), "kind=1")], AT);
    let mut forged = word(&key(2), "kind=1");
    let end = if forged[3].ends_with('0') { "1" } else { "0" };
    forged[3].replace_range(127.., end);
    let bad = [
        delegated("another kind", "kind=7", AT),
        delegated("too late", &within, AT + 1),
        delegated("too early", &within, AT - 1),
        delegated("nothing known", "kind=1&x=1", AT),
        delegated("no condition", "", AT),
        key(2).event_owned(1, "forged", vec![forged], AT),
        key(2).event(1, "short", &[&["delegation", key(1).public()]], AT),
        stolen,
    ];
    client.publish_all(bad.iter().chain([&good]));
    assert_eq!(client.live("live").id, good.id);
    assert_eq!(client.ids(&[of_key_1()]), [good.id.as_str()]);
    assert_eq!(client.ids(&[json!({"authors": [key(2).public()]})]).len(), 8);
    client.assert_quiet();
}

#[test]
fn without_the_setting_an_event_is_found_by_its_author_alone() {
    let relay = Relay::start();
    let mut client = relay.connect();
    client.stored("live", &[of_key_1()]);
    let note = delegated("note", "kind=1", AT);
    client.publish_all([&note]);
    assert!(client.ids(&[of_key_1()]).is_empty());
    assert_eq!(client.count(&[of_key_1()]), 0);
    assert_eq!(client.ids(&[json!({"authors": [key(2).public()]})]), [note.id.as_str()]);
    client.assert_quiet();
}

#[test]
fn the_delegator_may_delete_what_was_made_in_its_name() {
    // S04; NIP-26.2
    let relay = honouring();
    let mut client = relay.connect();
    let [first, second, late] = ["1", "2", "3"].map(|it| delegated(it, "kind=1", AT));
    let broken = delegated("broken", "kind=7", AT);
    client.publish_all([&first, &second, &broken]);
    let delete = |author: &Key, event: &Event| author.event(5, "", &[&["e", &event.id]], AT + 1);
    client.publish_all([&delete(&key(3), &second), &delete(&key(1), &broken)]);
    client.publish_all([&delete(&key(1), &first), &delete(&key(1), &late)]);
    client.publish(&late).is_false("blocked", "its deletion was there before it");
    client.publish(&first).is_false("blocked", "it does not come back");
    let left = client.ids(&[json!({"kinds": [1]})]);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.contains(&second.id) && left.contains(&broken.id), "{left:?}");
}

#[test]
fn by_address_the_delegator_deletes_what_was_made_in_its_name_there() {
    // NIP-09.14: the address has the key of who signed, so of the versions there some may speak for
    // the delegator, and others for nobody but their author.
    let relay = honouring();
    let mut client = relay.connect();
    let article = |d: &str, is_delegated: bool, at: u64| {
        let mut tags = vec![["d", d].map(str::to_owned).to_vec()];
        tags.extend(is_delegated.then(|| word(&key(2), "kind=30023")));
        key(2).event_owned(30_023, d, tags, at)
    };
    let delete = |author: &Key, d: &str, at: u64| {
        let address = format!("30023:{}:{d}", key(2).public());
        author.event(5, "", &[&["a", &address]], at)
    };
    let [mine, other] = [article("mine", true, AT), article("other", true, AT)];
    let [own, newer] = [article("own", false, AT), article("newer", true, AT + 9)];
    client.publish_all([&mine, &other, &own, &newer]);
    client.publish_all([&delete(&key(3), "other", AT + 1), &delete(&key(1), "own", AT + 1)]);
    client.publish_all([&delete(&key(1), "mine", AT + 1), &delete(&key(1), "newer", AT + 1)]);
    let mut left = client.ids(&[json!({"kinds": [30_023]})]);
    let mut expected = [&other, &own, &newer].map(|it| it.id.clone());
    left.sort_unstable();
    expected.sort_unstable();
    assert_eq!(left, expected);
    client.publish(&mine).is_false("blocked", "it does not come back");
    client.publish(&article("mine", true, AT + 1)).is_false("blocked", "as old as the request");
    client.publish(&article("mine", false, AT + 1)).is_true("", "in nobody's name but its own");
    client.publish(&article("own", false, AT + 1)).is_true("", "so is this");
}

#[test]
fn without_the_setting_nobody_deletes_for_others() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let note = delegated("note", "kind=1", AT);
    let request = key(1).event(5, "", &[&["e", &note.id]], AT + 1);
    client.publish_all([&note, &request]);
    assert_eq!(client.ids(&[json!({"kinds": [1]})]), [note.id.as_str()]);
    client.publish(&note).is_true("duplicate", "it is there");
    let tags = vec![["d", "x"].map(str::to_owned).to_vec(), word(&key(2), "kind=30023")];
    let article = key(2).event_owned(30_023, "", tags, AT);
    let address = format!("30023:{}:x", key(2).public());
    client.publish_all([&article, &key(1).event(5, "", &[&["a", &address]], AT + 1)]);
    assert_eq!(client.ids(&[json!({"kinds": [30_023]})]), [article.id]);
}
