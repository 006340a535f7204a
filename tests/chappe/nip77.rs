//! NIP-77, negentropy: what the relay answers, byte by byte and to a client that is another
//! implementation; and what may never be part of it.

use std::collections::BTreeSet;

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};

use crate::harness::event::{hex, id_bytes, unhex};
use crate::harness::{Client, Event, Relay, key, now, seeded, wait_until};

const AT: u64 = 1_700_000_000;
const N0: &str = "cd3746da795d3b1092eadb6bd789e3810df8cf1ae18ae3561058697ba1d66bda";
const N1: &str = "7cd6be7bf866b6293a0d467c4283688e003220cb7d8a71d41a88e50fb3b9a7cf";
const N2: &str = "a37a9c083dc31e47816f88b5e567368840748576807e1c5cf2b08bc3b99e772f";

/// Opens a reconciliation and returns the answer, or the reason of the refusal.
#[track_caller]
fn open(client: &mut Client, id: &str, filter: &Value, message: &str) -> Result<String, String> {
    client.send(&json!(["NEG-OPEN", id, filter, message]));
    answer(client, id)
}

#[track_caller]
fn say(client: &mut Client, id: &str, message: &str) -> Result<String, String> {
    client.send(&json!(["NEG-MSG", id, message]));
    answer(client, id)
}

#[track_caller]
fn answer(client: &mut Client, id: &str) -> Result<String, String> {
    client.wait_for_json(&format!("an answer of {id:?}"), |message| {
        let text = || message[2].as_str().expect("a text is third").to_owned();
        match message[0].as_str() {
            Some("NEG-MSG") if message[1] == id => Some(Ok(text())),
            Some("NEG-ERR") if message[1] == id => Some(Err(text())),
            _ => None,
        }
    })
}

/// A refusal with this prefix, after which the name is unknown.
#[track_caller]
fn refused(client: &mut Client, filter: &Value, message: &str, prefix: &str) {
    let reason = open(client, "refused", filter, message).expect_err(message);
    assert!(reason.starts_with(&format!("{prefix}: ")), "{message}: {reason}");
    let reason = say(client, "refused", "6100000200").expect_err("it is over");
    assert!(reason.starts_with("closed: "), "{message}: {reason}");
}

/// The ids of a whole session's answer to an empty list.
#[track_caller]
fn ids(client: &mut Client, filter: &Value) -> BTreeSet<String> {
    let answer = open(client, "ids", filter, "6100000200").expect("it is answered");
    client.send(&json!(["NEG-CLOSE", "ids"]));
    let list = answer.strip_prefix("61000002").expect("one list of ids up to infinity");
    let start = list.len() % 64;
    list.as_bytes()[start..].chunks(64).map(|id| String::from_utf8_lossy(id).into()).collect()
}

fn set_of(events: &[&Event]) -> BTreeSet<String> {
    events.iter().map(|event| event.id.clone()).collect()
}

fn set_q() -> Value {
    json!({"authors": [key(6).public()], "kinds": [1]})
}

fn relay_with_q() -> (Relay, Client) {
    let relay = Relay::start();
    let mut client = relay.connect();
    let set = [("n0", AT, N0), ("n1", AT, N1), ("n2", AT + 100, N2)];
    for (content, at, id) in set {
        let event = key(6).note(content, at);
        assert_eq!(event.id, id);
        client.publish_all([&event]);
    }
    (relay, client)
}

#[test]
fn answers_are_those_of_the_reference() {
    // O01 to O09. The same set by a filter that is looked up, and as the whole store.
    let (_relay, mut client) = relay_with_q();
    let whole = format!("6100000203{N1}{N0}{N2}");
    let rows = [
        ("6100000200", whole.clone()),
        (&format!("61000001{}", "00".repeat(16)), whole.clone()),
        ("6186aacfe265000200", format!("6186aacfe265000202{N1}{N0}")),
        ("6186aacfe265000000000200", format!("6186aacfe265000000000201{N2}")),
        ("6186aacfe20101cd0200", format!("6186aacfe20101cd0201{N1}")),
        ("61", "61".to_owned()),
        ("62aabbccddeeff", "61".to_owned()),
    ];
    for filter in [set_q(), json!({}), json!({"since": 1, "until": 1_800_000_000})] {
        for (message, expected) in &rows {
            let found = open(&mut client, "a", &filter, message);
            assert_eq!(found.as_ref(), Ok(expected), "{filter} {message}");
        }
    }
    let nothing = [json!({"kinds": [2]}), json!({"kinds": []}), json!({"since": 2, "until": 1})];
    for filter in nothing {
        let answer = open(&mut client, "a", &filter, "6100000200");
        assert_eq!(answer.as_deref(), Ok("6100000200"), "O07 {filter}");
    }
}

