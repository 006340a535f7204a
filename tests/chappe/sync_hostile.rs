//! `relay sync` with relays that mean harm, or are broken: it ends, says why, and stores nothing
//! that is not proven.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::harness::process::text;
use crate::harness::script::{Talk, scripted};
use crate::harness::{Event, Finished, command, key};

const AT: u64 = 1_700_000_000;

/// Syncs an empty store with a scripted relay; returns what was said and what is stored.
fn sync(answer: impl Fn(&mut Talk, &Value) + Send + Sync + 'static) -> (Finished, Vec<Event>) {
    let url = scripted(answer);
    let store = tempfile::tempdir().expect("a temporary directory can be made");
    let data = text(store.path());
    let done = command(&["sync", &url, "--data", data, "--json", "--dir", "both"]);
    let stored = command(&["export", "--data", data]).code(0).events();
    stored.iter().for_each(Event::assert_genuine);
    (done, stored)
}

/// The negentropy message that lists these ids as all there is.
fn list_of(ids: &[String]) -> String {
    assert!(ids.len() < 128, "a count of one byte");
    format!("61000002{:02x}{}", ids.len(), ids.concat())
}

fn notes(count: u64) -> Vec<Event> {
    (0..count).map(|n| key(1).note(&format!("note {n}"), AT + n)).collect()
}

/// Answers a reconciliation with the ids of these events.
fn list(talk: &mut Talk, message: &Value, events: &[Event]) {
    let ids: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
    talk.say(&json!(["NEG-MSG", message[1], list_of(&ids)]));
}

#[test]
fn events_with_wrong_ids_or_signatures_are_not_stored() {
    let (done, stored) = sync(|talk, message| match message[0].as_str() {
        Some("NEG-OPEN") => list(talk, message, &notes(20)),
        Some("REQ") => {
            for (n, event) in notes(20).iter().enumerate() {
                let mut json = event.json();
                match n % 4 {
                    0 => json["content"] = json!("something else"),
                    1 => json["sig"] = json!("00".repeat(64)),
                    2 => json["sig"] = json!("nonsense"),
                    _ => {}
                }
                talk.say(&json!(["EVENT", message[1], json]));
            }
            talk.say(&json!(["EOSE", message[1]]));
        }
        _ => {}
    });
    done.code(3);
    assert_eq!(stored.len(), 5);
}

#[test]
fn events_that_nobody_asked_for_end_the_conversation() {
    let (done, stored) = sync(|talk, message| match message[0].as_str() {
        Some("NEG-OPEN") => list(talk, message, &notes(1)),
        Some("REQ") => {
            let other = key(2).note("spam", AT);
            while talk.say(&json!(["EVENT", message[1], other.json()])) {}
        }
        _ => {}
    });
    done.code(1).says("not asked for");
    assert_eq!(stored.len(), 0);
}

#[test]
fn events_of_subscriptions_that_never_were_end_the_conversation() {
    let (done, stored) = sync(|talk, message| {
        if message[0] == "NEG-OPEN" {
            let other = key(2).note("spam", AT);
            while talk.say(&json!(["EVENT", "unknown", other.json()])) {}
        }
    });
    done.code(1).says("not asked for");
    assert_eq!(stored.len(), 0);
}

#[test]
fn a_page_without_end_ends_the_conversation() {
    let number = AtomicU64::new(0);
    let (done, stored) = sync(move |talk, message| match message[0].as_str() {
        Some("NEG-OPEN") => {
            talk.say(&json!(["NOTICE", "ERROR: unknown command NEG-OPEN"]));
        }
        Some("REQ") => loop {
            let n = number.fetch_add(1, Ordering::Relaxed);
            let event = json!({
                "id": format!("{n:064x}"), "pubkey": key(1).public(), "created_at": AT,
                "kind": 1, "tags": [], "content": "", "sig": "00".repeat(64),
            });
            if !talk.say(&json!(["EVENT", message[1], event])) {
                return;
            }
        },
        _ => {}
    });
    done.code(1).says("not asked for");
    assert_eq!(stored.len(), 0);
}

#[test]
fn a_reconciliation_without_end_is_ended() {
    let (done, _) = sync(|talk, message| {
        if matches!(message[0].as_str(), Some("NEG-OPEN" | "NEG-MSG")) {
            // Always another fingerprint of everything.
            talk.say(&json!(["NEG-MSG", message[1], format!("61000001{}", "5a".repeat(16))]));
        }
    });
    done.code(1).says("without end");
}

