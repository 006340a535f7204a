//! The engine that follows other relays, against peers that say anything: what it sends are
//! messages, what it takes was asked for, and nobody makes it talk without end.
//!
//! An input is steps with the byte 0x1e between them: what the peer says, `!later`, `!gone`.

use std::sync::Arc;

use chappe::nostr::info::PeerInformation;
use chappe::nostr::{ClientMessage, Event, Filter, Keypair};
use chappe::peer::{
    Action, Agreement, Asked, Direction, Engine, EngineOptions, Moment, Span, Transfer,
};
use chappe::reconcile::{Differences, Item, SortedItems, begin, go_on};
use fastrand::Rng;

use super::{Target, damaged};
use crate::dataset::choose;
use crate::fuzz::grammar::{self, word};

pub(super) struct Peers {
    own: Vec<Event>,
    theirs: Vec<String>,
}

impl Peers {
    pub(super) fn new() -> Self {
        let own = grammar::signed(60, "", &mut Rng::with_seed(3));
        let theirs = grammar::signed(60, "", &mut Rng::with_seed(4));
        let json = |event: &Event| {
            let mut out = Vec::new();
            event.view().write_json(&mut out);
            String::from_utf8(out).expect("events are text")
        };
        let theirs = theirs.iter().chain(&own[..20]).map(json).collect();
        Self { own, theirs }
    }