#[test]
fn what_is_no_message_is_refused_and_the_name_is_unknown_afterwards() {
    // O10, O18, O26; NIP-77.4, NIP-77.11, NIP-77.31.
    let (mut relay, mut client) = relay_with_q();
    let fifteen = format!("61000001{}", "00".repeat(15));
    let huge = format!("6100000290{}00", "80".repeat(7));
    let malformed = [
        "70",
        "",
        "6100",
        "61000003",
        "6100210000",
        &fifteen,
        "610000020111",
        &huge,
        "6",
        "610",
        "zz",
        "61 0",
        "6100\u{e9}0",
        "0x61",
    ];
    for filter in [set_q(), json!({})] {
        for message in malformed {
            refused(&mut client, &filter, message, "invalid");
        }
    }
    let before = relay.resident_bytes();
    for _ in 0..100 {
        refused(&mut client, &json!({}), &huge, "invalid");
    }
    let grown = relay.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "O26: {grown} bytes more");
    let upper = "6186AACFE265000200";
    assert!(open(&mut client, "upper", &set_q(), upper).is_ok(), "O18 upper case is accepted");
    client.send(&json!(["NEG-OPEN", "old", {}, 32, "6100000200"]));
    assert!(answer(&mut client, "old").expect_err("five elements").starts_with("invalid: "));
    for filter in [json!([]), json!({"kinds": "x"}), json!({"ids": ["ab"]})] {
        refused(&mut client, &filter, "61", "invalid");
    }
    refused(&mut client, &json!({"search": "x"}), "61", "unsupported");
    relay.assert_serving();
}

#[test]
fn equal_sets_are_equal_at_once() {
    // O11; NIP-77.27 to NIP-77.29.
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<Event> = (0..40).map(|n| key(7).note(&format!("neg{n}"), AT + n)).collect();
    client.publish_all(&events);
    for filter in [json!({"authors": [key(7).public()]}), json!({}), json!({"since": AT})] {
        let answer = open(&mut client, "p", &filter, "61000001c52b18d2d12d0ce299193e26ece65092");
        assert_eq!(answer.as_deref(), Ok("61"), "{filter}");
        let split = open(&mut client, "p", &filter, &format!("61000001{}", "00".repeat(16)));
        let split = split.expect("it is answered");
        // Sixteen fingerprints, with a bound of five bytes for the first second.
        assert_eq!(split.len(), 2 * (1 + 23 + 15 * 19), "{split}");
    }
}

#[test]
fn sessions_have_their_own_names_and_end_when_they_are_told_to() {
    // O14 to O17; NIP-77.1 to NIP-77.3.
    let (_relay, mut client) = relay_with_q();
    let unknown = say(&mut client, "a", "6100000200").expect_err("O14");
    assert_eq!(unknown, "closed: unknown subscription handle");
    client.request("a", &[set_q()]);
    assert_eq!(client.until_eose("a").len(), 3);
    let whole = format!("6100000203{N1}{N0}{N2}");
    assert_eq!(open(&mut client, "a", &set_q(), "6100000200").as_ref(), Ok(&whole), "O17");
    assert_eq!(say(&mut client, "a", "6100000200").as_ref(), Ok(&whole));
    let other = json!({"kinds": [2]});
    assert_eq!(open(&mut client, "a", &other, "6100000200").as_deref(), Ok("6100000200"), "O15");
    assert_eq!(say(&mut client, "a", "6100000200").as_deref(), Ok("6100000200"), "O15");
    let new = key(6).note("live", AT + 500);
    client.publish_all([&new]);
    assert_eq!(client.live("a").id, new.id, "O17 the subscription goes on");
    client.close("a");
    assert!(say(&mut client, "a", "61").is_ok(), "O17 CLOSE is about subscriptions");
    client.send(&json!(["NEG-CLOSE", "a"]));
    client.send(&json!(["NEG-CLOSE", "never opened"]));
    client.assert_quiet();
    assert!(say(&mut client, "a", "61").expect_err("O16").starts_with("closed: "));
}

