//! NIP-02, follow lists.

use serde_json::json;

use crate::harness::{Relay, fixture, key};

const AT: u64 = 1_700_000_000;

#[test]
fn a_newer_follow_list_supersedes_the_past_ones() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let [one, two] = [key(2).public().to_owned(), key(3).public().to_owned()];
    let first = key(1).event(3, "", &[&["p", &one, "wss://example.com", "alice"]], AT);
    let second = key(1).event(3, "", &[&["p", &two], &["p", &one]], AT + 1);
    client.publish_all([&first, &second]);
    assert_eq!(client.ids(&[json!({"kinds": [3]})]), [second.id.as_str()]);
    assert_eq!(client.ids(&[json!({"kinds": [3], "#p": [two]})]), [second.id.as_str()]);
    client.publish(&first).is_false("duplicate", "the past list");
    let third = key(1).event(3, "", &[&["p", &two]], AT + 2);
    client.publish_all([&third]);
    assert_eq!(client.ids(&[json!({"#p": [one]})]).len(), 0, "the past list is not found by p");
}

#[test]
fn followers_are_found_by_p() {
    let relay = Relay::start();
    let mut client = relay.connect();
    let lists = ["FOL2", "FOL3", "FOL4", "FOL5"].map(fixture);
    client.publish_all(&lists);
    let mut expected: Vec<String> = lists.iter().map(|list| list.id.clone()).collect();
    expected.sort();
    assert_eq!(client.ids(&[json!({"kinds": [3], "#p": [key(1).public()]})]), expected);
}

#[test]
fn ten_thousand_follows_fit() {
    // B36; NIP-02.2
    let relay = Relay::start();
    let mut client = relay.connect();
    let followed =
        |number: u32| format!("{:064x}", u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let tags: Vec<Vec<String>> =
        (0..10_000).map(|number| vec!["p".to_owned(), followed(number)]).collect();
    let list = key(1).event_owned(3, "", tags.clone(), AT);
    client.publish_all([&list]);
    for number in [0, 1, 5000, 9999] {
        let filter = json!({"kinds": [3], "#p": [followed(number)]});
        assert_eq!(client.stored("follows", &[filter]), [list.clone()]);
    }
    let shorter = key(1).event_owned(3, "", tags[1..].to_vec(), AT + 1);
    client.publish_all([&shorter]);
    assert_eq!(client.ids(&[json!({"#p": [followed(0)]})]).len(), 0);
    assert_eq!(client.ids(&[json!({"#p": [followed(1)]})]), [shorter.id.as_str()]);
}