    /// Something that a relay could say.
    fn said(&self, rng: &mut Rng) -> String {
        let name = format!("{}{}", word(rng, &["d", "p", "l", "n", "x", ""]), rng.u8(..6));
        let event = choose(rng, &self.theirs);
        let id = choose(rng, &self.own).id;
        let reason = word(
            rng,
            &["", "rate-limited: slow", "auth-required: who", "blocked: too much", "error: x"],
        );
        match rng.u8(..14) {
            0..4 => format!(r#"["EVENT","{name}",{event}]"#),
            4 => format!(r#"["EOSE","{name}"]"#),
            5 => format!(r#"["EOSE","{name}",["{}"]]"#, word(rng, &["finish", "more", "x"])),
            6 => format!(r#"["CLOSED","{name}","{reason}"]"#),
            7 => format!(r#"["OK","{id}",{},"{reason}"]"#, rng.bool()),
            8 => format!(r#"["NOTICE","{}"]"#, word(rng, &["", "unknown cmd", "ERROR: bad msg"])),
            9 => format!(r#"["AUTH","{}"]"#, word(rng, &["", "c", "prove it"])),
            10 => format!(r#"["NEG-ERR","{name}","{reason}"]"#),
            11 => format!(r#"["COUNT","{name}",{{"count":1}}]"#),
            _ => {
                let ids: String = (0..rng.u8(1..4))
                    .map(|_| choose(rng, &self.own).id)
                    .fold(String::new(), |all, id| format!("{all}{id}"));
                let list = format!("61000002{:02x}{ids}", ids.len() / 64);
                let said = word(rng, &["61", "6100000200", "62", "61000001", ""]);
                format!(r#"["NEG-MSG","{name}","{}"]"#, if rng.bool() { said } else { &list })
            }
        }
    }

    fn set(&self) -> SortedItems {
        let item = |event: &Event| Item { timestamp: event.created_at, id: event.id.0 };
        SortedItems::new(self.own.iter().map(item).collect())
    }
}

impl Target for Peers {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut steps = vec![vec![rng.u8(..)]];
        for _ in 0..rng.usize(1..40) {
            steps.push(match rng.u8(..16) {
                0 => b"!later".to_vec(),
                1 if rng.u8(..4) == 0 => b"!gone".to_vec(),
                2 => {
                    let other = self.said(rng);
                    damaged(self.said(rng), other.as_bytes(), rng)
                }
                _ => self.said(rng).into_bytes(),
            });
        }
        steps.join(&SEPARATOR)
    }

    fn check(&mut self, input: &[u8]) {
        let mut steps = input.split(|byte| *byte == SEPARATOR);
        let about = steps.next().and_then(|step| step.first()).copied().unwrap_or_default();
        let filter = match about & 4 {
            0 => Filter::default(),
            _ => Filter { kinds: Some([1, 3, 4, 5].into()), ..Filter::default() },
        };
        let mut talk = Talk {
            engine: Engine::new(EngineOptions {
                url: grammar::OWN.to_owned(),
                filter: filter.clone(),
                direction: [Direction::Down, Direction::Up, Direction::Both]
                    [usize::from(about) % 3],
                span: if about & 8 == 0 { Span::UntilInSync } else { Span::Forever },
                transfer: if about & 16 == 0 { Transfer::Wanted } else { Transfer::CountedOnly },
                key: Keypair::from_secret([9; 32]).map(Arc::new).filter(|_| about & 32 == 0),
                agreement: Agreement::default(),
                full_secs: Some(60).filter(|_| about & 64 == 0),
                patience: 1,
            }),
            filter,
            set: self.set(),
            own: &self.own,
            now: Moment { millis: 0, secs: grammar::NOW + 1_000 },
            asked: 0,
        };
        talk.engine.connected(talk.now);
        if talk.work() == Left::Nothing {
            return;
        }
        for step in steps {
            let text = String::from_utf8_lossy(step);
            match &*text {
                "!later" => {
                    talk.now.millis += 30_000;
                    talk.now.secs += 30;
                    talk.engine.tick(talk.now);
                }
                "!gone" => {
                    talk.engine.disconnected();
                    talk.now.millis += 1_000;
                    talk.engine.connected(talk.now);
                }
                said => talk.engine.message(said, talk.now),
            }
            if talk.work() == Left::Nothing {
                return;
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Left {
    Nothing,
    Something,
}

struct Talk<'a> {
    engine: Engine,
    filter: Filter,
    set: SortedItems,
    own: &'a [Event],
    now: Moment,
    /// Events that the engine could have been given.
    asked: u64,
}

impl Talk<'_> {
    /// Does what the engine wants done, as the loop around it would.
    fn work(&mut self) -> Left {
        let mut count = 0;
        while let Some(action) = self.engine.next_action() {
            count += 1;
            assert!(count < ACTIONS_MAX, "one step makes it do {count} things");
            match action {
                Action::Send(text) => {
                    let text = String::from_utf8(text).expect("messages are text");
                    let sent = ClientMessage::parse(&text);
                    assert!(sent.is_ok(), "it sends {text}: {sent:?}");
                }
                Action::Inform => {
                    let document = br#"{"supported_nips":[1,77],"limitation":{"max_limit":50}}"#;
                    let said = PeerInformation::parse(document);
                    self.engine.informed(said.as_ref(), self.now);
                }
                Action::Reconcile { answer, .. } => {
                    let asked = self.reconcile(answer.as_deref());
                    self.engine.reconciled(asked, self.now);
                }
                Action::Load(ids) => {
                    for id in ids {
                        let found = self.own.iter().find(|event| event.id == id);
                        self.engine.loaded(id, found.map(message_of));
                    }
                }
                Action::List(filter) => {
                    let matching = self.own.iter().filter(|event| filter.matches(&event.view()));
                    self.engine.listed(matching.map(|event| event.id).collect(), self.now);
                }
                Action::InSync => {}
                Action::Finish | Action::Fail(_) => return Left::Nothing,
            }
        }
        for event in self.engine.take_events() {
            self.asked += 1;
            let is_wanted = self.filter.matches(&event.view());
            assert!(is_wanted, "it takes what nobody asked for: {}", event.id);
        }
        let counts = self.engine.counts();
        assert!(self.asked <= counts.received, "{} of {counts:?}", self.asked);
        assert!(counts.notes.len() <= 20 && counts.refused.len() <= 60);
        let next = self.engine.deadline();
        assert!(next.is_none_or(|at| at < u64::MAX / 2), "it waits until {next:?}");
        Left::Something
    }

    fn reconcile(&mut self, answer: Option<&[u8]>) -> Asked {
        let mut found = Differences::default();
        let said = match answer {
            None => begin(&mut self.set).map(Some).map_err(|never| match never {}),
            Some(answer) => go_on(&mut self.set, answer, 60_000, &mut found)
                .map_err(|failure| format!("{failure:?}")),
        };
        match said {
            Ok(next) => Asked::Say(next, found),
            Err(problem) => Asked::Malformed(problem),
        }
    }
}

fn message_of(event: &Event) -> Vec<u8> {
    let mut text = b"[\"EVENT\",".to_vec();
    event.view().write_json(&mut text);
    text.push(b']');
    text
}

const SEPARATOR: u8 = 0x1e;
/// One step may bring on as much as all events take.
const ACTIONS_MAX: usize = 5_000;
