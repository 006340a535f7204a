//! Prose in several scripts, with punctuation, line breaks, quotation marks and emoji.
//!
//! Words come from vocabularies with a Zipf distribution, so that the text compresses about as
//! prose does. The source stays ASCII: other scripts are ranges of code points.

use fastrand::Rng;

use super::random::{Zipf, chance, choose, choose_weighted, derive_seed};

/// The vocabularies of all scripts.
pub(crate) struct Text {
    vocabularies: Vec<Vocabulary>,
}

/// The number of a script, as [`Text::choose_script`] gives it out.
#[derive(Clone, Copy)]
pub(crate) struct Script(usize);

impl Script {
    /// The script of English, for texts that are English whoever writes them.
    pub(crate) const ENGLISH: Self = Self(0);
}

impl Text {
    /// Builds all vocabularies; they are the same for every dataset.
    pub(crate) fn new() -> Self {
        let vocabularies = STYLES
            .iter()
            .enumerate()
            .map(|(number, style)| {
                let mut rng = Rng::with_seed(derive_seed(0, VOCABULARY_STREAM, number as u64));
                Vocabulary::new(&mut rng, style)
            })
            .collect();
        Self { vocabularies }
    }

    /// Picks a script by how much of a public relay is written in it.
    pub(crate) fn choose_script(rng: &mut Rng) -> Script {
        let weighted: Vec<(u32, usize)> =
            STYLES.iter().enumerate().map(|(number, style)| (style.permille, number)).collect();
        Script(choose_weighted(rng, &weighted))
    }

    /// Writes sentences of about that many characters.
    pub(crate) fn prose(&self, rng: &mut Rng, script: Script, characters: usize) -> String {
        let vocabulary = &self.vocabularies[script.0];
        let mut out = String::with_capacity(characters * vocabulary.style.bytes_per_character);
        let mut written = 0;
        while written < characters {
            let quoted = chance(rng, 40);
            if quoted {
                out.push('"');
            }
            let words = rng.usize(3..16).min(1 + (characters - written) / 4);
            written += vocabulary.write_words(rng, words, &mut out);
            out.push_str(if chance(rng, 100) {
                vocabulary.style.ask
            } else {
                vocabulary.style.stop
            });
            if quoted {
                out.push('"');
            }
            if chance(rng, 90) {
                out.push(' ');
                push_emoji(rng, &mut out);
            }
            if written < characters {
                out.push_str(if chance(rng, 130) { "\n\n" } else { vocabulary.style.join });
            }
            written += 2;
        }
        out
    }

    /// Writes a few words without punctuation: a name, a title, a subject.
    pub(crate) fn words(&self, rng: &mut Rng, script: Script, count: usize) -> String {
        let mut out = String::new();
        self.vocabularies[script.0].write_words(rng, count, &mut out);
        out
    }

    /// The word of a rank in a script, for hashtags.
    pub(crate) fn word(&self, script: Script, rank: usize) -> &str {
        let words = &self.vocabularies[script.0].words;
        &words[rank % words.len()]
    }
}

/// Appends one emoji, at times of several code points.
pub(crate) fn push_emoji(rng: &mut Rng, out: &mut String) {
    if chance(rng, 300) {
        let joined: &&str = choose(rng, JOINED_EMOJI);
        out.push_str(joined);
        return;
    }
    let code = rng.u32(0x1f600..0x1f64f);
    out.push(char::from_u32(code).unwrap_or('\u{1f600}'));
}

struct Vocabulary {
    style: &'static Style,
    words: Vec<String>,
    popularity: Zipf,
}

impl Vocabulary {
    fn new(rng: &mut Rng, style: &'static Style) -> Self {
        let mut words: Vec<String> = style.known.split_whitespace().map(str::to_owned).collect();
        while words.len() < WORDS_PER_SCRIPT {
            let length = rng.usize(style.word_length.0..=style.word_length.1);
            words.push((0..length).map(|place| style.letter(rng, place)).collect());
        }
        Self { style, words, popularity: Zipf::new(WORDS_PER_SCRIPT, 3.0) }
    }

    /// Appends words with this script's joiner; returns how many characters they have.
    fn write_words(&self, rng: &mut Rng, count: usize, out: &mut String) -> usize {
        let mut characters = 0;
        for place in 0..count {
            if place > 0 {
                if chance(rng, 70) {
                    out.push_str(self.style.comma);
                }
                out.push_str(self.style.join);
                characters += self.style.join.len();
            }
            let word = &self.words[self.popularity.pick(rng)];
            out.push_str(word);
            characters += word.len() / self.style.bytes_per_character + 1;
        }
        characters
    }
}

