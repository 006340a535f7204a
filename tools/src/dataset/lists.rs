//! What people keep about themselves: profiles, follows, relays, lists, application data.

use fastrand::Rng;

use super::draft::Draft;
use super::random::{BASE64, chance, choose, choose_skewed, random_hex, random_text};
use super::text::Script;
use super::world::World;

/// Kind 0: a profile, JSON inside the content.
pub(crate) fn profile(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let mut draft = Draft::new(owner(world, rng), created_at, 0);
    let script = draft.author.map_or(Script::ENGLISH, |author| world.authors[author].script);
    let name = world.text.words(rng, script, 1);
    let length = choose_skewed(rng, 0, 600);
    let about = world.text.prose(rng, script, length);
    let host = world.text.word(Script::ENGLISH, rng.usize(150..2_000));
    let picture = random_hex(rng, 32);
    let mut content = serde_json::json!({
        "name": name,
        "display_name": format!("{name} \u{26a1}"),
        "about": about,
        "picture": format!("https://image.example/{picture}.png"),
        "nip05": format!("{name}@{host}.example"),
        "lud16": format!("{name}@wallet.example"),
    });
    if chance(rng, 500) {
        content["banner"] = format!("https://image.example/{}.jpg", random_hex(rng, 32)).into();
        content["website"] = format!("https://{host}.example").into();
    }
    draft.content = content.to_string();
    Some(draft)
}

/// Kind 3: follows, up to thousands of `p` tags.
pub(crate) fn follows(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let mut draft = Draft::new(owner(world, rng), created_at, 3);
    let hints = chance(rng, 60);
    let most = if chance(rng, 25) { 1_800 } else { 210 };
    for _ in 0..choose_skewed(rng, 1, most) {
        let followed = &world.authors[world.busy_author(rng)].pubkey;
        if hints {
            let petname = world.text.word(Script::ENGLISH, rng.usize(0..2_000));
            draft.push(["p", followed, &world.relay_hint(rng), petname]);
        } else {
            draft.push(["p", followed]);
        }
    }
    if chance(rng, 250) {
        let relays: serde_json::Map<String, serde_json::Value> = (0..rng.usize(1..8))
            .map(|_| (world.relay(rng), serde_json::json!({"read": true, "write": true})))
            .collect();
        draft.content = serde_json::Value::Object(relays).to_string();
    }
    Some(draft)
}

/// Kind 10002: the relays somebody reads and writes (NIP-65).
pub(crate) fn relays(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let mut draft = Draft::new(owner(world, rng), created_at, 10_002);
    for _ in 0..choose_skewed(rng, 2, 16) {
        let relay = world.relay(rng);
        match rng.u32(0..10) {
            0..2 => draft.push(["r", &relay, "read"]),
            2..4 => draft.push(["r", &relay, "write"]),
            _ => draft.push(["r", &relay]),
        }
    }
    Some(draft)
}

/// Kind 10000: mutes, in part encrypted.
pub(crate) fn mutes(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let mut draft = Draft::new(owner(world, rng), created_at, 10_000);
    for _ in 0..choose_skewed(rng, 0, 90) {
        draft.push(["p", &world.authors[world.any_author(rng)].pubkey]);
    }
    for _ in 0..choose_skewed(rng, 0, 6) {
        draft.push(["word", &world.text.words(rng, Script::ENGLISH, 1)]);
    }
    if chance(rng, 400) {
        let length = choose_skewed(rng, 100, 3_000);
        draft.content =
            format!("{}?iv={}==", random_text(rng, BASE64, length), random_text(rng, BASE64, 22));
    }
    Some(draft)
}

/// Kind 10003: bookmarks.
pub(crate) fn bookmarks(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let mut draft = Draft::new(owner(world, rng), created_at, 10_003);
    for _ in 0..choose_skewed(rng, 1, 60) {
        let note = world.past.note(rng)?;
        draft.follow(rng, note);
        match note.address(world) {
            Some(address) => draft.push(["a", &address, &world.relay_hint(rng)]),
            None => draft.push(["e", &note.id_hex(), &world.relay_hint(rng)]),
        }
    }
    Some(draft)
}

/// Kind 30078: what an application keeps for its user.
pub(crate) fn application_data(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let mut draft = Draft::new(owner(world, rng), created_at, 30_078);
    let application = world.text.word(Script::ENGLISH, 200 + choose_skewed(rng, 0, 12));
    let part = *choose(rng, &["settings", "drafts", "read-status", "feeds/v2", "theme"]);
    draft.push(["d", &format!("{application}/{part}")]);
    draft.push(["client", application]);
    let length = choose_skewed(rng, 60, 4_000);
    draft.content = if chance(rng, 500) {
        random_text(rng, BASE64, length)
    } else {
        let text = world.text.words(rng, Script::ENGLISH, length / 8);
        serde_json::json!({"version": 2, "theme": "dark\tmode", "path": "c:\\data", "text": text})
            .to_string()
    };
    Some(draft)
}

/// Picks who keeps a list: half of them by how much they write, so that lists get replaced.
fn owner(world: &World, rng: &mut Rng) -> usize {
    if chance(rng, 500) { world.busy_author(rng) } else { world.any_author(rng) }
}
