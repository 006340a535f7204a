//! The paths of the protocol: reading, hashing, verifying, writing.

use std::hint::black_box;

use chappe::net;
use chappe::nostr::message::SubscriptionId;
use chappe::nostr::{ClientMessage, Event, Filter, Signed, Verifier, message};

use super::Failure;
use super::events::Events;
use super::limits::Limits;
use super::timing::Report;

/// Measures them.
pub(crate) fn measure(
    report: &mut Report,
    limits: &Limits,
    events: &Events,
) -> Result<(), Failure> {
    let bytes = events.bytes();
    let mut place = 0;
    let mut next = move || {
        place += 1;
        place
    };
    report.path("parse an event", Some(bytes), limits.memcpy(bytes), || {
        let json = &events.json[next() % events.json.len()];
        usize::from(Event::parse(black_box(json)).is_ok())
    });
    let mut frames = Vec::new();
    for json in &events.json {
        let frame = [b"[\"EVENT\",", &json[..], b"]"].concat();
        frames.push(String::from_utf8(frame)?);
    }
    report.path("read an EVENT message", Some(bytes), limits.memcpy(bytes), || {
        let frame = &frames[next() % frames.len()];
        usize::from(ClientMessage::parse(black_box(frame)).is_ok())
    });
    let mut verifier = Verifier::new();
    report.path("id hash", Some(bytes), limits.sha256(bytes), || {
        usize::from(verifier.check_id(black_box(&events.event(next()).view())).is_ok())
    });
    report.path("verify", Some(bytes), limits.verification(bytes), || {
        usize::from(verifier.check(black_box(&events.event(next()).view())).is_ok())
    });
    for count in [256, 1_024, 4_096] {
        let signed: Vec<Signed> =
            (0..count).map(|number| Signed::of(&events.event(number).view())).collect();
        let name = format!("signature, {count} together");
        report.path(&name, None, limits.verification(0.0), || {
            signed.len() - verifier.wrong_signatures(black_box(&signed), || [1; 16]).len()
        });
    }
    let mut out = Vec::new();
    report.path("render an event", Some(bytes), limits.memcpy(bytes), || {
        out.clear();
        events.event(next()).view().write_json(&mut out);
        black_box(&out);
        1
    });
    let id = SubscriptionId::new("home").ok_or("the name is not empty")?;
    report.path("frame a rendered event", Some(bytes), limits.memcpy(bytes), || {
        let json = &events.json[next() % events.json.len()];
        out.clear();
        frame(&mut out, &id, json);
        black_box(&out);
        1
    });
    let authors: Vec<String> = events.authors.iter().map(|key| format!("\"{key}\"")).collect();
    let filter = format!(r#"{{"authors":[{}],"kinds":[1,6]}}"#, authors[..500].join(","));
    let bytes = filter.len() as f64;
    report.path("parse a filter of 500 authors", Some(bytes), limits.memcpy(bytes), || {
        usize::from(Filter::parse(black_box(filter.as_bytes())).is_ok())
    });
    Ok(())
}

/// Writes what one subscriber gets of an event that is rendered for all.
pub(crate) fn frame(out: &mut Vec<u8>, subscription: &SubscriptionId, json: &[u8]) {
    net::write_text_frame(out, |out| {
        message::write_event_prefix(out, subscription);
        out.extend_from_slice(json);
        out.push(b']');
    });
}
