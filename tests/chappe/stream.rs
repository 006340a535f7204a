//! `relay stream`: what comes to one relay comes to the others, and what was missed is made up for.

use serde_json::json;

use crate::harness::process::{Running, start};
use crate::harness::proxy::{Proxy, Trouble};
use crate::harness::script::scripted;
use crate::harness::{Client, Event, Relay, command, key, now};

fn url(relay: &Relay) -> String {
    format!("ws://{}", relay.address())
}

/// Starts following, beside the relay that serves the same store.
fn follow(relay: &Relay, urls: &[&str], more: &[&str]) -> Running {
    start(&[&["stream", "--data", relay.data(), "--json"], urls, more].concat())
}

fn listener(relay: &Relay) -> Client {
    let mut client = relay.connect();
    client.stored("live", &[json!({"kinds": [1]})]);
    client
}

fn note(text: &str) -> Event {
    key(1).note(text, now())
}

#[test]
fn what_comes_to_one_relay_comes_to_the_other_both_ways() {
    let (here, there) = (Relay::start(), Relay::start());
    let (before_here, before_there) = (note("before, here"), note("before, there"));
    here.connect().publish(&before_here).is_true("", "before");
    there.connect().publish(&before_there).is_true("", "before");
    let (mut near, mut far) = (here.connect(), there.connect());
    for client in [&mut near, &mut far] {
        client.stored("live", &[json!({"kinds": [1], "since": now() - 1000, "limit": 0})]);
    }
    let running = follow(&here, &[&url(&there)], &["--dir", "both"]);
    assert_eq!(near.live("live").id, before_there.id);
    assert_eq!(far.live("live").id, before_here.id);
    for n in 0..20 {
        let (down, up) = (note(&format!("down {n}")), note(&format!("up {n}")));
        far.publish(&down).is_true("", &down);
        near.publish(&up).is_true("", &up);
        for (client, expected) in [(&mut near, [&down, &up]), (&mut far, [&up, &down])] {
            let mut found = [client.live("live").id, client.live("live").id];
            found.sort();
            let mut expected = expected.map(|event| event.id.clone());
            expected.sort();
            assert_eq!(found, expected);
        }
    }
    running.signal(libc::SIGINT);
    let said = running.wait().code(130).json();
    assert_eq!(said["stored"], 21, "{said}");
    let sent = said["peers"][0]["sent"].as_u64().expect("a count");
    assert!((20..=21).contains(&sent), "what came down is not sent back: {said}");
}

#[test]
fn whatever_came_while_the_line_was_cut_is_made_up_for() {
    let (here, there) = (Relay::start(), Relay::start());
    let cut = |bytes| Trouble { cut_after: Some(bytes), ..Trouble::default() };
    let proxy = Proxy::start(
        there.address(),
        vec![cut(900), cut(3_000), cut(6_000), cut(9_000), Trouble::default()],
    );
    let mut near = listener(&here);
    let running = follow(&here, &[&proxy.url()], &[]);
    let mut far = there.connect();
    let mut expected = Vec::new();
    for n in 0..60 {
        let event = note(&format!("note {n} {}", "x".repeat(200)));
        far.publish(&event).is_true("", &event);
        expected.push(event.id.clone());
        if n % 20 == 0 {
            // Let it get that far: the line breaks under way.
            let mut found = near.live("live").id;
            while found != event.id {
                expected.retain(|id| *id != found);
                found = near.live("live").id;
            }
            expected.retain(|id| *id != found);
        }
    }
    while !expected.is_empty() {
        let found = near.live("live").id;
        expected.retain(|id| *id != found);
    }
    assert!(proxy.connections() > 1, "nothing was cut");
    running.signal(libc::SIGINT);
    running.wait().code(130);
}

#[test]
fn several_relays_are_followed_at_once_and_one_that_fails_is_left() {
    let (here, first, second) = (Relay::start(), Relay::start(), Relay::start());
    let broken = scripted(|talk, message| {
        if message[0] == "NEG-OPEN" {
            while talk.say_text("nonsense") {}
        }
    });
    let mut near = listener(&here);
    let running = follow(&here, &[&url(&first), &broken, &url(&second)], &[]);
    for relay in [&first, &second] {
        let event = note("hello");
        let event =
            key(if std::ptr::eq(relay, &first) { 1 } else { 2 }).note(&event.content, now());
        relay.connect().publish(&event).is_true("", &event);
        assert_eq!(near.live("live").id, event.id);
    }
    running.signal(libc::SIGINT);
    running.wait().code(130).says("no message of a relay");
    let alone = command(&["stream", &broken, "--data", here.data()]);
    alone.code(1).says("no message of a relay");
}
