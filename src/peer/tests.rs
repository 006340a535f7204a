//! The engine against model peers of all tempers, with a model of the own store: no socket, no
//! thread, time as the test tells it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::*;
use crate::nostr::message::{self, EoseHint};
use crate::nostr::{ClientMessage, Event, EventId, Filter, Keypair, Kind, Prefix, Reject};
use crate::reconcile::{Differences, Item, SortedItems, begin, go_on, respond};
use crate::seq::Seq;

const AT: u64 = 1_700_000_000;

/// How a peer behaves.
#[derive(Clone, Copy, Debug)]
struct Temper {
    knows_reconciliation: bool,
    /// More ids in a request are refused.
    ids_max: usize,
    /// Answers are cut off here without a word.
    answer_max: usize,
    says_hints: bool,
    /// One of so many requests and events is refused for coming too fast; none if zero.
    slows_down: u32,
    wants_proof: bool,
    /// More events in a reconciliation are refused.
    reconciled_max: usize,
    silence: Silence,
}

/// What a peer never answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    Nothing,
    Requests,
    Reconciliations,
    Events,
    Everything,
}

const GENTLE: Temper = Temper {
    knows_reconciliation: true,
    ids_max: 1_000,
    answer_max: 5_000,
    says_hints: true,
    slows_down: 0,
    wants_proof: false,
    reconciled_max: usize::MAX,
    silence: Silence::Nothing,
};

type Events = BTreeMap<EventId, Event>;

struct Peer {
    temper: Temper,
    events: Events,
    is_known: bool,
    sets: BTreeMap<Vec<u8>, SortedItems>,
}

fn items<'e>(events: impl Iterator<Item = &'e Event>) -> SortedItems {
    SortedItems::new(
        events.map(|event| Item { timestamp: event.created_at, id: event.id.0 }).collect(),
    )
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("messages are text")
}

