//! Bad input: whatever comes, the process and the other clients are unharmed (I9).

use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::client::Received;
use crate::harness::raw::{Mask, frame};
use crate::harness::{Client, Event, RawSocket, Relay, key, pick, seeded};

const AT: u64 = 1_700_000_000;

/// A client that must not notice what others do.
struct Witness {
    client: Client,
    count: u64,
}

impl Witness {
    fn new(relay: &Relay) -> Witness {
        let mut client = relay.connect();
        client.stored("witness", &[json!({"authors": [key(7).public()]})]);
        Witness { client, count: 0 }
    }

    /// Publishes, receives live, and asks: all of it works.
    #[track_caller]
    fn assert_served(&mut self) {
        self.count += 1;
        let event = key(7).note(&self.count.to_string(), AT + self.count);
        self.client.publish(&event).is_true("", "the witness");
        assert_eq!(self.client.live("witness"), event);
        assert_eq!(self.client.ids(&[json!({"ids": [event.id]})]), [event.id]);
    }
}

#[test]
fn frames_that_break_the_websocket_protocol_end_only_their_connection() {
    let mut relay = Relay::start();
    let mut witness = Witness::new(&relay);
    let text = b"[\"REQ\",\"x\",{\"limit\":0}]";
    let mut huge = vec![0x81, 0xff];
    huge.extend(u64::MAX.to_be_bytes());
    huge.extend([1, 2, 3, 4]);
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("unmasked", frame(0x81, Mask::No, text)),
        ("reserved bit 1", frame(0xc1, Mask::Yes, text)),
        ("reserved bit 2", frame(0xa1, Mask::Yes, text)),
        ("reserved bit 3", frame(0x91, Mask::Yes, text)),
        ("reserved opcode 3", frame(0x83, Mask::Yes, text)),
        ("reserved opcode 11", frame(0x8b, Mask::Yes, text)),
        ("continuation of nothing", frame(0x80, Mask::Yes, text)),
        (
            "text inside a fragmented text",
            [frame(0x01, Mask::Yes, b"["), frame(0x81, Mask::Yes, text)].concat(),
        ),
        ("fragmented ping", frame(0x09, Mask::Yes, b"x")),
        ("ping of 126 bytes", frame(0x89, Mask::Yes, &[b'x'; 126])),
        ("close with one byte", frame(0x88, Mask::Yes, &[3])),
        ("close with code 999", frame(0x88, Mask::Yes, &[0x03, 0xe7])),
        ("close with bad UTF-8", frame(0x88, Mask::Yes, &[0x03, 0xe8, 0xff])),
        ("length of 2^64-1", huge),
        ("http after the upgrade", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("noise", (0..=255).collect()),
    ];
    for (what, bytes) in rows {
        let mut socket = RawSocket::upgrade(relay.address());
        socket.send(&bytes);
        socket.finish_sending();
        let code = socket.end();
        let sound = code.is_none_or(|code| matches!(code, 1000 | 1002 | 1003 | 1007 | 1009));
        assert!(sound, "{what} ends with {code:?}");
        witness.assert_served();
    }
    relay.assert_serving();
}

#[test]
fn connections_that_stop_in_the_middle_harm_nobody() {
    let mut relay = Relay::start();
    let mut witness = Witness::new(&relay);
    let text = json!(["EVENT", key(1).note("half", AT).json()]).to_string();
    let whole = frame(0x81, Mask::Yes, text.as_bytes());
    let mut open = Vec::new();
    for at in [1, 2, 3, 4, 6, 8, 20, whole.len() - 1] {
        // Half a frame, then: silence, our side closed, everything closed.
        let mut silent = RawSocket::upgrade(relay.address());
        silent.send(&whole[..at]);
        open.push(silent);
        let mut closing = RawSocket::upgrade(relay.address());
        closing.send(&whole[..at]);
        closing.finish_sending();
        closing.end();
        let mut gone = RawSocket::upgrade(relay.address());
        gone.send(&whole[..at]);
        drop(gone);
    }
    // The same before the upgrade.
    let head = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    for at in [0, 1, 10, head.len()] {
        let mut silent = RawSocket::open(relay.address());
        silent.send(&head[..at]);
        open.push(silent);
        drop(RawSocket::open(relay.address()));
    }
    witness.assert_served();
    drop(open);
    witness.assert_served();
    // A client that leaves with everything under way.
    for _ in 0..10 {
        let mut client = relay.connect();
        for n in 0..20 {
            client.request(&n.to_string(), &[json!({})]);
            client.send(&json!(["EVENT", key(1).note(&n.to_string(), AT).json()]));
        }
    }
    witness.assert_served();
    relay.assert_serving();
}