#[test]
fn open_sessions_are_bounded_and_so_are_their_events() {
    // O22; NIP-77.3, NIP-77.9, NIP-77.12.
    let relay =
        Relay::start_with(&["limits.max_reconciliations=2", "limits.max_reconciled_events=2"]);
    let mut client = relay.connect();
    let notes: Vec<Event> = (0..3).map(|n| key(1).note(&n.to_string(), AT + n)).collect();
    client.publish_all(&notes);
    for id in ["a", "b", "b"] {
        assert!(open(&mut client, id, &json!({}), "6100000200").is_ok(), "{id}");
    }
    let reason = open(&mut client, "c", &json!({}), "61").expect_err("O22");
    assert!(reason.starts_with("rate-limited: "), "{reason}");
    client.send(&json!(["NEG-CLOSE", "a"]));
    client.send(&json!(["NEG-OPEN", "c", {"kinds": [1]}, "61"]));
    client.wait_for_json("a refusal with the number that is allowed", |message| {
        (message[0] == "NEG-ERR" && message[1] == "c").then(|| {
            assert!(message[2].as_str().is_some_and(|text| text.starts_with("blocked: ")));
            assert_eq!(message[3], 2);
        })
    });
    let newest = json!({"kinds": [1], "limit": 2});
    assert_eq!(ids(&mut client, &newest), set_of(&[&notes[1], &notes[2]]), "NIP-77.6");
    let off = Relay::start_with(&["limits.max_reconciliations=0"]);
    let reason = open(&mut off.connect(), "a", &json!({}), "61").expect_err("it is off");
    assert!(reason.starts_with("blocked: "), "{reason}");
}

#[test]
fn a_silent_client_is_told_that_its_session_is_over() {
    // O21; NIP-77.9.
    let relay = Relay::start_with(&["limits.reconciliation_idle_secs=1"]);
    let mut client = relay.connect();
    assert!(open(&mut client, "a", &json!({}), "6100000200").is_ok());
    let reason = answer(&mut client, "a").expect_err("nothing was said for a second");
    assert!(reason.starts_with("closed: "), "{reason}");
    assert!(say(&mut client, "a", "61").expect_err("it is over").starts_with("closed: "));
}

#[test]
fn what_is_not_to_be_seen_is_not_to_be_reconciled() {
    // O23, O24; NIP-77.5, NIP-77.7.
    let relay = Relay::start();
    let mut client = relay.connect();
    let soon = now() + 4;
    let expiring = key(1).event(1, "soon", &[&["expiration", &soon.to_string()]], AT + 5);
    let later = (now() + 1000).to_string();
    let lasting = key(1).event(1, "later", &[&["expiration", &later]], AT + 6);
    let [old, new] = [AT + 1, AT + 2].map(|at| key(1).event(0, "profile", &[], at));
    let deleted = key(1).note("deleted", AT + 3);
    let request = key(1).event(5, "", &[&["e", &deleted.id]], AT + 4);
    let ephemeral = key(1).event(20_001, "gone", &[], AT + 7);
    let note = key(1).note("note", AT + 8);
    client.publish_all([&expiring, &lasting, &old, &new, &deleted, &request, &ephemeral, &note]);
    for filter in [json!({}), json!({"authors": [key(1).public()]})] {
        let expected = set_of(&[&expiring, &lasting, &new, &request, &note]);
        assert_eq!(ids(&mut client, &filter), expected, "{filter}");
    }
    for (since, until, expected) in [
        (AT + 2, AT + 4, set_of(&[&new, &request])),
        (AT + 3, AT + 6, set_of(&[&request, &expiring, &lasting])),
        (AT + 8, AT + 8, set_of(&[&note])),
        (AT + 9, AT + 900, set_of(&[])),
    ] {
        for kinds in [json!(null), json!([0, 1, 5])] {
            let mut filter = json!({"since": since, "until": until});
            if kinds.is_array() {
                filter["kinds"] = kinds;
            }
            assert_eq!(ids(&mut client, &filter), expected, "O24 {filter}");
        }
    }
    wait_until(soon);
    for filter in [json!({}), json!({"authors": [key(1).public()]})] {
        let expected = set_of(&[&lasting, &new, &request, &note]);
        assert_eq!(ids(&mut client, &filter), expected, "O23 {filter}");
    }
}