impl Peer {
    fn answer(&mut self, asked: &str, random: &mut fastrand::Rng) -> Vec<String> {
        let asked = ClientMessage::parse(asked).expect("the engine sends messages");
        let slow = Reject::new(Prefix::RateLimited, "slow down");
        let is_slow = self.temper.slows_down > 0 && random.u32(..self.temper.slows_down) == 0;
        let unproven = (self.temper.wants_proof && !self.is_known)
            .then(|| Reject::new(Prefix::AuthRequired, "who is there"));
        let refused = unproven.or(is_slow.then_some(slow));
        let about = match &asked {
            ClientMessage::Req { .. } => Silence::Requests,
            ClientMessage::NegOpen { .. } | ClientMessage::NegMsg { .. } => {
                Silence::Reconciliations
            }
            ClientMessage::Event(_) => Silence::Events,
            _ => Silence::Nothing,
        };
        let silence = self.temper.silence;
        if silence == Silence::Everything || (silence == about && about != Silence::Nothing) {
            return Vec::new();
        }
        match asked {
            ClientMessage::Auth(proof) => {
                self.is_known = true;
                vec![text(|out| message::write_ok(out, &proof.id, true, ""))]
            }
            ClientMessage::Event(event) => {
                let id = event.id;
                if let Some(reject) = refused {
                    return vec![text(|out| message::write_refusal(out, &id, &reject))];
                }
                self.events.insert(id, event);
                vec![text(|out| message::write_ok(out, &id, true, ""))]
            }
            ClientMessage::Req { subscription, filters } => {
                let [filter] = &filters[..] else { panic!("one filter at a time") };
                let too_many = filter.ids.as_ref().is_some_and(|it| it.len() > self.temper.ids_max);
                let too_many = too_many.then(|| Reject::invalid("filter item too large"));
                if let Some(reject) = refused.or(too_many) {
                    return vec![text(|out| message::write_closed(out, &subscription, &reject))];
                }
                self.stored(&subscription, filter)
            }
            ClientMessage::NegOpen { subscription, filter, message } => {
                let name = subscription.as_canonical().to_vec();
                let matching = || self.events.values().filter(|it| filter.matches(&it.view()));
                let refused = refused.or_else(|| {
                    let is_much = matching().count() > self.temper.reconciled_max;
                    is_much.then(|| Reject::new(Prefix::Blocked, "too many query results"))
                });
                if !self.temper.knows_reconciliation {
                    return vec!["[\"NOTICE\",\"ERROR: bad msg: unknown cmd\"]".to_owned()];
                }
                if let Some(reject) = refused {
                    return vec![text(|out| message::write_neg_err(out, &subscription, &reject))];
                }
                let set = items(matching());
                self.sets.insert(name.clone(), set);
                self.reconcile(&subscription, message)
            }
            ClientMessage::NegMsg { subscription, message } => {
                self.reconcile(&subscription, message)
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, name: &message::SubscriptionId, hex: &str) -> Vec<String> {
        let bytes = crate::hex::decode_any_case(hex.as_bytes()).expect("hexadecimal");
        let set = self.sets.get_mut(name.as_canonical()).expect("an open reconciliation");
        let answer = respond(set, &bytes, 4096).expect("a message");
        vec![text(|out| message::write_neg_msg(out, name, &answer))]
    }

    fn stored(&self, name: &message::SubscriptionId, filter: &Filter) -> Vec<String> {
        let mut found: Vec<&Event> =
            self.events.values().filter(|it| filter.matches(&it.view())).collect();
        found.sort_by_key(|event| (u64::MAX - event.created_at, event.id));
        let limit = usize::try_from(filter.limit.unwrap_or(500)).expect("a small number");
        let given = found.len().min(limit).min(self.temper.answer_max);
        let is_all = given == found.len();
        let mut out: Vec<String> = found[..given]
            .iter()
            .map(|event| {
                text(|out| {
                    message::write_event_prefix(out, name);
                    event.view().write_json(out);
                    out.push(b']');
                })
            })
            .collect();
        let hint = if is_all { EoseHint::Finish } else { EoseHint::More };
        let hint = self.temper.says_hints.then_some(hint);
        out.push(text(|out| message::write_eose(out, name, hint)));
        out
    }
}

struct World {
    engine: Engine,
    own: Events,
    set: SortedItems,
    peer: Peer,
    now: Moment,
}

fn options() -> EngineOptions {
    EngineOptions {
        url: "ws://peer".to_owned(),
        filter: Filter::default(),
        direction: Direction::Down,
        span: Span::UntilInSync,
        transfer: Transfer::Wanted,
        key: None,
        agreement: Agreement::default(),
        full_secs: None,
        patience: 1,
    }
}

fn note(number: u64, at: u64) -> Event {
    let keypair = Keypair::from_secret([1; 32]).expect("a secret key");
    // Not signed: neither side of the simulation looks.
    let mut event = keypair.sign_event(at, Kind(1), &[], "");
    event.id = EventId(crate::nostr::verify::digest(&number.to_be_bytes()));
    event
}

fn events(random: &mut fastrand::Rng, numbers: std::ops::Range<u64>) -> Events {
    let template = note(0, AT);
    let seconds = 1 + random.u64(..=2 * (numbers.end - numbers.start));
    numbers
        .map(|number| {
            let id = EventId(crate::nostr::verify::digest(&number.to_be_bytes()));
            let created_at = AT + random.u64(..seconds);
            let mut event = template.clone();
            (event.id, event.created_at) = (id, created_at);
            (id, event)
        })
        .collect()
}

impl World {
    fn new(temper: Temper, own: Events, theirs: Events, direction: Direction, span: Span) -> World {
        let key = Keypair::from_secret([2; 32]).map(Arc::new);
        let engine = Engine::new(EngineOptions { direction, span, key, ..options() });
        let peer = Peer { temper, events: theirs, is_known: false, sets: BTreeMap::new() };
        let now = Moment { millis: 0, secs: AT + 1_000_000 };
        World { engine, own, set: SortedItems::default(), peer, now }
    }

    /// Lets both talk until the engine ends it, or has nothing to do for a minute; `patience`
    /// messages of the peer come through before the line breaks.
    fn talk(&mut self, random: &mut fastrand::Rng, mut patience: usize) -> Option<Action> {
        self.engine.connected(self.now);
        let mut line = VecDeque::new();
        if self.peer.temper.wants_proof {
            self.peer.is_known = false;
            line.push_back("[\"AUTH\",\"prove it\"]".to_owned());
        }
        let mut quiet = 0;
        while quiet < 20 {
            while let Some(action) = self.engine.next_action() {
                quiet = 0;
                match action {
                    Action::Send(text) => {
                        let text = String::from_utf8(text).expect("messages are text");
                        line.extend(self.peer.answer(&text, random));
                    }
                    Action::Inform => self.engine.informed(None, self.now),
                    Action::Reconcile { filter, answer } => self.reconcile(&filter, answer),
                    Action::Load(ids) => {
                        for id in ids {
                            let event = self.own.get(&id);
                            let text = event.map(|event| {
                                text(|out| message::write_event(out, &event.view())).into_bytes()
                            });
                            self.engine.loaded(id, text);
                        }
                    }
                    Action::List(filter) => {
                        let found = self.own.values().filter(|it| filter.matches(&it.view()));
                        self.engine.listed(found.map(|event| event.id).collect(), self.now);
                    }
                    Action::InSync => return Some(Action::InSync),
                    end @ (Action::Finish | Action::Fail(_)) => return Some(end),
                }
                self.take();
            }
            match line.pop_front() {
                Some(_) if patience == 0 => {
                    self.engine.disconnected();
                    return None;
                }
                Some(text) => {
                    patience -= 1;
                    self.engine.message(&text, self.now);
                }
                None => {
                    quiet += 1;
                    self.now.millis += 3_000;
                    self.engine.tick(self.now);
                }
            }
            self.take();
        }
        panic!("nothing is left to be done and it is not over: {:?}", self.engine.counts());
    }

    fn take(&mut self) {
        for event in self.engine.take_events() {
            self.own.insert(event.id, event);
        }
    }

    fn reconcile(&mut self, filter: &Filter, answer: Option<Vec<u8>>) {
        let mut found = Differences::default();
        let next = match answer {
            None => {
                self.set = items(self.own.values().filter(|it| filter.matches(&it.view())));
                let Ok(first) = begin(&mut self.set);
                Some(first)
            }
            Some(answer) => go_on(&mut self.set, &answer, 5_000, &mut found).expect("a message"),
        };
        self.engine.reconciled(Asked::Say(next, found), self.now);
    }
}

fn random_temper(random: &mut fastrand::Rng) -> Temper {
    let answer_max = [60, 500, 5_000][random.usize(..3)];
    Temper {
        knows_reconciliation: random.bool(),
        ids_max: [1, 40, 300, 1_000][random.usize(..4)],
        answer_max,
        says_hints: random.bool(),
        slows_down: [0, 0, 30][random.usize(..3)],
        wants_proof: random.bool(),
        reconciled_max: [300, usize::MAX][random.usize(..2)],
        silence: Silence::Nothing,
    }
}

#[test]
fn both_sides_have_everything_afterwards_whatever_the_peer_is_like() {
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let temper = random_temper(&mut random);
        let shared = [0, 3, 500][random.usize(..3)];
        let (ours, theirs) = ([0, 1, 200][random.usize(..3)], [0, 1, 700][random.usize(..3)]);
        let all = events(&mut random, 0..shared + ours + theirs);
        let of = |number: u64| EventId(crate::nostr::verify::digest(&number.to_be_bytes()));
        let has = |range: std::ops::Range<u64>| -> Vec<EventId> { range.map(of).collect() };
        let pick = |ids: Vec<EventId>| -> Events {
            ids.into_iter().map(|id| (id, all[&id].clone())).collect()
        };
        let own = pick(has(0..shared + ours));
        let peer = pick([has(0..shared), has(shared + ours..shared + ours + theirs)].concat());
        let mut world = World::new(temper, own, peer, Direction::Both, Span::UntilInSync);
        let mut breaks = [0, 0, 4][random.usize(..3)];
        let end = loop {
            let patience = if breaks > 0 { random.usize(1..600) } else { usize::MAX };
            breaks -= i32::from(breaks > 0);
            if let Some(end) = world.talk(&mut random, patience) {
                break end;
            }
        };
        assert_eq!(end, Action::Finish, "seed {seed}: {temper:?}");
        let crowded = world.engine.counts().crowded_seconds;
        assert!(crowded == 0 || !temper.knows_reconciliation, "seed {seed}");
        if crowded == 0 {
            assert!(world.own.keys().eq(all.keys()), "seed {seed}: {temper:?}");
        }
        assert!(world.peer.events.keys().eq(world.own.keys()), "seed {seed}: {temper:?}");
    }
}

#[test]
fn nothing_goes_the_other_way() {
    let mut random = fastrand::Rng::with_seed(1);
    let all = events(&mut random, 0..100);
    let (own, theirs): (Vec<_>, Vec<_>) =
        all.clone().into_iter().partition(|(id, _)| id.0[0] < 128);
    let (own, theirs) = (Events::from_iter(own), Events::from_iter(theirs));
    for knows_reconciliation in [true, false] {
        let temper = Temper { knows_reconciliation, ..GENTLE };
        for (direction, own_after, peer_after) in
            [(Direction::Down, 100, theirs.len()), (Direction::Up, own.len(), 100)]
        {
            let mut world =
                World::new(temper, own.clone(), theirs.clone(), direction, Span::UntilInSync);
            assert_eq!(world.talk(&mut random, usize::MAX), Some(Action::Finish));
            assert_eq!((world.own.len(), world.peer.events.len()), (own_after, peer_after));
        }
    }
}

#[test]
fn seconds_with_more_events_than_a_page_shows_are_noticed() {
    let mut random = fastrand::Rng::with_seed(2);
    let mut theirs = events(&mut random, 0..300);
    theirs.values_mut().for_each(|event| event.created_at = AT);
    let temper = Temper { knows_reconciliation: false, answer_max: 100, ..GENTLE };
    let own = Events::new();
    let mut world = World::new(temper, own, theirs, Direction::Down, Span::UntilInSync);
    assert_eq!(world.talk(&mut random, usize::MAX), Some(Action::Finish));
    assert_eq!(world.engine.counts().crowded_seconds, 1);
}

#[test]
fn who_has_no_key_and_is_asked_for_one_is_told_so() {
    let temper = Temper { wants_proof: true, ..GENTLE };
    for knows_reconciliation in [true, false] {
        let temper = Temper { knows_reconciliation, ..temper };
        let mut random = fastrand::Rng::with_seed(3);
        let theirs = events(&mut random, 0..10);
        let mut world =
            World::new(temper, Events::new(), theirs, Direction::Down, Span::UntilInSync);
        world.engine = Engine::new(options());
        let end = world.talk(&mut random, usize::MAX);
        assert!(matches!(end, Some(Action::Fail(Fault::NeedsKey(_)))), "{end:?}");
    }
}

#[test]
fn what_comes_live_is_taken_and_what_is_new_here_is_given() {
    let mut random = fastrand::Rng::with_seed(4);
    let theirs = events(&mut random, 0..10);
    let mut world = World::new(GENTLE, Events::new(), theirs, Direction::Both, Span::Forever);
    assert_eq!(world.talk(&mut random, usize::MAX), Some(Action::InSync));
    assert_eq!((world.own.len(), world.engine.stage()), (10, Stage::Following));
    let live = note(1_000, AT);
    let frame = text(|out| {
        // The first name that is given.
        let name = message::SubscriptionId::new("l1").expect("a name");
        message::write_event_prefix(out, &name);
        live.view().write_json(out);
        out.push(b']');
    });
    world.engine.message(&frame, world.now);
    assert_eq!(world.engine.take_events(), std::slice::from_ref(&live));
    // Met in the own log, it is not offered to where it came from.
    world.engine.offer([(Seq(11), live.id)], world.now);
    assert_eq!(world.engine.next_action(), None);
    let own = note(2_000, AT);
    world.engine.offer([(Seq(12), own.id)], world.now);
    assert_eq!(world.engine.next_action(), Some(Action::Load(vec![own.id])));
}

#[test]
fn what_comes_while_there_is_no_connection_is_made_up_for() {
    for knows_reconciliation in [true, false] {
        let mut random = fastrand::Rng::with_seed(5);
        let temper = Temper { knows_reconciliation, answer_max: 60, ..GENTLE };
        let theirs = events(&mut random, 0..500);
        let mut world = World::new(temper, Events::new(), theirs, Direction::Down, Span::Forever);
        let mut number = 10_000;
        let mut publish = |world: &mut World| {
            number += 1;
            let event = note(number, world.now.secs);
            world.peer.events.insert(event.id, event);
        };
        // Broken while there is still much to get, several times.
        for _ in 0..3 {
            assert_eq!(world.talk(&mut random, 150), None);
            publish(&mut world);
        }
        assert_eq!(world.talk(&mut random, usize::MAX), Some(Action::InSync));
        assert!(world.own.keys().eq(world.peer.events.keys()), "{knows_reconciliation}");
        // Broken while following.
        world.engine.disconnected();
        publish(&mut world);
        let pages = world.engine.counts().pages;
        assert_eq!(world.talk(&mut random, usize::MAX), Some(Action::InSync));
        assert!(world.own.keys().eq(world.peer.events.keys()), "{knows_reconciliation}");
        assert!(world.engine.counts().pages <= pages + 2, "what was agreed on is not gone through");
    }
}

#[test]
fn a_peer_that_does_not_answer_is_not_waited_for_for_long() {
    for (silence, knows_reconciliation) in [
        (Silence::Requests, true),
        (Silence::Requests, false),
        (Silence::Events, true),
        (Silence::Everything, true),
    ] {
        let mut random = fastrand::Rng::with_seed(6);
        let temper = Temper { silence, knows_reconciliation, ..GENTLE };
        let (own, theirs) = (events(&mut random, 0..20), events(&mut random, 20..2_000));
        let mut world = World::new(temper, own, theirs, Direction::Both, Span::UntilInSync);
        let end = world.talk(&mut random, usize::MAX);
        assert!(matches!(end, Some(Action::Fail(Fault::Silent(_)))), "{silence:?}: {end:?}");
        assert!(world.now.millis < 100_000, "{silence:?}: {} ms", world.now.millis);
    }
    // Without an answer to NEG-OPEN there are pages.
    let mut random = fastrand::Rng::with_seed(7);
    let temper = Temper { silence: Silence::Reconciliations, ..GENTLE };
    let theirs = events(&mut random, 0..100);
    let mut world = World::new(temper, Events::new(), theirs, Direction::Down, Span::UntilInSync);
    assert_eq!(world.talk(&mut random, usize::MAX), Some(Action::Finish));
    assert_eq!(world.own.len(), 100);
}

/// Lets the engine send what it has to send, and the peer answer, until nothing is left.
fn settle(world: &mut World, random: &mut fastrand::Rng) {
    while let Some(action) = world.engine.next_action() {
        match action {
            Action::Send(text) => {
                let text = String::from_utf8(text).expect("messages are text");
                for answer in world.peer.answer(&text, random) {
                    world.engine.message(&answer, world.now);
                }
            }
            Action::Load(ids) => {
                for id in ids {
                    let text = world.own.get(&id).map(|event| {
                        text(|out| message::write_event(out, &event.view())).into_bytes()
                    });
                    world.engine.loaded(id, text);
                }
            }
            Action::Inform => world.engine.informed(None, world.now),
            Action::InSync => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_the_peer_has_not_decided_on_is_not_passed_over_whatever_breaks() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let temper = Temper { slows_down: [0, 3][random.usize(..2)], ..GENTLE };
        let (own, direction) = (Events::new(), Direction::Up);
        let mut world = World::new(temper, own, Events::new(), direction, Span::Forever);
        assert_eq!(world.talk(&mut random, usize::MAX), Some(Action::InSync));
        assert_eq!(world.engine.first_open(), None);
        let news: Vec<(Seq, EventId)> = (0..300)
            .map(|number| {
                let event = note(5_000 + number, AT);
                world.own.insert(event.id, event.clone());
                (Seq(100 + 3 * number), event.id)
            })
            .collect();
        world.engine.offer(news.iter().copied(), world.now);
        assert_eq!(world.engine.first_open(), Some(Seq(100)));
        let mut given = 0;
        while let Some(first) = world.engine.first_open() {
            // All that lies before was decided on.
            let (before, _) = news.split_at(news.partition_point(|(seq, _)| *seq < first));
            assert!(before.iter().all(|(_, id)| world.peer.events.contains_key(id)), "{seed}");
            assert!(before.len() >= given, "{seed}: it never goes back");
            given = before.len();
            if random.u32(..4) == 0 {
                world.engine.disconnected();
                world.engine.connected(world.now);
            }
            for _ in 0..random.usize(1..40) {
                match world.engine.next_action() {
                    Some(Action::Send(text)) if random.u32(..50) > 0 => {
                        let text = String::from_utf8(text).expect("messages are text");
                        for answer in world.peer.answer(&text, &mut random) {
                            world.engine.message(&answer, world.now);
                        }
                    }
                    // Lost on the way.
                    Some(Action::Send(_)) => {
                        world.engine.disconnected();
                        break;
                    }
                    Some(Action::Load(ids)) => {
                        for id in ids {
                            let text = world.own.get(&id).map(|event| {
                                text(|out| message::write_event(out, &event.view())).into_bytes()
                            });
                            world.engine.loaded(id, text);
                        }
                    }
                    Some(Action::Reconcile { filter, answer }) => world.reconcile(&filter, answer),
                    Some(_) => {}
                    None => {
                        world.now.millis += 3_000;
                        world.engine.tick(world.now);
                    }
                }
            }
            if world.engine.stage() == Stage::Away {
                world.engine.connected(world.now);
            }
        }
        assert!(news.iter().all(|(_, id)| world.peer.events.contains_key(id)), "seed {seed}");
    }
}

#[test]
fn an_engine_that_goes_on_from_an_agreement_asks_for_no_more_than_it_must() {
    for (direction, compared, has_gap, pages) in [
        // What is to be given is told by the own log.
        (Direction::Up, AT, false, 0..=0),
        (Direction::Down, AT, false, 1..=2),
        (Direction::Both, AT, false, 1..=2),
        // Everything is due, after a week, or a day after a cut.
        (Direction::Down, AT - 604_800, false, 5..=99),
        (Direction::Down, AT - 86_400, true, 5..=99),
        (Direction::Down, AT - 86_399, true, 1..=2),
        (Direction::Up, AT - 604_800, false, 5..=99),
    ] {
        let mut random = fastrand::Rng::with_seed(8);
        let temper = Temper { knows_reconciliation: false, answer_max: 60, ..GENTLE };
        let mut theirs = events(&mut random, 0..500);
        theirs.values_mut().for_each(|event| event.created_at -= 8_000_000);
        let own = theirs.clone();
        let mut world = World::new(temper, own, theirs, direction, Span::Forever);
        world.now.secs = AT;
        world.engine = Engine::new(EngineOptions {
            direction,
            span: Span::Forever,
            agreement: Agreement { agreed: AT - 60, compared, has_gap },
            full_secs: Some(604_800),
            ..options()
        });
        assert_eq!(world.talk(&mut random, usize::MAX), Some(Action::InSync));
        let found = world.engine.counts().pages;
        assert!(pages.contains(&found), "{direction:?} {compared} {has_gap}: {found} pages");
        let agreement = world.engine.agreement();
        assert_eq!(agreement.agreed, AT);
        let is_full = *pages.end() == 99;
        assert_eq!(agreement.compared, if is_full { AT } else { compared });
        assert_eq!(agreement.has_gap, has_gap && !is_full);
    }
}

#[test]
fn what_is_dated_far_back_and_came_during_a_long_cut_is_found_when_everything_is_due() {
    let mut random = fastrand::Rng::with_seed(9);
    let temper = Temper { knows_reconciliation: false, ..GENTLE };
    let theirs = events(&mut random, 0..100);
    let mut world = World::new(temper, Events::new(), theirs, Direction::Down, Span::Forever);
    world.engine =
        Engine::new(EngineOptions { span: Span::Forever, full_secs: Some(604_800), ..options() });
    assert_eq!(world.talk(&mut random, usize::MAX), Some(Action::InSync));
    world.engine.disconnected();
    let old = note(7_000, AT - 9_000_000);
    world.peer.events.insert(old.id, old.clone());
    world.now.secs += 7_200;
    assert_eq!(world.talk(&mut random, usize::MAX), Some(Action::InSync));
    assert!(!world.own.contains_key(&old.id), "pages of what is dated lately do not show it");
    assert!(world.engine.agreement().has_gap);
    world.now.secs += 86_400;
    world.engine.tick(world.now);
    assert_eq!(world.engine.stage(), Stage::Syncing, "a day later everything is due");
    settle(&mut world, &mut random);
    world.take();
    assert!(world.own.contains_key(&old.id));
    assert!(!world.engine.agreement().has_gap);
}
