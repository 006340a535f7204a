//! The responder against worked cases of the reference, against the `negentropy` crate byte by
//! byte, and with the crate as the side that asks, until both sides know all.

use std::collections::BTreeSet;

use negentropy::{Id, Negentropy, NegentropyStorageVector};

use super::{Differences, Failure, Item, Malformed, SortedItems, begin, go_on, respond};
use crate::hex::{self, Hex};

const Q: [(u64, &str); 3] = [
    (1_700_000_000, "cd3746da795d3b1092eadb6bd789e3810df8cf1ae18ae3561058697ba1d66bda"),
    (1_700_000_000, "7cd6be7bf866b6293a0d467c4283688e003220cb7d8a71d41a88e50fb3b9a7cf"),
    (1_700_000_100, "a37a9c083dc31e47816f88b5e567368840748576807e1c5cf2b08bc3b99e772f"),
];

const FRAME: usize = 500_000;

fn set_q() -> SortedItems {
    let item = |(timestamp, id): (u64, &str)| Item {
        timestamp,
        id: hex::decode_32(id.as_bytes()).unwrap(),
    };
    SortedItems::new(Q.map(item).to_vec())
}

fn bytes(text: &str) -> Vec<u8> {
    hex::decode_any_case(text.as_bytes()).unwrap()
}

fn answer(set: &mut SortedItems, message: &str) -> String {
    Hex(&respond(set, &bytes(message), FRAME).unwrap()).to_string()
}

#[test]
fn worked_cases_are_answered_as_by_the_reference() {
    let [n0, n1, n2] = Q.map(|(_, id)| id);
    let whole = format!("6100000203{n1}{n0}{n2}");
    let rows = [
        ("6100000200", whole.clone()),
        (&format!("61000001{}", "00".repeat(16)), whole),
        ("6186aacfe265000200", format!("6186aacfe265000202{n1}{n0}")),
        ("6186aacfe265000000000200", format!("6186aacfe265000000000201{n2}")),
        ("6186aacfe20101cd0200", format!("6186aacfe20101cd0201{n1}")),
        ("61", "61".to_owned()),
        ("62aabbccddeeff", "61".to_owned()),
        ("6F", "61".to_owned()),
    ];
    for (message, expected) in rows {
        assert_eq!(answer(&mut set_q(), message), expected, "{message}");
    }
    assert_eq!(answer(&mut SortedItems::default(), "6100000200"), "6100000200");
}

#[test]
fn malformed_messages_are_refused_by_name() {
    let rows = [
        ("", Malformed::Truncated),
        ("70", Malformed::Version),
        ("5f00", Malformed::Version),
        ("6100", Malformed::Truncated),
        ("610000", Malformed::Truncated),
        ("61000003", Malformed::Mode),
        ("6100210000", Malformed::Bound),
        ("6100820000", Malformed::Bound),
        (&format!("61000001{}", "00".repeat(15)), Malformed::Truncated),
        ("610000020111", Malformed::Truncated),
        // 2^60 ids, and 2^59 of them, whose bytes are 2^64.
        (&format!("6100000290{}00", "80".repeat(7)), Malformed::Truncated),
        (&format!("6100000288{}00", "80".repeat(7)), Malformed::Truncated),
        ("61ffffffffffffffffffff00", Malformed::Number),
        // The same second with a lower prefix.
        ("610501020001010100", Malformed::Order),
    ];
    for (message, expected) in rows {
        let result = respond(&mut set_q(), &bytes(message), FRAME);
        assert_eq!(result, Err(Failure::Malformed(expected)), "{message}");
    }
}

#[test]
fn no_bytes_can_do_more_than_be_refused() {
    let mut random = fastrand::Rng::with_seed(77);
    let mut set = SortedItems::new(random_items(&mut random, 200));
    for _ in 0..20_000 {
        let mut message = vec![0; random.usize(..60)];
        random.fill(&mut message);
        if random.u8(..4) > 0 && !message.is_empty() {
            message[0] = 0x61;
            // Small numbers are read as something more often.
            for byte in &mut message[1..] {
                if random.bool() {
                    *byte &= 3;
                }
            }
        }
        if let Ok(answer) = respond(&mut set, &message, 4096) {
            assert!(answer.len() <= 4096);
        }
    }
}

/// Items with many ties in time and common beginnings of ids.
fn random_items(random: &mut fastrand::Rng, count: usize) -> Vec<Item> {
    let seconds = 1 + random.u64(..2 * count as u64 + 1);
    let item = |random: &mut fastrand::Rng| {
        let mut id = [0; 32];
        let same = random.usize(..4);
        random.fill(&mut id[same..]);
        Item { timestamp: 1_700_000_000 + random.u64(..seconds), id }
    };
    (0..count).map(|_| item(random)).collect()
}

fn storage(items: &[Item]) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    for item in items {
        storage.insert(item.timestamp, Id::from_byte_array(item.id)).unwrap();
    }
    storage.seal().unwrap();
    storage
}

#[test]
fn answers_are_those_of_the_crate_byte_by_byte() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = [0, 1, 20, 31, 32, 33, 500, 3000][random.usize(..8)];
        let shared = random_items(&mut random, count);
        let extra = random.usize(..60);
        let ours = [shared.clone(), random_items(&mut random, extra)].concat();
        let mine = storage(&[shared, random_items(&mut random, extra)].concat());
        let mut asking = Negentropy::borrowed(&mine, 0).unwrap();
        let reference = storage(&ours);
        let mut reference = Negentropy::borrowed(&reference, 0).unwrap();
        let mut set = SortedItems::new(ours);
        let mut next = Some(asking.initiate().unwrap());
        while let Some(message) = next {
            let answer = respond(&mut set, &message, FRAME).unwrap();
            assert_eq!(answer, reference.reconcile(&message).unwrap(), "seed {seed}");
            next = asking.reconcile_with_ids(&answer, &mut Vec::new(), &mut Vec::new()).unwrap();
        }
    }
}