#[test]
fn ids_of_private_messages_are_for_those_they_concern_only() {
    // J06; NIP-77.5, NIP-59.1, NIP-59.2. With kind 7 restricted the store's sums are of no use.
    for settings in [&[][..], &["auth.restricted_kinds=4, 7, 1059"]] {
        let relay = Relay::start_with(settings);
        let mut client = relay.connect();
        let two = key(2);
        let to_two: &[&[&str]] = &[&["p", two.public()]];
        let wrap = key(77).event(1059, "sealed", to_two, AT);
        let letter = key(1).event(4, "secret", to_two, AT + 1);
        let until = (now() + 1000).to_string();
        let tags: &[&[&str]] = &[&["p", two.public()], &["expiration", &until]];
        let brief = key(77).event(1059, "sealed and brief", tags, AT + 2);
        let note = key(1).note("open", AT + 3);
        let draft = key(1).event(31_234, "draft", &[&["d", "x"]], AT + 4);
        let like = key(1).event(7, "+", &[&["e", &note.id], &["p", key(2).public()]], AT + 5);
        client.publish_all([&wrap, &letter, &brief, &note, &draft, &like]);
        let open: &[&Event] =
            if settings.is_empty() { &[&note, &draft, &like] } else { &[&note, &draft] };
        let whole = [json!({}), json!({"since": AT}), json!({"kinds": [1, 4, 7, 1059, 31_234]})];
        for filter in &whole {
            assert_eq!(ids(&mut client, filter), set_of(open), "a stranger, {filter}");
            for (who, concerned) in
                [(2, &[&wrap, &letter, &brief, &like][..]), (1, &[&letter, &like]), (3, &[])]
            {
                let mut reader = relay.connect();
                reader.authenticate(&key(who));
                let expected = set_of(&[open, concerned].concat());
                assert_eq!(ids(&mut reader, filter), expected, "{who}, {filter}");
            }
        }
        refused(&mut client, &json!({"kinds": [4, 1059]}), "6100000200", "auth-required");
        let mut third = relay.connect();
        third.authenticate(&key(3));
        let of_others = json!({"kinds": [1059], "#p": [key(2).public()]});
        refused(&mut third, &of_others, "6100000200", "restricted");
    }
}

/// Reconciles until both sides know all; returns what the client has alone and what it needs.
fn reconcile(
    client: &mut Client,
    filter: &Value,
    own: &[&Event],
    frame: u64,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut storage = NegentropyStorageVector::new();
    for event in own {
        let id = Id::from_byte_array(id_bytes(&event.id));
        storage.insert(event.created_at, id).expect("the storage is open");
    }
    storage.seal().expect("the storage was open");
    let mut side = Negentropy::borrowed(&storage, frame).expect("the frame is large enough");
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let first = side.initiate().expect("it begins");
    let mut answer = open(client, "sync", filter, &hex(&first));
    let mut rounds = 0;
    loop {
        let text = answer.expect("the relay goes on");
        let bytes = unhex(&text);
        let next = side.reconcile_with_ids(&bytes, &mut have, &mut need);
        let Some(message) = next.expect("the answer is a message") else { break };
        answer = say(client, "sync", &hex(&message));
        rounds += 1;
        assert!(rounds < 100, "it comes to an end");
    }
    client.send(&json!(["NEG-CLOSE", "sync"]));
    let texts = |ids: Vec<Id>| ids.into_iter().map(|id| hex(&id.to_bytes())).collect();
    (texts(have), texts(need))
}

#[test]
fn a_client_of_another_make_finds_exactly_what_is_missing() {
    // O13: empty, disjoint and overlapping sets, by the whole store and by filters.
    let mut random = seeded("nip77");
    let relay = Relay::start();
    let mut client = relay.connect();
    let events: Vec<Event> = (0..400)
        .map(|n| key(1 + n % 3).note(&format!("note {n}"), AT + random.u64(..150)))
        .collect();
    let (stored, absent) = events.split_at(300);
    client.publish_all(stored);
    let ours: [Value; 3] =
        [json!({}), json!({"kinds": [1]}), json!({"since": AT, "until": AT + 1000})];
    for round in 0..12 {
        let share = [0, 1, 4, 50, 99, 100][round % 6];
        let mine: Vec<&Event> = stored.iter().filter(|_| random.u32(..100) < share).collect();
        let alone: Vec<&Event> = absent.iter().filter(|_| random.bool()).collect();
        let all = [mine.clone(), alone.clone()].concat();
        let filter = random.choice(&ours).expect("there are some").clone();
        let frame = if random.bool() { 0 } else { 4096 };
        let (have, need) = reconcile(&mut client, &filter, &all, frame);
        let missing: BTreeSet<String> = set_of(&stored.iter().collect::<Vec<_>>())
            .difference(&set_of(&mine))
            .cloned()
            .collect();
        assert_eq!(have, set_of(&alone), "round {round} {filter}");
        assert_eq!(need, missing, "round {round} {filter}");
    }
}
