//! Zap receipts (NIP-57): a signed request inside a tag, an invoice, a preimage.

use fastrand::Rng;

use super::draft::Draft;
use super::random::{BECH32, chance, choose, random_hex, random_text};
use super::seal::seal;
use super::text::Script;
use super::world::World;

/// Kind 9735: the receipt of a zap, signed by a wallet service.
pub(crate) fn receipt(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let target = world.past.note(rng)?;
    let sender = world.busy_author(rng);
    let amount = *choose(rng, AMOUNTS);
    let recipient = &world.authors[target.author].pubkey;

    let mut request = Draft::new(sender, created_at, 9734);
    request.follow(rng, target);
    request.push(["e", &target.id_hex()]);
    request.push(["p", recipient]);
    let mut relays = vec!["relays".to_owned()];
    relays.extend((0..rng.usize(1..5)).map(|_| world.relay(rng)));
    request.tags.push(relays);
    request.push(["amount", &format!("{amount}000")]);
    if chance(rng, 350) {
        let length = rng.usize(5..80);
        request.content = world.text.prose(rng, world.authors[sender].script, length);
    }

    let mut draft = Draft::new(world.service(rng), request.created_at + rng.u64(1..9), 9735);
    draft.push(["p", recipient]);
    draft.push(["e", &target.id_hex()]);
    if let Some(address) = target.address(world) {
        draft.push(["a", &address]);
    }
    draft.push(["P", &world.authors[sender].pubkey]);
    let length = rng.usize(230..340);
    let invoice = format!("lnbc{}u1p{}", amount.max(10) / 10, random_text(rng, BECH32, length));
    draft.push(["bolt11", &invoice]);
    let request = seal(&request, &world.authors[sender].signer);
    draft.push(["description", &String::from_utf8_lossy(&request.json)]);
    draft.push(["preimage", &random_hex(rng, 32)]);
    if chance(rng, 30) {
        draft.content = world.text.prose(rng, Script::ENGLISH, 40);
    }
    Some(draft)
}

/// In satoshi.
const AMOUNTS: &[u32] = &[21, 21, 21, 42, 69, 100, 100, 210, 420, 500, 1_000, 2_100, 5_000, 21_000];
