//! Batches against the single check, which is the library's own.

use super::batch::{Batch, SHAPES, Shape, WIDEST};
use super::sum::Sum;
use super::{Event, EventId, Invalid, Keypair, Kind, PublicKey, Signed, Verifier, vectors};

const SEED: [u8; 16] = [9; 16];

fn pair(number: u64) -> Keypair {
    Keypair::from_secret(super::digest(&number.to_be_bytes())).expect("a secret key")
}

fn signed(by: u64, digest: u64) -> Signed {
    let (pair, id) = (pair(by), EventId(super::digest(&digest.to_le_bytes())));
    Signed { pubkey: pair.public_key(), id, sig: pair.sign_id(&id) }
}

/// So many right signatures by a third as many authors.
fn many(count: u64) -> Vec<Signed> {
    (0..count).map(|number| signed(number % count.div_ceil(3), number)).collect()
}

fn shapes() -> impl Iterator<Item = Shape> {
    SHAPES.iter().map(|(_, shape)| *shape).chain([WIDEST])
}

/// What the batch says; a signature that it cannot hold is a wrong one to it.
fn batch_holds(shape: Shape, signed: &[Signed]) -> bool {
    let mut verifier = Verifier::new();
    let mut batch = Batch::shaped(shape, SEED, Sum::default());
    let all = signed.iter().all(|signed| {
        let point = verifier.point(&signed.pubkey);
        point.is_some_and(|point| batch.add(signed, &point).is_ok())
    });
    all && batch.holds()
}

fn wrong_alone(signed: &[Signed]) -> Vec<usize> {
    let mut verifier = Verifier::new();
    (0..signed.len()).filter(|place| !verifier.is_right(&signed[*place])).collect()
}

/// Ways to spoil a signature, given another one.
fn spoilt(right: &Signed, other: &Signed) -> Vec<Signed> {
    let mut all = Vec::new();
    for place in [0, 31, 32, 63] {
        let mut changed = *right;
        changed.sig.0[place] ^= 1;
        all.push(changed);
    }
    all.push(Signed { id: other.id, ..*right });
    all.push(Signed { pubkey: other.pubkey, ..*right });
    all.push(Signed { sig: other.sig, ..*right });
    let mut with = |r: Option<[u8; 32]>, s: Option<[u8; 32]>| {
        let mut changed = *right;
        changed.sig.0[..32].copy_from_slice(&r.unwrap_or(first(&right.sig.0[..32])));
        changed.sig.0[32..].copy_from_slice(&s.unwrap_or(first(&right.sig.0[32..])));
        all.push(changed);
    };
    with(None, Some([0; 32]));
    with(Some([0; 32]), None);
    with(None, Some([0xff; 32]));
    with(None, Some(ORDER));
    with(Some([0xff; 32]), None);
    // The nonce's opposite, the author's key as a nonce, no point of the curve.
    with(None, Some(negative(&right.sig.0[32..])));
    with(Some(right.pubkey.0), None);
    with(Some(small(5)), None);
    all.push(Signed { pubkey: PublicKey(small(5)), ..*right });
    all.push(Signed { pubkey: PublicKey([0; 32]), ..*right });
    all
}

fn first(bytes: &[u8]) -> [u8; 32] {
    *bytes.first_chunk().expect("there are 32")
}

fn small(number: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[31] = number;
    bytes
}

fn negative(number: &[u8]) -> [u8; 32] {
    let number = secp256k1::SecretKey::from_secret_bytes(first(number)).expect("not zero");
    number.negate().to_secret_bytes()
}

const ORDER: [u8; 32] = {
    let mut order = [0xff; 32];
    let low = 0xbaae_dce6_af48_a03b_bfd2_5e8c_d036_4141_u128.to_be_bytes();
    let mut place = 0;
    while place < 16 {
        order[16 + place] = low[place];
        place += 1;
    }
    order[15] = 0xfe;
    order
};

#[test]
fn right_signatures_hold_in_every_shape_and_number() {
    for shape in shapes() {
        for count in [1, 2, 3, 7, 40, 300] {
            assert!(batch_holds(shape, &many(count)), "{count} in {shape:?}");
        }
        assert!(batch_holds(shape, &[]), "nothing is wrong with nothing");
    }
}

#[test]
fn one_signature_often_and_one_author_alone_hold() {
    for shape in shapes() {
        assert!(batch_holds(shape, &[signed(1, 1); 50]));
        let of_one: Vec<Signed> = (0..50).map(|number| signed(1, number)).collect();
        assert!(batch_holds(shape, &of_one));
    }
}

#[test]
fn a_batch_with_any_wrong_signature_anywhere_does_not_hold() {
    let right = many(24);
    for (number, wrong) in spoilt(&right[5], &right[6]).into_iter().enumerate() {
        assert_eq!(wrong_alone(&[wrong]), [0], "kind {number} is wrong");
        for shape in shapes() {
            assert!(!batch_holds(shape, &[wrong]), "kind {number} alone in {shape:?}");
        }
        for place in 0..right.len() {
            let mut signed = right.clone();
            signed[place] = wrong;
            let shape = SHAPES[place % SHAPES.len()].1;
            assert!(!batch_holds(shape, &signed), "kind {number} at {place} in {shape:?}");
        }
    }
}

