//! What people say: notes, answers, reactions, reposts, articles, messages, and taking it back.

use fastrand::Rng;

use super::draft::Draft;
use super::random::{
    BASE64, chance, choose, choose_skewed, choose_weighted, random_hex, random_text,
};
use super::text::{Script, push_emoji};
use super::world::World;

/// A kind 1 note: an answer more often than not.
pub(crate) fn note(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    if chance(rng, 420) {
        Some(post(world, rng, created_at))
    } else {
        answer(world, rng, created_at)
    }
}

/// A kind 1 note that starts a thread.
pub(crate) fn post(world: &World, rng: &mut Rng, created_at: u64) -> Draft {
    let mut draft = Draft::new(world.busy_author(rng), created_at, 1);
    write_content(world, rng, &mut draft, POST_LENGTHS);
    add_extras(world, rng, &mut draft);
    draft
}

/// A kind 1 note in a thread, with the markers of NIP-10.
fn answer(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let parent = world.past.note(rng)?;
    let mut draft = Draft::new(world.busy_author(rng), created_at, 1);
    draft.follow(rng, parent);
    let parent_pubkey = &world.authors[parent.author].pubkey;
    let hint = world.relay_hint(rng);
    if chance(rng, 550) {
        let root = world.past.note(rng)?;
        draft.push(["e", &root.id_hex(), &world.relay_hint(rng), "root"]);
        draft.push(["e", &parent.id_hex(), &hint, "reply", parent_pubkey]);
        draft.push(["p", &world.authors[root.author].pubkey]);
    } else {
        draft.push(["e", &parent.id_hex(), &hint, "root", parent_pubkey]);
    }
    draft.push(["p", parent_pubkey, &hint]);
    for _ in 0..choose_skewed(rng, 0, 4) {
        draft.push(["p", &world.authors[world.busy_author(rng)].pubkey]);
    }
    write_content(world, rng, &mut draft, ANSWER_LENGTHS);
    add_extras(world, rng, &mut draft);
    Some(draft)
}

/// A kind 1111 comment (NIP-22), with upper-case tags for its root.
pub(crate) fn comment(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let root = world.past.note(rng)?;
    let mut draft = Draft::new(world.busy_author(rng), created_at, 1111);
    draft.follow(rng, root);
    let hint = world.relay_hint(rng);
    let pubkey = &world.authors[root.author].pubkey;
    let (id, kind) = (root.id_hex(), root.kind.to_string());
    match root.address(world) {
        Some(address) => {
            draft.push(["A", &address, &hint]);
            draft.push(["a", &address, &hint]);
        }
        None => draft.push(["E", &id, &hint, pubkey]),
    }
    draft.push(["K", &kind]);
    draft.push(["P", pubkey, &hint]);
    draft.push(["e", &id, &hint, pubkey]);
    draft.push(["k", &kind]);
    draft.push(["p", pubkey, &hint]);
    write_content(world, rng, &mut draft, ANSWER_LENGTHS);
    Some(draft)
}

/// A kind 7 reaction (NIP-25).
pub(crate) fn reaction(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let target = world.past.note(rng)?;
    let mut draft = Draft::new(world.busy_author(rng), created_at, 7);
    draft.follow(rng, target);
    let hint = world.relay_hint(rng);
    let pubkey = &world.authors[target.author].pubkey;
    draft.push(["e", &target.id_hex(), &hint, pubkey]);
    draft.push(["p", pubkey]);
    if chance(rng, 600) {
        draft.push(["k", &target.kind.to_string()]);
    }
    if chance(rng, 150) {
        add_client(world, rng, &mut draft);
    }
    match rng.u32(0..100) {
        0..45 => draft.content.push('+'),
        45..52 => {
            let name = world.text.word(Script::ENGLISH, rng.usize(0..400));
            draft.content = format!(":{name}:");
            let url = format!("https://emoji.example/{}.png", random_hex(rng, 16));
            draft.push(["emoji", name, &url]);
        }
        52..54 => draft.content.push('-'),
        _ => push_emoji(rng, &mut draft.content),
    }
    Some(draft)
}

/// A kind 6 repost (NIP-18), mostly with the whole note as its content.
pub(crate) fn repost(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let note = world.past.whole_note(rng)?;
    let mut draft = Draft::new(world.busy_author(rng), created_at, 6);
    draft.created_at = draft.created_at.max(note.event.created_at + 1);
    draft.push(["e", &faster_hex::hex_string(&note.event.id.0), &world.relay(rng)]);
    draft.push(["p", &faster_hex::hex_string(&note.event.pubkey.0)]);
    if chance(rng, 650) {
        draft.content = String::from_utf8_lossy(&note.json).into_owned();
    }
    Some(draft)
}

