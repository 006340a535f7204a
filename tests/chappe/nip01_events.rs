//! NIP-01, events: which are valid, what their id is the hash of, and that they stay as they are.

use serde_json::{Value, json};

use crate::harness::client::Received;
use crate::harness::{Client, Event, Relay, Verdict, fixture, key, now};

const AT: u64 = 1_700_000_000;

#[test]
fn a_valid_event_is_accepted_stored_and_served_unchanged() {
    // B01, B15, B16, B18, B20, B21, B22, B24; NIP-01.13 to .27
    let relay = Relay::start();
    let mut client = relay.connect();
    let names = ["S1", "S2", "S3", "S4", "S4v", "S5", "S6", "S7", "S8", "S9", "S10", "PW", "FOL2"];
    for name in names {
        let event = fixture(name);
        client.publish(&event).is_true("", name);
        let served = client.stored("by id", &[json!({"ids": [event.id]})]);
        assert_eq!(served, [event], "{name} is served as it came");
    }
    // S4 and S4v are two events with one content.
    let ids = client.ids(&[json!({"ids": [fixture("S4").id, fixture("S4v").id]})]);
    assert_eq!(ids.len(), 2);
    client.assert_quiet();
}

#[test]
fn an_event_sent_again_is_a_duplicate_and_is_not_broadcast_again() {
    // B02
    let relay = Relay::start();
    let [mut first, mut second] = [relay.connect(), relay.connect()];
    first.stored("live", &[json!({"kinds": [1]})]);
    let event = fixture("S1");
    let fresh = second.publish(&event);
    assert!(fresh.accepted && fresh.text.is_empty(), "{fresh:?}");
    assert_eq!(first.live("live"), event);
    second.publish(&event).is_true("duplicate", "the second time");
    first.publish(&event).is_true("duplicate", "on another connection");
    first.assert_quiet();
    // The same id with a broken signature is the same event to the relay, or invalid.
    let mut broken = event.json();
    broken["sig"] = json!("00".repeat(64));
    let verdict = publish_json(&mut second, &broken);
    assert!(verdict.has_prefix("duplicate") || verdict.has_prefix("invalid"), "{verdict:?}");
}

#[test]
fn members_of_wrong_type_or_form_are_invalid() {
    // B03 to B14; NIP-01.11 to .16
    let relay = Relay::start();
    let mut client = relay.connect();
    let good = fixture("S1").json();
    let upper = |name: &str| json!(good[name].as_str().map(str::to_uppercase));
    let id = good["id"].as_str().expect("ids are text").to_owned();
    let off_curve = format!("{:064x}", 5);
    let rows = [
        ("B03 changed content", "content", json!("hellO")),
        ("changed time", "created_at", json!(AT + 1)),
        ("changed kind", "kind", json!(2)),
        ("changed tags", "tags", json!([["t", "x"]])),
        ("B04 changed signature", "sig", json!(fixture("S1").sig.replace("8d52", "8d53"))),
        ("signature of another event", "sig", json!(fixture("S2").sig)),
        ("id of another event", "id", json!(fixture("S2").id)),
        ("another author", "pubkey", json!(key(2).public())),
        ("B05 upper-case id", "id", upper("id")),
        ("B06 upper-case pubkey", "pubkey", upper("pubkey")),
        ("B07 upper-case signature", "sig", upper("sig")),
        ("B08 0x id", "id", json!(format!("0x{id}"))),
        ("B08 0x id of 64", "id", json!(format!("0x{}", &id[2..]))),
        ("B08 short id", "id", json!(id[1..])),
        ("B08 long id", "id", json!(format!("{id}0"))),
        ("B08 id that is not hex", "id", json!(id.replace('b', "g"))),
        ("empty id", "id", json!("")),
        ("short pubkey", "pubkey", json!(key(1).public()[1..])),
        ("B09 pubkey off the curve", "pubkey", json!(off_curve)),
        ("pubkey zero", "pubkey", json!("0".repeat(64))),
        ("pubkey above the field", "pubkey", json!("f".repeat(64))),
        ("short signature", "sig", json!(good["sig"].as_str().map(|sig| &sig[2..]))),
        ("signature null", "sig", json!(null)),
        ("signature zero", "sig", json!("0".repeat(128))),
        ("signature maximal", "sig", json!("f".repeat(128))),
        ("pubkey null", "pubkey", json!(null)),
        ("pubkey number", "pubkey", json!(5)),
        ("time as text", "created_at", json!("1700000000")),
        ("time null", "created_at", json!(null)),
        ("time negative", "created_at", json!(-1)),
        ("kind as text", "kind", json!("1")),
        ("kind null", "kind", json!(null)),
        ("tags null", "tags", json!(null)),
        ("content null", "content", json!(null)),
    ];
    for (what, name, value) in rows {
        let mut event = good.clone();
        event[name] = value;
        publish_json(&mut client, &event).is_false("invalid", what);
    }
    publish_json(&mut client, &fixture("U1").json()).is_false("invalid", "B06 U1");
    assert_eq!(client.ids(&[json!({})]), Vec::<String>::new(), "nothing was stored");
    client.publish(&fixture("S1")).is_true("", "the good event is still free");
    client.assert_quiet();
}