#[test]
fn huge_and_strange_requests_are_answered_or_refused() {
    let mut relay = Relay::start();
    let mut witness = Witness::new(&relay);
    let mut client = relay.connect();
    let many = |count: usize| vec![json!({"kinds": [1]}); count];
    client.request("many", &many(200));
    client.until_eose("many");
    client.request("too many", &many(5000));
    let reason = client.closed("too many");
    assert!(reason.contains(": "), "{reason:?}");
    let ids: Vec<String> = (0..8000).map(|n| format!("{n:064x}")).collect();
    for filter in [
        json!({"ids": ids}),
        json!({"authors": ids}),
        json!({"#e": ids, "#p": ids}),
        json!({"#t": (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>()}),
        json!({"kinds": (0..60_000).collect::<Vec<u32>>()}),
        json!({"#t": ["x".repeat(1_000_000)]}),
        json!({"authors": ids[..1000], "kinds": (0..1000).collect::<Vec<u32>>()}),
        json!({"since": 0, "until": u64::MAX, "limit": u64::MAX}),
    ] {
        client.request("huge", &[filter]);
        client.until_eose("huge");
        witness.assert_served();
    }
    // Every letter at once, many values each.
    let mut filter = serde_json::Map::new();
    for letter in ('a'..='z').chain('A'..='Z').filter(|letter| !"ep".contains(*letter)) {
        let values: Vec<String> = (0..200).map(|n| format!("{letter}{n}")).collect();
        filter.insert(format!("#{letter}"), json!(values));
    }
    client.request("letters", &[Value::Object(filter)]);
    client.until_eose("letters");
    // An event whose every tag is indexed.
    let tags = (0..3000).map(|n| vec!["t".to_owned(), format!("{n}")]).collect();
    client.publish(&key(1).event_owned(1, "", tags, AT)).is_true("", "3000 tags");
    witness.assert_served();
    relay.assert_serving();
}

#[test]
fn messages_changed_at_random_are_answered_and_never_crash() {
    let mut random = seeded("hostile");
    let mut relay = Relay::start();
    let mut witness = Witness::new(&relay);
    let event = key(1).event(1, "x \u{e9} \"\\\n", &[&["e", &"a".repeat(64)], &["t", "x"]], AT);
    let seeds = [
        json!(["EVENT", event.json()]).to_string(),
        json!(["REQ", "x", {"kinds": [1], "#t": ["x"], "since": 5, "limit": 0}]).to_string(),
        json!(["CLOSE", "x"]).to_string(),
        json!(["COUNT", "x", {"authors": [key(1).public()]}]).to_string(),
        json!(["NEG-OPEN", "x", {"kinds": [1]}, "6100"]).to_string(),
        json!(["NEG-MSG", "x", "6100"]).to_string(),
        json!(["NEG-CLOSE", "x"]).to_string(),
        json!(["AUTH", event.json()]).to_string(),
    ];
    let pieces = [
        "[",
        "]",
        "{",
        "}",
        "\"",
        "\\",
        "\\u",
        "\\ud800",
        ",",
        ":",
        "null",
        "true",
        "-",
        "1e999",
        "99999999999999999999",
        "0.1",
        " ",
        "\u{0}",
        "\u{7f}",
        "\u{1f600}",
        "\"\":",
        "[[",
        "}}",
    ];
    let mut client = relay.connect();
    for round in 0..3000 {
        let mut text = pick(&mut random, &seeds).clone();
        for _ in 0..random.usize(1..4) {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let Some(&at) = places.get(random.usize(..places.len().max(1))) else { break };
            match random.u8(..4) {
                0 => text.insert_str(at, pick::<&str>(&mut random, &pieces)),
                1 => text.truncate(at),
                2 => drop(text.remove(at)),
                _ => {
                    let end = *pick(&mut random, &places);
                    let [from, to] = [at.min(end), at.max(end)];
                    text.replace_range(from..to, pick::<&str>(&mut random, &pieces));
                }
            }
        }
        client.send_text(text);
        if round % 500 == 499 {
            client.fence();
            witness.assert_served();
        }
    }
    relay.assert_serving();
}

#[test]
fn noise_in_place_of_a_client_harms_nobody() {
    let mut random = seeded("noise");
    let mut relay = Relay::start();
    let mut witness = Witness::new(&relay);
    for _ in 0..60 {
        let bytes: Vec<u8> = (0..random.usize(1..2000)).map(|_| random.u8(..)).collect();
        let mut socket = match random.bool() {
            true => RawSocket::upgrade(relay.address()),
            false => RawSocket::open(relay.address()),
        };
        socket.send(&bytes);
        socket.finish_sending();
        socket.read_to_end();
    }
    witness.assert_served();
    relay.assert_serving();
}

#[test]
fn a_flood_of_bad_events_costs_only_its_sender() {
    let mut relay = Relay::start();
    let mut witness = Witness::new(&relay);
    let mut client = relay.connect();
    let mut bad: Vec<Event> = (0..200).map(|n| key(1).note(&n.to_string(), AT + n)).collect();
    for event in &mut bad {
        event.sig = format!("{}00", &event.sig[..126]);
    }
    for event in &bad {
        client.send(&json!(["EVENT", event.json()]));
    }
    witness.assert_served();
    for event in &bad {
        client.verdict(&event.id).is_false("invalid", event);
    }
    // Answers that nobody reads do not pile up without bound either.
    let mut deaf = relay.connect();
    let junk = "x".repeat(1000);
    let before = relay.resident_bytes();
    let _ = deaf.stream().set_write_timeout(Some(std::time::Duration::from_millis(500)));
    let frame = frame(0x81, Mask::Yes, junk.as_bytes());
    for _ in 0..50_000 {
        // The relay may stop reading, or end the connection: both bound the harm.
        if std::io::Write::write_all(deaf.stream(), &frame).is_err() {
            break;
        }
    }
    witness.assert_served();
    let grown = relay.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "a client that only talks cost {grown} bytes");
    relay.assert_serving();
}

