//! NIP-01, communication between clients and relays: frames, messages, and what is no message.

use serde_json::json;
use tungstenite::{Bytes, Message};

use crate::harness::client::Received;
use crate::harness::raw::{Frame, Mask, RawSocket, UPGRADE};
use crate::harness::{Client, Relay, command, fixture, http, key};

#[test]
fn a_websocket_is_served_on_exactly_one_path() {
    // A01, A02; NIP-01.2: the path is `/`, a query string is ignored.
    let relay = Relay::start();
    let rows = [
        ("/", 101),
        ("/?utm=1", 101),
        ("/nostr", 404),
        ("/index.html", 404),
        ("//", 404),
        ("/%2F", 404),
        ("/.well-known/none", 404),
    ];
    for (path, status) in rows {
        assert_eq!(http(relay.address(), "GET", path, &UPGRADE).status, status, "upgrade {path}");
    }
}

#[test]
fn an_upgrade_that_is_none_is_answered_in_http() {
    let relay = Relay::start();
    let rows: [(&str, &[(&str, &str)]); 4] = [
        ("no key", &UPGRADE[..3]),
        ("another version", &[UPGRADE[0], UPGRADE[1], ("Sec-WebSocket-Version", "8"), UPGRADE[3]]),
        ("another protocol", &[UPGRADE[0], ("Upgrade", "h2c"), UPGRADE[2], UPGRADE[3]]),
        ("no upgrade", &[("Connection", "close")]),
    ];
    for (what, headers) in rows {
        let status = http(relay.address(), "GET", "/", headers).status;
        let sound = status != 101 && status < 500;
        assert!(sound, "{what} is answered with {status}");
    }
    // Header names and tokens have no case, and Connection is a list.
    let browser = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        UPGRADE[2],
        UPGRADE[3],
        ("Origin", "https://example.com"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    ];
    let response = http(relay.address(), "GET", "/", &browser);
    assert_eq!(response.status, 101, "{response:?}");
    let accept = response.header("sec-websocket-accept");
    assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the answer to the sample key");
}

#[test]
fn what_is_no_message_gets_a_notice_and_the_connection_stays_usable() {
    // A03, A04, A05; NIP-01.7
    let relay = Relay::start();
    let mut client = relay.connect();
    let rows = [
        "hello",
        "",
        " ",
        "\n",
        "{}",
        "null",
        "5",
        "\"EVENT\"",
        "[]",
        "[1]",
        "[null]",
        "[[\"REQ\"]]",
        "[\"\"]",
        "[\"FOO\",\"x\"]",
        "[\"event\",{}]",
        "[\"EVENT\"]",
        "[\"EVENT\",null]",
        "[\"EVENT\",5]",
        "[\"EVENT\",\"x\"]",
        "[\"EVENT\",[]]",
        "[\"REQ\"]",
        "[\"REQ\",5,{}]",
        "[\"REQ\",null,{}]",
        "[\"REQ\",{}]",
        "[\"CLOSE\"]",
        "[\"CLOSE\",5]",
        "[\"REQ\" \"x\",{}]",
        "[\"REQ\",'x',{}]",
        "\u{feff}[\"REQ\",\"x\",{}]",
    ];
    for row in rows {
        client.send_text(row);
        let answer = client.wait_for(&format!("a NOTICE about {row:?}"), |received| {
            let Received::Json(text, value) = received else { return None };
            Some((text.clone(), value.clone()))
        });
        assert_eq!(answer.1[0], "NOTICE", "{row:?} is answered with {}", answer.0);
        assert_eq!(answer.1.as_array().map(Vec::len), Some(2), "{}", answer.0);
    }
    // Where the subscription could be read, CLOSED tells more than a NOTICE.
    let rows = [
        "[\"REQ\",\"x\",{}",
        "[\"REQ\",\"x\",{}]]",
        "[\"REQ\",\"x\",{}] x",
        "[\"REQ\",\"x\",{},]",
        "[\"REQ\",\"x\",{\"kinds\":[1}]",
    ];
    for row in rows {
        client.send_text(row);
        client.wait_for_json(&format!("a refusal of {row:?}"), |message| {
            let invalid = || message[2].as_str().is_some_and(|text| text.starts_with("invalid: "));
            let is_closed = message[0] == "CLOSED" && message[1] == "x" && invalid();
            assert!(message[0] == "NOTICE" || is_closed, "{row:?} is answered with {message}");
            Some(())
        });
    }
    client.stored("after", &[json!({"kinds": [1]})]);
    client.assert_quiet();
}

