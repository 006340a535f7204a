//! How the fate of an event is told to its client: the texts of OK (NIP-01.28 to .34).

use crate::nostr::{EventId, Reject, message};
use crate::store::Outcome;

/// Appends the OK message for an event's outcome.
pub fn write_outcome(out: &mut Vec<u8>, id: &EventId, outcome: &Result<Outcome, Reject>) {
    match outcome {
        Ok(outcome) => {
            let (accepted, text) = describe(*outcome);
            message::write_ok(out, id, accepted, text);
        }
        Err(reject) => message::write_refusal(out, id, reject),
    }
}

fn describe(outcome: Outcome) -> (bool, &'static str) {
    match outcome {
        Outcome::Stored(_) | Outcome::Ephemeral | Outcome::Unkept => (true, ""),
        Outcome::Duplicate => (true, "duplicate: already have this event"),
        Outcome::Superseded => (false, "duplicate: have a newer version"),
        Outcome::Deleted => (false, "blocked: event was deleted by its author"),
        Outcome::Vanished => (false, "blocked: who it is by or for has asked to vanish"),
        Outcome::Expired => (false, "invalid: event expired"),
        Outcome::Refused => (false, "blocked: the relay does not take this event"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Prefix;
    use crate::seq::Seq;

    #[test]
    fn every_outcome_has_its_words() {
        let rows = [
            (Ok(Outcome::Stored(Seq(1))), r#"true,"""#),
            (Ok(Outcome::Ephemeral), r#"true,"""#),
            (Ok(Outcome::Duplicate), r#"true,"duplicate: "#),
            (Ok(Outcome::Superseded), r#"false,"duplicate: "#),
            (Ok(Outcome::Deleted), r#"false,"blocked: "#),
            (Ok(Outcome::Vanished), r#"false,"blocked: "#),
            (Ok(Outcome::Expired), r#"false,"invalid: "#),
            (Ok(Outcome::Unkept), r#"true,"""#),
            (Ok(Outcome::Refused), r#"false,"blocked: "#),
            (Err(Reject::new(Prefix::Error, "full")), r#"false,"error: full"]"#),
        ];
        for (outcome, expected) in rows {
            let mut out = Vec::new();
            write_outcome(&mut out, &EventId([0xab; 32]), &outcome);
            let text = String::from_utf8(out).expect("answers are text");
            let start = format!(r#"["OK","{}",{expected}"#, "ab".repeat(32));
            assert!(text.starts_with(&start), "{text}");
        }
    }
}
