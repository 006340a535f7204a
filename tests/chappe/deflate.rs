//! Compressed messages (RFC 7692), by a client that speaks just enough of it.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};

use crate::harness::raw::{Frame, Mask, RawSocket, UPGRADE};
use crate::harness::{Event, Relay, key};

/// What browsers offer, and what a relay that keeps no state answers.
const OFFER: &str = "permessage-deflate; client_max_window_bits";
const TERMS: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Opcodes of text frames, plain and compressed, and the bit of a last frame.
const TEXT: u8 = 0x01;
const DEFLATED: u8 = 0x41;
const FIN: u8 = 0x80;

/// A client with compression.
struct Client(RawSocket);

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Plain,
    Deflated,
}

impl Client {
    fn connect(relay: &Relay) -> Client {
        let (socket, terms) = upgrade(relay, OFFER);
        assert_eq!(terms.as_deref(), Some(TERMS));
        let mut client = Client(socket);
        let (came, greeting) = client.hear();
        assert_eq!((came, &greeting[0]), (Came::Plain, &json!("AUTH")));
        client
    }

    #[track_caller]
    fn hear_eose(&mut self, subscription: &str) {
        let (came, message) = self.hear();
        assert_eq!(
            (came, &message[0], &message[1]),
            (Came::Plain, &json!("EOSE"), &json!(subscription))
        );
    }

    fn say(&mut self, message: &Value) {
        self.0.send_frame(FIN | DEFLATED, Mask::Yes, &deflate(message.to_string().as_bytes()));
    }

    fn hear(&mut self) -> (Came, Value) {
        let (first, payload) = match self.0.read_frame() {
            Frame::Data(first, payload) => (first, payload),
            other => panic!("{other:?} in place of a message"),
        };
        let (came, text) = match first {
            TEXT => (Came::Plain, payload),
            DEFLATED => (Came::Deflated, inflate(&payload)),
            other => panic!("a frame that begins with {other:#x}"),
        };
        (came, serde_json::from_slice(&text).expect("a JSON message"))
    }
}

fn upgrade(relay: &Relay, offer: &str) -> (RawSocket, Option<String>) {
    let mut socket = RawSocket::open(relay.address());
    let headers = [&UPGRADE[..], &[("Sec-WebSocket-Extensions", offer)]].concat();
    let response = socket.request("GET", "/", &headers, relay.address());
    assert_eq!(response.status, 101, "the upgrade succeeds");
    let terms = response.header("sec-websocket-extensions").map(str::to_owned);
    (socket, terms)
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1_000);
    let mut compress = Compress::new(Compression::default(), false);
    compress.compress_vec(text, &mut out, FlushCompress::Sync).expect("a new stream takes all");
    assert!(out.ends_with(&TAIL));
    out.truncate(out.len() - TAIL.len());
    out
}

/// Inflates byte by byte, as a client may that reads from a slow line.
fn inflate(message: &[u8]) -> Vec<u8> {
    let mut decompress = Decompress::new_with_window_bits(false, 12);
    let (mut text, mut step) = (Vec::new(), [0; 64]);
    for byte in [message, &TAIL].concat() {
        let mut input = &[byte][..];
        loop {
            let (read, written) = (decompress.total_in(), decompress.total_out());
            let status = decompress.decompress(input, &mut step, FlushDecompress::None);
            status.expect("the relay's messages are DEFLATE");
            input = &input[(decompress.total_in() - read) as usize..];
            let count = (decompress.total_out() - written) as usize;
            text.extend_from_slice(&step[..count]);
            if count < step.len() {
                break;
            }
        }
    }
    text
}

fn note(content: &str) -> Event {
    key(1).note(content, 1_700_000_000)
}

#[test]
fn a_live_event_comes_compressed_and_is_the_same_as_plain() {
    let relay = Relay::start_with(&["server.compression=all"]);
    let mut clients = [Client::connect(&relay), Client::connect(&relay)];
    let mut plain = relay.connect();
    plain.stored("plain", &[json!({})]);
    let names = ["one \"quoted\" \u{20ac}", &"n".repeat(64)];
    for (client, name) in clients.iter_mut().zip(names) {
        client.say(&json!(["REQ", name, {"kinds": [1]}]));
        client.hear_eose(name);
    }
    let long = "a long one, a long one ".repeat(3_000);
    for content in ["", "short", "\u{1f600} \"\\\n", &long] {
        let event = note(content);
        plain.publish(&event).is_true("", &event);
        assert_eq!(plain.live("plain"), event);
        for (client, name) in clients.iter_mut().zip(names) {
            assert_eq!(client.hear(), (Came::Deflated, json!(["EVENT", name, event.json()])));
        }
    }
}

