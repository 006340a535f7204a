//! Messages, against a plain reading: what is legal is taken for what it is, everything else gets
//! the answer that belongs to it.

use chappe::nostr::{ClientMessage, MessageError};
use fastrand::Rng;

use super::{Target, damaged};
use crate::dataset::choose;
use crate::fuzz::grammar;
use crate::fuzz::reading::{self, Outcome};
use crate::fuzz::tree::{NoTree, Tree};

pub(super) struct Messages {
    known: Vec<Tree>,
}

impl Messages {
    pub(super) fn new() -> Self {
        let fixtures = grammar::fixtures();
        let known = fixtures.iter().map(|text| Tree::parse(text.as_bytes()));
        Self { known: known.collect::<Result<_, _>>().expect("fixtures are JSON") }
    }
}

impl Target for Messages {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let (mut text, mut other) = (String::new(), String::new());
        grammar::message(&self.known, rng).spell(rng, &mut text);
        choose(rng, &self.known).spell(rng, &mut other);
        damaged(text, other.as_bytes(), rng)
    }

    fn check(&mut self, input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        let ours = ClientMessage::parse(&text);
        if let Err(error) = &ours {
            check_answer(error, text.len());
        }
        let tree = match Tree::parse(text.as_bytes()) {
            Err(NoTree::Beyond) => return,
            Err(NoTree::Wrong) => {
                assert!(ours.is_err(), "taken, but not JSON: {ours:?}");
                return;
            }
            Ok(tree) => tree,
        };
        let found = match &ours {
            Ok(message) => {
                check_content(message, &tree);
                Outcome::Taken
            }
            Err(MessageError::Notice(_)) => Outcome::Notice,
            Err(MessageError::Ok { id, .. }) => Outcome::Ok(id.clone()),
            Err(MessageError::Closed { subscription, .. }) => Outcome::Closed(subscription.clone()),
            Err(MessageError::NegErr { subscription, .. }) => Outcome::NegErr(subscription.clone()),
        };
        let meant = reading::message(&tree);
        // A binary message is hexadecimal, so that escapes in it are not even looked at.
        let is_escaped = matches!(found, Outcome::NegErr(_)) && text.contains('\\');
        assert!(found == meant || is_escaped, "{ours:?}\nmeant as {meant:?}");
    }
}

fn check_content(message: &ClientMessage<'_>, tree: &Tree) {
    let items = tree.list().expect("messages are lists");
    let text = |place: usize| items.get(place).and_then(Tree::text);
    match message {
        ClientMessage::Event(event) | ClientMessage::Auth(event) => {
            let plain = reading::event(&items[1]).expect("both read an event");
            assert_eq!(plain.id, event.id.to_string());
        }
        ClientMessage::Req { subscription: name, filters }
        | ClientMessage::Count { query: name, filters } => {
            assert_eq!(text(1), Some(&*name.to_text()));
            assert_eq!(filters.len(), items.len() - 2);
        }
        ClientMessage::NegOpen { subscription: name, message, .. } => {
            assert_eq!(text(1), Some(&*name.to_text()));
            assert_eq!(text(3), Some(&*chappe::nostr::json::unescape(message.as_bytes())));
        }
        ClientMessage::NegMsg { subscription: name, message } => {
            assert_eq!(text(1), Some(&*name.to_text()));
            assert_eq!(text(2), Some(&*chappe::nostr::json::unescape(message.as_bytes())));
        }
        ClientMessage::Close { subscription: name }
        | ClientMessage::NegClose { subscription: name } => {
            assert_eq!(text(1), Some(&*name.to_text()));
        }
    }
}

/// An answer is one short message of its kind that repeats what it answers.
fn check_answer(error: &MessageError, message_len: usize) {
    let mut out = Vec::new();
    error.write(&mut out);
    assert!(out.len() <= 6 * message_len + 300, "{} bytes of answer", out.len());
    let answer = Tree::parse(&out).expect("answers are JSON");
    let answer = answer.list().expect("answers are lists");
    let text = |place: usize| answer.get(place).and_then(Tree::text);
    let (verb, name, reason) = match error {
        MessageError::Notice(_) => ("NOTICE", None, text(1)),
        MessageError::Ok { id, .. } => ("OK", Some(id), text(3)),
        MessageError::Closed { subscription, .. } => ("CLOSED", Some(subscription), text(2)),
        MessageError::NegErr { subscription, .. } => ("NEG-ERR", Some(subscription), text(2)),
    };
    assert_eq!(text(0), Some(verb));
    assert!(name.is_none_or(|name| text(1) == Some(name)));
    assert!(verb != "OK" || answer[2] == Tree::Truth(false));
    let reason = reason.expect("a refusal has a reason");
    let is_known = ["invalid: ", "unsupported: "].iter().any(|prefix| reason.starts_with(prefix));
    assert!(is_known, "{reason}");
}
