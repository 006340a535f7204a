//! What clients are held to: rates for everybody's sake, bans, and who is left alone.

use serde_json::{Value, json};

use crate::harness::{Client, Relay, key, now};
use crate::observe::page_of;

/// A relay that measures clients of this machine, too.
fn strict(settings: &[&str]) -> Relay {
    Relay::start_with(&[&["guard.exempt="], settings].concat())
}

/// A client whose proxy says that it comes from this address.
fn from(relay: &Relay, address: &str) -> Client {
    let connected = try_from(relay, address);
    connected.unwrap_or_else(|status| panic!("{address} is let in, not answered {status}"))
}

fn try_from(relay: &Relay, address: &str) -> Result<Client, u16> {
    Client::connect_through(relay.address(), b"", &[("X-Forwarded-For", address)])
}

#[test]
fn too_many_events_are_refused_and_the_connection_lives() {
    // S08
    let relay = strict(&["rates_per_address.events=3/day"]);
    let mut client = from(&relay, "192.0.2.1");
    for number in 0..3 {
        let event = key(1).event(1, &number.to_string(), &[], now());
        client.publish(&event).is_true("", number);
    }
    let event = key(1).event(1, "one too many", &[], now());
    client.publish(&event).is_false("rate-limited", "the fourth");
    assert_eq!(client.stored("all", &[json!({})]).len(), 3);
    // Another connection of the same address is the same client, another address is not.
    from(&relay, "192.0.2.1").publish(&event).is_false("rate-limited", "the same address");
    from(&relay, "192.0.2.2").publish(&event).is_true("", "another address");
}

#[test]
fn too_many_questions_are_refused_in_the_words_of_each() {
    // S08
    let rates = ["requests", "counts", "reconciliations"];
    let rates = rates.map(|name| format!("rates_per_connection.{name}=1/day"));
    let relay = strict(&[&rates[0], &rates[1], &rates[2]]);
    let mut client = relay.connect();
    assert!(client.stored("a", &[json!({})]).is_empty());
    client.refused(&[json!({})], "rate-limited");
    assert_eq!(client.count(&[json!({})]), 0);
    client.send(&json!(["COUNT", "again", {}]));
    assert!(client.closed("again").starts_with("rate-limited: "));
    for (id, expected) in [("first", "NEG-MSG"), ("second", "NEG-ERR")] {
        client.send(&json!(["NEG-OPEN", id, {}, "61"]));
        let answer = client.wait_for_json("an answer", |it| (it[1] == id).then(|| it.clone()));
        assert_eq!(answer[0], expected, "{answer}");
        let is_rate = answer[2].as_str().is_some_and(|text| text.starts_with("rate-limited: "));
        assert_eq!(is_rate, expected == "NEG-ERR", "{answer}");
    }
    let mut other = relay.connect();
    assert!(other.stored("a", &[json!({})]).is_empty(), "each connection by itself");
}

/// Does something once; returns the reason if it is refused.
fn try_to(client: &mut Client, what: &str) -> Option<String> {
    let name = fastrand::u64(..).to_string();
    let message = match what {
        "events" => {
            let verdict = client.publish(&key(1).event(1, &name, &[], now()));
            return (!verdict.accepted).then_some(verdict.text);
        }
        "requests" => json!(["REQ", name, {}]),
        "counts" => json!(["COUNT", name, {}]),
        _ => json!(["NEG-OPEN", name, {}, "61"]),
    };
    client.send(&message);
    client.wait_for_json("an answer", |it| {
        let is_answer = it[1] == *name && it[0] != "EVENT";
        let refused = matches!(it[0].as_str(), Some("CLOSED" | "NEG-ERR"));
        is_answer.then(|| refused.then(|| it[2].as_str().unwrap_or_default().to_owned()))
    })
}

/// The number of one sample of a page of metrics.
fn sample(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{name} in {page}"))
}