#[test]
fn every_member_is_needed() {
    let relay = Relay::start();
    let mut client = relay.connect();
    for name in ["pubkey", "created_at", "kind", "tags", "content", "sig"] {
        let mut event = fixture("S1").json();
        event.as_object_mut().expect("an event is an object").remove(name);
        publish_json(&mut client, &event).is_false("invalid", name);
    }
    // NIP-01.20: without a usable id the answer is an OK that names nothing real, or a NOTICE.
    for id in [None, Some(json!(null)), Some(json!(5)), Some(json!(["x"])), Some(json!({}))] {
        let mut event = fixture("S1").json();
        let members = event.as_object_mut().expect("an event is an object");
        members.remove("id");
        members.extend(id.map(|id| ("id".to_owned(), id)));
        client.send(&json!(["EVENT", event]));
        client.wait_for_json("an answer to an event without id", |message| {
            let refused = message[0] == "NOTICE" || (message[0] == "OK" && message[2] == false);
            refused.then_some(())
        });
    }
    assert_eq!(client.ids(&[json!({})]), Vec::<String>::new(), "nothing was stored");
    client.assert_quiet();
}

#[test]
fn well_signed_events_of_the_wrong_shape_are_invalid() {
    // B10, B11, B12, B13, B14: id and signature fit, so only the shape can be the reason.
    let relay = Relay::start();
    let mut client = relay.connect();
    let good = json!({"created_at": AT, "kind": 1, "tags": [], "content": "x"});
    let id = fixture("S1").id;
    let rows = [
        ("B10", "kind", json!(65_536)),
        ("B10", "kind", json!(-1)),
        ("B10", "kind", json!(4_294_967_297_u64)),
        ("B10", "kind", json!(u64::MAX)),
        ("B11", "created_at", json!(-1)),
        ("B13", "tags", json!(null)),
        ("B13", "tags", json!({})),
        ("B13", "tags", json!("t")),
        ("B13", "tags", json!([[]])),
        ("B13", "tags", json!([["t", "a"], []])),
        ("B13", "tags", json!([["t", 1]])),
        ("B13", "tags", json!([[1]])),
        ("B13", "tags", json!([["t", null]])),
        ("B13", "tags", json!([["t", true]])),
        ("B13", "tags", json!([["t", ["a"]]])),
        ("B13", "tags", json!([["t", {"a": "b"}]])),
        ("B13", "tags", json!([["e", id, 7]])),
        ("B13", "tags", json!([["e", id, "", "", null]])),
        ("B13", "tags", json!(["t"])),
        ("B13", "tags", json!([null])),
        ("B14", "content", json!(null)),
        ("B14", "content", json!(5)),
        ("B14", "content", json!({})),
        ("B14", "content", json!(["x"])),
    ];
    for (case, name, value) in rows {
        let mut event = good.clone();
        event[name] = value.clone();
        let event = key(1).sign_json(event);
        publish_json(&mut client, &event).is_false("invalid", format!("{case} {name} {value}"));
    }
    let event = key(1).sign_json(good);
    publish_json(&mut client, &event).is_true("", "B13 empty tags");
    client.assert_quiet();
}