#[test]
fn any_legal_json_is_accepted_whatever_its_whitespace_and_surplus() {
    // A13, NIP-01.7, NIP-01.8
    let relay = Relay::start();
    let mut client = relay.connect();
    client.send_text(" \n\t\r[ \"REQ\" ,\n\"x\" , { \"kinds\" : [ 1 , 2 ] , \"limit\":3 } ] \n");
    assert_eq!(client.until_eose("x"), []);
    client.send_text(r#"["\u0052EQ","\u0079",{"\u006binds":[1]}]"#);
    assert_eq!(client.until_eose("y"), []);
    client.send(&json!(["CLOSE", "x", "surplus", {"any": [1, null]}]));
    let event = fixture("S1");
    client.send(&json!(["EVENT", event.json(), "surplus"]));
    client.verdict(&event.id).is_true("", "an EVENT with a surplus element");
    assert_eq!(client.live("y"), event);
    client.assert_quiet();
}

#[test]
fn a_binary_frame_gets_a_notice_or_close_1003() {
    // A06
    let mut relay = Relay::start();
    let mut client = relay.connect();
    client.send_frame(Message::Binary(Bytes::from_static(b"[\"REQ\",\"x\",{}]")));
    let answered = client.wait_for("a NOTICE or the end", |received| match received {
        Received::Json(_, value) => Some(value[0] == "NOTICE"),
        Received::End(code) => Some(*code == Some(1003)),
        Received::Pong(_) => None,
    });
    assert!(answered, "neither a NOTICE nor close 1003");
    relay.assert_serving();
}

#[test]
fn text_that_is_not_utf8_gets_close_1007_or_a_notice() {
    // A07
    let mut relay = Relay::start();
    let rows: [&[u8]; 5] = [
        b"[\"REQ\",\"\xff\",{}]",
        b"[\"REQ\",\"\xc3\",{}]",
        b"[\"REQ\",\"\xed\xa0\x80\",{}]",
        b"[\"REQ\",\"\xc0\xaf\",{}]",
        b"\x80",
    ];
    for row in rows {
        let mut socket = RawSocket::upgrade(relay.address());
        socket.send_frame(0x81, Mask::Yes, row);
        match socket.read_frame() {
            Frame::Close(code) => assert_eq!(code, Some(1007), "{row:?}"),
            Frame::Data(1, text) => assert!(text.starts_with(b"[\"NOTICE\""), "{row:?}: {text:?}"),
            other => panic!("{row:?} is answered with {other:?}"),
        }
    }
    relay.assert_serving();
}

#[test]
fn a_message_may_come_in_fragments_with_control_frames_between() {
    // A08
    let relay = Relay::start();
    let mut socket = RawSocket::upgrade(relay.address());
    let event = key(1).note("split inside \u{1f600} a character", 1_700_000_000);
    let text = json!(["EVENT", event.json()]).to_string().into_bytes();
    let emoji = text.windows(4).position(|bytes| bytes == "\u{1f600}".as_bytes());
    let cut = emoji.expect("the content has the character") + 2;
    socket.send_frame(0x01, Mask::Yes, &text[..10]);
    socket.send_frame(0x00, Mask::Yes, &text[10..cut]);
    socket.send_frame(0x89, Mask::Yes, b"between");
    socket.send_frame(0x00, Mask::Yes, b"");
    socket.send_frame(0x80, Mask::Yes, &text[cut..]);
    assert_eq!(socket.read_frame(), Frame::Data(10, b"between".to_vec()), "the pong");
    let expected = format!("[\"OK\",\"{}\",true,\"\"]", event.id).into_bytes();
    assert_eq!(socket.read_frame(), Frame::Data(1, expected));
}

#[test]
fn bytes_may_arrive_one_at_a_time_and_many_frames_in_one_segment() {
    let relay = Relay::start();
    let mut socket = RawSocket::upgrade(relay.address());
    for byte in crate::harness::raw::frame(0x81, Mask::Yes, b"[\"REQ\",\"slow\",{\"limit\":0}]") {
        socket.send(&[byte]);
    }
    assert_eq!(socket.read_frame(), Frame::Data(1, b"[\"EOSE\",\"slow\"]".to_vec()));
    let message = |number: u32| format!("[\"REQ\",\"{number}\",{{\"limit\":0}}]");
    let frames: Vec<u8> = (0..50)
        .flat_map(|number| crate::harness::raw::frame(0x81, Mask::Yes, message(number).as_bytes()))
        .collect();
    socket.send(&frames);
    for number in 0..50 {
        let expected = format!("[\"EOSE\",\"{number}\"]").into_bytes();
        assert_eq!(socket.read_frame(), Frame::Data(1, expected));
    }
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    // A09
    let relay = Relay::start();
    let mut client = relay.connect();
    for payload in ["", "ping", &"x".repeat(125)] {
        client.send_frame(Message::Ping(Bytes::copy_from_slice(payload.as_bytes())));
        let pong = client.wait_for("a pong", |received| match received {
            Received::Pong(payload) => Some(payload.clone()),
            _ => None,
        });
        assert_eq!(pong, payload.as_bytes());
    }
}

#[test]
fn a_close_is_answered_with_a_close() {
    let mut relay = Relay::start();
    let mut socket = RawSocket::upgrade(relay.address());
    socket.send_frame(0x88, Mask::Yes, &[0x03, 0xe8]);
    assert_eq!(socket.read_frame(), Frame::Close(Some(1000)));
    assert_eq!(socket.read_frame(), Frame::End, "the relay ends the TCP connection");
    relay.assert_serving();
}

#[test]
fn a_message_may_have_the_advertised_size_and_not_a_byte_more() {
    // A11
    let mut relay = Relay::start_with(&["limits.max_message_bytes=65536"]);
    let mut other = relay.connect();
    other.stored("other", &[json!({"limit": 0})]);
    let sized = |bytes: usize| {
        let [head, tail] = ["[\"REQ\",\"sized\",{\"limit\":0}", "]"];
        format!("{head}{}{tail}", " ".repeat(bytes - head.len() - tail.len()))
    };
    let mut client = relay.connect();
    client.send_text(sized(65_536));
    assert_eq!(client.until_eose("sized"), []);
    client.send_text(sized(65_537));
    let refused = client.wait_for("a NOTICE or the end", |received| match received {
        Received::Json(_, value) => Some(value[0] == "NOTICE"),
        Received::End(code) => Some(*code == Some(1009)),
        Received::Pong(_) => None,
    });
    assert!(refused, "neither a NOTICE nor close 1009");
    // The bound also holds for a message in fragments, each of them small.
    let mut socket = RawSocket::upgrade(relay.address());
    socket.send_frame(0x01, Mask::Yes, b"[\"REQ\",\"x\",{");
    for _ in 0..80 {
        socket.send_frame(0x00, Mask::Yes, &[b' '; 1024]);
    }
    socket.send_frame(0x80, Mask::Yes, b"}]");
    match socket.read_frame() {
        Frame::Close(code) => assert_eq!(code, Some(1009)),
        Frame::Data(1, text) => assert!(text.starts_with(b"[\"NOTICE\""), "{text:?}"),
        Frame::End => {}
        other => panic!("too many fragments are answered with {other:?}"),
    }
    other.assert_quiet();
    relay.assert_serving();
}

#[test]
fn json_nested_a_hundred_thousand_deep_harms_nothing() {
    // A12
    let mut relay = Relay::start();
    let deep = |open: &str| open.repeat(100_000);
    let rows = [
        deep("["),
        deep("[") + &"]".repeat(100_000),
        deep("{\"a\":"),
        format!("[\"REQ\",\"deep\",{}", deep("[")),
        format!("[\"REQ\",\"deep\",{{\"x\":{}", deep("{\"x\":")),
        format!("[\"EVENT\",{{\"tags\":{}", deep("[")),
        format!("[\"EVENT\",{{\"foo\":{}{}}}]", deep("["), "]".repeat(100_000)),
        format!("[\"FOO\",{}{}]", deep("["), "]".repeat(100_000)),
    ];
    for row in rows {
        let mut client = relay.connect();
        let shown = row[..30].to_owned();
        client.send_text(row);
        client.wait_for(&format!("an answer to {shown:?}.."), |received| match received {
            Received::Json(_, value) => {
                let refused = value[0] == "NOTICE" || value[0] == "CLOSED" || value[2] == false;
                assert!(refused, "{shown:?}.. is answered with {value}");
                Some(())
            }
            Received::End(_) => Some(()),
            Received::Pong(_) => None,
        });
    }
    relay.assert_serving();
}

#[test]
fn two_hundred_pipelined_events_get_two_hundred_answers() {
    // A14
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<_> =
        (0..200).map(|number| key(1).note(&format!("{number}"), 1_700_000_000 + number)).collect();
    for event in &events {
        client.send(&json!(["EVENT", event.json()]));
    }
    for event in &events {
        client.verdict(&event.id).is_true("", event);
    }
    client.assert_quiet();
}

#[test]
fn messages_to_clients_are_compact_and_begin_as_clients_expect() {
    // A15; NIP-01.9, NIP-01.10
    let relay = Relay::start();
    let mut client = relay.connect();
    let event = key(1).event(1, "a  b\n\t{ } [ , ] \" : \\", &[&["t", " x , y "]], 1_700_000_000);
    client.publish(&event).is_true("", &event);
    let longest = "s".repeat(64);
    let subscriptions =
        ["a", longest.as_str(), "q\"b\\s", "tab\tlf\nnul\u{0}", "\u{1f600}\u{2028}/"];
    for subscription in subscriptions {
        let other = key(2).event(20_001, subscription, &[], 1_700_000_000);
        client.request(subscription, &[json!({"kinds": [1]}), json!({"kinds": [20_001]})]);
        let event_texts: Vec<String> = ["EVENT", "EOSE", "EVENT"]
            .into_iter()
            .enumerate()
            .map(|(step, verb)| {
                if step == 2 {
                    client.publish(&other).is_true("", &other);
                }
                client.wait_for(verb, |received| match received {
                    Received::Json(text, value) if value[0] == verb => {
                        assert_eq!(value[1], subscription, "the id comes back");
                        Some(text.clone())
                    }
                    _ => None,
                })
            })
            .collect();
        for text in event_texts {
            assert_eq!(text, without_spaces_outside_strings(&text), "compact");
            if text.starts_with("[\"EVENT\"") {
                let escaped = json!(subscription).to_string();
                assert!(text.starts_with(&format!("[\"EVENT\",{escaped},{{")), "{text}");
            }
        }
        client.close(subscription);
    }
    client.assert_quiet();
}

#[test]
fn a_subscription_id_is_text_of_1_to_64_characters() {
    // NIP-01.44: characters, not bytes.
    let relay = Relay::start();
    let mut client = relay.connect();
    let emoji = "\u{1f600}".repeat(64);
    for id in ["x", &"x".repeat(64), &"\u{e9}".repeat(64), emoji.as_str(), " ", "\u{0}", "\u{7f}"] {
        assert_eq!(client.stored(id, &[json!({"limit": 0})]), [], "{id:?}");
    }
    for id in ["".to_owned(), "x".repeat(65), "\u{1f600}".repeat(65)] {
        client.request(&id, &[json!({"limit": 0})]);
        let reason = client.closed(&id);
        assert!(reason.starts_with("invalid: "), "{id:?} is closed with {reason:?}");
    }
    client.assert_quiet();
}

#[test]
fn a_client_library_can_use_every_socket_for_everything_at_once() {
    // NIP-01.5
    let relay = Relay::start();
    let mut clients: Vec<Client> = (0..5).map(|_| relay.connect()).collect();
    for (number, client) in (0u64..).zip(&mut clients) {
        let event = key(1).note(&format!("from {number}"), 1_700_000_000 + number);
        client.request("a", &[json!({"ids": [event.id]})]);
        client.request("b", &[json!({"kinds": [7]})]);
        client.send(&json!(["EVENT", event.json()]));
        client.request("c", &[json!({"kinds": [8]})]);
        client.close("b");
        client.verdict(&event.id).is_true("", &event);
        for subscription in ["b", "c"] {
            assert_eq!(client.until_eose(subscription), []);
        }
        let stored = client.until_eose("a");
        let live = if stored.is_empty() { vec![client.live("a")] } else { stored };
        assert_eq!(live, [event]);
        client.assert_quiet();
    }
}

#[test]
fn a_port_that_is_taken_is_told_in_words() {
    let relay = Relay::start();
    let other = tempfile::tempdir().expect("a temporary directory can be made");
    let data = other.path().to_str().expect("test paths are UTF-8");
    let run = command(&["serve", "--listen", relay.address(), "--data", data]);
    run.refused().says(relay.address());
}

fn without_spaces_outside_strings(text: &str) -> String {
    let mut inside = false;
    let mut escaped = false;
    let keep = |c: &char| {
        if escaped {
            escaped = false;
            return true;
        }
        match c {
            '"' => inside = !inside,
            '\\' => escaped = inside,
            c if c.is_whitespace() => return inside,
            _ => {}
        }
        true
    };
    text.chars().filter(keep).collect()
}
