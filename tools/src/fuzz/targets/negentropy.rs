//! Messages of reconciliations (NIP-77), against the `negentropy` crate: the same answer byte by
//! byte where both give one, never more than a frame, and no patience for what is cut off.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chappe::reconcile::{Item, SortedItems, respond};
use fastrand::Rng;
use negentropy::{Id, Negentropy, NegentropyStorageVector};

use super::Target;
use crate::dataset::choose;
use crate::fuzz::mutate::mutate;

pub(super) struct Reconciled {
    sets: Vec<(SortedItems, NegentropyStorageVector)>,
    /// What somebody else asked in dialogues about these sets.
    asked: Vec<Vec<u8>>,
}

impl Reconciled {
    pub(super) fn new() -> Self {
        let mut rng = Rng::with_seed(77);
        let mut made = Self { sets: Vec::new(), asked: Vec::new() };
        for count in [0, 1, 31, 33, 200, 1_500] {
            let shared = random_items(&mut rng, count);
            let mine = [&shared[..], &random_items(&mut rng, count / 4)].concat();
            let theirs = storage(&[&shared[..], &random_items(&mut rng, count / 3 + 1)].concat());
            let mut set = SortedItems::new(mine.clone());
            for frame in [0, 4_096] {
                let mut asking = Negentropy::borrowed(&theirs, frame).expect("a legal frame");
                let mut next = Some(asking.initiate().expect("the first message"));
                while let Some(message) = next {
                    let answer = respond(&mut set, &message, FRAME).expect("it is legal");
                    let (mut have, mut need) = (Vec::new(), Vec::new());
                    next = asking
                        .reconcile_with_ids(&answer, &mut have, &mut need)
                        .expect("answers are legal");
                    made.asked.push(message);
                }
            }
            made.sets.push((set, storage(&mine)));
        }
        made
    }
}

impl Target for Reconciled {
    fn generate(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut message = choose(rng, &self.asked).clone();
        if rng.u8(..3) == 0 {
            message = (0..rng.usize(..40)).map(|_| rng.u8(..4)).collect();
            message.insert(0, 0x61);
        }
        if rng.u8(..6) > 0 {
            let other = choose(rng, &self.asked).clone();
            mutate(&mut message, &other, &NUMBERS, rng);
        }
        message.insert(0, rng.u8(..));
        message
    }

    fn check(&mut self, input: &[u8]) {
        let Some((settings, message)) = input.split_first() else { return };
        let count = self.sets.len();
        let (set, reference) = &mut self.sets[usize::from(settings & 15) % count];
        let ours = respond(set, message, FRAME);
        let short = respond(set, message, 4_096);
        // A full frame ends the answer before the rest of the message is read.
        assert!(ours.is_err() || short.is_ok());
        if let Ok(answer) = &short {
            assert!(answer.len() <= 4_096, "{} bytes of answer", answer.len());
        }
        let Ok(ours) = ours else { return };
        assert!(ours.len() <= FRAME);
        // The crate adds times without looking where they end.
        let theirs = catch_unwind(AssertUnwindSafe(|| {
            let mut answering = Negentropy::borrowed(&*reference, 0).expect("no limit is legal");
            answering.reconcile(message)
        }));
        if let Ok(Ok(theirs)) = theirs {
            assert!(ours == theirs, "answers differ");
        }
    }
}

/// Items with many ties in time and common beginnings of ids.
fn random_items(rng: &mut Rng, count: usize) -> Vec<Item> {
    let seconds = 1 + count as u64 / 2;
    let item = |rng: &mut Rng| {
        let mut id = [0; 32];
        let same = rng.usize(..4);
        rng.fill(&mut id[same..]);
        Item { timestamp: 1_700_000_000 + rng.u64(..seconds), id }
    };
    (0..count).map(|_| item(rng)).collect()
}

fn storage(items: &[Item]) -> NegentropyStorageVector {
    let mut storage = NegentropyStorageVector::new();
    for item in items {
        storage.insert(item.timestamp, Id::from_byte_array(item.id)).expect("it is not sealed");
    }
    storage.seal().expect("it is sealed once");
    storage
}

const FRAME: usize = 500_000;
/// Numbers at bounds as messages write them, versions, and starts of ranges.
const NUMBERS: [&[u8]; 12] = [
    b"\x00",
    b"\x01",
    b"\x02",
    b"\x03",
    b"\x20",
    b"\x21",
    b"\x61",
    b"\x62",
    b"\x80",
    b"\x86\xaa\xcf\xe2\x00",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
];