/// A kind 5 deletion of the author's own events (NIP-09).
pub(crate) fn deletion(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let first = world.past.any(rng)?;
    let mut draft = Draft::new(first.author, created_at, 5);
    let more = choose_skewed(rng, 0, 6);
    let others = (0..more).filter_map(|_| world.past.own(rng, first.author));
    let targets: Vec<_> = std::iter::once(first).chain(others).filter(|it| it.kind != 5).collect();
    for target in targets {
        draft.follow(rng, target);
        draft.push(["e", &target.id_hex()]);
        if let Some(address) = target.address(world) {
            draft.push(["a", &address]);
        }
        draft.push(["k", &target.kind.to_string()]);
    }
    if chance(rng, 300) {
        draft.content = world.text.prose(rng, Script::ENGLISH, 30);
    }
    Some(draft)
}

/// A kind 30023 article: pages of Markdown.
pub(crate) fn article(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let author = world.any_author(rng);
    let script = world.authors[author].script;
    let mut draft = Draft::new(author, created_at, 30023);
    let title = world.text.words(rng, script, 6);
    let slug = world.text.words(rng, Script::ENGLISH, 4).replace([' ', ',', '\''], "-");
    draft.push(["d", &slug]);
    draft.push(["title", &title]);
    draft.push(["summary", &world.text.prose(rng, script, 150)]);
    draft.push(["image", &image_url(rng)]);
    draft.push(["published_at", &created_at.to_string()]);
    for _ in 0..rng.usize(1..8) {
        draft.push(["t", &world.hashtag(rng, script)]);
    }
    draft.content = format!("# {title}\n\n");
    for _ in 0..choose_skewed(rng, 2, 18) {
        let heading = world.text.words(rng, script, 4);
        let image = image_url(rng);
        let length = rng.usize(200..1_200);
        let prose = world.text.prose(rng, script, length);
        let markup = format!("## {heading}\n\n{prose}\n\n> ![{heading}]({image})\n\n");
        draft.content.push_str(&markup);
    }
    Some(draft)
}

/// A kind 20 picture (NIP-68).
pub(crate) fn picture(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let author = world.busy_author(rng);
    let script = world.authors[author].script;
    let mut draft = Draft::new(author, created_at, 20);
    draft.push(["title", &world.text.words(rng, script, 5)]);
    for _ in 0..rng.usize(1..4) {
        let url = image_url(rng);
        add_image_metadata(world, rng, &mut draft, &url);
    }
    for _ in 0..rng.usize(1..10) {
        draft.push(["t", &world.hashtag(rng, script)]);
    }
    draft.content = world.text.prose(rng, script, 120);
    Some(draft)
}

/// A kind 1984 report (NIP-56).
pub(crate) fn report(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let target = world.past.note(rng)?;
    let mut draft = Draft::new(world.any_author(rng), created_at, 1984);
    draft.follow(rng, target);
    let reason =
        *choose(rng, &["spam", "nudity", "impersonation", "illegal", "profanity", "other"]);
    draft.push(["e", &target.id_hex(), reason]);
    draft.push(["p", &world.authors[target.author].pubkey, reason]);
    draft.push(["L", "social.example.ontology"]);
    draft.push(["l", reason, "social.example.ontology"]);
    draft.content = world.text.prose(rng, Script::ENGLISH, 60);
    Some(draft)
}

/// A kind 4 message (NIP-04).
pub(crate) fn message(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let mut draft = Draft::new(world.busy_author(rng), created_at, 4);
    draft.push(["p", &world.authors[world.any_author(rng)].pubkey]);
    let blocks = choose_skewed(rng, 1, 30);
    let text = random_text(rng, BASE64, 64 * blocks / 3 * 4 / 4 + 22);
    draft.content = format!("{text}==?iv={}==", random_text(rng, BASE64, 22));
    Some(draft)
}

/// A kind 1059 gift wrap (NIP-59) from a key that is used once.
pub(crate) fn gift_wrap(world: &World, rng: &mut Rng, created_at: u64) -> Option<Draft> {
    let mut draft = Draft::new(0, created_at, 1059);
    draft.author = None;
    draft.push(["p", &world.authors[world.busy_author(rng)].pubkey]);
    if chance(rng, 60) {
        draft.push(["expiration", &FAR_FUTURE.to_string()]);
    }
    let length = choose_skewed(rng, 1_000, 3_600) / 4 * 4;
    draft.content = format!("Ag{}==", random_text(rng, BASE64, length - 4));
    Some(draft)
}