/// Without factors, or with factors that are foreseen, these sums would come out right.
#[test]
fn wrongs_that_would_make_up_for_each_other_do_not_hold() {
    let (one, other) = (signed(1, 1), signed(2, 2));
    let mut scalars = [&one, &other].map(|signed| {
        secp256k1::SecretKey::from_secret_bytes(first(&signed.sig.0[32..])).expect("not zero")
    });
    let by = secp256k1::Scalar::from_be_bytes(small(7)).expect("it is small");
    let back = secp256k1::Scalar::from_be_bytes(negative(&small(7))).expect("it is below");
    scalars[0] = scalars[0].add_tweak(&by).expect("not zero");
    scalars[1] = scalars[1].add_tweak(&back).expect("not zero");
    let mut shifted = [one, other];
    for (signed, scalar) in shifted.iter_mut().zip(&scalars) {
        signed.sig.0[32..].copy_from_slice(&scalar.to_secret_bytes());
    }
    // Two of one author, whose signatures are exchanged.
    let (a, b) = (signed(1, 1), signed(1, 2));
    let exchanged = [Signed { sig: b.sig, ..a }, Signed { sig: a.sig, ..b }];
    for wrong in [shifted, exchanged] {
        assert_eq!(wrong_alone(&wrong), [0, 1]);
        for shape in shapes() {
            assert!(!batch_holds(shape, &wrong));
        }
    }
}

#[test]
fn the_vectors_of_bip_340_come_out_as_they_should() {
    let vectors = vectors::all();
    assert_eq!(vectors.len(), 15);
    let mut right = Vec::new();
    for (signed, is_right) in &vectors {
        for shape in shapes() {
            assert_eq!(batch_holds(shape, &[*signed]), *is_right, "{signed:?}");
        }
        right.extend(is_right.then_some(*signed));
    }
    assert_eq!(right.len(), 5);
    assert!(shapes().all(|shape| batch_holds(shape, &right)));
    // In the midst of many.
    for (vector, is_right) in vectors {
        let mut signed = many(250);
        signed[100] = vector;
        let expected: &[usize] = if is_right { &[] } else { &[100] };
        assert_eq!(Verifier::new().wrong_signatures(&signed, || SEED), expected);
    }
}

#[test]
fn exactly_the_wrong_ones_are_found_among_many() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let right = many(2_500);
    let mut verifier = Verifier::new();
    for wrong_count in [0, 1, 2, 0, 40, 0, 0, 1_000, 0] {
        let mut signed = right[..random.usize(1..right.len())].to_vec();
        for _ in 0..wrong_count {
            let place = random.usize(..signed.len());
            let kinds = spoilt(&right[place], &right[(place + 1) % right.len()]);
            signed[place] = kinds[random.usize(..kinds.len())];
        }
        let wrong = verifier.wrong_signatures(&signed, || fastrand::u128(..).to_le_bytes());
        assert_eq!(wrong, wrong_alone(&signed), "seed {seed}, {wrong_count} wrong");
    }
}

#[test]
fn events_keep_their_order_and_each_its_fault() {
    let mut events: Vec<Event> = (0..600)
        .map(|number| pair(number % 20).sign_event(number, Kind(1), &[], "hello"))
        .collect();
    for place in [0, 300, 599] {
        events[place].sig.0[40] ^= 1;
    }
    for place in [1, 299, 598] {
        events[place].created_at += 1_000;
    }
    let mut alone = Verifier::new();
    let mut expected = Vec::new();
    for event in &events {
        expected.push(alone.verify(event.clone()));
    }
    let found = Verifier::new().verify_all(events, || SEED);
    assert_eq!(found, expected);
    let faults = found.iter().filter_map(|result| result.as_ref().err().map(|(_, fault)| *fault));
    let (id, signature) = (Invalid::Id, Invalid::Signature);
    assert_eq!(faults.collect::<Vec<_>>(), [signature, id, id, signature, id, signature]);
}

#[test]
fn what_has_not_the_form_of_a_signature_is_found_beside_the_batch() {
    let mut signed = many(400);
    let kinds: Vec<Signed> = spoilt(&signed[0], &signed[1]);
    let is_formless = |wrong: &Signed| {
        let mut batch = Batch::shaped(WIDEST, SEED, Sum::default());
        let point = Verifier::new().point(&wrong.pubkey);
        point.is_none_or(|point| batch.add(wrong, &point).is_err())
    };
    let formless: Vec<Signed> = kinds.into_iter().filter(is_formless).collect();
    assert!(formless.len() >= 7, "{}", formless.len());
    for (place, wrong) in formless.iter().enumerate() {
        signed[place * 17] = *wrong;
    }
    let expected: Vec<usize> = (0..formless.len()).map(|place| place * 17).collect();
    let seeds = std::cell::Cell::new(0);
    let seed = || {
        seeds.set(seeds.get() + 1);
        SEED
    };
    assert_eq!(Verifier::new().wrong_signatures(&signed, seed), expected);
    assert_eq!(seeds.get(), 1, "one batch was enough");
}
