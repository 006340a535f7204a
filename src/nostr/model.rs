//! Random tests of events, filters and messages against a dumb model: `serde_json` values. Test
//! code only.
//!
//! A failing run prints its seed; `TEST_SEED=n cargo test` repeats it alone.

use fastrand::Rng;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use super::{ClientMessage, Event, EventRef, Filter, Keypair, Kind, Tags, Verifier, fixtures};

/// Runs a check with many seeds, or with the one that the environment names.
fn each_seed(count: u64, check: impl Fn(&mut Rng)) {
    let chosen = std::env::var("TEST_SEED").ok().and_then(|text| text.parse().ok());
    for seed in chosen.map_or(0..count, |seed: u64| seed..seed + 1) {
        eprintln!("seed {seed}");
        check(&mut Rng::with_seed(seed));
    }
}

fn keypair(secret: u8) -> Keypair {
    let mut bytes = [0; 32];
    bytes[31] = secret;
    Keypair::from_secret(bytes).expect("small integers are secret keys")
}

fn rendered(event: &EventRef<'_>) -> String {
    let mut out = Vec::new();
    event.write_json(&mut out);
    assert_eq!(out.len(), event.json_len());
    String::from_utf8(out).expect("we render text")
}

fn random_text(random: &mut Rng) -> String {
    let pieces = [
        "a",
        "hello world ",
        "\"",
        "\\",
        "\n",
        "\t",
        "\0",
        "\u{1f}",
        "/",
        "\u{7f}",
        "\u{e9}",
        "\u{1f600}",
    ];
    match random.u8(..8) {
        0 => String::new(),
        1 => random_digits(b"0123456789abcdef", random),
        2 => random_digits(b"0123456789abcdefABCDEFg", random),
        3 => "z".repeat(random.usize(60..70)),
        _ => (0..random.usize(..20)).map(|_| random_choice(&pieces, random)).collect(),
    }
}

fn random_digits(digits: &[u8], random: &mut Rng) -> String {
    (0..64).map(|_| char::from(digits[random.usize(..digits.len())])).collect()
}

fn random_tags(random: &mut Rng) -> Vec<Vec<String>> {
    let tag = |random: &mut Rng| (0..random.usize(1..5)).map(|_| random_text(random)).collect();
    (0..random.usize(..6)).map(|_| tag(random)).collect()
}

fn random_space(random: &mut Rng) -> &'static str {
    ["", "", "", "", " ", "\n", "\t", "\r\n  "][random.usize(..8)]
}

/// Spells a text as one of the many JSON strings that mean it.
fn spell_text(text: &str, random: &mut Rng) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        let must = character < ' ' || character == '"' || character == '\\';
        match random.u8(..10) {
            0 => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let digits = format!("\\u{unit:04x}");
                    out += &if random.bool() {
                        digits
                    } else {
                        digits.to_uppercase().replace("\\U", "\\u")
                    };
                }
            }
            1 if character == '/' => out += "\\/",
            _ if must => {
                let quoted = json!(character.to_string()).to_string();
                out += &quoted[1..quoted.len() - 1];
            }
            _ => out.push(character),
        }
    }
    out + "\""
}

/// Spells a value with random whitespace, escapes and order of members.
fn spell(value: &Json, random: &mut Rng) -> String {
    let (before, after) = (random_space(random), random_space(random));
    let inside = match value {
        Json::String(text) => spell_text(text, random),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| spell(item, random)).collect();
            format!("[{}{}]", random_space(random), items.join(","))
        }
        Json::Object(members) => {
            let mut members: Vec<(&String, &Json)> = members.iter().collect();
            random.shuffle(&mut members);
            let one = |(key, value): (&String, &Json), random: &mut Rng| {
                format!(
                    "{}{}{}:{}",
                    random_space(random),
                    spell_text(key, random),
                    random_space(random),
                    spell(value, random)
                )
            };
            let members: Vec<String> =
                members.into_iter().map(|member| one(member, random)).collect();
            format!("{{{}{}}}", members.join(","), random_space(random))
        }
        plain => plain.to_string(),
    };
    format!("{before}{inside}{after}")
}