/// How long a kind 1 is, in characters: a weight and the bounds.
type Lengths = &'static [(u32, (usize, usize))];

const POST_LENGTHS: Lengths = &[
    (600, (8, 140)),
    (300, (140, 400)),
    (84, (400, 1_200)),
    (14, (1_200, 4_000)),
    (2, (4_000, 20_000)),
];
const ANSWER_LENGTHS: Lengths = &[(720, (4, 120)), (235, (120, 400)), (45, (400, 1_500))];

/// Writes prose and what people mix into it: links, mentions, hashtags.
fn write_content(world: &World, rng: &mut Rng, draft: &mut Draft, lengths: Lengths) {
    let script = draft.author.map_or(Script::ENGLISH, |author| world.authors[author].script);
    let (least, most) = choose_weighted(rng, lengths);
    let length = rng.usize(least..most);
    draft.content = world.text.prose(rng, script, length);
    if chance(rng, 160) {
        let author = world.busy_author(rng);
        draft.content.insert(0, ' ');
        draft.content.insert_str(0, &world.mention(author));
        draft.push(["p", &world.authors[author].pubkey, "", "mention"]);
    }
    if chance(rng, 180) {
        let url = image_url(rng);
        draft.content.push('\n');
        draft.content.push_str(&url);
        if chance(rng, 300) {
            add_image_metadata(world, rng, draft, &url);
        }
    }
    if chance(rng, 110) {
        let path = world.text.words(rng, Script::ENGLISH, 4).replace([' ', ',', '\''], "-");
        let url = format!("https://www.{}.example/{path}?id={}", path.len(), rng.u32(..));
        draft.content.push(' ');
        draft.content.push_str(&url);
        draft.push(["r", &url]);
    }
    if chance(rng, 150) {
        for _ in 0..choose_skewed(rng, 1, 9) {
            let hashtag = world.hashtag(rng, script);
            draft.content.push_str(" #");
            draft.content.push_str(&hashtag);
            draft.push(["t", &hashtag]);
        }
    }
}

/// Adds tags that notes carry at times.
fn add_extras(world: &World, rng: &mut Rng, draft: &mut Draft) {
    if chance(rng, 40)
        && let Some(quoted) = world.past.note(rng)
    {
        let pubkey = &world.authors[quoted.author].pubkey;
        draft.push(["q", &quoted.id_hex(), &world.relay_hint(rng), pubkey]);
    }
    if chance(rng, 220) {
        add_client(world, rng, draft);
    }
    if chance(rng, 20) {
        draft.push(["L", "ISO-639-1"]);
        draft.push(["l", *choose(rng, &["en", "ja", "pt", "de", "es"]), "ISO-639-1"]);
    }
    if chance(rng, 10) {
        draft.push(["nonce", &rng.u64(..).to_string(), "16"]);
    }
    if chance(rng, 8) {
        draft.push(["content-warning", &world.text.words(rng, Script::ENGLISH, 2)]);
    }
    if chance(rng, 4) {
        let expiration = FAR_FUTURE + rng.u64(0..100_000_000);
        draft.push(["expiration", &expiration.to_string()]);
    }
}

fn add_client(world: &World, rng: &mut Rng, draft: &mut Draft) {
    let rank = choose_skewed(rng, 0, 20);
    let name = world.text.word(Script::ENGLISH, 200 + rank);
    if chance(rng, 400) {
        let address =
            format!("31990:{}:{}", world.authors[20 + rank % 8].pubkey, 1_700_000_000 + rank);
        draft.push(["client", name, &address, &world.relay(rng)]);
    } else {
        draft.push(["client", name]);
    }
}

fn add_image_metadata(world: &World, rng: &mut Rng, draft: &mut Draft, url: &str) {
    let (width, height) = (rng.u32(300..4_000), rng.u32(300..4_000));
    let blurhash = random_text(rng, BASE64, 28);
    let alt = world.text.words(rng, Script::ENGLISH, 5);
    draft.push([
        "imeta",
        &format!("url {url}"),
        "m image/jpeg",
        &format!("x {}", random_hex(rng, 32)),
        &format!("dim {width}x{height}"),
        &format!("blurhash {blurhash}"),
        &format!("alt {alt}"),
    ]);
}

fn image_url(rng: &mut Rng) -> String {
    let host = *choose(rng, &["image", "cdn", "media", "i.blossom", "files"]);
    format!("https://{host}.example/{}.jpg", random_hex(rng, 32))
}

/// Expirations lie so far ahead that every event of a dataset can be stored: 2040.
const FAR_FUTURE: u64 = 2_208_988_800;