#[test]
fn every_activity_is_measured_in_every_scope_and_each_refusal_is_counted() {
    let activities = ["events", "requests", "counts", "reconciliations"];
    for (scope, words) in [
        ("rates_per_address", "from this address"),
        ("rates_per_connection", "on this connection"),
        ("rates_per_key", "by this key"),
        ("rates_in_all", "by all clients together"),
    ] {
        let rates = activities.map(|it| format!("{scope}.{it}=1/day"));
        let own = rates.each_ref().map(String::as_str);
        let others = ["rates_per_address.events=off", "metrics.listen=127.0.0.1:0"];
        let settings = if scope == "rates_per_address" { &others[1..] } else { &others[..] };
        let relay = strict(&[&own, settings].concat());
        let mut client = from(&relay, "2001:db8::1");
        // In the first three the proof is an event as well.
        if scope == "rates_per_key" {
            client.authenticate(&key(1));
        }
        for what in activities {
            assert_eq!(try_to(&mut client, what), None, "{scope} {what}: the first");
            let refusal = try_to(&mut client, what).expect("the second is refused");
            let expected = format!("rate-limited: too much: {what} {words}; wait ");
            assert!(refusal.starts_with(&expected), "{scope} {what}: {refusal}");
        }
        let page = page_of(&relay);
        for activity in ["event", "request", "count", "reconcile"] {
            let name = format!("chappe_rate_limited_total{{activity=\"{activity}\"}}");
            assert!((sample(&page, &name) - 1.0).abs() < 0.1, "{scope} {activity}: {page}");
        }
        let refused =
            |of| sample(&page, &format!("chappe_{of}_refused_total{{reason=\"rate-limited\"}}"));
        assert!((refused("events") - 1.0).abs() < 0.1, "{scope}: {page}");
        assert!((refused("questions") - 3.0).abs() < 0.1, "{scope}: {page}");
        // Who is of the same scope is held to the same, who is not is not.
        let mut same_network = from(&relay, "2001:db8::2");
        let is_shared = matches!(scope, "rates_per_address" | "rates_in_all");
        assert_eq!(try_to(&mut same_network, "counts").is_some(), is_shared, "{scope}");
        let mut elsewhere = from(&relay, "2001:db8:0:1::1");
        assert_eq!(try_to(&mut elsewhere, "counts").is_some(), scope == "rates_in_all", "{scope}");
    }
}

#[test]
fn work_and_bytes_are_measured_in_every_scope() {
    for scope in ["rates_per_address", "rates_per_connection", "rates_per_key", "rates_in_all"] {
        let work = format!("{scope}.work=1/day");
        let bytes = format!("{scope}.bytes=10/s");
        let relay = strict(&[&work, "metrics.listen=127.0.0.1:0"]);
        let mut client = from(&relay, "192.0.2.1");
        if scope == "rates_per_key" {
            client.authenticate(&key(1));
        }
        client.publish(&key(1).event(1, "an event", &[], now())).is_true("", "an event");
        assert_eq!(client.stored("first", &[json!({})]).len(), 1);
        for what in ["requests", "counts", "reconciliations"] {
            let refusal = try_to(&mut client, what).expect("the second is refused");
            assert!(refusal.starts_with("rate-limited: too much: work "), "{scope}: {refusal}");
        }
        let relay = strict(&[&bytes, "metrics.listen=127.0.0.1:0"]);
        let mut client = from(&relay, "192.0.2.1");
        if scope == "rates_per_key" {
            client.authenticate(&key(1));
        }
        // Twenty bytes and more: read on after a second or two.
        client.count(&[json!({})]);
        client.count(&[json!({})]);
        let page = page_of(&relay);
        assert!(sample(&page, "chappe_rate_limited_total{activity=\"bytes\"}") >= 1.0, "{page}");
    }
}