#[test]
fn ids_of_events_that_do_not_exist_are_not_asked_for_for_ever() {
    let number = AtomicU64::new(1);
    let (done, stored) = sync(move |talk, message| match message[0].as_str() {
        Some("NEG-OPEN" | "NEG-MSG") => {
            let ids: Vec<String> = (0..100)
                .map(|_| format!("{:064x}", number.fetch_add(1, Ordering::Relaxed)))
                .collect();
            // These, and a fingerprint of the rest.
            let time = "85a0bcc401";
            let ranges = format!("61{time}000264{}000001{}", ids.concat(), "5a".repeat(16));
            talk.say(&json!(["NEG-MSG", message[1], ranges]));
        }
        Some("REQ") => {
            talk.say(&json!(["EOSE", message[1]]));
        }
        _ => {}
    });
    done.code(1).says("peer");
    assert_eq!(stored.len(), 0);
}

#[test]
fn garbage_in_place_of_a_reconciliation_leads_to_pages() {
    for garbage in ["", "xyz", "62", "6100", "61000003", "610000029a", "61ffffffffffffffffffff00"] {
        let (done, stored) = sync(move |talk, message| match message[0].as_str() {
            Some("NEG-OPEN") => {
                talk.say(&json!(["NEG-MSG", message[1], garbage]));
            }
            Some("REQ") => {
                if message[2]["until"].is_null() {
                    for event in notes(3) {
                        talk.say(&json!(["EVENT", message[1], event.json()]));
                    }
                }
                talk.say(&json!(["EOSE", message[1]]));
            }
            _ => {}
        });
        done.code(0).says("pages");
        assert_eq!(stored.len(), 3, "{garbage:?}");
    }
}

#[test]
fn texts_that_are_no_messages_end_the_conversation() {
    let (done, _) = sync(|talk, message| {
        if message[0] == "NEG-OPEN" {
            while talk.say_text("{\"what\":\"is this\"}") {}
        }
    });
    done.code(1).says("no message of a relay");
}

#[test]
fn a_huge_frame_ends_the_connection_before_it_is_read() {
    let (done, _) = sync(|talk, message| {
        if message[0] == "NEG-OPEN" {
            talk.say_bytes(&[0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]);
            while talk.say_bytes(&[b' '; 4096]) {}
        }
    });
    done.code(1).says("too long");
}

#[test]
fn refusals_are_told_in_the_words_of_the_peer() {
    let (done, _) = sync(|talk, message| match message[0].as_str() {
        Some("NEG-OPEN") => {
            talk.say(&json!(["NEG-ERR", message[1], "blocked: not for you"]));
        }
        Some("REQ") => {
            talk.say(&json!(["CLOSED", message[1], "restricted: members only"]));
        }
        _ => {}
    });
    done.code(1).says("members only");
}

#[test]
fn a_peer_that_slows_the_client_down_gets_its_way() {
    let asked = AtomicU64::new(0);
    let (done, stored) = sync(move |talk, message| match message[0].as_str() {
        Some("NEG-OPEN") => list(talk, message, &notes(5)),
        Some("REQ") if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
            talk.say(&json!(["CLOSED", message[1], "rate-limited: slow down"]));
        }
        Some("REQ") => {
            for event in notes(5) {
                talk.say(&json!(["EVENT", message[1], event.json()]));
            }
            talk.say(&json!(["EOSE", message[1]]));
        }
        _ => {}
    });
    done.code(0);
    assert_eq!(stored.len(), 5);
}

#[test]
fn subscriptions_that_are_closed_when_all_was_shown_are_answered() {
    // chorus says so in place of EOSE where nothing more can come.
    // And if there is something beside it that others would be shown.
    let partial = "auth-required: at least one matching event requires AUTH";
    for (knows_nip_77, reason) in [(true, ""), (false, ""), (true, partial), (false, partial)] {
        let asked = Arc::new(AtomicU64::new(0));
        let requests = Arc::clone(&asked);
        let (done, stored) = sync(move |talk, message| match message[0].as_str() {
            Some("NEG-OPEN") if knows_nip_77 => list(talk, message, &notes(100)),
            Some("NEG-OPEN") => {
                talk.say(&json!(["NOTICE", "ERROR: unknown command NEG-OPEN"]));
            }
            Some("REQ") => {
                let until = message[2]["until"].as_u64().unwrap_or(u64::MAX);
                requests.fetch_add(1, Ordering::Relaxed);
                for event in notes(100).iter().filter(|it| it.created_at <= until) {
                    talk.say(&json!(["EVENT", message[1], event.json()]));
                }
                let reason = if until == u64::MAX { reason } else { "" };
                talk.say(&json!(["CLOSED", message[1], reason]));
            }
            // chorus leaves who closes what is closed too often.
            Some("CLOSE") => {
                requests.fetch_add(1_000, Ordering::Relaxed);
            }
            _ => {}
        });
        done.code(0);
        assert_eq!(stored.len(), 100);
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked <= 3, "{asked} requests, with NIP-77: {knows_nip_77}");
    }
}