#[test]
fn both_sides_know_all_at_the_end_whatever_the_frames_hold() {
    for seed in 0..80 {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = [0, 3, 40, 800, 5000][random.usize(..5)];
        let shared = random_items(&mut random, count);
        let lonely = |random: &mut fastrand::Rng| {
            let count = [0, 1, 50, 2000][random.usize(..4)];
            random_items(random, count)
        };
        let (ours, theirs) = (lonely(&mut random), lonely(&mut random));
        let mut set = SortedItems::new([&shared[..], &ours].concat());
        let other = storage(&[&shared[..], &theirs].concat());
        let frames = [4096, 5000, 60_000, 0];
        let asking_max = frames[random.usize(..4)];
        let answer_max = frames[random.usize(..3)] as usize;
        let mut asking = Negentropy::borrowed(&other, asking_max).unwrap();
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let mut next = Some(asking.initiate().unwrap());
        let mut rounds = 0;
        while let Some(message) = next {
            rounds += 1;
            assert!(rounds < 1000, "seed {seed} does not come to an end");
            let answer = respond(&mut set, &message, answer_max).unwrap();
            assert!(answer.len() <= answer_max, "seed {seed}");
            next = asking.reconcile_with_ids(&answer, &mut have, &mut need).unwrap();
        }
        let ids = |items: &[Item]| items.iter().map(|it| it.id).collect::<BTreeSet<_>>();
        let known = |ids: Vec<Id>| ids.into_iter().map(Id::to_bytes).collect::<BTreeSet<_>>();
        assert_eq!(known(have), ids(&theirs), "seed {seed}");
        assert_eq!(known(need), ids(&ours), "seed {seed}");
    }
}

/// Reconciles from our side; returns what we found and how many rounds it took.
fn ask(
    ours: &mut SortedItems,
    frame: usize,
    mut answer: impl FnMut(&[u8]) -> Vec<u8>,
) -> (Differences, usize) {
    let mut found = Differences::default();
    let Ok(first) = begin(ours);
    let (mut next, mut rounds) = (Some(first), 0);
    while let Some(message) = next {
        assert!(rounds == 0 || message.len() <= frame);
        rounds += 1;
        assert!(rounds < 1000, "it comes to an end");
        next = go_on(ours, &answer(&message), frame, &mut found).unwrap();
    }
    (found, rounds)
}

#[test]
fn the_side_that_asks_finds_all_differences_with_either_make_of_answers() {
    for seed in 0..120 {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = [0, 3, 31, 32, 800, 5000][random.usize(..6)];
        let shared = random_items(&mut random, count);
        let lonely = |random: &mut fastrand::Rng| {
            let count = [0, 1, 50, 2000][random.usize(..4)];
            random_items(random, count)
        };
        let (ours, theirs) = (lonely(&mut random), lonely(&mut random));
        let mut asking = SortedItems::new([&shared[..], &ours].concat());
        let answering = [&shared[..], &theirs].concat();
        let frame = [4096, 5000, 60_000][random.usize(..3)];
        let (found, _) = if random.bool() {
            let mut set = SortedItems::new(answering);
            ask(&mut asking, frame, |message| respond(&mut set, message, 4096).unwrap())
        } else {
            let set = storage(&answering);
            let mut other = Negentropy::borrowed(&set, 0).unwrap();
            ask(&mut asking, frame, |message| other.reconcile(message).unwrap())
        };
        let ids = |items: &[Item]| items.iter().map(|it| it.id).collect::<BTreeSet<_>>();
        let set = |ids: Vec<[u8; 32]>| ids.into_iter().collect::<BTreeSet<_>>();
        assert_eq!(set(found.have), ids(&ours), "seed {seed}");
        assert_eq!(set(found.need), ids(&theirs), "seed {seed}");
    }
}

#[test]
fn equal_sets_take_one_short_message_each_way() {
    let mut random = fastrand::Rng::with_seed(1);
    let items = random_items(&mut random, 100_000);
    let mut set = SortedItems::new(items.clone());
    let mut bytes = 0;
    let (found, rounds) = ask(&mut SortedItems::new(items), FRAME, |message| {
        let answer = respond(&mut set, message, FRAME).unwrap();
        bytes += message.len() + answer.len();
        answer
    });
    assert_eq!((found, rounds), (Differences::default(), 1));
    assert!(bytes < 150, "{bytes} bytes");
}

#[test]
fn no_bytes_of_the_answering_side_can_do_more_than_be_refused() {
    let mut random = fastrand::Rng::with_seed(78);
    let mut set = SortedItems::new(random_items(&mut random, 200));
    for _ in 0..20_000 {
        let mut message = vec![0; random.usize(..60)];
        random.fill(&mut message);
        if random.u8(..4) > 0 && !message.is_empty() {
            message[0] = 0x61;
            for byte in &mut message[1..] {
                if random.bool() {
                    *byte &= 3;
                }
            }
        }
        let mut found = Differences::default();
        if let Ok(Some(next)) = go_on(&mut set, &message, 4096, &mut found) {
            assert!(next.len() <= 4096);
        }
        assert!(found.need.len() <= 2 && found.have.len() <= 200, "{found:?}");
    }
}