#[test]
fn by_default_a_live_event_is_compressed_if_it_goes_to_many() {
    // One core, so that all subscribers are the same one's.
    let relay = Relay::start_with(&["server.threads=1"]);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(&relay)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        // All follow the first author, few the other.
        let authors: Vec<_> = (1..=if number < 3 { 2 } else { 1 }).map(key).collect();
        let authors: Vec<&str> = authors.iter().map(|key| key.public()).collect();
        client.say(&json!(["REQ", "live", {"authors": authors}]));
        client.hear_eose("live");
    }
    let (to_all, to_few) = (note("to all"), key(2).note("to few", 1_700_000_000));
    relay.connect().publish_all([&to_all, &to_few]);
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.hear(), (Came::Deflated, json!(["EVENT", "live", to_all.json()])));
        if number < 3 {
            assert_eq!(client.hear(), (Came::Plain, json!(["EVENT", "live", to_few.json()])));
        }
    }
}

#[test]
fn stored_events_are_compressed_if_the_relay_is_told_so() {
    for (setting, came) in [("live", Came::Plain), ("all", Came::Deflated)] {
        let relay = Relay::start_with(&[&format!("server.compression={setting}")]);
        let events: Vec<Event> = (0..50).map(|number| note(&format!("note {number}"))).collect();
        relay.connect().publish_all(&events);
        let mut client = Client::connect(&relay);
        client.say(&json!(["REQ", "all", {}]));
        let mut ids: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
        ids.sort_unstable();
        for id in ids {
            let (how, message) = client.hear();
            assert_eq!((how, &message[0]), (came, &json!("EVENT")));
            let event = Event::from_json(&message[2]);
            event.assert_genuine();
            assert_eq!(event.id, id);
        }
        client.hear_eose("all");
        assert_eq!(relay.connect().stored("plain", &[json!({})]).len(), 50);
    }
}

#[test]
fn a_relay_without_compression_declines_the_offer_and_takes_none() {
    let relay = Relay::start_with(&["server.compression=off"]);
    let (mut socket, terms) = upgrade(&relay, OFFER);
    assert_eq!(terms, None);
    socket.send_frame(FIN | DEFLATED, Mask::Yes, &deflate(b"[\"REQ\",\"x\",{}]"));
    assert_eq!(socket.end(), Some(1002));
}

#[test]
fn offers_are_answered_exactly_or_not_at_all() {
    let relay = Relay::start();
    let narrow = format!("{TERMS}; server_max_window_bits=12");
    let rows = [
        ("permessage-deflate", Some(TERMS)),
        ("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12", Some(&narrow)),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", Some(TERMS)),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; unknown", None),
        ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
        ("x-webkit-deflate-frame", None),
    ];
    for (offer, expected) in rows {
        assert_eq!(upgrade(&relay, offer).1.as_deref(), expected, "{offer}");
    }
}

#[test]
fn compressed_fragments_and_plain_messages_are_understood() {
    let relay = Relay::start();
    let mut client = Client::connect(&relay);
    let message = deflate(json!(["REQ", "parts", {"limit": 0}]).to_string().as_bytes());
    let (first, rest) = message.split_at(5);
    client.0.send_frame(DEFLATED, Mask::Yes, first);
    client.0.send_frame(0x89, Mask::Yes, b"between");
    client.0.send_frame(0x00, Mask::Yes, b"");
    client.0.send_frame(FIN, Mask::Yes, rest);
    assert_eq!(client.0.read_frame(), Frame::Data(10, b"between".to_vec()));
    client.hear_eose("parts");
    client.0.send_frame(FIN | TEXT, Mask::Yes, b"[\"REQ\",\"plain\",{\"limit\":0}]");
    client.hear_eose("plain");
    client.0.send_frame(FIN | DEFLATED, Mask::Yes, &deflate(b""));
    assert_eq!(client.hear().1[0], "NOTICE");
}

#[test]
fn damaged_messages_bombs_and_misplaced_bits_end_the_connection_by_their_code() {
    let mut relay = Relay::start_with(&["limits.max_message_bytes=65536"]);
    let good = deflate(b"[\"REQ\",\"x\",{\"limit\":0}]");
    let bomb = deflate(&vec![b' '; 1 << 24]);
    assert!(bomb.len() < 65_536);
    let rows: [(u8, &[u8], u16); 7] = [
        (FIN | DEFLATED, b"not deflate", 1007),
        (FIN | DEFLATED, &good[..good.len() - 2], 1007),
        (FIN | DEFLATED, &deflate(b"\xff\xfe"), 1007),
        (FIN | DEFLATED, &bomb, 1009),
        (FIN | 0x40, &good, 1002),
        (FIN | 0x49, b"", 1002),
        (FIN | 0x21, b"", 1002),
    ];
    for (first, payload, code) in rows {
        let mut client = Client::connect(&relay);
        client.0.send_frame(first, Mask::Yes, payload);
        assert_eq!(client.0.end(), Some(code), "{first:#x}, {} bytes", payload.len());
    }
    let mut client = Client::connect(&relay);
    let largest = [&b"[\"REQ\",\"large\",{\"limit\":0}"[..], &[b' '; 65_509], b"]"].concat();
    assert_eq!(largest.len(), 65_536);
    client.0.send_frame(FIN | DEFLATED, Mask::Yes, &deflate(&largest));
    client.hear_eose("large");
    relay.assert_serving();
}