#[test]
fn the_json_of_an_event_is_read_strictly() {
    // B12, B17, B19, B26, B27, B28, B29; NIP-01.17 to .19, .27
    let relay = Relay::start();
    let mut client = relay.connect();
    let text = fixture("S1").line();
    let rows = [
        ("time as a fraction", "1700000000", "1700000000.0"),
        ("time with exponent", "1700000000", "17e8"),
        ("time with leading zero", "1700000000", "01700000000"),
        ("time with plus", "1700000000", "+1700000000"),
        ("kind as a fraction", "\"kind\":1", "\"kind\":1.0"),
        ("kind with exponent", "\"kind\":1", "\"kind\":1e0"),
        ("kind minus zero", "\"kind\":1", "\"kind\":-0"),
        ("member twice", "\"kind\":1", "\"kind\":1,\"kind\":1"),
        ("member twice, escaped", "\"kind\":1", "\"kind\":1,\"\\u006bind\":2"),
        ("content twice", "\"content\":", "\"content\":\"other\",\"content\":"),
        ("raw control character", "\"hello\"", "\"hel\u{1}lo\""),
        ("raw line feed", "\"hello\"", "\"hello\n\""),
        ("unknown escape", "\"hello\"", "\"hell\\o\""),
        ("short unicode escape", "\"hello\"", "\"hell\\u6f\""),
        ("B19 lone high surrogate", "\"hello\"", "\"x\\ud800y\""),
        ("B19 lone low surrogate", "\"hello\"", "\"x\\udc00y\""),
        ("B19 surrogates swapped", "\"hello\"", "\"\\udc00\\ud800\""),
        ("comma too many", "\"tags\":[]", "\"tags\":[],"),
        ("comment", "\"tags\":[]", "\"tags\":[]/**/"),
    ];
    for (what, from, to) in rows {
        assert!(text.contains(from), "{from} is in {text}");
        client.send_text(format!("[\"EVENT\",{}]", text.replacen(from, to, 1)));
        client.wait_for(&format!("a refusal of {what}"), |received| {
            let Received::Json(text, value) = received else { return None };
            let invalid = value[3].as_str().is_some_and(|text| text.starts_with("invalid: "));
            let refused = value[0] == "NOTICE" || (value[2] == false && invalid);
            assert!(refused, "{what} is answered with {text}");
            Some(())
        });
    }
    assert_eq!(client.ids(&[json!({})]), Vec::<String>::new(), "nothing was stored");

    let escaped = text.replace("\"hello\"", "\"\\u0068ell\\u006F\"");
    let slash = fixture("S3").line().replace("a/b", "a\\/b");
    let pair = fixture("S10").line().replace('\u{1f600}', "\\uD83D\\uDE00");
    let spaced = fixture("S7").line().replace("[[", " [ [\n").replace("]]", "\t] ]\r\n");
    let key_escaped = fixture("S9").line().replace("\"content\"", "\"\\u0063ontent\"");
    let rows = [("S1", escaped), ("S3", slash), ("S10", pair), ("S7", spaced), ("S9", key_escaped)];
    for (name, text) in rows {
        client.send_text(format!("[\"EVENT\",{text}]"));
        client.verdict(&fixture(name).id).is_true("", format!("B17 {name}"));
        let served = client.stored("by id", &[json!({"ids": [fixture(name).id]})]);
        assert_eq!(served, [fixture(name)]);
    }
    client.assert_quiet();
}

#[test]
fn unknown_members_of_an_event_are_dropped() {
    // B28
    let relay = Relay::start();
    let mut client = relay.connect();
    let event = key(1).note("with a surplus member", AT);
    let mut json = event.json();
    json["foo"] = json!({"bar": [1, {"id": "x"}]});
    json["seenOn"] = json!(["wss://example.com"]);
    publish_json(&mut client, &json).is_true("", "an unknown member");
    client.request("by id", &[json!({"ids": [event.id]})]);
    let served = client
        .wait_for_json("the event", |message| (message[0] == "EVENT").then(|| message[2].clone()));
    assert_eq!(served, event.json(), "exactly the seven members");
    client.until_eose("by id");
    Event::from_json(&served).assert_genuine();
}

#[test]
fn only_the_canonical_text_is_hashed() {
    // B23: 0x7f is hashed as it is, never as an escape.
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish(&fixture("S5")).is_true("", "S5");
    client.publish(&fixture("S5t")).is_false("invalid", "S5t");
}

#[test]
fn tag_values_are_found_as_they_were_written() {
    // B25
    let relay = Relay::start();
    let mut client = relay.connect();
    let event = fixture("S7");
    client.publish(&event).is_true("", "S7");
    for filter in [json!({"#t": ["a\"b\\c\n"]}), json!({"#x": [""]})] {
        assert_eq!(client.ids(&[filter.clone()]), [event.id.as_str()], "{filter}");
    }
    let none: [String; 0] = [];
    for filter in [json!({"#t": ["a\\\"b\\\\c\\n"]}), json!({"#t": [""]}), json!({"#x": ["x"]})] {
        assert_eq!(client.ids(&[filter.clone()]), none, "{filter}");
    }
}