#[test]
fn more_connections_than_allowed_are_turned_away_and_room_comes_back() {
    // NIP-01.3
    let mut relay = Relay::start_with(&["server.max_connections=8"]);
    let mut held: Vec<Client> = (0..8).map(|_| relay.connect()).collect();
    for client in &mut held {
        client.stored("held", &[json!({"limit": 0})]);
    }
    for _ in 0..3 {
        let stream = TcpStream::connect(relay.address());
        let Ok(stream) = stream else { continue };
        let _ = stream.set_read_timeout(Some(crate::harness::PATIENCE));
        let upgraded = tungstenite::client(format!("ws://{}/", relay.address()), stream);
        assert!(upgraded.is_err(), "the ninth connection is turned away");
    }
    for client in &mut held {
        client.stored("held", &[json!({"limit": 0})]);
    }
    let mut first = held.remove(0);
    first.send_frame(tungstenite::Message::Close(None));
    first.end();
    drop(first);
    // The room comes back when the relay has noticed, which is soon.
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    loop {
        let stream = TcpStream::connect(relay.address()).expect("the port is open");
        let _ = stream.set_read_timeout(Some(crate::harness::PATIENCE));
        if tungstenite::client(format!("ws://{}/", relay.address()), stream).is_ok() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "room comes back");
    }
    drop(held);
    let _ = relay.stop(libc::SIGTERM);
}

#[test]
fn control_frames_without_end_are_answered_in_bounded_memory() {
    let mut relay = Relay::start();
    let mut witness = Witness::new(&relay);
    let mut client = relay.connect();
    for _ in 0..2000 {
        client.send_frame(tungstenite::Message::Ping(tungstenite::Bytes::from_static(b"flood")));
    }
    for _ in 0..2000 {
        client.wait_for("a pong", |received| matches!(received, Received::Pong(_)).then_some(()));
    }
    witness.assert_served();
    relay.assert_serving();
}
