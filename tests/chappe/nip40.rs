//! NIP-40, expiration: not accepted when over, not served when over, never mind the sweeper.

use serde_json::json;

use crate::harness::{Event, Relay, key, now, wait_until};

const AT: u64 = 1_700_000_000;

fn expiring(content: &str, expiry: &str) -> Event {
    key(1).event(1, content, &[&["t", "x"], &["expiration", expiry]], AT)
}

#[test]
fn an_event_that_is_already_over_is_invalid() {
    // F01; NIP-40.1, NIP-40.4: the first tag counts, over at its very second.
    let relay = Relay::start();
    let mut client = relay.connect();
    client.stored("live", &[json!({"kinds": [1]})]);
    for expiry in [now() - 10, now(), 1, 0] {
        let event = expiring("over", &expiry.to_string());
        client.publish(&event).is_false("invalid", format!("F01 {expiry}"));
        assert_eq!(client.ids(&[json!({"ids": [event.id]})]).len(), 0);
    }
    let [past, future] = [(now() - 10).to_string(), (now() + 1000).to_string()];
    let first_past: &[&[&str]] = &[&["expiration", &past], &["expiration", &future]];
    let event = key(1).event(1, "first over", first_past, AT);
    client.publish(&event).is_false("invalid", "the first tag is over");
    let first_future: &[&[&str]] = &[&["expiration", &future], &["expiration", &past]];
    client.assert_quiet();
    client.publish_all([&key(1).event(1, "second over", first_future, AT)]);
}

#[test]
fn an_event_expires_for_everyone_at_its_second() {
    // F02, F03, F07; NIP-40.2, NIP-40.6. The last stored event is one of those that expire.
    let relay = Relay::start();
    let mut client = relay.connect();
    let expiry = now() + 3;
    let lasting: Vec<Event> =
        (0..5).map(|n| key(1).event(1, &format!("{n}"), &[&["t", "x"]], AT - 10 + n)).collect();
    client.publish_all(&lasting);
    let text = expiry.to_string();
    let over: Vec<Event> = (0..5).map(|n| expiring(&format!("{n}"), &text)).collect();
    let profile = key(1).event(0, "", &[&["expiration", &text]], AT);
    let older = key(1).event(0, "", &[], AT - 1);
    client.publish_all([&older, &profile]);
    client.publish_all(&over);
    assert_eq!(client.ids(&[json!({"#t": ["x"], "limit": 5})]).len(), 5);
    assert_eq!(client.ids(&[json!({"#t": ["x"]})]).len(), 10, "F02 served before");
    wait_until(expiry);
    let rest: Vec<&str> = lasting.iter().rev().map(|event| event.id.as_str()).collect();
    let over_ids: Vec<&str> = over.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(client.ids(&[json!({"ids": over_ids})]).len(), 0, "F02, F03");
    for filter in [json!({}), json!({"#t": ["x"]}), json!({"kinds": [1]})] {
        let mut filter = filter;
        assert_eq!(client.ids(&[filter.clone()]), rest, "F03 {filter}");
        filter["limit"] = json!(5);
        assert_eq!(client.ids(&[filter.clone()]), rest, "F07 {filter}");
    }
    assert_eq!(client.count(&[json!({"#t": ["x"]})]), 5, "NIP-40.6 COUNT");
    assert_eq!(client.ids(&[json!({"kinds": [0]})]).len(), 0, "NIP-40.7 no older version");
    client.publish(&over[0]).is_false("invalid", "an expired event again");
    // Also commands do not serve them.
    let exported = relay.command(&["export"]).code(0).events();
    assert!(exported.iter().all(|event| !over_ids.contains(&event.id.as_str())), "export");
}

#[test]
fn a_value_that_is_no_number_of_seconds_does_not_expire() {
    // F04; NIP-40.4
    let relay = Relay::start();
    let mut client = relay.connect();
    let values = ["tomorrow", "", "-1", "1.5", "1e3", " 5", "5 ", "0x5", "+5", "\u{0665}"];
    for value in values {
        let event = expiring(value, value);
        client.publish(&event).is_true("", format!("F04 {value:?}"));
        assert_eq!(client.ids(&[json!({"ids": [event.id]})]), [event.id.as_str()]);
    }
    for value in ["18446744073709551615", "99999999999999999999999999", "1099511627776"] {
        let event = expiring(value, value);
        client.publish(&event).is_true("", format!("far away: {value}"));
        assert_eq!(client.ids(&[json!({"ids": [event.id]})]), [event.id.as_str()], "{value}");
    }
    let event = key(1).event(1, "no value", &[&["expiration"]], AT);
    client.publish(&event).is_true("", "no value");
    assert_eq!(client.ids(&[json!({"ids": [event.id]})]), [event.id.as_str()]);
}

#[test]
fn an_ephemeral_event_passes_whatever_its_expiration() {
    // F06; NIP-40.5
    let relay = Relay::start();
    let mut client = relay.connect();
    client.stored("live", &[json!({"kinds": [20_001]})]);
    let event = key(1).event(20_001, "", &[&["expiration", &(now() - 100).to_string()]], AT);
    client.publish(&event).is_true("", "F06");
    assert_eq!(client.live("live"), event);
}

#[test]
fn expired_events_are_gone_after_a_restart() {
    let mut relay = Relay::start();
    let expiry = now() + 2;
    let event = expiring("last", &expiry.to_string());
    relay.connect().publish_all([&event]);
    relay.kill();
    wait_until(expiry);
    relay.restart();
    assert_eq!(relay.connect().ids(&[json!({})]).len(), 0);
}