#[test]
fn what_is_refused_for_another_reason_is_counted_too() {
    let relay = Relay::start_with(&[
        "limits.max_subscriptions=1",
        "limits.max_filters=2",
        "metrics.listen=127.0.0.1:0",
    ]);
    let mut client = relay.connect();
    client.stored("one", &[json!({})]);
    client.request("two", &[json!({})]);
    assert!(client.closed("two").starts_with("rate-limited: "));
    client.request("three", &[json!({}), json!({}), json!({})]);
    assert!(client.closed("three").starts_with("invalid: "));
    client.send(&json!(["REQ", "four", 4]));
    assert!(client.closed("four").starts_with("invalid: "));
    client.request("five", &[json!({"search": "x"})]);
    assert!(client.closed("five").starts_with("unsupported: "));
    client.send(&json!(["NEG-MSG", "six", "61"]));
    let is_error = |it: &Value| (it[0] == "NEG-ERR" && it[1] == "six").then_some(());
    client.wait_for_json("an answer", is_error);
    let page = page_of(&relay);
    for (reason, expected) in [("rate-limited", 1.0), ("invalid", 2.0), ("other", 2.0)] {
        let name = format!("chappe_questions_refused_total{{reason=\"{reason}\"}}");
        assert!((sample(&page, &name) - expected).abs() < 0.1, "{reason}: {page}");
    }
}

#[test]
fn requests_to_vanish_are_obeyed_however_many_events_came_before() {
    // NIP-62.5
    let relay = strict(&["rates_per_address.events=1/day", "rates_per_key.events=1/day"]);
    let mut client = relay.connect();
    client.publish(&key(1).event(1, "", &[], now())).is_true("", "the first");
    let vanish = key(1).event(62, "", &[&["relay", "ALL_RELAYS"]], now());
    client.publish(&vanish).is_true("", "a request to vanish");
}

#[test]
fn programs_on_this_machine_are_not_measured_unless_that_is_wanted() {
    let rates = ["rates_per_address.events=1/day", "rates_per_address.requests=1/day"];
    let relay = Relay::start_with(&rates);
    let mut client = relay.connect();
    for number in 0..5 {
        let event = key(1).event(1, &number.to_string(), &[], now());
        client.publish(&event).is_true("", number);
        assert_eq!(client.ids(&[json!({})]).len(), number + 1);
    }
    let mut other = from(&relay, "192.0.2.1");
    other.publish(&key(2).event(1, "", &[], now())).is_true("", "the first");
    other.publish(&key(2).event(1, "b", &[], now())).is_false("rate-limited", "the second");
}

#[test]
fn an_author_is_measured_wherever_events_come_from_and_only_by_what_was_signed() {
    let relay = strict(&["rates_per_key.events=2/day"]);
    let events: Vec<_> = (0..4).map(|at| key(1).event(1, &at.to_string(), &[], now())).collect();
    let mut forged = events[0].clone();
    forged.sig.replace_range(..2, if forged.sig.starts_with("00") { "11" } else { "00" });
    from(&relay, "192.0.2.9").publish(&forged).is_false("invalid", "somebody in that name");
    for (number, event) in events.iter().take(2).enumerate() {
        from(&relay, &format!("192.0.2.{number}")).publish(event).is_true("", number);
    }
    let mut client = from(&relay, "192.0.2.3");
    client.publish(&events[2]).is_false("rate-limited", "the third of this author");
    client.publish(&key(2).event(1, "", &[], now())).is_true("", "another author");
    // A burst is verified elsewhere, by the same rule.
    for event in &events {
        client.send(&json!(["EVENT", event.json()]));
    }
    for (event, expected) in events.iter().zip([true, true, false, false]) {
        assert_eq!(client.verdict(&event.id).accepted, expected);
    }
}

#[test]
fn whoever_has_caused_too_much_work_asks_nothing_more_for_a_while() {
    let relay = strict(&["rates_per_address.work=1/day"]);
    let mut client = from(&relay, "192.0.2.1");
    client.publish(&key(1).event(1, &"long".repeat(100), &[], now())).is_true("", "an event");
    assert_eq!(client.stored("first", &[json!({})]).len(), 1);
    client.refused(&[json!({})], "rate-limited");
    client.publish(&key(1).event(1, "", &[], now())).is_true("", "events are no questions");
    assert_eq!(from(&relay, "192.0.2.2").stored("first", &[json!({})]).len(), 2);
}