/// How a script is written.
struct Style {
    permille: u32,
    /// Words that come first in the ranking, before made-up ones.
    known: &'static str,
    /// Letters at even places of a made-up word, as ranges of code points.
    onsets: &'static [(u32, u32)],
    /// Letters at odd places.
    rests: &'static [(u32, u32)],
    word_length: (usize, usize),
    bytes_per_character: usize,
    join: &'static str,
    comma: &'static str,
    stop: &'static str,
    ask: &'static str,
}

impl Style {
    fn letter(&self, rng: &mut Rng, place: usize) -> char {
        let ranges = if place.is_multiple_of(2) { self.onsets } else { self.rests };
        let &(first, last) = choose(rng, ranges);
        char::from_u32(rng.u32(first..=last)).unwrap_or('a')
    }
}

/// ASCII consonants as ranges; also what made-up Latin words begin with.
const CONSONANTS: &[(u32, u32)] = &[(0x62, 0x64), (0x66, 0x68), (0x6c, 0x6e), (0x70, 0x74)];
const VOWELS: &[(u32, u32)] =
    &[(0x61, 0x61), (0x65, 0x65), (0x69, 0x69), (0x6f, 0x6f), (0x75, 0x75)];
/// Vowels of which some carry accents.
const ACCENTED: &[(u32, u32)] = &[
    (0x61, 0x61),
    (0x65, 0x65),
    (0x69, 0x69),
    (0x6f, 0x6f),
    (0xe0, 0xe4),
    (0xe8, 0xea),
    (0xf2, 0xf6),
];

const LATIN: Style = Style {
    permille: 600,
    known: ENGLISH,
    onsets: CONSONANTS,
    rests: VOWELS,
    word_length: (4, 10),
    bytes_per_character: 1,
    join: " ",
    comma: ",",
    stop: ".",
    ask: "?",
};

const HAN: Style = Style {
    permille: 60,
    known: "",
    onsets: &[(0x4e00, 0x5200), (0x6000, 0x6500)],
    rests: &[(0x4e00, 0x5200), (0x7500, 0x7a00)],
    word_length: (1, 3),
    bytes_per_character: 3,
    join: "",
    comma: "\u{ff0c}",
    stop: "\u{3002}",
    ask: "\u{ff1f}",
};

const STYLES: &[Style] = &[
    LATIN,
    Style { permille: 120, known: "", rests: ACCENTED, ..LATIN },
    Style { onsets: &[(0x3042, 0x3093)], rests: &[(0x30a2, 0x30f3)], permille: 100, ..HAN },
    HAN,
    Style {
        permille: 50,
        known: "",
        onsets: &[(0x431, 0x434), (0x43a, 0x43d), (0x43f, 0x442)],
        rests: &[(0x430, 0x430), (0x435, 0x435), (0x438, 0x438), (0x43e, 0x43e)],
        bytes_per_character: 2,
        ..LATIN
    },
    Style {
        permille: 30,
        known: "",
        onsets: &[(0x627, 0x63a)],
        rests: &[(0x641, 0x648)],
        word_length: (3, 7),
        bytes_per_character: 2,
        comma: "\u{60c}",
        ask: "\u{61f}",
        ..LATIN
    },
    Style {
        onsets: &[(0xe01, 0xe2e)],
        rests: &[(0xe40, 0xe44), (0xe30, 0xe39)],
        permille: 20,
        ..HAN
    },
    Style {
        onsets: &[(0xac00, 0xd7a3)],
        rests: &[(0xac00, 0xd7a3)],
        permille: 20,
        join: " ",
        ..HAN
    },
];

const JOINED_EMOJI: &[&str] = &[
    "\u{2764}\u{fe0f}",
    "\u{1f44d}\u{1f3fd}",
    "\u{1f469}\u{200d}\u{1f4bb}",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
    "\u{1f1eb}\u{1f1f7}",
    "\u{26a1}\u{fe0f}",
    "\u{1f525}",
    "\u{1f680}",
    "\u{1f919}",
    "\u{1f9e1}",
];

const ENGLISH: &str = "the to of and a in is it you that for on with are this be have not as at or \
    we can but just all so if my they will what more your when one no like people from an about \
    there do was would has how get their out me up who time now because some good think only new \
    why make them these than know then other see into money any want need our even use first very \
    never bitcoin nostr world work here life still going day most way those really been much free \
    thing right something where years own every being should great always someone better today \
    relay love many last back take before through over say same point years post things too find \
    believe open read human system real power look value client building morning simple long keep \
    don't it's I'm can't that's you're power anyone few network already maybe state price block";

const WORDS_PER_SCRIPT: usize = 3_000;
const VOCABULARY_STREAM: u64 = 0x7465_7874;