#[test]
fn odd_values_of_well_known_tags_do_not_make_an_event_invalid() {
    // B34; NIP-01.21, NIP-01.23
    let relay = Relay::start();
    let mut client = relay.connect();
    let tags: &[&[&str]] = &[
        &["e", ""],
        &["e"],
        &["p", "npub1xtscya34g58tk0z605fvr788k263gsu6cy9x0mhnm87echrgufzsevkk5s"],
        &["a", "x"],
        &["a", "30023:zz:"],
        &["k", "sell"],
        &["-x", "y"],
        &[""],
        &["", ""],
        &["\u{e9}", "\u{e9}"],
        &["d", "on a regular event"],
        &["expiration", "tomorrow"],
        &["nonce"],
        &["t", "same"],
        &["t", "same"],
        &["t", " Same "],
        &["t", "x", "y", "z", "", "", "w"],
    ];
    let event = key(1).event(1, "odd tags", tags, AT);
    client.publish(&event).is_true("", "odd tags");
    assert_eq!(client.stored("by id", &[json!({"ids": [event.id]})]), [event.clone()]);
    assert_eq!(client.ids(&[json!({"#t": ["same"]})]), [event.id.as_str()]);
    let long = "v".repeat(5000);
    let event = key(1).event(1, "", &[&["r", &long], &[&long, "x"]], AT);
    client.publish(&event).is_true("", "a tag value of 5000 bytes");
    assert_eq!(client.ids(&[json!({"#r": [long]})]), [event.id.as_str()], "NIP-01.68");
    let almost = format!("{}w", &long[..4999]);
    assert_eq!(client.ids(&[json!({"#r": [almost]})]).len(), 0, "NIP-01.68");
}

#[test]
fn created_at_lies_within_the_configured_window() {
    // B30, B31; NIP-01.22
    let relay = Relay::start();
    let mut client = relay.connect();
    client.publish(&key(1).note("future", now() + 960)).is_false("invalid", "B30 too far ahead");
    client.publish(&key(1).note("soon", now() + 870)).is_true("", "B30 within the limit");
    for (case, at) in [("B31 a week ago", now() - 604_800), ("2020", 1_577_836_800), ("1970", 0)] {
        client.publish(&key(1).note(case, at)).is_true("", case);
    }
    for at in [u64::MAX, i64::MAX as u64, 1 << 40, 1 << 32] {
        client.publish(&key(1).note("very far", at)).is_false("invalid", at);
    }

    let relay = Relay::start_with(&["limits.created_at_past_secs=86400"]);
    let mut client = relay.connect();
    client.publish(&key(1).note("old", now() - 86_460)).is_false("invalid", "B31 too old");
    client.publish(&key(1).note("recent", now() - 86_300)).is_true("", "B31 young enough");
}

#[test]
fn an_event_has_at_most_the_configured_tags_and_characters() {
    // B32, B33
    let relay = Relay::start_with(&["limits.max_event_tags=10", "limits.max_content_length=100"]);
    let mut client = relay.connect();
    let tagged = |count: usize| {
        let tags = (0..count).map(|number| vec!["t".to_owned(), number.to_string()]);
        key(1).event_owned(1, "", tags.collect(), AT)
    };
    client.publish(&tagged(10)).is_true("", "B32 as many tags as allowed");
    client.publish(&tagged(11)).is_false("invalid", "B32 one tag more");
    for character in ["x", "\u{65e5}", "\u{1f600}", "\n", "\""] {
        let note = |count: usize| key(1).note(&character.repeat(count), AT);
        client.publish(&note(100)).is_true("", format!("B33 {character:?}"));
        client.publish(&note(101)).is_false("invalid", format!("B33 {character:?}"));
    }
}

#[test]
fn an_auth_event_is_never_stored_or_broadcast() {
    // B37, H14; NIP-42, X6.3
    let relay = Relay::start();
    let [mut client, mut other] = [relay.connect(), relay.connect()];
    other.stored("auth", &[json!({"kinds": [22_242]})]);
    let tags: &[&[&str]] = &[&["relay", "wss://example.com"], &["challenge", "x"]];
    let event = key(1).event(22_242, "", tags, now());
    client.publish(&event).is_false("invalid", "B37");
    assert_eq!(client.stored("auth", &[json!({"kinds": [22_242]})]), []);
    other.assert_quiet();
}

#[test]
fn a_published_event_is_at_once_visible_to_everyone() {
    // NIP-01.31: read your writes, on every connection, whichever core it lives on.
    let relay = Relay::start();
    let mut writer = relay.connect();
    let mut readers: Vec<Client> = (0..4).map(|_| relay.connect()).collect();
    for number in 0..20 {
        let event = key(1).note(&format!("{number}"), AT + number);
        writer.publish(&event).is_true("", &event);
        for reader in &mut readers {
            assert_eq!(reader.ids(&[json!({"ids": [event.id]})]), [event.id.as_str()]);
        }
    }
}

/// Sends any JSON as an event; its id must be text.
fn publish_json(client: &mut Client, event: &Value) -> Verdict {
    client.send(&json!(["EVENT", event]));
    client.verdict(event["id"].as_str().expect("the id is text"))
}