#[test]
fn however_an_event_is_spelled_it_is_read_hashed_and_rendered_alike() {
    each_seed(300, |random| {
        let (tags, content) = (random_tags(random), random_text(random));
        let (secs, kind) = (random.u64(..) >> random.u8(..64), random.u16(..));
        let event = keypair(random.u8(1..)).sign_event(secs, Kind(kind), &tags, &content);
        let author = event.pubkey.to_string();
        let canonical = json!([0, author, secs, kind, tags, content]).to_string();
        assert_eq!(event.id.0, <[u8; 32]>::from(Sha256::digest(canonical.as_bytes())));
        assert!(Tags::is_well_formed(event.view().tags_packed));
        let expected = json!({
            "id": event.id.to_string(),
            "pubkey": author,
            "created_at": secs,
            "kind": kind,
            "tags": tags,
            "content": content,
            "sig": event.sig.to_string(),
        });
        let out = rendered(&event.view());
        assert_eq!(serde_json::from_str::<Json>(&out).expect("we render JSON"), expected);
        let mut extended = expected;
        extended["extra"] = json!({ "id": [random_text(random), 1.5, null, true] });
        let spelled = spell(&extended, random);
        let parsed =
            Event::parse(spelled.as_bytes()).unwrap_or_else(|error| panic!("{error}: {spelled}"));
        assert_eq!(parsed, event);
        assert!(Verifier::new().verify(parsed).is_ok());
        let found: Vec<Vec<String>> = event
            .view()
            .tags()
            .map(|tag| tag.elements().map(|value| value.to_text().into_owned()).collect())
            .collect();
        assert_eq!(found, tags);
    });
}