#[test]
fn a_query_that_costs_too_much_ends_and_the_connection_lives() {
    let relay = strict(&["guard.max_query_work=1", "limits.max_limit=100000"]);
    let mut client = relay.connect();
    // More than goes out in one piece.
    let text = "x".repeat(300_000);
    for number in 0..4 {
        let event = key(1).event(1, &format!("{text}{number}"), &[], now());
        client.publish(&event).is_true("", number);
    }
    client.request("all", &[json!({})]);
    assert!(client.closed("all").starts_with("rate-limited: "));
    assert_eq!(client.stored("one", &[json!({"limit": 1})]).len(), 1);
}

#[test]
fn bytes_beyond_the_rate_are_read_later_but_nothing_is_lost() {
    let relay = strict(&["rates_per_connection.bytes=2k/s"]);
    let mut client = relay.connect();
    let events: Vec<_> =
        (0..8).map(|at| key(1).event(1, &format!("{at}{}", "x".repeat(400)), &[], now())).collect();
    for event in &events {
        client.send(&json!(["EVENT", event.json()]));
    }
    for event in &events {
        client.verdict(&event.id).is_true("", "sooner or later");
    }
}

#[test]
fn an_address_that_keeps_sending_junk_is_banned_for_a_while_and_others_are_not() {
    let relay = strict(&["guard.ban_tolerance=100/day", "guard.ban_secs=3600"]);
    let mut client = from(&relay, "2001:db8::1");
    for _ in 0..6 {
        client.send_text("junk");
    }
    let notice = |it: &serde_json::Value| {
        let text = it[1].as_str().unwrap_or_default().to_owned();
        text.starts_with("rate-limited: ").then_some(text)
    };
    let text = client.wait_for_json("word of the ban", notice);
    assert!(text.contains("3600 seconds"), "{text}");
    assert_eq!(client.end(), Some(1008));
    assert_eq!(try_from(&relay, "2001:db8::2").err(), Some(403), "the same network");
    from(&relay, "2001:db8:0:1::1").stored("a", &[json!({})]);
}

#[test]
fn an_administrator_ends_a_ban() {
    let relay = strict(&["guard.ban_tolerance=20/day", "guard.ban_secs=3600"]);
    let mut client = from(&relay, "192.0.2.1");
    for _ in 0..3 {
        client.send_text("junk");
    }
    client.end();
    assert_eq!(try_from(&relay, "192.0.2.1").err(), Some(403));
    relay.command(&["admin", "unban", "192.0.2.1"]).code(0);
    from(&relay, "192.0.2.1").stored("a", &[json!({})]);
}

#[test]
fn a_ban_ends_by_itself() {
    let relay = strict(&["guard.ban_tolerance=20/day", "guard.ban_secs=1", "guard.max_ban_secs=1"]);
    let mut client = from(&relay, "192.0.2.1");
    for _ in 0..3 {
        client.send_text("junk");
    }
    client.end();
    let patience = std::time::Instant::now() + crate::harness::PATIENCE;
    while let Err(status) = try_from(&relay, "192.0.2.1") {
        assert_eq!(status, 403);
        assert!(std::time::Instant::now() < patience, "a ban of one second ends");
    }
}

#[test]
fn an_address_has_so_many_connections_and_some_have_none() {
    let settings = ["guard.max_connections_per_address=2", "guard.denied=192.0.2.0/28"];
    let relay = strict(&settings);
    let first = from(&relay, "192.0.2.100");
    let _second = from(&relay, "192.0.2.100");
    assert_eq!(try_from(&relay, "192.0.2.100").err(), Some(429));
    from(&relay, "192.0.2.101");
    drop(first);
    let patience = std::time::Instant::now() + crate::harness::PATIENCE;
    while try_from(&relay, "192.0.2.100").is_err() {
        assert!(std::time::Instant::now() < patience, "a place is free again");
    }
    assert_eq!(try_from(&relay, "192.0.2.7").err(), Some(403));
    let relay = strict(&["rates_per_address.connections=1/day"]);
    from(&relay, "192.0.2.100");
    assert_eq!(try_from(&relay, "192.0.2.100").err(), Some(429));
}