fn mutate(text: &str, random: &mut Rng) -> String {
    let pieces = [
        "\"", "\\", "{", "}", "[", "]", ",", ":", "\\u", "\\ud83d", "null", "1e9", "-", "0", "\n",
        "\"id\":", "\u{e9}", " ",
    ];
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        let end = random.usize(at..=bytes.len().min(at + 8));
        match random.u8(..6) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.truncate(at.max(bytes.len() / 2)),
            2 => drop(bytes.splice(at..at, pieces[random.usize(..pieces.len())].bytes())),
            3 => drop(bytes.splice(at..end, pieces[random.usize(..pieces.len())].bytes())),
            4 => {
                let copied = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                drop(bytes.splice(to..to, copied));
            }
            _ if at < bytes.len() => bytes[at] = random.u8(..0x80),
            _ => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Checks what was accepted against the model's reading of the same text.
fn check_accepted(message: &ClientMessage<'_>, model: &Json) {
    match message {
        ClientMessage::Event(event) | ClientMessage::Auth(event) => {
            let out = rendered(&event.view());
            assert_eq!(Event::parse_str(&out).as_ref(), Ok(event));
            let rendered: Map<String, Json> = serde_json::from_str(&out).expect("we render JSON");
            for (name, value) in rendered {
                assert_eq!(model[1][&name], value);
            }
        }
        ClientMessage::Req { subscription: name, filters }
        | ClientMessage::Count { query: name, filters } => {
            assert_eq!(model[1], json!(name.to_text()));
            for filter in filters {
                let mut out = Vec::new();
                filter.write_json(&mut out);
                assert_eq!(Filter::parse(&out).as_ref(), Ok(filter));
            }
        }
        ClientMessage::Close { subscription: name }
        | ClientMessage::NegOpen { subscription: name, .. }
        | ClientMessage::NegMsg { subscription: name, .. }
        | ClientMessage::NegClose { subscription: name } => {
            assert_eq!(model[1], json!(name.to_text()))
        }
    }
}

#[test]
fn damaged_messages_are_refused_or_mean_what_the_model_reads() {
    let key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    let mut valid: Vec<String> =
        fixtures::VALID.iter().map(|event| format!("[\"EVENT\",{event}]")).collect();
    valid.push(format!(
        r##"["REQ","sub",{{"ids":["{key}"],"authors":["{key}"],"kinds":[1,2],"#e":["{key}"],"#t":["a","b\n"],"&t":["c"],"since":1,"until":9,"limit":5,"search":"x"}},{{}}]"##
    ));
    valid.push(r##"["COUNT","q",{"#d":[""],"kinds":[30023]}]"##.to_owned());
    valid.push(r#"["CLOSE","sub"]"#.to_owned());
    valid.push(r#"["NEG-OPEN","n",{"kinds":[1]},"6100000200"]"#.to_owned());
    valid.push(r#"["NEG-MSG","n","61"]"#.to_owned());
    each_seed(400, |random| {
        for text in &valid {
            let text = mutate(text, random);
            let model = serde_json::from_str::<Json>(&text);
            match (ClientMessage::parse(&text), model) {
                (Ok(message), Ok(model)) => check_accepted(&message, &model),
                (Ok(_), Err(error)) => panic!("accepted what the model refuses ({error}): {text}"),
                (Err(error), _) => {
                    let mut out = Vec::new();
                    error.write(&mut out);
                    let answer: Json = serde_json::from_slice(&out).expect("answers are JSON");
                    assert!(answer.is_array());
                }
            }
        }
    });
}

fn random_choice<'a>(choices: &[&'a str], random: &mut Rng) -> &'a str {
    choices[random.usize(..choices.len())]
}

fn random_list(choices: &[&str], random: &mut Rng) -> Vec<String> {
    (0..random.usize(..4)).map(|_| random_choice(choices, random).to_owned()).collect()
}

/// Reads the NIP literally, over JSON values.
fn model_matches(filter: &Json, event: &Json) -> bool {
    let has = |list: &Json, item: &Json| list.as_array().is_some_and(|list| list.contains(item));
    let members = filter.as_object().expect("filters are objects");
    members.iter().all(|(name, wanted)| match name.as_str() {
        "ids" => has(wanted, &event["id"]),
        "authors" => has(wanted, &event["pubkey"]),
        "kinds" => has(wanted, &event["kind"]),
        "since" => event["created_at"].as_u64() >= wanted.as_u64(),
        "until" => event["created_at"].as_u64() <= wanted.as_u64(),
        "limit" => true,
        _ => {
            let tags = event["tags"].as_array().expect("tags are an array");
            let named =
                |letter: &str| tags.iter().filter(move |tag| tag[0] == letter).collect::<Vec<_>>();
            let mut values: Vec<Json> =
                named(&name[1..]).iter().filter_map(|tag| tag.get(1).cloned()).collect();
            let is_addressable = matches!(event["kind"].as_u64(), Some(30_000..=39_999));
            if &name[1..] == "d"
                && is_addressable
                && named("d").first().is_none_or(|tag| tag.get(1).is_none())
            {
                values.push(json!(""));
            }
            let mut wanted = wanted.as_array().expect("lists are arrays").clone();
            if name.starts_with('&') {
                return !wanted.is_empty() && wanted.iter().all(|value| values.contains(value));
            }
            if let Some(required) = filter.get(format!("&{}", &name[1..])) {
                let before = wanted.len();
                wanted.retain(|value| !has(required, value));
                if before > 0 && wanted.is_empty() {
                    return true;
                }
            }
            wanted.iter().any(|value| values.contains(value))
        }
    })
}

#[test]
fn filters_match_what_the_model_matches() {
    let key = keypair(1).public_key().to_string();
    let texts = ["", "a", "b", "c", "a\n", &key, "D"];
    let letters = ["d", "t", "D", "x"];
    each_seed(1_500, |random| {
        let kinds = [1, 30_000, 10_000, 30_001];
        let tags: Vec<Vec<String>> = (0..random.usize(..6))
            .map(|_| {
                let mut tag = vec![random_choice(&letters, random).to_owned()];
                tag.extend(
                    (0..random.usize(..3)).map(|_| random_choice(&texts, random).to_owned()),
                );
                tag
            })
            .collect();
        let kind = Kind(kinds[random.usize(..4)]);
        let event = keypair(random.u8(1..3)).sign_event(random.u64(10..13), kind, &tags, "");
        let model: Json = serde_json::from_str(&rendered(&event.view())).expect("we render JSON");
        for _ in 0..20 {
            let mut filter = Map::new();
            let mut maybe = |name: &str, value: Json, random: &mut Rng| {
                if random.u8(..4) == 0 {
                    filter.insert(name.to_owned(), value);
                }
            };
            maybe("ids", json!([&key, &event.id.to_string()][random.usize(..2)..]), random);
            maybe("authors", json!([key]), random);
            maybe("kinds", json!([1, 30_000, 70_000][random.usize(..3)..]), random);
            maybe("since", json!(random.u64(9..14)), random);
            maybe("until", json!(random.u64(9..14)), random);
            maybe("limit", json!(0), random);
            for letter in letters {
                maybe(&format!("#{letter}"), json!(random_list(&texts, random)), random);
                maybe(&format!("&{letter}"), json!(random_list(&texts, random)), random);
            }
            let filter = Json::Object(filter);
            let parsed = Filter::parse(spell(&filter, random).as_bytes()).expect("it is a filter");
            let expected = model_matches(&filter, &model);
            assert_eq!(parsed.matches(&event.view()), expected, "{filter}\n{model}");
            assert!(!expected || !parsed.matches_nothing(), "{filter}");
        }
    });
}
